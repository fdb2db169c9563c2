"""What every system computes, to the last constant: sizes, first weights, data, clipping and optimizer.

embedding (V, H) -> L recurrent layers from a state of zeros -> linear (H, V) -> mean cross-entropy over T·N characters
-> backward -> gradients clipped to a norm of 5 -> Adam. All in float32.

T: time steps (length)   N: batch   V: vocabulary   H: hidden size   L: layers   G: gates (1, 4 or 3)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
RATE, BETAS, EPS = 2e-3, (0.9, 0.999), 1e-8  # of Adam
BATCHES = 8  # the data go round in a cycle of so many


@dataclass(frozen=True)
class Task:
    """One configuration. The defaults are those of torch-rnn's published grid, clipping included."""

    cell: str
    layers: int
    hidden: int
    batch: int = 50
    length: int = 50
    vocabulary: int = 65
    clip: float = 5.0
    seed: int = 0
    device: str = "cpu"  # where the step runs

    @property
    def gates(self) -> int:
        return GATES[self.cell]


def weights(task: Task) -> dict[str, Array]:
    """The first weights, drawn and named as PyTorch does it: every process makes the same ones."""
    rng = np.random.default_rng(task.seed)
    H, V, rows = task.hidden, task.vocabulary, task.gates * task.hidden
    bound = 1 / math.sqrt(H)

    def uniform(*shape: int) -> Array:
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    found = {"embedding.weight": rng.standard_normal((V, H)).astype(np.float32)}
    for layer in range(task.layers):
        found |= {f"rnn.weight_{part}_l{layer}": uniform(rows, H) for part in ("ih", "hh")}
        found |= {f"rnn.bias_{part}_l{layer}": uniform(rows) for part in ("ih", "hh")}
    return found | {"output.weight": uniform(V, H), "output.bias": uniform(V)}


def batches(task: Task) -> list[tuple[Array, Array]]:
    """Characters and those that follow them, (T, N) each: every character is one, two or three further than the last.

    There is something to learn, so that a step that learns wrongly shows in the next losses.
    """
    rng = np.random.default_rng(task.seed + 1)
    moves = rng.integers(1, 4, size=(BATCHES, task.length + 1, task.batch))
    moves[:, 0] = rng.integers(task.vocabulary, size=(BATCHES, task.batch))
    texts = moves.cumsum(axis=1) % task.vocabulary
    return [(text[:-1], text[1:]) for text in texts]
