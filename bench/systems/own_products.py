"""The matrix products of a training step as minigrad computes them: those of one weight at all time steps in one loop.

On the CPU with a C compiler these are its own kernels, which pack a weight once for all time steps; otherwise NumPy's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.ops.contraction import linear

from .products import Product, facts, products
from .task import Array, Task

__all__ = ["build", "facts"]


def forward(x: mg.Tensor, state: Any, W: mg.Tensor) -> mg.Tensor:  # noqa: N803
    """x Wᵀ, as the cells have it. As a cell for `scan`, with nothing between the products, it needs no state."""
    return linear(x, W, 0.0)


def back(g: mg.Tensor, state: Any, W: mg.Tensor) -> mg.Tensor:  # noqa: N803
    return g @ W


def gradient(g: mg.Tensor, state: Any, x: mg.Tensor) -> mg.Tensor:
    return g.T @ x


FORMS = {"x Wᵀ": forward, "g W": back, "gᵀ x": gradient}


def call(product: Product, rng: np.random.Generator) -> Callable[[], Any]:
    """The product on factors of its own, as often as a step computes it."""
    _, form, times, rows, inner, columns = product

    def factor(*shape: int) -> mg.Tensor:
        return mg.tensor(rng.standard_normal(shape, dtype=np.float32))

    right = factor(columns, inner) if form == "x Wᵀ" else factor(inner, columns)
    if times == 1:
        return partial(FORMS[form], factor(inner, rows) if form == "gᵀ x" else factor(rows, inner), None, right)
    return partial(mg.scan, FORMS[form], factor(times, rows, inner), mg.zeros((rows, columns)), right)


def build(task: Task, weights: dict[str, Array], batches: list[tuple[Array, Array]]) -> Callable[[int], None]:
    rng = np.random.default_rng(task.seed)
    calls = [call(product, rng) for product in products(task) if product.times]
    mg.keep_freed_memory()  # which a training step's backward turns on

    def step(k: int) -> None:
        with mg.no_grad():
            for each in calls:
                each()

    return step
