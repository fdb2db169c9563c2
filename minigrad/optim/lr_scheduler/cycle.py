"""Schedules that come back: the rate goes up and down again."""

from __future__ import annotations

import math
from typing import Any

from ..optimizer import Optimizer
from .schedule import LRScheduler, check, checked, count, not_negative, number, per_group


class CosineAnnealingWarmRestarts(LRScheduler):
    """From the base rate down to eta_min along half a cosine, then at once back up, and again.

    Equation: lr = eta_min + (base - eta_min) (1 + cos(π T_cur / T_i)) / 2, T_cur steps after the last of the
    restarts; from one to the next it is T_i steps: T_0, T_0 T_mult, T_0 T_mult², ...

    It says the rate itself: another schedule, or a change by hand, is overruled.

    Args:
        optimizer: whose rates are set.
        T_0: steps to the first restart.
        T_mult: how many times longer each cycle is than the one before.
        eta_min: the lowest rate.
        last_epoch: the step to go on after.

    Raises:
        TypeError: eta_min is no number.
        ValueError: T_0 or T_mult is no positive integer, or eta_min is negative.

    Source: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts; Loshchilov and Hutter 2017.

    >>> import minigrad as mg
    >>> from minigrad import optim
    >>> optimizer = optim.SGD([mg.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2)
    >>> optimizer.step()
    >>> schedule.step()
    >>> round(schedule.get_last_lr()[0], 6)
    0.5
    >>> optimizer.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,  # noqa: N803
        T_mult: int = 1,  # noqa: N803
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self.T_0, self.T_mult = count(self, T_0=T_0), count(self, T_mult=T_mult)
        self.eta_min = not_negative(self, eta_min=eta_min)
        self.T_cur: float = 0
        self.T_i = self.T_0
        super().__init__(optimizer, last_epoch)

    def _lr(self, t: int, lr: float, base_lr: float, initial: bool) -> float:
        return self.eta_min + (base_lr - self.eta_min) * (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2

    def _go_to(self, t: float, initial: bool = False) -> None:
        self.T_cur, self.T_i = t, self.T_0
        self._pass_restarts()
        super()._go_to(math.floor(t), initial)

    def _pass_restarts(self) -> None:
        while self.T_cur >= self.T_i:
            self.T_cur -= self.T_i
            self.T_i *= self.T_mult

    def step(self, epoch: float | None = None) -> None:
        """Go on to the next rate, or to that of an epoch, which may be a fraction (epoch + batch / batches).

        Raises:
            TypeError: the epoch is no number.
            ValueError: it is negative.
        """
        if epoch is None:
            self._advance()
        else:
            self._go_to(not_negative(self, epoch=epoch))

    def _advance(self) -> None:
        self.T_cur += 1  # a fraction stays
        self._pass_restarts()
        super()._go_to(self.last_epoch + 1)


class OneCycleLR(LRScheduler):
    """One cycle: from a low rate up to max_lr, and down to far below; the momentum the other way round.

    From max_lr / div_factor to max_lr in the first pct_start of all steps, then to max_lr / div_factor /
    final_div_factor; with three_phase first back to where it began, in as many steps. The momentum (Adam's β₁) goes
    from max_momentum to base_momentum and back. Each way along half a cosine, lr = b + (a - b) (1 + cos πx) / 2, or
    a line, lr = a + (b - a) x, x from 0 to 1.

    It says the rate itself: another schedule, or a change by hand, is overruled.

    Args:
        optimizer: whose rates and momenta are set.
        max_lr: the highest rate; a list has one for each group.
        total_steps: of the cycle; if None, epochs · steps_per_epoch.
        epochs, steps_per_epoch: see total_steps.
        pct_start: the part of the steps in which the rate rises.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: whether the momentum changes, too.
        base_momentum, max_momentum: its lowest and its highest value; a list has one for each group.
        div_factor, final_div_factor: see above.
        three_phase: see above.
        last_epoch: the step to go on after.

    Raises:
        TypeError: an option is no number where there should be one.
        ValueError: an option makes no sense, the optimizer has no momentum to change, or (in `step`) the cycle is
            over.

    Source: torch.optim.lr_scheduler.OneCycleLR; Smith and Topin 2017.

    >>> import minigrad as mg
    >>> from minigrad import optim
    >>> optimizer = optim.Adam([mg.ones(1, requires_grad=True)])
    >>> schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10, pct_start=0.5)
    >>> for _ in range(4):
    ...     optimizer.step()
    ...     schedule.step()
    >>> schedule.get_last_lr(), optimizer.param_groups[0]["betas"]
    ([1.0], (0.85, 0.999))
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        groups = checked(self, optimizer).param_groups
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: expected total_steps, or epochs and steps_per_epoch; got neither")
            total_steps = count(self, epochs=epochs) * count(self, steps_per_epoch=steps_per_epoch)
        total_steps = count(self, total_steps=total_steps)
        pct_start = number(self, "from 0 to 1", lambda value: 0 <= value <= 1, pct_start=pct_start)
        check(self, '"cos" or "linear"', anneal_strategy in ("cos", "linear"), anneal_strategy=anneal_strategy)
        div_factor = number(self, "positive", lambda value: value > 0, div_factor=div_factor)
        final_div_factor = number(self, "positive", lambda value: value > 0, final_div_factor=final_div_factor)
        highest = [not_negative(self, max_lr=lr) for lr in per_group(self, "max_lr", max_lr, optimizer)]
        self.total_steps, self._anneal_func_type, self.cycle_momentum = total_steps, anneal_strategy, cycle_momentum
        up = _phase(pct_start * total_steps - 1, "initial_lr", "max_lr", "max_momentum", "base_momentum")
        if three_phase:
            back = _phase(2 * pct_start * total_steps - 2, "max_lr", "initial_lr", "base_momentum", "max_momentum")
            down = _phase(total_steps - 1, "initial_lr", "min_lr", "max_momentum", "max_momentum")
            self._schedule_phases = [up, back, down]
        else:
            self._schedule_phases = [up, _phase(total_steps - 1, "max_lr", "min_lr", "base_momentum", "max_momentum")]
        notes = [
            {"initial_lr": lr / div_factor, "max_lr": lr, "min_lr": lr / div_factor / final_div_factor}
            for lr in highest
        ]
        if cycle_momentum:
            self.use_beta1 = "betas" in optimizer.defaults
            if not self.use_beta1 and "momentum" not in optimizer.defaults:
                raise ValueError(
                    f"OneCycleLR: {type(optimizer).__name__} has no momentum to change; write cycle_momentum=False"
                )
            for i, lowest in enumerate(per_group(self, "base_momentum", base_momentum, optimizer)):
                notes[i]["base_momentum"] = not_negative(self, base_momentum=lowest)
            for i, most in enumerate(per_group(self, "max_momentum", max_momentum, optimizer)):
                notes[i]["max_momentum"] = not_negative(self, max_momentum=most)
        if last_epoch == -1:
            for group, note in zip(groups, notes, strict=True):
                group.update(note)
        super().__init__(optimizer, last_epoch)

    def _rates(self, t: int, initial: bool) -> list[float]:
        if t > self.total_steps:
            raise ValueError(
                f"OneCycleLR: expected at most {self.total_steps} steps, its total_steps; this is one more"
            )
        if any("max_lr" not in group for group in self.optimizer.param_groups):
            raise RuntimeError("OneCycleLR: a group was added after this schedule was made; make it anew")
        self._bases()
        return [self._value(t, group, "lr") for group in self.optimizer.param_groups]

    def _set(self, rates: list[float]) -> None:
        super()._set(rates)
        if self.cycle_momentum:
            for group in self.optimizer.param_groups:
                momentum = self._value(self.last_epoch, group, "momentum")
                group.update({"betas": (momentum, *group["betas"][1:])} if self.use_beta1 else {"momentum": momentum})

    def _value(self, t: int, group: dict[str, Any], what: str) -> float:
        """The rate or the momentum of a group at step t."""
        start = 0.0
        for phase in self._schedule_phases:
            end = phase["end_step"]
            if t <= end or phase is self._schedule_phases[-1]:
                break
            start = end
        x = (t - start) / (end - start) if end != start else 1.0
        a, b = group[phase[f"start_{what}"]], group[phase[f"end_{what}"]]
        if self._anneal_func_type == "linear":
            return float((b - a) * x + a)
        return float(b + (a - b) / 2.0 * (math.cos(math.pi * x) + 1))

    def _scheduled(self, group: dict[str, Any]) -> dict[str, Any]:
        names = ["lr", "initial_lr", "max_lr", "min_lr"]
        if self.cycle_momentum:
            names += ["betas" if self.use_beta1 else "momentum", "max_momentum", "base_momentum"]
        return {name: group[name] for name in names}


def _phase(end: float, a: str, b: str, momentum_a: str, momentum_b: str) -> dict[str, Any]:
    return {"end_step": end, "start_lr": a, "end_lr": b, "start_momentum": momentum_a, "end_momentum": momentum_b}
