"""Gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..backend import Array, ArrayNamespace
from ..fusion.updates import update
from .optimizer import Optimizer, turned, turning


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
    turns_by_itself = True

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
        v, is_first = None, "momentum_buffer" not in state
        if group["momentum"]:
            v = xp.empty_like(p) if is_first else state["momentum_buffer"]
        numbers = [group["lr"], group["momentum"], group["dampening"], group["weight_decay"]]
        step(xp, [p, g, v], numbers, (bool(group["nesterov"]), is_first, *turning(group)))
        if v is not None:
            state["momentum_buffer"] = v


@update("p", "v")
def step(
    xp: Any, p: Any, g: Any, v: Any, lr: Any, momentum: Any, dampening: Any, weight_decay: Any,
    is_nesterov: bool, is_first: bool, decays: bool, maximizes: bool,
) -> Any:  # fmt: skip
    """v is None without momentum."""
    g = turned(p, g, weight_decay, decays, maximizes)
    if v is None:
        return p - lr * g, None
    v = g if is_first else momentum * v + (1 - dampening) * g
    return p - lr * (g + momentum * v if is_nesterov else v), v
