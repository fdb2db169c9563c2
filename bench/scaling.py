"""Time against size: how a training step's forward and backward grow with T, N, H and L, and a chain with its length.

T: time steps   N: batch   H: hidden size, and input size   L: layers
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

import minigrad as mg
from minigrad import nn

from . import pictures, record, tables, timing

LAYERS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
BASE = {"T": 100, "N": 8, "H": 64, "L": 1}  # the sizes that stay while one grows
SIZES = {
    "T": (100, 300, 1_000, 3_000, 10_000),
    "N": (1, 4, 16, 64, 256),
    "H": (16, 64, 128, 256, 512),
    "L": (1, 2, 4, 8),
}
CHAIN = (1_000, 10_000, 100_000)
WORDS = {"T": "time steps T", "N": "batch N", "H": "hidden size H", "L": "layers L", "length": "operations in a chain"}


def run(cells: Sequence[str] = ("rnn", "lstm"), rounds: int = 5, threads: int = 1) -> list[dict[str, Any]]:
    """A row per cell and size, and per length of the chain: seconds forward and backward."""
    tasks: dict[tuple[str, str, int], Callable[[], tuple[float, float]]] = {}
    for length in CHAIN:
        tasks["chain", "length", length] = partial(chained, length)
    for cell in cells:
        for axis, values in SIZES.items():
            for value in values:
                tasks[cell, axis, value] = partial(unrolled, cell, **{**BASE, axis: value})
    with record.limited(threads):
        results = timing.in_turns(tasks, rounds, "scaling")
    rows = []
    for (what, axis, size), times in results.items():
        forward, backward = (record.spread(column) for column in zip(*times, strict=True))
        others = {} if what == "chain" else {name: value for name, value in BASE.items() if name != axis}
        row = {"what": what, "axis": axis, "size": size, **others, "forward": forward, "backward": backward}
        rows.append(row)
    return rows


def chained(length: int) -> tuple[float, float]:
    """Seconds forward and backward of `length` additions to a 0-d tensor."""
    x = mg.tensor(1.0, requires_grad=True)

    def forward() -> mg.Tensor:
        y = x
        for _ in range(length):
            y = y + 1.0
        return y

    return forward_and_backward(forward)


def unrolled(cell: str, T: int, N: int, H: int, L: int) -> tuple[float, float]:  # noqa: N803
    """Seconds forward and backward of a recurrent layer over a sequence (T, N, H)."""
    rnn = LAYERS[cell](H, H, L)
    sequence = mg.randn((T, N, H))
    return forward_and_backward(lambda: rnn(sequence)[0].sum())


def forward_and_backward(forward: Callable[[], mg.Tensor]) -> tuple[float, float]:
    start = time.perf_counter()
    y = forward()
    middle = time.perf_counter()
    y.backward()
    return middle - start, time.perf_counter() - middle


# What is read off ---------------------------------------------------------------------------------


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> tuple[float, list[float]]:
    """b in seconds = a sizeᵇ by least squares of the logarithms, and the sizes it was fitted to: the upper half.

    Small sizes cost what calls cost; b is what the time tends to. The sizes are in order, and two at least.

    >>> slope, fitted = exponent([1, 10, 100], [5.0, 30.0, 300.0])
    >>> round(slope, 6), fitted
    (1.0, [10, 100])
    """
    middle = np.sqrt(sizes[0] * sizes[-1])
    first = min(len(sizes) - 2, sum(size < middle for size in sizes))
    upper = list(sizes[first:])
    slope, _ = np.polyfit(np.log(upper), np.log(seconds[first:]), 1)
    return float(slope), upper


def curves(document: dict[str, Any]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The rows of each (what, axis)."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in document["rows"]:
        found.setdefault((row["what"], row["axis"]), []).append(row)
    return found


def total(row: dict[str, Any]) -> float:
    return float(row["forward"]["median"] + row["backward"]["median"])


def table(document: dict[str, Any]) -> list[Table]:
    lines, fits = [], []
    for (what, axis), rows in curves(document).items():
        for row in rows:
            seconds = [row["forward"]["median"], row["backward"]["median"]]
            steps = row["size"] if axis in ("T", "length") else None
            each = [tables.digits(second / steps * 1e6) if steps else None for second in seconds]
            lines.append([what, axis, f"{row['size']:,}", *(tables.digits(second * 1e3) for second in seconds), *each])
        if len(rows) > 1:
            slope, fitted = exponent([row["size"] for row in rows], [total(row) for row in rows])
            fits.append([what, WORDS[axis], f"{fitted[0]:,} to {fitted[-1]:,}", f"{slope:.2f}"])
    columns = ["what", "along", "size", "forward, ms", "backward, ms", "forward, µs each", "backward, µs each"]
    return [
        tables.make("Time = a sizeᵇ, forward and backward together", ["what", "along", "fitted from", "b"], fits),
        tables.make("Medians; each: per time step, or operation of the chain", columns, lines),
    ]


def picture(document: dict[str, Any]) -> Figure:
    """Time over T, N, H and L; a straight line of slope b is time = a sizeᵇ."""
    figure, axes = pictures.panels(4, columns=2, title="Forward and backward")
    found = curves(document)
    for panel, axis in zip(axes, SIZES, strict=True):
        for (what, along), rows in found.items():
            if along == axis:
                sizes, seconds = [row["size"] for row in rows], [total(row) for row in rows]
                label = f"{what}, b = {exponent(sizes, seconds)[0]:.2f}" if len(rows) > 1 else what
                panel.plot(sizes, [second * 1e3 for second in seconds], "o-", label=label, color=pictures.COLOURS[what])
                pictures.sizes_along_x(panel, sizes, WORDS[axis])
        panel.set_yscale("log")
        panel.set_ylabel("milliseconds")
        if panel.lines:
            panel.legend()
    return figure
