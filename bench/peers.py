"""The same training step in several systems, each alone in its own process, over torch-rnn's grid of sizes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from . import pictures, processes, record, tables
from .systems import SYSTEMS, usual
from .systems.task import Task

PACKAGES = ("torch", "jax", "autograd", "mygrad")
CELLS, LAYERS, HIDDEN = ("lstm", "gru", "rnn"), (1, 2, 3), (64, 128, 256, 512)
QUICK = ((1, 64), (2, 128), (1, 256), (1, 512))  # layers and hidden size of a third of the grid
OURS = "minigrad"
TICKS = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50)  # of the picture


def run(
    cells: Sequence[str] = CELLS,
    layers: Sequence[int] = LAYERS,
    hidden: Sequence[int] = HIDDEN,
    batch: int = 50,
    length: int = 50,
    systems: Sequence[str] | None = None,
    rounds: int = 5,
    seconds: float = 0.4,
    cap: float = 10.0,
    quick: bool = False,
    device: str = "cpu",
    threads: int = 1,
    done: Sequence[dict[str, Any]] = (),
    modules: Mapping[str, str] = SYSTEMS,
) -> Iterator[dict[str, Any]]:
    """A row per configuration, as soon as it is measured: of each system the seconds of a step, or why there are none.

    Args:
        cells, layers, hidden: every combination of these is measured.
        batch, length: N and T.
        systems: what is compared; minigrad is always among them, and if None, all that run on the device.
        rounds, seconds, cap, threads: as `processes.measure` has them.
        quick: measure QUICK for each cell, instead of all layers and hidden sizes.
        device: where the step runs.
        done: rows of an earlier run, which are handed on and not measured again.
        modules: where each system is.

    Raises:
        ValueError: there is no system of that name.
    """
    systems = usual(device) if systems is None else systems
    processes.check_names(systems, modules)
    names = list(dict.fromkeys((OURS, *systems)))
    yield from done
    known = {configuration(row) for row in done}
    for row in planned(cells, layers, hidden, batch, length, quick, device):
        if configuration(row) not in known:
            found = processes.measure(
                Task(**row), names, threads=threads, rounds=rounds, seconds=seconds, cap=cap, modules=modules
            )
            yield row | {"systems": {name: summary(finding, found[OURS]) for name, finding in found.items()}}


def planned(
    cells: Sequence[str],
    layers: Sequence[int],
    hidden: Sequence[int],
    batch: int,
    length: int,
    quick: bool = False,
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """What is going to be measured, in this order."""
    sizes = QUICK if quick else [(number, size) for number in layers for size in hidden]
    rest = {"batch": batch, "length": length, "device": device}
    return [{"cell": cell, "layers": number, "hidden": size} | rest for number, size in sizes for cell in cells]


def configuration(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[key] for key in ("cell", "layers", "hidden", "batch", "length"))


def summary(finding: processes.Finding, ours: processes.Finding) -> dict[str, Any]:
    """What a row keeps of a system. The ratio to `ours` is taken round by round, where both met the same machine."""
    if finding.status != "timed":
        return {"status": finding.status, "reason": finding.reason}
    kept = {"status": "timed", **record.spread([second for block in finding.blocks for second in block])}
    if ours.status == "timed":
        medians = [[statistics.median(block) for block in each.blocks] for each in (finding, ours)]
        kept["ratio"] = record.spread([theirs / own for theirs, own in zip(*medians, strict=True)])
    if finding.hosts:
        kept["host"] = record.spread(finding.hosts)
    return kept | {name: finding.first[name] for name in ("losses", "settings") if name in finding.first}


# What is read off ---------------------------------------------------------------------------------


def geometric_mean(ratios: Sequence[float]) -> float | None:
    """
    >>> geometric_mean([0.5, 2.0])
    1.0
    """
    return math.exp(statistics.fmean(map(math.log, ratios))) if ratios else None


def systems_of(document: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(name for row in document["rows"] for name in row["systems"]))


def ratios(rows: Sequence[dict[str, Any]], system: str) -> list[float]:
    """A system's time as a multiple of that of ours, wherever both were timed."""
    found = [row["systems"].get(system, {}) for row in rows]
    return [each["ratio"]["median"] for each in found if "ratio" in each]


def table(document: dict[str, Any], ours: str = OURS) -> list[Table]:
    """Times and ratios to `ours`, their means, and who was not timed."""
    rows, systems = document["rows"], systems_of(document)
    others = [system for system in systems if system != ours]
    lines = [
        [row["cell"], row["layers"], row["hidden"], *(_cell(system, row, ours) for system in systems)] for row in rows
    ]
    groups = {cell: [row for row in rows if row["cell"] == cell] for cell in dict.fromkeys(row["cell"] for row in rows)}
    means = []
    for name, group in (groups | {"all": rows}).items():
        found = [ratios(group, system) for system in others]
        means.append([name, len(group), *(_times(geometric_mean(each), len(group) - len(each)) for each in found)])
    reasons: dict[tuple[str, str, str], int] = {}
    for row in rows:
        for system, each in row["systems"].items():
            if each["status"] != "timed":
                key = (system, each["status"], each["reason"])
                reasons[key] = reasons.get(key, 0) + 1
    made = [
        tables.make(f"Milliseconds a step, and as a multiple of {ours}'s", ["cell", "L", "H", *systems], lines),
        tables.make(f"Time over {ours}'s, geometric means", ["cell", "configurations", *others], means),
    ]
    if reasons:
        columns = ["system", "", "why", "configurations"]
        made.append(tables.make("Not timed", columns, [[*key, count] for key, count in reasons.items()]))
    return made


def _cell(system: str, row: dict[str, Any], ours: str) -> str | None:
    found = row["systems"].get(system)
    if found is None:
        return None
    if found["status"] != "timed":
        return str(found["status"])
    ratio = f" {found['ratio']['median']:.2f}×" if "ratio" in found and system != ours else ""
    return f"{tables.digits(found['median'] * 1e3)}{ratio}"


def _times(mean: float | None, without: int) -> str | None:
    """A mean, and of how many configurations it knows nothing."""
    if mean is None:
        return None
    return f"{mean:.2f}×" + (f" ({without} missing)" if without else "")


def picture(document: dict[str, Any]) -> Figure:
    """How many times minigrad's time the others need, over H; above the line at 1 minigrad is faster."""
    rows = document["rows"]
    places = sorted({(row["layers"], row["cell"]) for row in rows})
    figure, axes = pictures.panels(len(places), title="Time of a training step over minigrad's")
    for panel, (layers, cell) in zip(axes, places, strict=True):
        here = [row for row in rows if (row["layers"], row["cell"]) == (layers, cell)]
        curves(panel, here, document, OURS)
        panel.set_title(f"{cell}, {layers} layer{'s' * (layers > 1)}")
    pictures.legend_below(figure)
    return figure


def curves(panel: Axes, here: Sequence[dict[str, Any]], document: dict[str, Any], ours: str) -> None:
    """The ratios of some rows over H, a line for each system; the limits are those of the whole document."""
    here = sorted(here, key=_hidden)
    systems = systems_of(document)
    for system in systems:
        timed = [row for row in here if "ratio" in row["systems"].get(system, {})]
        if timed and system != ours:
            spreads = [row["systems"][system]["ratio"] for row in timed]
            medians = [each["median"] for each in spreads]
            bars = [
                [each["median"] - each["low"] for each in spreads],
                [each["high"] - each["median"] for each in spreads],
            ]
            panel.errorbar(
                [_hidden(row) for row in timed],
                medians,
                yerr=bars,
                fmt="o-",
                capsize=2,
                label=system,
                color=pictures.COLOURS.get(system),
            )
    every = [1.0, *(ratio for system in systems for ratio in ratios(document["rows"], system))]
    panel.axhline(1.0, color="black", linewidth=1)
    panel.set_yscale("log")
    pictures.sizes_along_x(panel, [_hidden(row) for row in here], "hidden size H")
    panel.set_yticks(TICKS, [f"{tick:g}×" for tick in TICKS], minor=False)
    panel.set_ylim(min(every) / 1.15, max(every) * 1.15)


def _hidden(row: dict[str, Any]) -> int:
    return int(row["hidden"])
