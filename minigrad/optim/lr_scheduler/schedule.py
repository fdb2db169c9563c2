"""What the schedules share: a count of steps, the rates of all groups, and their saving."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ...backend import python_scalar
from ..optimizer import Optimizer

OF_PYTORCH = {"_step_count", "_is_initial", "_get_lr_called_within_step"}  # in a state of PyTorch's; not needed here


class LRScheduler:
    """Sets the learning rate of every group, at first when it is made, and anew whenever `step` is called.

    A subclass gives `_lr`. Most say how the rate follows from the one before, so that several schedules of one
    optimizer compose, and a rate changed by hand stays changed; where a schedule says the rate itself, from t and
    the base rate alone, it overrules both. Each class says which.

    Args:
        optimizer: whose `param_groups` are changed.
        last_epoch: the step to go on after, -1 for the start. The groups must then have their "initial_lr".

    Attributes:
        last_epoch: t, how many steps were taken.
        base_lrs: the rate of each group at the start, which the group keeps as "initial_lr".

    Raises:
        TypeError: `optimizer` is none, or an option is no number.
        ValueError: an option makes no sense.
        KeyError: `last_epoch` is given, but a group has no "initial_lr".

    >>> import minigrad as mg
    >>> from minigrad import optim
    >>> optimizer = optim.SGD([mg.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> optimizer.step()
    >>> schedule.step()
    >>> again = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> again.load_state_dict(schedule.state_dict())
    >>> optimizer.step()
    >>> again.step()
    >>> again.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = checked(self, optimizer)
        check(self, "an integer from -1", isinstance(last_epoch, int) and last_epoch >= -1, last_epoch=last_epoch)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch != -1 and "initial_lr" not in group:
                raise KeyError(
                    f"{type(self).__name__}: to go on after step {last_epoch}, load the optimizer's state first; "
                    f'its group {i} has no "initial_lr"'
                )
        self.base_lrs: list[float] = []
        self.last_epoch = last_epoch
        self._go_to(last_epoch + 1, initial=True)

    def _lr(self, t: int, lr: float, base_lr: float, initial: bool) -> float:
        """The rate of a group at step t, from its rate now; `initial` when the schedule begins, here or anew."""
        raise NotImplementedError(f"{type(self).__name__} has no _lr method")

    def _bases(self) -> list[float]:
        for group in self.optimizer.param_groups[len(self.base_lrs) :]:  # at first all, later those that were added
            self.base_lrs.append(group.setdefault("initial_lr", group["lr"]))
        return self.base_lrs

    def _rates(self, t: int, initial: bool) -> list[float]:
        groups = zip(self.optimizer.param_groups, self._bases(), strict=True)
        return [self._lr(t, group["lr"], base, initial) for group, base in groups]

    def _go_to(self, t: int, initial: bool = False) -> None:
        rates = self._rates(t, initial)
        self.last_epoch = t
        self._set(rates)

    def _set(self, rates: list[float]) -> None:
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = float(lr)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _restart(self) -> None:
        """Begin anew, from the base rates."""
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base
        self._go_to(0, initial=True)

    def step(self) -> None:
        """Go on to the next learning rate; call it after `optimizer.step()`.

        Warns:
            UserWarning: the optimizer has not stepped yet, so the first rate is used by no step.
        """
        self._warn_of_order()
        self._advance()

    def _advance(self) -> None:
        self._go_to(self.last_epoch + 1)

    def _warn_of_order(self) -> None:
        step = getattr(self.optimizer.step, "__func__", None)
        if self.last_epoch == 0 and not self.optimizer._has_stepped and step is Optimizer.step:  # which says so
            warnings.warn(
                f"{type(self).__name__}: step() was called before optimizer.step(), so no step uses the first "
                "learning rate; call optimizer.step() first",
                stacklevel=3,
            )

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group as this schedule last set it."""
        return list(self._last_lr)

    # Saving and loading ---------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer, by PyTorch's names, and under "param_groups" what is scheduled there now.

        Numbers, strings, lists and dicts only, so that it can be written as JSON.
        """
        scheduled = [self._scheduled(group) for group in self.optimizer.param_groups]
        return copy.deepcopy(self._state() | {"param_groups": scheduled})

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a saved state; the options of this schedule are replaced by the saved ones.

        The rates that the optimizer had then are set again, so that the order in which an optimizer and its
        schedules are made and loaded does not matter.

        Args:
            state_dict: as `state_dict` gives it, of a schedule of this class. One of PyTorch's fits, too.

        Raises:
            TypeError: it is no dict.
            ValueError: it is of another schedule, or of another number of groups. Nothing is changed then.
        """
        self._check_state(state_dict)
        self._take({name: copy.deepcopy(state_dict[name]) for name in self._state()})
        self.optimizer._has_stepped = True
        for group, scheduled in zip(self.optimizer.param_groups, state_dict.get("param_groups", ()), strict=False):
            group.update(scheduled)

    def _state(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "optimizer"}

    def _scheduled(self, group: dict[str, Any]) -> dict[str, Any]:
        return {"lr": group["lr"]}

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        name, count = type(self).__name__, len(self.optimizer.param_groups)
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"{name}: expected a state dict, got {type(state_dict).__name__}")
        found, expected = state_dict.keys() - OF_PYTORCH - {"param_groups"}, self._state().keys()
        if found != expected:
            raise ValueError(
                f"{name}: expected the state of a {name}, with {', '.join(sorted(expected))}; "
                f"got one with {', '.join(sorted(found)) or 'nothing'}"
            )
        if len(state_dict["_last_lr"]) != count:
            raise ValueError(f"{name}: expected a state of {count} groups, got one of {len(state_dict['_last_lr'])}")

    def _take(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def checked(schedule: object, optimizer: Any) -> Optimizer:
    """The optimizer, if it is one."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(schedule).__name__}: expected an Optimizer, got {type(optimizer).__name__}")
    return optimizer


def per_group(schedule: object, name: str, value: Any, optimizer: Optimizer) -> list[Any]:
    """One value for each group: a list as long as they are many, or the same for all."""
    count = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{type(schedule).__name__}: expected one {name} for each of {count} groups, got {len(value)}")
    return list(value)


def check(schedule: object, expected: str, fits: bool, **given: Any) -> None:
    """Raise ValueError if an option is not what is expected of it."""
    ((name, value),) = given.items()
    if not fits:
        raise ValueError(f"{type(schedule).__name__}: expected {name} to be {expected}, got {value!r}")


def number(
    schedule: object,
    expected: str = "a number",
    fits: Callable[[float], bool] = lambda value: not math.isnan(value),
    **given: Any,
) -> float:
    """An option that is a number, as Python's; TypeError if it is none, ValueError if not what is expected of it."""
    ((name, value),) = given.items()
    value = python_scalar(value)
    if not isinstance(value, (int, float)):
        raise TypeError(f"{type(schedule).__name__}: expected {name} to be a number, got {type(value).__name__}")
    check(schedule, expected, fits(value), **{name: value})
    return value


def not_negative(schedule: object, **given: Any) -> float:
    """As `number`, of 0 or more."""
    return number(schedule, "0 or more", lambda value: value >= 0, **given)


def count(schedule: object, **given: Any) -> int:
    """An option that is a positive whole number, as Python's; ValueError if it is none."""
    ((name, value),) = given.items()
    value = python_scalar(value)
    fits = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    check(schedule, "a positive integer", fits, **{name: value})
    return int(value)


def steps_listed(schedule: object, milestones: Any) -> list[float]:
    """Milestones as a list; TypeError if they are none, ValueError if one is before the first step."""
    if not isinstance(milestones, Iterable):
        came = type(milestones).__name__
        raise TypeError(f"{type(schedule).__name__}: expected milestones to be a list of steps, got {came}")
    return [not_negative(schedule, **{f"milestones[{i}]": step}) for i, step in enumerate(milestones)]
