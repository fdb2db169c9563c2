"""State dicts of optimizers and schedules: saved and loaded, training goes on bit for bit; PyTorch's load, too."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import minigrad as mg
from minigrad import optim

from .golden.optimizers import OPTIMIZERS, Optimizer
from .golden.schedules import SCHEDULES, advance, make
from .helpers import host
from .test_parity_optim import optimizers, seeds

Run = tuple[list[mg.Tensor], Any, Any]
SHAPES = [(2, 3), (4,), ()]


def begin(case: Optimizer, schedule: str | None = None, starts: Any = None, **options: Any) -> Run:
    """Parameters in two groups, an optimizer, and a schedule."""
    rng = np.random.default_rng(0)
    starts = starts or [rng.normal(size=shape) for shape in SHAPES]
    parameters = [mg.tensor(start, requires_grad=True, **options) for start in starts]
    kind, settings = case
    groups = [{"params": parameters[:2]}, {"params": parameters[2], "lr": 0.03}]
    optimizer = getattr(optim, kind)(groups, **settings)
    return parameters, optimizer, schedule and make(optim, optimizer, SCHEDULES[schedule].schedules[0])


def go(run: Run, first: int, last: int) -> None:
    """Some steps, each along a gradient that depends on the step and on the place."""
    parameters, optimizer, schedule = run
    for t in range(first, last):
        rng = np.random.default_rng(t)
        for p in parameters:
            weights = mg.tensor(rng.normal(size=p.shape), dtype=p.dtype, device=p.device)
            p.grad = None
            (p * p * weights).sum().backward()
        optimizer.step()
        if schedule is not None:
            advance(schedule, t)


def places(run: Run) -> list[np.ndarray]:
    return [host(p).copy() for p in run[0]]


def same_bits(a: Run, b: Run) -> None:
    for x, y in zip(places(a), places(b), strict=True):
        assert x.tobytes() == y.tobytes()
    assert [group["lr"] for group in a[1].param_groups] == [group["lr"] for group in b[1].param_groups]


# Going on -----------------------------------------------------------------------------------------

PAIRS = [
    (name, schedule)
    for name in ("sgd-nesterov", "adagrad-all", "rmsprop-all", "adam-amsgrad", "adamw")
    for schedule in ("cosine", "linear-down", "multi-step", "one-cycle", "plateau", "sequential", "restarts-longer")
    if (name, schedule) != ("adagrad-all", "one-cycle")  # Adagrad has no momentum to cycle
]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_bit_for_bit(name: str, device: str) -> None:
    for dtype in (mg.float32, mg.float64):
        straight = begin(OPTIMIZERS[name], dtype=dtype)
        go(straight, 0, 12)
        saved, starts = copy.deepcopy(straight[1].state_dict()), places(straight)
        go(straight, 12, 20)
        again = begin(OPTIMIZERS[name], starts=starts, dtype=dtype)
        again[1].load_state_dict(saved)
        go(again, 12, 20)
        same_bits(straight, again)


@pytest.mark.parametrize("made_first", [True, False], ids=["made, then loaded", "optimizer loaded, then schedule made"])
@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if len(SCHEDULES[name].schedules) == 1])
def test_schedules_go_on_bit_for_bit(schedule: str, made_first: bool) -> None:
    case = SCHEDULES[schedule]
    for name in ["adam-amsgrad"] if case.optimizer == "Adam" else ["sgd-all", "adamw"]:
        straight = begin(OPTIMIZERS[name], schedule)
        go(straight, 0, 7)
        straight[1].param_groups[1]["lr"] *= 0.9  # by hand, which the schedule may keep
        saved = copy.deepcopy((straight[1].state_dict(), straight[2].state_dict()))
        starts = places(straight)
        go(straight, 7, 40)
        parameters, optimizer, again = begin(OPTIMIZERS[name], schedule if made_first else None, starts)
        optimizer.load_state_dict(saved[0])
        again = again or make(optim, optimizer, case.schedules[0])
        again.load_state_dict(saved[1])
        resumed = (parameters, optimizer, again)
        go(resumed, 7, 40)
        same_bits(straight, resumed)
        assert again.state_dict() == straight[2].state_dict()
        assert again.get_last_lr() == straight[2].get_last_lr()


@pytest.mark.parametrize(("name", "schedule"), PAIRS)
def test_every_optimizer_goes_on_with_its_schedule(name: str, schedule: str) -> None:
    straight = begin(OPTIMIZERS[name], schedule)
    go(straight, 0, 15)
    saved, starts = copy.deepcopy([part.state_dict() for part in straight[1:]]), places(straight)
    go(straight, 15, 30)
    again = begin(OPTIMIZERS[name], schedule, starts)
    for part, state in zip(again[1:], saved, strict=True):
        part.load_state_dict(state)
    go(again, 15, 30)
    same_bits(straight, again)


# What a state dict is -----------------------------------------------------------------------------


def test_the_layout_is_pytorch_s(device: str) -> None:
    run = begin(("Adam", {"lr": 0.1}))
    assert run[1].state_dict()["state"] == {}
    go(run, 0, 3)
    state_dict = run[1].state_dict()
    assert list(state_dict) == ["state", "param_groups"]
    assert list(state_dict["state"]) == [0, 1, 2]
    assert [group["params"] for group in state_dict["param_groups"]] == [[0, 1], [2]]
    assert [group["lr"] for group in state_dict["param_groups"]] == [0.1, 0.03]
    assert list(state_dict["state"][0]) == ["step", "exp_avg", "exp_avg_sq"]
    for i, shape in enumerate(SHAPES):
        state = state_dict["state"][i]
        assert type(state["step"]) is int and state["step"] == 3
        m = state["exp_avg"]
        assert type(m) is mg.Tensor and not m.requires_grad
        assert (m.shape, m.dtype, m.device) == (shape, np.float64, device)
    assert all(p is q for p, q in zip(run[1].state, run[0], strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_of_pytorch_has_the_same_names(name: str) -> None:
    torch = pytest.importorskip("torch")
    kind, options = OPTIMIZERS[name]
    found = []
    for library, ones in ((optim, mg.ones), (torch.optim, torch.ones)):
        p = ones(2, requires_grad=True)
        p.grad = ones(2)
        optimizer = getattr(library, kind)([p], **options)
        optimizer.step()
        found.append(optimizer.state_dict())
    ours, theirs = found
    assert set(ours["state"].get(0, {})) == set(theirs["state"].get(0, {}))
    not_here = {"foreach", "fused", "capturable", "differentiable"}
    group, their_group = ours["param_groups"][0], theirs["param_groups"][0]
    assert group == {key: value for key, value in their_group.items() if key not in not_here}


def test_loading_copies_and_converts(device: str) -> None:
    source = begin(("Adam", {}), dtype=mg.float64)
    go(source, 0, 3)
    state_dict = source[1].state_dict()
    target = begin(("Adam", {}), dtype=mg.float32, device="cpu")
    target[1].load_state_dict(state_dict)
    for p, i in zip(target[0], range(3), strict=True):
        m = target[1].state[p]["exp_avg"]
        assert type(m) is np.ndarray and m.dtype == np.float32
        np.testing.assert_array_equal(m, host(state_dict["state"][i]["exp_avg"]).astype(np.float32))
    before = copy.deepcopy([host(state_dict["state"][i]["exp_avg"]) for i in range(3)])
    go(target, 3, 6)
    for i in range(3):
        np.testing.assert_array_equal(host(state_dict["state"][i]["exp_avg"]), before[i])
        assert state_dict["state"][i]["step"] == 3


def test_loading_keeps_the_groups_and_their_parameters() -> None:
    """Whoever holds a group sees the loaded options."""
    run = begin(("SGD", {"lr": 0.1, "momentum": 0.9}))
    group = run[1].param_groups[0]
    state_dict = begin(("SGD", {"lr": 0.5}))[1].state_dict()
    run[1].load_state_dict(state_dict)
    assert run[1].param_groups[0] is group
    assert (group["lr"], group["momentum"]) == (0.5, 0.0)
    assert all(p is q for p, q in zip(group["params"], run[0][:2], strict=True))
    state_dict["param_groups"][0]["lr"] = 7.0
    assert group["lr"] == 0.5


def test_options_that_the_dict_does_not_name_stay() -> None:
    """An older version may have known fewer."""
    run = begin(("SGD", {"lr": 0.1, "momentum": 0.9}))
    state_dict = run[1].state_dict()
    for group in state_dict["param_groups"]:
        del group["momentum"]
    run[1].load_state_dict(state_dict)
    assert run[1].param_groups[0]["momentum"] == 0.9


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_state_of_a_schedule_can_be_written_as_json(name: str) -> None:
    for spec in SCHEDULES[name].schedules:
        _, optimizer, _ = begin((SCHEDULES[name].optimizer, {}))
        schedule = make(optim, optimizer, spec)
        optimizer.step()
        for t in range(5):
            advance(schedule, t)
        state = schedule.state_dict()
        again = make(optim, begin((SCHEDULES[name].optimizer, {}))[1], spec)
        again.load_state_dict(json.loads(json.dumps(state)))
        for t in range(5, 30):
            advance(schedule, t)
            advance(again, t)
        assert again.get_last_lr() == schedule.get_last_lr()


def test_a_state_of_a_schedule_is_a_copy() -> None:
    _, _, schedule = begin(("SGD", {}), "multi-step")
    state = schedule.state_dict()
    state["milestones"].append(3)
    state["_last_lr"][0] = 5.0
    assert schedule.milestones == [40, 40, 80, 120]
    assert schedule.get_last_lr() == [0.001, 0.03]
    schedule.load_state_dict(state)
    state["milestones"].append(4)
    assert schedule.milestones == [3, 40, 40, 80, 120]


def test_functions_are_not_saved_but_the_state_of_other_callables_is() -> None:
    class Warm:
        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, t: int) -> float:
            self.calls += 1
            return self.calls

    optimizer = begin(("SGD", {"lr": 1.0}))[1]
    schedule = optim.lr_scheduler.LambdaLR(optimizer, [Warm(), lambda t: 1.0])
    optimizer.step()
    schedule.step()
    state = schedule.state_dict()
    assert state["lr_lambdas"] == [{"calls": 2}, None]
    optimizer = begin(("SGD", {"lr": 1.0}))[1]
    functions = [Warm(), lambda t: 0.5]
    again = optim.lr_scheduler.LambdaLR(optimizer, functions)
    again.load_state_dict(state)
    assert again.lr_lambdas == functions
    again.step()
    assert again.get_last_lr() == pytest.approx([3.0, 0.015])


# From PyTorch -------------------------------------------------------------------------------------


@given(optimizers(), seeds)
def test_live_training_begun_in_pytorch_goes_on_here(case: Optimizer, seed: int) -> None:
    torch = pytest.importorskip("torch")
    kind, options = case
    rng = np.random.default_rng(seed)
    gradients = rng.normal(size=(60, 3))
    p = torch.tensor(rng.normal(size=3), requires_grad=True)
    theirs = getattr(torch.optim, kind)([("p", p)], **options)  # named, which its state tells

    def step(optimizer: Any, parameter: Any, gradient: Any) -> None:
        parameter.grad = gradient
        optimizer.step()

    for gradient in gradients[:30]:
        step(theirs, p, torch.from_numpy(gradient.copy()))
    q = mg.tensor(p.detach().numpy(), requires_grad=True)
    ours = getattr(optim, kind)([q])  # its options come with the state
    saved = theirs.state_dict()
    state = {i: {name: x.numpy() for name, x in state.items()} for i, state in saved["state"].items()}
    ours.load_state_dict({"state": state, "param_groups": saved["param_groups"]})
    for gradient in gradients[30:]:
        step(theirs, p, torch.from_numpy(gradient.copy()))
        step(ours, q, mg.tensor(gradient))
    np.testing.assert_allclose(q.detach().numpy(), p.detach().numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_begun_here_goes_on_in_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    kind, options = OPTIMIZERS[name]
    run = begin((kind, options))
    go(run, 0, 10)
    parameters = [torch.tensor(place, requires_grad=True) for place in places(run)]
    theirs = getattr(torch.optim, kind)([{"params": parameters[:2]}, {"params": parameters[2]}])
    saved = run[1].state_dict()
    state = {
        i: {name: torch.tensor(host(x)) if isinstance(x, mg.Tensor) else x for name, x in state.items()}
        for i, state in saved["state"].items()
    }
    theirs.load_state_dict({"state": state, "param_groups": saved["param_groups"]})
    go(run, 10, 11)
    for p, q in zip(run[0], parameters, strict=True):
        q.grad = torch.tensor(host(p.grad))
    theirs.step()
    for p, q in zip(run[0], parameters, strict=True):
        np.testing.assert_allclose(host(p), q.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_adamw_goes_on_as_adamw_from_a_state_of_adam_s() -> None:
    run = begin(("Adam", {"weight_decay": 0.1}))
    target = begin(("AdamW", {}))
    target[1].load_state_dict(run[1].state_dict())
    assert target[1].param_groups[0]["decoupled_weight_decay"] is True
    assert target[1].param_groups[0]["weight_decay"] == 0.1
