"""Walking over a parameter in parts that stay in the cache, because a step passes over each entry a dozen times."""

from __future__ import annotations

from collections.abc import Iterator

from ..backend import Array, ArrayNamespace

BLOCK = 2**16  # entries: of the five float32 arrays of Adam's step, 1.25 MB


def blocks(xp: ArrayNamespace, scratch: int, *arrays: Array) -> Iterator[tuple[Array, ...]]:
    """The arrays, which are of one shape, by some rows of each at a time; behind them arrays to write to.

    On a GPU, where a call costs a launch and not what it passes over, all rows come at once.

    Args:
        scratch: how many arrays to write to. What they hold is of no meaning.
    """
    first = arrays[0]
    if not xp.on_host or first.size <= BLOCK:
        yield (*arrays, *(xp.empty_like(first) for _ in range(scratch)))
        return
    rows = max(1, BLOCK * len(first) // first.size)
    spare = [xp.empty_like(first[:rows]) for _ in range(scratch)]
    for start in range(0, len(first), rows):
        parts = [a[start : start + rows] for a in arrays]
        yield (*parts, *(a[: len(parts[0])] for a in spare))
