"""The proofs prove: the checks catch a derivative that is slightly wrong, or missing, and say where."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.ops import registry
from minigrad.ops.primitive import Primitive
from minigrad.testing import GradcheckError, gradcheck, gradgradcheck, jvpcheck

from .cases import inputs_for
from .helpers import leaf, tensors


def with_derivatives(*vjps: Any) -> Primitive[Any]:
    """sin(x) y, outside the registry, with derivatives that may be wrong."""

    def mutant(xp: Any, x: Any, y: Any) -> Any:
        return xp.sin(x) * y

    primitive: Primitive[Any] = Primitive(
        mutant, "elementwise", saves="all inputs", domain=(-3.0, 3.0), explain_shapes=None
    )
    primitive.derivatives(*vjps)
    return primitive


def by_x(xp: Any, g: Any, out: Any, x: Any, y: Any) -> Any:
    return g * (xp.cos(x) * y)


def by_y(xp: Any, g: Any, out: Any, x: Any, y: Any) -> Any:
    return g * xp.sin(x)


RIGHT = (by_x, by_y)
WRONG = {
    "∂/∂x too large": (lambda *a: by_x(*a) * 1.001, by_y),
    "∂/∂y too small": (by_x, lambda *a: by_y(*a) * 0.999),
    "no ∂/∂y": (by_x, None),
    "no ∂/∂x": (None, by_y),
    "exchanged": (by_y, by_x),
    "the sign": (lambda *a: -by_x(*a), by_y),
    "NaN": (lambda *a: by_x(*a) * float("nan"), by_y),
}
CHECKS: dict[str, Any] = {
    "full": gradcheck,
    "fast": lambda fn, xs: gradcheck(fn, xs, fast_mode=True),
    "jvp": jvpcheck,
    "second, full": gradgradcheck,
    "second, fast": lambda fn, xs: gradgradcheck(fn, xs, fast_mode=True),
}


@pytest.mark.parametrize("check", CHECKS)
def test_a_right_derivative_passes(check: str, device: str) -> None:
    primitive = with_derivatives(*RIGHT)
    assert CHECKS[check](primitive, tensors(primitive, inputs_for(primitive, [(2, 3), (3,)]), device)) is True
    assert "mutant" not in registry


@pytest.mark.parametrize("check", ["full", "fast", "jvp"])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_derivative_is_caught(wrong: str, check: str, device: str) -> None:
    primitive = with_derivatives(*WRONG[wrong])
    xs = tensors(primitive, inputs_for(primitive, [(2, 3), (3,)]), device)
    with pytest.raises(GradcheckError, match="analytic"):
        CHECKS[check](primitive, xs)


@pytest.mark.parametrize("check", ["second, full", "second, fast"])
def test_a_wrong_second_derivative_is_caught(check: str, device: str) -> None:
    """The first derivative is right, but hides from the recorder that it depends on x."""

    def detached(xp: Any, g: Any, out: Any, x: Any, y: Any) -> Any:
        return g * xp.sin(x.detach() if isinstance(x, mg.Tensor) else x)

    primitive = with_derivatives(by_x, detached)
    xs = tensors(primitive, inputs_for(primitive, [(2,), (2,)]), device)
    gradcheck(primitive, xs)
    with pytest.raises(GradcheckError, match="analytic"):
        CHECKS[check](primitive, xs)


# The report ---------------------------------------------------------------------------------------


def wrong_at(*places: tuple[tuple[int, ...], float]) -> Any:
    """x ↦ x² with the derivative 2x, to which something is added here and there."""

    def f(x: mg.Tensor) -> mg.Tensor:
        added = mg.zeros_like(x)
        for index, value in places:
            added[index] = value
        return x * x + added * (x - x.detach())

    return f


@pytest.mark.parametrize("fast_mode", [False, True])
def test_the_report_names_the_worst_entry(fast_mode: bool, device: str) -> None:
    x = mg.tensor(np.linspace(0.5, 2.0, 12).reshape(3, 4), requires_grad=True)
    f = wrong_at(((1, 2), 0.01), ((2, 0), -3.0), ((0, 3), 0.5))
    with pytest.raises(GradcheckError) as caught:
        gradcheck(lambda number, x: f(x) * number, [1.0, x], fast_mode=fast_mode)
    error = caught.value
    assert (error.input, error.index) == (1, (2, 0))
    assert error.analytic == pytest.approx(error.numeric - 3.0 * (np.cos(8 * 0.7 + 0.3) + 1.5))
    assert re.search(r"input 1 of shape \(3, 4\) at index \(2, 0\): analytic .*, numeric .* \(difference", str(error))


@pytest.mark.parametrize("fast_mode", [False, True])
def test_the_report_calls_a_parameter_by_its_name(fast_mode: bool, device: str) -> None:
    model = nn.Linear(3, 2, dtype=mg.float64)
    x = mg.ones((1, 3), dtype=mg.float64)

    def f(*_: mg.Tensor) -> mg.Tensor:
        return model(x) + 0.5 * (model.bias - model.bias.detach())

    with pytest.raises(GradcheckError, match=r"input bias of shape \(2,\) at index \(0,\)") as caught:
        gradcheck(f, dict(model.named_parameters()), fast_mode=fast_mode)
    assert caught.value.input == "bias"


def test_the_report_of_a_second_derivative_names_an_incoming_gradient(device: str) -> None:
    """The gradient 2xg of x², with half of what leads to g cut off."""
    primitive = with_derivatives(lambda xp, g, *a: by_x(xp, g * 0.5 + 0.5 * cut(g), *a), by_y)
    xs = tensors(primitive, inputs_for(primitive, [(2,), (2,)]), device)
    with pytest.raises(GradcheckError, match=r"incoming gradient 0 of shape \(2,\)"):
        gradgradcheck(primitive, xs)


def cut(g: Any) -> Any:
    return g.detach() if isinstance(g, mg.Tensor) else g


def test_the_report_of_a_jvp_names_the_output(device: str) -> None:
    with pytest.raises(GradcheckError, match=r"the worst entry is output 1 of shape \(2,\) at index \(1,\)"):
        jvpcheck(lambda x: (x, wrong_at(((1,), 0.1))(x)), leaf(1.0, 2.0))


def test_a_difference_that_no_entry_shows(device: str) -> None:
    """Ten thousand entries, each off by half of what is allowed."""
    x = mg.ones(10_000, dtype=mg.float64, requires_grad=True)
    with pytest.raises(GradcheckError, match="no entry stands out; fast_mode=False compares every one") as caught:
        gradcheck(lambda x: 3e-7 * (x - x.detach()), x, atol=1e-6, rtol=0.0, fast_mode=True, eps=1e-2)
    assert caught.value.index is None


def test_the_fast_mode_calls_the_function_equally_often_whatever_the_size(device: str) -> None:
    calls = []

    def f(x: mg.Tensor) -> mg.Tensor:
        calls.append(x.size)
        return x * x

    for size in (2, 1000):
        gradcheck(f, mg.ones(size, dtype=mg.float64, requires_grad=True), fast_mode=True)
    assert calls.count(2) == calls.count(1000) == 5  # twice to see that it repeats, the gradient, ahead and back


def test_the_seed_chooses_the_direction(device: str) -> None:
    seen = []
    for seed in (0, 0, 1):
        points: list[Any] = []
        gradcheck(lambda x, p=points: p.append(x.tolist()) or x * 1.0, leaf(0.5, 0.7), fast_mode=True, seed=seed)
        seen.append(points)
    assert seen[0] == seen[1] != seen[2]


def test_inputs_are_put_back(device: str) -> None:
    x = leaf(0.5, 0.7)
    data = x.data

    def fails_when_moved(x: mg.Tensor) -> mg.Tensor:
        if x.data is not data:
            raise KeyError("moved")
        return x * x

    for fast_mode in (False, True):
        with pytest.raises(KeyError, match="moved"):
            gradcheck(fails_when_moved, x, fast_mode=fast_mode)
        assert x.data is data


def test_inputs_of_no_entries_and_of_no_axes(device: str) -> None:
    empty, number = mg.zeros((0, 2), dtype=mg.float64, requires_grad=True), mg.tensor(0.5, dtype=mg.float64)
    for check in CHECKS.values():
        assert check(lambda x, y: x.sum() + y * y, [empty, number.requires_grad_()])


SIZES = {
    "an exponential": (mg.exp, (1.0, -4.56, 8.71)),
    "squares": (lambda x: x * x, (1e-3, 1.0, 1e3)),
    "an output that does not move": (lambda x: (x, x * 0 + 1e7), (0.5,)),
    "a mask of infinities": (lambda x: mg.where(mg.arange(2) < 1, x, -float("inf")), (0.5, 0.7)),
}


@pytest.mark.parametrize("check", ["full", "fast", "jvp"])
@pytest.mark.parametrize("name", SIZES)
def test_a_large_output_does_not_hide_a_small_one(name: str, check: str, device: str) -> None:
    f, at = SIZES[name]
    assert CHECKS[check](f, leaf(*at))


@pytest.mark.parametrize("check", [gradcheck, jvpcheck])
def test_a_function_without_a_value(check: Any, device: str) -> None:
    with (
        np.errstate(all="ignore"),
        pytest.raises(GradcheckError, match=r"output 0 is NaN at index \(1,\); the inputs l"),
    ):
        check(mg.log, leaf(1.0, -1.0))


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck, jvpcheck])
def test_one_tensor_given_twice(check: Any, device: str) -> None:
    x = leaf(0.5)
    with pytest.raises(
        ValueError, match=rf"^{check.__name__}: expected each Tensor once, but input b is input a and can"
    ):
        check(lambda a, b: a * b, {"a": x, "b": x})


# Misuse -------------------------------------------------------------------------------------------

MISTAKES: dict[str, tuple[Any, type[Exception], str]] = {
    "nothing to check": (lambda check: check(mg.sin, mg.ones(2)), TypeError, r"expected at least one Tensor with req"),
    "float32": (
        lambda check: check(mg.sin, mg.ones(2, requires_grad=True)),
        TypeError,
        r"expected float64 inputs, .*use dtype=minigrad.float64",
    ),
    "no inputs": (
        lambda check: check(mg.sin, None),
        TypeError,
        r"expected a Tensor, or a list or dict .*, got NoneType",
    ),
    "no step": (lambda check: check(mg.sin, leaf(0.5), eps=0.0), ValueError, r"expected a step eps above 0, got 0.0"),
    "a negative step": (lambda check: check(mg.sin, leaf(0.5), eps=-1e-6), ValueError, r"expected a step eps above 0"),
    "a tolerance below 0": (
        lambda check: check(mg.sin, leaf(0.5), atol=-1e-6),
        ValueError,
        r"expected atol of at least 0 and rtol from 0 to below 1, got -1e-06 and",
    ),
    "a tolerance that allows anything": (
        lambda check: check(mg.sin, leaf(0.5), rtol=1.0),
        ValueError,
        r"expected atol of at least 0 and rtol from 0 to below 1, got .* and 1.0",
    ),
    "a step that is no number": (
        lambda check: check(mg.sin, leaf(0.5), eps="a"),
        TypeError,
        r"expected eps to be a num",
    ),
    "parameters": (
        lambda check: check(mg.sin, nn.Linear(1, 1).parameters()),
        TypeError,
        r"expected a Tensor, or a list or dict of inputs, got generator; for a model, dict\(model.named_param",
    ),
    "a layer with a state": (
        lambda check: check(nn.LSTM(1, 1, dtype=mg.float64), mg.ones((1, 1), dtype=mg.float64, requires_grad=True)),
        TypeError,
        r"expected .* Tensors, got tuple from it; choose among what it gives, as in lambda x: layer\(x\)\[0\]",
    ),
    "a function that gives a number": (
        lambda check: check(lambda x: 1.0, leaf(0.5)),
        TypeError,
        r"expected a function that gives Tensors, got float from it",
    ),
}


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck, jvpcheck])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message(mistake: str, check: Any, device: str) -> None:
    act, error, message = MISTAKES[mistake]
    with pytest.raises(error, match=rf"^{check.__name__}: {message}"):
        act(check)


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck, jvpcheck])
def test_an_output_that_depends_on_nothing(check: Any, device: str) -> None:
    with pytest.raises(GradcheckError, match=f"^{check.__name__}: the output of the function does not depend on any"):
        check(lambda x: x.detach(), leaf(0.5))


def noisy(x: mg.Tensor) -> mg.Tensor:
    return x * x * mg.rand(2, dtype=mg.float64)


def test_a_function_that_changes_from_call_to_call(device: str) -> None:
    for check in (gradcheck, gradgradcheck):
        with pytest.raises(
            ValueError, match=rf"^{check.__name__}: expected a function that gives the same values when it"
        ):
            check(noisy, leaf(0.5, 0.7))

    def seeded(x: mg.Tensor) -> mg.Tensor:
        mg.manual_seed(0)
        return noisy(x)

    assert all(check(seeded, leaf(0.5, 0.7)) for check in CHECKS.values())
