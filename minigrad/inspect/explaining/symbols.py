"""The fourth reading of the formulas: on symbols, which carry an array and note how it came about.

A formula that runs on arrays to compute, on Tensors to record, and on kernels' expressions to be compiled, runs here
on `Symbol`s: each is an array and, at the same time, the expression that gives it. So a formula is read off the code
that runs, with all its shapes known; and what is read is proved: computed again, it must give the very same numbers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

from ...backend import cpu
from ...fusion.expression import CHANGING, COMPARING
from ...fusion.expression import COMBINING as OF_KERNELS
from .tree import Expression, constant

FACTS: Final = {"shape", "dtype", "ndim", "size", "itemsize", "nbytes"}  # what an array says of itself
METHODS: Final = {
    *("all", "any", "argmax", "argmin", "argsort", "astype", "copy", "cumsum", "max", "mean", "min", "ravel"),
    *("repeat", "reshape", "squeeze", "std", "sum", "swapaxes", "take", "transpose", "var"),
}
ALONE: Final = {**CHANGING, "invert": "logical_not"}
COMBINING: Final = {**OF_KERNELS, "matmul": "matmul", "and_": "logical_and", "or_": "logical_or"}


class Unreadable(TypeError):  # noqa: N818 - it names the formula, not an accident
    """What a formula does that no expression can say."""


class UnreadableAttribute(Unreadable, AttributeError):  # noqa: N818 - it names the formula too
    """What a formula looks up that no expression can say."""


class Symbol:
    """An array, a number, or what stands in for an array that was not saved; and the expression that gives it."""

    __slots__ = ("array", "expression", "reader", "writes")
    __array_ufunc__ = None

    def __init__(self, reader: Any, array: Any, expression: Expression) -> None:
        self.reader, self.array, self.expression = reader, array, expression
        self.writes = 0

    def __repr__(self) -> str:
        return f"<symbol {self.expression!r}>"

    def __getattr__(self, attribute: str) -> Any:
        if attribute in FACTS:
            return getattr(self.array, attribute)
        if attribute == "T":
            return self.reader.values.transpose(self)
        if attribute not in METHODS:
            raise UnreadableAttribute(f"it uses .{attribute} of an array, which no expression says")
        function = getattr(self.reader.values, attribute)

        def method(*args: Any, **options: Any) -> Any:
            if attribute in ("reshape", "transpose") and args and not isinstance(args[0], (tuple, list)):
                args = (args,)
            options.pop("copy", None)  # astype(dtype, copy=False) gives the same numbers
            return function(self, *args, **options)

        return method

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Any:
        return iter([self[i] for i in range(len(self))])

    def __bool__(self) -> bool:
        raise Unreadable("it decides by the values of an array")

    def __float__(self) -> float:
        raise Unreadable("it makes a Python number of an array")

    __int__ = __index__ = item = tolist = __float__

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise Unreadable("it hands an array to something else than the namespace it was given")

    def __getitem__(self, index: Any) -> Any:
        return self.reader.note("getitem", lambda x, index: x[index], (self,), {"index": index})

    def __setitem__(self, index: Any, value: Any) -> None:
        self.writes += 1
        if self.writes > 1:
            raise Unreadable("it fills an array piece by piece")
        self.write("placed", index, value)
        self.array[plain(index)] = plain(value)

    def write(self, op: str, index: Any, value: Any) -> None:
        """Note that a value was written, or added, at an index."""
        options = {"index": expression_of(index)}
        args = (self.expression, expression_of(value))
        self.expression = Expression(op, args, options, shape=self.array.shape, dtype=self.array.dtype)

    def become(self, other: Symbol) -> Symbol:
        """The same symbol after it was computed anew in its own memory: `x += y`, `xp.exp(y, out=x)`."""
        if type(self.array) is cpu.ndarray and self.array.ndim:
            self.array[...] = other.array
        else:
            self.array = other.array
        self.expression = other.expression
        return self


def _operators() -> None:
    def plain_operator(symbol: str, op: str) -> Callable[..., Any]:
        function = getattr(operator, symbol)
        return lambda self, *others: self.reader.note(op, function, (self, *others), {})

    def swapped(symbol: str, op: str) -> Callable[..., Any]:
        function = getattr(operator, symbol)
        return lambda self, other: self.reader.note(op, function, (other, self), {})

    def in_place(symbol: str, op: str) -> Callable[..., Any]:
        function = getattr(operator, symbol)
        return lambda self, other: self.become(self.reader.note(op, function, (self, other), {}))

    for symbol, op in {**ALONE, **COMPARING, **COMBINING}.items():
        setattr(Symbol, f"__{symbol.rstrip('_')}__", plain_operator(symbol, op))
    for symbol, op in COMBINING.items():
        setattr(Symbol, f"__r{symbol.rstrip('_')}__", swapped(symbol, op))
        setattr(Symbol, f"__i{symbol.rstrip('_')}__", in_place(symbol, op))
    Symbol.__hash__ = object.__hash__  # type: ignore[method-assign]


_operators()


def plain(value: Any) -> Any:
    """What a formula would have got: the arrays of symbols, also inside of lists, tuples and indices."""
    if type(value) is Symbol:
        return value.array
    return type(value)(map(plain, value)) if type(value) in (tuple, list) else value


def expression_of(value: Any) -> Expression:
    if type(value) is Symbol:
        return value.expression
    if type(value) in (tuple, list) and _has_symbols(value):
        return Expression(type(value).__name__, tuple(map(expression_of, value)))
    return constant(value)


def _has_symbols(value: Any) -> bool:
    return type(value) is Symbol or (type(value) in (tuple, list) and any(map(_has_symbols, value)))
