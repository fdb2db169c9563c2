"""Primitives that take axes away, and the pair that adds and undoes them: broadcast_to and sum_to.

`axis` is None (all axes), an integer, or a tuple of them; `keepdims` leaves each reduced axis with size 1.
"""

from __future__ import annotations

import builtins
import math

from ..backend import Array
from .primitive import INPUTS, OUTPUT, XP, Domain, Shape, reduction

Axis = int | tuple[int, ...] | None


def _axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    axes = tuple(range(ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return tuple(a % ndim for a in axes)


def _count(x: Array, axis: Axis) -> int:
    """How many entries go into one entry of the result."""
    return math.prod(x.shape[a] for a in _axes(axis, x.ndim))


def _with_reduced_axes(xp: XP, g: Array, x: Array, axis: Axis, keepdims: bool) -> Array:
    """`g` with its reduced axes back, as axes of size 1, so that it broadcasts against x."""
    if keepdims or x.ndim == 0:
        return g
    axes = _axes(axis, x.ndim)
    return xp.reshape(g, shape=tuple(1 if a in axes else size for a, size in enumerate(x.shape)))


# Sums ---------------------------------------------------------------------------------------------


@reduction()
def sum(xp: XP, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """y = Σ x             ∂y/∂xᵢ = 1"""
    return xp.sum(x, axis=axis, keepdims=keepdims)


@sum.derivatives
def _(xp: XP, g: Array, y: Array, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    return xp.broadcast_to(_with_reduced_axes(xp, g, x, axis, keepdims), shape=x.shape)


@reduction()
def mean(xp: XP, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """y = Σ x / n         ∂y/∂xᵢ = 1/n          n: the number of entries reduced; of none it is NaN"""
    return xp.mean(x, axis=axis, keepdims=keepdims)


@mean.derivatives
def _(xp: XP, g: Array, y: Array, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    g = g / builtins.max(_count(x, axis), 1)
    return xp.broadcast_to(_with_reduced_axes(xp, g, x, axis, keepdims), shape=x.shape)


@reduction(saves=INPUTS)
def var(xp: XP, x: Array, *, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Array:
    """y = Σ (x - mean x)² / (n - ddof)          ∂y/∂xᵢ = 2 (xᵢ - mean x) / (n - ddof)"""
    return xp.var(x, axis=axis, ddof=ddof, keepdims=keepdims)


@var.derivatives
def _(xp: XP, g: Array, y: Array, x: Array, *, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Array:
    freedom = _count(x, axis) - ddof
    centred = x - xp.mean(x, axis=axis, keepdims=True)
    return _with_reduced_axes(xp, g, x, axis, keepdims) * centred * (2 / freedom if freedom > 0 else math.nan)


@reduction(saves=(INPUTS, OUTPUT))
def std(xp: XP, x: Array, *, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Array:
    """y = √var x          ∂y/∂xᵢ = (xᵢ - mean x) / ((n - ddof) y)          0 where y = 0"""
    return xp.std(x, axis=axis, ddof=ddof, keepdims=keepdims)


@std.derivatives
def _(xp: XP, g: Array, y: Array, x: Array, *, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Array:
    g, y = (_with_reduced_axes(xp, a, x, axis, keepdims) for a in (g, y))
    freedom = _count(x, axis) - ddof
    centred = x - xp.mean(x, axis=axis, keepdims=True)
    scale = 1 / freedom if freedom > 0 else math.nan
    return xp.where(y == 0, 0, g * centred * scale / xp.where(y == 0, 1, y))


def _sum_kept(xp: XP, x: Array, axis: Axis) -> Array:
    """Σ x with the axes kept. Along a last axis of few entries NumPy's sum is four times slower than its einsum."""
    if xp.on_host and x.ndim > 1 and _axes(axis, x.ndim) == (x.ndim - 1,):
        return xp.einsum("...j->...", x)[..., None]
    return xp.sum(x, axis=axis, keepdims=True)


@reduction(saves=(INPUTS, OUTPUT))
def logsumexp(xp: XP, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """y = log Σ eˣ        ∂y/∂xᵢ = e^(xᵢ - y)          the largest x is taken out first: it cannot overflow"""
    by_row = xp.logsumexp(x) if x.ndim == 2 and axis in (1, -1) else None
    if by_row is not None:
        return by_row[:, None] if keepdims else by_row
    largest = xp.max(x, axis=axis, keepdims=True)
    largest = xp.where(xp.isfinite(largest), largest, 0.0)
    y = xp.log(_sum_kept(xp, xp.exp(x - largest), axis)) + largest
    return y if keepdims else y.reshape([n for a, n in enumerate(x.shape) if a not in _axes(axis, x.ndim)])


@logsumexp.derivatives
def _(xp: XP, g: Array, y: Array, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    g, y = (_with_reduced_axes(xp, a, x, axis, keepdims) for a in (g, y))
    return g * xp.exp(x - xp.where(y == -math.inf, 0, y))  # where every x is -∞, so is y, and nothing depends on x


@reduction()
def cumsum(xp: XP, x: Array, *, axis: int | None = None) -> Array:
    """yᵢ = x₀ + ... + xᵢ along `axis` (of flattened x if None)          ∂yⱼ/∂xᵢ = 1 where i ≤ j, else 0"""
    return xp.cumsum(x, axis=axis)


@cumsum.derivatives
def _(xp: XP, g: Array, y: Array, x: Array, *, axis: int | None = None) -> Array:
    from_the_end = xp.cumsum(xp.flip(g, axis=axis), axis=axis)
    return xp.reshape(xp.flip(from_the_end, axis=axis), shape=x.shape)


# The largest and the smallest ---------------------------------------------------------------------


def _shared_among_ties(xp: XP, g: Array, y: Array, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    g, y = (_with_reduced_axes(xp, a, x, axis, keepdims) for a in (g, y))
    chosen = xp.astype(x == y, dtype=x.dtype)
    return g * chosen / xp.sum(chosen, axis=axis, keepdims=True)


@reduction(saves=(INPUTS, OUTPUT), domain=Domain(-3.0, 3.0, distinct=True))
def max(xp: XP, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """y = max x           ∂y/∂xᵢ = 1/k where xᵢ is one of k equal largest entries, else 0"""
    return xp.max(x, axis=axis, keepdims=keepdims)


@reduction(saves=(INPUTS, OUTPUT), domain=Domain(-3.0, 3.0, distinct=True))
def min(xp: XP, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """y = min x           ∂y/∂xᵢ = 1/k where xᵢ is one of k equal smallest entries, else 0"""
    return xp.min(x, axis=axis, keepdims=keepdims)


max.derivatives(_shared_among_ties)
min.derivatives(_shared_among_ties)


@reduction()
def argmax(xp: XP, x: Array, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """The index of the first largest entry (of the flattened array if axis is None); no derivative."""
    return xp.argmax(x, axis=axis, keepdims=keepdims)


@reduction()
def argmin(xp: XP, x: Array, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """The index of the first smallest entry (of the flattened array if axis is None); no derivative."""
    return xp.argmin(x, axis=axis, keepdims=keepdims)


# Broadcasting and its adjoint ---------------------------------------------------------------------


def _cannot_broadcast_to(x: Shape, *, shape: Shape) -> str:
    return f"an x whose axes, counted from the last, are 1 or equal to those of {shape}, got {x}"


def _cannot_sum_to(x: Shape, *, shape: Shape) -> str:
    return f"a shape that broadcasts to {x}, got {shape}"


@reduction(explain_shapes=_cannot_broadcast_to)
def broadcast_to(xp: XP, x: Array, *, shape: Shape) -> Array:
    """y = x repeated along new axes and along axes of size 1          its adjoint is sum_to"""
    return xp.broadcast_to(x, shape)


broadcast_to.derivatives(lambda xp, g, y, x, *, shape: xp.sum_to(g, shape=x.shape))


@reduction(explain_shapes=_cannot_sum_to)
def sum_to(xp: XP, x: Array, *, shape: Shape) -> Array:
    """y = x summed over the axes that broadcasting from `shape` had added          its adjoint is broadcast_to"""
    if x.shape == shape:
        return x
    extra = x.ndim - len(shape)
    if extra < 0 or any(n not in (1, x.shape[extra + a]) for a, n in enumerate(shape)):
        raise ValueError(f"cannot sum {x.shape} to {shape}")
    y = xp.sum(x, axis=tuple(range(extra))) if extra else x
    stretched = tuple(a for a, n in enumerate(shape) if n == 1 and y.shape[a] != 1)
    return xp.sum(y, axis=stretched, keepdims=True) if stretched else y


sum_to.derivatives(lambda xp, g, y, x, *, shape: xp.broadcast_to(g, shape=x.shape))
