"""What `memory` found, as tables and as a picture: of one task and lag, or of many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from ..common import curves
from ..common.experiments import Row
from .tasks import TASKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURE = "memory.png"
MARKS = {  # of each network, in the order in which they are told: its colour and its mark
    "rnn": (curves.OF_CELLS["rnn"], "o"),
    "rnn-orthogonal": (curves.COLOURS[5], "s"),
    "lstm": (curves.OF_CELLS["lstm"], "v"),
    "lstm-forget-1": (curves.COLOURS[4], "^"),
    "lstm-forget-5": (curves.COLOURS[3], "D"),
    "gru": (curves.OF_CELLS["gru"], "P"),
}
Group = dict[str, dict[int, list[Row]]]  # by network and lag


def grouped(rows: Sequence[Row]) -> dict[str, Group]:
    """By tasks, networks and lags, each in its order: the rows of all seeds."""
    tasks, cells = list(TASKS), list(MARKS)
    found: dict[str, Group] = {}
    for row in sorted(rows, key=lambda r: (tasks.index(r["task"]), cells.index(r["cell"]), r["lag"], r["seed"])):
        found.setdefault(row["task"], {}).setdefault(row["cell"], {}).setdefault(row["lag"], []).append(row)
    return found


def tables(rows: Sequence[Row]) -> list[Table]:
    """Of each task who has succeeded; and what became of the gradient, a step."""
    from bench.tables import make

    made, factors, every_lag = [], [], sorted({row["lag"] for row in rows})
    for name, of_task in grouped(rows).items():
        task, lags = TASKS[name], sorted({lag for of_cell in of_task.values() for lag in of_cell})
        budget = max(row["budget"] for row in rows if row["task"] == name)
        lines = []
        for cell, of_cell in of_task.items():
            runs = [row for of_lag in of_cell.values() for row in of_lag]
            lines.append([cell, f"{runs[0]['parameters']:,}", *(_told(of_cell.get(lag, [])) for lag in lags)])
            ends = (_mean([row["factors"][1] for row in of_cell.get(lag, [])]) for lag in every_lag)
            factors.append([name, cell, _mean([row["factors"][0] for row in runs]), *ends])
        title = (
            f"{name.capitalize()}: how many runs brought {task.called} to {task.goal}, and after how many updates; "
            f"in brackets the figure of each that did not in {budget:,}"
        )
        made.append(make(title, ["", "parameters", *(f"lag {lag}" for lag in lags)], lines))
    title = (
        "The factor a step of the loss's gradient with respect to the input, from 20 to 50 steps before the answers: "
        "before learning, and at the end of runs over each lag, on sequences with a lag of 60; means over the seeds"
    )
    columns = ["", "", "before", *(f"lag {lag}" for lag in every_lag)]
    return [*made, make(title, columns, factors)]


def _told(runs: Sequence[Row]) -> str | None:
    if not runs:
        return None
    task, ended = TASKS[runs[0]["task"]], [row for row in runs if row["succeeded"]]
    figures = [f"{row['updates']:,}" if row["succeeded"] else f"({task.tell(row['figure'])})" for row in runs]
    return f"{len(ended)} of {len(runs)}: {' '.join(figures)}"


def _mean(factors: Sequence[float | None]) -> str | None:
    """None where one of them is too small to tell: the others say nothing of it."""
    known = [each for each in factors if each is not None]
    return f"{np.mean(known):.2f}" if known and len(known) == len(factors) else None


def draw(rows: Sequence[Row], folder: Path) -> None:
    """Of each task: what was reached at each lag, after how many updates, and the curves at the lag in the middle."""
    groups = grouped(rows)
    figure, axes = curves.panels(3 * len(groups), "Who remembers; small marks: runs, lines: their medians", columns=3)
    for (name, of_task), reached, updates, learning in zip(
        groups.items(), axes[::3], axes[1::3], axes[2::3], strict=True
    ):
        lags = sorted({lag for of_cell in of_task.values() for lag in of_cell})
        middle = lags[len(lags) // 2]
        for cell, of_cell in of_task.items():
            _draw_reached(reached, cell, of_cell)
            _draw_updates(updates, cell, of_cell)
            for row in of_cell.get(middle, []):
                learning.plot(row["looks"], row["losses"], color=MARKS[cell][0], linewidth=1.2)
                learning.plot(row["looks"][-1:], row["losses"][-1:], MARKS[cell][1], color=MARKS[cell][0])
        reference = next(row["reference"] for row in rows if row["task"] == name)
        for panel in (reached, learning):
            panel.axhline(reference, color="0.4", linestyle=":")
            panel.set_ylabel(TASKS[name].unit)
            panel.set_yscale("log")
        reached.set_title(f"{name}: the loss at the end; dotted: {reference:.3f}, with no memory")
        updates.set_title(f"{name}: updates to success; lines: where all succeed")
        updates.set_ylabel("updates")
        updates.set_yscale("log")
        updates.set_ylim(80, 1.25 * max(row["budget"] for row in rows if row["task"] == name))
        for panel in (reached, updates):
            panel.set_xscale("log")
            panel.set_xlim(lags[0] / 1.3, lags[-1] * 1.3)
            panel.set_xticks(lags, [str(lag) for lag in lags])
            panel.set_xticks([], minor=True)
            panel.set_xlabel("lag")
        learning.set_title(f"{name} over {middle}: the loss while learning")
        learning.set_xlabel("updates")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    curves.save(figure, folder / PICTURE)


def _draw_reached(panel: Axes, cell: str, of_cell: dict[int, list[Row]]) -> None:
    """Each run, and a line through the medians."""
    colour, mark = MARKS[cell]
    found = {lag: [row["losses"][-1] for row in runs] for lag, runs in of_cell.items()}
    for lag, losses in found.items():
        panel.plot([lag] * len(losses), losses, mark, color=colour, markersize=4, alpha=0.5)
    panel.plot(list(found), list(map(np.median, found.values())), f"{mark}-", color=colour, label=cell)


def _draw_updates(panel: Axes, cell: str, of_cell: dict[int, list[Row]]) -> None:
    """Of the runs that succeeded: each, and a line through the medians where all did."""
    colour, mark = MARKS[cell]
    found = {lag: [row["updates"] for row in runs if row["succeeded"]] for lag, runs in of_cell.items()}
    for lag, updates in found.items():
        panel.plot([lag] * len(updates), updates, mark, color=colour, markersize=4, alpha=0.5)
    whole = {lag: float(np.median(updates)) for lag, updates in found.items() if len(updates) == len(of_cell[lag])}
    panel.plot(list(whole), list(whole.values()), f"{mark}-", color=colour)
