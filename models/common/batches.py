"""Which examples come together in an update."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def shuffled(count: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    """Numbers of examples, `batch` at a time, without end: each epoch in another order, the rest of one left out.

    Of fewer examples than `batch`, all come each time.

    >>> batches = shuffled(5, 2, seed=0)
    >>> sorted(len(set(next(batches))) for _ in range(3))
    [2, 2, 2]
    """
    batch = min(batch, count)
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(count)
        for start in range(0, count - batch + 1, batch):
            yield order[start : start + batch]
