"""One run of `train` as a command of its own, and what its journal tells of it: for tables of results."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..common import journal

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ("python", "-m", "models.char_lm", "train")

# Losses on held-out text by which runs are compared, in nats per character of tinyshakespeare, contiguous split.
TARGETS = {
    1.88: "nanoGPT's quick start on a CPU",
    1.60: "an LSTM of 256 units, about",
    1.4697: "nanoGPT's small GPT on a GPU",
}


def command(options: Sequence[str], data: Path | None = None) -> str:
    """How somebody else types it, in the folder where the text lies."""
    return shlex.join([*PROGRAM, *(["--data", data.name] if data else []), *options])


def train(
    options: Sequence[str], folder: Path, data: Path | None = None, environment: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Train to the end in a process of its own, and read the journal.

    Args:
        options: of `train`.
        folder: where the run goes.
        data: its text; without it, the one inside Python.
        environment: what the process finds in its environment besides.

    Raises:
        ChildProcessError: the run failed, or was stopped; the message has its last words.
    """
    text = ["--data", str(data.resolve())] if data else []
    process = subprocess.run(
        [sys.executable, *PROGRAM[1:], *text, *options, "--out", str(folder)],
        cwd=ROOT, env=os.environ | dict(environment or {}), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    if process.returncode:
        words = (process.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ChildProcessError(f"`{command(options, data)}` ended with exit status {process.returncode}: {words}")
    records = journal.read(folder / "log.jsonl")
    ended = [record["why"] for record in records if record["event"] == "end"]
    if ended != ["done"]:
        raise ChildProcessError(f"`{command(options, data)}` did not come to its end: {', '.join(ended) or 'unknown'}")
    return records


def outcome(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a run reached: nats on the whole held-out text with its best weights, updates and seconds of training,
    parameters; and each look at the held-out text as [update, seconds, nats]."""
    last = {record["event"]: record for record in records}
    looks = [[r["update"], r["seconds"], _six(r["nats"])] for r in records if r["event"] == "validation"]
    return {
        "parameters": last["start"]["parameters"],
        "updates": last["end"]["update"],
        "seconds": last["end"]["seconds"],
        "nats": _six(last["result"]["nats"]),
        "best_update": last["result"]["update"],
        "looks": looks,
    }


def reached(looks: Sequence[Sequence[float]], target: float) -> tuple[int, float] | None:
    """Update and seconds of the first look at or below a loss; nothing is interpolated between two looks."""
    return next(((int(at), seconds) for at, seconds, nats in looks if nats is not None and nats <= target), None)


def _six(nats: float | None) -> float | None:
    """To six digits after the point, more than any loss has."""
    return None if nats is None else round(nats, 6)
