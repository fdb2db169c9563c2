"""One time step of a recurrence, traced: a cell of products of rows by weights, and of elementwise primitives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..backend import Array
from ..graph import Tensor
from ..messages import type_name
from ..ops import contraction, elementwise
from ..ops.primitive import Primitive
from ..tape import apply
from .expression import Unfit
from .gradient import flowing_from
from .steps import Item, Product, Slot, Slots, is_in_order
from .trace import Term, Traced, Tracer


@dataclass(eq=False)
class Applied:
    """A product in the cell."""

    rows: Term
    weight: int
    transposed: bool
    result: Term  # what it gives
    start: Term | None  # what is added to it, if that is an argument as it is
    slot: Slot


class Cell(Tracer):
    """A function (x, state, *constants) -> state, traced for one time step."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        x: Array,
        parts: Sequence[Array],
        joined: bool,
        constants: Sequence[Any],
        device: str = "cpu",
    ) -> None:
        """x: (T, N, D); parts: of the state, (N, H) each; joined: whether the function gets them as a tuple."""
        super().__init__(name, device)
        self.slots = Slots(self.graph, x.shape[1])
        self.tensors: list[Tensor] = []  # captured, with their slots
        self.fixed: list[Slot] = []
        self.products: list[Applied] = []
        if x.ndim != 3:
            raise Unfit("x of another shape than (T, N, D)")
        self.x = self.slots.new("step", x.shape[1:], x.dtype)
        self.before = [self.slots.new("step", part.shape, part.dtype) for part in parts]
        self.after = [self.slots.new("step", part.shape, part.dtype) for part in parts]
        for found, left in zip(self.before, self.after, strict=True):
            found.left_in = left
        traced_x = self.traced(self._whole(self.x))
        state: Any = tuple(self.traced(self._whole(slot)) for slot in self.before)
        value = function(traced_x, state if joined else state[0], *constants)
        self.results = self._results(value, joined)
        self.reach = self._reach()
        self._plan_forward()

    def _whole(self, slot: Slot) -> Term:
        return self.argument(slot.number, slot.shape, slot.dtype)

    def _results(self, value: Any, joined: bool) -> list[Term]:
        values = list(value) if isinstance(value, (tuple, list)) else [value]
        shapes = [slot.shape for slot in self.before]
        if isinstance(value, (tuple, list)) != joined or len(values) != len(shapes):
            raise Unfit(f"it gives {type_name(value)} as the state, and got {'a tuple' if joined else 'a Tensor'}")
        for y, slot in zip(values, self.before, strict=True):
            if type(y) is not Traced or y.tracer is not self:
                raise Unfit(f"it gives {type_name(y)} as a part of the state, where something it computed was expected")
            if (y.shape, y.dtype) != (slot.shape, slot.dtype):
                raise Unfit(f"it gives a state {y.shape} {y.dtype}, and got one {slot.shape} {slot.dtype}")
        return [y.term for y in values]

    def _reach(self) -> list[frozenset[int]]:
        """For each part of the state: the slots that it depends on after enough time steps, differentiably."""
        flows = flowing_from(self)
        found = [flows[result] for result in self.results]
        for _ in found:
            found = [
                s.union(*(other for other, before in zip(found, self.before, strict=True) if before.number in s))
                for s in found
            ]
        return found

    # While it is traced ---------------------------------------------------------------------------

    def captured(self, x: Tensor) -> Term:
        for known, slot in zip(self.tensors, self.fixed, strict=True):
            if known is x:
                return self._whole(slot)
        self.tensors.append(x)
        self.fixed.append(self.slots.new("fixed", x.shape, x.dtype))
        return self._whole(self.fixed[-1])

    def other(self, primitive: Primitive[Any], terms: Sequence[Any], parameters: dict[str, Any]) -> Any:
        if primitive not in (contraction.linear, contraction.matmul):
            return super().other(primitive, terms, parameters)
        rows, weight, start = (*terms, 0.0)[:3]
        fixed = [slot.number for slot in self.fixed]
        if type(weight) is not Term or weight.expr.slot not in fixed or not is_whole(weight) or weight.expr.ndim != 2:
            raise Unfit(f"{primitive.name} with anything but a matrix that is the same at all time steps")
        if type(rows) is not Term or rows.expr.ndim != 2 or rows.expr.shape[0] != self.slots.rows:
            raise Unfit(f"{primitive.name} of anything but rows (N, K)")
        is_linear = primitive is contraction.linear
        columns, depth = weight.expr.shape if is_linear else weight.expr.shape[::-1]
        if rows.expr.shape[1] != depth:
            raise ValueError(f"rows of {rows.expr.shape[1]} by a weight for {depth}")
        if rows.expr.dtype != weight.expr.dtype:
            raise Unfit(f"{primitive.name} of {rows.expr.dtype} by {weight.expr.dtype}")
        slot = self.slots.new("inner", (self.slots.rows, columns), rows.expr.dtype)
        result = self._whole(slot)
        added = start if type(start) is Term and _is_addend(start, slot) else None
        result.inputs = [t for t in (rows, weight, added) if t is not None]
        self.products.append(Applied(rows, fixed.index(weight.expr.slot), is_linear, result, added, slot))
        if added is None and not (type(start) in (int, float) and start == 0):
            result = self.elementwise(elementwise.add, [result, start], {})
        return self.traced(result)

    def _value_again(self, term: Term, inputs: list[Any], values: dict[int, Tensor]) -> Any:
        made = next((p for p in self.products if p.result is term), None)
        if made is None:
            return super()._value_again(term, inputs, values)
        primitive = contraction.linear if made.transposed else contraction.matmul
        values[made.slot.number] = found = apply(primitive, [*inputs, 0.0][: len(primitive.inputs)], {})
        return found

    # Forward --------------------------------------------------------------------------------------

    def _plan_forward(self) -> None:
        items: list[Item] = []
        taken: dict[int, Slot] = {}  # products that write a part of the state themselves
        for term, slot in zip(self.results, self.after, strict=True):
            made = next((k for k, p in enumerate(self.products) if term.expr is p.result.expr and k not in taken), None)
            if made is None:
                items.append(Item(self.slots.store(slot, term.expr)))
            else:
                taken[made] = slot
        products = []
        for k, p in enumerate(self.products):
            if is_whole(p.rows):
                rows = self.slots.all[p.rows.expr.slot]
            else:
                rows = self.slots.new("inner", p.rows.expr.shape, p.rows.expr.dtype)
                items.append(Item(self.slots.store(rows, p.rows.expr)))
            start = None if p.start is None else self.slots.all[p.start.expr.slot]
            products.append(Product(rows, p.weight, p.transposed, taken.get(k, p.slot), start))
        self.instead = {self.products[k].result.expr: self.slots.load(slot) for k, slot in taken.items()}
        self.forward_rows = [product.rows for product in products]
        levels = {p.slot.number: k + 1 for k, p in enumerate(self.products)}
        self.forward = self.slots.in_order(items, products, levels, self.instead)


def is_whole(term: Term) -> bool:
    """Whether a term is all of an argument, as it is."""
    if term.primitive is not None or term.expr.op != "load":
        return False
    return term.inputs == () and is_in_order(term.expr.place)


def _is_addend(term: Term, slot: Slot) -> bool:
    """Whether a term is an argument that a product may begin from: (N, M) or (M,), of the product's dtype."""
    expr = term.expr
    is_argument = term.primitive is None and expr.op == "load" and term.inputs == ()
    return is_argument and expr.dtype == slot.dtype and expr.shape in (slot.shape, slot.shape[1:])
