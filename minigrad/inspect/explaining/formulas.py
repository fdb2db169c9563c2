"""The formulas of a primitive, read on symbols: what it computes, and what its derivatives do."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ...backend import Array, cpu, is_array, namespace_of
from ...ops.primitive import Domain, Primitive
from ...tape import absent_like
from ..shown import stated
from .marks import LOWERED
from .notation import Text
from .reading import Reader
from .symbols import Unreadable
from .tidy import tidied
from .tree import NUMBERS, Expression, constant, key_of, name, parts_of, rebuilt, renamed

GOLDEN: Final = (math.sqrt(5) - 1) / 2
KEPT: Final = 4096  # readings that are kept
SMALL: Final = 4  # parts of an expression that is worth a name
LARGE: Final = 16  # parts from which on an expression is easier to read with its named parts apart
_known: dict[Any, Any] = {}


@dataclass(frozen=True)
class Formula:
    """What was read of one formula.

    Attributes:
        results: an expression for each thing it gives; none if it could not be read.
        names: what its author called parts of it.
        reason: why it could not be read, or "".
        stated: the formula in the primitive's docstring.
    """

    results: tuple[Expression, ...]
    names: Mapping[Expression, str] = field(default_factory=dict)
    reason: str = ""
    stated: str = ""

    @property
    def is_readable(self) -> bool:
        return not self.reason

    def said(self, notation: Text, mapping: Mapping[str, Expression] | None = None, place: int = 0) -> str:
        """One of its results as text, with names filled in: "g ⊙ p, where p = exp(x − y)"."""
        names = mapping or {}
        taken = {str(e.value) for e in names.values() if e.op == "name"}
        (_, result), *definitions = _apart(self.results[place], self.names, taken)
        shown = notation(renamed(result, names))
        where = [f"{notation.name(text)} = {notation(renamed(e, names))}" for text, e in definitions]
        return shown + (f",{notation.infix('where')}{', '.join(where)}" if where else "")


def _apart(e: Expression, names: Mapping[Expression, str], taken: set[str]) -> list[tuple[str, Expression]]:
    """An expression without its larger parts that occur twice, or are named if it is long; and these, by name."""
    shown = [("", e)]
    parts = parts_of(e)
    letters, taken = iter("abcdefghijk"), set(taken)
    for part in sorted(dict.fromkeys(parts), key=lambda part: -_size(part)):
        is_named = part in names and len(parts) >= LARGE
        if part is e or part.op in ("list", "tuple", "constant", "name") or _size(part) < SMALL:
            continue
        if sum(parts_of(x).count(part) for _, x in shown) > 1 - is_named:
            text = names.get(part) or next(letters)
            while text in taken:
                text += "′"
            taken.add(text)
            shown = [(key, with_name(x, part, text)) for key, x in shown]
            shown.append((text, part))
    return shown


def _size(e: Expression) -> int:
    """How many names and functions it is made of."""
    return sum(part.op != "constant" for part in parts_of(e))


def with_name(e: Expression, part: Expression, text: str) -> Expression:
    """An expression in which a part is called by a name."""
    short = name(text, part)
    return rebuilt(e, lambda old: short if old == part else None)


# Reading ------------------------------------------------------------------------------------------


def value_formula(primitive: Primitive[Any], inputs: Sequence[Any], parameters: Mapping[str, Any]) -> Formula:
    """What a primitive computes, read off its value: an expression per output, in the names of its inputs.

    Args:
        inputs: for each, anything with a shape and a dtype, or a Python number.
        parameters: as the primitive gets them; arrays may lie on any device.

    >>> import minigrad as mg
    >>> from minigrad.inspect.explaining.notation import text
    >>> from minigrad.ops.contraction import linear
    >>> value_formula(linear, [mg.zeros((4, 3)), mg.zeros((2, 3)), mg.zeros(2)], {}).said(text)
    'x wᵀ + b'
    """

    def read() -> Formula:
        reader = Reader()
        operands = _operands(primitive, reader, _examples(primitive, inputs))
        return _read(primitive, reader, lambda: primitive.value(reader.values, *operands, **host))

    host = {k: parameter_on_host(v) for k, v in parameters.items()}
    return _once((primitive, primitive.value, None, _signature(inputs), _key(host)), read)


def derivative_formulas(
    primitive: Primitive[Any], inputs: Sequence[Any], parameters: Mapping[str, Any]
) -> list[Formula | None]:
    """What each input gets, read off the derivatives: in the names of the inputs, of the output and of g.

    The output is called y, or out where an input is called y (y₀, y₁, ... of several); what it receives is g, or h
    where an input is called g. What comes out of another shape than the input is summed to it, as in a sweep.

    Returns:
        A formula for each input; None for one that has no derivative.
    """

    def read(place: int) -> Formula:
        reader = Reader()
        arrays = _examples(primitive, inputs)
        operands = [arrays] if primitive.variadic else arrays
        y: Any = primitive.value(cpu, *operands, **host)
        y = y if primitive.multiple else cpu.asarray(y)
        saved = [primitive.saves_all if primitive.variadic else kept for kept in _saved(primitive, len(arrays))]
        given = [x if kept or type(x) in NUMBERS else absent_like(x) for x, kept in zip(arrays, saved, strict=True)]
        symbols = _operands(primitive, reader, given)
        output, g = output_name(primitive), gradient_name(primitive)
        received: Any
        if primitive.multiple:
            outputs: Any = [reader.symbol(numbered(output, k), absent_like(part)) for k, part in enumerate(y)]
            received = [reader.symbol(numbered(g, k), _filled(part.shape, part.dtype)) for k, part in enumerate(y)]
        else:
            outputs = reader.symbol(output, y if primitive.saves_output else absent_like(y))
            received = reader.symbol(g, _filled(y.shape, y.dtype))
        vjp = primitive.vjps[place]
        assert vjp is not None
        return _read(primitive, reader, lambda: vjp(reader.derivatives, received, outputs, *symbols, **host))

    host = {k: parameter_on_host(v) for k, v in parameters.items()}
    found: list[Formula | None] = []
    signature = _signature(inputs)
    for place, vjp in enumerate(primitive.vjps):
        key = (primitive, vjp, place, signature, _key(host))
        found.append(None if vjp is None else _once(key, lambda place=place: read(place)))  # type: ignore[misc]
    if primitive.variadic and found and found[0] is not None:
        whole = found[0]
        found = [whole if not whole.is_readable else Formula((e,), whole.names) for e in whole.results or inputs]
    return [
        f if f is None or not f.is_readable else Formula((_fitted(f.results[0], x),), f.names, "", f.stated)
        for f, x in zip(found or [None] * len(inputs), inputs, strict=True)
    ]


def output_name(primitive: Primitive[Any]) -> str:
    return "out" if "y" in primitive.inputs else "y"


def gradient_name(primitive: Primitive[Any]) -> str:
    return "h" if "g" in primitive.inputs else "g"


def input_names(primitive: Primitive[Any], count: int) -> list[str]:
    """What the formulas call the inputs; those of a sequence xs are x₀, x₁, ..."""
    if not primitive.variadic:
        return list(primitive.inputs)
    return [numbered(primitive.inputs[0].removesuffix("s"), k) for k in range(count)]


def numbered(letter: str, k: int) -> str:
    return letter + str(k).translate(LOWERED)


def _read(primitive: Primitive[Any], reader: Reader, run: Callable[[], Any]) -> Formula:
    try:
        results = reader.run(run)
    except Unreadable as error:
        return Formula((), {}, str(error), stated(primitive))
    used = {output_name(primitive), gradient_name(primitive), *input_names(primitive, 0)}
    names = {tidied(e): text for e, text in reader.names.items() if text not in used}
    return Formula(tuple(map(tidied, results)), names, "", stated(primitive))


def _once(key: Any, read: Callable[[], Formula]) -> Formula:
    found = _known.get(key)
    if found is None:
        if len(_known) >= KEPT:
            _known.clear()
        found = _known[key] = read()
    return found


def _saved(primitive: Primitive[Any], count: int) -> Sequence[bool]:
    return [False] * count if primitive.variadic else primitive.saves_inputs


def _operands(primitive: Primitive[Any], reader: Reader, arrays: Sequence[Any]) -> list[Any]:
    texts = input_names(primitive, len(arrays))
    symbols = [reader.symbol(text, x) for text, x in zip(texts, arrays, strict=True)]
    return [symbols] if primitive.variadic else symbols


def _fitted(e: Expression, target: Any) -> Expression:
    """Summed to the shape of the input it is for, and of its dtype, as a sweep does."""
    shape, dtype = getattr(target, "shape", None), getattr(target, "dtype", None)
    if shape is None or e.shape is None:
        return e
    if tuple(e.shape) != tuple(shape):
        e = Expression("sum_to", (e,), {"shape": constant(tuple(shape))}, shape=tuple(shape), dtype=e.dtype)
    if dtype is not None and e.dtype is not None and e.dtype != dtype:
        e = Expression("astype", (e,), {"dtype": constant(dtype)}, shape=e.shape, dtype=dtype)
    return e


# What formulas are read on ------------------------------------------------------------------------


def _examples(primitive: Primitive[Any], inputs: Sequence[Any]) -> list[Any]:
    """Arrays of these shapes and dtypes inside of the domains; numbers as they are."""
    domains = list(primitive.domains) * len(inputs) if primitive.variadic else primitive.domains
    return [
        x if type(x) in NUMBERS else _filled(tuple(x.shape), x.dtype, domain, 0.1 + 0.3 * k)
        for k, (x, domain) in enumerate(zip(inputs, domains, strict=True))
    ]


def _filled(shape: tuple[int, ...], dtype: Any, domain: Domain | None = None, start: float = 0.7) -> Array:
    """Entries that lie spread over a domain, no two of them equal, and not to be written to."""
    low, high = (domain.low, domain.high) if domain else (-1.0, 1.0)
    low, high = max(low, -1e6), min(high, 1e6)
    entries = (start + GOLDEN * cpu.arange(math.prod(shape))) % 1.0
    values = entries < 0.5 if cpu.dtype(dtype).kind == "b" else low + (high - low) * entries
    array = values.reshape(shape).astype(dtype)
    array.flags.writeable = False
    return array


def _signature(inputs: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(
        (type(x).__name__, x) if type(x) in NUMBERS else (tuple(x.shape), str(cpu.dtype(x.dtype))) for x in inputs
    )


def parameter_on_host(value: Any) -> Any:
    """A parameter with its arrays on the host."""
    if is_array(value):
        return namespace_of(value).to_host(value)
    return type(value)(map(parameter_on_host, value)) if type(value) in (tuple, list) else value


def _key(value: Any) -> Any:
    return key_of(list(value.items()) if isinstance(value, dict) else value)
