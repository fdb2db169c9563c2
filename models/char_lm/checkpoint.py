"""A model on disk: one safetensors file with the weights, and in its header, as JSON, what else is to be known.

The weights have PyTorch's names, so that PyTorch loads them into the same layers, and the other way round. A
checkpoint of training holds more arrays, with names that begin with "training/": the optimizer's and the carried state.

V: vocabulary   D: width of a character's vector   H: hidden size   L: layers
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg

from ..common import files
from ..common.console import say
from ..common.errors import UserError
from .header import Header, parse, plain, read_arrays, read_header
from .model import CharLM, Options

BEST, LAST = "best.safetensors", "last.safetensors"  # in the folder of a run
PREVIOUS = files.previous_of(Path(LAST)).name
TRAINING = "training/"
PROGRAM, VERSION = "char_lm", "1"  # of what is written here

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
KINDS = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}  # and no bool for an int
DTYPES = {"F16": mg.float16, "F32": mg.float32, "F64": mg.float64}


@dataclasses.dataclass
class Checkpoint:
    """What a file holds."""

    model: CharLM  # on the CPU when it is loaded; saved from wherever it is
    about: dict[str, Any] = dataclasses.field(default_factory=dict)  # of its training: whatever JSON can say
    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)  # what training needs to go on


# Writing ------------------------------------------------------------------------------------------


def save(path: Path, checkpoint: Checkpoint, *, keep_previous: bool = False) -> None:
    """Write a checkpoint; at every moment a whole file is at `path`, the old one or the new.

    Args:
        keep_previous: the old file stays, as `last.previous.safetensors` does beside `last.safetensors`.

    Raises:
        UserError: a weight is not finite. The old file is there as before.
        OSError: the file cannot be written, likewise.
        ValueError: `about` has what JSON cannot say, such as infinity, likewise.
    """
    arrays: dict[str, Any] = {name: x.to("cpu").numpy() for name, x in checkpoint.model.state_dict().items()}
    if wrong := _not_finite(arrays):
        raise UserError(
            f"{path} is not written: {_some(wrong)} would not be finite, so training has diverged. Go on from an "
            "earlier checkpoint, or train again, with a smaller --lr or --clip"
        )
    arrays |= {TRAINING + name: array for name, array in checkpoint.arrays.items()}
    metadata = {
        "program": PROGRAM,
        "version": VERSION,
        "model": json.dumps(dataclasses.asdict(checkpoint.model.options)),
        "about": json.dumps(checkpoint.about, allow_nan=False),
    }
    files.replace_file(path, lambda new: mg.io.save(new, arrays, metadata), keep_previous=keep_previous)


# Reading ------------------------------------------------------------------------------------------


def load(path: Path) -> Checkpoint:
    """Read a checkpoint: a file, or the folder of a run, of which the best model so far is taken.

    A file from a stranger can do no harm: nothing in it is run, and what it says of its model is compared with its
    arrays before a model is made, so that memory is taken for what is there, a few times over, not for what is claimed.

    Raises:
        UserError: there is none, or it is no whole checkpoint of this program.
        OSError: it cannot be read.
    """
    header = read_header(find(path))
    options, about = describe(header)
    weights = weights_of(header)
    refuse_other_layers(header, options)
    dtypes = {header.dtypes[name] for name in weights}
    if len(dtypes) != 1 or not dtypes <= DTYPES.keys():
        raise UserError(
            f"{header.path}: expected weights that are all {' or all '.join(DTYPES)}, got {', '.join(sorted(dtypes))}"
        )
    arrays = dict(read_arrays(header, header.shapes))
    with mg.use_device("cpu"):
        model = CharLM(options).to(DTYPES[dtypes.pop()])
    found = {name: arrays.pop(name) for name in weights}
    _refuse_not_finite(header, found)
    model.load_state_dict(found)
    return Checkpoint(model, about, {name.removeprefix(TRAINING): array for name, array in arrays.items()})


def load_last(run: Path, tell: Callable[[str], None] = say) -> Checkpoint:
    """Read what a run goes on from: its last checkpoint, or the one before if that is damaged or missing.

    Args:
        tell: is given a line if the one before was taken.

    Raises:
        UserError, OSError: as for `load`, if neither can be read.
    """
    try:
        return load(run / LAST)
    except UserError as error:
        if not (run / PREVIOUS).is_file():
            raise
        try:
            found = load(run / PREVIOUS)
        except UserError as second:
            raise UserError(f"{error}. The one before cannot be used either: {second}") from second
        tell(f"{error}. Going on from the checkpoint before it, {run / PREVIOUS}")
        return found


def load_weights(model: CharLM, path: Path) -> None:
    """Give a model the weights in a file: of this program, or of a PyTorch model with the same layers.

    They are matched by name and shape, and take the model's dtype. What training left in the file is not read.

    Raises:
        UserError: the file has other layers, or other characters, or no finite weights. The model is as it was.
        OSError: the file cannot be read.
    """
    header = read_header(find(path))
    if header.metadata.get("program") == PROGRAM:
        known, mine = describe(header)[0], model.options
        if (known.unit, known.vocabulary) != (mine.unit, mine.vocabulary):
            raise UserError(
                f"{header.path} is a model of {_symbols(known)}, but this one is of {_symbols(mine)}: what was learned "
                "of one character would be taken for another. Train on a text with the same characters"
            )
    state = model.state_dict()
    _refuse_others(header, {name: x.shape for name, x in state.items()}, "this model has")
    names = weights_of(header)
    if wrong := [name for name in names if header.dtypes[name] not in {*DTYPES, "BF16"}]:
        raise UserError(
            f"{header.path}: expected weights that are floating-point numbers, got {header.dtypes[wrong[0]]} as "
            f"{_some(wrong)}"
        )
    with np.errstate(over="ignore"):  # what is too large for the dtype is refused below
        found = {name: x.astype(state[name].dtype) for name, x in read_arrays(header, names)}
    _refuse_not_finite(header, found)
    model.load_state_dict(found)


def find(path: Path) -> Path:
    """The file itself, or that of a run's folder to be used: the best model so far, else the last."""
    if path.is_dir():
        there = [path / name for name in (BEST, LAST, PREVIOUS) if (path / name).is_file()]
        if not there:
            raise UserError(f"{path} holds no trained model: there is no file {BEST} in it. Train one first")
        return there[0]
    if not path.is_file():
        raise UserError(f"there is no file {path}. Train a model first, or name another file, or the folder of a run")
    return path


# What a header says -------------------------------------------------------------------------------


def describe(header: Header) -> tuple[Options, dict[str, Any]]:
    """A model's options, and what is known of its training, of a file written by `save`.

    The options are fit to be shown; the arrays may still be others.
    """
    path, program = header.path, header.metadata.get("program")
    if program != PROGRAM:
        whose = f"of the program {plain(program)}" if program is not None else "without a word about its program"
        raise UserError(
            f"{path} is a safetensors file {whose}, not a checkpoint of {PROGRAM}. To start from the weights "
            "in it, train a model with the same layers with --weights"
        )
    version = header.metadata.get("version", "none")
    if version != VERSION:
        raise UserError(
            f"{path} has format version {plain(version, 20)}, but this program reads version {VERSION}. Use the "
            "release of the program that wrote it, or a newer one"
        )
    try:
        found = parse(header.metadata.get("model", ""))
        kinds = {field.name: KINDS[field.type] for field in dataclasses.fields(Options)}
        for name, value in found.items():
            if name not in kinds:
                raise ValueError(f"a model has no option {plain(name)}")
            if type(value) not in kinds[name]:
                raise ValueError(f"{name} must be {kinds[name][-1].__name__}, got {type(value).__name__}")
            if type(value) is int and abs(value) > sys.maxsize:
                raise ValueError(f"{name} is too large")
        return Options(**{"vocabulary": "", **found}), parse(header.metadata.get("about", "{}"))
    except ValueError as error:
        raise UserError(f"{path} does not describe a {PROGRAM} model: {plain(str(error), 300)}") from error


def expected_shapes(options: Options) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The names and shapes of a model's weights, by formula: nothing is made."""
    size, wide, hidden = options.symbols, options.embedding or options.symbols, options.hidden  # V, D, H
    rows = GATES[options.cell] * hidden
    yield "output.weight", (size, hidden)
    yield "output.bias", (size,)
    if options.embedding:
        yield "embedding.weight", (size, options.embedding)
    for k in range(options.layers):
        yield f"rnn.weight_ih_l{k}", (rows, hidden if k else wide)
        yield f"rnn.weight_hh_l{k}", (rows, hidden)
        yield f"rnn.bias_ih_l{k}", (rows,)
        yield f"rnn.bias_hh_l{k}", (rows,)


def refuse_other_layers(header: Header, options: Options) -> None:
    """Check that the weights are those of a model with these options."""
    said = f"{options.cell}, layers: {options.layers}, hidden: {options.hidden}, embedding: {options.embedding}"
    most = len(header.shapes) + 1000  # a million layers are not listed to be missed
    expected = dict(itertools.islice(expected_shapes(options), most))
    _refuse_others(header, expected, f"its metadata describes ({said})")


def weights_of(header: Header) -> list[str]:
    """The names of the weights, without those of training."""
    return [name for name in header.shapes if not name.startswith(TRAINING)]


def _refuse_others(header: Header, expected: Mapping[str, tuple[int, ...]], whose: str) -> None:
    found = {name: header.shapes[name] for name in weights_of(header)}
    both = [name for name in expected if name in found]
    differences = {
        "lacks": [name for name in expected if name not in found],
        "has besides": [name for name in found if name not in expected],
        "has other shapes": [f"{n} is {found[n]}, expected {expected[n]}" for n in both if found[n] != expected[n]],
    }
    if said := "; it ".join(f"{what}: {_some(names)}" for what, names in differences.items() if names):
        raise UserError(f"{header.path} does not have the weights that {whose}. It {said}")


def _refuse_not_finite(header: Header, arrays: Mapping[str, np.ndarray]) -> None:
    if wrong := _not_finite(arrays):
        raise UserError(f"{header.path}: the numbers of {_some(wrong)} are not all finite; the model is of no use")


def _not_finite(arrays: Mapping[str, np.ndarray]) -> list[str]:
    return [name for name, array in arrays.items() if not np.isfinite(array).all()]


def _symbols(options: Options) -> str:
    if options.unit == "byte":
        return "bytes"
    return f"{options.symbols} characters ({plain(options.vocabulary)})"


def _some(names: list[str], count: int = 4) -> str:
    shown = ", ".join(plain(name, 200) for name in names[:count])
    return shown + (f" and {len(names) - count} more" if len(names) > count else "")
