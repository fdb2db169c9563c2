"""Gradient descent with a step size per weight, from the recent size of its gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..backend import Array, ArrayNamespace
from .optimizer import Optimizer


class RMSprop(Optimizer):
    """Divides each gradient by a running root mean square of its own past.

    Equations: g ← g + weight_decay p;  s ← alpha s + (1 - alpha) g²;  d = g / (√s + eps);
    p ← p - lr d, or with momentum b ← momentum b + d; p ← p - lr b.
    Source: torch.optim.RMSprop; Tieleman and Hinton 2012.

    >>> import minigrad as mg
    >>> w = mg.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> RMSprop([w], lr=0.01).step()
    >>> round(w.item(), 4)
    0.9
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
    ) -> None:
        options = {"alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, {"lr": lr, **options})

    def _update(self, xp: ArrayNamespace, p: Array, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        if group["weight_decay"]:
            g = g + group["weight_decay"] * p
        if not state:
            state["square_avg"] = xp.zeros_like(p)
            state["momentum_buffer"] = xp.zeros_like(p) if group["momentum"] else None
        s = state["square_avg"]
        xp.multiply(s, group["alpha"], out=s)
        xp.add(s, (1 - group["alpha"]) * (g * g), out=s)
        step = xp.sqrt(s)
        xp.add(step, group["eps"], out=step)
        xp.divide(g, step, out=step)
        if group["momentum"]:
            b = state["momentum_buffer"]
            xp.multiply(b, group["momentum"], out=b)
            xp.add(b, step, out=b)
            step = b
        xp.subtract(p, group["lr"] * step, out=p)
