"""Primitives that multiply and sum over shared axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..backend import Array
from .primitive import XP, Shape, contraction


def _cannot_multiply(x: Shape, y: Shape) -> str:
    if not x or not y:
        return f"two arrays of at least one axis (use * for scalars), got shapes {x} and {y}"
    inner = y[-2] if len(y) > 1 else y[0]
    if x[-1] != inner:
        cure = ""
        if len(y) == 2 and x[-1] == y[1]:
            cure = "; y.T fits"
        elif len(x) == 2 and x[0] == inner:
            cure = "; x.T fits"
        return f"x (..., K) and y (..., K, M), but K is {x[-1]} in x and {inner} in y{cure}"
    return f"leading axes that broadcast, got {x[:-2]} of {x} and {y[:-2]} of {y}"


def _swap(xp: XP, x: Array) -> Array:
    """x with its last two axes exchanged."""
    return xp.transpose(x, axes=(*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


@contraction(_cannot_multiply)
def matmul(xp: XP, x: Array, y: Array) -> Array:
    """out = x y           ∂L/∂x = g yᵀ, ∂L/∂y = xᵀ g          x (..., N, K), y (..., K, M), out (..., N, M)

    A vector is a row on the left and a column on the right; leading axes broadcast.
    """
    if x.ndim > 2 and y.ndim == 2:  # one large product instead of many small ones
        rows = math.prod(x.shape[:-1])
        return xp.matmul(x.reshape(rows, x.shape[-1]), y).reshape(*x.shape[:-1], y.shape[-1])
    return xp.matmul(x, y)


def _matmul_x(xp: XP, g: Array, out: Array, x: Array, y: Array) -> Array:
    if y.ndim == 1:
        return xp.expand_dims(g, axis=-1) * y
    if x.ndim == 1:
        return xp.squeeze(xp.matmul(y, xp.expand_dims(g, axis=-1)), axis=-1)
    return xp.matmul(g, _swap(xp, y))


def _matmul_y(xp: XP, g: Array, out: Array, x: Array, y: Array) -> Array:
    if x.ndim == 1:
        return g * x if y.ndim == 1 else xp.expand_dims(x, axis=-1) * xp.expand_dims(g, axis=-2)
    if y.ndim == 1:
        return xp.squeeze(xp.matmul(xp.expand_dims(g, axis=-2), x), axis=-2)
    if y.ndim == 2:
        return xp.outer_sum(x, g)
    return xp.matmul(_swap(xp, x), g)


matmul.derivatives(_matmul_x, _matmul_y)


@contraction(lambda x, y: f"x (..., K) and y (..., M) with equal leading axes, got {x} and {y}")
def outer_sum(xp: XP, x: Array, y: Array) -> Array:
    """out = Σₙ xₙ yₙᵀ     ∂L/∂xₙ = g yₙ, ∂L/∂yₙ = gᵀ xₙ          x (..., K), y (..., M), out (K, M)

    The gradient that a matrix gets from a product: a sum of outer products over the leading axes.
    """
    if x.shape[:-1] != y.shape[:-1]:
        raise ValueError(f"leading axes {x.shape[:-1]} and {y.shape[:-1]} differ")
    rows = math.prod(x.shape[:-1])
    return xp.matmul(x.reshape(rows, x.shape[-1]).T, y.reshape(rows, y.shape[-1]))


outer_sum.derivatives(
    lambda xp, g, out, x, y: xp.matmul(y, xp.transpose(g)),
    lambda xp, g, out, x, y: xp.matmul(x, g),
)


def _not_linear(x: Shape, w: Shape, b: Shape) -> str:
    return f"x (..., K), w (M, K) and b that broadcasts to (..., M), got {x}, {w} and {b}"


@contraction(_not_linear)
def linear(xp: XP, x: Array, w: Array, b: Array) -> Array:
    """y = x wᵀ + b        ∂L/∂x = g w, ∂L/∂w = Σₙ gₙ xₙᵀ, ∂L/∂b = g          x (..., K), w (M, K), b and y (..., M)"""
    if w.ndim != 2:
        raise ValueError("w is no matrix")
    return product_plus(xp, x, w.T, b)


def product_plus(xp: XP, x: Array, w: Array, b: Array) -> Array:
    """x w + b, in the memory of the product; b broadcasts to its shape."""
    at_once = xp.matmul_add(x, w, b)
    if at_once is not None:
        return at_once
    y = matmul.value(xp, x, w)
    if getattr(b, "dtype", y.dtype) == y.dtype:
        y += b
        return y
    total = y + b
    if total.shape != y.shape:
        raise ValueError(f"b of shape {b.shape} does not broadcast to {y.shape}")
    return total


linear.derivatives(
    lambda xp, g, y, x, w, b: xp.matmul(g, w),
    lambda xp, g, y, x, w, b: xp.outer_sum(g, x),
    lambda xp, g, y, x, w, b: g,
)
linear.passes_on = (2,)

# Sums of products ---------------------------------------------------------------------------------


def _cannot_contract(*xs: Shape, subscripts: str) -> str:
    return f"operands with one size per label of {subscripts!r}, got {', '.join(map(str, xs))}"


@contraction(_cannot_contract, variadic=True)
def einsum(xp: XP, xs: Sequence[Array], *, subscripts: str) -> Array:
    """y = Σ x₀ x₁ ...     summed over the labels that stand left of "->" alone          ∂L/∂xₖ = Σ g Πⱼ xⱼ, j ≠ k

    The subscripts are explicit, a label stands once in an operand, and nothing broadcasts: see subscripts.py.
    """
    return xp.einsum(subscripts, *xs, optimize=True)


@einsum.derivatives
def _(xp: XP, g: Array, y: Array, xs: Sequence[Array], *, subscripts: str) -> list[Array]:
    left, output = subscripts.split("->")
    labels = left.split(",")
    gradients = []
    for k, x in enumerate(xs):
        operands, names = [g, *xs[:k], *xs[k + 1 :]], [output, *labels[:k], *labels[k + 1 :]]
        found = [any(label in name for name in names) for label in labels[k]]
        kept = "".join(label for label, is_found in zip(labels[k], found, strict=True) if is_found)
        gradient = xp.einsum(operands, subscripts=f"{','.join(names)}->{kept}")
        # A label of this operand alone was summed over: each of its entries gets the same.
        gradient = xp.reshape(gradient, shape=tuple(n if f else 1 for n, f in zip(x.shape, found, strict=True)))
        gradients.append(xp.broadcast_to(gradient, shape=x.shape))
    return gradients
