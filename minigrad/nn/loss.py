"""Losses as modules: each calls the function of `nn.functional` that its docstring names, which says more."""

from __future__ import annotations

from typing import Any

from ..graph import Tensor
from ..tape import as_tensor
from . import functional as F
from .functional.checks import check_integers, check_numbers, check_probability, check_reduction
from .module import Module


class _Loss(Module):
    """A loss and its reduction; tensors among its options are buffers, so `to` moves them and `state_dict` has them."""

    def __init__(self, *misplaced: Any, reduction: str = "mean") -> None:
        name = type(self).__name__
        if misplaced:
            raise TypeError(
                f"{name}: expected options by name, such as reduction=, got {len(misplaced)} without; predictions and "
                f"targets are for the call: write nn.{name}()(predictions, targets)"
            )
        check_reduction(name, reduction)
        self.reduction = reduction

    def _keep(self, name: str, value: Any) -> None:
        tensor = None if value is None else as_tensor(value, f"{type(self).__name__}, {name}")
        self.register_buffer(name, tensor)

    def extra_repr(self) -> str:
        return "" if self.reduction == "mean" else f"reduction={self.reduction!r}"


class CrossEntropyLoss(_Loss):
    """L = -log softmax(logits)[target], in nats; see `nn.functional.cross_entropy`

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.CrossEntropyLoss()(mg.zeros((2, 4)), mg.tensor([1, 3])).item()      # log 4
    1.3862943649291992
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Any = None,
        *misplaced: Any,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(*misplaced, reduction=reduction)
        check_probability("CrossEntropyLoss, label_smoothing", label_smoothing)
        self._keep("weight", weight)
        check_integers("CrossEntropyLoss", ignore_index=ignore_index)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, logits: Any, targets: Any) -> Tensor:
        """The loss of logits (N, V) and targets (N,); see `nn.functional.cross_entropy`."""
        return F.cross_entropy(
            logits,
            targets,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(_Loss):
    """L = -log p[target], given log p; see `nn.functional.nll_loss`

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.NLLLoss()(mg.tensor([[-1.0, -2.0]]), mg.tensor([1])).item()
    2.0
    """

    weight: Tensor | None

    def __init__(self, weight: Any = None, *misplaced: Any, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(*misplaced, reduction=reduction)
        self._keep("weight", weight)
        check_integers("NLLLoss", ignore_index=ignore_index)
        self.ignore_index = ignore_index

    def forward(self, log_probabilities: Any, targets: Any) -> Tensor:
        """The loss of log p (N, V) and targets (N,); see `nn.functional.nll_loss`."""
        return F.nll_loss(
            log_probabilities, targets, self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )


class MSELoss(_Loss):
    """L = (x - y)²; see `nn.functional.mse_loss`

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.MSELoss()(mg.tensor([1.0, 4.0]), mg.tensor([0.0, 1.0])).item()
    5.0
    """

    def forward(self, predictions: Any, targets: Any) -> Tensor:
        """The loss of predictions and targets of one shape; see `nn.functional.mse_loss`."""
        return F.mse_loss(predictions, targets, reduction=self.reduction)


class L1Loss(_Loss):
    """L = |x - y|; see `nn.functional.l1_loss`

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.L1Loss()(mg.tensor([1.0, 4.0]), mg.tensor([0.0, 1.0])).item()
    2.0
    """

    def forward(self, predictions: Any, targets: Any) -> Tensor:
        """The loss of predictions and targets of one shape; see `nn.functional.l1_loss`."""
        return F.l1_loss(predictions, targets, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """L = d²/(2 beta) where |d| < beta, else |d| - beta/2; see `nn.functional.smooth_l1_loss`

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.SmoothL1Loss(reduction="none")(mg.tensor([1.0, 4.0]), mg.tensor([0.0, 1.0])).tolist()
    [0.5, 2.5]
    """

    def __init__(self, *misplaced: Any, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(*misplaced, reduction=reduction)
        check_numbers("SmoothL1Loss", beta=beta)
        self.beta = beta

    def forward(self, predictions: Any, targets: Any) -> Tensor:
        """The loss of predictions and targets of one shape; see `nn.functional.smooth_l1_loss`."""
        return F.smooth_l1_loss(predictions, targets, reduction=self.reduction, beta=self.beta)


class HuberLoss(_Loss):
    """L = d²/2 where |d| <= delta, else delta (|d| - delta/2); see `nn.functional.huber_loss`

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.HuberLoss(reduction="none", delta=2.0)(mg.tensor([1.0, 4.0]), mg.tensor([0.0, 1.0])).tolist()
    [0.5, 4.0]
    """

    def __init__(self, *misplaced: Any, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(*misplaced, reduction=reduction)
        check_numbers("HuberLoss", delta=delta)
        self.delta = delta

    def forward(self, predictions: Any, targets: Any) -> Tensor:
        """The loss of predictions and targets of one shape; see `nn.functional.huber_loss`."""
        return F.huber_loss(predictions, targets, reduction=self.reduction, delta=self.delta)


class BCEWithLogitsLoss(_Loss):
    """L = -(y log σ(x) + (1 - y) log (1 - σ(x))), in nats; see `nn.functional.binary_cross_entropy_with_logits`

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.BCEWithLogitsLoss()(mg.zeros(2), mg.tensor([0.0, 1.0])).item()      # log 2
    0.6931471824645996
    """

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(self, weight: Any = None, *misplaced: Any, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(*misplaced, reduction=reduction)
        self._keep("weight", weight)
        self._keep("pos_weight", pos_weight)

    def forward(self, logits: Any, targets: Any) -> Tensor:
        """The loss of logits and targets of one shape; see `nn.functional.binary_cross_entropy_with_logits`."""
        return F.binary_cross_entropy_with_logits(
            logits, targets, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )
