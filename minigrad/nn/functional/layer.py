"""What the layers without memory compute, given their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...backend import float32, namespace_of
from ...fusion.fused import fuse
from ...graph import Tensor
from ...indexing import take
from ...messages import describe
from ...ops import contraction
from ...ops.elementwise import sqrt, where
from ...tape import as_tensor
from .checks import (
    as_padding_index,
    as_shape,
    check_alike,
    check_flags,
    check_ids,
    check_integers,
    check_numbers,
    check_probability,
    check_sizes,
)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = x Wᵀ + b          x (..., in), W (out, in), b (out,), y (..., out)

    Raises:
        ValueError: the last axis of x is not `in` long, W has not two axes, or b is not `out` long.
        TypeError: x, W or b is no Tensor or array, or their dtypes differ.

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> F.linear(mg.ones((1, 2)), mg.tensor([[1.0, 2.0]]), mg.tensor([0.5])).tolist()
    [[3.5]]
    """
    x, weight = as_tensor(x, "linear"), as_tensor(weight, "linear, weight")
    check_alike("linear", "x", x, "the weight", weight)
    if weight.ndim != 2:
        raise ValueError(f"linear: expected a weight (out, in), got {describe(weight)}")
    if x.ndim == 0 or x.shape[-1] != weight.shape[-1]:
        raise ValueError(f"linear: expected x (..., {weight.shape[-1]}), got {describe(x)}")
    if bias is None:
        return x @ weight.T
    bias = as_tensor(bias, "linear, bias")
    check_alike("linear", "bias", bias, "x", x)
    if bias.shape != weight.shape[:1]:  # one of another shape could broadcast
        raise ValueError(f"linear: expected a bias {weight.shape[:1]}, got {describe(bias)}")
    return contraction.linear(x, weight, bias)


def embedding(ids: Any, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """y = W[ids]: a row of the table for each id.          ids (...) integers in [0, V), W (V, D), y (..., D)

    Args:
        padding_idx: a row that gets no gradient.

    Raises:
        IndexError: an id is negative or not below V (checked on the CPU; a GPU wraps silently).
        TypeError: the ids are not integers.
        ValueError: there is no row padding_idx, or W has not two axes.

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> F.embedding(mg.tensor([1, 0]), mg.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[3.0, 4.0], [1.0, 2.0]]
    """
    ids, weight = as_tensor(ids, "embedding"), as_tensor(weight, "embedding, weight")
    if weight.ndim != 2:
        raise ValueError(f"embedding: expected a weight (V, D), got {describe(weight)}")
    check_ids("embedding", ids, weight.shape[0])
    rows = take(weight, ids, axis=0)
    if padding_idx is None:
        return rows
    padding = Tensor((ids.data == as_padding_index("embedding", padding_idx, weight.shape[0]))[..., None])
    return where(padding, rows.detach(), rows)


def one_hot(ids: Any, num_classes: int, *, dtype: Any = None) -> Tensor:
    """y[..., j] = 1 where ids[...] = j, else 0.          ids (...) integers, y (..., num_classes), float32 by default

    Raises:
        IndexError: an id is negative or not below num_classes (checked on the CPU).
        TypeError: the ids are not integers, or num_classes is none.
        ValueError: num_classes is not positive.

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> F.one_hot(mg.tensor([2, 0]), 3).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    check_integers("one_hot", num_classes=num_classes)
    check_sizes("one_hot", num_classes=num_classes)
    ids = as_tensor(ids, "one_hot")
    check_ids("one_hot", ids, num_classes)
    xp = namespace_of(ids.data)
    xp.make_current()
    return Tensor((ids.data[..., None] == xp.arange(num_classes)).astype(dtype or float32))


def layer_norm(
    x: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """y = (x - mean x) / √(var x + eps) ⊙ w + b, mean and variance over the last axes.          w, b: normalized_shape

    Args:
        normalized_shape: the sizes of the last axes, or the size of the last one.

    Raises:
        ValueError: the last axes of x have other sizes, or w or b has.
        TypeError: the dtypes differ.

    Source: Ba et al. 2016.

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> F.layer_norm(mg.tensor([[1.0, 3.0]]), 2, eps=0.0).tolist()
    [[-1.0, 1.0]]
    """
    x, shape = as_tensor(x, "layer_norm"), as_shape("layer_norm", normalized_shape)
    check_numbers("layer_norm", eps=eps)
    if x.shape[-len(shape) :] != shape:
        raise ValueError(f"layer_norm: expected x (..., {', '.join(map(str, shape))}), got {describe(x)}")
    for name, given in (("weight", weight), ("bias", bias)):
        if given is not None:
            parameter = as_tensor(given, f"layer_norm, {name}")
            check_alike("layer_norm", "x", x, f"the {name}", parameter)
            if parameter.shape != shape:
                raise ValueError(f"layer_norm: expected {name} {shape}, got {describe(parameter)}")
    axes = tuple(range(-len(shape), 0))
    centred = x - x.mean(axis=axes, keepdims=True)
    y = centred * (1.0 / sqrt((centred * centred).mean(axis=axes, keepdims=True) + eps))
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def dropout(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """y = x m / (1 - p), each m being 0 with probability p, else 1; y = x unless training

    The mask is drawn by the generator of x's device.

    Raises:
        ValueError: p is not in [0, 1].

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> F.dropout(mg.ones(3), 0.5, training=False).tolist()
    [1.0, 1.0, 1.0]
    """
    x = as_tensor(x, "dropout")
    check_probability("dropout", p)
    check_flags("dropout", training=training)
    if not training or p == 0.0:
        return x
    if p == 1.0:
        return x * 0.0
    xp = namespace_of(x.data)
    drawn = xp.generator.random(x.shape, dtype=float32)
    if xp.writer == "cuda":
        dropped: Tensor = _dropped(x, Tensor(drawn), float(p), 1.0 / (1.0 - p))
        return dropped
    mask = xp.multiply(drawn >= p, 1.0 / (1.0 - p), dtype=x.dtype)
    return x * Tensor(xp.asarray(mask))  # of 0-d arrays NumPy makes scalars


@fuse(fallback=True)
def _dropped(x: Tensor, drawn: Tensor, p: float, scale: float) -> Tensor:
    """All of it in one launch."""
    return x * ((drawn >= p).astype(x.dtype) * scale)
