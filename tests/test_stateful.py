"""Layers that keep their state: y = rnn.step(x), and the same numbers and gradients as from the whole sequence at once.

T: time steps   N: batch   D: input size   H: hidden size
"""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F
from minigrad.nn.utils import rnn
from minigrad.testing import Sequences, seeded
from minigrad.testing import strategies as mst

from .helpers import host, on
from .test_equations import parts_of

CLOSE = 1e-10
CELLS = [nn.RNNCell, nn.LSTMCell, nn.GRUCell]
HALF = settings(max_examples=max(5, settings.default.max_examples // 2))
# Masks are drawn anew at each step, and a whole sequence may have another one: everything here is in evaluation.
one_way = mst.modules(bidirectional=False)
plain = mst.sequences(["padded", "single"])


def time_of(layer: Any, sequences: Sequences) -> int:
    return 1 if layer.batch_first and sequences.form == "padded" else 0


def flat(y: mg.Tensor, state: Any) -> list[mg.Tensor]:
    return [y, *parts_of(state)]


def assert_same(found: list[mg.Tensor], expected: list[mg.Tensor], close: float = CLOSE) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(host(a), host(b), rtol=close, atol=close)


def assert_same_gradients(found: list[mg.Tensor], expected: list[mg.Tensor], leaves: list[mg.Tensor]) -> None:
    """Of a random weighting of the results, and of the squares of these gradients in their turn."""
    rng = np.random.default_rng(0)
    weights = [on(y.device, rng.normal(size=y.shape)) for y in found]
    each = []
    for results in (found, expected):
        loss = sum((y * w).sum() for y, w in zip(results, weights, strict=True))
        first = mg.grad(loss, leaves, create_graph=True, allow_unused=True)
        first = [g for g in first if g is not None]
        squares = sum((g * g).sum() for g in first)
        second = mg.grad(squares, leaves, allow_unused=True)
        each.append(first + [g for g in second if g is not None])
    assert_same(*each, close=1e-8)


# The sequence layer -------------------------------------------------------------------------------


def both_ways(layer: Any, sequences: Sequences) -> tuple[list[mg.Tensor], list[mg.Tensor], list[mg.Tensor]]:
    """Output and last state, step by step; the same of the whole sequence; and all that they were computed from."""
    input, state = sequences.of(layer.eval())
    axis = time_of(layer, sequences)
    stateful = nn.Stateful(layer)
    stateful.state = state
    found = mg.stack([stateful.step(x) for x in input.unstack(axis=axis)], axis=axis)
    leaves = [input, *([] if state is None else parts_of(state)), *layer.parameters()]
    return flat(found, stateful.state), flat(*layer(input, state)), leaves


@given(one_way, plain)
def test_steps_give_what_the_whole_sequence_gives(device: str, layer: Any, sequences: Sequences) -> None:
    found, expected, _ = both_ways(layer, sequences)
    assert_same(found, expected)


@HALF
@given(one_way, plain)
def test_gradients_go_back_through_the_steps(device: str, layer: Any, sequences: Sequences) -> None:
    assert_same_gradients(*both_ways(layer, sequences))


@HALF
@given(one_way, plain, st.data())
def test_a_sequence_may_come_in_pieces(device: str, layer: Any, sequences: Sequences, data: st.DataObject) -> None:
    input, _ = sequences.of(layer.eval())
    axis = time_of(layer, sequences)
    cut = data.draw(st.integers(1, input.shape[axis]))
    stateful = nn.Stateful(layer)
    pieces = [part for part in input.split([cut], axis=axis) if part.shape[axis]]
    found = mg.concatenate([stateful(part) for part in pieces], axis=axis)
    expected, last = layer(input)
    assert_same(flat(found, stateful.state), flat(expected, last))


@HALF
@given(mst.modules(CELLS), st.integers(1, 4), st.integers(0, 3))
def test_a_cell_steps_too(device: str, cell: Any, steps: int, batch: int) -> None:
    x = on(device, np.random.default_rng(0).normal(size=(steps, *((batch,) if batch else ()), cell.input_size)), True)
    stateful, state, expected = nn.Stateful(cell), None, []
    found = mg.stack([stateful.step(x_t) for x_t in x])
    for x_t in x:
        state = cell(x_t, state)
        expected.append(parts_of(state)[0])
    assert_same(flat(found, stateful.state), flat(mg.stack(expected), state), 0)
    assert_same_gradients([found], [mg.stack(expected)], [x, *cell.parameters()])


@pytest.mark.parametrize("make", [nn.RNN, nn.LSTM, nn.GRU, nn.LayerNormLSTM, nn.PeepholeLSTM])
def test_two_stacked_are_a_layer_of_two(make: Any, device: str) -> None:
    both = seeded(make, 3, 5, num_layers=2, dtype=np.float64, seed=1)
    first, second = make(3, 5, dtype=np.float64), make(5, 5, dtype=np.float64)
    for number, one in enumerate((first, second)):
        of = f"_l{number}"
        own = {name.replace(of, "_l0"): x for name, x in both.state_dict().items() if name.endswith(of)}
        one.load_state_dict(own)
    rnn1, rnn2, found = nn.Stateful(first), nn.Stateful(second), []
    x = on(device, np.random.default_rng(0).normal(size=(6, 4, 3)))
    for x_t in x:
        y1 = rnn1.step(x_t)
        y = rnn2.step(y1)
        found.append(y)
    output, last = both(x)
    assert_same([mg.stack(found)], [output])
    for whole, *parts in zip(parts_of(last), parts_of(rnn1.state), parts_of(rnn2.state), strict=True):
        assert_same([mg.concatenate(parts)], [whole])
    rnn1.reset(), rnn2.reset()
    assert_same([nn.Sequential(rnn1, rnn2)(x)], [output])


# The state ----------------------------------------------------------------------------------------


def test_it_begins_anew_after_a_reset(device):
    stateful = nn.Stateful(nn.GRU(2, 3, learn_initial_state=True))
    mg.manual_seed(0)
    nn.init.normal_(stateful.layer.h_0)
    x = mg.ones((4, 2))
    first = stateful.step(x)
    assert host(stateful.step(x)).tolist() != host(first).tolist()
    stateful.reset()
    assert stateful.state is None
    assert host(stateful.step(x)).tolist() == host(first).tolist()
    first.sum().backward()
    assert np.abs(host(stateful.layer.h_0.grad)).sum() > 0  # the first state is the layer's own, and is learned


def test_detaching_truncates(device):
    """The gradient of 6 steps, 2 at a time: that of tbptt, and not that of the whole."""
    layer = seeded(nn.LSTM, 2, 3, dtype=np.float64, seed=0)
    x = on(device, np.random.default_rng(0).normal(size=(6, 4, 2)))
    weights = list(layer.parameters())

    def gradients(losses: Any) -> list[np.ndarray]:
        layer.zero_grad()
        for loss in losses:
            loss.backward()
        return [host(p.grad) for p in weights]

    def detached() -> Any:
        stateful = nn.Stateful(layer)
        for t in range(0, 6, 2):
            yield sum((stateful.step(x_t) ** 2).sum() for x_t in x[t : t + 2])
            stateful.detach()
            assert not any(part.requires_grad for part in stateful.state)

    found = gradients(detached())
    expected = gradients((y**2).sum() for _, y, _ in rnn.tbptt(layer, x, k1=2))
    whole = gradients([(layer(x)[0] ** 2).sum()])
    for a, b, c in zip(found, expected, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=CLOSE, atol=CLOSE)
        assert np.abs(a - c).max() > 1e-3


def test_nothing_is_recorded_where_nothing_is_learned(device):
    stateful = nn.Stateful(nn.RNN(2, 3))
    with mg.no_grad():
        stateful.step(mg.ones((4, 2)))
    assert not stateful.state.requires_grad
    stateful.detach()
    stateful.reset()
    stateful.detach()  # of nothing
    assert stateful.state is None


def test_a_prompt_at_once_and_then_a_step_at_a_time(device):
    layer = nn.LSTM(2, 3)
    x = mg.randn((5, 2))  # one sequence alone
    stateful = nn.Stateful(layer)
    stateful(x[:4])
    y = stateful.step(x[4])
    np.testing.assert_allclose(host(y), host(layer(x)[0][4]), rtol=1e-5, atol=1e-6)
    stateful.state = mg.detach(layer(x[:4])[1])  # it may be set
    np.testing.assert_allclose(host(stateful.step(x[4])), host(y), rtol=1e-5, atol=1e-6)


def test_a_model_of_ones_own_steps_too(device):
    class Model(nn.Module):
        def __init__(self):
            self.embedding, self.rnn, self.output = nn.Embedding(5, 2), nn.GRU(2, 3), nn.Linear(3, 5)

        def forward(self, ids, state=None):
            h, state = self.rnn(self.embedding(ids), state)
            return self.output(h), state

        def step(self, ids, state=None):
            h, state = self.rnn.step(self.embedding(ids), state)
            return self.output(h), state

    model = Model()
    ids = mg.tensor([[1, 2], [3, 4], [0, 1]])
    stateful = nn.Stateful(model)
    found = mg.stack([stateful.step(each) for each in ids])
    np.testing.assert_allclose(host(found), host(model(ids)[0]), rtol=1e-5, atol=1e-6)


def test_the_essays_program_learns_hello(device):
    mg.manual_seed(0)
    letters, text = "helo", "hello"
    ids = mg.tensor([letters.index(c) for c in text])
    rnn1, rnn2, output = nn.Stateful(nn.RNN(4, 8)), nn.Stateful(nn.RNN(8, 8)), nn.Linear(8, 4)
    optimizer = mg.optim.Adam([*rnn1.parameters(), *rnn2.parameters(), *output.parameters()], lr=0.03)
    for _ in range(60):
        rnn1.reset(), rnn2.reset()
        loss = 0.0
        for now, following in itertools.pairwise(ids):
            y1 = rnn1.step(F.one_hot(now, 4))
            y = rnn2.step(y1)
            loss = loss + F.cross_entropy(output(y), following)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    rnn1.reset(), rnn2.reset()
    said = "h"
    while len(said) < 5:
        said += letters[output(rnn2.step(rnn1.step(F.one_hot(mg.tensor(letters.index(said[-1])), 4)))).argmax().item()]
    assert said == "hello"


def test_the_first_state_may_be_learned_outside(device):
    h, c = (nn.Parameter(mg.full((1, 4, 3), 0.5)) for _ in range(2))
    for layer, state in ((nn.GRU(2, 3), h), (nn.LSTM(2, 3), (h, c))):
        stateful = nn.Stateful(layer)
        stateful.state = state
        assert list(stateful.state_dict()) == [f"layer.{name}" for name in layer.state_dict()]
        assert not stateful.eval().training and len(list(stateful.parameters())) == len(list(layer.parameters()))
        stateful.step(mg.ones((4, 2))).sum().backward()
        assert np.abs(host(h.grad)).min() > 0
        stateful.detach()
        assert not any(part.is_parameter for part in parts_of(stateful.state))


# As a module --------------------------------------------------------------------------------------


def test_its_parameters_are_the_layers_and_its_state_is_not_saved():
    layer = nn.LSTM(2, 3)
    stateful = nn.Stateful(layer)
    stateful.step(mg.ones((4, 2)))
    assert list(stateful.state_dict()) == [f"layer.{name}" for name in layer.state_dict()]
    assert repr(stateful) == "Stateful(\n  (layer): LSTM(2, 3)\n)"
    assert not stateful.eval().layer.training
    stateful.detach()
    twin = copy.deepcopy(stateful)
    assert twin.state[0].tolist() == stateful.state[0].tolist() and twin.layer is not layer
    stateful.double()
    stateful.reset()
    assert stateful.step(mg.ones((4, 2), dtype=np.float64)).dtype == np.float64


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "error", "pattern"),
    [
        (lambda: nn.Linear(2, 3), TypeError, r"Stateful: expected a recurrent layer, a cell, or a module with step\("),
        (lambda: nn.LSTM, TypeError, r"Stateful holds Modules, got the class LSTM; call it"),
        (lambda: None, TypeError, r"Stateful holds Modules, got NoneType"),
        (
            lambda: nn.GRU(2, 3, bidirectional=True),
            ValueError,
            r"one direction, got a bidirectional GRU: it has to see",
        ),
        (lambda: nn.Stateful(nn.RNN(2, 3)), TypeError, r"gives it back, got a Stateful one"),
    ],
)
def test_what_is_no_layer_of_one_direction(layer, error, pattern):
    with pytest.raises(error, match=pattern):
        nn.Stateful(layer())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (lambda x: x, "Tensor"),
        (lambda x: None, "NoneType"),
        (lambda x: (x, x, x), "tuple of 3"),
        (lambda x: [x, x], "list"),
    ],
)
def test_a_step_that_gives_no_pair(given, told):
    class Odd(nn.Module):
        def step(self, x, state):
            return given(x)

    stateful = nn.Stateful(Odd())
    with pytest.raises(TypeError, match=rf"expected \(output, state\) from tests.Odd, got {told}$"):
        stateful.step(mg.ones((2, 3)))
    assert stateful.state is None


def test_a_cell_has_no_time():
    with pytest.raises(TypeError, match=r"a GRUCell reads one time step: call step\(x\) for each"):
        nn.Stateful(nn.GRUCell(2, 3))(mg.ones((5, 4, 2)))


@pytest.mark.parametrize("make", [nn.LSTM, nn.LSTMCell])
def test_other_sequences_than_before_are_refused_and_nothing_is_lost(make, device):
    stateful = nn.Stateful(make(2, 3))
    stateful.step(mg.ones((4, 2)))
    before = stateful.state
    for wrong in mg.ones((3, 2)), mg.ones((4, 5)), mg.ones(2):
        with pytest.raises(ValueError, match=r"reset\(\) begins anew") as found:
            stateful.step(wrong)
        assert found.value.__notes__ == ["The state is that of the call before; reset() begins anew."]
        assert stateful.state is before
    stateful.reset()
    assert stateful.step(mg.ones((3, 2))).shape == (3, 3)
    stateful.reset()
    with pytest.raises(ValueError, match="LSTM") as found:
        stateful.step(mg.ones((3, 5)))
    assert not hasattr(found.value, "__notes__")  # there was no state
