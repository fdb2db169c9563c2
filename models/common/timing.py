"""How long something takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import minigrad as mg


def medians(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds that each of these takes: the median of so many rounds, in which they take turns, after a first one."""
    from bench.timing import in_turns

    def timed(call: Callable[[], object]) -> float:
        mg.synchronize()
        started = time.perf_counter()
        call()
        mg.synchronize()
        return time.perf_counter() - started

    found = in_turns({name: lambda call=call: timed(call) for name, call in calls.items()}, rounds)  # type: ignore[misc]
    return {name: statistics.median(seconds) for name, seconds in found.items()}
