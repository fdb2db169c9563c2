"""The sweep: carrying gradients back over the tape (`backward`, `grad`).

It is a loop over nodes in order of birth, newest first: when a node's turn comes, everything that
used its outputs has been there already. At each node the derivative formulas are read either on
arrays (compute) or, with `create_graph`, on Tensors (record), so that what they do is on the tape too.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any

from . import tape
from .backend import Array, ArrayNamespace, is_array, namespace_of
from .cotangent import Inbox, owned_array
from .ops.primitive import Absent, Compute, registry
from .tape import Edge, Node, Storage, Tensor, apply, as_array, describe, input_names, mode

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
                return Tensor(as_array(self._compute.arrays, computed(*inputs, **parameters)))
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

    def __init__(self, wanted: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        self.leaves = {id(x) for x in wanted if x._source is None}
        self.places = {_place(x._source) for x in wanted if x._source}
        self.useful: set[int] = set()  # births of nodes with an edge that leads to a wanted tensor

        # What was born before every wanted tensor leads to none.
        oldest = 0 if self.leaves else min((birth for birth, _ in self.places), default=0)
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

Found = list[tuple[Tensor, Any, bool]]


def sweep(
    outputs: Sequence[Tensor],
    cotangents: Sequence[Any],
    wanted: Sequence[Tensor] | None,
    *,
    create_graph: bool,
    retain_graph: bool,
) -> Found:
    """Carry the outputs' cotangents back to every leaf, or only to the `wanted` tensors.

    Cotangents are arrays, or Tensors if `create_graph`. Returns (tensor, cotangent, owned) for each
    leaf reached or tensor wanted: the cotangent is None if none arrived, and owned if nobody else holds it.
    """
    goal = None if wanted is None else Goal(wanted, outputs)
    places = goal.places if goal else set()
    waiting: dict[int, tuple[Node, Inbox]] = {}  # by birth
    births: list[int] = []  # a heap of negated births: the newest node first
    leaves: dict[int, tuple[Tensor, Inbox]] = {}
    passing: dict[Place, tuple[Any, bool]] = {}  # what went by the wanted tensors on its way

    def send(edge: Any, cotangent: Any, xp: ArrayNamespace) -> None:
        if type(edge) is tuple:
            node, slot = edge
            if node.birth not in waiting:
                waiting[node.birth] = (node, Inbox(len(node.specs)))
                heapq.heappush(births, -node.birth)
            inbox = waiting[node.birth][1]
        else:
            inbox, slot = leaves.setdefault(id(edge), (edge, Inbox(1)))[1], 0
        inbox.add(slot, cotangent, None if create_graph else xp)

    for output, cotangent in zip(outputs, cotangents, strict=True):
        send(output._source or output, cotangent, namespace_of(output._data))

    before, mode.recording = mode.recording, True  # only the record reading makes anything to record
    try:
        while births:
            node, inbox = waiting.pop(-heapq.heappop(births))
            for slot in range(len(node.specs)) if places else ():
                if (node.birth, slot) in places:
                    passing[node.birth, slot] = (inbox.values[slot], bool(inbox.owned >> slot & 1))
            if goal is None or node.birth in goal.useful:
                for edge, cotangent in _differentiate(node, inbox.values, create_graph, goal):
                    send(edge, cotangent, node.xp)
                if not retain_graph:
                    node.edges = node.inputs = node.storages = ()
                    node.output = None
    finally:
        mode.recording = before

    if wanted is None:
        return [(leaf, inbox.values[0], bool(inbox.owned)) for leaf, inbox in leaves.values()]
    found: Found = []
    for x in wanted:
        if x._source:
            value, owned = passing.get(_place(x._source), (None, False))
        else:
            inbox = leaves.get(id(x), (x, Inbox(1)))[1]
            value, owned = inbox.values[0], bool(inbox.owned)
        found.append((x, value, owned))
    return found


def _differentiate(node: Node, received: list[Any], create_graph: bool, goal: Goal | None) -> list[tuple[Edge, Any]]:
    """The edges of a node, each with the cotangent that its derivative formula gives."""
    if not node.edges:
        raise _freed(node)
    if tape.last_write > node.birth:
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
        pairs = zip(edges, results, strict=True)
        return [(edge, _fitted(xp, cotangent, edge, node)) for edge, cotangent in pairs if edge is not None]
    return [
        (edge, _fitted(xp, vjp(xp, g, output, *inputs, **node.parameters), edge, node))
        for edge, vjp in zip(edges, primitive.vjps, strict=True)
        if edge is not None and vjp is not None
    ]


def _fitted(xp: Any, cotangent: Any, edge: Any, node: Node) -> Any:
    """A cotangent with broadcasting undone, of exactly the shape and dtype of what it is for."""
    target = edge[0].specs[edge[1]] if type(edge) is tuple else (edge._data.shape, edge._data.dtype)
    shape, dtype = target
    if cotangent.shape != shape:
        cotangent = xp.sum_to(cotangent, shape=shape)
        if cotangent.shape != shape:
            raise RuntimeError(f"{node.primitive.name}: a derivative has shape {cotangent.shape}, expected {shape}")
    return cotangent if cotangent.dtype == dtype else xp.astype(cotangent, dtype=dtype)


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


# The two ways in ----------------------------------------------------------------------------------


def _seeds(outputs: Sequence[Tensor], given: Sequence[Any], create_graph: bool, caller: str) -> list[Any]:
    """The cotangent each output starts from, checked; ones for a scalar."""
    seeds = []
    for y, g in zip(outputs, given, strict=True):
        if type(y) is not Tensor:
            raise TypeError(f"{caller}: expected a Tensor to differentiate, got {type(y).__name__}")
        if not y._requires_grad:
            raise RuntimeError(
                f"{caller}: this tensor {describe(y)} does not need a gradient. Either nothing it was computed "
                "from has requires_grad=True, or it was computed under no_grad, or detached"
            )
        data = y._data
        xp = namespace_of(data)
        if g is None:
            if data.size != 1:
                raise RuntimeError(
                    f"{caller}: expected a scalar, got shape {tuple(data.shape)}. Make it one with .sum() or "
                    ".mean(), or pass the gradient of what you want with respect to it, of the same shape"
                )
            g = Tensor(xp.ones(data.shape, dtype=data.dtype))
        elif type(g) is not Tensor:
            g = Tensor(g if is_array(g) else xp.full(data.shape, g, dtype=data.dtype))
        if g._data.shape != data.shape or type(g._data) is not type(data):
            raise ValueError(f"{caller}: expected a gradient like its tensor, {describe(y)}, got {describe(g)}")
        if g._data.dtype != data.dtype:
            g = Tensor(g._data.astype(data.dtype))
        seeds.append(g if create_graph else g._data)
    return seeds


def backward(
    tensor: Tensor, gradient: Any = None, *, retain_graph: bool | None = None, create_graph: bool = False
) -> None:
    """Add the gradient of this tensor into `.grad` of every leaf it was computed from.

    Equation: x.grad += Σᵢ gradientᵢ ∂tensorᵢ/∂x, for each leaf x with requires_grad.

    Args:
        gradient: of the tensor's shape; 1 if the tensor is a scalar and none is given.
        retain_graph: keep the graph for another pass; by default only if `create_graph`.
        create_graph: record the pass itself, so that the gradients can be differentiated. This ties
            leaves and graph into a cycle through `.grad`; prefer `grad`, which does not.

    Raises:
        RuntimeError: the tensor needs no gradient, is no scalar (and no gradient was given), its graph
            was freed by an earlier pass, or something saved in it was written to since.
        ValueError: the gradient's shape or device is not the tensor's.

    >>> import minigrad as mg
    >>> x = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad.tolist()
    [2.0, 4.0]
    """
    seeds = _seeds([tensor], [gradient], create_graph, "backward")
    retain = create_graph if retain_graph is None else retain_graph
    for leaf, cotangent, owned in sweep([tensor], seeds, None, create_graph=create_graph, retain_graph=retain):
        found = _recorded_copy(leaf, cotangent) if create_graph else _own(leaf, cotangent, owned)
        leaf.grad = found if leaf.grad is None else leaf.grad + found


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of outputs with respect to inputs, as a tuple; nothing is written anywhere.

    Equation: resultⱼ = Σᵢ grad_outputsᵢ ∂outputsᵢ/∂inputsⱼ, of the shape of inputsⱼ.

    Args:
        outputs, inputs: a Tensor or a sequence of them; inputs may be leaves or intermediate results.
        grad_outputs: one per output, of its shape; 1 for scalars if none is given.
        create_graph: record the pass, so that the result can be differentiated again.
        retain_graph: keep the graph for another pass; by default only if `create_graph`.
        allow_unused: give None for an input that the outputs do not depend on, instead of raising.

    Raises:
        RuntimeError: as for `backward`, or an input needs no gradient or was not used.

    >>> import minigrad as mg
    >>> x = mg.tensor(3.0, requires_grad=True)
    >>> (dy,) = mg.grad(x * x * x, x, create_graph=True)     # 3x²
    >>> (ddy,) = mg.grad(dy, x)                              # 6x
    >>> dy.item(), ddy.item()
    (27.0, 18.0)
    """
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if grad_outputs is None:
        grad_outputs = [None] * len(outputs)
    elif not isinstance(grad_outputs, (list, tuple)):
        grad_outputs = [grad_outputs]
    if len(grad_outputs) != len(outputs):
        raise ValueError(f"grad: expected one of grad_outputs per output, got {len(grad_outputs)} for {len(outputs)}")
    for i, x in enumerate(inputs):
        if type(x) is not Tensor or not x._requires_grad:
            shown = describe(x) if type(x) is Tensor else type(x).__name__
            raise RuntimeError(f"grad: expected inputs that need a gradient, but inputs[{i}], {shown}, does not")
    seeds = _seeds(outputs, grad_outputs, create_graph, "grad")
    retain = create_graph if retain_graph is None else retain_graph
    results: list[Tensor | None] = []
    found = sweep(outputs, seeds, inputs, create_graph=create_graph, retain_graph=retain)
    given: set[int] = set()  # arrays handed out already: an input may be named twice
    for i, (x, cotangent, owned) in enumerate(found):
        if cotangent is None and not allow_unused:
            raise RuntimeError(
                f"grad: the outputs do not depend on inputs[{i}], {describe(x)}; "
                "pass allow_unused=True to get None for it"
            )
        if create_graph or cotangent is None:
            results.append(cotangent)
        else:
            results.append(_own(x, cotangent, owned and id(cotangent) not in given))
            given.add(id(cotangent))
    return tuple(results)


def _own(x: Tensor, cotangent: Array, owned: bool) -> Tensor:
    return Tensor(owned_array(namespace_of(x._data), cotangent, owned, x._data.shape))


def _recorded_copy(x: Tensor, cotangent: Tensor) -> Tensor:
    """A recorded cotangent with memory of its own, at the same place in the graph."""
    if cotangent._source is None and cotangent._requires_grad:  # the caller's own leaf
        return cotangent * 1
    copy = _own(x, cotangent._data, False)
    copy._requires_grad, copy._source = cotangent._requires_grad, cotangent._source
    return copy
