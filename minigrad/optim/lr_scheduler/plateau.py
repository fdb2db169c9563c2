"""A schedule that listens: the rate falls when a measure no longer gets better."""

from __future__ import annotations

import math
from typing import Any

from ...graph import Tensor
from ...messages import describe
from ..optimizer import Optimizer
from .schedule import LRScheduler, check, checked, not_negative, number, per_group


class ReduceLROnPlateau(LRScheduler):
    """The rate times a factor, when a measure has not become better for a while.

    Better is, in mode "min", below best · (1 - threshold), or best - threshold with threshold_mode "abs"; in mode
    "max", above best · (1 + threshold), or best + threshold. After more than `patience` steps that were not better,
    lr ← max(lr · factor, min_lr), unless that changes it by eps or less; then for `cooldown` steps nothing is counted.

    Args:
        optimizer: whose rates are changed.
        mode: "min" or "max": what is better, less or more.
        factor: from 0 to below 1.
        patience: how many steps in a row may be no better.
        threshold: how much better is better.
        threshold_mode: "rel" or "abs".
        cooldown: steps to wait after a change.
        min_lr: the lowest rate; a list has one for each group.
        eps: the smallest change worth making.

    Raises:
        TypeError: `optimizer` is none, or an option is no number where there should be one.
        ValueError: an option makes no sense.

    Source: torch.optim.lr_scheduler.ReduceLROnPlateau.

    >>> import minigrad as mg
    >>> from minigrad import optim
    >>> optimizer = optim.SGD([mg.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     schedule.step(loss)
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        self.optimizer = checked(self, optimizer)
        check(self, '"min" or "max"', mode in ("min", "max"), mode=mode)
        check(self, '"rel" or "abs"', threshold_mode in ("rel", "abs"), threshold_mode=threshold_mode)
        self.min_lrs = [number(self, min_lr=lr) for lr in per_group(self, "min_lr", min_lr, optimizer)]
        self.default_min_lr = None if isinstance(min_lr, (list, tuple)) else self.min_lrs[0]
        self.mode, self.threshold_mode = mode, threshold_mode
        self.factor = number(self, "from 0 to below 1", lambda value: 0 <= value < 1, factor=factor)
        self.patience, self.cooldown = not_negative(self, patience=patience), not_negative(self, cooldown=cooldown)
        self.threshold, self.eps = number(self, threshold=threshold), number(self, eps=eps)
        # mode_worse, the worst there is, is nowhere read; a state of PyTorch's has it.
        self.mode_worse = self.best = math.inf if mode == "min" else -math.inf
        self.cooldown_counter: float = 0
        self.num_bad_epochs = self.last_epoch = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """Take note of the measure, a number; of a Tensor it is read, which waits for the device.

        Raises:
            TypeError: it is none.
        """
        try:
            value = float(metrics)
        except (TypeError, ValueError) as error:
            came = describe(metrics) if isinstance(metrics, Tensor) else type(metrics).__name__
            raise TypeError(
                f"ReduceLROnPlateau: expected a measure to step by, one number such as the loss, got {came}"
            ) from error
        rates = [group["lr"] for group in self.optimizer.param_groups]
        if len(rates) != len(self.min_lrs) and self.default_min_lr is not None:
            self.min_lrs = [self.default_min_lr] * len(rates)
        if len(rates) != len(self.min_lrs):
            raise RuntimeError(
                f"ReduceLROnPlateau: there are {len(rates)} groups now, but {len(self.min_lrs)} in the list min_lr; "
                "a group was added, so append its lowest rate to min_lrs"
            )
        self.last_epoch += 1
        if self._is_better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown_counter - 1, 0
        if self.num_bad_epochs > self.patience:
            lower = [max(lr * self.factor, lowest) for lr, lowest in zip(rates, self.min_lrs, strict=True)]
            rates = [low if lr - low > self.eps else lr for lr, low in zip(rates, lower, strict=True)]
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._set(rates)

    def _is_better(self, value: float) -> bool:
        sign = -1 if self.mode == "min" else 1
        if self.threshold_mode == "rel":
            edge = self.best * (1 + sign * self.threshold)
        else:
            edge = self.best + sign * self.threshold
        return value < edge if self.mode == "min" else value > edge
