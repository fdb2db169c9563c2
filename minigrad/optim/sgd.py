"""Gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..backend import Array, ArrayNamespace
from .optimizer import Optimizer


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum.

    Equations: g ← g + weight_decay p;  v ← momentum v + (1 - dampening) g  (v = g at first);
    p ← p - lr v, or with nesterov p ← p - lr (g + momentum v).
    Source: torch.optim.SGD.

    >>> import minigrad as mg
    >>> w = mg.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> SGD([w], lr=0.1).step()
    >>> w.tolist()
    [0.800000011920929]
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        options = {"momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov}
        super().__init__(params, {"lr": lr, **options})

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError("SGD: nesterov needs a momentum, and no dampening")

    def _update(self, xp: ArrayNamespace, p: Array, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        if group["weight_decay"]:
            g = g + group["weight_decay"] * p
        if group["momentum"]:
            if "momentum_buffer" not in state:
                v = state["momentum_buffer"] = g.copy()
            else:
                v = state["momentum_buffer"]
                xp.multiply(v, group["momentum"], out=v)
                xp.add(v, (1 - group["dampening"]) * g, out=v)
            g = g + group["momentum"] * v if group["nesterov"] else v
        xp.subtract(p, group["lr"] * g, out=p)
