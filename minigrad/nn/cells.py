"""The recurrent cells: the equations, as plain primitives in textbook order.

N: batch   D: input size   H: hidden size   P: size of a projected h

A cell is a pure function (x, state, hh) -> state. Its `x` is the input's share of every gate, W_ih x + b,
which does not depend on the state: the layers compute it for all time steps in one product. `hh` holds
what else the equations name. m is the mask of recurrent dropout; where there is none, m ⊙ h is h.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..fusion.fused import fuse
from ..graph import Tensor
from ..ops.contraction import linear
from ..ops.elementwise import relu, sigmoid, tanh
from ..ops.shape import split


class Recurrent(NamedTuple):
    """What a cell needs besides its input and state: the weights of the state."""

    weight: Tensor  # (GH, H): W_hh
    bias: Tensor | float  # (GH,): b_hh, where it cannot join the input's bias, or 0
    mask: Tensor | None  # (N, H): m, the same at all time steps
    projection: Tensor | None = None  # (P, H): W_hr
    weight_n: Tensor | None = None  # (H, H): W_hn, where it has a product of its own


def dropped(h: Tensor, hh: Any) -> Tensor:
    """m ⊙ h: the state as it enters the recurrent product."""
    return h if hh.mask is None else h * hh.mask


def rnn_tanh(x: Tensor, h: Tensor, hh: Recurrent) -> Tensor:
    """h' = tanh(W_ih x + b + W_hh (m ⊙ h))          x (N, H), h (N, H)"""
    return tanh(linear(dropped(h, hh), hh.weight, x))


def rnn_relu(x: Tensor, h: Tensor, hh: Recurrent) -> Tensor:
    """h' = relu(W_ih x + b + W_hh (m ⊙ h))          x (N, H), h (N, H)"""
    return relu(linear(dropped(h, hh), hh.weight, x))


def lstm(x: Tensor, state: tuple[Tensor, Tensor], hh: Recurrent) -> tuple[Tensor, Tensor]:
    """i, f, g, o = W_ih x + b + W_hh (m ⊙ h)        x (N, 4H), h (N, H), c (N, H)
    c' = σ(f) ⊙ c + σ(i) ⊙ tanh(g)
    h' = σ(o) ⊙ tanh(c')

    Source: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.
    """
    h, c = state
    h, c = lstm_gates(linear(dropped(h, hh), hh.weight, x), c)
    return h, c


@fuse(fallback=True)
def lstm_gates(ifgo: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """c' = σ(f) ⊙ c + σ(i) ⊙ tanh(g),  h' = σ(o) ⊙ tanh(c')"""
    i, f, g, o = split(ifgo, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(c)
    return h, c


def lstm_projected(x: Tensor, state: tuple[Tensor, Tensor], hh: Recurrent) -> tuple[Tensor, Tensor]:
    """The equations of `lstm`, and h' = W_hr (σ(o) ⊙ tanh(c'))          x (N, 4H), h (N, P), c (N, H)

    Source: Sak et al. 2014, arXiv 1402.1128.
    """
    h, c = lstm(x, state, hh)
    return linear(h, hh.projection, 0.0), c


def gru(x: Tensor, h: Tensor, hh: Recurrent) -> Tensor:
    """r = σ(W_ir x + b_ir + W_hr (m ⊙ h) + b_hr)            x (N, 3H), h (N, H)
    z = σ(W_iz x + b_iz + W_hz (m ⊙ h) + b_hz)
    n = tanh(W_in x + b_in + r ⊙ (W_hn (m ⊙ h) + b_hn))      the reset gate acts after the product
    h' = (1 - z) ⊙ n + z ⊙ h

    Source: the variant of cuDNN and PyTorch.
    """
    new: Tensor = gru_gates(x, linear(dropped(h, hh), hh.weight, hh.bias), h)
    return new


@fuse(fallback=True)
def gru_gates(rzn_x: Tensor, rzn_h: Tensor, h: Tensor) -> Tensor:
    """r = σ(r_x + r_h),  z = σ(z_x + z_h),  n = tanh(n_x + r ⊙ n_h),  h' = (1 - z) ⊙ n + z ⊙ h"""
    gates = [2 * h.shape[-1]]
    rz_x, n_x = split(rzn_x, gates, axis=-1)
    rz_h, n_h = split(rzn_h, gates, axis=-1)
    r, z = split(sigmoid(rz_x + rz_h), 2, axis=-1)
    n = tanh(n_x + r * n_h)
    return n + z * (h - n)


def gru_reset_before(x: Tensor, h: Tensor, hh: Recurrent) -> Tensor:
    """r = σ(W_ir x + b_ir + W_hr (m ⊙ h) + b_hr)            x (N, 3H), h (N, H)
    z = σ(W_iz x + b_iz + W_hz (m ⊙ h) + b_hz)
    n = tanh(W_in x + b_in + W_hn (r ⊙ m ⊙ h) + b_hn)        the reset gate acts before the product
    h' = (1 - z) ⊙ n + z ⊙ h

    Source: Cho et al. 2014, arXiv 1406.1078.
    """
    rz_x, n_x = split(x, [2 * h.shape[-1]], axis=-1)
    mh = dropped(h, hh)
    r, z = split(sigmoid(linear(mh, hh.weight, rz_x)), 2, axis=-1)
    n = tanh(linear(r * mh, hh.weight_n, n_x))
    return n + z * (h - n)
