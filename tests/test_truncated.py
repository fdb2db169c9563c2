"""Truncated backpropagation through time is what it says: full, with the state some steps back held constant.

T: time steps   N: batch   D: input size   H: hidden size   K: layers
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn, optim
from minigrad.graph import Node
from minigrad.nn import functional as F
from minigrad.nn.utils import rnn
from minigrad.testing import Sequences
from minigrad.testing import strategies as mst

from .helpers import host, on
from .test_equations import assert_close, equations_of, parts_of, textbook
from .test_recurrent_properties import first_of

pytestmark = pytest.mark.fusing

KINDS = [nn.RNN, nn.LSTM, nn.GRU]
every_kind = pytest.mark.parametrize("kind", KINDS)
LAYERS = mst.modules(
    KINDS, nonlinearity="tanh", dropout=0.0, recurrent_dropout=0.0, bidirectional=False, num_layers=st.integers(1, 2)
)
SEQUENCES = mst.sequences(["padded", "single"], max_steps=7, max_batch=2)
KS = st.tuples(st.integers(1, 4), st.integers(0, 4)).map(lambda ks: {"k1": ks[0], "k2": sum(ks)})
EPS = 1e-6


def time_of(layer: Any, sequences: Sequences) -> int:
    return 1 if layer.batch_first and sequences.form == "padded" else 0


def over(steps: slice, dim: int) -> tuple[slice, ...]:
    return (*[slice(None)] * dim, steps)


def turns(layer: Any, sequences: Sequences, x: Any, state: Any, **ks: int) -> Iterator[tuple[slice, mg.Tensor, Any]]:
    return rnn.tbptt(layer, x, state, **ks, dim=time_of(layer, sequences))


def weights_of(layer: Any) -> dict[str, np.ndarray]:
    return {name: host(x).copy() for name, x in layer.named_parameters()}


def seeds_of(y: mg.Tensor) -> mg.Tensor:
    """Weights of a loss, all different."""
    return on(y.device, np.cos(np.arange(y.size) * 0.7 + 0.3).reshape(y.shape) + 1.5)


def gradients(loss: mg.Tensor, layer: Any) -> dict[str, np.ndarray]:
    names, parameters = zip(*layer.named_parameters(), strict=True)
    found = mg.grad(loss, parameters, allow_unused=True)
    return {
        name: np.zeros(p.shape) if g is None else host(g) for name, p, g in zip(names, parameters, found, strict=True)
    }


def check_close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-9, atol=1e-11, err_msg=name)


# The proof: finite differences of the textbook's loop, the state k2 steps back being a constant -----


class Textbook:
    """A layer in plain NumPy, with the state that was last found at each time, whatever the parameters then were."""

    def __init__(self, layer: Any, sequences: Sequences, x: mg.Tensor, state: Any) -> None:
        self.step, self.layer, self.sequences, self.state = equations_of(layer), layer, sequences, state
        array = host(x) if sequences.form == "padded" else host(x)[:, None]
        self.x = array.swapaxes(0, 1) if time_of(layer, sequences) else array  # (T, N, D)
        self.found: dict[int, list[np.ndarray]] = {}

    def start(self, begin: int, weights: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The parts (K, N, H) of the state at a time: a constant, but at the very beginning if it is learned."""
        if begin:
            return self.found[begin]
        first = first_of(self.layer, self.sequences, self.state)
        if self.state is None and self.layer.learn_initial_state:
            learned = [weights[name] for name in ("h_0", "c_0")[: len(first)]]
            return [np.broadcast_to(part, like.shape) for part, like in zip(learned, first, strict=True)]
        return first

    def run(self, begin: int, end: int, weights: dict[str, np.ndarray], note: bool = False) -> np.ndarray:
        """h (end - begin, N, H), from the state at `begin`."""
        parts, outputs = self.start(begin, weights), []
        for t in range(begin, end):
            each = [
                textbook(self.step, weights, self.x[t : t + 1, n], [part[:, n] for part in parts])
                for n in range(self.x.shape[1])
            ]
            outputs.append(np.concatenate([y for y, _ in each]))
            parts = [np.stack([last[k] for _, last in each], axis=1) for k in range(len(parts))]
            if note:
                self.found[t + 1] = parts
        return np.stack(outputs)


@given(LAYERS, SEQUENCES, KS)
def test_a_turn_holds_the_state_k2_steps_back_constant(
    device: str, layer: Any, sequences: Sequences, ks: dict[str, int]
) -> None:
    """Value, state and gradient of every turn, while each turn changes the parameters for those that follow."""
    x, state = sequences.of(layer)
    dim, book, length = time_of(layer, sequences), Textbook(layer, sequences, x, state), sequences.lengths[0]
    rng, new = np.random.default_rng(0), 0
    for steps, output, after in turns(layer, sequences, x, state, **ks):
        end = min(new + ks["k1"], length)
        begin, weights = max(0, new + ks["k1"] - ks["k2"]), weights_of(layer)
        assert steps == slice(new, end)
        expected = book.run(begin, end, weights, note=True)[new - begin :]
        h = output if sequences.form == "padded" else output.expand_dims(1)
        assert_close(h.transpose(1, 0, 2) if dim else h, expected)
        for part, array in zip(parts_of(after), book.found[end], strict=True):
            assert not part.requires_grad
            np.testing.assert_allclose(host(part).reshape(array.shape), array, rtol=1e-12, atol=1e-12)

        v = np.cos(np.arange(expected.size) * 0.7 + 0.3).reshape(expected.shape) + 1.5
        seed = on(device, (v.swapaxes(0, 1) if dim else v).reshape(output.shape))
        named = dict(layer.named_parameters())
        given = [] if state is None else parts_of(state)
        *found, by_x = mg.grad((output * seed).sum(), [*given, *named.values(), x], allow_unused=True)
        found, by_first = found[len(given) :], found[: len(given)]
        assert all(g is None for g in by_first)
        reached = np.moveaxis(host(by_x), dim, 0).reshape(length, -1).any(axis=1)
        assert not reached[:begin].any() and not reached[end:].any() and reached[new:end].all()

        moves = {name: rng.normal(size=array.shape) for name, array in weights.items()}
        ahead, back = (
            (
                v
                * book.run(begin, end, {name: a + sign * EPS * moves[name] for name, a in weights.items()})[
                    new - begin :
                ]
            )
            for sign in (1, -1)
        )
        along = [(moves[name] * host(g)).sum() for name, g in zip(named, found, strict=True) if g is not None]
        scale = sum(abs(part) for part in along)
        np.testing.assert_allclose(sum(along), (ahead - back).sum() / (2 * EPS), rtol=1e-6, atol=1e-7 + 1e-6 * scale)

        with mg.no_grad():
            for parameter, g in zip(named.values(), found, strict=True):
                if g is not None:
                    parameter[...] = parameter - 0.05 * g
        new = end
    assert new == length


# What it is in cases that have another name ---------------------------------------------------------


@given(LAYERS, SEQUENCES, st.integers(0, 3))
def test_one_turn_over_everything_is_full_bptt(device: str, layer: Any, sequences: Sequences, more: int) -> None:
    x, state = sequences.of(layer)
    ((steps, output, after),) = turns(layer, sequences, x, state, k1=sequences.lengths[0] + more)
    assert steps == slice(0, sequences.lengths[0])
    expected, last = layer(x, state)
    for a, b in zip([output, *parts_of(after)], [expected, *parts_of(last)], strict=True):
        assert (host(a) == host(b)).all()
    check_close(
        gradients((output * seeds_of(output)).sum(), layer), gradients((expected * seeds_of(expected)).sum(), layer)
    )


@given(LAYERS, SEQUENCES, st.integers(1, 4), st.integers(0, 3))
def test_looking_back_to_the_beginning_is_full_bptt_of_each_loss(
    device: str, layer: Any, sequences: Sequences, k1: int, more: int
) -> None:
    x, state = sequences.of(layer)
    dim, length = time_of(layer, sequences), sequences.lengths[0]
    whole_turns = -(-length // k1) * k1
    for steps, output, _ in turns(layer, sequences, x, state, k1=k1, k2=whole_turns + more):
        whole, _ = layer(x[over(slice(0, steps.stop), dim)], state)
        newest = whole[over(steps, dim)]
        assert_close(output, host(newest))
        check_close(
            gradients((output * seeds_of(output)).sum(), layer), gradients((newest * seeds_of(output)).sum(), layer)
        )


@given(LAYERS, SEQUENCES, KS)
def test_carrying_the_state_is_one_long_forward_pass(
    device: str, layer: Any, sequences: Sequences, ks: dict[str, int]
) -> None:
    x, state = sequences.of(layer)
    found = list(turns(layer, sequences, x, state, **ks))
    whole, last = layer(x, state)
    assert_close(mg.concatenate([output for _, output, _ in found], axis=time_of(layer, sequences)), host(whole))
    for a, b in zip(parts_of(found[-1][2]), parts_of(last), strict=True):
        assert_close(a, host(b))


@given(LAYERS, SEQUENCES, KS, st.integers(0, 6))
def test_the_last_state_begins_the_sequence_that_follows(
    device: str, layer: Any, sequences: Sequences, ks: dict[str, int], cut: int
) -> None:
    x, state = sequences.of(layer)
    dim, length = time_of(layer, sequences), sequences.lengths[0]
    cut = 1 + cut % length
    whole, _ = layer(x, state)
    outputs = []
    for part in (slice(0, cut), slice(cut, length))[: 1 + (cut < length)]:
        found = list(turns(layer, sequences, x[over(part, dim)].detach(), state, **ks))
        outputs += [output for _, output, _ in found]
        state = found[-1][2]
    assert_close(mg.concatenate(outputs, axis=dim), host(whole))


@given(LAYERS, SEQUENCES, st.integers(1, 3))
def test_a_state_that_is_carried_remembers_and_a_reset_one_forgets(
    device: str, layer: Any, sequences: Sequences, k1: int
) -> None:
    """With state=None each time a chunk is as if nothing had come before, in value and gradient."""
    x, _ = sequences.of(layer)
    dim, length = time_of(layer, sequences), sequences.lengths[0]
    x = x.detach()
    changed = mg.concatenate([x[over(slice(0, 1), dim)] + 1, x[over(slice(1, length), dim)]], axis=dim)
    chunks = [over(slice(t, t + k1), dim) for t in range(0, length, k1)]

    def carried(text: mg.Tensor) -> list[mg.Tensor]:
        return [output for _, output, _ in turns(layer, sequences, text, None, k1=k1)]

    def reset(text: mg.Tensor) -> list[mg.Tensor]:
        return [next(turns(layer, sequences, text[chunk], None, k1=k1))[1] for chunk in chunks]

    one, two = reset(x), reset(changed)
    assert (host(one[0]) != host(two[0])).any()
    for chunk, a, b in zip(chunks[1:], one[1:], two[1:], strict=True):
        assert (host(a) == host(b)).all()
        expected, _ = layer(x[chunk])
        assert (host(a) == host(expected)).all()
        check_close(gradients((a * seeds_of(a)).sum(), layer), gradients((expected * seeds_of(a)).sum(), layer))
    for a, b, c in zip(carried(x)[1:], carried(changed)[1:], one[1:], strict=True):
        assert (host(a) != host(b)).any() and (host(a) != host(c)).any()


class Model(nn.Module):
    """logits, state = model(ids, state)          ids (T, N), logits (T, N, V)"""

    def __init__(self, kind: Any, **options: Any) -> None:
        self.embedding = nn.Embedding(5, 3, dtype=mg.float64)
        self.rnn = kind(3, 4, **options, dtype=mg.float64)
        self.output = nn.Linear(4, 5, dtype=mg.float64)

    def forward(self, ids: mg.Tensor, state: Any) -> tuple[mg.Tensor, Any]:
        h, state = self.rnn(self.embedding(ids), state)
        return self.output(h), state


def model_and_text(kind: Any, **options: Any) -> tuple[Any, optim.Optimizer, mg.Tensor, mg.Tensor]:
    mg.manual_seed(5)
    model = Model(kind, **options)
    ids = mg.tensor(np.random.default_rng(0).integers(0, 5, size=(12, 2)))
    return model, optim.Adam(model.parameters(), lr=0.05), ids[:-1], ids[1:]


def learn(optimizer: optim.Optimizer, logits: mg.Tensor, targets: mg.Tensor) -> None:
    optimizer.zero_grad()
    F.cross_entropy(logits.reshape(-1, 5), targets.reshape(-1)).backward()
    optimizer.step()


@every_kind
@pytest.mark.parametrize("learned", [False, True])
def test_k1_alone_is_the_usual_loop(kind: Any, learned: bool, device: str) -> None:
    model, optimizer, ids, targets = model_and_text(kind, learn_initial_state=learned)
    for _ in range(2):
        for steps, logits, _ in rnn.tbptt(model, ids, k1=4):
            learn(optimizer, logits, targets[steps])
    by_hand, optimizer, ids, targets = model_and_text(kind, learn_initial_state=learned)
    for _ in range(2):
        state = None
        for t in range(0, len(ids), 4):
            logits, state = by_hand(ids[t : t + 4], mg.detach(state))
            learn(optimizer, logits, targets[t : t + 4])
    for (name, a), (_, b) in zip(model.named_parameters(), by_hand.named_parameters(), strict=True):
        assert (host(a) == host(b)).all(), name


@every_kind
def test_training_looks_back_over_steps_of_the_optimizer(kind: Any, device: str) -> None:
    """Nothing that an update writes to is needed later, and what is learned depends on k2."""
    ends = []
    for k2 in (2, 3, 5, 20):
        model, optimizer, ids, targets = model_and_text(kind, batch_first=True)
        ids, targets = ids.transpose(1, 0), targets.transpose(1, 0)
        first = F.cross_entropy(model(ids, None)[0].reshape(-1, 5), targets.reshape(-1)).item()
        for _ in range(8):
            for steps, logits, _ in rnn.tbptt(model, ids, k1=2, k2=k2, dim=1):
                learn(optimizer, logits, targets[:, steps])
        ends.append(F.cross_entropy(model(ids, None)[0].reshape(-1, 5), targets.reshape(-1)).item())
        assert ends[-1] < 0.8 * first
    assert len(set(ends)) == 4


# What it costs --------------------------------------------------------------------------------------


@given(st.integers(1, 20), KS)
def test_a_turn_computes_no_more_than_k2_steps(length: int, ks: dict[str, int]) -> None:
    seen: list[int] = []

    def module(x: mg.Tensor, state: Any) -> tuple[mg.Tensor, Any]:
        seen.append(len(x))
        return x, state

    ends = []
    for steps, output, _ in rnn.tbptt(module, mg.arange(length), **ks):
        assert output.tolist() == list(range(steps.start, steps.stop))
        assert sum(seen) == steps.stop - max(0, steps.start + ks["k1"] - ks["k2"]) <= ks["k2"] and len(seen) <= 2
        seen.clear()
        ends.append(steps.stop)
    assert ends == [*range(ks["k1"], length, ks["k1"]), length]


@pytest.mark.parametrize("k2", [2, 3, 6])
def test_the_graph_of_a_turn_is_gone_with_its_output(k2: int) -> None:
    """Nothing else holds it, no garbage collection is needed, and no turn has a larger one than another."""

    def nodes() -> int:
        return sum(type(each) is Node for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        layer, before, held = nn.LSTM(2, 3), nodes(), []
        for _, output, state in rnn.tbptt(layer, mg.ones((16, 1, 2)), k1=2, k2=k2):
            held.append(nodes() - before)
            del output
            assert nodes() == before
            assert all(part.is_leaf for part in parts_of(state))
    finally:
        gc.enable()
    steady = held[k2 // 2 : -1]  # the last window is not cut where the next one starts
    assert len(held) == 8 and min(held) > 0 and set(steady) == {max(held)}


# What users do wrong --------------------------------------------------------------------------------


def ones(*shape: int, **options: Any) -> mg.Tensor:
    return mg.ones(shape, **options)


def first_turn(module: Any) -> Any:
    return next(rnn.tbptt(module, ones(4, 1, 3), k1=2, k2=3))


MISTAKES = {
    "no steps between updates": (
        lambda: rnn.tbptt(nn.GRU(3, 2), ones(4, 1, 3), k1=0),
        ValueError,
        r"tbptt: expected 1 <= k1 <= k2, an update every k1 steps that looks back k2 steps, got k1=0$",
    ),
    "looking back less than there is to learn": (
        lambda: rnn.tbptt(nn.GRU(3, 2), ones(4, 1, 3), k1=3, k2=2),
        ValueError,
        r"tbptt: expected 1 <= k1 <= k2, .* got k1=3, k2=2",
    ),
    "half a step": (
        lambda: rnn.tbptt(nn.GRU(3, 2), ones(4, 1, 3), k1=1.5),
        TypeError,
        r"tbptt: expected k1 to be an integer, got 1.5",
    ),
    "a flag for k2": (
        lambda: rnn.tbptt(nn.GRU(3, 2), ones(4, 1, 3), k1=1, k2=True),
        TypeError,
        r"tbptt: expected k2 to be an integer, got True",
    ),
    "no k1": (lambda: rnn.tbptt(nn.GRU(3, 2), ones(4, 1, 3)), TypeError, r"tbptt\(\) missing .* 'k1'"),
    "no module": (
        lambda: rnn.tbptt(ones(4, 1, 3), nn.GRU(3, 2), k1=2),
        TypeError,
        r"tbptt: expected a module, \(input, state\) -> \(output, state\), got Tensor",
    ),
    "no time": (
        lambda: rnn.tbptt(nn.GRU(3, 2), ones(0, 1, 3), k1=2),
        ValueError,
        r"tbptt: expected at least one entry along dim 0, got x \(0, 1, 3\)",
    ),
    "no such dim": (
        lambda: rnn.tbptt(nn.GRU(3, 2), ones(4, 1, 3), k1=2, dim=3),
        ValueError,
        r"tbptt: expected an integer dim from -3 to 2, got dim=3",
    ),
    "a packed batch": (
        lambda: rnn.tbptt(nn.GRU(3, 2), rnn.pack_sequence([ones(4, 3)]), k1=2),
        TypeError,
        r"tbptt: expected a Tensor, got a PackedSequence, whose sequences end at different steps; train on it as a",
    ),
    "a list": (
        lambda: rnn.tbptt(nn.GRU(3, 2), [[1.0, 2.0, 3.0]], k1=2),
        TypeError,
        r"tbptt: expected a Tensor or an array, got list",
    ),
    "both directions": (
        lambda: rnn.tbptt(nn.GRU(3, 2, bidirectional=True), ones(4, 1, 3), k1=2),
        ValueError,
        r"tbptt: expected a module of one direction, got a bidirectional GRU: it has to see the end",
    ),
    "time in the other place": (
        lambda: rnn.tbptt(nn.GRU(3, 2, batch_first=True), ones(4, 1, 3), k1=2),
        ValueError,
        r"tbptt: expected dim=1, the time of GRU with batch_first=True, got dim=0",
    ),
    "the batch in the place of time": (
        lambda: rnn.tbptt(nn.GRU(3, 2), ones(4, 1, 3), k1=2, dim=-2),
        ValueError,
        r"tbptt: expected dim=0, the time of GRU with batch_first=False, got dim=1",
    ),
    "an input that was embedded before": (
        lambda: rnn.tbptt(nn.GRU(3, 2), nn.Embedding(5, 3)(mg.tensor([[1], [2]])), k1=2),
        ValueError,
        r"tbptt: expected an input that nothing learns in, got \(2, 1, 3\).* computed by take.*make it part of",
    ),
    "a state that is no Tensor": (
        lambda: rnn.tbptt(nn.GRU(3, 2), ones(4, 1, 3), 0.0, k1=2),
        TypeError,
        r"tbptt: expected Tensors in tuples, lists or dicts, got float",
    ),
    "a state that does not fit": (
        lambda: next(rnn.tbptt(nn.GRU(3, 2), ones(4, 1, 3), ones(1, 4, 2), k1=2)),
        ValueError,
        r"GRU: expected one Tensor h \(1, 1, 2\) as the state",
    ),
    "a module without a state": (
        lambda: first_turn(lambda x, state: x * 2),
        TypeError,
        r"tbptt: expected a module that gives \(output, state\), output a Tensor, got Tensor from it",
    ),
    "a module that gives too much": (
        lambda: first_turn(lambda x, state: (x, state, x)),
        TypeError,
        r"tbptt: expected a module that gives \(output, state\), output a Tensor, got a tuple of Tensor, NoneType, T",
    ),
    "an output that is flat": (
        lambda: first_turn(lambda x, state: (x.reshape(-1), state)),
        ValueError,
        r"tbptt: expected an output with the 1 steps of its input along dim 0, got \(3,\).*; flatten it in the loss",
    ),
}


class Tagger(nn.Module):
    """Words in, tags out, through a layer that it is given."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.embedding, self.layer = nn.Embedding(5, 3), layer

    def forward(self, words: mg.Tensor, state: Any = None) -> Any:
        return self.layer(self.embedding(words), state)


@pytest.mark.parametrize(
    ("layer", "dim", "message"),
    [
        (lambda: nn.LSTM(3, 2, batch_first=True), 0, r"expected dim=1, the time of LSTM 'layer' with batch_first=True"),
        (lambda: nn.GRU(3, 2), 1, r"expected dim=0, the time of GRU 'layer' with batch_first=False, got dim=1"),
        (lambda: nn.RNN(3, 2, bidirectional=True), 0, r"one direction, got a bidirectional RNN 'layer'"),
    ],
)
def test_a_layer_inside_a_model_that_reads_another_way(layer: Any, dim: int, message: str) -> None:
    words = mg.tensor([[0, 1], [2, 3]])
    with pytest.warns(UserWarning, match=rf"^tbptt: expected .*{message.removeprefix('expected ')}"):
        rnn.tbptt(Tagger(layer()), words, k1=1, dim=dim)


def test_a_layer_inside_a_model_that_reads_the_same_way(device: str) -> None:
    words = mg.tensor([[0, 1], [2, 3]])
    turns = list(rnn.tbptt(Tagger(nn.LSTM(3, 2, batch_first=True)), words, k1=1, dim=1))
    assert [output.shape for _, output, _ in turns] == [(2, 1, 2)] * 2


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message(mistake: str, device: str) -> None:
    act, error, message = MISTAKES[mistake]
    with pytest.raises(error, match=message):
        act()
