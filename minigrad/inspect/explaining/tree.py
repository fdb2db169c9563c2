"""Expression trees: what a formula says, as data. They are read off code (symbols.py), written down as text and as
LaTeX (notation.py, latex.py), and computed (`evaluate`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from ...backend import Array, DType, cpu, is_array
from ...ops.primitive import Shape, registry

NUMBERS: Final = (bool, int, float)


class Expression:
    """A function of other expressions, a name, or a constant. Equal ones compare equal.

    Attributes:
        op: "name", "constant", "tuple", "list", "item" (of several outputs), or a function: one of NumPy's names or of
            the registry's, "placed" and "added" (an array with a value written, or added, at an index).
        args: what it is a function of.
        options: its other arguments, by name.
        value: the text of a name, the value of a constant, the number of an item.
        shape, dtype: of what it computes, if that is an array; () and None of a Python number.
    """

    __slots__ = ("_hash", "args", "dtype", "op", "options", "shape", "value")

    def __init__(
        self,
        op: str,
        args: tuple[Expression, ...] = (),
        options: Mapping[str, Expression] | None = None,
        *,
        value: Any = None,
        shape: Shape | None = None,
        dtype: DType | None = None,
    ) -> None:
        self.op, self.args, self.options = op, args, dict(options or {})
        self.value, self.shape, self.dtype = value, shape, dtype
        self._hash = hash((op, args, tuple(self.options.items()), key_of(value)))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Expression) or self._hash != other._hash:
            return False
        same = (self.op, self.args, self.options) == (other.op, other.args, other.options)
        return same and key_of(self.value) == key_of(other.value)

    def __repr__(self) -> str:
        if self.op in ("name", "constant"):
            return str(self.value)
        parts = [*map(repr, self.args), *(f"{k}={v!r}" for k, v in self.options.items())]
        return f"{self.op}({', '.join(parts)})" + (f"[{self.value}]" if self.op == "item" else "")

    @property
    def children(self) -> Iterator[Expression]:
        yield from self.args
        yield from self.options.values()

    @property
    def is_number(self) -> bool:
        """Whether it is a Python number."""
        return self.op == "constant" and type(self.value) in NUMBERS

    def option(self, name: str, default: Any = None) -> Any:
        """The value of an option that is a constant, or `default` if it is not given."""
        found = self.options.get(name)
        return default if found is None else found.value if found.op == "constant" else found


def key_of(value: Any) -> Any:
    """Something hashable that tells a value from others, also 1 from 1.0 and from True."""
    if is_array(value):
        return ("array", value.shape, str(value.dtype), value.tobytes())
    if isinstance(value, (tuple, list)):
        return (type(value).__name__, *map(key_of, value))
    return (type(value).__name__, repr(value))


def name(text: str, like: Any = None) -> Expression:
    """A name, of something that has a shape and a dtype."""
    return Expression("name", value=text, shape=getattr(like, "shape", ()), dtype=getattr(like, "dtype", None))


def constant(value: Any) -> Expression:
    shape = getattr(value, "shape", () if type(value) in NUMBERS else None)
    return Expression("constant", value=value, shape=shape, dtype=getattr(value, "dtype", None))


def rebuilt(e: Expression, change: Callable[[Expression], Expression | None]) -> Expression:
    """An expression in which `change`, asked from the leaves upwards, has replaced what it did not answer None to."""
    known: dict[int, Expression] = {}

    def visit(e: Expression) -> Expression:
        found = known.get(id(e))
        if found is None:
            args = tuple(map(visit, e.args))
            options = {k: visit(v) for k, v in e.options.items()}
            new = e
            if any(a is not b for a, b in zip([*args, *options.values()], e.children, strict=True)):
                new = Expression(e.op, args, options, value=e.value, shape=e.shape, dtype=e.dtype)
            found = known[id(e)] = change(new) or new
        return found

    return visit(e)


def renamed(e: Expression, mapping: Mapping[str, Expression]) -> Expression:
    """An expression in which names stand for other expressions."""
    return rebuilt(e, lambda part: mapping.get(part.value) if part.op == "name" else None)


def parts_of(e: Expression) -> list[Expression]:
    """An expression and all that it is made of, each as often as it occurs."""
    found = [e]
    for part in e.children:
        found += parts_of(part)
    return found


# Computing them -----------------------------------------------------------------------------------


def _placed(y: Array, value: Array, *, index: Any) -> Array:
    y = y.copy()
    y[index] = value
    return y


def _added(y: Array, value: Array, *, index: Any) -> Array:
    y = y.copy()
    cpu.add_at(y, index, value)
    return y


OWN: Final[dict[str, Callable[..., Any]]] = {
    "getitem": lambda x, *, index: x[index],
    "placed": _placed,
    "added": _added,
    "astype": lambda x, *, dtype: x.astype(dtype),
    "copy": lambda x: x.copy(),
    "empty": lambda *args, **options: cpu.zeros(*args, **options),
    "einsum": lambda xs, *, subscripts: cpu.einsum(subscripts, *xs, optimize=True),
    "sigmoid": cpu.sigmoid,
    "where": cpu.where,
}


def function_of(op: str) -> Callable[..., Any]:
    """What computes a function of that name on NumPy's arrays: NumPy's own where it has one, else the registry's."""
    if op in OWN:
        return OWN[op]
    primitive = registry.get(op)
    if primitive is not None and (primitive.kind in ("shape", "index") or not hasattr(cpu.module, op)):
        return lambda *args, **options: primitive.value(cpu, *args, **options)
    found: Callable[..., Any] = getattr(cpu.module, op)
    return found


def evaluate(e: Expression, names: Mapping[str, Any]) -> Any:
    """What an expression is, where its names stand for these arrays and numbers.

    >>> two_x = Expression("multiply", (constant(2), name("x")))
    >>> evaluate(two_x, {"x": 3.5})
    np.float64(7.0)
    """
    known: dict[int, Any] = {}

    def visit(e: Expression) -> Any:
        if id(e) not in known:
            known[id(e)] = compute(e)
        return known[id(e)]

    def compute(e: Expression) -> Any:
        if e.op == "constant":
            return e.value
        if e.op == "name":
            return names[e.value]
        args = [visit(a) for a in e.args]
        if e.op in ("tuple", "list"):
            return tuple(args) if e.op == "tuple" else args
        if e.op == "item":
            return args[0][e.value]
        return function_of(e.op)(*args, **{k: visit(v) for k, v in e.options.items()})

    return visit(e)
