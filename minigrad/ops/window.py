"""Primitives of windows that slide over some axes of an array: each with its adjoint, which adds up where they overlap.

`size`, `stride` and `dilation` have a number per axis slid over; `axis` is the first of these axes. Entry o of window w
lies at w stride + o dilation. A loop over the entries of a window, in their order, does it for all windows at once:
few and large calls, and sums with the same bits each time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

from ..backend import Array
from .primitive import XP, Shape, index

Index = tuple[Any, ...]


def _first(x: Shape, axis: int, count: int) -> int:
    """The first of `count` axes from `axis` on, from 0; ValueError if there are not so many."""
    if not -len(x) <= axis <= len(x) - count or (axis < 0 and axis + count > 0):
        raise ValueError(f"no {count} axes from {axis} on in {x}")
    return axis % len(x)


def _counts(x: Shape, size: Shape, stride: Shape, dilation: Shape, axis: int) -> Shape:
    """How many windows there are along each axis; ValueError if there is none."""
    axis = _first(x, axis, len(size))
    if not size or min(*size, *stride, *dilation) < 1:
        raise ValueError("sizes, strides and dilations are positive")
    lengths = x[axis:]
    counts = tuple(
        (length - d * (k - 1) - 1) // s + 1
        for length, k, s, d in zip(lengths[: len(size)], size, stride, dilation, strict=True)
    )
    if min(counts) < 1:
        raise ValueError(f"windows of {size} in {x}")
    return counts


def _entries(counts: Shape, size: Shape, stride: Shape, dilation: Shape, axis: int) -> Iterator[tuple[Index, Index]]:
    """For each entry of a window: where it stands in the result, and an index of it in x, for all windows."""
    before = (slice(None),) * axis
    for entry in itertools.product(*map(range, size)):
        there = [
            slice(o * d, o * d + (n - 1) * s + 1, s) for o, n, s, d in zip(entry, counts, stride, dilation, strict=True)
        ]
        yield (*before, *entry), (*before, *there)


# All entries --------------------------------------------------------------------------------------


def _no_windows(x: Shape, *, size: Shape, stride: Shape, dilation: Shape, axis: int = 0) -> str:
    return (
        "size, stride and dilation with a positive number for each axis from `axis` on over which windows slide, and "
        f"room for one window; got size={size}, stride={stride}, dilation={dilation}, axis={axis} for shape {x}"
    )


def _not_of_windows(x: Shape, *, shape: Shape, stride: Shape, dilation: Shape, axis: int = 0) -> str:
    return (
        f"the windows of an array of shape {shape} at stride={stride}, dilation={dilation}, axis={axis}, got shape {x}"
    )


@index(_no_windows)
def windows(xp: XP, x: Array, *, size: Shape, stride: Shape, dilation: Shape, axis: int = 0) -> Array:
    """y[a, o, w, b] = x[a, w stride + o dilation, b], the window w's entry o          its adjoint is add_windows

    x (A, L, B) -> y (A, size, counts, B), each letter standing for any number of axes. What comes last in x comes
    last in y: with a batch there, the loops that copy are long, however few windows there are.
    """
    counts = _counts(x.shape, size, stride, dilation, axis)
    axis %= x.ndim
    y = xp.empty((*x.shape[:axis], *size, *counts, *x.shape[axis + len(size) :]), dtype=x.dtype)
    x = xp.ascontiguousarray(x)
    for here, there in _entries(counts, size, stride, dilation, axis):
        y[here] = x[there]
    return y


@windows.derivatives
def _(xp: XP, g: Array, y: Array, x: Array, *, size: Shape, stride: Shape, dilation: Shape, axis: int = 0) -> Array:
    return xp.add_windows(g, shape=x.shape, stride=stride, dilation=dilation, axis=axis)


@index(_not_of_windows)
def add_windows(xp: XP, x: Array, *, shape: Shape, stride: Shape, dilation: Shape, axis: int = 0) -> Array:
    """y = zeros(shape); y[a, w stride + o dilation, b] += x[a, o, w, b]          its adjoint is windows"""
    axis = _first(shape, axis, len(stride))
    size = x.shape[axis : axis + len(stride)]
    counts = _counts(shape, size, stride, dilation, axis)
    if x.shape != (*shape[:axis], *size, *counts, *shape[axis + len(size) :]):
        raise ValueError(f"windows of shape {x.shape}")
    y = xp.zeros(shape, dtype=x.dtype)
    for here, there in _entries(counts, size, stride, dilation, axis):
        y[there] += x[here]
    return y


@add_windows.derivatives
def _(xp: XP, g: Array, y: Array, x: Array, *, shape: Shape, stride: Shape, dilation: Shape, axis: int = 0) -> Array:
    size = x.shape[axis % len(shape) :][: len(stride)]
    return xp.windows(g, size=size, stride=stride, dilation=dilation, axis=axis)


# One entry of each --------------------------------------------------------------------------------


def _bits(x: Array) -> str:
    """x as integers, by which an entry is kept or made 0 with a product, whatever number it is.

    A choice by `where` waits for the processor to guess which it will be, and costs five times as much.
    """
    return f"i{x.dtype.itemsize}"


def _check_choice(xp: XP, which: Array, shape: Shape, size: Shape) -> None:
    """ValueError unless `which` has a number of an entry per window; the range is looked at on the host alone."""
    if which.dtype.kind not in "iu" or which.shape != shape:
        raise ValueError(f"{which.dtype} {which.shape} for {shape} windows")
    if xp.on_host and which.size and not (which.min() >= 0 and which.max() < math.prod(size)):
        raise ValueError(f"entries from {which.min()} to {which.max()} in windows of {size}")


def _bad_choice(x: Shape, *, which: Any, shape: Shape | None = None, **options: Any) -> str:
    chosen = (
        "and an integer array `which` with the number of an entry, from 0, per window, "
        f"got {getattr(which, 'dtype', type(which).__name__)} {getattr(which, 'shape', ())}"
    )
    expected = _no_windows(x, **options) if shape is None else f"x of the shape of `which`, got {x} for shape {shape}"
    return f"{expected}; {chosen}"


@index(_bad_choice)
def take_from_windows(
    xp: XP, x: Array, *, which: Array, size: Shape, stride: Shape, dilation: Shape, axis: int = 0
) -> Array:
    """y[a, w, b] = entry which[a, w, b] of the window w of x[a, :, b]          its adjoint is add_to_windows

    x (A, L, B), `which` and y (A, counts, B). The entries of a window are numbered from 0 in C order.
    """
    counts = _counts(x.shape, size, stride, dilation, axis)
    axis %= x.ndim
    _check_choice(xp, which, (*x.shape[:axis], *counts, *x.shape[axis + len(size) :]), size)
    bits = xp.ascontiguousarray(x).view(_bits(x))
    y = xp.zeros(which.shape, dtype=bits.dtype)
    for number, (_, there) in enumerate(_entries(counts, size, stride, dilation, axis)):
        y += bits[there] * (which == number)
    return y.view(x.dtype)


@take_from_windows.derivatives
def _(xp: XP, g: Array, y: Array, x: Array, **options: Any) -> Array:
    return xp.add_to_windows(g, shape=x.shape, **options)


@index(_bad_choice)
def add_to_windows(
    xp: XP, x: Array, *, which: Array, shape: Shape, size: Shape, stride: Shape, dilation: Shape, axis: int = 0
) -> Array:
    """y = zeros(shape); entry which[a, w, b] of the window w of y[a, :, b] += x[a, w, b]

    Its adjoint is take_from_windows.
    """
    counts = _counts(shape, size, stride, dilation, axis)
    axis %= len(shape)
    _check_choice(xp, which, (*shape[:axis], *counts, *shape[axis + len(size) :]), size)
    if x.shape != which.shape:
        raise ValueError(f"{x.shape} to add to {which.shape} windows")
    y = xp.zeros(shape, dtype=x.dtype)
    bits = xp.ascontiguousarray(x).view(_bits(x))
    for number, (_, there) in enumerate(_entries(counts, size, stride, dilation, axis)):
        y[there] += (bits * (which == number)).view(x.dtype)
    return y


@add_to_windows.derivatives
def _(xp: XP, g: Array, y: Array, x: Array, *, shape: Shape, **options: Any) -> Array:
    return xp.take_from_windows(g, **options)


def first_maxima(
    xp: XP, x: Array, inside: Array | None, *, size: Shape, stride: Shape, dilation: Shape, axis: int = 0
) -> Array:
    """The number of the entry of each window that is its maximum: the first of equal ones, or the last NaN.

    `inside` broadcasts against x, and is False at the padding, which is chosen only where a window has nothing else;
    None where there is no padding.
    """
    counts = _counts(x.shape, size, stride, dilation, axis)
    number_type = "uint8" if math.prod(size) <= 256 else "int32"
    places = enumerate(_entries(counts, size, stride, dilation, axis % x.ndim))
    _, (_, there) = next(places)
    x = xp.ascontiguousarray(x)
    best = x[there]
    seen: Any = None if inside is None else inside[there]
    which = xp.zeros(best.shape, dtype=number_type)
    for number, (_, there) in places:
        entry = x[there]
        is_new = (entry > best) | (entry != entry)
        if inside is not None:
            is_new |= inside[there] & ~seen
            seen = seen | inside[there]
        best = xp.maximum(best, entry)
        which = xp.maximum(which, is_new.astype(number_type) * number)
    return which
