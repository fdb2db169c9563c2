"""One run of a time loop: where its arrays lie, and what it leaves for the way back.

T: time steps   N: batch
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..backend import Array, ArrayNamespace
from . import c_loop, cuda_loop
from .cell import Cell
from .cell_gradient import Backward, Gradient
from .expression import FLOATS, Unfit
from .steps import Place, Slot

WRITERS: dict[str, Any] = {"c": c_loop, "cuda": cuda_loop}


class Plan:
    """A traced cell with its loops, for one device."""

    def __init__(self, cell: Cell, xp: ArrayNamespace, writer: str) -> None:
        self.cell, self.xp, self._loop = cell, xp, WRITERS[writer].Loop
        self.real = cell.x.dtype
        if any(slot.dtype != self.real and slot.dtype in FLOATS for slot in cell.slots.all) or self.real not in FLOATS:
            raise Unfit("arrays of several dtypes, where x, the state and the weights have to be of one")
        self.forward_loop = self._loop(xp, cell.slots.all, cell.forward, self.real)
        self._backward: dict[Any, tuple[Gradient, Any]] = {}

    def backward_of(self, arrived: tuple[bool, ...], wants_x: bool, wanted: tuple[bool, ...]) -> tuple[Gradient, Any]:
        key = arrived, wants_x, wanted
        if key not in self._backward:
            back = Backward(self.cell, *key).found
            self._backward[key] = back, self._loop(self.xp, self.cell.slots.all, back.statements, self.real)
        return self._backward[key]


class Run:
    """One sequence: what the loop forward leaves for the loop backward."""

    def __init__(
        self, plan: Plan, x: Array, parts: Sequence[Array], captured: Sequence[Array], reverse: bool, wanted: Any
    ) -> None:
        """wanted: whether the gradient of x is, and of each of the captured; None if no gradient is."""
        self.plan, self.reverse, self.wanted = plan, reverse, wanted
        self.steps, self.rows = x.shape[:2]
        cell, xp = plan.cell, plan.xp
        xp.make_current()
        last, first = (0, self.steps) if reverse else (self.steps, 0)
        self.arrays: dict[Slot, Array] = {cell.x: xp.ascontiguousarray(x)}
        self.states = []
        for part, before, after in zip(parts, cell.before, cell.after, strict=True):
            buffer = plan.forward_loop.empty((self.steps + 1, *part.shape), part.dtype)
            buffer[first] = part
            self.states.append(buffer)
            self.arrays[before], self.arrays[after] = (
                (buffer[1:], buffer[:-1]) if reverse else (buffer[:-1], buffer[1:])
            )
        self.last = last
        self.weights = captured
        for slot, array in zip(cell.fixed, captured, strict=True):
            self.arrays[slot] = xp.ascontiguousarray(array)
        kept, loop = self._kept(), plan.forward_loop
        for slot in loop.slots:
            if slot not in self.arrays:
                self.arrays[slot] = loop.empty((self.steps if slot in kept else 1, *slot.shape), slot.dtype)
        places = {slot.number: self._place(slot, self.arrays[slot], reverse) for slot in loop.slots}
        loop(self.steps, self.rows, places, captured)
        self.arrays = {slot: a for slot, a in self.arrays.items() if slot in kept}

    def _kept(self) -> set[Slot]:
        """The slots that going backward reads, whatever gradients come.

        Raises:
            Unfit: there is no such loop.
        """
        if self.wanted is None:
            return set()
        cell = self.plan.cell
        back, loop = self.plan.backward_of((True,) * len(cell.before), *self.wanted)
        return {*loop.slots, *(weighed.rows for weighed in back.weights)}

    def _place(self, slot: Slot, array: Array, backwards: bool) -> Place:
        """Where a slot begins, if the time steps are gone through in this order."""
        address, row = self.plan.xp.address(array), math.prod(slot.shape[1:]) * slot.dtype.itemsize
        if slot.role == "fixed":  # (N, M), or the same for all rows
            return Place(address, 0, row if len(slot.shape) == 2 and slot.shape[0] > 1 else 0)
        move = array.nbytes // len(array)
        if len(array) == 1:
            return Place(address, 0, row)
        if slot.role not in ("step", "inner"):
            return Place(address, move, row)
        return Place(address + (len(array) - 1) * move, -move, row) if backwards else Place(address, move, row)

    @property
    def outputs(self) -> list[Array]:
        """For each part of the state: all of it, (T, N, H), and the last."""
        stacks = [b[:-1] if self.reverse else b[1:] for b in self.states]
        return [*stacks, *(buffer[self.last].copy() for buffer in self.states)]

    def backward(self, xp: Any, gs: Sequence[Any]) -> list[Any]:
        """The gradients of x, of each part of the first state, and of each captured Tensor."""
        cell, count = self.plan.cell, len(self.states)
        stacks, lasts = gs[:count], gs[count:]
        back, loop = self.plan.backward_of(tuple(g is not None for g in stacks), *self.wanted)
        arrays = dict(self.arrays)
        for given, g in zip(back.given, stacks, strict=True):
            if given is not None:
                arrays[given] = self.plan.xp.ascontiguousarray(g)
        carries = []
        for arrives, leaves, g in zip(back.arrives, back.leaves, lasts, strict=True):
            carry = loop.empty((2, *arrives.shape), arrives.dtype)
            carry[0] = 0 if g is None else g
            arrays[arrives] = arrays[leaves] = carry
            carries.append(carry)
        copies = loop.copies(self.steps, self.rows)
        for slot in {*loop.slots, *([back.x] if back.x else [])}:
            if slot not in arrays:
                length = self.steps if slot.role == "step" else copies if slot.is_added_up else 1
                arrays[slot] = array = loop.empty((length, *slot.shape), slot.dtype)
                if slot in back.zeros:
                    array.fill(0)
        places = {slot.number: self._place(slot, arrays[slot], not self.reverse) for slot in loop.slots}
        loop(self.steps, self.rows, places, self.weights)
        captured: list[Any] = [None] * len(cell.fixed)

        def give(k: int, g: Any) -> None:
            captured[k] = g if captured[k] is None else captured[k] + g

        for weighed in back.weights:
            pair = arrays[weighed.z], arrays[weighed.rows]
            give(weighed.weight, xp.outer_sum(*(pair if weighed.transposed else pair[::-1])))
        for k, slot in back.sums:
            give(k, xp.sum_to(arrays[slot], shape=slot.shape if slot.role == "sum" else cell.fixed[k].shape))
        x = arrays[back.x] if back.x else None
        came = [part is not None or last is not None for part, last in zip(stacks, lasts, strict=True)]
        reached = set().union(*(slots for slots, has_come in zip(cell.reach, came, strict=True) if has_come))
        found = [x, *(carry[self.steps & 1] for carry in carries), *captured]
        slots = [cell.x, *cell.before, *cell.fixed]
        return [g if slot.number in reached else None for g, slot in zip(found, slots, strict=True)]
