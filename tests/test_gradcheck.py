"""The proofs prove: gradcheck and gradgradcheck catch a derivative that is slightly wrong, or missing."""

from __future__ import annotations

from typing import Any

import pytest

import minigrad as mg
from minigrad.ops import registry
from minigrad.ops.primitive import Primitive
from minigrad.testing import GradcheckError, gradcheck, gradgradcheck

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


@pytest.mark.parametrize(
    ("vjps", "caught"),
    [
        ((by_x, by_y), False),
        ((lambda *a: by_x(*a) * 1.001, by_y), True),
        ((by_x, lambda *a: by_y(*a) * 0.999), True),
        ((by_x, None), True),
        ((None, by_y), True),
        ((by_y, by_x), True),
        ((lambda *a: -by_x(*a), by_y), True),
    ],
)
def test_a_wrong_derivative_is_caught(vjps: Any, caught: bool, device: str) -> None:
    primitive = with_derivatives(*vjps)
    xs = tensors(primitive, inputs_for(primitive, [(2, 3), (3,)]), device)
    if caught:
        with pytest.raises(GradcheckError, match="analytic"):
            gradcheck(primitive, xs)
    else:
        gradcheck(primitive, xs)
        gradgradcheck(primitive, xs)
    assert "mutant" not in registry


def test_a_wrong_second_derivative_is_caught(device: str) -> None:
    """The first derivative is right, but hides from the recorder that it depends on x."""

    def detached(xp: Any, g: Any, out: Any, x: Any, y: Any) -> Any:
        return g * xp.sin(x.detach() if isinstance(x, mg.Tensor) else x)

    primitive = with_derivatives(by_x, detached)
    xs = tensors(primitive, inputs_for(primitive, [(2,), (2,)]), device)
    gradcheck(primitive, xs)
    with pytest.raises(GradcheckError, match="analytic"):
        gradgradcheck(primitive, xs)


# Misuse -------------------------------------------------------------------------------------------

MISTAKES: dict[str, tuple[Any, type[Exception], str]] = {
    "nothing to check": (lambda check: check(mg.sin, mg.ones(2)), TypeError, r"expected at least one Tensor with req"),
    "float32": (
        lambda check: check(mg.sin, mg.ones(2, requires_grad=True)),
        TypeError,
        r"expected float64 inputs, .*use dtype=minigrad.float64",
    ),
    "a function that gives a number": (
        lambda check: check(lambda x: 1.0, leaf(0.5)),
        TypeError,
        r"expected a function that gives Tensors, got float from it",
    ),
}


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message(mistake: str, check: Any, device: str) -> None:
    act, error, message = MISTAKES[mistake]
    with pytest.raises(error, match=rf"^{check.__name__}: {message}"):
        act(check)


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_an_output_that_depends_on_nothing(check: Any, device: str) -> None:
    with pytest.raises(GradcheckError, match=f"^{check.__name__}: the output of the function does not depend on any"):
        check(lambda x: x.detach(), leaf(0.5))
