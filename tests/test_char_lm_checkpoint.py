"""The character model on disk: what is saved comes back, and what is no whole checkpoint is said to be none."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import random
import signal
import struct
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import example, given
from hypothesis import strategies as st

import minigrad as mg
from models.char_lm import checkpoint
from models.char_lm.checkpoint import Checkpoint, load, load_last, load_weights, save
from models.char_lm.header import parse, read_header
from models.char_lm.model import CharLM, Options
from models.common.errors import UserError

from .characters import CELLS, small
from .golden import files
from .helpers import host

ABOUT = {"updates": 3, "best": 1.5, "text": "größe \U0001f600\x1b", "random": [2**127, {"a": None}], "done": True}


def numbers(model: Any) -> dict[str, Any]:
    return {name: x.tolist() for name, x in model.state_dict().items()}


def written(path: Path, metadata: dict[str, str], arrays: dict[str, np.ndarray]) -> Path:
    safetensors.numpy.save_file(arrays, path, metadata)
    return path


def parts(model: CharLM | None = None, **options: Any) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The metadata and the arrays of a small checkpoint."""
    model = model or CharLM(Options("ab", **({"hidden": 2, "embedding": 1} | options)))
    metadata = {"program": "char_lm", "version": "1", "about": "{}"}
    metadata["model"] = json.dumps(dataclasses.asdict(model.options))
    return metadata, {name: host(x) for name, x in model.state_dict().items()}


# There and back -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("embedding", [0, 4])
def test_a_saved_model_comes_back(device: str, tmp_path: Path, cell: str, embedding: int) -> None:
    model, _ = small(cell, embedding=embedding, layers=2)
    arrays = {"adam.0": np.arange(3.0), "chunk": np.array(7), "flags": np.array([[True, False]])}
    save(tmp_path / "x.safetensors", Checkpoint(model, ABOUT, arrays))
    found = load(tmp_path / "x.safetensors")
    assert found.model.options == model.options
    assert {x.device for x in found.model.parameters()} == {"cpu"}
    assert numbers(found.model) == numbers(model)
    assert found.about == ABOUT
    assert {name: (x.dtype, x.tolist()) for name, x in found.arrays.items()} == {
        name: (x.dtype, x.tolist()) for name, x in arrays.items()
    }


def test_a_model_of_bytes_in_float64_comes_back(tmp_path: Path) -> None:
    model = CharLM(Options("", hidden=3, embedding=2, unit="byte")).to(mg.float64)
    save(tmp_path / "x", Checkpoint(model))
    found = load(tmp_path / "x").model
    assert found.options == model.options
    assert found.output.weight.dtype == mg.float64
    assert numbers(found) == numbers(model)


def test_a_folder_gives_its_best_model_and_goes_on_from_its_last(tmp_path: Path) -> None:
    def about(read: Callable[[Path], Checkpoint]) -> Any:
        return read(tmp_path).about["name"]

    model, said = small()[0], []
    for name, expected in [(checkpoint.PREVIOUS, "previous"), (checkpoint.LAST, "last"), (checkpoint.BEST, "best")]:
        save(tmp_path / name, Checkpoint(model, {"name": expected}))
        assert about(load) == expected
    assert about(load_last) == "last"
    (tmp_path / checkpoint.LAST).write_bytes((tmp_path / checkpoint.LAST).read_bytes()[:-1])
    assert load_last(tmp_path, said.append).about["name"] == "previous"
    (tmp_path / checkpoint.LAST).unlink()
    assert load_last(tmp_path, said.append).about["name"] == "previous"
    assert "last.safetensors is not a whole safetensors file" in said[0]
    assert "there is no file last.safetensors in it" in said[1]
    assert all(
        line.endswith(f"Going on from the checkpoint before it, {tmp_path / checkpoint.PREVIOUS}") for line in said
    )
    (tmp_path / checkpoint.PREVIOUS).write_bytes(b"")
    with pytest.raises(UserError, match=r"no file last.safetensors.*The one before cannot be used either: .*previous"):
        load_last(tmp_path)
    (tmp_path / checkpoint.PREVIOUS).unlink()
    with pytest.raises(UserError, match=r"there is no file last.safetensors in it\. Train one first$"):
        load_last(tmp_path)


def test_saving_keeps_the_one_before(tmp_path: Path) -> None:
    for count in range(3):
        save(tmp_path / checkpoint.LAST, Checkpoint(small()[0], {"count": count}), keep_previous=True)
    assert load(tmp_path / checkpoint.LAST).about == {"count": 2}
    assert load(tmp_path / checkpoint.PREVIOUS).about == {"count": 1}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_that_diverged_replaces_nothing(device: str, tmp_path: Path, value: float) -> None:
    model, _ = small()
    save(tmp_path / "x", Checkpoint(model, {"good": True}))
    model.output.bias.data[3] = value
    with pytest.raises(UserError, match="x is not written: output.bias would not be finite, so training has diverged"):
        save(tmp_path / "x", Checkpoint(model))
    assert load(tmp_path / "x").about == {"good": True}


def test_what_json_cannot_say_replaces_nothing(tmp_path: Path) -> None:
    save(tmp_path / "x", Checkpoint(small()[0]))
    for about in ({"loss": np.inf}, {"loss": np.float32(1)}):
        with pytest.raises((ValueError, TypeError), match="JSON"):
            save(tmp_path / "x", Checkpoint(small()[0], about))
    assert load(tmp_path / "x").about == {}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", [{}, {"embedding": 0}, {"layers": 3}, {"unit": "byte", "vocabulary": ""}])
def test_the_formula_of_the_shapes(cell: str, options: dict[str, Any]) -> None:
    model = CharLM(Options(**{"vocabulary": "abc", "cell": cell, "hidden": 5, "embedding": 2} | options))
    assert dict(checkpoint.expected_shapes(model.options)) == {n: x.shape for n, x in model.state_dict().items()}
