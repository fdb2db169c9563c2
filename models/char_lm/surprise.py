"""What surprises a model: each symbol's share of the loss, and what was expected in its place.

T: time steps   V: vocabulary
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.nn import functional as F

from ..common.errors import UserError
from .evaluation import chunks
from .model import CharLM
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class Surprises:
    """Some symbols in a row; each array is (T,)."""

    places: np.ndarray  # in the text; its first symbol is at 0
    before: np.ndarray  # the number of the symbol before
    symbols: np.ndarray  # its own number
    nats: np.ndarray  # -log of the probability it had
    guesses: np.ndarray  # the likeliest symbol's number
    certainty: np.ndarray  # the probability of that one


def surprises(model: CharLM, ids: Any, places: range, device: str = "cpu") -> Iterator[Surprises]:
    """The symbols of a piece of a text, all but the first, chunk by chunk; the state is zeros at the piece's start.

    Args:
        ids: the numbers of the whole text, in memory or in a file.
        places: the piece of it.
    """
    model.eval()
    state, start = None, places.start + 1
    for inputs, targets in chunks([(ids[places.start : places.stop], 0)], len(model.vocabulary), device):
        numbers, state = _judge(model, inputs, targets, state)
        yield Surprises(np.arange(start, start + len(numbers[0])), *numbers)
        start += len(numbers[0])


@mg.no_grad()
def _judge(model: CharLM, inputs: mg.Tensor, targets: mg.Tensor, state: Any) -> tuple[list[np.ndarray], Any]:
    logits, state = model(inputs, state)
    expected = F.log_softmax(logits.squeeze(1), dim=-1)  # (T, V)
    nats = -mg.take_along_axis(expected, targets, axis=1).squeeze(1)
    certainty = mg.exp(expected.max(axis=1))
    found = (inputs.squeeze(1), targets.squeeze(1), nats, mg.argmax(expected, axis=1), certainty)
    return [x.to("cpu").numpy() for x in found], state


# To a file ----------------------------------------------------------------------------------------------

COLUMNS = ("position", "symbol", "nats", "likeliest", "probability")


def check_rows(path: Path) -> None:
    """Rows can be written to .csv and .jsonl."""
    if path.suffix not in (".csv", ".jsonl"):
        raise UserError(f"--surprise writes rows to a file named .csv or .jsonl, got {path.name}")


@contextmanager
def rows_to(path: Path, vocabulary: Vocabulary) -> Iterator[Callable[[Surprises], None]]:
    """A file with a row for each symbol: its position in the text, itself, its nats, and what was the likeliest."""
    check_rows(path)
    names = np.array([name(vocabulary, i) for i in range(len(vocabulary))], dtype=object)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        if path.suffix == ".csv":
            table.writerow(COLUMNS)

        def write(part: Surprises) -> None:
            nats, certainty = (np.round(x.astype(np.float64), 6) for x in (part.nats, part.certainty))
            columns = (part.places, names[part.symbols], nats, names[part.guesses], certainty)
            rows = zip(*(column.tolist() for column in columns), strict=True)
            if path.suffix == ".csv":
                table.writerows(rows)
            else:
                file.writelines(
                    json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False) + "\n" for row in rows
                )

        yield write


def name(vocabulary: Vocabulary, number: int) -> str:
    r"""A symbol as text: a character; of bytes, one of ASCII as it is, others as \x80 to \xff.

    >>> from models.char_lm.vocabulary import Vocabulary
    >>> name(Vocabulary("abc"), 2), name(Vocabulary("", "byte"), 65), name(Vocabulary("", "byte"), 200)
    ('c', 'A', '\\xc8')
    """
    if vocabulary.unit == "char":
        return vocabulary.characters[number]
    return chr(number) if number < 128 else f"\\x{number:02x}"


# In short -----------------------------------------------------------------------------------------------

EDGES = (0.1, 0.5, 1.0, 2.0, 4.0)  # nats
KINDS = ("first of a word", "later in a word", "space or mark", "new line")


class Summary:
    """How the loss is spread, and the most and the least surprising places; fed part by part."""

    def __init__(self, vocabulary: Vocabulary, extremes: int = 10) -> None:
        self.by_size = np.zeros((2, len(EDGES) + 1))  # symbols and nats, of those below each edge and those above all
        self.by_kind = np.zeros((2, len(KINDS)))
        self.least = self.most = np.zeros((0, 4))  # of each: nats, place, likeliest, its probability
        self._extremes = extremes
        names = [name(vocabulary, i) for i in range(len(vocabulary))]
        self._in_word = np.array([len(c) > 1 or c.isalnum() for c in names])  # a byte of many is a letter's, mostly
        self._new_line = np.array([c == "\n" for c in names])

    def add(self, part: Surprises) -> None:
        """Count some symbols."""
        nats = part.nats.astype(np.float64)
        later = self._in_word[part.before].astype(np.int64)
        kinds = np.where(self._in_word[part.symbols], later, 2 + self._new_line[part.symbols])
        for table, of in ((self.by_size, np.searchsorted(EDGES, nats, side="right")), (self.by_kind, kinds)):
            table[0] += np.bincount(of, minlength=table.shape[1])
            table[1] += np.bincount(of, nats, table.shape[1])
        found = np.stack([nats, part.places, part.guesses, part.certainty], axis=1)
        self.least = self._first(np.concatenate([self.least, found]), 1)
        self.most = self._first(np.concatenate([self.most, found]), -1)

    def _first(self, rows: np.ndarray, sign: int) -> np.ndarray:
        """The rows with the least (1) or the most (-1) nats, the first in the text of those with the same."""
        return rows[np.argsort(sign * rows[:, 0], kind="stable")[: self._extremes]]

    def lines(self) -> Iterator[str]:
        """Tables: the share of the symbols, the share of the loss, and nats per symbol."""
        edges = (f"below {EDGES[0]:g}", *(f"{a:g} to {b:g}" for a, b in itertools.pairwise(EDGES)))
        sizes = (*edges, f"{EDGES[-1]:g} and more")
        for title, names, (symbols, nats) in (("nats", sizes, self.by_size), ("symbol", KINDS, self.by_kind)):
            yield f"{title:<16} {'of symbols':>11} {'of the loss':>12} {'nats each':>10}"
            for kind, count, sum_ in zip(names, symbols, nats, strict=True):
                each = f"{sum_ / count:10.3f}" if count else f"{'-':>10}"
                yield f"{kind:<16} {count / symbols.sum():11.1%} {sum_ / nats.sum():12.1%} {each}"


@dataclass(frozen=True)
class Place:
    """A symbol among its neighbours, fit to be shown in a line."""

    nats: float
    position: int
    left: str
    symbol: str
    right: str
    likeliest: str
    certainty: float


def shown(rows: np.ndarray, ids: Any, vocabulary: Vocabulary, left: int = 40, right: int = 15) -> list[Place]:
    """Rows of a Summary with the text around them."""

    def text(start: int, stop: int) -> str:
        return _in_a_line(vocabulary.decode(np.asarray(ids[max(start, 0) : min(stop, len(ids))])))

    found = []
    for nats, place, guess, certainty in rows.tolist():
        at = int(place)
        symbol = _in_a_line(name(vocabulary, int(np.asarray(ids[at : at + 1])[0])))
        likeliest = _in_a_line(name(vocabulary, int(guess)))
        found.append(Place(nats, at, text(at - left, at), symbol, text(at + 1, at + 1 + right), likeliest, certainty))
    return found


def _in_a_line(text: str) -> str:
    r"""Without what would move the cursor: new lines as \n, and so on."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
