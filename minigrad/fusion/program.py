"""A traced function as nests, and as kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..backend import Array, ArrayNamespace, cpu
from ..messages import type_name
from ..mode import enable_grad
from . import numpy_writer
from .compiler import CompileError
from .expression import Unfit, dummy, is_float
from .gradient import flowing_from, gradients
from .nest import Nest, Store, are_tiles, whole
from .setting import note_failure
from .trace import Term, Traced, Tracer


class Program:
    """A function traced for arguments of certain shapes, strides and dtypes: what it computes, as nests."""

    def __init__(self, function: Callable[..., Any], name: str, specs: Sequence[Any], device: str) -> None:
        """specs: an array (or what has its shape, dtype and strides) per Tensor, `float`, or a value that stays."""
        with enable_grad():
            self.tracer = tracer = Tracer(name, device)
        self.arguments: dict[int, Term] = {}  # by slot
        given: list[Any] = []
        for slot, spec in enumerate(specs):
            if hasattr(spec, "strides"):
                self.arguments[slot] = term = tracer.argument(slot, spec.shape, spec.dtype, spec.strides)
                given.append(tracer.traced(term))
            else:
                given.append(tracer.traced(tracer.number(slot)) if spec is float else spec)
        self.slots = len(specs)
        with enable_grad():
            value = function(*given)
        self.gives_many = isinstance(value, (tuple, list))
        self.outputs = [self._output(y) for y in (value if self.gives_many else [value])]
        flows = flowing_from(tracer)
        self.sources = [flows[term] for term in self.outputs]  # the arguments to which gradients of an output flow
        unknown = [t for t in tracer.terms if t.primitive is not None and not t.primitive.is_declared]
        self.no_derivative = frozenset(slot for t in unknown for slot in flows[t])  # arguments to which they cannot

    def _output(self, y: Any) -> Term:
        if type(y) is not Traced or y.tracer is not self.tracer or y.term.expr.dtype is None:
            raise Unfit(
                f"it returns {type_name(y)}, where a Tensor that it has computed was expected, or a tuple of them"
            )
        return y.term

    def forward(self) -> list[Nest]:
        """Slots: the arguments, then the outputs."""
        by_shape: dict[Any, list[Store]] = {}
        for k, term in enumerate(self.outputs):
            store = Store(self.slots + k, dummy(term.expr.shape, term.expr.dtype), whole, term.expr)
            by_shape.setdefault(term.expr.shape, []).append(store)
        return [Nest(shape, stores) for shape, stores in by_shape.items()]

    def backward(self, arrived: Sequence[bool], wanted: Sequence[int]) -> tuple[list[Nest], list[str | None]]:
        """Slots: the arguments, a gradient for each output, a gradient for each of the wanted arguments.

        Args:
            arrived: for each output, whether there is a gradient of it.
            wanted: the arguments whose gradient is wanted.

        Returns:
            the nests, and what each of the wanted gradients has to be at first: "zeros" or "empty", or None if nothing
            flows to it.
        """
        tracer = self.tracer
        parts = {slot: [t for t in tracer.terms if t.primitive is None and t.expr.slot == slot] for slot in wanted}
        contributions: list[tuple[Any, Term, Any]] = []  # shape of the loops, part of an argument, what it receives
        shapes = dict.fromkeys(t.expr.shape for t, came in zip(self.outputs, arrived, strict=True) if came)
        for shape in shapes:
            starts = []
            for k, (term, came) in enumerate(zip(self.outputs, arrived, strict=True)):
                if came and term.expr.shape == shape:
                    slot = self.slots + k
                    starts.append((term, tracer.graph.load(slot, dummy(shape, term.expr.dtype), whole)))
            found = gradients(tracer, starts, [t for slot in wanted for t in parts[slot]])
            contributions += [(shape, term, g) for term, g in found.items()]
        nests: dict[Any, list[Store]] = {}
        apart: list[Nest] = []  # those that may not run beside others: they write to the same places
        at_first: list[str | None] = []
        for k, slot in enumerate(wanted):
            target = self.slots + len(self.outputs) + k
            mine = [(shape, term, g) for shape, term, g in contributions if term.expr.slot == slot]
            target_place = self.arguments[slot].laid_out
            tiles = are_tiles(target_place, [(term.laid_out, shape) for shape, term, _ in mine])
            at_first.append(None if not mine else "empty" if tiles == "all" else "zeros")
            for shape, term, g in mine:
                store = Store(target, term.laid_out, term.view, g, adds=tiles == "overlap")
                if tiles == "overlap" and len(mine) > 1:
                    apart.append(Nest(shape, [store]))
                else:
                    nests.setdefault(shape, []).append(store)
        return [Nest(shape, stores) for shape, stores in nests.items()] + apart, at_first


class Plan:
    """A program with its kernels, for one device."""

    def __init__(self, program: Program, xp: ArrayNamespace, writer: Any) -> None:
        self.program, self.xp, self.writer = program, xp, writer
        self.run = self._kernel(program.forward())
        self.shapes = [(t.expr.shape, t.expr.dtype) for t in program.outputs]
        self._backward: dict[Any, tuple[Any, list[str | None]]] = {}
        self._can_record: dict[tuple[int, ...], bool] = {}

    def _kernel(self, nests: Sequence[Nest]) -> Any:
        try:
            return self.writer.Kernel(nests)
        except CompileError as error:
            note_failure(error)
            return numpy_writer.Kernel(nests)

    def can_record(self, wanted: tuple[int, ...]) -> bool:
        """Whether gradients flow to the wanted arguments; if not, the operations themselves say why.

        Raises:
            Unfit: a derivative formula is none that a kernel can be written from.
        """
        found = self._can_record.get(wanted)
        if found is None:
            found = self.program.no_derivative.isdisjoint(wanted)
            if found:
                self.program.backward([is_float(dtype) for _, dtype in self.shapes], wanted)
            self._can_record[wanted] = found
        return found

    def forward(self, arrays: list[Any], scalars: Sequence[float]) -> list[Array]:
        outputs = [self.xp.empty(shape, dtype=dtype) for shape, dtype in self.shapes]
        self.run([*arrays, *outputs], scalars)
        return outputs

    def backward(
        self, arrays: list[Any], scalars: Sequence[float], gs: Sequence[Any], wanted: tuple[int, ...]
    ) -> list[Any]:
        """The gradients of the wanted arguments; None where nothing flows."""
        arrived = tuple(g is not None for g in gs)
        found = self._backward.get((arrived, wanted))
        if found is None:
            nests, at_first = self.program.backward(arrived, wanted)
            found = self._backward[arrived, wanted] = (self._kernel(nests), at_first)
        kernel, at_first = found
        xp = self.xp
        gs = [g if g is None else _in_c_order(xp, g) for g in gs]
        made = [
            getattr(xp, how)(arrays[slot].shape, dtype=arrays[slot].dtype) if how else None
            for slot, how in zip(wanted, at_first, strict=True)
        ]
        kernel([*arrays, *gs, *made], scalars)
        return made


def _in_c_order(xp: ArrayNamespace, g: Array) -> Array:
    return aligned(xp.ascontiguousarray(g).reshape(g.shape))


def aligned(a: Array) -> Array:
    """An array, or its copy if entries lie at odd addresses, as in a mapped file, or as a field among others."""
    is_ours = type(a) is cpu.array_type  # CuPy has no such flag
    return a.copy() if is_ours and not a.flags.aligned else a
