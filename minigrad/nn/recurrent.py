"""Recurrent layers. The three cells come first, as plain primitives in textbook order.

T: time steps   N: batch   D: input size   H: hidden size   L: layers   G: gates (1, 4 or 3)

A cell is a pure function (x, state) -> state. Its `x` is the input's share of every gate, W_ih x + b,
which does not depend on the state: the layers compute it for all time steps in one product.
A layer hides no state: it takes the first one and returns the last one.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from ..creation import zeros
from ..ops.elementwise import relu, sigmoid, tanh
from ..ops.shape import split, stack, unstack
from ..tape import Tensor, describe
from . import functional as F
from . import init
from .linear import empty_parameter
from .module import Module


class Recurrent(NamedTuple):
    """What a cell needs besides its input and state: the weights of the state."""

    weight_t: Tensor  # (H, GH): W_hh transposed, once for all time steps
    bias: Tensor | None  # (GH,): only where it cannot be added to the input's bias


# The cells ----------------------------------------------------------------------------------------


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
    rh, zh, nh = split(_plus(h @ hh.weight_t, hh.bias), 3, axis=-1)
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
    size = h.shape[-1]
    rx, zx, nx = split(x, 3, axis=-1)
    rh, zh = split(_plus(h @ hh.weight_t[:, : 2 * size], None if hh.bias is None else hh.bias[: 2 * size]), 2, axis=-1)
    r = sigmoid(rx + rh)
    z = sigmoid(zx + zh)
    n = tanh(nx + _plus((r * h) @ hh.weight_t[:, 2 * size :], None if hh.bias is None else hh.bias[2 * size :]))
    return (1 - z) * n + z * h


def _plus(x: Tensor, bias: Tensor | None) -> Tensor:
    return x if bias is None else x + bias


# What the three have in common --------------------------------------------------------------------


class _Kind(Module):
    """A cell, how many gates it has, and what its state is; shared by the layers and the single cells."""

    gates: int
    has_memory = False  # whether the state is a pair (h, c)
    adds_biases = True  # whether b_hh may be added to b_ih ahead of time

    hidden_size: int

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


class _RNNKind(_Kind):
    gates = 1
    nonlinearity: str

    def cell(self) -> Callable[[Tensor, Any, Recurrent], Any]:
        return rnn_tanh if self.nonlinearity == "tanh" else rnn_relu

    def _set_nonlinearity(self, nonlinearity: str) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f'{type(self).__name__}: expected nonlinearity "tanh" or "relu", got {nonlinearity!r}')
        self.nonlinearity = nonlinearity


class _LSTMKind(_Kind):
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


class _GRUKind(_Kind):
    gates = 3
    adds_biases = False
    reset_after: bool

    def cell(self) -> Callable[[Tensor, Any, Recurrent], Any]:
        return gru if self.reset_after else gru_reset_before


# Whole sequences ----------------------------------------------------------------------------------


class _Layers(_Kind):
    """L layers over a whole sequence."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        device: str | None,
        dtype: Any,
    ) -> None:
        name = type(self).__name__
        for what, size in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ValueError(f"{name}: expected {what} to be a positive integer, got {size!r}")
        if not 0.0 <= dropout <= 1.0:
            raise ValueError(f"{name}: expected dropout to be a probability from 0 to 1, got {dropout}")
        if dropout and num_layers == 1:
            warnings.warn(f"{name}: dropout acts between layers, and there is only one", stacklevel=3)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, dropout
        for layer in range(num_layers):
            self._make_weights(f"_l{layer}", input_size if layer == 0 else hidden_size, bias, device, dtype)

    def forward(self, x: Any, state: Any = None) -> tuple[Tensor, Any]:
        """Run the whole sequence.

        Args:
            x: (T, N, D); (N, T, D) if batch_first; (T, D) for a single sequence.
            state: what an earlier call returned, or None for zeros: h (L, N, H), for an LSTM the pair
                (h, c) of these; (L, H) for a single sequence.

        Returns:
            (output, state): output (T, N, H), the last layer's h at every step, laid out as x is;
            and the state after the last step.

        Raises:
            ValueError: a shape is wrong, or the sequence has no steps.
            TypeError: a dtype is wrong, or the state has the wrong form.
        """
        form = "(N, T, D) or (T, D)" if self.batch_first else "(T, N, D) or (T, D)"
        x = self._check_input(x, self.input_size, (2, 3), form)
        batched = x.ndim == 3
        if not batched:
            x = x.reshape(x.shape[0], 1, x.shape[1])
        elif self.batch_first:
            x = x.transpose(1, 0, 2)
        if x.shape[0] == 0:
            raise ValueError(f"{type(self).__name__}: expected at least one time step, got an input of shape {x.shape}")

        state_shape = (self.num_layers, x.shape[1], self.hidden_size)
        whole = self._check_state(state, state_shape if batched else (state_shape[0], state_shape[2]), x)
        if not batched:
            whole = [part.reshape(state_shape) for part in whole]
        first = [self._joined(list(parts)) for parts in zip(*(unstack(part) for part in whole), strict=True)]
        last = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = F.dropout(x, self.dropout, self.training)
            x, final = self._run_layer(x, first[layer], f"_l{layer}")
            last.append(final)

        parts = [stack([s[k] for s in last]) for k in range(2)] if self.has_memory else [stack(last)]
        if not batched:
            x, parts = x.squeeze(1), [part.squeeze(1) for part in parts]
        elif self.batch_first:
            x = x.transpose(1, 0, 2)
        return x, self._joined(parts)

    def _run_layer(self, x: Tensor, state: Any, suffix: str) -> tuple[Tensor, Any]:
        """One layer over all time steps.          x (T, N, D)"""
        w_ih, bias, hh = self._weights(suffix)
        step = self.cell()
        outputs = []
        for x_t in unstack(F.linear(x, w_ih, bias)):  # (T, N, GH), then (N, GH) each
            state = step(x_t, state, hh)
            outputs.append(state[0] if self.has_memory else state)
        return stack(outputs), state

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        ordinary = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "nonlinearity": "tanh",
                    "forget_bias": None, "reset_after": True}  # fmt: skip
        own = vars(self)
        return ", ".join(parts + [f"{k}={own[k]!r}" for k, usual in ordinary.items() if k in own and own[k] != usual])


class RNN(_RNNKind, _Layers):
    """The Elman network over a sequence: h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), or relu.

    Shapes: x (T, N, D), state h (L, N, H), output (T, N, H); see `forward`.
    Parameters, per layer l: weight_ih_l{l} (H, D), weight_hh_l{l} (H, H), bias_ih_l{l}, bias_hh_l{l} (H,).

    Args:
        input_size, hidden_size, num_layers: D, H, L.
        nonlinearity: "tanh" or "relu".
        bias: whether there are biases.
        batch_first: whether x and the output are (N, T, ...); the state never is.
        dropout: probability of dropping what goes from one layer to the next, while training.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> output, h = nn.RNN(3, 5, num_layers=2)(mg.zeros((7, 4, 3)))
    >>> output.shape, h.shape
    ((7, 4, 5), (2, 4, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        *,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self._set_nonlinearity(nonlinearity)
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, device, dtype)


class LSTM(_LSTMKind, _Layers):
    """Long short-term memory over a sequence; its equations are those of the cell, `lstm`.

    Shapes: x (T, N, D), state (h, c) of (L, N, H) each, output (T, N, H); see `forward`.
    Parameters, per layer l: weight_ih_l{l} (4H, D), weight_hh_l{l} (4H, H), bias_ih_l{l}, bias_hh_l{l} (4H,),
    gates in the order i, f, g, o, as in PyTorch.

    Args:
        input_size, hidden_size, num_layers: D, H, L.
        bias, batch_first, dropout: as for RNN.
        forget_bias: what b_ih + b_hh of the forget gate starts from (1 is common: Jozefowicz et al.
            2015); None leaves it as random as the others, as PyTorch does.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> output, (h, c) = nn.LSTM(3, 5)(mg.zeros((7, 4, 3)))
    >>> output.shape, h.shape, c.shape
    ((7, 4, 5), (1, 4, 5), (1, 4, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        *,
        forget_bias: float | None = None,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.forget_bias = forget_bias
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, device, dtype)


class GRU(_GRUKind, _Layers):
    """Gated recurrent units over a sequence; the equations are those of `gru`, or of `gru_reset_before`.

    Shapes: x (T, N, D), state h (L, N, H), output (T, N, H); see `forward`.
    Parameters, per layer l: weight_ih_l{l} (3H, D), weight_hh_l{l} (3H, H), bias_ih_l{l}, bias_hh_l{l} (3H,),
    gates in the order r, z, n, as in PyTorch.

    Args:
        input_size, hidden_size, num_layers: D, H, L.
        bias, batch_first, dropout: as for RNN.
        reset_after: True: the reset gate acts on W_hn h + b_hn, after the product (cuDNN, PyTorch);
            False: on h, before it (Cho et al. 2014).

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> output, h = nn.GRU(3, 5, batch_first=True)(mg.zeros((4, 7, 3)))
    >>> output.shape, h.shape
    ((4, 7, 5), (1, 4, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        *,
        reset_after: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.reset_after = reset_after
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, device, dtype)


# Single steps -------------------------------------------------------------------------------------


class _Cell(_Kind):
    """One time step of one layer."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool, device: str | None, dtype: Any) -> None:
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


class RNNCell(_RNNKind, _Cell):
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


class LSTMCell(_LSTMKind, _Cell):
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


class GRUCell(_GRUKind, _Cell):
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
