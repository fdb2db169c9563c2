"""What it costs to be profiled: a training step of a character model inside of `inspect.profile`, and outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

import minigrad as mg
from minigrad import nn, optim
from minigrad.inspect import profile
from minigrad.nn import functional as F

from . import pictures, tables
from .record import limited, spread
from .timing import in_turns

CELLS, HIDDEN, WAYS = ("lstm", "rnn"), (128, 256), ("kernels", "operations")
CLASSES = 65


def run(
    cells: Sequence[str] = CELLS,
    hidden: Sequence[int] = HIDDEN,
    batch: int = 32,
    length: int = 64,
    rounds: int = 9,
    seconds: float = 0.5,
    threads: int = 1,
) -> Iterator[dict[str, Any]]:
    """A row per configuration: seconds of a step without and with a profile, and the ratio within each round.

    Blocks of steps take turns, the first of each round in its turn. A block with a profile is one profile, whose
    beginning and end are not timed.

    Args:
        cells, hidden: every combination of these is measured, with kernels and operation by operation.
        batch, length: N and T.
        rounds: blocks of each.
        seconds: that a block takes, about.
        threads: of the kernels and the BLAS.
    """
    for cell in cells:
        for size in hidden:
            for way in WAYS:
                step = training_step(cell, size, batch, length)
                with limited(threads), mg.fusing(way == "kernels"):
                    found = measured(step, rounds, seconds)
                yield {"cell": cell, "hidden": size, "batch": batch, "length": length, "way": way, **found}


def training_step(cell: str, hidden: int, batch: int, length: int) -> Callable[[], float]:
    """Embedding, one recurrent layer, cross-entropy, Adam; the state is carried from step to step."""
    mg.manual_seed(0)
    layer = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell](hidden, hidden)
    embed, output = nn.Embedding(CLASSES, hidden), nn.Linear(hidden, CLASSES)
    optimizer = optim.Adam(nn.ModuleList([embed, layer, output]).parameters(), lr=1e-3)
    text = np.random.default_rng(0).integers(0, CLASSES, (length + 1, batch))
    x, y = mg.tensor(text[:-1]), mg.tensor(text[1:].reshape(-1))
    state: Any = None

    def step() -> float:
        nonlocal state
        h, state = layer(embed(x), mg.detach(state))
        loss = F.cross_entropy(output(h.reshape(-1, hidden)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found: float = loss.item()
        return found

    return step


def measured(step: Callable[[], float], rounds: int, seconds: float) -> dict[str, Any]:
    """Seconds per step without and with a profile, and the one over the other."""
    for _ in range(3):
        step()
    start = time.perf_counter()
    step()
    steps = max(3, round(seconds / (time.perf_counter() - start)))
    events = 0

    def plain() -> float:
        start = time.perf_counter()
        for _ in range(steps):
            step()
        return (time.perf_counter() - start) / steps

    def profiled() -> float:
        nonlocal events
        with profile() as p:
            found = plain()
        events = sum(row.calls + row.backward_calls for row in p.table().rows) // steps
        return found

    times = in_turns({"plain": plain, "profiled": profiled}, rounds)
    ratios = [after / before for before, after in zip(times["plain"], times["profiled"], strict=True)]
    return {"plain": spread(times["plain"]), "profiled": spread(times["profiled"]), "ratio": spread(ratios)} | {
        "events": events
    }


# What is read off ---------------------------------------------------------------------------------


def table(document: dict[str, Any]) -> list[Table]:
    lines = [
        [
            *(row["cell"], f"{row['hidden']} × {row['batch']} × {row['length']}", row["way"], f"{row['events']:,}"),
            *(f"{row[name]['median'] * 1000:.2f}" for name in ("plain", "profiled")),
            f"{row['ratio']['median'] - 1:+.1%}",
        ]
        for row in document["rows"]
    ]
    heads = ["cell", "H × N × T", "runs", "events", "ms", "ms profiled", "more"]
    return [tables.make("A training step, without and with a profile", heads, lines)]


def picture(document: dict[str, Any]) -> Figure:
    """How much longer a step takes, a bar per configuration."""
    figure, (axes,) = pictures.panels(1, title="Longer when profiled")
    names = [f"{row['cell']}\nH={row['hidden']}" for row in document["rows"] if row["way"] == WAYS[0]]
    heights: dict[str, list[float | None]] = {
        way: [100 * (row["ratio"]["median"] - 1) for row in document["rows"] if row["way"] == way] for way in WAYS
    }
    pictures.bars(axes, names, heights)
    axes.set_ylabel("% of the step's time")
    pictures.legend_below(figure)
    return figure
