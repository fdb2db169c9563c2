"""Kernels in CUDA: from nests to a function of CuPy's arrays."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from ..backend import Array, ArrayNamespace, cpu, namespace_of
from .c import header
from .cuda import DOUBLE, kernel, launches
from .nest import Nest

Function = Callable[[tuple[int, ...], tuple[int, ...], tuple[Any, ...]], None]  # of grid, block and arguments

OPTIONS: Final = ("-std=c++17",)  # which has hexadecimal constants

_modules: dict[tuple[str, ArrayNamespace], list[Function]] = {}  # by text and device


def source(nests: Sequence[Nest]) -> str:
    """The text, without the functions it may call (c/functions.cuh)."""
    return "\n".join(kernel(f"kernel{i}", launch) for i, launch in enumerate(launches(nests)))


def load(text: str, count: int, xp: ArrayNamespace, meets: bool = False) -> list[Function]:
    """The functions kernel0, kernel1, ... of a text, which CuPy compiles once for a device, and keeps on disk too.

    text: without the functions it may call.
    meets: whether blocks wait for each other, so that all of them have to be on the device at once.
    """
    functions = _modules.get((text, xp))
    if functions is None:
        whole = "\n".join([header("functions.cuh"), text])
        module = xp.module.RawModule(code=whole, options=OPTIONS, enable_cooperative_groups=meets)
        functions = _modules[text, xp] = [module.get_function(f"kernel{i}") for i in range(count)]
    return functions


def by_value(given: bytes) -> Array:
    """A structure as CuPy takes one: a NumPy array of one entry is passed by value, here one of so many bytes."""
    return cpu.frombuffer(given, dtype=f"V{len(given)}")


class Kernel:
    """Nests, compiled when first called: call it with the arrays of all slots, and the Python numbers.

    Everything is queued on the device's current stream, one launch after the other; nothing waits for it.
    """

    def __init__(self, nests: Sequence[Nest]) -> None:
        self._launches = list(launches(nests))
        self._text = source(nests)
        # What a kernel is given: pointers, numbers that stay, and those of the call.
        layouts = [struct.Struct(f"{x.pointers + len(x.numbers)}q{x.scalars}d") for x in self._launches]
        self._given = [(s.pack, x.numbers) for s, x in zip(layouts, self._launches, strict=True)]

    def __call__(self, arrays: Sequence[Array], scalars: Sequence[float]) -> None:
        xp = namespace_of(next(a for a in arrays if a is not None))
        xp.make_current()
        functions = load(self._text, len(self._launches), xp)
        addresses = [0 if a is None else xp.address(a) for a in arrays]
        addresses.append(0)  # of the sums of parts
        for launch, (pack, numbers), function in zip(self._launches, self._given, functions, strict=True):
            if not launch.adds_parts:
                addresses[-1] = 0
                if launch.parts > 1:
                    parts = xp.empty((len(launch.sums), launch.parts, launch.targets), dtype=DOUBLE)
                    addresses[-1] = xp.address(parts)
            if launch.is_empty or (launch.adds_parts and not addresses[-1]):
                continue
            pointers = [addresses[operand.slot] + operand.offset for operand in launch.operands]
            if launch.pointers > len(pointers):
                pointers.append(addresses[-1])
            given = pack(*pointers, *numbers, *scalars[: launch.scalars])
            function(launch.grid, launch.block, (by_value(given),))
