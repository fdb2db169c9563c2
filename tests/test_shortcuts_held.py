"""What shorter ways to a product hold: a weight laid out for it, and nothing longer than it is needed."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim, shortcuts
from minigrad.cotangent import Deferred, Inbox, Looked, Slices
from minigrad.ops.contraction import linear
from minigrad.shortcuts import Reused

from .helpers import close, host, on
from .shortcuts import (
    D,
    H,
    N,
    T,
    grads,
    language_model,
    numbers,
    rows,
    twice,
)

# A weight laid out for the product ----------------------------------------------------------------


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The copies of weights that are made, as shapes."""
    made: list[Any] = []

    class Counting(Reused):
        def __new__(cls, transposed: Any, made_at: int) -> Any:
            made.append(transposed.shape)
            assert transposed.flags.c_contiguous
            return super().__new__(cls, transposed, made_at)

    monkeypatch.setattr(shortcuts, "Reused", Counting)
    with mg.fusing(False):  # a kernel packs the weight instead
        yield made


@pytest.mark.parametrize(("steps", "expected"), [(1, []), (2, []), (3, []), (4, [(H, H)]), (9, [(H, H)])])
def test_a_copy_is_made_where_it_pays(steps, expected, device, copies):
    layer = nn.RNN(D, H, dtype=mg.float64)
    out, _ = layer(on(device, numbers(steps, N, D)))
    assert copies == (expected if device == "cpu" else [])  # the library of a GPU transposes on its way
    plain = [mg.zeros((N, H), dtype=mg.float64)]
    for x in on(device, numbers(steps, N, D)):
        wide = x @ layer.weight_ih_l0.T + plain[-1] @ layer.weight_hh_l0.T
        plain.append(mg.tanh(wide + layer.bias_ih_l0 + layer.bias_hh_l0))
    close(out.detach(), host(mg.stack(plain[1:]).detach()))


def test_the_copy_is_gone_after_the_block():
    w = on("cpu", numbers(H, D), True)
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
    with mg.no_grad(), mg.fusing(False):  # a kernel takes a cell to be pure
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

    with mg.fusing(False):  # a watched layer runs operation by operation
        found = program()
    with mg.detect_anomaly():
        watched = program()
    tolerance = 1e-12 if device.startswith("cuda") else 0.0  # there losses are kernels, unless fusing is off
    for one, other in zip(found, watched, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
