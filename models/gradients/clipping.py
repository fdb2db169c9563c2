"""Exploding gradients, and clipping them by their norm.

A plain recurrent network learns a text, character by character, by SGD; W_hh begins orthogonal, times a gain. Of each
update the loss and the gradient's norm before clipping are kept; and the update with the largest gradient is looked at
from near: how the loss changes along the step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from rich.table import Table
from typer import Option

import minigrad as mg
from minigrad import nn, optim

from ..common import console, curves
from ..common.checks import check_finite, check_sizes
from ..common.errors import UserError
from ..common.experiments import Experiment, Row
from ..common.options import Data
from . import cliff
from .characters import Characters, read

PICTURES = ("clipping.png", "cliff.png")
GROUPS = 40  # of updates that a row has a mean loss and a largest norm of
STEEPEST = 1e6  # a learning rate: no picture shows what a larger one does
TICKS = (1, 2, 3, 4, 5, 7, 10, 20, 30, 50, 100)  # of losses
LAST = 20  # updates whose mean is the loss at the end


@dataclass(frozen=True)
class Settings:
    """The options of `clipping`."""

    gain: Annotated[list[float], Option(help="All singular values of W_hh at the start; repeat it for several.")] = (
        field(default_factory=lambda: [1.0, 2.0])
    )
    lr: Annotated[list[float], Option(help="The learning rate of SGD; repeat it for several.")] = field(
        default_factory=lambda: [2.0]
    )
    clip: Annotated[
        list[float], Option(help="The largest norm of the gradient; 0 is no clipping. Repeat it for several.")
    ] = field(default_factory=lambda: [0.0, 5.0, 1.0, 0.25])
    updates: Annotated[int, Option(help="Steps of the optimizer.", min=1)] = 120
    steps: Annotated[int, Option(help="Characters that a gradient goes back through.", min=2)] = 100
    batch: Annotated[int, Option(help="Sequences in an update.", min=1)] = 8
    hidden: Annotated[int, Option(help="Units, and the size of an embedding.", min=1)] = 64
    seeds: Annotated[int, Option(help="Runs of each, with seeds 0, 1, ...", min=1)] = 3
    data: Data = None

    def __post_init__(self) -> None:
        check_sizes(self, "steps", least=2)
        check_sizes(self, "batch", "hidden")
        check_finite(self, "gain", "lr", positive=True)
        check_finite(self, "clip")
        if max(self.lr) > STEEPEST:
            raise UserError(f"--lr must be at most {STEEPEST:,.0f}, got {max(self.lr):g}")
        if min(self.clip) < 0:
            raise UserError(f"--clip must be 0, for none, or more, got {min(self.clip)}")


def measure(settings: Settings) -> list[Row]:
    """Of each gain, learning rate, clip and seed: what became of loss and norm; of each without a clip, its cliff."""
    _, ids = read(settings.data)
    if len(ids) <= settings.steps:
        raise UserError(f"the text has {len(ids)} characters, too few for --steps {settings.steps}")
    rows = []
    for gain, lr, clip in itertools.product(settings.gain, settings.lr, settings.clip):
        console.say(f"gain {gain:g}, learning rate {lr:g}, clip {name(clip)}")
        rows += [run(settings, ids, gain, lr, clip, seed) for seed in range(settings.seeds)]
    return rows


def run(settings: Settings, ids: np.ndarray, gain: float, lr: float, clip: float, seed: int) -> Row:
    """One run. Those with the same seed begin with the same weights and see the same batches."""
    mg.manual_seed(seed)
    random = np.random.default_rng(seed)  # of places in a text: that weights are of the same stream does not matter
    model = Characters(int(ids.max()) + 1, settings.hidden, gain)
    optimizer = optim.SGD(model.parameters(), lr=lr)
    found: list[tuple[float, float]] = []
    worst: tuple[float, int, Any, np.ndarray] | None = None
    for number in range(settings.updates):
        starts = random.integers(len(ids) - settings.steps, size=settings.batch)
        batch = ids[starts + np.arange(settings.steps + 1)[:, None]]  # (T + 1, N)
        before = None if clip else {name: value.copy() for name, value in model.state_dict().items()}
        loss, norm = update(model, optimizer, batch, clip)
        if not math.isfinite(loss) or not math.isfinite(norm):
            break
        found.append((loss, norm))
        if not clip and (worst is None or norm > worst[0]):
            worst = norm, number + 1, before, batch
    row = {"gain": gain, "lr": lr, "clip": clip, "seed": seed, **summary(found, settings.updates)}
    row["sigma"] = None if row["lost"] is not None else cliff.largest_of(model)
    if worst is not None:
        model.load_state_dict(worst[2])
        row["cliff"] = {"update": worst[1], **cliff.look(model, worst[3], lr, [c for c in settings.clip if c])}
    return row


def update(model: Characters, optimizer: optim.SGD, batch: np.ndarray, clip: float) -> tuple[float, float]:
    """One step of the optimizer: the loss, and the norm of the gradient before it is clipped."""
    optimizer.zero_grad()
    loss = model.loss(batch)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip or math.inf)
    optimizer.step()
    return loss.item(), norm.item()


def summary(found: Sequence[tuple[float, float]], updates: int) -> Row:
    """What became of losses and norms (of as many updates as were made), in numbers and as thinned curves.

    above: updates with a loss above the first one. lost: the update at which there was no number any more, or None.
    """
    losses, norms = np.array(found, dtype=np.float64).reshape(-1, 2).T
    groups = list(np.array_split(np.arange(updates), min(GROUPS, updates)))
    of = [group[group < len(losses)] for group in groups]
    return {
        "lost": len(losses) if len(losses) < updates else None,
        "first": _or_none(losses[:1], np.mean),
        "final": None if len(losses) < updates else _or_none(losses[-LAST:], np.mean),
        "worst": _or_none(losses, np.max),
        "above": int((losses > losses[:1]).sum()),
        "median": _or_none(norms, np.median),
        "largest": _or_none(norms, np.max),
        "updates": [float(group.mean()) + 1 for group in groups],
        "losses": [_or_none(losses[group], np.mean) for group in of],
        "norms": [_or_none(norms[group], np.max) for group in of],
    }


def _or_none(values: np.ndarray, reduce: Any) -> float | None:
    return cliff.number(reduce(values)) if len(values) else None


def tables(rows: Sequence[Row]) -> list[Table]:
    from bench.tables import digits, make

    columns = ["gain", "learning rate", "clip", "seed", "median norm", "largest norm", "largest / median"]
    columns += ["largest loss", "updates above the first loss", "σ of W_hh at the end", "loss at the end"]
    cells = []
    for row in rows:
        ratio = row["largest"] / row["median"] if row["median"] else None
        cells.append([
            f"{row['gain']:g}", f"{row['lr']:g}", name(row["clip"]), row["seed"], digits(row["median"], 2),
            digits(row["largest"], 2), digits(ratio, 2), digits(row["worst"]), row["above"], digits(row["sigma"]),
            f"no number at {row['lost'] + 1}" if row["lost"] is not None else digits(row["final"]),
        ])  # fmt: skip
    return [make("Losses in nats per character, and norms before clipping", columns, cells), *cliff.tables(rows)]


def name(clip: float) -> str:
    return f"{clip:g}" if clip else "none"


def draw(rows: Sequence[Row], folder: Path) -> None:
    cases, clips = dict.fromkeys((row["gain"], row["lr"]) for row in rows), dict.fromkeys(row["clip"] for row in rows)
    figure, axes = curves.panels(
        2 * len(cases),
        "With and without clipping: median and range of the seeds; of each few updates the mean loss, the largest norm",
        columns=2,
    )
    for ((gain, lr), key), panel in zip(itertools.product(cases, ("losses", "norms")), axes, strict=True):
        for clip, colour, style in zip(clips, itertools.cycle(curves.COLOURS), itertools.cycle(("-", *curves.STYLES))):
            of = [row for row in rows if (row["gain"], row["lr"], row["clip"]) == (gain, lr, clip)]
            updates, values = of[0]["updates"], np.array([row[key] for row in of], dtype=np.float64)  # None is NaN
            label = f"clip {clip:g}" if clip else "not clipped"
            panel.plot(updates, np.median(values, 0), linestyle=style, color=colour, label=label)
            panel.fill_between(updates, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)
        panel.set_yscale("log")
        if key == "losses":
            limits = panel.get_ylim()
            panel.set_yticks(TICKS, [f"{tick}" for tick in TICKS])
            panel.set_yticks([], minor=True)
            panel.set_ylim(limits)
        panel.set_title(f"gain {gain:g}, learning rate {lr:g}")
        panel.set_xlabel("updates")
        panel.set_ylabel("loss, nats per character" if key == "losses" else "gradient's norm before clipping")
        panel.legend()
    curves.save(figure, folder / PICTURES[0])
    cliff.draw(rows, folder / PICTURES[1])


EXPERIMENT = Experiment("clipping", str(__doc__), Settings, measure, tables, draw, PICTURES)
