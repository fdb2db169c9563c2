"""A text's symbols, and their numbers."""

from __future__ import annotations

import numpy as np

from ..common.errors import UserError

UNITS = ("char", "byte")


class Vocabulary:
    """The symbols that a model knows; a symbol's number is its place.

    Of characters, the distinct ones of a text, in the order of their code points. Of bytes, all 256.
    """

    def __init__(self, characters: str, unit: str = "char") -> None:
        if unit not in UNITS:
            raise UserError(f"there is no unit {unit!r}; choose one of {', '.join(UNITS)}")
        self.unit = unit
        self.characters = "".join(sorted(set(characters))) if unit == "char" else ""
        self._codes = _code_points(self.characters)

    def __len__(self) -> int:
        return len(self.characters) if self.unit == "char" else 256

    @property
    def dtype(self) -> np.dtype:
        """The smallest dtype that holds every number."""
        return np.min_scalar_type(len(self) - 1)

    def encode(self, text: str) -> np.ndarray:
        """The numbers of a text's symbols, of the smallest dtype."""
        if self.unit == "byte":
            return np.frombuffer(text.encode("utf-8"), np.uint8)
        codes = _code_points(text)
        ids = np.searchsorted(self._codes, codes)
        known = self._codes[np.minimum(ids, len(self._codes) - 1)] == codes
        if not known.all():
            at = int(np.argmin(known))
            shown = self.characters.replace("\n", "\\n")
            raise UserError(
                f"the character {text[at]!r} at position {at} is not in the vocabulary. Its {len(self)} characters "
                f"are those of the training text: {shown[:200]}{'...' if len(shown) > 200 else ''}"
            )
        return ids.astype(self.dtype)

    def decode(self, ids: np.ndarray) -> str:
        """The text of some numbers; bytes that are no UTF-8 become U+FFFD."""
        if self.unit == "byte":
            return bytes(int(i) for i in ids).decode("utf-8", "replace")
        return "".join(self.characters[i] for i in ids)


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
