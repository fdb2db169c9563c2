"""What a story tells, in order: every operation forward, then every gradient back, loops folded."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from ...backend import cpu
from ...ops.primitive import registry
from ..computation import Computation, Operation, Value
from ..folding import Repeat, folded
from ..shown import stated
from ..slow import slow_backward
from .lines import Backward, Forward, all_sent, contributors, described, label, leaves, told_sum
from .notation import text

ROLES = {"parameter": "parameters", "input": "inputs with a gradient", "data": "arrays of data"}
Open = bool | Sequence[int]


@dataclass(frozen=True)
class Heading:
    """A module begins, or is gone back to."""

    path: str
    depth: int


@dataclass(frozen=True)
class Loop:
    """A loop begins: its rounds follow."""

    times: int
    length: int  # operations in a round
    carried: tuple[Value, ...]  # what the first round hands to the next
    backward: bool
    inside: str  # what it was opened from, such as the kernel of a whole time loop


@dataclass(frozen=True)
class Round:
    """A round of a loop that is told."""

    number: int
    times: int
    is_open: bool  # whether the reader asked for it, or it is the pattern of the others


@dataclass(frozen=True)
class Hidden:
    """Rounds that are like the one told."""

    first: int
    last: int


@dataclass(frozen=True)
class LoopEnd:
    pass


@dataclass(frozen=True)
class Leaf:
    """The gradient that a leaf has in the end."""

    value: Value
    gradient: Any
    makers: tuple[int, ...]

    @property
    def text(self) -> str:
        return described(self.gradient, self.value.shape)

    @property
    def sum(self) -> str:
        return told_sum(self.makers)


Event = Heading | Loop | Round | Hidden | LoopEnd | Forward | Backward


class Telling:
    """What there is to tell of a computed tensor, in order.

    Attributes:
        computation: values and operations, see computation.py.
        sweep: the way back, see slow.py.
    """

    def __init__(self, computation: Computation, gradient: Any, open: Open) -> None:
        self.computation = computation
        self.open = open
        self._gradient = gradient
        self.sweep = slow_backward(
            computation,
            gradient,
            "explain",
            ", or pass gradient=, of the same shape: that of what you want, with respect to it",
        )
        self.parts = folded(computation.operations)
        self._makers = contributors(self.sweep)
        self._check_open()

    def _check_open(self) -> None:
        if isinstance(self.open, bool):
            return
        try:
            rounds = [operator.index(k) for k in self.open]
        except TypeError as error:
            raise TypeError(
                f"explain: expected open as True, False or the numbers of rounds, such as (0, -1), got {self.open!r}"
            ) from error
        most = max((part.times for part in self.parts if isinstance(part, Repeat)), default=0)
        wrong = [k for k in rounds if not -most <= k < most]
        if wrong:
            has = f"its longest loop has the rounds 0 to {most - 1}" if most else "it has no loop"
            raise ValueError(f"explain: expected numbers of rounds to open, and {has}; got {wrong[0]}")

    def opened(self, *rounds: int) -> Self:
        """The same story with all rounds of its loops told, or with these: `story.opened(0, -1)`."""
        found = object.__new__(type(self))
        vars(found).update(vars(self))
        found.open = rounds or True
        found._check_open()
        return found

    @functools.cached_property
    def glossary(self) -> dict[str, str]:
        """The functions that formulas name and NumPy has not, each with what its docstring says it computes."""
        of_each = {operation.primitive: operation for operation in self.computation.operations}
        shown = [Forward(operation).said(text) for operation in of_each.values()]
        for passage in {passage.operation.primitive: passage for passage in self.sweep.passages}.values():
            shown += [sent.said(text) for sent in all_sent(passage)]
        names = dict.fromkeys(name for line in shown for name in re.findall(r"(\w+)\(", line))
        known = [name for name in names if name in registry and not hasattr(cpu.module, name)]
        return {name: stated(registry[name]).partition("    ")[0].strip() for name in sorted(known)}

    # What is told, in order -----------------------------------------------------------------------------

    def forward(self, every_round: bool = False) -> Iterator[Event]:
        """The operations in the order of computing, with headings where another module begins."""
        return self._walk(self.parts, False, every_round)

    def backward(self, every_round: bool = False) -> Iterator[Event]:
        """The operations in the order of going back."""
        return self._walk(list(reversed(self.parts)), True, every_round)

    def _walk(self, parts: Sequence[Operation | Repeat], backward: bool, every_round: bool) -> Iterator[Event]:
        passages = {id(p.operation): p for p in self.sweep.passages}
        inside: tuple[str, ...] = ()
        for part in parts:
            operations = part.rounds[0] if isinstance(part, Repeat) else [part]
            if backward and not any(id(operation) in passages for operation in operations):
                continue
            around = _shared([operation.modules for operation in operations])
            yield from _headings(inside, around)
            inside = around
            if not isinstance(part, Repeat):
                yield Backward(passages[id(part)], self._makers) if backward else Forward(part)
                continue
            first = tuple(values[0] for values in part.carried)
            yield Loop(part.times, len(operations), first, backward, operations[0].inside)
            shown = set(self._shown(part))
            hidden: list[int] = []
            numbers = list(range(part.times))
            for k in reversed(numbers) if backward else numbers:
                if k not in shown and not every_round:
                    hidden.append(k)
                    continue
                if hidden:
                    yield Hidden(hidden[0], hidden[-1])
                    hidden = []
                yield Round(k, part.times, k in shown)
                within = around
                for operation in reversed(part.rounds[k]) if backward else part.rounds[k]:
                    if backward and id(operation) not in passages:
                        continue
                    yield from _headings(within, operation.modules)
                    within = operation.modules
                    yield Backward(passages[id(operation)], self._makers) if backward else Forward(operation)
            if hidden:
                yield Hidden(hidden[0], hidden[-1])
            yield LoopEnd()

    def _shown(self, repeat: Repeat) -> list[int]:
        if isinstance(self.open, bool):
            return list(range(repeat.times)) if self.open else [0]
        return sorted({k % repeat.times for k in self.open if -repeat.times <= k < repeat.times})

    @property
    def given(self) -> dict[str, list[Value]]:
        """What it starts from, by what it is."""
        found: dict[str, list[Value]] = {}
        for value in leaves(self.computation):
            found.setdefault(ROLES[value.role], []).append(value)
        return {kind: found[kind] for kind in ROLES.values() if kind in found}

    @property
    def leaves(self) -> list[Leaf]:
        """The gradients that leaves have in the end."""
        gradients = self.sweep.gradients
        return [
            Leaf(v, gradients[v], tuple(self._makers.get(v, ())))
            for v in leaves(self.computation)
            if v.needs_grad and v in gradients
        ]

    @property
    def title(self) -> str:
        """What it is about, in a sentence."""
        result, count = self.computation.result, len(self.computation.operations)
        given = " and ".join(counted(len(values), kind) for kind, values in self.given.items())
        told = f"{label(result)} = {described(result.array, result.shape)}"
        return f"{told}, computed by {counted(count, 'operations')} from {given}"

    @property
    def seed(self) -> str:
        """What the way back begins with."""
        result = self.computation.result
        return described(self.sweep.gradients[result], result.shape) if result not in self._makers else "1"


def counted(count: int, kinds: str) -> str:
    """ "1 operation", "2 operations", "1 array of data"."""
    first, _, rest = kinds.partition(" ")
    return f"{count} {first.removesuffix('s') if count == 1 else first}{' ' * bool(rest)}{rest}"


def _shared(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The modules that all of these are in."""
    first, *others = paths
    same = len(first)
    while not all(path[:same] == first[:same] for path in others):
        same -= 1
    return first[:same]


def _headings(before: tuple[str, ...], now: tuple[str, ...]) -> Iterator[Heading]:
    """What changes from the modules of one operation to those of the next."""
    same = 0
    while same < min(len(before), len(now)) and before[same] == now[same]:
        same += 1
    for depth in range(same, len(now)):
        yield Heading(now[depth], depth)
    if len(now) < len(before) and same == len(now):  # back to the outer one
        yield Heading(now[-1] if now else "", len(now) - 1)
