"""A whole time loop in CUDA: one kernel, whose blocks stay on the device for all time steps.

The rows of the batch are shared out among `across` rows of blocks, which never meet. The columns of every array are
shared out among the `parts` blocks of such a row, each with the same share of every *period*: the width of the state,
which the width of the gates is a multiple of. So what a block computes for its columns of the gates is what its columns
of the state need; the others' columns it needs in products alone, and before those the blocks meet.

N: batch
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..backend import Array, ArrayNamespace, DType
from .c import VALUES, Text, header
from .cuda import MOST_NUMBERS, TYPES
from .cuda_grid import Multiplied, Work, grid_for
from .cuda_kernel import by_value, load
from .expression import Unfit
from .nest import Layout, Nest, laid_out
from .steps import Place, Product, Slot

THREADS = 256  # of a block, as in c/loop.cuh

# Where a slot is at time step t. The numbers are in bytes; a sum is one for each row.
MOVES = {
    "step": " + t * n[{}]",
    "inner": " + t * n[{}]",
    "fixed": "",
    "scratch": "",
    "sum": "",
    "arrives": " + (t & 1) * n[{}]",
    "leaves": " + (~t & 1) * n[{}]",
}

TEXT = """
struct kernel0_arguments {{ char *p[{pointers}]; long long n[{numbers}]; }};

extern __shared__ four shared[]; /* the room, and the columns that are kept */

extern "C" __global__ void __launch_bounds__(THREADS, 1) kernel0(kernel0_arguments given)
{{
    char *const *p = given.p;
    const long long *n = given.n;
    const int number = blockIdx.x / (int)n[2];
    Share share;
    share.first = (int)(n[1] * number / (gridDim.x / n[2]));
    share.rows = (int)(n[1] * (number + 1) / (gridDim.x / n[2])) - share.first;
    share.part = blockIdx.x % (int)n[2], share.parts = (int)n[2];
    share.arrived = (unsigned *)p[0] + number, share.awaited = 0;
{before}
    for (long long t = 0; t < n[0]; t++) {{
{body}
    }}
}}
"""


class Access(NamedTuple):
    """That a statement reads or writes a slot."""

    slot: Slot
    columns: tuple[int, int] | None  # the period and where it begins, if a block keeps to its own columns
    writes: bool


class Loop:
    """Statements at every time step, compiled when it is first called.

    Its numbers are: time steps, rows, parts and the room for rows; the moves of the slots; then those of each
    statement: a layout's own and its period; or a product's columns, period and depth, where its columns of the weight
    are kept, and the lengths of the rows it reads, writes and begins from.
    """

    def __init__(
        self, xp: ArrayNamespace, slots: Sequence[Slot], statements: Sequence[Nest | Product], real: Any
    ) -> None:
        self.xp, self.real = xp, real
        self.statements = [laid_out(s, merge=False) if isinstance(s, Nest) else s for s in statements]
        self.products = [part for part in self.statements if isinstance(part, Product)]
        self.widths = sorted({slot.shape[-1] for slot in slots if slot.left_in is not None}, reverse=True)
        accesses = [self._accesses(part, slots) for part in self.statements]
        used = {access.slot.number for part in accesses for access in part}
        self.slots = [slot for slot in slots if slot.number in used]
        self._pointers = 1 + len(self.slots) + len(self.products)
        self.meets = meetings(accesses)
        self.text = self._text()
        products = tuple(
            Multiplied(p.out.shape[-1], self.period(p.out.shape[-1]), p.rows.shape[-1]) for p in self.products
        )
        work = Work(products, len(self.statements) - len(products), sum(self.meets), real.itemsize)
        self.grid = grid_for(work, slots[0].shape[0], xp)
        self._function: Any = None

    def empty(self, shape: Sequence[int], dtype: DType) -> Array:
        return self.xp.empty(shape, dtype=dtype)

    def copies(self, steps: int, rows: int) -> int:
        """How many there are of what rows add to: one for each."""
        return rows

    # What is where --------------------------------------------------------------------------------

    def period(self, width: int) -> int:
        """How the columns of arrays of this width are shared out: all periods alike."""
        return next((w for w in self.widths if w and width % w == 0), max(width, 1))

    def _accesses(self, part: Layout | Product, slots: Sequence[Slot]) -> list[Access]:
        if isinstance(part, Product):
            own = (self.period(part.out.shape[-1]), 0)
            found = [Access(part.rows, None, False), Access(part.out, own, True)]
            return found + ([Access(part.start, own, False)] if part.start else [])
        found, period = [], self.period(part.sizes[1])
        for operand, writes in [(o, False) for o in part.loads.values()] + [(o, True) for o in part.stores]:
            slot = slots[operand.slot]
            is_own = operand.kind == "c" and self.period(slot.shape[-1]) == period and not sums_columns(part)
            first = operand.offset // slot.dtype.itemsize % period
            found.append(Access(slot, (period, first) if is_own else None, writes))
        return found

    # The text -------------------------------------------------------------------------------------

    def _text(self) -> str:
        pointers, lines, before, at = {}, [], [], 4
        for k, slot in enumerate(self.slots):
            pointers[slot.number] = (f"q{k}", f"n[{at}]" if slot.is_added_up else None)
            lines.append(f"char *const q{k} = p[{1 + k}]{MOVES[slot.role].format(at)};")
            at += 1
        weight = 1 + len(self.slots)
        for part, meet in zip(self.statements, self.meets, strict=True):
            lines.append("meet(share);" if meet else "__syncthreads();")
            if isinstance(part, Product):
                k = weight - 1 - len(self.slots)
                where = f"const real *const w{k} = (const real *)p[{weight}];"
                place = f"real *const kept{k} = n[{at + 3}] < 0 ? nullptr : (real *)shared + n[{at + 3}];"
                sizes = f"(int)n[{at}], (int)n[{at + 1}], (int)n[{at + 2}]"
                before += [where, place, f"if (kept{k}) keep(share, kept{k}, w{k}, {sizes});"]
                lines += _product(part, pointers, k, sizes, at + 4)
                weight, at = weight + 1, at + 7
            else:
                lines += _nest(part, pointers, at)
                at += len(part.numbers) + 1
        if self._pointers + at > MOST_NUMBERS:
            raise Unfit(f"more arrays and statements than a CUDA kernel can be told of ({self._pointers + at} numbers)")
        return TEXT.format(
            pointers=self._pointers,
            numbers=at,
            before="\n".join("    " + line for line in before),
            body="\n".join("        " + line for line in lines),
        )

    @property
    def source(self) -> str:
        """All that is compiled, but for functions.cuh."""
        return f"typedef {TYPES[self.real]} real;\n{header('loop.cuh')}{self.text}"

    # A call ---------------------------------------------------------------------------------------

    def __call__(self, steps: int, rows: int, places: Mapping[int, Place], weights: Sequence[Array]) -> None:
        """Queue all time steps on the device's current stream.

        Args:
            places: by the number of the slot.
            weights: the captured Tensors' arrays.
        """
        xp = self.xp
        if self._function is None:
            (self._function,) = load(self.source, 1, xp, meets=True)
        grid = self.grid
        arrived = xp.zeros(grid.across, dtype="uint32")
        addresses = [xp.address(arrived), *(places[slot.number].address for slot in self.slots)]
        numbers = [steps, rows, grid.parts, grid.room, *(places[slot.number].move for slot in self.slots)]
        kept, matrices = iter(grid.kept), []
        for part in self.statements:
            if not isinstance(part, Product):
                numbers += [*part.numbers, self.period(part.sizes[1])]
                continue
            w = weights[part.weight]
            matrices.append(xp.ascontiguousarray(w if part.transposed else w.T))
            addresses.append(xp.address(matrices[-1]))
            width, depth = matrices[-1].shape
            lengths = (
                places[s.number].row // self.real.itemsize if s else 0 for s in (part.rows, part.out, part.start)
            )
            numbers += [width, self.period(width), depth, next(kept), *lengths]
        given = struct.pack(f"{len(addresses) + len(numbers)}q", *addresses, *numbers)
        if grid.shared > self._function.max_dynamic_shared_size_bytes:
            self._function.max_dynamic_shared_size_bytes = grid.shared
        self._function((grid.across * grid.parts,), (THREADS,), (by_value(given),), shared_mem=grid.shared)


def meetings(statements: Sequence[Sequence[Access]]) -> list[bool]:
    """Before which of the statements of a step all blocks have to meet, so that none touches what is not its own yet.

    A step is followed by the next: what it leaves in a slot, that one finds in another, which is the same memory then.
    """
    meets = [False] * len(statements)
    while True:
        since: list[tuple[Any, Access]] = []  # they met last
        before = list(meets)
        for step, (k, accesses) in itertools.product((0, 1), enumerate(statements)):
            touched = [(_memory(access.slot, step), access) for access in accesses]
            if not meets[k]:
                meets[k] = any(_meets(old, new) for old in since for new in touched)
            since = [*([] if meets[k] else since), *touched]
        if meets == before:
            return meets


def _memory(slot: Slot, step: int) -> tuple[int, int]:
    """What a slot is at a time step: equal where it is the same memory. Of a gradient of the state there are two."""
    left, turn = (slot, step) if slot.left_in is None else (slot.left_in, step - 1)
    return left.number, turn if slot.role == "step" else turn % 2 if slot.role in ("arrives", "leaves") else 0


def _meets(old: tuple[Any, Access], new: tuple[Any, Access]) -> bool:
    """Whether a block may touch what another one has touched, and one of them writes."""
    (was, before), (now, after) = old, new
    return (
        was == now and (before.writes or after.writes) and (before.columns is None or before.columns != after.columns)
    )


def sums_columns(layout: Layout) -> bool:
    """Whether several columns are added to one."""
    return layout.sizes[1] > 1 and any(operand.kind == "0" for operand in layout.stores)


def _product(product: Product, pointers: Mapping[int, Any], k: int, sizes: str, at: int) -> list[str]:
    rows, out = (
        f"(real *){pointers[slot.number][0]}, n[{at + i}]" for i, slot in enumerate((product.rows, product.out))
    )
    start = f"(real *){pointers[product.start.number][0]}, n[{at + 2}]" if product.start else "nullptr, 0"
    return [f"product(share, {sizes}, {rows}, w{k}, kept{k}, {out}, {start}, (real *)shared, (int)n[3]);"]


def _nest(layout: Layout, pointers: Mapping[int, Any], at: int) -> list[str]:
    """Each thread has some entries: the sizes are at n[at], then come the operands; last the period."""
    text, numbers = Text(), itertools.count(at + 2, 3)

    def entry(operand: Any, kind: str) -> str:
        pointer, copy = pointers[operand.slot]
        first = next(numbers)
        row = f"n[{first + 1}]" if copy is None else copy
        column = {"c": f" + column * (long long)sizeof({kind})", "0": "", "s": f" + column * n[{first + 2}]"}
        return f"*({kind} *)({pointer} + n[{first}] + row * {row}{column[operand.kind]})"

    lines = []
    for k, (expr, operand) in enumerate(layout.loads.items()):
        text.names[expr] = f"a{k}"
        lines.append(f"const {VALUES[expr.dtype]} a{k} = {entry(operand, f'const {TYPES[expr.dtype]}')};")
    lines += text.statements(layout.nest.expressions())
    for store, operand in zip(layout.nest.stores, layout.stores, strict=True):
        place = entry(operand, TYPES[store.dtype])
        lines.append(f"{place} {'+' if store.adds else ''}= {text.operand(store.value, store.dtype)};")
    if sums_columns(layout):  # then it is one thread, of the first block, that does a row
        return [
            "for (int i = threadIdx.x; share.part == 0 && i < share.rows; i += THREADS) {",
            f"    for (long long row = share.first + i, column = 0; column < n[{at + 1}]; column++) {{",
            *("        " + line for line in lines),
            "    }",
            "}",
        ]
    return [
        "{",
        f"    const Columns columns(share, (int)n[{at + 1}], (int)n[{at + len(layout.numbers)}]);",
        "    for (int e = threadIdx.x; e < share.rows * columns.count; e += THREADS) {",
        "        const long long row = share.first + e / columns.count, column = columns[e % columns.count];",
        *("        " + line for line in lines),
        "    }",
        "}",
    ]
