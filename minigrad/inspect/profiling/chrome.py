"""A profile as a trace that Perfetto (ui.perfetto.dev) and chrome://tracing open.

Source: Google, "Trace Event Format": complete events "X" with `ts` and `dur` in microseconds, counters "C", instants
"i", and metadata "M" that names the process and its threads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Final

from .events import BACKWARD, FORWARD, SWEEP, Thread
from .growth import Sample
from .spans import Span, walk
from .where import Line

CATEGORIES: Final = {"sums": "backward", "sweep": "backward", "launch": "kernel", "wait": "synchronize"}

Json = dict[str, Any]


def trace(
    threads: Sequence[tuple[Thread, list[Span]]], samples: Sequence[Sample], steps: Sequence[float], start: float
) -> Json:
    """The document, as json.dump takes it. Times are seconds of one clock, and `start` is when the block began."""
    process = os.getpid()

    def event(kind: str, name: str, thread: int, time: float, **more: Any) -> Json:
        return {"name": name, "ph": kind, "pid": process, "tid": thread, "ts": _microseconds(time - start), **more}

    heads = [event("M", "process_name", 0, start, args={"name": "minigrad"})]
    events: list[Json] = []
    for number, (thread, spans) in enumerate(threads, 1):
        heads.append(event("M", "thread_name", number, start, args={"name": thread.name}))
        heads.append(event("M", "thread_sort_index", number, start, args={"sort_index": number}))
        modules = {span.birth: span.modules() for span in walk(spans) if span.kind is FORWARD and span.birth}
        for span in walk(spans):
            if span.kind is SWEEP:
                for name, first, last in _stretches(span, modules):
                    length = _microseconds(last - first)
                    events.append(event("X", name, number, first, dur=length, cat="module,backward", args={}))
            name = f"{span.name}, backward" if span.kind is BACKWARD else span.name
            category = "backward" if span.goes_back and span.kind is FORWARD else CATEGORIES.get(span.kind, span.kind)
            length = _microseconds(span.end - span.start)
            events.append(event("X", name, number, span.start, dur=length, cat=category, args=_arguments(span)))
    for sample in samples:
        events.append(event("C", "nodes of the graph", 0, sample.time, args={"nodes": sample.nodes}))
        events.append(event("C", "kept for the backward pass", 0, sample.time, args={"bytes": sample.kept}))
    events += [event("i", f"step {k}", 0, time, s="p", cat="step") for k, time in enumerate(steps, 1)]
    events.sort(key=lambda e: (e["ts"], -e.get("dur", 0.0)))  # what contains others comes first
    return {"traceEvents": [*heads, *events], "displayTimeUnit": "ms"}


def _microseconds(seconds: float) -> float:
    return max(round(seconds * 1e6, 3), 0.0)


def _stretches(sweep: Span, modules: dict[int, tuple[str, ...]]) -> Iterator[tuple[str, float, float]]:
    """Which module a backward pass went through from when to when: of each depth, from the outermost on."""
    steps = [(modules.get(span.birth, ()), span) for span in sweep.inside if span.kind is BACKWARD]
    for depth in range(max((len(path) for path, _ in steps), default=0)):
        for path, group in groupby(steps, key=lambda step: step[0][: depth + 1]):
            spans = [span for _, span in group]
            if len(path) > depth:
                yield f"{path[depth]}, backward", spans[0].start, spans[-1].end


def _arguments(span: Span) -> Json:
    found: Json = {}
    if span.size:
        found["bytes"] = span.size
    if span.birth:
        found["node"] = span.birth
    if span.place is not None:
        found["line"] = Line.of(span.place).short
    return found
