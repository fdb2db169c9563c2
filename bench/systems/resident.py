"""How much of the machine's memory this process holds, in bytes, as Linux counts it."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

STATUS, REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def now() -> int:
    """What is resident, after giving back what malloc kept of freed memory."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
    if trim is not None:
        trim(0)
    return _field("VmRSS")


def peak(act: Callable[[], Any]) -> tuple[int, int]:
    """What was resident before, and the most that was while it ran.

    Raises:
        OSError: the system does not let a process reset its high-water mark (it is no Linux, or forbids it).
    """
    before = now()
    REFS.write_text("5", encoding="ascii")  # the mark falls to what is resident now
    act()
    return before, _field("VmHWM")


def _field(name: str) -> int:
    line = next(line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
