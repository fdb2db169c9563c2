"""The sweep: carrying gradients back over the tape.

It is a loop over nodes in order of birth, newest first: when a node's turn comes, everything that
used its outputs has been there already. At each node the derivative formulas are read either on
arrays (compute) or, with `create_graph`, on Tensors (record), so that what they do is on the tape too.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any

from . import graph, memory, tape
from .backend import ArrayNamespace, namespace_of
from .cotangent import Deferred, Inbox, Looked, Slices, empty_inbox, owned_array
from .graph import Edge, Hooks, Node, Notes, Tensor, storage_of
from .messages import describe, input_names
from .mode import mode
from .ops import elementwise, index, shape
from .ops.primitive import Shape
from .readings import readings_of
from .tape import absent

# The part of the graph that matters ---------------------------------------------------------------

Place = tuple[int, int]  # where a computed tensor stands: the birth of its node, and the number of the output


def _place(source: tuple[Node, int]) -> Place:
    return source[0].birth, source[1]


class Goal:
    """Which part of a graph lies between the outputs and the tensors whose gradients are wanted."""

    def __init__(self, wanted: Sequence[Edge], outputs: Sequence[Tensor], since: int) -> None:
        self.leaves = {id(edge) for edge in wanted if type(edge) is Tensor}
        self.places = {_place(edge) for edge in wanted if type(edge) is tuple}
        self.useful: set[int] = set()  # births of nodes with an edge that leads to a wanted tensor

        # What was born before every wanted tensor leads to none.
        oldest = since if self.leaves else max(since, min((birth for birth, _ in self.places), default=0))
        reachable: dict[int, Node] = {}
        frontier = [x._source[0] for x in outputs if x._source]
        while frontier:
            node = frontier.pop()
            if node.birth > oldest and node.birth not in reachable:
                reachable[node.birth] = node
                frontier.extend(edge[0] for edge in node.edges if type(edge) is tuple)
        for birth in sorted(reachable):  # oldest first: a node's inputs are decided before it is
            node = reachable[birth]
            if not node.edges or any(self.led_to_by(edge) for edge in node.edges):
                self.useful.add(birth)  # a freed node may have led there: it counts, and the sweep raises

    def led_to_by(self, edge: Edge) -> bool:
        """Whether an edge leads to a wanted tensor."""
        if type(edge) is tuple:
            return edge[0].birth in self.useful or _place(edge) in self.places
        return id(edge) in self.leaves


# The sweep ----------------------------------------------------------------------------------------

Found = list[tuple[Any, Any, bool]]

TAKE_DEFERRED = {shape.transpose, elementwise.copy, index.take}  # whose derivative knows what to do with a Deferred


def sweep(
    outputs: Sequence[Tensor],
    cotangents: Sequence[Any],
    wanted: Sequence[Edge] | None,
    *,
    create_graph: bool,
    retain_graph: bool,
    since: int = 0,
) -> Found:
    """Carry the outputs' cotangents back to every leaf, or only to the `wanted` edges.

    Cotangents are arrays, or Tensors if `create_graph`. Nodes born up to `since` are left alone, hooks and
    all. Returns (tensor, cotangent, owned) for each leaf reached and each tensor that retains its gradient, or
    (edge, cotangent, owned) for each edge wanted: the cotangent is None if none arrived, and owned if
    nobody else holds it.
    """
    if not memory.decided:
        memory.keep_by_default()
    goal = None if wanted is None else Goal(wanted, outputs, since)
    places = goal.places if goal else set()
    waiting: dict[int, Inbox] = {}  # by the birth of the node
    births: list[int] = []  # a heap of negated births: the newest node first
    leaves: dict[int, Inbox] = {}  # by id
    passing: dict[Place, tuple[Any, bool]] = {}  # what went by the wanted tensors on its way
    retained: Found = []  # and by those that asked for it
    deferred: dict[int, Any] = {}  # by id: the edges to which sums were sent that may not have been computed yet

    watcher, heappush, heappop = tape.watcher, heapq.heappush, heapq.heappop
    device: ArrayNamespace | None = None
    xp: Any = None  # the reading of the formulas
    usual: Any = None  # what it gives

    def send(edge: Any, cotangent: Any, arrays: Any) -> Any:
        """Add a cotangent to what an edge leads to; gives what it is from now on."""
        if type(edge) is tuple:
            node, slot = edge
            birth = node.birth
            inbox = waiting.get(birth)
            if inbox is None:
                waiting[birth] = inbox = empty_inbox(node, len(node.specs))
                heappush(births, -birth)
            if node.primitive is shape.unstack and not create_graph:
                return inbox.add_slice(slot, cotangent, arrays)
        else:
            inbox, slot = leaves.get(id(edge)), 0
            if inbox is None:
                leaves[id(edge)] = inbox = empty_inbox(edge, 1)
        if inbox.values[slot] is None:
            inbox.values[slot] = cotangent
        else:
            if watcher is not None:
                watcher.added(edge, inbox.values[slot], cotangent, inbox.values[slot] + cotangent)
            inbox.add(slot, cotangent, None if create_graph else arrays)
        return cotangent

    def compute_deferred() -> None:
        """Compute all sums, before a program of the user runs: it may write to what they are made of."""
        for edge in deferred.values():
            inbox = waiting.get(edge[0].birth) if type(edge) is tuple else leaves[id(edge)]
            if inbox is not None:
                inbox.take(edge[1] if type(edge) is tuple else 0)
        deferred.clear()

    before, mode.recording = mode.recording, create_graph
    try:
        for output, cotangent in zip(outputs, cotangents, strict=True):
            start = output._source or output
            if goal is None or goal.led_to_by(start):
                send(start, cotangent, namespace_of(output._data))
        while births:
            inbox = waiting.pop(-heappop(births))
            node: Node = inbox.node
            if node.notes is not None and node.birth > since:
                if node.notes.hooks:
                    compute_deferred()
                    for slot in range(len(node.specs)):
                        inbox.take(slot)
                retained += _heed(node, node.notes, inbox, create_graph)
            if places:
                for slot in range(len(node.specs)):
                    if (node.birth, slot) in places:
                        passing[node.birth, slot] = (inbox.take(slot), bool(inbox.owned >> slot & 1))
            edges = node.edges
            if goal is not None:
                if node.birth not in goal.useful:
                    continue
                edges = [edge if goal.led_to_by(edge) else None for edge in edges]
            if node.xp is not device:
                device = node.xp
                device.make_current()
                readings = readings_of(device)
                xp, usual = (readings.record, Tensor) if create_graph else (readings.defer, device.array_type)
            try:
                if node.primitive.runs_program:
                    compute_deferred()
                if edges and node.primitive.passes_on and not create_graph:
                    edges = _pass_on(node, edges, inbox, send)
                for place, cotangent in enumerate(_differentiate(node, edges, inbox, xp, create_graph)):
                    if cotangent is None:
                        continue
                    edge: Any = edges[place]
                    target = edge[0].specs[edge[1]] if type(edge) is tuple else edge._data
                    if (
                        type(cotangent) is not usual
                        or cotangent.shape != target.shape
                        or cotangent.dtype != target.dtype
                    ):
                        cotangent = _fitted(xp, cotangent, target, node)
                        if type(cotangent) is Deferred:
                            deferred[id(edge)] = edge
                    if watcher is not None:
                        watcher.backward(node, place, inbox.values, cotangent)
                    send(edge, cotangent, device)
            except Exception as error:
                if watcher is not None:
                    watcher.explain(node, error)
                raise
            if not retain_graph:
                node.edges = node.inputs = ()
                node.output = node.lookup = None
        for inbox in leaves.values():
            if inbox.node._hooks and not since:
                compute_deferred()
                _run(inbox.node._hooks, inbox, 0, namespace_of(inbox.node._data), create_graph)
    finally:
        mode.recording = before

    if wanted is None:
        return [*((inbox.node, inbox.take(0), bool(inbox.owned)) for inbox in leaves.values()), *retained]
    results: Found = []
    for edge in wanted:
        if type(edge) is tuple:
            value, owned = passing.get(_place(edge), (None, False))
        else:
            inbox = leaves.get(id(edge)) or empty_inbox(edge, 1)
            value, owned = inbox.take(0), bool(inbox.owned)
        results.append((edge, value, owned))
    return results


def _pass_on(node: Node, edges: Sequence[Edge], inbox: Inbox, send: Callable[..., Any]) -> Sequence[Edge]:
    """Send an incoming gradient to the buffer of an `unstack`, if that is where it goes unchanged, before all else.

    The derivatives then see the slice that it has become, and the product that keeps it keeps no copy.
    """
    for place in node.primitive.passes_on:
        edge = edges[place]
        if type(edge) is tuple and edge[0].primitive is shape.unstack:
            g, target = inbox.take(0), edge[0].specs[edge[1]]
            if g.shape == target.shape and g.dtype == target.dtype:
                inbox.values[0], inbox.owned = send(edge, g, node.xp), 0
                return [None if k == place else other for k, other in enumerate(edges)]
    return edges


def _differentiate(node: Node, edges: Sequence[Edge], inbox: Inbox, xp: Any, create_graph: bool) -> list[Any]:
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
        output = node.specs
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
    """What the outputs of a node with several have received; one that nobody used contributes zeros."""
    if inbox.buffer is not None and all(inbox.is_slice(slot) for slot in range(len(node.specs))):
        slices = Slices(inbox.values)
        slices.buffer = inbox.buffer
        return slices
    found = [inbox.take(slot) for slot in range(len(node.specs))]
    return [_zeros(node, slot, create_graph) if g is None else g for slot, g in enumerate(found)]


def _output(node: Node) -> Tensor:
    """The saved output as the Tensor it was, at its old place in the graph."""
    tensor = Tensor(node.output, True, node.storage)
    tensor._source = (node, 0)
    return tensor


def _heed(node: Node, notes: Notes, inbox: Inbox, create_graph: bool) -> Found:
    """Run the hooks on a node's outputs; what the outputs that retain their gradient have received."""
    for slot, hooks in notes.hooks.items():
        if inbox.values[slot] is not None:
            _run(hooks, inbox, slot, node.xp, create_graph)
    alive = [(reference(), slot) for slot, reference in notes.retainers.items()]
    return [(x, inbox.take(slot), False) for x, slot in alive if x is not None and inbox.values[slot] is not None]


def _run(hooks: Hooks, inbox: Inbox, slot: int, xp: ArrayNamespace, create_graph: bool) -> None:
    """Run the hooks on one gradient. Each gets a Tensor that it may keep, and may give another to go on with."""
    for hook in list(hooks.values()):
        g = inbox.take(slot)
        if not create_graph:
            g = Tensor(owned_array(xp, g, bool(inbox.owned >> slot & 1), g.shape))
        changed = hook(g)
        if changed is None:
            changed = g
        elif type(changed) is not Tensor or (changed.shape, changed.dtype, changed.device) != (
            g.shape,
            g.dtype,
            g.device,
        ):
            came = describe(changed) if type(changed) is Tensor else type(changed).__name__
            raise TypeError(f"a hook gives None or a gradient like the one it got, {describe(g)}; this one gave {came}")
        inbox.values[slot] = changed if create_graph else changed._data
        inbox.owned &= ~(1 << slot)


def _fitted(xp: Any, cotangent: Any, target: Any, node: Node) -> Any:
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
