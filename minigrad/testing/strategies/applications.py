"""Applications of a primitive: its inputs from its domains, its parameters from its kind."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from ...backend import DType, float64
from ...ops.primitive import Primitive
from ..application import LAYOUTS, Application, laid_out, primitive_of
from .arrays import as_array, entries
from .shapes import Shape, axes, broadcastable_shapes, shapes

Call = tuple[Sequence[Shape], dict[str, Any]]


@st.composite
def applications(
    draw: st.DrawFn,
    primitive: Primitive[Any] | str,
    calls: st.SearchStrategy[Call] | None = None,
    *,
    dtype: DType | st.SearchStrategy[DType] = float64,
    layouts: Sequence[str] = LAYOUTS,
) -> Application:
    """A `minigrad.testing.Application`: the primitive, inputs from its domains, parameters.

    Entries of an input all differ; if its domain is `distinct`, also from those of other inputs. A primitive without
    a derivative may get equal ones, on which comparisons depend.

    Args:
        primitive: minigrad's or your own, or its name.
        calls: a strategy of pairs: the shape of each input, and the parameters. By default an elementwise primitive
            gets shapes that broadcast together, empty ones included, and no parameters; a reduction what
            `reductions` says. Other kinds, and further parameters, need this argument.
        dtype: of the inputs, or a strategy for it; booleans stay booleans.
        layouts: how inputs may lie in memory, see `minigrad.testing.laid_out`; some are read-only.

    Raises:
        TypeError: neither `calls` nor the kind says which shapes and parameters to draw, `calls` is no strategy of
            such pairs, or a pair has a shape too few or too many.
        ValueError: no primitive has this name, or a domain has no room for so many different numbers.

    >>> import minigrad as mg
    >>> from hypothesis import given
    >>> from minigrad.testing import strategies as mst
    >>> @given(mst.applications("multiply"))
    ... def test_multiply(application):
    ...     mg.testing.gradcheck(application, application.tensors())
    >>> test_multiply()
    """
    primitive = primitive_of(primitive, "applications")
    if calls is not None and not isinstance(calls, st.SearchStrategy):
        raise TypeError(
            f"applications: expected calls= as a strategy of (shapes, parameters), got {type(calls).__name__}; "
            "hypothesis.strategies.sampled_from makes one of a list"
        )
    found, parameters = _checked(draw(_default(primitive) if calls is None else calls), primitive)
    domains = primitive.domains * len(found) if primitive.variadic else primitive.domains
    kind = draw(dtype) if isinstance(dtype, st.SearchStrategy) else dtype
    unique = bool(primitive.vjps) or not primitive.is_declared
    taken: set[float] = set()
    inputs = []
    for shape, domain in zip(found, domains, strict=True):
        drawn = draw(entries(domain, math.prod(shape), taken, unique))
        if domain.distinct:
            taken |= set(drawn)
        array = as_array(drawn, domain, shape, kind)
        inputs.append(laid_out(array, draw(st.sampled_from(layouts)), read_only=draw(st.booleans())))
    return Application(primitive, inputs, parameters)


def _checked(call: Any, primitive: Primitive[Any]) -> Call:
    """What was drawn from `calls`, if it is a pair of shapes and parameters with a shape for each input."""
    is_pair = isinstance(call, (tuple, list)) and len(call) == 2 and isinstance(call[1], dict)
    is_fit = is_pair and isinstance(call[0], (tuple, list)) and all(isinstance(s, (tuple, list)) for s in call[0])
    if not is_fit:
        raise TypeError(
            "applications: expected calls= to give a shape for each input and a dict of parameters, "
            f"such as (((2, 3), (3,)), {{}}), got {call!r}"
        )
    found, parameters = call
    if not primitive.variadic and len(found) != len(primitive.inputs):
        raise TypeError(
            f"applications: {primitive.name} takes {len(primitive.inputs)} inputs {primitive.inputs}, "
            f"got {len(found)} shapes: {found!r}"
        )
    return found, parameters


@st.composite
def reductions(
    draw: st.DrawFn, *, axis: bool = True, tuples: bool = True, keepdims: bool = True, of_nothing: bool = False
) -> tuple[tuple[tuple[int, ...]], dict[str, Any]]:
    """A shape, and `axis` and `keepdims` for it: `calls` for `applications` of a reduction.

    Args:
        axis, keepdims: whether the primitive has these parameters; they may be left out even so.
        tuples: whether `axis` may be a tuple.
        of_nothing: whether there may be no entries along the axes reduced, of which a sum is 0, but which have no mean.

    >>> from hypothesis import find
    >>> from minigrad.testing import strategies as mst
    >>> find(mst.reductions(), lambda call: len(call[0][0]) == 2)
    (((1, 1),), {})
    """
    shape = draw(shapes())
    parameters: dict[str, Any] = {}
    if axis and draw(st.booleans()):
        parameters["axis"] = draw(axes(len(shape), tuples=tuples))
    if keepdims and draw(st.booleans()):
        parameters["keepdims"] = draw(st.booleans())
    if not of_nothing:
        named = parameters.get("axis")
        reduced = range(len(shape)) if named is None else named if isinstance(named, tuple) else (named,)
        gone = {a % len(shape) for a in reduced}
        shape = tuple(max(n, 1) if a in gone else n for a, n in enumerate(shape))
    return (shape,), parameters


def _default(primitive: Primitive[Any]) -> st.SearchStrategy[Call]:
    """The calls that a primitive's kind and parameters allow."""
    arguments = primitive.__signature__.parameters
    needs_more = any(arguments[name].default is inspect.Parameter.empty for name in primitive.parameters)
    if primitive.kind not in ("elementwise", "reduction") or needs_more:
        raise TypeError(
            f"applications: the shapes and parameters of {primitive.name}{primitive.__signature__} do not follow from "
            f"its kind, {primitive.kind}; pass calls=, a strategy of (shapes, parameters)"
        )
    if primitive.kind == "elementwise":
        return st.tuples(broadcastable_shapes(len(primitive.inputs)), st.just({}))
    keepdims = "keepdims" in primitive.parameters
    return reductions(axis="axis" in primitive.parameters, tuples=keepdims, keepdims=keepdims)
