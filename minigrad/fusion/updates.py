"""Updates: formulas whose results replace what they were computed from, such as an optimizer's step.

A formula is a function of `xp`, arrays of one shape and numbers. Read with expressions it gives one kernel, which loads
an entry of every array, computes, and stores; read with the array library it computes as it stands.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..backend import Array, ArrayNamespace, cpu
from .compiler import CompileError
from .expression import DTYPES, Graph, Values, dummy
from .fused import WRITERS
from .nest import Nest, Store
from .setting import note_failure, setting, writer_name

SMALL = 2**10  # entries, below which the host's calls cost less than finding a kernel
BLOCK = 2**16  # entries: of the five float32 arrays of Adam's step, 1.25 MB
MOST_KERNELS = 256  # of one update: shapes, strides and dtypes that it has met

Arrays = Sequence[Array | None]


class Update:
    """A formula that runs in place: what `update` gives."""

    def __init__(self, function: Callable[..., Any], replaced: Sequence[str], adds: bool) -> None:
        functools.update_wrapper(self, function)
        names = list(inspect.signature(function).parameters)[1:]
        self.function, self.slots, self.adds = function, [names.index(name) for name in replaced], adds
        self._kernels: dict[Any, Any] = {}

    def __call__(
        self, xp: ArrayNamespace, arrays: Arrays, numbers: Sequence[float], options: tuple[Any, ...] = ()
    ) -> None:
        """Replace arrays by the results, or add these up into them.

        Args:
            arrays: those of `xp`, of one shape or 0-d; None where the options leave one out.
            numbers: Python's, which may differ from call to call.
            options: what else the formula is called with, and its kernel is made for.
        """
        arrays = self._apart(xp, arrays)
        if xp.on_host and self._first(arrays).size < SMALL:
            self._as_it_stands(xp, arrays, numbers, options)
            return
        name = writer_name(xp) if setting.is_on else "numpy"
        if name != "numpy" and (name != "c" or self._are_for_c(arrays)):
            kernel = self._kernel_for(name, xp, arrays, len(numbers), options)
            if kernel is not None:
                kernel(arrays, numbers)
                return
        self._in_parts(xp, arrays, numbers, options)

    def _apart(self, xp: ArrayNamespace, arrays: Arrays) -> Arrays:
        """The arrays, copied where what is replaced shares memory with one that lies there otherwise."""
        if all(x is None or x.base is None for x in arrays):  # each has memory of its own
            return arrays
        replaced = [arrays[slot] for slot in self.slots if arrays[slot] is not None]

        def meets(x: Array, y: Any) -> bool:
            if xp.address(x) == xp.address(y) and x.strides == y.strides:
                return False
            shared: bool = xp.may_share_memory(x, y)
            return shared

        return [
            x.copy() if x is not None and slot not in self.slots and any(meets(x, y) for y in replaced) else x
            for slot, x in enumerate(arrays)
        ]

    def _are_for_c(self, arrays: Arrays) -> bool:
        """Whether C may read them all, and write to those that are replaced; what may not, NumPy refuses."""
        return all(
            x is None or (x.flags.aligned and (x.flags.writeable or slot not in self.slots))
            for slot, x in enumerate(arrays)
        )

    def _first(self, arrays: Arrays) -> Any:
        """An array that has the shape of the loops."""
        replaced = arrays[self.slots[0]]
        return next((x for x in arrays if x is not None and x.ndim), replaced) if self.adds else replaced

    def _in_parts(self, xp: ArrayNamespace, arrays: Arrays, numbers: Sequence[float], options: tuple[Any, ...]) -> None:
        """By a program of the array library's functions, or as it stands where there can be none."""
        first = self._first(arrays)
        arrays = [x if slot in self.slots else _laid_out_as(xp, first, x) for slot, x in enumerate(arrays)]
        kernel, shape = None, None
        for parts in _parts(xp, arrays, first):
            part = self._first(parts).shape
            if part != shape:
                kernel, shape = self._kernel_for("numpy", xp, parts, len(numbers), options), part
            if kernel is None:
                self._as_it_stands(xp, parts, numbers, options)
            else:
                kernel(parts, numbers)

    def _as_it_stands(
        self, xp: ArrayNamespace, arrays: Arrays, numbers: Sequence[float], options: tuple[Any, ...]
    ) -> None:
        results = self.function(xp, *arrays, *numbers, *options)
        for slot, value in zip(self.slots, results, strict=True):
            if value is not None:
                array: Any = arrays[slot]
                array[...] = array + xp.sum(value) if self.adds else value

    def _kernel_for(self, name: str, xp: ArrayNamespace, arrays: Arrays, numbers: int, options: tuple[Any, ...]) -> Any:
        """The kernel for arguments like these; None if there can be none."""
        key = (name, xp, options, *[x if x is None else (x.shape, x.strides, x.dtype) for x in arrays])
        found = self._kernels.get(key, self)
        if found is not self:
            return found
        kernel = None
        try:
            if all(x is None or x.dtype in DTYPES for x in arrays):
                kernel = WRITERS[name].Kernel([self._nest(arrays, numbers, options)])
        except CompileError as error:
            note_failure(error)
        if len(self._kernels) >= MOST_KERNELS:
            self._kernels.pop(next(iter(self._kernels)), None)  # another thread may have been faster
        self._kernels[key] = kernel
        return kernel

    def _nest(self, arrays: Arrays, numbers: int, options: tuple[Any, ...]) -> Nest:
        """Loops in the order in which the first array lies in memory."""
        first = self._first(arrays)
        order = sorted(range(first.ndim), key=lambda axis: -abs(first.strides[axis]))

        def view(xp: Any, x: Any) -> Any:
            return x.transpose(order) if x.ndim else x

        graph = Graph()
        places = [x if x is None else view(cpu, dummy(x.shape, x.dtype, x.strides)) for x in arrays]
        loads = [x if x is None else graph.load(slot, x, view) for slot, x in enumerate(places)]
        results = self.function(Values(graph), *loads, *map(graph.scalar, range(numbers)), *options)
        stores = [
            Store(slot, places[slot], view, value, self.adds)
            for slot, value in zip(self.slots, results, strict=True)
            if value is not None
        ]
        return Nest(tuple(first.shape[axis] for axis in order), stores)


def update(*replaced: str, adds: bool = False) -> Callable[[Callable[..., Any]], Update]:
    """Make of a formula f(xp, x, y, ..., number, ..., option, ...) what computes in place.

    Args:
        replaced: the names of the parameters that the results, a tuple, take the place of, in order. A result of None
            replaces nothing; none may be one of these parameters as it is.
        adds: the entries of each result are added up, and to what is there, 0-d.

    >>> from minigrad.backend import cpu
    >>> from minigrad.fusion.updates import update
    >>> @update("x")
    ... def descend(xp, x, g, lr):
    ...     return (x - lr * g,)
    >>> x = cpu.ones(3)
    >>> descend(cpu, [x, cpu.ones(3)], [0.5])
    >>> x.tolist()
    [0.5, 0.5, 0.5]
    """
    return lambda function: Update(function, replaced, adds)


def _laid_out_as(xp: ArrayNamespace, x: Array, y: Any) -> Any:
    """y, or a copy in the order of x: passing over two orders together is several times slower."""
    if y is None or y.strides == x.strides or y.shape != x.shape:
        return y
    copy = xp.empty_like(x)
    copy[...] = y
    return copy


def _parts(xp: ArrayNamespace, arrays: Arrays, first: Array) -> Iterator[Arrays]:
    """Arrays of one shape some rows at a time, which stay in the cache, because a program passes over them often.

    On a GPU, where a call costs a launch and little else, all rows come at once.
    """
    if not xp.on_host or first.size <= BLOCK:
        yield arrays
        return
    rows = max(1, BLOCK * len(first) // first.size)
    for start in range(0, len(first), rows):
        yield [x if x is None or x.shape != first.shape else x[start : start + rows] for x in arrays]
