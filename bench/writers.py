"""What kernels are worth: the training step of `peers` by each writer of kernels; and what their compiling costs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from rich.table import Table

from . import peers, pictures, processes, record, tables
from .systems import minigrad_writers
from .systems.task import Task

CELLS, HIDDEN = ("lstm", "gru", "rnn"), (64, 128, 256, 512)
WITHOUT = "off"  # what all are compared with
SETTINGS = (WITHOUT, "no compiler", "numpy", "c")
MODULES = dict.fromkeys(SETTINGS, "bench.systems.minigrad_writers")
FIRST_USE = "bench.systems.first_use"
CACHES = ("MINIGRAD_CACHE", "CUPY_CACHE_DIR", "CUDA_CACHE_PATH")  # where compiled kernels are kept
KINDS = ("compiled anew", "compiled before", "no kernels")  # of first uses


def run(
    cells: Sequence[str] = CELLS,
    hidden: Sequence[int] = HIDDEN,
    batch: int = 50,
    length: int = 50,
    rounds: int = 5,
    seconds: float = 0.4,
    threads: int = 1,
    modules: Mapping[str, str] = MODULES,
    first_use: str = FIRST_USE,
) -> Iterator[dict[str, Any]]:
    """A row per cell and hidden size: seconds of a step by each setting; then one per cell: seconds of its first use.

    Args:
        cells, hidden: every combination of these is measured, with one layer; the first use with the smallest of them.
        batch, length: N and T.
        rounds, seconds, threads: as `processes.measure` has them; and so many first uses.
        modules, first_use: where the settings and the first use are.
    """
    sizes = {"batch": batch, "length": length}
    environments = {name: minigrad_writers.environment(name) for name in modules}
    for task in (Task(cell, 1, size, **sizes) for size in hidden for cell in cells):
        found = processes.measure(
            task,
            tuple(modules),
            threads=threads,
            rounds=rounds,
            seconds=seconds,
            modules=modules,
            environments=environments,
        )
        kept = {name: peers.summary(finding, found[WITHOUT]) for name, finding in found.items()}
        yield {"what": "step", "cell": task.cell, "layers": 1, "hidden": task.hidden, **sizes, "systems": kept}
    yield from uses(cells, min(hidden), batch, length, rounds, threads=threads, module=first_use)


def uses(
    cells: Sequence[str],
    hidden: int = 64,
    batch: int = 50,
    length: int = 50,
    rounds: int = 5,
    device: str = "cpu",
    threads: int = 1,
    module: str = FIRST_USE,
) -> Iterator[dict[str, Any]]:
    """A row per cell: seconds of its first use on a device, in so many rounds."""
    for what in (
        {"cell": cell, "hidden": hidden, "batch": batch, "length": length, "device": device} for cell in cells
    ):
        try:
            found = first_uses(what, rounds, threads, module)
        except processes.SystemLost as lost:
            found = {"status": lost.status, "reason": str(lost)}
        yield {"what": "first use", **what, **found}


def first_uses(what: dict[str, Any], rounds: int, threads: int, module: str) -> dict[str, Any]:
    """Each in a process of its own: one that finds no kernels, one that finds those of the first, and one without.

    Raises:
        SystemLost: there is no compiler, or it failed.
    """
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for kind, answers in found.items():
                time.sleep(processes.PAUSE)
                with processes.Worker(kind, module, threads, **dict.fromkeys(CACHES, folder)) as worker:
                    worker.answer()
                    is_on = kind != "no kernels"
                    answers.append(worker.ask("call", function="first_use", is_on=is_on, **what))
    new = found["compiled anew"]
    return {
        "status": "timed",
        "seconds": {kind: record.spread([each["seconds"] for each in answers]) for kind, answers in found.items()},
        "compiler": record.spread([each["compiler"] for each in new]),
        "libraries": new[-1]["libraries"],
        "bytes": new[-1]["bytes"],
    }


# What is read off ---------------------------------------------------------------------------------


def rows_of(document: dict[str, Any], what: str) -> list[dict[str, Any]]:
    return [row for row in document["rows"] if row["what"] == what]


def table(document: dict[str, Any]) -> list[Table]:
    by_setting, *others = peers.table({"rows": rows_of(document, "step")}, WITHOUT)
    uses = rows_of(document, "first use")
    made = [by_setting, *first_use_tables({"rows": uses}), *others]
    timed = [row for row in uses if row["status"] == "timed"]
    return [*made, tables.make("Targets", ["target", "wanted", "reached"], _targets(document, timed))]


def first_use_tables(document: dict[str, Any]) -> list[Table]:
    """The first uses that were timed, and why the others were not."""
    lines = [
        [
            row["cell"],
            *(tables.digits(each["median"] * 1e3) for each in (*row["seconds"].values(), row["compiler"])),
            row["libraries"],
            tables.digits(row["bytes"] / 1024),
        ]
        for row in document["rows"]
        if row["status"] == "timed"
    ]
    columns = ["cell", *(f"{kind}, ms" for kind in KINDS), "the compiler alone, ms", "libraries", "KiB"]
    made = [tables.make("The first use of a layer, beyond what the second takes", columns, lines)] if lines else []
    lost = [[row["cell"], row["status"], row["reason"]] for row in document["rows"] if row["status"] != "timed"]
    return [*made, tables.make("First uses not timed", ["cell", "", "why"], lost)] if lost else made


def _targets(document: dict[str, Any], uses: Sequence[dict[str, Any]]) -> list[list[str | None]]:
    """The slowest of the cells counts; of the ratios, their geometric mean."""
    anew, before = (max((row["seconds"][kind]["median"] * 1e3 for row in uses), default=None) for kind in KINDS[:2])
    mean = peers.geometric_mean(peers.ratios(rows_of(document, "step"), "no compiler"))

    def reached(value: float | None, most: float, unit: str) -> str | None:
        return None if value is None else f"{tables.digits(value)}{unit}" + ", missed" * (value > most)

    return [
        ["first use, kernels compiled anew", "under 2 s", reached(anew, 2e3, " ms")],
        ["first use, kernels compiled before", "under 20 ms", reached(before, 20, " ms")],
        ["time without a compiler over off's", "at most 1.00×", reached(mean, 1.005, "×")],
    ]


def picture(document: dict[str, Any]) -> Figure:
    """How many times the time without kernels each setting needs, over H, below 1 it is faster; and the first uses."""
    steps, uses = rows_of(document, "step"), [u for u in rows_of(document, "first use") if u["status"] == "timed"]
    cells = list(dict.fromkeys(row["cell"] for row in steps))
    title = "Time of a training step over that without kernels"
    figure, axes = pictures.panels(len(cells) + bool(uses), columns=2, title=title)
    for panel, cell in zip(axes, cells, strict=False):
        peers.curves(panel, [row for row in steps if row["cell"] == cell], {"rows": steps}, WITHOUT)
        panel.set_title(cell)
    axes[0].legend()
    if uses:
        heights = {kind: [row["seconds"][kind]["median"] * 1e3 for row in uses] for kind in KINDS}
        pictures.bars(axes[-1], [row["cell"] for row in uses], heights)
        axes[-1].set_title("first use, beyond the second")
        axes[-1].set_yscale("log")
        axes[-1].set_ylabel("milliseconds")
        axes[-1].margins(y=0.3)  # room for the legend
        axes[-1].legend()
    return figure
