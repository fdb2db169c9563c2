"""Many to one: a name is read letter by letter, and the state after its last letter tells the language.

T: letters of the longest name   N: names   V: distinct letters   D: width of a letter's vector   H: hidden size
K: languages
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

import minigrad as mg
from minigrad import Tensor, nn

from ..common.cells import CELLS, refuse_unknown_cell
from ..common.checks import check_printable, check_share, check_sizes
from ..common.errors import UserError
from .data import spelled, without_accents


@dataclass(frozen=True)
class Options:
    """Everything needed to build the model again."""

    letters: str  # all that names are made of, in order
    languages: tuple[str, ...]
    cell: str = "lstm"
    hidden: int = 128
    embedding: int = 32  # D
    bidirectional: bool = False
    dropout: float = 0.6  # of the letters' vectors, by half as much, and before the output

    def __post_init__(self) -> None:
        refuse_unknown_cell(self.cell)
        check_sizes(self, "hidden", "embedding")
        check_printable("languages", self.languages)
        check_share("dropout", self.dropout)
        if not self.letters or sorted(set(self.letters)) != list(self.letters):
            raise UserError(f"letters must be distinct characters in order, got {self.letters!r:.60}")
        if len(self.languages) < 2 or len(set(self.languages)) < len(self.languages):
            raise UserError(f"languages must be two or more, each once, got {', '.join(self.languages)!r:.60}")


class Classifier(nn.Module):
    """logits = model(names)          names: N packed sequences of letters' numbers, logits (N, K)

        xₜ = E[letterₜ]                     (D,)
        hₜ = cell(xₜ, hₜ₋₁)                 (H,), h₀ = 0
        logits = W h_last + b               (K,)

    Names differ in length: each has its own last letter. A packed batch has no padding, so that the state that is left
    when a name ends is that after its last letter. If bidirectional, a second cell reads from the last letter to the
    first, and W sees both final states, (2H,).
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.embedding = nn.Embedding(len(options.letters), options.embedding)
        self.rnn = CELLS[options.cell](options.embedding, options.hidden, bidirectional=options.bidirectional)
        self.dropout_input = nn.Dropout(options.dropout / 2)
        self.dropout = nn.Dropout(options.dropout)
        self.output = nn.Linear(options.hidden * (2 if options.bidirectional else 1), len(options.languages))

    def forward(self, names: nn.utils.rnn.PackedSequence) -> Tensor:
        x = replace(names, data=self.dropout_input(self.embedding(names.data)))
        _, state = self.rnn(x)
        h = state[0] if isinstance(state, tuple) else state  # (1 or 2, N, H): the final states; an LSTM has (h, c)
        return self.output(self.dropout(mg.concatenate(list(h), axis=1)))

    def pack(self, names: Sequence[str]) -> nn.utils.rnn.PackedSequence:
        """Names as the model takes them; an unknown letter is read without its accent.

        Raises:
            UserError: a name is empty, or has a letter that no name had in training.
        """
        rows = [self._numbers(name) for name in names]
        lengths = [len(row) for row in rows]
        padded = np.zeros((len(rows), max(lengths)), np.int64)
        for row, into in zip(rows, padded, strict=True):
            into[: len(row)] = row
        ids = mg.tensor(padded, device=self.output.weight.device)
        return nn.utils.rnn.pack_padded_sequence(ids, lengths, batch_first=True, enforce_sorted=False)

    def _numbers(self, name: str) -> list[int]:
        letters = self.options.letters
        read = {c: c if c in letters else without_accents(c) for c in spelled(name)}
        if not read:
            raise UserError("a name must have a letter at least, got an empty one")
        if unknown := [c for c, plain in read.items() if not plain or not set(plain) <= set(letters)]:
            raise UserError(
                f"the name {name!r} has what no name had in training: {' '.join(map(repr, unknown))}. Leave out what "
                f"is no letter; letters are {letters}"
            )
        return [letters.index(c) for written in spelled(name) for c in read[written]]
