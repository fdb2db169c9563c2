"""Expressions made easier to read without another meaning: what changes nothing is left out, and what has a shorter
way of saying it is said that way. Each rule holds for all numbers (a product of matrices may round otherwise)."""

from __future__ import annotations

import math

from ...ops.primitive import registry
from .tree import NUMBERS, Expression, constant, rebuilt

WITHOUT_EFFECT = {"ascontiguousarray", "reshape", "broadcast_to", "sum_to", "squeeze", "expand_dims"}


def tidied(e: Expression) -> Expression:
    """The same, easier to read."""
    return rebuilt(e, _simpler)


def _simpler(e: Expression) -> Expression | None:
    for rule in (_nothing, _product_of_rows, _axes_of_one, _number, _sum_of_rows, _outer_product, _lifted, _unchanged):
        found = rule(e)
        if found is not None:
            return found
    return None


def _nothing(e: Expression) -> Expression | None:
    """What gives its argument back."""
    if e.op in WITHOUT_EFFECT and e.args and e.shape is not None and e.args[0].shape == e.shape:
        return e.args[0]
    if e.op == "astype" and e.args[0].dtype is not None and e.args[0].dtype == e.dtype:
        return e.args[0]
    return None


def _number(e: Expression) -> Expression | None:
    """xp.asarray(0.5) is 0.5."""
    if e.op == "asarray" and e.args[0].is_number and type(e.args[0].value) in NUMBERS:
        return e.args[0]
    return None


def _product_of_rows(e: Expression) -> Expression | None:
    """A product with all leading axes made one and made many again is the product."""
    if e.op != "reshape" or e.args[0].op != "matmul" or e.shape is None or not _is_reshaped(e.args[0].args[0]):
        return None
    (flat, y), x = e.args[0].args, e.args[0].args[0].args[0]
    if x.shape is None or y.shape is None or len(y.shape) != 2 or flat.shape is None or len(flat.shape) != 2:
        return None
    if flat.shape[-1] != x.shape[-1] or e.shape != (*x.shape[:-1], y.shape[-1]):
        return None
    return Expression("matmul", (x, y), shape=e.shape, dtype=e.dtype)


def _is_reshaped(e: Expression) -> bool:
    """Whether it is a reshape, maybe one that was written as an index."""
    index = e.option("index") if e.op == "getitem" else None
    return e.op == "reshape" or (
        isinstance(index, tuple) and all(part in (None, 0) or part == slice(None) for part in index)
    )


def _axes_of_one(e: Expression) -> Expression | None:
    """A reshape that only puts axes of size 1 in, or takes them out, as an index: x[:, None], x[:, 0]."""
    if e.op not in ("reshape", "expand_dims", "squeeze") or e.shape is None:
        return None
    x = e.args[0]
    if x.shape is None or math.prod(x.shape) == 0:
        return None
    parts = _index_of_ones(x.shape, e.shape)
    if parts is None:
        return None
    while parts and parts[-1] == slice(None):
        parts.pop()
    return Expression("getitem", (x,), {"index": constant(tuple(parts))}, shape=e.shape, dtype=e.dtype)


def _index_of_ones(old: tuple[int, ...], new: tuple[int, ...]) -> list[object] | None:
    """The index that makes one shape of the other, if they differ in axes of size 1 alone."""
    parts: list[object] = []
    rest = list(old)
    for k, n in enumerate(new):
        while rest and rest[0] == 1 and n != 1:
            parts.append(0)
            rest.pop(0)
        if rest and rest[0] == n and (n != 1 or len(rest) >= len(new) - k):
            parts.append(slice(None))
            rest.pop(0)
        elif n == 1:
            parts.append(None)
        else:
            return None
    return [*parts, *(0 for _ in rest)] if all(n == 1 for n in rest) else None


def _sum_of_rows(e: Expression) -> Expression | None:
    """einsum("...j->...", x)[..., None], which is faster, is the sum over the last axis."""
    if e.op != "getitem" or e.args[0].op != "einsum" or e.args[0].option("subscripts") != "...j->...":
        return None
    (x,) = e.args[0].args[0].args
    if e.option("index") != (..., None):
        return None
    options = {"axis": constant(-1), "keepdims": constant(True)}
    return Expression("sum", (x,), options, shape=e.shape, dtype=e.dtype)


def _outer_product(e: Expression) -> Expression | None:
    """A sum of outer products over the rows of two matrices is xᵀ y; of vectors there is one row."""
    if e.op != "outer_sum" or any(a.shape is None or len(a.shape) not in (1, 2) for a in e.args):
        return None
    x, y = (a if a.shape is not None and len(a.shape) == 2 else _indexed(a, (None,)) for a in e.args)
    turned = Expression("transpose", (x,), shape=(x.shape or ())[::-1], dtype=x.dtype)
    return Expression("matmul", (turned, y), shape=e.shape, dtype=e.dtype)


def _indexed(x: Expression, index: tuple[None, ...]) -> Expression:
    shape = (*(1 for _ in index), *(x.shape or ()))
    return Expression("getitem", (x,), {"index": constant(index)}, shape=shape, dtype=x.dtype)


def _scalar(e: Expression) -> Expression | None:
    """What a number with axes of size 1, x[None, None], is a number of; None for anything else."""
    index = e.option("index") if e.op == "getitem" else None
    is_lifted = isinstance(index, tuple) and all(part is None for part in index) and e.args[0].shape == ()
    return e.args[0] if is_lifted else None


def _lifted(e: Expression) -> Expression | None:
    """A number with axes of size 1 where it broadcasts is as good as the number."""
    primitive = registry.get(e.op)
    if e.shape is None or not (e.op == "broadcast_to" or (primitive is not None and primitive.kind == "elementwise")):
        return None
    inside = [_scalar(a) for a in e.args]
    if not any(inside):
        return None
    args = tuple(new or old for new, old in zip(inside, e.args, strict=True))
    ndim = max((len(a.shape or ()) for a in args), default=0)
    if ndim == len(e.shape) or e.op == "broadcast_to":
        return Expression(e.op, args, e.options, value=e.value, shape=e.shape, dtype=e.dtype)
    if ndim == 0:
        return _indexed(Expression(e.op, args, e.options, shape=(), dtype=e.dtype), (None,) * len(e.shape))
    return None


def _unchanged(e: Expression) -> Expression | None:
    """x + 0, 1 x and x / 1 are x."""
    neutral = {"add": 0, "multiply": 1, "divide": 1}.get(e.op)
    if neutral is None:
        return None
    x, y = e.args
    if y.is_number and y.value == neutral and x.shape == e.shape and x.dtype == e.dtype:
        return x
    return y if e.op == "multiply" and x.is_number and x.value == 1 and y.dtype == e.dtype else None


def of_vectors(e: Expression) -> Expression:
    """The same where a vector is multiplied by a matrix: x Wᵀ is W x then, as textbooks write it."""

    def turned(e: Expression) -> Expression | None:
        if e.op != "matmul" or e.args[1].op != "transpose" or e.args[1].option("axes") is not None:
            return None
        x, w = e.args[0], e.args[1].args[0]
        if x.shape is None or w.shape is None or len(x.shape) != 1 or len(w.shape) != 2:
            return None
        return Expression("matmul", (w, x), shape=e.shape, dtype=e.dtype)

    return rebuilt(e, turned)
