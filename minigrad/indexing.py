"""Indices as people write them, made into arrays of the tensor's device."""

from __future__ import annotations

from typing import Any

from .backend import as_dtype, cpu, is_array, namespace_of
from .messages import describe
from .ops import index
from .tape import Tensor, apply


def as_index(x: Tensor, key: Any) -> Any:
    """An index as arrays of x's device, from Tensors, arrays, lists, integers, slices, None and `...`."""
    if type(key) is tuple:
        return tuple(as_index(x, part) for part in key)
    if type(key) is Tensor:
        key = key._data
    if is_array(key):
        if type(key) is not type(x._data):
            raise RuntimeError(
                f"getitem: expected an index on the device of x, {describe(x)}, got {describe(Tensor(key))}; "
                "move one with .to(device)"
            )
        return key.copy()  # what is written to it later must not change the derivative
    if isinstance(key, list):
        host = cpu.asarray(key)
        return namespace_of(x._data).from_host(host.astype(int) if not host.size else host)
    return key


def take(x: Tensor, indices: Any, axis: int | None = None) -> Tensor:
    """The slices of x at integer indices along an axis (of flattened x if None), as `numpy.take`.

    Equation: y[..., i, ...] = x[..., indices[i], ...]. Shapes: the axis is replaced by those of `indices`.

    Raises:
        IndexError: an index is out of range (a GPU wraps it silently).
        TypeError: the indices are not integers.

    >>> import minigrad as mg
    >>> mg.take(mg.tensor([[1.0, 2.0], [3.0, 4.0]]), [1, 1], axis=0).tolist()
    [[3.0, 4.0], [3.0, 4.0]]
    """
    x = x if type(x) is Tensor else Tensor(x)
    if isinstance(indices, (int, tuple)) and not isinstance(indices, bool):
        indices = cpu.asarray(indices)
    else:
        indices = as_index(x, indices)
    if getattr(indices, "dtype", as_dtype(float)).kind not in "iu":
        shown = getattr(indices, "dtype", type(indices).__name__)
        raise TypeError(f"take: expected integer indices, got {shown}")
    if type(indices) is not type(x._data):
        indices = namespace_of(x._data).from_host(indices)
    return apply(index.take, (x,), {"indices": indices, "axis": axis})
