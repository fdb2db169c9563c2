"""A text as words: cut apart, numbered, and put together again.

A word is a run of letters, digits and underscores, a mark (or a mark repeated) is one of its own and keeps the spaces
around it, and so are a line's end and an empty line. So a text can be written again as it was, but for spaces that
repeat, those at a line's beginning and end, and more than one empty line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..common.built_in import built_in_text
from ..common.errors import UserError
from ..common.streams import split

UNKNOWN = "<unk>"  # stands for every word that is not in the vocabulary; its number is 0
PARAGRAPH = "\n\n"
WORD = re.compile(r"(?P<word>\w+(?:['’]\w{1,2}\b)?)|(?P<mark>[^\w\s])(?P=mark)*|\n\n?")


@dataclass(frozen=True)
class Text:
    """Numbers of words: those to learn, and those held out, the last 10%."""

    name: str
    vocabulary: tuple[str, ...]  # of what is learned, the most frequent words first, after <unk>
    learned: np.ndarray
    held_out: np.ndarray

    @property
    def unknown(self) -> float:
        """The share of the held-out words that are <unk>."""
        return float((self.held_out == 0).mean())


def load(path: Path | None, min_count: int) -> Text:
    """The text of a file, or the one inside Python.

    Args:
        min_count: how often a word must occur in what is learned, not to become <unk>.

    Raises:
        UserError: it is not UTF-8, or too short, or all its words are rarer than that.
        OSError: there is no such file.
    """
    name = "the language reference inside Python" if path is None else str(path)
    text = split(words(built_in_text() if path is None else _read(path)))
    (learned,), (held_out,) = text.train, text.held_out
    if not (learned and len(held_out) > 1):
        raise UserError(f"{name} has {len(learned) + len(held_out)} words, too few to learn and to be judged by")
    vocabulary = vocabulary_of(learned, min_count)
    if len(vocabulary) < 2:
        raise UserError(f"no word of {name} occurs {min_count} times in what is learned; take a smaller --min-count")
    return Text(name, vocabulary, numbers(learned, vocabulary), numbers(held_out, vocabulary))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: {error}") from error


def words(text: str) -> list[str]:
    """A text's words, marks and line ends.

    >>> words('The "if" statement, x.y')
    ['The', ' "', 'if', '" ', 'statement', ', ', 'x', '.', 'y']
    """
    lines = "\n".join(" ".join(line.split()) for line in text.split("\n"))
    spaced = re.sub(r"\n\n+", PARAGRAPH, lines).replace("\n", " \n ").replace(" \n  \n ", f" {PARAGRAPH} ")
    spaced = f" {spaced} "  # a text begins and ends as a line does
    found = []
    for match in WORD.finditer(spaced):
        before, after = spaced[match.start() - 1], spaced[match.end()]
        found.append(f"{' ' * (before == ' ')}{match[0]}{' ' * (after == ' ')}" if match["mark"] else match[0])
    return found


def text_of(words: Iterable[str]) -> str:
    """The text that is made of words: between two that are no marks there is a space.

    >>> text_of(words('The "if" statement, x.y'))
    'The "if" statement, x.y'
    """
    parts, after_word = [], False
    for word in words:
        is_word = WORD.match(word.lstrip(" "))["word"] is not None
        parts.append(f" {word}" if is_word and after_word else word)
        after_word = is_word
    return re.sub(r" *(\n+) *", r"\1", re.sub(" +", " ", "".join(parts))).strip(" ")


def vocabulary_of(words: Sequence[str], min_count: int) -> tuple[str, ...]:
    """<unk>, and the words that occur so often, the most frequent first."""
    counts = Counter(words)
    known = [word for word, count in counts.items() if count >= min_count]
    return (UNKNOWN, *sorted(known, key=lambda word: (-counts[word], word)))


def numbers(words: Iterable[str], vocabulary: Sequence[str]) -> np.ndarray:
    """The number of each word, 0 if it has none."""
    place = {word: number for number, word in enumerate(vocabulary)}
    return np.array([place.get(word, 0) for word in words], np.int64)
