"""Primitives that pick entries by index, and their adjoints, which add up by index.

An index is a parameter, never an input: it holds integers, slices, None, `...` and integer arrays of the
same device (a boolean mask has become integers before it comes here, see indexing.py). Whether integers
are in range is checked on the CPU; a GPU wraps them silently, because checking would make the host wait
for the device.
"""

from __future__ import annotations

import math
from typing import Any

from ..backend import Array
from .primitive import XP, Shape, index, no_such_axis


def _has_arrays(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(hasattr(part, "dtype") for part in parts)


# Adding up ----------------------------------------------------------------------------------------

WORTH_A_CALL = 512  # entries to add up per row of the result, from which a call for each row costs less than add_at


def add_at(xp: XP, y: Array, index: Any, x: Array) -> None:
    """y[index] += x, where an index that occurs twice is added twice, in the order of the index.

    The sums have the same bits each time. On a GPU, where the library's own add_at adds in any order, rows are sorted
    by where they go, and the sum of each row of y is computed on its own.
    """
    if not _has_arrays(index):  # slices and integers pick no entry twice
        y[index] += x
    elif not xp.on_host:
        _add_sorted(xp, y, index, x)
    elif _picks_rows(y, index, x) and x.size >= WORTH_A_CALL * min(index.size, len(y)):
        width = x.size // index.size
        _add_segments(xp, y.reshape(len(y), width), index.reshape(-1), x.reshape(index.size, width))
    else:
        xp.add_at(y, index, x)


def _picks_rows(y: Array, index: Any, x: Array) -> bool:
    is_array = hasattr(index, "dtype") and index.dtype.kind in "iu"
    return is_array and x.size > 0 and x.shape == index.shape + y.shape[1:]


def _add_segments(xp: XP, y: Array, numbers: Array, rows: Array) -> None:
    """y[number] += the sum of the rows of that number, for each number there is."""
    if xp.add_rows(y, numbers, rows):
        return
    order = xp.argsort(numbers, kind="stable")
    numbers = numbers[order]
    starts = [0, *(xp.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist(), len(numbers)]
    for number, start, end in zip(numbers[starts[:-1]].tolist(), starts, starts[1:], strict=False):
        y[number] += xp.sum(rows[order[start:end]], axis=0, dtype=y.dtype)


def _add_sorted(xp: XP, y: Array, index: Any, x: Array) -> None:
    """The sums where every entry of y has a thread, and nobody waits for the device."""
    index, kept = _without_whole_axes(index, y.ndim)
    leading, width = y.shape[:kept], math.prod(y.shape[kept:])
    count = math.prod(leading)
    if len(index) == kept == 1:
        (numbers,) = index
    else:
        numbers = xp.arange(count).reshape(leading)[index]
    if not numbers.size or not y.size:
        return
    numbers, rows = numbers.reshape(-1), xp.broadcast_to(x, numbers.shape + y.shape[kept:]).reshape(-1, width)
    sums = y if y.flags.c_contiguous else xp.zeros(y.shape, dtype=y.dtype)  # of anything else, reshape makes a copy
    matrix = sums.reshape(count, width)
    if not xp.add_rows(matrix, numbers, rows):
        _add_in_doubled_steps(xp, matrix, numbers, rows)
    if sums is not y:
        y += sums


def _without_whole_axes(index: Any, ndim: int) -> tuple[tuple[Any, ...], int]:
    """An index without the slices at its end that leave axes whole, and how many axes it is of then."""
    parts = list(index) if isinstance(index, tuple) else [index]
    kept = ndim
    while isinstance(parts[-1], slice) and parts[-1] == slice(None):
        parts.pop()
        kept -= 1
    if parts[-1] is Ellipsis:
        parts.pop()
    if not any(part is Ellipsis for part in parts):
        kept = sum(part is not None for part in parts)
    return tuple(parts), kept


def _add_in_doubled_steps(xp: XP, y: Array, numbers: Array, rows: Array) -> None:
    """y[numbers[i]] += rows[i] by functions of whole arrays, each row of y on its own.

    Among the rows, sorted by their numbers, sums[i] is the sum of as many as 2ᵏ from i on that have its number; with
    sums[i + 2ᵏ], if that has it too, of as many as 2ᵏ⁺¹; in the end, of all.
    """
    size = len(y)
    numbers = numbers.astype("int64", copy=False) % size  # wrapped silently, as an index is there
    order = xp.argsort(numbers, kind="stable")
    numbers, sums = numbers[order], rows[order]
    step = 1
    while step < len(numbers):
        goes_on = numbers[step:] == numbers[:-step]
        sums[:-step] += xp.where(goes_on[:, None], sums[step:], 0)
        step *= 2
    is_first = xp.ones(numbers.shape, dtype=bool)
    is_first[1:] = numbers[1:] != numbers[:-1]
    total = xp.zeros((size + 1, y.shape[1]), dtype=y.dtype)
    total[xp.where(is_first, numbers, size)] = sums  # in its last row lies what is no sum of all
    y += total[:size]


# Any index ----------------------------------------------------------------------------------------


def _bad_index(x: Shape, *, index: Any) -> str:
    shown = ", ".join(
        f"an array of shape {part.shape} and dtype {part.dtype}" if hasattr(part, "dtype") else repr(part)
        for part in (index if isinstance(index, tuple) else (index,))
    )
    kinds = "integers, slices, None, ..., integer arrays, masks"
    return f"at most {len(x)} indices, in range for shape {x}: {kinds}; got {shown}"


@index(_bad_index)
def getitem(xp: XP, x: Array, *, index: Any) -> Array:
    """y = x[index]        its adjoint is scatter_add"""
    return x[index]


getitem.derivatives(lambda xp, g, y, x, *, index: xp.scatter_add(g, index=index, shape=x.shape))


@index(lambda x, *, index, shape: f"a gradient of the shape of zeros({shape})[index], got {x}")
def scatter_add(xp: XP, x: Array, *, index: Any, shape: Shape) -> Array:
    """y = zeros(shape); y[index] += x, where an entry picked twice is added twice          its adjoint is getitem"""
    y = xp.zeros(shape, dtype=x.dtype)
    if _has_arrays(index):
        add_at(xp, y, index, x)
    else:  # slices and integers pick no entry twice
        y[index] = x
    return y


scatter_add.derivatives(lambda xp, g, y, x, *, index, shape: xp.getitem(g, index=index))

# Rows of a table ----------------------------------------------------------------------------------


def _bad_take(x: Shape, *, indices: Any, axis: int | None = None) -> str:
    wrong = None if axis is None else no_such_axis(x, axis)
    size = math.prod(x) if axis is None else x[axis] if not wrong else 0
    kind = getattr(indices, "dtype", type(indices).__name__)
    return wrong or f"{kind} indices from {-size} to {size - 1} for shape {x} along axis {axis}, got one outside"


@index(_bad_take)
def take(xp: XP, x: Array, *, indices: Array, axis: int | None = None) -> Array:
    """y = the slices of x at `indices` along `axis` (of flattened x if None)          its adjoint is segment_sum"""
    return xp.take(x, indices, axis=axis)


@take.derivatives
def _(xp: XP, g: Array, y: Array, x: Array, *, indices: Array, axis: int | None = None) -> Array:
    if axis is None:
        return xp.reshape(xp.segment_sum(g, indices=indices, size=math.prod(x.shape)), shape=x.shape)
    return xp.segment_sum(g, indices=indices, size=x.shape[axis], axis=axis % x.ndim)


def _bad_segments(x: Shape, *, indices: Any, size: int, axis: int = 0) -> str:
    return f"as many slices along axis {axis} as indices, got shape {x} and indices {getattr(indices, 'shape', ())}"


@index(_bad_segments)
def segment_sum(xp: XP, x: Array, *, indices: Array, size: int, axis: int = 0) -> Array:
    """y[j] = Σ x[i] over all i with indices[i] = j, for j < size, along `axis`          its adjoint is take

    The axes of `indices`, an array or an integer, stand in x where the result has the one axis `axis`.
    """
    ndim = getattr(indices, "ndim", 0)
    before, after = x.shape[:axis], x.shape[axis + ndim :]
    if axis and ndim and not xp.on_host:  # rows are added sooner than columns
        y = xp.zeros((size, *before, *after), dtype=x.dtype)
        add_at(xp, y, indices, xp.moveaxis(x, tuple(range(axis, axis + ndim)), tuple(range(ndim))))
        return xp.moveaxis(y, 0, axis)
    y = xp.zeros((*before, size, *after), dtype=x.dtype)
    add_at(xp, y, (*[slice(None)] * axis, indices) if axis else indices, x)
    return y


segment_sum.derivatives(lambda xp, g, y, x, *, indices, size, axis=0: xp.take(g, indices=indices, axis=axis))

# One index per entry ------------------------------------------------------------------------------


def _along(xp: XP, shape: Shape, indices: Array, axis: int) -> tuple[Array, ...]:
    """An index that follows `indices` along `axis` and every other axis in order; sizes of 1 broadcast."""
    if indices.ndim != len(shape) or not -len(shape) <= axis < len(shape):
        raise ValueError(f"axis {axis} of {indices.ndim} axes of indices for {len(shape)} axes")
    places = [xp.arange(n).reshape([-1 if a == b else 1 for b in range(len(shape))]) for a, n in enumerate(shape)]
    places[axis] = indices
    return tuple(places)


def _bad_along(x: Shape, *, indices: Any, axis: int, shape: Shape | None = None) -> str:
    target = x if shape is None else shape
    return no_such_axis(target, axis) or (
        f"integer indices from {-target[axis]} to {target[axis] - 1}, with as many axes as shape {target}, of which "
        f"all but axis {axis} broadcast against it; got {getattr(indices, 'shape', ())} {getattr(indices, 'dtype', '')}"
    )


@index(_bad_along)
def take_along_axis(xp: XP, x: Array, *, indices: Array, axis: int) -> Array:
    """y[..., i, ...] = x[..., indices[..., i, ...], ...]          its adjoint is add_along_axis"""
    return x[_along(xp, x.shape, indices, axis)]


take_along_axis.derivatives(
    lambda xp, g, y, x, *, indices, axis: xp.add_along_axis(g, indices=indices, axis=axis, shape=x.shape)
)


@index(_bad_along)
def add_along_axis(xp: XP, x: Array, *, indices: Array, axis: int, shape: Shape) -> Array:
    """y = zeros(shape); y[..., indices[..., i, ...], ...] += x[..., i, ...]          its adjoint is take_along_axis"""
    y = xp.zeros(shape, dtype=x.dtype)
    add_at(xp, y, _along(xp, shape, indices, axis), x)
    return y


add_along_axis.derivatives(
    lambda xp, g, y, x, *, indices, axis, shape: xp.take_along_axis(g, indices=indices, axis=axis)
)
