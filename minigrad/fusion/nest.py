"""Nests: loops over the entries of arrays, each computing expressions and storing them.

A nest says what is computed; its layout says where the operands lie. The sizes and strides are numbers that a kernel is
called with, and only what a compiler has to know is part of its text: how many loops there are, and whether the entries
of an operand lie side by side along the innermost (`c`), are all the same one (`0`), or lie anyhow (`s`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..backend import Array, DType, cpu
from ..ops.primitive import Shape
from .expression import Expr, in_order, offset


@dataclass(frozen=True, eq=False)
class Store:
    """value -> an entry of an argument, added to what is there if `adds`."""

    slot: int
    place: Array  # a view of the argument's dummy, that broadcasts to the shape of the nest
    view: Any  # the same for an array library and the argument
    value: Any  # an expression or a number
    adds: bool = False

    @property
    def dtype(self) -> DType:
        return self.place.dtype


@dataclass(frozen=True, eq=False)
class Nest:
    """Loops over all indices of a shape."""

    shape: Shape
    stores: Sequence[Store]

    def expressions(self) -> list[Expr]:
        """What has to be computed, each after what it is made of."""
        return in_order([s.value for s in self.stores])


def whole(xp: Any, x: Array) -> Array:
    """The view of an argument that is all of it."""
    return x


def are_tiles(target: Array, parts: Sequence[tuple[Array, Shape]]) -> str:
    """How often loops over shapes that store to these parts of a target write to each of its entries.

    "all": exactly once; "some": at most once; "overlap": maybe several times.
    """
    for n, (part, shape) in enumerate(parts):
        if part.shape != shape or any(s == 0 and size > 1 for s, size in zip(part.strides, part.shape, strict=True)):
            return "overlap"
        for other, _ in parts[:n]:
            try:
                if cpu.shares_memory(part, other, max_work=10_000):
                    return "overlap"
            except RuntimeError:  # NumPy has given up on finding out
                return "overlap"
    return "all" if sum(part.size for part, _ in parts) == target.size else "some"


@dataclass(frozen=True)
class Operand:
    """How a load or a store lies along the loops."""

    slot: int
    offset: int  # bytes from the argument's first entry
    strides: tuple[int, ...]  # bytes, one per loop
    kind: str  # along the innermost: c, 0 or s


@dataclass(frozen=True, eq=False)
class Layout:
    """The loops of a nest, as few as its operands allow."""

    nest: Nest
    sizes: tuple[int, ...]
    loads: dict[Expr, Operand]
    stores: list[Operand]

    @property
    def numbers(self) -> list[int]:
        """What the kernel is told of it."""
        found = list(self.sizes)
        for operand in (*self.loads.values(), *self.stores):
            found += [operand.offset, *operand.strides]
        return found


def laid_out(nest: Nest, merge: bool = True) -> Layout:
    """Where the operands of a nest lie; neighbouring loops that are one to all of them become one."""
    loads = [e for e in nest.expressions() if e.op == "load"]
    places = [cpu.broadcast_to(p, nest.shape) for p in (*(e.place for e in loads), *(s.place for s in nest.stores))]
    slots = [*(e.slot for e in loads), *(s.slot for s in nest.stores)]
    sizes: list[int] = []
    strides: list[list[int]] = [[] for _ in places]
    for axis, size in enumerate(nest.shape):
        if merge and size == 1:
            continue
        steps = [p.strides[axis] for p in places]
        if merge and sizes and all(s[-1] == step * size for s, step in zip(strides, steps, strict=True)):
            sizes[-1] *= size
            for s, step in zip(strides, steps, strict=True):
                s[-1] = step
        else:
            sizes.append(size)
            for s, step in zip(strides, steps, strict=True):
                s.append(step)
    if not sizes:
        sizes = [1]
        strides = [[p.itemsize] for p in places]
    operands = [
        Operand(slot, offset(p), tuple(s), "c" if s[-1] == p.itemsize else "0" if s[-1] == 0 else "s")
        for slot, p, s in zip(slots, places, strides, strict=True)
    ]
    return Layout(nest, tuple(sizes), dict(zip(loads, operands, strict=False)), operands[len(loads) :])
