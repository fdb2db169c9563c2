"""The table of what a Tensor can do: a line per operator and method, as in `layers.py`.

Primitives themselves have lines in `cases.py`.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any

import minigrad as mg

from .helpers import far
from .proofs import Array, Call, Draws, Line, Shape, call

# Operators ----------------------------------------------------------------------------------------


def joined(d: Draws, shape: Shape) -> Shape:
    """A shape that broadcasts with another."""
    kept = shape[d.choose(len(shape) + 1) :]
    return tuple(d.of(n, 1) for n in kept)


def binary(first: dict[str, Any], second: dict[str, Any], *numbers: float) -> Callable[[Draws], Call]:
    """Two operands; the second is an array, or one of some numbers."""

    def drawn(d: Draws) -> Call:
        x = d.x(**first)
        return call(x, d.of(d.x(joined(d, x.shape), **second), *numbers))

    return drawn


ANY: dict[str, Any] = {}
NONZERO = {"kinks": (0.0,)}
POSITIVE = {"low": 0.3, "high": 3.0}
SMALL, LARGE = {"low": 1.2, "high": 1.5}, {"low": 3.1, "high": 3.4}  # their quotient stays between 2 and 3
OPERANDS = {
    "add": binary(ANY, ANY, 2, -0.5),
    "sub": binary(ANY, ANY, 2, -0.5),
    "mul": binary(ANY, ANY, 2, -0.5),
    "truediv": binary(ANY, NONZERO, 2, -0.5),
    "mod": binary(LARGE, SMALL, 1.3),
    "pow": binary(POSITIVE, ANY, 2, 3, 0.5, -1.0, 0),
}
REFLECTED = OPERANDS | {
    "truediv": binary(NONZERO, ANY, 2, -0.5),
    "mod": binary(SMALL, LARGE, 3.3),
    "pow": binary(ANY, POSITIVE, 2, 0.5),
}


def matrices(d: Draws) -> tuple[Array, Array]:
    """Two operands of a product: vectors, matrices, and stacks of them that broadcast."""
    n, inner, m = d.of(1, 2, 3), d.of(1, 2, 3), d.of(1, 2)
    stack = d.shape(most=2)
    left = d.of((inner,), (n, inner), (*stack, n, inner))
    right = d.of((inner,), (inner, m), (*joined(d, stack), inner, m))
    return d.x(left), d.x(right)


OPERATORS = {
    **{f"Tensor.__{name}__": Line(drawn) for name, drawn in OPERANDS.items()},
    **{f"Tensor.__r{name}__": Line(drawn) for name, drawn in REFLECTED.items()},
    **{f"Tensor.__i{name}__": Line(drawn, run=getattr(operator, f"i{name}")) for name, drawn in OPERANDS.items()},
    "Tensor.__matmul__": Line(lambda d: call(*matrices(d))),
    "Tensor.__rmatmul__": Line(lambda d: call(*matrices(d)[::-1])),
}

# Entry by entry -----------------------------------------------------------------------------------


def clipped(d: Draws) -> Call:
    bounds = {"min": d.of(None, -1.0, 0.5), "max": d.of(None, 1.0, 2.0)}
    return call(d.x(kinks=tuple(bound for bound in bounds.values() if bound is not None)), **bounds)


def elsewhere(d: Draws) -> Call:
    return call(d.x(), device=d.of(None, "cpu", far()), dtype=mg.float64)


ENTRYWISE = {
    **{f"Tensor.{name}": Line(lambda d: call(d.x())) for name in (
        "__neg__", "exp", "expm1", "sin", "cos", "tanh", "sigmoid", "softplus", "copy", "clone",
    )},
    **{f"Tensor.{name}": Line(lambda d: call(d.x(kinks=(0.0,)))) for name in ("__abs__", "abs", "sign", "relu")},
    **{f"Tensor.{name}": Line(lambda d: call(d.x(**POSITIVE))) for name in ("log", "sqrt")},
    "Tensor.log1p": Line(lambda d: call(d.x(low=-0.7))),
    "Tensor.clip": Line(clipped),
    "Tensor.__copy__": Line(lambda d: call(d.x()), run=lambda x: copy.copy(x * x)),
    "Tensor.to": Line(elsewhere, {"dtype": "numeric differences need the digits of float64"}),
}  # fmt: skip

# Reductions ---------------------------------------------------------------------------------------


def axes(d: Draws, ndim: int) -> Any:
    """None, an axis counted from either end, or several."""
    several = tuple(axis - ndim * d.choose(2) for axis in d.order(ndim)[: d.choose(ndim + 1)])
    return d.axis(ndim, None, several)


def reduced(**where: Any) -> Line:
    def drawn(d: Draws) -> Call:
        x = d.x(**where)
        return call(x, axis=axes(d, x.ndim), keepdims=d.flag())

    return Line(drawn)


def spread(d: Draws) -> Call:
    """Of two entries at least, all different: where the deviation is 0, it has a kink."""
    x = d.x(d.shape(least=1, smallest=2), distinct=True)
    return call(x, axis=d.axis(x.ndim, None), ddof=d.of(0, 1), keepdims=d.flag())


def summed(d: Draws) -> Call:
    x = d.x()
    return call(x, axis=d.axis(x.ndim, None))


REDUCTIONS = {
    "Tensor.sum": reduced(),
    "Tensor.mean": reduced(),
    "Tensor.logsumexp": reduced(),
    "Tensor.max": reduced(distinct=True),
    "Tensor.min": reduced(distinct=True),
    "Tensor.var": Line(spread),
    "Tensor.std": Line(spread),
    "Tensor.cumsum": Line(summed),
}

# Shapes -------------------------------------------------------------------------------------------


def as_given(d: Draws, sizes: tuple[int, ...]) -> tuple[Any, ...]:
    """f(2, 3) or f((2, 3))."""
    return d.of(sizes, (sizes,)) if sizes else (sizes,)  # type: ignore[no-any-return]


def reshaped(d: Draws) -> Call:
    x = d.x()
    turned = tuple(x.shape[axis] for axis in d.order(x.ndim))
    return call(x, *as_given(d, d.of(turned, (-1,), (1, x.size), (x.size, 1, -1))))


def transposed(d: Draws) -> Call:
    x = d.x()
    order = tuple(axis - x.ndim * d.choose(2) for axis in d.order(x.ndim))
    return call(x, *d.of((), as_given(d, order)))


def swapped(d: Draws) -> Call:
    x = d.x(d.shape(least=1))
    return call(x, d.axis(x.ndim), d.axis(x.ndim))


def moved(d: Draws) -> Call:
    x = d.x(d.shape(least=1))
    count = d.choose(x.ndim + 1)
    several = d.order(x.ndim)[:count], d.order(x.ndim)[:count]
    return call(x, *d.of((d.axis(x.ndim), d.axis(x.ndim)), several))


def squeezed(d: Draws) -> Call:
    x = d.x(d.of((1, 2, 1), (2, 3), (), (1,), (1, 1, 3)))
    ones = [axis for axis, n in enumerate(x.shape) if n == 1]
    return call(x, axis=d.of(None, *ones, *(axis - x.ndim for axis in ones), tuple(ones)))


def expanded(d: Draws) -> Call:
    x = d.x()
    return call(x, d.of(d.axis(x.ndim + 1), (0, -1), (1, 0)))


def stretched(d: Draws) -> Call:
    shape = d.shape()
    return call(d.x(joined(d, shape)), *as_given(d, shape))


def divided(d: Draws) -> Call:
    x = d.x(d.shape(least=1, smallest=2, largest=4))
    axis = d.axis(x.ndim, 0)
    n = x.shape[axis]
    return call(x, d.of(n, 1, [1], [1, n - 1], [0, 2, 2]), axis=axis)


def unstacked(d: Draws) -> Call:
    x = d.x(d.shape(least=1))
    return call(x, axis=d.axis(x.ndim, 0))


SHAPES = {
    "Tensor.T": Line(lambda d: call(d.x()), run=lambda x: x.T),
    "Tensor.reshape": Line(reshaped),
    "Tensor.flatten": Line(lambda d: call(d.x())),
    "Tensor.ravel": Line(lambda d: call(d.x())),
    "Tensor.transpose": Line(transposed),
    "Tensor.swapaxes mg.swapaxes": Line(swapped),
    "mg.moveaxis": Line(moved),
    "Tensor.squeeze": Line(squeezed),
    "Tensor.expand_dims": Line(expanded),
    "Tensor.broadcast_to": Line(stretched),
    "Tensor.split": Line(divided),
    "Tensor.unstack": Line(unstacked),
    "Tensor.__iter__": Line(lambda d: call(d.x(d.shape(least=1))), run=lambda x: list(x)),
}

LINES = {
    name: line
    for table in (OPERATORS, ENTRYWISE, REDUCTIONS, SHAPES)
    for names, line in table.items()
    for name in names.split()
}

# What has no line ---------------------------------------------------------------------------------

WITHOUT = {
    "gives integers or booleans": (
        "Tensor.all Tensor.any Tensor.argmax Tensor.argmin Tensor.__and__ Tensor.__or__ Tensor.__rand__ Tensor.__ror__ "
        "Tensor.__invert__ Tensor.__eq__ Tensor.__ne__ Tensor.__lt__ Tensor.__le__ Tensor.__gt__ Tensor.__ge__"
    ),
    "rounds: no derivative": "Tensor.__floordiv__ Tensor.__rfloordiv__ Tensor.__ifloordiv__",
    "changes the dtype, which differences in float64 would not survive": "Tensor.astype",
    "leaves the graph": (
        "Tensor.detach Tensor.numpy Tensor.item Tensor.tolist Tensor.__array__ Tensor.__dlpack__ "
        "Tensor.__dlpack_device__ Tensor.__bool__ Tensor.__float__ Tensor.__int__ Tensor.__format__ Tensor.__repr__ "
        "Tensor.__deepcopy__ Tensor.__reduce__"
    ),
    "is about the tensor, not its entries": (
        "Tensor.data Tensor.device Tensor.dtype Tensor.grad Tensor.is_leaf Tensor.is_parameter Tensor.ndim "
        "Tensor.shape Tensor.size Tensor.requires_grad Tensor.requires_grad_ Tensor.retain_grad Tensor.register_hook "
        "Tensor.__len__ Tensor.__hash__ Tensor.__init__ Tensor.__getattr__ Tensor.__array_ufunc__"
    ),
    "goes backward itself": "Tensor.backward",
    "writes in place, which is not recorded": "Tensor.__setitem__",
}
