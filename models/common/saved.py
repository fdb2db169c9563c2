"""A model on disk: one safetensors file with the weights, and in its header, as JSON, what else is to be known.

The header says which program the file is of, the version of its format, the options that the model is built by, and
what is known about its training. Nothing in a file is run, and what it says is checked before it is used: the options
by the model's own rules, which bound its size, and the arrays by the names and shapes that this model has.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn

from . import files
from .errors import UserError
from .header import Header, parse, plain, read_arrays, read_header

MODEL = "model.safetensors"  # in the folder of a run
VERSION = "1"

# What an option may be in JSON, by its type; and no bool for an int.
KINDS: dict[Any, tuple[type, ...]] = {
    str: (str,), int: (int,), float: (int, float), bool: (bool,), tuple[str, ...]: (list,)
}  # fmt: skip


def save(path: Path, program: str, model: nn.Module, options: Any, about: Mapping[str, Any]) -> None:
    """Write a model, with the options it is built by and what is known of its training.

    Raises:
        UserError, OSError, ValueError: as for `write`.
    """
    arrays = {name: x.to("cpu").numpy() for name, x in model.state_dict().items()}
    write(path, (program, VERSION), arrays, {}, options, about)


def load(path: Path, program: str, options: type, build: Callable[[Any], nn.Module]) -> tuple[Any, dict[str, Any]]:
    """A model that `save` wrote, on the CPU, for prediction; and what is known of its training.

    Args:
        path: the file, or the folder of a run.
        options: the dataclass of what `build` makes a model of.

    Raises:
        UserError: there is none, or it is no whole model of this program.
        OSError: it cannot be read.
    """
    if path.is_dir():
        if not (path / MODEL).is_file():
            raise UserError(f"{path} holds no trained model: there is no file {MODEL} in it. {_train(program)}")
        path = path / MODEL
    if not path.is_file():
        raise UserError(f"there is no file {path}. {_train(program)}, or name another file, or the folder of a run")
    header = read_header(path)
    found, about = describe(header, (program, VERSION), options)
    with mg.use_device("cpu"):
        model = build(found)
    expected = {name: x.shape for name, x in model.state_dict().items()}
    refuse_others(header, list(header.shapes), expected, "its metadata describes")
    arrays = {name: array.astype(np.float32) for name, array in read_arrays(header, header.shapes)}
    refuse_not_finite(header, arrays)
    model.load_state_dict(arrays)
    return model.eval(), about


def _train(program: str) -> str:
    return f"Train one first: python -m models.{program} train"


# The parts, for programs that keep more in a file -------------------------------------------------


def write(
    path: Path, of: tuple[str, str], weights: Mapping[str, np.ndarray], more: Mapping[str, np.ndarray], options: Any,
    about: Mapping[str, Any], *, keep_previous: bool = False,
) -> None:  # fmt: skip
    """Write arrays with a header; at every moment a whole file is at `path`, the old one or the new.

    Args:
        of: the program, and the version of its format.
        weights, more: by their names; the weights must be finite.
        options: a dataclass, which the model is built by.
        keep_previous: the old file stays, under another name.

    Raises:
        UserError: a weight is not finite. The old file is there as before.
        OSError: the file cannot be written, likewise.
        ValueError: `about` has what JSON cannot say, such as infinity, likewise.
    """
    if wrong := _not_finite(weights):
        raise UserError(
            f"{path} is not written: {some(wrong)} would not be finite, so training has diverged. Go on from an "
            "earlier checkpoint, or train again, with a smaller --lr or --clip"
        )
    metadata = {
        "program": of[0],
        "version": of[1],
        "model": json.dumps(dataclasses.asdict(options)),
        "about": json.dumps(about, allow_nan=False),
    }
    files.replace_file(path, lambda new: mg.io.save(new, {**weights, **more}, metadata), keep_previous=keep_previous)


def describe(
    header: Header, of: tuple[str, str], options: type, cure: str = "Name another file"
) -> tuple[Any, dict[str, Any]]:
    """A model's options, and what is known of its training, of a file of this program.

    The options are fit to be shown; the arrays may still be others.

    Args:
        cure: what to do with a file of another program.
    """
    path, (mine, newest), program = header.path, of, header.metadata.get("program")
    if program != mine:
        whose = f"of the program {plain(program)}" if program is not None else "without a word about its program"
        raise UserError(f"{path} is a safetensors file {whose}, not a checkpoint of {mine}. {cure}")
    version = header.metadata.get("version", "none")
    if version != newest:
        raise UserError(
            f"{path} has format version {plain(version, 20)}, but this program reads version {newest}. Use the "
            "release of the program that wrote it, or a newer one"
        )
    try:
        found = parse(header.metadata.get("model", ""))
        kinds, fields = typing.get_type_hints(options), {field.name: field for field in dataclasses.fields(options)}
        for name, value in found.items():
            if name not in fields:
                raise ValueError(f"a model has no option {plain(name)}")
            found[name] = _checked(name, value, kinds[name])
        if missing := [n for n, f in fields.items() if n not in found and f.default is dataclasses.MISSING]:
            raise ValueError(f"{some(missing)} is missing")
        return options(**found), parse(header.metadata.get("about", "{}"))
    except ValueError as error:
        raise UserError(f"{path} does not describe a {mine} model: {plain(str(error), 300)}") from error


def _checked(name: str, value: Any, kind: Any) -> Any:
    """A value of JSON as an option has it."""
    if type(value) not in KINDS[kind]:
        raise ValueError(f"{name} must be {KINDS[kind][-1].__name__}, got {type(value).__name__}")
    if type(value) is int and abs(value) > sys.maxsize:
        raise ValueError(f"{name} is too large")
    if isinstance(value, list):
        if not all(type(each) is str for each in value):
            raise ValueError(f"{name} must be a list of texts")
        return tuple(value)
    return value


def refuse_others(header: Header, names: Iterable[str], expected: Mapping[str, tuple[int, ...]], whose: str) -> None:
    """Check the names and shapes of a file's weights.

    Args:
        names: of the weights in the file.
        whose: the weights that are expected, in words.
    """
    found = {name: header.shapes[name] for name in names}
    both = [name for name in expected if name in found]
    differences = {
        "lacks": [name for name in expected if name not in found],
        "has besides": [name for name in found if name not in expected],
        "has other shapes": [f"{n} is {found[n]}, expected {expected[n]}" for n in both if found[n] != expected[n]],
    }
    if said := "; it ".join(f"{what}: {some(names)}" for what, names in differences.items() if names):
        raise UserError(f"{header.path} does not have the weights that {whose}. It {said}")


def refuse_not_finite(header: Header, arrays: Mapping[str, np.ndarray]) -> None:
    if wrong := _not_finite(arrays):
        raise UserError(f"{header.path}: the numbers of {some(wrong)} are not all finite; the model is of no use")


def _not_finite(arrays: Mapping[str, np.ndarray]) -> list[str]:
    return [name for name, array in arrays.items() if not np.isfinite(array).all()]


def some(names: list[str], count: int = 4) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(plain(name, 200) for name in names[:count])
    return shown + (f" and {len(names) - count} more" if len(names) > count else "")
