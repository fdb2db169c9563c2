"""Shorter ways to the same product: rows of a table are multiplied once, and a weight lies as the product likes it.

A product commutes with a row look-up: take(E, ids) W = take(E W, ids), and with 65 characters at 2500 places the
right-hand side is forty times less arithmetic. Only the value takes this way. On the tape the product still hangs
from the rows that were looked up, so that hooks on them and gradients with respect to them are what they would be.

What is known of a Tensor besides its entries is a *hint* on it. Going without it gives the same, later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .backend import Array, ArrayNamespace, namespace_of
from .graph import Tensor, storage_of, tick
from .ops.contraction import linear, matmul
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
    """A matrix that many products will have on their right, as a copy in C order."""

    array: Array
    made: int


def looked_up(rows: Tensor, table: Tensor, indices: Array) -> None:
    """Note that `rows` are table[indices]."""
    if table._data.ndim == 2 and indices.ndim:
        rows._hint = Lookup(table, indices, tick())


def reused(matrix: Tensor, times: int) -> Tensor:
    """The matrix, prepared to stand on the right of several products in a row.

    A product with a transposed matrix is slower; as that is what going backward has to do with a copy, only the value
    is computed from the copy.
    """
    data = matrix._data
    if times > 2 and data.ndim == 2 and not data.flags.c_contiguous:
        matrix._hint = Reused(namespace_of(data).in_c_order(data), tick())
    return matrix


def _is_written(x: Tensor, made: int) -> bool:
    return x._storage is not None and x._storage.written > made


def product(
    primitive: Primitive[Any], xp: ArrayNamespace, inputs: Sequence[Any], arrays: list[Array]
) -> tuple[Array, Lookup | None]:
    """The value of a product whose first input is a matrix of rows, and the look-up that it made use of."""
    x, w = inputs[0], inputs[1]
    if type(w) is Tensor and type(w._hint) is Reused and not _is_written(w, w._hint.made):
        arrays = [arrays[0], w._hint.array, *arrays[2:]]
    lookup = x._hint if type(x) is Tensor else None
    if type(lookup) is Lookup and _is_shorter(lookup, x, arrays[1]):
        rows = primitive.value(xp, lookup.table._data, *arrays[1:])
        return take.value(xp, rows, indices=lookup.indices, axis=0), lookup
    return primitive.value(xp, *arrays), None


def _is_shorter(lookup: Lookup, x: Tensor, w: Array) -> bool:
    """Whether to multiply the table, of which each row is then used twice or more often."""
    fewer = 2 * lookup.table._data.shape[0] <= lookup.indices.size
    return fewer and w.ndim == 2 and lookup.is_valid and not _is_written(x, lookup.made)


matmul.shortcut = linear.shortcut = product
