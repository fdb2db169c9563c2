"""Recurrent layers with random options, and what to call them with.

T: time steps   N: batch   D: input size   H: hidden size   P: size of a projected h
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from ... import nn
from ...backend import cpu, default_device, float64, replaying
from ...creation import rand, tensor
from ...graph import Tensor
from ...mode import no_grad
from ...nn.utils.rnn import pack_sequence
from ...ops.shape import stack

LAYERS = (nn.RNN, nn.LSTM, nn.GRU, nn.LayerNormLSTM, nn.PeepholeLSTM)

# A layer ------------------------------------------------------------------------------------------


def seeded(kind: Callable[..., nn.Module], *sizes: int, seed: int = 0, dtype: Any = float64, **options: Any) -> Any:
    """A module whose parameters follow from a seed, the same on every device; no random generator moves.

    Equation: parameter = first value + u, each u uniform in ±½: no gain is 1, no learned state 0 and no gate's block
    exactly orthogonal, so that a gradient which holds only there is found out.

    Args:
        kind: what makes the module, such as nn.LSTM; `sizes` and `options` are its arguments.

    Returns:
        the module, on the default device.

    >>> import minigrad as mg
    >>> from minigrad.testing import strategies as mst
    >>> mst.seeded(mg.nn.GRU, 2, 3, num_layers=2, seed=5)
    GRU(2, 3, num_layers=2)
    """
    with replaying({cpu: lambda: cpu.module.random.default_rng(seed)}), no_grad():
        module = kind(*sizes, **options, dtype=dtype, device="cpu")
        for parameter in module.parameters():
            parameter[...] = parameter + rand(parameter.shape, dtype=parameter.dtype, device="cpu") - 0.5
    return module.to(default_device())


def modules(kinds: Sequence[Callable[..., nn.Module]] = LAYERS, **options: Any) -> st.SearchStrategy[Any]:
    """Recurrent layers, or cells, with random sizes, options and weights, on the default device, in training mode.

    In a failing example a layer is printed as the code that makes it again, weights and all:
    `mst.seeded(mg.nn.LSTM, 1, 2, bidirectional=True, seed=3)`, with `mst` for `minigrad.testing.strategies`.

    Args:
        kinds: the classes to choose from; RNN, LSTM, GRU, LayerNormLSTM and PeepholeLSTM unless given.
        options: those that are fixed: to a value, as in `num_layers=1`, or to a strategy of values. The others are
            drawn, as far as the class has them. dtype is float64, as `gradcheck` asks for, if nothing else is said.

    Raises:
        TypeError: none of the classes has an option of this name.

    >>> import minigrad as mg
    >>> from hypothesis import given, settings
    >>> from minigrad.testing import strategies as mst
    >>> @settings(max_examples=5, deadline=None)
    ... @given(mst.modules([mg.nn.LSTM, mg.nn.GRU], dropout=0.0, recurrent_dropout=0.0), mst.sequences())
    ... def prove(layer, sequences):
    ...     input, state = sequences.of(layer)
    ...     parameters = list(layer.parameters())
    ...     assert mg.testing.gradcheck(lambda *_: layer(input, state)[1], parameters)
    >>> prove()
    """
    taken = {name for kind in kinds for name in inspect.signature(kind).parameters}
    for name in options:
        if name not in taken:
            known = ", ".join(sorted(taken))
            raise TypeError(f"modules: expected options out of {known}, got {name}")
    return _modules(kinds, options)


@st.composite
def _modules(draw: st.DrawFn, kinds: Sequence[Callable[..., nn.Module]], fixed: dict[str, Any]) -> Any:
    kind: Any = draw(st.sampled_from(kinds))
    parameters = inspect.signature(kind).parameters
    chosen = {
        name: draw(value) if isinstance(value, st.SearchStrategy) else value
        for name, value in fixed.items()
        if name in parameters
    }
    for name, values in OPTIONS.items():
        if name in parameters and name not in chosen:
            chosen[name] = draw(values(kind, chosen))
    sizes = [chosen.pop(name) for name in ("input_size", "hidden_size")]
    usual = {name: parameter.default for name, parameter in parameters.items()} | {"dtype": float64}
    said = {name: value for name, value in chosen.items() if value != usual[name]}
    said["seed"] = draw(st.integers(0, 2**16))
    module = seeded(kind, *sizes, **said)
    made_by = f"mg.nn.{kind.__name__}" if kind in vars(nn).values() else kind.__name__
    code = ", ".join([made_by, *map(repr, sizes), *(f"{option}={_code(value)}" for option, value in said.items())])
    # Hypothesis asks the value itself, and else takes its repr, which does not tell the weights.
    module._repr_pretty_ = lambda printer, cycle: printer.text(f"mst.seeded({code})")
    return module


def _code(value: Any) -> str:
    return f"mg.{value.__name__}" if isinstance(value, type) else repr(value)


def _projects(kind: Any) -> bool:
    return bool(getattr(kind, "projects", False))


Values = Callable[[Any, dict[str, Any]], st.SearchStrategy[Any]]


def _one_of(*values: Any) -> Values:
    return lambda kind, chosen: st.sampled_from(values)


# The values of each option, given the class and the options before it: none that another forbids or ignores.
OPTIONS: dict[str, Values] = {
    "input_size": lambda kind, o: st.integers(1, 3),
    "hidden_size": lambda kind, o: st.integers(1, 3).map(lambda size: size + o.get("proj_size", 0)),
    "proj_size": lambda kind, o: st.integers(0, min(2, o["hidden_size"] - 1) if _projects(kind) else 0),
    "num_layers": lambda kind, o: st.integers(2 if o.get("dropout") or o.get("locked_dropout") else 1, 3),
    "dropout": lambda kind, o: st.sampled_from(
        [0.3] if o.get("locked_dropout") else [0.0, 0.3] if o["num_layers"] > 1 else [0.0]
    ),
    "locked_dropout": lambda kind, o: st.booleans() if o["dropout"] else st.just(False),
    "recurrent_dropout": _one_of(0.0, 0.3),
    "nonlinearity": _one_of("tanh", "relu"),
    "bias": lambda kind, o: st.booleans() if o.get("forget_bias") is None else st.just(True),
    "forget_bias": lambda kind, o: st.sampled_from([None, 1.0, -0.5] if o["bias"] else [None]),
    "reset_after": _one_of(True, False),
    "batch_first": _one_of(False, True),
    "bidirectional": _one_of(False, True),
    "learn_initial_state": _one_of(False, True),
    "recurrent_init": _one_of(None, "orthogonal"),
}

# What to call it with -----------------------------------------------------------------------------

FORMS = ("padded", "packed", "single")


@dataclasses.dataclass(frozen=True)
class Sequences:
    """The arguments of a recurrent layer: sequences and a first state, of normal random numbers.

    Args:
        lengths: of each sequence.
        form: "padded", for sequences of one length, (T, N, D), or (N, T, D) if the layer is batch_first; "packed", a
            PackedSequence; "single", for one sequence, (T, D).
        state: whether there is a first state; without, the layer begins with its own.
        seed: of the numbers.

    >>> import minigrad as mg
    >>> from minigrad.testing import strategies as mst
    >>> x, (h, c) = mst.Sequences((4, 4, 4), state=True).of(mg.nn.LSTM(2, 5, batch_first=True))
    >>> x.shape, c.shape
    ((3, 4, 2), (1, 3, 5))
    """

    lengths: tuple[int, ...] = (1,)
    form: str = "padded"
    state: bool = False
    seed: int = 0

    def __repr__(self) -> str:
        return f"mst.Sequences({self.lengths}, {self.form!r}, state={self.state}, seed={self.seed})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    def of(self, layer: Any) -> tuple[Any, Any]:
        """(input, state) for this layer, of its dtype and on its device; every Tensor in them is a leaf of its own."""
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


def sequences(
    forms: Sequence[str] = FORMS, *, max_steps: int = 4, max_batch: int = 3, state: bool | None = None
) -> st.SearchStrategy[Sequences]:
    """Arguments for any layer that `modules` draws: sequences of random lengths, in one of these forms.

    In a failing example they are printed as code, as layers are.

    Args:
        forms: out of "padded", "packed" and "single"; see Sequences.
        max_steps, max_batch: the largest T and N.
        state: whether there is a first state; None: sometimes.

    >>> from hypothesis import find
    >>> from minigrad.testing import strategies as mst
    >>> find(mst.sequences(["packed"]), lambda sequences: len(set(sequences.lengths)) == 2)
    mst.Sequences((1, 2), 'packed', state=False, seed=0)
    """
    steps, batch = st.integers(1, max_steps), st.integers(1, max_batch)
    lengths = {
        "padded": st.tuples(steps, batch).map(lambda sizes: (sizes[0],) * sizes[1]),
        "packed": st.lists(steps, min_size=1, max_size=max_batch).map(tuple),
        "single": st.tuples(steps),
    }
    states, seeds = st.booleans() if state is None else st.just(state), st.integers(0, 2**16)
    return st.sampled_from(forms).flatmap(
        lambda form: st.builds(Sequences, lengths[form], st.just(form), state=states, seed=seeds)
    )
