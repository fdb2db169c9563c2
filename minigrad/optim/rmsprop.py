"""Gradient descent with a step size per weight, from the recent size of its gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..backend import Array, ArrayNamespace
from .blocks import blocks
from .optimizer import Optimizer, zeros_of


class RMSprop(Optimizer):
    """Divides each gradient by a running root mean square of its own past.

    Equations: g ← g + weight_decay p;  s ← alpha s + (1 - alpha) g²;  d = g / (√s + eps), or with centered
    m ← alpha m + (1 - alpha) g;  d = g / (√(s - m²) + eps);
    p ← p - lr d, or with momentum b ← momentum b + d; p ← p - lr b. With maximize, g is the negative gradient.

    Args:
        params: parameters, or dicts with "params" and options for these.
        lr, alpha, eps, weight_decay, momentum, centered, maximize: as in the equations.

    Raises:
        TypeError: an unknown option, or what is to be optimized are no Tensors.
        ValueError: a negative option.

    Source: torch.optim.RMSprop; Tieleman and Hinton 2012; centered, Graves 2013.

    >>> import minigrad as mg
    >>> from minigrad import optim
    >>> w = mg.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> optim.RMSprop([w], lr=0.01).step()
    >>> round(w.item(), 4)
    0.9
    """

    always = ("step", "square_avg")
    sometimes = ("momentum_buffer", "grad_avg")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {"alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, {"lr": lr, **options, "centered": centered, "maximize": maximize})

    def _update(self, xp: ArrayNamespace, p: Array, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        alpha = group["alpha"]
        state["step"] = state.get("step", 0) + 1
        remembered = [zeros_of(xp, state, "square_avg", p)]
        if group["centered"]:
            remembered.append(zeros_of(xp, state, "grad_avg", p))
        if group["momentum"]:
            remembered.append(zeros_of(xp, state, "momentum_buffer", p))
        parts = blocks(xp, 1, p, g, *remembered)
        for p, g, s, *rest, d in parts:
            xp.multiply(s, alpha, out=s)
            xp.multiply(g, 1 - alpha, out=d)
            if group["centered"]:
                m = rest[0]
                xp.multiply(m, alpha, out=m)
                xp.add(m, d, out=m)
            xp.multiply(d, g, out=d)
            xp.add(s, d, out=s)
            if group["centered"]:
                xp.multiply(m, m, out=d)
                s = xp.subtract(s, d, out=d)
            xp.sqrt(s, out=d)
            xp.add(d, group["eps"], out=d)
            xp.divide(g, d, out=d)
            if group["momentum"]:
                b = rest[-1]
                xp.multiply(b, group["momentum"], out=b)
                xp.add(b, d, out=b)
                xp.multiply(b, group["lr"], out=d)
            else:
                xp.multiply(d, group["lr"], out=d)
            xp.subtract(p, d, out=p)
