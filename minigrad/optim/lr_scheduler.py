"""Learning rates that change as training goes on."""

from __future__ import annotations

import math

from .optimizer import Optimizer


class LRScheduler:
    """Sets the learning rate of every group as a function of how many times `step` was called.

    A subclass gives `_lr(base_lr)`; `self.last_epoch` counts the calls.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.base_lrs = [group.setdefault("initial_lr", group["lr"]) for group in optimizer.param_groups]
        self.last_epoch = -1
        self.step()

    def _lr(self, base_lr: float) -> float:
        raise NotImplementedError

    def step(self) -> None:
        """Go on to the next learning rate; call it after `optimizer.step()`."""
        self.last_epoch += 1
        for group, base_lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = self._lr(base_lr)

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group now."""
        return [group["lr"] for group in self.optimizer.param_groups]


class CosineAnnealingLR(LRScheduler):
    """From the base rate down to eta_min along half a cosine, in T_max steps.

    Equation: lr = eta_min + (base - eta_min) (1 + cos(π t / T_max)) / 2.
    Source: torch.optim.lr_scheduler.CosineAnnealingLR; Loshchilov and Hutter 2017.

    >>> import minigrad as mg
    >>> from minigrad import optim
    >>> optimizer = optim.SGD([mg.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = CosineAnnealingLR(optimizer, T_max=2)
    >>> schedule.step()
    >>> round(schedule.get_last_lr()[0], 6)
    0.5
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:  # noqa: N803
        if T_max < 1:
            raise ValueError(f"CosineAnnealingLR: expected T_max to be at least 1, got {T_max}")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def _lr(self, base_lr: float) -> float:
        return self.eta_min + (base_lr - self.eta_min) * (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
