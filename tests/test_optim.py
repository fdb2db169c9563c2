"""Optimizers: what their users rely on. Trajectories are compared in test_parity_optim.py."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.backend import cpu
from minigrad.fusion import updates

from .strict import strict

EVERY = {make.__name__: make for make in (optim.SGD, optim.Adagrad, optim.RMSprop, optim.Adam, optim.AdamW)}
every_optimizer = pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)


def leaf(*values: float, **options: Any) -> mg.Tensor:
    return mg.tensor(list(values), requires_grad=True, **options)


def with_gradient(*values: float, **options: Any) -> mg.Tensor:
    """A parameter of zeros with this gradient."""
    p = mg.zeros(len(values), requires_grad=True, **options)
    p.grad = mg.tensor(list(values), **options)
    return p


# Parts that fit the cache -------------------------------------------------------------------------

OPTIONS: list[tuple[Any, dict[str, Any]]] = [
    (optim.SGD, {}),
    (optim.SGD, {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}),
    (optim.SGD, {"momentum": 0.9, "nesterov": True, "maximize": True}),
    (optim.Adagrad, {"lr_decay": 0.1, "initial_accumulator_value": 0.5}),
    (optim.RMSprop, {}),
    (optim.RMSprop, {"centered": True}),
    (optim.RMSprop, {"momentum": 0.9}),
    (optim.RMSprop, {"centered": True, "momentum": 0.9, "weight_decay": 0.1}),
    (optim.Adam, {}),
    (optim.Adam, {"amsgrad": True, "weight_decay": 0.1}),
    (optim.AdamW, {"weight_decay": 0.1, "amsgrad": True}),
]


def trajectory(make: Any, options: dict[str, Any], device: str, order: Any = "C") -> list[Any]:
    """Parameters of several shapes and their states after three steps; gradients laid out in rows or columns."""
    rng = np.random.default_rng(0)
    shapes = [(7, 5), (3, 2, 4), (11,), (1, 20), (), (0, 3)]
    ps = [mg.tensor(rng.standard_normal(s), device=device, requires_grad=True) for s in shapes]
    optimizer = make(ps, lr=0.1, **options)
    for _ in range(3):
        for p in ps:
            g = np.asarray(rng.standard_normal(p.shape), order="C")
            axes = tuple(range(p.ndim))[::-1]
            turned = mg.tensor(np.array(g.transpose(axes), order="C"), device=device).transpose(axes)
            p.grad = turned.detach() if order == "F" else mg.tensor(g, device=device)
        optimizer.step()
    states = [x for state in optimizer.state_dict()["state"].values() for x in state.values()]
    return [x.detach().to("cpu").numpy() for x in [*ps, *(x for x in states if isinstance(x, mg.Tensor))]]


@pytest.mark.parametrize(("make", "options"), OPTIONS, ids=[f"{make.__name__} {o}" for make, o in OPTIONS])
def test_a_parameter_steps_alike_whole_and_in_parts(
    make: Any, options: dict[str, Any], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trajectory(make, options, device)
    assert all(map(np.array_equal, whole, trajectory(make, options, device, order="F")))
    monkeypatch.setattr(updates, "SMALL", 0)
    with mg.fusing(False):
        for block in (1, 6, 12, 10**6):
            monkeypatch.setattr(updates, "BLOCK", block)
            assert all(map(np.array_equal, whole, trajectory(make, options, device)))
            assert all(map(np.array_equal, whole, trajectory(make, options, device, order="F")))


@pytest.mark.parametrize(("make", "options"), OPTIONS, ids=[f"{make.__name__} {o}" for make, o in OPTIONS])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_kernel_steps_as_the_formula_stands(
    make: Any, options: dict[str, Any], order: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = trajectory(make, options, device, order)
    monkeypatch.setattr(updates, "SMALL", 0)
    for x, y in zip(trajectory(make, options, device, order), plain, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-13, atol=1e-13)


def test_parts_are_some_rows_each_on_the_cpu_and_everything_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    @updates.update("x")
    def add(xp: Any, x: Any, y: Any, n: Any, flag: Any) -> Any:
        seen.append((x.shape, n, flag))
        return (x + y * n,)

    monkeypatch.setattr(updates, "BLOCK", 12)
    monkeypatch.setattr(updates, "SMALL", 0)
    x = np.arange(35, dtype=np.float16).reshape(7, 5)  # for which there is no kernel
    add(cpu, [x, x + 1], [2.0], (None,))
    assert np.array_equal(x, np.arange(35).reshape(7, 5) * 3 + 2)
    assert seen == [((rows, 5), 2.0, None) for rows in (2, 2, 2, 1)]
    del seen[:]
    y = strict.from_host(x)
    add(strict, [y, y], [2.0], (None,))
    assert seen == [((7, 5), 2.0, None)]


# Steps --------------------------------------------------------------------------------------------


@every_optimizer
def test_training_finds_a_minimum(make: Any, device: str) -> None:
    """A line through points that lie on one."""
    layer = nn.Linear(1, 1, device=device)
    x = mg.tensor(np.linspace(-1, 1, 11, dtype=np.float32)[:, None], device=device)
    optimizer = make(layer.parameters(), lr=0.5 if make in (optim.SGD, optim.Adagrad) else 0.02, weight_decay=0.0)
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


@every_optimizer
def test_steps_leave_the_gradient_alone(make: Any, device: str) -> None:
    """Also when it stays where it is from one step to the next: no buffer of the optimizer is the gradient itself."""
    p = with_gradient(1.0, -2.0)
    optimizer = make([p], lr=0.1, **({"momentum": 0.9} if make in (optim.SGD, optim.RMSprop) else {}))
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


def test_zero_grad_may_leave_zeros(device: str) -> None:
    used, unused = leaf(1.0), leaf(1.0)
    optimizer = optim.SGD([used, unused], lr=0.1)
    used.grad = before = mg.ones(1)
    optimizer.zero_grad(set_to_none=False)
    assert (used.grad.tolist(), used.grad.device) == ([0.0], device)
    assert unused.grad is None
    assert before.tolist() == [1.0]


@every_optimizer
def test_a_step_keeps_no_graph(make: Any) -> None:
    """Of a recorded gradient the optimizer holds nothing, once it is forgotten."""
    p = leaf(1.0)
    p.grad = mg.grad((p * p * p).sum(), p, create_graph=True)[0]
    gradient = weakref.ref(p.grad)
    optimizer = make([p], lr=0.1, **({"momentum": 0.9} if make in (optim.SGD, optim.RMSprop) else {}))
    optimizer.step()
    assert p.is_leaf
    optimizer.zero_grad()
    assert gradient() is None


@every_optimizer
def test_options_of_every_kind_change_a_parameter_of_no_shape(make: Any, device: str) -> None:
    """NumPy turns 0-d results into scalars, which have no memory to write to."""
    more = {
        optim.SGD: {"momentum": 0.9, "nesterov": True},
        optim.RMSprop: {"momentum": 0.9, "centered": True},
        optim.Adam: {"amsgrad": True},
        optim.AdamW: {"amsgrad": True},
    }.get(make, {})
    p, row = mg.tensor(1.0, requires_grad=True), leaf(1.0)
    optimizer = make([p, row], lr=0.1, weight_decay=0.1, maximize=True, **more)
    for _ in range(4):
        p.grad, row.grad = mg.tensor(0.5), mg.tensor([0.5])
        optimizer.step()
    assert p.shape == () and p.tolist() == row.item() > 1
    assert p.grad.tolist() == 0.5


@every_optimizer
def test_a_step_reads_nothing_back(make: Any) -> None:
    with mg.use_device("strict"):
        p = with_gradient(1.0, 2.0)
        optimizer = make([p], weight_decay=0.1)
        schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        before = (strict.reads, strict.synchronizations)
        for _ in range(3):
            optimizer.step()
            schedule.step()
        optimizer.state_dict()
        optimizer.zero_grad(set_to_none=False)
        assert (strict.reads, strict.synchronizations) == before


@every_optimizer
def test_the_state_lies_where_the_parameter_does(make: Any, device: str) -> None:
    with mg.use_device("strict" if device == "cpu" else "cpu"):
        p = mg.ones(2, device=device, requires_grad=True)
        p.grad = mg.ones(2, device=device)
        optimizer = make([p])
        optimizer.step()
        for value in optimizer.state[p].values():
            assert isinstance(value, int) or (mg.Tensor(value).device, value.dtype) == (device, np.float32)


@every_optimizer
def test_a_shared_weight_is_stepped_once(make: Any, device: str) -> None:
    """Weight tying: one module's weight is another's, and its gradients add up."""
    first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    second.weight = first.weight
    alone = mg.tensor(first.weight.detach(), requires_grad=True)
    x = mg.ones((1, 2))
    for parameters, y in (
        ([alone], x @ alone.T @ alone.T),
        (nn.Sequential(first, second).parameters(), second(first(x))),
    ):
        optimizer = make(parameters, lr=0.1)
        y.sum().backward()
        optimizer.step()
    assert first.weight.tolist() == alone.tolist()


# A closure ----------------------------------------------------------------------------------------


def test_a_closure_is_called_first_and_with_recording_on(device: str) -> None:
    p = leaf(1.0)
    optimizer = optim.SGD([p], lr=0.25)

    def closure() -> mg.Tensor:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    assert optimizer.step() is None
    assert optimizer.step(closure).item() == 1.0
    with mg.no_grad():
        assert optimizer.step(closure).item() == 0.25
        assert not mg.is_grad_enabled()
    assert p.item() == 0.25


def test_a_closure_that_fails_changes_nothing() -> None:
    p = with_gradient(1.0)
    with mg.no_grad():
        with pytest.raises(ZeroDivisionError):
            optim.SGD([p]).step(lambda: 1 // 0)
        assert not mg.is_grad_enabled()
    assert p.item() == 0


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


# What a step finds out ----------------------------------------------------------------------------

SWAPS: dict[str, tuple[Any, str]] = {
    "another dtype": (lambda p: np.zeros(2), r"is \(2,\) float64 on cpu, but its gradient is \(2,\) float32"),
    "another device": (
        lambda p: mg.zeros(2, device="strict").data,
        r"is \(2,\) float32 on strict, but its gradient is \(2,\) float32 on cpu; .*zero_grad",
    ),
    "a view of one number": (lambda p: np.broadcast_to(np.float32(1), 2), r"\(2,\) float32 on cpu, are read-only"),
}


@every_optimizer
@pytest.mark.parametrize("name", SWAPS)
def test_all_parameters_are_looked_at_before_any_is_changed(make: Any, name: str) -> None:
    swap, message = SWAPS[name]
    first, second = with_gradient(1.0, device="cpu"), with_gradient(1.0, 2.0, device="cpu")
    optimizer = make([{"params": first}, {"params": second}], lr=0.1)
    optimizer.step()
    before, state = first.tolist(), {key: np.copy(x) for key, x in optimizer.state[first].items()}
    second.data = swap(second)
    with pytest.raises(RuntimeError, match=f"{make.__name__}: .*a parameter.*{message}"):
        optimizer.step()
    assert first.tolist() == before
    assert all(np.array_equal(x, state[key]) for key, x in optimizer.state[first].items())


@pytest.mark.parametrize("make", [optim.Adagrad, optim.RMSprop, optim.Adam, optim.AdamW])
def test_a_state_of_another_shape(make: Any, device: str) -> None:
    first, second = with_gradient(1.0), with_gradient(1.0, 2.0)
    optimizer = make([first, second], lr=0.1)
    optimizer.step()
    before = first.tolist()
    second.grad, second.data = None, mg.zeros(3).data
    second.grad = mg.ones(3)
    with pytest.raises(RuntimeError, match=r"is \(3,\) .*, but its \w+ is \(2,\) .*write del optimizer.state\[p\]"):
        optimizer.step()
    assert first.tolist() == before
    del optimizer.state[second]
    optimizer.step()
    assert optimizer.state[second]["step"] == 1


def test_options_that_were_changed_by_hand(device: str) -> None:
    p, q = with_gradient(1.0), with_gradient(1.0)
    wrong: list[tuple[str, Any, type[Exception], str]] = [
        ("lr", float("nan"), ValueError, "Adam: expected lr to be 0 or more, got nan"),
        ("lr", "x", TypeError, "Adam: expected lr to be a number, got str"),
        ("lr", mg.ones(()), TypeError, "Adam: expected lr to be a number, got Tensor"),
        ("betas", 0.9, ValueError, "Adam: expected betas to be a pair of numbers from 0 to below 1, got 0.9"),
    ]
    for name, value, kind, message in wrong:
        optimizer = optim.Adam([{"params": p}, {"params": q}])
        optimizer.param_groups[1][name] = value
        with pytest.raises(kind, match=message):
            optimizer.step()
        assert p.item() == 0
    optimizer = optim.Adam([p], lr=0.5)
    optimizer.param_groups[0].update(lr=np.float32(0.25), betas=[np.float64(0.5), 0.9])
    optimizer.step()
    assert p.item() == pytest.approx(-0.25)
    assert (type(optimizer.param_groups[0]["lr"]), optimizer.param_groups[0]["betas"]) == (float, (0.5, 0.9))


def test_schedules_may_cross_zero_as_in_pytorch() -> None:
    """Two that act together do; the state that is saved then can be loaded."""
    p = with_gradient(1.0)
    optimizer = optim.SGD([p], lr=0.1)
    schedules = [
        optim.lr_scheduler.CosineAnnealingLR(optimizer, 2, eta_min=0.05),
        optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1),
    ]
    rates = []
    for _ in range(20):
        optimizer.step()
        for schedule in schedules:
            schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])
        if rates[-1] < 0:
            break
    assert rates[-1] < 0
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())


def test_a_closure_is_a_function() -> None:
    p = with_gradient(1.0)
    with pytest.raises(TypeError, match=r"SGD: expected closure to be a function .* got Tensor; .* optimizer.step\(\)"):
        optim.SGD([p]).step((p * p).sum())
    assert p.item() == 0
