"""What is done at one time step of a recurrence: products of rows by weights, and nests of loops between them.

N: batch; every row n of every array is one sequence, and no two of them meet. So the time loop runs for some rows at a
time, on any number of threads, without waiting for the others.

A *slot* is an array that a step reads or writes. How it moves with time is its *role*:

    step      one (N, M) for each time step          fixed     the same at all time steps
    inner     the same, if the way back reads it     scratch   one (N, M), of no interest later
    sum       what all time steps and rows add up to
    arrives, leaves: the gradient of the state, which the next step finds where this one has left it
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..backend import Array, DType, cpu
from ..ops.primitive import Shape
from .expression import Expr, Graph, Unfit, dummy, in_order, offset, replaced
from .nest import Nest, Store, whole


@dataclass(eq=False)
class Slot:
    """An array of the time loop."""

    number: int
    role: str
    shape: Shape  # of one time step
    dtype: DType
    left_in: Slot | None = None  # where the step before has left what this one finds here

    @property
    def is_same_for_all_rows(self) -> bool:
        return self.role in ("fixed", "sum") and self.shape[:-1] in ((), (1,))

    @property
    def is_added_up(self) -> bool:
        """Whether several rows add to the same entry."""
        return self.role == "sum" and self.is_same_for_all_rows


class Place(NamedTuple):
    """Where a slot lies in a call."""

    address: int  # at the first time step
    move: int  # bytes from one step (or thread) to the next
    row: int  # bytes from one row to the next


@dataclass(eq=False)
class Product:
    """out = start + rows Wᵀ, or rows W."""

    rows: Slot
    weight: int  # which of the captured Tensors
    transposed: bool  # whether it is the transpose that the rows are multiplied by
    out: Slot
    start: Slot | None


@dataclass(eq=False)
class Item:
    """Something to be stored."""

    store: Store
    apart: bool = False  # in a nest of its own, since another store may write to the same places


class Slots:
    """The slots of one cell, and how to order what is stored in them."""

    def __init__(self, graph: Graph, rows: int) -> None:
        self.graph, self.rows = graph, rows  # rows: N
        self.all: list[Slot] = []

    def new(self, role: str, shape: Shape, dtype: DType) -> Slot:
        slot = Slot(len(self.all), role, shape, dtype)
        self.all.append(slot)
        return slot

    def like(self, slot: Slot, role: str) -> Slot:
        return self.new(role, slot.shape, slot.dtype)

    def load(self, slot: Slot) -> Expr:
        """An entry of a slot."""
        return self.graph.load(slot.number, dummy(slot.shape, slot.dtype), whole)

    def store(self, slot: Slot, value: Any) -> Store:
        """A value into each entry of a slot."""
        return Store(slot.number, dummy(slot.shape, slot.dtype), whole, value)

    def in_order(
        self,
        items: Sequence[Item],
        products: Sequence[Product],
        levels: Mapping[int, int],
        instead: Mapping[Expr, Expr],
    ) -> list[Nest | Product]:
        """Stores as soon as the products they need are done; those of one shape that may run at once as one nest.

        Args:
            items: what is stored, after what it is made of.
            levels: for slots that are computed, how many of the products that takes.
            instead: where a value has been stored already.
        """
        by_level: list[list[Item]] = [[] for _ in range(len(products) + 1)]
        for item in items:
            by_level[level_of(item.store.value, levels)].append(item)
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
                shape = (self.rows, *loops_of(store)[-1:])
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
            slot = self.all[number]
            if slot.is_same_for_all_rows:
                continue
            size = slot.shape[-1] * slot.dtype.itemsize
            if not (
                place.ndim == 2 == len(slot.shape)
                and place.shape[0] == slot.shape[0] == self.rows
                and (place.strides[0] == size or self.rows == 1)
                and 0 <= offset(place) < max(size, 1)
            ):
                raise Unfit("it does not compute each row, one sequence, from the same rows of its arguments")


def level_of(value: Any, levels: Mapping[int, int]) -> int:
    """How many of the products have to be done before a value can be computed; the same is known of slots."""
    return max((levels.get(e.slot, 0) for e in in_order([value]) if e.op == "load"), default=0)


def loops_of(store: Store) -> Shape:
    """The shape over which a store runs: that of its value and of its place."""
    shape: Shape = cpu.broadcast_shapes(store.place.shape, getattr(store.value, "shape", ()))
    return shape


def is_in_order(place: Array) -> bool:
    """Whether a view has the entries of its array from the first one on, as they lie there."""
    return offset(place) == 0 and place.flags.c_contiguous
