"""Limiting gradients before a step. The factor stays on the device: nothing is read back."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..backend import Array, ArrayNamespace, DType, float16, float32, float64, namespace_of, python_scalar
from ..creation import zeros
from ..fusion.updates import update
from ..graph import Tensor, mark_written

BLOCK = 2**16  # entries whose squares are added up in float32 before their sums are


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float | str = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients, in place, so that the norm of all of them together is at most max_norm.

    Equation: g ← g min(1, max_norm / (‖g‖ + 1e-6)), ‖g‖ = (Σ |gᵢ|^p)^(1/p) over every entry of every gradient,
    or with p = inf the largest |gᵢ|.
    Source: torch.nn.utils.clip_grad_norm_, whose constant it is; Pascanu et al. 2013.

    Args:
        parameters: whose gradients are scaled; those without one are passed over.
        max_norm: what the norm may be.
        norm_type: p, above 0; "inf" is math.inf.
        error_if_nonfinite: raise if the norm is infinite or NaN. This reads the norm, which waits for the device.

    Returns:
        ‖g‖ before scaling, a 0-d Tensor on the device of the gradients.

    Raises:
        TypeError: the parameters are no Tensors, or max_norm or norm_type is no number.
        ValueError: max_norm or norm_type is not positive.
        RuntimeError: the gradients are on several devices; or the norm is not finite, with error_if_nonfinite. No
            gradient is changed then.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> x = mg.tensor([3.0, 4.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> nn.utils.clip_grad_norm_([x], 1.0).item()
    10.0
    """
    max_norm = _positive("clip_grad_norm_", "max_norm", max_norm)
    norm_type = _positive("clip_grad_norm_", "norm_type", math.inf if norm_type == "inf" else norm_type)
    grads = _gradients("clip_grad_norm_", parameters)
    if not grads:
        return zeros(())
    xp = namespace_of(grads[0].data)
    devices = dict.fromkeys(g.device for g in grads)
    if len(devices) > 1:
        raise RuntimeError(
            f"clip_grad_norm_: expected gradients on one device, got some on {' and some on '.join(devices)}; move "
            "the model to one with .to(device), or clip the parameters of each device by themselves"
        )
    xp.make_current()
    total, root = _total(xp, [g.data for g in grads], norm_type)
    norm, factor = (xp.empty((), dtype=_precision(grads)) for _ in range(2))
    limit(xp, [norm, factor, total], [max_norm, root], (norm_type == 2, norm_type == math.inf))
    if error_if_nonfinite and not math.isfinite(xp.to_host(norm).item()):
        raise RuntimeError(
            f"clip_grad_norm_: the norm of the gradients, of order {norm_type}, is {xp.to_host(norm).item()}, so they "
            "cannot be scaled by it. Look for the operation that made it so, or leave error_if_nonfinite out"
        )
    if xp.on_host and factor == 1.0:  # on a GPU reading it would take longer than scaling by it
        return Tensor(norm)
    for g in grads:
        scale(xp, [g.data, factor], [])
        mark_written(g)
    return Tensor(norm)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every entry of every gradient, in place, to [-clip_value, clip_value].

    Equation: g ← min(max(g, -clip_value), clip_value).
    Source: torch.nn.utils.clip_grad_value_.

    Args:
        parameters: whose gradients are limited; those without one are passed over.
        clip_value: the largest size of an entry.

    Raises:
        TypeError: the parameters are no Tensors, or clip_value is no number.
        ValueError: clip_value is not positive.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> x = mg.tensor([3.0, -0.25], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> nn.utils.clip_grad_value_([x], 1.0)
    >>> x.grad.tolist()
    [1.0, -0.5]
    """
    clip_value = _positive("clip_grad_value_", "clip_value", clip_value)
    for g in _gradients("clip_grad_value_", parameters):
        xp = namespace_of(g.data)
        xp.make_current()
        xp.clip(g.data, -clip_value, clip_value, out=g.data)
        mark_written(g)


def _positive(caller: str, name: str, value: Any) -> float:
    value = python_scalar(value)
    if not isinstance(value, (int, float)):
        raise TypeError(f"{caller}: expected {name} to be a number, got {type(value).__name__}")
    if not value > 0:
        raise ValueError(f"{caller}: expected a positive {name}, got {value}")
    return value


def _gradients(caller: str, parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    several = isinstance(parameters, Iterable) and not isinstance(parameters, Tensor)
    owners: list[Any] = list(parameters) if several else [parameters]
    for p in owners:
        if not isinstance(p, Tensor):
            raise TypeError(
                f"{caller}: expected a Tensor or an iterable of Tensors, got {type(p).__name__}; "
                "of a module, pass module.parameters()"
            )
    return [p.grad for p in owners if p.grad is not None and p.grad.size]


def _precision(grads: list[Tensor]) -> DType:
    """In which a norm is given: no square overflows as in float16, where that of 256 is infinite."""
    return float64 if any(g.dtype == float64 for g in grads) else float32


def _total(xp: ArrayNamespace, arrays: list[Array], p: float) -> tuple[Array, float]:
    """A 0-d array and a root of it that is the p-norm of all entries together."""
    arrays = [a.astype(float32) if a.dtype == float16 else a for a in arrays]
    if p == math.inf:
        return xp.asarray(xp.max(xp.stack([xp.asarray(xp.max(xp.absolute(a))) for a in arrays]))), 1.0
    if xp.on_host:
        sums = [_sum_of_squares(xp, a) if p == 2 else xp.sum(xp.absolute(a) ** p) for a in arrays]
        return xp.asarray(xp.sum(xp.stack([xp.asarray(s) for s in sums]))), 1 / p
    total = xp.zeros((), dtype=float64)
    for a in arrays:
        add_powers(xp, [total, a], [p], (p == 2,))
    return total, 1 / p


def _sum_of_squares(xp: ArrayNamespace, a: Array) -> Array:
    """Σ aᵢ². Not by the BLAS of the host, which would wake its threads for it."""
    flat = a.ravel("K")  # in the order of the memory, so that a transposed one is not copied
    parts = [flat[start : start + BLOCK] for start in range(0, a.size, BLOCK)]
    return xp.sum(xp.asarray([xp.einsum("i,i->", part, part) for part in parts]))


@update("total", adds=True)
def add_powers(xp: Any, total: Any, g: Any, p: Any, is_square: bool) -> Any:
    """total ← total + Σ |gᵢ|^p"""
    return (g * g if is_square else xp.absolute(g) ** p,)


@update("norm", "factor")
def limit(
    xp: Any, norm: Any, factor: Any, total: Any, max_norm: Any, root: Any, is_square: bool, is_norm: bool
) -> Any:  # fmt: skip
    """norm ← total^root;  factor ← min(1, max_norm / (norm + 1e-6))"""
    norm = total if is_norm else xp.sqrt(total) if is_square else total**root
    return norm, xp.minimum(1.0, max_norm / (norm + 1e-6))


@update("g")
def scale(xp: Any, g: Any, factor: Any) -> Any:
    """g ← g factor, which may be too small for a float16"""
    return (g.astype(factor.dtype) * factor if g.dtype == float16 else g * factor.astype(g.dtype),)
