"""What a story tells, line by line, before it is written in a notation: each operation forward, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ...backend import Array
from ..computation import Computation, Operation, Value
from ..shown import number, short
from ..slow import Passage, SlowSweep
from .formulas import (
    Formula,
    derivative_formulas,
    gradient_name,
    input_names,
    numbered,
    output_name,
    parameter_on_host,
    value_formula,
)
from .notation import Text
from .tree import Expression, constant, name

NUMBERED: Final = re.compile("g|v[0-9]+")  # what is called so already
MANY: Final = 4  # outputs, or contributions, of which more are not all listed


def label(value: Value) -> str:
    """What a value is called: its name, or v and its number. Who has named one so, or g, the gradient, gets v2′, g′."""
    if value.role == "number":
        return number(value.scalar)
    return value.name + "′" * bool(NUMBERED.fullmatch(value.name)) if value.name else f"v{value.number}"


def described(array: Array | None, shape: Sequence[int]) -> str:
    """Shape and entries of a value, in a few words; a number by itself."""
    text = short(array)
    if not shape and array is not None:
        return text
    return text if text.startswith(str(tuple(shape))) else f"{tuple(shape)} {text}"


def elided(texts: Sequence[Any], cut: Any = "…") -> list[Any]:
    """The first two and the last of many."""
    return list(texts) if len(texts) <= MANY else [*texts[:2], cut, texts[-1]]


class Forward:
    """One operation as it computes: `v7 = tanh(v6)`, and what v7 is."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.number = operation.number
        self.primitive = operation.primitive
        self.formula = value_formula(operation.primitive, operands(operation), operation.parameters)

    def said(self, notation: Text) -> str:
        """The line in a notation; a formula that cannot be read is the one in the primitive's docstring."""
        outputs = self.operation.outputs
        left = ", ".join(elided([notation.name(label(y)) for y in outputs], notation.cut))
        if self.formula.is_readable:
            mapping = filled_in(self.operation)
            places = range(len(outputs)) if len(outputs) <= MANY else (0, 1, len(outputs) - 1)
            texts = [self.formula.said(notation, mapping, k) for k in places]
            if len(outputs) > MANY:
                texts.insert(2, notation.cut)
            return f"{left} = {', '.join(texts)}"
        return f"{left} = {notation(_applied(self.operation))}"

    @property
    def note(self) -> str:
        """What a reader should know besides."""
        said = []
        if not self.formula.is_readable:
            stated, reason = self.formula.stated.partition("\n")[0], f"its code cannot be read: {self.formula.reason}"
            said.append(f"{stated}  (its docstring; {reason})" if stated else reason)
        if self.operation.line:
            said.append(self.operation.line)
        return "; ".join(said)

    @property
    def value(self) -> str:
        outputs = self.operation.outputs
        if len(outputs) == 1:
            return described(outputs[0].array, outputs[0].shape)
        shapes = {y.shape for y in outputs}
        return f"{len(outputs)} of {shapes.pop()}" if len(shapes) == 1 else ", ".join(str(y.shape) for y in outputs)


@dataclass(frozen=True)
class Received:
    """What an output of an operation receives: the gradient g, and of how many contributions it is the sum."""

    letter: str
    value: Value
    gradient: Array | None
    makers: tuple[int, ...]  # numbers of the operations that contributed

    @property
    def text(self) -> str:
        if self.gradient is None:
            return "nothing"
        return described(self.gradient, self.value.shape)

    @property
    def sum(self) -> str:
        """ "the sum of 2, from 20 and 25", or "" where only one contributes."""
        return told_sum(self.makers)


@dataclass(frozen=True)
class Sent:
    """What an operation contributes to the gradient of one of its inputs."""

    value: Value
    formula: Formula | None
    mapping: Mapping[str, Expression]
    gradient: Array
    primitive: Any

    def said(self, notation: Text) -> str:
        if self.formula is not None and self.formula.is_readable:
            return self.formula.said(notation, self.mapping)
        return notation.word(f"the derivative of {self.primitive.name}")

    @property
    def text(self) -> str:
        return described(self.gradient, self.value.shape)


@dataclass(frozen=True)
class Omitted:
    """Some of what is received or sent, which is like what stands before."""

    count: int

    @property
    def text(self) -> str:
        return f"… {self.count} more likewise"


class Backward:
    """One operation as gradients go back through it; of many that it receives or sends, the first two and the last."""

    def __init__(self, passage: Passage, makers: Mapping[Value, Sequence[int]]) -> None:
        operation = self.operation = passage.operation
        self.number = operation.number
        self.primitive = operation.primitive
        g = gradient_name(operation.primitive)
        letters = [numbered(g, k) for k in range(len(operation.outputs))] if operation.primitive.multiple else [g]
        received = [
            Received(letter, y, array, tuple(makers.get(y, ())))
            for letter, y, array in zip(letters, operation.outputs, passage.received, strict=True)
        ]
        self.received: list[Received | Omitted] = elided(received, Omitted(len(received) - 3))
        sent = all_sent(passage)
        self.sent: list[Sent | Omitted] = elided(sent, Omitted(len(sent) - 3))


def all_sent(passage: Passage) -> list[Sent]:
    """What an operation contributes to each input that gets a gradient."""
    operation = passage.operation
    formulas = derivative_formulas(operation.primitive, operands(operation), operation.parameters)
    mapping = filled_in(operation)
    return [
        Sent(x, formula, mapping, array, operation.primitive)
        for x, formula, array in zip(operation.inputs, formulas, passage.sent, strict=True)
        if array is not None
    ]


def told_sum(makers: Sequence[int]) -> str:
    """ "the sum of 2, from 20 and 25", of operations that contribute; "" of one."""
    if len(makers) < 2:
        return ""
    if len(set(makers)) == 1:
        return f"the sum of {len(makers)}, {'both' if len(makers) == 2 else 'all'} from {makers[0]}"
    *first, last = elided([str(m) for m in makers])
    return f"the sum of {len(makers)}, from {', '.join(first)} and {last}"


def operands(operation: Operation) -> list[Any]:
    """The inputs as formulas are read on: shapes and dtypes, or numbers."""
    return [x.scalar if x.role == "number" else x for x in operation.inputs]


def filled_in(operation: Operation) -> dict[str, Expression]:
    """What the names in a primitive's formulas stand for in this application of it; g stays g."""
    primitive, outputs = operation.primitive, operation.outputs
    letter = gradient_name(primitive)

    def called(x: Value) -> Expression:
        return constant(x.scalar) if x.role == "number" else name(label(x) + "′" * (label(x) == letter), x)

    names = input_names(primitive, len(operation.inputs))
    found = {text: called(x) for text, x in zip(names, operation.inputs, strict=True)}
    output = output_name(primitive)
    if not primitive.multiple:
        return {**found, output: called(outputs[0])}
    return {**found, **{numbered(output, k): called(y) for k, y in enumerate(outputs)}}


def _applied(operation: Operation) -> Expression:
    """The primitive's name, its operands and its parameters: what is said where its code cannot be read."""
    primitive = operation.primitive
    inputs = tuple(constant(x.scalar) if x.role == "number" else name(label(x), x) for x in operation.inputs)
    return Expression(
        primitive.name,
        (Expression("list", inputs),) if primitive.variadic else inputs,
        {k: constant(parameter_on_host(v)) for k, v in operation.parameters.items() if v is not None},
        shape=operation.outputs[0].shape,
        dtype=operation.outputs[0].dtype,
    )


def contributors(sweep: SlowSweep) -> dict[Value, list[int]]:
    """For each value, the numbers of the operations that contribute to its gradient, in the order of the sweep."""
    found: dict[Value, list[int]] = {}
    for passage in sweep.passages:
        for x, g in zip(passage.operation.inputs, passage.sent, strict=True):
            if g is not None:
                found.setdefault(x, []).append(passage.operation.number)
    return found


def leaves(computation: Computation) -> list[Value]:
    """What the computation starts from, numbers apart, in the order in which it is used."""
    return [v for v in computation.values if v.role not in ("computed", "number")]


__all__ = [
    "Backward",
    "Forward",
    "Omitted",
    "Received",
    "Sent",
    "all_sent",
    "contributors",
    "label",
    "leaves",
]
