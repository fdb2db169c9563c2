"""How well a model expects a text: nats per symbol.

T: time steps   N: rows side by side   V: vocabulary
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.nn import functional as F

from ..common.errors import UserError
from .model import CharLM

LIMIT = 1_000_000  # symbols that an estimate reads in all
WARM_UP = 100  # symbols that an estimate reads before those that it counts
ROWS = 32  # that an estimate makes of a text
TOGETHER = 64  # rows read side by side at most
UPLOAD = 1 << 20  # symbols copied to a device at once: a short text whole
CHUNK = 4096  # symbols in a chunk of all rows: more takes memory (4 H numbers each in an LSTM), not less time
LOGITS = 1 << 23  # numbers that a chunk's guesses have at most, 32 MB
NOT_COUNTED = -100

Row = tuple[Any, int]  # the numbers of some text, read from a state of zeros; and how many targets do not count


def evaluate(
    model: CharLM,
    pieces: Sequence[Any],
    device: str = "cpu",
    steps: int | None = None,
    tell: Callable[[int], object] | None = None,
) -> float:
    """Nats per symbol over all pieces, each read once from start to end with its state carried.

    Exact: a piece is one row, and its first symbol, before which there is nothing, is the only one not counted.
    Pieces are read side by side, a long one chunk by chunk.

    Args:
        pieces: numbers of symbols, in memory or in a file.
        steps: T of a chunk, at most; chosen by the memory it takes if not given. The result is the same.
        tell: is told, after each chunk, of how many symbols it was.

    Raises:
        UserError: there is nothing to judge: no piece has two symbols.
    """
    return _nats(model, [(piece, 0) for piece in pieces], device, steps, tell)


def estimate(model: CharLM, pieces: Sequence[Any], device: str = "cpu", limit: int = LIMIT) -> float:
    """About the same as `evaluate`, in a fraction of the time: what training looks at.

    A long piece is cut into rows that are read side by side. A row begins with the 100 symbols before it, which
    warm its state up and are not counted; so each symbol of the piece but the first is counted once.

    Args:
        limit: symbols that are read in all; of several pieces each gives its first ones.
    """
    share = max(limit // max(len(pieces), 1), 2)
    rows = [row for piece in pieces for row in _cut(piece[0 : min(share, len(piece))], ROWS // len(pieces))]
    return _nats(model, rows, device, None)


def _cut(piece: Any, most: int) -> list[Row]:
    """A piece as rows of nearly equal length, none so short that warming up takes longer than counting."""
    targets = len(piece) - 1
    count = max(1, min(most, targets // (2 * WARM_UP)))
    bounds = [targets * n // count for n in range(count + 1)]
    warm = [min(start, WARM_UP) for start in bounds]
    return [(piece[bounds[n] - warm[n] : bounds[n + 1] + 1], warm[n]) for n in range(count)]


@mg.no_grad()
def _nats(
    model: CharLM, rows: list[Row], device: str, steps: int | None, tell: Callable[[int], object] | None = None
) -> float:
    """Nats per symbol that counts."""
    rows = sorted((row for row in rows if len(row[0]) > 1), key=lambda row: len(row[0]))
    if not rows:
        raise UserError("there is nothing to judge: the text needs at least two symbols, as the first is given")
    was_training = model.training
    model.eval()
    symbols = len(model.vocabulary)
    total = mg.zeros((), dtype=mg.float64, device=device)
    for first in range(0, len(rows), TOGETHER):
        state: Any = None
        for inputs, targets in chunks(rows[first : first + TOGETHER], symbols, device, steps):
            logits, state = model(inputs, state)  # (T, N, V)
            loss = F.cross_entropy(
                logits.reshape(-1, symbols), targets.reshape(-1), ignore_index=NOT_COUNTED, reduction="sum"
            )
            total += loss  # promoted to float64
            if tell is not None:
                tell(targets.size)
    model.train(was_training)
    return total.item() / sum(len(ids) - 1 - warm for ids, warm in rows)


def chunks(
    rows: Sequence[Row], symbols: int, device: str, steps: int | None = None
) -> Iterator[tuple[mg.Tensor, mg.Tensor]]:
    """Rows side by side: inputs (T, N) and the symbols after them (T, N), NOT_COUNTED where they do not count.

    The state of one chunk fits the next.
    """
    steps = steps or max(1, min(CHUNK, LOGITS // symbols) // len(rows))
    length = max(len(ids) for ids, _ in rows) - 1
    upload = max(UPLOAD // len(rows), steps)
    for start in range(0, length, upload):
        block = mg.tensor(_block(rows, start, min(start + upload, length)), device=device)
        for at in range(0, block.shape[1], steps):
            yield block[0, at : at + steps], block[1, at : at + steps]


def _block(rows: Sequence[Row], start: int, stop: int) -> np.ndarray:
    """(2, T, N): the symbols from `start` to `stop` of each row, and those after them."""
    block = np.zeros((2, stop - start, len(rows)), np.int64)
    block[1] = NOT_COUNTED
    for n, (ids, warm) in enumerate(rows):
        read = np.asarray(ids[min(start, len(ids)) : min(stop + 1, len(ids))])
        if len(read) > 1:
            block[0, : len(read) - 1, n] = read[:-1]
            block[1, : len(read) - 1, n] = read[1:]
            block[1, : max(warm - start, 0), n] = NOT_COUNTED
    return block
