"""Adaptive moments."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..backend import Array, ArrayNamespace
from .optimizer import Optimizer


class Adam(Optimizer):
    """Divides a running mean of each gradient by a running root mean square of it, both corrected for their start.

    Equations: g ← g + weight_decay p;  m ← β₁ m + (1 - β₁) g;  v ← β₂ v + (1 - β₂) g²;
    p ← p - lr m / (1 - β₁ᵗ) / (√v / √(1 - β₂ᵗ) + eps), t counting steps from 1.
    Source: torch.optim.Adam; Kingma and Ba 2015.

    >>> import minigrad as mg
    >>> w = mg.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> Adam([w], lr=0.01).step()
    >>> round(w.item(), 4)
    0.99
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        betas = group["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"Adam: expected both betas from 0 to below 1, got {betas}")

    def _update(self, xp: ArrayNamespace, p: Array, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        if group["weight_decay"]:
            g = g + group["weight_decay"] * p
        if not state:
            state.update(step=0, exp_avg=xp.zeros_like(p), exp_avg_sq=xp.zeros_like(p))
        state["step"] += 1
        m, v, scratch = state["exp_avg"], state["exp_avg_sq"], xp.empty_like(p)
        xp.multiply(m, beta1, out=m)
        xp.multiply(g, 1 - beta1, out=scratch)
        xp.add(m, scratch, out=m)
        xp.multiply(v, beta2, out=v)
        xp.multiply(g, g, out=scratch)
        xp.multiply(scratch, 1 - beta2, out=scratch)
        xp.add(v, scratch, out=v)

        step_size = group["lr"] / (1 - beta1 ** state["step"])
        xp.sqrt(v, out=scratch)
        xp.multiply(scratch, 1 / math.sqrt(1 - beta2 ** state["step"]), out=scratch)
        xp.add(scratch, group["eps"], out=scratch)
        xp.divide(m, scratch, out=scratch)
        xp.multiply(scratch, step_size, out=scratch)
        xp.subtract(p, scratch, out=p)
