"""How the losses of a run went down: in the terminal, and as a picture. Both are made from the events of a journal.

matplotlib and plotext take half a second to import, so that only those who draw import them.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .console import console

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Records = Iterable[Mapping[str, Any]]

WIDTH, HEIGHT, NARROW = 80, 20, 40  # of a curve in a terminal, in characters; and what is too narrow for one
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # told apart by the colour-blind too
BLUE, RED = COLOURS[:2]  # (Okabe and Ito)
OF_CELLS = dict(zip(("rnn", "lstm", "gru"), COLOURS, strict=False))  # the same in every picture
STYLES = (":", "--", "-.", (0, (5, 1)), (0, (1, 4)))
AS_ASCII = str.maketrans("┌┐└┘├┤┬┴┼│─", "+++++++++|-")
SPANS = {"hours": 3600, "minutes": 60, "seconds": 1}


def in_terminal(records: Records, per: str = "symbol", *, plain: bool | None = None) -> str:
    """The loss on what is learned and on what is held out over the updates, in characters.

    It is "" if there is no loss, or a terminal of less than 40 columns.

    Args:
        records: the events of a journal.
        per: of what the losses are.
        plain: in ASCII and without colours; if None, where they are printed to no terminal or not in UTF-8.
    """
    if plain is None:
        plain = not (console.is_terminal and console.encoding.lower().startswith("utf"))
    records = list(records)
    training, validation = series(records, "train", "loss"), series(records, "validation", "nats")
    if console.width < NARROW or not len(training[0]) + len(validation[0]):
        return ""
    import plotext

    width, dot = min(WIDTH, console.width), "." if plain else "hd"
    curve, points = means(*training, width), means(*validation, width // 4)
    figure = plotext.figure.clear()  # there is one for the whole process: it is left as clean as it is wanted
    try:
        plotext.terminal.limit(False, False)  # it takes a pipe for a terminal of some other size
        figure.theme("colorless" if plain else "simple").plot_size(width, HEIGHT).legend(False)
        figure.title(f"nats per {per}: {'. ' * plain}training, o validation")
        for (x, y), marker in ((curve, dot), (points, "o")):
            if len(x):
                figure.draw(figure.signal(x.tolist(), y.tolist(), marker=marker).lines(marker == dot))
        last, (low, high) = max(max(x, default=1) for x, _ in (training, validation)), _range(curve[1], points[1])
        for axis, start, stop, shown in (("x", 0, last, "{:,.0f}"), ("y", low, high, "{:.2f}")):
            ticks = np.linspace(start, stop, 5).tolist()
            figure.ruler(axis).lim(start, stop).ticks(ticks, [shown.format(tick) for tick in ticks])
        lines = str(figure.build().string(colorless=plain))
    finally:
        plotext.terminal.limit()
        figure.clear().theme()
    return "\n".join(line.rstrip() for line in (lines.translate(AS_ASCII) if plain else lines).splitlines())


def draw(records: Records, path: Path, title: str, per: str = "symbol") -> None:
    """The same as a picture, `path`, in PNG: with bits on the right, and the time that training took above.

    Args:
        records: the events of a journal.
        title: what stands above.
        per: of what the losses are.
    """
    from matplotlib.figure import Figure

    records = list(records)
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, parse_math=False)
    axes.set_xlabel("updates")
    axes.set_ylabel(f"nats per {per}")
    axes.grid(alpha=0.3)

    x, y = series(records, "train", "loss")
    if len(x):
        axes.plot(x, y, color=BLUE, alpha=0.35, linewidth=0.8)
        axes.plot(*means(x, y, min(100, -(-len(x) // 5))), ".-", markersize=3, color=BLUE, label="training")
    x, y = series(records, "validation", "nats")
    if len(x):
        best = int(np.argmin(y))
        axes.plot(x, y, "o-", markersize=4, color=RED, label="validation")
        axes.plot(x[best], y[best], "*", markersize=14, color=RED, label=f"least: {y[best]:.4f} at {x[best]:,.0f}")
    if axes.lines:
        axes.legend()
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlim(left=0)
    axes.secondary_yaxis(
        "right", functions=(lambda nats: nats / math.log(2), lambda bits: bits * math.log(2))
    ).set_ylabel(f"bits per {per}")
    _time_above(axes, *series(records, "train", "seconds"))

    save(figure, path)


def side_by_side(
    runs: Mapping[str, Sequence[Records]], names: Mapping[str, tuple[str, bool]], path: Path, title: str,
    references: Mapping[str, Mapping[str, float]] | None = None,
) -> None:  # fmt: skip
    """Figures about what is held out over the updates, for several variants: a picture in PNG.

    Args:
        runs: of each variant, the events of its journals, one journal a seed; the line is their mean, the band from
            the least to the largest.
        names: the figures that are shown, each in axes of its own; what they are called there, and whether they are
            shares, shown as percentages.
        references: by name, figures that do not change while training; a dotted line each.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(6 * len(names) + 2, 4.5), layout="constrained")
    labels: dict[str, Any] = {}
    figure.suptitle(title, parse_math=False)
    for axes, (name, (called, percent)) in zip(
        figure.subplots(1, len(names), squeeze=False)[0], names.items(), strict=True
    ):
        for number, (variant, journals) in enumerate(runs.items()):
            updates, values = _aligned([series(list(records), "validation", name) for records in journals])
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(updates, values.mean(0), color=colour, label=variant)
            axes.fill_between(updates, values.min(0), values.max(0), color=colour, alpha=0.2, linewidth=0)
        for number, (reference, figures) in enumerate((references or {}).items()):
            if name in figures:
                axes.axhline(figures[name], color="0.4", linestyle=STYLES[number % len(STYLES)], label=reference)
        axes.set_xlabel("updates")
        axes.set_ylabel(called)
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(alpha=0.3)
        axes.set_xlim(left=0)
        labels |= {str(line.get_label()): line for line in axes.lines}
    figure.legend(labels.values(), labels.keys(), loc="outside right upper")
    save(figure, path)


def _aligned(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The updates at which every curve has a point, and their values there, a row each."""
    updates = functools.reduce(np.intersect1d, [x for x, _ in curves])
    return updates, np.stack([y[np.isin(x, updates)] for x, y in curves])


def panels(count: int, title: str, *, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels in rows of at most `columns`, and the panels, with a grid."""
    from bench import pictures

    figure, axes = pictures.panels(count, columns=columns, title=title)
    figure.set_size_inches(1.1 * figure.get_size_inches())
    for each in axes:
        each.grid(alpha=0.3)
    return figure, axes


def save(figure: Figure, path: Path) -> None:
    """Write a picture, in PNG; the same one twice has the same bytes."""
    without: dict[str, Any] = {"Software": None}  # the version of matplotlib
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a text in a script that it does not have
        figure.savefig(path, format="png", dpi=110, metadata=without)


def series(records: Records, event: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The updates at which an event told a number, and the numbers; where it was none is left out."""
    found = [(r["update"], r[name]) for r in records if r.get("event") == event and r.get(name) is not None]
    points = np.array(found, dtype=np.float64).reshape(-1, 2)
    points = points[np.isfinite(points[:, 1])]
    return points[:, 0], points[:, 1]


def means(x: np.ndarray, y: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """At most `count` points instead of many: the means of neighbours."""
    starts = np.arange(groups := min(max(count, 1), len(x))) * len(x) // max(groups, 1)
    sizes = np.diff(starts, append=len(x))
    return np.add.reduceat(x, starts) / sizes, np.add.reduceat(y, starts) / sizes


def _range(*losses: np.ndarray) -> tuple[float, float]:
    """The least and the largest, which differ."""
    found = np.concatenate(losses)
    low, high = float(found.min()), float(found.max())
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _time_above(axes: Axes, updates: np.ndarray, seconds: np.ndarray) -> None:
    """A second axis above: how long training had taken by an update."""
    if not len(seconds) or not seconds[-1] > 0 < updates[-1]:
        return
    unit, size = next((unit, size) for unit, size in SPANS.items() if seconds[-1] >= 3 * size or size == 1)
    rate = seconds[-1] / size / updates[-1]  # as long for one as for the other
    above = axes.secondary_xaxis("top", functions=(lambda update: update * rate, lambda time: time / rate))
    above.set_xlabel(f"{unit} of training")
