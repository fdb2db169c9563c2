"""What the recurrent layers and the single cells share: their weights, and checks of input and state.

N: batch   D: input size   H: hidden size   P: size of a projected h   G: gates (1, 4 or 3)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ..backend import is_array
from ..creation import zeros
from ..graph import Tensor
from ..messages import describe, type_name
from ..ops.shape import split
from ..tape import as_tensor
from . import functional as F
from . import init
from .cells import Recurrent, gru, gru_reset_before, lstm, lstm_projected, rnn_relu, rnn_tanh
from .functional.checks import check_alike, check_flags, check_numbers
from .locked import locked_mask
from .module import Module
from .parameter import zero_parameter
from .utils.packed import PackedSequence

Shape = tuple[int, ...]


class RecurrentBase(Module):
    """A cell, how many gates it has, and what its state is."""

    gates: int
    has_memory = False  # whether the state is a pair (h, c)
    input_size: int
    hidden_size: int
    bias: bool
    proj_size: int = 0
    recurrent_dropout: float = 0.0
    recurrent_init: str | None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FIXED and vars(self).get(name, value) != value:
            was = vars(self)[name]
            raise AttributeError(
                f"{type(self).__name__}.{name} is fixed when the layer is made, here to {was!r}; make another layer"
            )
        super().__setattr__(name, value)

    @property
    def adds_biases(self) -> bool:
        """Whether the cell only ever adds b_hh to its gates, so that it can join b_ih ahead of time."""
        return True

    def cell(self) -> Callable[[Tensor, Any, Any], Any]:
        raise NotImplementedError

    # Weights --------------------------------------------------------------------------------------

    @property
    def h_size(self) -> int:
        """The size of h: H, or P where it is projected."""
        return self.proj_size or self.hidden_size

    def _set_recurrent_init(self, recurrent_init: str | None) -> None:
        if recurrent_init not in (None, "orthogonal"):
            raise ValueError(
                f'{type(self).__name__}: expected recurrent_init "orthogonal" or None, got {recurrent_init!r}'
            )
        self.recurrent_init = recurrent_init

    def _input_sizes(self) -> dict[str, int]:
        """What the names of the weights end with, for each layer and direction, and the size of its input."""
        return {"": self.input_size}

    def _weight_shapes(self, input_size: int) -> dict[str, Shape]:
        """The weights of one layer in one direction."""
        rows = self.gates * self.hidden_size
        shapes: dict[str, Shape] = {"weight_ih": (rows, input_size), "weight_hh": (rows, self.h_size)}
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.proj_size:
            shapes |= {"weight_hr": (self.proj_size, self.hidden_size)}
        return shapes

    def _learned_state_shapes(self) -> dict[str, Shape]:
        return {}

    def _make_weights(self, device: str | None, dtype: Any) -> None:
        self._shapes = {
            name + suffix: shape
            for suffix, input_size in self._input_sizes().items()
            for name, shape in self._weight_shapes(input_size).items()
        } | self._learned_state_shapes()
        for name, shape in self._shapes.items():
            setattr(self, name, zero_parameter(*shape, dtype=dtype, device=device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the first values of all parameters again, as the options say."""
        for suffix, input_size in self._input_sizes().items():
            for name in self._weight_shapes(input_size):
                if (weight := getattr(self, name + suffix)) is not None:
                    self._fill(name, weight)
            self._fill_gates(suffix)
        for name in self._learned_state_shapes():
            init.zeros_(getattr(self, name))

    def _fill(self, name: str, weight: Tensor) -> None:
        """Uniform in ±1/√H, as in PyTorch."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        init.uniform_(weight, -bound, bound)

    def _fill_gates(self, suffix: str) -> None:
        """What is not the same for all rows of a weight."""
        if self.recurrent_init == "orthogonal":
            for gate in range(self.gates):
                init.orthogonal_(self._gate("weight_hh" + suffix, gate))

    def _gate(self, name: str, gate: int) -> Tensor:
        """The rows of one gate, sharing the parameter's memory."""
        parameter: Tensor = getattr(self, name)
        return parameter.detach()[gate * self.hidden_size : (gate + 1) * self.hidden_size]

    def _input_bias(self, suffix: str) -> Tensor | None:
        """b: b_ih, and b_hh with it where that is the same. Either may be None."""
        own = vars(self)
        b_ih: Tensor | None = own.get("bias_ih" + suffix)
        b_hh: Tensor | None = own.get("bias_hh" + suffix) if self.adds_biases else None
        return b_ih + b_hh if b_ih is not None and b_hh is not None else b_hh if b_ih is None else b_ih

    def _input_share(self, x: Tensor, suffix: str) -> Tensor:
        """W_ih x + b, for any number of time steps at once.          x (..., D) -> (..., GH)"""
        return F.linear(x, vars(self)["weight_ih" + suffix], self._input_bias(suffix))

    def _recurrent(self, suffix: str, mask: Tensor | None) -> Any:
        """What the cell needs besides its input and state."""
        own = vars(self)
        bias = None if self.adds_biases else own.get("bias_hh" + suffix)
        return Recurrent(
            own["weight_hh" + suffix], 0.0 if bias is None else bias, mask, projection=own.get("weight_hr" + suffix)
        )

    def _recurrent_mask(self, rows: int, like: Tensor) -> Tensor | None:
        """m (rows, H) of recurrent dropout, drawn anew, while training."""
        if not (self.training and self.recurrent_dropout):
            return None
        return locked_mask((rows, self.h_size), self.recurrent_dropout, like)

    # Checks ---------------------------------------------------------------------------------------

    def _check_input(self, data: Any, input_size: int, ndims: Sequence[int], form: str) -> Tensor:
        name = type(self).__name__
        if isinstance(data, PackedSequence):
            raise TypeError(f"{name}: expected one time step {form}, got a PackedSequence, which is for whole layers")
        x = as_tensor(data, name)
        if x.ndim not in ndims or x.shape[-1] != input_size:
            cure = "; a whole sequence goes to a whole layer, rnn(x)" if x.ndim == 3 and 3 not in ndims else ""
            if x.ndim in ndims and input_size in x.shape[:-1]:
                cure = f"; axis {x.shape.index(input_size)} has that size: move it last with .transpose(...)"
            raise ValueError(f"{name}: expected an input {form} with D = {input_size}, got {describe(x)}{cure}")
        self._check_weights(x)
        return x

    def _check_weights(self, x: Tensor) -> None:
        """Raise unless the parameters are what they were made as, in shape, and of x in dtype and device.

        One of another size could broadcast, and compute something else.
        """
        name, own = type(self).__name__, vars(self)
        for key, shape in self._shapes.items():
            weight = own.get(key)
            if weight is None and key.startswith("bias"):
                continue
            if type(weight) is not Tensor or weight._data.shape != shape:
                came = describe(weight) if type(weight) is Tensor else type_name(weight)
                raise ValueError(
                    f"{name}: expected a Parameter {key} of shape {shape}, got {came}; a layer of other sizes has to "
                    "be made anew"
                )
            if key.startswith("weight_ih"):
                check_alike(name, "the input", x, "the weights", weight)
            check_alike(name, key, weight, "the input", x)

    def _state_shapes(self, *leading: int) -> list[Shape]:
        """The shapes of the parts of the state."""
        return [(*leading, self.h_size), (*leading, self.hidden_size)][: 1 + self.has_memory]

    def _check_state(self, state: Any, shapes: list[Shape], like: Tensor, hint: Callable[[Shape], str]) -> list[Tensor]:
        """The parts of the state, (h,) or (h, c), of these shapes; `hint` says what may be wrong with a shape."""
        name, is_pair = type(self).__name__, isinstance(state, (tuple, list))
        form = f"one Tensor h {shapes[0]}"
        if self.has_memory:
            both = f"{shapes[0]} and {shapes[1]}" if shapes[0] != shapes[1] else f"{shapes[0]}"
            form = f"a pair (h, c) of Tensors {both}"
        parts = list(state) if is_pair else [state]
        parts = [as_tensor(part, name) if is_array(part) else part for part in parts]
        if is_pair != self.has_memory or len(parts) != len(shapes) or any(type(s) is not Tensor for s in parts):
            came = ", ".join(describe(s) if type(s) is Tensor else type(s).__name__ for s in parts)
            cure = ""
            if self.has_memory and not is_pair:
                cure = "; pass both parts, as (h, c)"
            elif is_pair and not self.has_memory:
                cure = "; it has no c: pass h alone"
            raise TypeError(f"{name}: expected {form} as the state, got {'a tuple of ' if is_pair else ''}{came}{cure}")
        for part, shape in zip(parts, shapes, strict=True):
            if part.shape != shape:
                raise ValueError(
                    f"{name}: expected {form} as the state, got one of shape {part.shape}{hint(part.shape)}"
                )
            check_alike(name, "the state", part, "the input", like)
        return parts

    def _zero_state(self, shapes: list[Shape], like: Tensor) -> list[Tensor]:
        return [zeros(shape, dtype=like.dtype, device=like.device) for shape in shapes]

    def _parts(self, state: Any) -> list[Tensor]:
        return list(state) if self.has_memory else [state]

    def _joined(self, parts: Sequence[Tensor]) -> Any:
        return tuple(parts) if self.has_memory else parts[0]

    # Printing -------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        own = vars(self)
        sizes = f"{own['input_size']}, {own['hidden_size']}"
        return ", ".join([sizes, *(f"{k}={own[k]!r}" for k, usual in USUAL.items() if k in own and own[k] != usual)])


# The options, as they are when nobody says anything.
USUAL = {
    "num_layers": 1,
    "bias": True,
    "batch_first": False,
    "dropout": 0.0,
    "bidirectional": False,
    "proj_size": 0,
    "nonlinearity": "tanh",
    "forget_bias": None,
    "reset_after": True,
    "recurrent_init": None,
    "learn_initial_state": False,
    "locked_dropout": False,
    "recurrent_dropout": 0.0,
}

# Those that the shapes of the parameters follow from.
FIXED = {"input_size", "hidden_size", "num_layers", "bias", "bidirectional", "proj_size", "learn_initial_state"}


class RNNBase(RecurrentBase):
    gates = 1
    nonlinearity: str

    def cell(self) -> Callable[[Tensor, Any, Any], Any]:
        return rnn_tanh if self.nonlinearity == "tanh" else rnn_relu

    def _set_nonlinearity(self, nonlinearity: str) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f'{type(self).__name__}: expected nonlinearity "tanh" or "relu", got {nonlinearity!r}')
        self.nonlinearity = nonlinearity


class LSTMBase(RecurrentBase):
    gates = 4
    has_memory = True
    forget_bias: float | None

    def cell(self) -> Callable[[Tensor, Any, Any], Any]:
        return lstm_projected if self.proj_size else lstm

    def _make_weights(self, device: str | None, dtype: Any) -> None:
        if self.forget_bias is not None:
            check_numbers(type(self).__name__, forget_bias=self.forget_bias)
            if not self.bias:
                raise ValueError(f"{type(self).__name__}: forget_bias={self.forget_bias} needs bias=True")
        super()._make_weights(device, dtype)

    def _fill_gates(self, suffix: str) -> None:
        super()._fill_gates(suffix)
        if self.forget_bias is None:
            return
        values = {"bias_ih": self.forget_bias, "bias_hh": 0.0}  # b_ih + b_hh of the forget gate is then exactly this
        for name, value in values.items():
            if getattr(self, name + suffix) is not None:
                init.constant_(self._gate(name + suffix, 1), value)


class GRUBase(RecurrentBase):
    gates = 3
    reset_after: bool

    def _make_weights(self, device: str | None, dtype: Any) -> None:
        check_flags(type(self).__name__, reset_after=self.reset_after)
        super()._make_weights(device, dtype)

    @property
    def adds_biases(self) -> bool:
        return not self.reset_after  # else r multiplies what b_hn was added to

    def cell(self) -> Callable[[Tensor, Any, Any], Any]:
        return gru if self.reset_after else gru_reset_before

    def _recurrent(self, suffix: str, mask: Tensor | None) -> Recurrent:
        found: Recurrent = super()._recurrent(suffix, mask)
        if self.reset_after:
            return found
        w_rz, w_n = split(found.weight, [2 * self.hidden_size])
        return found._replace(weight=w_rz, weight_n=w_n)
