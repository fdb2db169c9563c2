"""The sweep: carrying gradients back over the tape.

It is a loop over nodes in order of birth, newest first: when a node's turn comes, everything that
used its outputs has been there already. At each node the derivative formulas are read either on
arrays (compute) or, with `create_graph`, on Tensors (record), so that what they do is on the tape too.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

from . import memory, tape
from .backend import ArrayNamespace, namespace_of
from .cotangent import Deferred, Inbox, empty_inbox, owned_array
from .derive import differentiate, fitted
from .goal import Goal, Place, place_of
from .graph import Edge, Hooks, Node, Notes, Tensor
from .messages import describe
from .mode import mode
from .ops import shape
from .readings import readings_of

Found = list[tuple[Any, Any, bool]]


class Arrivals:
    """What has been sent and has not gone on yet: for each node, the newest first, and for each leaf."""

    def __init__(self, create_graph: bool) -> None:
        self.create_graph = create_graph
        self.waiting: dict[int, Inbox] = {}  # by the birth of the node
        self.births: list[int] = []  # a heap of negated births
        self.leaves: dict[int, Inbox] = {}  # by id
        self.deferred: dict[int, Any] = {}  # by id: the edges to which sums have gone that may not be computed yet

    def send(self, edge: Any, cotangent: Any, xp: ArrayNamespace, is_ours: bool = False) -> Any:
        """Add a cotangent, which may be an array that nobody else holds, to what an edge leads to.

        Gives what it is from now on.
        """
        if type(edge) is tuple:
            node, slot = edge
            birth = node.birth
            inbox = self.waiting.get(birth)
            if inbox is None:
                self.waiting[birth] = inbox = empty_inbox(node, len(node.specs))
                heapq.heappush(self.births, -birth)
            if node.primitive is shape.unstack and not self.create_graph:
                return inbox.add_slice(slot, cotangent, xp)
        else:
            inbox, slot = self.leaves.get(id(edge)), 0
            if inbox is None:
                self.leaves[id(edge)] = inbox = empty_inbox(edge, 1)
        if inbox.values[slot] is None:
            inbox.values[slot] = cotangent
            inbox.owned |= is_ours << slot
        else:
            if tape.watcher is not None:
                tape.watcher.added(edge, inbox.values[slot], cotangent, inbox.values[slot] + cotangent)
            inbox.add(slot, cotangent, None if self.create_graph else xp)
        return cotangent

    def newest(self) -> Inbox:
        """The inbox of the newest node, which waits no longer."""
        return self.waiting.pop(-heapq.heappop(self.births))

    def compute_deferred(self) -> None:
        """Compute all sums, before a program of the user runs: it may write to what they are made of."""
        for edge in self.deferred.values():
            inbox = self.waiting.get(edge[0].birth) if type(edge) is tuple else self.leaves[id(edge)]
            if inbox is not None:
                inbox.take(edge[1] if type(edge) is tuple else 0)
        self.deferred.clear()


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
    arrivals = Arrivals(create_graph)
    passing: dict[Place, tuple[Any, bool]] = {}  # what went by the wanted tensors on its way
    retained: Found = []  # and by those that asked for it

    before, mode.recording = mode.recording, create_graph
    try:
        for output, cotangent in zip(outputs, cotangents, strict=True):
            start = output._source or output
            if goal is None or goal.led_to_by(start):
                arrivals.send(start, cotangent, namespace_of(output._data))
        while arrivals.births:
            inbox = arrivals.newest()
            node: Node = inbox.node
            if node.notes is not None and node.birth > since:
                retained += _heed(node, node.notes, inbox, arrivals)
            if places:
                for slot in range(len(node.specs)):
                    if (node.birth, slot) in places:
                        passing[node.birth, slot] = (inbox.take(slot), bool(inbox.owned >> slot & 1))
            edges = node.edges
            if goal is not None:
                if node.birth not in goal.useful:
                    continue
                edges = [edge if goal.led_to_by(edge) else None for edge in edges]
            try:
                _go_through(node, edges, inbox, arrivals)
            except Exception as error:
                if tape.watcher is not None:
                    tape.watcher.explain(node, error)
                raise
            if not retain_graph:
                node.edges = node.inputs = ()
                node.output = node.lookup = None
        for inbox in arrivals.leaves.values():
            if inbox.node._hooks and not since:
                arrivals.compute_deferred()
                _run(inbox.node._hooks, inbox, 0, namespace_of(inbox.node._data), create_graph)
    finally:
        mode.recording = before

    if wanted is None:
        return [*((inbox.node, inbox.take(0), bool(inbox.owned)) for inbox in arrivals.leaves.values()), *retained]
    results: Found = []
    for edge in wanted:
        if type(edge) is tuple:
            value, owned = passing.get(place_of(edge), (None, False))
        else:
            inbox = arrivals.leaves.get(id(edge)) or empty_inbox(edge, 1)
            value, owned = inbox.take(0), bool(inbox.owned)
        results.append((edge, value, owned))
    return results


def _go_through(node: Node, edges: Sequence[Edge], inbox: Inbox, arrivals: Arrivals) -> None:
    """Send to each input of a node what its derivative formula gives."""
    primitive, device, create_graph = node.primitive, node.xp, arrivals.create_graph
    device.make_current()
    readings = readings_of(device)
    xp: Any = readings.record if create_graph else readings.defer
    usual: Any = Tensor if create_graph else device.array_type
    if primitive.runs_program:
        arrivals.compute_deferred()
    if edges and primitive.passes_on and not create_graph:
        edges = _pass_on(node, edges, inbox, arrivals)
    for place, cotangent in enumerate(differentiate(node, edges, inbox, xp, create_graph)):
        if cotangent is None:
            continue
        edge: Any = edges[place]
        target = edge[0].specs[edge[1]] if type(edge) is tuple else edge._data
        is_ours = False
        if type(cotangent) is not usual or cotangent.shape != target.shape or cotangent.dtype != target.dtype:
            is_summed = getattr(cotangent, "shape", None) != target.shape
            cotangent = fitted(xp, cotangent, target, node)
            if type(cotangent) is Deferred:
                arrivals.deferred[id(edge)] = edge
            elif is_summed and not create_graph and type(cotangent) is usual:
                is_ours = bool(cotangent.flags.c_contiguous)  # as what the user gets should be
        if tape.watcher is not None:
            tape.watcher.backward(node, place, inbox.values, cotangent)
        arrivals.send(edge, cotangent, device, is_ours)


def _pass_on(node: Node, edges: Sequence[Edge], inbox: Inbox, arrivals: Arrivals) -> Sequence[Edge]:
    """Send an incoming gradient to the buffer of an `unstack`, if that is where it goes unchanged, before all else.

    The derivatives then see the slice that it has become, and the product that keeps it keeps no copy.
    """
    for place in node.primitive.passes_on:
        edge = edges[place]
        if type(edge) is tuple and edge[0].primitive is shape.unstack:
            g, target = inbox.take(0), edge[0].specs[edge[1]]
            if g.shape == target.shape and g.dtype == target.dtype:
                inbox.values[0], inbox.owned = arrivals.send(edge, g, node.xp), 0
                return [None if k == place else other for k, other in enumerate(edges)]
    return edges


def _heed(node: Node, notes: Notes, inbox: Inbox, arrivals: Arrivals) -> Found:
    """Run the hooks on a node's outputs; what the outputs that retain their gradient have received."""
    if notes.hooks:
        arrivals.compute_deferred()
        for slot in range(len(node.specs)):
            inbox.take(slot)
    for slot, hooks in notes.hooks.items():
        if inbox.values[slot] is not None:
            _run(hooks, inbox, slot, node.xp, arrivals.create_graph)
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
