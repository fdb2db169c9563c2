"""Recomputing instead of storing: `checkpoint` trades time for memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .generators import Replays, generator_replays, replaying
from .graph import Node, Tensor, tick
from .mode import enable_grad, mode
from .sweep import sweep
from .tape import attach, by_hand
from .tensor import map_tensors


def checkpoint(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
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
        RuntimeError: (in the backward pass) an argument or a parameter has been written to since, or the function did
            something else when it was run again.

    Source: Chen et al. 2016, arXiv 1604.06174; torch.utils.checkpoint.

    >>> import minigrad as mg
    >>> x = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> mg.checkpoint(lambda x: (x * x * x).sum(), x).backward()
    >>> x.grad.tolist()
    [3.0, 12.0]
    """
    if not callable(fn):
        raise TypeError(
            f"checkpoint: expected a function and then its arguments, got {type(fn).__name__}; "
            "write checkpoint(f, x), not checkpoint(f(x))"
        )
    if not mode.recording:
        return fn(*args, **kwargs)
    segment = _Segment(fn, args, kwargs)
    value, outputs = segment.run()
    if outputs:
        segment.enter(outputs)
    return value


Source = Tensor | tuple[Node, int]  # a leaf, or a node and the number of its output


class _Segment:
    """One call whose graph is thrown away, and made again when a gradient comes back to it."""

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.fn, self.args, self.kwargs = fn, _kept(args), _kept(kwargs)
        self.replays: Replays = generator_replays()
        self.sources: list[Source] = []
        self.trace: Any = None  # what was recorded, for comparison

    def run(self) -> tuple[Any, list[Tensor]]:
        """What the function gives, and the Tensors in it that it has recorded."""
        self.since = tick()
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
        self.sources, self.trace = _explored(outputs, self.since)
        constants = [x for x in _tensors_in((self.args, self.kwargs)) if not x._requires_grad]
        attach(checkpointed, {"segment": self}, [*self.sources, *constants], outputs, unchanged=True)

    def run_again(self) -> list[Tensor]:
        """The outputs with their graph, which must be the one there was at first."""
        with enable_grad(), replaying(self.replays):
            _, outputs = self.run()
        if _explored(outputs, self.since)[1] != self.trace:
            raise RuntimeError(
                "checkpoint: the function did something else when it was run again for the backward pass. It must do "
                "the same thing both times: go backward before calling train() or eval(), and have the function keep "
                "no state of its own (give it the state as an argument, and return the new one)"
            )
        return outputs


def _kept(value: Any) -> Any:
    """The same tuples, lists and dicts anew: what the caller does to a list later is of no concern."""
    if type(value) in (tuple, list):
        return type(value)(_kept(part) for part in value)
    return {key: _kept(part) for key, part in value.items()} if type(value) is dict else value


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if type(value) is Tensor:
        yield value
    elif isinstance(value, (tuple, list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors_in(part)


def _explored(outputs: list[Tensor], since: int) -> tuple[list[Source], Any]:
    """Where gradients leave what was recorded after `since` (leaves, earlier nodes); and what it consists of."""
    sources: dict[Any, Source] = {}
    nodes: dict[int, Node] = {}
    frontier = [y._source[0] for y in outputs if y._source]
    while frontier:
        node = frontier.pop()
        if node.birth in nodes:
            continue
        nodes[node.birth] = node
        for edge in node.edges:
            if type(edge) is tuple and edge[0].birth > since:
                frontier.append(edge[0])
            elif edge is not None:
                sources[(edge[0].birth, edge[1]) if type(edge) is tuple else id(edge)] = edge
    in_order = [nodes[birth] for birth in sorted(nodes)]
    shape = [(node.primitive.name, [(spec.shape, spec.dtype) for spec in node.specs]) for node in in_order]
    return list(sources.values()), ([y._data.shape for y in outputs], shape, set(sources))


def _again(xp: Any, gs: list[Any], ys: Any, xs: Any, *, segment: _Segment) -> list[Any]:
    """The gradients of a segment's sources: it is run again, and swept."""
    outputs = segment.run_again()
    create_graph = any(type(g) is Tensor for g in gs)
    found = sweep(
        outputs, gs, segment.sources, create_graph=create_graph, retain_graph=create_graph, since=segment.since
    )
    return [g for _, g, _ in found] + [None] * (len(xs) - len(found))


checkpointed = by_hand("checkpoint", _again)
checkpointed.opened = lambda node: node.parameters["segment"].run_again()
