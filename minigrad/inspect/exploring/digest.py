"""Arrays as a page shows them: a norm, a histogram, a picture of some dozen entries.

Python's numbers NaN and ±inf, which JSON lacks, become the texts "nan", "inf" and "-inf".
"""

from __future__ import annotations

import math
from typing import Any, Final

from ...backend import Array, cpu
from ..flowing import norms

DIGITS: Final = 5
BINS: Final = 20  # of a histogram
FEW: Final = 8  # entries that are better read than counted
ROWS: Final = 12  # of a picture
COLUMNS: Final = 24
SHADES: Final = "abcdefghijklmnopqrstuvwxyz"  # from the most negative to the most positive; m and n are next to zero


def rounded(x: float) -> float | str:
    """A number with five digits, as JSON can have it.

    >>> rounded(1 / 3), rounded(float("-inf"))
    (0.33333, '-inf')
    """
    if not math.isfinite(x):
        return "nan" if math.isnan(x) else "inf" if x > 0 else "-inf"
    shorter = float(f"{x:.{DIGITS}g}")
    return shorter if math.isfinite(shorter) else x  # the largest of all cannot be rounded up


def norm(array: Array) -> float | str:
    """√Σ x², rounded."""
    return rounded(norms.norm(array))


def histogram(array: Array) -> list[Any] | None:
    """[smallest, largest, counts in 20 bins, how many are not finite], or None for a handful of entries."""
    if array.size <= FEW:
        return None
    entries = array.astype(cpu.float64).reshape(-1)
    finite = entries[cpu.isfinite(entries)]
    if finite.size == 0:
        return None
    low, high = float(finite.min()), float(finite.max())
    if not math.isfinite(high - low) or high - low <= 1e-300:
        return [rounded(low), rounded(high), [int(finite.size)], int(entries.size - finite.size)]
    bins = cpu.minimum(((finite - low) * (BINS / (high - low))).astype(int), BINS - 1)  # the largest is in the last
    counts = cpu.bincount(bins, minlength=BINS)
    return [rounded(low), rounded(high), counts.tolist(), int(entries.size - finite.size)]


def picture(array: Array) -> list[str] | None:
    """Rows of letters, a letter an entry: "a" is minus the largest magnitude, "z" is plus, and "." is not finite.

    Of a large array every k-th row and column; all axes but the last count as rows.
    """
    if array.size <= 2 or array.ndim == 0:
        return None
    table = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array.reshape(1, -1)
    rows, columns = (-(-size // most) for size, most in zip(table.shape, (ROWS, COLUMNS), strict=True))
    table = table[::rows, ::columns].astype(cpu.float64)
    finite = cpu.isfinite(table)
    largest = float(cpu.max(cpu.where(finite, cpu.absolute(table), 0.0))) or 1.0
    half = (len(SHADES) - 1) / 2
    shades = cpu.where(finite, cpu.rint(cpu.where(finite, table, 0.0) / largest * half + half), -1).astype(int)
    return ["".join(SHADES[k] if k >= 0 else "." for k in row) for row in shades.tolist()]
