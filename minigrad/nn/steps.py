"""One time step of one layer, as a module: RNNCell, LSTMCell, GRUCell.

N: batch   D: input size   H: hidden size
"""

from __future__ import annotations

from typing import Any

from ..graph import Tensor
from .functional.checks import check_flags, check_sizes
from .weights import GRUBase, LSTMBase, RecurrentBase, RNNBase, Shape


class Step(RecurrentBase):
    """What the three cells share."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        recurrent_init: str | None,
        device: str | None,
        dtype: Any,
    ) -> None:
        check_sizes(type(self).__name__, input_size=input_size, hidden_size=hidden_size)
        check_flags(type(self).__name__, bias=bias)
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        self._set_recurrent_init(recurrent_init)
        self._make_weights(device, dtype)

    def _advance(self, x: Any, state: Any) -> Any:
        x = self._check_input(x, self.input_size, (1, 2), "(N, D) or (D,)")
        shapes = self._state_shapes(*x.shape[:-1])

        def hint(found: Shape) -> str:
            if len(found) == 3:
                return "; a cell has no axis for layers: squeeze it away"
            if len(found) == 2 == x.ndim and found[1:] == shapes[0][1:]:
                return f"; it is of {found[0]} sequences, and the input has {x.shape[0]}"
            return ""

        parts = self._zero_state(shapes, x) if state is None else self._check_state(state, shapes, x, hint)
        return self.cell()(self._input_share(x, ""), self._joined(parts), self._recurrent("", None))


class RNNCell(RNNBase, Step):
    """One step of an RNN: h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu.          x (N, D), h (N, H)

    Parameters: weight_ih (H, D), weight_hh (H, H), bias_ih, bias_hh (H,), uniform in ±1/√H.

    Args:
        input_size, hidden_size: D, H.
        bias: whether there are biases.
        nonlinearity: "tanh" or "relu"; a state dict does not say which.
        recurrent_init: "orthogonal" makes W_hh orthogonal at first; None is PyTorch's.

    Raises:
        ValueError: a size or an option is not one of these.

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
        recurrent_init: str | None = None,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self._set_nonlinearity(nonlinearity)
        super().__init__(input_size, hidden_size, bias, recurrent_init, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> Tensor:
        """input x (N, D) or (D,), state hx = h as an earlier call returned it or None for zeros -> h (N, H) or (H,)."""
        h: Tensor = self._advance(input, hx)
        return h


class LSTMCell(LSTMBase, Step):
    """One step of an LSTM, (x, (h, c)) -> (h, c).          x (N, D), h and c (N, H)

    Equations: i, f, g, o = W_ih x + b_ih + W_hh h + b_hh,
    c' = σ(f) ⊙ c + σ(i) ⊙ tanh(g),  h' = σ(o) ⊙ tanh(c').
    Parameters: weight_ih (4H, D), weight_hh (4H, H), bias_ih, bias_hh (4H,), uniform in ±1/√H.

    Args:
        input_size, hidden_size, bias, recurrent_init: as for RNNCell, each gate's block being orthogonal.
        forget_bias: as for LSTM.

    Raises:
        ValueError: a size or an option is not one of these.

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
        recurrent_init: str | None = None,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.forget_bias = forget_bias
        super().__init__(input_size, hidden_size, bias, recurrent_init, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> tuple[Tensor, Tensor]:
        """input x (N, D) or (D,), state hx = (h, c) as an earlier call returned it or None for zeros -> (h, c)."""
        h, c = self._advance(input, hx)
        return h, c


class GRUCell(GRUBase, Step):
    """One step of a GRU; the equations are those of GRU.          x (N, D), h (N, H)

    Parameters: weight_ih (3H, D), weight_hh (3H, H), bias_ih, bias_hh (3H,), uniform in ±1/√H.

    Args:
        input_size, hidden_size, bias, recurrent_init: as for LSTMCell.
        reset_after: as for GRU; a state dict does not say which.

    Raises:
        ValueError: a size or an option is not one of these.

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
        recurrent_init: str | None = None,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.reset_after = reset_after
        super().__init__(input_size, hidden_size, bias, recurrent_init, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> Tensor:
        """input x (N, D) or (D,), state hx = h as an earlier call returned it or None for zeros -> h (N, H) or (H,)."""
        h: Tensor = self._advance(input, hx)
        return h
