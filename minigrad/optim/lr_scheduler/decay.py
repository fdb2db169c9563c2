"""Schedules without an end: the rate by a function of your own, or times a factor now and then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType
from typing import Any

from ..optimizer import Optimizer
from .schedule import LRScheduler, checked, count, not_negative, per_group, steps_listed


class LambdaLR(LRScheduler):
    """The base rate times a function of your own.

    Equation: lr = base · lr_lambda(t).

    It says the rate itself: another schedule, or a change by hand, is overruled.

    Args:
        optimizer: whose rates are set.
        lr_lambda: a function of t, or a list with one for each group.
        last_epoch: the step to go on after.

    Raises:
        TypeError: lr_lambda is no function.
        ValueError: there are not as many functions as groups.

    Functions are not saved: give the same ones again. Of other callable objects, the attributes are.
    Source: torch.optim.lr_scheduler.LambdaLR.

    >>> import minigrad as mg
    >>> from minigrad import optim
    >>> optimizer = optim.SGD([mg.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 / (1 + t))
    >>> optimizer.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self.lr_lambdas = per_group(self, "lr_lambda", lr_lambda, checked(self, optimizer))
        for function in self.lr_lambdas:
            if not callable(function):
                raise TypeError(f"LambdaLR: expected lr_lambda to be a function, got {type(function).__name__}")
        super().__init__(optimizer, last_epoch)

    def _rates(self, t: int, initial: bool) -> list[float]:
        bases = self._bases()
        if len(bases) != len(self.lr_lambdas):
            raise RuntimeError("LambdaLR: a group was added after this schedule was made; make it anew")
        return [base * function(t) for base, function in zip(bases, self.lr_lambdas, strict=True)]

    def _state(self) -> dict[str, Any]:
        return super()._state() | {"lr_lambdas": [_attributes(function) for function in self.lr_lambdas]}

    def _take(self, state: dict[str, Any]) -> None:
        for function, attributes in zip(self.lr_lambdas, state.pop("lr_lambdas"), strict=True):
            if attributes is not None:
                vars(function).update(attributes)
        super()._take(state)


def _attributes(function: Callable[[int], float]) -> dict[str, Any] | None:
    return None if isinstance(function, FunctionType) else getattr(function, "__dict__", None)


class StepLR(LRScheduler):
    """The rate times gamma, every step_size steps.

    Equation: lr ← gamma lr where t is a multiple of step_size: lr = base gamma^⌊t / step_size⌋.

    Args:
        optimizer: whose rates are set.
        step_size: steps between two changes.
        gamma: the factor.
        last_epoch: the step to go on after.

    Raises:
        TypeError: gamma is no number.
        ValueError: step_size is no positive integer, or gamma is negative.

    Source: torch.optim.lr_scheduler.StepLR.

    >>> import minigrad as mg
    >>> from minigrad import optim
    >>> optimizer = optim.SGD([mg.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     optimizer.step()
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = count(self, step_size=step_size), not_negative(self, gamma=gamma)
        super().__init__(optimizer, last_epoch)

    def _lr(self, t: int, lr: float, base_lr: float, initial: bool) -> float:
        return lr if t == 0 or t % self.step_size else lr * self.gamma


class MultiStepLR(LRScheduler):
    """The rate times gamma, at each of some steps.

    Equation: lr ← gamma lr where t is a milestone: lr = base gamma^(milestones up to t).

    Args:
        optimizer: whose rates are set.
        milestones: steps at which the rate changes, in any order; one that is named twice counts twice.
        gamma: the factor.
        last_epoch: the step to go on after.

    Raises:
        TypeError: the milestones are no list of numbers, or gamma is no number.
        ValueError: a milestone or gamma is negative.

    Source: torch.optim.lr_scheduler.MultiStepLR.

    >>> import minigrad as mg
    >>> from minigrad import optim
    >>> optimizer = optim.SGD([mg.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 3], gamma=0.5)
    >>> for _ in range(3):
    ...     optimizer.step()
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones, self.gamma = sorted(steps_listed(self, milestones)), not_negative(self, gamma=gamma)
        super().__init__(optimizer, last_epoch)

    def _lr(self, t: int, lr: float, base_lr: float, initial: bool) -> float:
        return lr * self.gamma ** self.milestones.count(t)

    def _take(self, state: dict[str, Any]) -> None:
        # PyTorch's state counts how often each step is named.
        super()._take(state | {"milestones": sorted(Counter(state["milestones"]).elements())})


class ExponentialLR(LRScheduler):
    """The rate times gamma, every step.

    Equation: lr ← gamma lr: lr = base gammaᵗ.

    Args:
        optimizer: whose rates are set.
        gamma: the factor.
        last_epoch: the step to go on after.

    Raises:
        TypeError: gamma is no number.
        ValueError: gamma is negative.

    Source: torch.optim.lr_scheduler.ExponentialLR.

    >>> import minigrad as mg
    >>> from minigrad import optim
    >>> optimizer = optim.SGD([mg.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> optimizer.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = not_negative(self, gamma=gamma)
        super().__init__(optimizer, last_epoch)

    def _lr(self, t: int, lr: float, base_lr: float, initial: bool) -> float:
        return lr if initial else lr * self.gamma
