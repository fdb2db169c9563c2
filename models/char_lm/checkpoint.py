"""A trained model on disk: a folder with model.safetensors (the weights) and model.json (everything else)."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import minigrad as mg

from .data import UserError
from .model import CharLM, Options

WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"


def prepare(folder: Path) -> None:
    """Make the folder and see that it can be written to: nothing must be in the way once a model is trained."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"the model cannot be saved in {folder}: {error.strerror}; name another folder with --out"
        ) from error


def save(folder: Path, model: CharLM, results: dict[str, Any]) -> None:
    """Write the model, and what is known about its training, into a folder, which is made if need be."""
    prepare(folder)
    mg.io.save(folder / WEIGHTS, model.state_dict(), {"program": "char_lm", "cell": model.options.cell})
    described = {"model": dataclasses.asdict(model.options), "training": results}
    (folder / DESCRIPTION).write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load(folder: Path) -> CharLM:
    """The model that `save` wrote into a folder, on the CPU."""
    for name in (WEIGHTS, DESCRIPTION):
        if not (folder / name).is_file():
            raise UserError(f"{folder} holds no trained model: there is no file {name} in it. Train one first")
    try:
        described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        options = Options(**described["model"])
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{folder / DESCRIPTION} does not describe a char_lm model: {error}") from error
    try:
        cell = mg.io.load_metadata(folder / WEIGHTS).get("cell")
        weights = mg.io.load(folder / WEIGHTS)
    except ValueError as error:
        raise UserError(str(error)) from error
    if cell != options.cell:
        raise UserError(
            f"{folder / WEIGHTS} holds the weights of a {cell} model, but {DESCRIPTION} beside it describes "
            f"a {options.cell} model: the two files are not of one training run"
        )
    model = CharLM(options)
    try:
        model.load_state_dict(weights)
    except (KeyError, ValueError) as error:
        raise UserError(f"{folder / WEIGHTS} does not fit {DESCRIPTION} beside it: {error.args[0]}") from error
    return model
