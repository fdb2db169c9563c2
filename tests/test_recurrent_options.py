"""Recurrent layers whose options, biases or weights are not what they should be, or not all there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

from .helpers import host
from .test_equations import assert_close

pytestmark = pytest.mark.fusing

LAYERS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU, "LayerNormLSTM": nn.LayerNormLSTM, "Peephole": nn.PeepholeLSTM}
CELLS = {"RNNCell": nn.RNNCell, "LSTMCell": nn.LSTMCell, "GRUCell": nn.GRUCell}
before = {"GRU before": lambda *sizes, **o: nn.GRU(*sizes, reset_after=False, **o)}


def ones(*shape: int, **options: Any) -> mg.Tensor:
    return mg.ones(shape, **options)


# Biases -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("absent", ["bias_ih", "bias_hh"])
@pytest.mark.parametrize("kind", LAYERS | CELLS | before)
def test_one_bias_may_be_absent(kind: str, absent: str, device: str) -> None:
    """None is a bias of zeros; the other still counts."""
    layer = (LAYERS | CELLS | before)[kind](3, 4)
    suffix = "" if kind in CELLS else "_l0"
    other = "bias_hh" if absent == "bias_ih" else "bias_ih"
    x = ones(2, 3) if kind in CELLS else ones(5, 2, 3)

    def result() -> np.ndarray[Any, Any]:
        y = layer(x)
        return host(y[0] if isinstance(y, tuple) else y)

    nn.init.zeros_(getattr(layer, absent + suffix))
    expected = result()
    setattr(layer, absent + suffix, None)
    assert_close(mg.tensor(result()), expected)
    nn.init.zeros_(getattr(layer, other + suffix))
    assert np.abs(result() - expected).max() > 1e-3


# First values -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LAYERS | CELLS)
def test_first_values_are_drawn_again(kind: str, device: str) -> None:
    mg.manual_seed(3)
    layer = (LAYERS | CELLS)[kind](3, 4, recurrent_init="orthogonal")
    first = {name: x.tolist() for name, x in layer.state_dict().items()}
    nn.init.zeros_(layer.get_parameter("weight_hh" if kind in CELLS else "weight_hh_l0"))
    mg.manual_seed(3)
    layer.reset_parameters()
    assert {name: x.tolist() for name, x in layer.state_dict().items()} == first
    if kind in LAYERS:
        layer.flatten_parameters()
        assert {name: x.tolist() for name, x in layer.state_dict().items()} == first


def test_first_values_as_the_options_say(device: str) -> None:
    lstm = nn.LSTM(3, 4, forget_bias=1.0, learn_initial_state=True)
    for x in lstm.parameters():
        nn.init.constant_(x, 7.0)
    lstm.reset_parameters()
    assert host(lstm.bias_ih_l0 + lstm.bias_hh_l0)[4:8].tolist() == [1.0] * 4
    assert not host(lstm.h_0).any() and not host(lstm.c_0).any()
    assert np.abs(host(lstm.weight_hh_l0)).max() <= 0.5
    lstm.bias_hh_l0 = None
    lstm.reset_parameters()
    assert host(lstm.bias_ih_l0)[4:8].tolist() == [1.0] * 4


def test_pytorchs_names_of_arguments(device: str) -> None:
    output, h = nn.GRU(3, 4)(input=ones(5, 2, 3), hx=ones(1, 2, 4))
    assert output.shape == (5, 2, 4) and nn.GRUCell(3, 4)(ones(2, 3), hx=h[0]).shape == (2, 4)
    assert nn.GRU(3, 4).step(ones(2, 3), hx=h)[0].shape == (2, 4)


# What users do wrong ------------------------------------------------------------------------------


def changed(layer: Any, **attributes: Any) -> Any:
    for name, value in attributes.items():
        setattr(layer, name, value)
    return layer


def without(layer: Any, name: str) -> Any:
    delattr(layer, name)
    return layer


MISTAKES = {
    "a word for batch_first": (
        lambda: nn.LSTM(3, 5, batch_first="False"),
        TypeError,
        r"LSTM: expected batch_first to be True or False, got 'False'",
    ),
    "a word for bias": (lambda: nn.RNN(3, 5, bias="no"), TypeError, r"RNN: expected bias to be True or False"),
    "a number of directions": (
        lambda: nn.GRU(3, 5, bidirectional=2),
        TypeError,
        r"GRU: expected bidirectional to be True or False, got 2",
    ),
    "a word for reset_after": (lambda: nn.GRU(3, 5, reset_after="no"), TypeError, r"expected reset_after to be True"),
    "reset_after of a cell": (lambda: nn.GRUCell(3, 5, reset_after=0), TypeError, r"expected reset_after to be True"),
    "a number to be learned": (
        lambda: nn.LSTM(3, 5, learn_initial_state=3),
        TypeError,
        r"LSTM: expected learn_initial_state to be True or False, got 3",
    ),
    "how much to lock": (
        lambda: nn.LSTM(3, 5, 2, dropout=0.5, locked_dropout=0.5),
        TypeError,
        r"LSTM: expected locked_dropout to be True or False, got 0.5",
    ),
    "a word for a number": (
        lambda: nn.LSTM(3, 5, forget_bias="1"),
        TypeError,
        r"LSTM: expected forget_bias to be a number, got '1'",
    ),
    "a flag for a number": (lambda: nn.LSTMCell(3, 5, forget_bias=True), TypeError, r"LSTMCell: expected forget_bias"),
    "bias of a cell": (lambda: nn.RNNCell(3, 5, bias=None), TypeError, r"RNNCell: expected bias to be True or False"),
    "LockedDropout's order": (
        lambda: nn.LockedDropout(0.5, 1),
        TypeError,
        r"LockedDropout: expected batch_first to be True or False, got 1",
    ),
    "a layer more": (
        lambda: changed(nn.GRU(3, 5), num_layers=2),
        AttributeError,
        r"GRU.num_layers is fixed when the layer is made, here to 1; make another",
    ),
    "another direction": (
        lambda: changed(nn.LSTM(3, 5), bidirectional=True),
        AttributeError,
        r"LSTM.bidirectional is fixed",
    ),
    "a bias that would broadcast": (
        lambda: changed(nn.GRU(3, 5), bias_hh_l0=nn.Parameter(ones(1)))(ones(2, 3)),
        ValueError,
        r"GRU: expected a Parameter bias_hh_l0 of shape \(15,\), got \(1,\) float32",
    ),
    "a weight of another dtype": (
        lambda: changed(nn.RNN(3, 5), weight_hh_l0=nn.Parameter(ones(5, 5, dtype=mg.float64)))(ones(2, 3)),
        TypeError,
        r"RNN: expected weight_hh_l0 of the dtype of the input, float32, got float64",
    ),
    "a weight that is not there": (
        lambda: changed(nn.LSTM(3, 5), weight_ih_l0=None)(ones(2, 3)),
        ValueError,
        r"LSTM: expected a Parameter weight_ih_l0 of shape \(20, 3\), got NoneType",
    ),
    "a cell's weight of another size": (
        lambda: changed(nn.GRUCell(3, 5), weight_hh=nn.Parameter(ones(15, 1)))(ones(3)),
        ValueError,
        r"GRUCell: expected a Parameter weight_hh of shape \(15, 5\), got \(15, 1\)",
    ),
    "a gain that is deleted": (
        lambda: without(nn.LayerNormLSTM(3, 5), "gain_c_l0").step(ones(3)),
        ValueError,
        r"LayerNormLSTM: expected a Parameter gain_c_l0 of shape \(5,\), got NoneType",
    ),
    "the state of a larger batch": (
        lambda: nn.LSTM(2, 3)(ones(4, 5, 2), (ones(1, 8, 3), ones(1, 8, 3))),
        ValueError,
        r"\(1, 8, 3\); it is of 8 sequences, and the input has 5: .*leave out a last batch that is smaller",
    ),
    "the state of more layers": (
        lambda: nn.GRU(2, 3, 2)(ones(4, 5, 2), ones(3, 5, 3)),
        ValueError,
        r"\(3, 5, 3\); this layer has 2 first states, one for each layer and direction",
    ),
    "a cell's state of a larger batch": (
        lambda: nn.GRUCell(2, 3)(ones(5, 2), ones(8, 3)),
        ValueError,
        r"GRUCell: .* of shape \(8, 3\); it is of 8 sequences, and the input has 5",
    ),
    "features of another size": (
        lambda: nn.GRU(3, 2)(ones(4, 5, 7)),
        ValueError,
        r"GRU: expected an input \(T, N, D\) or \(T, D\) with D = 3, got \(4, 5, 7\) float32 on \w+(:\d)?$",
    ),
    "a whole output to the next layer": (
        lambda: nn.Sequential(nn.LSTM(3, 4), nn.Linear(4, 2))(ones(5, 2, 3)),
        TypeError,
        r"linear: expected a Tensor or an array, got tuple; an RNN, LSTM or GRU gives \(output, state\): pass on the",
    ),
    "a packed input to Linear": (
        lambda: nn.Linear(3, 2)(nn.utils.rnn.pack_sequence([ones(2, 3)])),
        TypeError,
        r"linear: expected a Tensor or an array, got PackedSequence; .* give p.data.*dataclasses.replace",
    ),
    "packed ids": (
        lambda: nn.Embedding(3, 2)(nn.utils.rnn.pack_sequence([mg.tensor([1])])),
        TypeError,
        r"embedding: .* give p.data.*dataclasses.replace",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message(mistake: str, device: str) -> None:
    act, error, message = MISTAKES[mistake]
    with pytest.raises(error, match=message):
        act()


def test_a_fixed_option_may_be_set_to_what_it_is() -> None:
    layer = changed(nn.LSTM(3, 5), hidden_size=5, dropout=0.5, batch_first=True)
    assert layer(ones(2, 4, 3))[0].shape == (2, 4, 5)


def test_options_without_effect_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="LSTM: dropout acts between layers, and there is only one"):
        nn.LSTM(3, 5, dropout=0.5)
    with pytest.warns(UserWarning, match="GRU: locked_dropout says how dropout acts, and dropout is 0"):
        nn.GRU(3, 5, 2, locked_dropout=True)


def test_a_state_of_more_sequences_than_the_input_of_a_cell() -> None:
    """A single vector goes with a state without an axis for the batch; nothing more can be said of one with it."""
    with pytest.raises(ValueError, match=r"RNNCell: expected one Tensor h \(3,\) as the state, got .* \(4, 3\)$"):
        nn.RNNCell(2, 3)(mg.ones(2), mg.ones((4, 3)))
