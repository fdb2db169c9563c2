"""The tape: the bare Tensor, the nodes it hangs from, and recording (`apply`).

A Tensor is an array and a place in the graph. Applying a primitive to a Tensor that needs a gradient
makes a Node, which holds what the derivative formulas will want and *edges* to where the inputs came
from: a leaf Tensor, or a node and the number of its output. Edges run from outputs to inputs only, so
reference counting frees a graph as soon as nobody can reach it.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .backend import (
    Array,
    ArrayNamespace,
    as_host_array,
    cpu,
    default_device,
    is_array,
    namespace,
    namespace_of,
    python_scalar,
)
from .ops.primitive import Primitive, Result

if TYPE_CHECKING:
    from .tensor import Methods as _Methods
else:
    _Methods = object  # tensor.py hangs its methods onto Tensor


class Storage:
    """When some memory was last written to, on the clock that numbers nodes; views and detached tensors share one."""

    __slots__ = ("written",)

    def __init__(self) -> None:
        self.written = 0


class Tensor(_Methods):
    """An array, and its place in the graph. Make one with `tensor`; see there."""

    __slots__ = ("__weakref__", "_data", "_requires_grad", "_source", "_storage", "grad", "is_parameter")

    def __init__(self, data: Array, requires_grad: bool = False, storage: Storage | None = None) -> None:
        if type(data) is not cpu.array_type and not is_array(data):
            raise TypeError(f"Tensor() takes an array, got {type(data).__name__}; write minigrad.tensor(...)")
        self._data = data
        self._requires_grad = requires_grad
        self.grad: Tensor | None = None
        self.is_parameter = False
        self._source: tuple[Node, int] | None = None  # None for a leaf
        self._storage: Storage | None = storage  # None until somebody shares the memory, or needs it unchanged


def storage_of(tensor: Tensor) -> Storage:
    """The storage of a tensor, from now on watched for writes."""
    if tensor._storage is None:
        tensor._storage = Storage()
    return tensor._storage


Edge = Tensor | tuple["Node", int] | None
Spec = tuple[tuple[int, ...], Any]  # shape and dtype


class Node:
    """One recorded application of a primitive."""

    __slots__ = (
        "birth",
        "edges",
        "inputs",
        "output",
        "parameters",
        "primitive",
        "specs",
        "storages",
        "xp",
    )

    birth: int  # when it was made; larger than every input's
    primitive: Primitive[Any]
    parameters: dict[str, Any]
    xp: ArrayNamespace
    edges: Sequence[Edge]  # one per input; None where no gradient is wanted
    inputs: Sequence[Any]  # one per input: an array or a Python scalar that was saved, or else its Spec
    output: Array | None  # if it was saved
    specs: Sequence[Spec]  # of each output
    storages: Sequence[Storage | None]  # of each input, None if not saved; and last of the output, if saved


# Time: nodes are numbered as they are made, and a write to memory takes a number of the same sequence,
# so "has it been written to since it was saved?" is one comparison.
_clock = itertools.count(1)
last_write = 0


def mark_written(tensor: Tensor) -> None:
    """Note that the memory of `tensor` has new contents: a sweep that still needs the old ones will raise."""
    global last_write
    storage_of(tensor).written = now = next(_clock)
    last_write = max(last_write, now)  # another thread may have written later


class _Mode(threading.local):
    def __init__(self) -> None:
        self.recording = True
        self.outside: list[bool] = []  # what to go back to, for each block of no_grad we are in


mode = _Mode()


class no_grad(contextlib.ContextDecorator):  # noqa: N801 - used like a function, as in PyTorch
    """Inside this block, or a function decorated with `@no_grad()`, nothing is recorded. One per thread.

    >>> import minigrad as mg
    >>> x = mg.ones(2, requires_grad=True)
    >>> with mg.no_grad():
    ...     (2 * x).requires_grad
    False
    """

    def __call__(self, function: Any) -> Any:
        if inspect.isgeneratorfunction(function):
            raise TypeError("no_grad cannot decorate a generator, which runs later; write `with no_grad():` inside it")
        return super().__call__(function)

    def __enter__(self) -> None:
        mode.outside.append(mode.recording)
        mode.recording = False

    def __exit__(self, *_: object) -> None:
        mode.recording = mode.outside.pop()


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread.

    >>> is_grad_enabled()
    True
    """
    return mode.recording


# Recording ----------------------------------------------------------------------------------------


def apply(primitive: Primitive[Result], inputs: Sequence[Any], parameters: dict[str, Any]) -> Result:
    """Compute a primitive, and record it if an input needs a gradient.

    Inputs are Tensors, arrays of the same device, or Python scalars, which stay as they are.
    """
    arrays: list[Any] = []
    kind = None
    needs_grad = False
    for x in inputs:
        if type(x) is Tensor:
            data = x._data
            if kind is None:
                kind = type(data)
            elif kind is not type(data):
                raise mixed_devices(primitive, inputs)
            arrays.append(data)
            if x._requires_grad:
                needs_grad = True
        elif type(x) is float or type(x) is int:
            arrays.append(x)
        else:
            return apply(primitive, [_as_operand(primitive, x) for x in inputs], parameters)

    if kind is None:  # numbers alone
        xp = namespace(default_device())
        arrays = [xp.from_host(as_host_array(x)) for x in arrays]
    else:
        xp = cpu if kind is cpu.array_type else _one_device(primitive, inputs)
    try:
        y = primitive.value(xp, *([arrays] if primitive.variadic else arrays), **parameters)
    except (ValueError, IndexError, TypeError, AttributeError, NotImplementedError, ZeroDivisionError) as error:
        raise explained(primitive, inputs, parameters, error) from error

    recorded = bool(needs_grad and mode.recording and primitive.vjps)
    outputs = []
    for a in y if primitive.multiple else (y,):
        if type(a) is not kind:
            a = as_array(xp, a)
        if recorded and a.dtype.kind != "f":
            recorded = False  # converted to integers: no gradient flows through
        fresh = a.base is None and a is not arrays[0]
        outputs.append(Tensor(a, recorded, None if fresh else _shared_storage(a, inputs)))
    if recorded:
        _record(primitive, parameters, xp, inputs, arrays, outputs)
    result: Any = outputs if primitive.multiple else outputs[0]
    return result  # type: ignore[no-any-return] # which of the two it is, the primitive knows


def _record(
    primitive: Primitive[Any],
    parameters: dict[str, Any],
    xp: ArrayNamespace,
    inputs: Sequence[Any],
    arrays: list[Any],
    outputs: list[Tensor],
) -> None:
    """Make the node of one application and hang its outputs on it."""
    edges: list[Edge] = [(x._source or x) if type(x) is Tensor and x._requires_grad else None for x in inputs]
    saves = primitive.saves_inputs * len(inputs) if primitive.variadic else primitive.saves_inputs
    if primitive.saves_for_other:
        saves = (edges[1] is not None, edges[0] is not None)
    saved: list[Any] = []
    storages: list[Storage | None] = []
    for x, array, save in zip(inputs, arrays, saves, strict=True):
        if type(x) is not Tensor:  # a Python scalar
            saved.append(x)
            storages.append(None)
        else:
            saved.append(array if save else (array.shape, array.dtype))
            storages.append(storage_of(x) if save else None)

    node = Node()
    node.birth = next(_clock)
    node.primitive = primitive
    node.parameters = parameters
    node.xp = xp
    node.edges = edges
    node.inputs = saved
    node.output = None
    node.specs = [(y._data.shape, y._data.dtype) for y in outputs]
    if primitive.saves_output:
        node.output = outputs[0]._data
        storages.append(storage_of(outputs[0]))
    node.storages = storages
    for slot, y in enumerate(outputs):
        y._source = (node, slot)


def _one_device(primitive: Primitive[Any], inputs: Sequence[Any]) -> ArrayNamespace:
    """The namespace of all tensors among the inputs, which may be of cuda:0 or of cuda:1, but not of both."""
    found = {namespace_of(x._data) for x in inputs if type(x) is Tensor}
    if len(found) > 1:
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


def as_array(xp: ArrayNamespace, y: Any) -> Array:
    """NumPy turns 0-d results into scalars; a Tensor always holds an array."""
    return y if is_array(y) else xp.asarray(y)


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
        return Tensor(x.copy())  # the caller may go on to fill the array with something else
    raise TypeError(
        f"{primitive.name}: expected Tensors, arrays or numbers, got {type(x).__name__}; "
        "make a Tensor of it with minigrad.tensor(...)"
    )


def call(primitive: Primitive[Any], inputs: Sequence[Any], parameters: dict[str, Any]) -> Any:
    """`apply`, for people: a parameter may be a Tensor (the indices of `take`), and its array is used."""
    if primitive.variadic and any(not isinstance(x, Tensor) and not is_array(x) for x in inputs):
        raise TypeError(
            f"{primitive.name}: expected Tensors or arrays in the list; make them with minigrad.tensor(...)"
        )
    return apply(primitive, inputs, {name: _plain(primitive, name, p) for name, p in parameters.items()})


def _plain(primitive: Primitive[Any], name: str, parameter: Any) -> Any:
    if type(parameter) is not Tensor:
        return parameter
    if parameter._requires_grad:
        raise TypeError(
            f"{primitive.name}: {name} is a parameter, through which no gradient flows, but the Tensor given for it "
            "needs one. Use an operation that has it as an input (maximum and minimum for clip), or detach it"
        )
    return parameter._data.copy()  # what is written to the Tensor later must not change the derivative


Primitive.dispatch = staticmethod(call)


# Errors -------------------------------------------------------------------------------------------


def describe(x: Any) -> str:
    """An operand in an error message: its shape, dtype and device."""
    if type(x) is Tensor:
        return f"{tuple(x._data.shape)} {x._data.dtype} on {namespace_of(x._data).device}"
    return repr(x)


def mixed_devices(primitive: Primitive[Any], inputs: Sequence[Any]) -> RuntimeError:
    named = (
        f"{name} {describe(x)}"
        for name, x in zip(input_names(primitive, inputs), inputs, strict=True)
        if type(x) is Tensor
    )
    return RuntimeError(
        f"{primitive.name}: expected tensors of one device, got {', '.join(named)}. "
        'Nothing is moved by itself: move one with .to(device), for example x.to("cpu")'
    )


def input_names(primitive: Primitive[Any], inputs: Sequence[Any]) -> Sequence[str]:
    if primitive.variadic:
        return [f"{primitive.inputs[0]}[{i}]" for i in range(len(inputs))]
    return primitive.inputs


def explained(
    primitive: Primitive[Any], inputs: Sequence[Any], parameters: dict[str, Any], error: Exception
) -> Exception:
    """An exception of the same family that says which operation, what was expected and what came."""
    shapes = [tuple(getattr(x, "_data", cpu.asarray(0)).shape) for x in inputs]
    named = zip(input_names(primitive, inputs), inputs, strict=False)
    came = ", ".join(f"{name} {describe(x)}" for name, x in itertools.islice(named, 8))
    given = "".join(f", {name}={value!r}" for name, value in parameters.items() if not hasattr(value, "dtype"))
    try:
        expected = primitive.explain_shapes and primitive.explain_shapes(*shapes, **parameters)
    except Exception:  # the rule met parameters it cannot even read: the library's words must do
        expected = None
    kind: type[Exception] = ValueError
    if isinstance(error, IndexError) and not isinstance(error, ValueError):  # AxisError is both
        kind = IndexError
    elif isinstance(error, (TypeError, AttributeError, NotImplementedError)) and not expected:
        kind = type(error)
    if expected:
        words = f" ({error})" if isinstance(error, TypeError) else ""
        return kind(f"{primitive.name}: expected {expected}. Came: {came}{given}{words}")
    return kind(f"{primitive.name}: {error}. Came: {came}{given}")
