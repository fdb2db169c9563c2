"""Two variants of the LSTM: the gates' sums normalised, and gates that look at the cell.

N: batch   D: input size   H: hidden size

Each is a cell and the weights it needs; all else (layers, directions, packed sequences, `step`, the
options) is LSTM's. As in cells.py, x is the input's share of every gate, and m the mask of recurrent dropout.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..graph import Tensor
from ..ops.contraction import linear
from ..ops.elementwise import sigmoid, sqrt, tanh
from ..ops.reduction import mean, var
from ..ops.shape import split
from . import functional as F
from . import init
from .cells import dropped
from .recurrent import LSTM
from .weights import Shape

# Normalised ---------------------------------------------------------------------------------------


def norm(v: Tensor) -> Tensor:
    """norm(v) = (v - mean v) / √(var v + 10⁻⁵), over the last axis"""
    return (v - mean(v, axis=-1, keepdims=True)) / sqrt(var(v, axis=-1, keepdims=True) + 1e-5)


class Normalized(NamedTuple):
    """What the cell of LayerNormLSTM needs besides its input and state."""

    weight: Tensor  # (4H, H): W_hh
    mask: Tensor | None  # (N, H): m
    gain: Tensor  # (4H,): γ_hh
    gain_c: Tensor  # (H,): γ_c
    bias_c: Tensor | None  # (H,): β_c


def lstm_normalized(x: Tensor, state: tuple[Tensor, Tensor], hh: Normalized) -> tuple[Tensor, Tensor]:
    """i, f, g, o = γ_ih ⊙ norm(W_ih x) + b + γ_hh ⊙ norm(W_hh (m ⊙ h))        x (N, 4H), h (N, H), c (N, H)
    c' = σ(f) ⊙ c + σ(i) ⊙ tanh(g)
    h' = σ(o) ⊙ tanh(γ_c ⊙ norm(c') + β_c)
    """
    h, c = state
    i, f, g, o = split(x + hh.gain * norm(linear(dropped(h, hh), hh.weight, 0.0)), 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    shown = hh.gain_c * norm(c)
    h = sigmoid(o) * tanh(shown if hh.bias_c is None else shown + hh.bias_c)
    return h, c


class LayerNormLSTM(LSTM):
    """An LSTM whose sums are normalised: the input's share, the state's share, and the cell on its way out.

    Equations, norm(v) = (v - mean v) / √(var v + 10⁻⁵) over all entries of v:
    i, f, g, o = γ_ih ⊙ norm(W_ih x_t) + b_ih + γ_hh ⊙ norm(W_hh h_{t-1}) + b_hh,
    c_t = σ(f) ⊙ c_{t-1} + σ(i) ⊙ tanh(g),  h_t = σ(o) ⊙ tanh(γ_c ⊙ norm(c_t) + β_c).
    Parameters, per layer l, besides LSTM's: gain_ih_l{l}, gain_hh_l{l} (4H,), gain_c_l{l} (H,), ones at first; and
    bias_c_l{l} (H,), zeros at first, if bias. The biases of the first two norms are b_ih and b_hh.
    Source: Ba et al. 2016, arXiv 1607.06450, equations 20 to 22. Arguments and shapes: LSTM's; there is no projection.

    Raises:
        ValueError: as for LSTM, or proj_size is given.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> output, (h, c) = nn.LayerNormLSTM(3, 5, num_layers=2)(mg.zeros((7, 4, 3)))
    >>> output.shape, c.shape
    ((7, 4, 5), (2, 4, 5))
    """

    projects = False

    def cell(self) -> Callable[[Tensor, Any, Any], Any]:
        return lstm_normalized

    def _weight_shapes(self, input_size: int) -> dict[str, Shape]:
        H = self.hidden_size
        gains: dict[str, Shape] = {"gain_ih": (4 * H,), "gain_hh": (4 * H,), "gain_c": (H,)}
        return super()._weight_shapes(input_size) | gains | ({"bias_c": (H,)} if self.bias else {})

    def _fill(self, name: str, weight: Tensor) -> None:
        if name.startswith("gain"):
            init.ones_(weight)
        elif name == "bias_c":
            init.zeros_(weight)
        else:
            super()._fill(name, weight)

    def _input_share(self, x: Tensor, suffix: str) -> Tensor:
        own, bias = vars(self), self._input_bias(suffix)
        share: Tensor = own["gain_ih" + suffix] * norm(F.linear(x, own["weight_ih" + suffix]))
        return share if bias is None else share + bias

    def _recurrent(self, suffix: str, mask: Tensor | None) -> Normalized:
        own = vars(self)
        gain, gain_c = own["gain_hh" + suffix], own["gain_c" + suffix]
        return Normalized(own["weight_hh" + suffix], mask, gain, gain_c, own.get("bias_c" + suffix))


# Looking at the cell ------------------------------------------------------------------------------


class Peepholes(NamedTuple):
    """What the cell of PeepholeLSTM needs besides its input and state."""

    weight: Tensor  # (4H, H): W_hh
    mask: Tensor | None  # (N, H): m
    p_i: Tensor  # (H,), each a diagonal matrix
    p_f: Tensor
    p_o: Tensor


def lstm_peephole(x: Tensor, state: tuple[Tensor, Tensor], hh: Peepholes) -> tuple[Tensor, Tensor]:
    """i, f, g, o = W_ih x + b + W_hh (m ⊙ h)                  x (N, 4H), h (N, H), c (N, H)
    c' = σ(f + p_f ⊙ c) ⊙ c + σ(i + p_i ⊙ c) ⊙ tanh(g)
    h' = σ(o + p_o ⊙ c') ⊙ tanh(c')
    """
    h, c = state
    i, f, g, o = split(linear(dropped(h, hh), hh.weight, x), 4, axis=-1)
    c = sigmoid(f + hh.p_f * c) * c + sigmoid(i + hh.p_i * c) * tanh(g)
    h = sigmoid(o + hh.p_o * c) * tanh(c)
    return h, c


class PeepholeLSTM(LSTM):
    """An LSTM whose gates also look at the cell: input and forget gate at the old one, the output gate at the new.

    Equations: i, f, g, o = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh,
    c_t = σ(f + p_f ⊙ c_{t-1}) ⊙ c_{t-1} + σ(i + p_i ⊙ c_{t-1}) ⊙ tanh(g),  h_t = σ(o + p_o ⊙ c_t) ⊙ tanh(c_t).
    Parameters, per layer l, besides LSTM's: weight_ch_l{l} (3H,), p_i, p_f and p_o, uniform in ±1/√H.
    Source: Gers and Schmidhuber 2000, "Recurrent nets that time and count". Arguments and shapes: LSTM's; there
    is no projection.

    Raises:
        ValueError: as for LSTM, or proj_size is given.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> lstm = nn.PeepholeLSTM(3, 5, bidirectional=True)
    >>> lstm(mg.zeros((7, 4, 3)))[0].shape, lstm.weight_ch_l0.shape
    ((7, 4, 10), (15,))
    """

    projects = False

    def cell(self) -> Callable[[Tensor, Any, Any], Any]:
        return lstm_peephole

    def _weight_shapes(self, input_size: int) -> dict[str, Shape]:
        return super()._weight_shapes(input_size) | {"weight_ch": (3 * self.hidden_size,)}

    def _recurrent(self, suffix: str, mask: Tensor | None) -> Peepholes:
        own = vars(self)
        return Peepholes(own["weight_hh" + suffix], mask, *split(own["weight_ch" + suffix], 3))
