"""Formulas read on symbols, the fourth reading: what is shown is what the code computes, and says so in its text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.backend import cpu
from minigrad.inspect.explaining.formulas import derivative_formulas, gradient_name, input_names, numbered, output_name
from minigrad.inspect.explaining.formulas import value_formula as read_value
from minigrad.inspect.explaining.latex import Latex, latex
from minigrad.inspect.explaining.notation import Text, text
from minigrad.inspect.explaining.primitives import explain_primitive
from minigrad.inspect.explaining.reading import Reader
from minigrad.inspect.explaining.symbols import Unreadable
from minigrad.inspect.explaining.tidy import tidied
from minigrad.inspect.explaining.tree import Expression, constant, evaluate, name, parts_of
from minigrad.ops.primitive import INPUTS, OUTPUT, Primitive, elementwise, index, reduction, registry, shape

from . import formula_text
from .cases import CASES, HERE, Draw, inputs_for, on_device

BUILT_IN = {key: primitive for key, primitive in registry.items() if primitive.__module__.startswith("minigrad.ops")}

# Values that no expression can say, and why: their docstrings' formulas are shown. Every derivative can be read.
UNREADABLE = {
    "windows": "it fills an array piece by piece",
    "add_windows": "it fills an array piece by piece",
    "take_from_windows": "it uses .view of an array",
    "add_to_windows": "it uses .view of an array",
}

Applied = tuple[Primitive[Any], list[Any], dict[str, Any]]


def applications(key: str) -> Iterator[Applied]:
    """A primitive, with inputs and parameters for it."""
    for draw in CASES[key].draws:
        yield registry[key], list(inputs_for(registry[key], draw.shapes)), parameters_of(draw)


def parameters_of(draw: Draw) -> dict[str, Any]:
    return {k: "cpu" if isinstance(v, str) and v == HERE else on_device(v, "cpu") for k, v in draw.parameters.items()}


def symbols(reader: Reader, primitive: Primitive[Any], arrays: list[Any]) -> list[Any]:
    found = [reader.symbol(k, x) for k, x in zip(input_names(primitive, len(arrays)), arrays, strict=True)]
    return [found] if primitive.variadic else found


def computed(primitive: Primitive[Any], arrays: list[Any], parameters: dict[str, Any]) -> Any:
    return primitive.value(cpu, *([arrays] if primitive.variadic else arrays), **parameters)


def way_back(primitive: Primitive[Any], y: Any) -> tuple[Any, Any, dict[str, Any]]:
    """g, y and their names: a random gradient for each output."""
    rng = np.random.default_rng(0)
    letter, output = gradient_name(primitive), output_name(primitive)
    if not primitive.multiple:
        g = rng.normal(size=np.shape(y))
        return g, y, {letter: g, output: y}
    gs = [rng.normal(size=part.shape) for part in y]
    return (
        gs,
        y,
        {numbered(letter, k): g for k, g in enumerate(gs)} | {numbered(output, k): part for k, part in enumerate(y)},
    )


def same(x: Any, y: Any, rounding: float = 0.0) -> None:
    x, y = np.asarray(x), np.asarray(y)
    assert x.shape == y.shape and x.dtype == y.dtype
    np.testing.assert_allclose(x, y, rtol=rounding, atol=rounding, equal_nan=True)


# What is read is what is computed -----------------------------------------------------------------


def test_every_primitive_has_cases() -> None:
    assert BUILT_IN.keys() == CASES.keys()


@pytest.mark.parametrize("key", [key for key in CASES if key not in UNREADABLE])
def test_values(key: str) -> None:
    """The expression, computed, gives the same bits; and tidied up, the same numbers to rounding."""
    for primitive, arrays, parameters in applications(key):
        reader = Reader()
        found = reader.run(primitive.value, reader.values, *symbols(reader, primitive, arrays), **parameters)
        expected = computed(primitive, arrays, parameters)
        names = dict(zip(input_names(primitive, len(arrays)), arrays, strict=True))
        outputs = expected if primitive.multiple else [expected]
        for e, y in zip(found, outputs, strict=True):
            same(evaluate(e, names), y, 1e-13 if "matmul" in {part.op for part in parts_of(e)} else 0.0)
            same(evaluate(tidied(e), names), y, 1e-13)


@pytest.mark.parametrize("key", [key for key in CASES if registry[key].vjps])
def test_derivatives(key: str) -> None:
    for primitive, arrays, parameters in applications(key):
        g, y, known = way_back(primitive, computed(primitive, arrays, parameters))
        names = dict(zip(input_names(primitive, len(arrays)), arrays, strict=True)) | known
        for vjp in primitive.vjps:
            if vjp is None:
                continue
            reader = Reader()
            operands = symbols(reader, primitive, arrays)
            letters = list(known)
            received: Any = [reader.symbol(k, known[k]) for k in letters[: len(known) // 2]]
            outputs: Any = [reader.symbol(k, known[k]) for k in letters[len(known) // 2 :]]
            if not primitive.multiple:
                (received,), (outputs,) = received, outputs
            found = reader.run(vjp, reader.derivatives, received, outputs, *operands, **parameters)
            operands = [arrays] if primitive.variadic else arrays
            expected = vjp(mg.readings.readings_of(cpu).compute, g, y, *operands, **parameters)
            for e, x in zip(found, expected if primitive.variadic else [expected], strict=True):
                same(evaluate(e, names), x, 1e-13 if {"matmul", "einsum"} & {p.op for p in parts_of(e)} else 0.0)
                same(evaluate(tidied(e), names), x, 1e-13)


@pytest.mark.parametrize("key", CASES)
def test_what_cannot_be_read(key: str) -> None:
    """The list is complete, and nothing in it that could be read after all."""
    reasons = set()
    for primitive, arrays, parameters in applications(key):
        reasons.add(read_value(primitive, arrays, parameters).reason)
        for formula in derivative_formulas(primitive, arrays, parameters):
            assert formula is None or formula.is_readable, (key, formula.reason if formula else "")
    if key in UNREADABLE:
        assert any(UNREADABLE[key] in reason for reason in reasons), reasons
    else:
        assert reasons == {""}


def test_shortcuts_of_a_reader_leave_no_trace() -> None:
    """Reading sets a profile function for a moment, and the former one comes back."""
    import sys

    seen: list[str] = []

    def profile(frame: Any, event: str, argument: Any) -> None:
        seen.append(event)

    sys.setprofile(profile)
    try:
        read_value(registry["tanh"], [np.zeros((3, 5, 7))], {})
        assert sys.getprofile() is profile
    finally:
        sys.setprofile(None)


# What an expression cannot say --------------------------------------------------------------------


def made(value: Callable[..., Any], key: str, decorator: Any) -> Any:
    value.__name__ = key
    return decorator(value)


@pytest.fixture
def forget() -> Iterator[None]:
    before = set(registry)
    yield
    for key in set(registry) - before:
        del registry[key]


def wrong(x: Any) -> str:
    return "nothing"


@pytest.mark.usefixtures("forget")
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (lambda xp, x: x * 2 if x.sum() > 0 else x, "decides by the values"),
        (lambda xp, x: x * float(x[0, 0]), "makes a Python number of an array"),
        (lambda xp, x: np.tanh(x), "raises TypeError"),
        (lambda xp, x: np.asarray(x) * 2, "something else than the namespace"),
        (lambda xp, x: x.view("i8"), "uses .view of an array"),
    ],
    ids=["condition", "number", "library", "array", "bits"],
)
def test_reasons(value: Any, reason: str) -> None:
    primitive = made(value, "odd", shape(wrong))
    formula = read_value(primitive, [np.ones((2, 3))], {})
    assert reason in formula.reason


@pytest.mark.usefixtures("forget")
def test_what_was_misread_is_not_shown() -> None:
    """A write through a view, which no symbol sees: the proof finds that the expression computes something else."""

    def sly(xp: Any, x: Any) -> Any:
        y = xp.zeros(x.shape)
        row = y[0]
        row += 1.0
        return y + x

    formula = read_value(made(sly, "sly", shape(wrong)), [np.ones((2, 3))], {})
    assert formula.reason == "what was read off does not compute what it computes"
    assert not formula.results


@pytest.mark.usefixtures("forget")
def test_users_primitives_are_explained() -> None:
    @elementwise(saves=(INPUTS, OUTPUT))
    def swish(xp: Any, x: Any) -> Any:
        """y = x σ(x)"""
        return x * xp.sigmoid(x)

    swish.derivatives(lambda xp, g, y, x: g * (xp.sigmoid(x) * (1 - y) + y))
    told = str(explain_primitive(swish, (), {}))
    assert "swish: an elementwise primitive, of tests.test_explain_formulas" in told
    assert "computes  y = x ⊙ σ(x)" in told
    assert "∂L/∂x     g ⊙ (σ(x) ⊙ (1 − y) + y)" in told

    @index(lambda x, **_: "any")
    def every_other(xp: Any, x: Any, *, step: int) -> Any:
        """y = x[::step]"""
        return x[::step]

    every_other.derivatives(
        lambda xp, g, y, x, *, step: xp.scatter_add(g, index=slice(None, None, step), shape=x.shape)
    )
    told = str(explain_primitive(every_other, (mg.zeros(5),), {"step": 2}))
    assert "y = x[::2]" in told
    assert "scatter_add(g, [::2], shape=(5,))" in told
    with pytest.raises(TypeError, match="cannot guess what every_other.* is applied to; give an example"):
        explain_primitive(every_other, (), {})


@pytest.mark.usefixtures("forget")
def test_a_changed_formula_is_read_anew() -> None:
    """As when a cell of a notebook runs again."""
    for factor in (2.0, 3.0):
        times = made(lambda xp, x, factor=factor: x * factor, "times", with_one_input)
        assert f"y = {factor:.0f} x" in str(explain_primitive(times, (), {}))


def with_one_input(value: Any) -> Any:
    def times(xp: Any, x: Any) -> Any:
        """y = c x"""
        return value(xp, x)

    return elementwise()(times)


def test_names_of_the_author_stand_for_long_parts() -> None:
    formula = read_value(registry["logsumexp"], [np.ones((2, 3))], {"axis": 1})
    assert formula.said(text) == (
        "(log(Σ₋₁(exp(x − largest))) + largest)[:, 0], where largest = max₁(x) where isfinite(max₁(x)), else 0"
    )


# The text says the same ---------------------------------------------------------------------------


IN_WORDS = ("astype", "to_device", "clip")  # whose texts have dtypes, devices, a function's own names


@pytest.mark.parametrize("key", [k for k, p in BUILT_IN.items() if p.kind == "elementwise" and k not in IN_WORDS])
def test_texts_of_elementwise_formulas(key: str) -> None:
    """Read back from the text, the formula has the value that the code computes."""
    for primitive, arrays, parameters in applications(key):
        if len({x.shape for x in arrays}) > 1 or not arrays[0].size:
            continue
        y = computed(primitive, arrays, parameters)
        g, _, known = way_back(primitive, y)
        names = dict(zip(primitive.inputs, arrays, strict=True)) | known
        (value,) = [read_value(primitive, arrays, parameters).said(text)]
        np.testing.assert_allclose(formula_text.value_of(value, names), y, rtol=1e-12, atol=1e-12)
        for vjp, formula in zip(primitive.vjps, derivative_formulas(primitive, arrays, parameters), strict=False):
            if vjp is None or formula is None:
                continue
            expected = vjp(mg.readings.readings_of(cpu).compute, g, y, *arrays, **parameters)
            found = formula_text.value_of(formula.said(text), names)
            np.testing.assert_allclose(np.broadcast_to(found, np.shape(expected)), expected, rtol=1e-12, atol=1e-12)


def exact_power(x: Any, y: Any) -> Any:
    return Fraction(x) ** int(y) if y in (2, 3, -1) else 13 * x + 17 * y


# Functions of fractions: no rounding, so that another order of additions is no difference, and a lost parenthesis is.
EXACT: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: Fraction(x) / y,
    "negative": lambda x: -x,
    "power": exact_power,
    "remainder": lambda x, y: Fraction(x) % y,
    "absolute": abs,
    "floor": lambda x: Fraction(x.__floor__()),
    "ceil": lambda x: Fraction(x.__ceil__()),
    "sqrt": lambda x: 7 * x + 3,
    "tanh": lambda x: 3 * x + 1,
    "exp": lambda x: x * x - 2,
    "sigmoid": lambda x: 2 * x - 9,
    "max": max,
    "min": min,
    "where": lambda c, x, y: x if c else y,
    "less": lambda x, y: x < y,
    "greater_equal": lambda x, y: x >= y,
    "equal": lambda x, y: x == y,
    "logical_and": lambda x, y: bool(x) and bool(y),
    "logical_or": lambda x, y: bool(x) or bool(y),
    "logical_not": lambda x: not x,
    "number": Fraction,
}
VALUES = {"x": Fraction(3, 7), "y": Fraction(-5, 2), "g": Fraction(11, 3), "s": Fraction(2, 9)}
LEAVES = [name("x", np.ones((2, 3))), name("y", np.ones((2, 3))), name("g", np.ones((2, 3))), name("s", np.ones(()))]
UNARY = ["negative", "absolute", "floor", "ceil", "sqrt", "tanh", "exp", "sigmoid"]
BINARY = ["add", "subtract", "multiply", "divide", "remainder", "maximum", "minimum", "power"]
TESTS = ["less", "greater_equal", "equal"]


def applied(op: str, *args: Expression) -> Expression:
    return Expression(op, args, shape=max((a.shape or () for a in args), key=len))


def larger(trees: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    test = st.builds(applied, st.sampled_from(TESTS), trees, trees)
    tests = test | st.builds(applied, st.sampled_from(["logical_and", "logical_or"]), test, test)
    tests |= st.builds(lambda t: applied("logical_not", t), tests)
    raised = st.builds(lambda x, n: applied("power", x, constant(n)), trees, st.sampled_from([2, 3, -1]))
    chosen = st.builds(lambda c, x, y: applied("where", c, x, y), tests, trees, trees)
    unary = st.builds(applied, st.sampled_from(UNARY), trees)
    binary = st.builds(applied, st.sampled_from(BINARY), trees, trees)
    return unary | binary | binary | raised | chosen | tests


numbers = st.sampled_from([0, 1, 2, 3, -2, 0.5, -1.5]).map(constant)
trees = st.recursive(st.sampled_from(LEAVES) | numbers, larger, max_leaves=7)


def exact(e: Expression) -> Any:
    """The value of a tree, by the functions of fractions."""
    if e.op == "name":
        return VALUES[e.value]
    if e.op == "constant":
        return Fraction(e.value)
    args = [exact(a) for a in e.args]
    return EXACT[{"maximum": "max", "minimum": "min"}.get(e.op, e.op)](*args)


def or_undefined(compute: Callable[[], Any]) -> Any:
    try:
        return compute()
    except (ZeroDivisionError, OverflowError):
        return "undefined"


def is_said_right(e: Expression, notation: Text) -> bool:
    expected = or_undefined(lambda: exact(e))
    try:
        found = or_undefined(lambda: formula_text.value_of(notation(e), VALUES, EXACT))
    except SyntaxError:
        return False
    return found == expected or "undefined" in (found, expected)


@given(trees)
def test_text_has_the_parentheses_it_needs(e: Expression) -> None:
    assert is_said_right(e, text), (text(e), repr(e))


SQUARE = applied("multiply", LEAVES[1], LEAVES[1])


class Careless(Text):
    """A notation that leaves parentheses out behind a minus sign."""

    def _subtract(self, e: Expression) -> Any:
        return f"{self(e.args[0])} − {self(e.args[1])}", 1


def test_a_careless_notation_is_caught() -> None:
    x, y, g, _ = LEAVES
    difference = applied("subtract", g, applied("subtract", x, y))
    assert text(difference) == "g − (x − y)"
    assert is_said_right(difference, text)
    assert Careless()(difference) == "g − x − y"
    assert not is_said_right(difference, Careless())


@pytest.mark.parametrize(
    ("e", "expected"),
    [
        (applied("multiply", LEAVES[2], applied("subtract", constant(1), SQUARE)), "g ⊙ (1 − y²)"),
        (applied("multiply", LEAVES[1], LEAVES[1]), "y²"),
        (applied("multiply", LEAVES[2], LEAVES[3]), "g · s"),
        (applied("divide", LEAVES[2], applied("multiply", constant(2), LEAVES[1])), "g / (2 y)"),
        (applied("add", LEAVES[0], applied("add", LEAVES[1], LEAVES[2])), "x + y + g"),
        (applied("subtract", LEAVES[0], applied("negative", LEAVES[1])), "x − (−y)"),
        (applied("power", applied("negative", LEAVES[0]), constant(2)), "(−x)²"),
        (applied("power", LEAVES[0], applied("subtract", LEAVES[1], constant(1))), "x^(y − 1)"),
        (applied("multiply", LEAVES[0], constant(-2)), "−2 · x"),
        (applied("multiply", applied("less", LEAVES[0], LEAVES[1]), LEAVES[2]), "[x < y] ⊙ g"),
        (applied("sigmoid", LEAVES[0]), "σ(x)"),
    ],
)  # fmt: skip
def test_texts(e: Expression, expected: str) -> None:
    assert text(e) == expected


def test_products_of_matrices() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 3, 3))
    a, b = name("x", x), name("y", y)
    turned = Expression("transpose", (a,), shape=(3, 3))
    for e, expected in [
        (Expression("matmul", (turned, b), shape=(3, 3)), "xᵀ y"),
        (Expression("matmul", (a, Expression("matmul", (b, a), shape=(3, 3))), shape=(3, 3)), "x (y x)"),
        (Expression("matmul", (applied("add", a, b), b), shape=(3, 3)), "(x + y) y"),
        (applied("multiply", constant(2), Expression("matmul", (a, b), shape=(3, 3))), "2 x y"),
        (Expression("transpose", (applied("add", a, b),), shape=(3, 3)), "(x + y)ᵀ"),
    ]:
        assert text(e) == expected
        np.testing.assert_allclose(formula_text.value_of(expected, {"x": x, "y": y}), evaluate(e, {"x": x, "y": y}))


def test_where_numbers_meet_axes_of_one() -> None:
    """A sum over all axes: its gradient is a number, and is shown as one."""
    (formula,) = derivative_formulas(registry["mean"], [np.ones((2, 3))], {})
    assert formula is not None
    assert formula.said(text) == "broadcast_to(g / 6, (2, 3))"


# LaTeX --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", CASES)
def test_latex_of_every_formula_is_whole(key: str) -> None:
    """Braces and \\left ... \\right close, nothing has two subscripts, and a converter takes it."""
    convert = pytest.importorskip("latex2mathml.converter").convert
    said = set()
    for primitive, arrays, parameters in applications(key):
        value = read_value(primitive, arrays, parameters)
        said |= {value.said(latex, place=k) for k in range(len(value.results))}
        said |= {f.said(latex) for f in derivative_formulas(primitive, arrays, parameters) if f is not None}
    for formula in said:
        plain = re.sub(r"\\[{}]", "", formula)
        assert plain.count("{") == plain.count("}")
        assert formula.count(r"\left") == formula.count(r"\right")
        assert "<math" in convert(formula)


def test_latex() -> None:
    (formula,) = derivative_formulas(registry["tanh"], [np.ones(3)], {})
    assert formula is not None
    assert formula.said(latex) == r"g \odot \left(1 - {y}^{2}\right)"
    x, y = name("lstm.weight_hh_l0", np.ones((2, 3))), name("v12", np.ones((4, 3)))
    product = Expression("matmul", (y, Expression("transpose", (x,), shape=(3, 2))), shape=(4, 2))
    assert latex(product) == r"v_{12}\, {\mathrm{lstm.weight\_hh\_l0}}^{\top}"
    assert latex(applied("divide", LEAVES[0], LEAVES[1])) == r"\frac{x}{y}"
    assert latex(applied("sqrt", LEAVES[0])) == r"\sqrt{x}"


def test_names_in_latex_have_one_subscript() -> None:
    assert Latex().name("h_{t−1}") == "h_{t-1}"
    assert Latex().name("g₁₂") == "g_{12}"


@reduction(saves=INPUTS)
def _spread(xp: Any, x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """y = max x - min x"""
    return xp.max(x, axis=axis, keepdims=keepdims) - xp.min(x, axis=axis, keepdims=keepdims)


def test_a_reduction_of_ones_own() -> None:
    try:
        assert "y = max₁(x) − min₁(x)" in str(explain_primitive(_spread, (), {}))
    finally:
        registry.pop("_spread", None)


def test_reading_raises_what_it_says() -> None:
    reader = Reader()
    with pytest.raises(Unreadable, match="decides by the values"):
        reader.run(lambda x: x if x else -x, reader.symbol("x", np.ones(2)))
