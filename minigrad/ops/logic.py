"""Primitives with boolean results: comparisons, logic, tests. None of them has a derivative."""

from __future__ import annotations

from ..backend import Array
from .primitive import BOOLEAN, XP, elementwise, reduction
from .reduction import Axis

# Comparisons --------------------------------------------------------------------------------------


@elementwise()
def equal(xp: XP, x: Array, y: Array) -> Array:
    """out = (x = y)"""
    return xp.equal(x, y)


@elementwise()
def not_equal(xp: XP, x: Array, y: Array) -> Array:
    """out = (x ≠ y)"""
    return xp.not_equal(x, y)


@elementwise()
def less(xp: XP, x: Array, y: Array) -> Array:
    """out = (x < y)"""
    return xp.less(x, y)


@elementwise()
def less_equal(xp: XP, x: Array, y: Array) -> Array:
    """out = (x ≤ y)"""
    return xp.less_equal(x, y)


@elementwise()
def greater(xp: XP, x: Array, y: Array) -> Array:
    """out = (x > y)"""
    return xp.greater(x, y)


@elementwise()
def greater_equal(xp: XP, x: Array, y: Array) -> Array:
    """out = (x ≥ y)"""
    return xp.greater_equal(x, y)


# Logic --------------------------------------------------------------------------------------------


@elementwise(domain=BOOLEAN)
def logical_and(xp: XP, x: Array, y: Array) -> Array:
    """out = x and y"""
    return xp.logical_and(x, y)


@elementwise(domain=BOOLEAN)
def logical_or(xp: XP, x: Array, y: Array) -> Array:
    """out = x or y"""
    return xp.logical_or(x, y)


@elementwise(domain=BOOLEAN)
def logical_not(xp: XP, x: Array) -> Array:
    """y = not x"""
    return xp.logical_not(x)


@reduction(domain=BOOLEAN)
def any(xp: XP, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """y = whether any entry is true, or not 0; of none it is false"""
    return xp.any(x, axis=axis, keepdims=keepdims)


@reduction(domain=BOOLEAN)
def all(xp: XP, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """y = whether every entry is true, or not 0; of none it is true"""
    return xp.all(x, axis=axis, keepdims=keepdims)


# Tests --------------------------------------------------------------------------------------------


@elementwise()
def isnan(xp: XP, x: Array) -> Array:
    """y = whether x is not a number"""
    return xp.isnan(x)


@elementwise()
def isinf(xp: XP, x: Array) -> Array:
    """y = whether x is +∞ or -∞"""
    return xp.isinf(x)


@elementwise()
def isfinite(xp: XP, x: Array) -> Array:
    """y = whether x is neither infinite nor NaN"""
    return xp.isfinite(x)
