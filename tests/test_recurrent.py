"""What the recurrent layers can do beyond PyTorch's: learned states, locked masks, single steps, first values.

T: time steps   N: batch   D: input size   H: hidden size   P: size of a projected h   L: layers
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import sequence, weights

from .helpers import host, on
from .test_equations import (
    KINDS,
    D,
    H,
    N,
    T,
    X,
    as_state,
    assert_close,
    build,
    draw,
    every_kind,
    parts_of,
    textbook,
)

pytestmark = pytest.mark.fusing

LENGTHS = [2, 4, 1]


def packed(x: mg.Tensor) -> nn.utils.rnn.PackedSequence:
    return nn.utils.rnn.pack_padded_sequence(x, LENGTHS, enforce_sorted=False)


def numbers(layer: nn.Module, scale: float = 0.9) -> None:
    """Every parameter random, those that begin at zero or one too."""
    rng = np.random.default_rng(0)
    layer.load_state_dict({name: rng.uniform(-scale, scale, x.shape) for name, x in layer.state_dict().items()})


# Single steps -------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("learned", [True, False])
def test_step_after_step_is_the_whole_sequence(
    kind: str, layers: int, batched: bool, learned: bool, device: str
) -> None:
    layer, _ = build(kind, device, num_layers=layers, learn_initial_state=learned)
    numbers(layer)
    x, found, state = on(device, X if batched else X[:, 0]), [], None
    for x_t in x:
        y, state = layer.step(x_t, state)
        found.append(y)
    output, last = layer(x)
    assert_close(mg.stack(found), host(output))
    for part, expected in zip(parts_of(state), parts_of(last), strict=True):
        assert_close(part, host(expected))


def test_step_of_a_projection_and_of_one_sequence_of_one_step(device: str) -> None:
    layer, _ = build("lstm", device, num_layers=2, proj_size=2, batch_first=True)
    x, (h, c) = on(device, X[0]), (on(device, X[:2, :, :2]), on(device, np.ones((2, N, H))))
    y, state = layer.step(x, (h, c))
    output, last = layer(x.reshape(N, 1, D), (h, c))
    assert_close(y, host(output)[:, 0])
    assert [part.shape for part in state] == [(2, N, 2), (2, N, H)]
    for part, expected in zip(state, last, strict=True):
        assert_close(part, host(expected))


# The initial state --------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("both", [True, False])
def test_a_learned_initial_state_is_the_state_when_none_is_given(kind: str, both: bool, device: str) -> None:
    options = {"num_layers": 2, "bidirectional": both}
    plain, values = build(kind, device, **options)
    layer, _ = build(kind, device, **options, learn_initial_state=True)
    names = ["h_0", "c_0"][: len(draw(kind))]
    assert list(layer.state_dict()) == list(values) + names
    fresh = KINDS[kind][1](D, H, learn_initial_state=True)
    assert all((host(getattr(fresh, name)) == 0).all() for name in names)

    learned = draw(kind, 2 * (1 + both), 1, H)
    layer.load_state_dict(values | dict(zip(names, learned, strict=True)))
    given = as_state(device, [np.repeat(part, N, axis=1) for part in learned])
    output, last = layer(on(device, X))
    expected, expected_last = plain(on(device, X), given)
    assert_close(output, host(expected))
    for a, b in zip(parts_of(last), parts_of(expected_last), strict=True):
        assert_close(a, host(b))
    alone, _ = layer(on(device, X[:, 0]))
    assert_close(alone, host(expected)[:, 0])
    rows, _ = layer(packed(on(device, X)))
    expected_rows, _ = plain(packed(on(device, X)), given)
    assert_close(rows.data, host(expected_rows.data))

    output.sum().backward()
    assert all(abs(host(getattr(layer, name).grad)).max() > 0 for name in names)
    layer.zero_grad()
    layer(on(device, X), given)[0].sum().backward()  # a state that is given takes its place
    assert all(getattr(layer, name).grad is None for name in names)


# First values -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [layer for _, layer, _, _ in KINDS.values()] + [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
def test_each_gate_of_the_recurrent_weights_is_orthogonal(make: Any) -> None:
    layer = make(3, 8, recurrent_init="orthogonal", dtype=mg.float64)
    names = [name for name in layer.state_dict() if name.startswith("weight_hh")]
    for name in names:
        for block in np.split(host(getattr(layer, name)), layer.gates):
            np.testing.assert_allclose(block @ block.T, np.eye(8), atol=1e-12)
    assert abs(host(layer.state_dict()[names[0].replace("hh", "ih")])).max() <= 8**-0.5
    plain = host(getattr(make(3, 8), names[0]))
    assert abs(plain).max() <= 8**-0.5 and abs(plain[:8] @ plain[:8].T - np.eye(8)).max() > 0.1


def test_orthogonal_projections_and_directions() -> None:
    layer = nn.LSTM(3, 8, 2, bidirectional=True, proj_size=5, recurrent_init="orthogonal", dtype=mg.float64)
    for name, weight in layer.named_parameters():
        if name.startswith("weight_hh"):
            for block in np.split(host(weight), 4):  # (H, P)
                np.testing.assert_allclose(block.T @ block, np.eye(5), atol=1e-12)


def test_the_variants_begin_as_their_papers_say() -> None:
    state = nn.LayerNormLSTM(3, 4, 2, forget_bias=1.0).state_dict()
    assert list(state)[:8] == [
        "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "gain_ih_l0", "gain_hh_l0", "gain_c_l0", "bias_c_l0"
    ]  # fmt: skip
    for name, x in state.items():
        if name.startswith(("gain", "bias_c")):
            assert (host(x) == name.startswith("gain")).all(), name  # ones and zeros
    assert (host(state["bias_ih_l1"] + state["bias_hh_l1"])[4:8] == 1).all()
    assert "bias_c_l0" not in nn.LayerNormLSTM(3, 4, bias=False).state_dict()
    peephole = host(nn.PeepholeLSTM(3, 100).weight_ch_l0)
    assert peephole.shape == (300,) and 0.09 < abs(peephole).max() <= 0.1


# Dropout ------------------------------------------------------------------------------------------


@pytest.fixture
def masks(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The locked masks, in the order in which they are drawn."""
    drawn: list[np.ndarray] = []

    def recorded(*args: Any) -> mg.Tensor:
        mask = nn.locked.locked_mask(*args)
        drawn.append(host(mask))
        return mask

    monkeypatch.setattr(sequence, "locked_mask", recorded)
    monkeypatch.setattr(weights, "locked_mask", recorded)
    return drawn


def check_locked(layer: Any, values: dict, kind: str, device: str, masks: list[np.ndarray], wide: int) -> None:
    """A mask on what enters a product is a mask on the columns of the matrix: each sequence has matrices of its own."""
    both = layer.bidirectional
    masked = [name for name in values if name.startswith("weight_hh") and layer.recurrent_dropout]
    masked += [name for name in values if name.startswith("weight_ih_l1") and wide]
    for run in ("padded", "packed"):
        masks.clear()
        x = on(device, X)
        output, _ = layer(x) if run == "padded" else layer(packed(x))
        order = [0, 1, 2] if run == "padded" else [1, 0, 2]  # of the sequences, longest first
        padded = output if run == "padded" else nn.utils.rnn.pad_packed_sequence(output)[0]
        between = [m for m in masks if m.shape[1] == wide]
        recurrent = [m for m in masks if m.shape[1] != wide]
        for row, n in enumerate(order):
            own = dict(values)
            for name in masked:
                if name.startswith("weight_ih"):
                    mask = between[0]
                else:
                    layer_number, reverse = int(name[11]), name.endswith("_reverse")
                    mask = recurrent[layer_number * (1 + both) + reverse]
                assert mask.shape[0] == N
                own[name] = values[name] * mask[row]
            length = T if run == "padded" else LENGTHS[n]
            zeros = [np.zeros((2 * (1 + both), H)) for _ in draw(kind)]
            expected, _ = textbook(KINDS[kind][0], own, X[:length, n], zeros, both)
            assert_close(padded[:length, n], expected)


@every_kind
@pytest.mark.parametrize("both", [True, False])
def test_recurrent_dropout(kind: str, both: bool, device: str, masks: list[np.ndarray]) -> None:
    """h enters the recurrent product through one mask per sequence, layer and direction."""
    options = {"num_layers": 2, "bidirectional": both, "recurrent_dropout": 0.4}
    layer, values = build(kind, device, **options)
    check_locked(layer, values, kind, device, masks, wide=0)
    assert {m.shape for m in masks} == {(N, H)} and len(masks) == 2 * (1 + both)
    assert set(np.concatenate(masks).ravel().round(6)) == {0, round(1 / 0.6, 6)}
    assert any((masks[0] != mask).any() for mask in masks[1:])
    masks.clear()
    plain, _ = build(kind, device, num_layers=2, bidirectional=both)
    assert_close(layer.eval()(on(device, X))[0], host(plain(on(device, X))[0]))
    assert not masks


@every_kind
def test_locked_dropout(kind: str, device: str, masks: list[np.ndarray]) -> None:
    """What goes from layer to layer passes one mask per sequence."""
    layer, values = build(kind, device, num_layers=2, bidirectional=True, dropout=0.4, locked_dropout=True)
    check_locked(layer, values, kind, device, masks, wide=2 * H)
    assert [m.shape for m in masks] == [(N, 2 * H)]
    masks.clear()
    layer.eval()(on(device, X))
    assert not masks


def test_unlocked_dropout_changes_from_step_to_step(device: str) -> None:
    """With W_hh = 0 and an input that stays, only the mask can make a difference between the steps."""
    for locked in (False, True):
        layer, values = build("rnn-tanh", device, hidden=16, num_layers=2, dropout=0.5, locked_dropout=locked)
        layer.load_state_dict({n: 0 * a if n.startswith("weight_hh") else a for n, a in values.items()})
        output = host(layer(on(device, np.ones((T, N, D))))[0])
        assert (output[0] == output[1]).all() == locked


def test_a_seed_gives_the_same_masks_and_gradients(device: str) -> None:
    found = []
    for _ in range(2):
        layer, _ = build("lstm", device, num_layers=2, dropout=0.3, locked_dropout=True, recurrent_dropout=0.3)
        mg.manual_seed(3)
        rows, (h, c) = layer(packed(on(device, X)))
        (rows.data.sum() + (h * c).sum()).backward()
        found.append([host(rows.data), *(host(p.grad) for p in layer.parameters())])
    for a, b in zip(*found, strict=True):
        assert (a == b).all()


@pytest.mark.parametrize("shape", [(5, 4, 30), (5, 30)])
def test_locked_dropout_of_an_input(shape: tuple[int, ...], device: str) -> None:
    x, layer = mg.ones(shape), nn.LockedDropout(0.5)
    y = host(layer(x))
    assert (y == y[:1]).all() and set(y.ravel()) == {0.0, 2.0}
    assert (host(layer(x)) != y).any()
    assert layer.eval()(x) is x
    if len(shape) == 3:
        first = host(nn.LockedDropout(0.5, batch_first=True)(x))
        assert (first == first[:, :1]).all() and (first != first[:1]).any()


def test_locked_dropout_of_a_packed_input(device: str) -> None:
    layer = nn.LockedDropout(0.5)
    x = packed(mg.ones((4, 3, 40)))
    y = layer(x)
    assert (y.batch_sizes, y.sorted_indices) == (x.batch_sizes, x.sorted_indices)
    each = [host(part) for part in nn.utils.rnn.unpack_sequence(y)]
    assert [len(part) for part in each] == LENGTHS
    assert all((part == part[0]).all() for part in each)
    assert (each[0][0] != each[1][0]).any()
    assert (host(layer.eval()(x).data) == 1).all()
    assert repr(layer) == "LockedDropout(p=0.5)"
    assert repr(nn.LockedDropout(0.1, batch_first=True)) == "LockedDropout(p=0.1, batch_first=True)"


# Options ------------------------------------------------------------------------------------------


def test_positional_arguments_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    for kind, arguments in (
        ("RNN", (2, 3, 2, "relu", False, True, 0.5, True)),
        ("LSTM", (2, 3, 2, False, True, 0.5, True, 2)),
        ("GRU", (2, 3, 2, False, True, 0.5, True)),
        ("RNNCell", (2, 3, False, "relu")),
        ("LSTMCell", (2, 3, False)),
        ("GRUCell", (2, 3, False)),
    ):
        ours, theirs = getattr(nn, kind)(*arguments), getattr(torch.nn, kind)(*arguments)
        for option in ("batch_first", "dropout", "bidirectional", "proj_size", "nonlinearity", "bias", "num_layers"):
            if hasattr(theirs, option):
                assert getattr(ours, option, None) == getattr(theirs, option), option
        shapes = {name: tuple(x.shape) for name, x in theirs.state_dict().items()}
        assert {name: x.shape for name, x in ours.state_dict().items()} == shapes


def test_printing_shows_what_is_not_usual() -> None:
    assert repr(nn.LSTM(3, 4)) == "LSTM(3, 4)"
    assert repr(nn.LSTM(3, 4, 2, batch_first=True, dropout=0.1, bidirectional=True, proj_size=2, forget_bias=1.0)) == (
        "LSTM(3, 4, num_layers=2, batch_first=True, dropout=0.1, bidirectional=True, proj_size=2, forget_bias=1.0)"
    )
    assert repr(nn.GRU(3, 4, bias=False, reset_after=False, learn_initial_state=True, recurrent_dropout=0.2)) == (
        "GRU(3, 4, bias=False, reset_after=False, learn_initial_state=True, recurrent_dropout=0.2)"
    )
    assert repr(nn.PeepholeLSTM(3, 4, 2, dropout=0.5, locked_dropout=True)) == (
        "PeepholeLSTM(3, 4, num_layers=2, dropout=0.5, locked_dropout=True)"
    )
    assert repr(nn.RNNCell(3, 4, nonlinearity="relu")) == "RNNCell(3, 4, nonlinearity='relu')"
    assert repr(nn.LSTMCell(3, 4, bias=False)) == "LSTMCell(3, 4, bias=False)"
    assert repr(nn.GRUCell(3, 4, recurrent_init="orthogonal")) == "GRUCell(3, 4, recurrent_init='orthogonal')"


def test_training_with_every_option_reads_nothing() -> None:
    from .strict import strict

    with mg.use_device("strict"):
        layer = nn.LSTM(
            3, 5, 2, dropout=0.1, bidirectional=True, proj_size=2, recurrent_init="orthogonal",
            learn_initial_state=True, locked_dropout=True, recurrent_dropout=0.1,
        )  # fmt: skip
        x, stepping = mg.ones((4, 3, 3)), nn.LayerNormLSTM(3, 5)
        before = strict.reads, strict.synchronizations
        rows, _ = layer(packed(x))
        padded, _ = nn.utils.rnn.pad_packed_sequence(rows)
        y, _ = stepping.step(x[0])
        (padded.sum() + y.sum()).backward()
        assert (strict.reads, strict.synchronizations) == before


# What users do wrong ------------------------------------------------------------------------------


def ones(*shape: int, **options: Any) -> mg.Tensor:
    return mg.ones(shape, **options)


MISTAKES = {
    "no input to a layer": (lambda: nn.LSTM(3, 2)(), TypeError, r"LSTM.forward\(\) missing .* 'input'"),
    "no input to a cell": (lambda: nn.GRUCell(3, 2)(), TypeError, r"GRUCell.forward\(\) missing .* 'input'"),
    "no input to a step": (lambda: nn.RNN(3, 2).step(), TypeError, r"RNN.step\(\) missing .* 'input'"),
    "no sizes": (lambda: nn.GRU(), TypeError, r"GRU.__init__\(\) missing"),
    "a list": (lambda: nn.GRU(3, 2)([[1.0, 2.0, 3.0]]), TypeError, r"GRU: expected a Tensor or an array, got list"),
    "features not last": (
        lambda: nn.GRU(3, 2)(ones(4, 3, 7)),
        ValueError,
        r"GRU: expected an input \(T, N, D\) or \(T, D\) with D = 3, got \(4, 3, 7\).*axis 1 has that size: move it",
    ),
    "ids that were not embedded": (
        lambda: nn.LSTM(3, 2)(mg.tensor([[1, 2, 3]])),
        TypeError,
        r"LSTM: expected the input of the dtype of the weights, float32, got int64",
    ),
    "h alone for an LSTM": (
        lambda: nn.LSTM(3, 2)(ones(5, 1, 3), ones(1, 1, 2)),
        TypeError,
        r"LSTM: expected a pair \(h, c\) of Tensors \(1, 1, 2\) as the state, got .*; pass both parts, as \(h, c\)",
    ),
    "a pair for a GRU": (
        lambda: nn.GRU(3, 2)(ones(5, 1, 3), (ones(1, 1, 2), ones(1, 1, 2))),
        TypeError,
        r"GRU: expected one Tensor h \(1, 1, 2\).*got a tuple of .*it has no c: pass h alone",
    ),
    "a number for a state": (
        lambda: nn.GRU(3, 2)(ones(5, 1, 3), 0.0),
        TypeError,
        r"GRU: expected one Tensor h \(1, 1, 2\) as the state, got float",
    ),
    "half a pair": (
        lambda: nn.LSTM(3, 2)(ones(5, 1, 3), (ones(1, 1, 2), None)),
        TypeError,
        r"as the state, got a tuple of \(1, 1, 2\).*, NoneType",
    ),
    "a state laid out like a batch-first input": (
        lambda: nn.GRU(3, 2, 2, batch_first=True)(ones(4, 5, 3), ones(4, 2, 2)),
        ValueError,
        r"GRU: expected one Tensor h \(2, 4, 2\).*\(4, 2, 2\); the state is never batch_first: .transpose\(1, 0, 2\)",
    ),
    "an input laid out batch first": (
        lambda: nn.GRU(3, 2)(ones(4, 5, 3), ones(1, 4, 2)),
        ValueError,
        r"\(1, 5, 2\).*\(1, 4, 2\); it fits an input with the first two axes exchanged: this layer takes \(T, N, D\), "
        r"one with batch_first=True the other order",
    ),
    "the state of one direction": (
        lambda: nn.GRU(3, 2, bidirectional=True)(ones(4, 5, 3), ones(1, 5, 2)),
        ValueError,
        r"expected one Tensor h \(2, 5, 2\) as the state, got one of shape \(1, 5, 2\)",
    ),
    "a projected state of the cell's size": (
        lambda: nn.LSTM(3, 4, proj_size=2)(ones(5, 1, 3), (ones(1, 1, 4), ones(1, 1, 4))),
        ValueError,
        r"a pair \(h, c\) of Tensors \(1, 1, 2\) and \(1, 1, 4\) as the state, got one of shape \(1, 1, 4\)",
    ),
    "a state of another dtype": (
        lambda: nn.GRU(3, 2)(ones(5, 1, 3), ones(1, 1, 2, dtype=mg.float64)),
        TypeError,
        r"GRU: expected the state of the dtype of the input, float32, got float64; convert it with .astype",
    ),
    "a state on another device": (
        lambda: nn.GRU(3, 2)(ones(5, 1, 3), ones(1, 1, 2, device="strict" if mg.default_device() == "cpu" else "cpu")),
        RuntimeError,
        r"GRU: expected one device, got the input .* on \S+ and the state .* on \S+; move one with .to\(device\)",
    ),
    "a state of a layer in a cell": (
        lambda: nn.GRUCell(3, 2)(ones(5, 3), ones(1, 5, 2)),
        ValueError,
        r"GRUCell: expected one Tensor h \(5, 2\).*a cell has no axis for layers: squeeze it away",
    ),
    "a packed input to a cell": (
        lambda: nn.GRUCell(3, 2)(nn.utils.rnn.pack_sequence([ones(2, 3)])),
        TypeError,
        r"GRUCell: expected one time step .*, got a PackedSequence, which is for whole layers",
    ),
    "a packed input to a step": (
        lambda: nn.GRU(3, 2).step(nn.utils.rnn.pack_sequence([ones(2, 3)])),
        TypeError,
        r"GRU: expected one time step .*, got a PackedSequence",
    ),
    "a sequence to a step": (
        lambda: nn.GRU(3, 2).step(ones(4, 5, 3)),
        ValueError,
        r"GRU: expected an input \(N, D\) or \(D,\) with D = 3, got \(4, 5, 3\) .*; a whole sequence goes to",
    ),
    "a step in both directions": (
        lambda: nn.LSTM(3, 2, bidirectional=True).step(ones(3)),
        ValueError,
        r"LSTM.step: expected a layer of one direction.*call it on the whole sequence",
    ),
    "a projection that is none": (
        lambda: nn.LSTM(3, 2, proj_size=2),
        ValueError,
        r"LSTM: expected proj_size below hidden_size = 2, or 0 for no projection, got 2",
    ),
    "a negative projection": (lambda: nn.LSTM(3, 2, proj_size=-1), ValueError, r"expected proj_size below .* got -1"),
    "a projected GRU": (
        lambda: nn.GRU(3, 2, proj_size=1),
        ValueError,
        r"GRU: only nn.LSTM has a projection; leave proj_size=1 out",
    ),
    "a projected RNN": (lambda: nn.RNN(3, 2, proj_size=1), ValueError, r"RNN: only nn.LSTM has a projection"),
    "a projected variant": (
        lambda: nn.PeepholeLSTM(3, 2, proj_size=1),
        ValueError,
        r"PeepholeLSTM: only nn.LSTM has a projection",
    ),
    "a projection of half a unit": (
        lambda: nn.LSTM(3, 2, proj_size=0.5),
        ValueError,
        r"LSTM: expected proj_size .* got 0.5",
    ),
    "an unknown first value": (
        lambda: nn.GRU(3, 2, recurrent_init="identity"),
        ValueError,
        r'GRU: expected recurrent_init "orthogonal" or None, got \'identity\'',
    ),
    "a forget bias without biases": (
        lambda: nn.LSTM(3, 2, bias=False, forget_bias=1.0),
        ValueError,
        r"LSTM: forget_bias=1.0 needs bias=True",
    ),
    "a recurrent dropout above 1": (
        lambda: nn.LSTM(3, 2, recurrent_dropout=2),
        ValueError,
        r"LSTM, recurrent_dropout: expected a probability from 0 to 1, got 2",
    ),
    "a locked dropout above 1": (lambda: nn.LockedDropout(-1), ValueError, r"LockedDropout: expected a probability"),
    "a locked dropout of a vector": (
        lambda: nn.LockedDropout(0.5)(ones(3)),
        ValueError,
        r"LockedDropout: expected x \(T, N, D\) or \(T, D\), got \(3,\)",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message(mistake: str, device: str) -> None:
    act, error, message = MISTAKES[mistake]
    with pytest.raises(error, match=message):
        act()
