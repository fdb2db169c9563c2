"""The matrix products of a training step and nothing else, in NumPy, into arrays made beforehand.

The look-up and the first layer's product are exchanged, (E W)[ids] instead of E[ids] W, so that this one is of V rows
and not of T·N; the input projections of all time steps are one product, and each weight's gradient is one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .task import Array, Task


class Product(NamedTuple):
    """(rows, inner) times (inner, columns), so many times, on arrays of their own; and how the step has its factors."""

    what: str
    form: str  # "x Wᵀ", "g W" or "gᵀ x", where W is (out, in): a transposed factor is a view
    times: int
    rows: int
    inner: int
    columns: int

    @property
    def flop(self) -> int:
        return 2 * self.times * self.rows * self.inner * self.columns


def products(task: Task) -> list[Product]:
    """Every product of a step.

    The state before the first step is zeros and needs no gradient, so that going back over time takes one product less
    than going forward.
    """
    T, N, H, V = task.length, task.batch, task.hidden, task.vocabulary
    G = task.gates * H
    found = []
    for layer in range(task.layers):
        rows = T * N if layer else V  # of the layer's input, or of the table that it is looked up in
        found += [
            Product(f"layer {layer}: share of the inputs", "x Wᵀ", 1, rows, H, G),
            Product(f"layer {layer}: share of the state", "x Wᵀ", T, N, H, G),
            Product(f"layer {layer}: back through time", "g W", T - 1, N, G, H),
            Product(f"layer {layer}: gradient of W_hh", "gᵀ x", 1, G, T * N, H),
            Product(f"layer {layer}: gradient of W_ih", "gᵀ x", 1, G, rows, H),
            Product(f"layer {layer}: gradient of the inputs", "g W", 1, rows, G, H),
        ]
    return [
        *found,
        Product("output: logits", "x Wᵀ", 1, T * N, H, V),
        Product("output: gradient of the states", "g W", 1, T * N, V, H),
        Product("output: gradient of W", "gᵀ x", 1, V, T * N, H),
    ]


def facts(task: Task) -> dict[str, Any]:
    """FLOP of a step, a multiplication and an addition counted as two."""
    return {"flop": sum(product.flop for product in products(task))}


def build(task: Task, weights: dict[str, Array], batches: list[tuple[Array, Array]]) -> Callable[[int], None]:
    rng = np.random.default_rng(task.seed)

    def factor(*shape: int, transposed: bool) -> Array:
        made = rng.standard_normal((*shape[:-2], *shape[-2:][:: -1 if transposed else 1]), dtype=np.float32)
        return np.swapaxes(made, -1, -2) if transposed else made

    calls = []
    for _, form, times, rows, inner, columns in products(task):
        left = factor(times, rows, inner, transposed=form == "gᵀ x")
        right = factor(inner, columns, transposed=form == "x Wᵀ")
        calls.append((left, right, np.empty((times, rows, columns), np.float32)))

    def step(k: int) -> None:
        for lefts, right, outs in calls:
            for left, out in zip(lefts, outs, strict=True):
                np.matmul(left, right, out=out)

    return step
