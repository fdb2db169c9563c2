"""Layers compute what PyTorch's compute: outputs, states and gradients, in float64, to 1e-10.

Against the golden file always, on every device; against a live torch, where there is one, on random cases too.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn

from .golden.arrays import Arrays, weighing
from .golden.layers import LAYERS, Layer, run_layer
from .golden.make import read
from .helpers import assert_same, on

GOLDEN = read("layers")


def check_layer(case: Layer, expected: Arrays, device: str) -> None:
    layer = getattr(nn, case.kind)(*case.sizes, **case.options, dtype=mg.float64, device=device)
    weights = {name.removeprefix("weight."): a for name, a in expected.items() if name.startswith("weight.")}
    shapes = [(name, x.shape) for name, x in layer.state_dict().items()]
    assert shapes == [(name, a.shape) for name, a in weights.items()], "state_dict keys, their order and shapes"
    layer.load_state_dict(weights)

    x = on(device, expected["x"], requires_grad="gradient.x" in expected)
    state = {name: on(device, a, True) for name, a in expected.items() if name.startswith("state.")}
    outputs = case.outputs(layer(*case.arguments(x, list(state.values()), nn.utils.rnn)), nn.utils.rnn)
    assert len(outputs) == sum(name.startswith("output.") for name in expected)

    loss = sum((y * on(device, weighing(y.shape, k))).sum() for k, y in enumerate(outputs))
    loss.backward()
    leaves = {"x": x} | state | {f"weight.{name}": p for name, p in layer.named_parameters()}
    assert_same({f"output.{k}": y for k, y in enumerate(outputs)}, expected)
    assert_same({f"gradient.{name}": leaf.grad for name, leaf in leaves.items() if leaf.requires_grad}, expected)


# Against the golden file --------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name: str, device: str) -> None:
    check_layer(LAYERS[name], GOLDEN[name], device)


def test_the_default_device_may_be_another(device: str) -> None:
    """A layer works where its arguments are."""
    with mg.use_device("strict" if device == "cpu" else "cpu"):
        for name in ("rnn-relu-one-layer", "lstm-one-layer", "gru-one-layer", "gru-cell-plain", "linear", "embedding"):
            check_layer(LAYERS[name], GOLDEN[name], device)


# Against live torch, on random cases --------------------------------------------------------------

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 4)


@st.composite
def recurrent_layers(draw: Any) -> Layer:
    """Every option at once."""
    kind = draw(st.sampled_from(["RNN", "LSTM", "GRU"]))
    options = {"bias": draw(st.booleans())}
    if kind == "RNN":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    d, h, t, n = (draw(sizes) for _ in range(4))
    given = draw(st.booleans())
    if draw(st.integers(0, 4)) == 0:  # a single step
        return Layer(kind + "Cell", (d, h), options, draw(st.sampled_from([(n, d), (d,)])), given)
    options |= {"num_layers": draw(st.integers(1, 3)), "bidirectional": draw(st.booleans())}
    if kind == "LSTM":
        options["proj_size"] = draw(st.integers(0, h - 1))
    options["batch_first"] = draw(st.booleans())
    form, lengths = draw(st.sampled_from(["padded", "packed", "unbatched"])), ()
    if form == "packed":
        lengths = tuple(draw(st.lists(st.integers(1, t), min_size=n, max_size=n)))
        lengths = tuple(sorted(lengths, reverse=True)) if draw(st.booleans()) else lengths
    shape = (t, d) if form == "unbatched" else (n, t, d) if options["batch_first"] else (t, n, d)
    return Layer(kind, (d, h), options, shape, given, lengths)


@given(recurrent_layers(), seeds)
@settings(max_examples=2 * settings().max_examples)
def test_live_recurrent_layer(case: Layer, seed: int) -> None:
    pytest.importorskip("torch")
    check_layer(case, run_layer(case, seed), "cpu")
