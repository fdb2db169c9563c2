"""Formulas read back from their text: `g ⊙ (1 − y²)` as the value it has, by the rules of inspect/notation.py.

A parser of its own, which knows nothing of the trees: what it computes depends on the text alone, parentheses included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

LETTER = "(?![⁰¹²³⁴⁵⁶⁷⁸⁹ᵀ])"  # which are letters for Python
TOKEN = re.compile(
    rf"\s*(?P<call>{LETTER}[^\W\d](?:{LETTER}[\w.′₋,])*(?=\())"
    r"|\s*(?P<word>where\b|else\b|mod\b|and\b|or\b|not\b)"
    r"|\s*(?P<number>\d+(?:\.\d+)?(?:e[+−-]?\d+)?|∞)"
    rf"|\s*(?P<name>{LETTER}[^\W\d](?:{LETTER}[\w.′])*)"
    r"|(?P<power>[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+)"
    r"|\s*(?P<sign>[-+−⊙·/(),|⌊⌋⌈⌉\[\]^√ᵀ=≠<≤>≥])"
)
RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
COMPARISONS = {"=": "equal", "≠": "not_equal", "<": "less", "≤": "less_equal", ">": "greater", "≥": "greater_equal"}
NAMED = {"σ": "sigmoid", "Σ": "sum"}

NUMPY: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in [*COMPARISONS.values(), "add", "subtract", "multiply", "divide"]},
    **{name: getattr(np, name) for name in ["negative", "power", "matmul", "remainder", "floor", "ceil", "absolute"]},
    **{name: getattr(np, name) for name in ["tanh", "exp", "expm1", "log", "log1p", "sin", "cos", "sqrt", "sign"]},
    **{name: getattr(np, name) for name in ["logaddexp", "where", "isnan", "isinf", "isfinite", "transpose", "sum"]},
    **{name: getattr(np, name) for name in ["logical_and", "logical_or", "logical_not", "copy"]},
    "max": lambda *xs: np.maximum(*xs),
    "min": lambda *xs: np.minimum(*xs),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.logaddexp(x, 0),
    "number": float,
}


def value_of(text: str, names: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]] = NUMPY) -> Any:
    """What a formula's text says, where names stand for these values."""
    parser = Parser(text, names, functions)
    found = parser.case()
    if parser.place < len(parser.tokens):
        raise SyntaxError(f"{parser.tokens[parser.place]} after the end of {text!r}")
    return found


class Parser:
    def __init__(self, text: str, names: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> None:
        self.names, self.functions, self.place = names, functions, 0
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text.rstrip()):
            found = TOKEN.match(text, at)
            if found is None:
                raise SyntaxError(f"cannot read {text[at:]!r} of {text!r}")
            self.tokens.append((str(found.lastgroup), found[str(found.lastgroup)]))
            at = found.end()

    def next(self, *expected: str) -> str | None:
        """The next token, if it is one of these."""
        if self.place < len(self.tokens) and self.tokens[self.place][1] in expected:
            self.place += 1
            return self.tokens[self.place - 1][1]
        return None

    def need(self, expected: str) -> None:
        if self.next(expected) is None:
            raise SyntaxError(f"expected {expected!r}, got {self.tokens[self.place :]}")

    def of(self, name: str, *args: Any) -> Any:
        return self.functions[name](*args)

    # From the loosest to the tightest -------------------------------------------------------------------

    def case(self) -> Any:
        value = self.condition()
        if not self.next("where"):
            return value
        condition = self.condition()
        self.need(",")
        self.need("else")
        return self.of("where", condition, value, self.sum())

    def condition(self) -> Any:
        if self.next("not"):
            return self.of("logical_not", self.condition())
        value = self.sum()
        if sign := self.next(*COMPARISONS):
            value = self.of(COMPARISONS[sign], value, self.sum())
        while word := self.next("and", "or"):
            value = self.of(f"logical_{word}", value, self.condition())
        return value

    def sum(self) -> Any:
        value = self.product()
        while sign := self.next("+", "−"):
            value = self.of("add" if sign == "+" else "subtract", value, self.product())
        return value

    def product(self) -> Any:
        if self.next("−"):
            return self.of("negative", self.product())
        value = self.side()
        while sign := self.next("⊙", "·", "/", "mod"):
            value = self.of({"/": "divide", "mod": "remainder"}.get(sign, "multiply"), value, self.side())
        return value

    def side(self) -> Any:
        is_number = self.tokens[self.place][0] == "number"
        value = self.power()
        while self.place < len(self.tokens) and self.begins_operand():
            value = self.of("multiply" if is_number else "matmul", value, self.power())
            is_number = False
        return value

    def begins_operand(self) -> bool:
        kind, text = self.tokens[self.place]
        return kind in ("call", "number", "name") or text in "(⌊⌈√["

    def power(self) -> Any:
        if self.next("√"):
            return self.of("sqrt", self.atom())
        value = self.atom()
        if self.place < len(self.tokens) and self.tokens[self.place][0] == "power":
            self.place += 1
            return self.of("power", value, int(self.tokens[self.place - 1][1].translate(RAISED)))
        if self.next("^"):
            return self.of("power", value, self.atom())
        return self.of("transpose", value) if self.next("ᵀ") else value

    def atom(self) -> Any:
        kind, text = self.tokens[self.place]
        self.place += 1
        if kind == "number":
            return self.functions["number"]("inf" if text == "∞" else text.replace("−", "-"))
        if kind == "name":
            return self.names[text]
        if kind == "call":
            self.need("(")
            args = [self.case()]
            while self.next(","):
                args.append(self.case())
            self.need(")")
            return self.of(NAMED.get(text, text), *args)
        if text == "(":
            return self.enclosed(")")
        if text == "[":
            value = self.condition()
            self.need("]")
            return value
        if text == "|":
            return self.of("absolute", self.enclosed("|"))
        if text in "⌊⌈":
            return self.of("floor" if text == "⌊" else "ceil", self.enclosed("⌋" if text == "⌊" else "⌉"))
        raise SyntaxError(f"{text!r} where an operand is expected")

    def enclosed(self, right: str) -> Any:
        value = self.case()
        self.need(right)
        return value
