"""Shorter ways to a product see every write: into tables, rows, weights and ids, by hooks, between sweeps."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.nn import functional as F

from .helpers import close, host, on
from .shortcuts import (
    ENOUGH,
    D,
    H,
    N,
    T,
    V,
    agree,
    gradients,
    language_model,
    leaves,
    numbers,
    rows,
    twice,
)

# What is written to -------------------------------------------------------------------------------


def test_a_table_written_to_after_the_look_up(device, tables):
    """The product is of the rows that were looked up, and so are the gradients."""
    ids, (e, w, b) = rows(ENOUGH), leaves(device)
    x = F.embedding(mg.tensor(ids), e)
    with mg.no_grad():
        e[...] = 0.0
    y = F.linear(x, w, b)
    assert not tables
    close(y.detach(), numbers(V, D)[ids] @ numbers(H, D).T + numbers(H))
    y.sum().backward()
    close(w.grad, np.tile(numbers(V, D)[ids].sum(0), (H, 1)))


@pytest.mark.parametrize("write", ["fill", "part", "assign", "detached", "step", "load"])
def test_a_table_written_to_after_the_product(write, device, tables):
    """The weight's gradient needs the old rows, the table's needs none: both are as if nothing had been written."""
    ids, (e, w, b) = rows(ENOUGH), leaves(device)
    loss = (F.linear(F.embedding(mg.tensor(ids), e), w, b)).sum()
    assert len(tables) == 1
    with mg.no_grad():
        if write == "fill":
            e[...] = 0.0
        elif write == "part":
            e[1:][0] = 7.0
        elif write == "assign":
            e.data = mg.zeros((V, D), dtype=mg.float64).data
        elif write == "detached":
            e.detach()[...] = 0.0
        elif write == "step":
            optimizer = optim.SGD([e], lr=1.0)
            e.grad = mg.ones((V, D), dtype=mg.float64)
            optimizer.step()
            e.grad = None
        else:
            nn.init.zeros_(e)
    loss.backward()
    close(w.grad, np.tile(numbers(V, D)[ids].sum(0), (H, 1)))
    close(e.grad, np.bincount(ids, minlength=V)[:, None] * numbers(H, D).sum(0))


def test_an_assigned_table_of_another_shape(device):
    ids, (e, w, b) = mg.tensor(rows(ENOUGH)), leaves(device)
    loss = F.linear(F.embedding(ids, e), w, b).sum()
    e.data = mg.zeros((V + 2, D), dtype=mg.float64).data
    with pytest.raises(RuntimeError, match="take.*shape"):
        loss.backward()


@pytest.mark.parametrize("write", ["setitem", "view", "raw", "assign"])
def test_rows_written_to_before_the_product(write, device, tables):
    """Then they are no rows of the table any more."""
    ids, (e, w, b) = rows(ENOUGH), leaves(device)
    x = F.embedding(mg.tensor(ids), e.detach())
    if write == "setitem":
        x[0] = 0.0
    elif write == "view":
        x[:1][0] = 0.0
    elif write == "raw":
        x.data[0] = 0.0
    else:
        x.data = mg.concatenate([mg.zeros((1, D), dtype=mg.float64), x[1:]]).data
    expected = numbers(V, D)[ids]
    expected[0] = 0.0
    close(F.linear(x, w, b).detach(), expected @ numbers(H, D).T + numbers(H))
    assert not tables


def test_rows_written_to_after_the_product(device, tables):
    e, w, b = leaves(device)
    x = F.embedding(mg.tensor(rows(ENOUGH)), e)
    loss = F.linear(x, w, b).sum()
    assert len(tables) == 1
    x.detach()[0] = 0.0
    with pytest.raises(RuntimeError, match=r"linear: x, which it saved.*written to since"):
        loss.backward()


def test_a_weight_written_to_after_the_product(device, tables):
    e, w, b = leaves(device)
    loss = F.linear(F.embedding(mg.tensor(rows(ENOUGH)), e), w, b).sum()
    assert len(tables) == 1
    with mg.no_grad():
        w[0] = 0.0
    with pytest.raises(RuntimeError, match=r"linear: w, which it saved.*written to since"):
        loss.backward()


def test_a_computed_table_written_to(device, tables):
    e, w, b = leaves(device)
    table = mg.tanh(e)
    loss = F.linear(F.embedding(mg.tensor(rows(ENOUGH)), table), w, b).sum()
    assert len(tables) == 1
    table.detach()[...] = 0.0
    with pytest.raises(RuntimeError, match=r"tanh: the output, which it saved.*written to since"):
        loss.backward()


def test_ids_written_to(device, plain):
    def program():
        ids, (e, w, b) = mg.tensor(rows(ENOUGH)), leaves(device)
        x = mg.take(e, ids, axis=0)
        ids[...] = 0
        loss = (F.linear(x, w, b) ** 2).sum()
        ids[...] = 1
        return gradients(loss, e, w, b)

    twice(program, plain)


def test_two_sweeps_with_a_write_between(device):
    """The first sweep goes through the table, the second cannot any more; both give the same."""
    e, w, b = leaves(device)
    loss = (F.linear(F.embedding(mg.tensor(rows(ENOUGH)), e), w, b) ** 2).sum()
    first = mg.grad(loss, [e, w, b], retain_graph=True)
    with mg.no_grad():
        e[...] = 0.0
    agree(list(mg.grad(loss, [e, w, b])), list(first))


@pytest.mark.parametrize("where", ["table", "rows", "result"])
def test_a_hook_may_write_to_the_table(where, device, plain):
    """A step of the optimizer inside of a sweep: sums that are still waiting are of what was there before."""

    def program():
        ids, (e, w, b) = mg.tensor(rows(ENOUGH)), leaves(device)
        optimizer = optim.SGD([e], lr=1.0)
        x = F.embedding(ids, e)
        y = F.linear(x, w, b)

        def step(g):
            e.grad = mg.ones((V, D), dtype=mg.float64)
            optimizer.step()
            e.grad = None

        {"table": e, "rows": x, "result": y}[where].register_hook(step)
        return gradients((y**2).sum() + (e * 2.0).sum(), e, w, b)

    twice(program, plain)


@pytest.mark.parametrize("of_leaf", [True, False])
def test_a_hook_may_write_to_what_a_product_saved(of_leaf, device):
    """Once the product's own turn is over."""
    X, w = on(device, numbers(H, D), True), on(device, numbers(D, V), True)
    x = X if of_leaf else X * 2.0

    def erase(g):
        with mg.no_grad():
            x.detach()[...] = 0.0

    x.register_hook(erase)
    (x @ w).sum().backward()
    close(w.grad, np.tile(((1 if of_leaf else 2) * numbers(H, D)).sum(0)[:, None], (1, V)))


def test_a_hook_may_write_while_another_part_of_a_matrix_waits(device):
    X = on(device, numbers(H, D), True)
    both = on(device, numbers(D, 2 * V), True)
    one, other = mg.split(both * 1.0, 2, axis=1)

    def erase(g):
        with mg.no_grad():
            X.detach()[...] = 0.0

    one.register_hook(erase)
    ((X @ one).sum() + (X @ other).sum()).backward()
    close(both.grad, np.tile(numbers(H, D).sum(0)[:, None], (1, 2 * V)))


def test_a_hook_of_a_module_may_write(device):
    """A layer that is updated as soon as its gradient is there, while sums of what it gave still wait."""
    first, x = nn.Linear(D, H, dtype=mg.float64), on(device, numbers(N, D), True)
    w = on(device, numbers(H, V), True)

    def erase(module, grad_input, grad_output):
        with mg.no_grad():
            y.detach()[...] = 0.0

    first.register_full_backward_hook(erase)
    y = first(x)
    expected = np.tile(host(y.detach()).sum(0)[:, None], (1, V))
    (y @ w).sum().backward()
    close(w.grad, expected)


def test_a_hook_inside_of_a_checkpoint_may_write(device):
    a, w = on(device, numbers(N, D), True), on(device, numbers(D, H), True)

    def erase(g):
        with mg.no_grad():
            a.detach()[...] = 0.0

    def segment(z):
        z = z * 1.0
        z.register_hook(erase)
        return mg.exp(z)

    again = mg.checkpoint(segment, on(device, numbers(H), True))
    (again.sum() + (a @ w).sum()).backward()
    close(w.grad, np.tile(numbers(N, D).sum(0)[:, None], (1, H)))


# Training over several sweeps ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("learned", [True, False])
def test_chunks_with_steps_of_the_optimizer_between(kind, learned, device, plain):
    """Truncated backpropagation: no sum of one chunk waits until the next has begun, and no copy of a weight either."""
    ids = mg.tensor(rows(4 * T * N).reshape(4 * T, N))

    def program():
        table, layer = language_model(kind, learn_initial_state=learned, num_layers=2)
        parameters = [*table.parameters(), *layer.parameters()]
        optimizer, state, losses = optim.Adam(parameters, lr=0.1), None, []
        for chunk in mg.split(ids, 4):
            out, state = layer(table(chunk), None if state is None else mg.detach(state))
            loss = F.cross_entropy((out @ table.weight[:, :H].T).reshape(-1, V), chunk.reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 0.1)
            optimizer.step()
            losses.append(loss)
        return losses, parameters

    twice(program, plain)


@pytest.mark.parametrize("k2", [2, 5])
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_turns_with_steps_of_the_optimizer_between(kind, k2, device, plain):
    x = on(device, numbers(9, N, D))

    def program():
        _, layer = language_model(kind, learn_initial_state=True)
        optimizer, outputs = optim.SGD(layer.parameters(), lr=0.1), []
        for _, out, _ in nn.utils.rnn.tbptt(layer, x, k1=2, k2=k2):
            optimizer.zero_grad()
            (out**2).sum().backward()
            optimizer.step()
            outputs.append(out)
        return outputs, list(layer.parameters())

    twice(program, plain)
