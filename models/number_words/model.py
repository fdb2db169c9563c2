"""Many to many: a sequence in, and when all of it is read, another one out, as long as it likes.

T: words   T': syllables, and the end   N: pairs   D: width of a symbol's vector   H: hidden size
V: syllables, and the end
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import minigrad as mg
from minigrad import Tensor, nn

from ..common.cells import CELLS, refuse_unknown_cell
from ..common.checks import check_printable, check_sizes
from ..common.errors import UserError


@dataclass(frozen=True)
class Options:
    """Everything needed to build the model again."""

    words: tuple[str, ...]  # of the source
    syllables: tuple[str, ...]  # of the target
    longest: int  # syllables of the longest answer
    cell: str = "gru"
    hidden: int = 128
    embedding: int = 32

    def __post_init__(self) -> None:
        refuse_unknown_cell(self.cell)
        check_sizes(self, "hidden", "embedding")
        check_sizes(self, "longest", most=64)
        for name in ("words", "syllables"):
            if not getattr(self, name) or len(set(getattr(self, name))) < len(getattr(self, name)):
                raise UserError(f"{name} must be texts that all differ, got {getattr(self, name)!r:.60}")
            check_printable(name, getattr(self, name))


class Encoder(nn.Module):
    """s = encoder(words, lengths)          words (T, N), s (1, N, H), or a pair of these for an LSTM

    h_t = cell(E x_t, h_{t-1}),   s = h_n, after the last word of each: what is filled up is left out
    """

    def __init__(self, options: Options) -> None:
        self.embedding = nn.Embedding(len(options.words), options.embedding)
        self.rnn = CELLS[options.cell](options.embedding, options.hidden)

    def forward(self, words: Tensor, lengths: list[int]) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(words, lengths, enforce_sorted=False)
        _, state = self.rnn(dataclasses.replace(packed, data=self.embedding(packed.data)))
        return state


class Decoder(nn.Module):
    """logits, s = decoder(inputs, s)          inputs (T', N), logits (T', N, V)

    s_t = cell'(E' y_{t-1}, s_{t-1}),   p(y_t | y_1 ... y_{t-1}, x) = softmax(W s_t + b),   y_0 the start
    """

    def __init__(self, options: Options) -> None:
        size = len(options.syllables) + 1  # V; the start goes in, and never comes out
        self.embedding = nn.Embedding(size + 1, options.embedding)
        self.rnn = CELLS[options.cell](options.embedding, options.hidden)
        self.output = nn.Linear(options.hidden, size)

    def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        h, state = self.rnn(self.embedding(inputs), state)
        return self.output(h), state

    def step(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One symbol further: inputs (N,), logits (N, V)."""
        h, state = self.rnn.step(self.embedding(inputs), state)
        return self.output(h), state


class Translator(nn.Module):
    """logits = model(words, lengths, inputs, forced)          logits (T', N, V)"""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.encoder = Encoder(options)
        self.decoder = Decoder(options)

    def forward(self, words: Tensor, lengths: list[int], inputs: Tensor, forced: Tensor | None = None) -> Tensor:
        """What the decoder expects at each place, when it is fed

            y_{t-1}, the right symbol           where forced_t is True: teacher forcing
            argmax of the logits at t-1         elsewhere: what it would have said itself

        Args:
            inputs: (T', N), the right symbols; the first is the start, and always fed.
            forced: (T', N), bool; None forces everything, which needs no loop here.

        Source: scheduled sampling, Bengio et al. 2015, arXiv 1506.03099, but for taking the likeliest symbol where
        they draw one. No gradient goes through the choice.
        """
        state = self.encoder(words, lengths)
        if forced is None:
            return self.decoder(inputs, state)[0]
        outputs = []
        for t, right in enumerate(mg.unstack(inputs)):
            fed = mg.where(forced[t], right, outputs[-1].argmax(-1)) if t else right
            logits, state = self.decoder.step(fed, state)
            outputs.append(logits)
        return mg.stack(outputs)
