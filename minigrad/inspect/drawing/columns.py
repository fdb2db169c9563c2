"""Groups side by side: the rounds of a loop, time from left to right, and the lines between them.

What a round hands on leaves it below, goes up in the channel to its right and enters the next round from above; and so
does the loop of a folded one, back into itself. What all rounds read runs along above them, with a branch into each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Point = tuple[float, float]

LINE = 12.0  # between two lines
APART = 24.0  # between two groups


@dataclass
class Column:
    """A group: its size, and where, from its left, lines cross its upper and its lower side."""

    width: float
    height: float
    tops: dict[Any, float]
    bottoms: dict[Any, float]


@dataclass
class Wire:
    """What begins at one place, in column `tail` or outside (None), and the columns where it ends; `out`: outside."""

    key: Any
    tail: int | None
    heads: list[int] = field(default_factory=list)
    out: bool = False


@dataclass
class Beside:
    """Where all lies: the columns' upper left corners, the points of each wire to each column and outside (-1)."""

    corners: list[Point]
    routes: list[dict[int, list[Point]]]
    tops: dict[Any, float]
    bottoms: dict[Any, float]
    width: float
    height: float


def beside(columns: Sequence[Column], wires: Sequence[Wire], title: Point = (0.0, 0.0)) -> Beside:
    """Lay out columns.

    Args:
        columns: from left to right.
        wires: what comes in, goes out, and goes from one to another.
        title: the size of what stands in the upper left corner.
    """
    carried = [wire for wire in wires if wire.tail is not None and wire.heads]
    shared = [wire for wire in wires if wire.tail is None]
    entering = [columns[0].tops[wire.key] for wire in shared if 0 in wire.heads]
    first = max(title[0] + LINE - min(entering), 0.0) if entering else 0.0  # lines enter beside the title
    lefts, channel, width = _channels(columns, carried, first)
    width = max(width, title[0])
    tops = {wire.key: min(_up(lefts, columns, head, wire.key) for head in wire.heads) for wire in shared}

    starts = {id(wire): channel[id(wire)] if wire.tail is not None else tops[wire.key] for wire in wires if wire.heads}
    spans = {
        key: _span([starts[key], *(_up(lefts, columns, head, wire.key) for head in wire.heads)])
        for wire in [*carried, *shared]
        for key in [id(wire)]
    }
    near = _tracks([spans[id(wire)] for wire in carried])
    far = _tracks([spans[id(wire)] for wire in shared])
    rows = max(near, default=-1) + 1
    track = {id(wire): row for wire, row in zip(carried, near, strict=True)}
    track |= {id(wire): row + rows for wire, row in zip(shared, far, strict=True)}
    above = title[1] + LINE * (max(track.values(), default=-1) + 2)

    # Below, the rightmost line takes the nearest track: so they do not cross on their way to the channel.
    falling = sorted(carried, key=lambda wire: -_down(lefts, columns, wire))
    under = _tracks([_span([_down(lefts, columns, wire), channel[id(wire)]]) for wire in falling], ordered=True)
    deep = {id(wire): row for wire, row in zip(falling, under, strict=True)}
    foot = above + max((column.height for column in columns), default=0.0)
    height = foot + LINE * (max(under, default=-1) + 2)

    bottoms: dict[Any, float] = {}
    routes = []
    for wire in wires:
        found: dict[int, list[Point]] = {}
        stem: list[Point] = [(tops.get(wire.key, 0.0), 0.0)]
        if wire.tail is not None:
            x = _down(lefts, columns, wire)
            start = (x, above + columns[wire.tail].height)
            if wire.out:
                bottoms[wire.key] = x
                found[-1] = [start, (x, height)]
            if wire.heads:
                y = foot + LINE * (deep[id(wire)] + 1)
                stem = [start, (x, y), (channel[id(wire)], y)]
        for head in wire.heads:
            x, y = _up(lefts, columns, head, wire.key), above - LINE * (track[id(wire)] + 1)
            found[head] = [*stem, (stem[-1][0], y), (x, y), (x, above)]
        routes.append(found)
    return Beside([(x, above) for x in lefts], routes, tops, bottoms, width, height)


def _channels(
    columns: Sequence[Column], carried: Sequence[Wire], first: float
) -> tuple[list[float], dict[int, float], float]:
    """The left side of each column, from `first` on, the place of each wire in its channel, the width of all."""
    lefts: list[float] = []
    channel: dict[int, float] = {}
    x = first
    for number, column in enumerate(columns):
        lefts.append(x)
        x += column.width
        leaving = sorted((wire for wire in carried if wire.tail == number), key=lambda wire: -column.bottoms[wire.key])
        for k, wire in enumerate(leaving):
            channel[id(wire)] = x + LINE * (k + 1)
        room = LINE * (len(leaving) + 1) if leaving else 0.0
        x += max(APART, room) if number + 1 < len(columns) else max(0.0, room - LINE / 2)
    return lefts, channel, x


def _up(lefts: Sequence[float], columns: Sequence[Column], number: int, key: Any) -> float:
    return lefts[number] + columns[number].tops[key]


def _down(lefts: Sequence[float], columns: Sequence[Column], wire: Wire) -> float:
    assert wire.tail is not None
    return lefts[wire.tail] + columns[wire.tail].bottoms[wire.key]


def _span(xs: Sequence[float]) -> Point:
    return min(xs), max(xs)


def _tracks(spans: Sequence[Point], *, ordered: bool = False) -> list[int]:
    """A row for each span, so that none of a row overlap: from left to right, or in the order given, the first free."""
    order = range(len(spans)) if ordered else sorted(range(len(spans)), key=lambda k: (spans[k], k))
    rows: list[list[Point]] = []
    found = [0] * len(spans)
    for k in order:
        low, high = spans[k]
        free = (r for r, row in enumerate(rows) if all(high + LINE < a or b + LINE < low for a, b in row[-2:]))
        if ordered:
            free = (r for r, row in enumerate(rows) if all(high + LINE < a or b + LINE < low for a, b in row))
        r = next(free, len(rows))
        if r == len(rows):
            rows.append([])
        rows[r].append((low, high))
        found[k] = r
    return found
