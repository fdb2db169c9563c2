"""Captions of handwritten digits in three languages, every word of which follows from the digit; the images are those
of models/digits.

T: time steps, the words of the longest caption and its END   C: captions

num2words writes the numbers. A comma is a word of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..common.errors import UserError
from ..common.extras import import_extra

LANGUAGES = ("en", "de", "ko")
DIGITS = 10
END = "<end>"
IGNORED = -100  # the target where there is none: the loss leaves it out


def start(language: str) -> str:
    """The word that a caption begins with, and that says which language it is in."""
    return f"<{language}>"


def refuse_unknown(language: str) -> None:
    """Raise a UserError if there are no captions in a language."""
    if language not in LANGUAGES:
        raise UserError(f"there are no captions in {language!r}; choose one of {', '.join(LANGUAGES)}")


def caption(digit: int, language: str) -> list[str]:
    """The words of a caption.

    >>> joined(caption(7, "en"))
    'a handwritten seven, an odd number larger than five, between six and eight'
    >>> joined(caption(0, "de"))
    'eine handgeschriebene Null, eine gerade Zahl kleiner als fünf, zwischen minus eins und eins'
    >>> joined(caption(5, "ko"))
    '손으로 쓴 오, 오와 같은 홀수, 사와 육 사이'

    Raises:
        UserError: there is no such language.
        ImportError: num2words is not installed.
    """
    refuse_unknown(language)
    in_words = import_extra("num2words").num2words
    before, itself, after, five = (in_words(n, lang=language) for n in (digit - 1, digit, digit + 1, 5))
    than = (digit > 5) - (digit < 5)  # -1, 0 or 1
    if language == "en":
        size = ("smaller than", "equal to", "larger than")[than + 1]
        number = ("an even number", "an odd number")[digit % 2]
        told = f"a handwritten {itself} , {number} {size} {five} , between {before} and {after}"
    elif language == "de":
        size = ("kleiner als", "gleich", "größer als")[than + 1]
        number = ("eine gerade Zahl", "eine ungerade Zahl")[digit % 2]
        told = f"eine handgeschriebene {itself.title()} , {number} {size} {five} , zwischen {before} und {after}"
    else:
        size = (f"{five}보다 작은", f"{_with(five)} 같은", f"{five}보다 큰")[than + 1]
        number = ("짝수", "홀수")[digit % 2]
        told = f"손으로 쓴 {itself} , {size} {number} , {_with(before)} {after} 사이"
    return told.split()


def _with(word: str) -> str:
    """A Korean noun and its "and" or "with": 과 if its last syllable ends in a consonant, or 와."""
    ends_in_a_consonant = (ord(word[-1]) - ord("가")) % 28 > 0
    return word + ("과" if ends_in_a_consonant else "와")


def joined(words: Sequence[str]) -> str:
    """Words as they are read."""
    return " ".join(words).replace(" ,", ",")


def vocabulary() -> tuple[str, ...]:
    """END, a START for each language, and all words of all captions."""
    words = {word for language in LANGUAGES for digit in range(DIGITS) for word in caption(digit, language)}
    return (END, *map(start, LANGUAGES), *sorted(words))


@dataclass(frozen=True)
class Captions:
    """All captions there are, C = 30 of them, in numbers of words: what a decoder reads, and what it is to say next.

    reads      <en>  a  handwritten  ...  eight  <end>  <end>          (T, C)
    says       a     handwritten  ...   eight  <end>  -     -          (T, C)

    Where a caption is over, it reads what does not matter, and what it says does not count: IGNORED.
    """

    reads: np.ndarray
    says: np.ndarray

    @staticmethod
    def number(digit: np.ndarray, language: np.ndarray) -> np.ndarray:
        """Which caption is of these digits, in these languages (by their places in LANGUAGES)."""
        return language * DIGITS + digit


def captions(words: Sequence[str]) -> Captions:
    """In numbers: the places of the words in a vocabulary."""
    places = {word: place for place, word in enumerate(words)}
    each = [[start(lang), *caption(digit, lang), END] for lang in LANGUAGES for digit in range(DIGITS)]
    steps = max(map(len, each)) - 1
    reads = np.full((steps, len(each)), places[END])
    says = np.full((steps, len(each)), IGNORED)
    for column, told in enumerate(each):
        numbers = [places[word] for word in told]
        reads[: len(told) - 1, column] = numbers[:-1]
        says[: len(told) - 1, column] = numbers[1:]
    return Captions(reads, says)


def until_the_end(numbers: Sequence[int], words: Sequence[str]) -> list[str]:
    """The words that were written, up to the first END.

    >>> until_the_end([2, 1, 0, 1], ["<end>", "seven", "a"])
    ['a', 'seven']
    """
    written = [words[number] for number in numbers]
    return written[: written.index(END)] if END in written else written
