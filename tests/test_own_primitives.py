"""Primitives that users write: registered, differentiated twice, replaced in a notebook, and misused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.ops import registry
from minigrad.ops.primitive import INPUTS, OTHER, OUTPUT, Primitive, contraction, elementwise, reduction, shape
from minigrad.testing import GradcheckError, check_primitive, gradcheck, gradgradcheck

from .helpers import close, leaf


def hill(scale: float = 1.0) -> Primitive[mg.Tensor]:
    """A cell of a notebook, run with one formula or with another."""

    @elementwise(saves=(INPUTS, OUTPUT), domain=(-3.0, 3.0))
    def hill(xp: Any, x: Any) -> Any:
        """y = exp(-scale x²)"""
        return xp.exp(-scale * x * x)

    hill.derivatives(lambda xp, g, y, x: -2 * scale * g * x * y)
    return hill


def test_first_and_second_derivatives(device: str) -> None:
    f, x = hill(), leaf(0.5, -1.0)
    close(f(x), np.exp([-0.25, -1.0]))
    gradcheck(f, x)
    gradgradcheck(f, x)
    assert f(x).requires_grad
    assert repr(f(x)).endswith("op=hill)")


def test_a_primitive_with_parameters_that_calls_others(device: str) -> None:
    """A derivative may use any registered name, one's own included."""
    hill()

    @reduction(saves=INPUTS, domain=(-3.0, 3.0))
    def total_hill(xp: Any, x: Any, *, weight: float = 1.0) -> Any:
        return weight * xp.sum(xp.exp(-x * x))

    total_hill.derivatives(lambda xp, g, y, x, *, weight=1.0: -2 * weight * g * x * xp.hill(x))
    x = leaf(0.5, -1.0)
    gradcheck(lambda x: total_hill(x, weight=3.0), x)
    gradgradcheck(lambda x: total_hill(x, weight=3.0), x)


def test_the_same_cell_run_again(device: str) -> None:
    """No reading keeps the former: not a name bound before, nor what a derivative found by `xp.hill`."""
    first = hill(1.0)

    @elementwise(saves=INPUTS, domain=(-3.0, 3.0))
    def area(xp: Any, x: Any) -> Any:
        return x * 1.0

    area.derivatives(lambda xp, g, y, x: g * xp.hill(x))
    x = leaf(0.5)
    for create_graph in (False, True):  # both readings have looked it up
        close(mg.grad(area(x), x, create_graph=create_graph)[0], np.exp([-0.25]))
    second = hill(2.0)
    assert registry["hill"] is second
    for f in (first, second):
        close(f(x), np.exp([-0.5]))
        gradcheck(f, x)
        gradgradcheck(f, x)
    for create_graph in (False, True):
        close(mg.grad(area(x), x, create_graph=create_graph)[0], np.exp([-0.5]))


def test_a_cell_run_again_without_derivatives() -> None:
    hill()

    def hill_again() -> Any:
        @elementwise()
        def hill(xp: Any, x: Any) -> Any:
            return xp.exp(x)

        return hill

    with pytest.raises(RuntimeError, match=r"hill: an input needs a gradient, but .*hill.derivatives\(...\), or None"):
        hill_again()(leaf(0.5))
    again = hill_again()
    assert not again(leaf(0.5).detach()).requires_grad
    with mg.no_grad():
        again(leaf(0.5))
    again.derivatives(None)
    assert not again(leaf(0.5)).requires_grad


# Misuse -----------------------------------------------------------------------------------------------


def test_names_that_are_taken() -> None:
    def tanh(xp: Any, x: Any) -> Any:
        return x

    with pytest.raises(
        ValueError, match=r"primitive named 'tanh' already, of minigrad.ops.elementwise; choose another"
    ):
        elementwise()(tanh)
    close(mg.tanh(leaf(0.0)), [0.0])

    hill()
    elsewhere = lambda xp, x: x  # noqa: E731
    elsewhere.__name__, elsewhere.__module__ = "hill", "another_notebook"
    with pytest.raises(ValueError, match=r"primitive named 'hill' already, of tests.test_own_primitives"):
        elementwise()(elsewhere)


def test_the_wrong_number_of_derivatives() -> None:
    @elementwise()
    def product(xp: Any, x: Any, y: Any) -> Any:
        return x * y

    with pytest.raises(ValueError, match=r"product has 2 inputs \('x', 'y'\) but 1 derivatives"):
        product.derivatives(lambda xp, g, out, x, y: g * y)


def test_saving_what_is_no_input() -> None:
    with pytest.raises(ValueError, match=r"f saves \['z'\], but its inputs are \['x'\]"):

        @elementwise(saves="z")
        def f(xp: Any, x: Any) -> Any:
            return x


def careless(derivative: Any, **options: Any) -> Primitive[mg.Tensor]:
    @elementwise(**options)
    def careless(xp: Any, x: Any) -> Any:
        return xp.sin(x)

    careless.derivatives(derivative)
    return careless


def test_a_derivative_of_the_wrong_shape(device: str) -> None:
    for derivative, came in ((lambda xp, g, y, x: g[:1], r"one of shape \(1,\)"), (lambda *_: 0.0, "float")):
        f, x = careless(derivative), leaf(0.5, -1.0)
        expected = (
            rf"careless: expected its derivative to give an array of shape \(2,\).*, got {came}; mend its formula"
        )
        with pytest.raises(RuntimeError, match=expected):
            f(x).sum().backward()
        with pytest.raises(RuntimeError, match=expected):
            mg.grad(f(x).sum(), x, create_graph=True)


def test_a_value_that_is_no_array(device: str) -> None:
    @elementwise()
    def nothing(xp: Any, x: Any) -> Any:
        xp.sin(x)

    with pytest.raises(TypeError, match="nothing: expected its value to give an array, got NoneType; mend its formula"):
        nothing(leaf(0.5))


def test_a_derivative_that_is_wrong(device: str) -> None:
    f, x = careless(lambda xp, g, y, x: 1.001 * g * xp.cos(x), saves=INPUTS), leaf(0.5, -1.0)
    with pytest.raises(GradcheckError, match=r"input 0 of shape \(2,\) at index \(0,\): analytic .*, numeric"):
        gradcheck(f, x)


def test_a_derivative_that_reads_what_was_not_saved(device: str) -> None:
    f = careless(lambda xp, g, y, x: g * xp.cos(x))
    with pytest.raises(TypeError, match=r"was not saved.*add it to the primitive's saves=|Unsupported type"):
        f(leaf(0.5)).backward()
    f = careless(lambda xp, g, y, x: g * (1 - x * x))
    with pytest.raises(TypeError, match=r"was not saved.*add it to the primitive's saves="):
        f(leaf(0.5)).backward()


def test_a_derivative_that_uses_no_primitive(device: str) -> None:
    f = careless(lambda xp, g, y, x: g * xp.arcsinh(x), saves=INPUTS)
    with pytest.raises(AttributeError, match=r"used xp.arcsinh, but no primitive of that name"):
        f(leaf(0.5)).backward()


def test_a_decorator_without_parentheses() -> None:
    """It is noticed when the function is called."""

    @elementwise
    def bare(xp: Any, x: Any) -> Any:
        return x

    with pytest.raises(TypeError, match=r"bare: write the decorator with parentheses, @elementwise\(\)"):
        bare(mg.ones(2))


def test_a_contraction_of_one() -> None:
    with pytest.raises(
        ValueError,
        match=r"contraction: expected single to have two inputs or more, or one sequence of them with variadic=True, "
        r"got the inputs \('x',\)",
    ):

        @contraction(lambda *shapes: None)
        def single(xp: Any, x: Any) -> Any:
            return xp.sum(x)

    assert "single" not in registry


def test_a_primitive_with_a_shape_rule(device: str) -> None:
    """The example of primitive.py; the rule is asked after a failure, and may leave the library its words."""

    @shape(lambda x: None if x else f"an array of at least one axis, got shape {x}")
    def backwards(xp: Any, x: Any) -> Any:
        if x.shape == (3,):
            raise ValueError("three")
        return x[..., ::-1]

    backwards.derivatives(lambda xp, g, y, x: xp.backwards(g))
    check_primitive(backwards, [np.arange(4.0)], reference=lambda x: x[::-1])
    with pytest.raises(IndexError, match=r"backwards: expected an array of at least one axis, got shape \(\)"):
        backwards(mg.ones(()))
    with pytest.raises(ValueError, match="backwards: three"):
        backwards(mg.ones(3))


def test_saving_for_the_other_of_one() -> None:
    with pytest.raises(ValueError, match=r"alone saves each input for the other, but has the inputs \('x',\)"):

        @elementwise(saves=OTHER)
        def alone(xp: Any, x: Any) -> Any:
            return x


def test_saving_outputs_that_are_several() -> None:
    def halves(xp: Any, x: Any) -> Any:
        return xp.split(x, 2)

    with pytest.raises(ValueError, match="halves has several outputs; they cannot be saved"):
        Primitive(halves, "shape", saves=OUTPUT, domain=(-1.0, 1.0), explain_shapes=None, multiple=True)


def test_it_shows_its_signature() -> None:
    assert repr(registry["sum"]) == "<primitive sum(x, *, axis=None, keepdims=False)>"
    assert "alone" not in registry and "bare" not in registry and "halves" not in registry


def test_a_derivative_with_a_constant(device: str) -> None:
    """A function of numbers alone is a number, in either reading of the derivative."""

    @elementwise(saves=OUTPUT)
    def two_to_the(xp: Any, x: Any) -> Any:
        return 2.0**x

    two_to_the.derivatives(lambda xp, g, y, x: g * y * xp.log(2.0))
    gradcheck(two_to_the, leaf(0.5, -1.0))
    gradgradcheck(two_to_the, leaf(0.5, -1.0))
