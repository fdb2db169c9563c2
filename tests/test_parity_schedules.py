"""Schedules set the rates that PyTorch's set, alone, together and after a change by hand, to 1e-10."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import optim

from .golden.arrays import Arrays
from .golden.make import read
from .golden.optimizers import STEPS_TAKEN
from .golden.schedules import SCHEDULES, Drive, Spec, advance, drive, make, momentum, run_schedule

SCHEDULED = read("schedules")
GROUPS = 2


def leaves(count: int = GROUPS) -> list[mg.Tensor]:
    return [mg.zeros(1, requires_grad=True) for _ in range(count)]


def check_schedule(case: Drive, expected: Arrays) -> None:
    found = drive(optim, case, leaves())
    assert len(found["rates"]) == STEPS_TAKEN + 1
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule(name: str) -> None:
    check_schedule(SCHEDULES[name], SCHEDULED[name])


def test_the_golden_schedules_do_something() -> None:
    """A schedule that left the rates alone would be found out: each golden case has a rate that changes."""
    for name, arrays in SCHEDULED.items():
        assert np.ptp(arrays["rates"][:, 0]) > 0, name
        assert ("one-cycle" in name and "no-momentum" not in name) == bool(np.ptp(arrays["momenta"])), name


# Against live torch, on random cases --------------------------------------------------------------

factors = st.floats(0.5, 1.0)
steps = st.integers(1, 60)


def kind(name: str, **options: st.SearchStrategy[Any]) -> st.SearchStrategy[Spec]:
    return st.tuples(st.just(name), st.fixed_dictionaries({}, optional=options))


def needs(name: str, **options: st.SearchStrategy[Any]) -> st.SearchStrategy[Spec]:
    return st.tuples(st.just(name), st.fixed_dictionaries(options))


composing = (
    needs("StepLR", step_size=steps, gamma=factors)
    | needs("MultiStepLR", milestones=st.lists(st.integers(0, 200), max_size=6), gamma=factors)
    | kind("ConstantLR", factor=factors, total_iters=steps)
    | kind("LinearLR", start_factor=factors, end_factor=st.floats(0.0, 1.0), total_iters=steps)
    | needs("ExponentialLR", gamma=st.floats(0.95, 1.0))
    | needs("PolynomialLR", total_iters=steps, power=st.floats(0.5, 3.0))
    | needs("CosineAnnealingLR", T_max=steps, eta_min=st.floats(0.0, 0.05))
)
closed = needs("CosineAnnealingWarmRestarts", T_0=steps, T_mult=st.integers(1, 3), eta_min=st.floats(0.0, 0.05))
one_cycle = needs(
    "OneCycleLR",
    max_lr=st.floats(0.01, 1.0) | st.lists(st.floats(0.01, 1.0), min_size=GROUPS, max_size=GROUPS),
    total_steps=st.integers(200, 300),
    pct_start=st.floats(0.1, 0.45),
    anneal_strategy=st.sampled_from(["cos", "linear"]),
    cycle_momentum=st.booleans(),
    base_momentum=st.floats(0.5, 0.85),
    max_momentum=st.floats(0.85, 0.99),
    div_factor=st.floats(2.0, 50.0),
    final_div_factor=st.floats(2.0, 1e5),
    three_phase=st.booleans(),
)
plateau = kind(
    "ReduceLROnPlateau",
    mode=st.sampled_from(["min", "max"]),
    factor=st.floats(0.1, 0.9),
    patience=st.integers(0, 10),
    threshold=st.floats(0.0, 0.1),
    threshold_mode=st.sampled_from(["rel", "abs"]),
    cooldown=st.integers(0, 10),
    min_lr=st.floats(0.0, 0.05) | st.lists(st.floats(0.0, 0.1), min_size=GROUPS, max_size=GROUPS),
    eps=st.sampled_from([0.0, 1e-8, 1e-2]),
)


@st.composite
def sequential(draw: Any) -> Spec:
    schedulers = draw(st.lists(composing | closed | one_cycle, min_size=1, max_size=4))
    rising = st.lists(st.integers(1, 190), min_size=len(schedulers) - 1, max_size=len(schedulers) - 1, unique=True)
    return "SequentialLR", {"schedulers": schedulers, "milestones": sorted(draw(rising))}


by_hand = st.none() | st.integers(0, 199)
drives = (
    st.builds(Drive, st.lists(composing, min_size=1, max_size=3), by_hand=by_hand)
    | st.builds(Drive, st.tuples(closed | plateau, composing).map(list), by_hand=by_hand)
    | st.builds(Drive, st.tuples(one_cycle | sequential()).map(list), st.sampled_from(["SGD", "Adam", "AdamW"]))
)


@given(drives)
def test_live_schedule(case: Drive) -> None:
    pytest.importorskip("torch")
    check_schedule(case, run_schedule(case))


@given(closed, st.lists(st.none() | st.floats(0.0, 90.0) | st.integers(0, 90), min_size=1, max_size=30))
def test_live_restarts_at_epochs(spec: Spec, epochs: list[float | None]) -> None:
    """`step(epoch)` goes to an epoch, or to a fraction of one, in any order."""
    torch = pytest.importorskip("torch")
    optimizers = [optim.SGD(leaves(1), lr=0.1), torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)]
    ours, theirs = (make(library, o, spec) for library, o in zip((optim, torch.optim), optimizers, strict=True))
    for epoch in epochs:
        ours.step(epoch)
        theirs.step(epoch)
        assert ours.get_last_lr() == pytest.approx(theirs.get_last_lr(), rel=1e-10, abs=1e-12)
        assert ours.last_epoch == theirs.last_epoch


@given(composing | one_cycle, st.integers(0, 70))
def test_live_going_on_after_an_epoch(spec: Spec, last_epoch: int) -> None:
    """`last_epoch=` with an optimizer that knows its first rate: the rates go on as PyTorch's do."""
    torch = pytest.importorskip("torch")
    found: list[list[list[float]]] = []
    for library, p in ((optim, leaves(1)[0]), (torch.optim, torch.zeros(1, requires_grad=True))):
        optimizer = library.SGD([{"params": [p], "lr": 0.05, "initial_lr": 0.1}], lr=0.1, momentum=0.9)
        optimizer.param_groups[0] |= {"max_lr": 0.3, "min_lr": 0.01, "base_momentum": 0.85, "max_momentum": 0.95}
        kind, options = spec
        if isinstance(options.get("max_lr"), list):
            options = options | {"max_lr": options["max_lr"][0]}
        schedule = make(library, optimizer, (kind, options | {"last_epoch": last_epoch}))
        found.append([])
        for _ in range(60):
            found[-1].append([optimizer.param_groups[0]["lr"], momentum(optimizer.param_groups[0])])
            optimizer.step()
            schedule.step()
    np.testing.assert_allclose(found[0], found[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_live_a_state_of_pytorch_goes_on_here(name: str) -> None:
    """A schedule of PyTorch's and its optimizer are saved halfway; ours go on from there."""
    torch = pytest.importorskip("torch")
    case = SCHEDULES[name]

    def made(library: Any, parameters: list[Any]) -> tuple[Any, list[Any]]:
        groups = [{"params": [p], "lr": lr} for p, lr in zip(parameters, (0.1, 0.3), strict=True)]
        optimizer = getattr(library, case.optimizer)(groups)
        return optimizer, [make(library, optimizer, spec) for spec in case.schedules]

    theirs, their_schedules = made(torch.optim, [torch.zeros(1, requires_grad=True) for _ in range(2)])
    ours, our_schedules = made(optim, leaves())
    for t in range(100):
        theirs.step()
        for schedule in their_schedules:
            advance(schedule, t)
    ours.load_state_dict(theirs.state_dict() | {"state": {}})
    for schedule, other in zip(our_schedules, their_schedules, strict=True):
        schedule.load_state_dict(other.state_dict())
    for t in range(100, STEPS_TAKEN):
        for optimizer, schedules in ((theirs, their_schedules), (ours, our_schedules)):
            optimizer.step()
            for schedule in schedules:
                advance(schedule, t)
        rates, expected = ([group["lr"] for group in optimizer.param_groups] for optimizer in (ours, theirs))
        assert rates == pytest.approx(expected, rel=1e-10, abs=1e-12)
        assert momentum(ours.param_groups[0]) == pytest.approx(momentum(theirs.param_groups[0]), rel=1e-10)
