"""N-grams: what counting alone expects, the yardstick of every model that learns.

Interpolated modified Kneser-Ney (Chen and Goodman 1998). With c(h w) how often w was seen after the n-1 symbols h,
c(h) the sum of it over w, N_k(h) how many w were seen k times (k = 3: or more), and h' the end of h, one shorter:

    P_n(w | h) = (c(h w) - D_c(h w)) / c(h)  +  (D_1 N_1(h) + D_2 N_2(h) + D_3 N_3(h)) / c(h) · P'_n-1(w | h')

P' is made the same way, from how many different symbols were seen before h w, in place of c(h w); P'_0 = 1/V; and
where h was never seen, P_n(w | h) = P'_n-1(w | h'). Every P sums to 1 over w. With n_k the number of n-grams seen
k times, D_k = k - (k + 1) Y n_k+1 / n_k and Y = n_1 / (n_1 + 2 n_2); one half where that is not between 0 and k.

V: vocabulary
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import UserError

LIMIT = 1 << 24  # symbols that are counted: up to 160 bytes of memory each
_NONE = np.iinfo(np.int64).min  # no key


@dataclass(frozen=True)
class Order:
    """What n-grams of one length reach."""

    order: int  # n: each symbol is expected from the n - 1 before it
    nats: float  # per symbol of the held-out text, without the first of each piece
    ngrams: int  # distinct ones in the text that was learned
    seconds: float  # of counting and of judging, shorter ones included


def judge(train: Sequence[Any], held_out: Sequence[Any], symbols: int, orders: int = 8) -> Iterator[Order]:
    """Learn n-grams of length 1, 2, ... up to `orders`, and judge each.

    Args:
        train, held_out: pieces of numbers below `symbols`; no n-gram reaches from one piece into the next.
        symbols: V.

    Raises:
        UserError: there is nothing to learn or to judge, the order is below 1, or a text is longer than LIMIT.
    """
    if not any(len(piece) > 1 for piece in held_out):
        raise UserError("there is nothing to judge: the held-out text needs two symbols at least, the first is given")
    counted = np.concatenate([np.arange(len(piece)) > 0 for piece in held_out])
    started = time.perf_counter()
    for order, (p, ngrams) in enumerate(probabilities(train, held_out, symbols, orders), 1):
        nats = -float(np.log(p[counted]).mean())
        yield Order(order, nats, ngrams, time.perf_counter() - started)


def probabilities(
    train: Sequence[Any], held_out: Sequence[Any], symbols: int, orders: int
) -> Iterator[tuple[np.ndarray, int]]:
    """For n = 1, 2, ...: P_n of each symbol of `held_out`, all pieces in a row; and how many n-grams were learned."""
    if orders < 1:
        raise UserError(f"the order of n-grams must be at least 1, got {orders}")
    learned, judged = _Text(train), _Text(held_out)
    if not len(learned.ids):
        raise UserError("there is nothing to learn: the text for counting n-grams is empty")
    lower = np.full(len(judged.ids), 1 / symbols)  # P'_0
    level = _Level(learned, judged, symbols, contexts=1)
    yield level.expect(level.counts, lower), len(level.keys)
    for _ in range(orders - 1):
        shorter, level = level, _Level(learned, judged, symbols, contexts=len(level.keys))
        lower = shorter.expect(level.different_before(), lower)  # P'_n-1
        yield level.expect(level.counts, lower), len(level.keys)


class _Text:
    """Pieces in a row; and, for one n after the other, the number of the n-gram that ends at each place."""

    def __init__(self, pieces: Sequence[Any]) -> None:
        total = sum(len(piece) for piece in pieces)
        if total > LIMIT:
            raise UserError(f"{total:,} symbols are too many to count n-grams in memory; the most is {LIMIT:,}")
        self.ids = np.concatenate([np.asarray(piece, np.int64) for piece in pieces] or [np.zeros(0, np.int64)])
        bounds = np.cumsum([0, *map(len, pieces)])
        self._starts = bounds[:-1][np.diff(bounds) > 0]
        self.ngram: np.ndarray | None = None  # of the length before; -1 where there is none, or it was not learned

    def contexts(self) -> np.ndarray:
        """The number of the n-gram that ends right before each place; of n = 0, there is one everywhere."""
        if self.ngram is None:
            return np.zeros_like(self.ids)
        before = np.empty_like(self.ids)
        before[1:] = self.ngram[:-1]
        before[self._starts] = -1
        return before


class _Level:
    """The n-grams of one length n.

    An n-gram's key is context * V + its last symbol, where the context is the number of the (n-1)-gram before; its
    number is its place among the sorted keys. So numbers stay exact and small, however long the n-grams are.
    """

    def __init__(self, learned: _Text, judged: _Text, symbols: int, contexts: int) -> None:
        before, ends = learned.contexts(), learned.ngram
        there = before >= 0
        self.keys, number, self.counts = np.unique(
            before[there] * symbols + learned.ids[there], return_inverse=True, return_counts=True
        )
        learned.ngram = np.full_like(before, -1)
        learned.ngram[there] = number
        self._contexts, self._context = contexts, self.keys // symbols  # how many; and of each n-gram
        self._end = np.zeros_like(self.keys)  # the number of its last n - 1 symbols
        if ends is not None:
            self._end[number] = ends[there]

        self._before = judged.contexts()
        keys = self._before * symbols + judged.ids
        place = np.searchsorted(self.keys, keys)
        known = np.append(self.keys, _NONE)[place] == keys
        judged.ngram = self._place = np.where(known, place, -1)

    def different_before(self) -> np.ndarray:
        """For each (n-1)-gram, how many different symbols were seen before it."""
        return np.bincount(self._end, minlength=self._contexts)

    def expect(self, counts: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """P of each judged symbol, by counts of this level's n-grams and by what one symbol less expects."""
        taken = _discounts(counts)[np.minimum(counts, 3)]
        total = np.bincount(self._context, counts, self._contexts)
        spare = np.bincount(self._context, taken, self._contexts)  # D_1 N_1 + D_2 N_2 + D_3 N_3

        known = self._before >= 0
        known[known] = total[self._before[known]] > 0
        before, place = self._before[known], self._place[known]
        kept = np.append(counts - taken, 0)[place]  # nothing of what was never seen, which is at place -1
        p = lower.copy()
        p[known] = (kept + spare[before] * lower[known]) / total[before]
        return p


def _discounts(counts: np.ndarray) -> np.ndarray:
    """D_0 = 0, D_1, D_2, D_3."""
    n = np.bincount(np.minimum(counts, 5), minlength=6)
    y = n[1] / max(n[1] + 2 * n[2], 1)
    d = [k - (k + 1) * y * n[k + 1] / n[k] if n[k] else 0 for k in (1, 2, 3)]
    return np.array([0.0] + [x if 0 < x < k else 0.5 for k, x in enumerate(d, 1)])
