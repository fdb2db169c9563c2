"""The training step's matrix products run alone, as a share of the step's time: how much more there is to gain."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from rich.table import Table

from . import pictures, processes, record, tables
from .systems.task import Task

MODULES = {
    "minigrad": "bench.systems.minigrad_layers",
    "products": "bench.systems.products",
    "own products": "bench.systems.own_products",
}
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
    """A row per configuration: seconds of the step and of its products, by NumPy and by minigrad, the shares, and FLOP.

    Args:
        cells, layers, hidden: every combination of these is measured.
        batch, length: N and T.
        rounds, seconds, threads: as `processes.measure` has them.
        modules: where the three of MODULES are.

    Raises:
        SystemLost: one of the three failed.
    """
    for task in (Task(*sizes, batch, length) for sizes in _sizes(cells, layers, hidden)):
        found = processes.measure(
            task, tuple(MODULES), threads=threads, rounds=rounds, seconds=seconds, modules=modules
        )
        for finding in found.values():
            if finding.status != "timed":
                raise processes.SystemLost(finding.status, finding.reason)
        step, products, own = (record.spread([s for block in found[name].blocks for s in block]) for name in MODULES)
        medians = {name: [statistics.median(block) for block in found[name].blocks] for name in MODULES}
        share, own_share = (
            record.spread([alone / whole for alone, whole in zip(medians[name], medians["minigrad"], strict=True)])
            for name in ("products", "own products")
        )
        yield {
            "cell": task.cell,
            "layers": task.layers,
            "hidden": task.hidden,
            "batch": batch,
            "length": length,
            "flop": found["products"].first["flop"],
            "step": step,
            "products": products,
            "own": own,
            "share": share,
            "own_share": own_share,
        }


def _sizes(cells: Sequence[str], layers: Sequence[int], hidden: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    return ((cell, number, size) for number in layers for size in hidden for cell in cells)


# What is read off ---------------------------------------------------------------------------------


def table(document: dict[str, Any]) -> list[Table]:
    sizes = ["cell", "layers", "hidden"]
    lines, speeds = [], []
    for row in document["rows"]:
        what = [row[key] for key in sizes]
        step, products, own = (row[key]["median"] for key in ("step", "products", "own"))
        lines.append(
            [
                *what,
                *(tables.digits(second * 1e3) for second in (step, products, own)),
                *(f"{row[share]['median']:.0%}" for share in ("share", "own_share")),
            ]
        )
        flop = row["flop"]
        speeds.append([*what, *(tables.digits(n / 1e9) for n in (flop, flop / products, flop / own, flop / step))])
    columns = ["cell", "L", "H", "step, ms", "NumPy's products, ms", "minigrad's own, ms"]
    columns += ["share (NumPy's products)", "share (minigrad's own)"]
    head = ["cell", "L", "H", "GFLOP", "NumPy's, GFLOP/s", "minigrad's own, GFLOP/s", "in the step, GFLOP/s"]
    return [
        tables.make("The step's matrix products, run alone", columns, lines),
        tables.make("Their speed", head, speeds),
    ]


def picture(document: dict[str, Any]) -> Figure:
    """The products' share of the step's time over H, a line for each cell; what is left below 100% is all the rest."""
    rows = document["rows"]
    numbers = sorted({row["layers"] for row in rows})
    highest = max(100 * row[share]["median"] for row in rows for share in ("share", "own_share"))
    figure, axes = pictures.panels(len(numbers), title="Matrix products' share of a training step")
    for panel, layers in zip(axes, numbers, strict=True):
        here = sorted((row for row in rows if row["layers"] == layers), key=lambda row: int(row["hidden"]))
        for cell in dict.fromkeys(row["cell"] for row in here):
            mine = [row for row in here if row["cell"] == cell]
            sizes, colour = [row["hidden"] for row in mine], pictures.COLOURS[cell]
            for share, line, label in (("own_share", "o-", cell), ("share", "o:", f"{cell}, NumPy's products")):
                panel.plot(sizes, [100 * row[share]["median"] for row in mine], line, label=label, color=colour)
        panel.set_title(f"{layers} layer{'s' * (layers > 1)}")
        panel.set_ylabel("% of the step's time")
        panel.set_ylim(0, max(105, 1.05 * highest))
        pictures.sizes_along_x(panel, sorted({row["hidden"] for row in here}), "hidden size H")
        panel.axhline(100, color="black", linewidth=1)
    axes[0].legend()
    return figure
