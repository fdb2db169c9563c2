"""A text's symbols, and their numbers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..common.errors import UserError

UNITS = {"char": "character", "byte": "byte"}  # and what a symbol of it is called
UNKNOWN = {
    "error": "say which character it is, and where",
    "skip": "leave it out",
    "replace": "take U+FFFD for it, which the vocabulary must have: --min-count puts it there",
}
REPLACEMENT = "\ufffd"


class Vocabulary:
    """The symbols that a model knows; a symbol's number is its place.

    Of characters, the distinct ones of a text, in the order of their code points. Of bytes, all 256.
    """

    def __init__(self, characters: str, unit: str = "char") -> None:
        if unit not in UNITS:
            raise UserError(f"there is no unit {unit!r}; choose one of {', '.join(UNITS)}")
        self.unit = unit
        self.characters = "".join(sorted(set(characters))) if unit == "char" else ""
        self._codes = code_points(self.characters)

    def __len__(self) -> int:
        return len(self.characters) if self.unit == "char" else 256

    @property
    def dtype(self) -> np.dtype:
        """The smallest dtype that holds every number."""
        return np.min_scalar_type(len(self) - 1)

    def encode(self, text: str, unknown: str = "error", *, source: str = "", start: int = 0) -> np.ndarray:
        """The numbers of a text's symbols, of the smallest dtype.

        Args:
            unknown: what to do with a character that is not in the vocabulary, one of UNKNOWN.
            source: where the text comes from, and
            start: its place there, for the error.
        """
        check_unknown(unknown)
        if self.unit == "byte":
            return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)
        ids = self.look_up(text)
        strange = ids == len(self)
        if strange.any():
            if unknown == "error":
                raise UserError(self._complaint(text, int(np.argmax(strange)), source, start))
            ids = ids[~strange] if unknown == "skip" else np.where(strange, self.replacement, ids)
        return ids.astype(self.dtype)

    def look_up(self, text: str) -> np.ndarray:
        """The numbers of characters, V for those that are not in the vocabulary."""
        return np.take(self._numbers, code_points(text), mode="clip")

    def decode(self, ids: Any) -> str:
        """The text of some numbers; bytes that are no UTF-8 become U+FFFD."""
        if self.unit == "byte":
            return np.asarray(ids, np.uint8).tobytes().decode("utf-8", "replace")
        return np.take(self._codes, np.asarray(ids, np.int64)).tobytes().decode("utf-32-le", "surrogatepass")

    @property
    def replacement(self) -> int:
        """The number of U+FFFD, which stands for characters that are not known."""
        if REPLACEMENT not in self.characters:
            raise UserError(
                "there is no U+FFFD in the vocabulary to take for unknown characters. Leave them out with "
                "--unknown skip, or train with --min-count 2, so that the model learns what to make of rare ones"
            )
        return self.characters.index(REPLACEMENT)

    @functools.cached_property
    def _numbers(self) -> np.ndarray:
        """The number of each code point, V if it has none; the last entry is for all code points beyond."""
        numbers = np.full(int(self._codes[-1]) + 2 if len(self) else 1, len(self), np.min_scalar_type(len(self)))
        numbers[self._codes] = np.arange(len(self))
        return numbers

    def _complaint(self, text: str, at: int, source: str, start: int) -> str:
        shown = self.characters.replace("\n", "\\n")
        return (
            f"the character {text[at]!r} at position {start + at}{source and ' of ' + source} is not in the "
            f"vocabulary; --unknown skip leaves such characters out. The {len(self)} characters of the training text: "
            f"{shown[:200]}{'...' if len(shown) > 200 else ''}"
        )


def check_unknown(policy: str) -> None:
    """A policy must be one of UNKNOWN."""
    if policy not in UNKNOWN:
        raise UserError(f"there is no policy {policy!r} for unknown characters; choose one of {', '.join(UNKNOWN)}")


def code_points(text: str) -> np.ndarray:
    """The code points of a text's characters."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
