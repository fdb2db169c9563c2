"""One line per primitive: what it computes, said independently, and the shapes and parameters to try it with.

A line is `reference, draws`. The reference is NumPy or plain `math`, never minigrad; a draw is the shape of each
input and the parameters. Entries come from the primitive's own domain, and keep clear of what it calls
kinks: numeric differences straddling one would prove nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minigrad.ops.primitive import Domain, Primitive
from minigrad.testing.application import HERE
from minigrad.testing.application import on_device as on_device
from minigrad.testing.strategies.arrays import values_of

from . import references as ref

Shape = tuple[int, ...]
Inputs = list[np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Draw:
    """The shape of each input, and the parameters; NumPy arrays among these are indices."""

    shapes: Sequence[Shape]
    parameters: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        shown = [f"{k}={v}" for k, v in self.parameters.items()]
        return " ".join([*map(str, self.shapes), *shown]).replace("\n", "")


@dataclass(frozen=True)
class Case:
    """One primitive's line."""

    reference: Callable[..., Any]
    draws: Sequence[Draw]


# Inputs through which no gradient flows. Said here once more, in words of their own, and not read off the
# registry: a derivative that is lost must not take the tests that miss it along.
WITHOUT_DERIVATIVE: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("isnan", "isinf", "isfinite", "logical_not", "any", "all", "argmax", "argmin"), ("x",)),
    **dict.fromkeys(("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"), ("x", "y")),
    **dict.fromkeys(("logical_and", "logical_or", "floor_divide"), ("x", "y")),
    "where": ("condition",),
}


def with_formulas(primitive: Primitive[Any]) -> list[str]:
    """The inputs for which the registry has a derivative."""
    return [x for x, vjp in zip(primitive.inputs, primitive.vjps, strict=False) if vjp is not None]


def differentiable_inputs(primitive: Primitive[Any]) -> list[str]:
    """The inputs that must have a derivative; what is not in the table of primitives below says so itself."""
    if primitive.name not in CASES:
        return with_formulas(primitive)
    return [x for x in primitive.inputs if x not in WITHOUT_DERIVATIVE.get(primitive.name, ())]


# Drawing inputs -----------------------------------------------------------------------------------


def domains_of(primitive: Primitive[Any], count: int) -> Sequence[Domain]:
    return list(primitive.domains) * count if primitive.variadic else primitive.domains


def inputs_for(primitive: Primitive[Any], shapes: Sequence[Shape], seed: int = 0, dtype: Any = np.float64) -> Inputs:
    """Inputs inside the primitive's domains; where entries must be distinct, those of all inputs are."""
    rng = np.random.default_rng(seed)
    found = []
    taken: set[float] = set()
    for domain, shape in zip(domains_of(primitive, len(shapes)), shapes, strict=True):
        size = math.prod(shape)
        if domain.dtype == "bool":
            found.append((rng.random(size) < 0.5).reshape(shape))
            continue
        values = [x for x in values_of(domain, size + len(taken)) if x not in taken]
        entries = rng.permutation(values)[:size]
        taken |= set(entries) if domain.distinct else set()
        found.append(entries.reshape(shape).astype(dtype))
    return found


# The kinds of lines -------------------------------------------------------------------------------


def draw(*shapes: Shape, **parameters: Any) -> Draw:
    return Draw(shapes, parameters)


def each(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of Python numbers, entry by entry: nothing NumPy's vectorised loops might get wrong as well."""
    return np.vectorize(function, otypes=[float])


def unary(reference: Callable[..., Any], *draws: Draw) -> Case:
    return Case(reference, draws or (draw((2, 3)), draw(()), draw((0, 2))))


def binary(reference: Callable[..., Any]) -> Case:
    shapes = ((2, 3), (2, 3)), ((2, 1), (3,)), ((), (3,)), ((2, 3), (1, 1)), ((), ()), ((0, 2), (1,))
    return Case(reference, [draw(*pair) for pair in shapes])


AXES: Sequence[Draw] = [
    draw((2, 3)),
    draw((2, 3), axis=1),
    draw((2, 3), axis=-2, keepdims=True),
    draw((2, 3, 2), axis=(0, -1)),
    draw((2, 3, 2), axis=(2, 1), keepdims=True),
    draw((2, 2), axis=None, keepdims=True),
    draw(()),
]
ROWLESS = draw((0, 2), axis=1)  # nothing to reduce, but no axis of nothing


def reduction(reference: Callable[..., Any], *more: Draw) -> Case:
    return Case(reference, (*AXES, ROWLESS, *more))


def arg(reference: Callable[..., Any]) -> Case:
    return Case(reference, [d for d in (*AXES, ROWLESS) if not isinstance(d.parameters.get("axis"), tuple)])


def of(reference: Callable[..., Any], *draws: Draw) -> Case:
    return Case(reference, draws)


# Draws for indexing and products --------------------------------------------------------------------

REVERSED, REPEATED, TABLE = np.array([1, 0]), np.array([0, 1, 0, 0]), np.array([[0, -1], [1, 0]])
EVERY = slice(None)
INDICES: Sequence[tuple[Shape, Any]] = [
    ((3, 2), 1),
    ((3, 2), (-1, 0)),
    ((4, 3), slice(1, 3)),
    ((5, 2), (slice(None, None, 2), slice(None, None, -1))),
    ((4,), slice(3, 0, -2)),
    ((2, 3), (None, Ellipsis, None, 1)),
    ((2, 3), Ellipsis),
    ((2, 3), ()),
    ((), ()),
    ((2, 3), slice(2, 2)),
    ((0, 3), (EVERY, 1)),
    ((2, 3), REPEATED),
    ((2, 3), np.array(1)),
    ((2, 3), np.array([], dtype=int)),
    ((2, 3), (EVERY, TABLE)),
    ((2, 3), (REVERSED, np.array([2, 0]))),
    ((2, 3), (np.array([[0], [1]]), np.array([2, 2]))),
    ((2, 3, 2), (REVERSED, slice(None, None, -1), REVERSED)),
    ((2, 3, 2), (Ellipsis, None, REPEATED)),
    ((2, 3, 2), (0, slice(1, None), REPEATED)),
    ((0, 3), (EVERY, REVERSED)),
]
ALONG: Sequence[tuple[Shape, Any, int]] = [  # the shape, indices along an axis, the axis
    ((3,), REPEATED, 0),
    ((2, 3), np.array([[2, 0], [1, 1]]), 1),
    ((2, 3), np.array([[1, 0, -1], [0, 0, 1], [1, 1, 1]]), 0),
    ((2, 3), np.array([[2, -1]]), -1),  # indices that broadcast against x
    ((1, 3), np.array([[2], [0], [2]]), 1),  # x that broadcasts against them
    ((2, 1, 3), np.array([[[2, 0]]]), 2),
    ((2, 3), np.zeros((2, 0), dtype=int), 1),
    ((0, 3), np.zeros((0, 2), dtype=int), 1),
]
SUBSCRIPTS: Sequence[tuple[str, Sequence[Shape]]] = [
    ("ij,jk->ik", [(2, 3), (3, 2)]),
    ("ij,ij->", [(2, 3), (2, 3)]),
    ("i,j->ji", [(2,), (3,)]),
    ("ij->ji", [(2, 3)]),
    ("ij->j", [(2, 3)]),
    ("ij->", [(2, 3)]),
    ("ij,k->i", [(2, 3), (2,)]),
    ("bij,bjk->bik", [(2, 1, 3), (2, 3, 2)]),
    ("ai,bi,ci->abc", [(2, 3), (1, 3), (2, 3)]),
    ("ij,jk,kl->il", [(2, 3), (3, 2), (2, 2)]),
    (",i->i", [(), (3,)]),
    ("->", [()]),
    ("ij,jk->ik", [(2, 0), (0, 3)]),
    ("ij->i", [(0, 3)]),
]
TAKEN: Sequence[tuple[Shape, Any, int | None]] = [
    ((2, 3), np.array([5, 0, 5]), None),
    ((2, 3), REPEATED, 0),
    ((2, 3), REPEATED, 1),
    ((2, 3, 2), np.array([-1, 2]), -2),
    ((2, 3), TABLE, 0),
    ((2, 3), TABLE, -1),
    ((2, 3), TABLE, None),
    ((2, 3), np.array(1), 0),
    ((2, 3), np.array([], dtype=int), 0),
    ((2, 0), REPEATED, 0),
]
AFFINE = [  # x, w, b: rows of every rank; a bias per entry, per row, for all, along an axis of 1
    ((3,), (2, 3), (2,)),
    ((4, 3), (2, 3), (2,)),
    ((4, 3), (2, 3), (4, 2)),
    ((4, 3), (2, 3), ()),
    ((2, 4, 3), (2, 3), (2, 1, 2)),
    ((2, 4, 3), (2, 3), (1,)),
    ((0, 3), (2, 3), (2,)),
    ((4, 0), (2, 0), (2,)),
]
PRODUCTS: Sequence[tuple[Shape, Shape]] = [
    ((3,), (3,)),
    ((3,), (3, 2)),
    ((2, 3), (3,)),
    ((2, 3), (3, 2)),
    ((2, 2, 3), (3, 2)),
    ((2, 2, 3), (3,)),
    ((3,), (2, 3, 2)),
    ((2, 3), (2, 3, 2)),
    ((2, 2, 3), (2, 3, 2)),
    ((2, 1, 2, 3), (2, 3, 1)),
    ((1, 2, 3), (2, 3, 2)),
    ((0,), (0,)),
    ((0, 3), (3, 2)),
    ((2, 0), (0, 3)),
    ((0, 2, 3), (3, 2)),
    ((0, 2, 3), (0, 3, 2)),
    ((2, 2, 0), (2, 0, 3)),
]
SUMMED: Sequence[tuple[Shape, Shape]] = [
    ((2, 3), (3,)),
    ((2, 3), (2, 1)),
    ((2, 2), ()),
    ((2, 2, 3), (2, 1)),
    ((2,), (2,)),
    ((), ()),
    ((2, 0), (1, 0)),
    ((0, 2), (2,)),
    ((2, 0, 2), (1, 1, 2)),
]
TRIPLES = [((2, 3),) * 3, ((2, 1), (3,), ()), ((), (2,), (2,)), ((3,), (), (2, 1)), ((0, 2),) * 3]

# The table ------------------------------------------------------------------------------------------

# Of the classes of rows: shapes of the rows, and the class of each.
CLASSES: list[tuple[Shape, Any]] = [
    ((3, 4), np.array([1, 3, 1])),
    ((2, 1), np.array([0, 0])),
    ((1, 2), np.array([1], dtype=np.uint8)),
    ((0, 3), np.array([], dtype=int)),
]

# Of windows: the shape, and the options. Windows that overlap, leave gaps, are dilated, or are one; one to three axes.
WINDOWS: list[tuple[Shape, dict[str, Any]]] = [
    ((5,), {"size": (2,), "stride": (1,), "dilation": (1,)}),
    ((7,), {"size": (2,), "stride": (3,), "dilation": (1,)}),
    ((2, 5, 2), {"size": (3,), "stride": (1,), "dilation": (2,), "axis": 1}),
    ((2, 3, 4, 2), {"size": (2, 2), "stride": (1, 2), "dilation": (1, 1), "axis": 1}),
    ((2, 4, 5), {"size": (2, 3), "stride": (2, 1), "dilation": (2, 1), "axis": -2}),
    ((3, 3), {"size": (3, 3), "stride": (2, 2), "dilation": (1, 1), "axis": 0}),
    ((3, 3, 2), {"size": (1, 1), "stride": (2, 1), "dilation": (1, 1)}),
    ((2, 2, 3), {"size": (2, 1, 2), "stride": (1, 1, 1), "dilation": (1, 1, 1)}),
    ((0, 3), {"size": (2,), "stride": (1,), "dilation": (1,), "axis": 1}),
]


def of_windows(shape: Shape, **options: Any) -> Draw:
    return draw(ref.entries_of_windows(shape, **options).shape, shape=shape, **no_size(options))


def no_size(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "size"}


def chosen(shape: Shape, options: dict[str, Any]) -> Any:
    """The number of an entry for each window."""
    size, axis = options["size"], options.get("axis", 0) % len(shape)
    found = ref.entries_of_windows(shape, **options).shape
    windows = (*found[:axis], *found[axis + len(size) :])
    return np.random.default_rng(0).integers(0, math.prod(size), windows).astype(np.uint8)


CASES: dict[str, Case] = {
    # elementwise
    "add": binary(each(lambda x, y: x + y)),
    "subtract": binary(each(lambda x, y: x - y)),
    "multiply": binary(each(lambda x, y: x * y)),
    "divide": binary(each(lambda x, y: x / y)),
    "power": binary(each(math.pow)),
    "maximum": binary(each(max)),
    "minimum": binary(each(min)),
    "negative": unary(each(lambda x: -x)),
    "remainder": binary(each(lambda x, y: x - y * math.floor(x / y))),
    "floor_divide": binary(each(lambda x, y: math.floor(x / y))),
    "logaddexp": binary(each(lambda x, y: math.log(math.exp(x) + math.exp(y)))),
    "absolute": unary(each(abs)),
    "sign": unary(each(lambda x: math.copysign(1, x))),
    "floor": unary(each(math.floor)),
    "ceil": unary(each(math.ceil)),
    "exp": unary(each(math.exp)),
    "expm1": unary(each(math.expm1)),
    "log": unary(each(math.log)),
    "log1p": unary(each(math.log1p)),
    "sqrt": unary(each(math.sqrt)),
    "sin": unary(each(math.sin)),
    "cos": unary(each(math.cos)),
    "tanh": unary(each(math.tanh)),
    "sigmoid": unary(each(lambda x: 1 / (1 + math.exp(-x)))),
    "softplus": unary(each(lambda x: math.log(1 + math.exp(x)))),
    "relu": unary(each(lambda x: max(x, 0.0))),
    "clip": of(ref.clip, *(draw((2, 3), **b) for b in ({"min": -1.0, "max": 1.0}, {"min": -1.0}, {"max": 1.0}, {}))),
    "where": of(each(lambda condition, x, y: x if condition else y), *(draw(*shapes) for shapes in TRIPLES)),
    "copy": unary(each(lambda x: x)),
    "astype": of(lambda x, dtype: x.astype(dtype), *(draw(s, dtype=np.float64) for s in ((2, 3), (), (0, 2)))),
    "to_device": of(lambda x, **_: x, *(draw(s, device="cpu", source=HERE) for s in ((2, 3), (), (0, 2)))),
    # logic
    "equal": binary(each(lambda x, y: x == y)),
    "not_equal": binary(each(lambda x, y: x != y)),
    "less": binary(each(lambda x, y: x < y)),
    "less_equal": binary(each(lambda x, y: x <= y)),
    "greater": binary(each(lambda x, y: x > y)),
    "greater_equal": binary(each(lambda x, y: x >= y)),
    "logical_and": binary(each(lambda x, y: x and y)),
    "logical_or": binary(each(lambda x, y: x or y)),
    "logical_not": unary(each(lambda x: not x)),
    "isnan": unary(each(math.isnan)),
    "isinf": unary(each(math.isinf)),
    "isfinite": unary(each(math.isfinite)),
    "any": reduction(lambda x, axis=None, keepdims=False: ref.sum_(1 * x, axis, keepdims) > 0),
    "all": reduction(lambda x, axis=None, keepdims=False: ref.sum_(1 - x, axis, keepdims) == 0),
    # reduction
    "sum": reduction(ref.sum_, draw((0, 2)), draw((0, 2), axis=0)),
    "mean": reduction(ref.mean),
    "var": reduction(ref.var, draw((3, 2), axis=0, ddof=1), draw((2, 3), ddof=2, keepdims=True)),
    "std": reduction(ref.std, draw((3, 2), axis=0, ddof=1), draw((2, 3), ddof=2, keepdims=True)),
    "cumsum": of(ref.cumsum, *(draw(s) for s in ((3,), (2, 3), (), (0, 2))), *(draw((2, 3), axis=a) for a in (0, -1))),
    "max": reduction(lambda x, axis=None, keepdims=False: -np.min(-x, axis=axis, keepdims=keepdims)),
    "min": reduction(lambda x, axis=None, keepdims=False: -np.max(-x, axis=axis, keepdims=keepdims)),
    "logsumexp": reduction(lambda x, axis=None, keepdims=False: np.log(ref.sum_(np.exp(x), axis, keepdims))),
    "argmax": arg(lambda x, axis=None, keepdims=False: np.argmin(-x, axis=axis, keepdims=keepdims)),
    "argmin": arg(lambda x, axis=None, keepdims=False: np.argmax(-x, axis=axis, keepdims=keepdims)),
    "broadcast_to": of(lambda x, shape: x + np.zeros(shape), *(draw(s, shape=x) for x, s in SUMMED)),
    "sum_to": of(ref.sum_to, *(draw(x, shape=s) for x, s in SUMMED)),
    # shape
    "reshape": of(ref.reshape, *(draw(x, shape=s) for x, s in (((2, 3), (3, -1)), ((1, 1), ()), ((2, 0), (0, 3))))),
    "transpose": of(
        lambda x, axes=None: np.einsum(x, list(range(x.ndim)), [a % x.ndim for a in axes or range(x.ndim)[::-1]]),
        *(draw(s) for s in ((2, 3), (2, 3, 2), (2,), (), (0, 2))),
        *(draw((1, 2, 3), axes=axes) for axes in ((2, 0, 1), (1, 2, 0), (0, 1, 2))),
    ),
    "flip": of(
        ref.flip,
        *(draw(s) for s in ((3,), (2, 3), (), (0, 2))),
        *(draw((2, 3, 2), axis=axis) for axis in (0, -1, (0, 2), ())),
    ),
    "pad": of(
        ref.pad,
        *(draw((2, 3), pad_width=w) for w in (1, 0, (1, 2), [2, 0], ((1, 2),), ((1, 0), (0, 2)))),
        *(draw((2,), pad_width=(1, 2), constant_values=v) for v in (-1.5, 2)),
        draw((), pad_width=1),
        draw((0, 2), pad_width=1, mode="constant"),
    ),
    "squeeze": of(
        ref.squeeze,
        *(draw(s) for s in ((1, 2, 1), (2, 3), (), (1, 0))),
        *(draw((1, 2, 1), axis=axis) for axis in (0, -1)),
    ),
    "expand_dims": of(
        ref.expand_dims,
        *(draw((2,), axis=axis) for axis in (0, -1, (0, 2), (-1, -3))),
        draw((0,), axis=-1),
    ),
    "concatenate": of(
        ref.concatenate,
        *(draw(*s) for s in (((2,), (3,), (1,)), ((2, 2), (1, 2)), ((2,),), ((2,), (0,), (1,)), ((0, 2), (0, 2)))),
        *(draw((2, 1, 2), (2, 2, 2), axis=axis) for axis in (1, -2)),
    ),
    "split": of(
        ref.split,
        *(draw((4, 2), sections=n) for n in (2, 4, 1, [1, 3], [], [2], [0, 2], [1, 1])),
        *(draw((2, 6), sections=n, axis=a) for n, a in ((3, 1), ([1, 2], -1))),
        draw((0, 2), sections=2),
        draw((2, 0), sections=2),
    ),
    "stack": of(
        ref.stack,
        *(draw(*s) for s in (((), ()), ((2,), (2,), (2,)), ((2, 2),), ((0, 2), (0, 2)))),
        *(draw((2, 3), (2, 3), axis=axis) for axis in (1, -1, -3)),
    ),
    "unstack": of(ref.unstack, draw((3,)), *(draw((2, 3), axis=a) for a in (0, 1, -1)), draw((2, 0))),
    # index
    "getitem": of(lambda x, index: x[index], *(draw(s, index=i) for s, i in INDICES)),
    "scatter_add": of(ref.scatter_add, *(draw(np.zeros(s)[i].shape, index=i, shape=s) for s, i in INDICES)),
    "take": of(
        ref.take,
        *(draw(s, indices=i, axis=a) for s, i, a in TAKEN),
    ),
    "take_along_axis": of(ref.take_along_axis, *(draw(s, indices=i, axis=a) for s, i, a in ALONG)),
    "add_along_axis": of(
        ref.add_along_axis,
        *(draw(ref.take_along_axis(np.zeros(s), i, a).shape, indices=i, axis=a, shape=s) for s, i, a in ALONG),
    ),
    "segment_sum": of(
        ref.segment_sum,
        draw((4, 2), indices=REPEATED, size=3),
        draw((2, 4), indices=REPEATED, size=2, axis=1),
        draw((2, 2, 3), indices=TABLE, size=2),
        draw((3, 2, 2), indices=TABLE, size=2, axis=1),
        draw((2,), indices=np.array(1), size=3),
        draw((2,), indices=1, size=3),
        draw((0, 2), indices=np.array([], dtype=int), size=3),
    ),
    # windows
    "windows": of(ref.windows, *(draw(s, **options) for s, options in WINDOWS)),
    "add_windows": of(ref.add_windows, *(of_windows(s, **options) for s, options in WINDOWS)),
    "take_from_windows": of(ref.windows, *(draw(s, which=chosen(s, options), **options) for s, options in WINDOWS)),
    "add_to_windows": of(
        ref.add_to_windows,
        *(draw(chosen(s, options).shape, which=chosen(s, options), shape=s, **options) for s, options in WINDOWS),
    ),
    # classes
    "surprisal": of(ref.surprisal, *(draw(s, classes=c) for s, c in CLASSES)),
    "surprisal_gradient": of(ref.surprisal_gradient, *(draw(s[:1], s, classes=c) for s, c in CLASSES)),
    # contraction
    "matmul": of(ref.matmul, *(draw(x, y) for x, y in PRODUCTS)),
    "einsum": of(ref.einsum, *(draw(*shapes, subscripts=s) for s, shapes in SUBSCRIPTS)),
    "outer_sum": of(ref.outer_sum, *(draw((*n, 3), (*n, 2)) for n in ((), (2,), (2, 2), (0,))), draw((2, 0), (2, 3))),
    "linear": of(ref.linear, *(draw(x, w, b) for x, w, b in AFFINE)),
}
