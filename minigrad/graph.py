"""What a graph is made of: Tensors, the nodes they hang from, and the clock that dates both and every write.

A Tensor is an array and a place in the graph. A Node is one recorded application of a primitive: it holds what
the derivative formulas will want and *edges* to where the inputs came from: a leaf Tensor, or a node and the
number of its output. Edges run from outputs to inputs only, so reference counting frees a graph as soon as nobody
can reach it.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .backend import Array, ArrayNamespace, cpu, is_array
from .ops.primitive import Absent, Primitive

if TYPE_CHECKING:
    from .tensor import Methods as _Methods
else:
    _Methods = object  # tensor.py hangs its methods onto Tensor


class Storage:
    """When some memory was last written to, on the clock that numbers nodes; views and detached tensors share one."""

    __slots__ = ("reshaped", "written")

    def __init__(self, written: int = 0, reshaped: int = 0) -> None:
        self.written = written
        self.reshaped = reshaped  # when memory of another shape was last assigned


class Tensor(_Methods):
    """An array, and its place in the graph. Make one with `tensor`; see there."""

    __slots__ = (
        "__weakref__",
        "_data",
        "_grad",
        "_hint",
        "_hooks",
        "_requires_grad",
        "_source",
        "_storage",
        "is_parameter",
    )

    _data: Array
    _requires_grad: bool
    _source: tuple[Node, int] | None  # None for a leaf
    _storage: Storage | None  # None until somebody shares the memory
    _hint: Any  # what is known of the entries, see shortcuts.py

    # Those which few tensors have: until they are set, they read as in UNSET.
    _grad: Tensor | None
    _hooks: Hooks | None  # of a leaf; those of a computed tensor are its node's
    is_parameter: bool

    def __init__(self, data: Array, requires_grad: bool = False, storage: Storage | None = None) -> None:
        if type(data) is not cpu.array_type and not is_array(data):
            raise TypeError(f"Tensor() takes an array, got {type(data).__name__}; write minigrad.tensor(...)")
        self._data = data
        self._requires_grad = requires_grad
        self._source = None
        self._storage = storage
        self._hint = None


UNSET = {"_grad": None, "_hooks": None, "is_parameter": False}


def storage_of(tensor: Tensor) -> Storage:
    """The storage of a tensor, from now on watched for writes."""
    storage = tensor._storage
    if storage is None:
        node = tensor._source[0] if tensor._source else None
        if node is not None and node.primitive.saves_output:  # the node saved the array alone, and has to know
            if node.storage is None:
                node.storage = Storage()
            storage = node.storage
        else:
            storage = Storage()
        tensor._storage = storage
    return storage


Edge = Tensor | tuple["Node", int] | None
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
        "calls",
        "edges",
        "inputs",
        "lookup",
        "notes",
        "output",
        "parameters",
        "primitive",
        "specs",
        "storage",
        "xp",
    )

    birth: int  # when it was made; larger than every input's
    primitive: Primitive[Any]
    parameters: dict[str, Any]
    xp: ArrayNamespace
    edges: Sequence[Edge]  # one per input; None where no gradient is wanted
    inputs: Sequence[Any]  # one per input: the Tensor that was saved, a Python scalar, or what `absent` makes of it
    output: Array | None  # if it was saved; the array alone, because its Tensor holds this node
    storage: Storage | None  # of the output that was saved, if anybody shares its memory
    specs: Sequence[Absent]  # shape and dtype of each output
    lookup: Any  # how the first input was looked up, if the value was computed from the table: see shortcuts.py
    notes: Notes | None
    calls: Any  # of the modules that gave one of its outputs: see nn/calls.py

    def noted(self) -> Notes:
        """The notes of this node, made if there are none yet."""
        if self.notes is None:
            self.notes = Notes()
        return self.notes


# Time: nodes are numbered as they are made, and a write to memory takes a number of the same sequence,
# so "has it been written to since it was saved?" is one comparison.
clock = itertools.count(1)
last_write = 0


def tick() -> int:
    """The number of this moment: larger than that of everything made or written before."""
    return next(clock)


def mark_written(tensor: Tensor) -> None:
    """Note that the memory of `tensor` has new contents: a sweep that still needs the old ones will raise."""
    global last_write
    storage_of(tensor).written = now = tick()
    last_write = max(last_write, now)  # another thread may have written later
