"""What becomes of the memory that a step has freed: kept for the next step, or given back to the system.

The C library of Linux (glibc) gives the end of its heap back as soon as it is free. A training step frees nearly all
it has allocated, so each step would fetch its memory again page by page; for small models that takes longer than their
products.
"""

from __future__ import annotations

import ctypes
import os

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # their numbers in malloc.h
decided = False  # whether anybody has called keep_freed_memory, or a sweep has


def keep_freed_memory(keep: bool = True) -> bool:
    """Whether this process keeps memory that was freed, for arrays to come, instead of giving it back to the system.

    The first backward pass turns it on, unless this function was called before, or the environment has a
    setting for malloc (MALLOC_TRIM_THRESHOLD_, MALLOC_MMAP_THRESHOLD_, GLIBC_TUNABLES). The process then stays as
    large as it was at its largest; arrays of more than 32 MB are always given back. With keep=False, what is free
    is given back at once, and from then on whenever it is more than 128 kB.
    Source: mallopt(3), M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.

    Returns:
        Whether the C library has such a setting: only glibc has.

    Raises:
        TypeError: keep is neither True nor False.

    >>> import minigrad as mg
    >>> mg.keep_freed_memory() in (True, False)
    True
    """
    global decided
    if not isinstance(keep, bool):
        raise TypeError(f"keep_freed_memory: expected True or False, got {keep!r}")
    decided = True
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - other libraries have mallopt too, and mean other things by it
    except (AttributeError, OSError, TypeError):
        return False
    small, largest = 128 * 1024, 2**31 - 1
    library.mallopt(TRIM_THRESHOLD, largest if keep else small)
    library.mallopt(MMAP_THRESHOLD, 2**25 if keep else small)
    if not keep:
        library.malloc_trim(0)
    return True


def keep_by_default() -> None:
    """What the first sweep does, unless somebody has decided otherwise."""
    global decided
    decided = True
    if not {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"} & os.environ.keys():
        keep_freed_memory()
