"""Text out: one symbol at a time, each drawn from what the model expects and fed back to it.

V: vocabulary   N: samples, drawn side by side   T: time steps
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg
from minigrad.nn import functional as F

from ..common.choice import ALL, Choice, choose
from ..common.errors import UserError
from .model import CharLM
from .unfolding import Unfolding, check_stops
from .vocabulary import Vocabulary

# Symbols between two looks at what was drawn: each look makes the host wait for the device. The CPU never waits.
READ_EVERY = 32
STEPS = 1000  # T of the prime text that is read at once


class Piece(NamedTuple):
    """A symbol that was drawn, and the text that became sure with it."""

    sample: int  # which of those side by side
    symbol: str | int  # the character, or the byte's number
    text: str
    stop: str | None = None  # the stop string that ends the text here
    logprob: float | None = None  # nats, by the model itself: at temperature 1, of all symbols
    guesses: tuple[tuple[str | int, float], ...] = ()  # the likeliest and their logprobs, the likeliest first


@dataclass(frozen=True)
class Sample:
    """A text that was drawn."""

    pieces: list[Piece]  # of all symbols drawn, those of the stop string too

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def stop(self) -> str | None:
        """The stop string that ended it; None where the length did."""
        return self.pieces[-1].stop if self.pieces else None

    @property
    def logprob(self) -> float:
        """The sum over its symbols, nats, where `guesses` asked for them."""
        return math.fsum(piece.logprob for piece in self.pieces)


# From a prime text --------------------------------------------------------------------------------------


def sample(
    model: CharLM,
    length: int,
    *,
    prime: str = "\n",
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    stop: Sequence[str] = (),
    unknown: str = "error",
    device: str = "cpu",
) -> Iterator[str]:
    """Draw `length` symbols that follow `prime`, as text, one by one; on a GPU they come a few at a time.

    Args:
        temperature: the logits are divided by it. Below 1 the text is more predictable, above 1 more
            surprising; 0 always takes the likeliest symbol.
        top_k, top_p: what is drawn from, see Choice.
        seed: the same seed draws the same text.
        stop: texts, the first of which ends what is drawn; it is not given out.
        unknown: what becomes of characters in the prime that the model does not know, see Vocabulary.encode.
        device: where the model is.

    Raises:
        UserError: an option is out of its range; the prime is empty, or unknown to the model.
    """
    choice = Choice(temperature, top_k, top_p)
    drawn = pieces(model, length, prime=prime, choice=choice, seed=seed, stop=stop, unknown=unknown, device=device)
    return (piece.text for piece in drawn if piece.text)


def gather(drawn: Iterable[Piece], samples: int) -> list[Sample]:
    """Pieces by the text they belong to."""
    found: list[list[Piece]] = [[] for _ in range(samples)]
    for piece in drawn:
        found[piece.sample].append(piece)
    return [Sample(one) for one in found]


def pieces(
    model: CharLM,
    length: int,
    samples: int = 1,
    *,
    prime: str = "\n",
    choice: Choice = ALL,
    seed: int = 0,
    stop: Sequence[str] = (),
    unknown: str = "error",
    device: str = "cpu",
    guesses: int | None = None,
) -> Iterator[Piece]:
    """What `sample` draws, symbol by symbol, of several texts side by side. Its arguments, and:

    Args:
        samples: how many texts. Each has random numbers of its own: text k of a seed is the same whatever their number
            is, as far as rounding goes (products of one row and of many differ in the last bits).
        guesses: how many of the likeliest symbols to tell, beside the log-probability of the one drawn; None: neither.
    """
    for name, value, least in (("length", length, 0), ("number of samples", samples, 1), ("seed", seed, 0)):
        if value < least:
            raise UserError(f"the {name} must be {least} or more, got {value}")
    if guesses is not None and guesses < 0:
        raise UserError(f"the number of guesses must be 0 or more, got {guesses}")
    stops, ids = check_stops(stop), encode_prime(model.vocabulary, prime, unknown)
    generators = [generator(seed, k) for k in range(samples)]

    def drawn() -> Iterator[Piece]:
        logits, state = read(model, ids, device=device)
        state = _copies(state, samples)
        yield from write(model, mg.concatenate([logits] * samples), state, length, generators, choice, stops, guesses)

    return drawn()


def encode_prime(vocabulary: Vocabulary, prime: str, unknown: str = "error") -> np.ndarray:
    """The numbers of a text to go on from; there is at least one."""
    ids = vocabulary.encode(prime, unknown=unknown)
    if not len(ids):
        which = "is empty" if not prime else "has no character that the model knows"
        raise UserError(f"the prime text {which}; the model needs at least one symbol to start from")
    return ids


def usual_prime(vocabulary: Vocabulary) -> str:
    """What to start from where nothing is given: a new line, or the first character of a vocabulary without one."""
    known = vocabulary.characters
    return "\n" if vocabulary.unit == "byte" or "\n" in known else known[0]


def generator(seed: int, k: int = 0) -> np.random.Generator:
    """The random numbers of sample k."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(k,)))


# Symbol by symbol ---------------------------------------------------------------------------------------


def read(model: CharLM, ids: np.ndarray, state: Any = None, device: str = "cpu") -> tuple[mg.Tensor, Any]:
    """What the model expects after a text of at least one symbol, logits (1, V), and its state then."""
    model.eval()
    # NumPy need not warn of what is no number: what is drawn is looked at.
    with mg.no_grad(), np.errstate(all="ignore"):
        for start in range(0, len(ids), STEPS):
            chunk = np.asarray(ids[start : start + STEPS]).astype(np.int64)
            logits, state = model(mg.tensor(chunk.reshape(-1, 1), device=device), state)  # (T, 1, V)
        return logits[-1], state


def write(
    model: CharLM,
    logits: mg.Tensor,
    state: Any,
    length: int,
    generators: Sequence[np.random.Generator],
    choice: Choice = ALL,
    stop: Sequence[str] = (),
    guesses: int | None = None,
) -> Iterator[Piece]:
    """Go on from logits (N, V) and the state that came with them, `length` symbols or until all N have ended."""
    vocabulary = model.vocabulary
    texts = [Unfolding(vocabulary, stop) for _ in generators]
    drawn = _draw(model, logits, state, length, generators, choice, guesses is not None)
    for place, (numbers, logprobs) in enumerate(drawn):
        for k, (text, number) in enumerate(zip(texts, numbers, strict=True)):
            if text.stop is not None:
                continue
            if number == len(vocabulary):
                raise UserError("the model gives no numbers any more; its training must have diverged. Train again, "
                                "for example with a smaller --lr")  # fmt: skip
            sure = text.add(number)
            if place == length - 1:
                sure += text.end()
            known = () if guesses is None else _told(vocabulary, logprobs[k], number, guesses)
            yield Piece(k, symbol(vocabulary, number), sure, text.stop, *known)
        if all(text.stop is not None for text in texts):
            return


def _draw(
    model: CharLM,
    logits: mg.Tensor,
    state: Any,
    length: int,
    generators: Sequence[np.random.Generator],
    choice: Choice,
    tell: bool,
) -> Iterator[tuple[list[int], Any]]:
    """The numbers of N symbols at a time, and their log-probabilities (N, V) if these are to be told."""
    together = 1 if logits.device == "cpu" else READ_EVERY
    us, kept, last = _uniform(generators, logits.device), [], None
    for place in range(length):
        with mg.no_grad(), np.errstate(all="ignore"):
            if last is not None:
                logits, state = model.step(last, state)
            last = choose(logits, choice, next(us))
            kept.append(_with_logprobs(last, logits) if tell else last)
            if len(kept) < together and place < length - 1:
                continue
            rows = mg.stack(kept).tolist() if len(kept) > 1 else [kept[0].tolist()]
        kept = []
        for row in rows:
            yield ([int(one[0]) for one in row], [one[1:] for one in row]) if tell else (row, None)


def _uniform(generators: Sequence[np.random.Generator], device: str) -> Iterator[Any]:
    """Numbers in [0, 1): floats for one sample, which need no copy to the device; (N, 1) for several."""
    while True:
        block = np.stack([random.random(READ_EVERY) for random in generators], axis=1)  # (T, N)
        if len(generators) == 1:
            yield from block[:, 0].tolist()
        else:
            yield from mg.unstack(mg.tensor(block[..., None], device=device))


def _copies(state: Any, count: int) -> Any:
    """A state of one text, (L, 1, H) or some of these, as that of several."""
    if isinstance(state, tuple):
        return tuple(_copies(part, count) for part in state)
    return mg.concatenate([state] * count, axis=1)


# What the model expected ---------------------------------------------------------------------------------


def symbol(vocabulary: Vocabulary, number: int) -> str | int:
    """The character, or the byte's number."""
    return number if vocabulary.unit == "byte" else vocabulary.characters[number]


def _with_logprobs(number: mg.Tensor, logits: mg.Tensor) -> mg.Tensor:
    """Numbers (N,) and log p (N, V) in one array (N, 1 + V), so that they are read at once."""
    return mg.concatenate(
        [number.astype(mg.float64)[:, None], F.log_softmax(logits.astype(mg.float64), dim=-1)], axis=1
    )


def _told(vocabulary: Vocabulary, logprobs: list[float], number: int, guesses: int) -> tuple[float, Any]:
    likeliest = np.argsort(-np.array(logprobs), kind="stable")[:guesses].tolist()
    return logprobs[number], tuple((symbol(vocabulary, i), logprobs[i]) for i in likeliest)
