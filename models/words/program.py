"""What may the next word be? A recurrent network that reads a text word by word, and then writes; and one that sees
the last few words alone.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
from typer import Argument, Option

import minigrad as mg
from minigrad import Tensor
from minigrad.nn import functional as F

from ..common import ngrams
from ..common.checks import check_numbers
from ..common.choice import Choice
from ..common.console import clear_errors, say, table
from ..common.program import Program, Run, commands
from ..common.results import Figure
from ..common.streams import Streams
from ..common.training import DATA, MODEL, TRAINING, EvalEvery, LearningRate, Task, Training, Updates, WeightDecay
from . import data, judging, pictures, writing
from .model import Options, WordLM

ORDERS = 5  # of n-grams: each word is expected from the 4 before it
SEEN = (1, 2, 3, 4, 8, 16, 32, 64)  # words before, in the picture
JUDGED = 1 << 14  # words in the picture, at most


@dataclass(frozen=True)
class Settings(Training):
    """The options of `train`."""

    model: Annotated[str, Option(help="rnn, lstm, gru, or window.", rich_help_panel=MODEL)] = "rnn"
    window: Annotated[int, Option(help="Words that a window sees.", min=1, rich_help_panel=MODEL)] = 4
    embedding: Annotated[int, Option(help="Numbers in a word's vector.", min=1, rich_help_panel=MODEL)] = 256
    hidden: Annotated[int, Option(help="Units of the hidden layer.", min=1, rich_help_panel=MODEL)] = 256
    dropout: Annotated[float, Option(help="Of the words' vectors, and before the output.", rich_help_panel=MODEL)] = 0.5
    data: Annotated[
        str | None, Option(metavar="FILE", help="A UTF-8 text; the one inside Python if none is named.",
                           rich_help_panel=DATA)
    ] = None  # fmt: skip
    min_count: Annotated[
        int, Option(help="How often a word must occur in what is learned; rarer ones become <unk>.", min=1,
                    rich_help_panel=DATA)
    ] = 2  # fmt: skip
    updates: Updates = 2000
    batch: Annotated[int, Option(help="Streams read side by side.", min=1, rich_help_panel=TRAINING)] = 16
    seq: Annotated[int, Option(help="Words of a stream in an update.", min=1, rich_help_panel=TRAINING)] = 32
    lr: LearningRate = 3e-3
    weight_decay: WeightDecay = 0.3
    eval_every: EvalEvery = 100


class Words(Task):
    """Truncated backpropagation through time: a chunk of the text an update, with the state of the chunk before."""

    def __init__(self, settings: Settings, device: str) -> None:
        path = None if settings.data is None else Path(settings.data)
        self.text = data.load(path, settings.min_count)
        size, unknown = len(self.text.vocabulary), self.text.unknown
        self.data = (
            f"{self.text.name}: {len(self.text.learned):,} words to learn, {len(self.text.held_out):,} held out, of "
            f"these {100 * unknown:.1f}% {data.UNKNOWN}; {size:,} in the vocabulary"
        )
        options = Options(
            self.text.vocabulary, settings.model, settings.embedding, settings.hidden, settings.window, settings.dropout
        )
        self.model = WordLM(options).to(device)
        self.device = device
        self.streams = Streams([self.text.learned], settings.batch, settings.seq, device)
        self._updates, self._state = 0, None

    def loss(self) -> Tensor:
        number = self._updates % self.streams.chunks
        self._updates += 1
        if number == 0:
            self._state = None  # an epoch begins: what came before does not fit
        inputs, targets = self.streams.chunk(number)  # (T, N): a word, and the one that follows it
        state = mg.detach(self._state)  # carried, but no gradient flows into the chunk before
        logits, self._state = self.model(inputs, state)
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))

    def judge(self) -> dict[str, float]:
        return _figures(judging.nats(self.model, self.text.held_out, self.device))

    @cached_property
    def _counted(self) -> list[np.ndarray]:
        """Nats of each held-out word by n-grams of n = 1, 2, ..."""
        text, size = self.text, len(self.text.vocabulary)
        return [-np.log(p) for p, _ in ngrams.probabilities([text.learned], [text.held_out], size, ORDERS)]

    def references(self) -> dict[str, dict[str, float]]:
        return {f"{n}-grams": _figures(nats[1:]) for n, nats in enumerate(self._counted, 1)}

    def draw(self, folder: Path) -> list[Path]:
        words = self.text.held_out[:JUDGED]
        seen = [count for count in SEEN if 2 * count < len(words)]
        first = max(seen, default=1)  # the same words are judged everywhere: those with so many before them
        mine: dict[int | str, float] = {
            count: _perplexity(judging.nats_after(self.model, words, count, first, self.device)) for count in seen
        }
        mine[pictures.ALL] = _perplexity(judging.nats(self.model, words, self.device)[first - 1 :])
        counted: dict[int | str, float] = {
            n: _perplexity(nats[first : len(words)]) for n, nats in enumerate(self._counted)
        }
        kind = self.model.options.kind
        lines = {kind if kind != "window" else f"window of {self.model.options.window}": mine, "n-grams": counted}
        path = folder / pictures.PERPLEXITY
        pictures.by_words_seen(lines, [0, *SEEN, pictures.ALL], len(words) - first, path)
        return [path]


def _figures(nats: np.ndarray) -> dict[str, float]:
    return {"perplexity": _perplexity(nats), "nats": float(nats.mean(dtype=np.float64))}


def _perplexity(nats: np.ndarray) -> float:
    """As if each word were one of so many equally likely ones."""
    return float(np.exp(nats.mean(dtype=np.float64)))


PROGRAM = Program(
    name="words",
    settings=Settings,
    task=Words,
    options=Options,
    build=WordLM,
    figures={"perplexity": Figure("perplexity"), "nats": Figure("nats per word")},
    per="word",
    pictures=(pictures.PERPLEXITY,),
    variants={
        "rnn": {},
        "lstm": {"model": "lstm"},
        "window 4": {"model": "window", "window": 4},
        "window 8": {"model": "window", "window": 8},
    },
    curves=("perplexity",),
)


def predict(
    text: Annotated[str, Argument(help="Words to go on from; without any, a paragraph begins.")] = "",
    length: Annotated[int, Option(help="Words to write.", min=1)] = 40,
    top: Annotated[int, Option(help="Draw from so many of the likeliest words; 0: from all; 1: no chance.", min=0)] = 3,
    temperature: Annotated[float, Option(help="Below 1 more predictable, above 1 more surprising.", min=0)] = 1.0,
    seed: Annotated[int, Option(help="The same seed draws the same words.", min=0)] = 0,
    unknown: Annotated[str, Option(help="Words the model does not know: error, or replace by <unk>.")] = "error",
    next_: Annotated[bool, Option("--next", help="Show the likeliest ten next words instead of writing.")] = False,
    run: Run = None,
) -> None:
    """Go on with a text, or show what the next word may be."""
    with clear_errors():
        model, _ = PROGRAM.load(run)
        vocabulary, given, choice = model.options.vocabulary, data.words(text), Choice(temperature, top)
        ids = writing.prompted(given, vocabulary, unknown)
        if not next_:
            written = [vocabulary[number] for number in writing.write(model, ids, length, choice, seed)]
            say(data.text_of([*given, *written]).strip("\n"))
            return
        p = check_numbers(writing.expected(model, ids).numpy())
        likeliest = np.argsort(-p[1:], kind="stable")[:10] + 1
        shown = {repr(vocabulary[number]): f"{100 * p[number]:.1f}%" for number in likeliest}
        table("the likeliest next words", {**shown, "not in the vocabulary": f"{100 * p[0]:.1f}%"})


app = commands(PROGRAM, predict, about=__doc__)
