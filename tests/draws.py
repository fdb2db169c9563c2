"""Every primitive, with random shapes and every parameter it takes: `applications(name)`.

A line draws the shape of each input, and the parameters. Lines are there for what the primitive's kind does not say by
itself: an elementwise one without parameters gets shapes that broadcast, a reduction axes and keepdims.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from minigrad.testing import Application
from minigrad.testing import strategies as mst
from minigrad.testing.application import HERE
from minigrad.testing.strategies.indices import integer_arrays
from minigrad.testing.strategies.shapes import broadcasting_to

Shape = tuple[int, ...]
Calls = st.SearchStrategy[Any]  # of the shape of each input, and the parameters
SHAPES = mst.shapes()
WITH_AXES = mst.shapes(min_dims=1)
SIDES = st.sampled_from((2, 3, 1, 2, 3, 1, 0))


def applications(name: str, **options: Any) -> st.SearchStrategy[Application]:
    """Applications of one of minigrad's primitives, by name; options are those of `mst.applications`."""
    return mst.applications(name, CALLS.get(name), **options)


def unary(**parameters: Any) -> Calls:
    """One input, and parameters that have nothing to do with its shape; each may be left out."""
    return st.tuples(st.tuples(SHAPES), st.fixed_dictionaries({}, optional=parameters))


def axis_of(ndim: int, **options: Any) -> st.SearchStrategy[Any]:
    """One axis, unless options allow more."""
    return mst.axes(ndim, **({"none": False, "tuples": False} | options))


def optional(draw: st.DrawFn, name: str, strategy: st.SearchStrategy[Any]) -> dict[str, Any]:
    """A parameter that may be left out."""
    return {name: draw(strategy)} if draw(st.booleans()) else {}


# Reductions -----------------------------------------------------------------------------------------


@st.composite
def spread(draw: st.DrawFn) -> Any:
    """var and std: ddof leaves at least one degree of freedom."""
    (shape,), parameters = draw(mst.reductions())
    axis = parameters.get("axis")
    axes = range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    count = math.prod(shape[a] for a in axes)
    return (shape,), parameters | optional(draw, "ddof", st.integers(0, count - 1))


@st.composite
def cumulated(draw: st.DrawFn) -> Any:
    shape = draw(SHAPES)
    return (shape,), optional(draw, "axis", mst.axes(len(shape), tuples=False))


@st.composite
def broadcast(draw: st.DrawFn, adds_up: bool) -> Any:
    """A shape and one that broadcasts to it, from the one to the other."""
    large = draw(SHAPES)
    small = draw(broadcasting_to(large))
    return ((large,), {"shape": small}) if adds_up else ((small,), {"shape": large})


# Shapes ---------------------------------------------------------------------------------------------


@st.composite
def reshaped(draw: st.DrawFn) -> Any:
    """To the same sides in another order, some of them multiplied, one of them left to be found out."""
    x = draw(SHAPES)
    shape = list(draw(st.permutations(x)))
    if len(shape) > 1 and draw(st.booleans()):
        shape[:2] = [math.prod(shape[:2])]
    if len(shape) < 3 and draw(st.booleans()):
        shape.insert(draw(st.integers(0, len(shape))), 1)
    if shape and draw(st.booleans()):
        place = draw(st.integers(0, len(shape) - 1))
        if math.prod(shape[:place] + shape[place + 1 :]):
            shape[place] = -1
    return (x,), {"shape": tuple(shape)}


@st.composite
def transposed(draw: st.DrawFn) -> Any:
    shape = draw(SHAPES)
    order = st.permutations(range(len(shape)))
    axes = st.none() | order.map(tuple) | order.map(lambda axes: tuple(a - len(axes) for a in axes))
    return (shape,), optional(draw, "axes", axes)


@st.composite
def flipped(draw: st.DrawFn) -> Any:
    shape = draw(SHAPES)
    return (shape,), optional(draw, "axis", mst.axes(len(shape)))


@st.composite
def padded(draw: st.DrawFn) -> Any:
    shape = draw(SHAPES)
    number = st.integers(0, 2)
    pair = st.tuples(number, number)
    widths = [number, pair, pair.map(list), st.tuples(pair)]
    if shape:
        widths.append(st.tuples(*[pair] * len(shape)))
    parameters = {"pad_width": draw(st.one_of(widths))}
    parameters |= optional(draw, "mode", st.just("constant"))
    return (shape,), parameters | optional(draw, "constant_values", st.sampled_from((0, 2, -1.5)))


@st.composite
def squeezed(draw: st.DrawFn) -> Any:
    shape = draw(st.lists(st.sampled_from((1, 1, 2, 3, 0)), max_size=3).map(tuple))
    ones = [a - draw(st.sampled_from((0, len(shape)))) for a, n in enumerate(shape) if n == 1]
    axes = st.lists(st.sampled_from(ones), unique=True).map(tuple) | st.sampled_from(ones) if ones else st.just(())
    return (shape,), optional(draw, "axis", st.none() | axes)


@st.composite
def expanded(draw: st.DrawFn) -> Any:
    shape, added = draw(mst.shapes(max_dims=2)), draw(st.integers(1, 2))
    axes = draw(axis_of(len(shape) + added, tuples=True, integers=added == 1, min_size=added))
    return (shape,), {"axis": axes if isinstance(axes, int) else axes[:added]}


@st.composite
def concatenated(draw: st.DrawFn) -> Any:
    shape = draw(WITH_AXES)
    axis = draw(axis_of(len(shape)))
    before, after = shape[: axis % len(shape)], shape[axis % len(shape) + 1 :]
    shapes = [(*before, n, *after) for n in draw(st.lists(SIDES, min_size=1, max_size=3))]
    return shapes, {} if axis == 0 and draw(st.booleans()) else {"axis": axis}


@st.composite
def cut(draw: st.DrawFn) -> Any:
    """Into equal sections, or at indices, which may go back, and beyond the ends."""
    shape = draw(WITH_AXES)
    axis = draw(axis_of(len(shape)))
    n = shape[axis]
    equal = st.sampled_from([k for k in range(1, n + 2) if n % k == 0])
    sections = draw(
        equal | st.lists(st.integers(0, n), max_size=3).map(sorted) | st.lists(st.integers(-n - 1, n + 1), max_size=3)
    )
    return (shape,), {"sections": sections} | ({} if axis == 0 and draw(st.booleans()) else {"axis": axis})


@st.composite
def stacked(draw: st.DrawFn) -> Any:
    shape = draw(mst.shapes(max_dims=2))
    return [shape] * draw(st.integers(1, 3)), optional(draw, "axis", axis_of(len(shape) + 1))


@st.composite
def unstacked(draw: st.DrawFn) -> Any:
    """At least one slice: what nothing came from has no gradient."""
    shape = list(draw(WITH_AXES))
    parameters = optional(draw, "axis", axis_of(len(shape)))
    axis = parameters.get("axis", 0)
    shape[axis] = max(shape[axis], 1)
    return (tuple(shape),), parameters


# Indices --------------------------------------------------------------------------------------------


@st.composite
def indexed(draw: st.DrawFn, adds_up: bool) -> Any:
    """getitem and its adjoint; a mask has become integers before it comes to them."""
    shape = draw(SHAPES)
    index = draw(mst.indices(shape, kinds=("basic", "advanced", "mixed")))
    if adds_up:
        return (np.zeros(shape)[index].shape,), {"index": index, "shape": shape}
    return (shape,), {"index": index}


@st.composite
def taken(draw: st.DrawFn) -> Any:
    shape = draw(SHAPES)
    parameters = optional(draw, "axis", mst.axes(len(shape), tuples=False))
    axis = parameters.get("axis")
    size = math.prod(shape) if axis is None else shape[axis]
    picked = draw(mst.shapes(max_dims=2)) if size else (0,)
    return (shape,), {"indices": draw(integer_arrays(size, picked))} | parameters


@st.composite
def segments(draw: st.DrawFn) -> Any:
    """The adjoint of take, whose axis is counted from the first; a single index may be a number."""
    rest, picked, size = draw(mst.shapes(max_dims=2)), draw(mst.shapes(max_dims=2)), draw(st.integers(1, 3))
    axis = draw(st.integers(0, len(rest)))
    indices = draw(integer_arrays(size, picked))
    if not picked and draw(st.booleans()):
        indices = indices.item()
    parameters = {"indices": indices, "size": size} | ({} if axis == 0 and draw(st.booleans()) else {"axis": axis})
    return ((*rest[:axis], *picked, *rest[axis:]),), parameters


@st.composite
def along(draw: st.DrawFn, adds_up: bool) -> Any:
    """take_along_axis and its adjoint: all axes but one broadcast."""
    common = draw(WITH_AXES)
    axis = draw(axis_of(len(common)))
    place = axis % len(common)
    shape, picked = ([draw(st.sampled_from((n, n, 1))) for n in common] for _ in range(2))
    shape[place] = draw(SIDES)
    picked[place] = draw(SIDES) if shape[place] else 0
    indices = draw(integer_arrays(shape[place], tuple(picked)))
    parameters = {"indices": indices, "axis": axis}
    if not adds_up:
        return (tuple(shape),), parameters
    x = np.broadcast_shapes([1 if a == place else n for a, n in enumerate(shape)], picked)
    return (x,), parameters | {"shape": tuple(shape)}


@st.composite
def classified(draw: st.DrawFn, with_gradient: bool = False) -> Any:
    """Rows, and a class for each."""
    count, size = draw(SIDES), draw(st.integers(1, 4))
    per_row = ((count,),) if with_gradient else ()
    return (*per_row, (count, size)), {"classes": draw(integer_arrays(size, (count,)))}


# Windows --------------------------------------------------------------------------------------------


@st.composite
def windowed(draw: st.DrawFn, chosen: bool, adds_up: bool) -> Any:
    """Windows over one axis or two, anywhere among others; all of their entries, or one of each."""
    few, ndim = st.integers(1, 3), draw(st.integers(1, 2))
    size, stride, dilation = (tuple(draw(few) for _ in range(ndim)) for _ in range(3))
    counts = tuple(draw(few) for _ in range(ndim))
    spare = [draw(st.integers(0, s - 1)) for s in stride]  # what comes after the last window
    numbers = zip(size, stride, dilation, counts, spare, strict=True)
    lengths = tuple((n - 1) * s + (k - 1) * d + 1 + more for k, s, d, n, more in numbers)
    before, after = (draw(mst.shapes(max_dims=1)) for _ in range(2))
    shape = (*before, *lengths, *after)
    axis = len(before)
    parameters = {"size": size, "stride": stride, "dilation": dilation}
    parameters |= optional(draw, "axis", st.sampled_from((axis, axis - len(shape)))) if not axis else {"axis": axis}
    result = (*before, *size, *counts, *after)
    if chosen:
        result = (*before, *counts, *after)
        parameters["which"] = abs(draw(integer_arrays(math.prod(size), result))) % math.prod(size)
    elif adds_up:
        del parameters["size"]
    return ((result,), parameters | {"shape": shape}) if adds_up else ((shape,), parameters)


# Products -------------------------------------------------------------------------------------------


@st.composite
def multiplied(draw: st.DrawFn) -> Any:
    """Vectors, matrices, and batches of them that broadcast."""
    n, k, m = draw(SIDES), draw(SIDES), draw(SIDES)
    x, y = draw(mst.broadcastable_shapes(2, max_dims=2))
    return (draw(st.sampled_from(((*x, n, k), (n, k), (k,)))), draw(st.sampled_from(((*y, k, m), (k, m), (k,))))), {}


@st.composite
def outer(draw: st.DrawFn) -> Any:
    leading = draw(mst.shapes(max_dims=2))
    return ((*leading, draw(SIDES)), (*leading, draw(SIDES))), {}


@st.composite
def contracted(draw: st.DrawFn) -> Any:
    """Explicit subscripts; a label stands once in an operand, and its size is one everywhere."""
    sizes = {label: draw(SIDES) for label in "abc"}
    counts = draw(st.lists(st.sampled_from((1, 2, 3, 2, 0)), min_size=1, max_size=3))
    operands = ["".join(draw(st.permutations("abc"))[:n]) for n in counts]
    used = draw(st.permutations(sorted(set("".join(operands)))))
    output = "".join(used[: draw(st.integers(0, len(used)))])
    return [tuple(sizes[a] for a in names) for names in operands], {"subscripts": f"{','.join(operands)}->{output}"}


# The table ------------------------------------------------------------------------------------------


@st.composite
def affine(draw: st.DrawFn) -> Any:
    """Rows of any rank, a matrix, and something that broadcasts to their product."""
    leading, k, m = draw(mst.shapes(max_dims=2)), draw(SIDES), draw(SIDES)
    y = (*leading, m)
    b = tuple(draw(st.sampled_from((1, n))) for n in y)[draw(st.integers(0, len(y))) :]
    return ((*leading, k), (m, k), b), {}


CALLS: dict[str, Calls] = {
    "clip": unary(
        min=st.sampled_from((-1.0, None)), max=st.sampled_from((1.0, None))
    ),  # where the domain has its kinks
    "astype": st.tuples(st.tuples(SHAPES), st.just({"dtype": np.float64})),
    "to_device": st.tuples(st.tuples(SHAPES), st.just({"device": "cpu", "source": HERE})),
    "any": mst.reductions(of_nothing=True),
    "all": mst.reductions(of_nothing=True),
    "sum": mst.reductions(of_nothing=True),
    "var": spread(),
    "std": spread(),
    "argmax": mst.reductions(tuples=False),
    "argmin": mst.reductions(tuples=False),
    "cumsum": cumulated(),
    "broadcast_to": broadcast(adds_up=False),
    "sum_to": broadcast(adds_up=True),
    "reshape": reshaped(),
    "transpose": transposed(),
    "flip": flipped(),
    "pad": padded(),
    "squeeze": squeezed(),
    "expand_dims": expanded(),
    "concatenate": concatenated(),
    "split": cut(),
    "stack": stacked(),
    "unstack": unstacked(),
    "getitem": indexed(adds_up=False),
    "scatter_add": indexed(adds_up=True),
    "take": taken(),
    "segment_sum": segments(),
    "take_along_axis": along(adds_up=False),
    "add_along_axis": along(adds_up=True),
    "windows": windowed(chosen=False, adds_up=False),
    "add_windows": windowed(chosen=False, adds_up=True),
    "take_from_windows": windowed(chosen=True, adds_up=False),
    "add_to_windows": windowed(chosen=True, adds_up=True),
    "surprisal": classified(),
    "surprisal_gradient": classified(with_gradient=True),
    "matmul": multiplied(),
    "outer_sum": outer(),
    "einsum": contracted(),
    "linear": affine(),
}
