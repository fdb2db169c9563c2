"""How many threads the CPU computes on: the matrix products of the BLAS library under NumPy, and kernels."""

from __future__ import annotations

import importlib
import os
from typing import Any

_kernels: int | None = None  # None until somebody asks


def set_num_threads(n: int) -> None:
    """Let matrix products and time loops use `n` threads from now on, in the whole process: NumPy's BLAS, and kernels.

    Everything else runs on one thread. Without a call both take as many as the environment says (OPENBLAS_NUM_THREADS,
    OMP_NUM_THREADS), or one for each core; n times as many processes on one machine want an n-th of its cores each.

    Raises:
        ValueError: n is not a positive integer.
        ImportError: the library threadpoolctl is missing, the extra `threads`.
        RuntimeError: NumPy's BLAS is not one whose threads can be set.

    >>> import minigrad as mg
    >>> before = mg.get_num_threads()
    >>> mg.set_num_threads(1)
    >>> mg.get_num_threads()
    1
    >>> mg.set_num_threads(before)
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"set_num_threads: expected a positive integer, got {n!r}")
    global _kernels
    _blas("set_num_threads").limit(limits=n)
    _kernels = n


def get_num_threads() -> int:
    """How many threads matrix products use; the errors are those of `set_num_threads`.

    >>> import minigrad as mg
    >>> mg.get_num_threads() >= 1
    True
    """
    return max(int(library["num_threads"]) for library in _blas("get_num_threads").info())


def kernel_threads() -> int:
    """How many threads a kernel may use: as set, or as the environment sets the BLAS's, or one for each core."""
    global _kernels
    if _kernels is None:
        named = (os.environ.get(name, "") for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"))
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        _kernels = next((int(n) for n in named if n.isdecimal() and int(n) > 0), cores)
    return _kernels


def _blas(caller: str) -> Any:
    """threadpoolctl's handle on every BLAS library of this process."""
    try:
        threadpoolctl = importlib.import_module("threadpoolctl")
    except ImportError as error:
        raise ImportError(
            f"{caller} needs the library threadpoolctl: pip install threadpoolctl (minigrad's extra threads)"
        ) from error
    found = threadpoolctl.ThreadpoolController().select(user_api="blas")
    if not found.info():
        raise RuntimeError(
            f"{caller}: NumPy's BLAS is none that threadpoolctl knows; set its number of threads by an environment "
            "variable such as VECLIB_MAXIMUM_THREADS before Python starts"
        )
    return found
