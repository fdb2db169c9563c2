"""A model on disk: one safetensors file with the weights, and in its header, as JSON, what else is to be known.

The weights have PyTorch's names, so that PyTorch loads them into the same layers, and the other way round. A
checkpoint of training holds more arrays, with names that begin with "training/": the optimizer's and the carried state.

V: vocabulary   D: width of a character's vector   H: hidden size   L: layers
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg

from ..common import files, saved
from ..common.console import say
from ..common.errors import UserError
from ..common.header import Header, plain, read_arrays, read_header
from .model import CharLM, Options

BEST, LAST = "best.safetensors", "last.safetensors"  # in the folder of a run
PREVIOUS = files.previous_of(Path(LAST)).name
TRAINING = "training/"
PROGRAM, VERSION = "char_lm", "1"  # of what is written here

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
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
    more = {TRAINING + name: array for name, array in checkpoint.arrays.items()}
    options, about = checkpoint.model.options, checkpoint.about
    saved.write(path, (PROGRAM, VERSION), arrays, more, options, about, keep_previous=keep_previous)


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
    saved.refuse_not_finite(header, found)
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
    saved.refuse_others(header, weights_of(header), {name: x.shape for name, x in state.items()}, "this model has")
    names = weights_of(header)
    if wrong := [name for name in names if header.dtypes[name] not in {*DTYPES, "BF16"}]:
        raise UserError(
            f"{header.path}: expected weights that are floating-point numbers, got {header.dtypes[wrong[0]]} as "
            f"{saved.some(wrong)}"
        )
    with np.errstate(over="ignore"):  # what is too large for the dtype is refused below
        found = {name: x.astype(state[name].dtype) for name, x in read_arrays(header, names)}
    saved.refuse_not_finite(header, found)
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
    cure = "To start from the weights in it, train a model with the same layers with --weights"
    options, about = saved.describe(header, (PROGRAM, VERSION), Options, cure)
    return options, about


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
    saved.refuse_others(header, weights_of(header), expected, f"its metadata describes ({said})")


def weights_of(header: Header) -> list[str]:
    """The names of the weights, without those of training."""
    return [name for name in header.shapes if not name.startswith(TRAINING)]


def _symbols(options: Options) -> str:
    if options.unit == "byte":
        return "bytes"
    return f"{options.symbols} characters ({plain(options.vocabulary)})"
