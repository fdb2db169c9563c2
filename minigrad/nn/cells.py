"""The recurrent cells: the equations first, as plain primitives in textbook order, then one step as a module.

N: batch   D: input size   H: hidden size   G: gates (1, 4 or 3)

A cell is a pure function (x, state) -> state. Its `x` is the input's share of every gate, W_ih x + b,
which does not depend on the state: the layers compute it for all time steps in one product.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from ..backend import is_array
from ..creation import zeros
from ..messages import describe
from ..ops.elementwise import relu, sigmoid, tanh
from ..ops.shape import split
from ..tape import Tensor
from . import functional as F
from . import init
from .linear import empty_parameter
from .module import Module, check_sizes


class Recurrent(NamedTuple):
    """What a cell needs besides its input and state: the weights of the state."""

    weight_t: Tensor  # (H, GH): W_hh transposed, once for all time steps
    bias: Tensor | None  # (GH,): b_hh, where it cannot join the input's bias


# The equations ----------------------------------------------------------------------------------------


def rnn_tanh(x: Tensor, h: Tensor, hh: Recurrent) -> Tensor:
    """h' = tanh(W_ih x + b + W_hh h)          x (N, H), h (N, H)"""
    return tanh(x + h @ hh.weight_t)


def rnn_relu(x: Tensor, h: Tensor, hh: Recurrent) -> Tensor:
    """h' = relu(W_ih x + b + W_hh h)          x (N, H), h (N, H)"""
    return relu(x + h @ hh.weight_t)


def lstm(x: Tensor, state: tuple[Tensor, Tensor], hh: Recurrent) -> tuple[Tensor, Tensor]:
    """i, f, g, o = W_ih x + b + W_hh h        x (N, 4H), h (N, H), c (N, H)
    c' = σ(f) ⊙ c + σ(i) ⊙ tanh(g)
    h' = σ(o) ⊙ tanh(c')

    Source: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.
    """
    h, c = state
    i, f, g, o = split(x + h @ hh.weight_t, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(c)
    return h, c


def gru(x: Tensor, h: Tensor, hh: Recurrent) -> Tensor:
    """r = σ(W_ir x + b_ir + W_hr h + b_hr)            x (N, 3H), h (N, H)
    z = σ(W_iz x + b_iz + W_hz h + b_hz)
    n = tanh(W_in x + b_in + r ⊙ (W_hn h + b_hn))      the reset gate acts after the product
    h' = (1 - z) ⊙ n + z ⊙ h

    Source: the variant of cuDNN and PyTorch.
    """
    rx, zx, nx = split(x, 3, axis=-1)
    hx = h @ hh.weight_t
    rh, zh, nh = split(hx if hh.bias is None else hx + hh.bias, 3, axis=-1)
    r = sigmoid(rx + rh)
    z = sigmoid(zx + zh)
    n = tanh(nx + r * nh)
    return (1 - z) * n + z * h


def gru_reset_before(x: Tensor, h: Tensor, hh: Recurrent) -> Tensor:
    """r = σ(W_ir x + b_ir + W_hr h + b_hr)            x (N, 3H), h (N, H)
    z = σ(W_iz x + b_iz + W_hz h + b_hz)
    n = tanh(W_in x + b_in + W_hn (r ⊙ h) + b_hn)      the reset gate acts before the product
    h' = (1 - z) ⊙ n + z ⊙ h

    Source: Cho et al. 2014, arXiv 1406.1078.
    """
    rx, zx, nx = split(x, 3, axis=-1)
    w_rz, w_n = split(hh.weight_t, [2 * h.shape[-1]], axis=-1)
    rh, zh = split(h @ w_rz, 2, axis=-1)
    r = sigmoid(rx + rh)
    z = sigmoid(zx + zh)
    n = tanh(nx + (r * h) @ w_n)
    return (1 - z) * n + z * h


# What the three have in common --------------------------------------------------------------------


class RecurrentBase(Module):
    """A cell, how many gates it has, and what its state is; shared by the layers and the single cells."""

    gates: int
    has_memory = False  # whether the state is a pair (h, c)
    hidden_size: int

    @property
    def adds_biases(self) -> bool:
        """Whether the cell only ever adds b_hh to its gates, so that it can join b_ih ahead of time."""
        return True

    def cell(self) -> Callable[[Tensor, Any, Recurrent], Any]:
        raise NotImplementedError

    def _make_weights(self, suffix: str, input_size: int, bias: bool, device: str | None, dtype: Any) -> None:
        """W_ih (GH, D), W_hh (GH, H), b_ih (GH,), b_hh (GH,): uniform in ±1/√H, as in PyTorch."""
        rows, bound = self.gates * self.hidden_size, 1.0 / math.sqrt(self.hidden_size)
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, input_size), "weight_hh": (rows, self.hidden_size)}
        if bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        for name, shape in shapes.items():
            weight = init.uniform_(empty_parameter(*shape, dtype=dtype, device=device), -bound, bound)
            setattr(self, name + suffix, weight)

    def _weights(self, suffix: str) -> tuple[Tensor, Tensor | None, Recurrent]:
        """W_ih transposed, the bias to add with it, and what the cell needs."""
        own = vars(self)
        w_ih: Tensor = own["weight_ih" + suffix]
        w_hh: Tensor = own["weight_hh" + suffix]
        b_ih: Tensor | None = own.get("bias_ih" + suffix)
        b_hh: Tensor | None = own.get("bias_hh" + suffix)
        if b_ih is not None and b_hh is not None and self.adds_biases:
            return w_ih, b_ih + b_hh, Recurrent(w_hh.T, None)
        return w_ih, b_ih, Recurrent(w_hh.T, b_hh)

    def _check_input(self, data: Any, input_size: int, ndims: tuple[int, int], form: str) -> Tensor:
        name = type(self).__name__
        x = F.as_tensor(data, name)
        if x.ndim not in ndims or x.shape[-1] != input_size:
            raise ValueError(f"{name}: expected an input {form} with D = {input_size}, got {describe(x)}")
        weight: Tensor = next(value for key, value in vars(self).items() if key.startswith("weight_ih"))
        if x.dtype != weight.dtype:
            raise TypeError(
                f"{name}: expected an input of the weights' dtype {weight.dtype}, got {x.dtype}; "
                f'convert it with .astype("{weight.dtype}")'
            )
        return x

    def _check_state(self, state: Any, shape: tuple[int, ...], like: Tensor) -> list[Tensor]:
        """The parts of the state, (h,) or (h, c), each of `shape`; zeros if it is None."""
        name = type(self).__name__
        if state is None:
            return [zeros(shape, dtype=like.dtype, device=like.device) for _ in range(1 + self.has_memory)]
        form = f"a pair (h, c) of Tensors {shape}" if self.has_memory else f"one Tensor h {shape}"
        parts = list(state) if isinstance(state, (tuple, list)) else [state]
        parts = [F.as_tensor(part, name) if is_array(part) else part for part in parts]
        is_pair = isinstance(state, (tuple, list))
        if is_pair != self.has_memory or len(parts) != 1 + self.has_memory or any(type(s) is not Tensor for s in parts):
            came = [describe(s) if type(s) is Tensor else type(s).__name__ for s in parts]
            raise TypeError(
                f"{name}: expected {form} as the state, got {'a tuple of ' if is_pair else ''}{', '.join(came)}"
            )
        for part in parts:
            if part.shape != shape:
                raise ValueError(f"{name}: expected {form} as the state, got one of shape {part.shape}")
            if part.dtype != like.dtype:
                raise TypeError(f"{name}: expected a state of dtype {like.dtype}, got {part.dtype}")
        return parts

    def _joined(self, parts: list[Any]) -> Any:
        return tuple(parts) if self.has_memory else parts[0]


class RNNBase(RecurrentBase):
    gates = 1
    nonlinearity: str

    def cell(self) -> Callable[[Tensor, Any, Recurrent], Any]:
        return rnn_tanh if self.nonlinearity == "tanh" else rnn_relu

    def _set_nonlinearity(self, nonlinearity: str) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f'{type(self).__name__}: expected nonlinearity "tanh" or "relu", got {nonlinearity!r}')
        self.nonlinearity = nonlinearity


class LSTMBase(RecurrentBase):
    gates = 4
    has_memory = True
    forget_bias: float | None

    def cell(self) -> Callable[[Tensor, Any, Recurrent], Any]:
        return lstm

    def _make_weights(self, suffix: str, input_size: int, bias: bool, device: str | None, dtype: Any) -> None:
        super()._make_weights(suffix, input_size, bias, device, dtype)
        if self.forget_bias is not None and not bias:
            raise ValueError(f"{type(self).__name__}: forget_bias={self.forget_bias} needs bias=True")
        if self.forget_bias is not None:  # b_ih + b_hh of the forget gate is then exactly this
            for name, value in (("bias_ih", self.forget_bias), ("bias_hh", 0.0)):
                forget = getattr(self, name + suffix).detach()[self.hidden_size : 2 * self.hidden_size]
                init.constant_(forget, value)


class GRUBase(RecurrentBase):
    gates = 3
    reset_after: bool

    @property
    def adds_biases(self) -> bool:
        return not self.reset_after  # else r multiplies what b_hn was added to

    def cell(self) -> Callable[[Tensor, Any, Recurrent], Any]:
        return gru if self.reset_after else gru_reset_before


# Single steps -------------------------------------------------------------------------------------


class _Cell(RecurrentBase):
    """One time step of one layer."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool, device: str | None, dtype: Any) -> None:
        check_sizes(self, input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        self._make_weights("", input_size, bias, device, dtype)

    def forward(self, x: Any, state: Any = None) -> Any:
        """x (N, D) or (D,), state as returned by an earlier call or None for zeros -> state (N, H) or (H,)."""
        x = self._check_input(x, self.input_size, (1, 2), "(N, D) or (D,)")
        parts = self._check_state(state, (*x.shape[:-1], self.hidden_size), x)
        w_ih, bias, hh = self._weights("")
        return self.cell()(F.linear(x, w_ih, bias), self._joined(parts), hh)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


class RNNCell(RNNBase, _Cell):
    """One step of an RNN: h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu.          x (N, D), h (N, H)

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.RNNCell(3, 5)(mg.zeros((4, 3))).shape
    (4, 5)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self._set_nonlinearity(nonlinearity)
        super().__init__(input_size, hidden_size, bias, device, dtype)


class LSTMCell(LSTMBase, _Cell):
    """One step of an LSTM, (x, (h, c)) -> (h, c); the equations are those of `lstm`.          x (N, D), h and c (N, H)

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> h, c = nn.LSTMCell(3, 5)(mg.zeros((4, 3)))
    >>> h.shape, c.shape
    ((4, 5), (4, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        forget_bias: float | None = None,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.forget_bias = forget_bias
        super().__init__(input_size, hidden_size, bias, device, dtype)


class GRUCell(GRUBase, _Cell):
    """One step of a GRU; the equations are those of `gru`, or of `gru_reset_before`.          x (N, D), h (N, H)

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.GRUCell(3, 5)(mg.zeros((4, 3))).shape
    (4, 5)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        reset_after: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.reset_after = reset_after
        super().__init__(input_size, hidden_size, bias, device, dtype)
