"""The recurrent cells: the equations, as plain primitives in textbook order.

N: batch   D: input size   H: hidden size   P: size of a projected h

A cell is a pure function (x, state, hh) -> state. Its `x` is the input's share of every gate, W_ih x + b,
which does not depend on the state: the layers compute it for all time steps in one product. `hh` holds
what else the equations name. m is the mask of recurrent dropout; where there is none, m ⊙ h is h.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..graph import Tensor
from ..ops.elementwise import relu, sigmoid, tanh
from ..ops.shape import split


class Recurrent(NamedTuple):
    """What a cell needs besides its input and state: the weights of the state."""

    weight_t: Tensor  # (H, GH): W_hh transposed, once for all time steps
    bias: Tensor | None  # (GH,): b_hh, where it cannot join the input's bias
    mask: Tensor | None  # (N, H): m, the same at all time steps
    projection_t: Tensor | None = None  # (H, P): W_hr transposed


def dropped(h: Tensor, hh: Any) -> Tensor:
    """m ⊙ h: the state as it enters the recurrent product."""
    return h if hh.mask is None else h * hh.mask


def rnn_tanh(x: Tensor, h: Tensor, hh: Recurrent) -> Tensor:
    """h' = tanh(W_ih x + b + W_hh (m ⊙ h))          x (N, H), h (N, H)"""
    return tanh(x + dropped(h, hh) @ hh.weight_t)


def rnn_relu(x: Tensor, h: Tensor, hh: Recurrent) -> Tensor:
    """h' = relu(W_ih x + b + W_hh (m ⊙ h))          x (N, H), h (N, H)"""
    return relu(x + dropped(h, hh) @ hh.weight_t)


def lstm(x: Tensor, state: tuple[Tensor, Tensor], hh: Recurrent) -> tuple[Tensor, Tensor]:
    """i, f, g, o = W_ih x + b + W_hh (m ⊙ h)        x (N, 4H), h (N, H), c (N, H)
    c' = σ(f) ⊙ c + σ(i) ⊙ tanh(g)
    h' = σ(o) ⊙ tanh(c')

    Source: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.
    """
    h, c = state
    i, f, g, o = split(x + dropped(h, hh) @ hh.weight_t, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(c)
    return h, c


def lstm_projected(x: Tensor, state: tuple[Tensor, Tensor], hh: Recurrent) -> tuple[Tensor, Tensor]:
    """The equations of `lstm`, and h' = W_hr (σ(o) ⊙ tanh(c'))          x (N, 4H), h (N, P), c (N, H)

    Source: Sak et al. 2014, arXiv 1402.1128.
    """
    h, c = lstm(x, state, hh)
    return h @ hh.projection_t, c


def gru(x: Tensor, h: Tensor, hh: Recurrent) -> Tensor:
    """r = σ(W_ir x + b_ir + W_hr (m ⊙ h) + b_hr)            x (N, 3H), h (N, H)
    z = σ(W_iz x + b_iz + W_hz (m ⊙ h) + b_hz)
    n = tanh(W_in x + b_in + r ⊙ (W_hn (m ⊙ h) + b_hn))      the reset gate acts after the product
    h' = (1 - z) ⊙ n + z ⊙ h

    Source: the variant of cuDNN and PyTorch.
    """
    rx, zx, nx = split(x, 3, axis=-1)
    hx = dropped(h, hh) @ hh.weight_t
    rh, zh, nh = split(hx if hh.bias is None else hx + hh.bias, 3, axis=-1)
    r = sigmoid(rx + rh)
    z = sigmoid(zx + zh)
    n = tanh(nx + r * nh)
    return (1 - z) * n + z * h


def gru_reset_before(x: Tensor, h: Tensor, hh: Recurrent) -> Tensor:
    """r = σ(W_ir x + b_ir + W_hr (m ⊙ h) + b_hr)            x (N, 3H), h (N, H)
    z = σ(W_iz x + b_iz + W_hz (m ⊙ h) + b_hz)
    n = tanh(W_in x + b_in + W_hn (r ⊙ m ⊙ h) + b_hn)        the reset gate acts before the product
    h' = (1 - z) ⊙ n + z ⊙ h

    Source: Cho et al. 2014, arXiv 1406.1078.
    """
    rx, zx, nx = split(x, 3, axis=-1)
    w_rz, w_n = split(hh.weight_t, [2 * h.shape[-1]], axis=-1)
    mh = dropped(h, hh)
    rh, zh = split(mh @ w_rz, 2, axis=-1)
    r = sigmoid(rx + rh)
    z = sigmoid(zx + zh)
    n = tanh(nx + (r * mh) @ w_n)
    return (1 - z) * n + z * h
