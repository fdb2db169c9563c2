"""Adaptive moments: Adam, and AdamW, which decays the weights apart from the gradient."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ..backend import Array, ArrayNamespace
from ..fusion.updates import update
from .optimizer import Optimizer, turned, turning, zeros_of


class Adam(Optimizer):
    """Divides a running mean of each gradient by a running root mean square of it, both corrected for their start.

    Equations: g ← g + weight_decay p, or decoupled p ← p - lr weight_decay p;
    m ← β₁ m + (1 - β₁) g;  v ← β₂ v + (1 - β₂) g²;  with amsgrad v is from here on the largest v so far;
    p ← p - lr m / (1 - β₁ᵗ) / (√v / √(1 - β₂ᵗ) + eps), t counting steps from 1. With maximize, g is the
    negative gradient.

    Args:
        params: parameters, or dicts with "params" and options for these.
        lr, betas, eps, weight_decay, amsgrad, maximize, decoupled_weight_decay: as in the equations.

    Raises:
        TypeError: an unknown option, or what is to be optimized are no Tensors.
        ValueError: a negative option, or betas that are not two numbers from 0 to below 1.

    Source: torch.optim.Adam; Kingma and Ba 2015; amsgrad, Reddi, Kale and Kumar 2018.

    >>> import minigrad as mg
    >>> from minigrad import optim
    >>> w = mg.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> optim.Adam([w], lr=0.01).step()
    >>> round(w.item(), 4)
    0.99
    """

    always = ("step", "exp_avg", "exp_avg_sq")
    sometimes = ("max_exp_avg_sq",)
    turns_by_itself = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        options = {"betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad, "maximize": maximize}
        super().__init__(params, {"lr": lr, **options, "decoupled_weight_decay": decoupled_weight_decay})

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        betas = group["betas"]
        if (
            not isinstance(betas, tuple)
            or len(betas) != 2
            or not all(isinstance(beta, (int, float)) and 0 <= beta < 1 for beta in betas)
        ):
            raise ValueError(
                f"{type(self).__name__}: expected betas to be a pair of numbers from 0 to below 1, got {betas!r}"
            )

    def _update(self, xp: ArrayNamespace, p: Array, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        state["step"] = t = state.get("step", 0) + 1
        m, v = zeros_of(xp, state, "exp_avg", p), zeros_of(xp, state, "exp_avg_sq", p)
        u = zeros_of(xp, state, "max_exp_avg_sq", p) if group["amsgrad"] else None
        lr, decay, decoupled = group["lr"], group["weight_decay"], bool(group["decoupled_weight_decay"])
        root = math.sqrt(1 - beta2**t)  # both parts of the fraction are multiplied by it
        numbers = [lr * root / (1 - beta1**t), beta1, beta2, group["eps"] * root]
        numbers.append(1 - lr * decay if decoupled else decay)
        step(xp, [p, g, m, v, u], numbers, (decoupled and decay != 0, *turning(group)))


@update("p", "m", "v", "u")
def step(
    xp: Any, p: Any, g: Any, m: Any, v: Any, u: Any, rate: Any, beta1: Any, beta2: Any, eps: Any, decay: Any,
    shrinks: bool, decays: bool, maximizes: bool,
) -> Any:  # fmt: skip
    """u is None without amsgrad; the decay is what p is multiplied by if it shrinks, else the weight decay."""
    g = turned(p, g, decay, decays, maximizes)
    if shrinks:
        p = decay * p
    m = beta1 * m + (1 - beta1) * g
    largest = v = beta2 * v + (1 - beta2) * g * g
    if u is not None:
        largest = u = xp.maximum(u, v)
    return p - rate * (m / (xp.sqrt(largest) + eps)), m, v, u


class AdamW(Adam):
    """Adam whose weight decay does not pass through the running means: p ← p - lr weight_decay p, then Adam's step.

    Args: as Adam's, with a weight_decay of 0.01 unless another is given.

    Source: torch.optim.AdamW; Loshchilov and Hutter 2019.

    >>> import minigrad as mg
    >>> from minigrad import optim
    >>> w = mg.tensor([1.0], requires_grad=True)
    >>> w.grad = mg.zeros(1)
    >>> optim.AdamW([w], lr=0.1, weight_decay=0.5).step()
    >>> round(w.item(), 4)
    0.95
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """As `Optimizer.load_state_dict`; from a state of Adam's, AdamW goes on as AdamW."""
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True
