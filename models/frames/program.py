"""Many to many, in step: a video of digits in, and at every frame an answer that depends on the frames before."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from typer import Argument, Option

import minigrad as mg
from minigrad import Tensor
from minigrad.nn import functional as F

from ..common.cells import Cell
from ..common.checks import check_numbers
from ..common.console import clear_errors, say
from ..common.errors import UserError
from ..common.program import Program, Run, commands
from ..common.results import Figure
from ..common.training import DATA, MODEL, TRAINING, Batch, EvalEvery, LearningRate, Task, Training, Updates
from ..digits import data as digits
from ..digits.pictures import in_characters
from . import data, pictures
from .model import Answerer, Options

LAST = 3  # frames at the end, for a figure of their own
JUDGED = 100  # videos at a time
ANSWERS = {True: "yes", False: "no"}


@dataclass(frozen=True)
class Settings(Training):
    """The options of `train`."""

    question: Annotated[
        str,
        Option(
            help="larger: is a digit larger than the one before? seen: was it in the video already?",
            rich_help_panel=DATA,
        ),
    ] = "larger"  # fmt: skip
    frames: Annotated[int, Option(help="In a video.", min=2, rich_help_panel=DATA)] = 10
    cell: Cell = "gru"
    hidden: Annotated[int, Option(help="Units of the cell.", min=1, rich_help_panel=MODEL)] = 128
    features: Annotated[int, Option(help="What the encoder tells of a frame.", min=1, rich_help_panel=MODEL)] = 64
    channels: Annotated[int, Option(help="Of the encoder's first convolution.", min=1, rich_help_panel=MODEL)] = 16
    auxiliary: Annotated[
        float,
        Option(help="Weight of an auxiliary loss, of the encoder: which digit is it? 0: none.", min=0,
               rich_help_panel=TRAINING),
    ] = 1.0  # fmt: skip
    updates: Updates = 1200
    batch: Batch = 64
    lr: LearningRate = 5e-3
    eval_every: EvalEvery = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.auxiliary < math.inf:
            raise UserError(f"--auxiliary must be 0 or more, got {self.auxiliary}")


class Answers(Task):
    """Videos made anew for each update, of images that are moved by up to a pixel."""

    def __init__(self, settings: Settings, device: str) -> None:
        self.settings, self.device = settings, device
        self.learned, held_out = digits.load()
        options = Options(settings.question, settings.cell, settings.hidden, settings.features, settings.channels,
                          settings.frames)  # fmt: skip
        self.model = Answerer(options).to(device)
        self.held_out = judged(options, held_out)
        self.data = (
            f"videos of {settings.frames} frames, made of {len(self.learned):,} images of digits; {data.HELD_OUT:,} "
            f"videos of {len(held_out)} other images held out"
        )
        self._rng = np.random.default_rng(settings.seed)

    def loss(self) -> Tensor:
        settings = self.settings
        batch = data.videos(self.learned, settings.question, settings.frames, settings.batch, self._rng)
        flat = batch.frames.reshape(-1, *batch.frames.shape[2:])
        frames = digits.moved(flat, self._rng).reshape(batch.frames.shape)
        logits, seen = self.model(self.tensor(frames))
        loss = F.binary_cross_entropy_with_logits(logits, self.tensor(batch.labels))
        if settings.auxiliary:
            numbers = self.tensor(batch.digits.reshape(-1))
            loss = loss + settings.auxiliary * F.cross_entropy(seen.reshape(len(flat), -1), numbers)
        return loss

    def judge(self) -> dict[str, float]:
        logits = self._logits()
        nats = F.binary_cross_entropy_with_logits(logits, self.tensor(self.held_out.labels))
        return {**figures(logits.to("cpu").numpy() > 0, self.held_out.labels), "nats": nats.item()}

    def references(self) -> dict[str, dict[str, float]]:
        often = data.often(self.settings.question, self.settings.frames)[:, None]
        blind = np.broadcast_to(often > 0.5, self.held_out.labels.shape)
        return {f"{self.settings.question}, without looking": figures(blind, self.held_out.labels)}

    def draw(self, folder: Path) -> list[Path]:
        p = mg.sigmoid(self._logits()).to("cpu").numpy()
        pictures.strip(self.held_out, p, 0, self.settings.question, folder / pictures.VIDEO)
        pictures.by_frame(self.held_out, p, self.settings.question, folder / pictures.BY_FRAME)
        return [folder / pictures.VIDEO, folder / pictures.BY_FRAME]

    def _logits(self) -> Tensor:
        """Of the held-out videos (T, N), some at a time: the windows of a convolution take memory."""
        frames = self.held_out.frames
        parts = (frames[:, start : start + JUDGED] for start in range(0, frames.shape[1], JUDGED))
        return mg.concatenate([self.model(self.tensor(part))[0] for part in parts], axis=1)


def judged(options: Options, held_out: digits.Digits) -> data.Videos:
    """The videos that a model is judged by."""
    return data.videos(held_out, options.question, options.frames, data.HELD_OUT, np.random.default_rng(0))


def figures(guesses: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """How many answers (T, N) are right: at all frames, at the last ones, and in how many videos every one."""
    right = guesses == (labels > 0.5)
    return {"accuracy": float(right.mean()), "last": float(right[-LAST:].mean()), "videos": float(right.all(0).mean())}


PROGRAM = Program(
    name="frames",
    settings=Settings,
    task=Answers,
    options=Options,
    build=Answerer,
    figures={
        "accuracy": Figure("right frames", percent=True, goal=0.90),
        "last": Figure(f"right at the last {LAST}", percent=True),
        "videos": Figure("videos without a mistake", percent=True),
        "nats": Figure("nats per frame"),
    },
    per="frame",
    pictures=(pictures.VIDEO, pictures.BY_FRAME),
    variants={
        f"{question} {cell}": {"question": question, "cell": cell}
        for question in data.QUESTIONS
        for cell in ("rnn", "lstm", "gru")
    },
    curves=("accuracy", "videos"),
)


def predict(
    images: Annotated[list[Path] | None, Argument(help="Pictures of a digit each, in the order of the frames.")] = None,
    example: Annotated[int | None, Option(help="Number of a held-out video, from 0, in place of pictures.")] = None,
    run: Run = None,
) -> None:
    """Show a video frame by frame, with the answer at each, and how likely the model finds it."""
    with clear_errors():
        model, _ = PROGRAM.load(run)
        if bool(images) == (example is not None):
            raise UserError("name either pictures of digits, one for each frame, or a held-out video by --example")
        if images:
            frames, truth = np.stack([digits.read(path) for path in images])[:, None], None
        else:
            held_out = judged(model.options, digits.load()[1])
            count = held_out.labels.shape[1]
            if not 0 <= example < count:
                raise UserError(f"there are held-out videos 0 to {count - 1:,}, got {example}")
            frames, truth = held_out.frames[:, [example]], held_out.labels[:, example]
        with mg.no_grad():
            p = check_numbers(mg.sigmoid(model(mg.tensor(frames))[0]).numpy()[:, 0])
        for t, frame in enumerate(frames[:, 0]):
            yes = p[t] > 0.5
            told = f"frame {t}: {model.options.question}? {ANSWERS[yes]} ({100 * max(p[t], 1 - p[t]):.1f}%)"
            if truth is not None and (truth[t] > 0.5) != yes:
                told += f"; right is {ANSWERS[truth[t] > 0.5]}"
            say("\n".join(in_characters(frame)))
            say(told)


app = commands(PROGRAM, predict, about=__doc__)
