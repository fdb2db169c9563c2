"""The size at which the GPU overtakes the CPU: one training step of `bench.systems`, over cell, H, N and T, on both.

A step's wall time runs from one synchronisation to the next. On a GPU it has two parts that overlap: the host's, until
the call returns and everything is asked for, and the device's, between two events in its stream. Where the host's is
the longer, the GPU waits for Python.

T: time steps   N: batch   H: hidden size
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from . import pictures, processes, record, tables
from .systems import minigrad_device, minigrad_layers
from .systems.host import Host
from .systems.task import Task, batches, weights

PACKAGES = ("cupy-cuda12x", "cupy-cuda13x", "torch")
NO_GPU = "no GPU was at hand"
WARM_UP = 2  # steps; on a GPU the first one also compiles its kernels
MOST = 200  # steps


def devices(name: str) -> list[Host]:
    """The CPU, and the device that is compared with it."""
    return [minigrad_device.device(each) for each in dict.fromkeys(("cpu", name))]


def run(
    cells: Sequence[str] = ("rnn", "gru", "lstm"),
    hidden: Sequence[int] = (64, 128, 256, 512, 1024, 2048),
    batch: Sequence[int] = (16, 64),
    length: Sequence[int] = (64,),
    rounds: int = 5,
    seconds: float = 0.5,
    device: str = "cpu",
    threads: int = 1,
) -> Iterator[dict[str, Any]]:
    """A row per configuration and device; the device that is not there, or fails, has a row of None.

    Args:
        rounds: how many steps are timed at least.
        seconds: quick steps are timed more often, for about so long.
        device: what is compared with the CPU; with "cpu" nothing is.
    """
    at_hand = {each.name: each for each in devices(device)}
    missing = {"wall": None, "host": None, "device_time": None, "peak_bytes": None, "launches": None}
    with record.limited(threads), contextlib.ExitStack() as stack:
        count = counter(stack)
        for row in planned(cells, hidden, batch, length, device):
            task = Task(row["cell"], 1, row["hidden"], batch=row["batch"], length=row["length"], device=row["device"])
            try:
                yield row | measured(task, at_hand[task.device], rounds, seconds) | {"launches": count(task)}
            except Exception as error:  # of memory there may be too little; the other sizes go on
                if task.device == "cpu":
                    raise
                yield row | missing | {"reason": f"{type(error).__name__}: {error}"}
            if len(at_hand) == 1:
                yield row | missing | {"device": "cuda"}


def planned(
    cells: Sequence[str], hidden: Sequence[int], batch: Sequence[int], length: Sequence[int], device: str = "cpu"
) -> list[dict[str, Any]]:
    """What is going to be measured, in this order."""
    return [
        {"cell": cell, "hidden": H, "batch": N, "length": T, "device": each}
        for N, T, H, cell in itertools.product(batch, length, hidden, cells)
        for each in dict.fromkeys(("cpu", device))
    ]


def measured(task: Task, device: Host, rounds: int, seconds: float) -> dict[str, Any]:
    """Wall, host and device time of a step, and what it needs of memory."""
    with device.active():
        step = minigrad_layers.build(task, weights(task), batches(task))
        warm = [timed(step, k, device) for k in range(WARM_UP)]
        count = max(rounds, min(MOST, int(seconds / warm[-1][0])))
        times = [timed(step, k, device) for k in range(count)]
        wall, host, own = zip(*times, strict=True)
        peak_bytes = None
        with contextlib.suppress(OSError):  # this system cannot tell
            before, top = device.peak(lambda: step(0))
            peak_bytes = top - before
        return {
            "wall": record.spread(wall),
            "host": record.spread(host),
            "device_time": None if None in own else record.spread(own),
            "peak_bytes": peak_bytes,
        }


def timed(step: Callable[[int], Any], k: int, device: Host) -> tuple[float, float, float | None]:
    """Seconds of step k until all is done, until the call returns, and between the device's own marks."""
    device.synchronize()
    start = time.perf_counter()
    first = device.mark()
    step(k)
    returned = time.perf_counter()
    last = device.mark()
    device.synchronize()
    return time.perf_counter() - start, returned - start, device.between(first, last)


def counter(stack: contextlib.ExitStack) -> Callable[[Task], int | None]:
    """What counts the kernels that a step launches, in one process for all, begun with the first count."""
    worker: list[processes.Worker] = []

    def count(task: Task) -> int | None:
        if not task.device.startswith("cuda"):
            return None
        try:
            if not worker:
                worker.append(stack.enter_context(processes.Worker("kernels", "bench.kernels", record.cores())))
                worker[0].answer()  # imported
            counted: int | None = worker[0].ask("call", function="launches", config=asdict(task))["launches"]
        except processes.SystemLost:
            return None
        return counted

    return count


# What is read off ---------------------------------------------------------------------------------


def crossing(sizes: Sequence[int], cpu: Sequence[float], gpu: Sequence[float]) -> float | None:
    """The size from which on the GPU is the faster, between two sizes by a straight line of log(cpu/gpu) over log H.

    0 if it is the faster from the smallest size on, infinity if it is not at the largest, None without times.

    >>> crossing([64, 256], [1.0, 8.0], [2.0, 4.0])
    128.0
    """
    if not gpu:
        return None
    lead = [math.log(c / g) for c, g in zip(cpu, gpu, strict=True)]  # above 0 the GPU is ahead
    if lead[-1] <= 0:
        return math.inf
    behind = max((k for k, ahead in enumerate(lead) if ahead <= 0), default=None)
    if behind is None:
        return 0.0
    share = lead[behind] / (lead[behind] - lead[behind + 1])
    return round(sizes[behind] * (sizes[behind + 1] / sizes[behind]) ** share, 3)


def lines(document: dict[str, Any]) -> dict[tuple[str, int, int], dict[str, list[dict[str, Any]]]]:
    """For each cell, batch and T the rows of "cpu" and "cuda", whatever CUDA's name is, in order of size.

    A size of which one row is not there, because the run was broken off, is left out.
    """
    found: dict[tuple[str, int, int], dict[str, dict[int, Any]]] = {}
    for row in sorted(document["rows"], key=lambda row: row["hidden"]):
        devices = found.setdefault((row["cell"], row["batch"], row["length"]), {"cpu": {}, "cuda": {}})
        devices["cpu" if row["device"] == "cpu" else "cuda"][row["hidden"]] = row
    both = {what: [H for H in each["cpu"] if H in each["cuda"]] for what, each in found.items()}
    cells = list(dict.fromkeys(row["cell"] for row in document["rows"]))
    return {
        what: {name: [found[what][name][H] for H in both[what]] for name in ("cpu", "cuda")}
        for what in sorted(found, key=lambda what: (cells.index(what[0]), what))
        if both[what]
    }


def crossing_of(devices: dict[str, list[dict[str, Any]]]) -> tuple[list[int], float | None]:
    """The sizes at which both were measured, and where the GPU overtakes the CPU."""
    timed = [pair for pair in zip(devices["cpu"], devices["cuda"], strict=True) if pair[1]["wall"]]
    sizes = [cpu["hidden"] for cpu, _ in timed]
    cpu, gpu = ([row["wall"]["median"] for row in rows] for rows in (zip(*timed, strict=True) if timed else ([], [])))
    return sizes, crossing(sizes, cpu, gpu)


def in_words(sizes: Sequence[int], size: float | None) -> str | None:
    if size is None:
        return None
    return f"below {sizes[0]}" if size == 0 else f"above {sizes[-1]}" if math.isinf(size) else f"{size:.0f}"


def table(document: dict[str, Any]) -> list[Table]:
    overtaken, steps = [], []
    for (cell, N, T), found in lines(document).items():
        overtaken.append([cell, N, T, in_words(*crossing_of(found))])
        for cpu, gpu in zip(found["cpu"], found["cuda"], strict=True):
            steps.append([cell, N, T, cpu["hidden"], _ms(cpu["wall"]), _ms(gpu["wall"]), _ms(gpu["host"]),
                          _ms(gpu["device_time"]), gpu["launches"], _mb(cpu), _mb(gpu)])  # fmt: skip
    columns = ["cell", "N", "T", "H", "CPU, ms", "GPU, ms", "GPU: host, ms", "GPU: device, ms", "kernels",
               "CPU, MB", "GPU, MB"]  # fmt: skip
    without = "" if document["machine"]["gpu"] else f" ({NO_GPU})"
    made = [
        tables.make(f"The hidden size at which the GPU overtakes the CPU{without}", ["cell", "N", "T", "H"], overtaken),
        tables.make("One training step: median ± half of the quartiles' distance; peak memory", columns, steps),
    ]
    lost = [
        [*(row[k] for k in ("cell", "batch", "length", "hidden", "reason"))]
        for row in document["rows"]
        if "reason" in row
    ]
    return [*made, tables.make("Not measured", ["cell", "N", "T", "H", "why"], lost)] if lost else made


def _ms(spread: dict[str, Any] | None) -> str | None:
    if spread is None:
        return None
    half = (spread["high"] - spread["low"]) / 2
    return f"{tables.digits(spread['median'] * 1e3)} ±{tables.digits(half * 1e3, 2)}"


def _mb(row: dict[str, Any]) -> str | None:
    return None if row["peak_bytes"] is None else tables.digits(row["peak_bytes"] / 1e6)


def picture(document: dict[str, Any]) -> Figure:
    """Time over H, a panel per cell, batch and T; the crossing marked."""
    found = lines(document)
    columns = len({(N, T) for _, N, T in found})  # a row of panels per cell, or a single row
    figure, axes = pictures.panels(len(found), columns=columns if columns > 1 else 3, title="One training step")
    for panel, (what, rows) in zip(axes, found.items(), strict=True):
        curves(panel, what, rows)
    return figure


def curves(panel: Axes, what: tuple[str, int, int], rows: dict[str, list[dict[str, Any]]]) -> None:
    """A step's time over H on both devices."""
    cell, N, T = what
    _, size = crossing_of(rows)
    panel.set_title(f"{cell}, N={N}, T={T}")
    for name, label in (("cpu", "CPU"), ("cuda", "GPU")):
        timed = [row for row in rows[name] if row["wall"]]
        if timed:
            sizes, spreads = [row["hidden"] for row in timed], [row["wall"] for row in timed]
            pictures.with_spread(panel, sizes, spreads, label, pictures.COLOURS[name])
    if size is None:
        panel.text(0.96, 0.06, NO_GPU, transform=panel.transAxes, ha="right", style="italic")
    elif 0 < size < math.inf:
        panel.axvline(size, color="black", linestyle=":", label=f"H = {size:.0f}")
    panel.set_yscale("log")
    panel.set_ylabel("milliseconds")
    pictures.sizes_along_x(panel, [row["hidden"] for row in rows["cpu"]], "hidden size H")
    panel.legend()
