"""Expressions as text: `g ⊙ (1 − y²)`, with as many parentheses as needed.

⊙ multiplies entry by entry, · by a single number; two factors side by side are a product of matrices, or a number in
front: `2 xᵀ g`. Σ₁ sums over axis 1. A comparison is in brackets where a number is meant, [y > 0]: 1 where it holds,
else 0.
"""

from __future__ import annotations

import math
from typing import Final

from ...backend import cpu, is_array
from ...ops.primitive import registry
from .marks import Marks
from .tree import Expression

CASE, SUM, QUOTIENT, PRODUCT, SIDE, POWER, ATOM = range(7)  # how tightly an expression holds together

COMPARISONS: Final = {
    "equal": "=",
    "not_equal": "≠",
    "less": "<",
    "less_equal": "≤",
    "greater": ">",
    "greater_equal": "≥",
}
LOGIC: Final = {"logical_and": "and", "logical_or": "or"}
REDUCTIONS: Final = {"sum": "Σ", "mean": "mean", "var": "var", "std": "std", "max": "max", "min": "min"}
FUNCTIONS: Final = {"sigmoid": "σ", "maximum": "max", "minimum": "min"}  # others have their own names
DIGITS: Final = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")

Piece = tuple[str, int]  # a text, and how tightly it holds together


class Text(Marks):
    """How expressions are written as plain text."""

    def __call__(self, e: Expression) -> str:
        return self.piece(e)[0]

    def power(self, base: str, exponent: Expression) -> str:
        if exponent.is_number and isinstance(exponent.value, int):
            return base + str(exponent.value).translate(DIGITS)
        return f"{base}^{self.factor(exponent, ATOM)}"

    def quotient(self, e: Expression) -> Piece:
        return f"{self.at(e.args[0], PRODUCT)} / {self.factor(e.args[1], POWER)}", QUOTIENT

    def cases(self, e: Expression) -> Piece:
        condition, yes, no = e.args
        return f"{self.at(yes, SUM)} where {self.condition(condition)}, else {self.at(no, SUM)}", CASE

    def root(self, e: Expression) -> Piece:
        return f"√{self.factor(e.args[0], ATOM)}", POWER

    # Levels --------------------------------------------------------------------------------------------

    def at(self, e: Expression, level: int) -> str:
        """Its text, in parentheses if it holds together less tightly than this."""
        text, tightness = self.piece(e)
        return text if tightness >= level else self.parenthesised(text)

    def factor(self, e: Expression, level: int) -> str:
        """The same behind another operand, where it must not begin with a sign."""
        text = self.at(e, level)
        return self.parenthesised(text) if text.startswith(self.minus) else text

    def piece(self, e: Expression) -> Piece:
        rule = getattr(self, f"_{e.op}", None)
        if rule is not None:
            found: Piece = rule(e)
            return found
        if e.op in COMPARISONS or e.op in LOGIC or e.op == "logical_not":
            return self.enclosed("[", self.condition(e), "]"), ATOM
        if e.op in REDUCTIONS and len(e.args) == 1:
            return self._reduced(e)
        return self._called(e)

    def condition(self, e: Expression) -> str:
        """A comparison where a condition is expected, without brackets."""
        if e.op in COMPARISONS:
            return self.relation(self.at(e.args[0], SUM), self.sign(COMPARISONS[e.op]), self.at(e.args[1], SUM))
        if e.op in LOGIC:
            return self.infix(LOGIC[e.op]).join(self._part_of_condition(a) for a in e.args)
        if e.op == "logical_not":
            return f"{self.infix('not').lstrip()}{self._part_of_condition(e.args[0])}"
        return self.at(e, SUM)

    def _part_of_condition(self, e: Expression) -> str:
        text = self.condition(e)
        return self.parenthesised(text) if e.op in LOGIC or e.op == "logical_not" else text

    # Rules by operation --------------------------------------------------------------------------------

    def _name(self, e: Expression) -> Piece:
        return self.name(e.value), ATOM

    def _constant(self, e: Expression) -> Piece:
        return self.value(e.value), ATOM

    def _add(self, e: Expression) -> Piece:
        return f"{self.at(e.args[0], SUM)} + {self.factor(e.args[1], SUM)}", SUM

    def _subtract(self, e: Expression) -> Piece:
        return f"{self.at(e.args[0], SUM)} {self.minus} {self.factor(e.args[1], QUOTIENT)}", SUM

    def _negative(self, e: Expression) -> Piece:
        text, tightness = self.piece(e.args[0])
        if tightness < QUOTIENT or text.startswith(self.minus):
            return f"{self.minus}{self.parenthesised(text)}", PRODUCT
        return self.minus + text, min(tightness, PRODUCT)

    def _multiply(self, e: Expression) -> Piece:
        x, y = e.args
        if x == y and not x.is_number:
            return self.power(self.factor(x, ATOM), TWO), POWER
        if y.is_number and not x.is_number:
            x, y = y, x
        if _is_plain(x) and not y.is_number:
            right, tightness = self.piece(y)
            if tightness < PRODUCT or right.startswith(self.minus) or right[0].isdigit():
                right, tightness = self.parenthesised(right), ATOM
            return f"{self.value(x.value)}{self.space}{right}", min(tightness, SIDE)
        sign = self.times if x.shape != () and y.shape != () else self.dot
        return f"{self.at(x, PRODUCT)}{sign}{self.factor(y, PRODUCT)}", PRODUCT

    def _divide(self, e: Expression) -> Piece:
        return self.quotient(e)

    def _matmul(self, e: Expression) -> Piece:
        right = self.factor(e.args[1], POWER)
        if right[0] in "|" or right[0].isdigit():
            right = self.parenthesised(right)
        return f"{self.at(e.args[0], SIDE)}{self.space}{right}", SIDE

    def _power(self, e: Expression) -> Piece:
        return self.power(self.factor(e.args[0], ATOM), e.args[1]), POWER

    def _sqrt(self, e: Expression) -> Piece:
        return self.root(e)

    def _absolute(self, e: Expression) -> Piece:
        return self.enclosed("|", self(e.args[0]), "|"), ATOM

    def _floor(self, e: Expression) -> Piece:
        return self.enclosed("⌊", self(e.args[0]), "⌋"), ATOM

    def _ceil(self, e: Expression) -> Piece:
        return self.enclosed("⌈", self(e.args[0]), "⌉"), ATOM

    def _floor_divide(self, e: Expression) -> Piece:
        return self.enclosed("⌊", self(Expression("divide", e.args)), "⌋"), ATOM

    def _remainder(self, e: Expression) -> Piece:
        return f"{self.factor(e.args[0], SIDE)}{self.infix('mod')}{self.factor(e.args[1], POWER)}", SUM

    def _where(self, e: Expression) -> Piece:
        return self.cases(e)

    def _reduced(self, e: Expression) -> Piece:
        axes = e.option("axis")
        shown = "" if axes is None else ",".join(map(str, axes if isinstance(axes, tuple) else (axes,)))
        return self.reduction(REDUCTIONS[e.op], shown, self(e.args[0])), ATOM

    def _sum_to(self, e: Expression) -> Piece:
        x, shape = e.args[0], e.option("shape")
        if x.shape is None or not isinstance(shape, tuple):
            return self._called(e)
        extra = len(x.shape) - len(shape)
        axes = [*range(extra), *(extra + a for a, n in enumerate(shape) if n == 1 != x.shape[extra + a])]
        shown = "" if len(axes) == len(x.shape) else ",".join(map(str, axes))
        return self.reduction("Σ", shown, self(x)), ATOM

    def _transpose(self, e: Expression) -> Piece:
        x, axes = e.args[0], e.option("axes")
        ndim = len(x.shape) if x.shape is not None else 0
        last_two = (*range(ndim - 2), ndim - 1, ndim - 2)
        if ndim >= 2 and ((axes is None and ndim == 2) or (axes is not None and tuple(axes) == last_two)):
            return self.transposed(self.factor(x, ATOM)), POWER
        return self._called(e)

    def _outer_sum(self, e: Expression) -> Piece:
        if all(a.op == "name" for a in e.args):
            x, y = (self.row(self.name(a.value)) for a in e.args)
            return f"{self.row(self.sign_of_sum)} {x} {self.transposed(y)}", SUM
        return self._called(e)

    sign_of_sum = "Σ"

    def row(self, name: str) -> str:
        """One of its rows, or a sum over them."""
        return f"{name}ₙ"

    def _getitem(self, e: Expression) -> Piece:
        return f"{self.at(e.args[0], ATOM)}{self.enclosed('[', self.index(e.options['index']), ']')}", ATOM

    def _placed(self, e: Expression) -> Piece:
        return self._written(e, "=")

    def _added(self, e: Expression) -> Piece:
        return self._written(e, "+=")

    def _written(self, e: Expression, sign: str) -> Piece:
        index = self.enclosed("[", self.index(e.options["index"]), "]")
        return f"{self.at(e.args[0], SUM)}{self.infix('with')}{index} {sign} {self.at(e.args[1], SUM)}", CASE

    def _item(self, e: Expression) -> Piece:
        return f"{self.at(e.args[0], ATOM)}{self.enclosed('[', str(e.value), ']')}", ATOM

    def _list(self, e: Expression) -> Piece:
        return self.enclosed("[", ", ".join(self._elided([self(a) for a in e.args])), "]"), ATOM

    def _tuple(self, e: Expression) -> Piece:
        return self.parenthesised(", ".join(self(a) for a in e.args)), ATOM

    def _astype(self, e: Expression) -> Piece:
        return self.function(self.word(str(e.dtype)), self(e.args[0])), ATOM

    def _called(self, e: Expression) -> Piece:
        """f(x, y, option=...), without the options that are as when nobody says anything."""
        primitive = registry.get(e.op)
        defaults = {} if primitive is None else primitive.__signature__.parameters
        first = primitive.parameters[:1] if primitive is not None else ()
        shown = [self(a) for a in e.args if not _is_dtype(a)]
        for key, option in sorted(e.options.items(), key=lambda item: (item[0],) != first):
            usual = defaults[key].default if key in defaults else None
            if _is_dtype(option) or (option.op == "constant" and not is_array(option.value) and option.value == usual):
                continue
            text = self.enclosed("[", self.index(option), "]") if key == "index" else self(option)
            shown.append(text if (key,) == first and key != "axis" else f"{self.word(key)}={text}")
        return self.function(self.function_name(e.op), ", ".join(shown)), ATOM

    def function_name(self, op: str) -> str:
        return FUNCTIONS.get(op, op)


TWO: Final = Expression("constant", value=2, shape=())


def _is_plain(e: Expression) -> bool:
    """Whether it is a number that can stand in front of a factor: not negative, and finite."""
    return e.is_number and not isinstance(e.value, bool) and 0 <= e.value < math.inf


def _is_dtype(e: Expression) -> bool:
    return e.op == "constant" and isinstance(e.value, (type, cpu.dtype))


text = Text()
