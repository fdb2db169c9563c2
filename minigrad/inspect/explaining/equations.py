"""The equations of a computation, read off a graph: few lines, each with all in it that deserves no name of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ...backend import Array, cpu, is_array
from ...graph import Tensor
from ...ops.primitive import Primitive
from ...ops.shape import concatenate, reshape
from ...tape import apply
from ..computation import Computation, Operation, Value, on_host, read
from .formulas import parameter_on_host, value_formula
from .lines import operands
from .looking import looking
from .notation import Text
from .tidy import of_vectors, tidied
from .tree import Expression, constant, evaluate, name, parts_of, rebuilt, renamed

SHORT: Final = 12  # parts of a formula that is filled in; a longer one is called by its primitive's name
LONG: Final = 100  # parts of a formula from which on it gets a line of its own
APPLY: Final = apply.__code__
Place = tuple[int, int]  # of a value in a graph: when its node was made, and the number of the output


@dataclass(frozen=True)
class Equation:
    """i, f, g, o = split(...): what is on the left, and what it is."""

    left: tuple[str, ...]
    right: Expression

    def said(self, notation: Text) -> str:
        return f"{', '.join(map(notation.name, self.left))} = {notation(self.right)}"


@dataclass(frozen=True)
class Equations:
    """What some code computes.

    Attributes:
        lines: in the order of computing; each uses the names of the inputs, of the parameters, and of lines before.
        outputs: the names of what it gives.
        arrays: for each name of an input or parameter, an array that it had as this was read.
    """

    lines: tuple[Equation, ...]
    outputs: tuple[str, ...]
    arrays: Mapping[str, Array]

    def evaluate(self, arrays: Mapping[str, Any] | None = None) -> list[Any]:
        """What they give, by NumPy alone, with other arrays for some of the names."""
        known: dict[str, Any] = {**self.arrays, **(arrays or {})}
        for line in self.lines:
            found = evaluate(line.right, known)
            known.update(zip(line.left, found if len(line.left) > 1 else [found], strict=True))
        return [known[text] for text in self.outputs]


class Watch:
    """What is seen while code runs: the names of its local variables, and what primitives were applied to.

    The second is for what no graph knows, such as a condition, because it has no derivative.
    """

    def __init__(self) -> None:
        self.names: dict[Place, str] = {}
        self.applied: dict[int, tuple[Primitive[Any], Sequence[Any], Mapping[str, Any], Tensor]] = {}
        self.inputs: dict[int, Sequence[Any]] = {}  # of each node, by its birth

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """What the function gives; meanwhile local variables are looked at whenever a function returns."""
        with looking(self._look):
            return function(*args)

    def _look(self, frame: Any, event: str, result: Any) -> None:
        if event != "return":
            return
        if frame.f_code is APPLY and type(result) is Tensor:
            seen = frame.f_locals
            self.applied[id(result._data)] = seen["primitive"], seen["inputs"], seen["parameters"], result
            if result._source is not None:
                self.inputs[result._source[0].birth] = seen["inputs"]
        module = frame.f_globals.get("__name__", "")
        root = module.partition(".")[0]
        if root in sys.stdlib_module_names or (root == "minigrad" and not module.startswith("minigrad.nn")):
            return
        for text, value in list(frame.f_locals.items()):
            self._note(text, value)
            for field in getattr(type(value), "_fields", ()):
                self._note(field, getattr(value, field))

    def _note(self, text: str, value: Any) -> None:
        if type(value) is Tensor and value._source is not None and text.isidentifier():
            node, slot = value._source
            self.names.setdefault((node.birth, slot), text)


def equations_of(
    results: Mapping[str, Tensor],
    leaves: Mapping[str, Tensor],
    watch: Watch,
    indices: Mapping[str, Array] | None = None,
) -> Equations:
    """The equations that lead from leaves to results.

    Args:
        results: what is asked for, with the names it shall have.
        leaves: what it is computed from, with the names it shall have.
        watch: what was seen while the results were computed.
        indices: integer arrays that the code may hand on as a parameter, by name.
    """
    joined = concatenate([reshape(y, (-1,)) for y in results.values()])
    computation = read(joined, dict(leaves), "explain")
    return _Reading(computation, results, watch, indices or {}).equations(leaves)


class _Reading:
    """One graph, on its way to be equations."""

    def __init__(
        self,
        computation: Computation,
        results: Mapping[str, Tensor],
        watch: Watch,
        indices: Mapping[str, Array],
    ) -> None:
        self.indices, self.applied = indices, watch.applied
        called = watch.names
        for operation in computation.operations:
            for x, seen in zip(operation.inputs, watch.inputs.get(operation.node.birth, ()), strict=False):
                if x.role == "data" and x.array is None and type(seen) is Tensor:
                    x.array = seen._data
        self.computation = computation
        self.results: dict[Value, str] = {}
        for text, y in results.items():
            self.results.setdefault(computation._value_at(computation._resolved(y._source or y)), text)
        wanted = _behind(list(self.results))
        self.operations = [op for op in computation.operations if any(y in wanted for y in op.outputs)]
        self.uses: dict[Value, int] = {}
        for operation in self.operations:
            for x in operation.inputs:
                self.uses[x] = self.uses.get(x, 0) + 1
        self.called = {
            y: called[operation.node.birth, y.slot]
            for operation in self.operations
            for y in operation.outputs
            if (operation.node.birth, y.slot) in called
        }
        self.constants: dict[str, Array] = {}

    def equations(self, leaves: Mapping[str, Tensor]) -> Equations:
        taken = {*leaves, *self.indices, *self.results.values()}
        known: dict[Value, Expression] = {}
        lines = []
        for operation in self.operations:
            right = self._right_of(operation, known, taken)
            outputs = operation.outputs
            if operation.primitive.multiple:
                left = tuple(self._name_for(y, taken) for y in outputs)
                lines.append(Equation(left, of_vectors(tidied(right))))
                known.update({y: name(text, y) for y, text in zip(outputs, left, strict=True)})
                continue
            (y,) = outputs
            parts = len(parts_of(right))
            if y in self.results or (self.uses.get(y, 0) > 1 and parts > 2) or parts > LONG:
                text = self._name_for(y, taken)
                lines.append(Equation((text,), of_vectors(tidied(right))))
                right = name(text, y)
            known[y] = right
        lines += [
            Equation((text,), of_vectors(tidied(known[value])))
            for value, text in self.results.items()
            if value in known and known[value] != name(text, value)
        ]
        arrays = {text: on_host(x._data) for text, x in leaves.items()} | dict(self.indices) | self.constants
        used = {part.value for line in lines for part in parts_of(line.right) if part.op == "name"}
        return Equations(tuple(lines), tuple(self.results.values()), {k: v for k, v in arrays.items() if k in used})

    def _right_of(self, operation: Operation, known: Mapping[Value, Expression], taken: set[str]) -> Expression:
        """What an operation gives, in terms of names and of what has none."""
        inputs = [known[x] if x in known else self._leaf(x, known, taken) for x in operation.inputs]
        return self._applied(
            operation.primitive, operands(operation), operation.parameters, inputs, operation.outputs[0]
        )

    def _applied(
        self,
        primitive: Primitive[Any],
        like: Sequence[Any],
        parameters: Mapping[str, Any],
        inputs: Sequence[Expression],
        output: Any,
    ) -> Expression:
        """A primitive's formula, if it is short, or its name, of these inputs."""
        formula = value_formula(primitive, like, parameters)
        if not primitive.variadic and not primitive.multiple and formula.is_readable:
            (found,) = formula.results
            if len(parts_of(found)) <= SHORT and not any(e.op in ("placed", "added") for e in parts_of(found)):
                filled = renamed(found, dict(zip(primitive.inputs, inputs, strict=True)))
                return rebuilt(filled, self._index_by_name)
        args = (Expression("list", tuple(inputs)),) if primitive.variadic else tuple(inputs)
        options = {k: constant(parameter_on_host(v)) for k, v in parameters.items() if v is not None}
        shape = None if primitive.multiple else output.shape
        return rebuilt(Expression(primitive.name, args, options, shape=shape, dtype=output.dtype), self._index_by_name)

    def _index_by_name(self, e: Expression) -> Expression | None:
        """An index array that is one of the inputs, by its name."""
        if e.op != "constant":
            return None
        if is_array(e.value):
            return next((name(k, v) for k, v in self.indices.items() if _same(on_host(e.value), v)), None)
        return None

    def _leaf(self, x: Value, known: Mapping[Value, Expression], taken: set[str]) -> Expression:
        if x.role == "number":
            return constant(x.scalar)
        if not x.name:
            seen = self.applied.get(id(x.array))
            if seen is not None:
                return self._unrecorded(*seen, known, taken)
            if x.array is not None and x.shape == ():
                return constant(on_host(x.array).item())
            x.name = _fresh("k", taken)
            self.constants[x.name] = on_host(x.array)
        return name(x.name, x)

    def _unrecorded(
        self,
        primitive: Primitive[Any],
        inputs: Sequence[Any],
        parameters: Mapping[str, Any],
        output: Tensor,
        known: Mapping[Value, Expression],
        taken: set[str],
    ) -> Expression:
        """What was computed without a derivative, such as a condition, in terms of what is known."""
        found = []
        for x in inputs:
            if type(x) is not Tensor:
                found.append(constant(x))
                continue
            source = x._source
            if source is not None and (source[0].birth, source[1]) not in self.computation._computed:
                found.append(self._unrecorded(*self.applied[id(x._data)], known, taken))
                continue
            value = self.computation._value_at(source or x)
            found.append(known[value] if value in known else self._leaf(value, known, taken))
        return self._applied(primitive, inputs, parameters, found, output)

    def _name_for(self, y: Value, taken: set[str]) -> str:
        if y in self.results:
            return self.results[y]
        return _fresh(self.called.get(y, "u"), taken)


def _fresh(text: str, taken: set[str]) -> str:
    """A name that nothing has yet."""
    while text in taken:
        text += "′"
    taken.add(text)
    return text


def _same(x: Array, y: Array) -> bool:
    return x.dtype.kind in "iu" and x.shape == y.shape and bool(cpu.array_equal(x, y))


def _behind(results: Sequence[Value]) -> set[Value]:
    """The values that these are computed from, and they themselves."""
    found: set[Value] = set()
    frontier = list(results)
    while frontier:
        value = frontier.pop()
        if value not in found:
            found.add(value)
            frontier.extend(value.maker.inputs if value.maker else ())
    return found


def tensors_in(value: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """The Tensors in a result, with what tells them apart: "", "[0]", "[1][0]"."""
    if type(value) is Tensor:
        yield path, value
    elif isinstance(value, (tuple, list)):
        for k, part in enumerate(value):
            yield from tensors_in(part, f"{path}[{k}]")
    elif isinstance(value, dict):
        for k, part in value.items():
            yield from tensors_in(part, f"{path}[{k!r}]")
