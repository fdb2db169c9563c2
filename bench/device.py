"""Everything about one GPU within a few minutes: its tests, and every measurement that asks for a device.

Each part runs in a process of its own, and gets a share of the time that is left; a part that fails, dies or hangs is
recorded with what it had found until then, and the others go on. The parts stand here in order of importance: when the
time is up, what comes last is what is missing, and is named.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from minigrad.backend import namespace

from . import gpu_tests, processes
from .device_results import picture as picture
from .device_results import table as table

PACKAGES = ("torch",)
CELLS = ("lstm", "gru", "rnn")
TORCH = ("minigrad", "torch")
SIZE = {"batch": 64, "length": 64}
LEAST = 15.0  # seconds; with less, a part is not begun
GRACE = 5.0  # seconds in which a killed process has to go
PATIENCE = 30.0  # seconds that a system may be silent, or a third of its part's time: the libraries are large


@dataclass(frozen=True)
class Part:
    """What is called, with what; `seconds` of eight minutes are its share.

    `sizes` say what is measured, and go to the module's `planned` too, where it has one: it tells what is missing.
    """

    function: str  # module:function
    seconds: float
    sizes: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def module(self) -> Any:
        return importlib.import_module(f"bench.{self.function.partition(':')[0]}")


PARTS = {  # the most important first
    "tests": Part("gpu_tests:run", 110),
    "peers": Part(
        "peers:run", 90, {"cells": CELLS, "layers": [1], "hidden": [512], **SIZE}, {"rounds": 3, "seconds": 0.3}
    ),
    "crossover": Part(
        "crossover:run",
        80,
        {"cells": CELLS, "hidden": [64, 128, 256, 512, 1024, 2048], "batch": [64], "length": [64]},
        {"rounds": 3, "seconds": 0.2},
    ),
    "overhead": Part("overhead:run", 25, options={"systems": TORCH, "rounds": 3}),
    "memory": Part(
        "memory:run",
        30,
        {"cells": CELLS, "lengths": [64, 256, 1024], "hidden": 512, "layers": 1, "batch": 64},
        {"systems": TORCH},
    ),
    "flat": Part("memory:flat", 20, options={"cells": CELLS, "chunks": 50}),
    "sample": Part(
        "sample:run", 55, {"cells": CELLS, "hidden": [512], "streams": [1, 64]}, {"rounds": 3, "seconds": 0.2}
    ),
    "first-use": Part("writers:uses", 35, options={"cells": CELLS[:2], "hidden": 512, **SIZE, "rounds": 1}),
    "peers:sizes": Part(
        "peers:run",
        70,
        {"cells": CELLS, "layers": [1], "hidden": [128, 256, 1024], **SIZE},
        {"rounds": 3, "seconds": 0.2},
    ),
    "peers:layers": Part(
        "peers:run", 30, {"cells": CELLS, "layers": [2], "hidden": [512], **SIZE}, {"rounds": 3, "seconds": 0.2}
    ),
    "crossover:16": Part(
        "crossover:run",
        25,
        {"cells": CELLS, "hidden": [64, 128, 256, 512], "batch": [16], "length": [64]},
        {"rounds": 3, "seconds": 0.2},
    ),
}


def run(
    minutes: float = 8.0, parts: Sequence[str] = tuple(PARTS), device: str = "cuda", threads: int = 1
) -> Iterator[dict[str, Any]]:
    """A row per part, in order: its status, the rows it measured, and what of it is missing.

    Args:
        minutes: for all parts together; the processes that are at work then are killed.
        parts: names out of PARTS.
        device: what is measured; "cpu" tries the command out.

    Raises:
        DeviceError: there is no such device.
    """
    namespace(device)
    end = time.monotonic() + 60 * minutes
    ahead = [name for name in PARTS if name in parts]
    while ahead:
        left = end - time.monotonic()
        share = PARTS[ahead[0]].seconds / sum(PARTS[name].seconds for name in ahead)
        limit = min(left, max(LEAST, share * left))
        yield carried_out(ahead.pop(0), limit, device, threads)


def carried_out(name: str, limit: float, device: str, threads: int) -> dict[str, Any]:
    """A part's row: what it measured within `limit` seconds, and what it did not."""
    part = PARTS[name]
    options = {**part.sizes, **part.options, "device": device, "threads": threads}
    if limit < LEAST:
        found: dict[str, Any] = {"status": "left out", "reason": "no time was left for it", "seconds": 0.0, "rows": []}
    else:
        command = [sys.executable, "-m", "bench.part", part.function, json.dumps(options)]
        found = heard(command, limit, BENCH_PATIENCE=str(max(PATIENCE, limit / 3)))
    missing = left_out(part, found["rows"], device)
    if part.module is gpu_tests:
        found["rows"] = [gpu_tests.summary(found["rows"])] if found["rows"] else []
    return {"part": name, "limit": limit, **found, "left_out": missing}


def left_out(part: Part, rows: Sequence[dict[str, Any]], device: str) -> list[str]:
    """What was planned and has no row, in words."""
    planned = part.module.planned(**part.sizes, device=device) if part.sizes else []
    return [in_words(what) for what in planned if not any(row | what == row for row in rows)]


LETTERS = {"layers": "L", "hidden": "H", "batch": "N", "length": "T", "streams": "streams"}


def in_words(what: dict[str, Any]) -> str:
    """
    >>> in_words({"cell": "gru", "hidden": 64, "batch": 2, "device": "cuda"})
    'gru H=64 N=2 on cuda'
    """
    sizes = [f"{letter}={what[name]}" for name, letter in LETTERS.items() if name in what]
    return " ".join([what["cell"], *sizes, f"on {what['device']}"])


def heard(command: Sequence[str], limit: float, **environment: str) -> dict[str, Any]:
    """Run a command for at most `limit` seconds, and keep the lines of JSON that it writes until then.

    Status "done", "cut short", when it was killed with all that it had started, or "failed", with its last words.
    """
    rows: list[dict[str, Any]] = []
    start = time.monotonic()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=os.environ | environment,
            cwd=processes.ROOT,
            start_new_session=True,  # a group, to be killed as one
            text=True,
        )
        reader = threading.Thread(target=read, args=(process.stdout, rows), daemon=True)
        reader.start()
        try:
            status: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            stop(process)
        reader.join(GRACE)
        if not reader.is_alive() and process.stdout is not None:
            process.stdout.close()
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines()[-20:]
    found = {"status": "done", "reason": "", "seconds": time.monotonic() - start, "rows": list(rows)}
    if status is None:
        return found | {"status": "cut short", "reason": f"its {limit:.0f} s were over"}
    if status != 0:
        return found | {"status": "failed", "reason": said[-1] if said else f"exit status {status}", "said": said}
    return found


def read(lines: IO[str], rows: list[dict[str, Any]]) -> None:
    for line in lines:
        if line.endswith("\n"):  # one that was killed while it wrote has written half a line
            rows.append(json.loads(line))


def stop(process: subprocess.Popen[str]) -> None:
    """Kill a process and all that it has started; one that the system does not let go is left behind."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        return
