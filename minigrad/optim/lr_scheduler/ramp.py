"""Schedules of so many steps: from one rate to another along a line, a power or a cosine."""

from __future__ import annotations

import math

from ..optimizer import Optimizer
from .schedule import LRScheduler, not_negative, number


class ConstantLR(LRScheduler):
    """The base rate times a factor for some steps, then the base rate.

    Equation: lr = base · factor for t < total_iters, then base.

    Args:
        optimizer: whose rates are set.
        factor: above 0 and at most 1.
        total_iters: how many steps it holds.
        last_epoch: the step to go on after.

    Raises:
        TypeError: an option is no number.
        ValueError: factor is not above 0 and at most 1, or total_iters is negative.

    Source: torch.optim.lr_scheduler.ConstantLR.

    >>> import minigrad as mg
    >>> from minigrad import optim
    >>> optimizer = optim.SGD([mg.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=1)
    >>> schedule.get_last_lr()
    [0.5]
    >>> optimizer.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [1.0]
    """

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        self.factor = number(self, "above 0 and at most 1", lambda value: 0 < value <= 1, factor=factor)
        self.total_iters = not_negative(self, total_iters=total_iters)
        super().__init__(optimizer, last_epoch)

    def _lr(self, t: int, lr: float, base_lr: float, initial: bool) -> float:
        if t == 0:
            return lr * self.factor
        return lr * (1.0 / self.factor) if t == self.total_iters else lr


class LinearLR(LRScheduler):
    """From one multiple of the base rate to another along a line: a warm-up.

    Equation: lr = base (start + (end - start) min(t / total_iters, 1)).

    Args:
        optimizer: whose rates are set.
        start_factor: the multiple at first, above 0 and at most 1.
        end_factor: the multiple at the end, from 0 to 1.
        total_iters: steps to the end.
        last_epoch: the step to go on after.

    Raises:
        TypeError: an option is no number.
        ValueError: a factor is out of its range, or total_iters is negative.

    Source: torch.optim.lr_scheduler.LinearLR.

    >>> import minigrad as mg
    >>> from minigrad import optim
    >>> optimizer = optim.SGD([mg.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> optimizer.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.75]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor = number(
            self, "above 0 and at most 1", lambda value: 0 < value <= 1, start_factor=start_factor
        )
        self.end_factor = number(self, "from 0 to 1", lambda value: 0 <= value <= 1, end_factor=end_factor)
        self.total_iters = not_negative(self, total_iters=total_iters)
        super().__init__(optimizer, last_epoch)

    def _lr(self, t: int, lr: float, base_lr: float, initial: bool) -> float:
        if t == 0:
            return lr * self.start_factor
        if initial or t > self.total_iters:
            return lr
        rise = self.end_factor - self.start_factor
        factor = 1.0 + rise / (self.total_iters * self.start_factor + (t - 1) * rise)
        return lr * max(factor, 0.0)  # on the way to 0, rounding may lead below


class PolynomialLR(LRScheduler):
    """From the base rate down to 0 along a power of what is left.

    Equation: lr = base (1 - min(t / total_iters, 1))^power.

    Args:
        optimizer: whose rates are set.
        total_iters: steps to the end.
        power: of the polynomial; 1 is a line.
        last_epoch: the step to go on after.

    Raises:
        TypeError: total_iters or power is no number.
        ValueError: total_iters or power is negative.

    Source: torch.optim.lr_scheduler.PolynomialLR.

    >>> import minigrad as mg
    >>> from minigrad import optim
    >>> optimizer = optim.SGD([mg.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.PolynomialLR(optimizer, total_iters=2, power=2.0)
    >>> optimizer.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters, self.power = not_negative(self, total_iters=total_iters), not_negative(self, power=power)
        super().__init__(optimizer, last_epoch)

    def _lr(self, t: int, lr: float, base_lr: float, initial: bool) -> float:
        if initial or t > self.total_iters:
            return lr
        left, left_before = 1.0 - t / self.total_iters, 1.0 - (t - 1) / self.total_iters
        return lr * math.pow(left / left_before, self.power)


class CosineAnnealingLR(LRScheduler):
    """From the base rate down to eta_min along half a cosine, in T_max steps; then up again, and so on.

    Equation: lr = eta_min + (base - eta_min) (1 + cos(π t / T_max)) / 2, as a step from each rate to the next.

    Args:
        optimizer: whose rates are set.
        T_max: steps to the lowest rate.
        eta_min: the lowest rate.
        last_epoch: the step to go on after.

    Raises:
        TypeError: T_max or eta_min is no number.
        ValueError: T_max is below 1, or eta_min is negative.

    Source: torch.optim.lr_scheduler.CosineAnnealingLR; Loshchilov and Hutter 2017.

    >>> import minigrad as mg
    >>> from minigrad import optim
    >>> optimizer = optim.SGD([mg.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2)
    >>> optimizer.step()
    >>> schedule.step()
    >>> round(schedule.get_last_lr()[0], 6)
    0.5
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:  # noqa: N803
        self.T_max = number(self, "at least 1", lambda value: value >= 1, T_max=T_max)
        self.eta_min = not_negative(self, eta_min=eta_min)
        super().__init__(optimizer, last_epoch)

    def _lr(self, t: int, lr: float, base_lr: float, initial: bool) -> float:
        if initial:
            return lr
        if (t - 1 - self.T_max) % (2 * self.T_max) == 0:  # from the lowest point a factor leads nowhere
            return lr + (base_lr - self.eta_min) * (1 - math.cos(math.pi / self.T_max)) / 2
        factor = (1 + math.cos(math.pi * t / self.T_max)) / (1 + math.cos(math.pi * (t - 1) / self.T_max))
        return self.eta_min + (lr - self.eta_min) * factor
