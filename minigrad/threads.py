"""How many threads the matrix products of the CPU run on: those of the BLAS library under NumPy."""

from __future__ import annotations

import importlib
from typing import Any


def set_num_threads(n: int) -> None:
    """Let the BLAS under NumPy, which computes matrix products, use `n` threads from now on, in the whole process.

    Everything else runs on one thread. One thread is often fastest for small matrices, and n times as many
    processes on one machine want an n-th of its cores each.

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
    _blas("set_num_threads").limit(limits=n)


def get_num_threads() -> int:
    """How many threads the BLAS under NumPy uses; the errors are those of `set_num_threads`.

    >>> import minigrad as mg
    >>> mg.get_num_threads() >= 1
    True
    """
    return max(int(library["num_threads"]) for library in _blas("get_num_threads").info())


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
