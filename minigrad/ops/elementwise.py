"""Primitives that act entry by entry. Inputs broadcast; the sweep undoes that, so no formula here does.

x, y: inputs     y (one input) or out (two): output     g: incoming gradient     xp: array namespace
"""

from __future__ import annotations

import math

from ..backend import Array, DType, namespace
from .primitive import BOOLEAN, EVERYWHERE, INPUTS, OTHER, OUTPUT, XP, Domain, elementwise

POSITIVE = Domain(0.3, 3.0)
NONZERO = Domain(-3.0, 3.0, kinks=(0.0,))
DISTINCT = Domain(-3.0, 3.0, distinct=True)
BETWEEN_INTEGERS = Domain(-2.9, 2.9, kinks=(-2.0, -1.0, 0.0, 1.0, 2.0))

# Arithmetic ---------------------------------------------------------------------------------------


@elementwise()
def add(xp: XP, x: Array, y: Array) -> Array:
    """out = x + y         ∂out/∂x = 1, ∂out/∂y = 1"""
    return xp.add(x, y)


add.derivatives(
    lambda xp, g, out, x, y: g,
    lambda xp, g, out, x, y: g,
)
add.passes_on = (0, 1)


@elementwise()
def subtract(xp: XP, x: Array, y: Array) -> Array:
    """out = x - y         ∂out/∂x = 1, ∂out/∂y = -1"""
    return xp.subtract(x, y)


subtract.derivatives(
    lambda xp, g, out, x, y: g,
    lambda xp, g, out, x, y: -g,
)


@elementwise(saves=OTHER)
def multiply(xp: XP, x: Array, y: Array) -> Array:
    """out = x y           ∂out/∂x = y, ∂out/∂y = x"""
    return xp.multiply(x, y)


multiply.derivatives(
    lambda xp, g, out, x, y: g * y,
    lambda xp, g, out, x, y: g * x,
)


@elementwise(saves=INPUTS, domain=[EVERYWHERE, NONZERO])
def divide(xp: XP, x: Array, y: Array) -> Array:
    """out = x / y         ∂out/∂x = 1/y, ∂out/∂y = -x/y²"""
    return xp.divide(x, y)


divide.derivatives(
    lambda xp, g, out, x, y: g / y,
    lambda xp, g, out, x, y: -g * x / (y * y),
)


@elementwise(saves=(INPUTS, OUTPUT), domain=[POSITIVE, EVERYWHERE])
def power(xp: XP, x: Array, y: Array) -> Array:
    """out = xʸ            ∂out/∂x = y xʸ⁻¹, 0 where y = 0; ∂out/∂y = xʸ log x, 0 where x = 0"""
    return xp.power(x, y)


power.derivatives(
    lambda xp, g, out, x, y: g * (y * x ** (y - (y != 0))),
    lambda xp, g, out, x, y: g * out * xp.log(x + (x == 0) * (y >= 0)),
)


@elementwise(saves=INPUTS, domain=[Domain(3.1, 3.4), Domain(1.2, 1.5)])  # the quotient stays between 2 and 3
def remainder(xp: XP, x: Array, y: Array) -> Array:
    """out = x - y ⌊x/y⌋, of the sign of y          ∂out/∂x = 1, ∂out/∂y = -⌊x/y⌋"""
    return xp.remainder(x, y)


remainder.derivatives(
    lambda xp, g, out, x, y: g,
    lambda xp, g, out, x, y: -g * xp.floor_divide(x, y),
)


@elementwise(domain=[Domain(3.1, 3.4), Domain(1.2, 1.5)])
def floor_divide(xp: XP, x: Array, y: Array) -> Array:
    """out = ⌊x/y⌋, rounded towards -∞; no derivative"""
    return xp.floor_divide(x, y)


floor_divide.derivatives(None, None)


@elementwise()
def negative(xp: XP, x: Array) -> Array:
    """y = -x              dy/dx = -1"""
    return xp.negative(x)


negative.derivatives(lambda xp, g, y, x: -g)


@elementwise(saves=INPUTS, domain=NONZERO)
def absolute(xp: XP, x: Array) -> Array:
    """y = |x|             dy/dx = sign x"""
    return xp.absolute(x)


absolute.derivatives(lambda xp, g, y, x: g * xp.sign(x))


@elementwise(domain=NONZERO)
def sign(xp: XP, x: Array) -> Array:
    """y = x / |x|, sign 0 = 0          dy/dx = 0"""
    return xp.sign(x)


sign.derivatives(lambda xp, g, y, x: 0 * g)


@elementwise(domain=BETWEEN_INTEGERS)
def floor(xp: XP, x: Array) -> Array:
    """y = ⌊x⌋, the largest whole number not above x          dy/dx = 0"""
    return xp.floor(x)


floor.derivatives(lambda xp, g, y, x: 0 * g)


@elementwise(domain=BETWEEN_INTEGERS)
def ceil(xp: XP, x: Array) -> Array:
    """y = ⌈x⌉, the smallest whole number not below x          dy/dx = 0"""
    return xp.ceil(x)


ceil.derivatives(lambda xp, g, y, x: 0 * g)

# Exponentials and roots ---------------------------------------------------------------------------


@elementwise(saves=OUTPUT)
def exp(xp: XP, x: Array) -> Array:
    """y = eˣ              dy/dx = y"""
    return xp.exp(x)


exp.derivatives(lambda xp, g, y, x: g * y)


@elementwise(saves=OUTPUT)
def expm1(xp: XP, x: Array) -> Array:
    """y = eˣ - 1          dy/dx = y + 1          exact near 0"""
    return xp.expm1(x)


expm1.derivatives(lambda xp, g, y, x: g * (y + 1))


@elementwise(saves=INPUTS, domain=POSITIVE)
def log(xp: XP, x: Array) -> Array:
    """y = log x           dy/dx = 1/x            natural logarithm"""
    return xp.log(x)


log.derivatives(lambda xp, g, y, x: g / x)


@elementwise(saves=INPUTS, domain=Domain(-0.7, 3.0))
def log1p(xp: XP, x: Array) -> Array:
    """y = log(1 + x)      dy/dx = 1/(1 + x)      exact near 0"""
    return xp.log1p(x)


log1p.derivatives(lambda xp, g, y, x: g / (1 + x))


@elementwise(saves=OUTPUT, domain=POSITIVE)
def sqrt(xp: XP, x: Array) -> Array:
    """y = √x              dy/dx = 1/(2y)"""
    return xp.sqrt(x)


sqrt.derivatives(lambda xp, g, y, x: g / (2 * y))


@elementwise(saves=(INPUTS, OUTPUT))
def logaddexp(xp: XP, x: Array, y: Array) -> Array:
    """out = log(eˣ + eʸ)  ∂out/∂x = e^(x - out), ∂out/∂y = e^(y - out)          it cannot overflow"""
    return xp.logaddexp(x, y)


logaddexp.derivatives(  # where x and y are -∞, so is out, and nothing depends on them
    lambda xp, g, out, x, y: g * xp.exp(x - xp.where(out == -math.inf, 0, out)),
    lambda xp, g, out, x, y: g * xp.exp(y - xp.where(out == -math.inf, 0, out)),
)

# Circular and saturating functions ----------------------------------------------------------------


@elementwise(saves=INPUTS)
def sin(xp: XP, x: Array) -> Array:
    """y = sin x           dy/dx = cos x          radians"""
    return xp.sin(x)


sin.derivatives(lambda xp, g, y, x: g * xp.cos(x))


@elementwise(saves=INPUTS)
def cos(xp: XP, x: Array) -> Array:
    """y = cos x           dy/dx = -sin x         radians"""
    return xp.cos(x)


cos.derivatives(lambda xp, g, y, x: -g * xp.sin(x))


@elementwise(saves=OUTPUT)
def tanh(xp: XP, x: Array) -> Array:
    """y = tanh x          dy/dx = 1 - y²"""
    return xp.tanh(x)


tanh.derivatives(lambda xp, g, y, x: g * (1 - y * y))


@elementwise(saves=OUTPUT)
def sigmoid(xp: XP, x: Array) -> Array:
    """y = 1/(1 + e⁻ˣ) = (1 + tanh(x/2))/2          dy/dx = y (1 - y)

    Through tanh it cannot overflow; its error is absolute (one rounding of 1), so for its logarithm
    use -softplus(-x).
    """
    return xp.sigmoid(x)


sigmoid.derivatives(lambda xp, g, y, x: g * (y * (1 - y)))


@elementwise(saves=INPUTS)
def softplus(xp: XP, x: Array) -> Array:
    """y = log(1 + eˣ)     dy/dx = sigmoid x = e^(-softplus(-x)), exact where sigmoid itself rounds to 0"""
    return xp.logaddexp(x, 0)


softplus.derivatives(lambda xp, g, y, x: g * xp.exp(-xp.softplus(-x)))

# Piecewise ----------------------------------------------------------------------------------------


@elementwise(saves=OUTPUT, domain=NONZERO)
def relu(xp: XP, x: Array) -> Array:
    """y = max(x, 0)       dy/dx = 1 where x > 0, else 0"""
    return xp.maximum(x, 0)


relu.derivatives(lambda xp, g, y, x: xp.where(y > 0, g, 0))


@elementwise(saves=INPUTS, domain=DISTINCT)
def maximum(xp: XP, x: Array, y: Array) -> Array:
    """out = max(x, y)     ∂out/∂x = 1 where x > y, ½ where x = y, else 0; ∂out/∂y likewise"""
    return xp.maximum(x, y)


maximum.derivatives(
    lambda xp, g, out, x, y: xp.where(x > y, g, xp.where(x == y, 0.5 * g, 0)),
    lambda xp, g, out, x, y: xp.where(y > x, g, xp.where(x == y, 0.5 * g, 0)),
)


@elementwise(saves=INPUTS, domain=DISTINCT)
def minimum(xp: XP, x: Array, y: Array) -> Array:
    """out = min(x, y)     ∂out/∂x = 1 where x < y, ½ where x = y, else 0; ∂out/∂y likewise"""
    return xp.minimum(x, y)


minimum.derivatives(
    lambda xp, g, out, x, y: xp.where(x < y, g, xp.where(x == y, 0.5 * g, 0)),
    lambda xp, g, out, x, y: xp.where(y < x, g, xp.where(x == y, 0.5 * g, 0)),
)


@elementwise(saves=INPUTS, domain=Domain(-3.0, 3.0, kinks=(-1.0, 1.0)))
def clip(xp: XP, x: Array, *, min: float | None = None, max: float | None = None) -> Array:
    """y = x from min to max, else the nearer of the two; None is no bound          dy/dx = 1 within, else 0"""
    y = x if min is None else xp.maximum(x, min)
    return y if max is None else xp.minimum(y, max)


def _within(xp: XP, g: Array, y: Array, x: Array, *, min: float | None = None, max: float | None = None) -> Array:
    g = g if min is None else xp.where(x >= min, g, 0)
    return g if max is None else xp.where(x <= max, g, 0)


clip.derivatives(_within)


@elementwise(saves=("condition",), domain=[BOOLEAN, EVERYWHERE, EVERYWHERE])
def where(xp: XP, condition: Array, x: Array, y: Array) -> Array:
    """out = x where condition, else y          ∂out/∂x = condition, ∂out/∂y = not condition"""
    return xp.where(condition, x, y)


where.derivatives(
    None,
    lambda xp, g, out, condition, x, y: xp.where(condition, g, 0),
    lambda xp, g, out, condition, x, y: xp.where(condition, 0, g),
)

# Copies and conversions ---------------------------------------------------------------------------


@elementwise()
def copy(xp: XP, x: Array) -> Array:
    """y = x, in memory of its own          dy/dx = 1"""
    return x.copy()


copy.derivatives(lambda xp, g, y, x: g)


@elementwise()
def astype(xp: XP, x: Array, *, dtype: DType) -> Array:
    """y = x, as another dtype          dy/dx = 1"""
    return x.astype(dtype)


astype.derivatives(lambda xp, g, y, x, *, dtype: xp.astype(g, dtype=x.dtype))


@elementwise()
def to_device(xp: XP, x: Array, *, device: str, source: str) -> Array:
    """y = x, moved from the device `source` to another          dy/dx = 1"""
    return namespace(device).from_host(namespace(source).to_host(x))


to_device.derivatives(lambda xp, g, y, x, *, device, source: xp.to_device(g, device=source, source=device))
