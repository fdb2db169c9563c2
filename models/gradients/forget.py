"""The forget gate: the gradient's highway through an LSTM by the bias of that gate, and what it lets an LSTM learn.

Through c alone, dc_T / dc_t is the product of the forget gates between. It is put beside the whole derivative, and
beside sigmoid(bias) to the power of the distance, at initialisation with random inputs. Then LSTMs with these biases
learn to tell the sign of the first input after some steps of noise.

T: time steps   N: sequences   D: numbers in an input   H: hidden size
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from rich.table import Table
from typer import Option

import minigrad as mg
from minigrad import Tensor, nn
from minigrad.nn import functional as F

from ..common import curves
from ..common.checks import check_finite, check_sizes
from ..common.experiments import Experiment, Row
from . import sign
from .back import gradients, rate, states

PICTURE = "forget.png"
INPUTS = 16  # D, where the gradient is measured; the task has one


@dataclass(frozen=True)
class Settings:
    """The options of `forget`."""

    bias: Annotated[list[float], Option(help="Of the forget gate; repeat it for several.")] = field(
        default_factory=lambda: [0.0, 1.0, 2.0, 4.0]
    )
    hidden: Annotated[int, Option(help="H, where the gradient is measured.", min=1)] = 64
    distance: Annotated[int, Option(help="T, steps that a gradient goes back.", min=2)] = 100
    before: Annotated[int, Option(help="Steps that are read before those.", min=0)] = 200
    sequences: Annotated[int, Option(help="N, of random inputs.", min=1)] = 32
    delay: Annotated[list[int], Option(help="Steps of noise in the task; repeat it for several.")] = field(
        default_factory=lambda: [20, 50]
    )
    units: Annotated[int, Option(help="H of the LSTM that learns the task.", min=1)] = 16
    updates: Annotated[int, Option(help="Of the task, at most.", min=1)] = 600
    seeds: Annotated[int, Option(help="How many LSTMs of each bias learn the task.", min=1)] = 3

    def __post_init__(self) -> None:
        check_finite(self, "bias")
        check_sizes(self, "delay", "hidden", "sequences", "units", "updates", "seeds")
        check_sizes(self, "distance", least=2)
        check_sizes(self, "before", least=0)


def forget_gates(lstm: nn.LSTM, x: Tensor, states: Sequence[tuple[Tensor, ...]]) -> np.ndarray:
    """f_1, ..., f_T, those that made each state of the one before: (T, N, H); x (T, N, D)."""
    rows = slice(lstm.hidden_size, 2 * lstm.hidden_size)  # of the gates i, f, g, o
    h = mg.concatenate([h for h, _ in states[:-1]], axis=0)
    inputs = F.linear(x, lstm.weight_ih_l0[rows], lstm.bias_ih_l0[rows])
    gates = mg.sigmoid(inputs + F.linear(h, lstm.weight_hh_l0[rows], lstm.bias_hh_l0[rows]))
    return gates.detach().to("cpu").numpy()


def highway(lstm: nn.LSTM, x: Tensor, v: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For L = Σ v ⊙ c_T: dL/dc_t, and v ⊙ f_T ⊙ ... ⊙ f_t+1, by the distance T - t, (T + 1, N, H) each; and f_t.

    Args:
        x: (T, N, D)
        v: (N, H)
    """
    found = states(lstm, x)
    whole = gradients((found[-1][1][0] * v).sum(), found)[1]
    gates = forget_gates(lstm, x, found)
    alone = v.to("cpu").numpy() * np.cumprod([np.ones_like(gates[0]), *gates[::-1]], axis=0)
    return whole, alone, gates


def measure(settings: Settings) -> list[Row]:
    """Of each bias: the norms by the distance, medians of the sequences, in parts of that at c_T; then the task."""
    return [_gradient(settings, bias) for bias in settings.bias] + [
        sign.learn(settings.units, settings.updates, bias, delay, seed)
        for delay in settings.delay
        for bias in settings.bias
        for seed in range(settings.seeds)
    ]


def _gradient(settings: Settings, bias: float) -> Row:
    rng = np.random.default_rng([0, 3])
    mg.manual_seed(0)
    lstm = nn.LSTM(INPUTS, settings.hidden, forget_bias=bias, dtype=mg.float64)
    x = mg.tensor(rng.standard_normal((settings.before + settings.distance, settings.sequences, INPUTS)))
    v = mg.tensor(rng.standard_normal((settings.sequences, settings.hidden)))
    *found, gates = highway(lstm, x, v)
    norms = [np.linalg.norm(each[: settings.distance + 1], axis=-1) for each in found]
    whole, alone = (np.median(norm / norm[0], axis=1).tolist() for norm in norms)
    gate = float(gates[-settings.distance :].mean())
    return {"kind": "gradient", "bias": bias, "gate": gate, "whole": whole, "gates": alone}


def sigmoid(x: float) -> float:
    return 0.5 * (1 + math.tanh(x / 2))


def half_life(factor: float) -> float | None:
    """The steps in which a factor a step halves a gradient; None where it does not shrink.

    >>> half_life(0.5), half_life(0.0), half_life(1.0)
    (1.0, 0.0, None)
    """
    if not 0 < factor < 1:
        return 0.0 if factor == 0 else None
    return math.log(0.5) / math.log(factor)


def _of_task(rows: Sequence[Row], **wanted: float) -> list[Row]:
    return [row for row in rows if row["kind"] == "task" and all(row[name] == wanted[name] for name in wanted)]


def _delays(rows: Sequence[Row]) -> list[int]:
    return list(dict.fromkeys(row["delay"] for row in rows if row["kind"] == "task"))


def tables(rows: Sequence[Row]) -> list[Table]:
    from bench.tables import make

    found = [row for row in rows if row["kind"] == "gradient"]
    last = len(found[0]["whole"]) - 1
    at = min(50, last)
    flow = [
        [
            f"{row['bias']:g}",
            f"{sigmoid(row['bias']):.3f}",
            f"{row['gate']:.3f}",
            f"{rate(row['gates']):.3f}",
            f"{rate(row['whole']):.3f}",
            _shown(half_life(rate(row["whole"])), last),
            f"{sigmoid(row['bias']) ** at:.1e}",
            f"{row['gates'][at]:.1e}",
            f"{row['whole'][at]:.1e}",
        ]
        for row in found
    ]
    columns = ["Bias", "sigmoid(bias)", "mean gate", "Π f: a step", "dL/dc: a step", "half-life, steps"]
    columns += [f"sigmoid(bias)^{at}", f"Π f over {at}", f"dL/dc over {at}"]
    delays, seeds = _delays(rows), len({row["seed"] for row in rows if row["kind"] == "task"})
    learned = [
        [f"{row['bias']:g}", *(_told(_of_task(rows, bias=row["bias"], delay=delay)) for delay in delays)]
        for row in found
    ]
    return [
        make(
            "The gradient at initialisation, the median of the sequences in parts of dL/dc_T; a step: in the second "
            f"half of {last}",
            columns,
            flow,
        ),
        make(
            f"Updates until {sign.ENOUGH:.0%} of the signs are told right, for each of {seeds} seeds; – where "
            f"{next(row['budget'] for row in rows if row['kind'] == 'task')} are not enough",
            ["Bias", *(f"{delay} steps of noise" for delay in delays)],
            learned,
        ),
    ]


def _shown(half_life: float | None, last: int) -> str:
    """No further than it was measured."""
    return f"over {last}" if half_life is None or half_life > last else f"{half_life:.1f}"


def _told(rows: Sequence[Row]) -> str:
    return ", ".join("–" if row["learned"] is None else str(row["learned"]) for row in rows)


def draw(rows: Sequence[Row], folder: Path) -> None:
    found, delays = [row for row in rows if row["kind"] == "gradient"], _delays(rows)
    title = "The bias of the forget gate: the gradient on its way back, and what is learned by it"
    figure, axes = curves.panels(1 + len(delays), title)
    colour = functools.cache(lambda bias: curves.COLOURS[[row["bias"] for row in found].index(bias) % 6])
    for row in found:
        bias, distance = row["bias"], np.arange(len(row["whole"]))
        axes[0].plot(distance, row["whole"], color=colour(bias), label=f"bias {bias:g}")
        axes[0].plot(distance, row["gates"], "--", color=colour(bias))
        axes[0].plot(distance, sigmoid(bias) ** distance, ":", color=colour(bias))
    axes[0].set_yscale("log")
    axes[0].set_ylim(1e-12, 10)
    axes[0].set_title("dL/dc; dashed: Π f; dotted: powers of sigmoid(bias)")
    axes[0].set_xlabel("distance T - t")
    axes[0].set_ylabel("norm, in parts of dL/dc_T")
    axes[0].legend(loc="lower left")
    for panel, delay in zip(axes[1:], delays, strict=True):
        for row in _of_task(rows, delay=delay):
            updates = sign.LOOK * np.arange(len(row["right"]))
            panel.plot(updates, row["right"], color=colour(row["bias"]), linewidth=1)
            if row["learned"] is not None:
                panel.plot(updates[-1], row["right"][-1], "o", color=colour(row["bias"]), markersize=5)
        panel.set_title(f"the sign before {delay} steps of noise; each line a seed")
        panel.set_xlabel("updates")
        panel.set_ylabel("share told right")
        panel.set_ylim(0.4, 1.03)
    curves.save(figure, folder / PICTURE)


EXPERIMENT = Experiment("forget", str(__doc__), Settings, measure, tables, draw, (PICTURE,))
