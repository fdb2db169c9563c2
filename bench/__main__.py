"""What things cost: `python -m bench NAME`. Results are printed, and written to bench/results/ as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import minigrad as mg
from minigrad import nn

app = typer.Typer(help=__doc__, add_completion=False, no_args_is_help=True)
RESULTS = Path(__file__).parent / "results"


@app.callback()
def main() -> None:
    """What things cost. Run on a machine that does nothing else."""


@app.command()
def scaling(repeats: int = 5, save: bool = True) -> None:
    """Time against length: a chain of operations, and an RNN unrolled over a sequence, forward and backward."""
    rows = [measured("chain", chain, n, repeats) for n in (1_000, 10_000, 100_000)]
    rows += [measured("unrolled RNN", unrolled, n, repeats) for n in (200, 2_000, 10_000)]
    table = Table("what", "length", "forward, µs each", "backward, µs each")
    for row in rows:
        table.add_row(row["what"], f"{row['length']:,}", f"{row['forward_us']:.2f}", f"{row['backward_us']:.2f}")
    Console().print(table)
    if save:
        write("scaling", rows)


def chain(length: int) -> tuple[float, float]:
    """Seconds forward and backward of `length` additions to a 0-d tensor."""
    x = mg.tensor(1.0, requires_grad=True)

    def forward() -> mg.Tensor:
        y = x
        for _ in range(length):
            y = y + 1.0
        return y

    return forward_and_backward(forward)


def unrolled(length: int) -> tuple[float, float]:
    """Seconds forward and backward of an RNN of 16 units over `length` steps, batch 1."""
    rnn = nn.RNN(8, 16)
    sequence = mg.randn((length, 1, 8))
    return forward_and_backward(lambda: rnn(sequence)[0].sum())


def forward_and_backward(forward: Callable[[], mg.Tensor]) -> tuple[float, float]:
    start = time.perf_counter()
    y = forward()
    middle = time.perf_counter()
    y.backward()
    return middle - start, time.perf_counter() - middle


def measured(what: str, run: Callable[[int], tuple[float, float]], length: int, repeats: int) -> dict[str, Any]:
    """The median over some runs after a warm-up, in microseconds per step of the length."""
    run(length)
    times = [run(length) for _ in range(repeats)]
    forward, backward = (statistics.median(column) / length * 1e6 for column in zip(*times, strict=True))
    return {"what": what, "length": length, "forward_us": round(forward, 3), "backward_us": round(backward, 3)}


def write(name: str, rows: list[dict[str, Any]]) -> None:
    """Keep what was measured, and on what."""
    machine = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "minigrad": mg.__version__,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    Console().print(f"written to {path}")


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


if __name__ == "__main__":
    app()
