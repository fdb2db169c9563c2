"""A language model of words: the words so far in, what the next one may be out.

T: time steps   N: streams   V: vocabulary   D: width of a word's vector   H: hidden size   n: words in a window
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import minigrad as mg
from minigrad import Tensor, nn

from ..common.cells import CELLS
from ..common.checks import check_printable, check_share, check_sizes
from ..common.errors import UserError
from .data import UNKNOWN

KINDS = (*CELLS, "window")
# The matrices of the equations below, by the names of the parameters.
MATRICES = {
    "E": "embedding.weight",  # (V, D): a word's vector in each row
    "W_x": "hidden.weight_ih_l0",  # (H, D)
    "W_h": "hidden.weight_hh_l0",  # (H, H)
    "W_y": "output.weight",  # (V, H)
}
SMALL = 0.1  # of the words' vectors at first; with the usual 1, what is rare stays noise


@dataclass(frozen=True)
class Options:
    """Everything needed to build the model again."""

    vocabulary: tuple[str, ...]
    kind: str = "rnn"
    embedding: int = 256  # D
    hidden: int = 256  # H
    window: int = 4  # n, if that is its kind
    dropout: float = 0.0  # of the words' vectors, and before the output

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"there is no model {self.kind!r}; choose one of {', '.join(KINDS)}")
        check_sizes(self, "embedding", "hidden", "window")
        check_printable("the vocabulary", (word for word in self.vocabulary if not word.isspace()))
        check_share("dropout", self.dropout)
        if self.vocabulary[:1] != (UNKNOWN,) or len(set(self.vocabulary)) < max(len(self.vocabulary), 2):
            raise UserError(f"the vocabulary must be {UNKNOWN} and then distinct words, at least one")


class Window(nn.Module):
    """h_t = tanh(W [e_t, e_t-1, ..., e_t-n+1] + b)          e (T, N, D), h (T, N, H)

    The state is the vectors e of the last n - 1 words, zeros at first. Nothing older is seen.
    Source: Bengio et al., "A Neural Probabilistic Language Model", 2003.
    """

    def __init__(self, width: int, hidden: int, window: int) -> None:
        self.window = window
        self.linear = nn.Linear(window * width, hidden)

    def forward(self, e: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        steps, before = len(e), self.window - 1
        past = mg.zeros((before, *e.shape[1:]), device=e.device) if state is None else state
        seen = mg.concatenate([past, e], axis=0)  # (n - 1 + T, N, D)
        rows = mg.concatenate([seen[k : k + steps] for k in range(before, -1, -1)], axis=-1)  # (T, N, n D)
        return mg.tanh(self.linear(rows)), seen[steps:]


class WordLM(nn.Module):
    """logits, state = model(words, state)          words (T, N), logits (T, N, V)

        e_t = E[x_t]                                the vector of a word
        h_t = tanh(W_x e_t + W_h h_t-1 + b)         what is kept of all words so far
        y_t = softmax(W_y h_t + c)                  what the next word may be

    or an LSTM, a GRU or a window instead of the second line. These are logits: the softmax is in the loss.
    MATRICES says where E, W_x, W_h and W_y are; the layer of h has two biases, and b is their sum.
    """

    def __init__(self, options: Options) -> None:
        size = len(options.vocabulary)
        self.options = options
        self.embedding = nn.Embedding(size, options.embedding)
        nn.init.normal_(self.embedding.weight, std=SMALL)
        if options.kind == "window":
            self.hidden: nn.Module = Window(options.embedding, options.hidden, options.window)
        else:
            self.hidden = CELLS[options.kind](options.embedding, options.hidden)
        self.dropout = nn.Dropout(options.dropout)
        self.output = nn.Linear(options.hidden, size)

    def forward(self, words: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        h, state = self.read(words, state)
        return self.output(h), state

    def read(self, words: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """h (T, N, H) after each word, and the state after the last."""
        h, state = self.hidden(self.dropout(self.embedding(words)), state)
        return self.dropout(h), state
