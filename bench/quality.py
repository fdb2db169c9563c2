"""How soon a character model reaches a loss on held-out text: `python -m models.char_lm train`, as users run it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.table import Table

from models.char_lm import measured

from . import pictures, processes, tables
from .options import TextFile


def run(
    text: TextFile,
    presets: Sequence[str] = ("fast", "best"),
    more: Sequence[str] = (),
    rounds: int = 1,
    device: str = "cpu",
    threads: int = 1,
) -> Iterator[dict[str, Any]]:
    """A row per training: what it reached, and each look at the held-out text as [update, seconds, nats].

    Seconds are of training alone, without looking and saving.

    Args:
        text: what is learned.
        presets: those of `train`, one after the other, round by round.
        more: further options of `train`; the seed is the round's.
        rounds, device, threads: how often, where, and on how many threads.

    Raises:
        ChildProcessError: a training failed.
    """
    environment = dict.fromkeys(processes.THREADS, str(threads))
    for seed in range(rounds):
        for preset in presets:
            options = ["--preset", preset, *more, "--seed", str(seed), "--device", device]
            with tempfile.TemporaryDirectory() as folder:
                records = measured.train(options, Path(folder), text.path, environment)
            command = measured.command(options, text.path)
            yield {"preset": preset, "seed": seed, "device": device, "command": command, **measured.outcome(records)}


# What is read off ---------------------------------------------------------------------------------


def table(document: dict[str, Any]) -> list[Table]:
    rows = document["rows"]
    lines = []
    for row in rows:
        times = [measured.reached(row["looks"], target) for target in measured.TARGETS]
        told = [part for at in times for part in ((f"{at[0]:,}", tables.digits(at[1])) if at else (None, None))]
        lines.append([row["preset"], row["seed"], f"{row['parameters']:,}", *told, _spacing(row["looks"]),
                      f"{row['updates']:,}", tables.digits(row["seconds"]), f"{row['nats']:.4f}"])  # fmt: skip
    reaching = [f"{target:g}: {what}" for target in measured.TARGETS for what in ("updates", "s")]
    columns = ["preset", "seed", "parameters", *reaching, "looks, every", "updates", "s", "nats at the end"]
    made = tables.make(f"Training until {document['facts']['text']} is expected so well, nats", columns, lines)
    return [made, tables.make("The commands", ["command"], [[row["command"]] for row in rows])]


def picture(document: dict[str, Any]) -> Figure:
    """The loss on held-out text over the seconds of training, a line for each run; the targets across."""
    figure, (axes,) = pictures.panels(1, title=f"Held-out text of {document['facts']['text']}")
    for row in document["rows"]:
        looks = [(seconds, nats) for _, seconds, nats in row["looks"] if nats is not None]
        axes.plot(*zip(*looks, strict=True), ".-", label=f"{row['preset']}, seed {row['seed']}")
    for target in measured.TARGETS:
        axes.axhline(target, color="black", linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("seconds of training")
    axes.set_ylabel("nats per symbol")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _spacing(looks: Sequence[Sequence[float]]) -> int:
    """Updates between two looks: how exactly it is known when a loss was reached."""
    return int(max(after[0] - before[0] for before, after in zip([[0], *looks], looks, strict=False)))
