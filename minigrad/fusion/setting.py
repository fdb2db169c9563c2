"""Whether functions are fused, and who writes the kernels."""

from __future__ import annotations

import threading
import warnings

from ..backend import ArrayNamespace, cpu, default_device, namespace
from .compiler import CompileError, find_compiler


class _Setting(threading.local):
    is_on = True
    writer: str | None = None  # the one that was asked for


setting = _Setting()


class fusing:  # noqa: N801 - used like a function
    """Switch fusing on or off in this thread: `mg.fusing(False)` from now on, or for a block after `with`.

    Switched off, fused functions, `scan` and the recurrent layers run as they are written, operation by operation, and
    the steps of optimizers by the array library's functions. It is switched where this is called, not where `with` is.

    Args:
        is_on: whether functions are fused.
        writer: who writes the kernels: "c" or "numpy" on the CPU; None for the best there is.

    Raises:
        ValueError: there is no such writer.
        TypeError: is_on is not a boolean.

    >>> import minigrad as mg
    >>> with mg.fusing(False):
    ...     mg.fuse_backend()
    'none'
    """

    def __init__(self, is_on: bool = True, *, writer: str | None = None) -> None:
        if writer not in (None, "c", "numpy"):
            raise ValueError(f'fusing: expected the writer "c", "numpy" or None, got {writer!r}')
        if not isinstance(is_on, bool):
            raise TypeError(f"fusing: expected True or False, got {is_on!r}; a writer is named by writer=")
        self._before = setting.is_on, setting.writer
        setting.is_on, setting.writer = is_on, writer

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        setting.is_on, setting.writer = self._before


_compiler_failed = False


def fuse_backend(device: str | None = None) -> str:
    """Who writes the kernels of a device (the default device if None): "c", "cuda" or "numpy"; "none" if fusing is off.

    "c" needs a C compiler on the machine; without one, "numpy" runs a program of NumPy's functions.

    Raises:
        DeviceError: the device cannot be used.

    >>> import minigrad as mg
    >>> mg.fuse_backend("cpu") in ("c", "numpy")
    True
    """
    if not setting.is_on:
        return "none"
    xp = namespace(default_device() if device is None else device)
    return writer_name(xp)


def writer_name(xp: ArrayNamespace) -> str:
    if xp is not cpu:
        return xp.writer
    if setting.writer is not None:
        return setting.writer
    return "numpy" if _compiler_failed or find_compiler() is None else "c"


def writes_c() -> bool:
    """Whether kernels of the CPU are written in C."""
    return setting.is_on and writer_name(cpu) == "c"


def note_failure(error: CompileError) -> None:
    """Say once that the compiler has failed; from now on NumPy runs."""
    global _compiler_failed
    if not _compiler_failed:
        warnings.warn(f"fused functions run on NumPy from now on: {error}", RuntimeWarning, stacklevel=4)
    _compiler_failed = True
