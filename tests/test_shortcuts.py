"""Shorter ways to the same product give the same: look-up and product commuted, a weight laid out for the product.

Each program runs twice, once as it is and once with every hint taken away; values and gradients agree to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim, shortcuts
from minigrad.nn import functional as F
from minigrad.ops.contraction import linear, matmul

from .helpers import close, host, on

V, D, H = 5, 4, 3
ENOUGH, TOO_FEW = 2 * V, 2 * V - 1  # look-ups from which the table is multiplied, and the last number below

Made = dict[str, Any]


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Turns both shortcuts off for the rest of the test."""

    def turn_off() -> None:
        monkeypatch.setattr(matmul, "shortcut", None)
        monkeypatch.setattr(linear, "shortcut", None)

    return turn_off


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The look-ups that products made use of, as they run."""
    used: list[Any] = []

    def product(*arguments: Any) -> Any:
        y, lookup = shortcuts.product(*arguments)
        if lookup is not None:
            used.append(lookup)
        return y, lookup

    monkeypatch.setattr(matmul, "shortcut", product)
    monkeypatch.setattr(linear, "shortcut", product)
    yield used


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def rows(count: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, count]).integers(0, V, size=count)


def leaves(device: str) -> tuple[mg.Tensor, mg.Tensor, mg.Tensor]:
    """A table E (V, D), a weight W (H, D) and a bias b (H,), in float64."""
    return on(device, numbers(V, D), True), on(device, numbers(H, D), True), on(device, numbers(H), True)


def agree(found: Any, expected: Any, rtol: float = 1e-11) -> None:
    assert type(found) is type(expected)
    if isinstance(found, mg.Tensor):
        assert found.dtype == expected.dtype
        close(found.detach(), host(expected.detach()), rtol)
    elif isinstance(found, dict):
        assert found.keys() == expected.keys()
        for name in found:
            agree(found[name], expected[name], rtol)
    elif isinstance(found, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            agree(one, other, rtol)
    else:
        assert found == expected


def twice(program: Callable[[], Any], plain: Callable[[], None]) -> None:
    """What a program gives, with the shortcuts and without."""
    found = program()
    plain()
    agree(found, program())


# Programs: each gives what is to agree ------------------------------------------------------------

Program = Callable[[mg.Tensor, mg.Tensor, mg.Tensor, mg.Tensor], Made]


def gradients(loss: mg.Tensor, *xs: mg.Tensor) -> Made:
    loss.backward()
    return {"loss": loss, **{str(k): x.grad for k, x in enumerate(xs)}}


def a_product(ids, E, W, b):
    return gradients(((mg.take(E, ids, axis=0) @ W.T) ** 2).sum(), E, W)


def a_layer(ids, E, W, b):
    return gradients((F.linear(F.embedding(ids, E), W, b) ** 2).sum(), E, W, b)


def no_bias(ids, E, W, b):
    return gradients((F.linear(F.embedding(ids, E), W) ** 2).sum(), E, W)


def a_tied_table(ids, E, W, b):
    h = mg.tanh(F.linear(F.linear(F.embedding(ids, E), W, b), W.T))
    return gradients(F.cross_entropy((h @ E.T).reshape(-1, V), ids.reshape(-1)), E, W, b)


def a_table_multiplied_by_itself(ids, E, W, b):
    return gradients(((F.embedding(ids, E) @ E.T) ** 2).sum(), E)


def a_computed_table(ids, E, W, b):
    return gradients((F.linear(F.embedding(ids, mg.tanh(E) * 2), W, b) ** 2).sum(), E, W, b)


def a_transposed_table(ids, E, W, b):
    table = (E.T * 1.5).T
    return gradients((F.linear(mg.take(table, ids, axis=0), W, b) ** 2).sum(), E, W, b)


def two_products(ids, E, W, b):
    x = F.embedding(ids, E)
    return gradients((F.linear(x, W, b) * (x @ W.T * 2)).sum(), E, W, b)


def a_second_consumer(ids, E, W, b):
    x = F.embedding(ids, E)
    return gradients((F.linear(x, W, b) ** 2).sum() + (x * x).sum(), E, W, b)


def a_second_consumer_later(ids, E, W, b):
    x = F.embedding(ids, E)
    y = mg.exp(x).sum()
    return gradients(y * (F.linear(x, W, b) ** 2).sum(), E, W, b)


def two_look_ups(ids, E, W, b):
    x, z = F.embedding(ids, E), F.embedding((ids + 1) % V, E)
    return gradients((F.linear(x, W, b) * F.linear(z, W, b)).sum(), E, W, b)


def a_hook_that_looks(ids, E, W, b):
    seen: list[Any] = []
    x = F.embedding(ids, E)
    x.register_hook(lambda g: seen.append(g.copy()))
    return gradients((F.linear(x, W, b) ** 2).sum(), E, W, b) | {"seen": seen}


def a_hook_that_changes(ids, E, W, b):
    x = F.embedding(ids, E)
    x.register_hook(lambda g: mg.clip(g, -0.5, 0.5))
    return gradients((F.linear(x, W, b) ** 2).sum(), E, W, b)


def a_retained_gradient(ids, E, W, b):
    x = F.embedding(ids, E)
    x.retain_grad()
    return gradients((F.linear(x, W, b) ** 2).sum(), E, W, b) | {"x": x.grad}


def the_gradient_of_the_rows(ids, E, W, b):
    x = F.embedding(ids, E)
    return {"x": list(mg.grad((F.linear(x, W, b) ** 2).sum(), x))}


def the_gradients_of_rows_and_table(ids, E, W, b):
    x = F.embedding(ids, E)
    return {"all": list(mg.grad((F.linear(x, W, b) ** 2).sum(), [x, E, x, W]))}


def a_frozen_table(ids, E, W, b):
    return gradients((F.linear(F.embedding(ids, E.detach()), W, b) ** 2).sum(), W, b)


def a_frozen_weight(ids, E, W, b):
    return gradients((F.linear(F.embedding(ids, E), W.detach(), b.detach()) ** 2).sum(), E)


def only_the_bias(ids, E, W, b):
    return gradients((F.linear(F.embedding(ids, E.detach()), W.detach(), b) ** 2).sum(), b)


def two_sweeps_of_one_graph(ids, E, W, b):
    loss = (F.linear(F.embedding(ids, E), W, b) ** 2).sum()
    loss.backward(retain_graph=True)
    return gradients(loss, E, W, b)


def second_order(ids, E, W, b):
    loss = (mg.tanh(F.linear(F.embedding(ids, E), W, b)) ** 2).sum()
    first = mg.grad(loss, [E, W, b], create_graph=True)
    return gradients(sum((g * g).sum() for g in first), E, W, b) | {"first": list(first)}


def in_anomaly_mode(ids, E, W, b):
    with mg.detect_anomaly():
        return a_second_consumer(ids, E, W, b)


def unrecorded(ids, E, W, b):
    with mg.no_grad():
        return {"y": F.linear(F.embedding(ids, E), W, b), "z": mg.take(E, ids, axis=0) @ W.T}


def padding(ids, E, W, b):
    return gradients((F.linear(F.embedding(ids, E, padding_idx=1), W, b) ** 2).sum(), E, W, b)


def negative_indices(ids, E, W, b):
    return gradients((F.linear(mg.take(E, ids - V, axis=0), W, b) ** 2).sum(), E, W, b)


def part_of_the_gradient(ids, E, W, b):
    """A gradient comes to some of the outputs."""
    return gradients((F.linear(F.embedding(ids, E), W, b)[:2] ** 2).sum(), E, W, b)


def rows_in_another_order(ids, E, W, b):
    """What makes another Tensor of the rows leaves the hint behind."""
    x = F.embedding(ids, E)
    return gradients((F.linear(mg.flip(x, axis=0), W, b) * F.linear(x, W, b)).sum(), E, W, b)


PROGRAMS: list[Program] = [
    a_product,
    a_layer,
    no_bias,
    a_tied_table,
    a_table_multiplied_by_itself,
    a_computed_table,
    a_transposed_table,
    two_products,
    a_second_consumer,
    a_second_consumer_later,
    two_look_ups,
    a_hook_that_looks,
    a_hook_that_changes,
    a_retained_gradient,
    the_gradient_of_the_rows,
    the_gradients_of_rows_and_table,
    a_frozen_table,
    a_frozen_weight,
    only_the_bias,
    two_sweeps_of_one_graph,
    second_order,
    in_anomaly_mode,
    unrecorded,
    padding,
    negative_indices,
    part_of_the_gradient,
    rows_in_another_order,
]


@pytest.mark.parametrize("shape", [(ENOUGH,), (TOO_FEW,), (4, V), (2, 2, V)], ids=str)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_the_program_gives_the_same_without_hints(program, shape, device, plain):
    ids = mg.tensor(rows(int(np.prod(shape))).reshape(shape))
    twice(lambda: program(ids, *leaves(device)), plain)


@pytest.mark.parametrize(("count", "uses"), [(ENOUGH, 1), (TOO_FEW, 0), (1, 0)])
@pytest.mark.parametrize("program", [a_product, a_layer, unrecorded])
def test_the_table_is_multiplied_where_each_row_is_used_twice(program, count, uses, device, tables):
    program(mg.tensor(rows(count)), *leaves(device))
    assert len(tables) == uses * (2 if program is unrecorded else 1)


def test_one_row_is_no_look_up(device, plain, tables):
    ids = mg.tensor(3)
    twice(lambda: a_layer(ids, *leaves(device)), plain)
    assert not tables


def test_products_with_a_matrix_per_row_multiply_the_rows(device, tables):
    E, _, _ = leaves(device)
    w = on(device, numbers(2, D, H), True)
    ids = rows(4 * V).reshape(2, 2 * V)
    close((mg.take(E, mg.tensor(ids), axis=0) @ w).detach(), numbers(V, D)[ids] @ numbers(2, D, H))
    assert not tables


def test_what_is_added_per_row_is_added_per_row(device, tables):
    E, W, _ = leaves(device)
    ids, b = rows(4 * V), on(device, numbers(4 * V, H), True)
    y = linear(mg.take(E, mg.tensor(ids), axis=0), W, b)
    close(y.detach(), numbers(V, D)[ids] @ numbers(H, D).T + numbers(4 * V, H))
    assert not tables


def test_an_empty_table(device):
    E, W = mg.zeros((0, D), requires_grad=True), mg.ones((D, H), requires_grad=True)
    y = mg.take(E, mg.zeros(0, dtype=mg.int64), axis=0) @ W
    y.sum().backward()
    assert (y.shape, E.grad.shape) == ((0, H), (0, D))
    assert W.grad.tolist() == [[0.0] * H] * D


@pytest.mark.parametrize("of_table", [mg.float32, mg.float64])
def test_gradients_of_rows_have_their_dtype(of_table, device, plain, tables):
    """Table and weight of two dtypes: what the rows receive has theirs, whoever asks."""
    ids, other = mg.tensor(rows(ENOUGH)), mg.float64 if of_table is mg.float32 else mg.float32

    def program():
        E, W, _ = (x.detach().astype(of_table) for x in leaves(device))
        E.requires_grad = True
        W = W.astype(other)
        W.requires_grad = True
        x, seen = mg.take(E, ids, axis=0), []
        x.retain_grad()
        x.register_hook(lambda g: seen.append(g.dtype))
        (x @ W.T).sum().backward()
        (again,) = mg.grad((mg.take(E, ids, axis=0) @ W.T).sum(), E)
        z = mg.take(E, ids, axis=0)
        return seen, x.grad.dtype, E.grad.dtype, W.grad.dtype, again.dtype, mg.grad((z @ W.T).sum(), z)[0].dtype

    found = program()
    assert len(tables) == 3
    assert found == ([of_table], of_table, of_table, other, of_table, of_table)
    plain()
    assert program() == found


# Layers over an embedded sequence -----------------------------------------------------------------

T, N = 6, 4


def language_model(kind: Any, **options: Any) -> tuple[nn.Embedding, Any]:
    mg.manual_seed(1)
    table = nn.Embedding(V, D, padding_idx=options.pop("padding_idx", None), dtype=mg.float64)
    return table, kind(D, H, dtype=mg.float64, **options)


def grads(*modules: Any) -> list[Any]:
    return [p.grad for module in modules for p in module.parameters()]


OPTIONS: list[dict[str, Any]] = [
    {},
    {"batch_first": True},
    {"padding_idx": 2},
    {"num_layers": 2, "bidirectional": True},
    {"learn_initial_state": True},
    {"bias": False},
    {"recurrent_dropout": 0.3},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("steps", [1, 2, 3, T])
def test_a_layer_on_an_embedding(kind, options, steps, device, plain):
    ids = mg.tensor(rows(steps * N).reshape(steps, N))

    def program():
        table, layer = language_model(kind, **options)
        out, state = layer(table(ids.T if options.get("batch_first") else ids))
        ((out * out).sum() + sum((part**2).sum() for part in (state if kind is nn.LSTM else [state]))).backward()
        return out, state, grads(table, layer)

    twice(program, plain)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_a_layer_on_a_packed_sequence_of_rows(kind, device, plain):
    lengths = [2, T, 3, 5]
    ids = mg.tensor(rows(T * N).reshape(T, N))

    def program():
        table, layer = language_model(kind)
        packed = nn.utils.rnn.pack_padded_sequence(table(ids), lengths, enforce_sorted=False)
        out, _ = layer(packed)
        (out.data**2).sum().backward()
        return out.data, grads(table, layer)

    twice(program, plain)
