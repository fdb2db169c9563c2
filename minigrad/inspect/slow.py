"""The sweep in slow motion: the same derivative formulas, with every step kept to be looked at.

Nothing is deferred, freed, or added into `.grad`, and hooks are not run.
"""

from __future__ import annotations

from typing import Any

from ..backend import Array, is_array, namespace_of
from ..cotangent import Deferred, empty_inbox
from ..derive import differentiate, fitted
from ..graph import Tensor
from ..messages import describe
from ..readings import readings_of
from ..tape import as_array
from .computation import Computation, Operation, Value


class Passage:
    """Going backward through one operation.

    Attributes:
        received: what each output has received in all, the sum of all contributions; None for nothing.
        sent: what each input gets from this operation; None where no gradient flows.
    """

    def __init__(self, operation: Operation, received: list[Array | None], sent: list[Array | None]) -> None:
        self.operation, self.received, self.sent = operation, received, sent


class SlowSweep:
    """All passages, in the order of going backward; and what each value has received in the end."""

    def __init__(self, passages: list[Passage], gradients: dict[Value, Array]) -> None:
        self.passages, self.gradients = passages, gradients


def slow_backward(
    computation: Computation, gradient: Any = None, caller: str = "backward", instead: str = ""
) -> SlowSweep:
    """Carry the gradient of the result back to every value.

    Args:
        gradient: of the result's shape; 1 by default, which the result has to be a scalar for.
        caller, instead: whose name errors begin with, and what else can be done about a result that is none.

    Raises:
        RuntimeError: the result is no scalar, and no gradient is given; something saved was written to since.
        ValueError: the gradient has another shape than the result, or lies on another device.

    >>> import minigrad as mg
    >>> from minigrad.inspect.computation import read
    >>> x = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> computation = read((x * x).sum())
    >>> sweep = slow_backward(computation)
    >>> [(passage.operation.primitive.name, len(passage.sent)) for passage in sweep.passages]
    [('sum', 1), ('multiply', 2)]
    >>> sweep.gradients[computation.values[0]]
    array([2., 4.], dtype=float32)
    """
    gradients: dict[Value, Array] = {computation.result: _seed(computation.result, gradient, caller, instead)}
    passages = []
    for operation in reversed(computation.operations):
        received = [gradients.get(y) for y in operation.outputs]
        if all(g is None for g in received):
            continue
        sent = sent_back(operation, received)
        passages.append(Passage(operation, received, sent))
        for value, g in zip(operation.inputs, sent, strict=True):
            if g is not None:
                add_to(gradients, value, g)
    return SlowSweep(passages, gradients)


def add_to(gradients: dict[Value, Array], value: Value, g: Array) -> None:
    """Add a contribution to what a value has received. The sum is an array, also where it has no axes."""
    before = gradients.get(value)
    gradients[value] = g if before is None else as_array(namespace_of(g), before + g, "a sum of gradients")


def sent_back(operation: Operation, received: list[Array | None]) -> list[Array | None]:
    """What the derivative formulas give for each input."""
    node = operation.node
    node.xp.make_current()
    inbox = empty_inbox(node, len(received))
    inbox.values = list(received)
    xp: Any = readings_of(node.xp).compute
    found: list[Array | None] = []
    edges: Any = node.edges
    for edge, cotangent in zip(edges, differentiate(node, edges, inbox, xp, False), strict=True):
        if edge is None or cotangent is None:
            found.append(None)
            continue
        g = cotangent.array() if type(cotangent) is Deferred else cotangent
        target = edge[0].specs[edge[1]] if type(edge) is tuple else edge._data
        found.append(as_array(node.xp, fitted(xp, g, target, node), node.primitive.name))
    return found


def _seed(result: Value, gradient: Any, caller: str, instead: str) -> Array:
    assert result.maker is not None
    xp = result.maker.node.xp
    if gradient is None:
        if result.shape != () and result.array is not None and result.array.size != 1:
            raise RuntimeError(
                f"{caller}: expected a scalar to go backward from, got shape {result.shape}. Make it one with .sum() "
                f"or .mean(){instead}"
            )
        return xp.ones(result.shape, dtype=result.dtype)
    g = gradient._data if type(gradient) is Tensor else gradient
    if not is_array(g) or tuple(g.shape) != result.shape or namespace_of(g) is not xp:
        came = describe(gradient) if type(gradient) is Tensor else repr(gradient)
        raise ValueError(
            f"{caller}: expected a gradient of shape {result.shape}, like the tensor, got {came}; pass a Tensor "
            f"of this shape on {xp.device}"
        )
    return g.astype(result.dtype)
