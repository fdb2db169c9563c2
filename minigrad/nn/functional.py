"""The functions of neural networks, composed of primitives. Names and arguments follow PyTorch (`dim=`)."""

from __future__ import annotations

from typing import Any

from ..backend import float32, is_array, namespace_of
from ..indexing import take
from ..messages import describe
from ..ops.elementwise import exp, relu, sigmoid, softplus, tanh, where
from ..ops.reduction import logsumexp
from ..tape import Tensor

__all__ = [
    "cross_entropy", "dropout", "embedding", "linear", "log_softmax", "one_hot", "relu", "sigmoid", "softmax",
    "softplus", "tanh",
]  # fmt: skip


def as_tensor(x: Any, what: str) -> Tensor:
    """Data as a Tensor: Tensors as they are, NumPy arrays copied; lists raise."""
    if isinstance(x, Tensor):
        return x
    if is_array(x):
        return Tensor(x.copy())
    raise TypeError(
        f"{what}: expected a Tensor or an array, got {type(x).__name__}; make one with minigrad.tensor(...)"
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = x Wᵀ + b          x (..., in), W (out, in), b (out,), y (..., out)

    >>> import minigrad as mg
    >>> linear(mg.ones((1, 2)), mg.tensor([[1.0, 2.0]]), mg.tensor([0.5])).tolist()
    [[3.5]]
    """
    if x.dtype != weight.dtype:
        raise TypeError(
            f"linear: expected x of the weight's dtype {weight.dtype}, got {x.dtype}; "
            f'convert it with .astype("{weight.dtype}")'
        )
    if x.ndim == 0 or x.shape[-1] != weight.shape[-1]:
        raise ValueError(f"linear: expected x (..., {weight.shape[-1]}), got {describe(x)}")
    y = x @ weight.T
    return y if bias is None else y + bias


def embedding(ids: Tensor, weight: Tensor) -> Tensor:
    """y = W[ids]: a row of the table for each id.          ids (...) integers in [0, V), W (V, D), y (..., D)

    Raises:
        IndexError: an id is negative or not below V (checked on the CPU; a GPU wraps silently).
        TypeError: the ids are not integers.

    >>> import minigrad as mg
    >>> embedding(mg.tensor([1, 0]), mg.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[3.0, 4.0], [1.0, 2.0]]
    """
    ids = as_tensor(ids, "embedding")
    _check_ids(ids, weight.shape[0], "embedding")
    return take(weight, ids, axis=0)


def _check_ids(ids: Tensor, count: int, where: str) -> None:
    if ids.dtype.kind not in "iu":
        raise TypeError(f'{where}: expected integer ids, got {describe(ids)}; convert them with .astype("int64")')
    if namespace_of(ids.data).checks_indices and ids.size:
        low, high = int(ids.data.min()), int(ids.data.max())
        if low < 0 or high >= count:
            raise IndexError(f"{where}: expected ids from 0 to {count - 1}, got ids from {low} to {high}")


def one_hot(ids: Tensor, num_classes: int, *, dtype: Any = None) -> Tensor:
    """y[..., j] = 1 where ids[...] = j, else 0.          ids (...) integers, y (..., num_classes), float32 by default

    >>> import minigrad as mg
    >>> one_hot(mg.tensor([2, 0]), 3).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    ids = as_tensor(ids, "one_hot")
    _check_ids(ids, num_classes, "one_hot")
    xp = namespace_of(ids.data)
    return Tensor((ids.data[..., None] == xp.arange(num_classes)).astype(dtype or float32))


def log_softmax(x: Tensor, dim: int = -1) -> Tensor:
    """y = x - log Σ eˣ along `dim`: the logarithm of softmax, exact where softmax itself would be 0

    >>> import minigrad as mg
    >>> log_softmax(mg.zeros(4)).tolist()
    [-1.3862943649291992, -1.3862943649291992, -1.3862943649291992, -1.3862943649291992]
    """
    return x - logsumexp(x, axis=dim, keepdims=True)


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    """y = eˣ / Σ eˣ along `dim`

    >>> import minigrad as mg
    >>> softmax(mg.zeros(4)).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    return exp(log_softmax(x, dim))


def cross_entropy(logits: Any, targets: Any, *, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """L = -log softmax(logits)[target], in nats.          logits (N, V), targets (N,) integers in [0, V)

    As in PyTorch, logits may also be (V,) with a 0-d target, or (N, V, d₁, ...) with targets (N, d₁, ...).

    Args:
        ignore_index: a target that does not count.
        reduction: "mean" over the targets that count (NaN if none does), "sum", or "none" for one value each.

    Raises:
        ValueError: shapes do not fit, or the reduction is unknown.
        IndexError: a target is out of range (checked on the CPU).

    >>> import minigrad as mg
    >>> cross_entropy(mg.zeros((2, 4)), mg.tensor([1, 3])).item()      # log 4
    1.3862943649291992
    """
    logits, targets = as_tensor(logits, "cross_entropy"), as_tensor(targets, "cross_entropy")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'cross_entropy: expected reduction "mean", "sum" or "none", got {reduction!r}')
    if logits.ndim > 2:  # classes last, from here on
        logits = logits.transpose(0, *range(2, logits.ndim), 1)
    if logits.ndim == 0 or logits.shape[:-1] != targets.shape:
        raise ValueError(
            "cross_entropy: expected logits (N, V) and targets (N,), or logits (N, V, ...) and targets (N, ...); got "
            f"{describe(logits)} (classes moved last) and {describe(targets)}. For a sequence (T, N, V), write "
            "cross_entropy(logits.reshape(-1, V), targets.reshape(-1))"
        )
    xp = namespace_of(logits.data)
    if type(targets.data) is not type(logits.data):
        raise RuntimeError(f"cross_entropy: expected one device, got {describe(logits)} and {describe(targets)}")
    classes, count = logits.shape[-1], targets.size
    counted = targets.data.reshape(count) != ignore_index
    wanted = xp.where(counted, targets.data.reshape(count), 0)
    _check_ids(Tensor(wanted), classes, "cross_entropy")

    logits = logits.reshape(count, classes)
    losses = logsumexp(logits, axis=-1) - logits[xp.arange(count), wanted]
    losses = where(Tensor(counted), losses, 0.0)
    if reduction == "none":
        return losses.reshape(targets.shape)
    if reduction == "sum":
        return losses.sum()
    return losses.sum() / Tensor(counted).sum().astype(logits.dtype)


def check_probability(where: str, p: float) -> None:
    """Raise ValueError if p is no probability."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{where}: expected a probability from 0 to 1, got {p}")


def dropout(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """y = x m / (1 - p), each m being 0 with probability p, else 1; y = x unless training

    The mask is drawn by the generator of x's device.

    Raises:
        ValueError: p is not in [0, 1].

    >>> import minigrad as mg
    >>> dropout(mg.ones(3), 0.5, training=False).tolist()
    [1.0, 1.0, 1.0]
    """
    x = as_tensor(x, "dropout")
    check_probability("dropout", p)
    if not training or p == 0.0:
        return x
    if p == 1.0:
        return x * 0.0
    xp = namespace_of(x.data)
    kept = xp.generator.random(x.shape, dtype=float32) >= p
    return x * Tensor(kept.astype(x.dtype) * (1.0 / (1.0 - p)))
