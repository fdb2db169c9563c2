"""Gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..backend import Array, ArrayNamespace
from .blocks import blocks
from .optimizer import Optimizer


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum.

    Equations: g ← g + weight_decay p;  v ← momentum v + (1 - dampening) g  (v = g at first);
    p ← p - lr v, or with nesterov p ← p - lr (g + momentum v). With maximize, g is the negative gradient.

    Args:
        params: parameters, or dicts with "params" and options for these.
        lr, momentum, dampening, weight_decay, nesterov, maximize: as in the equations.

    Raises:
        TypeError: an unknown option, or what is to be optimized are no Tensors.
        ValueError: a negative option, or nesterov without momentum or with dampening.

    Source: torch.optim.SGD.

    >>> import minigrad as mg
    >>> from minigrad import optim
    >>> w = mg.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> optim.SGD([w], lr=0.1).step()
    >>> w.tolist()
    [0.800000011920929]
    """

    sometimes = ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {"momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov}
        super().__init__(params, {"lr": lr, **options, "maximize": maximize})

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError("SGD: nesterov needs a momentum, and no dampening")

    def _update(self, xp: ArrayNamespace, p: Array, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        momentum = group["momentum"]
        is_first = "momentum_buffer" not in state
        if momentum and is_first:
            state["momentum_buffer"] = g.copy()
        parts = blocks(xp, 1, p, g, state["momentum_buffer"] if momentum else g)
        for p, g, v, scratch in parts:
            if momentum and not is_first:
                xp.multiply(v, momentum, out=v)
                xp.multiply(g, 1 - group["dampening"], out=scratch)
                xp.add(v, scratch, out=v)
            if momentum and group["nesterov"]:
                xp.multiply(v, momentum, out=scratch)
                xp.add(scratch, g, out=scratch)
                xp.multiply(scratch, group["lr"], out=scratch)
            else:
                xp.multiply(v, group["lr"], out=scratch)
            xp.subtract(p, scratch, out=p)
