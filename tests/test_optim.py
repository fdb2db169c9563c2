"""Optimizers, clipping and schedules: what their users rely on. Trajectories are compared in test_parity_optim.py."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.optim.lr_scheduler import CosineAnnealingLR

EVERY = {"SGD": optim.SGD, "RMSprop": optim.RMSprop, "Adam": optim.Adam}
every_optimizer = pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)


def leaf(*values: float, **options: Any) -> mg.Tensor:
    return mg.tensor(list(values), requires_grad=True, **options)


def with_gradient(*values: float) -> mg.Tensor:
    """A parameter of zeros with this gradient."""
    p = leaf(*(0.0 for _ in values))
    p.grad = mg.tensor(list(values))
    return p


# Steps --------------------------------------------------------------------------------------------


@every_optimizer
def test_training_finds_a_minimum(make: Any, device: str) -> None:
    """A line through points that lie on one."""
    layer = nn.Linear(1, 1, device=device)
    x = mg.tensor(np.linspace(-1, 1, 11, dtype=np.float32)[:, None], device=device)
    optimizer = make(layer.parameters(), lr=0.5 if make is optim.SGD else 0.02)
    for _ in range(300):
        optimizer.zero_grad()
        ((layer(x) - (3 * x - 1)) ** 2).mean().backward()
        optimizer.step()
    assert layer.weight.item() == pytest.approx(3, abs=0.05)
    assert layer.bias.item() == pytest.approx(-1, abs=0.05)


@every_optimizer
def test_a_step_keeps_dtype_device_and_the_tensor_itself(make: Any, device: str) -> None:
    for dtype in (mg.float32, mg.float64):
        p = mg.ones((2, 3), dtype=dtype, device=device, requires_grad=True)
        optimizer = make([p], lr=0.1, weight_decay=0.1)
        for _ in range(2):
            (p * p).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        assert (p.dtype, p.device, p.shape) == (dtype, device, (2, 3))
        assert p.is_leaf
        assert p.requires_grad
        assert (p.detach().to("cpu").numpy() < 1).all()


@every_optimizer
def test_a_parameter_without_a_gradient_stays(make: Any, device: str) -> None:
    """Weight decay included: there is nothing to step along."""
    used, unused = leaf(1.0), leaf(1.0)
    optimizer = make([used, unused], lr=0.1, weight_decay=0.5)
    (used * 2).sum().backward()
    optimizer.step()
    assert used.item() < 1
    assert unused.item() == 1


@every_optimizer
def test_parameters_step_one_by_one(make: Any) -> None:
    """Each has a state of its own: together they go where each would go alone."""
    together, alone = [leaf(1.0), leaf(-2.0, 3.0)], [leaf(1.0), leaf(-2.0, 3.0)]
    optimizers = [make(together, lr=0.1), *(make([p], lr=0.1) for p in alone)]
    for _ in range(5):
        for p in together + alone:
            p.grad = None
            (p * p * p).sum().backward()
        for optimizer in optimizers:
            optimizer.step()
    assert [p.tolist() for p in together] == [p.tolist() for p in alone]


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


@every_optimizer
def test_steps_leave_the_gradient_alone(make: Any, device: str) -> None:
    """Also when it stays where it is from one step to the next: no buffer of the optimizer is the gradient itself."""
    p = with_gradient(1.0, -2.0)
    optimizer = make([p], lr=0.1, **({} if make is optim.Adam else {"momentum": 0.9}))
    for _ in range(3):
        optimizer.step()
        assert p.grad.tolist() == [1.0, -2.0]


@every_optimizer
def test_zero_grad_forgets(make: Any, device: str) -> None:
    used, other = leaf(1.0), leaf(1.0)
    optimizer = make([{"params": [used]}, {"params": [other]}], lr=0.1)
    (used * other).sum().backward()
    optimizer.zero_grad()
    assert used.grad is None
    assert other.grad is None
    optimizer.step()
    assert used.item() == 1
    (used * 3).sum().backward()
    assert used.grad.tolist() == [3.0]


def test_gradients_add_up_until_they_are_forgotten(device: str) -> None:
    p = leaf(1.0)
    for _ in range(3):
        (p * 2).sum().backward()
    assert p.grad.tolist() == [6.0]


@every_optimizer
def test_a_step_is_not_recorded_and_keeps_no_graph(make: Any, device: str) -> None:
    p = leaf(1.0)
    p.grad = mg.grad((p * p * p).sum(), p, create_graph=True)[0]
    make([p], lr=0.1).step()
    assert p.is_leaf


# A write between forward and backward -------------------------------------------------------------


@every_optimizer
def test_a_step_between_forward_and_backward_makes_backward_raise(make: Any, device: str) -> None:
    p = leaf(1.0, 2.0)
    optimizer = make([p], lr=0.1)
    loss = (p * p).sum()
    p.grad = mg.ones(2)
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"multiply: .* has been written to since .*optimizer step.*detach"):
        loss.backward()


def test_a_step_in_truncated_backpropagation_without_detach_raises(device: str) -> None:
    """The classic: the state of the last chunk still hangs on the weights of before the step."""
    rnn = nn.LSTM(2, 3)
    optimizer = optim.SGD(rnn.parameters(), lr=0.1)
    x = mg.ones((4, 1, 2))
    output, state = rnn(x)
    output.sum().backward(retain_graph=True)
    optimizer.step()
    output, _ = rnn(x, state)
    with pytest.raises(RuntimeError, match=r"written to since .*state = minigrad\.detach\(state\)"):
        output.sum().backward()
    output, _ = rnn(x, mg.detach(state))
    output.sum().backward()


def test_a_step_that_hurts_nobody_is_allowed(device: str) -> None:
    """What was added was not saved, so writing to it changes no derivative."""
    p = leaf(1.0)
    loss = (p + 1.0).sum()
    p.grad = mg.ones(1)
    optim.SGD([p], lr=0.1).step()
    p.grad = None
    loss.backward()
    assert p.grad.tolist() == [1.0]


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
        (optim.RMSprop, {"alpha": -1.0}, "RMSprop: expected alpha to be 0 or more"),
        (optim.RMSprop, {"momentum": -1.0}, "RMSprop: expected momentum to be 0 or more"),
        (optim.Adam, {"eps": -1e-8}, "Adam: expected eps to be 0 or more"),
        (optim.Adam, {"betas": (0.9, 1.0)}, r"Adam: expected both betas from 0 to below 1, got \(0.9, 1.0\)"),
        (optim.Adam, {"betas": (-0.1, 0.9)}, "Adam: expected both betas from 0 to below 1"),
        (optim.Adam, {"betas": (0.9,)}, "Adam: expected both betas from 0 to below 1"),
    ],
)
def test_options_that_make_no_sense(make: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make([leaf(1.0)], **options)


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


# Clipping -----------------------------------------------------------------------------------------


def test_clipping_leaves_alone_what_has_no_gradient(device: str) -> None:
    p, q, unused = with_gradient(3.0), with_gradient(0.0, 4.0), leaf(1.0)
    norm = nn.utils.clip_grad_norm_([p, unused, q], 1.0)
    assert (norm.item(), norm.shape, norm.device) == (5.0, (), device)
    assert p.grad.tolist() == pytest.approx([0.6])
    assert q.grad.tolist() == pytest.approx([0.0, 0.8])
    assert unused.grad is None
    assert nn.utils.clip_grad_norm_([unused], 1.0).item() == 0
    assert nn.utils.clip_grad_norm_(p, 10.0).item() == pytest.approx(0.6)  # one tensor may stand alone


def test_clipping_half_precision(device: str) -> None:
    """The squares overflow float16, the norm does not."""
    p = mg.zeros(2, dtype=mg.float16, requires_grad=True)
    p.grad = mg.full(2, 300.0, dtype=mg.float16)
    assert nn.utils.clip_grad_norm_([p], 1.0).item() == pytest.approx(424.26, abs=0.5)
    assert p.grad.tolist() == pytest.approx([0.7071, 0.7071], abs=1e-3)


@pytest.mark.parametrize("max_norm", [0.0, -1.0, math.nan])
def test_clipping_to_nothing(max_norm: float) -> None:
    with pytest.raises(ValueError, match=f"clip_grad_norm_: expected a positive max_norm, got {max_norm}"):
        nn.utils.clip_grad_norm_([with_gradient(1.0)], max_norm)


# Schedules ----------------------------------------------------------------------------------------


def test_cosine_schedule_from_end_to_end() -> None:
    optimizer = optim.SGD([{"params": [leaf(1.0)]}, {"params": [leaf(1.0)], "lr": 0.3}], lr=0.1)
    schedule = CosineAnnealingLR(optimizer, T_max=10, eta_min=0.02)
    rates = [schedule.get_last_lr()]
    for _ in range(10):
        optimizer.step()
        schedule.step()
        rates.append([group["lr"] for group in optimizer.param_groups])
    assert rates[0] == pytest.approx([0.1, 0.3])
    assert rates[5] == pytest.approx([0.06, 0.16])
    assert rates[10] == pytest.approx([0.02, 0.02])
    assert all(a > b for a, b in itertools.pairwise(rates))


def test_the_next_step_uses_the_scheduled_rate(device: str) -> None:
    p = with_gradient(1.0)
    optimizer = optim.SGD([p], lr=1.0)
    schedule = CosineAnnealingLR(optimizer, T_max=2)
    places = []
    for _ in range(3):
        optimizer.step()
        schedule.step()
        places.append(p.item())
    assert places == pytest.approx([-1.0, -1.5, -1.5])


def test_cosine_schedule_of_no_length() -> None:
    with pytest.raises(ValueError, match="CosineAnnealingLR: expected T_max to be at least 1, got 0"):
        CosineAnnealingLR(optim.SGD([leaf(1.0)], lr=0.1), T_max=0)
