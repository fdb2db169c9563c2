"""Losses: how far a prediction is from its target.          N: batch, V: classes

Each takes what the model gave first and the targets second, and gives one number: the mean, the "sum", or
with reduction="none" a value for each prediction.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend import Array, DType, int64, is_floating, namespace_of
from ...graph import Tensor
from ...indexing import take
from ...messages import describe
from ...ops.classes import surprisal
from ...ops.elementwise import absolute, clip, where
from ...ops.elementwise import softplus as log1p_exp
from ...ops.reduction import logsumexp
from ...tape import as_tensor
from .activation import log_softmax
from .checks import (
    check_alike,
    check_floating,
    check_ids,
    check_integers,
    check_numbers,
    check_one_device,
    check_probability,
    check_reduction,
)


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    return losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.mean()


# Classes ------------------------------------------------------------------------------------------


class _Labelled(NamedTuple):
    """Predictions with the number of the right class for each.          M: all that are predicted, N d₁ d₂ ..."""

    scores: Tensor  # (M, V)
    classes: Array  # (M,), 0 where ignored
    counted: Tensor | None  # (M,), False where ignored; None if all are known to count
    weights: Tensor | None  # (M,), of each one's class
    shape: tuple[int, ...]  # of the targets

    def picked(self) -> Tensor:
        """The score of the right class.          (M,)"""
        xp, (count, size) = namespace_of(self.classes), self.scores.shape
        if not xp.on_host:  # where one pass costs less than, on the way back, to add up by index
            is_right = Tensor(self.classes[:, None] == xp.arange(size))
            return where(is_right, self.scores, 0.0).sum(axis=-1)
        places = xp.arange(count) * size + self.classes.astype(int64, copy=False)
        return take(self.scores, places)

    def reduced(self, losses: Tensor, reduction: str) -> Tensor:
        """The losses (M,) of those that count; their mean is over the sum of the weights."""
        counted, weights = self.counted, self.weights
        if counted is not None:
            losses = where(counted, losses, 0.0)
            weights = counted if weights is None else where(counted, weights, 0.0)
        if reduction == "mean" and weights is not None:
            total = weights.sum() if weights is not counted else _count(weights, losses.dtype)
            return losses.sum() / total
        return _reduced(losses.reshape(self.shape) if reduction == "none" else losses, reduction)


def _count(counted: Tensor, dtype: DType) -> Tensor:
    """How many there are, as a float of this dtype: a quotient with an integer would be of float64."""
    xp = namespace_of(counted.data)
    return Tensor(xp.asarray(xp.sum(counted.data, dtype=dtype)))  # of 0-d arrays NumPy makes scalars


def _classes_last(scores: Tensor) -> Tensor:
    return scores.transpose(0, *range(2, scores.ndim), 1) if scores.ndim > 2 else scores


def _labelled(
    caller: str, name: str, scores: Tensor, targets: Tensor, weight: Tensor | None, ignore_index: int
) -> _Labelled:
    check_integers(caller, ignore_index=ignore_index)
    check_one_device(caller, "targets", targets, name, scores)
    came, scores = scores, _classes_last(scores)
    if scores.ndim == 0 or scores.shape[:-1] != targets.shape:
        raise ValueError(
            f"{caller}: expected {name} (N, V) and targets (N,), or {name} (N, V, ...) and targets (N, ...); got "
            f"{name} {describe(came)} and targets {describe(targets)}. For a sequence (T, N, V), write "
            f"{caller}({name}.reshape(-1, V), targets.reshape(-1))"
        )
    if targets.dtype.kind not in "iu":
        raise TypeError(
            f"{caller}: expected targets to be class numbers, which are integers, got {describe(targets)}; convert "
            'them with .astype("int64")'
        )
    xp, count = namespace_of(scores.data), targets.size
    xp.make_current()
    labels = targets.data.reshape(count)
    is_counted = labels != ignore_index
    counted = None if xp.on_host and count and is_counted.all() else Tensor(is_counted)
    classes = labels if counted is None else xp.where(is_counted, labels, 0)
    check_ids(caller, Tensor(classes), scores.shape[-1], "targets")
    weights = None if weight is None else weight[classes]
    scores = scores if scores.ndim == 2 else scores.reshape(count, scores.shape[-1])
    return _Labelled(scores, classes, counted, weights, targets.shape)


def _scores_and_targets(caller: str, name: str, scores: Any, targets: Any) -> tuple[Tensor, Tensor]:
    scores, targets = as_tensor(scores, caller), as_tensor(targets, caller)
    if not is_floating(scores.dtype):
        cure = "convert them with .astype(minigrad.float32)"
        if is_floating(targets.dtype):
            cure = f"the two are swapped, write {caller}({name}, targets)"
        raise TypeError(f"{caller}: expected floating-point {name} first, got {describe(scores)}; {cure}")
    return scores, targets


def _class_weight(caller: str, given: Any, scores: Tensor) -> Tensor | None:
    if given is None:
        return None
    weight = as_tensor(given, f"{caller}, weight")
    check_alike(caller, "weight", weight, "the predictions", scores)
    classes = scores.shape[min(1, scores.ndim - 1)] if scores.ndim else 0
    if weight.shape != (classes,):
        raise ValueError(f"{caller}: expected a weight for each of the {classes} classes, got {describe(weight)}")
    return weight


def cross_entropy(
    logits: Any,
    targets: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """L = -log softmax(logits)[target], in nats.          logits (N, V), targets (N,) integers in [0, V)

    As in PyTorch, logits may also be (V,) with a 0-d target, or (N, V, d₁, ...) with targets (N, d₁, ...).
    Targets of the shape of the logits are probabilities p of the classes: L = -Σ p log softmax(logits).

    Args:
        weight: (V,), a factor for each class.
        ignore_index: a target that does not count.
        reduction: "mean" over the targets that count, divided by the sum of their weights (NaN if none
            counts), "sum", or "none" for one value each. Of probabilities, the mean is over N, unweighted.
        label_smoothing: ε in [0, 1]: the target becomes (1 - ε) of the class, and ε/V of every class.

    Raises:
        ValueError: shapes do not fit, or the reduction is unknown.
        TypeError: the logits, or targets that are probabilities, are not floating-point; or ignore_index is no
            integer.
        IndexError: a target is out of range (checked on the CPU).

    Source: label smoothing: Szegedy et al. 2015.

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> F.cross_entropy(mg.zeros((2, 4)), mg.tensor([1, 3])).item()      # log 4
    1.3862943649291992
    >>> F.cross_entropy(mg.zeros((2, 4)), mg.full((2, 4), 0.25)).item()
    1.3862943649291992
    """
    caller = "cross_entropy"
    check_reduction(caller, reduction)
    check_probability(f"{caller}, label_smoothing", label_smoothing)
    logits, targets = _scores_and_targets(caller, "logits", logits, targets)
    weight = _class_weight(caller, weight, logits)
    if targets.shape == logits.shape and logits.ndim:
        return _of_probabilities(logits, targets, weight, ignore_index, reduction, label_smoothing)

    label = _labelled(caller, "logits", logits, targets, weight, ignore_index)
    losses = surprisal(label.scores, classes=label.classes)
    if label.weights is not None:
        losses = losses * label.weights
    if label_smoothing:
        log_sum = logsumexp(label.scores, axis=-1)
        of_all = log_sum * label.scores.shape[-1] - label.scores.sum(axis=-1)
        if weight is not None:
            of_all = log_sum * weight.sum() - (label.scores * weight).sum(axis=-1)
        losses = (1.0 - label_smoothing) * losses + label_smoothing / label.scores.shape[-1] * of_all
    return label.reduced(losses, reduction)


def _of_probabilities(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Tensor:
    caller = "cross_entropy"
    if not is_floating(targets.dtype):
        raise TypeError(
            f"{caller}: targets of the shape of the logits, {logits.shape}, are probabilities of classes, which are "
            f'floating-point, got {targets.dtype}; convert them with .astype("{logits.dtype}"), or give the number of '
            "each class"
        )
    check_alike(caller, "targets", targets, "logits", logits)
    check_integers(caller, ignore_index=ignore_index)
    if ignore_index >= 0:
        raise ValueError(
            f"{caller}: ignore_index={ignore_index} names a class, but these targets, of the shape of the logits, are "
            "probabilities; give the number of each class, or no ignore_index"
        )
    logits, targets = _classes_last(logits), _classes_last(targets)
    if label_smoothing:
        targets = (1.0 - label_smoothing) * targets + label_smoothing / logits.shape[-1]
    if weight is not None:
        targets = targets * weight
    losses = -(targets * log_softmax(logits)).sum(axis=-1)
    return _reduced(losses, reduction)


def nll_loss(
    log_probabilities: Any, targets: Any, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """L = -log p[target], given log p          log p (N, V), as log_softmax gives it; targets (N,) integers in [0, V)

    Shapes, arguments and errors are those of `cross_entropy`.

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> F.nll_loss(mg.tensor([[-1.0, -2.0]]), mg.tensor([1])).item()
    2.0
    """
    caller, name = "nll_loss", "log_probabilities"
    check_reduction(caller, reduction)
    scores, targets = _scores_and_targets(caller, name, log_probabilities, targets)
    label = _labelled(caller, name, scores, targets, _class_weight(caller, weight, scores), ignore_index)
    losses = -label.picked()
    return label.reduced(losses if label.weights is None else losses * label.weights, reduction)


# Numbers ------------------------------------------------------------------------------------------


def _alike(caller: str, name: str, predictions: Any, targets: Any) -> tuple[Tensor, Tensor]:
    x, y = as_tensor(predictions, caller), as_tensor(targets, caller)
    check_floating(caller, name, x)
    check_alike(caller, "targets", y, name, x)
    if x.shape != y.shape:
        cure = f"write targets.reshape{x.shape}" if x.size == y.size else "nothing is broadcast, so say what is meant"
        raise ValueError(f"{caller}: expected {name} and targets of one shape, got {x.shape} and {y.shape}; {cure}")
    return x, y


def mse_loss(predictions: Any, targets: Any, *, reduction: str = "mean") -> Tensor:
    """L = (x - y)²          x, y of one shape: nothing is broadcast

    Raises:
        ValueError: the shapes differ, or the reduction is unknown.
        TypeError: the predictions are not floating-point, or the dtypes differ.

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> F.mse_loss(mg.tensor([1.0, 4.0]), mg.tensor([0.0, 1.0])).item()
    5.0
    """
    check_reduction("mse_loss", reduction)
    x, y = _alike("mse_loss", "predictions", predictions, targets)
    return _reduced((x - y) ** 2, reduction)


def l1_loss(predictions: Any, targets: Any, *, reduction: str = "mean") -> Tensor:
    """L = |x - y|          shapes and errors as for `mse_loss`

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> F.l1_loss(mg.tensor([1.0, 4.0]), mg.tensor([0.0, 1.0])).item()
    2.0
    """
    check_reduction("l1_loss", reduction)
    x, y = _alike("l1_loss", "predictions", predictions, targets)
    return _reduced(absolute(x - y), reduction)


def _huber(d: Tensor, delta: float) -> Tensor:
    """c (d - c/2), c being d clipped to ±delta: its derivative is c, and the second one 1 where d = 0."""
    c = clip(d, min=-delta, max=delta)
    return c * (d - 0.5 * c)


def smooth_l1_loss(predictions: Any, targets: Any, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """L = d²/(2 beta) where |d| < beta, else |d| - beta/2, d = x - y          shapes and errors as for `mse_loss`

    Source: Girshick 2015.

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> F.smooth_l1_loss(mg.tensor([1.0, 4.0]), mg.tensor([0.0, 1.0]), reduction="none").tolist()
    [0.5, 2.5]
    """
    check_reduction("smooth_l1_loss", reduction)
    check_numbers("smooth_l1_loss", beta=beta)
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: expected beta of at least 0, got {beta}")
    x, y = _alike("smooth_l1_loss", "predictions", predictions, targets)
    return _reduced(absolute(x - y) if beta == 0 else _huber(x - y, beta) / beta, reduction)


def huber_loss(predictions: Any, targets: Any, *, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """L = d²/2 where |d| <= delta, else delta (|d| - delta/2), d = x - y          shapes and errors as for `mse_loss`

    Source: Huber 1964.

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> F.huber_loss(mg.tensor([1.0, 4.0]), mg.tensor([0.0, 1.0]), delta=2.0, reduction="none").tolist()
    [0.5, 4.0]
    """
    check_reduction("huber_loss", reduction)
    check_numbers("huber_loss", delta=delta)
    if delta <= 0:
        raise ValueError(f"huber_loss: expected a positive delta, got {delta}")
    x, y = _alike("huber_loss", "predictions", predictions, targets)
    return _reduced(_huber(x - y, delta), reduction)


def binary_cross_entropy_with_logits(
    logits: Any, targets: Any, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None
) -> Tensor:
    """L = -(p y log σ(x) + (1 - y) log (1 - σ(x))), in nats          x: logits, y: targets in [0, 1], of one shape

    Computed as p y softplus(-x) + (1 - y) softplus(x), which is exact where σ(x) is 0 or 1.

    Args:
        weight: a factor for each loss; it broadcasts to the logits' shape.
        pos_weight: p, a factor for the positive part; it broadcasts likewise.

    Raises:
        ValueError: shapes do not fit, or the reduction is unknown.
        TypeError: the logits are not floating-point, or the dtypes differ.

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> F.binary_cross_entropy_with_logits(mg.tensor([0.0, 100.0]), mg.tensor([1.0, 0.0]), reduction="none").tolist()
    [0.6931471824645996, 100.0]
    """
    caller = "binary_cross_entropy_with_logits"
    check_reduction(caller, reduction)
    x, y = _alike(caller, "logits", logits, targets)
    positive = y * log1p_exp(-x)
    if pos_weight is not None:
        positive = positive * _factor(caller, "pos_weight", pos_weight, x)
    losses = positive + (1.0 - y) * log1p_exp(x)
    if weight is not None:
        losses = losses * _factor(caller, "weight", weight, x)
    return _reduced(losses, reduction)


def _factor(caller: str, name: str, given: Any, x: Tensor) -> Tensor:
    factor = as_tensor(given, f"{caller}, {name}")
    check_alike(caller, name, factor, "logits", x)
    if factor.ndim > x.ndim or any(
        n not in (1, m) for n, m in zip(reversed(factor.shape), reversed(x.shape), strict=False)
    ):
        raise ValueError(f"{caller}: expected {name} to broadcast to the logits' shape {x.shape}, got {factor.shape}")
    return factor
