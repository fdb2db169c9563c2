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
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

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
from .messages import explained, mixed_devices
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

    __slots__ = ("__weakref__", "_data", "_grad", "_hooks", "_requires_grad", "_source", "_storage", "is_parameter")

    def __init__(self, data: Array, requires_grad: bool = False, storage: Storage | None = None) -> None:
        if type(data) is not cpu.array_type and not is_array(data):
            raise TypeError(f"Tensor() takes an array, got {type(data).__name__}; write minigrad.tensor(...)")
        self._data = data
        self._requires_grad = requires_grad
        self._grad: Tensor | None = None
        self.is_parameter = False
        self._source: tuple[Node, int] | None = None  # None for a leaf
        self._hooks: Hooks | None = None  # of a leaf; those of a computed tensor are its node's
        self._storage: Storage | None = storage  # None until somebody shares the memory, or needs it unchanged


def storage_of(tensor: Tensor) -> Storage:
    """The storage of a tensor, from now on watched for writes."""
    if tensor._storage is None:
        tensor._storage = Storage()
    return tensor._storage


Edge = Tensor | tuple["Node", int] | None
Spec = tuple[tuple[int, ...], Any]  # shape and dtype
Hooks = dict[int, Callable[[Tensor], Tensor | None]]  # in the order in which they run


class RemovableHandle:
    """Takes a hook away again: by `remove()`, or at the end of a `with` block."""

    __slots__ = ("_hooks", "_key")

    def __init__(self, hooks: dict[int, Any], hook: Any) -> None:
        self._hooks, self._key = hooks, tick()
        hooks[self._key] = hook

    def remove(self) -> None:
        """Take the hook away; a second time does nothing."""
        self._hooks.pop(self._key, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class Notes:
    """What few nodes carry: hooks on their outputs, tensors that want the gradient, where the node was made."""

    __slots__ = ("hooks", "origin", "retainers")

    def __init__(self) -> None:
        self.hooks: dict[int, Hooks] = {}  # by output
        self.retainers: dict[int, weakref.ref[Tensor]] = {}  # by output; the tensor holds the node, not the reverse
        self.origin: Any = None  # in anomaly mode: the lines that led here, see anomaly.py


class Node:
    """One recorded application of a primitive."""

    __slots__ = (
        "birth",
        "edges",
        "inputs",
        "notes",
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
    notes: Notes | None

    def noted(self) -> Notes:
        """The notes of this node, made if there are none yet."""
        if self.notes is None:
            self.notes = Notes()
        return self.notes


# Time: nodes are numbered as they are made, and a write to memory takes a number of the same sequence,
# so "has it been written to since it was saved?" is one comparison.
_clock = itertools.count(1)
last_write = 0


def tick() -> int:
    """The number of this moment: larger than that of everything made or written before."""
    return next(_clock)


def mark_written(tensor: Tensor) -> None:
    """Note that the memory of `tensor` has new contents: a sweep that still needs the old ones will raise."""
    global last_write
    storage_of(tensor).written = now = tick()
    last_write = max(last_write, now)  # another thread may have written later


class _Mode(threading.local):
    def __init__(self) -> None:
        self.recording = True
        self.outside: list[bool] = []  # what to go back to, for each block of no_grad or enable_grad we are in


mode = _Mode()


class _Recording(contextlib.ContextDecorator):
    recording: bool

    def __call__(self, function: Any) -> Any:
        if inspect.isgeneratorfunction(function):
            name = type(self).__name__
            raise TypeError(f"{name} cannot decorate a generator, which runs later; write `with {name}():` inside it")
        return super().__call__(function)

    def __enter__(self) -> None:
        mode.outside.append(mode.recording)
        mode.recording = self.recording

    def __exit__(self, *_: object) -> None:
        mode.recording = mode.outside.pop()


class no_grad(_Recording):  # noqa: N801 - used like a function, as in PyTorch
    """Inside this block, or a function decorated with `@no_grad()`, nothing is recorded. One per thread.

    >>> import minigrad as mg
    >>> x = mg.ones(2, requires_grad=True)
    >>> with mg.no_grad():
    ...     (2 * x).requires_grad
    False
    """

    recording = False


class enable_grad(_Recording):  # noqa: N801
    """Inside this block, or a function decorated with `@enable_grad()`, operations are recorded, `no_grad` or not.

    >>> import minigrad as mg
    >>> x = mg.ones(2, requires_grad=True)
    >>> with mg.no_grad(), mg.enable_grad():
    ...     (2 * x).requires_grad
    True
    """

    recording = True


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread.

    >>> is_grad_enabled()
    True
    """
    return mode.recording


class Watcher(Protocol):
    """Who looks on in anomaly mode, and raises: see anomaly.py."""

    def forward(
        self,
        primitive: Primitive[Any],
        inputs: Sequence[Any],
        parameters: dict[str, Any],
        xp: ArrayNamespace,
        outputs: list[Tensor],
    ) -> None:
        """After an application."""

    def backward(self, node: Node, place: int, received: Sequence[Any], cotangent: Any) -> None:
        """After a derivative with respect to one input of a node, from what its outputs received."""

    def added(self, edge: Edge, before: Any, contribution: Any, after: Any) -> None:
        """After the sum of what one tensor received has grown."""

    def explain(self, node: Node, error: Exception) -> None:
        """When going backward through a node has failed."""


watcher: Watcher | None = None

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
            a = as_array(xp, a, primitive.name)
        if recorded and a.dtype.kind != "f":
            recorded = False  # converted to integers: no gradient flows through
        fresh = a.base is None and a is not arrays[0]
        outputs.append(Tensor(a, recorded, None if fresh else _shared_storage(a, inputs)))
    if recorded:
        _record(primitive, parameters, xp, inputs, arrays, outputs)
    if watcher is not None:
        watcher.forward(primitive, inputs, parameters, xp, outputs)
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
    node.birth = tick()
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
    node.notes = None
    for slot, y in enumerate(outputs):
        y._source = (node, slot)


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
    node.birth = tick()
    node.primitive = primitive
    node.parameters = parameters
    node.xp = namespace_of(outputs[0]._data)
    node.edges = [None if type(x) is Tensor and not x._requires_grad else x for x in sources]
    node.inputs = [x[0].specs[x[1]] if isinstance(x, tuple) else (x._data.shape, x._data.dtype) for x in sources]
    node.output = None
    node.specs = [(y._data.shape, y._data.dtype) for y in outputs]
    node.storages = [storage_of(x) if unchanged and type(x) is Tensor else None for x in sources]
    node.notes = None
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


def as_array(xp: ArrayNamespace, y: Any, name: str) -> Array:
    """What a primitive gave as an array: NumPy turns 0-d results into scalars, and a Tensor always holds an array."""
    if is_array(y):
        return y
    if not isinstance(python_scalar(y), (bool, int, float)):
        raise TypeError(f"{name}: expected its value to give an array, got {type(y).__name__}; mend its formula")
    return xp.asarray(y)


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
