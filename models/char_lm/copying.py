"""How much of a text is copied from another: the windows of k symbols that the two share.

Exact, without hashing. Each window of 2^j symbols of the text has a number, the same for the same symbols: that of the
pair of numbers of its halves. A window of any other length is a pair of two such windows that overlap. Windows of the
sources are looked up among these. And as texts that share a window share its parts, the longest one is found by
bisection. For n symbols and a longest run of k that takes about log k passes over n log n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..common.errors import UserError

LIMIT = 1 << 25  # symbols of the text and the sources together: about 60 bytes of memory each
LENGTHS = (10, 20, 50)


@dataclass(frozen=True)
class Copied:
    """What a text shares with its sources."""

    symbols: int  # of the text
    shares: dict[int, float]  # for each k, the share of its symbols that lie in a copied run of at least k
    longest: int  # symbols of the longest copied run
    place: int  # where the first one of this length begins in the text
    source: tuple[int, int]  # where that one first occurs: in which source, and where in it


def copied(text: Any, sources: Sequence[Any], lengths: Sequence[int] = LENGTHS) -> Copied:
    """How much of `text` occurs, symbol by symbol, in `sources`.

    Args:
        text: numbers of symbols; a negative one occurs in no source.
        sources: pieces of numbers; no run reaches from one into the next.
        lengths: the shortest runs that count as copied, in symbols.

    Raises:
        UserError: the text is empty, the texts together are longer than LIMIT, or a length is below 1.
    """
    if not len(text):
        raise UserError("there is nothing to compare: the text is empty")
    if min(lengths, default=1) < 1:
        raise UserError(f"a copied run has at least 1 symbol, got {min(lengths)}")
    windows = _Windows(text, sources)
    shares = {k: float(_covered(windows.shared(k), k, len(text)).mean()) for k in lengths}
    low, high = 0, 1  # of low symbols there is a shared window; of high symbols, after the next line, none
    while windows.shared(high).any():
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if windows.shared(middle).any() else (low, middle)
    place = int(np.argmax(windows.shared(low))) if low else 0
    return Copied(len(text), shares, low, place, windows.find(place, low) if low else (0, 0))


def _covered(shared: np.ndarray, k: int, length: int) -> np.ndarray:
    """Which symbols lie in a window of k that is shared, given where such windows begin."""
    begun = np.zeros(length + 1, np.int64)
    begun[1 : 1 + len(shared)] = shared
    begun = np.cumsum(begun)  # up to each place
    begun[1 + len(shared) :] = begun[len(shared)]
    at = np.arange(1, length + 1)
    return begun[at] > begun[np.maximum(at - k, 0)]


class _Windows:
    """The windows of a text, and those windows of the sources that occur in the text, by their numbers."""

    def __init__(self, text: Any, sources: Sequence[Any]) -> None:
        total = len(text) + sum(len(source) for source in sources)
        if total > LIMIT:
            raise UserError(f"{total:,} symbols are too many to compare in memory; the most is {LIMIT:,}")
        laid_out = [np.zeros(0, np.int64)]
        for source in sources:
            laid_out += [np.asarray(source, np.int64), np.array([-1])]  # -1 is in no window of the text
        self._begins = np.cumsum([0] + [len(source) + 1 for source in sources])
        self._levels = [_number(np.asarray(text, np.int64), np.concatenate(laid_out))]  # of 1, 2, 4, ... symbols

    def shared(self, k: int) -> np.ndarray:
        """For each window of k symbols of the text, whether it occurs in a source."""
        text, sources = self._windows(k)
        return np.isin(text, sources[sources >= 0])

    def find(self, place: int, k: int) -> tuple[int, int]:
        """Where the window of the text at `place` first occurs: in which source, and where in it."""
        text, sources = self._windows(k)
        at = int(np.argmax(sources == text[place]))
        source = int(np.searchsorted(self._begins, at, side="right")) - 1
        return source, at - int(self._begins[source])

    def _windows(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The windows of k symbols, as pairs of windows of 2^j ≤ k symbols."""
        j = k.bit_length() - 1
        while len(self._levels) <= j:
            half = 1 << (len(self._levels) - 1)
            self._levels.append(_number(*self._pairs(self._levels[-1], half)))
        return self._pairs(self._levels[j], k - (1 << j))

    @staticmethod
    def _pairs(level: tuple[np.ndarray, np.ndarray], apart: int) -> tuple[np.ndarray, np.ndarray]:
        """Windows and those that begin `apart` symbols later, as one key each; negative if one is not in the text."""
        base = len(level[0]) + 1  # more than there are numbers
        first = [x[: max(len(x) - apart, 0)].astype(np.int64) for x in level]
        keys = [a * base + x[apart:] for a, x in zip(first, level, strict=True)]
        keys[1][(first[1] < 0) | (level[1][apart:] < 0)] = -1
        return keys[0], keys[1]


def _number(text: np.ndarray, sources: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The place of each key among the text's sorted ones; -1 for a source's that is not among them."""
    keys, numbers = np.unique(text, return_inverse=True)
    found = np.full(len(sources), -1, np.int32)
    there = np.flatnonzero(sources >= 0)
    place = np.searchsorted(keys, sources[there])
    known = np.append(keys, -1)[place] == sources[there]
    found[there[known]] = place[known]
    return numbers.astype(np.int32), found
