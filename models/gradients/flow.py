"""Three cells: the gradient on its way back through an RNN, an LSTM and a GRU that read text, at first and trained.

The loss is the cross-entropy of one character, the one after the last step, so that all there is at h_t has come back
through the recurrence. The text is a file, or the language reference inside Python; the norms are found in float64.

T: time steps   N: sequences   V: characters   H: hidden size
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from rich.table import Table
from typer import Option

import minigrad as mg
from minigrad import Tensor, nn, optim
from minigrad.nn import functional as F

from ..common import curves
from ..common.cells import CELLS
from ..common.checks import check_finite, check_sizes
from ..common.console import say
from ..common.errors import UserError
from ..common.experiments import Experiment, Row
from ..common.options import Data
from ..common.streams import split
from .back import gradients, rate, states
from .characters import read

PICTURE = "flow.png"
WHEN = ("at first", "trained")
EMBEDDING = 32  # numbers in a character's vector
CLIP = 1.0  # of the gradient's norm, while training
AT = (10, 50, 100)  # distances in the table
GONE = 1e-3  # of what set out: where the table says how far a gradient gets
BAND = (0.1, 0.5, 0.9)  # quantiles over the sequences


@dataclass(frozen=True)
class Settings:
    """The options of `flow`."""

    data: Data = None
    hidden: Annotated[int, Option(help="H, units of a cell.", min=1)] = 64
    distance: Annotated[int, Option(help="T, steps that a gradient goes back.", min=2)] = 200
    before: Annotated[int, Option(help="Steps that are read before those.", min=0)] = 200
    sequences: Annotated[int, Option(help="N, of the held-out text, each with a loss of its own.", min=1)] = 100
    updates: Annotated[int, Option(help="Of the training, for each cell.", min=1)] = 800
    batch: Annotated[int, Option(help="Streams read side by side while training.", min=1)] = 32
    seq: Annotated[int, Option(help="Steps of a window of truncated BPTT.", min=1)] = 50
    lr: Annotated[float, Option(help="Learning rate of Adam.")] = 3e-3
    seed: Annotated[int, Option(help="Of the weights.", min=0)] = 0

    def __post_init__(self) -> None:
        check_sizes(self, "hidden", "sequences", "updates", "batch", "seq")
        check_sizes(self, "distance", least=2)
        check_sizes(self, "before", least=0)
        check_finite(self, "lr", positive=True)


class CharLM(nn.Module):
    """logits, state = model(ids, state)          ids (T, N), logits (T, N, V): of the character that follows"""

    def __init__(self, cell: str, characters: int, hidden: int) -> None:
        self.embedding = nn.Embedding(characters, EMBEDDING)
        self.cell = CELLS[cell](EMBEDDING, hidden)
        self.output = nn.Linear(hidden, characters)

    def forward(self, ids: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        h, state = self.cell(self.embedding(ids), state)
        return self.output(h), state


def of_last(model: CharLM, ids: Tensor, before: int = 0) -> list[np.ndarray]:
    """`gradients` of each sequence's loss: that of the last of its characters, ids (before + T + 1, N)."""
    found = states(model.cell, model.embedding(ids[:-1]))
    loss = F.cross_entropy(model.output(found[-1][0][0]), ids[-1], reduction="sum")
    return gradients(loss, found[before:])


def measure(settings: Settings) -> list[Row]:
    """Of each cell, at first and trained, and of h and c: the norm by distance, in parts of that of dL/dh_T."""
    size, learned, held_out = _load(settings)
    length = settings.before + settings.distance + 1
    starts = np.linspace(0, len(held_out) - length, settings.sequences).astype(np.int64)
    probed = mg.tensor(held_out[starts + np.arange(length)[:, None]])  # (before + T + 1, N)
    rows = []
    for cell in CELLS:
        mg.manual_seed(settings.seed)
        model = CharLM(cell, size, settings.hidden)
        for when in WHEN:
            if when == "trained":
                _train(model, learned, settings)
            nats = _nats(model, held_out, settings.batch)
            say(f"{cell} {when}: {nats:.3f} nats a character of the held-out text")
            found = of_last(copy.deepcopy(model).double(), probed, settings.before)
            norms = [np.linalg.norm(each, axis=-1) for each in found]
            for quantity, norm in zip("hc", norms, strict=False):
                low, middle, high = np.quantile(norm / norms[0][0], BAND, axis=1)
                rows.append(
                    {
                        "cell": cell,
                        "when": when,
                        "quantity": quantity,
                        "nats": nats,
                        "start": float(np.median(norms[0][0])),
                        "low": low.tolist(),
                        "norm": middle.tolist(),
                        "high": high.tolist(),
                    }
                )
    return rows


def _load(settings: Settings) -> tuple[int, np.ndarray, np.ndarray]:
    """V, and the numbers of the characters to learn and of those held out, the last tenth."""
    size, ids = read(settings.data)
    parts = split(ids)
    (learned,), (held_out,) = parts.train, parts.held_out
    least = max(settings.before + settings.distance + 1, 2 * settings.batch)
    if len(held_out) < least:
        raise UserError(
            f"the last tenth of the text has {len(held_out):,} characters, but --before {settings.before}, --distance "
            f"{settings.distance} and --batch {settings.batch} need {least:,}; take a longer text, or less of these"
        )
    return size, learned, held_out


def _streams(ids: np.ndarray, count: int) -> Tensor:
    """A text as streams side by side, (T, N)."""
    return mg.tensor(ids[: len(ids) // count * count].reshape(count, -1).T)


def _train(model: CharLM, ids: np.ndarray, settings: Settings) -> None:
    """Truncated backpropagation through time, over the text as often as it takes."""
    text, updates, parameters = _streams(ids, settings.batch), 0, list(model.parameters())
    optimizer = optim.Adam(parameters, lr=settings.lr)
    while True:
        for steps, logits, _ in nn.utils.rnn.tbptt(model, text[:-1], k1=settings.seq):
            if updates == settings.updates:
                return
            loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), text[1:][steps].reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, CLIP)
            optimizer.step()
            updates += 1


def _nats(model: CharLM, ids: np.ndarray, count: int) -> float:
    """The mean loss of a character of the text, read in streams from states of zeros."""
    text = _streams(ids, count)
    with mg.no_grad():
        logits, _ = model(text[:-1])
        found = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), text[1:].reshape(-1)).item()
    if not math.isfinite(found):
        raise UserError("the loss is no number any more; try again with a smaller --lr")
    return found


def reach(norm: Sequence[float]) -> int | None:
    """The distance from which on a gradient is below a thousandth, or None if it still is not at the end."""
    above = np.flatnonzero(np.asarray(norm) >= GONE)
    last = int(above[-1]) if len(above) else -1
    return last + 1 if last + 1 < len(norm) else None


def tables(rows: Sequence[Row]) -> list[Table]:
    from bench.tables import make

    last = len(rows[0]["norm"]) - 1
    at = [each for each in AT if each <= last]
    lines = [
        [
            row["cell"].upper(),
            row["when"],
            f"dL/d{row['quantity']}",
            *(f"{row['norm'][each]:.1e}" for each in at),
            f"{rate(row['norm']):.3f}",
            reach(row["norm"]) or f"over {last}",
            f"{row['nats']:.2f}",
        ]
        for row in rows
    ]
    columns = ["Cell", "", "", *(f"at {each}" for each in at), "a step", "below 1/1000 from", "held-out nats"]
    return [
        make(
            f"Norms of the gradient in parts of dL/dh_T, by the distance T - t: the median of the sequences, and its "
            f"factor a step in the second half of {last} steps",
            columns,
            lines,
        )
    ]


def draw(rows: Sequence[Row], folder: Path) -> None:
    title = "The gradient of one character's loss on its way back; bands: 8 of 10 sequences"
    figure, axes = curves.panels(len(WHEN), title, columns=2)
    top = max(max(row["high"]) for row in rows) * 10
    for panel, when in zip(axes, WHEN, strict=True):
        for row in rows:
            if row["when"] == when:
                c = row["quantity"] == "c"
                distance, colour = np.arange(c, len(row["norm"])), curves.OF_CELLS[row["cell"]]
                label = f"{row['cell'].upper()}, dL/d{row['quantity']}" + f": {row['nats']:.2f} nats" * (not c)
                panel.plot(distance, row["norm"][c:], "--" if c else "-", color=colour, label=label)
                panel.fill_between(
                    distance, row["low"][c:], row["high"][c:], color=colour, alpha=0.1 if c else 0.2, linewidth=0
                )
        panel.axhline(GONE, color="0.4", linestyle=":", linewidth=1)
        panel.set_yscale("log")
        panel.set_ylim(1e-12, top)
        panel.set_title(when)
        panel.set_xlabel("distance T - t")
        panel.set_ylabel("norm, in parts of dL/dh_T")
        panel.legend()
    curves.save(figure, folder / PICTURE)


EXPERIMENT = Experiment("flow", str(__doc__), Settings, measure, tables, draw, (PICTURE,))
