"""One to one: an image of a digit in, its digit out; a multilayer perceptron and a small convolutional network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from typer import Argument, Option

import minigrad as mg
from minigrad import Tensor
from minigrad.nn import functional as F

from ..common.batches import shuffled
from ..common.checks import check_numbers
from ..common.console import clear_errors, say
from ..common.errors import UserError
from ..common.program import Program, Run, commands
from ..common.results import Figure
from ..common.training import MODEL, Batch, LearningRate, Task, Training, Updates
from . import data, pictures
from .model import Classifier, Options


@dataclass(frozen=True)
class Settings(Training):
    """The options of `train`."""

    model: Annotated[str, Option(help="cnn or mlp.", rich_help_panel=MODEL)] = "cnn"
    channels: Annotated[int, Option(help="Of the first convolution.", min=1, rich_help_panel=MODEL)] = 16
    hidden: Annotated[int, Option(help="Units before the output.", min=1, rich_help_panel=MODEL)] = 64
    updates: Updates = 1500
    batch: Batch = 64
    lr: LearningRate = 3e-3


class Digits(Task):
    """Images of digits, half of them moved by up to a pixel while learning: no stroke is learned with its place."""

    def __init__(self, settings: Settings, device: str) -> None:
        self.learned, self.held_out = data.load()
        self.data = f"{len(self.learned):,} images of digits to learn, {len(self.held_out)} held out"
        self.model = Classifier(Options(settings.model, settings.channels, settings.hidden)).to(device)
        self.device = device
        self._batches = shuffled(len(self.learned), settings.batch, settings.seed)
        self._rng = np.random.default_rng([settings.seed, 1])

    def loss(self) -> Tensor:
        batch = next(self._batches)
        images = data.moved(self.learned.images[batch], self._rng)
        return F.cross_entropy(self.model(self.tensor(images)), self.tensor(self.learned.labels[batch]))

    def judge(self) -> dict[str, float]:
        logits = self.model(self.tensor(self.held_out.images))
        labels = self.tensor(self.held_out.labels)
        right = (logits.argmax(1) == labels).astype(mg.float32).mean()
        return {"accuracy": right.item(), "nats": F.cross_entropy(logits, labels).item()}

    def references(self) -> dict[str, dict[str, float]]:
        """The digit of the learned image whose pixels are the nearest."""
        known, asked = (each.images.reshape(len(each), -1) for each in (self.learned, self.held_out))
        nearest = ((known**2).sum(1) - 2 * asked @ known.T).argmin(1)  # |a - k|², but for |a|²
        right = self.learned.labels[nearest] == self.held_out.labels
        return {"nearest neighbour": {"accuracy": float(right.mean())}}

    def draw(self, folder: Path) -> list[Path]:
        probabilities = F.softmax(self.model(self.tensor(self.held_out.images)), dim=1)
        pictures.guesses(self.held_out, probabilities.to("cpu").numpy(), folder / pictures.GUESSES)
        drawn = [folder / pictures.GUESSES]
        if self.model.options.kind == "cnn":
            pictures.filters(self.model.features, self.held_out, self.device, folder / pictures.FILTERS)
            drawn.append(folder / pictures.FILTERS)
        return drawn


PROGRAM = Program(
    name="digits",
    settings=Settings,
    task=Digits,
    options=Options,
    build=Classifier,
    figures={"accuracy": Figure("accuracy", percent=True, goal=0.97), "nats": Figure("nats per image")},
    per="image",
    pictures=(pictures.GUESSES, pictures.FILTERS),
    variants={"cnn": {}, "mlp": {"model": "mlp"}},
    curves=("accuracy", "nats"),
)


# What `predict` asks for; models/captions does, too.
Images = Annotated[list[Path] | None, Argument(help="Pictures of a digit each: dark on light, or light on dark.")]
Examples = Annotated[
    list[int] | None, Option(help="Number of a held-out image, from 0; several: --example 1 --example 2.")
]


def asked(images: list[Path] | None, examples: list[int] | None) -> list[tuple[str, np.ndarray]]:
    """Names and images (1, 8, 8): pictures, and held-out images by their numbers.

    Raises:
        UserError: there is none, there is no such number, or a picture cannot be used.
        OSError: a file cannot be read.
    """
    found = [(str(path), data.read(path)) for path in images or []]
    if examples:
        _, held_out = data.load()
        for number in examples:
            if not 0 <= number < len(held_out):
                raise UserError(f"there are held-out images 0 to {len(held_out) - 1}, got {number}")
            found.append((f"held-out image {number}, a {held_out.labels[number]}", held_out.images[number]))
    if not found:
        raise UserError("name a picture of a digit, or a held-out image by --example")
    return found


def predict(images: Images = None, example: Examples = None, run: Run = None) -> None:
    """Say which digit is in a picture, and how likely the model finds it."""
    with clear_errors():
        model, _ = PROGRAM.load(run)
        shown = asked(images, example)
        with mg.no_grad():
            probabilities = F.softmax(model(mg.tensor(np.stack([image for _, image in shown]))), dim=1).numpy()
        for (name, image), p in zip(shown, check_numbers(probabilities), strict=True):
            best = np.argsort(p)[::-1][:3]
            say("\n".join(pictures.in_characters(image)))
            say(f"{name}: " + ", ".join(f"{digit} ({100 * p[digit]:.1f}%)" for digit in best))


app = commands(PROGRAM, predict, about=__doc__)
