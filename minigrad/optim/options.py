"""What the options of a group of parameters may be called, and what they may be."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from ..backend import python_scalar

SCHEDULED = {"initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum"}  # what schedules note in a group
OF_PYTORCH = {"foreach", "fused", "capturable", "differentiable", "param_names"}  # in its states; no matter here
OF_SOME = {  # of one optimizer or another: where it is none, it is a mistake and no note of the user's
    "lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize", "alpha", "eps", "centered", "betas",
    "amsgrad", "decoupled_weight_decay", "lr_decay", "initial_accumulator_value",
}  # fmt: skip
ELSEWHERE = {"learning_rate": "lr", "epsilon": "eps"}  # what other programs call them


def check_name(caller: str, name: Any, known: Mapping[str, Any]) -> None:
    """Raise if a name in a group is a misspelled option rather than a note of the user's own."""
    if not isinstance(name, str):
        raise TypeError(f"{caller}: expected the names in a group to be strings, got {name!r}")
    hint = did_you_mean(name, tuple(known))
    if hint or name in OF_SOME:
        raise ValueError(f"{caller}: there is no option {name}{hint}; a group has params, {', '.join(known)}")


@functools.cache
def did_you_mean(name: str, known: tuple[str, ...]) -> str:
    """A hint for a message, empty if no known option resembles the name."""
    near = [ELSEWHERE[name]] if name in ELSEWHERE else get_close_matches(name.lower(), known, n=1, cutoff=0.85)
    return f" (did you mean {near[0]}?)" if near and near[0] in known else ""


def check_number(caller: str, name: str, value: Any) -> None:
    """Raise if an option is no number; most are 0 or more.

    The dampening need not be, nor a learning rate in use: schedules that act together may take it past 0.
    """
    if not isinstance(value, (int, float)):
        raise TypeError(f"{caller}: expected {name} to be a number, got {type(value).__name__}")
    if not (value >= 0 or (name in ("dampening", "lr") and value < 0)):
        raise ValueError(f"{caller}: expected {name} to be 0 or more, got {value}")


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with Python numbers for NumPy's, which would widen every array they meet."""
    return {
        name: tuple(python_scalar(part) for part in value) if name == "betas" and isinstance(value, (tuple, list))
        else python_scalar(value)
        for name, value in options.items()
    }  # fmt: skip
