"""Looking at a function while it runs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def looking(look: Callable[[Any, str, Any], None]) -> Iterator[None]:
    """Inside this block `look` is called as `sys.setprofile` says; a profiler that is on waits meanwhile."""
    before: Any = sys.getprofile()
    sys.setprofile(look)
    try:
        yield
    finally:
        if before is None or callable(before):
            sys.setprofile(before)
        else:  # that of cProfile, which is no function
            sys.setprofile(None)
            before.enable()
