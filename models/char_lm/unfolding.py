"""Symbols as text while they come: only whole characters, and nothing of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from ..common.errors import UserError
from .vocabulary import Vocabulary


def check_stops(stops: Sequence[str]) -> tuple[str, ...]:
    """The stop strings, none of which may be empty."""
    found = (stops,) if isinstance(stops, str) else tuple(stops)
    if "" in found:
        raise UserError("a stop string is empty: every text would end before it; name the text to stop at")
    return found


class Unfolding:
    """The text of symbols that come one by one, given out as soon as it is sure.

    Of bytes, a character comes with its last byte; bytes that are no UTF-8 become U+FFFD. What may be the beginning
    of a stop string is held back until it is known. The text ends before the first stop string that is completed;
    of several that the same character completes, before the longest.

    >>> from models.char_lm.unfolding import Unfolding
    >>> from models.char_lm.vocabulary import Vocabulary
    >>> text = Unfolding(Vocabulary("", "byte"), ["END"])
    >>> [text.add(byte) for byte in "EËEND".encode()]
    ['', '', 'EË', '', '', '']
    >>> text.stop
    'END'
    """

    def __init__(self, vocabulary: Vocabulary, stops: Sequence[str] = ()) -> None:
        self.stop: str | None = None  # the one that ended the text
        self._stops = sorted(check_stops(stops), key=len, reverse=True)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self._characters = vocabulary.characters
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace") if vocabulary.unit == "byte" else None

    def add(self, number: int) -> str:
        """What is sure by now and was not before."""
        whole = self._bytes.decode(bytes([number])) if self._bytes else self._characters[number]
        return self._without_stops(whole) if self._stops else whole

    def end(self) -> str:
        """What was held back, when no symbol follows. Of a character cut by the end there is nothing."""
        held, self._held = self._held, ""
        return "" if self.stop is not None else held

    def _without_stops(self, text: str) -> str:
        sure = ""
        for character in text:
            if self.stop is not None:
                break
            self._held += character
            self.stop = next((stop for stop in self._stops if self._held.endswith(stop)), None)
            if self.stop is not None:
                sure += self._held.removesuffix(self.stop)
                break
            # The longest end of the text that begins a stop string is held, the rest is sure.
            kept = next((n for n in range(min(len(self._held), self._longest - 1), 0, -1) if self._begins_a_stop(n)), 0)
            cut = len(self._held) - kept
            sure, self._held = sure + self._held[:cut], self._held[cut:]
        return sure

    def _begins_a_stop(self, n: int) -> bool:
        return any(stop.startswith(self._held[-n:]) for stop in self._stops)
