"""Making tensors: from data, of one value, or at random. On the default device unless one is named."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

from .backend import (
    Array,
    ArrayNamespace,
    DeviceError,
    as_dtype,
    as_host_array,
    default_device,
    float32,
    float64,
    is_array,
    namespace,
    namespace_of,
    python_scalar,
)
from .graph import Tensor, storage_of
from .tensor import check_floating

Shape = int | tuple[int, ...]
Maker = TypeVar("Maker", bound=Callable[..., Tensor])


def _namespace(device: str | None) -> ArrayNamespace:
    return namespace(default_device() if device is None else device)


def _made(array: Array, requires_grad: bool) -> Tensor:
    if requires_grad:
        check_floating(array.dtype)
    return Tensor(array, requires_grad)


def tensor(data: Any, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A new Tensor with a copy of the data.

    Args:
        data: numbers, (nested) lists of them, an array, or a Tensor. NumPy arrays keep their dtype;
            Python floats give float32, ints int64, bools bool.
        device: "cpu", "cuda", "cuda:1"; by default the data's own, or the default device.
        requires_grad: whether it should get a gradient; floating dtypes only.

    Raises:
        TypeError: the data are not numbers, or an integer tensor should get a gradient.
        RuntimeError: there is a Tensor in the data that requires a gradient, which the copy would cut off.
        DeviceError: the device cannot be used.

    >>> import minigrad as mg
    >>> mg.tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]], dtype=int64, device='cpu')
    """
    _check_constant(data)
    if type(data) is Tensor:
        device, data = data.device if device is None else device, data.data
    if is_array(data) and namespace_of(data).device != "cpu":
        source = namespace_of(data)
        target = source if device is None else namespace(device)
        with source.activate():
            array = source.array(data, dtype=data.dtype if dtype is None else as_dtype(dtype))
        if target is not source:
            array = target.from_host(source.to_host(array))
        return _made(array, requires_grad)
    return _made(_namespace(device).from_host(as_host_array(data, dtype)), requires_grad)


def _check_constant(data: Any) -> None:
    """Raise if a gradient would be lost by copying."""
    if isinstance(data, (list, tuple)):
        for part in data:
            _check_constant(part)
    elif type(data) is Tensor and data.requires_grad:
        raise RuntimeError(
            "tensor: expected data without a gradient, which a copy would cut off, got a Tensor that requires one. "
            "Join Tensors with minigrad.stack or concatenate, copy one with x.copy(), or cut it off: x.detach()"
        )


def from_dlpack(x: Any) -> Tensor:
    """A Tensor over the memory of another library's array, which both then share, by the DLPack protocol.

    NumPy takes what lies in the host's memory, CuPy what lies on a GPU. The other way round, every library's
    own `from_dlpack` takes a Tensor.

    Args:
        x: an array with `__dlpack__`: of PyTorch, JAX, NumPy, CuPy, or a Tensor.

    Raises:
        TypeError: x is no such array, or its entries are not real numbers or booleans.
        DeviceError: x lies on a device that minigrad does not have.
        BufferError: x cannot be shared, for example because it requires a gradient: detach it.

    >>> import minigrad as mg, numpy
    >>> array = numpy.zeros(2)
    >>> x = mg.from_dlpack(array)
    >>> array[0] = 1.0
    >>> x
    tensor([1., 0.], dtype=float64, device='cpu')
    """
    if not hasattr(x, "__dlpack_device__"):
        raise TypeError(
            f"from_dlpack: expected an array with __dlpack__, got {type(x).__name__}; use minigrad.tensor(...)"
        )
    kind, number = x.__dlpack_device__()
    names = {_HOST: "cpu", _CUDA: f"cuda:{number}", _CUDA_MANAGED: f"cuda:{number}"}
    if kind not in names:
        raise DeviceError(
            f"from_dlpack: expected an array in the memory of the host or of a CUDA device, got DLPack's device {kind}"
        )
    xp = namespace(names[kind])
    with xp.activate():
        array = xp.from_dlpack(x)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"from_dlpack: expected real numbers or booleans, got dtype {array.dtype}")
    return Tensor(array, storage=storage_of(x) if type(x) is Tensor else None)


_HOST, _CUDA, _CUDA_MANAGED = 1, 2, 13  # DLPack's numbers for kinds of memory

# Of one value -------------------------------------------------------------------------------------


def _checked(make: Maker) -> Maker:
    """What takes a shape, and says what is wrong with it, or with the dtype; also when it gets the sizes one by one."""
    name = make.__name__
    count = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in inspect.signature(make).parameters.values())

    @functools.wraps(make)
    def checked(shape: Shape, *rest: Any, **options: Any) -> Tensor:
        if len(rest) >= count:
            sizes = ", ".join(map(str, (shape, *rest)))
            raise TypeError(
                f"{name}: expected one shape, such as {name}((2, 3)), and the rest by name (dtype=, device=); "
                f"got {name}({sizes})"
            )
        for size in shape if isinstance(shape, (tuple, list)) else (shape,):
            if isinstance(size, bool) or not hasattr(size, "__index__") or size < 0:
                raise ValueError(f"{name}: expected a shape of integers of 0 or more, such as (2, 3), got {shape!r}")
        if options.get("dtype") is not None:
            options["dtype"] = as_dtype(options["dtype"])
        return make(shape, *rest, **options)

    return cast(Maker, checked)


@_checked
def zeros(shape: Shape, *, dtype: Any = float32, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A Tensor of zeros.

    >>> import minigrad as mg
    >>> mg.zeros(2)
    tensor([0., 0.], dtype=float32, device='cpu')
    """
    return full(shape, 0, dtype=dtype, device=device, requires_grad=requires_grad)


@_checked
def ones(shape: Shape, *, dtype: Any = float32, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A Tensor of ones.

    >>> import minigrad as mg
    >>> mg.ones((1, 2))
    tensor([[1., 1.]], dtype=float32, device='cpu')
    """
    return full(shape, 1, dtype=dtype, device=device, requires_grad=requires_grad)


@_checked
def full(
    shape: Shape, value: float, *, dtype: Any = float32, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A Tensor filled with one value.

    Raises:
        TypeError: the value is not a number, or the dtype not one of real numbers or booleans.
        ValueError: the shape is not of integers of 0 or more.

    >>> import minigrad as mg
    >>> mg.full(2, 0.5)
    tensor([0.5, 0.5], dtype=float32, device='cpu')
    """
    value = python_scalar(value)
    if not isinstance(value, (bool, int, float)):
        raise TypeError(
            f"full: expected a number, got {type(value).__name__}; of a Tensor t, write minigrad.broadcast_to(t, shape)"
        )
    xp = _namespace(device)
    with xp.activate():
        return _made(xp.full(shape, value, dtype=dtype or float32), requires_grad)


# In order -----------------------------------------------------------------------------------------


def arange(
    start: float,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, ... up to but without stop; arange(stop) starts at 0. Floats give float32.

    >>> import minigrad as mg
    >>> mg.arange(3)
    tensor([0, 1, 2], dtype=int64, device='cpu')
    """
    first, last = (0, start) if stop is None else (start, stop)
    _check_numbers("arange", start=first, stop=last, step=step)
    if step == 0:
        raise ValueError("arange: expected a step other than 0")
    if dtype is None and any(isinstance(v, float) for v in (first, last, step)):
        dtype = float32
    xp = _namespace(device)
    with xp.activate():
        return _made(xp.arange(first, last, step, dtype=dtype), requires_grad)


def linspace(
    start: float,
    stop: float,
    num: int = 50,
    endpoint: bool = True,
    *,
    dtype: Any = float32,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """`num` numbers from start to stop, equally far apart; without `endpoint` stop itself is left out.

    Raises:
        ValueError: num is negative.

    >>> import minigrad as mg
    >>> mg.linspace(0, 1, 5)
    tensor([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float32, device='cpu')
    """
    _check_numbers("linspace", start=start, stop=stop)
    if not hasattr(num, "__index__") or num < 0:
        raise ValueError(f"linspace: expected num to be an integer of 0 or more, got {num!r}")
    xp = _namespace(device)
    with xp.activate():
        return _made(xp.linspace(start, stop, num, endpoint=endpoint, dtype=dtype or float32), requires_grad)


def eye(
    n: int, m: int | None = None, *, dtype: Any = float32, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """An (n, m) matrix with ones on its diagonal; m is n if not given.

    >>> import minigrad as mg
    >>> mg.eye(2)
    tensor([[1., 0.],
            [0., 1.]], dtype=float32, device='cpu')
    """
    for size in (n,) if m is None else (n, m):
        if not hasattr(size, "__index__") or size < 0:
            raise ValueError(f"eye: expected sizes that are integers of 0 or more, got {size!r}")
    xp = _namespace(device)
    with xp.activate():
        return _made(xp.eye(n, m, dtype=dtype or float32), requires_grad)


def _check_numbers(caller: str, **numbers: Any) -> None:
    for name, number in numbers.items():
        if not isinstance(python_scalar(number), (int, float)):
            raise TypeError(f"{caller}: expected {name} to be a number, got {type(number).__name__}")


# At random ----------------------------------------------------------------------------------------


@_checked
def rand(shape: Shape, *, dtype: Any = float32, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A Tensor of numbers drawn uniformly from [0, 1), by the device's generator (see `manual_seed`).

    >>> import minigrad as mg
    >>> mg.rand((2, 3)).shape
    (2, 3)
    """
    return _random("random", shape, dtype, device, requires_grad)


@_checked
def randn(shape: Shape, *, dtype: Any = float32, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A Tensor of numbers drawn from the standard normal distribution, by the device's generator.

    >>> import minigrad as mg
    >>> mg.randn((2, 3)).shape
    (2, 3)
    """
    return _random("standard_normal", shape, dtype, device, requires_grad)


def _random(distribution: str, shape: Shape, dtype: Any, device: str | None, requires_grad: bool) -> Tensor:
    xp = _namespace(device)
    with xp.activate():
        draw = getattr(xp.generator, distribution)
        found = as_dtype(dtype or float32)
        if found not in (float32, float64):  # NumPy and CuPy draw no others
            raise TypeError(f"expected float32 or float64 to draw random numbers in, got {found}; convert with .astype")
        return _made(draw(shape, dtype=found.type), requires_grad)


# Like another -------------------------------------------------------------------------------------


def _like(x: Any, dtype: Any, device: str | None) -> dict[str, Any]:
    if type(x) is not Tensor:
        raise TypeError(f"expected a Tensor to make another like it, got {type(x).__name__}")
    device = x.device if device is None else device
    return {"shape": x.shape, "dtype": x.dtype if dtype is None else dtype, "device": device}


def zeros_like(x: Tensor, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Zeros of the shape, dtype and device of x, unless others are named.

    >>> import minigrad as mg
    >>> mg.zeros_like(mg.ones(2))
    tensor([0., 0.], dtype=float32, device='cpu')
    """
    return zeros(**_like(x, dtype, device), requires_grad=requires_grad)


def ones_like(x: Tensor, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Ones of the shape, dtype and device of x, unless others are named.

    >>> import minigrad as mg
    >>> mg.ones_like(mg.zeros(2))
    tensor([1., 1.], dtype=float32, device='cpu')
    """
    return ones(**_like(x, dtype, device), requires_grad=requires_grad)


def full_like(
    x: Tensor, value: float, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """One value, in the shape, dtype and device of x, unless others are named.

    >>> import minigrad as mg
    >>> mg.full_like(mg.zeros(2), 0.5)
    tensor([0.5, 0.5], dtype=float32, device='cpu')
    """
    return full(
        x.shape,
        value,
        dtype=dtype or x.dtype,
        device=x.device if device is None else device,
        requires_grad=requires_grad,
    )


def rand_like(x: Tensor, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Numbers drawn uniformly from [0, 1), in the shape, dtype and device of x, unless others are named.

    >>> import minigrad as mg
    >>> mg.rand_like(mg.zeros((2, 3))).shape
    (2, 3)
    """
    return rand(**_like(x, dtype, device), requires_grad=requires_grad)


def randn_like(x: Tensor, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Standard normal numbers, in the shape, dtype and device of x, unless others are named.

    >>> import minigrad as mg
    >>> mg.randn_like(mg.zeros((2, 3))).shape
    (2, 3)
    """
    return randn(**_like(x, dtype, device), requires_grad=requires_grad)
