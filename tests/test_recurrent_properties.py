"""Any recurrent layer, with any options, over any sequences: the textbook's values, and gradients of both orders.

T: time steps   N: batch   D: input size   H: hidden size   K: layers times directions
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn import cells, variants
from minigrad.nn.utils import rnn
from minigrad.testing import GradcheckError, Sequences, gradcheck, gradgradcheck, seeded
from minigrad.testing import strategies as mst
from minigrad.testing.strategies.modules import LAYERS

from .helpers import host, on
from .test_equations import assert_close, equations_of, parts_of, textbook

pytestmark = pytest.mark.fusing

CELLS = [nn.RNNCell, nn.LSTMCell, nn.GRUCell]
CLOSE = 1e-10  # the smallest layers, normalised, lose some digits
every_layer = pytest.mark.parametrize("kind", LAYERS)
HALF, FEW = (settings(max_examples=max(5, settings.default.max_examples // n)) for n in (2, 5))


# Values -------------------------------------------------------------------------------------------


def each_of(x: Any, layer: Any, sequences: Sequences) -> list[mg.Tensor]:
    """The sequences (T, *) of an input or an output, one by one."""
    if sequences.form == "packed":
        return rnn.unpack_sequence(x)
    return [x] if sequences.form == "single" else x.unstack(axis=0 if layer.batch_first else 1)


def first_of(layer: Any, sequences: Sequences, state: Any) -> list[np.ndarray]:
    """The parts (K, N, H) of the state that the layer begins with."""
    count, layers = len(sequences.lengths), layer.num_layers * (1 + layer.bidirectional)
    if state is not None:
        return [host(part).reshape(layers, count, -1) for part in parts_of(state)]
    if layer.learn_initial_state:
        learned = [layer.h_0, layer.c_0] if layer.has_memory else [layer.h_0]
        return [np.repeat(host(part), count, axis=1) for part in learned]
    sizes = [layer.proj_size or layer.hidden_size, layer.hidden_size][: 1 + layer.has_memory]
    return [np.zeros((layers, count, size)) for size in sizes]


@given(mst.modules(), mst.sequences())
def test_a_layer_is_the_textbooks_loop(device: str, layer: Any, sequences: Sequences) -> None:
    input, state = sequences.of(layer)
    output, last = layer.eval()(input, state)
    step, weights = equations_of(layer), {name: host(x) for name, x in layer.state_dict().items()}
    first = first_of(layer, sequences, state)
    inputs, outputs = each_of(input, layer, sequences), each_of(output, layer, sequences)
    lasts = [host(part).reshape(start.shape) for part, start in zip(parts_of(last), first, strict=True)]
    for n, (x, y) in enumerate(zip(inputs, outputs, strict=True)):
        expected, end = textbook(step, weights, host(x), [part[:, n] for part in first], layer.bidirectional)
        assert_close(y, expected, CLOSE)
        for part, array in zip(lasts, end, strict=True):
            np.testing.assert_allclose(part[:, n], array, rtol=CLOSE, atol=CLOSE)


@given(mst.modules(bidirectional=False), mst.sequences(["padded", "single"]))
def test_steps_are_the_textbooks_loop(device: str, layer: Any, sequences: Sequences) -> None:
    input, state = sequences.of(layer.eval())
    first, found = first_of(layer, sequences, state), []
    for x in input.unstack(axis=1 if layer.batch_first and sequences.form == "padded" else 0):
        y, state = layer.step(x, state)
        found.append(y)
    step, weights = equations_of(layer), {name: host(x) for name, x in layer.state_dict().items()}
    outputs = [mg.stack(found)] if sequences.form == "single" else mg.stack(found).unstack(axis=1)
    lasts = [host(part).reshape(start.shape) for part, start in zip(parts_of(state), first, strict=True)]
    for n, x in enumerate(each_of(input, layer, sequences)):
        expected, end = textbook(step, weights, host(x), [part[:, n] for part in first])
        assert_close(outputs[n], expected, CLOSE)
        for part, array in zip(lasts, end, strict=True):
            np.testing.assert_allclose(part[:, n], array, rtol=CLOSE, atol=CLOSE)


def cell_arguments(cell: Any, batch: int, given: bool, seed: int) -> tuple[mg.Tensor, Any]:
    """(x, state) of a cell; a batch of 0 is one vector alone."""
    rng, rows = np.random.default_rng(seed), (batch,) * (batch > 0)
    x = on(mg.default_device(), rng.normal(size=(*rows, cell.input_size)), True)
    parts = [on(mg.default_device(), rng.normal(size=(*rows, cell.hidden_size)), True) for _ in range(2)]
    return x, None if not given else tuple(parts) if cell.has_memory else parts[0]


cell_inputs = (mst.modules(CELLS), st.integers(0, 3), st.booleans(), st.integers(0, 99))


@given(*cell_inputs)
def test_a_cell_is_the_textbooks_step(device: str, cell: Any, batch: int, given: bool, seed: int) -> None:
    x, state = cell_arguments(cell, batch, given, seed)
    found = parts_of(cell(x, state))
    weights = {name: host(array) for name, array in cell.state_dict().items()}
    rows = host(x).reshape(-1, cell.input_size)
    parts = [host(part) for part in parts_of(state)] if given else [np.zeros(part.shape) for part in found]
    parts = [part.reshape(len(rows), -1) for part in parts]
    for n, row in enumerate(rows):
        expected = equations_of(cell)(row, [part[n] for part in parts], weights)
        for part, array in zip(found, expected, strict=True):
            np.testing.assert_allclose(host(part).reshape(len(rows), -1)[n], array, rtol=1e-12, atol=1e-12)


# Gradients of both orders: of the input, the state and every parameter ----------------------------


def as_checked(module: Any, input: Any, state: Any, call: Callable | None = None) -> tuple[Callable, dict[str, Any]]:
    """A function of leaves that it looks up by itself, and these leaves; the same masks in every call."""
    call = call or module

    def function(*_: mg.Tensor) -> list[mg.Tensor]:
        mg.manual_seed(1)
        outputs = call(input, state)
        flat = [y for part in parts_of(outputs) for y in parts_of(part)]
        return [y.data if isinstance(y, rnn.PackedSequence) else y for y in flat]

    parts = [] if state is None else parts_of(state)
    x = input.data if isinstance(input, rnn.PackedSequence) else input
    return function, {"input": x, **dict(zip("hc", parts, strict=False)), **dict(module.named_parameters())}


# Where a layer bends too sharply for numeric differences: relu at 0, and norm where there is almost no variance.
BENDS: list[tuple[Any, str, Callable]] = [(cells, "relu", np.abs), (variants, "norm", lambda v: v.var(axis=-1))]


def stay_clear_of_bends(function: Callable) -> None:
    """Leave out examples that come closer than that, but those that stay there whatever moves (0 times a weight)."""
    near: list[np.ndarray] = []

    def noted(primitive: Callable, distance: Callable) -> Callable:
        def call(x: mg.Tensor) -> mg.Tensor:
            near.append(distance(host(x)).ravel())
            return primitive(x)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for room, name, distance in BENDS:
            patch.setattr(room, name, noted(getattr(room, name), distance))
        function()
    assume(all(((d == 0) | (d > 1e-4)).all() for d in near))


def prove(module: Any, input: Any, state: Any, call: Callable | None = None, fast_mode: bool = True) -> None:
    function, leaves = as_checked(module, input, state, call)
    stay_clear_of_bends(function)
    assert gradcheck(function, leaves, fast_mode=fast_mode)
    assert gradgradcheck(function, leaves, fast_mode=fast_mode)


@every_layer
@HALF
@given(st.data(), mst.sequences())
def test_gradients_of_a_layer(kind: Any, device: str, data: st.DataObject, sequences: Sequences) -> None:
    layer = data.draw(mst.modules([kind]))
    prove(layer, *sequences.of(layer))


@FEW
@given(mst.modules(input_size=1, hidden_size=st.integers(1, 2), num_layers=1), mst.sequences(max_steps=2, max_batch=2))
def test_every_entry_of_the_gradients_of_a_layer(device: str, layer: Any, sequences: Sequences) -> None:
    prove(layer, *sequences.of(layer), fast_mode=False)


def stepped(layer: Any, sequences: Sequences) -> Callable:
    """The layer, step after step: every output, and the last state."""

    def steps(input: mg.Tensor, state: Any) -> Any:
        outputs = []
        for x in input.unstack(axis=1 if layer.batch_first and sequences.form == "padded" else 0):
            y, state = layer.step(x, state)
            outputs.append(y)
        return (*outputs, *parts_of(state))

    return steps


@given(mst.modules(bidirectional=False), mst.sequences(["padded", "single"], max_steps=2))
def test_gradients_of_steps(device: str, layer: Any, sequences: Sequences) -> None:
    prove(layer, *sequences.of(layer), stepped(layer, sequences))


@given(*cell_inputs)
def test_gradients_of_a_cell(device: str, cell: Any, batch: int, given: bool, seed: int) -> None:
    prove(cell, *cell_arguments(cell, batch, given, seed))


@given(mst.modules(num_layers=2, dropout=0.3, recurrent_dropout=0.3), mst.sequences())
def test_gradients_under_masks(device: str, layer: Any, sequences: Sequences) -> None:
    prove(layer, *sequences.of(layer))


def test_the_gradient_is_right_where_a_norm_is_steep(device: str) -> None:
    """At a variance of 10⁻⁷ the differences have to be small too, and then they agree."""
    layer = seeded(nn.LayerNormLSTM, 3, 2, num_layers=2, seed=12434)
    sequences = Sequences((2, 2, 2), "padded", state=True, seed=357)
    function, leaves = as_checked(layer, *sequences.of(layer), stepped(layer, sequences))
    with pytest.raises(GradcheckError):
        gradcheck(function, leaves, fast_mode=True)
    assert gradcheck(function, leaves, fast_mode=True, eps=1e-7)
