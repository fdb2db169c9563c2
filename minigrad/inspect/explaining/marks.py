"""The marks of a notation: what is written around pieces of a formula, and how constants are written."""

from __future__ import annotations

import math
from typing import Any, Final

from ...backend import is_array
from ..shown import short
from .tree import Expression

LOWERED: Final = str.maketrans("0123456789-,", "₀₁₂₃₄₅₆₇₈₉₋,")


class Marks:
    """The marks of plain text."""

    minus, times, dot, infinity, cut, space = "−", " ⊙ ", " · ", "∞", "…", " "

    def __call__(self, e: Expression) -> str:
        raise NotImplementedError

    def parenthesised(self, text: str) -> str:
        return f"({text})"

    def transposed(self, x: str) -> str:
        return f"{x}ᵀ"

    def function(self, name: str, arguments: str) -> str:
        return f"{name}({arguments})"

    def reduction(self, name: str, axes: str, argument: str) -> str:
        return f"{name}{axes.translate(LOWERED)}({argument})"

    def enclosed(self, left: str, text: str, right: str) -> str:
        return f"{left}{text}{right}"

    def name(self, text: str) -> str:
        return text

    def word(self, text: str) -> str:
        return text

    def infix(self, text: str) -> str:
        return f" {text} "

    def relation(self, left: str, sign: str, right: str) -> str:
        return f"{left} {sign} {right}"

    def sign(self, text: str) -> str:
        return text

    # Constants -------------------------------------------------------------------------------------------

    def value(self, value: Any) -> str:
        if isinstance(value, float):
            if math.isinf(value):
                return self.infinity if value > 0 else self.minus + self.infinity
            exact = repr(value).removesuffix(".0")
            text = exact if len(exact) <= 8 else f"{value:.6g}"
            return self.number(text.replace("-", self.minus, 1) if text[0] == "-" else text)
        if isinstance(value, int) and not isinstance(value, bool):
            return f"{self.minus}{-value}" if value < 0 else str(value)
        if isinstance(value, (tuple, list)):
            inside = ", ".join(self._elided([self.value(part) for part in value]))
            if isinstance(value, list):
                return self.enclosed("[", inside, "]")
            return self.parenthesised(inside + "," * (len(value) == 1))
        if is_array(value):
            text = short(value)
            return self.word(text if value.ndim < 2 and text[0] != "(" else f"integers {value.shape}")
        return self.word(f'"{value}"' if isinstance(value, str) else str(value))

    def number(self, text: str) -> str:
        return text

    def _elided(self, texts: list[str]) -> list[str]:
        return texts if len(texts) <= 5 else [*texts[:2], self.cut, texts[-1]]

    def index(self, index: Expression) -> str:
        if index.op == "tuple":
            return ", ".join(self.index(part) for part in index.args)
        if index.op != "constant":
            return self(index)
        return ", ".join(map(self._index_part, index.value if isinstance(index.value, tuple) else (index.value,)))

    def _index_part(self, part: Any) -> str:
        if isinstance(part, slice):
            ends = ["" if x is None else str(x) for x in (part.start, part.stop, part.step)]
            return ":".join(ends if part.step is not None else ends[:2]).replace("-", self.minus)
        return self.word("...") if part is Ellipsis else self.value(part)


def markdown_words(words: str) -> str:
    """Words in which Markdown sees no markup."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|$" else c for c in words)
