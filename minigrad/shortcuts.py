"""Shorter ways to the same product: rows of a table are multiplied once, and a weight lies as the product likes it.

A product commutes with a row look-up: take(E, ids) W = take(E W, ids), and with 65 characters at 2500 places the
right-hand side is forty times less arithmetic. Only the value takes this way. On the tape the product still hangs
from the rows that were looked up, so that hooks on them and gradients with respect to them are what they would be.

What is known of a Tensor besides its entries is a *hint* on it. Going without it gives the same, later.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from .backend import Array, ArrayNamespace, namespace_of
from .graph import Tensor, storage_of, tick
from .ops.contraction import linear, matmul, product_plus
from .ops.index import take
from .ops.primitive import Primitive


class Lookup(NamedTuple):
    """x = table[indices]: the rows of a matrix."""

    table: Tensor
    indices: Array
    made: int  # when; what has been written to since is no hint any more

    @property
    def is_valid(self) -> bool:
        return storage_of(self.table).written < self.made


class Reused(NamedTuple):
    """A weight W by whose transpose many rows will be multiplied: Wᵀ as a copy in C order."""

    transposed: Array
    made: int


def looked_up(rows: Tensor, table: Tensor, indices: Array) -> None:
    """Note that `rows` are table[indices]."""
    if table._data.ndim == 2 and indices.ndim:
        rows._hint = Lookup(table, indices, tick())


@contextlib.contextmanager
def reused(weights: Iterable[Any], times: int) -> Iterator[None]:
    """Inside this block, `linear` has a copy of each of these matrices, if it is used often enough for that to pay.

    A product with a transposed matrix is slower, on the host. Going backward multiplies by the matrix itself.
    """
    found = [w for w in weights if times > 3 and type(w) is Tensor and w._data.ndim == 2 and w._hint is None]
    matrices = [w for w in found if namespace_of(w._data).on_host]
    for w in matrices:
        w._hint = Reused(namespace_of(w._data).in_c_order(w._data.T), tick())
    try:
        yield
    finally:
        for w in matrices:
            w._hint = None


def _is_written(x: Tensor, made: int) -> bool:
    return x._storage is not None and x._storage.written > made


def product(
    primitive: Primitive[Any], xp: ArrayNamespace, inputs: Sequence[Any], arrays: list[Array]
) -> tuple[Array, Lookup | None]:
    """The value of a product that acts on each row of its first input, and the look-up that it made use of."""
    x, w = inputs[0], inputs[1]
    lookup = x._hint if type(x) is Tensor else None
    if type(lookup) is Lookup and _is_shorter(lookup, x, arrays):
        with xp.without_blas():  # what follows is often a time loop
            rows = primitive.value(xp, lookup.table._data, *arrays[1:])
        return take.value(xp, rows, indices=lookup.indices, axis=0), lookup
    if primitive is linear and type(w) is Tensor:
        hint = w._hint
        if type(hint) is Reused and not _is_written(w, hint.made):
            return product_plus(xp, arrays[0], hint.transposed, arrays[2]), None
    return primitive.value(xp, *arrays), None


def _is_shorter(lookup: Lookup, x: Tensor, arrays: Sequence[Any]) -> bool:
    """Whether to multiply the table: each row is used twice or more often, and the same happens to all rows."""
    if 2 * lookup.table._data.shape[0] > lookup.indices.size:
        return False
    same = arrays[1].ndim == 2 and all(getattr(b, "ndim", 0) <= 1 for b in arrays[2:])
    return same and lookup.is_valid and not _is_written(x, lookup.made)


matmul.shortcut = linear.shortcut = product
