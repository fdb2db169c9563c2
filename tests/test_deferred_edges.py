"""Where sums computed later and tables multiplied for their rows might show: infinities, integers, formulas, writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.backend import namespace
from minigrad.cotangent import Deferred, Looked
from minigrad.nn import functional as F
from minigrad.ops import registry
from minigrad.ops.contraction import outer_sum
from minigrad.ops.primitive import contraction

from .helpers import close, host, on

IDS = np.array([0, 1, 3, 1, 1, 3, 0, 3, 1, 3, 3, 0])  # of 5 rows; nobody asks for rows 2 and 4


def numbers(*shape: int) -> Any:
    return np.cos(3.0 * np.arange(float(np.prod(shape)))).reshape(shape)


@pytest.fixture
def formula() -> Iterator[Callable[..., Any]]:
    """A product of the first matrix with the sum of the others, with a derivative that a test writes."""

    def make(derivative: Callable[..., Any]) -> Any:
        @contraction(lambda *xs: "matrices", variadic=True)
        def product_with_sum(xp: Any, xs: Any) -> Any:
            return xp.matmul(xs[0], sum(xs[2:], xs[1]))

        product_with_sum.derivatives(derivative)
        return product_with_sum

    yield make
    registry.pop("product_with_sum", None)


# Rows that nobody looked up -------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("entry", [np.inf, -np.inf, np.nan])
def test_a_row_that_nobody_looked_up_reaches_no_gradient(entry, device):
    table = numbers(5, 2)
    table[2] = entry
    ids = on(device, IDS)
    E, W, b = on(device, table, True), on(device, numbers(4, 2), True), on(device, numbers(4), True)
    y = F.linear(F.embedding(ids, E), W, b)
    (y * y).sum().backward()
    rows = table[IDS]
    g = 2.0 * (rows @ numbers(4, 2).T + numbers(4))
    close(W.grad, g.T @ rows)
    close(b.grad, g.sum(axis=0))
    expected = np.zeros((5, 2))
    np.add.at(expected, IDS, g @ numbers(4, 2))
    close(E.grad, expected)


# Rows that are something else, too ------------------------------------------------------------------

USES: dict[str, Callable[..., Any]] = {
    "on the right of a product": lambda x, a: a @ x,
    "as a table": lambda x, a: mg.take(x, [0, 0, -1, 3], axis=0),
    "in parts": lambda x, a: x[2:5] * a[:3, :2],
    "transposed": lambda x, a: x.T @ a.T,
    "through a copy": lambda x, a: a @ x.copy(),
}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("use", USES)
def test_rows_that_are_used_otherwise_too(use, first, device):
    """A product with a one-hot matrix knows of no table."""
    found = []
    for look_up in (
        lambda table: mg.take(table, on(device, IDS), axis=0),
        lambda table: on(device, np.eye(5)[IDS]) @ table,
    ):
        table, w, a = on(device, numbers(5, 2), True), on(device, numbers(2, 3), True), on(device, numbers(7, 12))
        x = look_up(table)
        early = mg.tanh(USES[use](x, a)).sum() if first else 0.0
        product = mg.tanh(x @ w).sum()
        (early + product + (0.0 if first else mg.tanh(USES[use](x, a)).sum())).backward()
        found.append([host(table.grad), host(w.grad)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11)


def test_rows_of_two_look_ups_in_one_sum(device):
    """Those looked up elsewhere, and a sum that is turned round: each is computed row by row."""
    xp = namespace(device)
    xp.make_current()
    here, elsewhere = xp.from_host(IDS[:6]), xp.from_host(IDS[6:])
    total = Deferred(xp, (6, 2), np.dtype("float64"))
    by_row, by_place, other = (xp.from_host(k * numbers(n, 2)) for k, n in ((1.0, 5), (2.0, 6), (3.0, 6)))
    total.looked = [Looked(here, by_row, lambda: by_place), Looked(elsewhere, None, lambda: other)]
    np.testing.assert_allclose(xp.to_host(total.copy().transposed()), 5.0 * numbers(6, 2).T)
    rows, rest = total.for_table(here)
    assert rows is by_row
    np.testing.assert_allclose(xp.to_host(rest), 3.0 * numbers(6, 2))


def test_rows_of_a_vector_are_no_rows(device):
    table, w = on(device, numbers(3), True), on(device, numbers(6, 2), True)
    ids = np.array([0, 2, 1, 1, 0, 2])
    y = mg.take(table, on(device, ids), axis=0) @ w
    close(y, numbers(3)[ids] @ numbers(6, 2))
    y.sum().backward()
    close(table.grad, numbers(6, 2).sum(axis=1) @ np.eye(3)[ids])
    close(w.grad, np.repeat(numbers(3)[ids][:, None], 2, axis=1))


# Products put off -----------------------------------------------------------------------------------

FORMS: dict[str, Callable[[mg.Tensor], mg.Tensor]] = {
    "itself": lambda w: w,
    "transposed": lambda w: w.T,
    "transposed twice": lambda w: w.T.T,
    "transposed to what it was": lambda w: w.transpose(0, 1),
    "copied": lambda w: w.copy(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_matrix_in_a_loop_gets_its_gradient_by_one_product(form, device, monkeypatch):
    calls, right = [], outer_sum.value

    def counted(xp: Any, x: Any, y: Any) -> Any:
        calls.append(x.shape)
        return right(xp, x, y)

    monkeypatch.setattr(outer_sum, "value", counted)
    w = on(device, numbers(3, 3) + np.eye(3)[::-1], True)
    v, h = FORMS[form](w), on(device, numbers(2, 3))
    expected, hs = np.zeros((3, 3)), []
    for _ in range(20):
        hs.append(host(h))
        h = 0.5 * (h @ v)
    h.sum().backward()
    assert calls == [(40, 3)]
    g, matrix = np.ones((2, 3)), host(v)
    for x in reversed(hs):
        g = 0.5 * g
        expected += x.T @ g
        g = g @ matrix.T
    close(w.grad, expected.T if form == "transposed" else expected)


@pytest.mark.parametrize("left", [1, -1])
@pytest.mark.parametrize("right", [1, -1])
def test_the_rows_of_a_product_keep_their_partners(left, right, device):
    """Both are slices of one array each, in the same order or not."""
    x, y = on(device, numbers(4, 2, 3)), on(device, numbers(4, 2, 5) + 1.0)
    w = on(device, numbers(3, 5), True)
    pairs = list(zip(mg.unstack(x)[::left], mg.unstack(y)[::right], strict=True))
    total = Deferred(namespace(device), (3, 5), np.dtype("float64"))
    total.pairs = [(a.data, b.data) for a, b in pairs]
    expected = sum(host(a).T @ host(b) for a, b in pairs)
    np.testing.assert_allclose(namespace(device).to_host(total.array()), expected, rtol=1e-12)
    sum((a @ w * b).sum() for a, b in pairs).backward()
    close(w.grad, expected)


# Kinds of integers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("through", ["rows", "products"])
def test_rows_looked_up_by_integers_of_all_kinds(through, device):
    E, W = on(device, numbers(5, 2), True), on(device, numbers(2, 3), True)
    kinds = ["int64", "uint64", "int8", "uint8", "uint32", "uint64"]
    ids = [IDS.astype(kind) for kind in kinds]
    rows = [mg.take(E, on(device, i), axis=0) for i in ids]
    sum(((x @ W if through == "products" else x) * (1.0 + k)).sum() for k, x in enumerate(rows)).backward()
    each = numbers(2, 3).sum(axis=1) if through == "products" else np.ones(2)
    count = np.bincount(IDS, minlength=5)
    close(E.grad, 21.0 * count[:, None] * each)


# Formulas that users write --------------------------------------------------------------------------


def test_a_formula_may_join_sums_that_are_computed_later(device, formula):
    def derivative(xp: Any, g: Any, y: Any, xs: Any) -> list[Any]:
        both = xp.concatenate([xp.outer_sum(xs[0], g), xp.outer_sum(xs[0], g)], axis=0)
        half = xp.stack([both, xp.concatenate([both, both])[: both.shape[0]]], axis=0)[1]
        return [None, half[: xs[0].shape[1]]]

    x, w = on(device, numbers(2, 3)), on(device, numbers(3, 4), True)
    y = formula(derivative)([x, w])
    y.backward(on(device, numbers(2, 4)))
    close(w.grad, numbers(2, 3).T @ numbers(2, 4))


@pytest.mark.parametrize("again", [False, True])
def test_a_formula_may_give_one_sum_to_several_inputs(again, device, formula):
    def derivative(xp: Any, g: Any, y: Any, xs: Any) -> list[Any]:
        total = xp.outer_sum(xs[0], g)
        return [None, total, total]

    x, v, w = on(device, numbers(2, 3)), on(device, numbers(3, 4), True), on(device, numbers(3, 4), True)
    seed = on(device, numbers(2, 4))
    early = (x @ v * seed).sum() if again else 0.0  # reached after the formula, which is younger
    ((formula(derivative)([x, v, w]) * seed).sum() + early).backward()
    expected = numbers(2, 3).T @ numbers(2, 4)
    close(v.grad, (1.0 + again) * expected)
    close(w.grad, expected)
    v.grad[...] = 0.0
    close(w.grad, expected)


# Outputs that were saved ----------------------------------------------------------------------------

WRITES = {
    "a detached one": lambda y: y.detach().__setitem__(..., 0.0),
    "an assignment": lambda y: setattr(y, "data", 0.0 * y.data),
    "a view": lambda y: y[:1].detach().__setitem__(..., 0.0),
}


@pytest.mark.parametrize("freed", [False, True])
@pytest.mark.parametrize("write", WRITES)
def test_a_recorded_gradient_knows_when_a_saved_output_was_written_to(write, freed, device):
    """g = seed · y for y = exp x: the gradient with respect to the seed reads y, and passes no node that made it."""
    x, seed = on(device, numbers(3), True), on(device, numbers(3) + 2.0, True)
    y = mg.exp(x)
    (g,) = mg.grad(y, x, seed, create_graph=True)
    if freed:
        mg.grad(y.sum(), x)
    before = host(y).copy()
    WRITES[write](y)
    if write != "an assignment":
        assert (host(y) != before).any()
    with pytest.raises(RuntimeError, match="has been written to since"):
        mg.grad(g.sum(), seed)


def test_what_was_a_constant_stays_one_in_recorded_gradients(device):
    a, c = on(device, numbers(2), True), on(device, numbers(2))
    y = a * c
    c.requires_grad_(True)
    (g,) = mg.grad(y.sum(), a, create_graph=True)
    close(g, numbers(2))
    assert not g.requires_grad


@pytest.mark.parametrize("way", ["sum", "linear"])
def test_a_freed_sum_says_so(way, device):
    a, c = on(device, numbers(2, 2), True), on(device, numbers(2, 2), True)
    y = a + c if way == "sum" else F.linear(a, c, c[0])
    y.sum().backward()
    with pytest.raises(RuntimeError, match="freed by an earlier"):
        y.backward(y.detach())
