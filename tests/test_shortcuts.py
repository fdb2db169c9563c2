"""Shorter ways to the same product give the same: look-up and product commuted, a weight laid out for the product.

Each program runs twice, once as it is and once without hints and deferred sums; values and gradients agree to rounding.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim, readings, shortcuts
from minigrad.cotangent import Deferred, Inbox, Looked, Slices
from minigrad.nn import functional as F
from minigrad.ops.contraction import linear, matmul
from minigrad.shortcuts import Reused

from .helpers import close, host, on

V, D, H = 5, 4, 3
ENOUGH, TOO_FEW = 2 * V, 2 * V - 1  # look-ups from which the table is multiplied, and the last number below

Made = dict[str, Any]


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """For the rest of the test, products are of the rows themselves, and a sweep computes each sum at once."""

    def add_as_it_is(inbox: Inbox, slot: int, contribution: Any, xp: Any) -> Any:
        inbox.add(slot, contribution, xp)
        return contribution

    def turn_off() -> None:
        monkeypatch.setattr(matmul, "shortcut", None)
        monkeypatch.setattr(linear, "shortcut", None)
        monkeypatch.setattr(readings, "Defer", readings.Compute)
        monkeypatch.setattr(readings, "_readings", {})
        monkeypatch.setattr(Inbox, "add_slice", add_as_it_is)

    return turn_off


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The look-ups that products made use of, as they run."""
    used: list[Any] = []

    def product(*arguments: Any) -> Any:
        y, lookup = shortcuts.product(*arguments)
        if lookup is not None:
            used.append(lookup)
        return y, lookup

    monkeypatch.setattr(matmul, "shortcut", product)
    monkeypatch.setattr(linear, "shortcut", product)
    return used


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
    """What a program gives, in the short way and in the plain one."""
    found = program()
    plain()
    agree(found, program())


# Programs: each gives what is to agree ------------------------------------------------------------

Program = Callable[[mg.Tensor, mg.Tensor, mg.Tensor, mg.Tensor], Made]


def gradients(loss: mg.Tensor, *xs: mg.Tensor) -> Made:
    loss.backward()
    return {"loss": loss, **{str(k): x.grad for k, x in enumerate(xs)}}


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


# A weight laid out for the product ----------------------------------------------------------------


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The copies of weights that are made, as shapes."""
    made: list[Any] = []

    class Counting(Reused):
        def __new__(cls, transposed: Any, made_at: int) -> Any:
            made.append(transposed.shape)
            assert transposed.flags.c_contiguous
            return super().__new__(cls, transposed, made_at)

    monkeypatch.setattr(shortcuts, "Reused", Counting)
    return made


@pytest.mark.parametrize(("steps", "expected"), [(1, []), (2, []), (3, []), (4, [(H, H)]), (9, [(H, H)])])
def test_a_copy_is_made_where_it_pays(steps, expected, device, copies):
    layer = nn.RNN(D, H, dtype=mg.float64)
    out, _ = layer(on(device, numbers(steps, N, D)))
    assert copies == expected
    plain = [mg.zeros((N, H), dtype=mg.float64)]
    for x in on(device, numbers(steps, N, D)):
        wide = x @ layer.weight_ih_l0.T + plain[-1] @ layer.weight_hh_l0.T
        plain.append(mg.tanh(wide + layer.bias_ih_l0 + layer.bias_hh_l0))
    close(out.detach(), host(mg.stack(plain[1:]).detach()))


def test_the_copy_is_gone_after_the_block(device):
    w = on(device, numbers(H, D), True)
    with shortcuts.reused([w, 0.0, None], 4):
        assert w._hint is not None
        copy = weakref.ref(w._hint.transposed)
        with shortcuts.reused([w], 4):  # as when a layer calls itself
            pass
        assert w._hint is not None
    assert w._hint is None
    assert copy() is None
    with pytest.raises(KeyError), shortcuts.reused([w], 4):
        raise KeyError
    assert w._hint is None


@pytest.mark.parametrize("write", ["setitem", "view", "raw", "assign", "step"])
def test_a_weight_written_to_inside_the_block(write, device):
    w, x, b = on(device, numbers(H, D), True), on(device, numbers(N, D)), on(device, numbers(H))
    with shortcuts.reused([w], 4):
        linear(x, w, b)
        with mg.no_grad():
            if write == "setitem":
                w[...] = 1.0
            elif write == "view":
                w.T[...] = 1.0
            elif write == "raw":
                w.data[...] = 1.0
            elif write == "assign":
                w.data = mg.ones((H, D), dtype=mg.float64).data
            else:
                w.grad = w.detach() - 1.0
                optim.SGD([w], lr=1.0).step()
        y = linear(x, w, b)
    close(y.detach(), numbers(N, D) @ np.ones((D, H)) + numbers(H))


def test_a_layer_whose_cell_writes_to_the_weight(device):
    """Without a copy the second half of the steps sees the new weight; so it does with one."""
    layer, calls = nn.RNN(D, H, bias=False, dtype=mg.float64), []
    textbook = layer.cell()

    def cell(x, h, hh):
        calls.append(None)
        if len(calls) == 4:
            with mg.no_grad():
                hh.weight[...] = 0.0
        return textbook(x, h, hh)

    layer.cell = lambda: cell
    with mg.no_grad():
        out, _ = layer(on(device, numbers(6, N, D)))
    share = np.tanh(numbers(6, N, D) @ host(layer.weight_ih_l0.detach()).T)
    close(out[3:], share[3:])
    assert np.abs(host(out[1:3]) - share[1:3]).max() > 1e-3


def test_two_layers_of_one_weight(device, plain):
    def program():
        _, first = language_model(nn.GRU)
        second = nn.GRU(D, H, dtype=mg.float64)
        second.weight_hh_l0 = first.weight_hh_l0
        x = on(device, numbers(T, N, D), True)
        ((first(x)[0] * second(x)[0]) ** 2).sum().backward()
        return x.grad, grads(first, second)

    twice(program, plain)


# What is held, and for how long -------------------------------------------------------------------


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def waiting() -> int:
    """How many sums, buffers and look-ups there are."""
    return sum(type(x) in (Deferred, Inbox, shortcuts.Reused, Looked, Slices) for x in gc.get_objects())


def a_step(device: str) -> tuple[Any, Any, mg.Tensor, mg.Tensor]:
    table, layer = language_model(nn.LSTM)
    x = table(mg.tensor(rows(T * N).reshape(T, N)))
    return table, layer, x, (layer(x)[0] ** 2).sum()


@pytest.mark.parametrize("end", ["never swept", "swept", "asked for", "retained", "failed", "anomaly"])
def test_a_graph_is_gone_with_its_last_reference(end, device, without_collector):
    table, layer, x, loss = a_step(device)
    node, rows_of_table = weakref.ref(x), weakref.ref(x.data)
    del x
    if end == "swept":
        loss.backward()
    elif end == "asked for":
        mg.grad(loss, [table.weight, layer.weight_hh_l0])
    elif end == "retained":
        loss.backward(retain_graph=True)
        assert rows_of_table() is not None
    elif end == "failed":

        def refuse(g: mg.Tensor) -> None:
            raise KeyError

        layer.weight_ih_l0.register_hook(refuse)
        with pytest.raises(KeyError):
            loss.backward()
    elif end == "anomaly":
        with mg.detect_anomaly():
            loss.backward()
    del loss
    assert node() is None
    assert rows_of_table() is None
    assert waiting() == 0


def test_what_no_derivative_reads_is_not_held(device, without_collector):
    w = on(device, numbers(H), True)
    for name, program in UNSAVED.items():
        x = on(device, numbers(H)) * 1.0
        array, tensor = weakref.ref(x.data), weakref.ref(x)
        y = program(x, w)
        assert y.requires_grad
        del x
        assert array() is None, name
        assert tensor() is None, name


UNSAVED: dict[str, Callable[[mg.Tensor, mg.Tensor], mg.Tensor]] = {
    "x + w": lambda x, w: x + w,
    "w - x": lambda x, w: w - x,
    "exp(x + w)": lambda x, w: mg.exp(x + w),
    "stack": lambda x, w: mg.stack([x, w]),
    "concatenate": lambda x, w: mg.concatenate([x, w]),
    "linear": lambda x, w: linear(mg.ones((2, H), dtype=mg.float64), mg.stack([w, w, w]), x),
}


def test_products_hold_what_their_derivatives_read(device, without_collector):
    """x for W, W for x: with one of the two frozen, the other is not held."""
    for frozen in (0, 1):
        x, w = on(device, numbers(N, D), frozen == 1) * 1.0, on(device, numbers(D, H), frozen == 0) * 1.0
        held = [weakref.ref(x.data), weakref.ref(w.data)]
        y = x @ w
        del x, w
        assert y.requires_grad
        assert [array() is not None for array in held] == [frozen == 0, frozen == 1]


def test_anomaly_mode_gives_the_same_bits(device):
    def program():
        table, layer, _, loss = a_step(device)
        loss.backward()
        return [host(g) for g in grads(table, layer)]

    found = program()
    with mg.detect_anomaly():
        watched = program()
    for one, other in zip(found, watched, strict=True):
        np.testing.assert_array_equal(one, other)
