"""`inspect`: what is in a file of weights."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from typer import Argument, Option

from ...common.console import clear_errors, write_out
from ...common.header import NUMPY_DTYPES, Header, plain, read_arrays, read_header
from .. import checkpoint
from ..settings import RUN


def inspect(
    path: Annotated[
        Path, Argument(help="A safetensors file, of this program or another; or the folder of a run.")
    ] = RUN,
    as_json: Annotated[bool, Option("--json", help="For other programs: everything, as one JSON object.")] = False,
) -> None:
    """Show what is in a checkpoint, or in any safetensors file: options, arrays, how it was trained.

    Nothing in the file is run. In a run's folder the best model is shown, else the last.
    """
    with clear_errors():
        found = look(path)
        write_out([json.dumps(found, indent=1) if as_json else "\n".join(lines(found))])


def look(path: Path) -> dict[str, Any]:
    """All there is to know of a file; of a checkpoint's vocabulary and training, too.

    Raises:
        UserError: it is not a whole safetensors file, or a checkpoint of this program whose parts do not fit.
        OSError: it cannot be read.
    """
    file = checkpoint.find(path)
    header = read_header(file)
    ours = header.metadata.get("program") == checkpoint.PROGRAM
    found: dict[str, Any] = {
        "file": str(file),
        "kind": f"checkpoint of {checkpoint.PROGRAM}" if ours else "safetensors file",
        "bytes": header.size,
    }
    if ours:
        options, about = checkpoint.describe(header)
        checkpoint.refuse_other_layers(header, options)
        found |= {"version": int(checkpoint.VERSION), "model": vars(options), "symbols": options.symbols}
        found |= {"about": about}
    else:
        found |= {"metadata": header.metadata}
    found["parameters"] = sum(math.prod(header.shapes[name]) for name in checkpoint.weights_of(header))
    return found | {"arrays": _arrays(header)}


def _arrays(header: Header) -> dict[str, dict[str, Any]]:
    arrays: dict[str, dict[str, Any]] = {
        name: {"dtype": header.dtypes[name], "shape": shape, "finite": None} for name, shape in header.shapes.items()
    }
    # An array without numbers may have any shape, such as (0, 2**62), which NumPy would refuse.
    read = [n for n, shape in header.shapes.items() if header.dtypes[n] in NUMPY_DTYPES and math.prod(shape)]
    for name, array in read_arrays(header, read):
        arrays[name]["finite"] = bool(np.isfinite(array).all())
    return arrays


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The same for people."""
    yield f"{found['file']}: a {found['kind']}, {found['bytes']:,} bytes"
    arrays = found["arrays"]
    training = {name: array for name, array in arrays.items() if name.startswith(checkpoint.TRAINING)}
    if "model" in found:
        options = {name: value for name, value in found["model"].items() if name != "vocabulary"}
        yield from _section("model", options | {"symbols": _symbols(found), "parameters": f"{found['parameters']:,}"})
        kept = {"arrays": f"{len(training):,}, to go on with"} if training else {}
        yield from _section("training", _flat(found["about"]) | kept)
    else:
        yield from _section("metadata", found["metadata"])
    weights = {name: array for name, array in arrays.items() if "model" not in found or name not in training}
    yield from _section(
        f"arrays, {found['parameters']:,} numbers",
        {name: f"{array['dtype']:<5} {tuple(array['shape'])}" for name, array in weights.items()},
    )
    wrong = [plain(name) for name, array in arrays.items() if array["finite"] is False]
    unread = [plain(name) for name, array in arrays.items() if array["dtype"] not in NUMPY_DTYPES]
    yield f"not finite: {', '.join(wrong)}" if wrong else "all numbers that were read are finite"
    if unread:
        yield f"not read, because NumPy lacks the dtype: {', '.join(unread)}"


def _symbols(found: dict[str, Any]) -> str:
    characters = found["model"]["vocabulary"]
    return f"{found['symbols']} characters: {characters!r}" if characters else f"{found['symbols']} bytes"


def _section(title: str, rows: dict[str, Any]) -> Iterator[str]:
    if rows:
        yield f"\n{title}"
    width = min(max((len(plain(name)) for name in rows), default=0), 40)
    for name, value in rows.items():
        shown = value if isinstance(value, str) else json.dumps(value)
        yield f"  {plain(name):<{width}}  {plain(shown, 2000)}"


def _flat(about: dict[str, Any], before: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}"""
    rows: dict[str, Any] = {}
    for name, value in about.items():
        rows |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
    return rows
