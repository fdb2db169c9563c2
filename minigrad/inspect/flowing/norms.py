"""Norms of gradients: of a parameter, and of a state of a loop at each time step; what they say, in words."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ...backend import Array, cpu
from ..computation import on_host

VANISHES, EXPLODES = 0.95, 1.05  # by a step


@dataclass(frozen=True)
class Row:
    """A parameter, or another leaf that needs a gradient."""

    name: str
    shape: tuple[int, ...]
    gradient: float  # the norm of the gradient of the loss,
    value: float  # and of the value
    reached: bool = True  # whether there is a gradient at all

    @property
    def module(self) -> str:
        """The module that it is in; "" for none."""
        return self.name.rpartition(".")[0]

    @property
    def ratio(self) -> float:
        """‖gradient‖ / ‖value‖; infinite for a value of zeros."""
        if math.isnan(self.gradient) or math.isnan(self.value):
            return math.nan
        return self.gradient / self.value if self.value else math.inf if self.gradient else 0.0


@dataclass(frozen=True)
class Followed:
    """The gradient at one state of a loop, by time step, from 0."""

    name: str  # "rnn.l0 h"
    norms: list[float]  # of dL/dh_t
    way: list[float]  # the logarithm of the norm of what sets out from the last step alone; -inf where it is 0
    backwards: bool = False  # whether the layer reads from the end, so that its last step is at t = 0

    @property
    def factor(self) -> float | None:
        """By how much a gradient grows or shrinks a step on its way back; None if nothing arrives, or no number."""
        ends = (self.way[-1], self.way[0]) if self.backwards else (self.way[0], self.way[-1])
        return math.exp((ends[0] - ends[1]) / (len(self.way) - 1)) if all(map(math.isfinite, ends)) else None

    @property
    def explodes(self) -> bool:
        """Whether the factor is above EXPLODES."""
        return self.factor is not None and self.factor > EXPLODES

    @property
    def order(self) -> list[int]:
        """The time steps as the gradient comes by."""
        return list(range(len(self.norms)))[:: 1 if self.backwards else -1]

    @property
    def wrong_at(self) -> int | None:
        """The time step at which the gradient first is no finite number; None for none."""
        return next((t for t in self.order if not math.isfinite(self.norms[t])), None)

    @property
    def gone_at(self) -> int | None:
        """The time step that nothing from the last step reaches, first; None for none."""
        return next((t for t in self.order if self.way[t] == -math.inf), None)

    @property
    def verdict(self) -> str:
        """In words, such as "vanishes: 0.52 a step, 6e-15 over 50"."""
        told = []
        if (t := self.wrong_at) is not None:
            what = "NaN" if math.isnan(self.norms[t]) else "infinite"
            told.append(f"{what} at step {t}, going back from {self.order[0]}")
        if (factor := self.factor) is not None:
            word = "vanishes" if factor < VANISHES else "explodes" if self.explodes else "steady"
            steps = len(self.way) - 1
            over = "" if word == "steady" else f", {power_of_ten(steps * math.log10(factor))} over {steps}"
            told.append(f"{word}: {factor:.3g} a step{over}")
        elif not told and (t := self.gone_at) is not None:
            told.append(f"0 from step {t} on, going back from {self.order[0]}")
        return "; ".join(told) or "no number"


def together(norms: Iterable[float]) -> float:
    """The norm of several arrays side by side, from their norms."""
    return math.hypot(*norms)


def logarithm(x: float) -> float:
    """The natural one, -inf of 0; NaN and inf as they are."""
    return math.log(x) if 0 < x < math.inf else -math.inf if x == 0 else x


def power_of_ten(exponent: float) -> str:
    """10 to this exponent, with one digit, however large.

    >>> power_of_ten(-15.3), power_of_ten(2.0), power_of_ten(-999.5)
    ('5e-16', '1e+02', '3e-1000')
    """
    whole = math.floor(exponent)
    digit = round(10 ** (exponent - whole))
    return f"{digit}e{whole:+03d}" if digit < 10 else f"1e{whole + 1:+03d}"


def norm(array: Array | None) -> float:
    """The square root of the sum of squares, in float64; 0 for None."""
    if array is None:
        return 0.0
    found = on_host(array).astype(float)
    largest = float(cpu.abs(found).max()) if found.size else 0.0
    if not math.isfinite(largest) or not largest:
        return largest
    return float(largest * cpu.sqrt(((found / largest) ** 2).sum()))
