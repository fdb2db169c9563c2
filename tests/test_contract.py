"""The registry as a contract: one body holds every primitive, on every device, to everything a primitive promises.

What the clauses are, `minigrad.testing.check_primitive` says. Here are the primitives of minigrad at the shapes and
parameters of `cases`, and at those that hypothesis draws; and primitives that break a promise each, all found out.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.ops import index, registry
from minigrad.ops.primitive import INPUTS, Primitive
from minigrad.testing import Application, ContractError, check_primitive
from minigrad.testing.clauses import CLAUSES

from .cases import CASES, Draw, differentiable_inputs, inputs_for, with_formulas
from .draws import applications

# Every primitive keeps its promises -------------------------------------------------------------------


def prove(application: Application, device: str) -> None:
    name = application.primitive.name
    reference = CASES[name].reference
    assert check_primitive(name, application.inputs, application.parameters, reference=reference, device=device)


LINES = [(name, draw) for name, case in CASES.items() for draw in case.draws]


@pytest.mark.parametrize(("name", "draw"), LINES, ids=[f"{name} {draw}" for name, draw in LINES])
def test_a_primitive_where_its_line_says(name: str, draw: Draw, device: str) -> None:
    prove(Application(name, inputs_for(registry[name], draw.shapes), draw.parameters), device)


@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
def test_a_primitive_wherever_it_may_be_applied(name: str, data: st.DataObject, device: str) -> None:
    prove(data.draw(applications(name)), device)


@pytest.mark.parametrize("name", ["scatter_add", "segment_sum"])
@given(data=st.data())
def test_rows_added_up_in_the_way_meant_for_other_sizes(name: str, data: st.DataObject, device: str) -> None:
    """What is drawn is small: by itself it would be added entry by entry on the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "WORTH_A_CALL", 0)
        prove(data.draw(applications(name)), device)


def test_every_primitive_has_a_line() -> None:
    assert set(CASES) == {name for name, p in registry.items() if p.__module__.startswith("minigrad.")}


@pytest.mark.parametrize("name", CASES)
def test_exactly_what_must_have_a_derivative_has_one(name: str) -> None:
    assert with_formulas(registry[name]) == differentiable_inputs(registry[name])


# Every broken promise is found out --------------------------------------------------------------------


def broken(value: Any, *vjps: Any, kind: str = "elementwise", saves: Any = INPUTS, **options: Any) -> Primitive[Any]:
    """A primitive outside the registry."""
    options.setdefault("explain_shapes", registry["add"].explain_shapes)
    primitive: Primitive[Any] = Primitive(value, kind, saves=saves, domain=(-3.0, 3.0), **options)
    primitive.derivatives(*vjps)
    return primitive


def product(xp: Any, x: Any, y: Any) -> Any:
    return x * y


def by_x(xp: Any, g: Any, out: Any, x: Any, y: Any) -> Any:
    return g * y


def by_y(xp: Any, g: Any, out: Any, x: Any, y: Any) -> Any:
    return g * x


def identity(xp: Any, x: Any) -> Any:
    return x


def recorded(x: Any) -> bool:
    return isinstance(x, mg.Tensor)


def writes_to_its_input(xp: Any, x: Any, y: Any) -> Any:
    out = x * y
    if hasattr(x, "shape"):
        x[...] = 0.0
    return out


def writes_to_the_gradient(xp: Any, g: Any, out: Any, x: Any, y: Any) -> Any:
    received = g * y
    if not recorded(g):
        g[...] = 0.0
    return received


def gives_a_float64(xp: Any, x: Any, y: Any) -> Any:
    return (x * y).astype(mg.float64)


def reads_memory_in_order(xp: Any, x: Any, y: Any) -> Any:
    """Right only for C-contiguous arrays, whose entries follow each other in memory."""
    is_in_order = x.base is None if hasattr(x, "base") else True
    return x * y * (1.0 if is_in_order else 2.0)


def needs_an_array(xp: Any, x: Any, y: Any) -> Any:
    return x.copy() * y.copy()


def needs_entries(xp: Any, x: Any, y: Any) -> Any:
    return xp.zeros((1, 2), dtype=x.dtype) if getattr(x, "size", 1) == 0 else x * y


def cut_to_fit(xp: Any, x: Any, y: Any) -> Any:
    n = min(x.shape[-1], y.shape[-1]) if hasattr(x, "ndim") and hasattr(y, "ndim") and x.ndim and y.ndim else None
    return x * y if n is None or 1 in (x.shape[-1], y.shape[-1]) else x[..., :n] * y[..., :n]


COUNT = 0


def differs_each_time(xp: Any, x: Any, y: Any) -> Any:
    global COUNT
    COUNT += 1
    return x * y + 1e-9 * COUNT


def hidden_from_the_recorder(xp: Any, g: Any, out: Any, x: Any, y: Any) -> Any:
    return g * (y.detach() if recorded(y) else y)


def another_formula_when_recorded(xp: Any, g: Any, out: Any, x: Any, y: Any) -> Any:
    return g * y * (1.0 + 1e-9 * recorded(g))


def depends_on_broadcasting(xp: Any, x: Any, y: Any) -> Any:
    is_plain = getattr(x, "shape", ()) == getattr(y, "shape", ())
    return x * y * (1.0 if is_plain else 1.0 + 1e-9)


SEEN: list[Any] = [None]


def leaves_a_trace(xp: Any, g: Any, out: Any, x: Any, y: Any) -> Any:
    SEEN[0] = g
    return g * y


def follows_a_trace(xp: Any, g: Any, out: Any, x: Any, y: Any) -> Any:
    return g * x * (1.0 if SEEN[0] is g else 1.0 + 1e-9)


RIGHT = broken(product, by_x, by_y)
BROKEN: dict[str, tuple[str, Primitive[Any]]] = {
    "a wrong value": ("value", broken(lambda xp, x, y: x * y * (1 + 1e-9), by_x, by_y)),
    "a value that changes": ("value", broken(differs_each_time, by_x, by_y)),
    "a wrong derivative": ("vjp", broken(product, lambda *a: 1.001 * by_x(*a), by_y)),
    "a derivative that is missing": ("vjp", broken(product, by_x, None)),
    "no derivative at all": ("vjp", broken(product, None, None)),
    "a derivative that reads what was not saved": ("derivatives", broken(product, by_x, by_y, saves="x")),
    "another shape": ("shape", broken(lambda xp, x, y: (x * y)[None], by_x, by_y)),
    "a derivative without one": ("double vjp", broken(product, hidden_from_the_recorder, by_y)),
    "two formulas": ("readings", broken(product, another_formula_when_recorded, by_y)),
    "an input written to": ("untouched", broken(writes_to_its_input, by_x, by_y)),
    "an incoming gradient written to": ("untouched", broken(product, writes_to_the_gradient, by_y)),
    "a derivative that needs the other": ("alone", broken(product, leaves_a_trace, follows_a_trace)),
    "another dtype": ("dtype", broken(gives_a_float64, by_x, by_y)),
    "strides that matter": ("strides", broken(reads_memory_in_order, by_x, by_y)),
    "a value for each way of broadcasting": ("broadcasting", broken(depends_on_broadcasting, by_x, by_y)),
    "numbers refused": ("numbers", broken(needs_an_array, by_x, by_y)),
    "no entries": ("zero size", broken(needs_entries, by_x, by_y)),
    "shapes that do not broadcast": ("bad shapes", broken(cut_to_fit, by_x, by_y)),
    "shapes that nobody explains": ("bad shapes", broken(product, by_x, by_y, explain_shapes=None)),
}


def arrays() -> list[np.ndarray[Any, Any]]:
    return [np.array([[0.5, -1.0, 2.0]]), np.array([[1.5], [0.3]])]


def test_a_primitive_that_keeps_them_all(device: str) -> None:
    assert check_primitive(RIGHT, arrays(), reference=np.multiply)


@pytest.mark.parametrize("name", BROKEN)
def test_a_primitive_that_breaks_one(name: str, device: str) -> None:
    clause, primitive = BROKEN[name]
    reference = None if clause in ("shape", "broadcasting") else np.multiply
    came = rf"Came: minigrad.testing.Application\(.*numpy.array\(\[\[1.5\], \[0.3\]\]\)\]\), on {device}$"
    with pytest.raises(ContractError, match=rf"(?s)^{primitive.name}, {clause}: .*{came}") as caught:
        check_primitive(primitive, arrays(), reference=reference)
    assert caught.value.clause == clause


def test_a_reduction_that_forgets_keepdims(device: str) -> None:
    rule = registry["sum"].explain_shapes
    value = lambda xp, x, *, axis=None, keepdims=False: 0 * xp.sum(x, axis=axis)  # noqa: E731
    primitive = broken(value, None, kind="reduction", explain_shapes=rule)
    check_primitive(primitive, [np.ones((2, 3))], {"axis": 1})
    with pytest.raises(ContractError, match=r"shape: expected an output of shape \(2, 1\), got \(2,\)"):
        check_primitive(primitive, [np.ones((2, 3))], {"axis": 1, "keepdims": True})


def test_a_tape_that_gives_away_what_it_borrowed(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr("minigrad.engine.owned_array", lambda xp, value, *_: value)
    with pytest.raises(ContractError, match="owned: expected gradient 0 to be in memory of its own") as caught:
        check_primitive(registry["add"], [np.ones(3), np.ones(3)])
    assert caught.value.clause == "owned"


def test_a_tape_that_does_not_know_a_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minigrad.tape._shared_storage", lambda *_: None)
    with pytest.raises(ContractError, match="views: .*it was not stopped"):
        check_primitive(registry["transpose"], [np.ones((2, 3))], device="cpu")


def test_a_jvp_that_is_not_the_vjps(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    module = sys.modules["minigrad.testing.gradcheck"]
    monkeypatch.setattr(module, "jvp", lambda f, x, v: mg.jvp(f, x, tuple(1.001 * part for part in v)))
    with pytest.raises(ContractError, match="jvp: jvpcheck: the worst entry is output 0"):
        check_primitive(registry["exp"], arrays()[:1])


def test_every_clause_has_been_broken() -> None:
    assert set(CLAUSES) == {clause for clause, _ in BROKEN.values()} | {"owned", "views", "jvp"}


def test_a_derivative_that_forgets_broadcasting(device: str) -> None:
    """Also where the inputs given have one shape."""

    def wrong(xp: Any, g: Any, out: Any, x: Any, y: Any) -> Any:
        return g * y * (1.0 if x.shape == y.shape else 2.0)

    with pytest.raises(ContractError, match="broadcasting: expected gradient 0"):
        check_primitive(broken(product, wrong, by_y), [np.ones((2, 3)), np.ones((2, 3))])


HALF = np.array([0.5, 1.5, 2.5])


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("multiply", [HALF, np.arange(3)]),
        ("power", [HALF, np.array([1, 2, 3])]),
        ("multiply", [HALF > 1, HALF]),
        ("exp", [np.arange(3)]),
        ("exp", [np.array([12.0, 1.0])]),
        ("exp", [np.array([6.73, -6.5])]),
        ("multiply", [np.array([1, 0.01, 100]), np.array([1, 0.001, 100])]),
        ("sum", [np.full((2, 3), 1000.0)]),
    ],
)
def test_no_false_alarm(name: str, inputs: Any, device: str) -> None:
    """Integers, booleans, what overflows in float16, entries of very unequal size."""
    assert check_primitive(name, inputs)


def test_a_domain_without_zero(device: str) -> None:
    primitive = broken(lambda xp, x, y: x + 1 / y, lambda xp, g, *_: g, lambda xp, g, out, x, y: -g / (y * y))
    assert check_primitive(primitive, [HALF, HALF])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (mg.ones(2), "expected a list of inputs, got Tensor"),
        (None, "expected a list of inputs, got NoneType"),
        ([np.ones(2) * 1j], "expected arrays of real numbers or Tensors, got complex128 as input 0"),
        ([[1.0]], "expected arrays of real numbers or Tensors, got list as input 0"),
        ([np.ones(2)] * 2, "exp takes 1 inputs"),
    ],
)
def test_what_is_no_list_of_inputs(inputs: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        check_primitive(mg.exp, inputs)


def test_inputs_of_the_wrong_kind() -> None:
    with pytest.raises(
        ContractError, match=r"sum, value: sum: expected an axis from -2 to 1 for shape \(2, 3\), got 5"
    ):
        check_primitive(registry["sum"], [np.ones((2, 3))], {"axis": 5})
