"""Training, as the small programs share it: a task, the options that every one has, and a run from start to end.

The learning rate falls from --lr to 0 by half a cosine, the optimizer is AdamW, the gradient is clipped by its norm.
What is held out is looked at on the way, for the curves alone: nothing is chosen by it, and the weights at the end are
those that are judged and saved.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from typer import Option

import minigrad as mg
from minigrad import nn, optim

from . import journal, runs, saved
from .console import say
from .errors import UserError
from .options import flag
from .stop import Stop

DATA, MODEL, TRAINING = "The data", "The model", "Training"  # panels of options
LARGEST = 1 << 16  # batch
READ_EVERY = 10  # updates between two looks at the loss; each look makes the host wait for the device

Updates = Annotated[int, Option(help="Steps of the optimizer.", min=1, rich_help_panel=TRAINING)]
Batch = Annotated[int, Option(help="Examples in an update.", min=1, rich_help_panel=TRAINING)]
LearningRate = Annotated[
    float, Option(help="Learning rate of AdamW; half a cosine brings it to 0.", rich_help_panel=TRAINING)
]
WeightDecay = Annotated[
    float, Option(help="AdamW's: each update shrinks matrices by lr times this.", min=0, rich_help_panel=TRAINING)
]
Clip = Annotated[
    float, Option(help="Largest norm of the gradient of all parameters together.", rich_help_panel=TRAINING)
]
Seed = Annotated[int, Option(help="The same seed gives the same model.", min=0, rich_help_panel=TRAINING)]
EvalEvery = Annotated[
    int, Option(help="Updates between two looks at what is held out.", min=1, rich_help_panel=TRAINING)
]


@dataclass(frozen=True)
class Training:
    """The options of every program's `train`; a program adds its own, and defaults that suit it."""

    updates: Updates = 1000
    batch: Batch = 64
    lr: LearningRate = 3e-3
    weight_decay: WeightDecay = 0.01
    clip: Clip = 1.0
    seed: Seed = 0
    eval_every: EvalEvery = 50

    def __post_init__(self) -> None:
        for name in ("lr", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"{flag(name)} must be positive, got {getattr(self, name)}")
        if self.batch > LARGEST:
            raise UserError(f"--batch must be at most {LARGEST:,}, got {self.batch:,}")
        if not 0 <= self.weight_decay < math.inf:
            raise UserError(f"--weight-decay must be 0 or more, got {self.weight_decay}")


class Task(ABC):
    """What a program learns: data, a model, and how good it is.

    Attributes:
        model: made of `model.options`, a dataclass, which is saved with it.
        data: the data, in a line.
        device: where the model is.
        seconds: of training that had to be done before.
    """

    model: nn.Module
    data: str
    device: str
    seconds: float = 0.0

    def tensor(self, array: np.ndarray) -> mg.Tensor:
        """An array where the model is."""
        return mg.tensor(array, device=self.device)

    @abstractmethod
    def loss(self) -> mg.Tensor:
        """Of the next batch, in nats."""

    @abstractmethod
    def judge(self) -> dict[str, float]:
        """Figures on what is held out, among them "nats", the loss. The model is in eval mode, and nothing recorded."""

    def glance(self) -> dict[str, float]:
        """The same, or less of it, or of fewer examples: what curves are drawn of while training."""
        return self.judge()

    def advance(self, done: float) -> None:  # noqa: B027 - what does not change with time does nothing
        """Called before each update with the part of training that is done, from 0 to 1."""

    def references(self) -> dict[str, dict[str, float]]:
        """What others reach on the same data, by their names: figures as those of `judge`."""
        return {}

    def draw(self, folder: Path) -> list[Path]:
        """Make the program's pictures, and say where they are."""
        return []


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    figures: dict[str, float]
    parameters: int
    updates: int
    seconds: float  # of training alone, with what had to be done before
    ended: str  # "done", or "stopped"
    pictures: list[Path]


def fit(task: Task, settings: Training, folder: Path, program: str, stop: Stop, report: Callable[..., None]) -> Outcome:
    """Train to the end, or until somebody asks for it by Ctrl-C; judge, save, and draw.

    Args:
        folder: where the model, the journal and the pictures go.
        report: is told the number of updates, with the loss and the gradient's norm.

    Raises:
        UserError: the loss is no number any more. Nothing is saved.
        OSError: a file cannot be written.
    """
    model = task.model
    learned = [p for p in model.parameters() if p.requires_grad]  # what is frozen stays as it is
    matrices, others = [p for p in learned if p.ndim > 1], [p for p in learned if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.99))
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=settings.updates)
    parameters = sum(p.size for p in model.parameters())
    seconds, update = task.seconds, 0
    with journal.Journal(folder / runs.LOG) as log:
        log.write("start", program=program, settings=asdict(settings), parameters=parameters,
                  minigrad=mg.__version__)  # fmt: skip
        with stop.listening(say):
            while update < settings.updates and not stop.asked:
                started = time.perf_counter()
                task.advance(update / settings.updates)
                loss, norm = _step(task, learned, optimizer, settings.clip)
                schedule.step()
                update += 1
                last, look = update == settings.updates, update % settings.eval_every == 0
                read = last or look or update % READ_EVERY == 0
                if read:
                    value, size = mg.stack([loss, norm]).tolist()
                seconds += time.perf_counter() - started
                if read:
                    _refuse_no_number({"the loss": value, "the gradient's norm": size}, update, settings)
                    log.write("train", update=update, loss=value, gradient_norm=size, seconds=round(seconds, 3))
                    report(update, loss=value, gradient_norm=size)
                if look and not last:
                    seen = _looked_at(model, task.glance, update, settings)
                    log.write("validation", update=update, seconds=round(seconds, 3), **seen)
        ended = "stopped" if stop.asked else "done"
        figures = _looked_at(model, task.judge, update, settings)
        same = type(task).glance is Task.glance
        seen = figures if same else _looked_at(model, task.glance, update, settings)
        log.write("validation", update=update, seconds=round(seconds, 3), **seen)
        log.write("end", why=ended, update=update, seconds=round(seconds, 3))
        log.write("result", update=update, **figures)
        about = {"settings": asdict(settings), "updates": update, "figures": figures}
        saved.save(folder / saved.MODEL, program, model, model.options, about)
    with mg.no_grad():
        pictures = task.draw(folder)
    return Outcome(figures, parameters, update, round(seconds, 3), ended, pictures)


def _step(task: Task, learned: list[mg.Tensor], optimizer: optim.AdamW, clip: float) -> tuple[mg.Tensor, mg.Tensor]:
    """One update: its loss, and the gradient's norm. Nothing is read."""
    task.model.train()
    optimizer.zero_grad()
    loss = task.loss()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(learned, clip)
    optimizer.step()
    return loss.detach(), norm


def _looked_at(
    model: nn.Module, look: Callable[[], dict[str, float]], update: int, settings: Training
) -> dict[str, float]:
    model.eval()
    with mg.no_grad():
        figures = look()
    _refuse_no_number(figures, update, settings)
    return figures


def _refuse_no_number(figures: Mapping[str, float], update: int, settings: Training) -> None:
    if not all(map(math.isfinite, figures.values())):
        told = ", ".join(f"{name} {value}" for name, value in figures.items())
        raise UserError(
            f"at update {update} not all is a number any more: {told}. Nothing is saved. Try again with a smaller "
            f"--lr, such as {settings.lr / 3:.2g}, or a smaller --clip, such as {settings.clip / 3:.2g}"
        )
