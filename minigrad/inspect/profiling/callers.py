"""What the profiler notes of modules, optimizers and kernels: whoever calls operations, or is called by them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter as now
from typing import Any
from weakref import ref

from ... import backend
from .events import LAUNCH, MODULE, OPTIMIZER, Here
from .patches import PACKAGE
from .where import Places


class Callers:
    """Functions that look at the clock before and after the original."""

    def __init__(self, here: Here, places: Places) -> None:
        self.here, self.places = here, places
        # Outermost modules by id, and the names in them. None is kept alive: what it holds is the program's to drop.
        self._called: dict[int, tuple[ref[Any], dict[int, str]]] = {}
        self._numbers: dict[str, int] = {}  # how many outermost modules of a class there are

    def called_module(self, original: Callable[..., Any]) -> Callable[..., Any]:
        here, is_inside = self.here, self.places.is_inside

        def call(module: Any, *args: Any, **keywords: Any) -> Any:
            me = here.me
            names, place = me.names, me.place
            if names is None:
                me.names = self._names_in(module)
            frame = sys._getframe(1)
            called_at = place if is_inside(frame.f_code) else (frame.f_code, frame.f_lasti)
            me.place = called_at if type(module).__module__.partition(".")[0] == PACKAGE else None
            start = now()
            try:
                return original(module, *args, **keywords)
            finally:
                name = (me.names or {}).get(id(module)) or type(module).__name__
                me.events.append((MODULE, start, now(), name, 0, 0, called_at))
                me.names, me.place = names, place

        return call

    def _names_in(self, module: Any) -> dict[int, str]:
        """The name of a module that was called by no other, and those of the modules in it."""
        known = self._called.get(id(module))
        if known is None or known[0]() is not module:
            kind = type(module).__name__
            self._numbers[kind] = number = self._numbers.get(kind, 0) + 1
            names = {id(part): f"{path} ({type(part).__name__})" for path, part in module.named_modules() if path}
            names[id(module)] = kind if number == 1 else f"{kind} #{number}"
            known = self._called[id(module)] = ref(module), names
        return known[1]

    def stepped(self, original: Callable[..., Any]) -> Callable[..., Any]:
        here = self.here

        def step(optimizer: Any, *args: Any, **keywords: Any) -> Any:
            start = now()
            try:
                return original(optimizer, *args, **keywords)
            finally:
                here.me.events.append((OPTIMIZER, start, now(), f"{type(optimizer).__name__}.step", 0, 0, None))

        return step

    def timed(self, kind: str, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        here = self.here

        def call(*args: Any, **keywords: Any) -> Any:
            start = now()
            found = original(*args, **keywords)
            here.me.events.append((kind, start, now(), name, 0, 0, None))
            return found

        return call

    def numpy_kernel(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """On a device it is many launches, which are counted one by one."""
        timed = self.timed(LAUNCH, "kernel of NumPy's functions", original)

        def call(kernel: Any, arrays: Any, scalars: Any) -> Any:
            xp = backend.namespace_of(next(a for a in arrays if a is not None))
            return (timed if xp.on_host else original)(kernel, arrays, scalars)

        return call
