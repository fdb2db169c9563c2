"""RNN, LSTM and GRU: the layers over whole sequences, with PyTorch's signatures.

T: time steps   N: batch   D: input size   H: hidden size   P: size of a projected h
L: layers   K: L, or 2L if bidirectional
"""

from __future__ import annotations

from typing import Any

from ..graph import Tensor
from .sequence import Layers
from .weights import GRUBase, LSTMBase, RNNBase


class RNN(RNNBase, Layers):
    """The Elman network over a sequence: h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), or relu.

    Shapes: x (T, N, D), state h (K, N, H), output (T, N, H), or (T, N, 2H) if bidirectional; see `forward`.
    Parameters, per layer l: weight_ih_l{l} (H, D), weight_hh_l{l} (H, H), bias_ih_l{l}, bias_hh_l{l} (H,), uniform
    in ±1/√H; if bidirectional the same again, with names that end in _reverse; and h_0 (K, 1, H), zeros at first,
    if the initial state is learned.

    Args:
        input_size, hidden_size, num_layers: D, H, L.
        nonlinearity: "tanh" or "relu". Both have the same parameters, so a state dict does not say which one it
            is of, and loads into either.
        bias: whether there are biases.
        batch_first: whether x and the output are (N, T, ...); the state never is.
        dropout: probability of dropping what goes from one layer to the next, while training.
        bidirectional: whether each layer also runs from the end to the start; the next layer sees both.
        proj_size: 0; only LSTM has a projection.
        recurrent_init: "orthogonal" makes each gate's block of W_hh orthogonal (Saxe et al. 2013); None leaves it
            uniform, as PyTorch does.
        learn_initial_state: whether the state used when none is given is a parameter, the same for each
            sequence of the batch, instead of zeros.
        locked_dropout: whether the mask of `dropout` is the same at all time steps, drawn anew for each
            sequence and call (Gal and Ghahramani 2016, arXiv 1512.05287), instead of anew at each step.
        recurrent_dropout: probability of dropping an entry of h where it enters the recurrent product W_hh h,
            while training: one mask m per sequence, layer and direction, the same at all time steps (Gal and
            Ghahramani 2016). h itself, as output and in z ⊙ h of a GRU, is whole.

    Raises:
        ValueError: a size, probability or option is not one of these.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> output, h = nn.RNN(3, 5, num_layers=2)(mg.zeros((7, 4, 3)))
    >>> output.shape, h.shape
    ((7, 4, 5), (2, 4, 5))
    >>> output, h = nn.RNN(3, 5, bidirectional=True)(mg.zeros((7, 4, 3)))
    >>> output.shape, h.shape
    ((7, 4, 10), (2, 4, 5))
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
        bidirectional: bool = False,
        *,
        proj_size: int = 0,
        recurrent_init: str | None = None,
        learn_initial_state: bool = False,
        locked_dropout: bool = False,
        recurrent_dropout: float = 0.0,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self._set_nonlinearity(nonlinearity)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            proj_size=proj_size,
            recurrent_init=recurrent_init,
            learn_initial_state=learn_initial_state,
            locked_dropout=locked_dropout,
            recurrent_dropout=recurrent_dropout,
            device=device,
            dtype=dtype,
        )

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Tensor]:
        """Run the whole sequence: (output, h).

        Args:
            input: x, (T, N, D); (N, T, D) if batch_first; (T, D) for a single sequence; or a PackedSequence, whose
                padding is never computed.
            hx: the state h (K, N, H) as an earlier call returned it, or None for zeros or for what was learned;
                (K, H) for a single sequence.

        Returns:
            output (T, N, H), the last layer's h at every step, laid out (or packed) as x is, both
            directions side by side; and h (K, N, H) after the last step (backwards: after the first), layer by
            layer, in each forwards before backwards.

        Raises:
            ValueError: a shape is wrong, or the sequence has no steps.
            TypeError: a dtype is wrong, or the state has the wrong form.
        """
        return self._over_sequence(input, hx)

    def step(self, input: Any, hx: Any = None) -> tuple[Tensor, Tensor]:
        """One time step through all layers: (y, h), as `forward` gives on a sequence of one step.

        What sampling uses. While training each call draws its dropout masks anew, so call it in evaluation.

        Args:
            input: x, (N, D), or (D,) for a single sequence.
            hx: as for `forward`.

        Raises:
            ValueError: the layer is bidirectional, or a shape is wrong.
            TypeError: a dtype is wrong, or the state has the wrong form.

        >>> import minigrad as mg
        >>> from minigrad import nn
        >>> y, state = nn.RNN(3, 5)(mg.zeros((7, 3)))         # read a text
        >>> nn.RNN(3, 5).step(mg.zeros(3), state)[0].shape    # and go on from there
        (5,)
        """
        return self._one_step(input, hx)


class LSTM(LSTMBase, Layers):
    """Long short-term memory over a sequence.

    Equations: i, f, g, o = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh,
    c_t = σ(f) ⊙ c_{t-1} + σ(i) ⊙ tanh(g),  h_t = σ(o) ⊙ tanh(c_t), or W_hr (σ(o) ⊙ tanh(c_t)) if projected.
    Shapes: x (T, N, D), state (h, c) of (K, N, H) each, output (T, N, H), or (T, N, 2H) if bidirectional; with a
    projection the h and the output have P in the place of H; see `forward`.
    Parameters, per layer l: weight_ih_l{l} (4H, D), weight_hh_l{l} (4H, H), bias_ih_l{l}, bias_hh_l{l} (4H,),
    weight_hr_l{l} (P, H) if projected, gates in the order i, f, g, o, as in PyTorch; if bidirectional the same
    again, ending in _reverse; and h_0, c_0 (K, 1, H) if the initial state is learned.
    Source: Hochreiter and Schmidhuber 1997; Gers et al. 2000; the projection Sak et al. 2014.

    Args:
        input_size, hidden_size, num_layers: D, H, L.
        bias, batch_first, dropout, bidirectional: as for RNN.
        proj_size: P, below H; 0 for no projection.
        forget_bias: what b_ih + b_hh of the forget gate starts from (1 is common: Jozefowicz et al.
            2015); None leaves it as random as the others, as PyTorch does.
        recurrent_init, learn_initial_state, locked_dropout, recurrent_dropout: as for RNN.

    Raises:
        ValueError: a size, probability or option is not one of these.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> output, (h, c) = nn.LSTM(3, 5)(mg.zeros((7, 4, 3)))
    >>> output.shape, h.shape, c.shape
    ((7, 4, 5), (1, 4, 5), (1, 4, 5))
    >>> nn.LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2)
    LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2)
    """

    projects = True

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        forget_bias: float | None = None,
        recurrent_init: str | None = None,
        learn_initial_state: bool = False,
        locked_dropout: bool = False,
        recurrent_dropout: float = 0.0,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.forget_bias = forget_bias
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            proj_size=proj_size,
            recurrent_init=recurrent_init,
            learn_initial_state=learn_initial_state,
            locked_dropout=locked_dropout,
            recurrent_dropout=recurrent_dropout,
            device=device,
            dtype=dtype,
        )

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, tuple[Tensor, Tensor]]:
        """Run the whole sequence: (output, (h, c)).

        Args:
            input: as for RNN.
            hx: the state (h, c) as an earlier call returned it, (K, N, H) each, or None for zeros or for what was
                learned; (K, H) for a single sequence. A projected h has P in the place of H.

        Returns:
            As for RNN, the state being the pair (h, c).

        Raises:
            ValueError: a shape is wrong, or the sequence has no steps.
            TypeError: a dtype is wrong, or the state has the wrong form.
        """
        return self._over_sequence(input, hx)

    def step(self, input: Any, hx: Any = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One time step through all layers: (y, (h, c)), as `forward` gives on a sequence of one step; see RNN.step.

        >>> import minigrad as mg
        >>> from minigrad import nn
        >>> y, (h, c) = nn.LSTM(3, 5).step(mg.zeros((4, 3)))
        >>> y.shape, h.shape
        ((4, 5), (1, 4, 5))
        """
        return self._one_step(input, hx)


class GRU(GRUBase, Layers):
    """Gated recurrent units over a sequence.

    Equations: r = σ(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr),  z = σ(W_iz x_t + b_iz + W_hz h_{t-1} + b_hz),
    n = tanh(W_in x_t + b_in + r ⊙ (W_hn h_{t-1} + b_hn)), or W_hn (r ⊙ h_{t-1}) + b_hn if not reset_after,
    h_t = (1 - z) ⊙ n + z ⊙ h_{t-1}.
    Shapes: x (T, N, D), state h (K, N, H), output (T, N, H), or (T, N, 2H) if bidirectional; see `forward`.
    Parameters, per layer l: weight_ih_l{l} (3H, D), weight_hh_l{l} (3H, H), bias_ih_l{l}, bias_hh_l{l} (3H,),
    gates in the order r, z, n, as in PyTorch; if bidirectional the same again, ending in _reverse; and
    h_0 (K, 1, H) if the initial state is learned.
    Source: Cho et al. 2014, arXiv 1406.1078; reset_after as in cuDNN and PyTorch.

    Args:
        input_size, hidden_size, num_layers: D, H, L.
        bias, batch_first, dropout, bidirectional, proj_size: as for RNN.
        reset_after: True: the reset gate acts on W_hn h + b_hn, after the product (cuDNN, PyTorch);
            False: on h, before it (Cho et al. 2014). Both have the same parameters, so a state dict does not say
            which one it is of, and loads into either.
        recurrent_init, learn_initial_state, locked_dropout, recurrent_dropout: as for RNN.

    Raises:
        ValueError: a size, probability or option is not one of these.

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
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        reset_after: bool = True,
        recurrent_init: str | None = None,
        learn_initial_state: bool = False,
        locked_dropout: bool = False,
        recurrent_dropout: float = 0.0,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.reset_after = reset_after
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            proj_size=proj_size,
            recurrent_init=recurrent_init,
            learn_initial_state=learn_initial_state,
            locked_dropout=locked_dropout,
            recurrent_dropout=recurrent_dropout,
            device=device,
            dtype=dtype,
        )

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Tensor]:
        """Run the whole sequence: (output, h). Arguments, results and errors are those of RNN.forward."""
        return self._over_sequence(input, hx)

    def step(self, input: Any, hx: Any = None) -> tuple[Tensor, Tensor]:
        """One time step through all layers: (y, h), as `forward` gives on a sequence of one step; see RNN.step.

        >>> import minigrad as mg
        >>> from minigrad import nn
        >>> nn.GRU(3, 5).step(mg.zeros((4, 3)))[0].shape
        (4, 5)
        """
        return self._one_step(input, hx)
