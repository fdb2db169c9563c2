"""How well single cells tell simple features of a text: chosen on one half of it, judged on the other.

T: time steps   H: cells of a layer

Of hundreds of cells the best always looks good where it was chosen. So the first half of the text chooses, for each
feature, the cell and its threshold, and only what they do on the second half is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ...backend import Array, cpu
from ..extras import extra
from ..page import filled, in_notebook
from .features import Feature

WEAK = 0.75  # of a balanced accuracy, which guessing brings to 0.5,
WEAK_CORRELATION = 0.5  # and of a correlation
STRETCHES = 5  # how often a feature must begin and end in each half, to be judged
BLOCK = 64  # cells that are sorted at a time


class Cell(NamedTuple):
    """One cell of one layer."""

    layer: int
    number: int


@dataclass(frozen=True)
class Score:
    """The best cell for a feature. All but `chosen_at` is about the half of the text that judges."""

    feature: Feature
    share: float  # of the characters at which the feature is true; of a number, its mean
    stretches: int  # how often it becomes true; of a number, at how many characters it is there
    cell: Cell | None = None  # None if the feature is too rare, or never changes
    name: str = ""  # of the cell
    score: float = 0.0  # balanced accuracy (the mean of the recalls of true and false), or correlation
    chosen_at: float = 0.0  # the same where the cell was chosen
    alone: float = 0.0  # the same of the best rule that knows the last character alone
    f1: float = 0.0  # of the true ones
    f1_always: float = 0.0  # of always saying true
    threshold: float = 0.0
    above: bool = True  # whether the cell says true above the threshold, or below
    untrained: float | None = None  # the score of the best cell of another network, as it was drawn

    @property
    def chance(self) -> float:
        """What guessing would bring."""
        return 0.0 if self.feature.number else 0.5

    @property
    def verdict(self) -> str:
        """In words; "weak" is a balanced accuracy below 0.75, or a correlation of less than 0.5."""
        if self.cell is None:
            if self.feature.number:
                return "changes too little to judge"
            return {0.0: "never true", 1.0: "always true"}.get(self.share, "too rare to judge")
        if abs(self.score) < (WEAK_CORRELATION if self.feature.number else WEAK):
            return "weak"
        if self.score * self.chosen_at < 0:
            return "of the other sign where chosen"
        if abs(self.score) <= abs(self.alone):
            return "last character suffices"
        if self.untrained is not None and abs(self.score) <= abs(self.untrained):
            return "untrained does it too"
        return "found"


# Choosing and judging -----------------------------------------------------------------------------


def scores(
    text: Sequence[str],
    layers: Sequence[Array],
    features: Sequence[Feature],
    named: Callable[[Cell], str],
) -> list[Score]:
    """The best cell for each feature.

    Args:
        text: T characters.
        layers: what the cells of each layer did, (T, H).
        named: what to call a cell.
    """
    half = len(text) // 2
    wanted = [cpu.asarray(feature.of(text), dtype=float if feature.number else bool) for feature in features]
    judged = [_can_be_judged(y[:half]) and _can_be_judged(y[half:]) for y in wanted]
    best: list[Any] = [None] * len(features)
    for layer, values in enumerate(layers):
        for start in range(0, values.shape[1], BLOCK):
            block = values[:half, start : start + BLOCK]
            order = None if all(f.number for f in features) else cpu.argsort(block, axis=0, kind="stable")
            for place, (feature, y) in enumerate(zip(features, wanted, strict=True)):
                if not judged[place]:
                    continue
                found = correlations(block, y[:half]) if feature.number else thresholds(block, order, y[:half])
                column = int(cpu.argmax(cpu.abs(found[0])))
                if best[place] is None or abs(found[0][column]) > abs(best[place][1]):
                    best[place] = Cell(layer, start + column), *(float(row[column]) for row in found)
    return [
        _judged(feature, y, half, text, layers, choice, named)
        for feature, y, choice in zip(features, wanted, best, strict=True)
    ]


def _can_be_judged(y: Array) -> bool:
    """It changes, and often enough."""
    if y.dtype == bool:
        return _stretches(y) >= STRETCHES
    return bool(len(y) and (y != y[0]).any())


def _stretches(y: Array) -> int:
    return int(cpu.sum(y[1:] & ~y[:-1])) + int(len(y) and y[0])


def thresholds(values: Array, order: Array, yes: Array) -> tuple[Array, Array, Array]:
    """For each column the balanced accuracy of its best threshold, the threshold, and 1 if it says yes above, else -1.

    Args:
        values: (T, H).
        order: of each column, from small to large.
        yes: (T,), with true and false among it.
    """
    ordered, true = cpu.take_along_axis(values, order, axis=0), yes[order]
    count, rows = float(yes.sum()), cpu.arange(1, len(yes) + 1)[:, None]
    below = cpu.cumsum(true, axis=0)
    gap = (rows - below) / (len(yes) - count) - below / count  # recall of no, plus recall of yes, minus 1
    gap[:-1][ordered[1:] <= ordered[:-1]] = 0.0  # equal values fall on one side
    gap[-1] = 0.0
    at, columns = cpu.argmax(cpu.abs(gap), axis=0), cpu.arange(values.shape[1])
    chosen, after = gap[at, columns], ordered[cpu.minimum(at + 1, len(yes) - 1), columns]
    middle = (ordered[at, columns].astype(float) + after) / 2
    return 0.5 + abs(chosen) / 2, middle, cpu.where(chosen < 0, -1.0, 1.0)


def correlations(values: Array, y: Array) -> tuple[Array]:
    """Pearson's r of each column with y; 0 of a column that does not change."""
    centred, of_y = values - values.mean(0, dtype=float), y - y.mean()
    size = cpu.sqrt((centred**2).sum(0) * (of_y**2).sum())
    return (cpu.where(size > 0, of_y @ centred / cpu.where(size > 0, size, 1.0), 0.0),)


def _judged(
    feature: Feature, y: Array, half: int, text: Sequence[str], layers: Sequence[Array], choice: Any, named: Any
) -> Score:
    later = y[half:]
    stretches = len(later) if feature.number else _stretches(later)
    seen = Score(feature, float(later.mean()) if len(later) else 0.0, stretches)
    if choice is None:
        return seen
    cell, chosen_at, *rule = choice
    values = layers[cell.layer][half:, cell.number]
    rates = _by_character(text, y, half)
    seen = replace(seen, cell=cell, name=named(cell), chosen_at=chosen_at)
    if feature.number:
        score, alone = (float(correlations(v[:, None], later)[0][0]) for v in (values, rates))
        return replace(seen, score=score, alone=alone)
    threshold, side = rule
    said = values > threshold if side > 0 else values <= threshold
    share = float(later.mean())
    return replace(
        seen,
        score=balanced_accuracy(said, later),
        alone=balanced_accuracy(rates > y[:half].mean(), later),
        f1=float(2 * (said & later).sum() / (said.sum() + later.sum())),
        f1_always=2 * share / (1 + share),
        threshold=threshold,
        above=side > 0,
    )


def balanced_accuracy(said: Array, yes: Array) -> float:
    """(recall of yes + recall of no) / 2"""
    return float((said[yes].mean() + (~said[~yes]).mean()) / 2)


def _by_character(text: Sequence[str], y: Array, half: int) -> Array:
    """For the second half, the mean that the feature had after the same character in the first."""
    totals: dict[str, list[float]] = {}
    for character, value in zip(text[:half], y[:half].tolist(), strict=True):
        total = totals.setdefault(character, [0.0, 0.0])
        total[0] += value
        total[1] += 1
    usual = float(y[:half].mean())
    means = {character: total / count for character, (total, count) in totals.items()}
    return cpu.asarray([means.get(character, usual) for character in text[half:]], dtype=float)


# Shown --------------------------------------------------------------------------------------------

COLUMNS = ("feature", "cell", "score", "chosen at", "last char", "untrained", "F1 (always yes)", "true", "")
NOTE = (
    "The first half of the text chose the cell and its threshold, by the number at 'chosen at'; 'score' is the same of "
    "the second half: balanced accuracy (0.5 is guessing), or correlation r (0 is none). 'last char': the best rule "
    "that knows that character alone. 'untrained': the best cell of a network that has learned nothing, chosen in the "
    f"same way. 'weak': below {WEAK}, or |r| below {WEAK_CORRELATION}. F1 in parentheses: of always saying yes. "
    "'true': how much of the second half, and in how many stretches."
)


@dataclass(frozen=True, repr=False)
class Scores:
    """The best cell for each feature, as a table."""

    rows: list[Score]
    characters: int  # of the half that judges

    def __iter__(self) -> Iterator[Score]:
        return iter(self.rows)

    def __getitem__(self, name: str) -> Score:
        """The score of the feature of this name."""
        for row in self.rows:
            if row.feature.name == name:
                return row
        known = ", ".join(repr(row.feature.name) for row in self.rows)
        raise KeyError(f"there is no feature {name!r}; expected one of {known}")

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of `table`."""
        known = any(row.untrained is not None for row in self.rows)
        return tuple(name for name in COLUMNS if name != "untrained" or known)

    def table(self) -> list[tuple[str, ...]]:
        """A row for each feature, in words."""
        return [tuple(_in_words(row)[name] for name in self.columns) for row in self.rows]

    def __str__(self) -> str:
        rows = [self.columns, *self.table()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([f"best cell for each feature, judged on {self.characters:,} characters", *lines, NOTE])

    __repr__ = __str__

    def __rich__(self) -> Any:
        table = extra("rich.table", "scores in the terminal").Table(
            title=f"Best cell for each feature, judged on {self.characters:,} characters", caption=NOTE,
            box=extra("rich.box", "scores in the terminal").SIMPLE_HEAD, padding=(0, 1, 0, 0),
        )  # fmt: skip
        rows = self.table()
        for place, column in enumerate(self.columns):
            longest = max((len(row[place]) for row in rows), default=0)
            table.add_column(column, min_width=longest if place < len(self.columns) - 1 else 9)
        for row in rows:
            table.add_row(*row)
        return table

    def html(self) -> str:
        """A piece of HTML."""
        return filled("scores.html", columns=self.columns, rows=self.table(), note=NOTE, characters=self.characters)

    def _repr_html_(self) -> str:
        return in_notebook(self.html())


def _in_words(row: Score) -> dict[str, str]:
    """What stands in each of the columns."""
    number = row.feature.number
    seen = f"mean {row.share:.1f}" if number else f"{row.share:.1%} in {row.stretches:,}"
    found = dict.fromkeys(COLUMNS, "") | {"feature": row.feature.name, "true": seen, "": row.verdict}
    if row.cell is not None:
        found |= {
            "cell": row.name,
            "score": f"{'r ' * number}{row.score:.3f}",
            "chosen at": f"{row.chosen_at:.3f}",
            "last char": f"{row.alone:.3f}",
            "untrained": "" if row.untrained is None else f"{row.untrained:.3f}",
            "F1 (always yes)": "" if number else f"{row.f1:.2f} ({row.f1_always:.2f})",
        }
    return found
