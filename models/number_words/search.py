"""Beam search: the likeliest answers, as far as a few can be kept at a time.

N: texts   K: hypotheses of each   V: syllables, and the end   H: hidden size
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import minigrad as mg
from minigrad.nn import functional as F

from ..common.checks import check_numbers
from .data import END
from .model import Translator


class Hypothesis(NamedTuple):
    """An answer, and how likely the model finds it."""

    symbols: list[int]  # without the end
    logprob: float  # log p(y_1 | x) + log p(y_2 | y_1, x) + ..., in nats, with that of the end
    ended: bool  # by itself; else it was cut, one symbol after the longest that was learned


def search(model: Translator, words: np.ndarray, lengths: list[int], width: int, device: str) -> list[list[Hypothesis]]:
    """For each text up to `width` answers, the likeliest first.

    Each step extends every hypothesis by every symbol, and keeps the `width` likeliest of these and of those that have
    ended. Sums of log-probabilities are compared as they are: each is the probability of a whole answer, and no
    answer is helped for being long. A width of 1 is greedy search; one that leaves nothing out is exact.

    Args:
        words: (T, N), as `data.sources` makes them.
        lengths: how many words each text has.
    """
    count = len(lengths)
    first = np.arange(count)[:, None] * width  # (N, 1): the rows of a text are neighbours
    state = _rows(model.encoder(mg.tensor(words, device=device), lengths), np.repeat(np.arange(count), width))
    scores = np.full((count, width), -np.inf)
    scores[:, 0] = 0  # there is one to begin with
    found = np.full((count, width, 1), len(model.options.syllables) + 1)  # the start
    ended = np.zeros((count, width), bool)
    for _ in range(model.options.longest + 1):
        logits, state = model.decoder.step(mg.tensor(found[..., -1].ravel(), device=device), state)
        logp = F.log_softmax(logits.astype(mg.float64), dim=-1).to("cpu").numpy()
        logp = check_numbers(logp).reshape(count, width, -1).copy()
        logp[ended] = -np.inf  # what has ended goes on with the end, at no cost
        logp[ended, END] = 0
        size = logp.shape[-1]
        extended = (scores[..., None] + logp).reshape(count, width * size)
        best = np.argsort(-extended, axis=1, kind="stable")[:, :width]
        parents, symbols = best // size, best % size
        scores = np.take_along_axis(extended, best, 1)
        found = np.concatenate([np.take_along_axis(found, parents[..., None], 1), symbols[..., None]], 2)
        ended = symbols == END
        if ended.all():
            break
        state = _rows(state, (first + parents).ravel())
    return [
        [_hypothesis(*each) for each in zip(*of, strict=True) if np.isfinite(each[1])]
        for of in zip(found, scores, strict=True)
    ]


def _hypothesis(symbols: np.ndarray, score: float) -> Hypothesis:
    said = [symbol for symbol in symbols[1:].tolist() if symbol != END]
    return Hypothesis(said, float(score), len(said) < len(symbols) - 1)


def _rows(state: Any, rows: np.ndarray) -> Any:
    """These rows of a state (1, N, H), or of the two of an LSTM."""
    if isinstance(state, tuple):
        return tuple(_rows(part, rows) for part in state)
    return state.take(mg.tensor(rows, device=state.device), axis=1)
