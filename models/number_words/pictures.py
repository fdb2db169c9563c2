"""How far training is from speaking freely, and which numbers are hard."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..common import curves

GAP, COSTS = "gap.png", "costs.png"
WAYS = {"": "fed the right symbols", "free_": "fed its own"}


def gap(records: curves.Records, path: Path) -> None:
    """What the held-out numbers cost over the updates, and how many of their symbols are right, both ways.

    Args:
        records: the events of a journal.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

    records = list(records)
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    figure.suptitle("Held-out numbers, with the decoder fed the right symbols, and fed its own")
    costs, shares = figure.subplots(1, 2)
    for axes, name, called in ((costs, "nats", "nats per symbol"), (shares, "symbols", "symbols right, %")):
        drawn = []
        for (kind, way), colour in zip(WAYS.items(), (curves.BLUE, curves.RED), strict=True):
            x, y = curves.series(records, "validation", kind + name)
            drawn.append(y * 100 if axes is shares else y)
            axes.plot(x, drawn[-1], ".-", color=colour, label=way)
        axes.fill_between(x, *drawn, color="0.5", alpha=0.25, linewidth=0, label="the gap")
        axes.set_xlabel("updates")
        axes.set_ylabel(called)
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
        axes.legend()
    if len(x):  # a run may be stopped before the first look
        costs.set_yscale("log")
        costs.yaxis.set_major_formatter("{x:g}")
        costs.yaxis.set_minor_formatter(LogFormatter())
    curves.save(figure, path)


def costs(numbers: np.ndarray, nats: np.ndarray, wrong: np.ndarray, path: Path) -> None:
    """For each thousand a row, for each hundred a column: what the right answers cost, and how many guesses are wrong.

    Args:
        numbers: (N,), from 1 to 9,999.
        nats: (N,), of each one's whole answer.
        wrong: (N,), whether the guess is.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    sums, missed, counts = np.zeros((3, 10, 10))
    for of, values in ((sums, nats), (missed, wrong), (counts, 1)):
        np.add.at(of, (numbers // 1000, numbers // 100 % 10), values)
    figure = Figure(figsize=(8, 6.5), layout="constrained")
    axes = figure.subplots()
    with np.errstate(invalid="ignore"):
        mean = np.maximum(sums / counts, 1e-6)  # so that a logarithm has something to show
    image = axes.imshow(mean, cmap="Blues", norm=LogNorm())
    middle = np.sqrt(np.nanmin(mean) * np.nanmax(mean))
    for (row, column), count in np.ndenumerate(missed):
        if count:
            colour = "white" if mean[row, column] > middle else "black"
            axes.text(column, row, f"{count:.0f}", ha="center", va="center", color=colour)
    axes.set_xticks(range(10), [f"{100 * k}" for k in range(10)])
    axes.set_yticks(range(10), [f"{1000 * k:,}" for k in range(10)])
    axes.set_xlabel("hundreds")
    axes.set_ylabel("thousands")
    axes.set_title(f"What {len(numbers):,} held-out numbers cost; wrong guesses ({wrong.sum()}) are counted")
    figure.colorbar(image, ax=axes, label="nats per number, mean")
    curves.save(figure, path)
