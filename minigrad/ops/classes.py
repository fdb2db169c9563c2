"""What a choice among classes costs, and its gradient: a GPU does each in one launch.          N: rows, V: classes

`classes` is a parameter, as an index is: an array (N,) of class numbers, of the same device.
"""

from __future__ import annotations

import math
from typing import Any

from ..backend import Array
from .primitive import INPUTS, XP, Shape, reduction
from .reduction import logsumexp


def _bad_classes(*shapes: Shape, classes: Any) -> str:
    expected = "g (N,), " * (len(shapes) - 1) + "x (N, V) with V > 0, and classes (N,) from 0 to V - 1"
    return f"{expected}; got {', '.join(map(str, shapes))} and classes {getattr(classes, 'shape', ())}"


def _check(x: Array, *per_row: Array) -> None:
    if x.ndim != 2 or any(a.shape != x.shape[:1] for a in per_row):
        raise ValueError(f"{[a.shape for a in per_row]} for the rows of {x.shape}")


@reduction(saves=INPUTS, explain_shapes=_bad_classes)
def surprisal(xp: XP, x: Array, *, classes: Array) -> Array:
    """y = log Σ eˣ - x[class] of each row x, -log of the softmax          its derivative is surprisal_gradient"""
    _check(x, classes)
    by_kernel = xp.surprisal(x, classes)
    if by_kernel is not None:
        return by_kernel
    return logsumexp.value(xp, x, axis=1) - x[xp.arange(len(x)), classes]


surprisal.derivatives(lambda xp, g, y, x, *, classes: xp.surprisal_gradient(g, x, classes=classes))


@reduction(saves=INPUTS, explain_shapes=_bad_classes)
def surprisal_gradient(xp: XP, g: Array, x: Array, *, classes: Array) -> Array:
    """y = g (softmax x - [1 at the class, else 0]) of each row x          ∂y/∂g = y/g, ∂yᵢ/∂xⱼ = g pᵢ ([i = j] - pⱼ)"""
    _check(x, g, classes)
    by_kernel = xp.surprisal_gradient(g, x, classes)
    if by_kernel is not None:
        return by_kernel
    log_sum = logsumexp.value(xp, x, axis=1, keepdims=True)
    y = x - xp.where(log_sum == -math.inf, 0, log_sum)
    xp.exp(y, out=y)
    y *= g[:, None]
    y[xp.arange(len(x)), classes] -= g
    return y


def _softmax(xp: XP, x: Array) -> Array:
    log_sum = xp.logsumexp(x, axis=1, keepdims=True)
    return xp.exp(x - xp.where(log_sum == -math.inf, 0, log_sum))


def _by_g(xp: XP, h: Array, y: Array, g: Array, x: Array, *, classes: Array) -> Array:
    at_class = xp.take_along_axis(h, indices=classes[:, None], axis=1)
    return xp.sum(h * _softmax(xp, x), axis=1) - xp.reshape(at_class, shape=g.shape)


def _by_x(xp: XP, h: Array, y: Array, g: Array, x: Array, *, classes: Array) -> Array:
    p = _softmax(xp, x)
    return xp.reshape(g, shape=(*g.shape, 1)) * p * (h - xp.sum(h * p, axis=1, keepdims=True))


surprisal_gradient.derivatives(_by_g, _by_x)
