"""Shorter ways to the same product give the same: look-up and product commuted, a weight laid out for the product.

Each program runs twice, once as it is and once without hints and deferred sums; values and gradients agree to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F
from minigrad.ops.contraction import linear

from .helpers import close, on
from .shortcuts import (
    ENOUGH,
    TOO_FEW,
    D,
    H,
    Made,
    N,
    T,
    V,
    gradients,
    grads,
    language_model,
    leaves,
    numbers,
    rows,
    twice,
)

# Programs: each gives what is to agree ------------------------------------------------------------

Program = Callable[[mg.Tensor, mg.Tensor, mg.Tensor, mg.Tensor], Made]


def a_product(ids, e, w, b):
    return gradients(((mg.take(e, ids, axis=0) @ w.T) ** 2).sum(), e, w)


def a_layer(ids, e, w, b):
    return gradients((F.linear(F.embedding(ids, e), w, b) ** 2).sum(), e, w, b)


def no_bias(ids, e, w, b):
    return gradients((F.linear(F.embedding(ids, e), w) ** 2).sum(), e, w)


def a_tied_table(ids, e, w, b):
    h = mg.tanh(F.linear(F.linear(F.embedding(ids, e), w, b), w.T))
    return gradients(F.cross_entropy((h @ e.T).reshape(-1, V), ids.reshape(-1)), e, w, b)


def a_table_multiplied_by_itself(ids, e, w, b):
    return gradients(((F.embedding(ids, e) @ e.T) ** 2).sum(), e)


def a_computed_table(ids, e, w, b):
    return gradients((F.linear(F.embedding(ids, mg.tanh(e) * 2), w, b) ** 2).sum(), e, w, b)


def a_transposed_table(ids, e, w, b):
    table = (e.T * 1.5).T
    return gradients((F.linear(mg.take(table, ids, axis=0), w, b) ** 2).sum(), e, w, b)


def two_products(ids, e, w, b):
    x = F.embedding(ids, e)
    return gradients((F.linear(x, w, b) * (x @ w.T * 2)).sum(), e, w, b)


def a_second_consumer(ids, e, w, b):
    x = F.embedding(ids, e)
    return gradients((F.linear(x, w, b) ** 2).sum() + (x * x).sum(), e, w, b)


def a_second_consumer_later(ids, e, w, b):
    x = F.embedding(ids, e)
    y = mg.exp(x).sum()
    return gradients(y * (F.linear(x, w, b) ** 2).sum(), e, w, b)


def two_look_ups(ids, e, w, b):
    x, z = F.embedding(ids, e), F.embedding((ids + 1) % V, e)
    return gradients((F.linear(x, w, b) * F.linear(z, w, b)).sum(), e, w, b)


def a_hook_that_looks(ids, e, w, b):
    seen: list[Any] = []
    x = F.embedding(ids, e)
    x.register_hook(lambda g: seen.append(g.copy()))
    return gradients((F.linear(x, w, b) ** 2).sum(), e, w, b) | {"seen": seen}


def a_hook_that_changes(ids, e, w, b):
    x = F.embedding(ids, e)
    x.register_hook(lambda g: mg.clip(g, -0.5, 0.5))
    return gradients((F.linear(x, w, b) ** 2).sum(), e, w, b)


def a_retained_gradient(ids, e, w, b):
    x = F.embedding(ids, e)
    x.retain_grad()
    return gradients((F.linear(x, w, b) ** 2).sum(), e, w, b) | {"x": x.grad}


def the_gradient_of_the_rows(ids, e, w, b):
    x = F.embedding(ids, e)
    return {"x": list(mg.grad((F.linear(x, w, b) ** 2).sum(), x))}


def the_gradients_of_rows_and_table(ids, e, w, b):
    x = F.embedding(ids, e)
    return {"all": list(mg.grad((F.linear(x, w, b) ** 2).sum(), [x, e, x, w]))}


def a_frozen_table(ids, e, w, b):
    return gradients((F.linear(F.embedding(ids, e.detach()), w, b) ** 2).sum(), w, b)


def a_frozen_weight(ids, e, w, b):
    return gradients((F.linear(F.embedding(ids, e), w.detach(), b.detach()) ** 2).sum(), e)


def only_the_bias(ids, e, w, b):
    return gradients((F.linear(F.embedding(ids, e.detach()), w.detach(), b) ** 2).sum(), b)


def two_sweeps_of_one_graph(ids, e, w, b):
    loss = (F.linear(F.embedding(ids, e), w, b) ** 2).sum()
    loss.backward(retain_graph=True)
    return gradients(loss, e, w, b)


def second_order(ids, e, w, b):
    loss = (mg.tanh(F.linear(F.embedding(ids, e), w, b)) ** 2).sum()
    first = mg.grad(loss, [e, w, b], create_graph=True)
    return gradients(sum((g * g).sum() for g in first), e, w, b) | {"first": list(first)}


def in_anomaly_mode(ids, e, w, b):
    with mg.detect_anomaly():
        return a_second_consumer(ids, e, w, b)


def unrecorded(ids, e, w, b):
    with mg.no_grad():
        return {"y": F.linear(F.embedding(ids, e), w, b), "z": mg.take(e, ids, axis=0) @ w.T}


def padding(ids, e, w, b):
    return gradients((F.linear(F.embedding(ids, e, padding_idx=1), w, b) ** 2).sum(), e, w, b)


def negative_indices(ids, e, w, b):
    return gradients((F.linear(mg.take(e, ids - V, axis=0), w, b) ** 2).sum(), e, w, b)


def part_of_the_gradient(ids, e, w, b):
    """A gradient comes to some of the outputs."""
    return gradients((F.linear(F.embedding(ids, e), w, b)[:2] ** 2).sum(), e, w, b)


def rows_in_another_order(ids, e, w, b):
    """What makes another Tensor of the rows leaves the hint behind."""
    x = F.embedding(ids, e)
    return gradients((F.linear(mg.flip(x, axis=0), w, b) * F.linear(x, w, b)).sum(), e, w, b)


def rows_as_a_leaf(ids, e, w, b):
    x = F.embedding(ids, e.detach())
    x.requires_grad = True
    return gradients((F.linear(x, w, b) ** 2).sum() + (x * e[0]).sum(), x, e, w, b)


def rows_of_rows(ids, e, w, b):
    x = F.embedding(ids.reshape(-1), e)
    z = mg.take(x, mg.concatenate([ids, ids], axis=0), axis=0)
    return gradients((F.linear(z, w, b) ** 2).sum() + (F.linear(x, w) ** 3).sum(), e, w, b)


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
    rows_as_a_leaf,
    rows_of_rows,
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
    e, _, _ = leaves(device)
    w = on(device, numbers(2, D, H), True)
    ids = rows(4 * V).reshape(2, 2 * V)
    close((mg.take(e, mg.tensor(ids), axis=0) @ w).detach(), numbers(V, D)[ids] @ numbers(2, D, H))
    assert not tables


def test_what_is_added_per_row_is_added_per_row(device, tables):
    e, w, _ = leaves(device)
    ids, b = rows(4 * V), on(device, numbers(4 * V, H), True)
    y = linear(mg.take(e, mg.tensor(ids), axis=0), w, b)
    close(y.detach(), numbers(V, D)[ids] @ numbers(H, D).T + numbers(4 * V, H))
    assert not tables


def test_an_empty_table(device):
    e, w = mg.zeros((0, D), requires_grad=True), mg.ones((D, H), requires_grad=True)
    y = mg.take(e, mg.zeros(0, dtype=mg.int64), axis=0) @ w
    y.sum().backward()
    assert (y.shape, e.grad.shape) == ((0, H), (0, D))
    assert w.grad.tolist() == [[0.0] * H] * D


@pytest.mark.parametrize("of_table", [mg.float32, mg.float64])
def test_gradients_of_rows_have_their_dtype(of_table, device, plain, tables):
    """Table and weight of two dtypes: what the rows receive has theirs, whoever asks."""
    ids, other = mg.tensor(rows(ENOUGH)), mg.float64 if of_table is mg.float32 else mg.float32

    def program():
        e, w, _ = (x.detach().astype(of_table) for x in leaves(device))
        e.requires_grad = True
        w = w.astype(other)
        w.requires_grad = True
        x, seen = mg.take(e, ids, axis=0), []
        x.retain_grad()
        x.register_hook(lambda g: seen.append(g.dtype))
        (x @ w.T).sum().backward()
        (again,) = mg.grad((mg.take(e, ids, axis=0) @ w.T).sum(), e)
        z = mg.take(e, ids, axis=0)
        return seen, x.grad.dtype, e.grad.dtype, w.grad.dtype, again.dtype, mg.grad((z @ w.T).sum(), z)[0].dtype

    found = program()
    assert len(tables) == 3
    assert found == ([of_table], of_table, of_table, other, of_table, of_table)
    plain()
    assert program() == found


# Layers over an embedded sequence -----------------------------------------------------------------

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
