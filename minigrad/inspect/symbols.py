"""The fourth reading of the formulas: on symbols, which carry an array and note how it came about.

A formula that runs on arrays to compute, on Tensors to record, and on kernels' expressions to be compiled, runs here
on `Symbol`s: each is an array and, at the same time, the expression that gives it. So a formula is read off the code
that runs, with all its shapes known; and what is read is proved: computed again, it must give the very same numbers.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ..backend import Array, cpu
from ..ops.primitive import Absent, registry
from .tree import Expression, constant, evaluate, name

# Shorter ways of the array library to what the formula says next: they answer that they are not there.
DECLINED: Final = {
    "logsumexp": None,
    "matmul_add": None,
    "surprisal": None,
    "surprisal_gradient": None,
    "add_rows": False,
}
ROUNDINGS: Final = 64
FACTS: Final = {"shape", "dtype", "ndim", "size", "itemsize", "nbytes"}  # what an array says of itself
METHODS: Final = {
    *("all", "any", "argmax", "argmin", "argsort", "astype", "copy", "cumsum", "max", "mean", "min", "ravel"),
    *("repeat", "reshape", "squeeze", "std", "sum", "swapaxes", "take", "transpose", "var"),
}
NEGATING: Final = {"neg": "negative", "abs": "absolute", "invert": "logical_not"}
COMPARING: Final = {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}
COMBINING: Final = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "pow": "power",
    "mod": "remainder",
    "floordiv": "floor_divide",
    "matmul": "matmul",
    "and_": "logical_and",
    "or_": "logical_or",
}


class Unreadable(TypeError):  # noqa: N818 - it names the formula, not an accident
    """What a formula does that no expression can say."""


class UnreadableAttribute(Unreadable, AttributeError):  # noqa: N818 - it names the formula too
    """What a formula looks up that no expression can say."""


class Symbol:
    """An array, a number, or what stands in for an array that was not saved; and the expression that gives it."""

    __slots__ = ("array", "expression", "reader", "writes")
    __array_ufunc__ = None

    def __init__(self, reader: Reader, array: Any, expression: Expression) -> None:
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

    for symbol, op in {**NEGATING, **COMPARING, **COMBINING}.items():
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


# The namespaces -----------------------------------------------------------------------------------


class Values:
    """The array library, as a primitive's value sees it: NumPy's names, computed on the host."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def __getattr__(self, attribute: str) -> Any:
        if attribute in DECLINED:
            return lambda *_, **__: DECLINED[attribute]
        found = getattr(cpu, attribute)
        if not callable(found) or isinstance(found, type):
            return found
        return lambda *args, **options: self._reader.note(attribute, found, args, options)

    def add_at(self, out: Symbol, index: Any, values: Any) -> None:
        out.write("added", index, values)
        cpu.add_at(out.array, plain(index), plain(values))

    def asarray(self, x: Any, dtype: Any = None) -> Any:
        if type(x) is Symbol:
            return x if dtype is None else x.astype(dtype)
        return self._reader.note("asarray", cpu.asarray, (x,), {} if dtype is None else {"dtype": dtype})

    def einsum(self, subscripts: str, *xs: Any, **_: Any) -> Any:
        def function(xs: Any, subscripts: str) -> Any:
            return cpu.einsum(subscripts, *xs, optimize=True)

        return self._reader.note("einsum", function, (list(xs),), {"subscripts": subscripts})


class Derivatives:
    """The registry, as a derivative formula sees it: its names, and operators."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def __getattr__(self, attribute: str) -> Any:
        primitive = registry.get(attribute)
        if primitive is None:
            raise AttributeError(f"a derivative used xp.{attribute}, but no primitive of that name is registered")

        def compute(*inputs: Any, **parameters: Any) -> Any:
            return primitive.value(cpu, *inputs, **parameters)

        return lambda *args, **options: self._reader.note(attribute, compute, args, options)


class Reader:
    """One run of a formula on symbols: what it gives, and what its author called the parts."""

    def __init__(self) -> None:
        self.values, self.derivatives = Values(self), Derivatives(self)
        self.inputs: dict[str, Any] = {}
        self.names: dict[Expression, str] = {}

    def symbol(self, text: str, array: Any) -> Symbol:
        """A symbol for something that has a name in the formula."""
        self.inputs[text] = array
        return Symbol(self, array, name(text, array))

    def note(self, op: str, function: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """Compute, and note what was computed of what."""
        out = options.get("out")
        options = {k: v for k, v in options.items() if k != "out"}
        found = function(*map(plain, args), **{k: plain(v) for k, v in options.items()})
        args, options = _by_name(op, list(args), options)
        inputs = tuple(map(expression_of, args))
        given = {k: expression_of(v) for k, v in options.items()}
        if isinstance(found, (list, tuple)) and found and all(hasattr(part, "dtype") for part in found):
            whole = Expression(op, inputs, given)
            items = [Expression("item", (whole,), value=k, shape=x.shape, dtype=x.dtype) for k, x in enumerate(found)]
            return [Symbol(self, x, item) for x, item in zip(found, items, strict=True)]
        if not hasattr(found, "dtype"):
            return found
        symbol = Symbol(self, found, Expression(op, inputs, given, shape=found.shape, dtype=found.dtype))
        return symbol if out is None else out.become(symbol)

    def run(self, formula: Callable[..., Any], *args: Any, **parameters: Any) -> list[Expression]:
        """What a formula gives on symbols, proved; a formula that gives a list gives one expression per entry.

        Raises:
            Unreadable: no expression can say what it does; the message says why.
        """
        before = sys.getprofile()
        sys.setprofile(self._look_at_locals)
        try:
            found = formula(*args, **parameters)
        except Unreadable:
            raise
        except Exception as error:  # whatever a formula does that a symbol cannot take
            raise Unreadable(f"on symbols it raises {type(error).__name__}: {error}") from error
        finally:
            sys.setprofile(before)
        several = isinstance(found, (list, tuple))
        results = [x if type(x) is Symbol else Symbol(self, x, constant(x)) for x in (found if several else [found])]
        self._prove(results)
        return [x.expression for x in results]

    def _look_at_locals(self, frame: Any, event: str, result: Any) -> None:
        """The names that the author of a formula gave to its parts; those of the outermost function win."""
        if event == "return" and frame.f_globals.get("__name__") != __name__:
            for text, value in frame.f_locals.items():
                if type(value) is Symbol and text not in self.inputs and text.isidentifier():
                    self.names[value.expression] = text

    def _prove(self, results: Sequence[Symbol]) -> None:
        for symbol in results:
            if isinstance(symbol.array, Absent):
                continue
            if not _agree(cpu.asarray(evaluate(symbol.expression, self.inputs)), cpu.asarray(symbol.array)):
                raise Unreadable("what was read off does not compute what it computes")


def _agree(x: Array, y: Array) -> bool:
    """Whether they are the same, or differ by the rounding of one product of matrices that another has computed."""
    if x.shape != y.shape or x.dtype != y.dtype or x.dtype.kind != "f":
        return bool(cpu.array_equal(x, y))
    finite = cpu.abs(y[cpu.isfinite(y)])
    largest = float(finite.max()) if finite.size else 0.0
    return bool(cpu.allclose(x, y, rtol=0.0, atol=ROUNDINGS * float(cpu.finfo(y.dtype).eps) * largest, equal_nan=True))


def _by_name(op: str, args: list[Any], options: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Parameters that came by position, under the names that the registry has for them; None of them left out."""
    primitive = registry.get(op)
    if primitive is not None and len(args) > len(primitive.inputs):
        count = len(primitive.inputs)
        options = dict(zip(primitive.parameters, args[count:], strict=False)) | options
        args = args[:count]
    return args, {k: v for k, v in options.items() if v is not None}
