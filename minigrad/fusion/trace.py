"""Tracing: running a function of primitives on stand-ins, and keeping what it did.

The function gets a `Traced` for every Tensor. Applying a primitive to one computes nothing: it makes a `Term`, which
knows the primitive, its inputs, and its value as an expression. Slices of arguments are arguments that lie elsewhere;
a slice of something computed is computed from slices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..backend import Array, DType, cpu
from ..graph import Tensor
from ..ops import elementwise, index, reduction, shape
from ..operators import moveaxis
from ..ops.primitive import Primitive, Shape, registry
from ..tape import Traceable, apply
from .expression import Expr, Formulas, Graph, Unfit, Values, dummy

# What gives a part of its input, or the input laid out otherwise, without a copy.
VIEWS = {
    shape.split,
    shape.unstack,
    shape.reshape,
    shape.transpose,
    shape.squeeze,
    shape.expand_dims,
    shape.flip,
    index.getitem,
    reduction.broadcast_to,
}
ELSEWHERE = {elementwise.to_device}

View = Callable[[Any, Array], Array]  # of an array library and an array: the part of the array


class Term:
    """A value in the function: an argument or a part of it, or what a primitive gave."""

    __slots__ = ("expr", "inputs", "laid_out", "parameters", "primitive", "view")

    expr: Expr
    primitive: Primitive[Any] | None  # None for an argument
    inputs: Sequence[Any]  # terms and Python numbers
    parameters: dict[str, Any]
    view: View  # of an argument: which part of it
    laid_out: Array  # of an argument: where it would lie if the argument were in C order, as its gradient is


class Traced(Tensor, Traceable):
    """What stands in for a Tensor while a function is traced."""

    __slots__ = ("term", "tracer")

    term: Term
    tracer: Tracer

    def apply(self, primitive: Primitive[Any], inputs: Sequence[Any], parameters: dict[str, Any]) -> Any:
        return self.tracer.apply(primitive, inputs, parameters)

    @property
    def device(self) -> str:
        return self.tracer.device

    def __repr__(self) -> str:
        return f"<traced: shape {self.shape}, {self.dtype}>"

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise Unfit(
            "the values of a tensor inside (a condition, .item(), float(), .numpy(), print): a kernel is written "
            "before there are any. Write mg.where for a condition"
        )

    __bool__ = __float__ = __int__ = __index__ = __array__ = __setitem__ = __iter__ = _refuse
    item = tolist = numpy = detach = backward = to = register_hook = _refuse
    data = property(_refuse)


class _Spec:
    """The shape and dtype of what a Traced stands for; there are no entries."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: Shape, dtype: Any) -> None:
        self.shape, self.dtype = shape, dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(cpu.prod(self.shape, dtype=int))


class Tracer:
    """One function being traced."""

    def __init__(self, name: str, device: str = "cpu") -> None:
        self.name, self.device = name, device
        self.graph = Graph()
        self.values, self.formulas = Values(self.graph), Formulas(self.graph)
        self.terms: list[Term] = []  # as they were made: inputs before what is made of them

    # What the function is given -------------------------------------------------------------------

    def argument(self, slot: int, shape: Shape, dtype: DType, strides: tuple[int, ...] | None = None) -> Term:
        """A whole argument, with the strides it has."""
        return self.part(slot, dummy(shape, dtype, strides), dummy(shape, dtype), lambda xp, x: x)

    def part(self, slot: int, place: Array, laid_out: Array, view: View) -> Term:
        term = self._term(self.graph.load(slot, place, view), None, (), {})
        term.view, term.laid_out = view, laid_out
        return term

    def number(self, slot: int) -> Term:
        """A Python number that comes with each call."""
        return self._term(self.graph.scalar(slot), None, (), {})

    def traced(self, term: Term) -> Traced:
        x = object.__new__(Traced)
        x._data, x._requires_grad, x._source, x._storage, x._hint = (
            _Spec(term.expr.shape, term.expr.dtype),
            False,
            *[None] * 3,
        )
        x.term, x.tracer = term, self
        return x

    # What it does ---------------------------------------------------------------------------------

    def apply(self, primitive: Primitive[Any], inputs: Sequence[Any], parameters: dict[str, Any]) -> Any:
        """A primitive applied to stand-ins, Tensors and numbers."""
        terms = [self.operand(x) for x in inputs]
        try:
            if primitive.kind == "elementwise" and primitive not in ELSEWHERE:
                return self.traced(self.elementwise(primitive, terms, parameters))
            if primitive in VIEWS:
                return self._views(primitive, terms[0], parameters)
            return self.other(primitive, terms, parameters)
        except Unfit as error:
            raise Unfit(f"{primitive.name}: {error}" if primitive.name not in str(error) else str(error)) from None

    def operand(self, x: Any) -> Any:
        """What an input is, as a term or a number."""
        if type(x) is Traced:
            if x.tracer is not self:
                raise Unfit("a tensor of another function that is being traced; pass it on as an argument")
            return x.term
        if type(x) in (int, float, bool):
            return x
        if isinstance(x, Tensor):
            return self.captured(x)
        raise Unfit(f"a {type(x).__name__} inside the function; pass it to the function as a Tensor")

    def captured(self, x: Tensor) -> Term:
        """A Tensor that the function has, but was not given."""
        raise Unfit(
            f"a Tensor of shape {x.shape} that the function was not given: only its arguments may change from call to "
            "call, so pass it as one"
        )

    def elementwise(self, primitive: Primitive[Any], terms: Sequence[Any], parameters: dict[str, Any]) -> Term:
        expr = primitive.value(self.values, *(t.expr if type(t) is Term else t for t in terms), **parameters)
        if type(expr) is not Expr:
            raise Unfit(f"a value that does not depend on its inputs, {expr!r}")
        return self._term(expr, primitive, terms, parameters)

    def other(self, primitive: Primitive[Any], terms: Sequence[Any], parameters: dict[str, Any]) -> Any:
        """A primitive that neither acts entry by entry nor gives a view."""
        raise Unfit(
            f"{primitive.name} ({primitive.kind}), which does not act entry by entry, so no kernel can be "
            "written for it; do it outside of the function, and pass what it gives"
        )

    def _term(self, expr: Expr, primitive: Any, inputs: Sequence[Any], parameters: dict[str, Any]) -> Term:
        term = Term()
        term.expr, term.primitive, term.inputs, term.parameters = expr, primitive, inputs, parameters
        self.terms.append(term)
        return term

    # Views ----------------------------------------------------------------------------------------

    def _views(self, primitive: Primitive[Any], term: Any, parameters: dict[str, Any]) -> Any:
        if type(term) is not Term:
            raise Unfit(f"{primitive.name} of a number")
        if primitive is index.getitem and not _is_basic(parameters["index"]):
            raise Unfit("getitem with indices or a mask, which no kernel knows; take slices, or index outside of it")

        def view(xp: Any, x: Array) -> Any:
            if primitive is shape.reshape and xp is cpu and not x.flags.c_contiguous:
                raise Unfit("reshape of what does not lie in one piece; reshape outside of the function")
            return primitive.value(xp, x, **parameters)

        if not primitive.multiple:
            return self.traced(self.viewed(term, view))
        count = len(view(cpu, dummy(term.expr.shape, term.expr.dtype)))
        return [self.traced(self.viewed(term, lambda xp, x, k=k: view(xp, x)[k])) for k in range(count)]

    def viewed(self, term: Term, view: View) -> Term:
        """A part of a term: of the arguments it was computed from, the same parts."""
        if term.primitive is None:
            return self._part_of(term, term.expr.shape, view)
        ancestors, found = {term}, {}
        for t in reversed(self.terms):
            if t in ancestors and t.primitive is not None:
                ancestors.update(x for x in t.inputs if type(x) is Term)
        for t in list(self.terms):
            if t not in ancestors:
                continue
            if t.primitive is None:
                found[t] = self._part_of(t, term.expr.shape, view)
            else:
                found[t] = self.elementwise(t.primitive, [found.get(x, x) for x in t.inputs], t.parameters)
        return found[term]

    def _part_of(self, term: Term, whole: Shape, view: View) -> Term:
        if term.expr.op == "scalar":
            return term
        before = term.view

        def both(xp: Any, x: Array) -> Array:
            x = before(xp, x)
            return view(xp, x if x.shape == whole else xp.broadcast_to(x, whole))

        places = (view(cpu, cpu.broadcast_to(p, whole)) for p in (term.expr.place, term.laid_out))
        part = self.part(term.expr.slot, *places, both)
        part.inputs = (term,)
        return part

    # What it did, again ----------------------------------------------------------------------------

    def again(self, values: dict[int, Tensor], wanted: Sequence[Term]) -> list[Any]:
        """The record reading: the same primitives applied to Tensors, which are given for each slot."""
        needed, found = set(wanted), {}
        for term in reversed(self.terms):
            if term in needed:
                needed.update(t for t in term.inputs if type(t) is Term)
        for term in self.terms:
            if term in needed:
                found[term] = self._value_again(term, [found.get(x, x) for x in term.inputs], values)
        return [found[term] for term in wanted]

    def _value_again(self, term: Term, inputs: list[Any], values: dict[int, Tensor]) -> Any:
        if term.primitive is not None:
            return apply(term.primitive, inputs, term.parameters)
        x = values[term.expr.slot]
        return x if term.expr.op == "scalar" or not term.inputs else term.view(on_tensors, x)


class _OnTensors:
    """The functions of an array library that a view calls, for Tensors."""

    moveaxis = staticmethod(moveaxis)

    def __getattr__(self, name: str) -> Any:
        if name not in registry:
            raise AttributeError(name)
        return registry[name]


on_tensors = _OnTensors()


def _is_basic(key: Any) -> bool:
    parts = key if type(key) is tuple else (key,)
    return all(type(part) in (int, slice, type(None), type(...)) for part in parts)
