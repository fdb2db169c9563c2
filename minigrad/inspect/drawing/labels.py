"""What stands in the boxes of a drawing: an operation with what it was told, shapes, names."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Final

from ...backend import is_array
from ..computation import Operation, Value
from ..shown import stated

LONGEST: Final = 30  # letters of a line
UNTOLD: Final = ("shape", "dtype")  # parameters that the shapes show already


def cut(text: str, longest: int = LONGEST) -> str:
    """A text, in one line, and not longer than a box is wide.

    >>> cut("a very long name of a parameter in a deep model", 20)
    'a very lo…deep model'
    """
    text = "".join(" " if c.isspace() else c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    if len(text) <= longest:
        return text
    head = (longest - 1) // 2
    return text[:head] + "…" + text[len(text) - (longest - 1 - head) :]


def counted(count: int, what: str) -> str:
    """How many there are of something."""
    return f"{count} {what}" + ("" if count == 1 else "s")


def shape_text(shape: Sequence[int]) -> str:
    """A shape as people write it; that of a single number is ().

    >>> shape_text((4, 16)), shape_text((3,))
    ('(4, 16)', '(3,)')
    """
    return str(tuple(int(n) for n in shape))


def operation_text(alike: Sequence[Operation]) -> str:
    """The name of an operation, with the numbers it takes and its parameters, as far as all rounds of a loop agree.

    >>> import minigrad as mg
    >>> from minigrad.inspect.computation import read
    >>> x = mg.ones((2, 3), requires_grad=True)
    >>> [operation_text([operation]) for operation in read((2.0 * x[:, 1:]).sum(axis=1)).operations]
    ['getitem [:, 1:]', 'multiply(2.0, ·)', 'sum axis=1']
    """
    one = alike[0]
    text = one.primitive.name
    if any(x.role == "number" for x in one.inputs):
        text += "(" + ", ".join(_number(x) if x.role == "number" else "·" for x in one.inputs) + ")"
    usual = _defaults(one)
    for name, parameter in one.parameters.items():
        if name in UNTOLD or (name in usual and _same(usual[name], parameter)) or parameter is None:
            continue
        same = all(_same(parameter, each.parameters.get(name)) for each in alike)
        shown = _parameter(parameter) if same else "…"
        text += f" [{shown}]" if name == "index" else f" {name}={shown}"
    return cut(text)


def outputs_text(values: Sequence[Value]) -> str:
    """The shapes of what comes out, with its name if it has one."""
    if len(values) == 1:
        name = cut(values[0].name, 20)
        return f"{name} {shape_text(values[0].shape)}".strip()
    shapes = [shape_text(value.shape) for value in values]
    if len(set(shapes)) == 1:
        return f"{len(shapes)} × {shapes[0]}"
    return cut(", ".join(shapes))


def formula_of(operation: Operation) -> str:
    """The first line of what the registry says of a primitive."""
    return stated(operation.primitive).partition("\n")[0]


def _number(value: Value) -> str:
    number = value.scalar
    return f"{number:.4g}" if isinstance(number, float) and number != round(number, 3) else str(number)


def _parameter(parameter: Any) -> str:
    if isinstance(parameter, slice):
        parts = ["" if p is None else str(p) for p in (parameter.start, parameter.stop, parameter.step)]
        return ":".join(parts[:2] if not parts[2] else parts)
    if isinstance(parameter, tuple):
        inner = ", ".join(_parameter(p) for p in parameter)
        return inner if any(isinstance(p, slice) or p is Ellipsis or p is None for p in parameter) else f"({inner})"
    if parameter is Ellipsis:
        return "..."
    if is_array(parameter) or hasattr(parameter, "shape"):
        return shape_text(parameter.shape)
    return str(parameter)


def _defaults(operation: Operation) -> dict[str, Any]:
    try:
        signature = inspect.signature(operation.primitive.value)
    except (TypeError, ValueError):
        return {}
    empty = inspect.Parameter.empty
    return {name: p.default for name, p in signature.parameters.items() if p.default is not empty}


def _same(a: Any, b: Any) -> bool:
    """Whether two parameters are the same, arrays among them by their shapes: more is not shown."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(_same(p, q) for p, q in zip(a, b, strict=True))
    if hasattr(a, "shape") or hasattr(b, "shape"):
        return getattr(a, "shape", None) == getattr(b, "shape", ())
    return type(a) is type(b) and bool(a == b)
