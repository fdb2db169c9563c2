"""Gradient descent with a step size per weight, from the recent size of its gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..backend import Array, ArrayNamespace
from ..fusion.updates import update
from .optimizer import Optimizer, turned, turning, zeros_of


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
    turns_by_itself = True

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
        state["step"] = state.get("step", 0) + 1
        s = zeros_of(xp, state, "square_avg", p)
        m = zeros_of(xp, state, "grad_avg", p) if group["centered"] else None
        b = zeros_of(xp, state, "momentum_buffer", p) if group["momentum"] else None
        numbers = [group["lr"], group["alpha"], group["eps"], group["momentum"], group["weight_decay"]]
        step(xp, [p, g, s, m, b], numbers, turning(group))


@update("p", "s", "m", "b")
def step(
    xp: Any, p: Any, g: Any, s: Any, m: Any, b: Any, lr: Any, alpha: Any, eps: Any, momentum: Any, weight_decay: Any,
    decays: bool, maximizes: bool,
) -> Any:  # fmt: skip
    """m is None if it is not centered, b without momentum."""
    g = turned(p, g, weight_decay, decays, maximizes)
    variance = s = alpha * s + (1 - alpha) * g * g
    if m is not None:
        m = alpha * m + (1 - alpha) * g
        variance = s - m * m
    d = g / (xp.sqrt(variance) + eps)
    if b is not None:
        d = b = momentum * b + d
    return p - lr * d, s, m, b
