"""Schedules one after the other."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from ..optimizer import Optimizer
from .plateau import ReduceLROnPlateau
from .schedule import LRScheduler, checked, steps_listed


class SequentialLR(LRScheduler):
    """One schedule up to a milestone, then the next: a warm-up and what follows.

    From milestones[i] on, schedulers[i + 1] goes from its own beginning, t = 0, at the base rate.

    Args:
        optimizer: whose rates are set.
        schedulers: made with the same optimizer, in their order.
        milestones: the steps at which the second, third, ... take over, rising.
        last_epoch: the step to go on after.

    Raises:
        TypeError: what is listed are no schedules, or there is no list.
        ValueError: the milestones do not rise or are not one fewer than the schedules, or a schedule is of another
            optimizer, or one that needs a measure, or itself a SequentialLR.

    Source: torch.optim.lr_scheduler.SequentialLR.

    >>> import minigrad as mg
    >>> from minigrad import optim
    >>> optimizer = optim.SGD([mg.ones(1, requires_grad=True)], lr=1.0)
    >>> warmup = optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> decay = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> schedule = optim.lr_scheduler.SequentialLR(optimizer, [warmup, decay], milestones=[2])
    >>> rates = schedule.get_last_lr()
    >>> for _ in range(4):
    ...     optimizer.step()
    ...     schedule.step()
    ...     rates += schedule.get_last_lr()
    >>> rates
    [0.5, 0.75, 1.0, 0.5, 0.25]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        self.optimizer = checked(self, optimizer)
        if not isinstance(schedulers, Iterable):
            raise TypeError(f"SequentialLR: expected schedulers to be a list, got {type(schedulers).__name__}")
        self._schedulers, self._milestones = list(schedulers), steps_listed(self, milestones)
        for i, schedule in enumerate(self._schedulers):
            kind = type(schedule).__name__
            if not isinstance(schedule, LRScheduler):
                raise TypeError(f"SequentialLR: expected schedules, got {kind} at index {i}")
            if isinstance(schedule, ReduceLROnPlateau):
                raise ValueError(f"SequentialLR: {kind} at index {i} needs a measure in each step; step it by itself")
            if isinstance(schedule, SequentialLR):
                raise ValueError(f"SequentialLR: {kind} at index {i}; list its schedulers and milestones here instead")
            if schedule.optimizer is not optimizer:
                raise ValueError(f"SequentialLR: {kind} at index {i} is of another optimizer")
        if not self._schedulers or len(self._milestones) != len(self._schedulers) - 1:
            raise ValueError(
                "SequentialLR: expected at least one schedule, and one milestone fewer than schedules; "
                f"got {len(self._schedulers)} schedules and {len(self._milestones)} milestones"
            )
        if any(a > b for a, b in pairwise(self._milestones)):
            raise ValueError(f"SequentialLR: expected milestones that rise, got {self._milestones}")
        self.last_epoch = last_epoch + 1
        first = self._schedulers[bisect_right(self._milestones, 0)]
        for group in optimizer.param_groups:  # which the others have changed when they were made
            group["lr"] = group["initial_lr"]
        first._go_to(0, initial=True)
        self._last_lr = first.get_last_lr()

    def step(self) -> None:
        """Go on to the next learning rate; call it after `optimizer.step()`.

        Warns:
            UserWarning: as `LRScheduler.step`.
        """
        self._warn_of_order()
        t = self.last_epoch + 1
        i = bisect_right(self._milestones, t)
        if i > 0 and self._milestones[i - 1] == t:
            self._schedulers[i]._restart()
        else:
            self._schedulers[i]._advance()
        self.last_epoch = t
        self._last_lr = self._schedulers[i].get_last_lr()

    def _state(self) -> dict[str, Any]:
        return super()._state() | {"_schedulers": [schedule.state_dict() for schedule in self._schedulers]}

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        super()._check_state(state_dict)
        if len(state_dict["_schedulers"]) != len(self._schedulers):
            raise ValueError(
                f"SequentialLR: expected the state of {len(self._schedulers)} schedules, "
                f"got {len(state_dict['_schedulers'])}"
            )
        for schedule, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            schedule._check_state(state)

    def _take(self, state: dict[str, Any]) -> None:
        for schedule, part in zip(self._schedulers, state.pop("_schedulers"), strict=True):
            schedule.load_state_dict(part)
        super()._take(state)
