"""A text as numbers, and a plain recurrent network that learns it character by character."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import minigrad as mg
from minigrad import Tensor, nn
from minigrad.nn import functional as F

from ..char_lm.text import open_text
from ..common.errors import UserError


class Characters(nn.Module):
    """Logits for the next character, in float64: ids (T, N) -> (T, N, V).

    W_hh is orthogonal at first, times `gain`.
    """

    def __init__(self, vocabulary: int, hidden: int, gain: float = 1.0) -> None:
        self.embedding = nn.Embedding(vocabulary, hidden, dtype=mg.float64)
        self.rnn = nn.RNN(hidden, hidden, dtype=mg.float64)
        nn.init.orthogonal_(self.rnn.weight_hh_l0, gain)
        self.output = nn.Linear(hidden, vocabulary, dtype=mg.float64)

    def forward(self, ids: Tensor) -> Tensor:
        return self.output(self.rnn(self.embedding(ids))[0])

    def loss(self, batch: np.ndarray) -> Tensor:
        """In nats per character, of a batch of (T + 1, N)."""
        return mean_loss(self(mg.tensor(batch[:-1])), batch)


def mean_loss(logits: Tensor, batch: np.ndarray) -> Tensor:
    """Cross-entropy of logits (T, N, V) for all but the first row of a batch of (T + 1, N)."""
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), mg.tensor(batch[1:].ravel()))


def read(data: Path | None) -> tuple[int, np.ndarray]:
    """How many characters there are, and a text as their numbers: that of a file, or the one inside Python.

    Raises:
        UserError: there is no such text, it is not UTF-8, or it is empty.
    """
    text = open_text([] if data is None else [data])
    if len(text.vocabulary) < 2:
        raise UserError(f"{text.source} has one character only, so that there is nothing to learn; name another text")
    return len(text.vocabulary), np.asarray(text.ids[:]).astype(np.int64)
