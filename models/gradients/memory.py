"""Who remembers: networks of one size learn to add or to copy over a lag. Who succeeds, and after how many updates?

A network reads a sequence with one recurrent layer, and a linear layer says the answer from its h. Every batch is
drawn anew, so that the batches since the last look are ones that nothing was learned from before: a run has succeeded,
and ends, at the first look at which their mean has reached the task's goal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from typer import Option

import minigrad as mg
from minigrad import Tensor, nn, optim

from ..common.checks import check_finite, check_sizes
from ..common.console import say
from ..common.errors import UserError
from ..common.experiments import Experiment, Row
from ..common.jobs import Jobs, side_by_side
from .memory_shown import PICTURE, draw, tables
from .tasks import TASKS, Task

LOOK = 100  # updates between two looks
CLIP = 1.0  # the largest norm of the gradient
# The gradient with respect to x, so many steps before the answers, is compared at two places of longer sequences.
NEAR, FAR, LONG = 20, 50, 60

CELLS: dict[str, Callable[[int, int], nn.Module]] = {
    "rnn": nn.RNN,
    "rnn-orthogonal": lambda inputs, hidden: nn.RNN(inputs, hidden, recurrent_init="orthogonal"),
    "lstm": nn.LSTM,
    "lstm-forget-1": lambda inputs, hidden: nn.LSTM(inputs, hidden, forget_bias=1.0),
    "lstm-forget-5": lambda inputs, hidden: nn.LSTM(inputs, hidden, forget_bias=5.0),
    "gru": nn.GRU,
}


@dataclass(frozen=True)
class Settings:
    """The options of `memory`."""

    task: Annotated[str, Option(help="adding or copying.")] = "adding"
    lag: Annotated[int, Option(help="Adding: time steps; copying: blanks between.", min=2)] = 10
    cells: Annotated[list[str], Option(help=f"Of {', '.join(CELLS)}; repeat it for several.")] = field(
        default_factory=lambda: list(CELLS)
    )
    seeds: Annotated[int, Option(help="Runs of each, with seeds 0, 1, ...", min=1)] = 3
    updates: Annotated[int, Option(help="Steps of the optimizer, at most.", min=1)] = 2000
    hidden: Annotated[int, Option(help="Units of the layer.", min=1)] = 32
    batch: Annotated[int, Option(help="Sequences in an update.", min=1)] = 32
    lr: Annotated[float, Option(help="Learning rate of Adam.")] = 5e-3
    jobs: Jobs = 2

    def __post_init__(self) -> None:
        for name, given, known in (("task", [self.task], TASKS), ("network", self.cells, CELLS)):
            for each in given:
                if each not in known:
                    raise UserError(f"there is no {name} {each!r}; choose from {', '.join(known)}")
        check_sizes(self, "lag", least=2)
        check_sizes(self, "seeds", "hidden", "batch", "jobs")
        check_sizes(self, "updates", most=1_000_000)
        check_finite(self, "lr", positive=True)


class Network(nn.Module):
    """said = network(x): of x (T, N, D) what is said at the last A steps (A, N, O)."""

    def __init__(self, cell: str, hidden: int, task: Task) -> None:
        self.answers = task.answers
        self.hidden = CELLS[cell](task.inputs, hidden)
        self.output = nn.Linear(hidden, task.outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.hidden(x)[0][-self.answers :])


def measure(settings: Settings) -> list[Row]:
    """A row for each network and seed: whether it has succeeded, after how many updates, and its curve."""
    each = [(settings, cell, seed) for cell in dict.fromkeys(settings.cells) for seed in range(settings.seeds)]
    rows = []
    for row in side_by_side(run, each, settings.jobs):
        rows.append(row)
        told = f"{row['updates']:,} updates, {TASKS[row['task']].called} {row['figure']:.3f}, {row['seconds']:.1f} s"
        say(f"{row['task']} over {row['lag']}, {row['cell']}, seed {row['seed']}: {told}")
    return rows


def run(settings: Settings, cell: str, seed: int) -> Row:
    """Train one network."""
    started, task = time.perf_counter(), TASKS[settings.task]
    mg.manual_seed(seed)
    network = Network(cell, settings.hidden, task)
    first = factor(network, task)
    looks = []
    for update, loss, figure in trained(network, task, settings, seed):
        looks.append((update, loss))
        if succeeded := task.reached(figure):
            break
    return {
        "task": settings.task,
        "lag": settings.lag,
        "cell": cell,
        "seed": seed,
        "parameters": sum(p.size for p in network.parameters()),
        "budget": settings.updates,
        "succeeded": succeeded,
        "updates": update,
        "figure": round(figure, 6),
        "reference": task.reference,
        "factors": [first, factor(network, task)],
        "looks": [update for update, _ in looks],
        "losses": [round(loss, 6) for _, loss in looks],
        "seconds": round(time.perf_counter() - started, 2),
    }


def trained(network: Network, task: Task, settings: Settings, seed: int) -> Iterator[tuple[int, float, float]]:
    """At each look the updates that were made, and the means since the last look of the loss and of the figure."""
    rng, learned = np.random.default_rng([seed, 1]), list(network.parameters())
    optimizer = optim.Adam(learned, lr=settings.lr)
    found: list[tuple[Tensor, Tensor]] = []
    for update in range(1, settings.updates + 1):
        x, y = map(mg.tensor, task.batch(settings.lag, settings.batch, rng))
        optimizer.zero_grad()
        said = network(x)
        loss = task.loss(said, y)
        loss.backward()
        nn.utils.clip_grad_norm_(learned, CLIP)
        optimizer.step()
        found.append((loss.detach(), task.figure(said.detach(), y)))
        if update % LOOK == 0 or update == settings.updates:
            losses, figures = zip(*found, strict=True)
            yield update, mg.stack(losses).mean().item(), mg.stack(figures).mean().item()
            found.clear()


def factor(network: Network, task: Task) -> float | None:
    """What becomes of the loss's gradient with respect to x_t on its way back, a step: the geometric mean from NEAR to
    FAR steps before the answers, over 64 sequences; None if nothing arrives that a number of 32 bits can tell."""
    arrays = task.batch(LONG, 64, np.random.default_rng([0, 2]))
    x, y = mg.tensor(arrays[0], requires_grad=True), mg.tensor(arrays[1])
    (gradient,) = mg.grad(task.loss(network(x), y), x)
    norms = np.linalg.norm(gradient.to("cpu").numpy().astype(np.float64), axis=(1, 2))  # (T,)
    near, far = (norms[-task.answers - distance] for distance in (NEAR, FAR))
    return round(float((far / near) ** (1 / (FAR - NEAR))), 4) if near and far else None


EXPERIMENT = Experiment("memory", str(__doc__), Settings, measure, tables, draw, (PICTURE,))
