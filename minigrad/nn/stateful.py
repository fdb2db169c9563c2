"""Recurrent layers that keep their state: `y = rnn.step(x)`.

T: time steps   N: batch   D: input size   H: hidden size
"""

from __future__ import annotations

from typing import Any

from ..graph import Tensor
from ..messages import type_name
from ..tensor import detach
from .module import Module, check_module
from .steps import Step


class Kept:
    """A state, out of sight of the module that keeps it: what is looked for among its attributes is not found here."""

    state: Any = None


class Stateful(Module):
    """A recurrent layer that remembers: y = rnn.step(x), where the call before left off.

    Equation: y_t, s_t = layer(x_t, s_{t-1}); before the first step, and after `reset()`, s is the layer's own first
    state, zeros or learned.
    Shapes: x (N, D) or (D,), y (N, H) or (H,), as for the layer's own `step`.

    The layers themselves hide nothing: they take a state and give one back. Here it is kept in `state`, as the layer
    gives it, h or (h, c), with its graph, so that a loss over several steps is differentiated through all of them. The
    graph grows until `detach()`, which keeps the state and forgets where it came from, or `reset()`; inside
    `mg.no_grad()` there is none. The state is no parameter and no buffer: `state_dict()` does not save it, `to()` does
    not move it; and it is copied or pickled only when it is detached. `step` is no pure function of x, which
    `mg.checkpoint` and derivatives of functions need: give these the layer itself.

    Args:
        layer: an RNN, LSTM or GRU of one direction, or one of their kin; a cell; or any module with
            step(input, state) -> (output, state).

    Attributes:
        layer: what is wrapped. A state dict has its parameters as layer.weight_ih_l0 and so on; one of the layer
            alone is loaded into `rnn.layer`.
        state: what the last call left; None if the next one begins anew. It may be set, to a Parameter as well.

    Raises:
        TypeError: it is no recurrent layer, or it keeps its state already.
        ValueError: it is bidirectional: it would have to see the end first.

    Source: Karpathy 2015, "The Unreasonable Effectiveness of Recurrent Neural Networks", whose `step` this is.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> rnn1, rnn2 = nn.Stateful(nn.LSTM(3, 5)), nn.Stateful(nn.GRU(5, 2))
    >>> for x in mg.randn((7, 4, 3)):                       # (T, N, D), a time step each
    ...     y1 = rnn1.step(x)
    ...     y = rnn2.step(y1)                               # stacked
    >>> y.shape, rnn2.state.shape
    ((4, 2), (1, 4, 2))
    >>> (y**2).sum().backward()                             # back through all 7 steps of both
    >>> for rnn in rnn1, rnn2:
    ...     rnn.detach()                                    # go on, but no gradient goes back beyond here
    >>> rnn1.reset()                                        # or begin anew
    >>> rnn1.state is None
    True
    """

    def __init__(self, layer: Any) -> None:
        if isinstance(layer, Stateful):
            raise TypeError("Stateful: expected a layer that takes its state and gives it back, got a Stateful one")
        check_module(self, layer)
        if not isinstance(layer, Step) and not callable(getattr(layer, "step", None)):
            raise TypeError(
                "Stateful: expected a recurrent layer, a cell, or a module with step(input, state) -> (output, state), "
                f"got {type_name(layer)}"
            )
        if getattr(layer, "bidirectional", False):
            raise ValueError(
                f"Stateful: expected a layer of one direction, got a bidirectional {type_name(layer)}: it has to see "
                "the end of the sequence first, so call it on the whole sequence"
            )
        self.layer: Any = layer
        self._kept = Kept()

    @property
    def state(self) -> Any:
        return self._kept.state

    @state.setter
    def state(self, state: Any) -> None:
        self._kept.state = state

    def step(self, input: Any) -> Tensor:
        """One time step: y, and the state goes on. Two dimensions of x are (N, D): no time.

        While training a layer draws its masks of dropout anew for each step, so call it in evaluation.

        Args:
            input: x, (N, D), or (D,) for a single sequence; as many sequences as in the call before.

        Raises:
            ValueError: a shape is wrong, or not that of the call before. The state is then as it was.
            TypeError: a dtype is wrong.
        """
        y: Tensor = self._advanced(self._one_step if isinstance(self.layer, Step) else self.layer.step, input)
        return y

    def _one_step(self, x: Any, state: Any) -> tuple[Tensor, Any]:
        """A cell's, in the form of a layer's."""
        state = self.layer(x, state)
        return (state[0] if self.layer.has_memory else state), state

    def forward(self, input: Any) -> Any:
        """A whole sequence at once, from where the call before left off: its output, as the layer gives it.

        Two dimensions of x are (T, D): one sequence, and time.

        Args:
            input: (T, N, D), or what else the layer reads.

        Raises:
            TypeError: it is a cell, which has no time.
            ValueError: a shape is wrong, or not that of the call before. The state is then as it was.

        >>> import minigrad as mg
        >>> from minigrad import nn
        >>> rnn = nn.Stateful(nn.RNN(3, 5))
        >>> rnn(mg.randn((7, 4, 3))).shape, rnn.step(mg.randn((4, 3))).shape
        ((7, 4, 5), (4, 5))
        """
        if isinstance(self.layer, Step):
            raise TypeError(f"Stateful: a {type_name(self.layer)} reads one time step: call step(x) for each")
        return self._advanced(self.layer, input)

    def _advanced(self, call: Any, input: Any) -> Any:
        try:
            found = call(input, self.state)
        except ValueError as error:
            if self.state is not None:
                error.add_note("The state is that of the call before; reset() begins anew.")
            raise
        if not isinstance(found, tuple) or len(found) != 2:
            raise TypeError(
                f"Stateful: expected (output, state) from {type_name(self.layer)}, got {type_name(found)}"
                + (f" of {len(found)}" if isinstance(found, tuple) else "")
            )
        output, self.state = found
        return output

    def reset(self) -> None:
        """Forget all: the next call begins with the layer's own first state."""
        self.state = None

    def detach(self) -> None:
        """Keep the state, but no gradient flows further back than here: what truncates backpropagation through time.

        >>> import minigrad as mg
        >>> from minigrad import nn
        >>> rnn = nn.Stateful(nn.RNN(3, 5))
        >>> y = rnn.step(mg.randn((4, 3)))
        >>> rnn.detach()
        >>> rnn.state.requires_grad
        False
        """
        self.state = detach(self.state)
