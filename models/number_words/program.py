"""Sequence to sequence: a number in English words in, in Korean out; an encoder, a decoder, and teacher forcing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from typer import Argument, Option

import minigrad as mg
from minigrad import Tensor
from minigrad.nn import functional as F

from ..common import journal, runs
from ..common.batches import shuffled
from ..common.cells import Cell
from ..common.console import clear_errors, say
from ..common.errors import UserError
from ..common.options import flag
from ..common.program import Program, Run, commands
from ..common.results import Figure
from ..common.training import MODEL, Batch, EvalEvery, LearningRate, Task, Training, Updates
from . import data, pictures
from .model import Options, Translator
from .search import Hypothesis, search

FORCING = "Teacher forcing"
BEAM = 5  # hypotheses, where the beam search is judged
LOOKED_AT = 500  # held-out numbers, for the curves
NOTHING = "(nothing)"  # an answer that ends before it begins


@dataclass(frozen=True)
class Settings(Training):
    """The options of `train`."""

    cell: Cell = "gru"
    hidden: Annotated[int, Option(help="Units of encoder and decoder.", min=1, rich_help_panel=MODEL)] = 128
    embedding: Annotated[int, Option(help="Width of a symbol's vector.", min=1, rich_help_panel=MODEL)] = 32
    teacher_forcing: Annotated[
        float, Option(help="How often the decoder is fed the right symbol, at the start.", rich_help_panel=FORCING)
    ] = 1.0
    teacher_forcing_end: Annotated[
        float, Option(help="The same at the end; in between, on a straight line.", rich_help_panel=FORCING)
    ] = 1.0
    learned: Annotated[
        int, Option(help="How many numbers are learned, of those that are not held out.", min=1, max=data.LEARNED)
    ] = data.LEARNED
    updates: Updates = 1000
    batch: Batch = 64
    lr: LearningRate = 3e-3
    eval_every: EvalEvery = 25

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("teacher_forcing", "teacher_forcing_end"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{flag(name)} must be from 0, never, to 1, always; got {getattr(self, name)}")
        if not 1 <= self.learned <= data.LEARNED:
            raise UserError(f"--learned must be from 1 to {data.LEARNED}, got {self.learned}")


class Translation(Task):
    """Numbers in words, with teacher forcing: for each symbol of each pair a coin says what the decoder is fed.

    What is held out is looked at both ways: with the right symbols fed, as a decoder that is always forced knows it,
    and with its own, as it has to speak. The gap between the two is called exposure bias.
    """

    def __init__(self, settings: Settings, device: str) -> None:
        self._all, self.held_out = data.load()
        pairs = sorted(self._all)  # one after another, from zero
        words = data.symbols(pair.words for pair in pairs)
        syllables = data.symbols(pair.syllables for pair in pairs)
        longest = max(len(pair.syllables) for pair in pairs)
        self.learned = self._all[: settings.learned]
        self.data = f"{len(self.learned):,} numbers from English to Korean to learn, {len(self.held_out):,} held out"
        options = Options(words, syllables, longest, settings.cell, settings.hidden, settings.embedding)
        self.model = Translator(options).to(device)
        self.device = device
        self.settings = settings
        self._batches = shuffled(len(self.learned), settings.batch, settings.seed)
        self._coins = np.random.default_rng([settings.seed, 1])
        self._forced = settings.teacher_forcing

    def advance(self, done: float) -> None:
        start, end = self.settings.teacher_forcing, self.settings.teacher_forcing_end
        self._forced = start + (end - start) * done

    def loss(self) -> Tensor:
        batch = self._encoded([self.learned[number] for number in next(self._batches)])
        forced = None if self._forced == 1 else self._coins.random(batch.inputs.shape) < self._forced
        return _nats(self._expected(batch, forced), self.tensor(batch.targets))

    def glance(self) -> dict[str, float]:
        return self._both_ways(self.held_out[:LOOKED_AT])

    def judge(self) -> dict[str, float]:
        return {"beam": float(self._searched(BEAM).mean()), **self._both_ways(self.held_out)}

    def _both_ways(self, pairs: Sequence[data.Pair]) -> dict[str, float]:
        """Figures with the right symbols fed, and with its own."""
        batch = self._encoded(pairs)
        targets = self.tensor(batch.targets)
        counts = targets != data.PAD
        figures = {}
        for kind, forced in (("", None), ("free_", np.zeros(batch.inputs.shape, bool))):
            logits = self._expected(batch, forced)
            right = logits.argmax(-1) == targets
            figures[f"{kind}nats"] = _nats(logits, targets).item()
            figures[f"{kind}symbols"] = ((right & counts).sum() / counts.sum()).item()
        exact = (right | ~counts).all(axis=0)  # fed its own: what greedy search says
        gap = figures["free_nats"] - figures["nats"]
        return {"exact": exact.astype(mg.float32).mean().item(), "gap": gap, **figures}

    def references(self) -> dict[str, dict[str, float]]:
        """A decoder without an encoder: which symbol follows the one before, counted in all that may be learned."""
        symbols = len(self.model.options.syllables) + 1
        counts = np.ones((symbols + 1, symbols))
        learned, held_out = self._encoded(self._all), self._encoded(self.held_out)
        where = learned.targets != data.PAD
        np.add.at(counts, (learned.inputs[where], learned.targets[where]), 1)
        p = counts / counts.sum(1, keepdims=True)
        where = held_out.targets != data.PAD
        before, after = held_out.inputs[where], held_out.targets[where]
        nats, right = -np.log(p[before, after]).mean(), (p[before].argmax(1) == after).mean()
        return {f"bigrams of syllables, of {len(self._all):,} numbers": {"nats": float(nats), "symbols": float(right)}}

    def draw(self, folder: Path) -> list[Path]:
        batch = self._encoded(self.held_out)
        logits, targets = self._expected(batch), self.tensor(batch.targets)
        nats = F.cross_entropy(logits.transpose(1, 2, 0), targets.T, ignore_index=data.PAD, reduction="none").sum(1)
        numbers = np.array([pair.number for pair in self.held_out])
        pictures.gap(journal.read(folder / runs.LOG), folder / pictures.GAP)
        pictures.costs(numbers, nats.to("cpu").numpy(), ~self._searched(1), folder / pictures.COSTS)
        return [folder / pictures.GAP, folder / pictures.COSTS]

    def _encoded(self, pairs: Sequence[data.Pair]) -> data.Batch:
        return data.encode(pairs, self.model.options.words, self.model.options.syllables)

    def _expected(self, batch: data.Batch, forced: np.ndarray | None = None) -> Tensor:
        """Logits (T', N, V), with the right symbols fed where `forced` (T', N) says so; None: everywhere."""
        coins = None if forced is None else self.tensor(forced)
        return self.model(self.tensor(batch.words), batch.lengths, self.tensor(batch.inputs), coins)

    def _searched(self, width: int) -> np.ndarray:
        """For each held-out number, whether the best that a beam search finds is right."""
        batch = self._encoded(self.held_out)
        found = search(self.model, batch.words, batch.lengths, width, self.device)
        pairs = zip(found, self.held_out, strict=True)
        return np.array([said(self.model, best) == pair.syllables for (best, *_), pair in pairs])


def _nats(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean over all symbols that count.          logits (T', N, V), targets (T', N)"""
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), ignore_index=data.PAD)


def said(model: Translator, found: Hypothesis) -> str:
    """An answer as it is written."""
    return "".join(model.options.syllables[symbol - 1] for symbol in found.symbols)


FEW = 300  # numbers: so few that much is left to get wrong
FORCINGS = {
    "always forced": {},
    "never forced": {"teacher_forcing": 0.0, "teacher_forcing_end": 0.0},
    "decaying": {"teacher_forcing": 1.0, "teacher_forcing_end": 0.0},
}

PROGRAM = Program(
    name="number_words",
    settings=Settings,
    task=Translation,
    options=Options,
    build=Translator,
    figures={
        "exact": Figure("exact, greedy", percent=True),
        "beam": Figure(f"exact, beam {BEAM}", percent=True),
        "nats": Figure("nats per symbol"),
        "free_nats": Figure("nats, fed its own"),
        "gap": Figure("gap in nats"),
        "symbols": Figure("symbols right", percent=True),
        "free_symbols": Figure("symbols right, fed its own", percent=True),
    },
    per="symbol",
    pictures=(pictures.GAP, pictures.COSTS),
    variants={
        **FORCINGS,
        **{f"{name} with {FEW}": {"learned": FEW, **options} for name, options in FORCINGS.items()},
    },
    curves=("exact", "nats", "gap"),
)


def predict(
    numbers: Annotated[
        list[str] | None, Argument(help='Numbers from 0 to 10,000, in words or digits: "two hundred forty-one" 241')
    ] = None,
    beam: Annotated[int, Option(help="Hypotheses that are kept at a time; 1 is greedy search.", min=1, max=100)] = 1,
    show: Annotated[
        int, Option(help="Hypotheses to list, of those that --beam keeps, with their log-probabilities.", min=0)
    ] = 0,
    run: Run = None,
) -> None:
    """Say numbers in Korean, and what is right where a number can be read."""
    with clear_errors():
        if not numbers:
            raise UserError('name a number, in digits or in words: 241 "two hundred forty-one"')
        texts = [data.read(text) for text in numbers]
        model, _ = PROGRAM.load(run)
        words, lengths = data.sources(texts, model.options.words)
        known = {tuple(pair.words): pair.syllables for pairs in data.load() for pair in pairs}
        with mg.no_grad():
            found = search(model, words, lengths, beam, "cpu")
        for text, cut, hypotheses in zip(numbers, texts, found, strict=True):
            guess, right = said(model, hypotheses[0]), known.get(tuple(cut))
            told = "" if right is None else " (right)" if guess == right else f" (wrong, it is {right})"
            say(f"{text}: {guess or NOTHING}{told}")
            for one in hypotheses[:show]:
                say(f"  {one.logprob:9.3f}  {said(model, one) or NOTHING}{'' if one.ended else ' ... without an end'}")


app = commands(PROGRAM, predict, about=__doc__)
