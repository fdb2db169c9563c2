"""Kernels in CUDA for what CuPy does in many launches, or otherwise each time.

CuPy adds up by index with atomics, in whatever order the threads come: two runs differ in the last bits. Here rows are
sorted by where they go, which CuPy does stably and without waiting for the device, and added in that order
(c/library.cuh says how).
"""

from __future__ import annotations

import functools
import struct
from typing import Any, Final

from ..backend import Array, ArrayNamespace, Library, libraries
from .c import SINGLE, header
from .cuda import DOUBLE, THREADS, TYPES, WARP, power_of_two
from .cuda_kernel import OPTIONS, by_value
from .expression import FLOATS
from .setting import setting

FEW: Final = 2**13  # numbers that are sorted by comparing each with all, in one launch instead of about ten
SHORTEST: Final = 32  # rows of a piece

KERNELS: Final = {  # their arguments, as struct writes them
    "sort_few": "5q",
    "add_pieces": "12q",
    "join_pieces": "12q",
    "logsumexp": "4q",
}


def text(dtype: Any) -> str:
    """The library for one dtype."""
    return "\n".join([f"#define REAL {TYPES[dtype]}", header("functions.cuh"), header("library.cuh")])


@functools.cache
def _module(xp: ArrayNamespace, dtype: Any) -> Any:
    return xp.module.RawModule(code=text(dtype), options=OPTIONS)


@functools.cache
def _function(xp: ArrayNamespace, dtype: Any, name: str) -> Any:
    return _module(xp, dtype).get_function(name)


def _launch(xp: ArrayNamespace, dtype: Any, name: str, blocks: int, block: tuple[int, int], *arguments: int) -> None:
    given = struct.pack(KERNELS[name], *arguments)
    _function(xp, dtype, name)((blocks, 1), block, (by_value(given),))


def add_rows(xp: ArrayNamespace, y: Array, numbers: Array, rows: Array) -> bool:
    """y[numbers[i]] += rows[i], if y (M, D) is in C order; float16 is added up in float32."""
    if rows.dtype != y.dtype or not setting.is_on or not y.flags.c_contiguous:
        return False
    if y.dtype == "float16":
        sums = xp.zeros(y.shape, dtype=SINGLE)
        done = add_rows(xp, sums, numbers, rows.astype(SINGLE))
        y += sums
        return done
    if y.dtype not in FLOATS:
        return False
    xp.make_current()
    numbers = xp.ascontiguousarray(numbers, dtype="int64")
    order, ordered = _sorted(xp, y.dtype, numbers, len(y))
    count, width = rows.shape
    length = max(SHORTEST, power_of_two(round((count / 8) ** 0.5)))
    pieces = -(-count // length)
    columns = min(WARP, power_of_two(width))
    block, across = (columns, THREADS // columns), -(-width // columns)
    parts = xp.empty((2, pieces, width), dtype=DOUBLE)
    addresses = [*map(xp.address, (order, ordered, rows, y, parts))]
    addresses.append(addresses[-1] + parts.nbytes // 2)
    given = [*addresses, count, width, *rows.strides, length, across]
    _launch(xp, y.dtype, "add_pieces", across * -(-pieces // block[1]), block, *given)
    if pieces > 1:
        _launch(xp, y.dtype, "join_pieces", across * (pieces - 1), block, *given)
    return True


def _sorted(xp: ArrayNamespace, dtype: Any, numbers: Array, size: int) -> tuple[Array, Array]:
    """Which of the numbers comes first, second, ... when they are sorted, equal ones as they came; and those."""
    count = len(numbers)
    if count > FEW:
        numbers = numbers % size  # wrapped silently, as an index is
        order = xp.argsort(numbers, kind="stable")
        return order, numbers[order]
    order, ordered = xp.empty(count, dtype="int64"), xp.empty(count, dtype="int64")
    addresses = map(xp.address, (numbers, order, ordered))
    _launch(xp, dtype, "sort_few", -(-count // WARP), (WARP, THREADS // WARP), *addresses, count, size)
    return order, ordered


def logsumexp(xp: ArrayNamespace, x: Array) -> Array | None:
    """log Σ eˣ over each row of a matrix (N, M) in C order; None if it is not for this library."""
    if x.ndim != 2 or not x.size or x.dtype not in FLOATS or not x.flags.c_contiguous or not setting.is_on:
        return None
    xp.make_current()
    count, width = x.shape
    threads = min(THREADS, power_of_two(-(-width // 4)))
    rows = THREADS // threads
    y = xp.empty(count, dtype=x.dtype)
    given = [xp.address(x), xp.address(y), count, width]
    _launch(xp, x.dtype, "logsumexp", -(-count // rows), (threads, rows), *given)
    return y


libraries["cuda"] = Library(add_rows, logsumexp)
