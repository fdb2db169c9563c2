"""Peak memory of one training step against T, beside what the equations need."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from . import pictures, processes, tables
from .systems import SYSTEMS
from .systems.task import Task

PACKAGES = ("torch", "jax", "autograd", "mygrad")
CELLS, LENGTHS = ("lstm", "gru", "rnn"), (50, 100, 200, 400, 800)
FLOAT = 4  # bytes
Curves = dict[tuple[str, str], list[tuple[dict[str, Any], float]]]  # of each cell and system: (row, bytes)

# What one time step of one layer has to remember for the way back, in arrays (N, H):
KEPT = {
    "lstm": 7,  # i f g o, c, tanh c, h
    "gru": 6,  # r z n, 1 - z, W_hn h + b_hn, h
    "rnn": 1,  # h
}


def needed(task: Task) -> int:
    """Floats per time step and sequence that no sweep can do without.

    Each layer keeps KEPT arrays, the output layer the probabilities (V), and the gradient of its input (H) is there
    when the sweep enters the recurrent layers. From then on the sweep of an LSTM or a GRU frees more than it makes: the
    gates of a step, 4H and more, go when their gradient, 4H, comes. An RNN frees nothing, since h stays for the
    gradient of W_hh, so that the gradient of its one gate (H) comes on top.
    """
    arrays = KEPT[task.cell] * task.layers + 1 + (task.cell == "rnn")
    return arrays * task.hidden + task.vocabulary


def run(
    cells: Sequence[str] = CELLS,
    lengths: Sequence[int] = LENGTHS,
    hidden: int = 256,
    layers: int = 1,
    batch: int = 50,
    systems: Sequence[str] = ("minigrad", "torch"),
    device: str = "cpu",
    threads: int = 1,
    modules: Mapping[str, str] = SYSTEMS,
) -> Iterator[dict[str, Any]]:
    """A row per cell and T: of each system the bytes kept between steps and those of a step, or why there are none.

    Args:
        cells, lengths: every combination of these is measured; T is the length.
        hidden, layers, batch: H, L and N.
        systems: what is compared.
        device: where the step runs.
        threads: how many each may use.
        modules: where each system is.

    Raises:
        ValueError: there is no system of that name.
    """
    processes.check_names(systems, modules)
    rows = planned(cells, lengths, hidden, layers, batch, device)
    # A process keeps what it once had, for the system to see; what is in use on a device, its library counts.
    for group in [[row] for row in rows] if device == "cpu" else [rows]:
        with contextlib.ExitStack() as stack:
            workers = {name: stack.enter_context(processes.Worker(name, modules[name], threads)) for name in systems}
            lost = {name: status for name, worker in workers.items() if (status := refused(worker.answer))}
            for row in group:
                task = Task(**row)
                found = {name: lost.get(name) or peak(task, worker) for name, worker in workers.items()}
                yield row | {"needed": FLOAT * task.length * batch * needed(task), "systems": found}


def planned(
    cells: Sequence[str], lengths: Sequence[int], hidden: int, layers: int, batch: int, device: str = "cpu"
) -> list[dict[str, Any]]:
    """What is going to be measured, in this order."""
    sizes = {"layers": layers, "hidden": hidden, "batch": batch}
    return [{"cell": cell, **sizes, "length": T, "device": device} for cell in cells for T in lengths]


def peak(task: Task, worker: processes.Worker) -> dict[str, Any]:
    """The second step: the first one makes the optimizer's state and warms the allocators.

    A short sequence goes before, so that what a library loads in its first step does not count.
    """
    short = dataclasses.replace(task, length=2)
    found: dict[str, Any] = {"status": "measured"}

    def ask() -> None:
        worker.ask("build", config=dataclasses.asdict(short), warm_up=1, cap=processes.PATIENCE)
        worker.ask("clear")
        worker.ask("build", config=dataclasses.asdict(task), warm_up=1, cap=processes.PATIENCE)
        found.update(worker.ask("peak"))

    return refused(ask) or found


def refused(ask: Callable[[], Any]) -> dict[str, Any]:
    """Why a system does not do what it is asked; nothing if it does."""
    try:
        ask()
    except processes.SystemLost as lost:
        return {"status": lost.status, "reason": str(lost)}
    return {}


def flat(
    cells: Sequence[str] = CELLS,
    hidden: int = 256,
    batch: int = 64,
    length: int = 64,
    chunks: int = 50,
    device: str = "cpu",
    threads: int = 1,
    module: str = "bench.systems.minigrad_chunks",
) -> Iterator[dict[str, Any]]:
    """A row per cell: the bytes in use after each of so many chunks of one text, through which the state is carried.

    Python's garbage collector does not run for it: what is no longer needed has to go by itself.
    """
    for cell in cells:
        what = {"cell": cell, "layers": 1, "hidden": hidden, "batch": batch, "length": length, "device": device}
        with processes.Worker("minigrad", module, threads) as worker:
            try:
                worker.answer()
                worker.ask("build", config=what, warm_up=2, cap=processes.PATIENCE)
                yield what | {"status": "measured", **worker.ask("held", steps=chunks)}
            except processes.SystemLost as lost:
                yield what | {"status": lost.status, "reason": str(lost)}


# What is read off ---------------------------------------------------------------------------------


def line(lengths: Sequence[int], sizes: Sequence[float]) -> tuple[float, float, float]:
    """a, b and R² of bytes = a + b T, by least squares.

    >>> line([1, 2, 3], [12.0, 14.0, 16.0])
    (10.0, 2.0, 1.0)
    """
    b, a = np.polyfit(lengths, sizes, 1)
    rest = np.asarray(sizes) - (a + b * np.asarray(lengths))
    spread = np.var(sizes)
    return round(float(a), 6), round(float(b), 6), 1.0 - float(rest.var() / spread) if spread else 1.0


def curves(document: dict[str, Any]) -> Curves:
    """The sizes of each cell and system that was measured, and of what the equations need.

    What a system keeps between steps counts, for a buffer that waits for the next step is memory of the step.
    """
    found: Curves = {}
    for row in document["rows"]:
        for name, each in row["systems"].items():
            if each["status"] == "measured":
                found.setdefault((row["cell"], name), []).append((row, each["kept"] + each["step"]))
        found.setdefault((row["cell"], "equations"), []).append((row, row["needed"]))
    return found


def lengths_and_sizes(points: list[tuple[dict[str, Any], float]]) -> tuple[list[int], list[float]]:
    return [row["length"] for row, _ in points], [size for _, size in points]


def table(document: dict[str, Any]) -> list[Table]:
    found = curves(document)
    made = [_sizes(found), _slopes(found)]
    lost = [
        [name, row["cell"], row["length"], each["status"], each["reason"]]
        for row in document["rows"]
        for name, each in row["systems"].items()
        if each["status"] != "measured"
    ]
    return [*made, tables.make("Not measured", ["system", "cell", "T", "", "why"], lost)] if lost else made


def _sizes(found: Curves) -> Table:
    lengths = sorted({row["length"] for points in found.values() for row, _ in points})
    lines = []
    at = {key: dict(zip(*lengths_and_sizes(points), strict=True)) for key, points in found.items()}
    for (cell, name), sizes in at.items():
        last, theirs = sizes.get(lengths[-1]), at.get((cell, "torch"), {}).get(lengths[-1])
        mib = [tables.digits(sizes[T] / 2**20) if T in sizes else None for T in lengths]
        lines.append([cell, name, *mib, f"{last / theirs:.2f}×" if last and theirs else None])
    columns = ["cell", "system", *(f"T = {T}" for T in lengths), "the last over torch"]
    return tables.make("Peak memory, MiB", columns, lines)


def _slopes(found: Curves) -> Table:
    lines = []
    for (cell, name), points in found.items():
        if len(points) > 1:
            row = points[0][0]
            _, slope, fit = line(*lengths_and_sizes(points))
            arrays = slope / (FLOAT * row["batch"] * row["hidden"])
            over = slope * row["length"] / row["needed"]
            lines.append([cell, name, *map(tables.digits, (slope / 2**20, arrays)), f"{over:.2f}×", f"{fit:.4f}"])
    columns = ["cell", "system", "MiB a time step", "arrays (N, H)", "over the equations", "R²"]
    return tables.make("Memory = a + b T: the slope b", columns, lines)


def picture(document: dict[str, Any]) -> Figure:
    """Bytes over T, a panel for each cell; a straight line is memory linear in T."""
    found = curves(document)
    cells = list(dict.fromkeys(cell for cell, _ in found))
    figure, axes = pictures.panels(len(cells), title="Peak memory of a training step")
    for panel, cell in zip(axes, cells, strict=True):
        lines(panel, found, cell)
        panel.set_title(cell)
    axes[0].legend()
    return figure


def lines(panel: Axes, found: Curves, cell: str) -> None:
    """The bytes of a cell over T, a line for each system."""
    for (of, name), points in found.items():
        if of == cell:
            needs = name == "equations"
            colour = "black" if needs else pictures.COLOURS.get(name)
            lengths, sizes = lengths_and_sizes(points)
            heights = [size / 2**20 for size in sizes]
            panel.plot(lengths, heights, ":" if needs else "o-", label=name, color=colour)
    panel.set_xlabel("time steps T")
    panel.set_ylabel("MiB")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
