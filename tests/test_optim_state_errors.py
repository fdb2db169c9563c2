"""A state dict that does not fit an optimizer or a schedule: the message, and that nothing is changed."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim

from .golden.schedules import make
from .helpers import host
from .test_optim_state import begin, go


def state_with(**changes: Any) -> dict[str, Any]:
    """The state dict of an Adam after a step, with other values for parameter 0."""
    run = begin(("Adam", {}))
    go(run, 0, 1)
    state_dict = run[1].state_dict()
    state_dict["state"][0] = {**state_dict["state"][0], **changes}
    return state_dict


def adam_of(*sizes: int) -> Any:
    return optim.Adam([{"params": [mg.ones(1, requires_grad=True) for _ in range(size)]} for size in sizes])


def with_option(name: str, value: Any) -> dict[str, Any]:
    state_dict = state_with()
    state_dict["param_groups"][1][name] = value
    return state_dict


MISTAKES = {
    "a module's state dict": (lambda: {"weight": mg.ones(2)}, TypeError, r'Adam: expected a state dict with "state"'),
    "no dict": (lambda: [1], TypeError, r"Adam: expected a state dict"),
    "no states": (lambda: {**state_with(), "state": 3}, TypeError, r'Adam: expected "state" to be a dict with a dict'),
    "no state": (lambda: {**state_with(), "state": {0: 3}}, TypeError, r'Adam: expected "state" to be a dict with a'),
    "no groups": (
        lambda: {**state_with(), "param_groups": 3},
        TypeError,
        r'Adam: expected "param_groups" to be a list of dicts, each with "params", a list of numbers',
    ),
    "no group": (lambda: {**state_with(), "param_groups": [3]}, TypeError, r'"param_groups" to be a list of dicts'),
    "a group of nobody": (
        lambda: {**state_with(), "param_groups": [{"lr": 0.1}]},
        TypeError,
        r'"param_groups" to be a list of dicts, each with "params", a list of numbers',
    ),
    "parameters for numbers": (
        lambda: {**state_with(), "param_groups": [{"params": [mg.ones(1)]}]},
        TypeError,
        r'"param_groups" to be a list of dicts, each with "params", a list of numbers',
    ),
    "another number of groups": (
        lambda: adam_of(2).state_dict(),
        ValueError,
        r"Adam: expected a state of groups of \[2, 1\] parameters, got one of \[2\]",
    ),
    "another number of parameters": (
        lambda: adam_of(2, 2).state_dict(),
        ValueError,
        r"groups of \[2, 1\] parameters, got one of \[2, 2\]",
    ),
    "another shape": (
        lambda: state_with(exp_avg=mg.ones((3, 2))),
        ValueError,
        r"Adam: exp_avg of parameter 0: expected shape \(2, 3\), got \(3, 2\)",
    ),
    "a number for an array": (lambda: state_with(exp_avg=0.0), ValueError, r"expected shape \(2, 3\), got \(\)"),
    "another optimizer": (
        lambda: state_with(momentum_buffer=mg.ones((2, 3))),
        ValueError,
        r"parameter 0 holds .*momentum_buffer, but expected step and exp_avg and exp_avg_sq always, max_exp_avg_sq bes",
    ),
    "half a state": (
        lambda: state_with(exp_avg_sq=None),
        ValueError,
        r"parameter 0 holds step, exp_avg, but expected step and exp_avg and exp_avg_sq always",
    ),
    "a list": (
        lambda: state_with(exp_avg=[1.0]),
        TypeError,
        r"Adam: exp_avg of parameter 0: expected a Tensor, a NumPy array or a number, got builtins.list",
    ),
    "half a step": (lambda: state_with(step=1.5), ValueError, r"parameter 0: expected a count of steps, got 1.5"),
    "an infinite step": (lambda: state_with(step=np.inf), ValueError, r"expected a count of steps, got inf"),
    "a negative step": (lambda: state_with(step=-1), ValueError, r"expected a count of steps, got -1"),
    "steps": (lambda: state_with(step=mg.ones(2)), ValueError, r"step of parameter 0: expected shape \(\), got \(2,\)"),
    "an unknown option": (
        lambda: with_option("momentum", 0.9),
        ValueError,
        r"Adam: there is no option momentum; a group has params, lr, betas, eps, weight_decay, amsgrad",
    ),
    "a senseless option": (
        lambda: with_option("eps", -1.0),
        ValueError,
        r"Adam: expected eps to be 0 or more, got -1.0",
    ),
    "senseless betas": (lambda: with_option("betas", (0.9, 2.0)), ValueError, r"Adam: expected betas to be a pair"),
    "a state of nobody": (
        lambda: {**state_with(), "state": {**state_with()["state"], 7: {}}},
        ValueError,
        r"Adam: this state dict has a state of \[7\], which no group lists",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_state_that_does_not_fit_changes_nothing(name: str, device: str) -> None:
    wrong, kind, message = MISTAKES[name]
    run = begin(("Adam", {"lr": 0.25}))
    go(run, 0, 2)
    before = copy.deepcopy(run[1].state_dict())
    with pytest.raises(kind, match=message):
        run[1].load_state_dict(wrong())
    after = run[1].state_dict()
    assert after["param_groups"] == before["param_groups"]
    for i, state in before["state"].items():
        assert after["state"][i]["step"] == state["step"]
        np.testing.assert_array_equal(host(after["state"][i]["exp_avg"]), host(state["exp_avg"]))


def test_a_torch_tensor_must_be_converted() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"expected a Tensor, a NumPy array or a number, got torch.Tensor; convert"):
        begin(("Adam", {}))[1].load_state_dict(state_with(exp_avg=torch.ones(2, 3)))


@pytest.mark.parametrize("target", ["strict", "float64"])
def test_a_module_that_was_moved_takes_its_state_along_on_request(target: str) -> None:
    layer = nn.Linear(2, 3, device="cpu")
    optimizer = optim.Adam(layer.parameters())

    def step() -> None:
        optimizer.zero_grad()
        layer(mg.ones((1, 2), dtype=layer.weight.dtype, device=layer.weight.device)).sum().backward()
        optimizer.step()

    step()
    layer.to(target)
    before = [host(p) for p in layer.parameters()]
    message = r"Adam: a parameter is \(3, 2\) float.*, but its exp_avg is \(3, 2\) float32 on cpu; it was moved"
    with pytest.raises(RuntimeError, match=message):
        step()
    for p, values in zip(layer.parameters(), before, strict=True):
        np.testing.assert_array_equal(host(p), values)
    optimizer.load_state_dict(optimizer.state_dict())
    step()
    assert optimizer.state[layer.weight]["step"] == 2


def scheduler(kind: str, groups: int = 2, **options: Any) -> Any:
    optimizer = optim.SGD([{"params": [mg.ones(1, requires_grad=True)]} for _ in range(groups)], lr=0.1)
    return make(optim, optimizer, (kind, options))


STEP = ("StepLR", {"step_size": 3})
SCHEDULE_MISTAKES = {
    "of another schedule": (
        lambda: scheduler("ExponentialLR", gamma=0.9).state_dict(),
        ValueError,
        r"SequentialLR: expected the state of a SequentialLR, with .*_schedulers.*; got one with .*gamma",
    ),
    "nothing": (dict, ValueError, r"SequentialLR: expected the state .*; got one with nothing"),
    "no dict": (lambda: 3, TypeError, r"SequentialLR: expected a state dict, got int"),
    "another number of groups": (
        lambda: scheduler("SequentialLR", groups=1, schedulers=[STEP, STEP], milestones=[3]).state_dict(),
        ValueError,
        r"SequentialLR: expected a state of 2 groups, got one of 1",
    ),
    "another number of schedules": (
        lambda: scheduler("SequentialLR", schedulers=[STEP], milestones=[]).state_dict(),
        ValueError,
        r"SequentialLR: expected the state of 2 schedules, got 1",
    ),
    "another schedule inside": (
        lambda: scheduler(
            "SequentialLR", schedulers=[STEP, ("ExponentialLR", {"gamma": 0.9})], milestones=[3]
        ).state_dict(),
        ValueError,
        r"StepLR: expected the state of a StepLR",
    ),
}


@pytest.mark.parametrize("name", SCHEDULE_MISTAKES)
def test_a_schedule_s_state_that_does_not_fit_changes_nothing(name: str) -> None:
    wrong, kind, message = SCHEDULE_MISTAKES[name]
    schedule = scheduler("SequentialLR", schedulers=[STEP, STEP], milestones=[5])
    schedule.optimizer.step()
    schedule.step()
    before = schedule.state_dict()
    with pytest.raises(kind, match=message):
        schedule.load_state_dict(wrong())
    assert schedule.state_dict() == before
