"""Characters per second when drawing text from a model, one stream or many side by side, minigrad and PyTorch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.figure import Figure
from rich.table import Table

from . import pictures, processes, tables
from .peers import OURS, summary
from .samplers import SAMPLERS
from .systems.task import Task

PACKAGES = ("torch",)


def run(
    cells: Sequence[str] = ("rnn", "gru", "lstm"),
    hidden: Sequence[int] = (128, 512),
    streams: Sequence[int] = (1, 64),
    systems: Sequence[str] = tuple(SAMPLERS),
    rounds: int = 7,
    seconds: float = 0.3,
    device: str = "cpu",
    threads: int = 1,
) -> Iterator[dict[str, Any]]:
    """A row per configuration: of each system the seconds per character of every stream, or why there are none."""
    names = list(dict.fromkeys((OURS, *systems)))
    for row in planned(cells, hidden, streams, device):
        task = Task(row["cell"], 1, row["hidden"], batch=row["streams"], length=processes.WARM_UP, device=device)
        found = processes.measure(task, names, threads=threads, rounds=rounds, seconds=seconds, modules=SAMPLERS)
        yield row | {"systems": {name: summary(finding, found[OURS]) for name, finding in found.items()}}


def planned(
    cells: Sequence[str], hidden: Sequence[int], streams: Sequence[int], device: str = "cpu"
) -> list[dict[str, Any]]:
    """What is going to be measured, in this order."""
    return [
        {"cell": cell, "streams": N, "hidden": H, "device": device}
        for cell, N, H in itertools.product(cells, streams, hidden)
    ]


# What is read off ---------------------------------------------------------------------------------


def rate(row: dict[str, Any], system: str) -> float | None:
    """Characters per second, of all streams together."""
    found = row["systems"][system]
    return row["streams"] / found["median"] if found["status"] == "timed" else None


def table(document: dict[str, Any]) -> list[Table]:
    systems = list(document["rows"][0]["systems"])
    others = [system for system in systems if system != OURS]
    lines, lost = [], {}
    for row in document["rows"]:
        rates = [tables.digits(rate(row, system)) for system in systems]
        ratios = [row["systems"][system].get("ratio") for system in others]
        times = [ratio and f"{ratio['median']:.2f}×" for ratio in ratios]
        lines.append([row["cell"], row["streams"], row["hidden"], *rates, *times])
        for name, found in row["systems"].items():
            if found["status"] != "timed":
                lost[name] = [name, found["status"], found["reason"]]
    columns = ["cell", "streams", "H", *systems, *(f"minigrad / {system}" for system in others)]
    made = [tables.make("Characters per second, and how many times as many minigrad draws", columns, lines)]
    return [*made, tables.make("Not timed", ["system", "", "why"], lost.values())] if lost else made


def picture(document: dict[str, Any]) -> Figure:
    """A panel per number of streams, a group of bars per cell and hidden size, a bar per system."""
    rows = document["rows"]
    numbers = sorted({row["streams"] for row in rows})
    figure, axes = pictures.panels(len(numbers), columns=2, title="Sampling, characters per second")
    for panel, streams in zip(axes, numbers, strict=True):
        here = [row for row in rows if row["streams"] == streams]
        heights = {system: [rate(row, system) for row in here] for system in rows[0]["systems"]}
        pictures.bars(panel, [f"{row['cell']}\nH={row['hidden']}" for row in here], heights)
        panel.set_title("one stream" if streams == 1 else f"{streams} streams")
        panel.yaxis.set_major_formatter("{x:,.0f}")
        panel.set_ylim(bottom=0)
    pictures.legend_below(figure)
    return figure
