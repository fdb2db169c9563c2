"""What the cells of a recurrent layer do, step by step: h, c and every gate, which the kernels do not show.

T: time steps   D: input size   H: hidden size   P: size of a projected h

The states come from the layer's own cell, run operation by operation. Once these are known, a gate at step t depends
on x_t and h_{t-1} alone, and is computed for all time steps at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ...backend import Array, namespace_of
from ...fusion.setting import fusing
from ...graph import Tensor
from ...messages import describe
from ...mode import no_grad
from ...nn.cells import gru, gru_reset_before, lstm, lstm_projected, rnn_relu, rnn_tanh
from ...nn.sequence import Layers
from ...nn.variants import lstm_normalized, lstm_peephole, norm
from ...ops.contraction import linear
from ...ops.elementwise import sigmoid, tanh
from ...ops.shape import concatenate, split, stack, unstack

LSTM_GATES = ("input", "forget", "output")
GRU_GATES = ("reset", "update")


@dataclass(frozen=True)
class Activations:
    """What one layer did over a text, as NumPy arrays."""

    name: str  # "rnn.l0"
    kind: str  # "LSTM"
    h: Array  # (T, H), or (T, P)
    c: Array | None  # (T, H), of an LSTM
    gates: dict[str, Array] = field(default_factory=dict)  # (T, H) each, from 0 to 1
    proposed: Array | None = None  # (T, H): tanh(g) of an LSTM, n of a GRU; what a gate lets in
    bounded: bool = True  # whether h is in [-1, 1]


def activations(layer: Any, x: Tensor, state: Any = None, name: str = "") -> list[Activations]:
    """What each layer of an RNN, LSTM, GRU or one of their kin does with one sequence, as in evaluation: no dropout.

    Args:
        layer: of one direction.
        x: (T, D), or with an axis for a batch of one, as the layer takes it.
        state: the first one, as the layer takes it; None for its own.
        name: what the layer is called; of layer l of it, name.l{l}.

    Raises:
        TypeError: it is no such layer.
        ValueError: it is bidirectional, or the shape is wrong.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> from minigrad.inspect.cells.activations import activations
    >>> (found,) = activations(nn.LSTM(3, 5), mg.randn((7, 3)))
    >>> found.h.shape, sorted(found.gates)
    ((7, 5), ['forget', 'input', 'output'])
    """
    kind = _checked(layer)
    x, state = _single(layer, x, state)
    with no_grad(), fusing(False):
        parts = layer._first_state(state, 1, x)
        found = []
        for number, (suffix, first) in enumerate(zip(layer._suffixes(), layer._per_layer(parts), strict=True)):
            hh, share = layer._recurrent(suffix, None), layer._input_share(x, suffix)
            states = list(_states(layer, share, first, hh))
            x = stack([each[0] for each in states])  # (T, 1, H)
            before = concatenate([stack([layer._parts(first)[0]]), x[:-1]])  # h_{t-1}
            c = stack([each[1] for each in states]) if layer.has_memory else None
            c_before = None if c is None else concatenate([stack([layer._parts(first)[1]]), c[:-1]])
            gates, proposed = EQUATIONS[layer.cell()](share, before, hh, c_before, c)
            found.append(
                Activations(
                    f"{name}.l{number}" if name else f"l{number}",
                    kind,
                    _on_host(x),
                    None if c is None else _on_host(c),
                    {key: _on_host(gate) for key, gate in gates.items()},
                    None if proposed is None else _on_host(proposed),
                    bounded=layer.cell() is not rnn_relu and not layer.proj_size,
                )
            )
    return found


def _checked(layer: Any) -> str:
    kind = type(layer).__name__
    if not isinstance(layer, Layers):
        raise TypeError(f"expected an RNN, LSTM or GRU over whole sequences, got {kind}")
    if layer.bidirectional:
        raise ValueError(
            f"expected a layer of one direction, got a bidirectional {kind}, whose cells have read the end of the "
            "text too; train one with bidirectional=False"
        )
    if layer.cell() not in EQUATIONS:
        raise TypeError(f"expected one of minigrad's own cells, whose gates are known, got that of {kind}")
    return kind


def _single(layer: Any, x: Any, state: Any) -> tuple[Tensor, Any]:
    """One sequence as (T, 1, D), and its state as (L, 1, H)."""
    if type(x) is not Tensor or x.ndim not in (2, 3) or x.shape[-1] != layer.input_size:
        came = describe(x) if type(x) is Tensor else type(x).__name__
        raise ValueError(f"expected one sequence (T, {layer.input_size}) for {layer!r}, got {came}")
    if x.ndim == 2:
        if state is not None:
            parts = [part.reshape(part.shape[0], 1, part.shape[-1]) for part in layer._parts(state)]
            state = layer._joined(parts)
        return x.reshape(x.shape[0], 1, x.shape[1]), state
    if layer.batch_first:
        x = x.transpose(1, 0, 2)
    if x.shape[1] != 1:
        raise ValueError(f"expected one sequence, got {x.shape[1]} side by side; take one of them")
    return x, state


def _states(layer: Any, share: Tensor, state: Any, hh: Any) -> Iterator[list[Tensor]]:
    """The parts of the state after each step, by the layer's own cell."""
    cell = layer.cell()
    for x_t in unstack(share):
        state = cell(x_t, state, hh)
        yield layer._parts(state)


def _on_host(x: Tensor) -> Array:
    array = x.data.reshape(x.shape[0], x.shape[-1])
    return namespace_of(array).to_host(array)


# The gates ----------------------------------------------------------------------------------------

# (x's share (T, 1, GH), h_{t-1}, weights, c_{t-1}, c_t) -> (gates, what is proposed); the equations are in nn/cells.py.
Gates = tuple[dict[str, Tensor], Tensor | None]


def _none(share: Tensor, h: Tensor, hh: Any, *_: Any) -> Gates:
    return {}, None


def _named(i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Gates:
    return dict(zip(LSTM_GATES, map(sigmoid, (i, f, o)), strict=True)), tanh(g)


def _lstm(share: Tensor, h: Tensor, hh: Any, *_: Any) -> Gates:
    return _named(*split(linear(h, hh.weight, share), 4, axis=-1))


def _normalized(share: Tensor, h: Tensor, hh: Any, *_: Any) -> Gates:
    return _named(*split(share + hh.gain * norm(linear(h, hh.weight, 0.0)), 4, axis=-1))


def _peephole(share: Tensor, h: Tensor, hh: Any, c: Tensor, new: Tensor) -> Gates:
    i, f, g, o = split(linear(h, hh.weight, share), 4, axis=-1)
    return _named(i + hh.p_i * c, f + hh.p_f * c, g, o + hh.p_o * new)


def _gru(share: Tensor, h: Tensor, hh: Any, *_: Any) -> Gates:
    r_x, z_x, n_x = split(share, 3, axis=-1)
    r_h, z_h, n_h = split(linear(h, hh.weight, hh.bias), 3, axis=-1)
    r, z = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
    return {"reset": r, "update": z}, tanh(n_x + r * n_h)


def _gru_reset_before(share: Tensor, h: Tensor, hh: Any, *_: Any) -> Gates:
    rz_x, n_x = split(share, [2 * h.shape[-1]], axis=-1)
    r, z = split(sigmoid(linear(h, hh.weight, rz_x)), 2, axis=-1)
    return {"reset": r, "update": z}, tanh(linear(r * h, hh.weight_n, n_x))


EQUATIONS: dict[Any, Callable[..., Gates]] = {
    rnn_tanh: _none,
    rnn_relu: _none,
    lstm: _lstm,
    lstm_projected: _lstm,
    lstm_normalized: _normalized,
    lstm_peephole: _peephole,
    gru: _gru,
    gru_reset_before: _gru_reset_before,
}
