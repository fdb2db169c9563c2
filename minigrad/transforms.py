"""Functions of functions: derivatives of a function of Tensors, and `checkpoint`, which trades time for memory.

x: inputs     y: outputs     J = ∂y/∂x: the Jacobian     v: a vector, of the shape of the outputs (vjp) or the inputs
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from . import tape
from .backend import Replays, generator_replays, is_array, namespace_of, replaying
from .creation import zeros, zeros_like
from .engine import grad
from .messages import describe
from .ops.primitive import NOTHING, Primitive
from .ops.shape import stack
from .sweep import sweep
from .tape import Edge, Node, Tensor, enable_grad, mode, storage_of
from .tensor import check_floating, map_tensors

Function = Callable[..., Any]

# Products with the Jacobian ---------------------------------------------------------------------------


def vjp(fn: Function, inputs: Any, v: Any = None, *, create_graph: bool = False) -> tuple[Any, Any]:
    """The outputs of a function, and the product of a vector with its Jacobian: one backward pass.

    Equation: resultⱼ = Σᵢ vᵢ ∂yᵢ/∂xⱼ, y = fn(x).

    Args:
        fn: takes the inputs, each as an argument, and gives a Tensor or a tuple of them.
        inputs: a Tensor or a tuple of them; they need not require a gradient.
        v: of the form and shapes of the outputs; 1 if there is one output of one entry and none is given.
        create_graph: record the derivative too, so that it can be differentiated with respect to the inputs
            or to anything else `fn` uses.

    Returns:
        (outputs, result), the result of the form and shapes of the inputs; zeros where nothing depends on an input.

    Raises:
        TypeError: something is not a floating-point Tensor.
        ValueError: v does not fit.

    Source: torch.autograd.functional.vjp.

    >>> import minigrad as mg
    >>> y, g = mg.vjp(lambda x: x * x, mg.tensor([1.0, 2.0]), mg.tensor([1.0, 10.0]))
    >>> y.tolist(), g.tolist()
    ([1.0, 4.0], [2.0, 40.0])
    """
    xs, ys, form = _called("vjp", fn, inputs, create_graph)
    vs = _like(ys, v, form, "vjp", "the outputs")
    result = _gradients(ys, xs, vs, create_graph=create_graph)
    return _finished(ys, form, create_graph), _finished(result, inputs, create_graph)


def jvp(fn: Function, inputs: Any, v: Any = None, *, create_graph: bool = False) -> tuple[Any, Any]:
    """The outputs of a function, and the product of its Jacobian with a vector: a directional derivative.

    Equation: resultᵢ = Σⱼ ∂yᵢ/∂xⱼ vⱼ, y = fn(x). Since vjp is linear in its vector u, this is the gradient of
    u ↦ vjp(u), which is recorded: two passes over the function, whatever the sizes.

    Args:
        fn, inputs, create_graph: as for `vjp`.
        v: of the form and shapes of the inputs; 1 if there is one input of one entry and none is given.

    Returns:
        (outputs, result), the result of the form and shapes of the outputs.

    Raises:
        TypeError, ValueError: as for `vjp`.

    Source: torch.autograd.functional.jvp; Townsend 2017, "A new trick for calculating Jacobian vector products".

    >>> import minigrad as mg
    >>> y, dy = mg.jvp(lambda x: x * x, mg.tensor([1.0, 2.0]), mg.tensor([1.0, 10.0]))
    >>> y.tolist(), dy.tolist()
    ([1.0, 4.0], [2.0, 40.0])
    """
    xs, ys, form = _called("jvp", fn, inputs, create_graph)
    vs = _like(xs, v, inputs, "jvp", "the inputs")
    us = [zeros_like(y).requires_grad_() for y in ys]
    products = _gradients(ys, xs, us, create_graph=True)
    result = _gradients(products, us, vs, create_graph=create_graph)
    return _finished(ys, form, create_graph), _finished(result, form, create_graph)


def hvp(fn: Function, inputs: Any, v: Any = None, *, create_graph: bool = False) -> tuple[Any, Any]:
    """The output of a scalar function, and the product of its Hessian with a vector.

    Equation: resultᵢ = Σⱼ ∂²y/∂xᵢ∂xⱼ vⱼ, y = fn(x) of one entry. Costs a few evaluations, whatever the sizes.

    Args:
        fn, inputs, create_graph: as for `vjp`, but fn gives one Tensor of one entry.
        v: of the form and shapes of the inputs; 1 if there is one input of one entry and none is given.

    Returns:
        (output, result), the result of the form and shapes of the inputs.

    Raises:
        TypeError, ValueError: as for `vjp`, or the output has more than one entry.

    Source: torch.autograd.functional.vhp; the Hessian is symmetric.

    >>> import minigrad as mg
    >>> y, h = mg.hvp(lambda x: (x * x * x).sum(), mg.tensor([1.0, 2.0]), mg.tensor([1.0, 1.0]))
    >>> y.item(), h.tolist()
    (9.0, [6.0, 12.0])
    """
    xs, ys, form = _called("hvp", fn, inputs, create_graph)
    _check_scalar(ys, form, "hvp")
    vs = _like(xs, v, inputs, "hvp", "the inputs")
    slopes = _gradients(ys, xs, [None], create_graph=True)
    result = _gradients(slopes, xs, vs, create_graph=create_graph)
    return _finished(ys, form, create_graph), _finished(result, inputs, create_graph)


# Whole matrices ---------------------------------------------------------------------------------------


def jacobian(fn: Function, inputs: Any, *, create_graph: bool = False) -> Any:
    """Every derivative of every output with respect to every input: one backward pass per entry of the outputs.

    Equation: J[i, j] = ∂yᵢ/∂xⱼ, y = fn(x); i runs over the axes of the output, then j over those of the input.

    Args:
        fn, inputs, create_graph: as for `vjp`.

    Returns:
        a Tensor of shape output.shape + input.shape; with several inputs a tuple of these, one per input; with
        several outputs a tuple, one per output, of whatever the inputs call for.

    Raises:
        TypeError: as for `vjp`.

    Source: torch.autograd.functional.jacobian.

    >>> import minigrad as mg
    >>> mg.jacobian(lambda x: x * x, mg.tensor([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """
    xs, ys, form = _called("jacobian", fn, inputs, create_graph)
    blocks = [_finished(_rows(y, xs, create_graph), inputs, create_graph) for y in ys]
    return tuple(blocks) if isinstance(form, (tuple, list)) else blocks[0]


def hessian(fn: Function, inputs: Any, *, create_graph: bool = False) -> Any:
    """Every second derivative of a scalar function: the Jacobian of its gradient.

    Equation: H[i, j] = ∂²y/∂xᵢ∂xⱼ, y = fn(x) of one entry.

    Args:
        fn, inputs, create_graph: as for `hvp`.

    Returns:
        a Tensor of shape input.shape + input.shape; with several inputs a tuple of tuples, [k][l] holding the
        derivatives with respect to inputs k and l.

    Raises:
        TypeError, ValueError: as for `hvp`.

    Source: torch.autograd.functional.hessian.

    >>> import minigrad as mg
    >>> mg.hessian(lambda x: (x * x * x).sum(), mg.tensor([1.0, 2.0])).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """
    xs, ys, form = _called("hessian", fn, inputs, create_graph)
    _check_scalar(ys, form, "hessian")
    slopes = _gradients(ys, xs, [None], create_graph=True)
    blocks = [_finished(_rows(slope, xs, create_graph), inputs, create_graph) for slope in slopes]
    return tuple(blocks) if isinstance(inputs, (tuple, list)) else blocks[0]


def _rows(y: Tensor, xs: list[Tensor], create_graph: bool) -> list[Tensor]:
    """∂y/∂x for each x, a row per entry of y."""
    rows = []
    for flat in range(y.size):
        one = zeros(y.size, dtype=y.dtype, device=y.device)
        one[flat] = 1
        rows.append(_gradients([y], xs, [one.reshape(y.shape)], create_graph=create_graph, retain_graph=True))
    if not rows:
        return [zeros((*y.shape, *x.shape), dtype=x.dtype, device=x.device) for x in xs]
    return [stack(parts).reshape(*y.shape, *x.shape) for x, parts in zip(xs, zip(*rows, strict=True), strict=True)]


# What they share --------------------------------------------------------------------------------------


def _listed(value: Any, caller: str, what: str) -> list[Tensor]:
    """A Tensor, or a tuple or list of them, as a list."""
    parts = list(value) if isinstance(value, (tuple, list)) else [value]
    parts = [Tensor(part.copy()) if is_array(part) else part for part in parts]
    for part in parts:
        if type(part) is not Tensor:
            raise TypeError(f"{caller}: expected {what} to be a Tensor or a tuple of them, got {type(part).__name__}")
        check_floating(part.dtype)
    return parts


def _called(caller: str, fn: Function, inputs: Any, create_graph: bool) -> tuple[list[Tensor], list[Tensor], Any]:
    """The inputs as Tensors to differentiate by, the outputs as a list, and the outputs as `fn` gave them."""
    given = _listed(inputs, caller, "the inputs")
    with enable_grad():
        # Their own place in the graph: nothing else `fn` may use is the same Tensor.
        xs = [x.reshape(x.shape) if create_graph and x.requires_grad else x.detach().requires_grad_() for x in given]
        ys = fn(*xs)
    return xs, _listed(ys, caller, "what the function gives"), ys


def _like(tensors: list[Tensor], v: Any, form: Any, caller: str, what: str) -> list[Tensor]:
    """The vector `v`, one part for each of the tensors, checked."""
    if v is None:
        if len(tensors) != 1 or tensors[0].size != 1:
            raise ValueError(f"{caller}: expected v, in the form of {what}; only for one number may it be left out")
        return [zeros_like(tensors[0]) + 1]
    vs = _listed(v, caller, "v")
    if isinstance(v, (tuple, list)) != isinstance(form, (tuple, list)) or len(vs) != len(tensors):
        raise ValueError(f"{caller}: expected v in the form of {what}, {len(tensors)} in number, got {len(vs)}")
    for part, x in zip(vs, tensors, strict=True):
        if (part.shape, part.device) != (x.shape, x.device):
            raise ValueError(f"{caller}: expected v of the shapes of {what}, {describe(x)}, got {describe(part)}")
    return [part if part.dtype == x.dtype else part.astype(x.dtype) for part, x in zip(vs, tensors, strict=True)]


def _check_scalar(ys: list[Tensor], form: Any, caller: str) -> None:
    if isinstance(form, (tuple, list)) or ys[0].size != 1:
        came = f"{len(ys)} Tensors" if isinstance(form, (tuple, list)) else describe(ys[0])
        raise ValueError(f"{caller}: expected a function that gives one number, got {came}; make it one with .sum()")


def _gradients(ys: list[Tensor], xs: list[Tensor], vs: Sequence[Any], **options: bool) -> list[Tensor]:
    """Σ v ∂y/∂x for each x; zeros where nothing depends on it."""
    pairs = [(y, v) for y, v in zip(ys, vs, strict=True) if y.requires_grad]
    found: Sequence[Tensor | None] = [None] * len(xs)
    if pairs:
        with enable_grad():
            found = grad([y for y, _ in pairs], xs, [v for _, v in pairs], allow_unused=True, **options)
    return [zeros_like(x) if g is None else g for x, g in zip(xs, found, strict=True)]


def _finished(tensors: list[Tensor], form: Any, create_graph: bool) -> Any:
    """What is given out: in the form asked for, and cut from the graph unless that was asked for."""
    parts = tensors if create_graph else [x.detach() for x in tensors]
    return tuple(parts) if isinstance(form, (tuple, list)) else parts[0]


# Recomputing instead of storing -----------------------------------------------------------------------


def checkpoint(fn: Function, *args: Any, **kwargs: Any) -> Any:
    """fn(*args, **kwargs), whose intermediate results are not kept for the backward pass but computed again there.

    The gradients are those of the plain call, for the arguments and for everything else that `fn` uses (a module's
    parameters). Memory: what `fn` saves is held only while it runs; cost: `fn` runs once more in each backward pass.
    Random numbers are drawn again as they were the first time, so dropout keeps its mask.

    Args:
        fn: any function; a module, for example. It must do the same thing both times.
        args, kwargs: what to call it with.

    Returns:
        what `fn` gives: Tensors, or tuples, lists and dicts of them.

    Raises:
        TypeError: it gives something else.
        RuntimeError: (in the backward pass) an argument or a parameter has been written to since.

    Source: Chen et al. 2016, arXiv 1604.06174; torch.utils.checkpoint.

    >>> import minigrad as mg
    >>> x = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> mg.checkpoint(lambda x: (x * x * x).sum(), x).backward()
    >>> x.grad.tolist()
    [3.0, 12.0]
    """
    if not mode.recording:
        return fn(*args, **kwargs)
    segment = _Segment(fn, args, kwargs)
    value, outputs = segment.run()
    if outputs:
        segment.enter(outputs)
    return value


class _Segment:
    """One call whose graph is thrown away, and made again when a gradient comes back to it."""

    def __init__(self, fn: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.fn, self.args, self.kwargs = fn, args, kwargs
        self.replays: Replays = generator_replays()
        self.edges: list[Edge] = []

    def run(self) -> tuple[Any, list[Tensor]]:
        """What the function gives, and the Tensors in it that it has recorded."""
        self.since = tape.tick()
        value = self.fn(*self.args, **self.kwargs)
        outputs: dict[int, Tensor] = {}

        def collect(x: Tensor) -> Tensor:
            if x._source is not None and x._source[0].birth > self.since:
                outputs[id(x)] = x
            return x

        map_tensors(collect, value, "checkpoint")
        return value, list(outputs.values())

    def enter(self, outputs: list[Tensor]) -> None:
        """Put one node in the place of everything that was recorded."""
        self.edges = _edges_out(outputs, self.since)
        constants = [x for x in _tensors_in((self.args, self.kwargs)) if not x._requires_grad]
        node = Node()
        node.birth = tape.tick()
        node.primitive = checkpointed
        node.parameters = {"segment": self}
        node.xp = namespace_of(outputs[0]._data)
        node.edges = [*self.edges, *([None] * len(constants))]
        node.inputs = [_spec(edge) for edge in (*self.edges, *constants)]
        node.output = None
        node.specs = [_spec(y) for y in outputs]
        # What it will compute from again, so that the sweep notices when it was written to.
        node.storages = [storage_of(x) if type(x) is Tensor else None for x in (*self.edges, *constants)]
        node.notes = None
        for slot, y in enumerate(outputs):
            y._source = (node, slot)


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if type(value) is Tensor:
        yield value
    elif isinstance(value, (tuple, list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors_in(part)


def _spec(edge: Any) -> tuple[tuple[int, ...], Any]:
    if type(edge) is tuple:
        spec: tuple[tuple[int, ...], Any] = edge[0].specs[edge[1]]
        return spec
    return edge._data.shape, edge._data.dtype


def _edges_out(outputs: list[Tensor], since: int) -> list[Edge]:
    """Where the gradients of the outputs leave what was recorded after `since`: leaves, and nodes from before."""
    found: dict[Any, Edge] = {}
    frontier = [y._source[0] for y in outputs if y._source]
    seen: set[int] = set()
    while frontier:
        node = frontier.pop()
        if node.birth in seen:
            continue
        seen.add(node.birth)
        for edge in node.edges:
            if type(edge) is tuple and edge[0].birth > since:
                frontier.append(edge[0])
            elif edge is not None:
                found[(edge[0].birth, edge[1]) if type(edge) is tuple else id(edge)] = edge
    return list(found.values())


def _again(xp: Any, gs: list[Any], ys: Any, xs: Any, *, segment: _Segment) -> list[Any]:
    """The gradients at a segment's edges: it is run again, and swept."""
    create_graph = any(type(g) is Tensor for g in gs)
    with enable_grad(), replaying(segment.replays):
        _, outputs = segment.run()
    if len(outputs) != len(gs):
        raise RuntimeError(
            f"checkpoint: the function gave {len(gs)} recorded Tensors at first and {len(outputs)} when run again; "
            "it must do the same thing both times"
        )
    found = sweep(outputs, gs, segment.edges, create_graph=create_graph, retain_graph=create_graph, since=segment.since)
    return [g for _, g, _ in found] + [None] * (len(xs) - len(found))


def _checkpoint(xp: Any, xs: Any, *, segment: _Segment) -> Any:
    """ys = fn(*args), of which only the arguments are kept"""
    raise NotImplementedError("a segment is run by `checkpoint`, and stands on the tape as one node")


# Not in the registry: its parameter is a piece of program, which no formula can name.
checkpointed: Primitive[Any] = Primitive(
    _checkpoint, "shape", saves=NOTHING, domain=(-1.0, 1.0), explain_shapes=None, variadic=True, multiple=True
)
checkpointed.name = "checkpoint"
checkpointed.derivatives(_again)
