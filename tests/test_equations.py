"""The recurrent layers are the textbook's equations, here in plain NumPy: one sequence, one step at a time.

T: time steps   N: batch   D: input size   H: hidden size   L: layers
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.testing import gradcheck, gradgradcheck

from .helpers import host, on

pytestmark = pytest.mark.fusing

T, N, D, H = 4, 3, 2, 3


# The equations: x (D,), state (h,) or (h, c) of (H,) each, weights by name -> state -----------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def four(weights):
    W_ih, W_hh = weights["weight_ih"], weights["weight_hh"]
    none = np.zeros(len(W_ih))
    return W_ih, W_hh, weights.get("bias_ih", none), weights.get("bias_hh", none)


def rnn_tanh(x, state, weights):
    W_ih, W_hh, b_ih, b_hh = four(weights)
    (h,) = state
    return (np.tanh(W_hh @ h + W_ih @ x + b_ih + b_hh),)


def rnn_relu(x, state, weights):
    W_ih, W_hh, b_ih, b_hh = four(weights)
    (h,) = state
    return (np.maximum(W_hh @ h + W_ih @ x + b_ih + b_hh, 0),)


def lstm(x, state, weights):
    W_ih, W_hh, b_ih, b_hh = four(weights)
    h, c = state
    W_ii, W_if, W_ig, W_io = np.split(W_ih, 4)
    W_hi, W_hf, W_hg, W_ho = np.split(W_hh, 4)
    b_i, b_f, b_g, b_o = np.split(b_ih + b_hh, 4)
    i = sigmoid(W_ii @ x + W_hi @ h + b_i)
    f = sigmoid(W_if @ x + W_hf @ h + b_f)
    g = np.tanh(W_ig @ x + W_hg @ h + b_g)
    o = sigmoid(W_io @ x + W_ho @ h + b_o)
    c = f * c + i * g
    return o * np.tanh(c), c


def lstm_projected(x, state, weights):
    h, c = lstm(x, state, weights)
    return weights["weight_hr"] @ h, c


def gru_reset_after(x, state, weights):
    W_ih, W_hh, b_ih, b_hh = four(weights)
    (h,) = state
    W_ir, W_iz, W_in = np.split(W_ih, 3)
    W_hr, W_hz, W_hn = np.split(W_hh, 3)
    (b_ir, b_iz, b_in), (b_hr, b_hz, b_hn) = np.split(b_ih, 3), np.split(b_hh, 3)
    r = sigmoid(W_ir @ x + b_ir + W_hr @ h + b_hr)
    z = sigmoid(W_iz @ x + b_iz + W_hz @ h + b_hz)
    n = np.tanh(W_in @ x + b_in + r * (W_hn @ h + b_hn))
    return ((1 - z) * n + z * h,)


def gru_reset_before(x, state, weights):
    W_ih, W_hh, b_ih, b_hh = four(weights)
    (h,) = state
    W_ir, W_iz, W_in = np.split(W_ih, 3)
    W_hr, W_hz, W_hn = np.split(W_hh, 3)
    (b_ir, b_iz, b_in), (b_hr, b_hz, b_hn) = np.split(b_ih, 3), np.split(b_hh, 3)
    r = sigmoid(W_ir @ x + b_ir + W_hr @ h + b_hr)
    z = sigmoid(W_iz @ x + b_iz + W_hz @ h + b_hz)
    n = np.tanh(W_in @ x + b_in + W_hn @ (r * h) + b_hn)
    return ((1 - z) * n + z * h,)


def norm(v):
    return (v - v.mean()) / np.sqrt(((v - v.mean()) ** 2).mean() + 1e-5)


def lstm_normalized(x, state, weights):
    W_ih, W_hh, b_ih, b_hh = four(weights)
    h, c = state
    gates = weights["gain_ih"] * norm(W_ih @ x) + b_ih + weights["gain_hh"] * norm(W_hh @ h) + b_hh
    i, f, g, o = np.split(gates, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(weights["gain_c"] * norm(c) + weights.get("bias_c", 0)), c


def lstm_peephole(x, state, weights):
    W_ih, W_hh, b_ih, b_hh = four(weights)
    h, c = state
    P_i, P_f, P_o = (np.diag(p) for p in np.split(weights["weight_ch"], 3))
    a_i, a_f, a_g, a_o = np.split(W_ih @ x + W_hh @ h + b_ih + b_hh, 4)
    i, f = sigmoid(a_i + P_i @ c), sigmoid(a_f + P_f @ c)
    c = f * c + i * np.tanh(a_g)
    return sigmoid(a_o + P_o @ c) * np.tanh(c), c


def over_time(step: Callable, weights: dict, suffix: str, x: np.ndarray, state: tuple) -> tuple:
    """One layer in one direction."""
    own = {name.removesuffix(suffix): array for name, array in weights.items() if name.endswith(suffix)}
    outputs = []
    for x_t in x:
        state = step(x_t, state, own)
        outputs.append(state[0])
    return np.stack(outputs), state


def textbook(step: Callable, weights: dict, x: np.ndarray, first: list[np.ndarray], both: bool = False) -> tuple:
    """x (T, D) and the first states (L, H) -> the last layer's h (T, H), and the last states (L, H).

    In both directions (2L, H) and (T, 2H): forwards, backwards, layer by layer.
    """
    states, last = list(zip(*first, strict=True)), []
    for layer in range(len(states) // (1 + both)):
        forwards, state = over_time(step, weights, f"_l{layer}", x, states[len(last)])
        last.append(state)
        if both:
            backwards, state = over_time(step, weights, f"_l{layer}_reverse", x[::-1], states[len(last)])
            last.append(state)
            forwards = np.concatenate([forwards, backwards[::-1]], axis=1)
        x = forwards
    return x, [np.stack(parts) for parts in zip(*last, strict=True)]


# What is compared with them -----------------------------------------------------------------------

KINDS: dict[str, tuple[Callable, type, type | None, dict[str, Any]]] = {
    "rnn-tanh": (rnn_tanh, nn.RNN, nn.RNNCell, {}),
    "rnn-relu": (rnn_relu, nn.RNN, nn.RNNCell, {"nonlinearity": "relu"}),
    "lstm": (lstm, nn.LSTM, nn.LSTMCell, {}),
    "gru": (gru_reset_after, nn.GRU, nn.GRUCell, {}),
    "gru-reset-before": (gru_reset_before, nn.GRU, nn.GRUCell, {"reset_after": False}),
    "lstm-normalized": (lstm_normalized, nn.LayerNormLSTM, None, {}),
    "lstm-peephole": (lstm_peephole, nn.PeepholeLSTM, None, {}),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def equations_of(layer: Any) -> Callable:
    """The textbook's step for a layer or a cell, whatever its options are."""
    if layer.proj_size:
        return lstm_projected
    fitting = [
        step
        for step, *classes, options in KINDS.values()
        if type(layer) in classes and all(getattr(layer, name) == value for name, value in options.items())
    ]
    return fitting[-1]  # the one with the most to say about options


layers_and_cells = pytest.mark.parametrize(
    ("kind", "cell"), [(kind, cell) for kind in KINDS for cell in (False, True) if KINDS[kind][2] or not cell]
)
every_cell = pytest.mark.parametrize("kind", [kind for kind, (_, _, cell, _) in KINDS.items() if cell])


def build(
    kind: str, device: str, cell: bool = False, hidden: int = H, **options: Any
) -> tuple[Any, dict[str, np.ndarray]]:
    """A layer with known random weights, and these weights."""
    rng = np.random.default_rng(0)
    layer = KINDS[kind][1 + cell](D, hidden, **KINDS[kind][3], **options, dtype=mg.float64, device=device)
    weights = {name: rng.uniform(-0.9, 0.9, x.shape) for name, x in layer.state_dict().items()}
    layer.load_state_dict(weights)
    return layer, weights


def draw(kind: str, *shape: int, given: bool = True) -> list[np.ndarray]:
    """The parts of a state: random, or zeros."""
    rng = np.random.default_rng(1)
    return [rng.uniform(-1, 1, shape) * given for _ in range(1 + kind.startswith("lstm"))]


def as_state(device: str, parts: list[np.ndarray]) -> Any:
    tensors = tuple(on(device, part) for part in parts)
    return tensors if len(tensors) == 2 else tensors[0]


def parts_of(state: Any) -> list[mg.Tensor]:
    return list(state) if isinstance(state, tuple) else [state]


def assert_close(x: mg.Tensor, expected: np.ndarray, tolerance: float = 1e-12) -> None:
    assert x.shape == expected.shape
    np.testing.assert_allclose(host(x), expected, rtol=tolerance, atol=tolerance)


X = np.random.default_rng(2).normal(size=(T, N, D))


# Values -------------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("both", [False, True])
def test_layer(kind: str, layers: int, bias: bool, given: bool, both: bool, device: str) -> None:
    layer, weights = build(kind, device, num_layers=layers, bias=bias, bidirectional=both)
    first = draw(kind, layers * (1 + both), N, H, given=given)
    output, state = layer(on(device, X), as_state(device, first) if given else None)
    each = [textbook(KINDS[kind][0], weights, X[:, n], [part[:, n] for part in first], both) for n in range(N)]
    assert_close(output, np.stack([y for y, _ in each], axis=1))
    for k, part in enumerate(parts_of(state)):
        assert_close(part, np.stack([last[k] for _, last in each], axis=1))


@every_kind
def test_unbatched(kind: str, device: str) -> None:
    layer, weights = build(kind, device, num_layers=2)
    first = draw(kind, 2, H)
    output, state = layer(on(device, X[:, 0]), as_state(device, first))
    expected, last = textbook(KINDS[kind][0], weights, X[:, 0], first)
    assert_close(output, expected)
    for part, array in zip(parts_of(state), last, strict=True):
        assert_close(part, array)


@every_kind
def test_batch_first_turns_input_and_output_but_not_the_state(kind: str, device: str) -> None:
    layer, _ = build(kind, device, num_layers=2)
    turned, _ = build(kind, device, num_layers=2, batch_first=True)
    first = as_state(device, draw(kind, 2, N, H))
    output, state = layer(on(device, X), first)
    turned_output, turned_state = turned(on(device, X.transpose(1, 0, 2)), first)
    assert_close(turned_output.transpose(1, 0, 2), host(output))
    for a, b in zip(parts_of(turned_state), parts_of(state), strict=True):
        assert_close(a, host(b))


@every_cell
@pytest.mark.parametrize("bias", [True, False])
def test_cell(kind: str, bias: bool, device: str) -> None:
    """A cell called step after step is the layer; a single vector is a batch of one."""
    cell, weights = build(kind, device, cell=True, bias=bias)
    named = {f"{name}_l0": array for name, array in weights.items()}
    first = draw(kind, N, H)
    state, expected = as_state(device, first), []
    for x_t in X:
        state = cell(on(device, x_t), state)
    alone = cell(on(device, X[0, 0]))
    for n in range(N):
        expected.append(textbook(KINDS[kind][0], named, X[:, n], [part[None, n] for part in first])[1])
    for k, part in enumerate(parts_of(state)):
        assert_close(part, np.stack([last[k][0] for last in expected]))
    zeros = [np.zeros((1, H)) for _ in first]
    for part, array in zip(parts_of(alone), textbook(KINDS[kind][0], named, X[:1, 0], zeros)[1], strict=True):
        assert_close(part, array[0])


@every_kind
def test_two_halves_are_the_whole(kind: str, device: str) -> None:
    """Values and gradients, when the state is carried; nothing flows to the first half once it is detached."""
    layer, _ = build(kind, device, num_layers=2)
    whole, x = on(device, X, True), on(device, X, True)
    output, state = layer(whole)
    early, middle = layer(x[:1])
    late, final = layer(x[1:], middle)
    assert_close(mg.concatenate([early, late]), host(output))
    for a, b in zip(parts_of(final), parts_of(state), strict=True):
        assert_close(a, host(b))

    (expected,) = mg.grad(output[-1].sum(), whole)
    (found,) = mg.grad(late[-1].sum(), x)
    assert_close(found, host(expected))
    late, _ = layer(x[1:], mg.detach(middle))
    (found,) = mg.grad(late[-1].sum(), x)
    assert_close(found[:1], np.zeros((1, N, D)))
    assert abs(host(expected)[0]).max() > 1e-5


@layers_and_cells
def test_float32_stays_float32(kind: str, cell: bool, device: str) -> None:
    layer = KINDS[kind][1 + cell](D, H, **KINDS[kind][3])
    outputs = parts_of(layer(on(device, (X[0] if cell else X).astype(np.float32))))
    outputs[0].sum().backward()
    assert {x.dtype for x in (outputs[0], *(p.grad for p in layer.parameters()))} == {np.dtype(np.float32)}


def test_forget_bias() -> None:
    h = slice(H, 2 * H)
    for make, suffixes in ((nn.LSTM, ("_l0", "_l1")), (nn.LSTMCell, ("",))):
        options = {"num_layers": 2} if make is nn.LSTM else {}
        biased, plain = make(D, H, forget_bias=1.5, **options), make(D, H, **options)
        for suffix in suffixes:
            b, p = (
                host(m.state_dict()["bias_ih" + suffix] + m.state_dict()["bias_hh" + suffix]) for m in (biased, plain)
            )
            assert (b[h] == 1.5).all()
            assert (p[h] != 1.5).all()
            assert (np.delete(b, h) != 1.5).all()


@every_kind
def test_dropout_is_between_layers_and_in_training_only(kind: str, device: str) -> None:
    plain, weights = build(kind, device, num_layers=2)
    expected = host(plain(on(device, X))[0])
    half, _ = build(kind, device, num_layers=2, dropout=0.5)
    assert abs(host(half(on(device, X))[0]) - expected).max() > 1e-3
    assert_close(half.eval()(on(device, X))[0], expected)

    all_dropped, _ = build(kind, device, num_layers=2, dropout=1.0)
    output, _ = all_dropped(on(device, X))  # the second layer sees zeros, its own output is not dropped
    second = {name.replace("l1", "l0"): array for name, array in weights.items() if "l1" in name}
    zeros = [np.zeros((1, H)) for _ in draw(kind)]
    assert_close(output[:, 0], textbook(KINDS[kind][0], second, np.zeros((T, H)), zeros)[0])

    with pytest.warns(UserWarning, match="dropout acts between layers, and there is only one"):
        single, _ = build(kind, device, dropout=1.0)
    assert_close(single(on(device, X))[0], host(build(kind, device)[0](on(device, X))[0]))


@every_kind
def test_weights_may_be_computed(kind: str, device: str) -> None:
    """Weight normalisation and the like: an attribute that is a Tensor, though no Parameter, is the weight."""
    plain, weights = build(kind, device)
    computed, _ = build(kind, device)
    halves = {name: on(device, array / 2, True) for name, array in weights.items()}
    for name, half in halves.items():
        setattr(computed, name, half * 2)
    assert_close(computed(on(device, X))[0], host(plain(on(device, X))[0]))


# Gradients ----------------------------------------------------------------------------------------


def as_function(layer: nn.Module, device: str, x: np.ndarray, state: list[np.ndarray]) -> tuple[Callable, list]:
    """The layer as a function of its input, its state and every parameter, and all of these."""
    names = list(layer.state_dict())

    def function(x: mg.Tensor, *rest: mg.Tensor) -> list[mg.Tensor]:
        for name, parameter in zip(names, rest[len(state) :], strict=True):
            parameter.is_parameter = True
            setattr(layer, name, parameter)
        given = rest[: len(state)]
        outputs = layer(x, (tuple(given) if len(given) == 2 else given[0]) if given else None)
        return [y for part in parts_of(outputs) for y in parts_of(part)]

    parameters = [host(p) for p in layer.state_dict().values()]
    return function, [on(device, array, True) for array in (x, *state, *parameters)]


@every_kind
@pytest.mark.parametrize(("steps", "given", "bias"), [(1, False, True), (3, True, True), (2, True, False)])
def test_gradients(kind: str, steps: int, given: bool, bias: bool, device: str) -> None:
    layer, _ = build(kind, device, num_layers=2, bias=bias)
    state = draw(kind, 2, 2, H) if given else []
    assert gradcheck(*as_function(layer, device, X[:steps, :2], state))


@every_cell
def test_gradients_of_a_cell(kind: str, device: str) -> None:
    layer, _ = build(kind, device, cell=True)
    assert gradcheck(*as_function(layer, device, X[0, :2], draw(kind, 2, H)))


@every_kind
@pytest.mark.parametrize("steps", [1, 2])
def test_gradients_of_gradients(kind: str, steps: int, device: str) -> None:
    layer, _ = build(kind, device)
    assert gradgradcheck(*as_function(layer, device, X[:steps, :1], draw(kind, 1, 1, H)))


@layers_and_cells
def test_every_weight_has_a_gradient_after_one_step(kind: str, cell: bool, device: str) -> None:
    """With no state the recurrent product is zero, and so is the gradient of its weights, but there it is."""
    layer, weights = build(kind, device, cell=cell, **({} if cell else {"num_layers": 2}))
    outputs = parts_of(layer(on(device, X[0] if cell else X[:1])))
    outputs[0].sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        gradient = host(parameter.grad)
        assert gradient.shape == weights[name].shape
        assert (gradient == 0).all() == name.startswith(("weight_hh", "gain_hh")), name
