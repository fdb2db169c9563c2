"""How a sweep reads the derivative formulas: on arrays, deferring sums that are cheaper later, or on Tensors.

Both offer every registered name. A formula gets one of them as its `xp`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .backend import Array, ArrayNamespace
from .cotangent import Deferred, Slices
from .graph import Tensor
from .ops import contraction, index, shape
from .ops.primitive import Compute, Shape, registry
from .tape import apply, as_array


class Defer(Compute):
    """The compute reading of a sweep: sums over rows, and sums by index, give a Deferred."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        compute = super().__getattr__(name)

        def with_list(xs: Sequence[Any], **parameters: Any) -> Any:
            return compute([_as_array(x) for x in xs], **parameters)

        def with_arrays(*inputs: Any, **parameters: Any) -> Any:
            for x in inputs:
                if type(x) is Deferred:
                    inputs = tuple(x.array() if type(x) is Deferred else x for x in inputs)
                    break
            return compute(*inputs, **parameters)

        found = with_list if registry[name].variadic else with_arrays
        setattr(self, name, found)
        return found

    def outer_sum(self, x: Array, y: Array) -> Any:
        x, y = _as_array(x), _as_array(y)
        if x.dtype != y.dtype or x.shape[:-1] != y.shape[:-1] or not x.size or not y.size:
            return contraction.outer_sum.value(self.arrays, x, y)
        total = Deferred(self.arrays, (x.shape[-1], y.shape[-1]), x.dtype)
        total.pairs.append((x, y))
        total.rows = x.size // x.shape[-1]
        return total

    def segment_sum(self, x: Any, *, indices: Array, size: int, axis: int = 0) -> Any:
        known = None
        if type(x) is Deferred:
            known, x = x.for_table(indices) if axis == 0 else (None, x.array())
            if x is None:
                return known
        if axis or getattr(indices, "ndim", 0) == 0 or not x.size:
            return index.segment_sum.value(self.arrays, x, indices=indices, size=size, axis=axis)
        total = Deferred(self.arrays, (size, *x.shape[indices.ndim :]), x.dtype)
        total.segments.append((indices, x))
        total.rows = indices.size
        if known is not None:
            total.absorb(known)
        return total

    def scatter_add(self, x: Any, *, index: Any, shape: Shape) -> Any:
        x = _as_array(x)
        total = Deferred(self.arrays, shape, x.dtype)
        total.parts.append((index, x))
        return total

    def transpose(self, x: Any, *, axes: Sequence[int] | None = None) -> Any:
        if type(x) is Deferred:
            if len(x.shape) == 2 and (axes is None or [a % 2 for a in axes] == [1, 0]):
                return x.transposed()
            x = x.array()
        return shape.transpose.value(self.arrays, x, axes=axes)

    def stack(self, xs: Sequence[Any], *, axis: int = 0) -> Array:
        if type(xs) is Slices:
            return self.arrays.moveaxis(xs.buffer, 0, axis)
        return shape.stack.value(self.arrays, [_as_array(x) for x in xs], axis=axis)


def _as_array(x: Any) -> Any:
    return x.array() if type(x) is Deferred else x


class Record:
    """The record reading: every registered name as a function from Tensors to Tensors."""

    def __init__(self, compute: Compute) -> None:
        self._compute = compute

    def __getattr__(self, name: str) -> Callable[..., Any]:
        computed = getattr(self._compute, name)
        primitive = registry[name]

        def record(*inputs: Any, **parameters: Any) -> Any:
            operands = inputs[0] if primitive.variadic else inputs
            if not any(type(x) is Tensor for x in operands):  # scalars alone: a constant, of this device
                return Tensor(as_array(self._compute.arrays, computed(*inputs, **parameters), name))
            return apply(primitive, operands, parameters)

        setattr(self, name, record)
        return record


class Readings:
    """Those of one device: plain arrays, and the two of a sweep."""

    def __init__(self, xp: ArrayNamespace) -> None:
        self.compute, self.defer = Compute(xp), Defer(xp)
        self.record = Record(self.compute)


_readings: dict[ArrayNamespace, Readings] = {}


def readings_of(xp: ArrayNamespace) -> Readings:
    found = _readings.get(xp)
    if found is None:
        found = _readings[xp] = Readings(xp)
    return found
