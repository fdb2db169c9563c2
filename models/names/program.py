"""Many to one: a family name in, letter by letter, and after its last letter the language it is of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from typer import Argument, Option

import minigrad as mg
from minigrad import Tensor
from minigrad.nn import functional as F

from ..common.batches import shuffled
from ..common.cells import Cell
from ..common.checks import check_numbers
from ..common.console import clear_errors, say
from ..common.errors import UserError
from ..common.program import Program, Run, commands
from ..common.results import Figure
from ..common.training import MODEL, Batch, LearningRate, Task, Training, Updates, WeightDecay
from . import baselines, data, pictures
from .model import Classifier, Options


@dataclass(frozen=True)
class Settings(Training):
    """The options of `train`."""

    cell: Cell = "lstm"
    hidden: Annotated[int, Option(help="Units of the cell.", min=1, rich_help_panel=MODEL)] = 128
    embedding: Annotated[int, Option(help="Width of a letter's vector.", min=1, rich_help_panel=MODEL)] = 32
    bidirectional: Annotated[
        bool, Option("--bidirectional", help="Read from the last letter to the first, too.", rich_help_panel=MODEL)
    ] = False
    dropout: Annotated[
        float, Option(help="Before the output; of the letters' vectors half as much.", rich_help_panel=MODEL)
    ] = 0.6
    updates: Updates = 1500
    batch: Batch = 128
    lr: LearningRate = 5e-3
    weight_decay: WeightDecay = 0.1


class Languages(Task):
    """Family names of several languages."""

    def __init__(self, settings: Settings, device: str) -> None:
        found = data.load()
        self.learned, self.held_out = found.learned, found.held_out
        self.data = (
            f"{len(self.learned):,} family names of {len(data.LANGUAGES)} languages to learn, {len(self.held_out):,} "
            f"held out; {found.shared:,} of several languages left out"
        )
        options = Options(found.letters, data.LANGUAGES, settings.cell, settings.hidden, settings.embedding,
                          settings.bidirectional, settings.dropout)  # fmt: skip
        self.model = Classifier(options).to(device)
        self.device = device
        self._batches = shuffled(len(self.learned), settings.batch, settings.seed)

    def loss(self) -> Tensor:
        batch = next(self._batches)
        names = self.model.pack([self.learned.names[number] for number in batch])
        labels = mg.tensor([self.learned.labels[number] for number in batch], device=self.device)
        return F.cross_entropy(self.model(names), labels)

    def judge(self) -> dict[str, float]:
        return baselines.judged(self._probabilities(), np.array(self.held_out.labels))

    def references(self) -> dict[str, dict[str, float]]:
        return baselines.references()

    def draw(self, folder: Path) -> list[Path]:
        path = folder / pictures.CONFUSIONS
        pictures.confusions(np.array(self.held_out.labels), self._probabilities().argmax(1), data.LANGUAGES, path)
        return [path]

    def _probabilities(self) -> np.ndarray:
        return F.softmax(self.model(self.model.pack(self.held_out.names)), dim=1).to("cpu").numpy()


PROGRAM = Program(
    name="names",
    settings=Settings,
    task=Languages,
    options=Options,
    build=Classifier,
    figures={
        "accuracy": Figure("accuracy", percent=True),
        "balanced": Figure("balanced accuracy", percent=True),
        "nats": Figure("nats per name"),
    },
    per="name",
    pictures=(pictures.CONFUSIONS,),
    variants={
        "rnn": {"cell": "rnn"},
        "gru": {"cell": "gru"},
        "lstm": {},
        "lstm bidirectional": {"bidirectional": True},
    },
    curves=("accuracy", "nats"),
)


def predict(
    names: Annotated[list[str] | None, Argument(help="Family names, a word each.")] = None,
    run: Run = None,
) -> None:
    """Say of which languages a name may be, and how likely the model finds each."""
    with clear_errors():
        model, _ = PROGRAM.load(run)
        if not names:
            raise UserError("name a family name or several, such as Kowalski")
        with mg.no_grad():
            probabilities = F.softmax(model(model.pack(names)), dim=1).numpy()
        for name, p in zip(names, check_numbers(probabilities), strict=True):
            best = np.argsort(-p, kind="stable")[:3]
            say(f"{name}: " + ", ".join(f"{model.options.languages[k]} ({100 * p[k]:.1f}%)" for k in best))


app = commands(PROGRAM, predict, about=__doc__)
