"""Schedules: what their users rely on. Rates are compared with PyTorch's in test_parity_schedules.py."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import optim
from minigrad.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from .strict import strict


def sgd(*rates: float, **options: Any) -> optim.SGD:
    """An optimizer with a group for each rate, that has stepped."""
    optimizer = optim.SGD([{"params": [mg.ones(1, requires_grad=True)], "lr": lr} for lr in rates or (1.0,)], **options)
    optimizer.step()
    return optimizer


def rates(optimizer: Any) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


def first_rates(schedule: LRScheduler, steps: int) -> list[float]:
    """The first group's rate at first and after each step."""
    found = schedule.get_last_lr()[:1]
    for _ in range(steps):
        schedule.step()
        found += schedule.get_last_lr()[:1]
    return found


def test_cosine_schedule_from_end_to_end() -> None:
    optimizer = sgd(0.1, 0.3)
    schedule = CosineAnnealingLR(optimizer, T_max=10, eta_min=0.02)
    found = [schedule.get_last_lr()]
    for _ in range(10):
        optimizer.step()
        schedule.step()
        found.append(rates(optimizer))
    assert found[0] == pytest.approx([0.1, 0.3])
    assert found[5] == pytest.approx([0.06, 0.16])
    assert found[10] == pytest.approx([0.02, 0.02])
    assert all(a > b for a, b in itertools.pairwise(found))


def test_the_next_step_uses_the_scheduled_rate(device: str) -> None:
    p = mg.tensor([0.0], requires_grad=True)
    p.grad = mg.tensor([1.0])
    optimizer = optim.SGD([p], lr=1.0)
    schedule = CosineAnnealingLR(optimizer, T_max=2)
    places = []
    for _ in range(3):
        optimizer.step()
        schedule.step()
        places.append(p.item())
    assert places == pytest.approx([-1.0, -1.5, -1.5])


# The closed forms, which the docstrings give --------------------------------------------------------

CLOSED: dict[str, tuple[Any, Any]] = {
    "lambda": (lambda o: LambdaLR(o, lambda t: 1 / (1 + t)), lambda t: 1 / (1 + t)),
    "step": (lambda o: StepLR(o, 7, 0.5), lambda t: 0.5 ** (t // 7)),
    "multi-step": (lambda o: MultiStepLR(o, [9, 3, 9], 0.5), lambda t: 0.5 ** sum(m <= t for m in (3, 9, 9))),
    "exponential": (lambda o: ExponentialLR(o, 0.9), lambda t: 0.9**t),
    "constant": (lambda o: ConstantLR(o, 0.25, 8), lambda t: 0.25 if t < 8 else 1.0),
    "linear": (lambda o: LinearLR(o, 0.2, 0.6, 10), lambda t: 0.2 + 0.4 * min(t / 10, 1)),
    "polynomial": (lambda o: PolynomialLR(o, 12, 3.0), lambda t: (1 - min(t / 12, 1)) ** 3),
    "cosine": (lambda o: CosineAnnealingLR(o, 6), lambda t: (1 + math.cos(math.pi * t / 6)) / 2),
    "restarts": (lambda o: CosineAnnealingWarmRestarts(o, 5), lambda t: (1 + math.cos(math.pi * (t % 5) / 5)) / 2),
}


@pytest.mark.parametrize("name", CLOSED)
def test_the_closed_form(name: str) -> None:
    make, formula = CLOSED[name]
    optimizer = sgd(2.0, 0.5)
    schedule = make(optimizer)
    for t in range(30):
        assert schedule.last_epoch == t
        assert rates(optimizer) == schedule.get_last_lr() == pytest.approx([2.0 * formula(t), 0.5 * formula(t)])
        schedule.step()


def test_restarts_come_exactly_at_the_end_of_a_cycle() -> None:
    """Also where a logarithm would round: cycles of 1, 3, 9, 27 and 81 steps end after 121."""
    schedule = CosineAnnealingWarmRestarts(sgd(), T_0=1, T_mult=3)
    found = first_rates(schedule, 130)
    assert [t for t in range(1, 131) if found[t] > found[t - 1] or t == 1] == [1, 4, 13, 40, 121]
    schedule.step(121)
    assert (schedule.T_cur, schedule.T_i, schedule.get_last_lr()) == (0, 243, [1.0])


# Together -----------------------------------------------------------------------------------------


def test_two_schedules_of_one_optimizer_multiply() -> None:
    optimizer = sgd()
    warmup, decay = LinearLR(optimizer, 0.5, total_iters=2), ExponentialLR(optimizer, 0.1)
    for t, expected in enumerate([0.5, 0.75 * 0.1, 0.01, 0.001]):
        assert rates(optimizer) == pytest.approx([expected]), t
        warmup.step()
        decay.step()


def test_a_rate_changed_by_hand_is_scheduled_from_there() -> None:
    optimizer = sgd()
    schedule = ExponentialLR(optimizer, 0.5)
    optimizer.param_groups[0]["lr"] = 8.0
    assert schedule.get_last_lr() == [1.0]  # what the schedule set
    schedule.step()
    assert rates(optimizer) == schedule.get_last_lr() == [4.0]


def test_a_group_that_was_added_is_scheduled_from_its_own_rate() -> None:
    optimizer = sgd()
    schedule = CosineAnnealingLR(optimizer, 2)
    schedule.step()
    optimizer.add_param_group({"params": mg.ones(1, requires_grad=True), "lr": 0.5})
    for _ in range(3):
        schedule.step()
    assert rates(optimizer) == pytest.approx([1.0, 0.5])
    assert optimizer.param_groups[1]["initial_lr"] == 0.5


def test_sequential_begins_each_schedule_anew() -> None:
    optimizer = sgd(2.0)
    schedule = SequentialLR(
        optimizer, [ConstantLR(optimizer, 0.5, 99), ExponentialLR(optimizer, 0.5), StepLR(optimizer, 2, 0.1)], [2, 4]
    )
    assert first_rates(schedule, 6) == pytest.approx([1.0, 1.0, 2.0, 1.0, 2.0, 2.0, 0.2])
    assert schedule.last_epoch == 6


def test_plateau_reads_a_tensor_and_nothing_else(device: str) -> None:
    optimizer = sgd()
    schedule = ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    before = strict.reads
    schedule.step(mg.tensor(1.0))
    if device in ("cpu", "strict"):
        assert strict.reads - before == (device == "strict")
    schedule.step(mg.tensor(1.0))
    assert rates(optimizer) == [0.5]
    schedule.step(math.nan)  # no better
    assert rates(optimizer) == [0.25]


def test_plateau_takes_a_further_group_along() -> None:
    optimizer = sgd()
    schedule = ReduceLROnPlateau(optimizer, patience=0, factor=0.5, min_lr=0.4)
    optimizer.add_param_group({"params": mg.ones(1, requires_grad=True), "lr": 3.0})
    for _ in range(3):
        schedule.step(1.0)
    assert rates(optimizer) == [0.4, 0.75]


def test_one_cycle_stops_when_it_is_over() -> None:
    optimizer = optim.Adam([mg.ones(1, requires_grad=True)])
    schedule = OneCycleLR(optimizer, 1.0, total_steps=3)
    optimizer.step()
    for _ in range(3):
        schedule.step()
    before = (schedule.state_dict(), dict(optimizer.param_groups[0]))
    with pytest.raises(ValueError, match="OneCycleLR: expected at most 3 steps, its total_steps; this is one more"):
        schedule.step()
    assert (schedule.state_dict(), dict(optimizer.param_groups[0])) == before


def test_one_cycle_whose_rise_has_no_length_begins_at_the_top() -> None:
    assert OneCycleLR(sgd(momentum=0.9), 1.0, total_steps=10, pct_start=0.1).get_last_lr() == [1.0]


@pytest.mark.parametrize(("start", "steps"), [(0.8475360471899115, 21), (0.3, 7), (1.0, 10)])
def test_a_line_to_zero_does_not_lead_below(start: float, steps: int) -> None:
    """Each rate follows from the one before, and the last factor may round to less than 0."""
    found = first_rates(LinearLR(sgd(), start, 0.0, steps), steps + 2)
    assert min(found) >= 0 and found[-1] < 1e-12


def test_numbers_of_numpy_can_be_saved() -> None:
    optimizer = sgd(momentum=0.9)
    for schedule in (
        StepLR(optimizer, np.int64(3), np.float32(0.5)),
        MultiStepLR(optimizer, np.array([3, 1]), np.float32(0.5)),
        CosineAnnealingWarmRestarts(optimizer, np.int64(3)),
        OneCycleLR(optimizer, np.float32(0.5), np.int64(9), pct_start=np.float32(0.5)),
        ReduceLROnPlateau(optimizer, patience=np.int64(2), min_lr=np.float32(0.1)),
    ):
        json.dumps(schedule.state_dict())


def test_numbers_stay_python_s() -> None:
    """A NumPy number as the rate would widen every array of float32 that it meets."""
    optimizer = sgd(np.float64(1.0))
    assert type(optimizer.param_groups[0]["lr"]) is float
    schedule = LambdaLR(optimizer, lambda t: np.cos(t / 10))
    schedule.step()
    assert type(optimizer.param_groups[0]["lr"]) is float


# The order of steps -------------------------------------------------------------------------------

ORDERED: dict[str, Any] = {
    "step": lambda o: StepLR(o, 3),
    "one-cycle": lambda o: OneCycleLR(o, 1.0, 9, cycle_momentum=False),
    "sequential": lambda o: SequentialLR(o, [LinearLR(o), StepLR(o, 3)], [1]),
}


@pytest.mark.parametrize("name", ORDERED)
def test_a_schedule_that_goes_first_is_warned_of_once(name: str) -> None:
    optimizer = optim.SGD([mg.ones(1, requires_grad=True)])
    schedule = ORDERED[name](optimizer)
    kind = type(schedule).__name__
    with pytest.warns(UserWarning, match=rf"^{kind}: step\(\) was called before optimizer.step\(\), so no") as found:
        first_rates(schedule, 4)
    assert [warning.filename for warning in found] == [__file__]


@pytest.mark.parametrize("name", ORDERED)
def test_a_schedule_that_follows_a_step_is_not_warned_of(name: str) -> None:
    """Warnings are errors here: nor after loading what was saved between the two steps, nor without our own step."""

    def fresh() -> tuple[Any, Any]:
        optimizer = optim.SGD([mg.ones(1, requires_grad=True)])
        return optimizer, ORDERED[name](optimizer)

    optimizer, schedule = fresh()
    optimizer.step()
    saved = [part.state_dict() for part in (optimizer, schedule)]
    schedule.step()
    for i in range(2):
        again = fresh()
        again[i].load_state_dict(saved[i])
        again[1].step()

    class Lazy(optim.SGD):
        def step(self, closure: Any = None) -> None:
            pass

    ORDERED[name](Lazy([mg.ones(1, requires_grad=True)])).step()


def test_restarts_and_plateaus_may_go_first() -> None:
    """As in PyTorch: they are stepped with an epoch or a measure, and may come anywhere."""
    optimizer = optim.SGD([mg.ones(1, requires_grad=True)])
    CosineAnnealingWarmRestarts(optimizer, 3).step()
    ReduceLROnPlateau(optimizer).step(1.0)


# What is refused ----------------------------------------------------------------------------------

MISTAKES: dict[str, tuple[Any, type[Exception], str]] = {
    "no optimizer": (lambda o: StepLR([1.0], 3), TypeError, "StepLR: expected an Optimizer, got list"),
    "a schedule without an end": (
        lambda o: CosineAnnealingLR(o, 0),
        ValueError,
        "expected T_max to be at least 1, got 0",
    ),
    "step_size": (lambda o: StepLR(o, 0), ValueError, "StepLR: expected step_size to be a positive integer, got 0"),
    "step_size of half": (lambda o: StepLR(o, 2.5), ValueError, "expected step_size to be a positive integer, got 2.5"),
    "gamma of a step": (lambda o: StepLR(o, 2, -0.1), ValueError, "StepLR: expected gamma to be 0 or more, got -0.1"),
    "gamma of many": (lambda o: MultiStepLR(o, [2], -1), ValueError, "MultiStepLR: expected gamma to be 0 or more"),
    "gamma": (
        lambda o: ExponentialLR(o, math.nan),
        ValueError,
        "ExponentialLR: expected gamma to be 0 or more, got nan",
    ),
    "factor": (
        lambda o: ConstantLR(o, 2.0),
        ValueError,
        "ConstantLR: expected factor to be above 0 and at most 1, got 2",
    ),
    "constant backwards": (
        lambda o: ConstantLR(o, 0.5, -1),
        ValueError,
        "expected total_iters to be 0 or more, got -1",
    ),
    "start": (lambda o: LinearLR(o, 0.0), ValueError, "expected start_factor to be above 0 and at most 1, got 0.0"),
    "end": (lambda o: LinearLR(o, 0.5, 1.5), ValueError, "LinearLR: expected end_factor to be from 0 to 1, got 1.5"),
    "backwards": (lambda o: LinearLR(o, total_iters=-1), ValueError, "expected total_iters to be 0 or more, got -1"),
    "power": (lambda o: PolynomialLR(o, 5, -1.0), ValueError, "PolynomialLR: expected power to be 0 or more, got -1.0"),
    "restart": (
        lambda o: CosineAnnealingWarmRestarts(o, 0),
        ValueError,
        "CosineAnnealingWarmRestarts: expected T_0 to be a positive integer, got 0",
    ),
    "shrinking": (
        lambda o: CosineAnnealingWarmRestarts(o, 3, 0),
        ValueError,
        "expected T_mult to be a positive integer",
    ),
    "an epoch before the first": (
        lambda o: CosineAnnealingWarmRestarts(o, 3).step(-1),
        ValueError,
        "CosineAnnealingWarmRestarts: expected epoch to be 0 or more, got -1",
    ),
    "no function": (lambda o: LambdaLR(o, 0.5), TypeError, "LambdaLR: expected lr_lambda to be a function, got float"),
    "functions": (
        lambda o: LambdaLR(o, [math.exp] * 3),
        ValueError,
        "LambdaLR: expected one lr_lambda for each of 1 groups, got 3",
    ),
    "how long": (
        lambda o: OneCycleLR(o, 1.0, epochs=3),
        ValueError,
        "OneCycleLR: expected total_steps, or epochs and st",
    ),
    "total": (
        lambda o: OneCycleLR(o, 1.0, 0),
        ValueError,
        "OneCycleLR: expected total_steps to be a positive integer, go",
    ),
    "epochs": (
        lambda o: OneCycleLR(o, 1.0, None, -1, 3),
        ValueError,
        "expected epochs to be a positive integer, got -1",
    ),
    "pct_start": (
        lambda o: OneCycleLR(o, 1.0, 9, pct_start=1.5),
        ValueError,
        "expected pct_start to be from 0 to 1, got",
    ),
    "strategy": (
        lambda o: OneCycleLR(o, 1.0, 9, anneal_strategy="sine"),
        ValueError,
        'OneCycleLR: expected anneal_strategy to be "cos" or "linear", got \'sine\'',
    ),
    "div_factor": (
        lambda o: OneCycleLR(o, 1.0, 9, div_factor=0),
        ValueError,
        "expected div_factor to be positive, got 0",
    ),
    "rates": (lambda o: OneCycleLR(o, [1.0] * 2, 9), ValueError, "expected one max_lr for each of 1 groups, got 2"),
    "momenta": (
        lambda o: OneCycleLR(o, 1.0, 9, max_momentum=[0.9] * 2),
        ValueError,
        "OneCycleLR: expected one max_momentum for each of 1 groups, got 2",
    ),
    "no momentum": (
        lambda o: OneCycleLR(optim.Adagrad([mg.ones(1, requires_grad=True)]), 1.0, 9),
        ValueError,
        "OneCycleLR: Adagrad has no momentum to change; write cycle_momentum=False",
    ),
    "milestones that are words": (
        lambda o: MultiStepLR(o, ["a"]),
        TypeError,
        r"MultiStepLR: expected milestones\[0\] to be a number, got str",
    ),
    "one milestone": (
        lambda o: MultiStepLR(o, 5),
        TypeError,
        "MultiStepLR: expected milestones to be a list of steps, got int",
    ),
    "a milestone before the start": (
        lambda o: MultiStepLR(o, [2, -3]),
        ValueError,
        r"MultiStepLR: expected milestones\[1\] to be 0 or more, got -3",
    ),
    "a word for gamma": (
        lambda o: StepLR(o, 2, gamma="a"),
        TypeError,
        "StepLR: expected gamma to be a number, got str",
    ),
    "a word for a factor": (
        lambda o: LinearLR(o, "a"),
        TypeError,
        "LinearLR: expected start_factor to be a number, got",
    ),
    "a tensor for T_max": (lambda o: CosineAnnealingLR(o, mg.ones(())), TypeError, "T_max to be a number, got Tensor"),
    "a word for eta_min": (lambda o: CosineAnnealingLR(o, 2, "a"), TypeError, "eta_min to be a number, got str"),
    "below nothing": (
        lambda o: CosineAnnealingLR(o, 2, -0.1),
        ValueError,
        "expected eta_min to be 0 or more, got -0.1",
    ),
    "a word for an epoch": (
        lambda o: CosineAnnealingWarmRestarts(o, 3).step("a"),
        TypeError,
        "expected epoch to be a number, got str",
    ),
    "last_epoch": (
        lambda o: StepLR(o, 2, last_epoch="a"),
        ValueError,
        "StepLR: expected last_epoch to be an integer from -1, got 'a'",
    ),
    "a word for max_lr": (
        lambda o: OneCycleLR(o, "a", 9),
        TypeError,
        "OneCycleLR: expected max_lr to be a number, got",
    ),
    "a negative max_lr": (lambda o: OneCycleLR(o, -1.0, 9), ValueError, "expected max_lr to be 0 or more, got -1.0"),
    "a word for patience": (
        lambda o: ReduceLROnPlateau(o, patience="a"),
        TypeError,
        "ReduceLROnPlateau: expected patience to be a number, got str",
    ),
    "no patience": (
        lambda o: ReduceLROnPlateau(o, patience=-1),
        ValueError,
        "ReduceLROnPlateau: expected patience to be 0 or more, got -1",
    ),
    "no number for a threshold": (
        lambda o: ReduceLROnPlateau(o, threshold=math.nan),
        ValueError,
        "expected threshold to be a number, got nan",
    ),
    "a word for a measure": (
        lambda o: ReduceLROnPlateau(o).step("a"),
        TypeError,
        "ReduceLROnPlateau: expected a measure to step by, one number such as the loss, got str",
    ),
    "measures": (
        lambda o: ReduceLROnPlateau(o).step(mg.ones(2)),
        TypeError,
        r"one number such as the loss, got \(2,\) float32 on cpu",
    ),
    "a schedule for a list": (
        lambda o: SequentialLR(o, StepLR(o, 3), [1]),
        TypeError,
        "SequentialLR: expected schedulers to be a list, got StepLR",
    ),
    "a milestone for a list": (
        lambda o: SequentialLR(o, [StepLR(o, 3), StepLR(o, 3)], 1),
        TypeError,
        "SequentialLR: expected milestones to be a list of steps, got int",
    ),
    "mode": (lambda o: ReduceLROnPlateau(o, "least"), ValueError, 'expected mode to be "min" or "max", got \'least\''),
    "growth": (
        lambda o: ReduceLROnPlateau(o, factor=1.0),
        ValueError,
        "expected factor to be from 0 to below 1, got 1.0",
    ),
    "threshold": (
        lambda o: ReduceLROnPlateau(o, threshold_mode="r"),
        ValueError,
        'threshold_mode to be "rel" or "abs"',
    ),
    "floors": (
        lambda o: ReduceLROnPlateau(o, min_lr=[0, 0]),
        ValueError,
        "expected one min_lr for each of 1 groups, got 2",
    ),
    "no schedules": (
        lambda o: SequentialLR(o, [], []),
        ValueError,
        "SequentialLR: expected at least one schedule, and one",
    ),
    "milestones": (
        lambda o: SequentialLR(o, [StepLR(o, 3)], [3]),
        ValueError,
        "one milestone fewer than schedules; got 1 schedules and 1 milestones",
    ),
    "falling milestones": (
        lambda o: SequentialLR(o, [StepLR(o, 3) for _ in range(3)], [4, 2]),
        ValueError,
        r"SequentialLR: expected milestones that rise, got \[4, 2\]",
    ),
    "no schedule": (
        lambda o: SequentialLR(o, [o], []),
        TypeError,
        "SequentialLR: expected schedules, got SGD at index 0",
    ),
    "of another": (
        lambda o: SequentialLR(o, [StepLR(sgd(), 3)], []),
        ValueError,
        "SequentialLR: StepLR at index 0 is of another optimizer",
    ),
    "a plateau": (
        lambda o: SequentialLR(o, [ReduceLROnPlateau(o)], []),
        ValueError,
        "SequentialLR: ReduceLROnPlateau at index 0 needs a measure in each step",
    ),
    "one in another": (
        lambda o: SequentialLR(o, [SequentialLR(o, [StepLR(o, 3)], [])], []),
        ValueError,
        "SequentialLR: SequentialLR at index 0; list its schedulers and milestones here instead",
    ),
    "going on from nowhere": (
        lambda o: StepLR(o, 3, last_epoch=5),
        KeyError,
        "StepLR: to go on after step 5, load the optimizer.*s state first; its group 0 has no",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_schedules_that_make_no_sense(name: str) -> None:
    make, kind, message = MISTAKES[name]
    optimizer = sgd(momentum=0.9)
    with pytest.raises(kind, match=message):
        make(optimizer)
    assert optimizer.param_groups[0]["momentum"] == 0.9


@pytest.mark.parametrize(
    "make",
    [lambda o: LambdaLR(o, [math.exp]), lambda o: OneCycleLR(o, 1.0, 9), lambda o: ReduceLROnPlateau(o, min_lr=[0])],
)
def test_a_group_that_was_added_and_cannot_be_scheduled(make: Any) -> None:
    optimizer = sgd()
    schedule = make(optimizer)
    optimizer.add_param_group({"params": mg.ones(1, requires_grad=True), "lr": 0.5})
    before = (rates(optimizer), schedule.last_epoch)
    with pytest.raises(RuntimeError, match=f"{type(schedule).__name__}: .*a group was added"):
        schedule.step(*([1.0] if isinstance(schedule, ReduceLROnPlateau) else []))
    assert (rates(optimizer), schedule.last_epoch) == before
