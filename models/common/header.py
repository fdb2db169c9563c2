"""What a safetensors file says of itself, read without its arrays. Nothing it says is believed before it is checked."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from .errors import UserError

LONGEST = 1 << 24  # bytes of a header: room for a vocabulary of all of Unicode. In memory, up to 25 times that
DEEPEST = 30  # levels of JSON within JSON
NUMPY_DTYPES = {"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "F32", "F64"}


@dataclass(frozen=True)
class Header:
    """The names of a file's arrays, and its metadata."""

    path: Path
    size: int  # bytes of the file
    metadata: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]  # as the format names them: F32, BF16, I64 ...


def read_header(path: Path) -> Header:
    """Read the header of a safetensors file, from whichever program it is.

    Raises:
        OSError: the file cannot be read.
        UserError: it is not a safetensors file, or not a whole one.
    """
    with path.open("rb") as file:
        start = file.read(8)
    size = path.stat().st_size
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > size - 8:
        said = f"its header would take {length:,} bytes" if len(start) == 8 else "its header takes 8 bytes at least"
        raise UserError(f"{path} is not a whole safetensors file: {said}, but it has {size:,}. {_cure(path, start)}")
    if length > LONGEST:
        raise UserError(f"{path} is refused: its header takes {length:,} bytes, more than the {LONGEST:,} ever needed")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in sorted(file.keys())}
            shapes = {name: tuple(x.get_shape()) for name, x in slices.items()}
            dtypes = {name: x.get_dtype() for name, x in slices.items()}
            return Header(path, size, dict(file.metadata() or {}), shapes, dtypes)
    except safetensors.SafetensorError as error:
        raise UserError(
            f"{path} is not a whole safetensors file: {plain(str(error), 300)}. {_cure(path, start)}"
        ) from error


def _cure(path: Path, start: bytes) -> str:
    if start.startswith((b"PK\x03\x04", b"\x80")):
        new = f"{path.stem}-converted.safetensors"
        return (
            "It looks like what torch.save writes, which is never opened here, because opening it can run any program "
            "that is hidden in it. Convert its state dict where PyTorch is installed:\n"
            "    import torch, safetensors.torch\n"
            f"    safetensors.torch.save_file(torch.load({path.name!r}, weights_only=True), {new!r})"
        )
    return "It was cut short, or is of another kind; copy it again, or name another file"


def read_arrays(header: Header, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Read some of the arrays, one after another.

    Raises:
        UserError: NumPy lacks an array's dtype, or cannot have its shape, or the file is another by now.
    """
    try:
        with safetensors.safe_open(header.path, framework="numpy") as file:
            for name in names:
                if header.dtypes[name] not in NUMPY_DTYPES:
                    raise ValueError(
                        f"{plain(name)} has dtype {header.dtypes[name]}, which NumPy lacks; convert it to float32 in "
                        "the program that wrote it (in PyTorch, x.float())"
                    )
                array = file.get_tensor(name)
                if array.shape != header.shapes[name]:
                    raise ValueError("it was replaced meanwhile; try again")
                yield name, array
    except (safetensors.SafetensorError, ValueError) as error:
        raise UserError(f"{header.path} cannot be read: {error}") from error


def parse(text: str) -> dict[str, Any]:
    """A JSON object, as the standard has it: finite numbers, each name once; and not nested deeper than DEEPEST.

    Raises:
        ValueError: the text is something else.
    """
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_constant, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("its JSON is nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError(f"expected names with their values, got {type(found).__name__}")
    level: list[Any] = [found]
    for _ in range(DEEPEST):  # whoever goes through it may recurse
        level = [y for x in level for y in (x.values() if isinstance(x, dict) else x) if isinstance(y, (dict, list))]
        if not level:
            return found
    raise ValueError(f"its JSON is nested in more than {DEEPEST} levels")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def _constant(word: str) -> float:
    raise ValueError(f"{word} is no JSON")


def _finite(digits: str) -> float:
    if not math.isfinite(value := float(digits)):
        raise ValueError(f"{digits:.40} is too large a number")
    return value


def plain(text: str, longest: int = 100) -> str:
    """A strange text for the terminal: on one line, cut short, without what could command the terminal."""
    cut = text[:longest]
    shown = cut if cut.isprintable() else repr(cut)[1:-1]
    return shown[:longest] + ("..." if len(text) > longest or len(shown) > longest else "")
