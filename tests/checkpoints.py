"""Files of the character model, for the tests: whole ones, and parts to make others of."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from typer.testing import CliRunner

from models.char_lm.model import CharLM, Options
from models.char_lm.program import app

from .helpers import host


def numbers(model: Any) -> dict[str, Any]:
    return {name: x.tolist() for name, x in model.state_dict().items()}


def inspected(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)])


def written(path: Path, metadata: dict[str, str], arrays: dict[str, np.ndarray]) -> Path:
    safetensors.numpy.save_file(arrays, path, metadata)
    return path


def parts(model: CharLM | None = None, **options: Any) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The metadata and the arrays of a small checkpoint."""
    model = model or CharLM(Options(**({"vocabulary": "ab", "hidden": 2, "embedding": 1} | options)))
    metadata = {"program": "char_lm", "version": "1", "about": "{}"}
    metadata["model"] = json.dumps(dataclasses.asdict(model.options))
    return metadata, {name: host(x) for name, x in model.state_dict().items()}


def with_header(raw: bytes, change: Callable[[str], str]) -> bytes:
    """A file with another header."""
    (length,) = struct.unpack("<Q", raw[:8])
    header = change(raw[8 : 8 + length].decode()).encode()
    return struct.pack("<Q", len(header)) + header + raw[8 + length :]
