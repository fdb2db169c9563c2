"""`scan` of cells that nobody has thought of: in one call what it is step by step, to rounding, with all gradients.

T: time steps   N: batch   D, H: widths of x and of the parts of the state
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import threads
from minigrad.fusion import c_loop
from minigrad.ops.contraction import linear
from minigrad.testing import gradcheck, gradgradcheck

from .compiling import needs_compiler
from .helpers import host
from .test_scan import is_one_call, loss

pytestmark = [pytest.mark.fusing, needs_compiler, pytest.mark.usefixtures("device")]

UNARY: dict[str, Callable[[Any], Any]] = {
    "tanh": mg.tanh,
    "sigmoid": mg.sigmoid,
    "sin": mg.sin,
    "softplus": lambda v: 0.3 * mg.softplus(v),
    "half": lambda v: 0.5 * v,
    "one minus": lambda v: 1 - v,
    "root": lambda v: mg.sqrt(v * v + 0.1),
    "quotient": lambda v: v / (1.5 + v * v),
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "sum": lambda a, b: a + b,
    "difference": lambda a, b: a - b,
    "product": lambda a, b: mg.tanh(a) * b,
    "mean of exps": lambda a, b: 0.3 * mg.logaddexp(a, b),
}
VIEWS: dict[str, Callable[[Any], Any]] = {
    "first half": lambda v: v[:, : (v.shape[1] + 1) // 2],
    "second half": lambda v: v[:, v.shape[1] // 2 :],
    "every other": lambda v: v[:, ::2],
    "mirrored": lambda v: mg.flip(v, axis=1),
    "last": lambda v: v[:, -1:],
    "split": lambda v: v.split([v.shape[1] // 2], axis=1)[1],
}
WEIGHTS = ["linear", "linear of a transpose", "matmul", "matmul of a transpose"]
FIXED = ["vector", "mask", "column", "scalar", "row"]


class Shelf:
    """The fixed arrays of a cell, in the order in which it asks for them; zeros before there are any."""

    def __init__(self, given: Sequence[Any] = ()) -> None:
        self.given, self.used = given, []

    def __call__(self, shape: tuple[int, ...], place: int) -> Any:
        alike = [a for a in self.used if a.shape == shape]
        if alike and place % 3 == 0:
            return alike[place % len(alike)]  # the same one again
        self.used.append(self.given[len(self.used)] if self.given else mg.zeros(shape, dtype=mg.float64))
        return self.used[-1]


@dataclass(frozen=True)
class Recipe:
    """A cell: lines that each make a value, kept in a pool with x and the state, and what becomes of the state.

    A line is a name, two places in the pool (modulo its length) and a width.
    """

    lines: tuple[tuple[str, int, int, int], ...]
    ends: tuple[tuple[str, int], ...]  # for each part of the state
    T: int
    N: int
    widths: tuple[int, ...]  # D, then one for each part of the state
    is_captured: bool
    dtype: str = "float64"

    def cell(self, captured: Sequence[Any] = ()) -> Callable[..., Any]:
        """The cell as a function of x, the state, and (unless it captures them) the fixed arrays."""

        def step(x: Any, state: Any, *constants: Any) -> Any:
            is_tuple = isinstance(state, tuple)
            found = self.follow(Shelf(captured or constants), x, state if is_tuple else [state])
            return tuple(found) if is_tuple else found[0]

        return step

    def follow(self, fixed: Shelf, x: Any, parts: Sequence[Any]) -> list[Any]:
        pool = [x, *parts]

        def multiplied(rows: Any, width: int, how: str, place: int, start: Any = 0.0) -> Any:
            depth = rows.shape[1]
            if how == "linear":
                return linear(rows, fixed((width, depth), place), start)
            if how == "linear of a transpose":
                return linear(rows, fixed((depth, width), place).T, start)
            return rows @ (fixed((depth, width), place) if how == "matmul" else fixed((width, depth), place).T)

        for name, first, second, width in self.lines:
            a, b = pool[-1 - first % len(pool)], pool[second % len(pool)]
            if name in UNARY:
                value = UNARY[name](a)
            elif name in BINARY:
                b = next((v for v in [b, *pool[::-1]] if v.shape[1] in (1, a.shape[1])), a)
                value = BINARY[name](a, b)
            elif name in VIEWS:
                value = VIEWS[name](a) if a.shape[1] > 1 else a
            elif name in WEIGHTS:
                start: Any = 0.0
                if first % 3 == 1:
                    start, width = b, b.shape[1]
                elif first % 3 == 2:
                    start = fixed((width,), second)
                value = multiplied(a, width, name, second, start)
            elif name == "vector":
                value = a * fixed((a.shape[1],), second)
            elif name == "mask":
                value = a * fixed(a.shape, second)
            elif name == "column":
                value = a + fixed((a.shape[0], 1), second)
            elif name == "row":
                value = fixed((1, a.shape[1]), second) - a
            elif name == "scalar":
                value = a * fixed((), second)
            else:
                value = mg.where(x[:, :1] > 0.1, a, 0.5 * a)
            pool.append(value)
        results = []
        for (how, place), part in zip(self.ends, parts, strict=True):
            width, value = part.shape[1], pool[-1 - place % len(pool)]
            if how == "as it was":
                results.append(part)
            elif how in WEIGHTS:
                results.append(multiplied(value, width, how, place))
            elif value.shape[1] == width:
                results.append(value if how == "as it is" and value is not x else mg.tanh(value))
            else:
                results.append(mg.tanh(multiplied(value, width, "linear", place, 0.0)))
        return results

    def arrays(self, seed: int = 0) -> list[Any]:
        """x, the parts of the state, and the fixed arrays."""
        rng = np.random.default_rng(seed)
        found = [rng.normal(size=(self.T, self.N, self.widths[0]))]
        found += [rng.normal(size=(self.N, width)) for width in self.widths[1:]]
        asked = Shelf()
        self.follow(asked, mg.tensor(found[0][0]), [mg.tensor(part) for part in found[1:]])
        found += [rng.normal(size=fixed.shape) * 0.7 / np.sqrt((*fixed.shape, 1)[0]) for fixed in asked.used]
        return [a.astype(self.dtype) for a in found]


PLACES = st.integers(0, 11)
WIDTHS = st.integers(1, 40) | st.integers(1, 5)
NAMES = [*UNARY, *BINARY, *VIEWS, *WEIGHTS, *WEIGHTS, *FIXED, "where"]
LINES = st.tuples(st.sampled_from(NAMES), PLACES, PLACES, WIDTHS)
ENDS = st.tuples(st.sampled_from(["as it was", "as it is", "tanh", *WEIGHTS]), PLACES)
DTYPES = {"float32": 2e-4, "float64": 1e-9}  # and how close the two have to be


@st.composite
def recipes(draw: Any, dtypes: Any, sizes: Any = WIDTHS, most_lines: int = 8, most_steps: int = 6) -> Recipe:
    ends = tuple(draw(st.lists(ENDS, min_size=1, max_size=3)))
    lines = tuple(draw(st.lists(LINES, max_size=most_lines)))
    widths = draw(st.lists(sizes, min_size=1 + len(ends), max_size=1 + len(ends)))
    if draw(st.booleans()):
        widths[1:] = widths[-1:] * len(ends)
    steps, rows = draw(st.integers(1, most_steps)), draw(sizes)
    return Recipe(lines, ends, steps, rows, tuple(widths), draw(st.booleans()), draw(dtypes))


USED: dict[str, Callable[[list[Any], list[Any]], list[Any]]] = {
    "all": lambda states, last: [*states, *last],
    "states": lambda states, last: states,
    "last": lambda states, last: last,
    "one part": lambda states, last: states[-1:],
    "one step": lambda states, last: [s[0] for s in states],
}


def scanned(recipe: Recipe, xs: Sequence[Any], reverse: bool = False) -> tuple[list[Any], list[Any]]:
    """All states and the last one, part by part."""
    count = len(recipe.ends)
    state, fixed = tuple(xs[1 : 1 + count]) if count > 1 else xs[1], xs[1 + count :]
    if recipe.is_captured:
        states, last = mg.scan(recipe.cell(fixed), xs[0], state, reverse=reverse)
    else:
        states, last = mg.scan(recipe.cell(), xs[0], state, *fixed, reverse=reverse)
    return (list(states), list(last)) if count > 1 else ([states], [last])


def run(recipe: Recipe, arrays: Any, needs: Sequence[bool], used: str, reverse: bool) -> tuple[list[Any], list[Any]]:
    """The states, the last one, and the gradients of what needs one."""
    xs = [mg.tensor(a, requires_grad=n) for a, n in zip(arrays, needs, strict=True)]
    states, last = scanned(recipe, xs, reverse)
    total = loss(USED[used](states, last))
    wanted = [x for x in xs if x.requires_grad]
    gradients = mg.grad(total, wanted, allow_unused=True) if total.requires_grad else [None] * len(wanted)
    return [*states, *last], gradients


def assert_close(found: Sequence[Any], expected: Sequence[Any], tolerance: float) -> None:
    """To the rounding of sums: of the largest entry. Zeros are no gradient, too."""
    for a, b in zip(found, expected, strict=True):
        if a is None or b is None:
            assert a is b or (b is None and not host(a).any())
            continue
        a, b = host(a), host(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, np.abs(b).max(initial=0)))


@given(recipes(st.sampled_from(list(DTYPES))), st.data(), st.sampled_from(list(USED)), st.booleans())
def test_one_call_gives_what_the_steps_give(recipe: Recipe, data: Any, used: str, reverse: bool) -> None:
    arrays = recipe.arrays()
    needs = data.draw(st.lists(st.booleans() | st.just(True), min_size=len(arrays), max_size=len(arrays)))
    found = run(recipe, arrays, needs, used, reverse)
    if mg.fuse_backend() in ("c", "cuda") and any(y.requires_grad for y in found[0]):
        assert any(is_one_call(y) for y in found[0])
    with mg.fusing(False):
        expected = run(recipe, arrays, needs, used, reverse)
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, DTYPES[recipe.dtype])


@given(recipes(st.just("float64"), st.integers(1, 3), most_lines=4, most_steps=2), st.booleans())
def test_gradients_of_first_and_second_order(recipe: Recipe, reverse: bool) -> None:
    xs = [mg.tensor(a, requires_grad=True) for a in recipe.arrays()]

    def function(*xs: Any) -> Any:
        return [y for part in scanned(recipe, xs, reverse) for y in part if y.requires_grad]

    assert gradcheck(function, xs, fast_mode=True)
    assert gradgradcheck(function, xs, fast_mode=True)


@pytest.mark.parametrize("device", ["cpu"], indirect=True)
@given(recipes(st.sampled_from(list(DTYPES))))
def test_the_same_bits_on_any_number_of_threads(recipe: Recipe) -> None:
    xs = [mg.tensor(a) for a in recipe.arrays()]
    found = []
    for count in (1, 2, 3, 8, 1):
        with mock.patch.object(c_loop, "SMALL", 0), mock.patch.object(threads, "_kernels", count):
            found.append([host(y).tobytes() for part in scanned(recipe, xs) for y in part])
    assert all(bits == found[0] for bits in found)
