"""minigrad's devices: CUDA through CuPy's streams, events and memory pool, and any other by its name alone."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from typing import Any

import minigrad as mg

from .host import Host


class Ours(Host):
    def active(self) -> contextlib.AbstractContextManager[Any]:
        return mg.use_device(self.name)

    def synchronize(self) -> None:
        mg.synchronize(self.name)


class Cuda(Ours):
    """The bytes are those of arrays, as the pool rounds their sizes; what the pool keeps free is in nobody's use."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.cupy = importlib.import_module("cupy")

    def mark(self) -> Any:
        return self.cupy.cuda.get_current_stream().record()  # an event

    def between(self, start: Any, end: Any) -> float | None:
        return float(self.cupy.cuda.get_elapsed_time(start, end)) / 1e3

    def now(self) -> int:
        return int(self.cupy.get_default_memory_pool().used_bytes())

    def peak(self, act: Callable[[], Any]) -> tuple[int, int]:
        before = self.now()
        with counter(self.cupy.cuda.MemoryHook) as count:
            act()
        self.synchronize()
        return before, before + count.highest


def counter(hook: Any) -> Any:
    """A memory hook of CuPy's that counts, inside a `with` block, the bytes that come into use."""

    class Count(hook):  # type: ignore[misc]
        name = "bench"
        now = highest = 0

        def malloc_postprocess(self, **block: Any) -> None:
            if block["mem_ptr"]:  # 0: there was no memory
                self.now += block["mem_size"]
                self.highest = max(self.highest, self.now)

        def free_postprocess(self, **block: Any) -> None:
            self.now -= block["mem_size"]

    return Count()


def device(name: str) -> Host:
    return Cuda(name) if name.startswith("cuda") else Ours(name)
