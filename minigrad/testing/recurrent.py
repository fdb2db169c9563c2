"""Recurrent layers with known random weights, and what to call them with.

T: time steps   N: batch   D: input size   H: hidden size   K: layers times directions
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from ..backend import cpu, default_device, float64
from ..creation import rand, tensor
from ..generators import replaying
from ..graph import Tensor
from ..mode import no_grad
from ..nn import Module
from ..nn.utils.rnn import pack_sequence
from ..ops.shape import stack

FORMS = ("padded", "packed", "single")
NEEDED = ("input_size", "hidden_size", "proj_size", "num_layers", "bidirectional", "batch_first", "has_memory")


def check_kind(kind: Any, caller: str) -> None:
    """Raise unless `kind` is something to call that has the keywords dtype and device."""
    arguments = inspect.signature(kind).parameters if callable(kind) else {}
    if not {"dtype", "device"} <= set(arguments) and all(a.kind is not a.VAR_KEYWORD for a in arguments.values()):
        name = getattr(kind, "__name__", repr(kind))
        raise TypeError(f"{caller}: expected a class that takes dtype= and device=, such as nn.LSTM, got {name}")


def seeded(kind: Callable[..., Module], *sizes: int, seed: int = 0, dtype: Any = float64, **options: Any) -> Any:
    """A module whose parameters follow from a seed, the same on every device; no random generator moves.

    Equation: parameter = first value + u, each u uniform in ±½: no gain is 1, no learned state 0 and no gate's block
    exactly orthogonal, so that a gradient which holds only there is found out.

    Args:
        kind: what makes the module, such as nn.LSTM; `sizes` and `options` are its arguments. A class of your own must
            take dtype= and device= as minigrad's do, and make its parameters with them.

    Returns:
        the module, on the default device.

    Raises:
        TypeError: `kind` does not take dtype= and device=, or a device is given.

    >>> import minigrad as mg
    >>> mg.testing.seeded(mg.nn.GRU, 2, 3, num_layers=2, seed=5)
    GRU(2, 3, num_layers=2)
    """
    check_kind(kind, "seeded")
    if "device" in options:
        raise TypeError("seeded: expected no device, modules are made on the default device; choose it by use_device")
    with replaying({cpu: lambda: cpu.module.random.default_rng(seed)}), no_grad():
        module = kind(*sizes, **options, dtype=dtype, device="cpu")
        for parameter in module.parameters():
            parameter[...] = parameter + rand(parameter.shape, dtype=parameter.dtype, device="cpu") - 0.5
    return module.to(default_device())


@dataclasses.dataclass(frozen=True)
class Sequences:
    """The arguments of a recurrent layer: sequences and a first state, of normal random numbers.

    Args:
        lengths: of each sequence.
        form: "padded", for sequences of one length, (T, N, D), or (N, T, D) if the layer is batch_first; "packed", a
            PackedSequence; "single", for one sequence, (T, D).
        state: whether there is a first state; without, the layer begins with its own.
        seed: of the numbers.

    Raises:
        TypeError: lengths are not integers, or `state` is not a bool.
        ValueError: there is no such form, a length is below 1, or these lengths do not have this form.

    >>> import minigrad as mg
    >>> x, (h, c) = mg.testing.Sequences((4, 4, 4), state=True).of(mg.nn.LSTM(2, 5, batch_first=True))
    >>> x.shape, c.shape
    ((3, 4, 2), (1, 3, 5))
    """

    lengths: tuple[int, ...] = (1,)
    form: str = "padded"
    state: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"Sequences: expected a form out of {', '.join(FORMS)}, got {self.form!r}")
        if not isinstance(self.state, bool):
            raise TypeError(f"Sequences: expected state=True or state=False, got {self.state!r}")
        if not isinstance(self.lengths, (tuple, list)) or not all(hasattr(n, "__index__") for n in self.lengths):
            raise TypeError(f"Sequences: expected lengths as a tuple of integers, got {self.lengths!r}")
        if not self.lengths or min(self.lengths) < 1:
            raise ValueError(f"Sequences: expected at least one length, each of at least 1, got {self.lengths}")
        if (self.form == "padded" and len(set(self.lengths)) > 1) or (self.form == "single" and len(self.lengths) > 1):
            what = "equal lengths" if self.form == "padded" else "one length"
            raise ValueError(
                f'Sequences: expected {what} for the form "{self.form}", got {self.lengths}; "packed" takes them'
            )

    def __repr__(self) -> str:
        return f"minigrad.testing.Sequences({self.lengths}, {self.form!r}, state={self.state}, seed={self.seed})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    def of(self, layer: Any) -> tuple[Any, Any]:
        """(input, state) for this layer, of its dtype and on its device; every Tensor in them is a leaf of its own.

        A layer of your own needs what these are made from: input_size, hidden_size, proj_size (0 for none), num_layers,
        bidirectional, batch_first and has_memory (whether its state is a pair), and a parameter.

        Raises:
            TypeError: it has not; a cell, which takes one step, has no sequences.
        """
        missing = [name for name in NEEDED if not hasattr(layer, name)]
        if missing:
            name = layer.__name__ if isinstance(layer, type) else type(layer).__name__
            raise TypeError(
                f"Sequences.of: expected a recurrent layer, which has {', '.join(NEEDED)}; "
                f"{name} has no {', '.join(missing)} (a cell takes one step, not a sequence)"
            )
        like = next(layer.parameters())
        generator = cpu.module.random.default_rng(self.seed)

        def numbers(*shape: int) -> Tensor:
            return tensor(generator.normal(size=shape), dtype=like.dtype, device=like.device)

        def leaf(x: Tensor) -> Tensor:
            return x.detach().requires_grad_()

        each = [numbers(length, layer.input_size) for length in self.lengths]
        single, count = self.form == "single", len(self.lengths)
        layers = layer.num_layers * (1 + layer.bidirectional)
        sizes = [layer.proj_size or layer.hidden_size, layer.hidden_size][: 1 + layer.has_memory]
        parts = [leaf(numbers(*((layers, size) if single else (layers, count, size)))) for size in sizes]
        state = None if not self.state else tuple(parts) if layer.has_memory else parts[0]
        if self.form == "packed":
            packed = pack_sequence(each, enforce_sorted=list(self.lengths) == sorted(self.lengths, reverse=True))
            return dataclasses.replace(packed, data=leaf(packed.data)), state
        return leaf(each[0] if single else stack(each, axis=0 if layer.batch_first else 1)), state
