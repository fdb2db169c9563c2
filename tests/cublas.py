"""The one function of cuBLAS that minigrad calls, on the host's memory."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from minigrad.tensor_cores import COMPUTE_TYPES

from .strict import BITS, rounded


class Blas:
    """Matrices are counted down the columns; entries are rounded as tensor cores round them."""

    def __init__(self) -> None:
        self.compute_types: list[int] = []

    def gemmStridedBatchedEx(self, *arguments: int) -> None:  # noqa: N802
        (handle, turn_a, turn_b, m, n, k, one, a, type_a, line_a, step_a, b, type_b, line_b, step_b) = arguments[:15]
        (zero, c, type_c, line_c, step_c, count, compute_type, algorithm) = arguments[15:]
        assert (handle, type_a, type_b, type_c, algorithm) == (7, 0, 0, 0, -1)
        assert [ctypes.c_float.from_address(at).value for at in (one, zero)] == [1.0, 0.0]
        x, y = (
            matrices(at, *((columns, rows) if turned else (rows, columns)), line, step, count)
            for at, rows, columns, turned, line, step in [
                (a, m, k, turn_a, line_a, step_a),
                (b, k, n, turn_b, line_b, step_b),
            ]
        )
        x, y = x.swapaxes(1, 2) if turn_a else x, y.swapaxes(1, 2) if turn_b else y
        bits = BITS[next(name for name, number in COMPUTE_TYPES.items() if number == compute_type)]
        matrices(c, m, n, line_c, step_c, count)[...] = rounded(x, bits) @ rounded(y, bits)
        self.compute_types.append(compute_type)


def matrices(address: int, rows: int, columns: int, line: int, step: int, count: int) -> np.ndarray[Any, Any]:
    assert line >= rows
    assert step >= 0
    size = step * (count - 1) + line * (columns - 1) + rows
    memory = np.frombuffer((ctypes.c_float * size).from_address(address), dtype=np.float32)
    return np.lib.stride_tricks.as_strided(memory, (count, rows, columns), (4 * step, 4, 4 * line))
