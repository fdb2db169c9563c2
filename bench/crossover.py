"""The size at which the GPU overtakes the CPU: one training step of `bench.systems`, over cell, H, N and T, on both.

A step's wall time runs from one synchronisation to the next. On a GPU it has two parts that overlap: the host's, until
the call returns and everything is asked for, and the device's, between two events in its stream. Where the host's is
the longer, the GPU waits for Python.

T: time steps   N: batch   H: hidden size
"""

from __future__ import annotations

import importlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from matplotlib.figure import Figure
from rich.table import Table

import minigrad as mg

from . import pictures, processes, record, tables
from .systems import minigrad_layers, resident
from .systems.task import Task, batches, weights

PACKAGES = ("cupy-cuda12x", "cupy-cuda13x", "torch")
NO_GPU = "no GPU was at hand"
WARM_UP = 2  # steps; on a GPU the first one also compiles its kernels
MOST = 200  # steps


class Cpu:
    """How a step is measured on the host."""

    kind = name = "cpu"  # in the rows, and as minigrad calls it

    def synchronize(self) -> None:
        """Nothing runs on when a call has returned."""

    def mark(self) -> None:
        """A moment in the device's own time; here it has none."""

    def between(self, start: Any, end: Any) -> float | None:
        """Seconds of the device's own time between two marks."""
        return None

    def peak(self, act: Callable[[], Any]) -> int | None:
        """The most bytes in use while `act` runs, over what was before."""
        try:
            before, top = resident.peak(act)
        except OSError:
            return None
        return top - before

    def launches(self, task: Task) -> int | None:
        """How many kernels a step launches."""
        return None


class Gpu(Cpu):  # pragma: gpu
    """How a step is measured on a CUDA device, by CuPy's events and memory pool."""

    kind = name = "cuda"

    def __init__(self) -> None:
        self.cupy = importlib.import_module("cupy")

    def synchronize(self) -> None:
        mg.synchronize(self.name)

    def mark(self) -> Any:
        return self.cupy.cuda.get_current_stream().record()  # an event

    def between(self, start: Any, end: Any) -> float | None:
        return float(self.cupy.cuda.get_elapsed_time(start, end)) / 1e3

    def peak(self, act: Callable[[], Any]) -> int | None:
        pool = self.cupy.get_default_memory_pool()
        pool.free_all_blocks()  # from here on the pool only grows
        before = pool.total_bytes()
        act()
        self.synchronize()
        return int(pool.total_bytes() - before)

    def launches(self, task: Task) -> int | None:
        with processes.Worker("kernels", "bench.kernels", record.cores()) as worker:
            worker.answer()  # imported
            counted: int | None = worker.ask("call", function="launches", config=asdict(task))["launches"]
        return counted


def devices() -> list[Any]:
    return [Cpu(), Gpu()] if mg.cuda_is_available() else [Cpu()]


def run(
    cells: Sequence[str] = ("rnn", "gru", "lstm"),
    hidden: Sequence[int] = (64, 128, 256, 512, 1024, 2048),
    batch: Sequence[int] = (16, 64),
    length: Sequence[int] = (64,),
    rounds: int = 5,
    seconds: float = 0.5,
    threads: int = 1,
) -> Iterator[dict[str, Any]]:
    """A row per configuration and device; the device that is not there has a row of None.

    Args:
        rounds: how many steps are timed at least.
        seconds: quick steps are timed more often, for about so long.
    """
    at_hand = devices()
    missing = {"wall": None, "host": None, "device_time": None, "peak_bytes": None, "launches": None}
    with record.limited(threads):
        for cell, N, T, H in itertools.product(cells, batch, length, hidden):
            task = Task(cell, 1, H, batch=N, length=T)
            what = {"cell": cell, "hidden": H, "batch": N, "length": T}
            for device in at_hand:
                yield {**what, "device": device.kind, **measured(task, device, rounds, seconds)}
            if len(at_hand) == 1:
                yield {**what, "device": "cuda", **missing}


def measured(task: Task, device: Any, rounds: int, seconds: float) -> dict[str, Any]:
    """Wall, host and device time of a step, what it needs of memory, how many kernels it launches."""
    with mg.use_device(device.name):
        step = minigrad_layers.build(task, weights(task), batches(task))
        warm = [timed(step, k, device) for k in range(WARM_UP)]
        count = max(rounds, min(MOST, int(seconds / warm[-1][0])))
        times = [timed(step, k, device) for k in range(count)]
        wall, host, own = zip(*times, strict=True)
        return {
            "wall": record.spread(wall),
            "host": record.spread(host),
            "device_time": None if None in own else record.spread(own),
            "peak_bytes": device.peak(lambda: step(0)),
            "launches": device.launches(task),
        }


def timed(step: Callable[[int], Any], k: int, device: Any) -> tuple[float, float, float | None]:
    """Seconds of step k until all is done, until the call returns, and between the device's own marks."""
    device.synchronize()
    start = time.perf_counter()
    first = device.mark()
    step(k)
    returned = time.perf_counter()
    last = device.mark()
    device.synchronize()
    return time.perf_counter() - start, returned - start, device.between(first, last)


# What is read off ---------------------------------------------------------------------------------


def crossing(sizes: Sequence[int], cpu: Sequence[float], gpu: Sequence[float]) -> float | None:
    """The size from which on the GPU is the faster, between two sizes by a straight line of log(cpu/gpu) over log H.

    0 if it is the faster from the smallest size on, infinity if it is not at the largest, None without its times.

    >>> crossing([64, 256], [1.0, 8.0], [2.0, 4.0])
    128.0
    """
    if None in gpu:
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
    """For each cell, batch and T the rows of "cpu" and "cuda" in order of size."""
    found: dict[tuple[str, int, int], dict[str, list[dict[str, Any]]]] = {}
    for row in sorted(document["rows"], key=lambda row: row["hidden"]):
        devices = found.setdefault((row["cell"], row["batch"], row["length"]), {"cpu": [], "cuda": []})
        devices[row["device"]].append(row)
    return found


def crossing_of(devices: dict[str, list[dict[str, Any]]]) -> tuple[list[int], float | None]:
    """The sizes measured, and where the GPU overtakes the CPU."""
    sizes = [row["hidden"] for row in devices["cpu"]]
    walls = {name: [row["wall"] and row["wall"]["median"] for row in rows] for name, rows in devices.items()}
    return sizes, crossing(sizes, walls["cpu"], walls["cuda"])


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
    return [
        tables.make(f"The hidden size at which the GPU overtakes the CPU{without}", ["cell", "N", "T", "H"], overtaken),
        tables.make("One training step: median ± half of the quartiles' distance; peak memory", columns, steps),
    ]


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
    for panel, ((cell, N, T), rows) in zip(axes, found.items(), strict=True):
        sizes, size = crossing_of(rows)
        panel.set_title(f"{cell}, N={N}, T={T}")
        for name, label in (("cpu", "CPU"), ("cuda", "GPU")):
            spreads = [row["wall"] for row in rows[name]]
            if None not in spreads:
                pictures.with_spread(panel, sizes, spreads, label, pictures.COLOURS[name])
        if size is None:
            panel.text(0.96, 0.06, NO_GPU, transform=panel.transAxes, ha="right", style="italic")
        elif 0 < size < math.inf:
            panel.axvline(size, color="black", linestyle=":", label=f"H = {size:.0f}")
        panel.set_yscale("log")
        panel.set_ylabel("milliseconds")
        pictures.sizes_along_x(panel, sizes, "hidden size H")
        panel.legend()
    return figure
