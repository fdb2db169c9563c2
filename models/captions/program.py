"""One to many: an image of a digit in, a sentence about it out, in English, German or Korean."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from typer import Option

import minigrad as mg
from minigrad import Tensor
from minigrad.nn import functional as F

from ..common.batches import shuffled
from ..common.checks import check_numbers
from ..common.console import clear_errors, progress, say
from ..common.errors import UserError
from ..common.program import Program, Run, commands
from ..common.results import Figure
from ..common.stop import Stop
from ..common.training import MODEL, Batch, EvalEvery, LearningRate, Task, Training, Updates, fit
from ..digits import program as digits
from ..digits.data import load, moved
from ..digits.model import Classifier
from ..digits.pictures import in_characters
from . import data, pictures
from .model import Captioner, Options


@dataclass(frozen=True)
class Settings(Training):
    """The options of `train`."""

    cnn: Annotated[
        str | None,
        Option(
            metavar="RUN",
            help="A run of models.digits, whose CNN sees the images. Without it, one is trained first.",
            rich_help_panel=MODEL,
        ),
    ] = None
    cnn_updates: Annotated[
        int, Option(help="Steps of the optimizer for the CNN that is trained first.", min=1, rich_help_panel=MODEL)
    ] = digits.Settings.updates
    tune: Annotated[bool, Option("--tune", help="Let the CNN learn on, too.", rich_help_panel=MODEL)] = False
    inject: Annotated[
        str, Option(help="At which steps the image enters the decoder: every or first.", rich_help_panel=MODEL)
    ] = "every"
    embedding: Annotated[int, Option(help="Numbers for a word.", min=1, rich_help_panel=MODEL)] = 32
    hidden: Annotated[int, Option(help="Units of the decoder.", min=1, rich_help_panel=MODEL)] = 128
    updates: Updates = 600
    batch: Batch = 64
    lr: LearningRate = 3e-3
    eval_every: EvalEvery = 25

    def __post_init__(self) -> None:
        super().__post_init__()
        starts = map(data.start, data.LANGUAGES)  # what the model refuses is refused before the CNN is trained
        Options((data.END, *starts), embedding=self.embedding, hidden=self.hidden, inject=self.inject)


class Captions(Task):
    """Images of digits, and a caption in one of the languages for each."""

    def __init__(self, settings: Settings, device: str) -> None:
        words = data.vocabulary()
        self._cnn, self.seconds = _cnn(settings, device)
        cnn = self._cnn
        mg.manual_seed(settings.seed)  # the decoder is the same whether the CNN was trained or loaded
        options = Options(
            words, cnn.options.channels, cnn.options.hidden, settings.embedding, settings.hidden, settings.inject
        )
        self.model = Captioner(options).to(device)
        self.model.features.load_state_dict(cnn.features.state_dict())
        self.model.features.requires_grad_(settings.tune)
        self.device = device
        self.learned, self.held_out = load()
        self._captions, languages = data.captions(words), len(data.LANGUAGES)
        self.data = (
            f"{len(self.learned):,} images of digits to learn, {len(self.held_out)} held out; "
            f"{self._captions.reads.shape[1]} captions in {languages} languages, of {len(words)} words"
        )
        self._pairs = shuffled(len(self.learned) * languages, settings.batch, settings.seed)
        self._rng = np.random.default_rng([settings.seed, 1])

    def loss(self) -> Tensor:
        language, image = np.divmod(next(self._pairs), len(self.learned))
        seen = moved(self.learned.images[image], self._rng)
        return self._loss(self.tensor(seen), data.Captions.number(self.learned.labels[image], language))

    def judge(self) -> dict[str, float]:
        labels, languages = self.held_out.labels, range(len(data.LANGUAGES))
        seen, exact, whole = self.tensor(self.held_out.images), [], []
        for language in data.LANGUAGES:
            possible = [data.joined(data.caption(digit, language)) for digit in range(data.DIGITS)]
            told = self.model.captions(seen, language)
            exact += [possible[digit] == said for digit, said in zip(labels.tolist(), told, strict=True)]
            whole += [said in possible for said in told]
        numbers = np.concatenate([data.Captions.number(labels, place) for place in languages])
        nats = self._loss(mg.concatenate([seen for _ in languages]), numbers).item()
        named = self._cnn.output(self.model.features(seen)).argmax(1).to("cpu").numpy() == labels
        shares = {"exact": exact, "whole": whole, "named": named}
        return {name: float(np.mean(each)) for name, each in shares.items()} | {"nats": nats}

    def draw(self, folder: Path) -> list[Path]:
        pictures.captions(self.model, self.held_out, self.device, folder / pictures.CAPTIONS)
        return [folder / pictures.CAPTIONS]

    def _loss(self, seen: Tensor, numbers: np.ndarray) -> Tensor:
        """In nats per word; the padding of shorter captions does not count."""
        logits = self.model(seen, self.tensor(self._captions.reads[:, numbers]))  # (T, N, V)
        says = self.tensor(self._captions.says[:, numbers].reshape(-1))
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), says, ignore_index=data.IGNORED)


def _cnn(settings: Settings, device: str) -> tuple[Classifier, float]:
    """The network of models/digits: of a run, or trained now; and how many seconds that took."""
    if settings.cnn is not None:
        cnn, _ = digits.PROGRAM.load(Path(settings.cnn))
        if cnn.options.kind != "cnn":
            raise UserError(
                f"{settings.cnn} holds a model of the kind {cnn.options.kind!r}; captions need one of the kind 'cnn': "
                "python -m models.digits train --model cnn"
            )
        return cnn.to(device), 0.0
    say("first the CNN, as models.digits trains it; --cnn RUN takes one that is there")
    own = digits.Settings(updates=settings.cnn_updates, seed=settings.seed, eval_every=settings.cnn_updates)
    task = _Digits(own, device)
    stop = Stop()
    with tempfile.TemporaryDirectory() as folder, progress(own.updates) as report:
        outcome = fit(task, own, Path(folder), digits.PROGRAM.name, stop, report)
    if stop.asked:
        raise UserError("stopped while the CNN was trained; nothing is saved")
    return task.model.eval(), outcome.seconds


class _Digits(digits.Digits):
    """Without its pictures."""

    draw = Task.draw


PROGRAM = Program(
    name="captions",
    settings=Settings,
    task=Captions,
    options=Options,
    build=Captioner,
    figures={
        "exact": Figure("exact captions", percent=True, goal=0.95),
        "whole": Figure("captions right for some digit", percent=True),
        "named": Figure("digits named by the CNN", percent=True),
        "nats": Figure("nats per word"),
    },
    per="word",
    pictures=(pictures.CAPTIONS,),
    variants={"every": {}, "first": {"inject": "first"}},
    curves=("exact", "nats"),
)


def predict(
    images: digits.Images = None,
    example: digits.Examples = None,
    language: Annotated[
        list[str] | None, Option(help=f"One of {', '.join(data.LANGUAGES)}; several: --language de --language ko.")
    ] = None,
    run: Run = None,
) -> None:
    """Say in a sentence what is in a picture, in some languages, or in all."""
    with clear_errors():
        chosen = language or data.LANGUAGES
        for each in chosen:
            data.refuse_unknown(each)
        model, _ = PROGRAM.load(run)
        shown = digits.asked(images, example)
        seen = mg.tensor(np.stack([image for _, image in shown]))
        with mg.no_grad():
            check_numbers(model.features(seen).numpy())
            told = [model.captions(seen, each) for each in chosen]
        for (name, image), *captions in zip(shown, *told, strict=True):
            say("\n".join([*in_characters(image), f"{name}:", *captions]))


app = commands(PROGRAM, predict, about=__doc__)
