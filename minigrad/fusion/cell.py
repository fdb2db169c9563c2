"""One time step of a recurrence, traced: products of rows by weights, and what is computed entry by entry between them.

N: batch; every row n of every array is one sequence, and no two of them meet. So the time loop runs for some rows at a
time, on any number of threads, without waiting for the others.

A *slot* is an array that a step reads or writes. How it moves with time is its *role*:

    step      one (N, M) for each time step          fixed     the same at all time steps
    scratch   one (N, M), of no interest later       sum       what all time steps and rows add up to
    arrives, leaves: the gradient of the state, which the next step finds where this one has left it
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..backend import Array, DType, cpu
from ..graph import Tensor
from ..messages import type_name
from ..ops import contraction, elementwise
from ..ops.primitive import Primitive, Shape
from ..tape import apply
from .expression import BOOL, Expr, Unfit, dummy, in_order, offset, replaced
from .gradient import Cotangents
from .nest import Nest, Store, are_tiles, whole
from .trace import Term, Traced, Tracer


@dataclass(eq=False)
class Slot:
    """An array of the time loop."""

    number: int
    role: str
    shape: Shape  # of one time step
    dtype: DType


@dataclass(eq=False)
class Product:
    """out = start + rows Wᵀ, or rows W."""

    rows: Slot
    weight: int  # which of the captured Tensors
    transposed: bool  # whether it is the transpose that the rows are multiplied by
    out: Slot
    start: Slot | None


@dataclass(eq=False)
class Backward:
    """What is done at every time step on the way back, and where the gradients are found."""

    statements: list[Nest | Product] = field(default_factory=list)
    given: list[Slot | None] = field(
        default_factory=list
    )  # for each part of the state: gradients that arrive at each step
    arrives: list[Slot] = field(default_factory=list)  # and the gradient that comes from later ones
    leaves: list[Slot] = field(default_factory=list)
    x: Slot | None = None
    products: list[tuple[int, Slot, Slot, bool]] = field(
        default_factory=list
    )  # weight, its result's gradient, rows, transposed
    sums: list[tuple[int, Slot]] = field(default_factory=list)  # captured, its gradient: over steps, or summed already
    zeros: set[Slot] = field(default_factory=set)  # what has to be zeros at first


@dataclass(eq=False)
class Item:
    """Something to be stored."""

    store: Store
    apart: bool = False  # in a nest of its own, since another store may write to the same places


@dataclass(eq=False)
class _Applied:
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
    ) -> None:
        """x: (T, N, D); parts: of the state, (N, H) each; joined: whether the function gets them as a tuple."""
        super().__init__(name)
        self.slots: list[Slot] = []
        self.tensors: list[Tensor] = []  # captured, with their slots
        self.fixed: list[Slot] = []
        self.products: list[_Applied] = []
        if x.ndim != 3:
            raise Unfit("x of another shape than (T, N, D)")
        self.rows = x.shape[1]
        self.x = self._slot("step", x.shape[1:], x.dtype)
        self.before = [self._slot("step", part.shape, part.dtype) for part in parts]
        self.after = [self._slot("step", part.shape, part.dtype) for part in parts]
        x_term, state = self._whole(self.x), [self._whole(slot) for slot in self.before]
        self.x_term, self.before_terms = x_term, state
        given: Any = tuple(self.traced(s) for s in state)
        value = function(self.traced(x_term), given if joined else given[0], *constants)
        self.results = self._results(value, joined)
        self.reach = self._reach()
        self._plan_forward()

    def _slot(self, role: str, shape: Shape, dtype: DType) -> Slot:
        slot = Slot(len(self.slots), role, shape, dtype)
        self.slots.append(slot)
        return slot

    def _whole(self, slot: Slot) -> Term:
        return self.argument(slot.number, slot.shape, slot.dtype)

    def _load(self, slot: Slot) -> Expr:
        return self.graph.load(slot.number, dummy(slot.shape, slot.dtype), whole)

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

    def _reach(self) -> list[set[int]]:
        """For each part of the state: the slots that it depends on after enough time steps, differentiably."""
        found = []
        for result in self.results:
            seen, new = {result}, [result]
            while new:
                inputs = {t for t in new.pop().inputs if type(t) is Term and t.expr.dtype != BOOL} - seen
                seen |= inputs
                new += inputs
            found.append({t.expr.slot for t in seen})
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
        self.fixed.append(self._slot("fixed", x.shape, x.dtype))
        return self._whole(self.fixed[-1])

    def other(self, primitive: Primitive[Any], terms: Sequence[Any], parameters: dict[str, Any]) -> Any:
        if primitive not in (contraction.linear, contraction.matmul):
            return super().other(primitive, terms, parameters)
        rows, weight, start = (*terms, 0.0)[:3]
        fixed = [slot.number for slot in self.fixed]
        if type(weight) is not Term or weight.expr.slot not in fixed or not _is_whole(weight) or weight.expr.ndim != 2:
            raise Unfit(f"{primitive.name} with anything but a matrix that is the same at all time steps")
        if type(rows) is not Term or rows.expr.ndim != 2 or rows.expr.shape[0] != self.rows:
            raise Unfit(f"{primitive.name} of anything but rows (N, K)")
        is_linear = primitive is contraction.linear
        columns, depth = weight.expr.shape if is_linear else weight.expr.shape[::-1]
        if rows.expr.shape[1] != depth:
            raise ValueError(f"rows of {rows.expr.shape[1]} by a weight for {depth}")
        if rows.expr.dtype != weight.expr.dtype:
            raise Unfit(f"{primitive.name} of {rows.expr.dtype} by {weight.expr.dtype}")
        slot = self._slot("step", (self.rows, columns), rows.expr.dtype)
        result = self._whole(slot)
        added = start if type(start) is Term and _is_addend(start, slot) else None
        result.inputs = [t for t in (rows, weight, added) if t is not None]
        self.products.append(_Applied(rows, fixed.index(weight.expr.slot), is_linear, result, added, slot))
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
                items.append(Item(self._store(slot, term.expr)))
            else:
                taken[made] = slot
        products = []
        for k, p in enumerate(self.products):
            if _is_whole(p.rows):
                rows = self.slots[p.rows.expr.slot]
            else:
                rows = self._slot("step", p.rows.expr.shape, p.rows.expr.dtype)
                items.append(Item(self._store(rows, p.rows.expr)))
            start = None if p.start is None else self.slots[p.start.expr.slot]
            products.append(Product(rows, p.weight, p.transposed, taken.get(k, p.slot), start))
        self.instead = {self.products[k].result.expr: self._load(slot) for k, slot in taken.items()}
        self.forward_rows = [product.rows for product in products]
        levels = {p.slot.number: k + 1 for k, p in enumerate(self.products)}
        self.forward = self._in_order(items, products, levels, self.instead)

    def _store(self, slot: Slot, value: Any, adds: bool = False) -> Store:
        return Store(slot.number, dummy(slot.shape, slot.dtype), whole, value, adds)

    def _level(self, value: Any, levels: dict[int, int]) -> int:
        """How many of the products have to be done before a value can be computed; the same is known of slots."""
        return max((levels.get(e.slot, 0) for e in in_order([value]) if e.op == "load"), default=0)

    def _in_order(
        self,
        items: Sequence[Item],
        products: Sequence[Product],
        levels: dict[int, int],
        instead: dict[Expr, Expr],
    ) -> list[Nest | Product]:
        """Stores as soon as the products they need are done; those of one shape that may run at once as one nest.

        Args:
            items: what is stored, after what it is made of.
            levels: for slots that are computed, how many of the products that takes.
            instead: where a value has been stored already.
        """
        by_level: list[list[Item]] = [[] for _ in range(len(products) + 1)]
        for item in items:
            by_level[self._level(item.store.value, levels)].append(item)
        statements: list[Nest | Product] = []
        for level, here in enumerate(by_level):
            nests: dict[Any, list[Store]] = {}
            turns: dict[int, int] = {}  # of the slots stored to here: in which turn, since a nest reads what is done
            for item in here:
                old = item.store
                read = [e.slot for e in in_order([old.value]) if e.op == "load"]
                turn = max((turns[slot] + 1 for slot in read if slot in turns), default=0)
                turns[old.slot] = max(turn, turns.get(old.slot, 0))
                store = Store(old.slot, old.place, old.view, replaced(old.value, instead), old.adds)
                shape = (self.rows, *_loops(store)[-1:])
                nests.setdefault((turn, shape, id(item) if item.apart else 0), []).append(store)
            for (_, shape, _), stores in sorted(nests.items(), key=lambda nest: nest[0][0]):
                statements.append(Nest(shape, stores))
            statements += products[level : level + 1]
        for statement in statements:
            if type(statement) is Nest:
                self._check_rows(statement)
        return statements

    def _check_rows(self, nest: Nest) -> None:
        """Raise unless each row is made of the same row of everything."""
        places = [(e.slot, e.place) for e in nest.expressions() if e.op == "load"]
        for number, place in places + [(s.slot, s.place) for s in nest.stores]:
            slot = self.slots[number]
            if slot.role in ("fixed", "sum") and slot.shape[:-1] in ((), (1,)):
                continue  # the same for all rows
            size = slot.shape[-1] * slot.dtype.itemsize
            if not (
                place.ndim == 2 == len(slot.shape)
                and place.shape[0] == slot.shape[0] == self.rows
                and (place.strides[0] == size or self.rows == 1)
                and 0 <= offset(place) < max(size, 1)
            ):
                raise Unfit("it does not compute each row, one sequence, from the same rows of its arguments")

    # Backward -------------------------------------------------------------------------------------

    def backward(self, arrived: Sequence[bool], wants_x: bool, wanted: Sequence[bool]) -> Backward:
        """The gradient of one time step.

        Args:
            arrived: for each part of the state, whether there are gradients of it at the time steps.
            wants_x, wanted: whether the gradient of x, and of each of the captured Tensors, is wanted.
        """
        back = Backward()
        fixed = {slot.number for slot, is_wanted in zip(self.fixed, wanted, strict=True) if is_wanted}
        ends = {slot.number for slot in self.before} | fixed | ({self.x.number} if wants_x else set())
        leaves = [t for t in self.terms if t.primitive is None]
        cots = Cotangents(self, [t for t in leaves if t.expr.slot in ends])
        for term, slot, came in zip(self.results, self.after, arrived, strict=True):
            arrives, given = self._slot("arrives", slot.shape, slot.dtype), None
            g: Any = self._load(arrives)
            if came:
                given = self._slot("step", slot.shape, slot.dtype)
                g = g + self._load(given)
            back.arrives.append(arrives)
            back.given.append(given)
            if term in cots.useful:
                cots.add(term, g)
        applied = {p.result: (k, p) for k, p in enumerate(self.products)}
        items: list[Item] = []
        products: list[Product] = []
        made: list[Slot] = []
        levels: dict[int, int] = {}
        whole_z: dict[Expr, Slot] = {}
        for term in reversed(list(self.terms)):
            if term not in applied:
                cots.go_through(term)
                continue
            k, p = applied[term]
            found = [(t, g) for t in leaves if t.expr.slot == p.slot.number for g in cots.received.get(t, [])]
            if not found:
                continue
            dz = self._slot("step", p.slot.shape, p.slot.dtype)
            levels[dz.number] = max(self._level(g, levels) for _, g in found)
            self._contribute(back, items, dz, found)
            whole_z[self._load(dz)] = dz
            if p.start in cots.useful:
                cots.add(p.start, self._load(dz))
            if wanted[p.weight]:
                back.products.append((p.weight, dz, self.forward_rows[k], p.transposed))
            if p.rows in cots.useful:
                made.append(self._slot("scratch", p.rows.expr.shape, p.rows.expr.dtype))
                levels[made[-1].number] = len(made)
                products.append(Product(dz, p.weight, not p.transposed, made[-1], None))
                cots.add(p.rows, self._load(made[-1]))
        by_slot: dict[int, list[tuple[Term, Any]]] = {}
        for t in leaves:
            for g in cots.received.get(t, []):
                by_slot.setdefault(t.expr.slot, []).append((t, g))
        for k, slot in enumerate(self.fixed):
            found = by_slot.get(slot.number, []) if slot.number in fixed else []
            if found and found[0][1] in whole_z and len(found) == 1 and _is_whole(found[0][0]):
                back.sums.append((k, whole_z[found[0][1]]))
            elif found:
                total = self._slot("sum", slot.shape, slot.dtype)
                back.sums.append((k, total))
                self._contribute(back, items, total, found)
        if wants_x:
            found = by_slot.get(self.x.number, [])
            if len(found) == 1 and found[0][1] in whole_z and _is_whole(found[0][0]):
                back.x = whole_z[found[0][1]]
            else:
                back.x = self._slot("step", self.x.shape, self.x.dtype)
                self._contribute(back, items, back.x, found)
        for slot in self.before:
            leaves_slot = self._slot("leaves", slot.shape, slot.dtype)
            back.leaves.append(leaves_slot)
            found = by_slot.get(slot.number, [])
            if len(found) == 1 and _is_whole(found[0][0]) and getattr(found[0][1], "shape", None) == slot.shape:
                items.append(Item(self._store(leaves_slot, found[0][1])))
            else:
                items.append(Item(self._store(leaves_slot, 0.0)))
                items += [Item(self._part_store(leaves_slot, t, g, adds=True), apart=True) for t, g in found]
        items = self._into_products(items, products, made, levels)
        known = {t.expr: self._load(s) for t, s in zip(self.results, self.after, strict=True) if t.expr.op != "load"}
        back.statements = self._in_order(items, products, levels, self.instead | known)
        return back

    def _contribute(self, back: Backward, items: list[Item], target: Slot, found: Sequence[tuple[Term, Any]]) -> None:
        """Store what parts of something receive in the parts of its gradient."""
        stores = [self._part_store(target, t, g) for t, g in found]
        tiles = are_tiles(dummy(target.shape, target.dtype), [(s.place, _loops(s)) for s in stores])
        if tiles != "all" or target.role == "sum":
            back.zeros.add(target)
        adds = tiles == "overlap" or target.role == "sum"
        apart = adds and len(stores) > 1
        items += [Item(Store(s.slot, s.place, s.view, s.value, adds), apart) for s in stores]

    def _part_store(self, target: Slot, term: Term, value: Any, adds: bool = False) -> Store:
        return Store(target.number, term.laid_out, term.view, value, adds)

    def _into_products(
        self, items: list[Item], products: list[Product], made: Sequence[Slot], levels: dict[int, int]
    ) -> list[Item]:
        """Have a product write, or add to, what would only be a copy of its result, or its sum with something else."""
        kept = []
        for item in items:
            value = item.store.value
            target = self.slots[item.store.slot]
            k = next(
                (k for k, slot in enumerate(made) if not item.store.adds and self._is_only(items, slot, value)), None
            )
            if k is None or item.store.place.shape != target.shape or not _is_in_order(item.store.place):
                kept.append(item)
                continue
            result = self._load(made[k])
            if value is not result:
                rest = next(a for a in value.args if a is not result)
                if type(rest) is not Expr or self._level(rest, levels) > k:
                    kept.append(item)
                    continue
                kept.append(Item(self._store(target, rest)))
                products[k].start = target
            products[k].out = target
        return kept

    def _is_only(self, items: Sequence[Item], slot: Slot, value: Any) -> bool:
        """Whether a product's result is this value, or one of its two summands, and nothing else reads it."""
        result = self._load(slot)
        others = [a for a in getattr(value, "args", ()) if a is not result]
        if value is not result and not (type(value) is Expr and value.op == "add" and len(others) == 1):
            return False
        read = [set(in_order([item.store.value])) for item in items]
        return sum(result in exprs for exprs in read) == 1 and not any(result in set(in_order([a])) for a in others)


def _is_whole(term: Term) -> bool:
    """Whether a term is all of an argument, as it is."""
    if term.primitive is not None or term.expr.op != "load":
        return False
    return term.inputs == () and _is_in_order(term.expr.place)


def _is_in_order(place: Array) -> bool:
    """Whether a view has the entries of its array from the first one on, as they lie there."""
    return offset(place) == 0 and place.flags.c_contiguous


def _is_addend(term: Term, slot: Slot) -> bool:
    """Whether a term is an argument that a product may begin from: (N, M) or (M,), of the product's dtype."""
    expr = term.expr
    is_argument = term.primitive is None and expr.op == "load" and term.inputs == ()
    return is_argument and expr.dtype == slot.dtype and expr.shape in (slot.shape, slot.shape[1:])


def _loops(store: Store) -> Shape:
    """The shape over which a store runs: that of its value and of its place."""
    shape: Shape = cpu.broadcast_shapes(store.place.shape, getattr(store.value, "shape", ()))
    return shape
