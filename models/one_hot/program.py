"""One-hot against embedding: the same numbers, at another cost.

A product with a one-hot vector picks a row of a matrix, and a look-up takes it at once. That both are the same is
checked on vectors and gradients, and by training a model of characters each way; then time and memory of a gradient are
measured over the size of the vocabulary.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from rich.table import Table
from typer import Option

import minigrad as mg
from minigrad import optim

from ..char_lm.text import open_text
from ..common import costs, curves
from ..common.checks import check_finite, check_sizes
from ..common.console import say
from ..common.errors import UserError
from ..common.experiments import Experiment, Row, laboratory
from ..common.options import Data
from ..common.streams import Streams
from .model import LOOK_UP, ONE_HOT, WAYS, Model, differences

PICTURE = "one_hot.png"
LARGEST = 1 << 20  # V
ALONE, WHOLE = "the vectors", "the whole model"  # of what the gradient is measured
DTYPES = (mg.float32, mg.float64)


@dataclass(frozen=True)
class Settings:
    """The options of `one_hot`."""

    vocabulary: Annotated[list[int], Option(help="V where costs are measured; repeat it for several.")] = field(
        default_factory=lambda: [64, 256, 1024, 4096, 16384]
    )
    steps: Annotated[int, Option(help="T, time steps.")] = 64
    batch: Annotated[int, Option(help="N, sequences side by side.")] = 32
    embedding: Annotated[int, Option(help="D, numbers in a symbol's vector.")] = 64
    hidden: Annotated[int, Option(help="H, units of the LSTM.")] = 128
    updates: Annotated[int, Option(help="Of the model of characters, each way.")] = 60
    lr: Annotated[float, Option(help="Learning rate of AdamW.")] = 3e-3
    repeats: Annotated[int, Option(help="How often each time is measured; the median counts.")] = 7
    seed: Annotated[int, Option(help="Of weights and symbols.", min=0)] = 0
    data: Data = None

    def __post_init__(self) -> None:
        check_sizes(self, "steps", "batch", "embedding", "hidden", "repeats")
        check_sizes(self, "updates", most=1_000_000)
        check_finite(self, "lr", positive=True)
        if not all(2 <= size <= LARGEST for size in self.vocabulary):
            raise UserError(f"--vocabulary must be from 2 to {LARGEST:,}, got {self.vocabulary}")

    def model(self, way: str, symbols: int, dtype: Any = mg.float32) -> Model:
        """The same weights whichever way."""
        mg.manual_seed(self.seed)
        return Model(way, symbols, self.embedding, self.hidden, dtype)


def measure(settings: Settings) -> list[Row]:
    text = open_text([] if settings.data is None else [settings.data])
    streams = Streams([text.ids], settings.batch, settings.steps, mg.default_device())
    symbols, rows = len(text.vocabulary), []
    for dtype in DTYPES:
        mg.manual_seed(settings.seed)
        ids, _ = streams.chunk(0)
        found = differences(ids, symbols, settings.embedding, settings.hidden, dtype)
        rows.append({"part": "compared", "V": symbols, "dtype": str(np.dtype(dtype)), **found})
        for way in WAYS:
            losses = trained(settings, streams, settings.model(way, symbols, dtype))
            rows.append({"part": "trained", "V": symbols, "dtype": str(np.dtype(dtype)), "way": way, "loss": losses})
    for size in settings.vocabulary:
        say(f"measuring time and memory at V = {size:,}")
        rows += cost(settings, size)
    return rows


def trained(settings: Settings, streams: Streams, model: Model) -> list[float]:
    """The losses of training, in nats per character."""
    optimizer, losses = optim.AdamW(model.parameters(), lr=settings.lr), []
    for update in range(settings.updates):
        loss = model.loss(*streams.chunk(update % streams.chunks))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    found: list[float] = mg.stack(losses).tolist()
    return found


def cost(settings: Settings, symbols: int) -> list[Row]:
    """Of a gradient, each way: that of E alone, and that of the model."""
    shape = (settings.steps + 1, settings.batch)
    ids = mg.tensor(np.random.default_rng([settings.seed, 1]).integers(0, symbols, shape))
    rows = []
    for part in (ALONE, WHOLE):
        works = [gradient(part, settings.model(way, symbols), ids) for way in WAYS]
        times = costs.seconds(works, settings.repeats)
        rows += [
            {"part": part, "V": symbols, "way": way, "seconds": time, "bytes": costs.peak(work)}
            for way, time, work in zip(WAYS, times, works, strict=True)
        ]
    return rows


def gradient(part: str, model: Model, ids: mg.Tensor) -> costs.Work:
    """What is measured: a forward and a backward pass."""
    table = model.embedding.weight
    if part == ALONE:
        return lambda: mg.grad(model.vectors(table, ids[:-1]).sum(), [table])
    return lambda: mg.grad(model.loss(ids[:-1], ids[1:]), list(model.parameters()))


def tables(rows: Sequence[Row]) -> list[Table]:
    from bench.tables import digits, make

    same = []
    for row in (row for row in rows if row["part"] == "compared"):
        first, *others = (np.array(r["loss"]) for r in rows if r["part"] == "trained" and r["dtype"] == row["dtype"])
        apart = [float(np.abs(other - first).max()) for other in others]
        found = [row["vectors"], row["gradient"], row["lstm"], *apart]
        same.append([row["dtype"], *(f"{value:.1e}" if value else "0" for value in found)])
    lines = []
    sizes = sorted({row["V"] for row in rows if row["part"] == ALONE})
    for part, size in itertools.product((ALONE, WHOLE), sizes):
        times, peaks = (_by_way(rows, part, size, key) for key in ("seconds", "bytes"))
        megabytes = [None if value is None else digits(value / 1e6) for value in (peaks[LOOK_UP], peaks[ONE_HOT])]
        lines.append([part, f"{size:,}", *(digits(1e3 * time) for time in times.values()), *megabytes])
    heads = ["dtype", "vectors", "gradient of E", "an LSTM's output", *(f"losses, {way}" for way in list(WAYS)[1:])]
    columns = [*(f"{way}: ms" for way in WAYS), f"{LOOK_UP}: MB", f"{ONE_HOT}: MB"]
    return [
        make("The largest differences from the embedding", heads, same),
        make("A forward and a backward pass: time, and memory at its peak", ["of", "V", *columns], lines),
    ]


def _by_way(rows: Sequence[Row], part: str, size: int, key: str) -> dict[str, Any]:
    return {row["way"]: row[key] for row in rows if row["part"] == part and row["V"] == size}


def draw(rows: Sequence[Row], folder: Path) -> None:
    figure, axes = curves.panels(3, "One-hot against embedding: the same numbers, at another cost")
    shown = {LOOK_UP: (curves.BLUE, 5), ONE_HOT: (curves.RED, 1.5)}
    for row in rows:
        if row["part"] == "trained" and row["way"] in shown and row["dtype"] == "float32":
            colour, width = shown[row["way"]]
            updates = np.arange(1, len(row["loss"]) + 1)
            axes[0].plot(updates, row["loss"], color=colour, linewidth=width, label=row["way"])
    axes[0].set_xlabel("updates")
    axes[0].set_ylabel("nats per character")
    axes[0].set_title("trained either way: the same losses")
    axes[0].legend()
    for panel, (key, unit, scale) in zip(axes[1:], (("seconds", "ms", 1e3), ("bytes", "MB", 1e-6)), strict=True):
        for part, style in ((WHOLE, "s-"), (ALONE, "o:")):
            for way, (colour, _) in reversed(shown.items()):
                found = [row for row in rows if (row["part"], row.get("way")) == (part, way) and row[key] is not None]
                sizes, values = [row["V"] for row in found], [scale * row[key] for row in found]
                panel.plot(sizes, values, style, color=colour, label=f"{way}: {part}")
        panel.set_xscale("log", base=2)
        panel.xaxis.set_major_formatter("{x:,.0f}")
        panel.set_yscale("log" if found else "linear")  # on a GPU memory is not measured
        panel.set_xlabel("V, vocabulary")
        panel.set_ylabel(unit)
        panel.set_title("time of a forward and a backward pass" if key == "seconds" else "memory at its peak")
        panel.legend()
    curves.save(figure, folder / PICTURE)


EXPERIMENTS = (Experiment("one_hot", __doc__, Settings, measure, tables, draw, (PICTURE,)),)

app = laboratory("one_hot", *EXPERIMENTS, about=__doc__)
