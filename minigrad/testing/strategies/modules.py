"""Recurrent layers with random options, and what to call them with.

T: time steps   N: batch
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from ... import nn
from ...backend import float64
from ..recurrent import FORMS, Sequences, check_kind, seeded

LAYERS = (nn.RNN, nn.LSTM, nn.GRU, nn.LayerNormLSTM, nn.PeepholeLSTM)

# A layer ------------------------------------------------------------------------------------------


Kind = Callable[..., nn.Module]


def modules(kinds: Sequence[Kind] | Kind = LAYERS, **options: Any) -> st.SearchStrategy[Any]:
    """Recurrent layers, or cells, with random sizes, options and weights, on the default device, in training mode.

    In a failing example a layer is printed as code, such as
    `minigrad.testing.seeded(minigrad.nn.LSTM, 1, 2, bidirectional=True, seed=3)`; pasted behind
    `import minigrad, numpy`, and the import of whatever module it names, it makes the same again, weights and all.

    Args:
        kinds: the classes to choose from, or one; RNN, LSTM, GRU, LayerNormLSTM and PeepholeLSTM unless given. A class
            of your own may be among them, if it takes input_size, hidden_size, dtype and device, and those of the
            options that it has, as these do.
        options: those that are fixed: to a value, as in `num_layers=1`, or to a strategy of values. The others are
            drawn, as far as the class has them. dtype is float64, as `gradcheck` asks for, if nothing else is said.

    Raises:
        TypeError: these are no such classes, none of them has an option of this name, or a device is given.

    >>> import minigrad as mg
    >>> from hypothesis import given, settings
    >>> from minigrad.testing import strategies as mst
    >>> @settings(max_examples=5, deadline=None)
    ... @given(mst.modules([mg.nn.GRU], num_layers=1, recurrent_dropout=0.0), mst.sequences(max_steps=2, max_batch=1))
    ... def prove(layer, sequences):
    ...     input, state = sequences.of(layer)
    ...     parameters = list(layer.parameters())
    ...     assert mg.testing.gradcheck(lambda *_: layer(input, state)[1], parameters)
    >>> prove()
    """
    classes: list[Any] = list(kinds) if isinstance(kinds, (list, tuple)) else [kinds]
    if not classes:
        raise TypeError("modules: expected at least one class, got none")
    for kind in classes:
        check_kind(kind, "modules")
        name = getattr(kind, "__name__", None)
        if name is None or not {"input_size", "hidden_size"} <= set(inspect.signature(kind).parameters):
            raise TypeError(
                "modules: expected classes of recurrent layers or cells, which take input_size and hidden_size, "
                f"got {name or repr(kind)}"
            )
    if "device" in options:
        raise TypeError("modules: expected no device, layers are made on the default device; choose it by use_device")
    taken = {name for kind in classes for name in inspect.signature(kind).parameters} - {"device"}
    for name in options:
        if name not in taken:
            known = ", ".join(sorted(taken))
            raise TypeError(f"modules: expected options out of {known}, got {name}")
    return _modules(classes, options)


@st.composite
def _modules(draw: st.DrawFn, kinds: Sequence[Kind], fixed: dict[str, Any]) -> Any:
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
    code = ", ".join([_name(kind), *map(repr, sizes), *(f"{option}={_code(value)}" for option, value in said.items())])
    # Hypothesis asks the value itself, and else takes its repr, which does not tell the weights.
    module._repr_pretty_ = lambda printer, cycle: printer.text(f"minigrad.testing.seeded({code})")
    return module


def _name(kind: Any) -> str:
    """One's own class by its module, which must be imported; one of the program itself, or inside a function, alone."""
    if kind in vars(nn).values():
        return f"minigrad.nn.{kind.__name__}"
    is_found = getattr(sys.modules.get(kind.__module__), kind.__name__, None) is kind
    return f"{kind.__module__}.{kind.__name__}" if is_found and kind.__module__ != "__main__" else kind.__name__


def _code(value: Any) -> str:
    return f"minigrad.{value.__name__}" if isinstance(value, type) else repr(value)


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


def sequences(
    forms: Sequence[str] = FORMS, *, max_steps: int = 4, max_batch: int = 3, state: bool | None = None
) -> st.SearchStrategy[Sequences]:
    """Arguments for any layer that `modules` draws: sequences of random lengths, in one of these forms.

    They are for layers; a cell takes one step. In a failing example they are printed as code; pasted behind
    `import minigrad, numpy`, and the import of whatever module it names, it makes the same again.

    Args:
        forms: out of "padded", "packed" and "single"; see Sequences.
        max_steps, max_batch: the largest T and N.
        state: whether there is a first state; None: sometimes.

    Raises:
        TypeError: `forms` is not a list or tuple, or `state` is not True, False or None.
        ValueError: there is no such form, or a maximum is below 1.

    >>> import minigrad as mg
    >>> from hypothesis import given, settings
    >>> from minigrad.testing import strategies as mst
    >>> @settings(max_examples=5, deadline=None)
    ... @given(mst.sequences(["packed"], max_steps=3))
    ... def check(sequences):
    ...     packed, state = sequences.of(mg.nn.LSTM(2, 4))
    ...     assert len(packed.batch_sizes) == max(sequences.lengths) <= 3
    >>> check()
    """
    if not isinstance(forms, (list, tuple)) or not forms:
        raise TypeError(f'sequences: expected a list of forms, such as ["packed"], got {forms!r}')
    for form in forms:
        if form not in FORMS:
            raise ValueError(f"sequences: expected forms out of {', '.join(FORMS)}, got {form!r}")
    if state is not None and not isinstance(state, bool):
        raise TypeError(f"sequences: expected state=True, False or None (sometimes), got {state!r}")
    if min(max_steps, max_batch) < 1:
        raise ValueError(f"sequences: expected max_steps and max_batch of at least 1, got {max_steps} and {max_batch}")
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
