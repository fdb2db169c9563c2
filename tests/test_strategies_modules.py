"""What `modules` and `sequences` draw: every option, nothing that a layer would refuse, and failures that paste."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

import minigrad as mg
from minigrad import nn
from minigrad.nn.utils import rnn
from minigrad.testing import strategies as mst
from minigrad.testing.strategies.modules import FORMS, LAYERS

from .helpers import host

CELLS = [nn.RNNCell, nn.LSTMCell, nn.GRUCell]
SEARCH = settings(max_examples=500, derandomize=True, database=None, deadline=None)


@given(mst.modules(), mst.sequences())
def test_every_layer_takes_every_sequence(device: str, layer: Any, sequences: mst.Sequences) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no option that another one makes pointless
        output, state = layer(*sequences.of(layer))
    assert all(x.device == device and x.dtype == mg.float64 for x in layer.parameters())
    (output.data if sequences.form == "packed" else output).sum().backward()
    assert (sequences.form == "packed") == isinstance(output, rnn.PackedSequence)
    assert isinstance(state, tuple) == isinstance(layer, nn.LSTM)


@pytest.mark.parametrize("kind", [*LAYERS, *CELLS])
def test_every_option_is_varied(kind: Any) -> None:
    usual = inspect.signature(kind).parameters
    for name in usual:
        if name in ("device", "dtype") or (name == "proj_size" and kind is not nn.LSTM):
            continue
        ordinary = 1 if name in ("input_size", "hidden_size") else usual[name].default

        def differs(module: Any, name: str = name, ordinary: Any = ordinary) -> bool:
            return getattr(module, name) != ordinary

        assert differs(find(mst.modules([kind]), differs, settings=SEARCH)), name


@pytest.mark.parametrize("cells", [False, True])
def test_every_class_is_drawn(cells: bool) -> None:
    for kind in CELLS if cells else LAYERS:
        strategy = mst.modules(CELLS) if cells else mst.modules()
        assert type(find(strategy, lambda module, kind=kind: type(module) is kind, settings=SEARCH)) is kind
    for form in FORMS:
        assert find(mst.sequences(), lambda s, form=form: s.form == form and s.state, settings=SEARCH)


@given(
    mst.modules([nn.LSTM, nn.GRU], num_layers=1, bidirectional=True, dtype=mg.float32),
    mst.modules(proj_size=0, dropout=0.3, locked_dropout=True),
    mst.modules([nn.LSTM], proj_size=2, forget_bias=st.sampled_from([0.5, 2.0])),
    mst.modules(bias=False, hidden_size=1),
    mst.sequences(["packed"], max_steps=2, max_batch=2, state=True),
)
def test_what_is_fixed_stays(a: Any, b: Any, c: Any, d: Any, sequences: mst.Sequences) -> None:
    assert (a.num_layers, a.bidirectional) == (1, True) and type(a) in (nn.LSTM, nn.GRU)
    assert {x.dtype for x in a.parameters()} == {mg.float32}
    assert (b.dropout, b.locked_dropout) == (0.3, True) and b.num_layers > 1
    assert c.proj_size == 2 and c.forget_bias in (0.5, 2.0) and c.bias
    assert (d.bias, d.hidden_size, d.proj_size if type(d) is nn.LSTM else 0) == (False, 1, 0)
    assert max(sequences.lengths) <= 2 and len(sequences.lengths) <= 2 and sequences.state


def test_nothing_is_drawn_that_was_ruled_out() -> None:
    with pytest.raises(NoSuchExample):
        find(mst.modules(dropout=0.0), lambda layer: layer.dropout > 0, settings=SEARCH)


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(TypeError, match=r"modules: expected options out of batch_first, .*, got layers"):
        mst.modules(layers=2)
    with pytest.raises(TypeError, match=r"got num_layers"):
        mst.modules(CELLS, num_layers=2)


def test_no_parameter_is_special_and_no_generator_moves(device: str) -> None:
    mg.manual_seed(4)
    expected = mg.rand((3,)).tolist()
    mg.manual_seed(4)
    a = mst.seeded(nn.LayerNormLSTM, 2, 3, learn_initial_state=True, recurrent_init="orthogonal", seed=1)
    assert mg.rand((3,)).tolist() == expected
    for name, x in a.named_parameters():
        assert x.requires_grad and x.is_leaf and len(set(host(x).ravel())) == x.size, name
    b, c = (mst.seeded(nn.LSTM, 2, 3, seed=seed) for seed in (1, 2))
    assert all((host(x) != host(y)).all() for x, y in zip(b.parameters(), c.parameters(), strict=True))
    with mg.use_device("cpu"):
        same = mst.seeded(nn.LSTM, 2, 3, seed=1)
    assert all((host(x) == host(y)).all() for x, y in zip(b.parameters(), same.parameters(), strict=True))


def pasted(test: Any) -> dict[str, Any]:
    """What a failing test's printed example says, run as code where nothing but its two imports is known."""
    with pytest.raises(AssertionError) as failure:
        test()
    text = "\n".join(failure.value.__notes__)
    call = text[text.index("(") :]
    known: dict[str, Any] = {"failing": dict}
    exec("import minigrad as mg\nfrom minigrad.testing import strategies as mst\n", known)
    exec(f"example = failing{call[: call.index(chr(10) + ')') + 2]}", known)
    example: dict[str, Any] = known["example"]
    return example


@pytest.mark.parametrize("kind", [*LAYERS, *CELLS])
def test_a_failing_example_can_be_pasted(kind: Any, device: str) -> None:
    tried: list[tuple[Any, Any]] = []

    @settings(SEARCH, report_multiple_bugs=False)
    @given(layer=mst.modules([kind], dtype=st.sampled_from([mg.float64, mg.float32])), sequences=mst.sequences())
    def failing(layer: Any, sequences: mst.Sequences) -> None:
        tried.append((layer, sequences))
        assert not (layer.hidden_size >= 2 and len(sequences.lengths) >= 2 and layer.recurrent_init)

    example = pasted(failing)
    layer, sequences = tried[-1]
    assert example["sequences"] == sequences and sequences.lengths == (1, 1)
    again = example["layer"]
    assert type(again) is kind and repr(again) == repr(layer) and again.hidden_size == 2
    assert (again.recurrent_init, again.training) == ("orthogonal", True)
    expected = layer.state_dict()
    assert {name: (x.dtype, x.device) for name, x in again.state_dict().items()} == {
        name: (x.dtype, device) for name, x in expected.items()
    }
    assert all((host(x) == host(expected[name])).all() for name, x in again.state_dict().items())
