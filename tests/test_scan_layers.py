"""Recurrent layers whose time loop is one call compute what they compute step by step, with every option.

T: time steps   N: batch   D: input size   H: hidden size   K: layers, or twice as many in two directions
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim, threads
from minigrad.fusion import c_loop
from minigrad.nn.utils import rnn

from .helpers import host
from .test_scan import both_ways, given, is_one_call, loss

pytestmark = [pytest.mark.fusing, pytest.mark.usefixtures("device")]

KINDS: dict[str, tuple[type, dict[str, Any]]] = {
    "rnn-tanh": (nn.RNN, {}),
    "rnn-relu": (nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (nn.LSTM, {}),
    "lstm-projected": (nn.LSTM, {"proj_size": 2}),
    "gru": (nn.GRU, {}),
    "gru-reset-before": (nn.GRU, {"reset_after": False}),
    "lstm-peephole": (nn.PeepholeLSTM, {}),
    "lstm-normalized": (nn.LayerNormLSTM, {}),
}
STEP_BY_STEP = {"lstm-normalized"}  # means of rows
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no bias": {"bias": False},
    "two layers": {"num_layers": 2},
    "both directions": {"bidirectional": True},
    "batch first": {"batch_first": True},
    "dropout": {"num_layers": 2, "dropout": 0.4},
    "locked dropout": {"num_layers": 2, "dropout": 0.4, "locked_dropout": True},
    "recurrent dropout": {"recurrent_dropout": 0.4},
    "learned state": {"learn_initial_state": True},
    "all": {
        "num_layers": 2,
        "bidirectional": True,
        "batch_first": True,
        "dropout": 0.3,
        "recurrent_dropout": 0.3,
        "learn_initial_state": True,
    },
}


def build(kind: str, dtype: Any = mg.float64, size: int = 3, hidden: int = 7, **options: Any) -> Any:
    mg.manual_seed(1)
    layer, own = KINDS[kind]
    return layer(size, hidden, dtype=dtype, **own, **options)


def parts_of(state: Any) -> list[mg.Tensor]:
    return list(state) if isinstance(state, (tuple, list)) else [state]


def run(layer: Any, x: Any, state: Any = None) -> list[Any]:
    """The output, the last state, and the gradients of everything; dropout draws the same each time."""
    mg.manual_seed(2)
    y, last = layer(x, state)
    data = y.data if isinstance(x, rnn.PackedSequence) else y
    ys = [data, *parts_of(last)]
    wanted = [*layer.parameters(), x.data if isinstance(x, rnn.PackedSequence) else x]
    wanted += [] if state is None else parts_of(state)
    return [*ys, *mg.grad(loss(ys), [t for t in wanted if t.requires_grad], allow_unused=True)]


def first_state(layer: Any, rows: int, dtype: Any = mg.float64) -> Any:
    K = layer.num_layers * (1 + layer.bidirectional)
    h = given(K, rows, layer.proj_size or layer.hidden_size, dtype=dtype)
    return (h, given(K, rows, layer.hidden_size, seed=1, dtype=dtype)) if isinstance(layer, nn.LSTM) else h


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_option(kind: str, options: str) -> None:
    layer = build(kind, **OPTIONS[options])
    x = given(*((3, 5, 3) if layer.batch_first else (5, 3, 3)))
    for state in (None, first_state(layer, 3)):
        found = both_ways(lambda state=state: run(layer, x, state))
    if options == "plain" and mg.fuse_backend() in ("c", "cuda"):
        assert is_one_call(found[0]) == (kind not in STEP_BY_STEP)


@pytest.mark.parametrize("dtype", [mg.float32, mg.float64])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 3), (2, 1, 5, 17), (3, 31, 2, 5), (9, 5, 33, 33)])
@pytest.mark.parametrize("kind", KINDS)
def test_odd_sizes(kind: str, sizes: tuple[int, ...], dtype: Any) -> None:
    steps, rows, size, hidden = sizes
    layer = build(kind, dtype, size, hidden, bidirectional=True)
    x, state = given(steps, rows, size, dtype=dtype), first_state(layer, rows, dtype)
    both_ways(lambda: run(layer, x, state), 2e-4 if dtype == mg.float32 else 1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_packed_sequences_and_a_single_one(kind: str) -> None:
    layer = build(kind, num_layers=2, bidirectional=True)
    for packed in (True, False):
        x = given(4, 3, 3)
        sequence = rnn.pack_padded_sequence(x, [2, 4, 1], enforce_sorted=False) if packed else x[:, 0].detach()
        both_ways(lambda sequence=sequence: run(layer, sequence))


@pytest.mark.parametrize("kind", KINDS)
def test_in_evaluation_and_without_a_graph(kind: str) -> None:
    layer = build(kind, num_layers=2, dropout=0.5, recurrent_dropout=0.5)
    layer.eval()
    x = given(4, 3, 3)
    with mg.no_grad():
        found = both_ways(lambda: [layer(x)[0]])
    np.testing.assert_array_equal(host(found[0]), host(layer(x)[0]))
    one_by_one, state = [], None
    for x_t in x.detach():
        y, state = layer.step(x_t, state)
        one_by_one.append(host(y))
    np.testing.assert_allclose(host(found[0]), one_by_one, rtol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_parameters_get_no_gradient(kind: str) -> None:
    layer = build(kind)
    for k, parameter in enumerate(layer.parameters()):
        parameter.requires_grad = k % 2 == 0
    x = given(4, 3, 3)
    both_ways(lambda: run(layer, x))
    for parameter in layer.parameters():
        parameter.requires_grad = False
    both_ways(lambda: run(layer, x))


@pytest.mark.parametrize("device", ["cpu"], indirect=True)
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bits_on_any_number_of_threads(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_loop, "SMALL", 0)
    layer = build(kind, mg.float32, hidden=18, bidirectional=True)
    x = given(6, 33, 3, dtype=mg.float32)
    ours = {"weight_ch_l0", "weight_ch_l0_reverse"}  # whose gradients each thread sums for its own sequences
    found = []
    for count in (1, 2, 3, 8):
        monkeypatch.setattr(threads, "_kernels", count)
        y, *others = run(layer, x)
        gradients = others[-len(list(layer.parameters())) - 1 :]
        names = [*(name for name, _ in layer.named_parameters()), "x"]
        exact = [g for name, g in zip(names, gradients, strict=True) if name not in ours]
        found.append([host(g).tobytes() for g in (y, *exact)])
    assert all(bits == found[0] for bits in found)


@pytest.mark.parametrize("kind", KINDS)
def test_sequences_do_not_mix(kind: str) -> None:
    """What one sequence holds leaves the bits of the others alone."""
    layer = build(kind)
    x = given(5, 9, 3)
    expected = host(layer(x)[0])
    x.detach()[2, 4] = float("nan")
    y = host(layer(x)[0])
    others = [k for k in range(9) if k != 4]
    np.testing.assert_array_equal(y[:, others], expected[:, others])
    np.testing.assert_array_equal(y[:2, 4], expected[:2, 4])
    assert np.isnan(y[2:, 4]).all()


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn-tanh"])
def test_training_by_truncated_backpropagation(kind: str) -> None:
    x = given(24, 4, 3).detach()

    def train() -> list[Any]:
        layer = build(kind, num_layers=2)
        optimizer = optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
        state = None
        for start in range(0, 24, 6):
            y, state = layer(x[start : start + 6], state)
            optimizer.zero_grad()
            loss(y).backward()
            optimizer.step()
            state = mg.detach(state)
        return list(layer.parameters())

    both_ways(train, 1e-9)
