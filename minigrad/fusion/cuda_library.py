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
    "logsumexp": "7q",
    "surprisal": "7q",
    "surprisal_gradient": "7q",
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


def _has_rows(x: Array) -> bool:
    """Whether x is a matrix (N, V) for the kernels that go by row."""
    is_ours: bool = x.ndim == 2 and x.size > 0 and x.dtype in FLOATS and x.flags.c_contiguous and setting.is_on
    return is_ours


def _by_row(xp: ArrayNamespace, name: str, x: Array, y: Array, *rest: int) -> Array:
    """A kernel whose threads share rows, several rows a block. `rest`: the classes, g and how far apart these lie."""
    count, width = x.shape
    threads = min(THREADS, power_of_two(-(-width // 4)))
    rows = THREADS // threads
    given = [xp.address(x), xp.address(y), *rest, *[0] * (3 - len(rest)), count, width]
    _launch(xp, x.dtype, name, -(-count // rows), (threads, rows), *given)
    return y


def logsumexp(xp: ArrayNamespace, x: Array) -> Array | None:
    """log Σ eˣ over each row of a matrix (N, V) in C order; None if it is not for this library."""
    if not _has_rows(x):
        return None
    xp.make_current()
    return _by_row(xp, "logsumexp", x, xp.empty(len(x), dtype=x.dtype))


def surprisal(xp: ArrayNamespace, x: Array, classes: Array) -> Array | None:
    """log Σ eˣ - x[class] likewise."""
    if not _has_rows(x):
        return None
    xp.make_current()
    classes = xp.ascontiguousarray(classes, dtype="int64")
    return _by_row(xp, "surprisal", x, xp.empty(len(x), dtype=x.dtype), xp.address(classes))


def surprisal_gradient(xp: ArrayNamespace, g: Array, x: Array, classes: Array) -> Array | None:
    """Its gradient, g (softmax x - [1 at the class, else 0]), likewise."""
    if not _has_rows(x) or g.dtype != x.dtype:
        return None
    xp.make_current()
    classes = xp.ascontiguousarray(classes, dtype="int64")
    y = xp.empty(x.shape, dtype=x.dtype)
    return _by_row(xp, "surprisal_gradient", x, y, xp.address(classes), xp.address(g), *g.strides)


libraries["cuda"] = Library(add_rows, logsumexp, surprisal, surprisal_gradient)
