"""The CUDA writer: nests as kernels in which every entry has a thread, or every sum a column of threads.

A kernel gets one structure by value: the addresses of its operands (p), whole numbers (n: how many targets, how long a
sum, how much of it a block does, then sizes and strides in bytes), and the Python numbers that came with the call (s).

Where threads would add to one entry, because a target is the same one along some loops, a kernel is laid out by its
targets. A block has a column of threads for each of a few targets; its rows share out what is added, each in a double,
and are then added in halves. Where targets are few and sums are long, several blocks do a part each, which a second
kernel adds. The order of a sum depends on the sizes alone, so that two calls do not differ in a bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from ..backend import DType
from .c import VALUES, Text
from .expression import BOOL, FLOATS, Graph, Unfit, c_strides, dummy
from .nest import Layout, Nest, Operand, Store, laid_out

SINGLE, DOUBLE = FLOATS
TYPES: Final[dict[DType, str]] = {SINGLE: "float", DOUBLE: "double", BOOL: "bool"}  # of entries in memory
THREADS: Final = 256  # of a block, as in sum_of_column
WARP: Final = 32  # neighbouring threads, which had better read neighbouring entries
MOST_BLOCKS: Final = 1024  # that share out long sums
MOST_NUMBERS: Final = 512  # 4 KiB, what a kernel may be given


class Launch:
    """Loops that run as one kernel: over targets, and for each over what is summed. Without sums, all are targets."""

    def __init__(self, layout: Layout, summed: Sequence[int] = (), adds_parts: bool = False) -> None:
        self.layout, self.summed, self.adds_parts = layout, summed, adds_parts
        self.kept = [d for d in range(len(layout.sizes)) if d not in summed]
        self.operands = [*layout.loads.values(), *layout.stores]
        self.sums = [k for k, y in enumerate(layout.stores) if summed and _summed(layout, k) == summed]
        self.pointers = len(self.operands) + bool(self.sums and not adds_parts)  # the last: where parts are kept
        self.scalars = 1 + max((e.slot for e in layout.nest.expressions() if e.op == "scalar"), default=-1)
        self._share_out()
        if self.pointers + len(self.numbers) + self.scalars > MOST_NUMBERS:
            raise Unfit(
                f"{len(self.operands)} arrays and parts of arrays with {len(layout.sizes)} axes, more than a CUDA "
                "kernel can be told of; fuse it in pieces"
            )

    def _share_out(self) -> None:
        """How many threads and blocks do what."""
        sizes = self.layout.sizes
        self.targets = math.prod(sizes[d] for d in self.kept)
        self.length = math.prod(sizes[d] for d in self.summed)
        self.sums_lie_innermost = len(sizes) - 1 in self.summed
        rows = 1
        if self.summed:
            side_by_side = 1 if self.sums_lie_innermost else min(WARP, power_of_two(self.targets))
            rows = min(THREADS // side_by_side, power_of_two(self.length))
        columns = THREADS // rows
        self.block = (rows, columns) if self.sums_lie_innermost else (columns, rows)
        across = -(-self.targets // columns)
        self.parts = 1
        if self.summed and not self.adds_parts:
            self.parts = max(1, min(-(-self.length // (8 * rows)), MOST_BLOCKS // max(across, 1)))
        self.part = -(-self.length // self.parts)
        self.grid = (across, self.parts)

    @property
    def is_empty(self) -> bool:
        return 0 in self.layout.sizes

    @property
    def numbers(self) -> list[int]:
        strides = [step for operand in self.operands for step in operand.strides]
        return [self.targets, self.length, self.part, *self.layout.sizes, *strides]

    def of_parts(self) -> Launch:
        """What adds the sums of parts, doubles (sums, parts, targets) in the last slot, to the targets."""
        graph = Graph()
        shape = (self.parts, *(self.layout.sizes[d] for d in self.kept))
        place = dummy(shape, DOUBLE)
        loads, stores, targets = {}, [], []
        for k, which in enumerate(self.sums):
            value = graph.load(-1 - k, place, None)
            loads[value] = Operand(-1, k * self.parts * self.targets * 8, c_strides(shape, 8), "s")
            store, target = self.layout.nest.stores[which], self.layout.stores[which]
            stores.append(Store(store.slot, store.place, store.view, value, adds=True))
            strides = (0, *(target.strides[d] for d in self.kept))
            targets.append(Operand(target.slot, target.offset, strides, "s"))
        return Launch(Layout(Nest(shape, stores), shape, loads, targets), (0,), adds_parts=True)


def power_of_two(n: int) -> int:
    """The smallest that is not below n."""
    return 1 << (max(n, 1) - 1).bit_length()


def _summed(layout: Layout, k: int) -> tuple[int, ...]:
    """The loops along which a store adds to the same entry."""
    if not layout.nest.stores[k].adds:
        return ()
    return tuple(d for d, step in enumerate(layout.stores[k].strides) if step == 0)


def launches(nests: Sequence[Nest]) -> Iterator[Launch]:
    """What to launch for nests, in this order: of each nest, one launch for all that is summed over the same loops.

    What is not summed goes with the first of them. After a launch with sums comes the one for its parts.
    """
    for nest in nests:
        layout = laid_out(nest)
        groups: dict[tuple[int, ...], list[Store]] = {}
        for k, store in enumerate(nest.stores):
            groups.setdefault(_summed(layout, k), []).append(store)
        plain = groups.pop((), [])
        for stores in list(groups.values()) or [[]]:
            layout = laid_out(Nest(nest.shape, [*stores, *plain]))
            launch = Launch(layout, _summed(layout, 0))
            yield launch
            if launch.sums:
                yield launch.of_parts()
            plain = []


def kernel(name: str, launch: Launch) -> str:
    """The function of a launch, and the structure that it gets."""
    body = with_sums(launch) if launch.sums else entry_by_entry(launch)
    given = [("char *", "p", launch.pointers), ("long long ", "n", len(launch.numbers))]
    if launch.scalars:
        given.append(("double ", "s", launch.scalars))
    return "\n".join(
        [
            f"struct {name}_arguments {{ {' '.join(f'{kind}{what}[{count}];' for kind, what, count in given)} }};",
            "",
            f'extern "C" __global__ void {name}({name}_arguments given)',
            "{",
            *(f"    {kind}const *{what} = given.{what};" for kind, what, _ in given),
            *("    " + line for line in body),
            "}",
            "",
        ]
    )


def entry_by_entry(launch: Launch) -> list[str]:
    return [
        "const long long entry = (long long)blockIdx.x * blockDim.x + threadIdx.x;",
        "if (entry >= n[0]) return;",
        *indices("entry", launch, launch.kept),
        *statements(launch),
    ]


def with_sums(launch: Launch) -> list[str]:
    across, down = "yx" if launch.sums_lie_innermost else "xy"  # neighbouring threads have neighbouring entries
    lines = [
        f"const unsigned column = threadIdx.{across}, row = threadIdx.{down}, rows = blockDim.{down};",
        f"const long long target = (long long)blockIdx.x * blockDim.{across} + column;",
        f"double {', '.join(f'sum{k} = 0' for k in launch.sums)};",
        *indices("target", launch, launch.kept),
        "if (target < n[0]) {",
        "    const long long first = blockIdx.y * n[2], last = first + n[2] < n[1] ? first + n[2] : n[1];",
        "    for (long long entry = first + row; entry < last; entry += rows) {",
        *("        " + line for line in indices("entry", launch, launch.summed)),
        *("        " + line for line in statements(launch)),
        "    }",
        "}",
        *(f"sum{k} = sum_of_column(sum{k}, column, row, rows);" for k in launch.sums),
        "if (target >= n[0] || row != 0) return;",
    ]
    adding = []
    for k in launch.sums:
        kind = TYPES[launch.layout.nest.stores[k].dtype]
        adding.append(f"{where(launch, len(launch.layout.loads) + k, kind, launch.kept)} += ({kind})sum{k};")
    if launch.adds_parts:
        return lines + adding
    parts = f"((double *)p[{launch.pointers - 1}])"
    kept = [f"{parts}[target + n[0] * (blockIdx.y + {i} * gridDim.y)] = sum{k};" for i, k in enumerate(launch.sums)]
    return [
        *lines,
        "if (gridDim.y == 1) {",
        *("    " + x for x in adding),
        "} else {",
        *("    " + x for x in kept),
        "}",
    ]


def indices(name: str, launch: Launch, loops: Sequence[int]) -> list[str]:
    """The indices i0, i1, ... along some of the loops, from the number of a target or an entry."""
    lines = []
    rest = name
    for d in reversed(loops[1:]):
        lines += [f"const long long i{d} = {rest} % n[{3 + d}], {name}{d} = {rest} / n[{3 + d}];"]
        rest = f"{name}{d}"
    return [*lines, *(f"const long long i{d} = {rest};" for d in loops[:1])]


def where(launch: Launch, k: int, kind: str, loops: Sequence[int]) -> str:
    """An entry of an operand."""
    depth = len(launch.layout.sizes)
    steps = (f" + i{d} * n[{3 + depth * (1 + k) + d}]" for d in loops)
    return f"*({kind} *)(p[{k}]{''.join(steps)})"


def statements(launch: Launch) -> list[str]:
    """What is done for an entry whose indices are known."""
    layout, text = launch.layout, Text()
    loops = range(len(layout.sizes))
    lines = []
    for k, expr in enumerate(layout.loads):
        text.names[expr] = f"a{k}"
        entry = where(launch, k, f"const {TYPES[expr.dtype]}", loops)
        lines.append(f"const {VALUES[expr.dtype]} a{k} = {entry};")
    lines += text.statements(layout.nest.expressions())
    for k, store in enumerate(layout.nest.stores):
        if k in launch.sums:
            lines.append(f"sum{k} += {text.operand(store.value, DOUBLE)};")
        else:
            entry = where(launch, len(layout.loads) + k, TYPES[store.dtype], loops)
            lines.append(f"{entry} {'+' if store.adds else ''}= {text.operand(store.value, store.dtype)};")
    return lines
