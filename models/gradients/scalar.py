"""One unit with one weight: the gradient through h = tanh(a x + b h + c), and the powers of b.

dh_T / dh_t is the product of b (1 - h²) over the steps between. It is looked at in three places: at rest, with no
input and h = 0, where it is a power of b; settled, with no input, where h has come to a fixed point; and driven by
random inputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from rich.table import Table
from typer import Option

import minigrad as mg
from minigrad import Tensor

from ..common import curves
from ..common.checks import check_finite, check_sizes
from ..common.errors import UserError
from ..common.experiments import Experiment, Row
from .back import rate

PICTURE = "scalar.png"
PLACES = ("at rest", "settled", "driven")
SETTLING = 1000  # steps without an input, from h = 0.5
MOST = 280  # powers of ten that a gradient may have: float64 has 308
WALL = (-0.5, 3.0, 701)  # from, to, how many: the weights b at which the last state is drawn
BEGIN = 0.05  # where it begins


@dataclass(frozen=True)
class Settings:
    """The options of `scalar`."""

    b: Annotated[list[float], Option(help="The weight of the recurrence; repeat it for several.")] = field(
        default_factory=lambda: [0.5, 0.9, 1.0, 1.1, 2.0]
    )
    a: Annotated[float, Option(help="The weight of the input.")] = 1.0
    c: Annotated[float, Option(help="The bias, where there is an input.")] = 0.0
    steps: Annotated[int, Option(help="Time steps.", min=2)] = 50
    seed: Annotated[int, Option(help="Of the inputs, normal with deviation 1.", min=0)] = 0

    def __post_init__(self) -> None:
        check_sizes(self, "steps", least=2)
        check_finite(self, "a", "b", "c")
        largest = max(map(abs, self.b))
        if largest > 1 and np.log10(largest) * self.steps > MOST:
            raise UserError(f"{largest:g}^{self.steps} is beyond float64: take fewer --steps, or a --b nearer to 1")


def states(a: float, b: Tensor, c: float, x: np.ndarray, first: Tensor) -> list[Tensor]:
    """h_0, ..., h_T, each for every weight b side by side: x (T,), b and h (B,)."""
    found = [first.detach().requires_grad_()]
    for x_t in x.tolist():
        found.append(mg.tanh(a * x_t + b * found[-1] + c))
    return found


def measure(settings: Settings) -> list[Row]:
    """Of each place and b: |dh_T / dh_T-k| for k = 0, ..., T; and what becomes of h and of dh_T / db along b."""
    b, rows = mg.tensor(settings.b, dtype=mg.float64), []
    noise = np.random.default_rng(settings.seed).standard_normal(settings.steps)
    with mg.no_grad():
        settled = states(0.0, b, 0.0, np.zeros(SETTLING), mg.full_like(b, 0.5))[-1]
    for place in PLACES:
        driven = place == "driven"
        first = mg.zeros_like(b) if place == "at rest" else settled
        h = states(settings.a, b, settings.c * driven, noise * driven, first)
        found = mg.stack(mg.grad(h[-1].sum(), h[::-1])).abs()  # (T + 1, B)
        for weight, column in zip(settings.b, found.T, strict=True):
            rows.append({"place": place, "b": weight, "gradient": column.tolist()})
    weights = mg.linspace(*WALL, dtype=mg.float64).requires_grad_()
    h = states(0.0, weights, 0.0, np.zeros(settings.steps), mg.full_like(weights, BEGIN))[-1]
    (slope,) = mg.grad(h.sum(), weights)
    return [*rows, {"place": "wall", "b": weights.tolist(), "h": h.tolist(), "slope": slope.tolist()}]


def tables(rows: Sequence[Row]) -> list[Table]:
    from bench.tables import make

    lines: dict[float, list[str]] = {}
    for row in rows:
        if row["place"] != "wall":
            lines.setdefault(row["b"], []).extend([f"{row['gradient'][-1]:.2g}", f"{rate(row['gradient']):.3f}"])
    steps = len(rows[0]["gradient"]) - 1
    columns = [text for place in PLACES for text in (f"{place}: over {steps} steps", "a step")]
    title = (
        f"The size of dh_T / dh_t, of h = tanh(a x + b h + c), over {steps} steps, and its factor a step in the second "
        "half"
    )
    return [
        make(
            title,
            ["b", f"b^{steps}", *columns],
            [[f"{b:g}", f"{abs(b) ** steps:.2g}", *each] for b, each in lines.items()],
        )
    ]


def draw(rows: Sequence[Row], folder: Path) -> None:
    figure, axes = curves.panels(4, "One unit: h = tanh(a x + b h + c)", columns=2)
    for panel, place in zip(axes, PLACES, strict=False):
        for number, row in enumerate(row for row in rows if row["place"] == place):
            distance, colour = np.arange(len(row["gradient"])), curves.COLOURS[number % len(curves.COLOURS)]
            panel.plot(distance, row["gradient"], color=colour, label=f"b = {row['b']:g}")
            panel.plot(distance, abs(row["b"]) ** distance, ":", color=colour)
        panel.set_yscale("log")
        panel.set_title(f"{place}; dotted: the powers of b")
        panel.set_xlabel("distance T - t")
        panel.set_ylabel("|dh_T / dh_t|")
        panel.set_ylim(1e-18, 1e6)
        panel.legend()
    wall = rows[-1]
    axes[3].plot(wall["b"], wall["h"], color=curves.BLUE, label="h_T")
    axes[3].plot(wall["b"], wall["slope"], color=curves.RED, label="dh_T / db")
    axes[3].set_title(f"no input, h_0 = {BEGIN}: what is stored, and the wall")
    axes[3].set_xlabel("b")
    axes[3].legend()
    curves.save(figure, folder / PICTURE)


EXPERIMENT = Experiment("scalar", str(__doc__), Settings, measure, tables, draw, (PICTURE,))
