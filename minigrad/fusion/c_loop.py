"""A whole time loop in C: nests and products at every step, for some rows of the batch on each thread."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..backend import Array, cpu
from .c import TYPES, header, innermost, operands
from .c_kernel import compiled
from .nest import Layout, Nest, laid_out
from .runtime import address_of_runtime, packed
from .steps import Product, Slot

# Where a slot is at time step t, or for a thread. The numbers are in bytes.
MOVES = {
    "step": " + t * n[{}]",
    "fixed": "",
    "scratch": "",
    "sum": " + thread * n[{}]",
    "arrives": " + (t & 1) * n[{}]",
    "leaves": " + (~t & 1) * n[{}]",
}

TEXT = """
static void rows_of_all_steps(const void *all, int64_t first, int64_t last, int64_t thread)
{{
    const struct call *const call = all;
    char *const *const p = call->p;
    const int64_t *const n = call->n;
    for (int64_t t = 0; t < n[0]; t++) {{
{body}
    }}
    (void)thread;
}}

void kernel(char *const *p, const int64_t *n, int64_t threads, const struct runtime *runtime)
{{
    const struct call call = {{p, n, runtime}};
    runtime->in_parts(rows_of_all_steps, &call, n[1], threads);
}}
"""


class Place(NamedTuple):
    """Where a slot lies in a call."""

    address: int  # at the first time step
    move: int  # bytes from one step (or thread) to the next
    row: int  # bytes from one row to the next


class Loop:
    """Statements at every time step, compiled when it is first called.

    Its numbers are: time steps and rows; the moves of the slots; then those of each statement, a layout's own, or a
    product's columns and depth and the lengths of the rows it reads, writes and begins from.
    """

    def __init__(self, slots: Sequence[Slot], statements: Sequence[Nest | Product], real: Any) -> None:
        self.real = real
        self.parts = [laid_out(s, merge=False) if isinstance(s, Nest) else s for s in statements]
        read_or_written = set().union(*map(_slots_of, self.parts))
        self.slots = [slot for slot in slots if slot.number in read_or_written]
        self.text = self._text()
        self._function: Any = None

    def _text(self) -> str:
        pointers = {slot.number: f"q{k}" for k, slot in enumerate(self.slots)}
        lines, at, weight = [], 2, len(self.slots)
        for k, slot in enumerate(self.slots):
            lines.append(f"char *const q{k} = p[{k}]{MOVES[slot.role].format(at)};")
            at += 1
        for part in self.parts:
            if isinstance(part, Product):
                lines += _product(part, pointers, at, weight)
                weight += 1
                at += 5
            else:
                lines += ["{", *("    " + line for line in _nest(part, pointers, at)), "}"]
                at += len(part.numbers)
        return TEXT.format(body="\n".join("        " + line for line in lines))

    @property
    def source(self) -> str:
        """All that is compiled, but for functions.h."""
        return f"typedef {TYPES[self.real]} real;\n{header('loop.h')}{self.text}"

    def __call__(
        self, steps: int, rows: int, threads: int, places: Mapping[int, Place], weights: Sequence[Array]
    ) -> None:
        """Run all time steps.

        Args:
            places: by the number of the slot.
            weights: the captured Tensors' arrays.

        Raises:
            CompileError: it could not be compiled.
        """
        if self._function is None:
            self._function, self._runtime = compiled(self.source, loops=True), address_of_runtime(self.real)
        addresses = [places[slot.number].address for slot in self.slots]
        numbers = [steps, rows, *(places[slot.number].move for slot in self.slots)]
        panels = []
        for part in self.parts:
            if not isinstance(part, Product):
                numbers += part.numbers
                continue
            w = weights[part.weight].T if part.transposed else weights[part.weight]
            panels.append(packed(w, threads))
            addresses.append(cpu.address(panels[-1]))
            lengths = (
                places[s.number].row // self.real.itemsize if s else 0 for s in (part.rows, part.out, part.start)
            )
            numbers += [w.shape[1], w.shape[0], *lengths]
        self._function(
            (ctypes.c_int64 * len(addresses))(*addresses),
            (ctypes.c_int64 * len(numbers))(*numbers),
            threads,
            self._runtime,
        )


def _slots_of(part: Layout | Product) -> set[int]:
    if isinstance(part, Product):
        return {slot.number for slot in (part.rows, part.out, part.start) if slot is not None}
    return {operand.slot for operand in (*part.loads.values(), *part.stores)}


def _product(product: Product, pointers: Mapping[int, str], at: int, weight: int) -> list[str]:
    def matrix(slot: Slot | None, length: int) -> str:
        return "0, 0" if slot is None else f"(real *){pointers[slot.number]}, n[{length}]"

    return [
        f"call->runtime->product(first, last, n[{at}], n[{at + 1}],",
        f"                       {matrix(product.rows, at + 2)}, 1, (real *)p[{weight}],",
        f"                       {matrix(product.out, at + 3)}, {matrix(product.start, at + 4)});",
    ]


def _nest(layout: Layout, pointers: Mapping[int, str], at: int) -> list[str]:
    lines = ["for (int64_t i = first; i < last; i++) {"]
    for name, kind, operand, first in operands(layout, at):
        where = f"{pointers[operand.slot]} + n[{first}] + i * n[{first + 1}]"
        lines.append(f"    {kind} *restrict {name} = ({kind} *)({where});")
    return [*lines, *("    " + line for line in innermost(layout, at, f"n[{at + 1}]")), "}"]
