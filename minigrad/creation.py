"""Making tensors: from data, of one value, or at random. On the default device unless one is named."""

from __future__ import annotations

from typing import Any

from .backend import (
    Array,
    ArrayNamespace,
    as_dtype,
    as_host_array,
    default_device,
    float32,
    is_array,
    namespace,
    namespace_of,
)
from .tape import Tensor
from .tensor import check_floating

Shape = int | tuple[int, ...]


def _namespace(device: str | None) -> ArrayNamespace:
    return namespace(device or default_device())


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
        DeviceError: the device cannot be used.

    >>> tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]], dtype=int64, device='cpu')
    """
    if type(data) is Tensor:
        device, data = device or data.device, data.data
    if is_array(data) and namespace_of(data).device != "cpu":
        source = namespace_of(data)
        target = namespace(device or source.device)
        array = source.array(data, dtype=dtype or data.dtype)
        if target is not source:
            array = target.from_host(source.to_host(array))
        return _made(array, requires_grad)
    return _made(_namespace(device).from_host(as_host_array(data, dtype)), requires_grad)


def zeros(shape: Shape, *, dtype: Any = float32, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A Tensor of zeros.

    >>> zeros(2)
    tensor([0., 0.], dtype=float32, device='cpu')
    """
    return full(shape, 0, dtype=dtype, device=device, requires_grad=requires_grad)


def ones(shape: Shape, *, dtype: Any = float32, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A Tensor of ones.

    >>> ones((1, 2))
    tensor([[1., 1.]], dtype=float32, device='cpu')
    """
    return full(shape, 1, dtype=dtype, device=device, requires_grad=requires_grad)


def full(
    shape: Shape, value: float, *, dtype: Any = float32, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A Tensor filled with one value.

    >>> full(2, 0.5)
    tensor([0.5, 0.5], dtype=float32, device='cpu')
    """
    xp = _namespace(device)
    with xp.activate():
        return _made(xp.full(shape, value, dtype=dtype or float32), requires_grad)


def arange(
    start: float, stop: float | None = None, step: float = 1, *, dtype: Any = None, device: str | None = None
) -> Tensor:
    """start, start + step, ... up to but without stop; arange(stop) starts at 0. Floats give float32.

    >>> arange(3)
    tensor([0, 1, 2], dtype=int64, device='cpu')
    """
    first, last = (0, start) if stop is None else (start, stop)
    if dtype is None and any(isinstance(v, float) for v in (first, last, step)):
        dtype = float32
    xp = _namespace(device)
    with xp.activate():
        return Tensor(xp.arange(first, last, step, dtype=dtype))


def eye(n: int, m: int | None = None, *, dtype: Any = float32, device: str | None = None) -> Tensor:
    """An (n, m) matrix with ones on its diagonal; m is n if not given.

    >>> eye(2)
    tensor([[1., 0.],
            [0., 1.]], dtype=float32, device='cpu')
    """
    xp = _namespace(device)
    with xp.activate():
        return Tensor(xp.eye(n, m, dtype=dtype or float32))


def rand(shape: Shape, *, dtype: Any = float32, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A Tensor of numbers drawn uniformly from [0, 1), by the device's generator (see `manual_seed`).

    >>> rand((2, 3)).shape
    (2, 3)
    """
    return _random("random", shape, dtype, device, requires_grad)


def randn(shape: Shape, *, dtype: Any = float32, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A Tensor of numbers drawn from the standard normal distribution, by the device's generator.

    >>> randn((2, 3)).shape
    (2, 3)
    """
    return _random("standard_normal", shape, dtype, device, requires_grad)


def _random(distribution: str, shape: Shape, dtype: Any, device: str | None, requires_grad: bool) -> Tensor:
    xp = _namespace(device)
    with xp.activate():
        draw = getattr(xp.generator, distribution)
        return _made(draw(shape, dtype=as_dtype(dtype or float32).type), requires_grad)


def zeros_like(x: Tensor, *, dtype: Any = None) -> Tensor:
    """Zeros of the shape, dtype and device of x.

    >>> zeros_like(ones(2))
    tensor([0., 0.], dtype=float32, device='cpu')
    """
    return zeros(x.shape, dtype=dtype or x.dtype, device=x.device)


def ones_like(x: Tensor, *, dtype: Any = None) -> Tensor:
    """Ones of the shape, dtype and device of x.

    >>> ones_like(zeros(2))
    tensor([1., 1.], dtype=float32, device='cpu')
    """
    return ones(x.shape, dtype=dtype or x.dtype, device=x.device)
