"""Pictures: PNG files beside the JSON that they are made from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import record

# One colour for a system or a cell in every picture, told apart by the colour-blind too (Okabe and Ito).
COLOURS = {
    "minigrad": "#0072B2", "torch": "#D55E00", "torch-cells": "#E69F00", "torch-float32": "#56B4E9",
    "jax": "#009E73", "autograd": "#CC79A7",
    "rnn": "#0072B2", "gru": "#D55E00", "lstm": "#009E73",
    "cpu": "#0072B2", "cuda": "#D55E00",
    "torch, 1 thread": "#E69F00",
    "c": "#0072B2", "numpy": "#E69F00", "no compiler": "#D55E00",
    "compiled anew": "#D55E00", "compiled before": "#0072B2", "no kernels": "#999999",
}  # fmt: skip


def panels(count: int, *, columns: int = 3, title: str = "") -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels in rows of at most `columns`, and the panels."""
    columns = min(count, columns)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.5 * columns, 3.4 * rows + 0.6), layout="constrained")
    figure.suptitle(title)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def sizes_along_x(axes: Axes, sizes: list[int], label: str) -> None:
    """Logarithmic axes, with the sizes that were measured marked below."""
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes], minor=False)
    axes.minorticks_off()
    axes.set_xlabel(label)
    axes.grid(alpha=0.3)


def with_spread(axes: Axes, sizes: list[int], spreads: list[dict[str, Any]], label: str, colour: str) -> None:
    """A line through the medians, in milliseconds, and a band between the quartiles."""
    medians, low, high = ([spread[name] * 1e3 for spread in spreads] for name in ("median", "low", "high"))
    axes.plot(sizes, medians, "o-", label=label, color=colour)
    axes.fill_between(sizes, low, high, alpha=0.2, color=colour, linewidth=0)


def bars(axes: Axes, groups: Sequence[str], heights: dict[str, list[float | None]]) -> None:
    """A group of bars for each of `groups`, in it a bar for each name of `heights`; none where the height is None."""
    width = 0.8 / len(heights)
    for number, (name, values) in enumerate(heights.items()):
        places = [group + (number + 0.5) * width - 0.4 for group, value in enumerate(values) if value is not None]
        there = [value for value in values if value is not None]
        colour = COLOURS.get(name, COLOURS.get(name.partition(",")[0]))
        axes.bar(places, there, width, label=name, color=colour)
    axes.set_xticks(range(len(groups)), groups)
    axes.grid(axis="y", alpha=0.3)


def legend_below(figure: Figure) -> None:
    """One legend for all panels, under them."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=max(1, len(labels)))


def save(figure: Figure, name: str, folder: Path | None = None) -> Path:
    """Write `figure` as `folder`/`name`.png (`bench/results` if None), the same bytes for the same figure."""
    folder = record.RESULTS if folder is None else folder
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    without: dict[str, Any] = {"Software": None}  # the version of matplotlib
    figure.savefig(path, dpi=110, metadata=without)
    return path
