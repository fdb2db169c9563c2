"""Numbers in words, 0 to 10,000, in English and in Korean, as num2words writes them.

two hundred forty-one        이백사십일        (이 2, 백 100, 사 4, 십 10, 일 1)

The source is cut into words, the target into syllables. T: steps   N: pairs   V: syllables, and the end
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ..common.errors import UserError
from ..common.extras import import_extra

LARGEST = 10_000
HELD_OUT = 2_000  # numbers, the same ones for every seed
LEARNED = LARGEST + 1 - HELD_OUT  # all others

END = 0  # the symbol after the last syllable; the syllables have 1 to V - 1, and V is what the decoder starts with
PAD = -1  # a target that does not count


class Pair(NamedTuple):
    """A number in both languages."""

    number: int
    words: list[str]
    syllables: str


class Batch(NamedTuple):
    """Pairs as numbers of their symbols; short ones are filled up."""

    words: np.ndarray  # (T, N)
    lengths: list[int]  # of each one's words
    inputs: np.ndarray  # (T', N): the start, y_1, ..., y_n, and the end over and over
    targets: np.ndarray  # (T', N): y_1, ..., y_n, the end, and PAD over and over


@functools.cache
def load() -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """What is learned, in an order that the first few are a fair sample of; and what is held out.

    0 and 10,000 are never held out: zero and 만 are in no other number.

    Raises:
        ImportError: num2words is not installed.
    """
    order = 1 + np.random.default_rng(0).permutation(LARGEST - 1)
    held_out, learned = order[:HELD_OUT].tolist(), [0, LARGEST, *order[HELD_OUT:].tolist()]
    return tuple(map(pair, learned)), tuple(map(pair, held_out))


def pair(number: int) -> Pair:
    """A number in both languages; 0 to 10,000.

    >>> pair(241)
    Pair(number=241, words=['two', 'hundred', 'forty', 'one'], syllables='이백사십일')
    """
    in_words = import_extra("num2words").num2words
    return Pair(number, cut(in_words(number, lang="en")), in_words(number, lang="ko"))


def cut(text: str) -> list[str]:
    """English words; hyphens, commas, capitals and "and" make no difference.

    >>> cut("Nine thousand, two hundred and forty-one")
    ['nine', 'thousand', 'two', 'hundred', 'forty', 'one']
    """
    return [word for word in text.lower().replace("-", " ").replace(",", " ").split() if word != "and"]


def read(text: str) -> list[str]:
    """The words of a number that somebody typed, in words or in digits.

    Raises:
        UserError: there is nothing in it, or it is beyond what is learned.
    """
    try:
        number = int(text.replace(",", ""))
    except ValueError:
        words = cut(text)
        if not words:
            raise UserError(f'expected a number such as 241 or "two hundred forty-one", got {text!r}') from None
        return words
    if not 0 <= number <= LARGEST:
        raise UserError(f"there are numbers from 0 to {LARGEST:,}, got {number:,}")
    return pair(number).words


def symbols(texts: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """All words, or all syllables, in the order in which they come.

    >>> symbols(["이백", "삼백"])
    ('이', '백', '삼')
    """
    return tuple(dict.fromkeys(symbol for text in texts for symbol in text))


# As numbers -------------------------------------------------------------------------------------------


def sources(texts: Sequence[Sequence[str]], known: Sequence[str]) -> tuple[np.ndarray, list[int]]:
    """Words as their numbers (T, N), and how many each text has.

    Raises:
        UserError: a word is not among those that are known.
    """
    places = {word: place for place, word in enumerate(known)}
    for word in (word for text in texts for word in text if word not in places):
        near = difflib.get_close_matches(word, known, 1)
        cure = f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(known)}"
        raise UserError(f"the model does not know the word {word!r:.40}; {cure}")
    lengths = [len(text) for text in texts]
    ids = np.zeros((max(lengths), len(texts)), np.int64)
    for n, text in enumerate(texts):
        ids[: len(text), n] = [places[word] for word in text]
    return ids, lengths


def encode(pairs: Sequence[Pair], words: Sequence[str], syllables: Sequence[str]) -> Batch:
    """Pairs as numbers: words by their places, syllables by their places after END."""
    places = {syllable: place for place, syllable in enumerate(syllables, END + 1)}
    longest = max(len(pair.syllables) for pair in pairs)
    targets = np.full((longest + 1, len(pairs)), PAD)
    for n, pair in enumerate(pairs):
        targets[: len(pair.syllables) + 1, n] = [*(places[syllable] for syllable in pair.syllables), END]
    start = np.full((1, len(pairs)), len(syllables) + 1)
    inputs = np.concatenate([start, np.where(targets == PAD, END, targets)[:-1]])
    return Batch(*sources([pair.words for pair in pairs], words), inputs, targets)
