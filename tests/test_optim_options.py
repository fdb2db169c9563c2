"""Optimizers: groups of parameters, their options, and what is refused."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.optim.options import OF_SOME

from .test_optim import EVERY, every_optimizer, leaf, with_gradient

# Groups ------------------------------------------------------------------------------------------


def test_groups_have_their_own_options(device: str) -> None:
    slow, fast, usual = (with_gradient(1.0) for _ in range(3))
    optimizer = optim.SGD(
        [{"params": [slow], "lr": 0.01}, {"params": iter([fast]), "lr": 1.0}, {"params": [usual]}], lr=0.1
    )
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 1.0, 0.1]
    optimizer.step()
    assert [p.item() for p in (slow, fast, usual)] == pytest.approx([-0.01, -1.0, -0.1])
    optimizer.param_groups[0]["lr"] = 10.0
    optimizer.step()
    assert slow.item() == pytest.approx(-10.01)


def test_a_group_may_be_one_tensor() -> None:
    p = with_gradient(1.0, 2.0)
    optim.SGD([{"params": p}], lr=0.1).step()
    assert p.tolist() == pytest.approx([-0.1, -0.2])


def test_one_group_may_decay_and_another_not() -> None:
    decayed, plain = leaf(1.0), leaf(1.0)
    decayed.grad, plain.grad = mg.zeros(1), mg.zeros(1)
    optim.SGD([{"params": [decayed], "weight_decay": 0.5}, {"params": [plain]}], lr=0.1).step()
    assert decayed.item() == pytest.approx(0.95)
    assert plain.item() == 1


# Groups that come later ---------------------------------------------------------------------------


@every_optimizer
def test_a_group_may_be_added(make: Any, device: str) -> None:
    p, q = with_gradient(1.0), with_gradient(1.0)
    optimizer = make([p], lr=0.1)
    optimizer.step()
    given = {"params": q, "lr": 0.0}
    optimizer.add_param_group(given)
    assert given == {"params": q, "lr": 0.0}
    before = p.item()
    optimizer.step()
    assert p.item() < before
    assert q.item() == 0
    optimizer.param_groups[1]["lr"] = 0.1
    optimizer.step()
    assert q.item() < 0


def test_a_group_s_own_start_is_used() -> None:
    p, q = with_gradient(1.0), with_gradient(1.0)
    groups = [{"params": p}, {"params": q, "initial_accumulator_value": 3.0}]
    optim.Adagrad(groups, lr=1.0).step()
    assert (p.item(), q.item()) == pytest.approx((-1.0, -0.5))


def test_a_wrong_group_is_not_added() -> None:
    p, q = leaf(1.0), leaf(1.0)
    optimizer = optim.Adam([p])
    wrong: list[tuple[Any, type[Exception], str]] = [
        ([q], TypeError, r'Adam: expected a group to be a dict with "params" and options, got list'),
        ({"lr": 0.1}, ValueError, r'Adam: expected "params" in every group, got only \[\'lr\'\]'),
        ({"params": [q, p]}, ValueError, r"Adam: a parameter is given more than once"),
        ({"params": {q}}, TypeError, r"Adam: expected an iterable of parameters, got a set, whose order .* use a list"),
        ({"params": nn.Tanh()}, TypeError, r"got Tanh; of a module, pass module.parameters\(\)"),
        (
            {"params": [q], "momentum": 0.9},
            ValueError,
            r"there is no option momentum; a group has params, lr, betas, eps",
        ),
        ({"params": [q], 3: "x"}, TypeError, r"Adam: expected the names in a group to be strings, got 3"),
        ({"params": [q], "lr": "0.1"}, TypeError, r"Adam: expected lr to be a number, got str"),
        ({"params": [q], "lr": mg.ones(())}, TypeError, r"Adam: expected lr to be a number, got Tensor"),
        ({"params": [q], "betas": (0.9, 1.0)}, ValueError, r"Adam: expected betas to be a pair"),
        (
            {"params": [q], "betas": 0.9},
            ValueError,
            r"Adam: expected betas to be a pair of numbers from 0 to below 1, got 0.9",
        ),
    ]
    for group, kind, message in wrong:
        with pytest.raises(kind, match=message):
            optimizer.add_param_group(group)
    assert len(optimizer.param_groups) == 1


# Names of one's own -------------------------------------------------------------------------------


@every_optimizer
def test_notes_in_a_group_are_kept_and_saved(make: Any, device: str) -> None:
    p, q = with_gradient(1.0), with_gradient(1.0)
    optimizer = make([{"params": p, "name": "encoder", "lr_mult": np.float32(0.5)}], lr=0.1)
    optimizer.add_param_group({"params": q, "tags": ["decoder"]})
    optimizer.param_groups[0]["layer"] = 3
    optimizer.step()
    saved = optimizer.state_dict()
    again = make([{"params": leaf(0.0)}, {"params": leaf(0.0)}])
    again.load_state_dict(saved)
    saved["param_groups"][1]["tags"].append("of the saved one")
    for group, notes in zip(
        again.param_groups, [{"name": "encoder", "lr_mult": 0.5, "layer": 3}, {"tags": ["decoder"]}], strict=True
    ):
        assert {name: group[name] for name in group.keys() - again.defaults.keys() - {"params"}} == notes
    again.load_state_dict(again.state_dict())
    assert "    name: encoder" in repr(again)


NOT_OPTIONS = {
    "momentun": "momentum",
    "Momentum": "momentum",
    "weightdecay": "weight_decay",
    "maximise": "maximize",
    "epsilon": "eps",
    "learning_rate": "lr",
}


@pytest.mark.parametrize("name", NOT_OPTIONS)
def test_a_misspelled_option_is_no_note(name: str) -> None:
    meant = rf"{name} \(did you mean {NOT_OPTIONS[name]}\?\); a group has params, lr, alpha, eps, weight_decay"
    p, q = with_gradient(1.0), leaf(1.0)
    with pytest.raises(TypeError, match=rf"RMSprop: there is no option {name} \(did you mean {NOT_OPTIONS[name]}\?\)"):
        optim.RMSprop([p], **{name: 0.5})
    with pytest.raises(ValueError, match=f"RMSprop: there is no option {meant}"):
        optim.RMSprop([{"params": [p], name: 0.5}])
    optimizer = optim.RMSprop([p])
    with pytest.raises(ValueError, match=meant):
        optimizer.add_param_group({"params": q, name: 0.5})
    state_dict = optimizer.state_dict()
    state_dict["param_groups"][0][name] = 0.5
    with pytest.raises(ValueError, match=meant):
        optimizer.load_state_dict(state_dict)
    assert len(optimizer.param_groups) == 1 and name not in optimizer.param_groups[0]
    optimizer.param_groups[0][name] = 0.5
    with pytest.raises(ValueError, match=meant):
        optimizer.step()
    assert p.item() == 0


def test_the_options_of_every_optimizer_are_known_to_all() -> None:
    """What is an option of another optimizer is no note either."""
    assert set().union(*(make([leaf(1.0)]).defaults for make in EVERY.values())) == OF_SOME


# What is refused ----------------------------------------------------------------------------------


@every_optimizer
@pytest.mark.parametrize("option", ["lr", "weight_decay"])
@pytest.mark.parametrize("value", [-0.1, math.nan])
def test_a_negative_option(make: Any, option: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{make.__name__}: expected {option} to be 0 or more, got {value}"):
        make([leaf(1.0)], **{option: value})


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (optim.SGD, {"momentum": -0.5}, "SGD: expected momentum to be 0 or more, got -0.5"),
        (optim.SGD, {"nesterov": True}, "nesterov needs a momentum"),
        (optim.SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "no dampening"),
        (optim.Adagrad, {"lr_decay": -1.0}, "Adagrad: expected lr_decay to be 0 or more"),
        (optim.Adagrad, {"initial_accumulator_value": -1.0}, "Adagrad: expected initial_accumulator_value to be 0 or"),
        (
            optim.AdamW,
            {"betas": (0.9, -1)},
            r"AdamW: expected betas to be a pair of numbers from 0 to below 1, got \(0.9, -1\)",
        ),
        (optim.RMSprop, {"alpha": -1.0}, "RMSprop: expected alpha to be 0 or more"),
        (optim.RMSprop, {"momentum": -1.0}, "RMSprop: expected momentum to be 0 or more"),
        (optim.Adam, {"eps": -1e-8}, "Adam: expected eps to be 0 or more"),
        (
            optim.Adam,
            {"betas": (0.9, 1.0)},
            r"Adam: expected betas to be a pair of numbers from 0 to below 1, got \(0.9, 1.0\)",
        ),
        (optim.Adam, {"betas": (-0.1, 0.9)}, "Adam: expected betas to be a pair of numbers from 0 to below 1"),
        (optim.Adam, {"betas": (0.9,)}, "Adam: expected betas to be a pair of numbers from 0 to below 1"),
    ],
)
def test_options_that_make_no_sense(make: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make([leaf(1.0)], **options)


@every_optimizer
def test_an_option_that_there_is_not(make: Any) -> None:
    message = rf"{make.__name__}: there is no option learning_rate \(did you mean lr\?\); expected one of params, lr"
    with pytest.raises(TypeError, match=message):
        make([leaf(1.0)], learning_rate=0.1)
    message = rf"{make.__name__}: there is no option learning_rate \(did you mean lr\?\); a group has params, lr, .*max"
    with pytest.raises(ValueError, match=message):
        make([{"params": [leaf(1.0)], "learning_rate": 0.1}])


@every_optimizer
def test_defaults_that_make_no_sense_although_no_group_uses_them(make: Any) -> None:
    with pytest.raises(ValueError, match=f"{make.__name__}: expected lr to be 0 or more, got -1"):
        make([{"params": [leaf(1.0)], "lr": 0.1}], lr=-1)


@every_optimizer
def test_parameters_that_cannot_be_optimized(make: Any) -> None:
    name, p = make.__name__, leaf(1.0)
    with pytest.raises(TypeError, match=rf"{name}: expected an iterable of parameters, got one Tensor; write \[para"):
        make(p)
    with pytest.raises(ValueError, match=f"{name}: expected at least one parameter, got none"):
        make(iter([]))
    with pytest.raises(TypeError, match=f"{name}: expected Tensors to optimize, got float"):
        make([p, 1.0])
    with pytest.raises(ValueError, match=f"{name}: can only optimize leaf tensors that require a gradient"):
        make([p * 2])
    with pytest.raises(ValueError, match=f"{name}: can only optimize leaf tensors that require a gradient"):
        make([mg.ones(1)])
    for twice in ([p, p], [{"params": [p]}, {"params": [p]}]):
        with pytest.raises(ValueError, match=f"{name}: a parameter is given more than once"):
            make(twice)


def test_a_shared_parameter_of_a_module_is_given_once() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    model = nn.Sequential(first, second)
    assert len(optim.SGD(model.parameters(), lr=0.1).param_groups[0]["params"]) == 3


# Printing and numbers -----------------------------------------------------------------------------


def test_printing_shows_the_options_of_each_group() -> None:
    torch_s = """SGD (
Parameter Group 0
    dampening: 0.0
    lr: 0.1
    maximize: False
    momentum: 0.9
    nesterov: False
    weight_decay: 0.0
Parameter Group 1
    dampening: 0.0
    lr: 0.5
    maximize: False
    momentum: 0.9
    nesterov: False
    weight_decay: 0.0
)"""
    assert repr(optim.SGD([{"params": leaf(1.0)}, {"params": leaf(1.0), "lr": 0.5}], 0.1, 0.9)) == torch_s


def test_numbers_of_numpy_become_python_s() -> None:
    """float64 numbers would widen every float32 array that they meet."""
    optimizer = optim.Adam([leaf(1.0)], lr=np.float64(0.1), betas=[np.float64(0.5), np.float64(0.9)])
    group = optimizer.param_groups[0]
    assert type(group["lr"]) is float
    assert group["betas"] == (0.5, 0.9) and {type(beta) for beta in group["betas"]} == {float}


@every_optimizer
def test_the_arguments_are_pytorch_s(make: Any) -> None:
    """In order and with their defaults, apart from how PyTorch is to run its own."""
    torch = pytest.importorskip("torch")
    how_to_run = {"foreach", "fused", "capturable", "differentiable"}
    theirs = inspect.signature(getattr(torch.optim, make.__name__)).parameters
    ours = inspect.signature(make).parameters
    assert {n: p.default for n, p in ours.items()} == {n: p.default for n, p in theirs.items() if n not in how_to_run}
    positional = [n for n, p in ours.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert list(theirs)[: len(positional)] == positional


def test_an_optimizer_and_a_schedule_that_say_nothing_themselves() -> None:
    class Silent(optim.Optimizer):
        """Without `_update`."""

    class Mute(optim.lr_scheduler.LRScheduler):
        """Without `_lr`."""

    p = with_gradient(0.5)
    optimizer = Silent([p], {"lr": 0.1, "weight_decay": 0.0, "maximize": False})
    with pytest.raises(NotImplementedError, match="Silent has no _update method"):
        optimizer.step()
    assert p.tolist() == [0.0]
    with pytest.raises(NotImplementedError, match="Mute has no _lr method"):
        Mute(optimizer)
