"""Many units: how fast a gradient shrinks or grows, beside the largest singular value of W_hh and its spectral radius.

h_t = tanh(W_hh h_t-1 + x_t), with matrices of three kinds, each scaled to some largest singular values. It is looked
at at rest, where h and x are 0, tanh' is 1 and every J_t is W_hh; and driven by random x, where J_t is
diag(1 - h_t²) W_hh.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from rich.table import Table
from typer import Option

import minigrad as mg
from minigrad import Tensor, nn

from ..common import curves
from ..common.checks import check_finite, check_sizes
from ..common.errors import UserError
from ..common.experiments import Experiment, Row
from .back import gradients, states

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURE = "spectrum.png"
KINDS = ("uniform", "Gaussian", "orthogonal")
MOST = 280  # powers of ten that a norm may have: float64 has 308
SHOWN = 20  # distances that a row has a norm of, and one more


@dataclass(frozen=True)
class Settings:
    """The options of `spectrum`."""

    sigma: Annotated[
        list[float], Option(help="The largest singular value that a matrix is scaled to; repeat it for several.")
    ] = field(default_factory=lambda: [0.5, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0])
    hidden: Annotated[int, Option(help="Units.", min=1)] = 64
    steps: Annotated[int, Option(help="Time steps.", min=2)] = 200
    batch: Annotated[int, Option(help="Sequences, and directions of dL / dh_T.", min=1)] = 16
    drive: Annotated[
        list[float],
        Option(
            help="The standard deviation of x, which each unit has its own of; 0 is at rest. Repeat it for several."
        ),
    ] = field(default_factory=lambda: [0.0, 0.1, 1.0])
    seed: Annotated[int, Option(help="Of the matrices, the inputs and the directions.", min=0)] = 0

    def __post_init__(self) -> None:
        check_sizes(self, "hidden", "batch")
        check_sizes(self, "steps", least=2)
        check_finite(self, "sigma", positive=True)
        check_finite(self, "drive")
        if min(self.drive) < 0:
            raise UserError(f"--drive must be 0 or more, got {min(self.drive)}")
        for sigma in self.sigma:
            if abs(np.log10(sigma)) * self.steps > MOST:
                raise UserError(
                    f"{sigma:g}^{self.steps} is beyond float64: take fewer --steps, or a --sigma nearer to 1"
                )


def measure(settings: Settings) -> list[Row]:
    """Of each kind, sigma and drive: the factor a step, and what it is compared with; see `watched`."""
    random = np.random.default_rng([settings.seed, 1])  # not the stream that weights are drawn from
    noise = random.standard_normal((settings.steps, settings.batch, settings.hidden))
    direction = random.standard_normal((settings.batch, settings.hidden))
    mg.manual_seed(settings.seed)
    rows = []
    for kind in KINDS:
        layer = recurrence(settings.hidden)
        weight = layer.weight_hh_l0
        drawn = initial(kind, weight)
        measured = np.linalg.norm(drawn, 2)
        for sigma in settings.sigma:
            with mg.no_grad():
                weight[...] = mg.tensor(drawn * (sigma / measured))
            about = {
                "kind": kind,
                "sigma": sigma,
                "drawn": float(measured),
                **spread(weight.detach().to("cpu").numpy()),
            }
            for drive in settings.drive:
                rows.append({**about, "drive": drive, **watched(layer, drive * noise, direction)})
    return rows


def recurrence(hidden: int) -> nn.RNN:
    """h_t = tanh(x_t + W_hh h_t-1), x as wide as h, in float64."""
    layer = nn.RNN(hidden, hidden, bias=False, dtype=mg.float64)
    with mg.no_grad():
        layer.weight_ih_l0[...] = mg.tensor(np.eye(hidden))
    return layer


def initial(kind: str, weight: Tensor) -> np.ndarray:
    """W_hh (H, H) as one of KINDS; `weight` comes uniform, as nn.RNN makes it."""
    if kind == "Gaussian":
        nn.init.normal_(weight, std=weight.shape[0] ** -0.5)
    elif kind == "orthogonal":
        nn.init.orthogonal_(weight)
    return weight.detach().to("cpu").numpy().copy()


def spread(matrix: np.ndarray) -> Row:
    """rho: the spectral radius; mean: the root of the mean of the squares of the singular values."""
    rho = np.abs(np.linalg.eigvals(matrix)).max()
    return {"rho": float(rho), "mean": float(np.linalg.norm(matrix) / len(matrix) ** 0.5)}


def watched(layer: nn.RNN, x: np.ndarray, direction: np.ndarray) -> Row:
    """What becomes of dL/dh_T = direction (N, H) on its way back through x (T, N, H), from a state of zeros.

    factor: the geometric mean a step, over the half of the way that is far from the loss, and all sequences.
    largest: of all steps and sequences the largest factor.
    slope: the root of the mean of tanh'² there.
    norms: ‖dL/dh_t‖ / ‖dL/dh_T‖, the geometric mean of all sequences, at the distances T - t in `distances`.
    """
    found = states(layer, mg.tensor(x))
    (back,) = gradients((found[-1][0] * mg.tensor(direction)).sum(), found)
    logs = _log_norm(back)  # (T + 1, N), by the distance
    half, steps = len(x) // 2, len(x)
    early = np.stack([h.detach().to("cpu").numpy() for (h,) in found[1 : steps - half + 1]])
    distances = sorted({round(steps * part / SHOWN) for part in range(SHOWN + 1)})
    return {
        "factor": float(np.exp((logs[-1] - logs[half]).mean() / (steps - half))),
        "largest": float(np.exp(np.diff(logs, axis=0).max())),
        "slope": float(np.sqrt(np.mean((1 - early**2) ** 2))),
        "distances": distances,
        "norms": np.exp((logs - logs[0]).mean(1))[distances].tolist(),
    }


def _log_norm(rows: np.ndarray) -> np.ndarray:
    """log ‖row‖, though its squares be beyond float64."""
    size = np.abs(rows).max(-1)
    return np.asarray(np.log(size) + np.log(np.linalg.norm(rows / size[..., None], axis=-1)))


def tables(rows: Sequence[Row]) -> list[Table]:
    from bench.tables import make

    drives = list(dict.fromkeys(row["drive"] for row in rows))
    lines: dict[tuple[str, float], list[Row]] = {}
    for row in rows:
        lines.setdefault((row["kind"], row["sigma"]), []).append(row)
    columns = ["W_hh", "σ", "ρ", *map(place, drives), "largest of any step"]
    title = "The factor of ‖dL/dh_t‖ a step, by the matrix, its largest singular value σ and its spectral radius ρ"
    cells = []
    for (kind, sigma), of in lines.items():
        numbers = [of[0]["rho"], *(row["factor"] for row in of), max(row["largest"] for row in of)]
        cells.append([kind, f"{sigma:g}", *(f"{number:.3f}" for number in numbers)])
    return [make(title, columns, cells)]


def place(drive: float) -> str:
    return f"driven by x of {drive:g}" if drive else "at rest"


def draw(rows: Sequence[Row], folder: Path) -> None:
    drives = list(dict.fromkeys(row["drive"] for row in rows))
    figure, axes = curves.panels(len(drives) + 1, "The factor a step, and the largest singular value", columns=2)
    for panel, drive in zip(axes, drives, strict=False):
        for kind, colour, marker in zip(KINDS, curves.COLOURS, "o^s", strict=False):
            of = [row for row in rows if (row["kind"], row["drive"]) == (kind, drive)]
            panel.plot([r["sigma"] for r in of], [r["factor"] for r in of], marker + "-", color=colour, label=kind)
        ends = [min(row["sigma"] for row in rows), max(row["sigma"] for row in rows)]
        panel.plot(ends, ends, "--", color="0.4", label="the bound: y = σ")
        panel.axhline(1, color="0.4", linewidth=0.8)
        panel.set_title(place(drive))
        panel.set_xlabel("largest singular value σ")
        panel.set_ylabel("factor of ‖dL/dh_t‖ a step")
        panel.set_ylim(0, 1.05 * ends[1])
        panel.legend()
    _by_distance(axes[-1], rows)
    curves.save(figure, folder / PICTURE)


def _by_distance(panel: Axes, rows: Sequence[Row]) -> None:
    """‖dL/dh_t‖ on its way back, of the matrices with the σ nearest to 1.25."""
    sigma = min((row["sigma"] for row in rows), key=lambda sigma: abs(sigma - 1.25))
    drives = list(dict.fromkeys(row["drive"] for row in rows))
    for row in rows:
        if row["sigma"] == sigma:
            number = drives.index(row["drive"])
            panel.plot(
                row["distances"], row["norms"], linestyle=("-", *curves.STYLES)[number % (len(curves.STYLES) + 1)],
                color=curves.COLOURS[KINDS.index(row["kind"])], label=None if number else row["kind"],
            )  # fmt: skip
    panel.set_yscale("log")
    panel.set_title(f"σ = {sigma:g}; dotted, dashed: driven by ever larger x", fontsize="medium")
    panel.set_xlabel("distance T - t")
    panel.set_ylabel("‖dL/dh_t‖ / ‖dL/dh_T‖")
    panel.legend()


EXPERIMENT = Experiment("spectrum", str(__doc__), Settings, measure, tables, draw, (PICTURE,))
