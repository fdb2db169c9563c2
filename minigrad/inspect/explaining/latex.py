"""Expressions as LaTeX, in the same notation as the text: see notation.py."""

from __future__ import annotations

import re
from typing import Final

from .notation import CASE, SIDE, SUM, Piece, Text
from .tree import Expression

SIGNS: Final = {"=": "=", "≠": r"\ne", "<": "<", "≤": r"\le", ">": ">", "≥": r"\ge"}
KNOWN: Final = {"exp", "log", "sin", "cos", "tanh", "max", "min"}  # functions that LaTeX has a command for
BRACKETS: Final = {"⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "|": r"\vert "}
ESCAPED: Final = {c: f"\\{c}" for c in "_%#&$" + "{}"} | {
    "\\": r"\backslash ",
    "^": r"\wedge ",
    "~": r"\sim ",
    "…": r"\ldots ",
    "<": r"\lt ",
    ">": r"\gt ",
    "|": r"\vert ",
    "`": "'",
    "\n": " ",
}
MATHS: Final = frozenset("\\^~…<>|")  # what LaTeX has no sign for in \text


class Latex(Text):
    """How expressions are written in LaTeX."""

    minus, times, dot, infinity, cut = "-", r" \odot ", r" \cdot ", r"\infty", r"\ldots"
    space = r"\, "

    def parenthesised(self, text: str) -> str:
        return rf"\left({text}\right)"

    def power(self, base: str, exponent: Expression) -> str:
        return f"{{{base}}}^{{{self(exponent)}}}"

    def transposed(self, x: str) -> str:
        return rf"{{{x}}}^{{\top}}"

    def function(self, name: str, arguments: str) -> str:
        return rf"{name}\left({arguments}\right)"

    def function_name(self, op: str) -> str:
        plain = super().function_name(op)
        if plain == "σ":
            return r"\sigma"
        return f"\\{plain}" if plain in KNOWN else self.word(plain)

    def reduction(self, name: str, axes: str, argument: str) -> str:
        sign = r"\Sigma" if name == "Σ" else f"\\{name}" if name in KNOWN else self.word(name)
        return self.function(f"{sign}_{{{axes}}}" if axes else sign, argument)

    def quotient(self, e: Expression) -> Piece:
        return rf"\frac{{{self(e.args[0])}}}{{{self(e.args[1])}}}", SIDE

    def cases(self, e: Expression) -> Piece:
        condition, yes, no = e.args
        first = rf"{self.at(yes, SUM)}\text{{ where }}{self.condition(condition)}"
        return rf"{first}\text{{, else }}{self.at(no, SUM)}", CASE

    def root(self, e: Expression) -> Piece:
        return rf"\sqrt{{{self(e.args[0])}}}", SIDE

    def enclosed(self, left: str, text: str, right: str) -> str:
        return rf"\left{BRACKETS.get(left, left)}{text}\right{BRACKETS.get(right, right)}"

    def sign(self, text: str) -> str:
        return SIGNS[text]

    sign_of_sum = r"\Sigma"

    def row(self, name: str) -> str:
        return f"{{{name}}}_{{n}}"

    def word(self, text: str) -> str:
        if " " in text and not MATHS & set(text):
            return rf"\text{{{escaped(text)}}}"
        return upright(text) if text else ""

    def infix(self, text: str) -> str:
        return rf"\text{{ {text} }}"

    def name(self, text: str) -> str:
        return latex_name(text)

    def number(self, text: str) -> str:
        mantissa, _, exponent = text.partition("e")
        return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if exponent else text


def escaped(text: str) -> str:
    """Text for LaTeX's \\text and \\mathrm."""
    return "".join(ESCAPED.get(letter, letter) for letter in text)


def upright(text: str) -> str:
    """Words among formulas, their spaces kept."""
    spaced = r"\ ".join(escaped(word) for word in text.split(" "))
    return rf"\mathrm{{{spaced}}}"


SUBSCRIPTS: Final = dict(zip("₀₁₂₃₄₅₆₇₈₉₋", "0123456789-", strict=True))
GREEK: Final = {"σ": r"\sigma", "γ": r"\gamma", "β": r"\beta", "ε": r"\varepsilon"}


def latex_name(text: str) -> str:
    """A name: v12 as v with a subscript, W_hh and h_{t−1} likewise, a long one upright as it is.

    >>> [latex_name(x) for x in ("x", "v12", "W_ih", "lstm.weight_hh_l0")]
    ['x', 'v_{12}', 'W_{ih}', '\\\\mathrm{lstm.weight\\\\_hh\\\\_l0}']
    """
    plain = "".join(SUBSCRIPTS.get(c, c) for c in text)
    found = re.fullmatch(r"([^\W\d_])(?:_?\{([^{}]+)\}|_?([0-9]+)|_([^\W_]{1,3}))?(['′]*)", plain)
    if found is None:
        return upright(text)
    letter, braced, digits, word, primes = found.groups()
    lower = braced or digits or word or ""
    shown = GREEK.get(letter, letter) + (f"_{{{lower.replace('−', '-')}}}" if lower else "")
    return shown + "'" * len(primes)


latex = Latex()
