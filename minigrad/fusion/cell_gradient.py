"""The gradient of one time step, derived from what the cell was seen to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .cell import Applied, Cell, is_whole
from .expression import Expr, dummy, in_order
from .gradient import Cotangents
from .nest import Nest, Store, are_tiles
from .steps import Item, Product, Slot, is_in_order, level_of, loops_of
from .trace import Term

Received = Sequence[tuple[Term, Any]]  # parts of something, and what they receive


@dataclass(eq=False)
class Weighed:
    """The gradient of a weight: Σ zᵀ rows, or Σ rowsᵀ z if it was not transposed, over all time steps."""

    weight: int  # which of the captured Tensors
    z: Slot  # what the product's result receives
    rows: Slot
    transposed: bool


@dataclass(eq=False)
class Gradient:
    """What is done at every time step on the way back, and where the gradients are then found.

    `given` and the like have an entry for each part of the state.
    """

    given: list[Slot | None] = field(default_factory=list)  # gradients that come to the time step from outside
    arrives: list[Slot] = field(default_factory=list)  # the gradient that comes from the later time steps
    leaves: list[Slot] = field(default_factory=list)  # and goes to the earlier ones
    x: Slot | None = None
    weights: list[Weighed] = field(default_factory=list)
    sums: list[tuple[int, Slot]] = field(default_factory=list)  # of a captured Tensor: for each step, or summed already
    zeros: set[Slot] = field(default_factory=set)  # what has to be zeros at first
    statements: list[Nest | Product] = field(default_factory=list)


class Backward:
    """One way back through a cell."""

    def __init__(self, cell: Cell, arrived: Sequence[bool], wants_x: bool, wanted: Sequence[bool]) -> None:
        """arrived: for which parts of the state there are gradients at the time steps; wants_x, wanted: whether the
        gradient of x is wanted, and of each of the captured Tensors."""
        self.cell, self.slots, self.wanted = cell, cell.slots, wanted
        self.found = Gradient()
        self.items: list[Item] = []
        self.products: list[Product] = []
        self.made: list[Slot] = []  # what each product gives, as it is called in values
        self.levels: dict[int, int] = {}
        self.received_whole: dict[Expr, Slot] = {}  # what products' results receive, by its expression
        fixed = {slot.number for slot, is_wanted in zip(cell.fixed, wanted, strict=True) if is_wanted}
        ends = {slot.number for slot in cell.before} | fixed | ({cell.x.number} if wants_x else set())
        self.leaves = [t for t in cell.terms if t.primitive is None]
        self.cotangents = Cotangents(cell, [t for t in self.leaves if t.expr.slot in ends])

        self._begin(arrived)
        applied = {p.result: k for k, p in enumerate(cell.products)}
        for term in reversed(list(cell.terms)):
            if term in applied:
                self._through_product(applied[term], cell.products[applied[term]])
            else:
                self.cotangents.go_through(term)
        for k, slot in enumerate(cell.fixed):
            if slot.number in fixed and self._received(slot):
                self.found.sums.append((k, self._gradient_of(slot, "sum")))
        if wants_x:
            self.found.x = self._gradient_of(cell.x, "step")
        self._leave()
        self._write_into_products()
        known = {
            t.expr: self.slots.load(s) for t, s in zip(cell.results, cell.after, strict=True) if t.expr.op != "load"
        }
        self.found.statements = self.slots.in_order(self.items, self.products, self.levels, cell.instead | known)

    def _begin(self, arrived: Sequence[bool]) -> None:
        """What the new state receives: from later time steps, and from outside."""
        for term, slot, came in zip(self.cell.results, self.cell.after, arrived, strict=True):
            arrives, given = self.slots.like(slot, "arrives"), self.slots.like(slot, "step") if came else None
            g: Any = self.slots.load(arrives)
            if given is not None:
                g = g + self.slots.load(given)
            self.found.arrives.append(arrives)
            self.found.given.append(given)
            if term in self.cotangents.useful:
                self.cotangents.add(term, g)

    def _through_product(self, k: int, p: Applied) -> None:
        """From what a product's result receives, to its rows, its start and its weight."""
        found = self._received(p.slot)
        if not found:
            return
        z = self.slots.like(p.slot, "step")
        self.levels[z.number] = max(level_of(g, self.levels) for _, g in found)
        self._store(z, found)
        g = self.slots.load(z)
        self.received_whole[g] = z
        if p.start in self.cotangents.useful:
            self.cotangents.add(p.start, g)
        if self.wanted[p.weight]:
            self.found.weights.append(Weighed(p.weight, z, self.cell.forward_rows[k], p.transposed))
        if p.rows in self.cotangents.useful:
            out = self.slots.new("scratch", p.rows.expr.shape, p.rows.expr.dtype)
            self.made.append(out)
            self.levels[out.number] = len(self.made)
            self.products.append(Product(z, p.weight, not p.transposed, out, None))
            self.cotangents.add(p.rows, self.slots.load(out))

    def _received(self, slot: Slot) -> Received:
        """What the parts of a slot have received."""
        received = self.cotangents.received
        return [(t, g) for t in self.leaves if t.expr.slot == slot.number for g in received.get(t, [])]

    def _gradient_of(self, slot: Slot, role: str) -> Slot:
        """A slot for the gradient of another: what a product's result receives, if it is just that."""
        found = self._received(slot)
        if len(found) == 1 and found[0][1] in self.received_whole and is_whole(found[0][0]):
            return self.received_whole[found[0][1]]
        target = self.slots.like(slot, role)
        self._store(target, found)
        return target

    def _store(self, target: Slot, found: Received) -> None:
        """Store what parts of something receive in the parts of its gradient."""
        stores = [_part_store(target, t, g) for t, g in found]
        tiles = are_tiles(dummy(target.shape, target.dtype), [(s.place, loops_of(s)) for s in stores])
        adds = tiles == "overlap" or target.role == "sum"
        if tiles != "all" or adds:
            self.found.zeros.add(target)
        apart = adds and len(stores) > 1
        self.items += [Item(Store(s.slot, s.place, s.view, s.value, adds), apart) for s in stores]

    def _leave(self) -> None:
        """What the old state receives."""
        for slot, arrives in zip(self.cell.before, self.found.arrives, strict=True):
            leaves, found = self.slots.like(slot, "leaves"), self._received(slot)
            arrives.left_in = leaves
            self.found.leaves.append(leaves)
            if len(found) == 1 and is_whole(found[0][0]) and getattr(found[0][1], "shape", None) == slot.shape:
                self.items.append(Item(self.slots.store(leaves, found[0][1])))
            else:
                self.items.append(Item(self.slots.store(leaves, 0.0)))
                self.items += [Item(_part_store(leaves, t, g, adds=True), apart=True) for t, g in found]

    # Products that need no store after them -------------------------------------------------------

    def _write_into_products(self) -> None:
        """Have a product write what would only be a copy of its result, or add to what its result is added to."""
        kept = []
        for item in self.items:
            value, target = item.store.value, self.slots.all[item.store.slot]
            k = next((k for k in range(len(self.made)) if self._is_for_product(item, k)), None)
            if k is None:
                kept.append(item)
                continue
            result = self.slots.load(self.made[k])
            if value is not result:
                rest = next(a for a in value.args if a is not result)
                kept.append(Item(self.slots.store(target, rest)))
                self.products[k].start = target
            self.products[k].out = target
        self.items = kept

    def _is_for_product(self, item: Item, k: int) -> bool:
        """Whether a product can store it: its result, or that and something known before; and nothing else reads it."""
        value, place, result = item.store.value, item.store.place, self.slots.load(self.made[k])
        if item.store.adds or place.shape != self.slots.all[item.store.slot].shape or not is_in_order(place):
            return False
        others = [a for a in getattr(value, "args", ()) if a is not result]
        if value is not result:
            if type(value) is not Expr or value.op != "add" or len(others) != 1 or type(others[0]) is not Expr:
                return False
            if level_of(others[0], self.levels) > k or result in set(in_order(others)):
                return False
        return sum(result in set(in_order([item.store.value])) for item in self.items) == 1


def _part_store(target: Slot, term: Term, value: Any, adds: bool = False) -> Store:
    return Store(target.number, term.laid_out, term.view, value, adds)
