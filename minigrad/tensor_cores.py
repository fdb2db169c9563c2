"""Products of float32 matrices on a GPU's tensor cores, by cuBLAS.

CuPy's own functions cannot be asked for them one by one: its compute type is one for all threads, its BF16 changes
nothing, and its products of more than two axes are always in float32.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

from .precision import setting

Array = Any
Shape = tuple[int, ...]

COMPUTE_TYPES = {"tf32": 77, "bfloat16": 75}  # CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_COMPUTE_32F_FAST_16BF
FLOAT32, FASTEST = 0, -1  # CUDA_R_32F, CUBLAS_GEMM_DEFAULT
AS_IT_LIES, TRANSPOSED = 0, 1  # CUBLAS_OP_N, CUBLAS_OP_T
ENTRY = 4  # bytes

_one, _zero = ctypes.c_float(1.0), ctypes.c_float(0.0)


def are_asked_for(*arrays: Array) -> bool:
    """Whether a product of these arrays is to be less precise than float32."""
    return setting.matmul != "float32" and all(a.dtype == "float32" for a in arrays)


def matmul(xp: Any, x: Array, y: Array) -> Array | None:
    """x y as `numpy.matmul` has it, in the precision that is set; None if it is no product of matrices."""
    if x.ndim < 1 or y.ndim < 1 or x.ndim + y.ndim < 3 or not x.size or not y.size:
        return None
    left, right = x[None] if x.ndim == 1 else x, y[:, None] if y.ndim == 1 else y
    lead = _broadcast(left.shape[:-2], right.shape[:-2])
    if lead is None or left.shape[-1] != right.shape[-2]:
        return None
    (n, depth), m = left.shape[-2:], right.shape[-1]
    out = xp.empty((*lead, n, m), dtype="float32")
    left, turned_left, line_left, step_left = _laid_out(xp, left, lead)
    right, turned_right, line_right, step_right = _laid_out(xp, right, lead)
    # To cuBLAS, which counts down the columns, every matrix here is its transposed: outᵀ = yᵀ xᵀ.
    xp.module.cuda.cublas.gemmStridedBatchedEx(
        *(xp.module.cuda.get_cublas_handle(), turned_right, turned_left, m, n, depth, ctypes.addressof(_one)),
        *(xp.address(right), FLOAT32, line_right, step_right),
        *(xp.address(left), FLOAT32, line_left, step_left, ctypes.addressof(_zero)),
        *(xp.address(out), FLOAT32, m, n * m, math.prod(lead), COMPUTE_TYPES[setting.matmul], FASTEST),
    )
    return out.reshape(*lead, *(() if x.ndim == 1 else (n,)), *(() if y.ndim == 1 else (m,)))


def _broadcast(a: Shape, b: Shape) -> Shape | None:
    """The shape of leading axes together, or None."""
    ndim = max(len(a), len(b))
    pairs = list(zip((1,) * (ndim - len(a)) + a, (1,) * (ndim - len(b)) + b, strict=True))
    return tuple(map(max, pairs)) if all(p == q or 1 in (p, q) for p, q in pairs) else None


def _laid_out(xp: Any, x: Array, lead: Shape) -> tuple[Array, int, int, int]:
    """Matrices as cuBLAS takes them: the array, whether transposed, and entries from line to line and to the next."""
    rows, columns = x.shape[-2:]
    if math.prod(x.shape[:-2]) == 1:
        x = x.reshape(1, rows, columns)
    elif x.shape[:-2] == lead:
        x = x.reshape(-1, rows, columns)
    else:
        x = xp.broadcast_to(x, (*lead, rows, columns)).reshape(-1, rows, columns)
    lines = _lines(x)
    if lines is None:
        x, lines = xp.ascontiguousarray(x), (AS_IT_LIES, columns)
    return x, *lines, 0 if len(x) == 1 else x.strides[0] // ENTRY  # one matrix serves all


def _lines(x: Array) -> tuple[int, int] | None:
    """Whether matrices lie transposed, and how far their lines are apart; None if no line lies in one piece."""
    rows, columns = x.shape[1:]
    step, down, right = (stride // ENTRY for stride in x.strides)
    if step < 0 < len(x) - 1:
        return None
    if (columns == 1 or right == 1) and (rows == 1 or down >= columns):
        return AS_IT_LIES, columns if rows == 1 else down
    if (rows == 1 or down == 1) and (columns == 1 or right >= rows):
        return TRANSPOSED, rows if columns == 1 else right
    return None


def einsum(xp: Any, subscripts: str, x: Array, y: Array) -> Array:
    """Σ x y over the labels that stand left of "->" alone, as one product of matrices."""
    names, output = subscripts.split("->")
    a, b = names.split(",")
    (x, a), (y, b) = _without_its_own(xp, x, a, b + output), _without_its_own(xp, y, b, a + output)
    sizes = dict(zip(a, x.shape, strict=True)) | dict(zip(b, y.shape, strict=True))
    shared = [label for label in a if label in b]
    lead, inner = [k for k in shared if k in output], [k for k in shared if k not in output]
    left, right = [k for k in a if k not in b], [k for k in b if k not in a]

    def matrices(array: Array, labels: str, rows: list[str], columns: list[str]) -> Array:
        order = array.transpose([labels.index(k) for k in (*lead, *rows, *columns)])
        return order.reshape([*(sizes[k] for k in lead), *(math.prod(sizes[k] for k in g) for g in (rows, columns))])

    found = [*lead, *left, *right]
    out = xp.matmul(matrices(x, a, left, inner), matrices(y, b, inner, right)).reshape([sizes[k] for k in found])
    return out.transpose([found.index(k) for k in output])


def _without_its_own(xp: Any, x: Array, labels: str, others: str) -> tuple[Array, str]:
    """An operand summed over the labels that nothing else has."""
    alone = tuple(axis for axis, label in enumerate(labels) if label not in others)
    return xp.sum(x, axis=alone) if alone else x, "".join(label for label in labels if label in others)
