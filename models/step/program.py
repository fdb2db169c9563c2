"""y = rnn.step(x): two stacked layers that keep their state, a step at a time, against the same two over a sequence.

Outputs and gradients must be the same but for rounding; what a step costs is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from rich.table import Table
from typer import Option

import minigrad as mg
from minigrad import Tensor, nn

from ..common import costs, curves
from ..common.cells import CELLS, refuse_unknown_cell
from ..common.checks import check_sizes
from ..common.console import say
from ..common.experiments import Experiment, Row, laboratory

PICTURE = "step.png"
BATCH = 16
WAYS = {
    "step": "step by step",
    "sequence": "the sequence at once",
    "step, learning": "step by step, and back",
    "sequence, learning": "the sequence at once, and back",
}


@dataclass(frozen=True)
class Settings:
    """The options."""

    cells: Annotated[list[str], Option("--cell", help="rnn, lstm or gru; repeat it for several.")] = field(
        default_factory=lambda: list(CELLS)
    )
    hidden: Annotated[list[int], Option(help="Units of each layer; repeat it for several.")] = field(
        default_factory=lambda: [16, 32, 64, 128, 256]
    )
    steps: Annotated[int, Option(help="Time steps of the sequence.", min=1)] = 64
    rounds: Annotated[int, Option(help="How often each way is timed; the median counts.", min=1)] = 9
    seed: Annotated[int, Option(help="Of the weights and the inputs.", min=0)] = 0

    def __post_init__(self) -> None:
        check_sizes(self, "hidden", "steps")
        for cell in self.cells:
            refuse_unknown_cell(cell)


class Pair:
    """Two layers that step, stacked, and one of two layers with the same weights.          x (T, N, H)"""

    def __init__(self, cell: str, hidden: int, steps: int, seed: int, dtype: Any) -> None:
        mg.manual_seed(seed)
        self.whole = CELLS[cell](hidden, hidden, num_layers=2, dtype=dtype)
        self.rnn1, self.rnn2 = (nn.Stateful(CELLS[cell](hidden, hidden, dtype=dtype)) for _ in range(2))
        weights = self.whole.state_dict()
        for number, rnn in enumerate((self.rnn1, self.rnn2)):
            of = f"_l{number}"
            rnn.layer.load_state_dict({name.replace(of, "_l0"): w for name, w in weights.items() if of in name})
        self.x = mg.randn((steps, BATCH, hidden), dtype=dtype)

    def step(self) -> Tensor:
        self.rnn1.reset()
        self.rnn2.reset()
        found = []
        for x in self.x:
            y1 = self.rnn1.step(x)
            found.append(self.rnn2.step(y1))
        return mg.stack(found)

    def sequence(self) -> Tensor:
        return self.whole(self.x)[0]

    def learn(self, call: Callable[[], Tensor]) -> list[Tensor]:
        """The gradients of the mean square of what is called, of the weights of layer 1, then of layer 2."""
        layers = [self.rnn1, self.rnn2] if call == self.step else [self.whole]
        weights = [p for layer in layers for p in layer.parameters()]
        return list(mg.grad((call() ** 2).mean(), weights))


def measure(settings: Settings) -> list[Row]:
    """Of each cell and size: how far the two ways differ, in float64, and what they take, in float32."""
    return [_compared(settings, cell, hidden) for cell in settings.cells for hidden in settings.hidden]


def _compared(settings: Settings, cell: str, hidden: int) -> Row:
    exact, usual = (Pair(cell, hidden, settings.steps, settings.seed, dtype) for dtype in (mg.float64, mg.float32))
    calls = {
        "step": mg.no_grad()(usual.step),
        "sequence": mg.no_grad()(usual.sequence),
        "step, learning": lambda: usual.learn(usual.step),
        "sequence, learning": lambda: usual.learn(usual.sequence),
    }
    seconds = dict(zip(calls, costs.seconds(list(calls.values()), settings.rounds), strict=True))
    row = {
        "cell": cell,
        "hidden": hidden,
        "outputs": _difference([exact.step()], [exact.sequence()]),
        "gradients": _difference(exact.learn(exact.step), exact.learn(exact.sequence)),
        "seconds": {way: each / settings.steps for way, each in seconds.items()},
    }
    say(f"{cell}, H = {hidden}: gradients differ by {row['gradients']:.1e}, {_times(row):.1f} times as long")
    return row


def _difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest, relative to the largest number of the same array."""
    return max(float(((a - b).abs().max() / b.abs().max()).item()) for a, b in zip(found, expected, strict=True))


def _times(row: Row, learning: str = ", learning") -> float:
    """How much longer it takes step by step."""
    return float(row["seconds"][f"step{learning}"] / row["seconds"][f"sequence{learning}"])


def tables(rows: Sequence[Row]) -> list[Table]:
    from bench.tables import digits, make

    lines = []
    for row in rows:
        micro = [digits(1e6 * row["seconds"][way]) for way in WAYS]
        times = [f"{_times(row, learning):.1f}×" for learning in ("", ", learning")]
        lines.append([row["cell"], row["hidden"], f"{row['outputs']:.0e}", f"{row['gradients']:.0e}",
                      *micro[:2], times[0], *micro[2:], times[1]])  # fmt: skip
    columns = ["cell", "H", "outputs differ by", "gradients by", "a step, µs", "of a sequence, µs", "times",
               "with gradient: a step", "of a sequence", "times, with gradient"]  # fmt: skip
    return [
        make(f"Two stacked layers, {BATCH} sequences: step by step, and the whole sequence at once", columns, lines)
    ]


def draw(rows: Sequence[Row], folder: Path) -> None:
    cells = list(dict.fromkeys(row["cell"] for row in rows))
    figure, axes = curves.panels(len(cells), f"What a time step takes: two stacked layers, {BATCH} sequences")
    for panel, cell in zip(axes, cells, strict=True):
        mine = [row for row in rows if row["cell"] == cell]
        for number, (way, called) in enumerate(WAYS.items()):
            heights = [1e6 * row["seconds"][way] for row in mine]
            style = "o-" if way.startswith("step") else "s--"
            panel.plot([row["hidden"] for row in mine], heights, style, color=curves.COLOURS[number // 2], label=called)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.xaxis.set_major_formatter("{x:.0f}")
        panel.set_xlabel("units H")
        panel.set_ylabel("µs a time step")
        panel.set_title(cell)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(WAYS))
    curves.save(figure, folder / PICTURE)


EXPERIMENTS = (Experiment("step", __doc__, Settings, measure, tables, draw, (PICTURE,)),)

app = laboratory("step", *EXPERIMENTS, about=__doc__)
