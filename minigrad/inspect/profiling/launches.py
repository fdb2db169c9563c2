"""What the host asks a device to do: launches, copies from one to the other, waits. For the time of a profile.

Nothing counts a GPU's launches for us, so each call of the array library is looked at: it is one launch if it gives
something that is no view, or writes. Some of CuPy's functions (`var`, `argsort`) make several, and are counted as one.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from time import perf_counter as now
from typing import Any, Final

from ... import tensor_cores
from ...backend import Array, ArrayNamespace
from ...fusion import cuda_kernel, cuda_library, cuda_loop
from .patches import Patches

EMPTY: Final = {"empty", "empty_like"}  # they give memory as it is
CONVERTING: Final = {"array", "asarray", "asanyarray"}  # of what lies on the host they make a copy on the device
WAITING: Final = {"nonzero", "argwhere", "flatnonzero", "unique"}  # for the size of the result

_BINARY: Final = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor")
OPERATORS: Final = (
    *(f"__{side}{name}__" for name in _BINARY for side in ("", "r")),
    *(f"__{name}__" for name in ("eq", "ne", "lt", "le", "gt", "ge", "neg", "abs", "invert", "getitem")),
    *("__array_ufunc__", "astype", "copy", "reshape", "ravel", "all", "any", "argmax", "argmin", "max", "mean", "min"),
    *("prod", "sum", "take", "var", "std", "cumsum", "dot"),
)
WRITES: Final = (*(f"__i{name}__" for name in _BINARY), "__setitem__", "fill")


def watch(xp: ArrayNamespace, patches: Patches, here: Any) -> None:
    """Note the launches, copies and waits of a device, until the patches are undone."""
    array_type = xp.array_type

    def noted(kind: str, name: str, start: float, size: int = 0) -> None:
        here.me.events.append((kind, start, now(), name, 0, size, None))

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of the library; those that it calls itself are part of it."""

        def call(*args: Any, **keywords: Any) -> Any:
            me = here.me
            if me.quiet:
                return function(*args, **keywords)
            me.quiet, start = True, now()
            try:
                y = function(*args, **keywords)
            finally:
                me.quiet = False
            if name in WAITING:
                noted("wait", name, start)
            if name in CONVERTING and args and type(args[0]) is not array_type:
                noted("copy", "to the device", start, y.nbytes)
            elif name not in EMPTY and _computes(y, keywords.get("out"), args, array_type):
                noted("launch", name, start)
            return y

        return call

    def writing(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(x: Array, *args: Any) -> Any:
            me = here.me
            if me.quiet:
                return function(x, *args)
            me.quiet, start = True, now()
            try:
                y = function(x, *args)
            finally:
                me.quiet = False
            if y is not NotImplemented and x.size:
                noted("launch", name, start)
            return y

        return call

    def transfer(kind: str, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            me, start = here.me, now()
            outside, me.quiet = me.quiet, True
            try:
                y = function(*args)
            finally:
                me.quiet = outside
            noted(kind, name, start, y.nbytes if kind == "copy" else 0)
            return y

        return call

    def launching(function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of this file that launches one kernel, and more by the library."""

        def call(*args: Any, **keywords: Any) -> Any:
            start = now()
            y = function(*args, **keywords)
            noted("launch", getattr(function, "__qualname__", "kernel"), start)
            return y

        return call

    patches.put(xp, "from_host", transfer("copy", "to the device", xp.from_host))
    patches.put(xp, "to_host", transfer("copy", "to the host", xp.to_host))
    patches.put(xp, "synchronize", transfer("wait", "synchronize", xp.synchronize))
    patches.put(xp, "module", _Library(xp.module, counted))
    try:
        for names, noting in ((OPERATORS, counted), (WRITES, writing)):
            for name in names:
                if hasattr(array_type, name):
                    patches.put(array_type, name, noting(name, getattr(array_type, name)))
    except TypeError as error:  # a class whose methods cannot be replaced
        warnings.warn(f"profile: launches by operators on arrays are not counted ({error})", stacklevel=2)
    _watch_functions(xp, patches, counted)
    _watch_generators(xp, patches, counted)
    if xp.writer == "cuda" and not hasattr(cuda_kernel.load, "is_watched"):
        _watch_kernels(patches, launching)


def _computes(y: Any, out: Any, args: tuple[Any, ...], array_type: type) -> bool:
    """Whether a call of the library computes something: what it gives has memory of its own, or it was told where."""
    if out is not None:
        return bool(out.size)
    parts: Any = y if isinstance(y, (list, tuple)) else (y,)
    kind: Any = array_type
    return any(type(a) is kind and a.base is None and a.size and not any(a is x for x in args) for a in parts)


class _Library:
    """The array library, whose functions are counted."""

    def __init__(self, module: Any, counted: Callable[..., Any]) -> None:
        self._module, self._counted = module, counted

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._module, name)
        if isinstance(function, type) or not callable(function):
            return function
        call = self._counted(name, function)
        if hasattr(function, "at"):  # add.at(out, index, values) gives nothing
            call.at = lambda out, *args: (self._counted("at", function.at)(out, *args, out=out), None)[1]
        return call


def _watch_functions(xp: ArrayNamespace, patches: Patches, counted: Callable[..., Any]) -> None:
    """Those of the library that the namespace knows already, and those that it will look up."""
    kind, own = type(xp), vars(xp)
    for name, function in list(own.items()):
        if callable(function) and not name.startswith("_") and name not in ("module", "array_type", *_TRANSFERS):
            patches.put(xp, name, counted(name, function))
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] != __name__.partition(".")[0]:  # a device from elsewhere
            for name, function in vars(base).items():
                if callable(function) and not name.startswith("_") and name not in vars(xp) and name not in _PLAIN:
                    patches.put(xp, name, counted(name, getattr(xp, name)))
    look_up = kind.__getattr__

    def found(self: ArrayNamespace, name: str) -> Any:
        function = look_up(self, name)
        if self is not xp or isinstance(function, type) or not callable(function):
            return function
        vars(xp).pop(name, None)  # where it was kept for the next time
        patches.put(xp, name, counted(name, function))
        return vars(xp)[name]

    patches.put(kind, "__getattr__", found)


_TRANSFERS: Final = ("from_host", "to_host", "synchronize")
_PLAIN: Final = {
    *("address", "seed", "generator_state", "set_generator_state", "counts", "allocated", "freed", "forget_peak"),
    *("make_current", "activate", "at", *_TRANSFERS),
}


def _watch_generators(xp: ArrayNamespace, patches: Patches, counted: Callable[..., Any]) -> None:
    kind = type(xp)
    before = next(vars(base)["generator"] for base in kind.__mro__ if "generator" in vars(base))

    def generator(self: ArrayNamespace) -> Any:
        found = before.fget(self)
        return _Generator(found, counted) if self is xp and type(found) is not _Generator else found

    patches.put(kind, "generator", property(generator))


class _Generator:
    """A random generator, whose draws are counted."""

    def __init__(self, generator: Any, counted: Callable[..., Any]) -> None:
        self._generator, self._counted = generator, counted

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._generator, name)
        return self._counted(name, found) if callable(found) else found

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(self._generator, memo)


def _watch_kernels(patches: Patches, launching: Callable[..., Any]) -> None:
    """minigrad's own, which CuPy launches."""
    load, matmul = cuda_kernel.load, tensor_cores.matmul

    def loaded(*args: Any, **keywords: Any) -> list[Any]:
        return [launching(function) for function in load(*args, **keywords)]

    def product(*args: Any) -> Any:
        y = matmul(*args)
        return y if y is None else launching(lambda: y)()

    loaded.is_watched = True  # type: ignore[attr-defined]
    patches.put(cuda_kernel, "load", loaded)
    patches.put(cuda_loop.Loop, "__call__", launching(cuda_loop.Loop.__call__))
    patches.put(cuda_library, "_launch", launching(cuda_library._launch))
    patches.put(tensor_cores, "matmul", product)


class Clock:
    """The device's own clock, by events that it notes when it comes to them. Not tried on a GPU yet."""

    def __init__(self, xp: Any) -> None:
        self._cuda = xp.module.cuda

    @classmethod
    def of(cls, xp: Any) -> Clock | None:
        """The clock of a device, if it has one."""
        cuda = getattr(xp.module, "cuda", None) if xp.writer == "cuda" else None
        return None if getattr(cuda, "Event", None) is None else cls(xp)

    def mark(self) -> Any:
        """This moment in the queue of the current stream."""
        event = self._cuda.Event()
        event.record()
        return event

    def between(self, start: Any, end: Any) -> float:
        """Seconds between two marks; waits until the device has come to them."""
        end.synchronize()
        return float(self._cuda.get_elapsed_time(start, end)) / 1000
