"""A text's numbers, cut: into a part to learn and a part to be judged by, and into streams side by side.

V: vocabulary   N: streams side by side   T: time steps per chunk

The numbers `ids` may lie in memory or in a file: they are asked for slices alone, and a slice is read when it is
made an array.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import minigrad as mg

from .errors import UserError

SPLITS = {
    "contiguous": "the last 10%, in one piece, as nanoGPT and torch-rnn do",
    "streams": "the last 5% of each of 50 equal pieces, as char-rnn does",
}
RESIDENT = 1 << 28  # symbols of a text that is copied to a GPU whole; of a longer one, each chunk


@dataclass(frozen=True)
class Split:
    """What is learned, and what is held out to judge by: pieces of the text in order.

    The pieces of one side are equally long, as far as one symbol; each is read from a state of zeros.
    """

    train: Sequence[Any]
    held_out: Sequence[Any]


def split(ids: Any, convention: str = "contiguous") -> Split:
    """Cut a text by one of SPLITS. Losses by different conventions do not compare."""
    if convention == "contiguous":
        cut = min(len(ids) * 9 // 10, len(ids) - 2)
        return Split([ids[: max(cut, 0)]], [ids[max(cut, 0) :]])
    if convention != "streams":
        raise UserError(f"there is no split {convention!r}; choose one of {', '.join(SPLITS)}")
    bounds = list(itertools.pairwise(len(ids) * n // 50 for n in range(51)))
    cuts = [stop - max((stop - start) // 20, 2) for start, stop in bounds]
    if min(cut - start for (start, _), cut in zip(bounds, cuts, strict=True)) < 2:
        raise UserError(
            f"a text of {len(ids)} symbols is too short for the split by 50 streams; use --split contiguous"
        )
    return Split(
        [ids[start:cut] for (start, _), cut in zip(bounds, cuts, strict=True)],
        [ids[cut:stop] for (_, stop), cut in zip(bounds, cuts, strict=True)],
    )


class Streams:
    """Pieces of a text, one after another, as N streams side by side, read T steps at a time.

    Stream n begins where stream n - 1 ends, so row n of one chunk goes on in row n of the next: a state carried
    from chunk to chunk fits. What does not fill a chunk of all streams at the end is left out.
    """

    def __init__(self, pieces: Sequence[Any], streams: int, steps: int, device: str = "cpu") -> None:
        total = sum(len(piece) for piece in pieces)
        self.chunks = (total - 1) // (streams * steps)  # in an epoch
        if self.chunks < 1:
            raise UserError(
                f"the training text (what is left when validation has its share) has {total} symbols, but "
                f"{streams} streams of {steps} steps need at least {streams * steps + 1}. Use a longer text, or "
                "smaller --batch or --seq"
            )
        self.streams, self.steps, self.device = streams, steps, device
        self._pieces, self._length = pieces, self.chunks * steps
        self._bounds = np.cumsum([0, *map(len, pieces)])
        self._resident = None
        if device != "cpu" and total <= RESIDENT:
            self._resident = mg.tensor(self._rows(0, self._length), device=device)  # one upload for all

    def chunk(self, number: int) -> tuple[mg.Tensor, mg.Tensor]:
        """Chunk `number` of an epoch: inputs (T, N), and the symbols that follow them (T, N)."""
        start = number * self.steps
        if self._resident is None:
            rows = mg.tensor(self._rows(start, self.steps).astype(np.int64), device=self.device)
        else:
            rows = self._resident[start : start + self.steps + 1].astype(np.int64)
        return rows[:-1], rows[1:]

    def _rows(self, start: int, steps: int) -> np.ndarray:
        """(steps + 1, N): symbol `start` and those after it, of each stream."""
        first = [n * self._length + start for n in range(self.streams)]
        return np.stack([self._read(at, at + steps + 1) for at in first], axis=1)

    def _read(self, start: int, stop: int) -> np.ndarray:
        """The numbers from `start` to `stop`, of all pieces put together."""
        found = []
        at = int(np.searchsorted(self._bounds, start, side="right")) - 1
        while start < stop:
            end = min(stop, int(self._bounds[at + 1]))
            found.append(np.asarray(self._pieces[at][start - int(self._bounds[at]) : end - int(self._bounds[at])]))
            start, at = end, at + 1
        return found[0] if len(found) == 1 else np.concatenate(found)
