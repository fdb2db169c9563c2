"""Limiting gradients before a step. The factor stays on the device: nothing is read back."""

from __future__ import annotations

from collections.abc import Iterable

from ..backend import float16, float32, namespace_of
from ..creation import zeros
from ..tape import Tensor, mark_written


def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale all gradients, in place, so that the norm of all of them together is at most max_norm.

    Equation: g ← g min(1, max_norm / (‖g‖ + 1e-6)), ‖g‖ the 2-norm over every entry of every gradient.
    Source: Pascanu et al. 2013; the constant is PyTorch's.

    Returns:
        ‖g‖ before scaling, a 0-d Tensor on the device of the gradients.

    Raises:
        ValueError: max_norm is not positive.

    >>> import minigrad as mg
    >>> x = mg.tensor([3.0, 4.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> clip_grad_norm_([x], 1.0).item()
    10.0
    """
    if not max_norm > 0:
        raise ValueError(f"clip_grad_norm_: expected a positive max_norm, got {max_norm}")
    owners = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    grads = [p.grad for p in owners if p.grad is not None]
    if not grads:
        return zeros(())
    xp = namespace_of(grads[0].data)
    # In float16 the square of 256 is infinite already.
    arrays = [g.data.astype(float32) if g.dtype == float16 else g.data for g in grads]
    norm = xp.sqrt(xp.sum(xp.stack([xp.asarray(xp.vdot(a, a)) for a in arrays])))
    factor = xp.minimum(1.0, max_norm / (norm + 1e-6))
    for g in grads:
        xp.multiply(g.data, factor.astype(g.dtype), out=g.data)
        mark_written(g)
    return Tensor(xp.asarray(norm))
