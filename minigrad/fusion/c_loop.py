"""A whole time loop in C: nests and products at every step, for some rows of the batch on each thread."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

from .. import threads
from ..backend import Array, ArrayNamespace, DType
from .c import TYPES, header, innermost, operands
from .c_kernel import compiled
from .nest import Layout, Nest, laid_out
from .runtime import address_of_runtime, aligned_empty, packed
from .steps import Place, Product, Slot

SMALL = 100_000  # multiplications, below which a thread is not worth its start

# Where a slot is at time step t, or for a thread. The numbers are in bytes.
MOVES = {
    "step": " + t * n[{}]",
    "inner": " + t * n[{}]",
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


class Loop:
    """Statements at every time step, compiled when it is first called.

    Its numbers are: time steps and rows; the moves of the slots; then those of each statement, a layout's own, or a
    product's columns and depth and the lengths of the rows it reads, writes and begins from.
    """

    def __init__(
        self, xp: ArrayNamespace, slots: Sequence[Slot], statements: Sequence[Nest | Product], real: Any
    ) -> None:
        self.xp, self.real = xp, real
        self.statements = [laid_out(s, merge=False) if isinstance(s, Nest) else s for s in statements]
        read_or_written = set().union(*map(_slots_of, self.statements))
        self.slots = [slot for slot in slots if slot.number in read_or_written]
        self.text = self._text()
        self._work = sum(slot.shape[-1] ** 2 for slot in slots if slot.role == "step" and slot.left_in is not None)
        self._function: Any = None

    def _text(self) -> str:
        pointers = {slot.number: f"q{k}" for k, slot in enumerate(self.slots)}
        lines, at, weight = [], 2, len(self.slots)
        for k, slot in enumerate(self.slots):
            lines.append(f"char *const q{k} = p[{k}]{MOVES[slot.role].format(at)};")
            at += 1
        for part in self.statements:
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

    def empty(self, shape: Sequence[int], dtype: DType) -> Array:
        return aligned_empty(shape, dtype)

    def copies(self, steps: int, rows: int) -> int:
        """How many there are of what rows add to: one for each thread."""
        if steps * rows * self._work < SMALL:
            return 1
        return max(1, min(threads.kernel_threads(), rows // 4))

    def __call__(self, steps: int, rows: int, places: Mapping[int, Place], weights: Sequence[Array]) -> None:
        """Run all time steps.

        Args:
            places: by the number of the slot.
            weights: the captured Tensors' arrays.

        Raises:
            CompileError: it could not be compiled.
        """
        count = self.copies(steps, rows)
        if self._function is None:
            self._function, self._runtime = compiled(self.source, loops=True), address_of_runtime(self.real)
        addresses = [places[slot.number].address for slot in self.slots]
        numbers = [steps, rows, *(places[slot.number].move for slot in self.slots)]
        panels = []
        for part in self.statements:
            if not isinstance(part, Product):
                numbers += part.numbers
                continue
            w = weights[part.weight].T if part.transposed else weights[part.weight]
            panels.append(packed(w, count))
            addresses.append(self.xp.address(panels[-1]))
            lengths = (
                places[s.number].row // self.real.itemsize if s else 0 for s in (part.rows, part.out, part.start)
            )
            numbers += [w.shape[1], w.shape[0], *lengths]
        self._function(
            (ctypes.c_int64 * len(addresses))(*addresses),
            (ctypes.c_int64 * len(numbers))(*numbers),
            count,
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
