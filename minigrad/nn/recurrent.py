"""Recurrent layers over whole sequences: the cells of cells.py, in layers, one time step after the other.

T: time steps   N: batch   D: input size   H: hidden size   L: layers   G: gates (1, 4 or 3)

A layer hides no state: it takes the first one and returns the last one.
"""

from __future__ import annotations

import warnings
from typing import Any

from ..ops.shape import stack, unstack
from ..tape import Tensor
from . import functional as F
from .cells import GRUBase, LSTMBase, RecurrentBase, RNNBase
from .module import check_sizes


class _Layers(RecurrentBase):
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
        check_sizes(self, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        F.check_probability(f"{name}, dropout", dropout)
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


class RNN(RNNBase, _Layers):
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


class LSTM(LSTMBase, _Layers):
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


class GRU(GRUBase, _Layers):
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
