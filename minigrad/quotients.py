"""Quotients rounded down and what remains, as NumPy has them, if they are of float32 or float64: for GPUs.

CuPy takes the remainder to be x - ⌊x/y⌋ y, with a quotient that was rounded first. That is wrong where the rounding
reached a whole number (1 // 0.1 is 9), of the other sign or larger than y where x/y is large, and NaN where y is
infinite.
"""

from __future__ import annotations

from typing import Any

Array = Any


def are_floating(x: Any, y: Any) -> bool:
    """Whether x / y, of arrays and Python numbers, is of the numbers that are rounded."""
    return any(type(a) is float or (hasattr(a, "dtype") and a.dtype.kind == "f") for a in (x, y))


def remainder(xp: Any, x: Any, y: Any, out: Array | None = None) -> Array:
    """x - y ⌊x/y⌋, of the sign of y."""
    left, is_of_other_sign = _rounded_to_zero(xp, x, y)
    return xp.copysign(xp.where(is_of_other_sign, left + y, left), y, out=out)


def floor_divide(xp: Any, x: Any, y: Any, out: Array | None = None) -> Array:
    """⌊x/y⌋"""
    left, is_of_other_sign = _rounded_to_zero(xp, x, y)
    ratio = xp.divide(x, y)  # of the sign of the quotient, 0 too
    found = xp.where(y == 0, ratio, xp.copysign(xp.rint((x - left) / y) - is_of_other_sign, ratio))
    if out is None:
        return found
    out[...] = found
    return out


def _rounded_to_zero(xp: Any, x: Any, y: Any) -> tuple[Array, Array]:
    """What x/y leaves when rounded towards 0, which is exact, and whether that has another sign than y."""
    left = xp.fmod(x, y)
    return left, xp.logical_and(left != 0, xp.not_equal(left < 0, y < 0))
