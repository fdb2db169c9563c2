"""From a list of events to who ran inside of whom, and to rows: by operation, and by module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from .events import BACKWARD, COMPILE, COPY, FORWARD, LAUNCH, MODULE, OPTIMIZER, OWN, SUMS, SWEEP, WAIT, Event
from .where import Place

BETWEEN: Final = "backward pass, between operations"
OUTSIDE: Final = "between operations, and outside"
NO_MODULE: Final = "in no module"


class Span:
    """Something that began and ended, and what began and ended in it."""

    __slots__ = ("birth", "device", "end", "goes_back", "inside", "kind", "name", "outer", "place", "size", "start")

    def __init__(self, event: Event, inside: list[Span]) -> None:
        self.kind, self.start, self.end, self.name, self.birth, self.size, self.place = event
        self.inside = inside
        self.outer: Span | None = None
        self.device = 0.0  # seconds on a GPU
        self.goes_back = self.kind is SWEEP  # or runs in a backward pass
        for span in inside:
            span.outer = self

    @property
    def own(self) -> float:
        """Seconds in which nothing ran inside of it that has a row of its own."""
        return self.end - self.start - sum(span.covered for span in self.inside)

    @property
    def covered(self) -> float:
        """Seconds that the rows of what ran inside account for."""
        if self.kind in WITH_ROW:
            return self.end - self.start
        return sum(span.covered for span in self.inside)

    def modules(self) -> tuple[str, ...]:
        """The modules in which it ran, the outermost first."""
        found: list[str] = []
        span = self.outer
        while span is not None:
            if span.kind is MODULE:
                found.append(span.name)
            span = span.outer
        return tuple(reversed(found))

    def places(self) -> list[Place]:
        """The lines of the user's program that led to it, the outermost first."""
        found, span = [], self.outer
        if self.place is not None:
            found.append(self.place)
        while span is not None:
            if span.kind is MODULE and span.place is not None and span.place not in found:
                found.append(span.place)
            span = span.outer
        return found[::-1]


WITH_ROW: Final = {FORWARD, BACKWARD, SWEEP, OPTIMIZER, SUMS, COMPILE, OWN}


def spans_of(events: Iterable[Event], marks: Iterable[tuple[int, float]] = ()) -> list[Span]:
    """The spans that are in no other. Events come in the order in which they ended.

    marks: (event, seconds on the device).
    """
    device = dict(marks)
    open_: list[Span] = []
    for number, event in enumerate(events):
        start, inside = event[1], len(open_)
        while inside and open_[inside - 1].start >= start and open_[inside - 1].end <= event[2]:
            inside -= 1
        span = Span(event, open_[inside:])
        span.device = device.get(number, 0.0)
        del open_[inside:]
        open_.append(span)
    return open_


def walk(spans: Sequence[Span]) -> Iterator[Span]:
    """All of them, and all inside, each before what is inside of it."""
    waiting = list(reversed(spans))
    while waiting:
        span = waiting.pop()
        span.goes_back = span.goes_back or (span.outer is not None and span.outer.goes_back)
        yield span
        waiting.extend(reversed(span.inside))


@dataclass
class Row:
    """What one operation, or one module, has taken. Times are in seconds."""

    name: str
    calls: int = 0
    backward_calls: int = 0
    forward: float = 0.0
    backward: float = 0.0
    bytes: int = 0
    launches: int = 0
    copies: int = 0
    waits: int = 0
    device: float = 0.0  # on a GPU, forward and backward, by its own clock
    depth: int = 0  # of a module: how many it is in
    kind: str = field(default=FORWARD, repr=False)

    @property
    def seconds(self) -> float:
        return self.forward + self.backward


def by_operation(spans: Sequence[Span]) -> list[Row]:
    """A row for each operation, then for what is none: each moment and each launch is in one row alone."""
    rows: dict[tuple[str, str], Row] = {}

    def row_of(span: Span | None) -> Row:
        if span is None:
            return rows.setdefault((OUTSIDE, OUTSIDE), Row(OUTSIDE, kind=OUTSIDE))
        kind = FORWARD if span.kind is BACKWARD else span.kind
        name = BETWEEN if kind is SWEEP else span.name
        return rows.setdefault((kind, name), Row(name, kind=kind))

    for span in walk(spans):
        if span.kind in WITH_ROW:
            row = row_of(span)
            row.calls += span.kind not in (BACKWARD, SWEEP, SUMS)
            row.backward_calls += span.kind in (BACKWARD, SWEEP, SUMS)
            _add(row, span)
        elif span.kind in (LAUNCH, COPY, WAIT):
            outer = span.outer
            while outer is not None and outer.kind not in WITH_ROW:
                outer = outer.outer
            _count(row_of(outer), span)
    return sorted(rows.values(), key=lambda row: (row.kind is not FORWARD, row.kind is OWN, -row.seconds, row.name))


def by_module(spans: Sequence[Span]) -> list[Row]:
    """A row for each module under the one that called it, with all that ran in it."""
    rows: dict[tuple[str, ...], Row] = {(): Row(NO_MODULE, kind=MODULE)}
    maker: dict[int, tuple[str, ...]] = {}  # by the birth of a node
    chains: dict[int, tuple[str, ...]] = {}  # of the modules that are running, by the id of the span
    for span in walk(spans):
        chain = chains.get(id(span.outer), ())
        if span.kind is MODULE:
            chain = (*chain, span.name)
        elif span.kind is FORWARD and span.birth:
            maker[span.birth] = chain
        elif span.kind is BACKWARD:
            chain = maker.get(span.birth, ())
        chains[id(span)] = chain
        for depth in range(1, len(chain) + 1) if chain else (0,):
            row = rows.setdefault(chain[:depth], Row(chain[depth - 1] if chain else "", depth=depth - 1, kind=MODULE))
            is_own = depth == len(chain)
            if span.kind is MODULE:
                row.calls += is_own
                if is_own and not span.goes_back:
                    row.forward += span.end - span.start - _going_back_in(span)
            elif span.kind in (LAUNCH, COPY, WAIT):
                _count(row, span)
            elif span.kind in (FORWARD, BACKWARD, SUMS, SWEEP):
                row.backward_calls += is_own and span.kind is BACKWARD
                _add(row, span, with_forward=not chain)
    rest = rows.pop(())
    return [*_in_order(rows), *([rest] if rest.seconds or rest.launches or rest.copies or rest.waits else [])]


def _add(row: Row, span: Span, with_forward: bool = True) -> None:
    """Add what a span has taken itself. All that runs in a backward pass counts as backward."""
    row.bytes += span.size
    if span.device:
        row.device += span.device - sum(inner.device for inner in _nearest(span))
    if span.goes_back:
        row.backward += span.own
    elif with_forward:
        row.forward += span.own


def _count(row: Row, span: Span) -> None:
    row.launches += span.kind is LAUNCH
    row.copies += span.kind is COPY
    row.waits += span.kind is WAIT


def _going_back_in(span: Span) -> float:
    """Seconds of a module's call in which the program went backward."""
    return sum(inner.end - inner.start if inner.kind is SWEEP else _going_back_in(inner) for inner in span.inside)


def _in_order(rows: dict[tuple[str, ...], Row]) -> list[Row]:
    """Each module followed by those it called, in the order in which they were called first."""
    first = {chain: number for number, chain in enumerate(rows)}

    def key(chain: tuple[str, ...]) -> list[int]:
        return [first[chain[:length]] for length in range(1, len(chain) + 1)]

    return [rows[chain] for chain in sorted(rows, key=key)]


def _nearest(span: Span) -> Iterator[Span]:
    """The spans inside of it that have a row, and are in no other such."""
    for inner in span.inside:
        if inner.kind in WITH_ROW:
            yield inner
        else:
            yield from _nearest(inner)


def totals(rows: Iterable[Row], name: str, what: Callable[[Row], Any] = lambda row: True) -> Row:
    """The sum of some rows."""
    total = Row(name)
    for row in filter(what, rows):
        for key in vars(total):
            if key not in ("name", "depth", "kind"):
                setattr(total, key, getattr(total, key) + getattr(row, key))
    return total
