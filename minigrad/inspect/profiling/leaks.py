"""What a profile says of a graph that grows from chunk to chunk: which line did it, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from .events import FORWARD
from .growth import Crossing, Growth
from .spans import Span, walk
from .where import Line, addition, carried

FAILED: Final = (
    "A backward pass failed, because it came to the graph of an earlier chunk. What that has computed was taken by"
)


class Leak(NamedTuple):
    """A graph that goes on from chunk to chunk, or is held."""

    operation: str  # which takes what an earlier chunk has computed; or has made what is held
    lines: tuple[Line, ...]  # of the program, the outermost first
    what: str
    cure: str

    @property
    def line(self) -> Line:
        """The line to change, or before which to change something."""
        return next((line for line in self.lines if carried(line)), self.lines[0])

    def __str__(self) -> str:
        told = "".join(f"\n  {line}".replace("\n    ", "\n      ") for line in self.lines)
        return f"{self.what} {self.operation}:{told}\n{self.cure}"


class Finder:
    """Looks for leaks in what one thread has done."""

    def __init__(self, growth: Growth, spans: Sequence[Span]) -> None:
        self.growth = growth
        self._makers = {span.birth: span for span in walk(spans) if span.kind is FORWARD and span.birth}

    def found(self) -> Leak | None:
        growth = self.growth
        if growth.failed_chunk is not None:
            crossing = growth.first_crossing(growth.failed_chunk)
            if crossing is not None:
                return self._carried(crossing, FAILED)
        chain = growth.longest_chain()
        if chain:
            first, last = chain[0], chain[-1]
            what = (
                f"The graph grows from chunk to chunk: one backward pass went through {first.nodes:,} nodes, the "
                f"{_th(len(chain) - 1)} after it through {last.nodes:,}, of {last.chunks} chunks. What an "
                "earlier chunk has computed was taken by"
            )
            crossing = growth.first_crossing(last.last)
            return None if crossing is None else self._carried(crossing, what)
        left = growth.hoarded()
        return self._held(left) if left else None

    def _held(self, left: dict[int, int]) -> Leak | None:
        """Something of each chunk is left: what, and by whom it was made."""
        what = f"The graph grows from chunk to chunk: of {len(left)} chunks something is still held, made by"
        crossing = self.growth.first_crossing(max(left))
        if crossing is not None and crossing.source in left.values():
            return self._carried(crossing, what)
        spans = [self._makers[birth] for birth in left.values() if birth in self._makers]
        if not spans:
            return None
        (name, *_), _ = Counter((span.name, span.places()[-1]) for span in spans if span.places()).most_common(1)[0]
        span = next(span for span in spans if span.name == name)
        lines = tuple(map(Line.of, span.places()))
        numbers = "Keep the number, not the tensor with its graph, as in losses.append(loss.item())"
        return Leak(name, lines, what, f"{numbers}; of a larger tensor, mg.detach(x). In evaluation use mg.no_grad().")

    def _carried(self, crossing: Crossing, what: str) -> Leak | None:
        span = self._makers.get(crossing.node)
        if span is None:
            return None
        lines = tuple(map(Line.of, span.places()))
        if not lines:
            return None
        name = next(filter(None, map(carried, lines)), "")
        if crossing.is_number:
            total, part = next(filter(None, map(addition, lines)), (name or "total", "loss"))
            cure = (
                f"Add the number, not the tensor with its graph: {total} += {part}.item(), and go backward from {part}."
            )
        elif "(Stateful)" in " ".join(span.modules()) or "Stateful" in span.modules():
            cure = "The state is that of the Stateful layer: call its detach() after each backward pass."
        else:
            name = name or "state"
            cure = f"Detach what is carried over, before this line runs again: {name} = mg.detach({name})."
        return Leak(span.name, lines, what, cure)


def _th(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")
