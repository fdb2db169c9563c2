"""minigrad: automatic differentiation on NumPy and CuPy, written to be read.

>>> import minigrad as mg
>>> x = mg.tensor([[1.0, 2.0]], requires_grad=True)
>>> w = mg.tensor([[0.5], [-0.25]], requires_grad=True)
>>> y = (x @ w).tanh().sum()
>>> y.backward()
>>> x.grad
tensor([[ 0.5 , -0.25]], dtype=float32, device='cpu')
"""

import importlib as _importlib
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from . import cuda_device as cuda_device
from . import io, nn, ops, optim, testing
from .anomaly import AnomalyError, detect_anomaly
from .backend import (
    DeviceError,
    bool_,
    cuda_is_available,
    default_device,
    float16,
    float32,
    float64,
    int32,
    int64,
    set_default_device,
    synchronize,
    use_device,
)
from .creation import (
    arange,
    eye,
    from_dlpack,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    rand,
    rand_like,
    randn,
    randn_like,
    tensor,
    zeros,
    zeros_like,
)
from .engine import grad
from .fusion import fuse, fuse_backend, fusing, scan, scan_source
from .generators import get_rng_state, manual_seed, set_rng_state
from .graph import Tensor
from .indexing import take, take_along_axis
from .memory import keep_freed_memory
from .mode import enable_grad, is_grad_enabled, no_grad
from .operators import moveaxis, swapaxes
from .ops.contraction import matmul
from .ops.elementwise import (
    absolute,
    add,
    ceil,
    clip,
    cos,
    divide,
    exp,
    expm1,
    floor,
    floor_divide,
    log,
    log1p,
    logaddexp,
    maximum,
    minimum,
    multiply,
    negative,
    power,
    relu,
    remainder,
    sigmoid,
    sign,
    sin,
    softplus,
    sqrt,
    subtract,
    tanh,
    where,
)
from .ops.logic import (
    all,
    any,
    equal,
    greater,
    greater_equal,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    not_equal,
)
from .ops.reduction import argmax, argmin, broadcast_to, cumsum, logsumexp, max, mean, min, std, sum, var
from .ops.shape import concatenate, expand_dims, flip, pad, reshape, split, squeeze, stack, transpose, unstack
from .precision import get_matmul_precision, matmul_precision
from .recompute import checkpoint
from .subscripts import einsum
from .tensor import detach
from .threads import get_num_threads, set_num_threads
from .transforms import hessian, hvp, jacobian, jvp, vjp

abs = absolute
__version__ = "0.1.0"

if _TYPE_CHECKING:
    from . import inspect

__all__ = [
    "AnomalyError",
    "DeviceError",
    "Tensor",
    "abs",
    "absolute",
    "add",
    "all",
    "any",
    "arange",
    "argmax",
    "argmin",
    "bool_",
    "broadcast_to",
    "ceil",
    "checkpoint",
    "clip",
    "concatenate",
    "cos",
    "cuda_is_available",
    "cumsum",
    "default_device",
    "detach",
    "detect_anomaly",
    "divide",
    "einsum",
    "enable_grad",
    "equal",
    "exp",
    "expand_dims",
    "expm1",
    "eye",
    "flip",
    "float16",
    "float32",
    "float64",
    "floor",
    "floor_divide",
    "from_dlpack",
    "full",
    "full_like",
    "fuse",
    "fuse_backend",
    "fusing",
    "get_matmul_precision",
    "get_num_threads",
    "get_rng_state",
    "grad",
    "greater",
    "greater_equal",
    "hessian",
    "hvp",
    "inspect",
    "int32",
    "int64",
    "io",
    "is_grad_enabled",
    "isfinite",
    "isinf",
    "isnan",
    "jacobian",
    "jvp",
    "keep_freed_memory",
    "less",
    "less_equal",
    "linspace",
    "log",
    "log1p",
    "logaddexp",
    "logical_and",
    "logical_not",
    "logical_or",
    "logsumexp",
    "manual_seed",
    "matmul",
    "matmul_precision",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "moveaxis",
    "multiply",
    "negative",
    "nn",
    "no_grad",
    "not_equal",
    "ones",
    "ones_like",
    "ops",
    "optim",
    "pad",
    "power",
    "rand",
    "rand_like",
    "randn",
    "randn_like",
    "relu",
    "remainder",
    "reshape",
    "scan",
    "scan_source",
    "set_default_device",
    "set_num_threads",
    "set_rng_state",
    "sigmoid",
    "sign",
    "sin",
    "softplus",
    "split",
    "sqrt",
    "squeeze",
    "stack",
    "std",
    "subtract",
    "sum",
    "swapaxes",
    "synchronize",
    "take",
    "take_along_axis",
    "tanh",
    "tensor",
    "testing",
    "transpose",
    "unstack",
    "use_device",
    "var",
    "vjp",
    "where",
    "zeros",
    "zeros_like",
]


def __getattr__(name: str) -> _Any:
    if name == "inspect":  # loaded when it is asked for: few programs do
        return _importlib.import_module(".inspect", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
