"""Expressions: what a formula gives when it is read on symbols, the third reading.

A formula is handed a namespace whose functions compute nothing, and note what was asked for. `Values` stands in for
the array library in a primitive's value, `Formulas` for the registry in its derivatives. What comes out is a graph of
*intrinsics*, the few dozen functions that every writer has a text for. Equal expressions are one object.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from ..backend import Array, DType, bool_, cpu, float32, float64
from ..ops.primitive import Shape, registry

DTYPES: Final = {cpu.dtype(d): d for d in (float32, float64, bool_)}  # those a kernel can be written for
FLOATS: Final = (cpu.dtype(float32), cpu.dtype(float64))
BOOL: Final = cpu.dtype(bool_)

ARITHMETIC: Final = {"add", "subtract", "multiply", "divide", "power", "remainder", "floor_divide", "logaddexp"}
EXTREMES: Final = {"maximum", "minimum"}
FUNCTIONS: Final = {"exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tanh", "sigmoid"}
ROUNDING: Final = {"negative", "absolute", "sign", "floor", "ceil"}
COMPARISONS: Final = {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"}
TESTS: Final = {"isnan", "isinf", "isfinite"}
LOGIC: Final = {"logical_and", "logical_or", "logical_not"}
INTRINSICS: Final = ARITHMETIC | EXTREMES | FUNCTIONS | ROUNDING | COMPARISONS | TESTS | LOGIC | {"where"}


class Unfit(TypeError):  # noqa: N818 - it names the function, not an accident
    """What a function does that no kernel can be written for."""


class Expr:
    """One value per entry: an intrinsic of others, an entry of an array (`load`), or a number given with the call."""

    __slots__ = ("args", "dtype", "graph", "op", "place", "shape", "slot", "view")

    op: str  # an intrinsic, "load", "scalar" or "astype"
    args: tuple[Any, ...]  # expressions and Python numbers
    dtype: DType | None  # None for a number, which takes the dtype of what it meets
    shape: Shape
    slot: int  # of a load or a scalar: which of the arguments
    place: Array  # of a load: a view of the argument's dummy, see `dummy`
    view: Any  # of a load: the part of an argument, for an array library and the argument
    graph: Graph

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def astype(self, dtype: DType) -> Expr:
        return self.graph.cast(self, cpu.dtype(dtype))

    def copy(self) -> Expr:
        return self

    def __bool__(self) -> bool:
        raise Unfit("a Python condition on values; write mg.where(condition, x, y)")

    __array_ufunc__ = None


def _operator(name: str, swapped: bool = False) -> Callable[..., Any]:
    def operator(self: Expr, *others: Any) -> Any:
        args = (*others, self) if swapped else (self, *others)
        return self.graph.make(name, *args)

    return operator


# Python's operators by their special names, and what registry and array library call them.
COMBINING: Final = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "pow": "power",
    "mod": "remainder",
    "floordiv": "floor_divide",
}
COMPARING: Final = {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}
CHANGING: Final = {"neg": "negative", "abs": "absolute"}

for _symbol, _name in COMBINING.items():
    setattr(Expr, f"__{_symbol}__", _operator(_name))
    setattr(Expr, f"__r{_symbol}__", _operator(_name, swapped=True))
for _symbol, _name in {**CHANGING, **COMPARING}.items():
    setattr(Expr, f"__{_symbol}__", _operator(_name))
Expr.__hash__ = object.__hash__  # type: ignore[method-assign]


class Graph:
    """The expressions of one program, each of them once."""

    def __init__(self) -> None:
        self.known: dict[Any, Expr] = {}

    def make(self, op: str, *args: Any) -> Any:
        """An intrinsic of expressions and numbers; of numbers alone it is a number."""
        args = tuple(_number(a) for a in args)
        exprs = [a for a in args if type(a) is Expr]
        if not exprs:
            return getattr(cpu, op)(*args).item()
        return self._one(op, args, _dtype(op, args), cpu.broadcast_shapes(*(e.shape for e in exprs)))

    def load(self, slot: int, place: Array, view: Any) -> Expr:
        """An entry of an argument. `place` lies in the argument's dummy as what is read lies in the argument."""
        _check_dtype("an array of", place.dtype)
        found = self._one("load", (), place.dtype, place.shape, slot, place)
        found.view = view
        return found

    def scalar(self, slot: int) -> Expr:
        """A Python number that comes with each call."""
        return self._one("scalar", (), None, (), slot)

    def cast(self, x: Expr, dtype: DType) -> Expr:
        _check_dtype("a conversion to", dtype)
        return x if x.dtype is not None and x.dtype == dtype else self._one("astype", (x,), dtype, x.shape)

    def _one(self, op: str, args: tuple[Any, ...], dtype: Any, shape: Shape, slot: int = -1, place: Any = None) -> Expr:
        where = None if place is None else (cpu.address(place), place.strides)
        key = (op, tuple(id(a) if type(a) is Expr else (type(a), repr(a)) for a in args), dtype, shape, slot, where)
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = Expr()
            found.op, found.args, found.dtype, found.shape = op, args, dtype, shape
            found.slot, found.place, found.graph = slot, place, self
        return found


def _check_dtype(what: str, dtype: DType) -> None:
    if dtype not in DTYPES:
        raise Unfit(f"{what} {dtype}, where float32, float64 and bool are what a kernel can be written for")


def is_float(dtype: DType | None) -> bool:
    """Whether it is the dtype of floats; that of a number is None, which NumPy takes for float64."""
    return dtype is not None and dtype in FLOATS


def _number(x: Any) -> Any:
    """What an operand may be: an expression, or a Python number."""
    if type(x) is Expr or type(x) in (float, int, bool):
        return x
    if getattr(x, "ndim", 1) == 0 and hasattr(x, "item"):  # xp.asarray(0.5), a NumPy scalar
        return x.item()
    raise Unfit(f"a {type(x).__name__} in a formula, where expressions and numbers are what a kernel knows")


def _dtype(op: str, args: tuple[Any, ...]) -> DType | None:
    """What NumPy would make of them: a number takes the dtype of what it meets, and with booleans is a float64."""
    if op in COMPARISONS or op in TESTS or op in LOGIC:
        return BOOL
    operands = args[1:] if op == "where" else args
    floats = [a.dtype for a in operands if type(a) is Expr and is_float(a.dtype)]
    if floats:
        return cpu.result_type(*floats)
    kinds = {_kind(a) for a in operands}
    if "bool" not in kinds and not (op == "where" and any(e.op == "load" for e in in_order([args[0]]))):
        return None
    if "float" in kinds:
        return FLOATS[1]
    if kinds == {"bool"} and op in ("multiply", "add", "maximum", "minimum", "where", "absolute"):
        return BOOL
    raise Unfit(
        f"{op} of booleans or integers, which gives integers or raises; make them floats, with astype or as 1.0"
    )


def _kind(x: Any) -> str:
    """What an operand that is no array of floats is: "bool", "int" or "float", as a number that is yet to come."""
    if type(x) is Expr:
        return "float" if x.dtype is None else "bool"
    return type(x).__name__


def in_order(roots: Iterable[Any]) -> list[Expr]:
    """Expressions and what they are made of, operands first."""
    exprs = [e for e in roots if type(e) is Expr]
    if not exprs:
        return []
    needed = set(exprs)
    known = list(exprs[0].graph.known.values())  # in the order of their making
    for e in reversed(known):
        if e in needed:
            needed.update(a for a in e.args if type(a) is Expr)
    return [e for e in known if e in needed]


def replaced(root: Any, mapping: Mapping[Expr, Expr]) -> Any:
    """An expression in which some others have been replaced."""
    new = dict(mapping)
    for e in in_order([root]):
        if e not in new and not e.args:
            new[e] = e
        elif e not in new:
            new[e] = e.graph._one(e.op, tuple(new[a] if type(a) is Expr else a for a in e.args), e.dtype, e.shape)
    return new[root] if type(root) is Expr else root


# The namespaces in which formulas are read --------------------------------------------------------


class Values:
    """The array library, as a primitive's value sees it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def asarray(self, x: Any, dtype: Any = None) -> Any:
        return x if dtype is None or type(x) is not Expr else x.astype(dtype)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in INTRINSICS:
            raise Unfit(f"xp.{name} in its formula, which is none of the functions that a kernel knows")
        return lambda *args: self.graph.make(name, *args)


class Formulas:
    """The registry, as a derivative sees it."""

    def __init__(self, graph: Graph) -> None:
        self.values = Values(graph)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        primitive = registry.get(name)
        if primitive is None or primitive.kind != "elementwise":
            raise Unfit(f"xp.{name} in its derivative, which does not act entry by entry")
        return lambda *args, **parameters: primitive.value(self.values, *args, **parameters)


# Dummies ------------------------------------------------------------------------------------------

_NOTHING: Final = {dtype: cpu.empty(1, dtype=dtype) for dtype in DTYPES}


def dummy(shape: Shape, dtype: DType, strides: tuple[int, ...] | None = None) -> Array:
    """An array that has a shape and strides, and no memory: cutting it up tells where the parts of a real one lie.

    Nobody may look at its entries.
    """
    _check_dtype("an array of", dtype)
    if strides is None:
        strides = c_strides(shape, cpu.dtype(dtype).itemsize)
    return cpu.lib.stride_tricks.as_strided(_NOTHING[dtype], shape, strides)


def c_strides(shape: Shape, itemsize: int) -> tuple[int, ...]:
    """The strides, in bytes, of an array in C order."""
    return tuple(itemsize * math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def offset(place: Array) -> int:
    """How many bytes after the first entry of its array a view of a dummy begins."""
    return cpu.address(place) - cpu.address(_NOTHING[place.dtype])
