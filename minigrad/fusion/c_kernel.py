"""Kernels in C: from nests to a function of arrays."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from typing import Any

from ..backend import Array, cpu
from .c import header, kernel
from .compiler import load
from .nest import Nest, laid_out

_functions: dict[str, Any] = {}  # by text


def source(nests: Sequence[Nest]) -> str:
    """The text, without the functions it may call (the folder c/)."""
    return kernel("kernel", [laid_out(nest) for nest in nests])


def compiled(text: str, loops: bool = False) -> Any:
    """The function `kernel` of a text: of nests, or of a whole time loop."""
    found = _functions.get(text)
    if found is None:
        found = load("\n".join([header("loops.h"), header("functions.h"), text])).kernel
        found.argtypes = [ctypes.c_void_p] * 2 + ([ctypes.c_int64, ctypes.c_void_p] if loops else [ctypes.c_void_p])
        found.restype = None
        _functions[text] = found
    return found


class Kernel:
    """Nests, compiled: call it with the arrays of all slots, and the Python numbers."""

    def __init__(self, nests: Sequence[Nest]) -> None:
        layouts = [laid_out(nest) for nest in nests]
        numbers = [n for layout in layouts for n in layout.numbers]
        self._function = compiled(kernel("kernel", layouts))
        self._numbers = (ctypes.c_int64 * max(len(numbers), 1))(*numbers)

    def __call__(self, arrays: Sequence[Array], scalars: Sequence[float]) -> None:
        addresses = [0 if a is None else cpu.address(a) for a in arrays]
        self._function(
            struct.pack(f"{len(addresses)}q", *addresses), self._numbers, struct.pack(f"{len(scalars)}d", *scalars)
        )
