"""Walking over a parameter in parts that stay in the cache, because a step passes over each entry a dozen times."""

from __future__ import annotations

from collections.abc import Iterator

from ..backend import Array, ArrayNamespace

BLOCK = 2**16  # entries: of the five float32 arrays of Adam's step, 1.25 MB


def blocks(xp: ArrayNamespace, scratch: int, p: Array, *others: Array) -> Iterator[tuple[Array, ...]]:
    """Arrays of one shape (a parameter, its gradient, what is remembered of it), each some rows at a time.

    Behind them come `scratch` arrays to write to, which hold nothing of meaning. On a GPU, where a call costs a launch
    and little else, all rows come at once.
    """
    if not xp.on_host or p.size <= BLOCK:
        yield (p, *others, *[xp.empty_like(p) for _ in range(scratch)])
        return
    rows = max(1, BLOCK * len(p) // p.size)
    spare = [xp.empty_like(p[:rows]) for _ in range(scratch)]
    for start in range(0, len(p), rows):
        parts = [a[start : start + rows] for a in (p, *others)]
        yield (*parts, *[a[: len(parts[0])] for a in spare])
