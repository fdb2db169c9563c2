"""In which precision a GPU multiplies matrices of float32: `matmul_precision`. One answer per thread."""

from __future__ import annotations

import threading

PRECISIONS = ("float32", "tf32", "bfloat16")


class _Setting(threading.local):
    matmul = "float32"


setting = _Setting()


class matmul_precision:  # noqa: N801 - used like a function
    """How precisely float32 matrices are multiplied on a GPU: from now on in this thread, or for a block after `with`.

    It is set where this is called, not where `with` is: write one call for each block.

    Equation: out = Σₖ r(xₖ) r(yₖ), summed in float32, where r rounds to so many bits behind the leading one:

    | name | r keeps | error of an entry of out, at most | computed by |
    |---|---|---|---|
    | "float32" (from the start) | all 23 bits | that of the float32 sum | ordinary arithmetic |
    | "tf32" | 10 bits | that, and (2⁻¹⁰ + 2⁻²²) Σ abs(xₖ yₖ) | tensor cores |
    | "bfloat16" | 7 bits | that, and (2⁻⁷ + 2⁻¹⁶) Σ abs(xₖ yₖ) | tensor cores |

    The bounds are for rounding to the nearest; a GPU that cuts the bits off instead makes twice the error. Arrays stay
    float32 before and after, and none becomes smaller. The name is a permission: cuBLAS takes what it finds fastest
    among what is at least so precise, for small products perhaps float32.

    It holds for `matmul`, `linear`, `einsum` of two operands and all layers made of them, and for the products in their
    derivatives: a backward pass, of the first order or a higher one, multiplies as is set where `backward` or `grad` is
    called, so leave the block behind them. Float32 remain: products of two vectors, `einsum` of more operands, what
    time loops written as kernels multiply inside (`scan_source`), adding up by index, and everything on a GPU without
    such tensor cores (before compute capability 8.0). Other dtypes and the CPU are never concerned. CUPY_TF32=1 in the
    environment makes CuPy itself use TF32 where "float32" is set here.

    Args:
        name: "float32", "tf32" or "bfloat16".

    Raises:
        ValueError: there is no such precision.

    Source: the cuBLAS Library, `cublasComputeType_t`; torch.set_float32_matmul_precision, whose "highest", "high" and
    "medium" these are.

    >>> import minigrad as mg
    >>> with mg.matmul_precision("tf32"):
    ...     mg.get_matmul_precision()
    'tf32'
    >>> mg.get_matmul_precision()
    'float32'
    """

    def __init__(self, name: str) -> None:
        if name not in PRECISIONS:
            expected = ", ".join(f'"{known}"' for known in PRECISIONS)
            raise ValueError(f"matmul_precision: expected one of {expected}, got {name!r}")
        self._before, setting.matmul = setting.matmul, name

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        setting.matmul = self._before


def get_matmul_precision() -> str:
    """How precisely float32 matrices are multiplied on a GPU, in this thread; see `matmul_precision`.

    >>> import minigrad as mg
    >>> mg.get_matmul_precision()
    'float32'
    """
    return setting.matmul
