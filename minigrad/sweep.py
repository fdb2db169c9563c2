"""The sweep: carrying gradients back over the tape.

It is a loop over nodes in order of birth, newest first: when a node's turn comes, everything that
used its outputs has been there already. At each node the derivative formulas are read either on
arrays (compute) or, with `create_graph`, on Tensors (record), so that what they do is on the tape too.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any

from . import graph, tape
from .backend import ArrayNamespace, namespace_of
from .cotangent import Inbox, owned_array
from .graph import Edge, Hooks, Node, Notes, Storage, Tensor
from .messages import describe, input_names
from .mode import mode
from .ops.primitive import Absent, Compute, Shape, registry
from .tape import apply, as_array

# The readings of a derivative ---------------------------------------------------------------------


class Record:
    """The record reading: every registered name as a function from Tensors to Tensors."""

    def __init__(self, compute: Compute) -> None:
        self._compute = compute

    def __getattr__(self, name: str) -> Callable[..., Any]:
        computed = getattr(self._compute, name)
        primitive = registry[name]

        def record(*inputs: Any, **parameters: Any) -> Any:
            operands = inputs[0] if primitive.variadic else inputs
            if not any(type(x) is Tensor for x in operands):  # scalars alone: a constant, of this device
                return Tensor(as_array(self._compute.arrays, computed(*inputs, **parameters), name))
            return apply(primitive, operands, parameters)

        setattr(self, name, record)
        return record


_readings: dict[ArrayNamespace, tuple[Compute, Record]] = {}


def _readings_of(xp: ArrayNamespace) -> tuple[Compute, Record]:
    found = _readings.get(xp)
    if found is None:
        compute = Compute(xp)
        found = _readings[xp] = (compute, Record(compute))
    return found


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
    goal = None if wanted is None else Goal(wanted, outputs, since)
    places = goal.places if goal else set()
    waiting: dict[int, tuple[Node, Inbox]] = {}  # by birth
    births: list[int] = []  # a heap of negated births: the newest node first
    leaves: dict[int, tuple[Tensor, Inbox]] = {}
    passing: dict[Place, tuple[Any, bool]] = {}  # what went by the wanted tensors on its way
    retained: Found = []  # and by those that asked for it

    watcher = tape.watcher

    def send(edge: Any, cotangent: Any, xp: ArrayNamespace) -> None:
        if type(edge) is tuple:
            node, slot = edge
            if node.birth not in waiting:
                waiting[node.birth] = (node, Inbox(len(node.specs)))
                heapq.heappush(births, -node.birth)
            inbox = waiting[node.birth][1]
        else:
            inbox, slot = leaves.setdefault(id(edge), (edge, Inbox(1)))[1], 0
        if watcher is not None and inbox.values[slot] is not None:
            watcher.added(edge, inbox.values[slot], cotangent, inbox.values[slot] + cotangent)
        inbox.add(slot, cotangent, None if create_graph else xp)

    before, mode.recording = mode.recording, create_graph
    try:
        for output, cotangent in zip(outputs, cotangents, strict=True):
            start = output._source or output
            if goal is None or goal.led_to_by(start):
                send(start, cotangent, namespace_of(output._data))
        while births:
            node, inbox = waiting.pop(-heapq.heappop(births))
            if node.notes is not None and node.birth > since:
                retained += _heed(node, node.notes, inbox, create_graph)
            for slot in range(len(node.specs)) if places else ():
                if (node.birth, slot) in places:
                    passing[node.birth, slot] = (inbox.values[slot], bool(inbox.owned >> slot & 1))
            if goal is None or node.birth in goal.useful:
                try:
                    contributions = _differentiate(node, inbox.values, create_graph, goal)
                except Exception as error:
                    if watcher is not None:
                        watcher.explain(node, error)
                    raise
                for place, edge, cotangent in contributions:
                    if watcher is not None:
                        watcher.backward(node, place, inbox.values, cotangent)
                    send(edge, cotangent, node.xp)
                if not retain_graph:
                    node.edges = node.inputs = node.storages = ()
                    node.output = None
        for leaf, inbox in leaves.values():
            if leaf._hooks and not since:
                _run(leaf._hooks, inbox, 0, namespace_of(leaf._data), create_graph)
    finally:
        mode.recording = before

    if wanted is None:
        return [*((leaf, inbox.values[0], bool(inbox.owned)) for leaf, inbox in leaves.values()), *retained]
    found: Found = []
    for edge in wanted:
        if type(edge) is tuple:
            value, owned = passing.get(_place(edge), (None, False))
        else:
            inbox = leaves.get(id(edge), (edge, Inbox(1)))[1]
            value, owned = inbox.values[0], bool(inbox.owned)
        found.append((edge, value, owned))
    return found


def _differentiate(
    node: Node, received: list[Any], create_graph: bool, goal: Goal | None
) -> list[tuple[int, Edge, Any]]:
    """The inputs of a node by number, with their edges and the cotangents that the derivative formulas give."""
    if not node.edges:
        raise _freed(node)
    if graph.last_write > node.birth:
        _check_unwritten(node)
    primitive = node.primitive
    node.xp.make_current()
    compute, record = _readings_of(node.xp)
    xp: Any = record if create_graph else compute
    inputs = [Absent(*saved) if type(saved) is tuple else saved for saved in node.inputs]
    if create_graph:
        inputs = [_rewrapped(*saved) for saved in zip(inputs, node.edges, node.storages, strict=False)]
    output: Any
    g: Any = received[0]
    if primitive.multiple:
        output = [Absent(*spec) for spec in node.specs]
        # An output that nobody used contributes zeros.
        g = [_zeros(node, slot, create_graph) if r is None else r for slot, r in enumerate(received)]
    elif not primitive.saves_output:
        output = Absent(*node.specs[0])
    else:
        output = _rewrapped(node.output, (node, 0), node.storages[-1]) if create_graph else node.output

    edges = node.edges if goal is None else [edge if goal.led_to_by(edge) else None for edge in node.edges]
    if primitive.variadic:
        (vjp,) = primitive.vjps
        results = vjp(xp, g, output, inputs, **node.parameters) if vjp else ()
        found = enumerate(zip(edges, results, strict=True))
        return [
            (k, edge, _fitted(xp, cotangent, edge, node))
            for k, (edge, cotangent) in found
            if edge is not None and cotangent is not None
        ]
    return [
        (k, edge, _fitted(xp, vjp(xp, g, output, *inputs, **node.parameters), edge, node))
        for k, (edge, vjp) in enumerate(zip(edges, primitive.vjps, strict=True))
        if edge is not None and vjp is not None
    ]


def _heed(node: Node, notes: Notes, inbox: Inbox, create_graph: bool) -> Found:
    """Run the hooks on a node's outputs; what the outputs that retain their gradient have received."""
    for slot, hooks in notes.hooks.items():
        if inbox.values[slot] is not None:
            _run(hooks, inbox, slot, node.xp, create_graph)
    alive = [(reference(), slot) for slot, reference in notes.retainers.items()]
    return [(x, inbox.values[slot], False) for x, slot in alive if x is not None and inbox.values[slot] is not None]


def _run(hooks: Hooks, inbox: Inbox, slot: int, xp: ArrayNamespace, create_graph: bool) -> None:
    """Run the hooks on one gradient. Each gets a Tensor that it may keep, and may give another to go on with."""
    for hook in list(hooks.values()):
        g = inbox.values[slot]
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


def _fitted(xp: Any, cotangent: Any, edge: Any, node: Node) -> Any:
    """A cotangent with broadcasting undone, of exactly the shape and dtype of what it is for."""
    target = edge[0].specs[edge[1]] if type(edge) is tuple else (edge._data.shape, edge._data.dtype)
    shape, dtype = target
    if getattr(cotangent, "shape", None) != shape:
        _check_sums_to(shape, cotangent, node)
        cotangent = xp.sum_to(cotangent, shape=shape)
    return cotangent if cotangent.dtype == dtype else xp.astype(cotangent, dtype=dtype)


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


def _rewrapped(saved: Any, edge: Edge, storage: Storage | None) -> Any:
    """Something saved as the Tensor it was, at its old place in the graph."""
    if type(edge) is Tensor and type(saved) is not Absent:
        return edge
    if type(saved) in (Absent, float, int):
        return saved
    tensor = Tensor(saved, edge is not None, storage)
    if type(edge) is tuple:
        tensor._source = edge
    return tensor


def _zeros(node: Node, slot: int, as_tensor: bool) -> Any:
    shape, dtype = node.specs[slot]
    zeros = node.xp.zeros(shape, dtype=dtype)
    return Tensor(zeros) if as_tensor else zeros


def _freed(node: Node) -> RuntimeError:
    return RuntimeError(
        f"{node.primitive.name}: this part of the graph was freed by an earlier backward pass. "
        "To go through it twice, pass retain_graph=True the first time. In truncated backpropagation "
        "through time, detach the state you carried: state = minigrad.detach(state). What was computed here "
        "and is only a number from now on, detach too"
    )


def _check_unwritten(node: Node) -> None:
    names = [*input_names(node.primitive, node.inputs), "the output"]
    for name, storage in zip(names, node.storages, strict=False):
        if storage is not None and storage.written > node.birth:
            raise RuntimeError(
                f"{node.primitive.name}: {name}, which it saved for the backward pass, has been written to since "
                "(by an optimizer step or an assignment), so its derivative would be wrong. Go backward before "
                "writing, or compute forward again; in truncated backpropagation through time, detach the state "
                "you carried: state = minigrad.detach(state)"
            )
