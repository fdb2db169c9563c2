"""Going backward through one node: its derivative formulas, read on what it saved, and what may stand in the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import graph
from .cotangent import Deferred, Inbox, Looked, Slices
from .graph import Edge, Node, Tensor, storage_of
from .messages import input_names
from .ops import elementwise, index, shape
from .ops.primitive import Shape
from .readings import readings_of
from .tape import absent

TAKE_DEFERRED = {shape.transpose, elementwise.copy, index.take}  # whose derivative knows what to do with a Deferred


def differentiate(node: Node, edges: Sequence[Edge], inbox: Inbox, xp: Any, create_graph: bool) -> list[Any]:
    """What the derivative formulas give for each input of a node, None for one without an edge."""
    if not node.edges:
        raise _freed(node)
    if graph.last_write > node.birth:
        _check_unwritten(node, edges)
    if node.lookup is not None and not create_graph and node.lookup.is_valid:
        return _through_table(node, edges, inbox, xp)
    primitive, parameters = node.primitive, node.parameters
    inputs = _inputs(node, create_graph)
    output: Any
    g: Any
    if primitive.multiple:
        output = node.specs if node.output is None else node.output
        g = _received(node, inbox, create_graph)
    else:
        output = node.specs[0] if not primitive.saves_output else _output(node) if create_graph else node.output
        g = inbox.values[0]
        if type(g) is Deferred and primitive not in TAKE_DEFERRED:
            g = inbox.take(0)
    if primitive.variadic:
        (vjp,) = primitive.vjps
        found = vjp(xp, g, output, inputs, **parameters) if vjp else [None] * len(edges)
        # A formula may give one sum to several inputs, and each of them goes on adding to its own.
        own = [x.copy() if type(x) is Deferred else x for x in found]
        return [None if edge is None else cotangent for edge, cotangent in zip(edges, own, strict=True)]
    contributions: list[Any] = []
    for k, vjp in enumerate(primitive.vjps):
        if vjp is None or edges[k] is None:
            contributions.append(None)
        elif parameters:
            contributions.append(vjp(xp, g, output, *inputs, **parameters))
        else:
            contributions.append(vjp(xp, g, output, *inputs))
    return contributions


def _through_table(node: Node, edges: Sequence[Edge], inbox: Inbox, xp: Any) -> list[Any]:
    """The same for y = f(x), f acting row by row, where x = table[indices] and y was looked up in f(table).

    All gradients come from what each row of f(table) receives. What x receives is left undone: its own derivative
    needs a sum for each row of the table.
    """
    lookup, vjps, parameters = node.lookup, node.primitive.vjps, node.parameters
    g, inputs = inbox.take(0), _inputs(node, create_graph=False)
    rows, x = lookup.table._data, absent(node, 0) if node.inputs[0] is None else inputs[0]
    g_rows = readings_of(node.xp).compute.segment_sum(g, indices=lookup.indices, size=rows.shape[0])
    if edges[1] is not None:  # to which a row that nobody looked up gives nothing, but 0 times infinity is a NaN
        seen = node.xp.zeros(rows.shape[:1], dtype=bool)
        seen[lookup.indices] = True
        rows = xp.where(seen[:, None], rows, 0.0)
    with node.xp.without_blas():
        found = [
            None if edge is None or vjp is None else vjp(xp, g_rows, node.specs[0], rows, *inputs[1:], **parameters)
            for edge, vjp in zip(edges, vjps, strict=True)
        ]
    by_row: Any = found[0]
    if by_row is not None:
        vjp: Any = vjps[0]
        undone = Deferred(node.xp, x.shape, by_row.dtype)
        undone.looked.append(Looked(lookup.indices, by_row, lambda: vjp(xp, g, None, *inputs, **parameters)))
        found[0] = undone
    return found


def _inputs(node: Node, create_graph: bool) -> list[Any]:
    """The inputs as a derivative gets them: arrays, or Tensors at their old place in the graph; scalars; absentees."""
    inputs: list[Any] = []
    for x in node.inputs:
        if x is None:
            inputs.append(absent(node, len(inputs)))
        elif type(x) is Tensor and not create_graph:
            inputs.append(x._data)
        elif type(x) is Tensor and x._requires_grad and node.edges[len(inputs)] is None:
            inputs.append(Tensor(x._data, False, storage_of(x)))  # it was switched on later, and was a constant here
        else:
            inputs.append(x)
    return inputs


def _received(node: Node, inbox: Inbox, create_graph: bool) -> list[Any]:
    """What the outputs of a node with several have received; one that nobody used contributes zeros, or None."""
    if inbox.buffer is not None and all(inbox.is_slice(slot) for slot in range(len(node.specs))):
        slices = Slices(inbox.values)
        slices.buffer = inbox.buffer
        return slices
    found = [inbox.take(slot) for slot in range(len(node.specs))]
    if node.primitive.takes_none:
        return found
    return [_zeros(node, slot, create_graph) if g is None else g for slot, g in enumerate(found)]


def _output(node: Node) -> Tensor:
    """The saved output as the Tensor it was, at its old place in the graph."""
    tensor = Tensor(node.output, True, node.storage)
    tensor._source = (node, 0)
    return tensor


def fitted(xp: Any, cotangent: Any, target: Any, node: Node) -> Any:
    """A cotangent with broadcasting undone, of exactly the shape and dtype of the `target`."""
    if getattr(cotangent, "shape", None) != target.shape:
        _check_sums_to(target.shape, cotangent, node)
        cotangent = xp.sum_to(cotangent, shape=target.shape)
    return cotangent if cotangent.dtype == target.dtype else xp.astype(cotangent, dtype=target.dtype)


def _check_sums_to(shape: Shape, cotangent: Any, node: Node) -> None:
    if hasattr(cotangent, "shape"):
        extra = len(cotangent.shape) - len(shape)
        if extra >= 0 and all(n in (1, cotangent.shape[extra + a]) for a, n in enumerate(shape)):
            return
        came = f"one of shape {tuple(cotangent.shape)}"
    else:
        came = type(cotangent).__name__
    raise RuntimeError(
        f"{node.primitive.name}: expected its derivative to give an array of shape {shape}, or one that sums to it, "
        f"got {came}; mend its formula"
    )


def _zeros(node: Node, slot: int, as_tensor: bool) -> Any:
    spec = node.specs[slot]
    zeros = node.xp.zeros(spec.shape, dtype=spec.dtype)
    return Tensor(zeros) if as_tensor else zeros


def _freed(node: Node) -> RuntimeError:
    return RuntimeError(
        f"{node.primitive.name}: this part of the graph was freed by an earlier backward pass. "
        "To go through it twice, pass retain_graph=True the first time. In truncated backpropagation "
        "through time, detach the state you carried: state = minigrad.detach(state). What was computed here "
        "and is only a number from now on, detach too"
    )


def _check_unwritten(node: Node, edges: Sequence[Edge]) -> None:
    for edge, name in zip(edges, input_names(node.primitive, node.inputs), strict=True):
        if type(edge) is Tensor and edge._storage is not None and edge._storage.reshaped > node.birth:
            raise RuntimeError(
                f"{node.primitive.name}: {name} has been assigned an array of another shape since, {edge._data.shape}, "
                "so it cannot get its gradient any more. Go backward before assigning, or compute forward again"
            )
    storages = [storage_of(x) if type(x) is Tensor else None for x in node.inputs]  # maybe that of a saved output
    names = [*input_names(node.primitive, node.inputs), "the output"]
    for name, storage in zip(names, [*storages, node.storage], strict=True):
        if storage is not None and storage.written > node.birth:
            raise RuntimeError(
                f"{node.primitive.name}: {name}, which it saved for the backward pass, has been written to since "
                "(by an optimizer step or an assignment), so its derivative would be wrong. Go backward before "
                "writing, or compute forward again; in truncated backpropagation through time, detach the state "
                "you carried: state = minigrad.detach(state)"
            )
