"""Numbers as bars and curves: of characters, and as points for SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .norms import Followed, logarithm

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 40  # characters of a curve in the text


def bar(value: float, most: float, width: int = 12) -> str:
    """A bar on a logarithmic scale of six powers of ten, up to the largest value.

    >>> bar(1.0, 1.0), bar(1e-3, 1.0), bar(1e-7, 1.0), bar(float("nan"), 1.0)
    ('████████████', '██████', '', '!')
    """
    if not math.isfinite(value):
        return "!"
    if value <= 0 or most <= 0:
        return ""
    return "█" * max(0, round(width * (1 + math.log10(value / most) / 6)))


def curve(values: Sequence[float], width: int = WIDTH) -> str:
    """Values as a curve of characters, on a logarithmic scale; "!" for what is no finite number, "·" for 0.

    >>> curve([1e-6, 1e-3, 1.0]), curve([1.0, float("nan"), 0.0])
    ('▁▅█', '█!·')
    """
    count = min(width, len(values))
    groups = [list(values[k * len(values) // count : (k + 1) * len(values) // count]) for k in range(count)]
    points = [next((g for g in group if not math.isfinite(g)), max(group, key=abs)) for group in groups]
    logs = [math.log10(g) for g in points if math.isfinite(g) and g > 0]
    low, high = min(logs, default=0.0), max(logs, default=0.0)
    if high - low < 1:  # less than ten times as much is nearly flat
        low = high - 1

    def mark(g: float) -> str:
        if not math.isfinite(g):
            return "!"
        return BARS[min(7, int(8 * (math.log10(g) - low) / (high - low)))] if g > 0 else "·"

    return "".join(map(mark, points))


def lines_of(state: Followed, width: int = 320, height: int = 56) -> list[list[str]]:
    """Two curves on one logarithmic scale, as points for SVG: the norms, and the way back; broken where 0 or no number.

    >>> lines_of(Followed("h", [1.0, 100.0], [0.0, -math.inf]), width=108, height=28)
    [['4.0,24.0 104.0,4.0'], ['4.0,24.0']]
    """
    rows = [[logarithm(g) for g in state.norms], state.way]
    finite = [x for row in rows for x in row if math.isfinite(x)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    across, up = (width - 8) / max(len(state.norms) - 1, 1), (height - 8) / ((high - low) or 1.0)
    found = []
    for row in rows:
        pieces: list[list[str]] = [[]]
        for t, x in enumerate(row):
            if math.isfinite(x):
                pieces[-1].append(f"{4 + t * across:.1f},{height - 4 - (x - low) * up:.1f}")
            elif pieces[-1]:
                pieces.append([])
        found.append([" ".join(piece) for piece in pieces if piece])
    return found
