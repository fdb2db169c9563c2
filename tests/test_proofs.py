"""Every layer, loss, function and method, with random shapes and every option: its derivatives are proved.

Of its inputs and every parameter, against central differences: first order forward (`jvp`) and backward, and second
order. The other devices compute what the CPU computes.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.backend import namespace
from minigrad.ops import registry
from minigrad.ops.primitive import Primitive
from minigrad.testing import GradcheckError

from . import composed, layers, methods
from .proofs import NAMESPACES, Call, Draws, agree, arguments, code, function, options, prove

LINES = layers.LINES | methods.LINES | composed.LINES
WITHOUT = [*layers.WITHOUT.values(), *methods.WITHOUT.values(), *composed.WITHOUT.values()]


@st.composite
def calls(draw: st.DrawFn, name: str) -> Call:
    return replace(LINES[name].draw(Draws(lambda n: draw(st.integers(0, n - 1)))), name=name)


@pytest.mark.parametrize("name", LINES)
@given(data=st.data())
def test_derivatives(name: str, device: str, data: st.DataObject) -> None:
    line, drawn = LINES[name], data.draw(calls(name))
    if device == "cpu" or (line.random and device != "strict"):  # other devices have other random numbers
        prove(*function(name, line, drawn))
    else:
        agree(name, line, drawn, device)


@pytest.mark.parametrize("name", layers.LINES)
@settings(max_examples=max(5, settings.default.max_examples // 5))
@given(data=st.data())
def test_float32_stays_and_nothing_is_read_back(name: str, device: str, data: st.DataObject) -> None:
    """A step forward and back computes in the dtype it is given, and makes the host wait for nothing."""
    f, arrays = function(name, LINES[name], data.draw(calls(name)))
    xs = [mg.tensor(a, dtype=mg.float32, requires_grad=True) for a in arrays]
    xp = namespace(device)
    before = getattr(xp, "reads", 0), getattr(xp, "synchronizations", 0)
    ys = [y for y in f(*xs) if y.requires_grad]
    mg.grad([y.sum() for y in ys], xs, allow_unused=True)
    assert (getattr(xp, "reads", 0), getattr(xp, "synchronizations", 0)) == before
    assert {y.dtype for y in ys} == {np.dtype("float32")}


# The proofs prove something -----------------------------------------------------------------------


def of_first_order(xp: Any, g: Any, y: Any, x: Any) -> Any:
    return 1.001 * g * (1 - y * y)


def of_second_order(xp: Any, g: Any, y: Any, x: Any) -> Any:
    return g * (1 - getattr(y, "detach", lambda: y)() * y)


@pytest.mark.parametrize("wrong", [of_first_order, of_second_order])
@pytest.mark.parametrize("name", ["nn.Tanh", "Tensor.tanh", "nn.GELU", "mg.hessian", "mg.checkpoint"])
def test_a_wrong_derivative_is_found(name: str, wrong: Any, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = LINES[name].draw(Draws(lambda n: n // 2))
    prove(*function(name, LINES[name], drawn))
    monkeypatch.setattr(registry["tanh"], "vjps", (wrong,))
    with pytest.raises(GradcheckError, match="analytic"):
        prove(*function(name, LINES[name], drawn))


def test_a_failure_shows_what_was_called() -> None:
    shown = replace(LINES["nn.Softmax"].draw(Draws(lambda n: n - 1)), name="nn.Softmax")
    scope = {"mg": mg, "nn": nn}
    assert eval(repr(shown), scope).shape == shown.inputs[0].shape
    assert repr(shown).startswith("nn.Softmax(dim=-3)(mg.tensor([[[")


# The tables are whole -----------------------------------------------------------------------------


def public() -> set[str]:
    """Every name that can be called, but for primitives, which tests/cases.py has lines for."""
    listed = {
        f"{space}.{name}": getattr(where, name)
        for space, where in NAMESPACES.items()
        for name in getattr(where, "__all__", ())
    }
    found = {
        name
        for name, value in listed.items()
        if callable(value) and not (name.startswith("mg.") and isinstance(value, Primitive))
    }

    class Plain:
        """What any class has, which grows with Python."""

        _annotated: int

    plain = set(vars(Plain)) - {"__hash__"} | {"__slots__"}
    own = {name for name in vars(mg.Tensor) if name not in plain and (name[0] != "_" or name.endswith("__"))}
    return found | {f"Tensor.{name}" for name in own}


def test_every_public_name_has_a_line_or_a_reason() -> None:
    excused = [name for names in WITHOUT for name in names.split()]
    assert len(excused) == len(set(excused))
    assert set(LINES) | set(excused) == public()
    assert not set(LINES) & set(excused)


@pytest.mark.parametrize("name", LINES)
def test_every_option_is_varied(name: str) -> None:
    """Each parameter is drawn with its default, if it has one, and with something else."""
    line, rng = LINES[name], random.Random(0)
    varied = options(name, line)
    drawn: list[dict[str, str]] = []
    for _ in range(200 if varied else 0):
        given = arguments(name, line, line.draw(Draws(rng.randrange)))
        drawn.append({key: code(value) for key, value in given.items()})
    for key, parameter in varied.items():
        values = {values[key] for values in drawn if key in values}
        assert len(values) > 1, f"{name}: {key} is always {values}"
        if parameter.default is not parameter.empty:
            assert code(parameter.default) in values, f"{name}: {key} never has its default"
