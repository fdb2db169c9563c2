"""The model: characters in, a recurrent state, and a guess at the next character.

T: time steps   N: streams   V: vocabulary   D: width of a character's vector   H: hidden size
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minigrad import Tensor, nn
from minigrad.nn import functional as F

from ..common.cells import CELLS, refuse_unknown_cell
from ..common.errors import UserError
from .vocabulary import UNITS, Vocabulary


@dataclass(frozen=True)
class Options:
    """Everything needed to build the model again."""

    vocabulary: str  # the characters, in order; empty for bytes
    cell: str = "lstm"
    hidden: int = 256
    layers: int = 1
    embedding: int = 256  # D; 0 means one-hot characters instead of learned vectors
    dropout: float = 0.0  # between layers, and before the output
    dropout_input: float = 0.0  # of the symbols' vectors
    unit: str = "char"  # or byte

    def __post_init__(self) -> None:
        refuse_unknown_cell(self.cell)
        for name, least in (("hidden", 1), ("layers", 1), ("embedding", 0)):
            size = getattr(self, name)
            if not isinstance(size, int) or size < least:
                raise UserError(f"{name} must be an integer of at least {least}, got {size!r}")
        for name in ("dropout", "dropout_input"):
            p = getattr(self, name)
            if not isinstance(p, (int, float)) or not 0 <= p <= 1:
                raise UserError(f"{name} must be a probability from 0 to 1, got {p!r}")
        characters = self.vocabulary
        if self.unit not in UNITS:
            raise UserError(f"there is no unit {self.unit!r}; choose one of {', '.join(UNITS)}")
        if self.unit == "byte" and characters != "":
            raise UserError(f"a model of bytes has no vocabulary of characters, got {characters!r:.60}")
        distinct = isinstance(characters, str) and sorted(set(characters)) == list(characters)
        if self.unit == "char" and not (distinct and characters):
            raise UserError(f"the vocabulary must be text of distinct characters in order, got {characters!r:.60}")

    @property
    def symbols(self) -> int:
        """V"""
        return len(self.vocabulary) if self.unit == "char" else 256


class CharLM(nn.Module):
    """logits, state = model(ids, state)          ids (T, N), logits (T, N, V)"""

    def __init__(self, options: Options) -> None:
        size = options.symbols
        self.options = options
        self.vocabulary = Vocabulary(options.vocabulary, options.unit)
        if options.embedding:
            self.embedding = nn.Embedding(size, options.embedding)
        width = options.embedding or size
        between = options.dropout if options.layers > 1 else 0.0
        self.rnn = CELLS[options.cell](width, options.hidden, options.layers, dropout=between)
        self.dropout_input = nn.Dropout(options.dropout_input)
        self.dropout = nn.Dropout(options.dropout)
        self.output = nn.Linear(options.hidden, size)

    def forward(self, ids: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        h, state = self.rnn(self._vectors(ids), state)  # (T, N, H)
        return self.output(self.dropout(h)), state

    def step(self, ids: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """One character further: ids (N,), logits (N, V). What sampling uses."""
        h, state = self.rnn.step(self._vectors(ids), state)  # (N, H)
        return self.output(self.dropout(h)), state

    def _vectors(self, ids: Tensor) -> Tensor:
        """A vector for each character: (..., D)."""
        if self.options.embedding:
            return self.dropout_input(self.embedding(ids))
        return self.dropout_input(F.one_hot(ids, self.options.symbols, dtype=self.output.weight.dtype))
