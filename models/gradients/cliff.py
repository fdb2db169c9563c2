"""The update with the largest gradient, from near."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

import minigrad as mg

from ..common import curves
from ..common.experiments import Row
from .back import states
from .characters import Characters, mean_loss

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHORTEST, POINTS = 1e-8, 71  # of the lengths of steps


def look(model: Characters, batch: np.ndarray, lr: float, clips: Sequence[float]) -> Row:
    """The loss before a step of SGD and after it, as it is and clipped; and along the way, at some lengths.

    The model is left at the end of the way.

    sigma, rho: the largest singular value and the spectral radius of W_hh.
    states: ‖dL/dh_t‖ for t = 0, ..., T, of all sequences together.
    """
    loss, gradients, states = backward(model, batch)
    norm = float(np.sqrt(sum((g**2).sum() for g in gradients)))
    start = [p.detach().to("cpu").numpy().copy() for p in model.parameters()]
    matrix = model.rnn.weight_hh_l0.detach().to("cpu").numpy()

    def after(length: float) -> float | None:
        with mg.no_grad():
            for p, value, g in zip(model.parameters(), start, gradients, strict=True):
                p[...] = mg.tensor(value - (length / norm) * g)
            return number(model.loss(batch).item())

    longest = lr * max(norm, *clips, 1.0)
    lengths = np.geomspace(min(SHORTEST, longest), longest, POINTS).tolist()
    return {
        "norm": norm,
        "sigma": largest_of(model),
        "rho": number(np.abs(np.linalg.eigvals(matrix)).max()),
        "before": loss,
        "after": after(lr * norm),
        "clipped": [[clip, after(lr * min(norm, clip))] for clip in clips],
        "lengths": lengths,
        "losses": [after(length) for length in lengths],
        "states": list(map(number, states)),
    }


def largest_of(model: Characters) -> float | None:
    """The largest singular value of W_hh, if it is a number."""
    matrix = model.rnn.weight_hh_l0.detach().to("cpu").numpy()
    return number(np.linalg.norm(matrix, 2)) if np.isfinite(matrix).all() else None


def number(found: Any) -> float | None:
    """What a file of results can hold."""
    return float(found) if math.isfinite(found) else None


def backward(model: Characters, batch: np.ndarray) -> tuple[float, list[np.ndarray], list[float]]:
    """A batch's loss, its gradient with respect to the parameters, and the norms ‖dL/dh_t‖."""
    h = [h for (h,) in states(model.rnn, model.embedding(mg.tensor(batch[:-1])))]
    loss = mean_loss(model.output(mg.concatenate(h[1:])), batch)
    parameters = list(model.parameters())
    found = [g.to("cpu").numpy() for g in mg.grad(loss, [*parameters, *h])]
    return loss.item(), found[: len(parameters)], [float(np.linalg.norm(g)) for g in found[len(parameters) :]]


def tables(rows: Sequence[Row]) -> list[Table]:
    """Of each run without a clip, what its largest gradient did, and would have done."""
    from bench.tables import digits, make

    of = [row for row in rows if "cliff" in row]
    clips = [clip for clip, _ in of[0]["cliff"]["clipped"]] if of else []
    columns = ["gain", "learning rate", "seed", "update", "norm", "σ of W_hh", "ρ of W_hh", "loss before", "after"]
    cells = []
    for row in of:
        at = row["cliff"]
        losses = [at["before"], at["after"], *(loss for _, loss in at["clipped"])]
        cells.append([
            f"{row['gain']:g}", f"{row['lr']:g}", row["seed"], at["update"], digits(at["norm"], 2),
            digits(at["sigma"]), digits(at["rho"]), *map(digits, losses),
        ])  # fmt: skip
    columns += [f"clipped to {clip:g}" for clip in clips]
    return [make("The update with the largest gradient of each run without a clip", columns, cells)] if of else []


def draw(rows: Sequence[Row], path: Path) -> None:
    """Of each gain, the largest gradient of all: the loss along the step, and the gradient along time."""
    largest: dict[float, Row] = {}
    for row in rows:
        if "cliff" in row and row["cliff"]["norm"] > largest.get(row["gain"], {"cliff": {"norm": -1}})["cliff"]["norm"]:
            largest[row["gain"]] = row
    figure, axes = curves.panels(2 * max(len(largest), 1), "The update with the largest gradient", columns=2)
    for row, along, back in zip(largest.values(), axes[::2], axes[1::2], strict=False):
        _along(along, row)
        back.plot(np.array(row["cliff"]["states"], dtype=np.float64), color=curves.BLUE)
        back.set_yscale("log")
        back.set_title("its gradient on the way back through time")
        back.set_xlabel("t")
        back.set_ylabel("‖dL/dh_t‖")
    curves.save(figure, path)


def _along(panel: Axes, row: Row) -> None:
    at = row["cliff"]
    lengths, losses = np.array(at["lengths"]), np.array(at["losses"], dtype=np.float64)  # None is NaN
    lowest = np.nanmin(losses)
    panel.plot(lengths, losses, color="0.4")
    linear = at["before"] - at["norm"] * lengths
    panel.plot(lengths[linear > lowest], linear[linear > lowest], "--", color="0.4", label="by the gradient alone")
    panel.axhline(at["before"], color="0.4", linestyle=":", label="before the step")
    marks = [("not clipped", at["norm"], at["after"])]
    marks += [(f"clipped to {clip:g}", min(at["norm"], clip), loss) for clip, loss in at["clipped"]]
    for number, (label, norm, loss) in enumerate(marks):
        loss = math.nan if loss is None else loss
        panel.plot(row["lr"] * norm, loss, "os^vD"[number % 5], color=curves.COLOURS[number % 6], label=label)
    panel.set_xscale("log")
    panel.set_title(f"gain {row['gain']:g}, learning rate {row['lr']:g}, seed {row['seed']}, update {at['update']}")
    panel.set_xlabel("length of the step")
    panel.set_ylabel("loss, nats per character")
    panel.legend()
