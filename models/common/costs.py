"""What a piece of work costs, in time and in memory."""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence

import minigrad as mg

Work = Callable[[], object]


def seconds(works: Sequence[Work], repeats: int) -> list[float]:
    """The median time of each; they are done by turns, so that what slows the machine down slows all of them.

    Each is done once before, without a look at the clock.
    """
    found: list[list[float]] = [[] for _ in works]
    for repeat in range(-1, repeats):
        for work, times in zip(works, found, strict=True):
            mg.synchronize()
            started = time.perf_counter()
            work()
            mg.synchronize()
            if repeat >= 0:
                times.append(time.perf_counter() - started)
    return [statistics.median(times) for times in found]


def peak(work: Work) -> int | None:
    """By how many bytes memory grows at most while it is done: of all arrays of NumPy; None on a GPU."""
    if mg.default_device() != "cpu":
        return None
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
