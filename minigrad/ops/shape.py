"""Primitives that move entries without changing them. Each derivative moves the gradient back."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from ..backend import Array
from .primitive import XP, Shape, no_such_axis, shape

# One in, one out ----------------------------------------------------------------------------------


def _cannot_reshape(x: Shape, *, shape: Shape) -> str:
    return f"a shape of {math.prod(x)} entries, as {x} has (one axis may be -1), got {shape}"


def _cannot_transpose(x: Shape, *, axes: Any = None) -> str:
    return f"axes that name each of the {len(x)} axes of {x} once, got {axes}"


def _cannot_squeeze(x: Shape, *, axis: Any = None) -> str:
    return no_such_axis(x, axis) or f"axes of size 1, got axis {axis} of shape {x}"


def _cannot_expand(x: Shape, *, axis: Any) -> str:
    added = len(axis) if isinstance(axis, tuple) else 1
    ndim = len(x) + added
    return f"new axes between {-ndim} and {ndim - 1}, each once, for shape {x}, got {axis}"


def _cannot_flip(x: Shape, *, axis: Any = None) -> str:
    return no_such_axis(x, axis) or "an axis"


def _cannot_pad(x: Shape, *, pad_width: Any, mode: str = "constant", constant_values: Any = 0) -> str:
    if mode != "constant":
        return f'mode "constant", the only one there is (its value is constant_values=), got {mode!r}'
    return f"pad_width as one number, one pair (before, after) or {len(x)} pairs, none negative, got {pad_width!r}"


@shape(_cannot_reshape)
def reshape(xp: XP, x: Array, *, shape: Shape) -> Array:
    """y = x with its entries, in C order, under another shape"""
    return xp.reshape(x, shape)


reshape.derivatives(lambda xp, g, y, x, *, shape: xp.reshape(g, shape=x.shape))


@shape(_cannot_transpose)
def transpose(xp: XP, x: Array, *, axes: Sequence[int] | None = None) -> Array:
    """y = x with its axes in the order `axes`, reversed if None"""
    return xp.transpose(x, axes)


@transpose.derivatives
def _(xp: XP, g: Array, y: Array, x: Array, *, axes: Sequence[int] | None = None) -> Array:
    if axes is None:
        return xp.transpose(g)
    order = [a % x.ndim for a in axes]
    return xp.transpose(g, axes=tuple(order.index(a) for a in range(x.ndim)))


@shape(_cannot_squeeze)
def squeeze(xp: XP, x: Array, *, axis: int | tuple[int, ...] | None = None) -> Array:
    """y = x without its axes of size 1, or without those named"""
    return xp.squeeze(x, axis)


squeeze.derivatives(lambda xp, g, y, x, *, axis=None: xp.reshape(g, shape=x.shape))


@shape(_cannot_expand)
def expand_dims(xp: XP, x: Array, *, axis: int | tuple[int, ...]) -> Array:
    """y = x with new axes of size 1 at the positions `axis` of the result"""
    return xp.expand_dims(x, axis)


expand_dims.derivatives(lambda xp, g, y, x, *, axis: xp.reshape(g, shape=x.shape))


@shape(_cannot_flip)
def flip(xp: XP, x: Array, *, axis: int | tuple[int, ...] | None = None) -> Array:
    """y = x in reverse order along `axis`, along every axis if None"""
    return xp.flip(x, axis)


flip.derivatives(lambda xp, g, y, x, *, axis=None: xp.flip(g, axis=axis))


@shape(_cannot_pad)
def pad(xp: XP, x: Array, *, pad_width: Any, mode: str = "constant", constant_values: float = 0) -> Array:
    """y = x with `constant_values` around it, as many as pad_width = ((before, after), ...) says of each axis

    One pair, or one number, serves all axes.
    """
    if mode != "constant":
        raise ValueError("only the mode constant is there")
    inside = _inside(x, pad_width)
    y = xp.full(
        [n + sum(pair) for n, pair in zip(x.shape, _pairs(x, pad_width), strict=True)], constant_values, x.dtype
    )
    y[inside] = x
    return y


pad.derivatives(lambda xp, g, y, x, *, pad_width, **_: xp.getitem(g, index=_inside(x, pad_width)))


def _pairs(x: Array, pad_width: Any) -> list[tuple[int, int]]:
    """How many entries go before and after each axis of x."""
    widths = pad_width if isinstance(pad_width, (tuple, list)) else (pad_width, pad_width)
    if not any(isinstance(width, (tuple, list)) for width in widths):
        widths = [widths]
    pairs = [tuple(width) for width in (widths * x.ndim if len(widths) == 1 else widths)]
    if len(pairs) != x.ndim or any(len(pair) != 2 or min(pair) < 0 for pair in pairs):
        raise ValueError("not a pair of widths per axis")
    return pairs


def _inside(x: Array, pad_width: Any) -> tuple[slice, ...]:
    """Where x lies in the padded array."""
    pairs = _pairs(x, pad_width)
    return tuple(slice(before, before + n) for n, (before, _) in zip(x.shape, pairs, strict=True))


# Many in, one out, and back -----------------------------------------------------------------------


def _cannot_concatenate(*xs: Shape, axis: int = 0) -> str:
    if not xs:
        return "at least one array to concatenate, got none"
    return f"an axis, and arrays that agree on all others; got axis {axis} and {_list(xs)}"


def _cannot_stack(*xs: Shape, axis: int = 0) -> str:
    if not xs:
        return "at least one array to stack, got none"
    return f"arrays of one shape, and an axis from {-len(xs[0]) - 1} to {len(xs[0])}, got {_list(xs)}, axis {axis}"


def _list(shapes: Sequence[Shape]) -> str:
    return ", ".join(map(str, shapes[:8])) + (", ..." if len(shapes) > 8 else "")


def _cannot_split(x: Shape, *, sections: Any, axis: int = 0) -> str:
    wrong = no_such_axis(x, axis)
    if wrong or not isinstance(sections, int):
        return wrong or f"the indices at which to split, as integers, got {sections!r}"
    return f"a number of equal sections that divides axis {axis} of {x}, got {sections}"


def _cannot_unstack(x: Shape, *, axis: int = 0) -> str:
    return no_such_axis(x, axis) or "an array to unstack"


@shape(_cannot_concatenate, variadic=True)
def concatenate(xp: XP, xs: Sequence[Array], *, axis: int = 0) -> Array:
    """y = the arrays xs one after the other along `axis`          its adjoint is split"""
    if axis is None:
        raise ValueError("an axis is needed; flatten with reshape(-1) first")
    return xp.concatenate(xs, axis)


@concatenate.derivatives
def _(xp: XP, g: Array, y: Array, xs: Sequence[Array], *, axis: int = 0) -> list[Array]:
    ends = [0]
    for x in xs:
        ends.append(ends[-1] + x.shape[axis])
    return list(xp.split(g, sections=ends[1:-1], axis=axis))


@shape(_cannot_split, multiple=True)
def split(xp: XP, x: Array, *, sections: int | Sequence[int], axis: int = 0) -> list[Array]:
    """ys = x cut along `axis` into equal sections, or at the indices given          its adjoint is concatenate"""
    size = x.shape[axis]
    if isinstance(sections, int) and sections > 0 and size % sections == 0:
        ends = list(range(0, size + 1, size // sections)) if size else [0] * (sections + 1)
    elif isinstance(sections, (list, tuple)) and sorted(ends := [0, *sections, size]) == ends:
        pass
    else:  # what NumPy makes of it, or raises
        parts: list[Array] = xp.split(x, sections, axis)
        return parts
    before = (slice(None),) * (axis % x.ndim)
    return [x[(*before, slice(start, end))] for start, end in itertools.pairwise(ends)]


@split.derivatives
def _(xp: XP, g: list[Array], y: list[Array], x: Array, *, sections: int | Sequence[int], axis: int = 0) -> Array:
    if isinstance(sections, int) or sum(part.shape[axis] for part in g) == x.shape[axis]:
        return xp.concatenate(g, axis=axis)
    before = (slice(None),) * (axis % x.ndim)  # indices that go back make parts that overlap
    cuts = zip([None, *sections], [*sections, None], strict=True)
    parts = [xp.scatter_add(p, index=(*before, slice(*cut)), shape=x.shape) for p, cut in zip(g, cuts, strict=True)]
    return xp.sum(xp.stack(parts), axis=0)


@shape(_cannot_stack, variadic=True)
def stack(xp: XP, xs: Sequence[Array], *, axis: int = 0) -> Array:
    """y = the arrays xs, of one shape, side by side along a new `axis`          its adjoint is unstack"""
    return xp.stack(xs, axis)


stack.derivatives(lambda xp, g, y, xs, *, axis=0: xp.unstack(g, axis=axis))


@shape(_cannot_unstack, multiple=True)
def unstack(xp: XP, x: Array, *, axis: int = 0) -> list[Array]:
    """ys = the slices of x along `axis`, which disappears          its adjoint is stack"""
    moved = xp.moveaxis(x, axis, 0) if axis or not x.ndim else x
    return [moved[i] for i in range(len(moved))]


unstack.derivatives(lambda xp, g, y, x, *, axis=0: xp.stack(g, axis=axis))
