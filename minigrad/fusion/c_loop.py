"""A whole time loop in C: nests and products at every step, for some rows of the batch on each thread."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from ..backend import Array, cpu
from .c import TYPES, header, innermost
from .c_kernel import compiled
from .cell import Product, Slot
from .expression import Expr
from .nest import Layout, Nest, laid_out
from .runtime import WIDEST, address_of_runtime, aligned_empty

# Where a slot is at time step t.
MOVES = {
    "step": " + t * n[{0}]",
    "fixed": "",
    "scratch": "",
    "sum": " + thread * n[{0}]",
    "arrives": " + (t & 1) * n[{0}]",
    "leaves": " + (~t & 1) * n[{0}]",
}


class Loop:
    """Statements at every time step, compiled."""

    def __init__(self, slots: Sequence[Slot], statements: Sequence[Nest | Product], real: Any) -> None:
        self.parts: list[Layout | Product] = [s if type(s) is Product else laid_out(s, merge=False) for s in statements]
        self.slots = [slot for slot in slots if slot.number in _read_or_written(self.parts)]
        self.index = {slot.number: k for k, slot in enumerate(self.slots)}
        self.products = [part for part in self.parts if type(part) is Product]
        self.real = real
        self.text = self._text()
        self.function: Any = None

    def _text(self) -> str:
        lines = [
            "static void step(const void *all, int64_t first, int64_t last, int64_t thread)",
            "{",
            "    const struct call *call = all;",
            "    char *const *const p = call->p;",
            "    const int64_t *const n = call->n;",
            "    for (int64_t t = 0; t < n[0]; t++) {",
        ]
        at = 2
        for k, slot in enumerate(self.slots):
            lines.append(f"        char *const q{k} = p[{k}]{MOVES[slot.role].format(at)};")
            at += 1
        packed = len(self.slots)
        for part in self.parts:
            if type(part) is Product:
                lines += ["        " + line for line in self._product(part, at, packed)]
                at += 7
                packed += 2
            else:
                lines += ["        {", *("            " + line for line in self._nest(part, at)), "        }"]
                at += len(part.numbers)
        lines += ["    }", "}", ""]
        return "\n".join([*lines, *self._entry()])

    def _nest(self, layout: Layout, at: int) -> list[str]:
        names: dict[Expr, str] = {}
        steps: dict[str, str] = {}
        lines = ["for (int64_t i = first; i < last; i++) {"]
        first = at + 2

        def pointer(name: str, kind: str, operand: Any) -> None:
            nonlocal first
            where = f"q{self.index[operand.slot]} + n[{first}] + i * n[{first + 1}]"
            lines.append(f"    {kind} *restrict {name} = ({kind} *)({where});")
            if operand.kind == "s":
                steps[name] = f" * (n[{first + 2}] / (int64_t)sizeof *{name})"
            first += 3

        for k, (expr, operand) in enumerate(layout.loads.items()):
            names[expr] = f"a{k}"
            pointer(f"a{k}", f"const {TYPES[expr.dtype]}", operand)
        for k, (store, operand) in enumerate(zip(layout.nest.stores, layout.stores, strict=True)):
            pointer(f"y{k}", TYPES[store.dtype], operand)
        lines += ["    " + line for line in innermost(layout, names, steps, f"n[{at + 1}]")]
        return [*lines, "}"]

    def _product(self, product: Product, at: int, packed: int) -> list[str]:
        """The numbers: columns, depth, the weight's two strides, and the row strides of rows, out and start, in entries."""

        def rows_of(slot: Slot | None, stride: int) -> str:
            return "0, 0" if slot is None else f"(real *)q{self.index[slot.number]}, n[{stride}]"

        return [
            f"call->runtime->product(first, last, n[{at}], n[{at + 1}], {rows_of(product.rows, at + 4)}, 1, (real *)p[{packed + 1}],",
            f"                       {rows_of(product.out, at + 5)}, {rows_of(product.start, at + 6)});",
        ]

    def _entry(self) -> list[str]:
        at = 2 + len(self.slots)
        packed = len(self.slots)
        packs: list[str] = []
        for part in self.parts:
            if type(part) is Product:
                packs += [
                    f"    panels = (n[{at}] + runtime->width - 1) / runtime->width;",
                    "    runtime->pack(panels * first / call->threads, panels * last / call->threads,",
                    f"                  n[{at}], n[{at + 1}], (real *)p[{packed}], n[{at + 2}], n[{at + 3}], (real *)p[{packed + 1}]);",
                ]
                at += 7
                packed += 2
            else:
                at += len(part.numbers)
        lines = []
        if packs:
            lines += [
                "static void pack_all(const void *all, int64_t first, int64_t last, int64_t thread)",
                "{",
                "    const struct call *call = all;",
                "    char *const *const p = call->p;",
                "    const int64_t *const n = call->n;",
                "    const struct runtime *const runtime = call->runtime;",
                "    int64_t panels;",
                *packs,
                "    (void)thread;",
                "}",
                "",
            ]
        lines += [
            "void kernel(char *const *p, const int64_t *n, int64_t threads, const struct runtime *runtime)",
            "{",
            "    const struct call call = {p, n, threads, runtime};",
            *(["    runtime->in_parts(pack_all, &call, threads, threads);"] if packs else []),
            "    runtime->in_parts(step, &call, n[1], threads);",
            "}",
            "",
        ]
        return lines

    @property
    def source(self) -> str:
        """All that is compiled but functions.h."""
        return f"typedef {TYPES[self.real]} real;\n{header('loop.h')}\n{self.text}"

    def __call__(
        self, steps: int, rows: int, threads: int, places: dict[int, tuple[int, int, int]], weights: Sequence[Array]
    ) -> None:
        """Run all time steps.

        Args:
            places: for each slot, by its number: an address, what a step (or a thread) adds to it, and the bytes of a row.
            weights: the captured Tensors' arrays.
        """
        if self.function is None:
            self.function = compiled(self.source, loops=True)
            self.runtime = address_of_runtime(self.real)
        addresses = [places[slot.number][0] for slot in self.slots]
        numbers = [steps, rows, *(places[slot.number][1] for slot in self.slots)]
        size = self.real.itemsize
        buffers = []
        for part in self.parts:
            if type(part) is not Product:
                numbers += part.numbers
                continue
            w = weights[part.weight]
            sk, sj = (s // size for s in w.strides)
            depth, columns = w.shape
            if part.transposed:
                sj, sk, columns, depth = sk, sj, depth, columns
            buffers.append(aligned_empty((-(-columns // WIDEST) * WIDEST, depth), self.real))
            addresses += [cpu.address(w), cpu.address(buffers[-1])]
            strides = (places[s.number][2] // size if s else 0 for s in (part.rows, part.out, part.start))
            numbers += [columns, depth, sj, sk, *strides]
        self.function(
            (ctypes.c_int64 * len(addresses))(*addresses),
            (ctypes.c_int64 * len(numbers))(*numbers),
            threads,
            self.runtime,
        )


def _read_or_written(parts: Sequence[Layout | Product]) -> set[int]:
    found: set[int] = set()
    for part in parts:
        if type(part) is Product:
            found.update(s.number for s in (part.rows, part.out, part.start) if s is not None)
        else:
            found.update(o.slot for o in (*part.loads.values(), *part.stores))
    return found
