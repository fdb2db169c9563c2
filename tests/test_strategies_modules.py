"""What `modules` and `sequences` draw: every option, nothing that a layer would refuse, and failures that paste."""

from __future__ import annotations

import functools
import inspect
import warnings
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.vendor.pretty import pretty

import minigrad as mg
from minigrad import nn
from minigrad.nn.utils import rnn
from minigrad.testing import Sequences
from minigrad.testing import strategies as mst
from minigrad.testing.strategies.modules import LAYERS

from .helpers import host

CELLS = [nn.RNNCell, nn.LSTMCell, nn.GRUCell]
SEARCH = settings(max_examples=200, derandomize=True, database=None, deadline=None)


@given(mst.modules(), mst.sequences())
def test_every_layer_takes_every_sequence(device: str, layer: Any, sequences: Sequences) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no option that another one makes pointless
        output, state = layer(*sequences.of(layer))
    assert all(x.device == device and x.dtype == mg.float64 for x in layer.parameters())
    (output.data if sequences.form == "packed" else output).sum().backward()
    assert (sequences.form == "packed") == isinstance(output, rnn.PackedSequence)
    assert isinstance(state, tuple) == isinstance(layer, nn.LSTM)


@pytest.mark.parametrize("kind", [*LAYERS, *CELLS])
def test_every_option_is_drawn(kind: Any) -> None:
    """With more than one value; a projection of those that have one."""
    seen: dict[str, set[Any]] = {}

    @SEARCH
    @given(mst.modules([kind]))
    def look(module: Any) -> None:
        for name in inspect.signature(kind).parameters:
            if name not in ("device", "dtype"):
                seen.setdefault(name, set()).add(getattr(module, name))

    look()
    projections = seen.pop("proj_size", {0})
    assert projections == ({0, 1, 2} if kind is nn.LSTM else {0})
    assert [name for name, values in seen.items() if len(values) == 1] == []


def test_every_class_and_every_form_is_drawn() -> None:
    kinds, forms = set(), set()

    @SEARCH
    @given(mst.modules([*LAYERS, *CELLS], num_layers=1), mst.sequences())
    def look(module: Any, sequences: Sequences) -> None:
        kinds.add(type(module))
        forms.add((sequences.form, sequences.state, len(sequences.lengths) > 1))

    look()
    assert kinds == {*LAYERS, *CELLS}
    assert len(forms) == 3 * 2 * 2 - 2  # one sequence alone is never a batch


@given(
    mst.modules([nn.LSTM, nn.GRU], num_layers=1, bidirectional=True, dtype=mg.float32),
    mst.modules(proj_size=0, dropout=0.3, locked_dropout=True),
    mst.modules([nn.LSTM], proj_size=2, forget_bias=st.sampled_from([0.5, 2.0])),
    mst.modules(bias=False, hidden_size=1),
    mst.sequences(["packed"], max_steps=2, max_batch=2, state=True),
)
def test_what_is_fixed_stays(a: Any, b: Any, c: Any, d: Any, sequences: Sequences) -> None:
    assert (a.num_layers, a.bidirectional) == (1, True) and type(a) in (nn.LSTM, nn.GRU)
    assert all(x.dtype == mg.float32 for x in a.parameters())
    assert (b.dropout, b.locked_dropout) == (0.3, True) and b.num_layers > 1
    assert c.proj_size == 2 and c.forget_bias in (0.5, 2.0) and c.bias
    assert (d.bias, d.hidden_size, d.proj_size if type(d) is nn.LSTM else 0) == (False, 1, 0)
    assert max(sequences.lengths) <= 2 and len(sequences.lengths) <= 2 and sequences.state


class Plain(nn.Module):
    """Without a dtype or a device."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()


class Own(nn.GRU):
    """A layer of a user's."""


@given(mst.modules(Own, num_layers=1), mst.sequences(max_steps=2))
def test_one_class_of_ones_own(layer: Any, sequences: Sequences) -> None:
    assert type(layer) is Own
    layer(*sequences.of(layer))
    assert pretty(layer).startswith(f"minigrad.testing.seeded({__name__}.Own, ")


MISTAKES = {
    "an unknown option": (
        lambda: mst.modules(layers=2),
        TypeError,
        r"modules: expected options out of batch_first, .*, got layers",
    ),
    "an option of no cell": (lambda: mst.modules(CELLS, num_layers=2), TypeError, r"got num_layers"),
    "an unknown form": (
        lambda: mst.sequences(["ragged"]),
        ValueError,
        r"sequences: expected forms out of padded, packed, single, got 'ragged'",
    ),
    "unequal lengths": (
        lambda: Sequences((2, 1)),
        ValueError,
        r'Sequences: expected equal lengths for the form "padded", got \(2, 1\); "packed" takes them',
    ),
    "two alone": (lambda: Sequences((2, 2), "single"), ValueError, r'expected one length for the form "single"'),
    "a cell": (
        lambda: Sequences().of(nn.LSTMCell(1, 2)),
        TypeError,
        r"Sequences.of: expected a recurrent layer, which has input_size, .*; LSTMCell has no .*num_layers.* one step",
    ),
    "a class for a layer": (
        lambda: Sequences().of(nn.LSTM),
        TypeError,
        r"a recurrent layer, .*; LSTM has no input_size",
    ),
    "no recurrent class": (
        lambda: mst.modules([nn.LSTM, nn.Linear]),
        TypeError,
        r"modules: expected classes of recurrent layers or cells, which take input_size .*, got Linear",
    ),
    "a class without sizes": (lambda: mst.modules([nn.LayerNorm]), TypeError, r"take input_size .*, got LayerNorm"),
    "a name for a class": (lambda: mst.modules("LSTM"), TypeError, r"modules: expected a class that .*, got 'LSTM'"),
    "a layer for a class": (lambda: mst.modules([nn.LSTM(1, 2)]), TypeError, r"modules: expected .*, got LSTM\(1, 2\)"),
    "a class in part": (
        lambda: mst.modules([functools.partial(nn.LSTM, bias=False)]),
        TypeError,
        r"modules: expected classes of recurrent .*, got functools.partial",
    ),
    "no class": (lambda: mst.modules([]), TypeError, r"modules: expected at least one class, got none"),
    "a class without dtype": (
        lambda: mst.modules([Plain]),
        TypeError,
        r"modules: expected a class that takes dtype= and device=, such as nn.LSTM, got Plain",
    ),
    "a device": (lambda: mst.modules([nn.LSTM], device="cpu"), TypeError, r"modules: .* choose it by use_device"),
    "seeded, a device": (
        lambda: mg.testing.seeded(nn.LSTM, 1, 2, device="cpu"),
        TypeError,
        r"seeded: expected no device, .* choose it by use_device",
    ),
    "seeded without parameters": (
        lambda: mg.testing.seeded(nn.Dropout),
        TypeError,
        r"seeded: expected a class that takes dtype= and device=, such as nn.LSTM, got Dropout",
    ),
    "one form": (
        lambda: mst.sequences("packed"),
        TypeError,
        r'sequences: expected a list of forms, such as \["packed"\], got \'packed\'',
    ),
    "no forms": (lambda: mst.sequences([]), TypeError, r"sequences: expected a list of forms, .*, got \[\]"),
    "a state in words": (
        lambda: mst.sequences(state="yes"),
        TypeError,
        r"sequences: expected state=True, False or None \(sometimes\), got 'yes'",
    ),
    "no room for steps": (lambda: mst.sequences(max_steps=0), ValueError, r"max_steps and .* at least 1, got 0 and 3"),
    "Sequences, a state": (lambda: Sequences(state=1), TypeError, r"Sequences: expected state=True or .*, got 1"),
    "Sequences, one length": (lambda: Sequences(3), TypeError, r"expected lengths as a tuple of integers, got 3"),
    "half a step": (lambda: Sequences((1.5,)), TypeError, r"lengths as a tuple of integers, got \(1.5,\)"),
    "nothing": (lambda: Sequences(()), ValueError, r"expected at least one length, each of at least 1, got \(\)"),
    "no steps": (lambda: Sequences((0,)), ValueError, r"each of at least 1, got \(0,\)"),
    "no form": (
        lambda: Sequences((1,), "ragged"),
        ValueError,
        r"Sequences: expected a form out of padded, packed, single",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message(mistake: str) -> None:
    act, error, message = MISTAKES[mistake]
    with pytest.raises(error, match=message):
        act()


def test_no_parameter_is_special_and_no_generator_moves(device: str) -> None:
    mg.manual_seed(4)
    expected = mg.rand((3,)).tolist()
    mg.manual_seed(4)
    a = mg.testing.seeded(nn.LayerNormLSTM, 2, 3, learn_initial_state=True, recurrent_init="orthogonal", seed=1)
    assert mg.rand((3,)).tolist() == expected
    for name, x in a.named_parameters():
        assert x.requires_grad and x.is_leaf and len(set(host(x).ravel())) == x.size, name
    b, c = (mg.testing.seeded(nn.LSTM, 2, 3, seed=seed) for seed in (1, 2))
    assert all((host(x) != host(y)).all() for x, y in zip(b.parameters(), c.parameters(), strict=True))
    with mg.use_device("cpu"):
        same = mg.testing.seeded(nn.LSTM, 2, 3, seed=1)
    assert all((host(x) == host(y)).all() for x, y in zip(b.parameters(), same.parameters(), strict=True))


# Failures -----------------------------------------------------------------------------------------


def run(code: str) -> Any:
    """The value of an expression where nothing but minigrad is imported."""
    return eval(code, {"minigrad": mg})


def check_same(a: Any, b: Any) -> None:
    assert type(a) is type(b) and repr(a) == repr(b) and a.training
    for (name, x), (_, y) in zip(a.state_dict().items(), b.state_dict().items(), strict=True):
        assert (x.dtype, x.device) == (y.dtype, y.device)
        assert (host(x) == host(y)).all(), name


@given(mst.modules([*LAYERS, *CELLS], dtype=st.sampled_from([mg.float64, mg.float32])), mst.sequences())
def test_what_is_printed_makes_the_same_again(device: str, module: Any, sequences: Sequences) -> None:
    again = run(pretty(module))
    check_same(again, module)
    assert run(pretty(sequences)) == run(repr(sequences)) == sequences
    if type(module) in LAYERS:
        for x, y in zip(as_list(sequences.of(again)), as_list(sequences.of(module)), strict=True):
            assert (host(x) == host(y)).all()


def as_list(arguments: tuple[Any, Any]) -> list[mg.Tensor]:
    input, state = arguments
    parts = [] if state is None else list(state) if isinstance(state, tuple) else [state]
    return [input.data if isinstance(input, rnn.PackedSequence) else input, *parts]


def test_a_failing_example_can_be_pasted(device: str) -> None:
    tried: list[Any] = []

    @settings(SEARCH, report_multiple_bugs=False, phases=[Phase.generate, Phase.shrink])
    @given(layer=mst.modules(), sequences=mst.sequences())
    def failing(layer: Any, sequences: Sequences) -> None:
        tried.append(layer)
        assert layer.hidden_size < 2 or len(sequences.lengths) < 2 or layer.recurrent_init is None

    with pytest.raises(AssertionError) as failure:
        failing()
    printed = "\n".join(failure.value.__notes__)
    lines = [line for line in printed.splitlines() if line.startswith(("    layer=", "    sequences="))]
    example = run("dict(" + "\n".join(lines) + "\n)")
    check_same(example["layer"], tried[-1])
    assert (example["layer"].hidden_size, example["layer"].recurrent_init) == (2, "orthogonal")
    assert example["sequences"].lengths == (1, 1)
