"""Three ways to the vectors of symbols, and a model of what comes next.

T: time steps   N: batch   V: vocabulary   D: width of a symbol's vector   H: hidden size
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import Tensor, nn
from minigrad.nn import functional as F


def one_hot(table: Tensor, ids: Tensor) -> Tensor:
    """one_hot(ids) E          E (V, D), ids (T, N), the vectors (T, N, D)"""
    return F.one_hot(ids, table.shape[0], dtype=table.dtype) @ table


def reshaped(table: Tensor, ids: Tensor) -> Tensor:
    """E[ids], as a view of itself: of that minigrad does not know that its rows come from a table."""
    return F.embedding(ids.reshape(-1), table).reshape(*ids.shape, -1)


LOOK_UP, ONE_HOT = "embedding", "one-hot"
WAYS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    LOOK_UP: lambda table, ids: F.embedding(ids, table),
    "embedding, no shortcut": reshaped,
    ONE_HOT: one_hot,
}


class Model(nn.Module):
    """A symbol's vector -> LSTM -> what comes next: ids (T, N), logits (T, N, V)."""

    def __init__(self, way: str, symbols: int, embedding: int, hidden: int, dtype: Any = mg.float32) -> None:
        self.vectors = WAYS[way]
        self.embedding = nn.Embedding(symbols, embedding, dtype=dtype)
        self.rnn = nn.LSTM(embedding, hidden, dtype=dtype)
        self.output = nn.Linear(hidden, symbols, dtype=dtype)

    def forward(self, ids: Tensor) -> Tensor:
        return self.output(self.rnn(self.vectors(self.embedding.weight, ids))[0])

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Nats per symbol."""
        logits = self(ids)
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference of two arrays, as a share of the largest entry."""
    a, b = (x.detach().to("cpu").numpy() for x in (found, expected))
    return float(np.abs(a - b).max() / np.abs(b).max())


def differences(ids: Tensor, symbols: int, embedding: int, hidden: int, dtype: Any) -> dict[str, float]:
    """By what one-hot and embedding differ: in vectors, in the gradient of E, and if an LSTM reads one-hot itself."""
    table = mg.randn((symbols, embedding), dtype=dtype).requires_grad_()
    g = mg.randn((*ids.shape, embedding), dtype=dtype)
    products, rows = one_hot(table, ids), F.embedding(ids, table)
    gradients = [mg.grad((found * g).sum(), [table])[0] for found in (products, rows)]

    reads = nn.LSTM(symbols, hidden, dtype=dtype)
    adds = nn.LSTM(4 * hidden, hidden, dtype=dtype)  # a column of that one's W_ih, as it is
    adds.load_state_dict({**reads.state_dict(), "weight_ih_l0": mg.eye(4 * hidden, dtype=dtype)})
    columns = F.embedding(ids, reads.weight_ih_l0.T)
    return {
        "vectors": difference(products, rows),
        "gradient": difference(*gradients),
        "lstm": difference(reads(F.one_hot(ids, symbols, dtype=dtype))[0], adds(columns)[0]),
    }
