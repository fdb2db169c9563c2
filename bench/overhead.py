"""What recording costs: microseconds per operation, forward and backward, over the same calls not recorded."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from rich.table import Table

from . import pictures, processes, tables
from .chains import CHAINS
from .peers import OURS
from .record import spread

PACKAGES = ("torch", "autograd")
LENGTHS = {"1": 1_000, "64x512": 100}  # of the chains, by the size of the arrays
WAYS = ("forward", "backward")


def run(
    systems: Sequence[str] = tuple(CHAINS),
    rounds: int = 9,
    lengths: Mapping[str, int] | None = None,
    device: str = "cpu",
    threads: int = 1,
) -> Iterator[dict[str, Any]]:
    """A row per system, operation and size; a row for each system that is missing. minigrad is always among them.

    `lengths` are those of the chains, by the size of the arrays; LENGTHS if None.
    """
    with contextlib.ExitStack() as stack:
        workers = {}
        for name in dict.fromkeys((OURS, *systems)):
            # PyTorch spreads elementwise operations over threads too, so one thread may suit it better.
            for count in sorted({1, threads}) if name == "torch" and device == "cpu" else [threads]:
                workers[name, count] = stack.enter_context(processes.Worker(name, CHAINS[name], count))
        blocks: dict[tuple[str, int], list[dict[str, Any]]] = {key: [] for key in workers}
        for turn in range(rounds + 1):  # the first one warms, and is not counted
            keys = list(workers)
            for key in keys[turn % len(keys) :] + keys[: turn % len(keys)]:
                time.sleep(processes.PAUSE)
                try:
                    if turn == 0:
                        workers[key].answer()  # imported
                    found = workers[key].ask("call", function="times", lengths=lengths or LENGTHS, device=device)
                except processes.SystemLost as lost:
                    del workers[key], blocks[key]
                    yield {"system": label(*key), "device": device, "status": lost.status, "reason": str(lost)}
                else:
                    blocks[key] += [found] if turn else []
    for key, each in blocks.items():
        for operation, sizes in each[0].items():
            for size in sizes:
                times = [block[operation][size] for block in each]
                what = {"system": label(*key), "device": device, "operation": operation, "size": size}
                yield {"status": "timed", **what, **summary(times)}


def label(name: str, threads: int) -> str:
    return f"{name}, {threads} thread{'s' * (threads > 1)}" if name == "torch" else name


def summary(times: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Seconds per operation: recorded, bare, and recorded over bare within each round."""
    found: dict[str, Any] = {}
    for way in WAYS:
        found[way] = spread([time[way] for time in times])
        known = times[0][f"bare_{way}"] is not None
        found[f"bare_{way}"] = spread([time[f"bare_{way}"] for time in times]) if known else None
        found[f"over_{way}"] = spread([time[way] - time[f"bare_{way}"] for time in times]) if known else None
    return found


# What is read off ---------------------------------------------------------------------------------


def found_in(document: dict[str, Any]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The rows that were timed, by size, operation and system."""
    timed = [row for row in document["rows"] if row["status"] == "timed"]
    return {(row["size"], row["operation"], row["system"]): row for row in timed}


def mean(document: dict[str, Any], system: str, size: str, column: str) -> float | None:
    """Microseconds, the mean over the operations that the system has."""
    rows = [row for (of, _, by), row in found_in(document).items() if (of, by) == (size, system)]
    known = [row[column]["median"] for row in rows if row[column]]
    return statistics.fmean(known) * 1e6 if known else None


def table(document: dict[str, Any]) -> list[Table]:
    found = found_in(document)
    lost = [[row["system"], row["status"], row["reason"]] for row in document["rows"] if row["status"] != "timed"]
    without = [tables.make("Not timed", ["system", "", "why"], lost)] if lost else []
    if not found:
        return without
    sizes, operations, systems = (list(dict.fromkeys(keys)) for keys in zip(*found, strict=True))
    heads = [f"{size}: {way}" for size in sizes for way in WAYS]
    kinds = {"over_": "over bare", "": "in all"}
    means = [
        [system, words, *(_us(mean(document, system, size, kind + way)) for size in sizes for way in WAYS)]
        for kind, words in kinds.items()
        for system in systems
    ]
    made = [tables.make("Microseconds per operation, means over the operations", ["system", "", *heads], means)]
    for size in sizes:
        for kind, words in kinds.items():
            lines = []
            for operation in operations:
                rows = [found.get((size, operation, system)) for system in systems]
                lines.append([operation, *(row and _both(row, kind) for row in rows)])
            title = f"Arrays of {size}: microseconds forward / backward, {words}"
            made.append(tables.make(title, ["operation", *systems], lines))
    return [*made, *without]


def _us(microseconds: float | None) -> str | None:
    return None if microseconds is None else f"{microseconds:.2f}"


def _both(row: dict[str, Any], kind: str) -> str:
    each = [row[kind + way] for way in WAYS]
    return " / ".join(f"{found['median'] * 1e6:.2f}" if found else tables.MISSING for found in each)


def picture(document: dict[str, Any]) -> Figure:
    """Over bare calls, a group of bars per operation and a bar per system."""
    found = found_in(document)
    sizes, operations, systems = (list(dict.fromkeys(keys)) for keys in zip(*found, strict=True))
    title = "Microseconds per recorded operation over bare calls"
    figure, axes = pictures.panels(2 * len(sizes), columns=2, title=title)
    for panel, (size, way) in zip(axes, [(size, way) for size in sizes for way in WAYS], strict=True):
        heights: dict[str, list[float | None]] = {system: [] for system in systems}
        for operation in operations:
            for system in systems:
                over = found.get((size, operation, system), {}).get(f"over_{way}")
                heights[system].append(over and over["median"] * 1e6)
        pictures.bars(panel, operations, heights)
        panel.set_title(f"{way}, arrays of {size}")
        panel.set_ylabel("µs")
    pictures.legend_below(figure)
    return figure
