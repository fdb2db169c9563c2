"""Gradient descent with a step size per weight, from the size of all its gradients so far."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..backend import Array, ArrayNamespace
from ..fusion.updates import update
from .optimizer import Optimizer, turned, turning


class Adagrad(Optimizer):
    """Divides each gradient by the root of the sum of the squares of all that came before.

    Equations: g ← g + weight_decay p;  s ← s + g²  (s = initial_accumulator_value at first);
    p ← p - lr / (1 + (t - 1) lr_decay) g / (√s + eps), t counting steps from 1. With maximize, g is the
    negative gradient.

    Args:
        params: parameters, or dicts with "params" and options for these.
        lr, lr_decay, weight_decay, initial_accumulator_value, eps, maximize: as in the equations.

    Raises:
        TypeError: an unknown option, or what is to be optimized are no Tensors.
        ValueError: a negative option.

    Source: torch.optim.Adagrad; Duchi, Hazan and Singer 2011.

    >>> import minigrad as mg
    >>> from minigrad import optim
    >>> w = mg.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> optim.Adagrad([w], lr=0.01).step()
    >>> round(w.item(), 4)
    0.99
    """

    always = ("step", "sum")
    turns_by_itself = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        options = {"lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay}
        options |= {"initial_accumulator_value": initial_accumulator_value, "maximize": maximize}
        super().__init__(params, {"lr": lr, **options})

    def _update(self, xp: ArrayNamespace, p: Array, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state.update(step=0, sum=xp.full_like(p, group["initial_accumulator_value"]))
        state["step"] += 1
        lr = group["lr"] / (1 + (state["step"] - 1) * group["lr_decay"])
        step(xp, [p, g, state["sum"]], [lr, group["eps"], group["weight_decay"]], turning(group))


@update("p", "s")
def step(xp: Any, p: Any, g: Any, s: Any, lr: Any, eps: Any, weight_decay: Any, decays: bool, maximizes: bool) -> Any:
    g = turned(p, g, weight_decay, decays, maximizes)
    s = s + g * g
    return p - lr * (g / (xp.sqrt(s) + eps)), s
