"""What all C kernels share: a team of threads, and matrix products that they wait for together.

NumPy's BLAS has threads of its own, which go on spinning for a while after each product, on the cores that a kernel
would work on: with the two side by side a training step took 1.4 times as long. So where kernels are compiled, large
products are computed here, too.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from ..backend import Array, cpu
from ..threads import kernel_threads
from .c import SINGLE, header
from .compiler import CompileError, load
from .expression import FLOATS
from .setting import note_failure, writes_c

LARGE = 2**18  # multiplications, from which on a BLAS would use several threads
HUGE = 2**32  # from which on a BLAS takes its time, and gets more out of the cores than this library
FEW = 32  # rows or columns, below which packing the other matrix takes longer than it helps
WORTH_PACKING = 256  # rows, from which on it costs next to nothing
DEEP = 1024  # summands
LITTLE = 2**15  # entries of a matrix that is packed in no time
WAKING = 10**6  # multiplications, from which on OpenBLAS wakes its threads
LARGE_ROWS = 2**14  # entries, below which NumPy's calls cost little
MANY = 2**18  # entries, from which on one pass is worth several threads
WIDEST = 64  # columns of a panel


@functools.cache
def runtime(dtype: Any) -> Any:
    """The library for one dtype.

    Raises:
        CompileError: it could not be compiled.
    """
    texts = [header(name) for name in ("loops.h", "functions.h", "threads.h", "runtime.c", "products.h", "rows.h")]
    library = load("\n".join(["#define SINGLE"] * (dtype == SINGLE) + texts))
    number, place = ctypes.c_int64, ctypes.c_void_p
    library.pack_all.argtypes = [number, number, number, place, number, number, place]
    library.multiply.argtypes = [*[number] * 4, place, number, number, place, place, place, number]
    library.logsumexp.argtypes = [number, number, number, place, place]
    library.add_rows.argtypes = [number, number, number, place, place, place]
    for name in ("pack_all", "multiply", "add_rows", "logsumexp"):
        getattr(library, name).restype = None
    return library


def address_of_runtime(dtype: Any) -> int:
    """Where a kernel finds its functions."""
    return ctypes.addressof(ctypes.c_char.in_dll(runtime(dtype), "runtime"))


def _library(dtype: Any) -> Any:
    """`runtime`, or None where it cannot be compiled, which is said once."""
    try:
        return runtime(dtype)
    except CompileError as error:
        note_failure(error)
        return None


def aligned_empty(shape: Sequence[int], dtype: Any) -> Array:
    """A new array that begins where a line of the cache does: vectors then never lie in two."""
    size = math.prod(shape) * dtype.itemsize
    memory = cpu.empty(size + 64, dtype="uint8")
    start = -cpu.address(memory) % 64
    return memory[start : start + size].view(dtype).reshape(shape)


def matmul(x: Array, y: Array) -> Array:
    """x y, by NumPy or, if it is a large product of two matrices, here."""
    found = _product(x, y)
    return _numpy_matmul(x, y) if found is None else found


def matmul_add(x: Array, y: Array, start: Any) -> Array | None:
    """start + x y, if it is a large product, and start a row (M,) of its dtype."""
    if getattr(start, "shape", None) != y.shape[1:] or start.dtype != x.dtype or x.ndim < 2:
        return None
    rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
    found = _product(rows, y, cpu.ascontiguousarray(start))
    return found if found is None or x.ndim == 2 else found.reshape(*x.shape[:-1], y.shape[1])


def _product(x: Array, y: Array, start: Array | None = None) -> Array | None:
    """x y, or start + x y; None if it is not for this library."""
    if x.ndim != 2 or y.ndim != 2 or not LARGE < x.size * y.shape[1] < HUGE or not _is_ours(x, y):
        return None
    threads, size = kernel_threads(), x.itemsize
    (n, depth), m = x.shape, y.shape[1]
    library = _library(x.dtype)
    if library is None:
        return None
    panels, out = packed(y, threads), aligned_empty((n, m), x.dtype)
    ra, ka = (step // size for step in x.strides)
    row = 0 if start is None else cpu.address(start)
    library.multiply(threads, n, m, depth, cpu.address(x), ra, ka, cpu.address(panels), cpu.address(out), row, 0)
    return out


def _is_ours(x: Array, y: Array) -> bool:
    if x.dtype != y.dtype or x.dtype not in FLOATS or x.shape[1] != y.shape[0] or not writes_c():
        return False
    if len(x) < FEW or y.shape[1] < FEW or any(step % x.itemsize for step in (*x.strides, *y.strides)):
        return False
    if len(x) >= WORTH_PACKING or _loops.are_near or (y.size <= LITTLE and x.size * y.shape[1] > WAKING):
        return True
    is_outer_sum: bool = x.shape[1] >= DEEP and x.strides[0] < x.strides[1]
    return is_outer_sum


class _Loops(threading.local):
    are_near = False


_loops = _Loops()


@contextlib.contextmanager
def without_blas() -> Iterator[None]:
    """Inside this block products are computed here though they have few rows: a time loop is going to come."""
    before, _loops.are_near = _loops.are_near, True
    try:
        yield
    finally:
        _loops.are_near = before


def packed(w: Array, threads: int) -> Array:
    """A matrix (depth, m) in panels, for products with it from the right."""
    (depth, m), size = w.shape, w.itemsize
    if any(step % size for step in w.strides):  # a field of records
        w = cpu.ascontiguousarray(w)
    panels = aligned_empty((-(-m // WIDEST) * WIDEST, depth), w.dtype)
    sk, sj = (step // size for step in w.strides)
    runtime(w.dtype).pack_all(threads, m, depth, cpu.address(w), sj, sk, cpu.address(panels))
    return panels


def _threads_for(x: Array) -> int:
    """How many threads one pass over an array is worth."""
    return kernel_threads() if x.size >= MANY else 1


def add_rows(out: Array, numbers: Array, rows: Array) -> bool:
    """out[numbers[i]] += rows[i], if all of them are of one float dtype and lie in C order."""
    dtype = out.dtype
    if rows.dtype != dtype or dtype not in FLOATS or not out.flags.c_contiguous or not writes_c():
        return False
    numbers = cpu.ascontiguousarray(numbers, dtype="int64")
    if numbers.min() < 0 or numbers.max() >= len(out):
        return False
    rows, place = cpu.ascontiguousarray(rows), cpu.address
    library = _library(dtype)
    if library is None:
        return False
    library.add_rows(_threads_for(rows), len(rows), rows.shape[1], place(numbers), place(rows), place(out))
    return True


def logsumexp(x: Array) -> Array | None:
    """log Σ eˣ over each row of a large matrix (N, M) in C order; None if it is not for this library."""
    if x.ndim != 2 or x.size < LARGE_ROWS or x.dtype not in FLOATS or not x.flags.c_contiguous or not writes_c():
        return None
    library = _library(x.dtype)
    if library is None:
        return None
    y = cpu.empty(len(x), dtype=x.dtype)
    library.logsumexp(_threads_for(x), *x.shape, cpu.address(x), cpu.address(y))
    return y


_numpy_matmul = cpu.module.matmul
# In the place of NumPy's:
vars(cpu).update(
    matmul=matmul, matmul_add=matmul_add, without_blas=without_blas, add_rows=add_rows, logsumexp=logsumexp
)
