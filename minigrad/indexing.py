"""Indices as people write them, made into integers, slices and integer arrays of the tensor's device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .backend import Array, as_dtype, copied, cpu, is_array, namespace_of, python_scalar
from .graph import Tensor
from .messages import describe
from .ops import index
from .shortcuts import looked_up
from .tape import apply, as_tensor

# x[...] -------------------------------------------------------------------------------------------


_PLAIN = {int, slice, type(None), type(...)}  # what a device takes as it is


def as_index(x: Tensor, key: Any) -> Any:
    """What `getitem` takes, from Tensors, arrays, lists, masks, integers, slices, None and `...`.

    A boolean mask becomes the indices of its true entries, as in NumPy; finding them makes the host wait
    for the device once.
    """
    if type(key) in _PLAIN:
        return key
    parts = key if type(key) is tuple else (key,)
    if all(type(part) in _PLAIN for part in parts):
        return key
    found = [_as_part(x, part, "getitem") for part in parts]
    if any(_is_mask(part) for part in found):
        found = _without_masks(x, found)
    found = [_on_device_of(x, part) for part in found]
    return tuple(found) if type(key) is tuple or len(found) != 1 else found[0]


def _as_part(x: Tensor, part: Any, caller: str) -> Any:
    """One part of an index; lists and tuples as arrays of the host."""
    if type(part) is Tensor:
        part = part._data
    if isinstance(part, (list, tuple)):
        return _as_host_indices(part)
    if is_array(part):
        if namespace_of(part) is not namespace_of(x._data):
            raise RuntimeError(
                f"{caller}: expected an index on the device of x, {describe(x)}, got {describe(Tensor(part))}; "
                "move one with .to(device)"
            )
        return copied(part)  # what is written to it later must not change the derivative
    if type(python_scalar(part)) is bool:
        raise IndexError(f"{caller}: expected a mask with the shape of the axes it picks from, got {part}")
    return part


def _as_host_indices(indices: Any) -> Array:
    host = cpu.asarray(indices)
    return host if host.size else host.astype(int)


def _is_mask(part: Any) -> bool:
    return is_array(part) and part.dtype.kind == "b"


def _without_masks(x: Tensor, parts: Sequence[Any]) -> list[Any]:
    """Each mask replaced by its true entries' indices, one array for each axis it lies over."""
    axes = [part.ndim if _is_mask(part) else int(part is not None and part is not Ellipsis) for part in parts]
    axis = 0
    found: list[Any] = []
    for part, count in zip(parts, axes, strict=True):
        if _is_mask(part):
            below = x.shape[axis : axis + count]
            if part.shape != below or not count:
                raise IndexError(
                    f"getitem: expected a mask with the shape of the axes it picks from, {below} of x {describe(x)}, "
                    f"got one of shape {tuple(part.shape)}"
                )
            xp = namespace_of(part)
            xp.make_current()
            found += xp.nonzero(part)
        else:
            found.append(part)
        axis += x.ndim - sum(axes) if part is Ellipsis else count
    return found


def _on_device_of(x: Tensor, part: Any) -> Any:
    """Indices of the host on the device of x; anything else as it is."""
    if not is_array(part) or type(part) is type(x._data):
        return part
    return namespace_of(x._data).from_host(part)


# Functions ----------------------------------------------------------------------------------------


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
    x = as_tensor(x, "take")
    indices = _integers(x, indices, "take")
    rows = apply(index.take, (x,), {"indices": indices, "axis": axis})
    if axis == 0:
        looked_up(rows, x, indices)
    return rows


def take_along_axis(x: Tensor, indices: Any, axis: int | None = -1) -> Tensor:
    """One entry of x per index along an axis (of flattened x if None), as `numpy.take_along_axis`.

    Equation: y[..., i, ...] = x[..., indices[..., i, ...], ...]. Shapes: `indices` has as many axes as x;
    along `axis` it may have any size, along the others the two broadcast. An entry picked twice gets both
    gradients.

    Raises:
        IndexError: an index is out of range (a GPU wraps it silently), or the shapes do not broadcast.
        ValueError: `indices` has another number of axes than x, or there is no such axis.
        TypeError: the indices are not integers.

    >>> import minigrad as mg
    >>> x = mg.tensor([[3.0, 1.0, 2.0], [5.0, 6.0, 4.0]])
    >>> mg.take_along_axis(x, x.argmax(axis=1, keepdims=True), axis=1).tolist()
    [[3.0], [6.0]]
    """
    x = as_tensor(x, "take_along_axis")
    if axis is None:
        x, axis = x.reshape(-1), 0
    return apply(index.take_along_axis, (x,), {"indices": _integers(x, indices, "take_along_axis"), "axis": axis})


def _integers(x: Tensor, indices: Any, caller: str) -> Array:
    """Integer indices as an array of the device of x."""
    of_host = isinstance(indices, (int, list, tuple))
    indices = _as_host_indices(indices) if of_host else _as_part(x, indices, caller)
    if getattr(indices, "dtype", as_dtype(float)).kind not in "iu":
        shown = getattr(indices, "dtype", type(indices).__name__)
        raise TypeError(f"{caller}: expected integer indices, got {shown}")
    return _on_device_of(x, indices if is_array(indices) else cpu.asarray(indices))
