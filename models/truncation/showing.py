"""What truncation costs and buys, as a table and a picture."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from ..common import curves
from ..common.experiments import Row

PICTURE = "truncation.png"
CELLS, WHEN = ("lstm", "rnn"), ("at first", "trained")


def tables(rows: Sequence[Row]) -> list[Table]:
    from bench.tables import digits, make

    lines = []
    practised, alike = (partial(_of, rows, "learned", how=how) for how in _ways(rows))
    for k1, k2 in dict.fromkeys((row["k1"], row["k2"]) for row in rows):
        pair = {"k1": k1, "k2": k2}
        errors = [_of(rows, "gradient", cell=cell, when=when, **pair) for cell in CELLS for when in WHEN]
        updates = [row["updates"] for row in practised(**pair)]
        learned = [" ".join(f"{row['nats']:.3f}" for row in found(**pair)) for found in (practised, alike)]
        (cost,) = _of(rows, "cost", **pair) or [{}]
        megabytes, ms = (
            None if cost.get(k) is None else digits(s * cost[k]) for k, s in (("bytes", 1e-6), ("seconds", 1e3))
        )
        shown = [_shown(found[0]["error"]) if found else None for found in errors]
        lines.append(
            [k1, k2, *shown, f"{updates[0]:,}" if updates else None, *(each or None for each in learned), megabytes, ms]
        )
    heads = ["k1", "k2", "error: lstm at first", "lstm trained", "rnn at first", "rnn trained", "updates"]
    heads += ["nats, an update a turn", f"nats, {alike()[0]['updates']:,} updates", "MB", "ms per 1,000 symbols"]
    return [make("TBPTT(k1, k2): the gradient's error, what is held out (a number for each seed), and costs",
                 heads, lines)]  # fmt: skip


def _shown(error: float) -> str:
    return "0" if error == 0 else f"{error:.2g}" if error >= 1e-4 else f"{error:.0e}"


def _ways(rows: Sequence[Row]) -> list[str]:
    """How models were trained: with an update a turn, and with as many updates each."""
    return list(dict.fromkeys(row["how"] for row in rows if row["part"] == "learned"))


def _of(rows: Sequence[Row], part: str, **wanted: Any) -> list[Row]:
    return [row for row in rows if row["part"] == part and all(row[name] == wanted[name] for name in wanted)]


def _is_pair(row: Row) -> bool:
    return bool(row["k1"] < row["k2"])


def draw(rows: Sequence[Row], folder: Path) -> None:
    figure, axes = curves.panels(4, "TBPTT(k1, k2) of a model of characters; lines: k1 = k2, stars: k1 < k2", columns=2)
    errors, nats, memory, time = axes
    for cell in CELLS:
        for when, style in zip(WHEN, ("o--", "s-"), strict=True):
            found = [row for row in _of(rows, "gradient", cell=cell, when=when) if row["error"] > 0]
            _show(errors, found, [row["error"] for row in found], style, curves.OF_CELLS[cell], f"{cell}, {when}")
    errors.set_yscale("log")
    errors.set_title("the gradient's error ‖g_k - g‖ / ‖g‖")
    for how, colour, style in zip(_ways(rows), curves.COLOURS[2:], ("s-", "o--"), strict=False):
        found = _of(rows, "learned", how=how)
        _show(nats, found, [row["nats"] for row in found], style, colour, how)
    nats.set_title("what is held out after as many symbols")
    nats.set_ylabel("nats per character")
    found = _of(rows, "cost")
    _show(time, found, [1e3 * row["seconds"] for row in found], "s-", curves.OF_CELLS["lstm"], "lstm")
    time.set_title("time of 1,000 symbols")
    time.set_ylabel("ms")
    found = [row for row in found if row["bytes"] is not None]
    _show(memory, found, [row["bytes"] / 1e6 for row in found], "s-", curves.OF_CELLS["lstm"], "lstm")
    memory.set_yscale("log" if found else "linear")  # on a GPU it is not measured
    memory.set_title("memory of a turn at its peak")
    memory.set_ylabel("MB")
    for panel in axes:
        panel.set_xscale("log", base=2)
        panel.xaxis.set_major_formatter("{x:.0f}")
        panel.set_xlabel("look-back k2")
    errors.legend()
    nats.legend()
    time.set_ylim(bottom=0)
    curves.save(figure, folder / PICTURE)


def _show(panel: Any, rows: Sequence[Row], values: Sequence[float], style: str, colour: str, label: str) -> None:
    """A line through the means of those with k1 = k2, a point for each seed; stars for the others."""
    line: dict[int, list[float]] = {}
    for row, value in zip(rows, values, strict=True):
        if _is_pair(row):
            panel.plot(row["k2"], value, "*", color=colour, markersize=12, markeredgecolor="black")
        else:
            line.setdefault(row["k2"], []).append(value)
    means = [sum(each) / len(each) for each in line.values()]
    panel.plot(list(line), means, style[1:], color=colour, label=label)
    for k, each in line.items():
        panel.plot([k] * len(each), each, style[0], color=colour, markersize=5)
