"""Going backward through what was traced: the derivative formulas read on expressions, or recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..goal import place_of
from ..graph import Tensor, tick
from ..mode import enable_grad
from ..sweep import sweep
from .expression import BOOL, Expr, Unfit, is_float
from .trace import Term, Tracer


class Cotangents:
    """What each term of a function receives, as expressions, while its terms are gone through, the last first.

    One for each shape: where a term was broadcast, what it receives is still to be summed over those axes, and may not
    be added to anything that is not.
    """

    def __init__(self, tracer: Tracer, wanted: Iterable[Term]) -> None:
        self.tracer = tracer
        self.received: dict[Term, list[Any]] = {}
        self.useful = set(wanted)  # those through which gradients flow to what is wanted
        for term in tracer.terms:
            if any(type(x) is Term and x in self.useful for x in term.inputs):
                self.useful.add(term)

    def add(self, term: Term, cotangent: Any) -> None:
        if type(cotangent) is Expr and cotangent.dtype is not None and term.expr.dtype is not None:
            cotangent = cotangent.astype(term.expr.dtype)
        held, shape = self.received.setdefault(term, []), getattr(cotangent, "shape", term.expr.shape)
        for k, other in enumerate(held):
            if getattr(other, "shape", term.expr.shape) == shape:
                held[k] = other + cotangent
                return
        held.append(cotangent)

    def go_through(self, term: Term) -> None:
        """Send to the inputs of a term what its derivative formulas give."""
        gs, primitive = self.received.get(term, []), term.primitive
        if primitive is None or not gs:
            return
        if not primitive.vjps:
            if not primitive.is_declared and term.expr.dtype != BOOL:
                raise Unfit(f"{primitive.name}, which has no derivatives; give them with {primitive.name}.derivatives")
            return
        inputs = [x.expr if type(x) is Term else float(x) for x in term.inputs]  # of integers no kernel knows
        for x, vjp in zip(term.inputs, primitive.vjps, strict=True):
            if vjp is not None and type(x) is Term and x in self.useful and x.expr.dtype != BOOL:
                try:
                    found = [vjp(self.tracer.formulas, g, term.expr, *inputs, **term.parameters) for g in gs]
                except Unfit as error:
                    raise Unfit(f"{primitive.name}: {error}") from None
                for cotangent in found:
                    self.add(x, cotangent)


def flowing_from(tracer: Tracer) -> dict[Term, frozenset[int]]:
    """For each term, the arguments to which gradients of it flow."""
    found: dict[Term, frozenset[int]] = {}
    for term in tracer.terms:
        slots: set[int] = set()
        if is_float(term.expr.dtype) and term.primitive is None:  # a product in a cell has inputs, and so has a part
            slots.update([term.expr.slot], *(found[x] for x in term.inputs))
        elif is_float(term.expr.dtype) and term.primitive is not None:
            is_declared = term.primitive.is_declared
            vjps = term.primitive.vjps or [not is_declared] * len(term.inputs)
            for x, vjp in zip(term.inputs, vjps, strict=True):
                slots |= found[x] if vjp and type(x) is Term else set()
        found[term] = frozenset(slots)
    return found


def gradients(tracer: Tracer, outputs: Iterable[tuple[Term, Expr]], wanted: Iterable[Term]) -> dict[Term, Any]:
    """What each wanted argument receives from outputs of one shape and their cotangents, not summed over axes along
    which it was repeated."""
    found = Cotangents(tracer, wanted)
    for term, g in outputs:
        if term in found.useful:
            found.add(term, g)
    for term in reversed(tracer.terms):
        found.go_through(term)
    return {term: sum(gs[1:], gs[0]) for term in wanted if (gs := found.received.get(term))}


def recorded_gradients(function: Callable[[], Sequence[Tensor]], xs: Sequence[Any], gs: Sequence[Any]) -> list[Any]:
    """The gradients of Tensors xs with a graph of their own: what a function makes of them is recorded and swept."""
    since = tick()
    with enable_grad():
        ys = function()
    pairs = [(y, g) for y, g in zip(ys, gs, strict=True) if g is not None and y._requires_grad]
    sources: dict[Any, Any] = {}
    for k, x in enumerate(xs):
        if type(x) is Tensor and x._requires_grad:
            edge = x._source or x
            place = place_of(edge) if isinstance(edge, tuple) else id(edge)
            sources.setdefault(place, (k, edge))  # one that was passed twice gets its gradient once
    places = [k for k, _ in sources.values()]
    edges = [edge for _, edge in sources.values()]
    found = sweep(
        [y for y, _ in pairs], [g for _, g in pairs], edges, create_graph=True, retain_graph=True, since=since
    )
    results: list[Any] = [None] * len(xs)
    for k, (_, g, _) in zip(places, found, strict=True):
        results[k] = g
    return results
