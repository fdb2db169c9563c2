"""What led to a tensor, as values and the operations between them: what all instruments look at.

The graph on the tape keeps what the derivatives need and no more. `read` goes through it once and puts the rest back:
names, the values that can be computed again, which module an operation ran in. Where one node stands for many
operations (the time loop of a recurrent layer, a fused function, a checkpoint), they are computed again one by one and
stand there instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..backend import Array, DType, namespace_of
from ..graph import Edge, Node, Tensor, tick
from ..messages import describe, type_name
from ..ops.primitive import Absent, Primitive, Shape
from ..tape import as_array
from .names import Names


class Value:
    """What an operation takes or gives.

    Attributes:
        number: its place among all values of the computation.
        name: of a parameter, a leaf or what the caller has named; else "".
        role: "parameter", "input" (another leaf that needs a gradient), "data" (a constant), "number" (of Python),
            or "computed".
        array: its entries, on its device; None if nobody kept them and they cannot be computed again.
        scalar: of a number, what it is.
        maker, slot: the operation that gave it, and the number of its output; None and 0 for what was not computed.
        users: the operations that take it, each with the place among its inputs.
        saved: whether the graph keeps it for the backward pass.
    """

    def __init__(self, number: int, role: str, shape: Shape, dtype: DType | None) -> None:
        self.number, self.role, self.shape, self.dtype = number, role, shape, dtype
        self.name = ""
        self.array: Array | None = None
        self.scalar: float | int | bool | None = None
        self.maker: Operation | None = None
        self.slot = 0
        self.users: list[tuple[Operation, int]] = []
        self.saved = False

    @property
    def needs_grad(self) -> bool:
        """Whether gradients flow to it."""
        return self.role in ("parameter", "input", "computed")

    def __repr__(self) -> str:
        return f"<{self.role} {self.name or f'v{self.number}'} {self.shape}>"


class Operation:
    """One application of a primitive.

    Attributes:
        number: its place in the order of computing.
        modules: the modules in which it ran, outermost first, by their paths; () if none is known.
        inside: which node it was opened from ("scan", "checkpoint", the name of a fused function); "" for none.
        line: in anomaly mode, the line of the program that called it; else "".
        node: what stands for it on the tape.
    """

    def __init__(self, number: int, node: Node, modules: tuple[str, ...], inside: str) -> None:
        self.number, self.node, self.modules, self.inside = number, node, modules, inside
        self.primitive: Primitive[Any] = node.primitive
        self.parameters = node.parameters
        self.inputs: list[Value] = []
        self.outputs: list[Value] = []
        origin = node.notes.origin if node.notes else None
        self.line = " ".join(str(origin.lines[0]).split()) if origin and origin.lines else ""

    def __repr__(self) -> str:
        return f"<operation {self.number}: {self.primitive.name}>"


class Computation:
    """Values and operations, in the order of computing; `result` is what was asked about."""

    def __init__(self, result: Tensor, names: Names) -> None:
        self.operations: list[Operation] = []
        self.values: list[Value] = []
        self._names = names
        self._computed: dict[tuple[int, int], Value] = {}
        self._leaves: dict[int, Value] = {}
        self._alive: list[Any] = []  # whose ids are keys
        self._elsewhere: dict[tuple[int, int], Edge] = {}  # outputs of opened nodes: where they come from
        source = result._source
        assert source is not None
        self._add_nodes([source], 0, (), "")
        self.result = self._value_at(self._resolved(source))
        self.result.array = result._data

    # Reading the graph -------------------------------------------------------------------------------

    def _add_nodes(self, outputs: Sequence[Edge], since: int, modules: tuple[str, ...], inside: str) -> None:
        """The operations that were recorded after `since` and lead to these outputs, in the order of computing."""
        nodes = _nodes_behind(outputs, since)
        used = {edge for node in nodes for edge in node.edges if type(edge) is tuple}
        used.update(edge for edge in outputs if type(edge) is tuple)
        within = self._names.modules_of(nodes)
        for node in nodes:
            path = modules + tuple(p for p in within[node.birth] if p not in modules)
            if node.primitive.opened is None:
                self._add(Operation(len(self.operations), node, path, inside))
                continue
            now = tick()
            found = node.primitive.opened(node)
            edges = [x if type(x) is tuple else x._source or x for x in found if x is not None]
            for slot, edge in enumerate(edges):
                self._elsewhere[node.birth, slot] = edge
            wanted = [edge for slot, edge in enumerate(edges) if (node, slot) in used]
            self._add_nodes(wanted, now, path, inside or node.primitive.name)

    def _add(self, operation: Operation) -> None:
        node = operation.node
        self.operations.append(operation)
        for place, (edge, kept) in enumerate(zip(node.edges, node.inputs, strict=True)):
            value = self._constant(kept) if edge is None else self._value_at(self._resolved(edge))
            if type(kept) is Tensor:
                value.array, value.saved = kept._data, True
            operation.inputs.append(value)
            value.users.append((operation, place))
        for slot, spec in enumerate(node.specs):
            value = self._new("computed", spec.shape, spec.dtype, (node.birth, slot))
            value.maker, value.slot = operation, slot
            operation.outputs.append(value)
            self._computed[node.birth, slot] = value
        if node.primitive.saves_output:
            operation.outputs[0].array, operation.outputs[0].saved = node.output, True
        else:
            self._compute_again(operation)

    def _compute_again(self, operation: Operation) -> None:
        """The values of its outputs, if those of its inputs are known."""
        operands = [x.scalar if x.role == "number" else x.array for x in operation.inputs]
        if any(x is None for x in operands):
            return
        primitive, xp = operation.primitive, operation.node.xp
        xp.make_current()
        found = primitive.value(xp, *([operands] if primitive.variadic else operands), **operation.parameters)
        for value, y in zip(operation.outputs, found if primitive.multiple else [found], strict=True):
            value.array = as_array(xp, y, primitive.name)

    # Values -------------------------------------------------------------------------------------------

    def _resolved(self, edge: Edge) -> Edge:
        while type(edge) is tuple and (edge[0].birth, edge[1]) in self._elsewhere:
            edge = self._elsewhere[edge[0].birth, edge[1]]
        return edge

    def _value_at(self, edge: Edge) -> Value:
        if type(edge) is tuple:
            return self._computed[edge[0].birth, edge[1]]
        assert type(edge) is Tensor
        return self._leaf(edge)

    def _leaf(self, x: Tensor) -> Value:
        value = self._leaves.get(id(x))
        if value is None:
            role = ("parameter" if x.is_parameter else "input") if x._requires_grad else "data"
            value = self._leaves[id(x)] = self._new(role, x._data.shape, x._data.dtype, id(x))
            value.array = x._data
            self._alive.append(x)
        return value

    def _constant(self, kept: Any) -> Value:
        if type(kept) is Tensor:
            return self._leaf(kept) if kept._source is None else self._leaf(Tensor(kept._data))
        if type(kept) is Absent:
            return self._new("data", kept.shape, kept.dtype, None)
        if hasattr(kept, "_data"):
            return self._leaf(Tensor(kept._data))
        value = self._new("number", (), None, None)
        value.scalar = kept
        return value

    def _new(self, role: str, shape: Shape, dtype: DType | None, key: Any) -> Value:
        value = Value(len(self.values), role, tuple(shape), dtype)
        value.name = self._names.name_of(key)
        self.values.append(value)
        return value


def _nodes_behind(outputs: Sequence[Edge], since: int) -> list[Node]:
    """The nodes that outputs hang from and that were recorded after `since`, oldest first."""
    found: dict[int, Node] = {}
    frontier = [edge[0] for edge in outputs if type(edge) is tuple]
    while frontier:
        node = frontier.pop()
        if node.birth > since and node.birth not in found:
            found[node.birth] = node
            frontier.extend(edge[0] for edge in node.edges if type(edge) is tuple)
    return [found[birth] for birth in sorted(found)]


def read(result: Any, names: Any = None, caller: str = "read") -> Computation:
    """What led to a tensor: see `Computation`.

    Args:
        result: a computed tensor whose graph has not been freed, of any shape.
        names: what to call things: a module (its parameters have the names of its state dict), or a mapping from
            names to tensors and modules, such as `locals()`, of which the rest is ignored. Without it, parameters are
            named after the modules that were called.
        caller: whose name errors begin with.

    Raises:
        TypeError: it is no Tensor, or the names are neither.
        RuntimeError: it is a leaf, or needs no gradient; its graph was freed by a backward pass; a leaf has been
            written to since.

    >>> import minigrad as mg
    >>> x = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> computation = read((x * x).sum(), names={"x": x})
    >>> [operation.primitive.name for operation in computation.operations]
    ['multiply', 'sum']
    >>> computation.values
    [<input x (2,)>, <computed v1 (2,)>, <computed v2 ()>]
    """
    if type(result) is not Tensor:
        raise TypeError(f"{caller}: expected a Tensor that was computed, such as a loss, got {type_name(result)}")
    if result._source is None:
        what = "a leaf: it was made, not computed" if result._requires_grad else "not recorded"
        raise RuntimeError(
            f"{caller}: expected a tensor that was computed from others, with its graph; this one, "
            f"{describe(result)}, is {what}, so nothing led to it. Give the result (the loss), computed from a "
            "tensor with requires_grad=True, outside of no_grad, and not detached"
        )
    nodes = _nodes_behind([result._source], 0)
    for node in nodes:
        if not node.edges:
            raise RuntimeError(
                f"{caller}: the graph of this tensor was freed by a backward pass, from {node.primitive.name} on. "
                f"Call {caller} before backward(), or go backward with retain_graph=True"
            )
        for edge in node.edges:
            if type(edge) is Tensor and edge._storage is not None and edge._storage.written > node.birth:
                raise RuntimeError(
                    f"{caller}: {describe(edge)}, an input of {node.primitive.name}, has been written to since (by "
                    f"an optimizer step or an assignment). Call {caller} before that, or compute forward again"
                )
    return Computation(result, Names(names, nodes, caller))


def on_host(array: Array) -> Any:
    """An array as one of NumPy."""
    return namespace_of(array).to_host(array)
