"""Full against truncated backpropagation through time: what truncation costs, and what it buys.

TBPTT(k1, k2) updates the weights every k1 time steps by a gradient that looks back k2 steps. Over k1 and k2 it is
measured, on a model of characters, how far that gradient is from the full one, what is learned by it, how much
memory a turn takes, and how long it takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from typer import Option

import minigrad as mg

from ..char_lm.evaluation import estimate
from ..char_lm.model import CharLM, Options
from ..char_lm.text import Text, open_text
from ..common import costs
from ..common.checks import check_finite, check_sizes
from ..common.console import say
from ..common.errors import UserError
from ..common.experiments import Experiment, Row, laboratory
from ..common.jobs import Jobs, side_by_side
from ..common.options import Data
from ..common.streams import Streams, split
from . import learning, showing
from .learning import Pair

LEARNER = "lstm"  # of what is learned, and what it costs
PRACTISED, EQUAL = "an update a turn", "updates alike"  # how it learns
LONGEST = 1 << 16


@dataclass(frozen=True)
class Settings:
    """The options of `truncation`."""

    look_back: Annotated[
        list[str], Option(help="k, or k1:k2; where gradients and costs are measured; repeat it for several.")
    ] = field(default_factory=lambda: [*(str(2**n) for n in range(9)), "8:32", "16:64"])
    learn: Annotated[list[str], Option(help="k, or k1:k2; where a model is trained.")] = field(
        default_factory=lambda: ["1", "4", "16", "32", "64", "256", "16:64"]
    )
    steps: Annotated[int, Option(help="T, time steps of the full gradient.")] = 256
    every: Annotated[int, Option(help="Time steps between updates, where all k make as many of them.")] = 32
    symbols: Annotated[int, Option(help="That a model learns; each once.")] = 163_840
    batch: Annotated[int, Option(help="N, streams side by side.")] = 32
    embedding: Annotated[int, Option(help="D, numbers in a character's vector.")] = 64
    hidden: Annotated[int, Option(help="H, units of the recurrent layer.")] = 128
    lr: Annotated[float, Option(help="Learning rate of AdamW; half a cosine brings it to 0.")] = 0.02
    seeds: Annotated[int, Option(help="How many models are trained each way.", max=100)] = 3
    repeats: Annotated[int, Option(help="How often each time is measured; the median counts.")] = 3
    jobs: Jobs = 2
    data: Data = None

    def __post_init__(self) -> None:
        check_sizes(self, "steps", "every", most=LONGEST)
        check_sizes(self, "batch", "embedding", "hidden", "seeds", "repeats", "jobs")
        check_sizes(self, "symbols", most=1 << 30)
        check_finite(self, "lr", positive=True)
        if all(k1 < k2 or k2 > self.every for k1, k2 in pairs(self.learn)):
            raise UserError(f"--learn needs a k that is at most --every {self.every}, got {' '.join(self.learn)}")
        longest = max(k2 for _, k2 in pairs(self.look_back) + pairs(self.learn))
        if longest > min(self.steps, self.symbols // self.batch):
            raise UserError(
                f"nothing can look back {longest:,} steps: --steps are {self.steps:,}, and {self.batch:,} streams of "
                f"{self.symbols:,} symbols have {self.symbols // self.batch:,}"
            )


def pairs(texts: Sequence[str]) -> list[Pair]:
    """k, or k1:k2, as numbers.

    Raises:
        UserError: one of them is something else.
    """
    found = []
    for text in texts:
        parts = text.split(":")
        if not (1 <= len(parts) <= 2 and all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts)):
            raise UserError(f"a look-back must be k or k1:k2, such as 16 or 8:32, got {text!a:.40}")
        k1, k2 = int(parts[0]), int(parts[-1])
        if not 1 <= k1 <= k2:
            raise UserError(f"a look-back k1:k2 must have 1 <= k1 <= k2, got {text!a:.40}")
        found.append((k1, k2))
    return list(dict.fromkeys(found))


class Work:
    """The text, and models to learn it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.text: Text = open_text([] if settings.data is None else [settings.data])
        if len(self.text.vocabulary) < 2:
            raise UserError(f"{self.text.source} has one character only: there is nothing to learn; name another text")
        parts = split(self.text.ids)
        self.held_out, (learned,) = parts.held_out, parts.train
        self.piece = learned[: settings.symbols + 1]
        if len(self.piece) <= settings.symbols:
            raise UserError(
                f"{self.text.source} has {len(learned) - 1:,} symbols to learn, but --symbols asks for "
                f"{settings.symbols:,}; name fewer, or a longer text"
            )

    def model(self, cell: str, seed: int) -> CharLM:
        mg.manual_seed(seed)
        options = Options(self.text.vocabulary.characters, cell, self.settings.hidden, 1, self.settings.embedding)
        return CharLM(options).to(mg.default_device())

    def sequence(self, steps: int | None = None) -> learning.Sequence:
        """`steps` steps from the beginning of each stream, or the streams whole."""
        steps = self.settings.symbols // self.settings.batch if steps is None else steps
        return Streams([self.piece], self.settings.batch, steps, mg.default_device()).chunk(0)


def measure(settings: Settings) -> list[Row]:
    work = Work(settings)
    rows = [row for cell in showing.CELLS for row in gradients(work, cell)]
    say("measuring memory and time")
    rows += cost(work)
    for found in side_by_side(learned, [(settings, seed) for seed in range(settings.seeds)], settings.jobs):
        rows += found
    return rows


def gradients(work: Work, cell: str) -> list[Row]:
    """How far the gradient is from the full one, at first and when some of the text has been learned."""
    settings, model, rows = work.settings, work.model(cell, 0), []
    sequence = work.sequence(settings.steps)
    for when in showing.WHEN:
        if when != showing.WHEN[0]:
            learning.learn(model, work.sequence(), (settings.every, settings.every), settings.lr)
        full = learning.gradient(model, sequence, (settings.steps, settings.steps))
        for k1, k2 in pairs(settings.look_back):
            found = learning.compared(learning.gradient(model, sequence, (k1, k2)), full)
            rows.append({"part": "gradient", "cell": cell, "when": when, "k1": k1, "k2": k2, **found})
        nats = estimate(model, work.held_out, mg.default_device())
        say(f"the gradient of the {cell} {when} is measured; held out: {nats:.3f} nats")
    return rows


def cost(work: Work) -> list[Row]:
    """The memory of a turn, and the time of a thousand symbols with their updates."""
    settings, every = work.settings, pairs(work.settings.look_back)
    sequence, device = work.sequence(settings.steps), mg.default_device()
    model = work.model(LEARNER, 0)
    works = [lambda pair=pair: learning.learn(model, sequence, pair, 1e-9) for pair in every]
    times = costs.seconds(works, settings.repeats)
    thousands = settings.steps * settings.batch / 1000
    return [
        {"part": "cost", "device": device, "k1": pair[0], "k2": pair[1], "seconds": time / thousands,
         "bytes": learning.peak(model, sequence, pair)}
        for pair, time in zip(every, times, strict=True)
    ]  # fmt: skip


def learned(settings: Settings, seed: int) -> list[Row]:
    """What the held-out text costs after the same number of symbols, with an update a turn and with as many for all."""
    work, rows = Work(settings), []
    sequence = work.sequence()
    runs = [(PRACTISED, pair, pair[0]) for pair in pairs(settings.learn)]
    runs += [(EQUAL, (k1, k2), settings.every) for k1, k2 in pairs(settings.learn) if k1 == k2 <= settings.every]
    done: dict[tuple[Pair, int], Row] = {}
    for how, pair, every in runs:
        if (pair, every) not in done:
            model = work.model(LEARNER, seed)
            updates = learning.learn(model, sequence, pair, settings.lr, every)
            nats = estimate(model, work.held_out, mg.default_device())
            done[pair, every] = {"updates": updates, "nats": nats}
            say(f"seed {seed}, TBPTT{pair}, {how}: {updates:,} updates, {nats:.3f} nats")
        rows.append({"part": "learned", "how": how, "seed": seed, "k1": pair[0], "k2": pair[1], **done[pair, every]})
    return rows


EXPERIMENTS = (Experiment("truncation", __doc__, Settings, measure, showing.tables, showing.draw, (showing.PICTURE,)),)

app = laboratory("truncation", *EXPERIMENTS, about=__doc__)
