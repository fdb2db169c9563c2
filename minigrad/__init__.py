"""minigrad: automatic differentiation on NumPy and CuPy, written to be read.

>>> import minigrad as mg
>>> x = mg.tensor([[1.0, 2.0]], requires_grad=True)
>>> w = mg.tensor([[0.5], [-1.0]], requires_grad=True)
>>> y = (x @ w).tanh().sum()
>>> y.backward()
>>> x.grad
tensor([[ 0.09035332, -0.18070664]], dtype=float32, device='cpu')
"""

from . import io as io
from . import nn as nn
from . import ops as ops
from . import optim as optim
from . import testing as testing
from .backend import DeviceError as DeviceError
from .backend import bool_ as bool_
from .backend import cuda_is_available as cuda_is_available
from .backend import default_device as default_device
from .backend import float16 as float16
from .backend import float32 as float32
from .backend import float64 as float64
from .backend import int32 as int32
from .backend import int64 as int64
from .backend import manual_seed as manual_seed
from .backend import set_default_device as set_default_device
from .backend import synchronize as synchronize
from .backend import use_device as use_device
from .creation import arange as arange
from .creation import eye as eye
from .creation import full as full
from .creation import ones as ones
from .creation import ones_like as ones_like
from .creation import rand as rand
from .creation import randn as randn
from .creation import tensor as tensor
from .creation import zeros as zeros
from .creation import zeros_like as zeros_like
from .engine import grad as grad
from .ops.contraction import matmul as matmul
from .ops.elementwise import absolute as absolute
from .ops.elementwise import add as add
from .ops.elementwise import clip as clip
from .ops.elementwise import cos as cos
from .ops.elementwise import divide as divide
from .ops.elementwise import equal as equal
from .ops.elementwise import exp as exp
from .ops.elementwise import expm1 as expm1
from .ops.elementwise import greater as greater
from .ops.elementwise import greater_equal as greater_equal
from .ops.elementwise import less as less
from .ops.elementwise import less_equal as less_equal
from .ops.elementwise import log as log
from .ops.elementwise import log1p as log1p
from .ops.elementwise import logical_and as logical_and
from .ops.elementwise import logical_not as logical_not
from .ops.elementwise import logical_or as logical_or
from .ops.elementwise import maximum as maximum
from .ops.elementwise import minimum as minimum
from .ops.elementwise import multiply as multiply
from .ops.elementwise import negative as negative
from .ops.elementwise import not_equal as not_equal
from .ops.elementwise import power as power
from .ops.elementwise import relu as relu
from .ops.elementwise import sigmoid as sigmoid
from .ops.elementwise import sign as sign
from .ops.elementwise import sin as sin
from .ops.elementwise import softplus as softplus
from .ops.elementwise import sqrt as sqrt
from .ops.elementwise import subtract as subtract
from .ops.elementwise import tanh as tanh
from .ops.elementwise import where as where
from .ops.reduction import argmax as argmax
from .ops.reduction import argmin as argmin
from .ops.reduction import broadcast_to as broadcast_to
from .ops.reduction import logsumexp as logsumexp
from .ops.reduction import max as max
from .ops.reduction import mean as mean
from .ops.reduction import min as min
from .ops.reduction import sum as sum
from .ops.reduction import var as var
from .ops.shape import concatenate as concatenate
from .ops.shape import expand_dims as expand_dims
from .ops.shape import reshape as reshape
from .ops.shape import split as split
from .ops.shape import squeeze as squeeze
from .ops.shape import stack as stack
from .ops.shape import transpose as transpose
from .ops.shape import unstack as unstack
from .tape import Tensor as Tensor
from .tape import is_grad_enabled as is_grad_enabled
from .tape import no_grad as no_grad
from .tensor import detach as detach
from .tensor import take as take

abs = absolute
__version__ = "0.1.0"
