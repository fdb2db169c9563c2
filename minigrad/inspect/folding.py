"""Loops, found again in the list of what they did.

A loop over time leaves the same operations again and again, each round reading what the one before has made. Where that
is so, `folded` puts a `Repeat` in the place of the rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from .computation import Operation, Value

FEWEST: Final = 3  # rounds that are called a loop
MOST_PERIODS: Final = 12  # lengths of a round that are tried at one place


class Repeat:
    """A loop: rounds of the same operations.

    Attributes:
        rounds: the operations of each round, in the order of computing, equally many.
        carried: for each value that a round hands to the next (the state of a recurrent network): that value, by round.
    """

    def __init__(self, rounds: list[list[Operation]]) -> None:
        self.rounds = rounds
        self.carried = _carried(rounds)

    @property
    def times(self) -> int:
        return len(self.rounds)

    def __repr__(self) -> str:
        return f"<{len(self.rounds[0])} operations × {self.times}>"


def folded(operations: Sequence[Operation]) -> list[Operation | Repeat]:
    """The operations, with a `Repeat` for each loop of three rounds or more.

    >>> import minigrad as mg
    >>> from minigrad.inspect.computation import read
    >>> h, w = mg.zeros(2), mg.tensor([0.5, -0.5], requires_grad=True)
    >>> for t in range(50):
    ...     h = mg.tanh(h * w + 1.0)
    >>> folded(read(h.sum()).operations)
    [<3 operations × 50>, <operation 150: sum>]
    """
    kinds = [_kind(operation) for operation in operations]
    places: dict[Any, list[int]] = {}
    for k, kind in enumerate(kinds):
        places.setdefault(kind, []).append(k)
    ranks = {k: rank for at in places.values() for rank, k in enumerate(at)}
    found: list[Operation | Repeat] = []
    start = 0
    while start < len(operations):
        alike = places[kinds[start]][ranks[start] + 1 :][:MOST_PERIODS]
        best, period = 0, 0
        for following in alike:
            length = following - start
            rounds = _rounds(operations, kinds, start, length)
            if rounds >= FEWEST and rounds * length > best:
                best, period = rounds * length, length
        loop = Repeat([list(operations[k : k + period]) for k in range(start, start + best, period)]) if best else None
        if loop is not None and (loop.carried or period > 1):  # else the same thing is done with the parts of something
            found.append(loop)
            start += best
        else:
            found.append(operations[start])
            start += 1
    return found


def _kind(operation: Operation) -> Any:
    """What two operations have to have in common to be the same of two rounds."""
    shapes = tuple(x.shape for x in operation.inputs), tuple(y.shape for y in operation.outputs)
    return operation.primitive.name, shapes, operation.modules, operation.inside


def _rounds(operations: Sequence[Operation], kinds: Sequence[Any], start: int, period: int) -> int:
    """How many rounds of this length begin here, each reading the one before as the next does."""
    k = start
    first = operations[start].number
    while k + period < len(operations) and kinds[k] == kinds[k + period]:
        is_first = k < start + period
        pairs = zip(operations[k].inputs, operations[k + period].inputs, strict=True)
        if not all(_corresponds(a, b, period, first if is_first else None) for a, b in pairs):
            break
        k += 1
    return (k - start) // period + 1


def _corresponds(a: Value, b: Value, period: int, first: int | None) -> bool:
    """Whether b is to a round what a was to the round before; `first` is where the first round begins."""
    if a is b:
        return True
    if a.role != "computed" and b.role != "computed":  # what comes in at each time step; but a weight stays the same
        return a.role != "parameter" and (a.role, a.shape, a.scalar) == (b.role, b.shape, b.scalar)
    if b.maker is None:
        return False
    if first is not None and first <= b.maker.number < first + period and (a.maker is None or a.maker.number < first):
        return True  # the first round begins from what was there before
    if a.maker is None:
        return False
    if a.maker is b.maker:
        return True  # the parts of one thing, one for each round
    return a.slot == b.slot and b.maker.number - a.maker.number == period


def _carried(rounds: list[list[Operation]]) -> list[list[Value]]:
    places = {id(operation): k for k, operation in enumerate(rounds[0])}
    handed = {
        (places[id(x.maker)], x.slot) for operation in rounds[1] for x in operation.inputs if id(x.maker) in places
    }
    return [[steps[k].outputs[slot] for steps in rounds] for k, slot in sorted(handed)]
