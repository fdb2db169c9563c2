"""The tape: computing a primitive, and recording that it was computed (`apply`).

Applying a primitive to a Tensor that needs a gradient makes a Node for the outputs to hang from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from .backend import (
    Array,
    ArrayNamespace,
    as_host_array,
    copied,
    cpu,
    default_device,
    is_array,
    namespace,
    namespace_of,
    python_scalar,
)
from .graph import Edge, Node, Storage, Tensor, clock, storage_of
from .messages import explained, how_to_make, mixed_devices, type_name
from .mode import mode
from .ops.primitive import NOTHING, Absent, Primitive, Result


class Traceable:
    """What a Tensor is of besides while a function is traced: it says itself what applying a primitive to it means."""

    __slots__ = ()

    def apply(self, primitive: Primitive[Any], inputs: Sequence[Any], parameters: dict[str, Any]) -> Any:
        raise NotImplementedError


class Watcher(Protocol):
    """Who looks on in anomaly mode, and raises: see anomaly.py."""

    def forward(
        self,
        primitive: Primitive[Any],
        inputs: Sequence[Any],
        parameters: dict[str, Any],
        xp: ArrayNamespace,
        outputs: Sequence[Tensor],
    ) -> None:
        """After an application."""

    def backward(self, node: Node, place: int, received: Sequence[Any], cotangent: Any) -> None:
        """After a derivative with respect to one input of a node, from what its outputs received."""

    def added(self, edge: Edge, before: Any, contribution: Any, after: Any) -> None:
        """After the sum of what one tensor received has grown."""

    def explain(self, node: Node, error: Exception) -> None:
        """When going backward through a node has failed."""


watcher: Watcher | None = None

HOST_ARRAY = cpu.array_type
NONE_KEPT = (None, None)
new = object.__new__  # without the call of __init__

# Recording ----------------------------------------------------------------------------------------


def apply(primitive: Primitive[Result], inputs: Sequence[Any], parameters: dict[str, Any]) -> Result:
    """Compute a primitive, and record it if an input needs a gradient.

    Inputs are Tensors, arrays of the same device, or Python scalars, which stay as they are. Here is where the time
    of small operations goes: hence few calls, and what is rare is looked for late.
    """
    arrays: list[Any] = []
    edges: list[Edge] = []
    kind = None
    needs_grad, all_need_grad = False, True
    for x in inputs:
        if type(x) is Tensor:
            data = x._data
            if type(data) is not kind:
                if kind is not None:
                    raise mixed_devices(primitive, inputs)
                kind = type(data)
            arrays.append(data)
            if x._requires_grad:
                needs_grad = True
                edges.append(x._source or x)
            else:
                all_need_grad = False
                edges.append(None)
        elif type(x) is float or type(x) is int:
            all_need_grad = False
            arrays.append(x)
            edges.append(None)
        else:
            applied: Result = _apply_to_operands(primitive, inputs, parameters)
            return applied

    if kind is None:  # numbers alone
        xp = namespace(default_device())
        xp.make_current()
        arrays = [xp.from_host(as_host_array(x)) for x in arrays]
    else:
        xp = cpu if kind is HOST_ARRAY else _one_device(primitive, inputs)
    lookup = None
    try:
        if primitive.shortcut is not None:
            y, lookup = primitive.shortcut(primitive, xp, inputs, arrays)
        elif primitive.variadic:
            y = primitive.value(xp, arrays, **parameters)
        elif parameters:
            y = primitive.value(xp, *arrays, **parameters)
        elif len(arrays) == 2:
            y = primitive.value(xp, arrays[0], arrays[1])
        else:
            y = primitive.value(xp, *arrays)
    except (ValueError, IndexError, TypeError, AttributeError, NotImplementedError, ZeroDivisionError) as error:
        raise explained(primitive, inputs, parameters, error) from error

    node = None
    if needs_grad and mode.recording:
        if primitive.vjps:
            node = Node()
        elif not primitive.is_declared:
            _check_no_gradient_is_lost(primitive, y)
    outputs: list[Tensor] = []
    if primitive.multiple:
        outputs = [_output(xp, a, primitive, inputs, arrays) for a in y]
        y = outputs[0]._data if outputs else arrays[0]
    else:
        if type(y) is not kind:
            y = as_array(xp, y, primitive.name)
        out = new(Tensor)
        out._data = y
        out._requires_grad = False
        out._source = out._hint = None
        out._storage = None if y.base is None and y is not arrays[0] else _shared_storage(y, inputs)
    if node is not None and y.dtype.kind == "f":  # no gradient flows through integers
        node.birth = next(clock)
        node.primitive = primitive
        node.parameters = parameters
        node.xp = xp
        node.edges = edges
        if not all_need_grad:
            node.inputs = _kept(primitive, inputs, edges)
        elif primitive.saves_all:
            node.inputs = inputs
        else:
            node.inputs = NONE_KEPT if primitive.saves_none and len(edges) == 2 else _kept(primitive, inputs, edges)
        node.lookup = lookup
        node.output = node.storage = node.notes = node.calls = None
        if primitive.multiple:
            node.specs = [absent_like(out._data) for out in outputs]
            for slot, out in enumerate(outputs):
                out._requires_grad = True
                out._source = (node, slot)
        else:
            spec = Absent()
            spec.shape = y.shape
            spec.dtype = y.dtype
            node.specs = (spec,)
            if primitive.saves_output:
                node.output = y
                node.storage = out._storage
            out._requires_grad = True
            out._source = (node, 0)
    if watcher is not None:
        watcher.forward(primitive, inputs, parameters, xp, outputs or [out])
    found: Any = outputs if primitive.multiple else out
    result: Result = found  # which of the two it is, the primitive knows
    return result


def _apply_to_operands(primitive: Primitive[Any], inputs: Sequence[Any], parameters: dict[str, Any]) -> Any:
    """`apply`, for inputs as people write them, or those of a function that is being traced."""
    for x in inputs:
        if isinstance(x, Traceable):
            return x.apply(primitive, inputs, parameters)
    return apply(primitive, [_as_operand(primitive, x) for x in inputs], parameters)


def _output(xp: ArrayNamespace, y: Any, primitive: Primitive[Any], inputs: Sequence[Any], arrays: list[Any]) -> Tensor:
    """One of several outputs."""
    a = as_array(xp, y, primitive.name)
    fresh = a.base is None and a is not arrays[0]
    return Tensor(a, False, None if fresh else _shared_storage(a, inputs))


def _kept(primitive: Primitive[Any], inputs: Sequence[Any], edges: Sequence[Edge]) -> list[Any]:
    """What a node remembers of its inputs: those that are saved, and Python scalars; of others, what `absent` reads."""
    saves = primitive.saves_inputs * len(inputs) if primitive.variadic else primitive.saves_inputs
    if primitive.saves_for_other:
        saves = (edges[1] is not None, edges[0] is not None, *saves[2:])
    found: list[Any] = []
    for k, x in enumerate(inputs):
        if saves[k] or type(x) is not Tensor:
            found.append(x)
        else:
            found.append(None if edges[k] is not None else absent_like(x._data))
    return found


def absent_like(array: Any) -> Absent:
    spec = Absent()
    spec.shape, spec.dtype = array.shape, array.dtype
    return spec


def absent(node: Node, place: int) -> Absent:
    """Shape and dtype of an input that was not saved."""
    edge = node.edges[place]
    if isinstance(edge, tuple):
        return edge[0].specs[edge[1]]
    if edge is None:
        found: Absent = node.inputs[place]
        return found
    return absent_like(edge._data)


def by_hand(name: str, derivative: Callable[..., list[Any]]) -> Primitive[Any]:
    """A primitive for `attach`: of several inputs and outputs, and never applied.

    It is not in the registry, because its parameters are pieces of program, which no formula can name.
    """

    def value(xp: Any, xs: Any) -> Any:
        raise NotImplementedError(f"{name} stands on the tape as a node of its own, and is not applied")

    primitive: Primitive[Any] = Primitive(
        value, "shape", saves=NOTHING, domain=(-1.0, 1.0), explain_shapes=None, variadic=True, multiple=True
    )
    primitive.name = name
    primitive.runs_program = True
    primitive.derivatives(derivative)
    return primitive


def attach(
    primitive: Primitive[Any],
    parameters: dict[str, Any],
    sources: Sequence[Tensor | tuple[Node, int]],
    outputs: Sequence[Tensor],
    unchanged: bool = False,
) -> None:
    """Hang outputs that no `apply` has made on a node of their own, which leads to the sources.

    Args:
        sources: leaves or places in the graph; a Tensor that needs no gradient gets no edge.
        unchanged: whether going backward needs the leaves as they are now.
    """
    node = Node()
    node.birth = next(clock)
    node.primitive = primitive
    node.parameters = parameters
    node.xp = namespace_of(outputs[0]._data)
    node.edges = [None if type(x) is Tensor and not x._requires_grad else x for x in sources]
    node.inputs = [x if unchanged and type(x) is Tensor else None for x in sources]
    node.output = node.storage = node.lookup = node.notes = node.calls = None
    node.specs = [absent_like(y._data) for y in outputs]
    for slot, y in enumerate(outputs):
        y._source = (node, slot)


def record(
    primitive: Primitive[Any],
    parameters: dict[str, Any],
    inputs: Sequence[Any],
    outputs: Sequence[Tensor],
    xp: ArrayNamespace,
) -> Node:
    """Hang outputs on a node that keeps all its inputs, Tensors and whatever else; those of floats need a gradient."""
    node = Node()
    node.birth = next(clock)
    node.primitive = primitive
    node.parameters = parameters
    node.xp = xp
    node.edges = [(x._source or x) if type(x) is Tensor and x._requires_grad else None for x in inputs]
    node.inputs = inputs
    node.output = node.storage = node.lookup = node.notes = node.calls = None
    node.specs = [absent_like(y._data) for y in outputs]
    for slot, y in enumerate(outputs):
        if y._data.dtype.kind == "f":
            y._requires_grad = True
            y._source = (node, slot)
    return node


def _one_device(primitive: Primitive[Any], inputs: Sequence[Any]) -> ArrayNamespace:
    """The namespace of all tensors among the inputs, which may be of cuda:0 or of cuda:1, but not of both."""
    found = {namespace_of(x._data) for x in inputs if type(x) is Tensor}
    if len(found) > 1:  # of one array type, on two GPUs
        raise mixed_devices(primitive, inputs)
    (xp,) = found
    xp.make_current()
    return xp


def _shared_storage(a: Array, inputs: Sequence[Any]) -> Storage | None:
    """The storage of the input that `a` is, or is a view of."""
    for x in inputs:
        if type(x) is Tensor:
            owner, part = x._data if x._data.base is None else x._data.base, a
            while part is not None:
                if part is owner or part is x._data:
                    return storage_of(x)
                part = part.base
    return None


def _check_no_gradient_is_lost(primitive: Primitive[Any], y: Any) -> None:
    """Raise if a primitive gives numbers that have a derivative, and nobody has said which."""
    for a in y if primitive.multiple else (y,):
        if (a.dtype if hasattr(a, "dtype") else cpu.asarray(a).dtype).kind == "f":
            raise RuntimeError(
                f"{primitive.name}: an input needs a gradient, but this primitive has no derivatives. Give them with "
                f"{primitive.name}.derivatives(...), or None for each input if no gradient is to flow"
            )


def as_array(xp: ArrayNamespace, y: Any, name: str) -> Array:
    """What a primitive gave as an array: NumPy turns 0-d results into scalars, and a Tensor always holds an array."""
    if isinstance(y, (cpu.generic, bool, int, float)):
        return xp.asarray(y)
    if is_array(y):
        return y
    raise TypeError(f"{name}: expected its value to give an array, got {type(y).__name__}; mend its formula")


def as_tensor(x: Any, caller: str) -> Tensor:
    """Data as a Tensor: Tensors as they are, arrays copied; TypeError for anything else, lists included."""
    if isinstance(x, Tensor):
        return x
    if is_array(x):
        return Tensor(copied(x))  # the caller may go on to fill the array with something else
    raise TypeError(f"{caller}: expected a Tensor or an array, got {type_name(x)}; {how_to_make(x)}")


def _as_operand(primitive: Primitive[Any], x: Any) -> Any:
    """What `apply` takes, from what users pass."""
    if type(x) is Tensor:
        return x
    if type(x) is bool:
        return int(x)
    x = python_scalar(x)
    if isinstance(x, (bool, int, float)):
        return int(x) if isinstance(x, int) else float(x)
    if is_array(x):
        return as_tensor(x, primitive.name)
    raise TypeError(f"{primitive.name}: expected Tensors, arrays or numbers, got {type_name(x)}; {how_to_make(x)}")


def call(primitive: Primitive[Any], inputs: Sequence[Any], parameters: dict[str, Any]) -> Any:
    """`apply`, for people: a parameter may be a Tensor (the indices of `take`), and its array is used."""
    if primitive.variadic:
        inputs = [as_tensor(x, f"{primitive.name}, in the list") for x in inputs]
    return apply(primitive, inputs, {name: _plain(primitive, name, p) for name, p in parameters.items()})


def _plain(primitive: Primitive[Any], name: str, parameter: Any) -> Any:
    if type(parameter) is not Tensor:
        return parameter
    if parameter._requires_grad:
        raise TypeError(
            f"{primitive.name}: {name} is a parameter, through which no gradient flows, but the Tensor given for it "
            "needs one. Use an operation that has it as an input (maximum and minimum for clip), or detach it"
        )
    return copied(parameter._data)  # what is written to the Tensor later must not change the derivative


Primitive.apply, Primitive.call = staticmethod(apply), staticmethod(call)
