"""Adaptive moments: Adam, and AdamW, which decays the weights apart from the gradient."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ..backend import Array, ArrayNamespace
from .blocks import blocks
from .optimizer import Optimizer, zeros_of


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
        root = math.sqrt(1 - beta2**t)
        decay = 1 - group["lr"] * group["weight_decay"] if group["decoupled_weight_decay"] else 1.0
        moments = [zeros_of(xp, state, "exp_avg", p), zeros_of(xp, state, "exp_avg_sq", p)]
        if group["amsgrad"]:
            moments.append(zeros_of(xp, state, "max_exp_avg_sq", p))
        parts = blocks(xp, 1, p, g, *moments)
        for p, g, m, v, *largest, scratch in parts:
            if decay != 1.0:
                xp.multiply(p, decay, out=p)
            xp.multiply(m, beta1, out=m)
            xp.multiply(g, 1 - beta1, out=scratch)
            xp.add(m, scratch, out=m)
            xp.multiply(v, beta2, out=v)
            xp.multiply(g, 1 - beta2, out=scratch)
            xp.multiply(scratch, g, out=scratch)
            xp.add(v, scratch, out=v)
            for u in largest:
                v = xp.maximum(u, v, out=u)

            xp.sqrt(v, out=scratch)  # both parts of the fraction times √(1 - β₂ᵗ)
            xp.add(scratch, group["eps"] * root, out=scratch)
            xp.divide(m, scratch, out=scratch)
            xp.multiply(scratch, group["lr"] * root / (1 - beta1**t), out=scratch)
            xp.subtract(p, scratch, out=p)


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
