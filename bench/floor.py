"""The training step's matrix products run alone, as a share of the step's time: how much more there is to gain."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from rich.table import Table

from . import pictures, processes, record, tables
from .systems.task import Task

MODULES = {"minigrad": "bench.systems.minigrad_layers", "products": "bench.systems.products"}
CELLS, LAYERS, HIDDEN = ("lstm", "gru", "rnn"), (1, 2), (64, 128, 256, 512)


def run(
    cells: Sequence[str] = CELLS,
    layers: Sequence[int] = LAYERS,
    hidden: Sequence[int] = HIDDEN,
    batch: int = 50,
    length: int = 50,
    rounds: int = 5,
    seconds: float = 0.4,
    threads: int = 1,
    modules: Mapping[str, str] = MODULES,
) -> Iterator[dict[str, Any]]:
    """A row per configuration: seconds of the step and of its products, the share, and FLOP.

    Args:
        cells, layers, hidden: every combination of these is measured.
        batch, length: N and T.
        rounds, seconds, threads: as `processes.measure` has them.
        modules: where "minigrad" and "products" are.

    Raises:
        SystemLost: one of the two failed.
    """
    for task in (Task(*sizes, batch, length) for sizes in _sizes(cells, layers, hidden)):
        found = processes.measure(
            task, tuple(MODULES), threads=threads, rounds=rounds, seconds=seconds, modules=modules
        )
        for finding in found.values():
            if finding.status != "timed":
                raise processes.SystemLost(finding.status, finding.reason)
        step, products = (found[name].blocks for name in MODULES)
        pairs = zip(map(statistics.median, products), map(statistics.median, step), strict=True)
        yield {
            "cell": task.cell,
            "layers": task.layers,
            "hidden": task.hidden,
            "batch": batch,
            "length": length,
            "flop": found["products"].first["flop"],
            "step": record.spread([second for block in step for second in block]),
            "products": record.spread([second for block in products for second in block]),
            "share": record.spread([alone / whole for alone, whole in pairs]),
        }


def _sizes(cells: Sequence[str], layers: Sequence[int], hidden: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    return ((cell, number, size) for number in layers for size in hidden for cell in cells)


# What is read off ---------------------------------------------------------------------------------


def table(document: dict[str, Any]) -> list[Table]:
    columns = ["cell", "L", "H", "step, ms", "products, ms", "share", "GFLOP", "GFLOP/s alone", "GFLOP/s in the step"]
    lines = []
    for row in document["rows"]:
        step, products, flop = row["step"]["median"], row["products"]["median"], row["flop"]
        lines.append(
            [
                *(row[key] for key in ("cell", "layers", "hidden")),
                *(tables.digits(second * 1e3) for second in (step, products)),
                f"{row['share']['median']:.0%}",
                *(tables.digits(value / 1e9) for value in (flop, flop / products, flop / step)),
            ]
        )
    return [tables.make("The step's matrix products, run alone", columns, lines)]


def picture(document: dict[str, Any]) -> Figure:
    """The products' share of the step's time over H, a line for each cell; what is left below 100% is all the rest."""
    rows = document["rows"]
    numbers = sorted({row["layers"] for row in rows})
    figure, axes = pictures.panels(len(numbers), title="Matrix products' share of a training step")
    for panel, layers in zip(axes, numbers, strict=True):
        here = sorted((row for row in rows if row["layers"] == layers), key=lambda row: int(row["hidden"]))
        for cell in dict.fromkeys(row["cell"] for row in here):
            mine = [row for row in here if row["cell"] == cell]
            shares = [100 * row["share"]["median"] for row in mine]
            panel.plot([row["hidden"] for row in mine], shares, "o-", label=cell, color=pictures.COLOURS[cell])
        panel.set_title(f"{layers} layer{'s' * (layers > 1)}")
        panel.set_ylabel("% of the step's time")
        panel.set_ylim(0, 105)
        pictures.sizes_along_x(panel, sorted({row["hidden"] for row in here}), "hidden size H")
        panel.axhline(100, color="black", linewidth=1)
    axes[0].legend()
    return figure
