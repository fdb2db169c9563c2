"""A model on disk: one safetensors file with the weights, and in its header, as JSON, what else is to be known.

A checkpoint of training holds more arrays, with names that begin with "training/": the optimizer's and the carried state.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg

from ..common.errors import UserError
from .model import CharLM, Options

BEST, LAST = "best.safetensors", "last.safetensors"  # in the folder of a run
TRAINING = "training/"


@dataclasses.dataclass
class Checkpoint:
    """What a file holds."""

    model: CharLM  # on the CPU
    about: dict[str, Any] = dataclasses.field(default_factory=dict)  # of its training: whatever JSON can say
    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)  # what training needs to go on


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint."""
    arrays: dict[str, Any] = dict(checkpoint.model.state_dict())
    arrays |= {TRAINING + name: array for name, array in checkpoint.arrays.items()}
    metadata = {
        "program": "char_lm",
        "model": json.dumps(dataclasses.asdict(checkpoint.model.options)),
        "about": json.dumps(checkpoint.about),
    }
    mg.io.save(path, arrays, metadata)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint: a file, or the folder of a run, of which the best model so far is taken."""
    if path.is_dir():
        path = next((path / name for name in (BEST, LAST) if (path / name).is_file()), path)
    if not path.is_file():
        raise UserError(f"{path} holds no trained model: there is no file {BEST} in it. Train one first")
    try:
        metadata, arrays = mg.io.load_metadata(path), mg.io.load(path)
        options = Options(**json.loads(metadata["model"]))
        about = json.loads(metadata["about"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: {error}") from error
    model = CharLM(options)
    model.load_state_dict({name: x for name, x in arrays.items() if not name.startswith(TRAINING)})
    rest = {n.removeprefix(TRAINING): x.numpy() for n, x in arrays.items() if n.startswith(TRAINING)}
    return Checkpoint(model, about, rest)


def load_last(path):
    return load(path / LAST)


def load_weights(model, path):
    model.load_state_dict(mg.io.load(path))
