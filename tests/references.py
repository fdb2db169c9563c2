"""What the primitives with a parameter or two compute, in other words than minigrad's: the oracles of `cases`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Shape = tuple[int, ...]


def count(x: Any, axis: Any) -> int:
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return math.prod(x.shape[a] for a in axes)


def sum_(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """One axis after the other, by products with ones."""
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    for a in sorted((a % x.ndim for a in axes), reverse=True):
        x = np.tensordot(x, np.ones(x.shape[a]), axes=(a, 0))
        x = np.expand_dims(x, a) if keepdims else x
    return x


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return sum_(x, axis, keepdims) / count(x, axis)


def var(x: Any, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Any:
    n = count(x, axis)
    return (mean(x * x, axis, keepdims) - mean(x, axis, keepdims) ** 2) * n / (n - ddof)


def std(x: Any, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Any:
    return abs(var(x, axis, ddof, keepdims)) ** 0.5  # the two means differ in the last bit where all entries are equal


def cumsum(x: Any, axis: int | None = None) -> Any:
    """A product with a triangle of ones."""
    x, axis = (x.ravel(), 0) if axis is None else (x, axis)
    return np.moveaxis(np.tensordot(np.tri(x.shape[axis]), x, axes=(1, axis)), 0, axis)


def clip(x: Any, min: float | None = None, max: float | None = None) -> Any:
    bounds = -np.inf if min is None else min, np.inf if max is None else max
    return np.median([x, *(np.full_like(x, bound) for bound in bounds)], axis=0)


def added_up(x: Any, places: Any, shape: Shape) -> Any:
    """Zeros of `shape`, with each entry of x added at its place, counted through the flattened result."""
    values = np.broadcast_to(x, places.shape)
    return np.bincount(places.ravel(), values.ravel(), math.prod(shape)).reshape(shape)


def places(shape: Shape) -> Any:
    return np.arange(math.prod(shape)).reshape(shape)


def sum_to(x: Any, shape: Shape) -> Any:
    return added_up(x, np.broadcast_to(places(shape), x.shape), shape)


def scatter_add(x: Any, index: Any, shape: Shape) -> Any:
    return added_up(x, places(shape)[index], shape)


def segment_sum(x: Any, indices: Any, size: int, axis: int = 0) -> Any:
    ndim = np.ndim(indices)
    shape = (*x.shape[:axis], size, *x.shape[axis + ndim :])
    return added_up(x, np.take(places(shape), indices, axis), shape)


def entries_of_windows(shape: Shape, size: Any, stride: Any, dilation: Any, axis: int = 0, which: Any = None) -> Any:
    """The place, counted through the flattened array, of each entry of each window, or of one in each."""
    axis %= len(shape)
    end = axis + len(size)
    sliding = zip(shape[axis:end], size, stride, dilation, strict=True)
    counts = [len(range(0, n - d * (k - 1), s)) for n, k, s, d in sliding]
    found = np.empty([*shape[:axis], *size, *counts, *shape[end:]], dtype=int)
    for entry in np.ndindex(*found.shape):
        a, o, w, b = np.split(entry, [axis, end, end + len(size)])
        found[entry] = np.ravel_multi_index([*a, *(w * stride + o * dilation), *b], shape)
    if which is None:
        return found
    flat = found.reshape(*found.shape[:axis], math.prod(size), *found.shape[end:])
    return np.take_along_axis(flat, np.expand_dims(which, axis).astype(int), axis).squeeze(axis)


def windows(x: Any, **options: Any) -> Any:
    return x.ravel()[entries_of_windows(x.shape, **options)]


def add_windows(x: Any, shape: Shape, stride: Any, dilation: Any, axis: int = 0) -> Any:
    size = x.shape[axis % len(shape) :][: len(stride)]
    return added_up(x, entries_of_windows(shape, size, stride, dilation, axis), shape)


def add_to_windows(x: Any, shape: Shape, **options: Any) -> Any:
    return added_up(x, entries_of_windows(shape, **options), shape)


def surprisal(x: Any, classes: Any) -> Any:
    return np.array([-np.log(np.exp(row[k]) / np.exp(row).sum()) for row, k in zip(x, classes, strict=True)])


def surprisal_gradient(g: Any, x: Any, classes: Any) -> Any:
    p = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    return (p - np.eye(x.shape[1])[classes]) * g[:, None]


def outer_sum(x: Any, y: Any) -> Any:
    return np.tensordot(x, y, axes=(range(x.ndim - 1), range(y.ndim - 1)))


def linear(x: Any, w: Any, b: Any) -> Any:
    return np.einsum("...k,mk->...m", x, w) + b


def matmul(x: Any, y: Any) -> Any:
    if x.ndim == 1:
        return np.einsum("k,...k->..." if y.ndim == 1 else "k,...km->...m", x, y)
    return np.einsum("...k,k->..." if y.ndim == 1 else "...nk,...km->...nm", x, y)


def concatenate(*xs: Any, axis: int = 0) -> Any:
    ends = np.cumsum([0, *(x.shape[axis] for x in xs)])
    y = np.empty([ends[-1] if a == axis % xs[0].ndim else n for a, n in enumerate(xs[0].shape)])
    for x, start, stop in zip(xs, ends[:-1], ends[1:], strict=True):
        np.moveaxis(y, axis, 0)[start:stop] = np.moveaxis(x, axis, 0)
    return y


def stack(*xs: Any, axis: int = 0) -> Any:
    return np.moveaxis(np.array(xs), 0, axis)


def split(x: Any, sections: Any, axis: int = 0) -> Any:
    n = x.shape[axis]
    cuts = [n // sections * i for i in range(1, sections)] if isinstance(sections, int) else list(sections)
    parts = zip([0, *cuts], [*cuts, n], strict=True)
    return [np.moveaxis(np.moveaxis(x, axis, 0)[slice(*part)], 0, axis) for part in parts]


def unstack(x: Any, axis: int = 0) -> Any:
    return [x.take(i, axis) for i in range(x.shape[axis])]


def reshape(x: Any, shape: Any) -> Any:
    return np.array(x.ravel().tolist()).reshape(shape)


def squeeze(x: Any, axis: Any = None) -> Any:
    axes = (
        [a for a, n in enumerate(x.shape) if n == 1] if axis is None else axis if isinstance(axis, tuple) else (axis,)
    )
    for a in sorted((a % x.ndim for a in axes), reverse=True):
        x = x.take(0, a)
    return x


def expand_dims(x: Any, axis: Any) -> Any:
    axes = axis if isinstance(axis, tuple) else (axis,)
    ndim = x.ndim + len(axes)
    return x[tuple(None if a in {b % ndim for b in axes} else slice(None) for a in range(ndim))]


def flip(x: Any, axis: Any = None) -> Any:
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    for a in axes:
        x = x.take(range(x.shape[a])[::-1], a)
    return x


def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: float = 0) -> Any:
    return np.pad(x, pad_width, mode, constant_values=constant_values)


def along(shape: Shape, indices: Any, axis: int) -> Any:
    """The place that each of the indices points to, counted through the flattened array of `shape`."""
    target = [n if a == axis % len(shape) else m for a, (n, m) in enumerate(zip(indices.shape, shape, strict=True))]
    full = np.broadcast_shapes(indices.shape, target)
    found = np.empty(full, dtype=int)
    for entry in np.ndindex(*full):
        picked = [0 if n == 1 else i for i, n in zip(entry, shape, strict=True)]
        picked[axis] = indices[tuple(0 if n == 1 else i for i, n in zip(entry, indices.shape, strict=True))]
        found[entry] = places(shape)[tuple(picked)]
    return found


def take_along_axis(x: Any, indices: Any, axis: int) -> Any:
    return x.ravel()[along(x.shape, indices, axis)]


def add_along_axis(x: Any, indices: Any, axis: int, shape: Shape) -> Any:
    return added_up(x, along(shape, indices, axis), shape)


def einsum(*xs: Any, subscripts: str) -> Any:
    """Every product of entries, added where it belongs, one after the other."""
    left, output = subscripts.split("->")
    terms = left.split(",")
    sizes = {label: n for term, x in zip(terms, xs, strict=True) for label, n in zip(term, x.shape, strict=True)}
    y = np.zeros([sizes[label] for label in output])
    for point in np.ndindex(*sizes.values()):
        at = dict(zip(sizes, point, strict=True))
        factors = [x[tuple(at[label] for label in term)] for term, x in zip(terms, xs, strict=True)]
        y[tuple(at[label] for label in output)] += math.prod(factors)
    return y


def take(x: Any, indices: Any, axis: int | None = None) -> Any:
    if axis is None:
        return x.ravel()[indices]
    return x[(*[slice(None)] * (axis % x.ndim), indices)]
