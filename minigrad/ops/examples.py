"""An example of every primitive that users call, and what its kind shares: `document` makes docstrings of them.

The formulas' own files stay a table this way. The examples run as doctests, from `__test__` below.
"""

from __future__ import annotations

import inspect
from typing import Any

from .primitive import Primitive

EXAMPLES = {  # what to write, and what Python shows
    # arithmetic
    "add": ("mg.add(mg.tensor([1.0, 2.0]), 10.0).tolist()", "[11.0, 12.0]"),
    "subtract": ("mg.subtract(mg.tensor([1.0, 2.0]), mg.tensor([3.0, 5.0])).tolist()", "[-2.0, -3.0]"),
    "multiply": ("mg.multiply(mg.tensor([[1.0], [2.0]]), mg.tensor([3.0, 5.0])).tolist()", "[[3.0, 5.0], [6.0, 10.0]]"),
    "divide": ("mg.divide(1.0, mg.tensor([2.0, 4.0])).tolist()", "[0.5, 0.25]"),
    "power": ("mg.power(mg.tensor([1.0, 2.0, 3.0]), 3).tolist()", "[1.0, 8.0, 27.0]"),
    "remainder": ("mg.remainder(mg.tensor([7.0, -7.0]), 3.0).tolist()", "[1.0, 2.0]"),
    "floor_divide": ("mg.floor_divide(mg.tensor([7.0, -7.0]), 3.0).tolist()", "[2.0, -3.0]"),
    "negative": ("mg.negative(mg.tensor([1.0, -2.0])).tolist()", "[-1.0, 2.0]"),
    "absolute": ("mg.absolute(mg.tensor([1.0, -2.0])).tolist()", "[1.0, 2.0]"),
    "sign": ("mg.sign(mg.tensor([3.0, 0.0, -2.0])).tolist()", "[1.0, 0.0, -1.0]"),
    "floor": ("mg.floor(mg.tensor([1.5, -1.5])).tolist()", "[1.0, -2.0]"),
    "ceil": ("mg.ceil(mg.tensor([1.5, -1.5])).tolist()", "[2.0, -1.0]"),
    # exponentials and roots
    "exp": ('f"{mg.exp(mg.tensor(1.0)):.4f}"', "'2.7183'"),
    "expm1": ('f"{mg.expm1(mg.tensor(1e-9)):.4e}"', "'1.0000e-09'"),
    "log": ('f"{mg.log(mg.tensor(10.0)):.4f}"', "'2.3026'"),
    "log1p": ('f"{mg.log1p(mg.tensor(1e-9)):.4e}"', "'1.0000e-09'"),
    "sqrt": ("mg.sqrt(mg.tensor([4.0, 9.0])).tolist()", "[2.0, 3.0]"),
    "logaddexp": ('f"{mg.logaddexp(mg.tensor(100.0), 100.0):.4f}"', "'100.6931'"),
    # circular and saturating functions
    "sin": ('f"{mg.sin(mg.tensor(0.5)):.4f}"', "'0.4794'"),
    "cos": ('f"{mg.cos(mg.tensor(0.5)):.4f}"', "'0.8776'"),
    "tanh": ('f"{mg.tanh(mg.tensor(0.5)):.4f}"', "'0.4621'"),
    "sigmoid": ('f"{mg.sigmoid(mg.tensor(0.5)):.4f}"', "'0.6225'"),
    "softplus": ('f"{mg.softplus(mg.tensor(0.5)):.4f}"', "'0.9741'"),
    # piecewise
    "relu": ("mg.relu(mg.tensor([-1.0, 2.0])).tolist()", "[0.0, 2.0]"),
    "maximum": ("mg.maximum(mg.tensor([1.0, 5.0]), 3.0).tolist()", "[3.0, 5.0]"),
    "minimum": ("mg.minimum(mg.tensor([1.0, 5.0]), 3.0).tolist()", "[1.0, 3.0]"),
    "clip": ("mg.clip(mg.tensor([-2.0, 0.5, 2.0]), -1.0, 1.0).tolist()", "[-1.0, 0.5, 1.0]"),
    "where": ("x = mg.tensor([-1.0, 4.0])", "mg.where(x > 0, x, 0.0).tolist()", "[0.0, 4.0]"),
    # comparisons, logic, tests
    "equal": ("mg.equal(mg.tensor([1, 2]), 2).tolist()", "[False, True]"),
    "not_equal": ("mg.not_equal(mg.tensor([1, 2]), 2).tolist()", "[True, False]"),
    "less": ("mg.less(mg.tensor([1, 2]), 2).tolist()", "[True, False]"),
    "less_equal": ("mg.less_equal(mg.tensor([1, 2]), 1).tolist()", "[True, False]"),
    "greater": ("mg.greater(mg.tensor([1, 2]), 1).tolist()", "[False, True]"),
    "greater_equal": ("mg.greater_equal(mg.tensor([1, 2]), 2).tolist()", "[False, True]"),
    "logical_and": ("mg.logical_and(mg.tensor([True, True]), mg.tensor([True, False])).tolist()", "[True, False]"),
    "logical_or": ("mg.logical_or(mg.tensor([True, False]), mg.tensor([False, False])).tolist()", "[True, False]"),
    "logical_not": ("mg.logical_not(mg.tensor([True, False])).tolist()", "[False, True]"),
    "any": ("mg.any(mg.tensor([[True, False], [False, False]]), axis=1).tolist()", "[True, False]"),
    "all": ("mg.all(mg.tensor([[True, False], [True, True]]), axis=1).tolist()", "[False, True]"),
    "isnan": ('mg.isnan(mg.tensor([1.0, float("nan")])).tolist()', "[False, True]"),
    "isinf": ('mg.isinf(mg.tensor([1.0, float("-inf")])).tolist()', "[False, True]"),
    "isfinite": ('mg.isfinite(mg.tensor([1.0, float("nan")])).tolist()', "[True, False]"),
    # reductions
    "sum": ("mg.sum(mg.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0).tolist()", "[4.0, 6.0]"),
    "mean": ("mg.mean(mg.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=1, keepdims=True).tolist()", "[[1.5], [3.5]]"),
    "var": ("mg.var(mg.tensor([1.0, 2.0, 3.0]), ddof=1).item()", "1.0"),
    "std": ("mg.std(mg.tensor([1.0, 2.0, 3.0]), ddof=1).item()", "1.0"),
    "logsumexp": ('f"{mg.logsumexp(mg.tensor([100.0, 100.0])):.4f}"', "'100.6931'"),
    "cumsum": ("mg.cumsum(mg.tensor([1.0, 2.0, 3.0])).tolist()", "[1.0, 3.0, 6.0]"),
    "max": ("mg.max(mg.tensor([[1.0, 5.0], [3.0, 2.0]]), axis=1).tolist()", "[5.0, 3.0]"),
    "min": ("mg.min(mg.tensor([[1.0, 5.0], [3.0, 2.0]]), axis=1).tolist()", "[1.0, 2.0]"),
    "argmax": ("mg.argmax(mg.tensor([[1.0, 5.0], [3.0, 2.0]]), axis=1).tolist()", "[1, 0]"),
    "argmin": ("mg.argmin(mg.tensor([[1.0, 5.0], [3.0, 2.0]]), axis=1).tolist()", "[0, 1]"),
    "broadcast_to": ("mg.broadcast_to(mg.tensor([1.0, 2.0]), (2, 2)).tolist()", "[[1.0, 2.0], [1.0, 2.0]]"),
    # shapes
    "reshape": ("mg.reshape(mg.arange(4), (2, -1)).tolist()", "[[0, 1], [2, 3]]"),
    "transpose": ("mg.transpose(mg.zeros((2, 3, 4)), (2, 0, 1)).shape", "(4, 2, 3)"),
    "squeeze": ("mg.squeeze(mg.zeros((1, 2, 1)), 0).shape", "(2, 1)"),
    "expand_dims": ("mg.expand_dims(mg.zeros(2), (0, 2)).shape", "(1, 2, 1)"),
    "flip": ("mg.flip(mg.tensor([[1, 2], [3, 4]]), 1).tolist()", "[[2, 1], [4, 3]]"),
    "pad": ("mg.pad(mg.tensor([[1, 2]]), ((0, 1), (1, 0))).tolist()", "[[0, 1, 2], [0, 0, 0]]"),
    "concatenate": ("mg.concatenate([mg.ones(2), mg.zeros(1)]).tolist()", "[1.0, 1.0, 0.0]"),
    "split": ("[part.tolist() for part in mg.split(mg.arange(4), [1])]", "[[0], [1, 2, 3]]"),
    "stack": ("mg.stack([mg.ones(2), mg.zeros(2)], axis=1).tolist()", "[[1.0, 0.0], [1.0, 0.0]]"),
    "unstack": ("[row.tolist() for row in mg.unstack(mg.tensor([[1, 2], [3, 4]]))]", "[[1, 2], [3, 4]]"),
    # contraction
    "matmul": ("mg.matmul(mg.tensor([[1.0, 2.0], [3.0, 4.0]]), mg.tensor([1.0, 10.0])).tolist()", "[21.0, 43.0]"),
}

# What the primitives of a kind have in common: how shapes meet, and what is raised.
ONE_BY_ONE = """Shapes: x and y alike. x is a Tensor, an array or a number.

Raises:
    TypeError: x is none of these."""
TOGETHER = """Shapes broadcast, as NumPy's. Inputs are Tensors, arrays of their device, or numbers.

Raises:
    ValueError: the shapes do not broadcast.
    TypeError: an input is none of these.
    RuntimeError: the inputs are on different devices."""
OVER_AXES = """`axis` is None (all axes), an axis or a tuple of them; these are gone from the shape of y, or of
size 1 with `keepdims`.

Raises:
    ValueError: there is no such axis{or_nothing}."""
OVER_ONE_AXIS = """`axis` is None (all axes) or an axis, which is gone from the shape of y, or of size 1 if `keepdims`.

Raises:
    ValueError: there is no such axis, or no entry along it."""
OTHERS = """Raises:
    ValueError: the shapes or parameters do not fit; the message says which would.
    TypeError: something else than a Tensor or an array was given."""


def _shared(primitive: Primitive[Any]) -> str:
    if primitive.kind == "elementwise":
        return ONE_BY_ONE if len(primitive.inputs) == 1 else TOGETHER
    if primitive.name in ("argmax", "argmin"):
        return OVER_ONE_AXIS
    if "keepdims" in primitive.parameters:
        needs_entries = primitive.name in ("max", "min", "logsumexp")
        return OVER_AXES.format(or_nothing=", or no entry along it" if needs_entries else "")
    return OTHERS


def _example(name: str) -> str:
    *lines, shown = EXAMPLES[name]
    return "\n".join(f">>> {line}" for line in ("import minigrad as mg", *lines)) + f"\n{shown}\n"


def document(registry: dict[str, Primitive[Any]]) -> None:
    """Make each primitive's docstring of its formula, what its kind shares, and its example."""
    for name in EXAMPLES:
        primitive = registry[name]
        primitive.__doc__ = f"{inspect.cleandoc(primitive.__doc__ or '')}\n\n{_shared(primitive)}\n\n{_example(name)}"


__test__ = {name: _example(name) for name in EXAMPLES}
