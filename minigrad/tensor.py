"""What a Tensor is: its properties, printing, indexing, and its end of the graph.

What it computes is in operators.py, what it becomes in conversion.py. Importing this file gives Tensor all three.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self, cast

from . import engine
from .backend import Array, cpu, is_array, is_floating, namespace_of
from .conversion import Conversions
from .graph import UNSET, RemovableHandle, Storage, Tensor, mark_written, storage_of, tick
from .indexing import as_index, take
from .messages import ELSEWHERE, describe, type_name
from .mode import mode
from .operators import hang
from .ops import index
from .tape import apply


class Methods(Conversions):
    """An array with a place in the graph of what it was computed from. `minigrad.tensor` makes one.

    Attributes:
        data: the array itself, of NumPy or CuPy; shape, ndim, size, dtype and device are its own.
        requires_grad: whether operations on it are recorded, so that it can get a gradient.
        grad: the gradient that `backward` added up, a Tensor of the same shape, or None.
        is_leaf: whether the user made it, rather than an operation; leaves get `.grad`.

    Operators, methods and indexing follow NumPy; each gives a new Tensor.

    >>> import minigrad as mg
    >>> x = mg.tensor([[1.0, 2.0]], requires_grad=True)
    >>> x.shape, x.ndim, x.size, x.dtype, x.device, x.is_leaf
    ((1, 2), 2, 2, dtype('float32'), 'cpu', True)
    >>> (x @ x.T).sum().backward()
    >>> x.grad
    tensor([[2., 4.]], dtype=float32, device='cpu')
    >>> x.data
    array([[1., 2.]], dtype=float32)
    """

    if not TYPE_CHECKING:  # for a type checker, what is not there is not there

        def __getattr__(self, name: str) -> Any:
            if name in UNSET:
                return UNSET[name]
            cure = ELSEWHERE.get(name)
            told = f"a Tensor has no attribute {name!r}" + (f"; write {cure}" if cure else "")
            raise AttributeError(told, name=name, obj=self)

    # What it is -----------------------------------------------------------------------------------

    @property
    def data(self) -> Array:
        """The raw array. Assigning another makes a backward pass that still needs the old one raise.

        What is written into the array itself goes unnoticed; x[...] = value under `no_grad` does not.
        Assign one that no other tensor holds: a write through the other would not be noticed here.
        """
        self._hint = None  # who has the array may write to it
        return self._data

    @data.setter
    def data(self: Any, array: Array) -> None:
        if not is_array(array):
            raise TypeError(
                f".data is an array (of NumPy or CuPy), got {type(array).__name__}; assign t.data of a Tensor t"
            )
        if self._requires_grad:
            check_floating(array.dtype)
        if self._grad is not None and self._grad.shape != array.shape:
            raise ValueError(
                f".data: expected the shape {self.shape}, as there is a gradient of it, got {array.shape}; "
                "forget the gradient first: x.grad = None"
            )
        mark_written(self)
        now = tick()
        reshaped = now if array.shape != self._data.shape else storage_of(self).reshaped
        self._data, self._storage = array, Storage(now, reshaped)  # other memory: what shared the old goes on without

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor are recorded, so that it can get a gradient."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, needed: bool) -> None:
        if self._source is not None and not needed:
            raise RuntimeError("requires_grad of a computed tensor cannot be turned off; use x.detach()")
        if needed:
            check_floating(self._data.dtype)
        self._requires_grad = needed

    @property
    def grad(self) -> Tensor | None:
        """The gradient that `backward` has added up here, None if there is none.

        Assign None, or a Tensor of this one's shape, dtype and device.
        """
        return self._grad

    @grad.setter
    def grad(self, gradient: Tensor | None) -> None:
        if gradient is not None:
            if type(gradient) is not Tensor:
                raise TypeError(f".grad is a Tensor or None, got {type(gradient).__name__}; use minigrad.tensor(...)")
            mine, given = self._data, gradient._data
            if (given.shape, given.dtype, type(given)) != (mine.shape, mine.dtype, type(mine)):
                raise ValueError(
                    f".grad: expected a gradient like its tensor, {describe(self)}, got {describe(gradient)}"
                )
        self._grad = gradient

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each axis."""
        return tuple(self._data.shape)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return int(self._data.ndim)

    @property
    def size(self) -> int:
        """The number of entries."""
        return int(self._data.size)

    @property
    def dtype(self) -> Any:
        """The type of the entries, a NumPy dtype."""
        return self._data.dtype

    @property
    def device(self) -> str:
        """Where the array lies: "cpu", "cuda:0", ..."""
        return namespace_of(self._data).device

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by the user rather than computed; leaves get `.grad`."""
        return self._source is None

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a 0-d tensor has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        host = namespace_of(self._data).to_host(self._data)
        parts = [
            cpu.array2string(host, separator=", ", prefix="tensor(") if host.size else f"[], shape={self.shape}",
            f"dtype={self.dtype}",
            f"device={self.device!r}",
        ]
        if self._requires_grad:
            parts.append("requires_grad=True")
        if self._source is not None:
            parts.append(f"op={self._source[0].primitive.name}")
        return f"tensor({', '.join(parts)})"

    # The graph ------------------------------------------------------------------------------------

    def detach(self) -> Tensor:
        """The same memory as a tensor of its own, cut from the graph: no gradient flows through it.

        >>> import minigrad as mg
        >>> x = mg.ones(2, requires_grad=True)
        >>> (x * 2).detach()
        tensor([2., 2.], dtype=float32, device='cpu')
        """
        return Tensor(self._data, False, storage_of(cast(Tensor, self)))

    def backward(
        self: Any, gradient: Any = None, *, retain_graph: bool | None = None, create_graph: bool = False
    ) -> None:
        engine.backward(self, gradient, retain_graph=retain_graph, create_graph=create_graph)

    backward.__doc__ = engine.backward.__doc__

    def requires_grad_(self, needed: bool = True) -> Self:
        """Set `requires_grad`, in place.

        Raises:
            TypeError: the dtype is not a floating one.
            RuntimeError: the tensor is computed and should need no gradient; use `detach`.

        >>> import minigrad as mg
        >>> mg.ones(2).requires_grad_()
        tensor([1., 1.], dtype=float32, device='cpu', requires_grad=True)
        """
        self.requires_grad = needed
        return self

    def retain_grad(self: Any) -> None:
        """Have `backward` add the gradient into `.grad` of this computed tensor too, as it does for leaves.

        Raises:
            RuntimeError: the tensor does not require a gradient.

        >>> import minigrad as mg
        >>> x = mg.tensor(3.0, requires_grad=True)
        >>> y = x * x
        >>> y.retain_grad()
        >>> (2 * y).backward()
        >>> y.grad.item(), x.grad.item()
        (2.0, 12.0)
        """
        _check_in_graph(self, "retain_grad")
        if self._source is not None:
            node, slot = self._source
            node.noted().retainers[slot] = weakref.ref(self)

    def register_hook(self: Any, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Call `hook(gradient)` in every backward pass, with the whole gradient of this tensor, as soon as it is known.

        What the hook returns, if not None, goes on in the gradient's place: to where this tensor came from, and into
        `.grad`. Hooks run in the order in which they were registered, those of leaves at the end of the pass.

        Returns:
            a handle, whose `remove()` takes the hook away.

        Raises:
            RuntimeError: the tensor does not require a gradient.
            TypeError: (in the backward pass) the hook returned something that is not like the gradient.

        >>> import minigrad as mg
        >>> x = mg.tensor([1.0, -2.0], requires_grad=True)
        >>> y = x * x
        >>> handle = y.register_hook(lambda g: mg.clip(g, -0.5, 0.5))
        >>> (3 * y).sum().backward()
        >>> x.grad.tolist()
        [1.0, -2.0]
        """
        _check_in_graph(self, "register_hook")
        if not callable(hook):
            raise TypeError(f"register_hook: expected a function of the gradient, got {type(hook).__name__}")
        if self._source is None:
            self._hooks = {} if self._hooks is None else self._hooks
            return RemovableHandle(self._hooks, hook)
        node, slot = self._source
        return RemovableHandle(node.noted().hooks.setdefault(slot, {}), hook)

    # Indexing -------------------------------------------------------------------------------------

    def __getitem__(self: Any, key: Any) -> Tensor:
        """The entries that an index picks, as NumPy's indexing; what is picked twice gets both gradients.

        Args:
            key: integers, slices, None, `...`, lists, and integer or boolean Tensors or arrays of the device.
                Finding a mask's true entries makes the host wait for the device once; to choose between two
                values entry by entry, `minigrad.where` does not.

        Raises:
            IndexError: an index is out of range (a GPU wraps those in arrays silently), there are too many, or
                a mask has another shape than the axes it lies over.
            RuntimeError: an index is on another device.

        >>> import minigrad as mg
        >>> x = mg.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> x[:, -1].tolist(), x[[1, 1], 0].tolist(), x[x > 2].tolist()
        ([2.0, 4.0], [3.0, 3.0], [3.0, 4.0])
        """
        return apply(index.getitem, (self,), {"index": as_index(self, key)})

    def __setitem__(self: Any, key: Any, value: Any) -> None:
        if self._requires_grad and (mode.recording or self._source is not None):
            raise RuntimeError(
                "x[...] = value on a tensor that needs a gradient: a recorded value is never changed in place. "
                "Write x = minigrad.where(mask, value, x), or, to change a leaf between passes, "
                "with minigrad.no_grad(): x[...] = value"
            )
        if type(value) is Tensor:
            if value._requires_grad and mode.recording:
                raise RuntimeError(
                    "x[...] = value with a value that needs a gradient: writing is not recorded, the gradient would be "
                    "lost. Build x with minigrad.where, stack or concatenate, or write value.detach()"
                )
            if namespace_of(value._data) is not namespace_of(self._data):
                raise RuntimeError(
                    f"x[...] = value: expected one device, got x {describe(self)}, value {describe(value)}"
                )
            value = value._data
        index = as_index(self, key)
        namespace_of(self._data).make_current()
        try:
            self._data[index] = value
        except (ValueError, IndexError, TypeError) as error:
            came = describe(Tensor(value)) if is_array(value) else type_name(value)
            kind = next(known for known in (IndexError, TypeError, ValueError) if isinstance(error, known))
            raise kind(
                f"x[...] = value: expected an index of x, {describe(self)}, and a number or an array that fits there, "
                f"got a value {came} ({error})"
            ) from error
        mark_written(self)

    def __iter__(self) -> Iterator[Tensor]:
        if not self.shape:
            raise TypeError("a 0-d tensor has nothing to iterate over")
        return iter(self.unstack())

    def take(self, indices: Any, axis: int | None = None) -> Tensor:
        """The slices at integer indices along an axis; see `minigrad.take`."""
        return take(cast(Tensor, self), indices, axis)


hang(Methods)


def detach(state: Any) -> Any:
    """A state cut from the graph it was computed in: no gradient flows further back than here.

    This is what truncates backpropagation through time.

    Args:
        state: a Tensor, None, tuples, lists and dicts of them, or a dataclass with Tensors, such as a
            PackedSequence; they come back in the same form.

    Raises:
        TypeError: something else is in there.

    >>> import minigrad as mg
    >>> h = mg.ones(2, requires_grad=True) * 2
    >>> mg.detach((h, None))[0].requires_grad
    False
    """
    return map_tensors(Tensor.detach, state, "detach")


def map_tensors(function: Callable[[Tensor], Tensor], value: Any, caller: str) -> Any:
    """The same tuples, lists, dicts and dataclasses, with what the function makes of each Tensor in its place.

    Of a dataclass, such as a PackedSequence, the fields that are Tensors; the others stay.
    """
    if type(value) is Tensor:
        return function(value)
    if value is None:
        return None
    if isinstance(value, dict):
        return {key: map_tensors(function, part, caller) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        parts = [map_tensors(function, part, caller) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        own = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **{name: function(x) for name, x in own.items() if type(x) is Tensor})
    raise TypeError(f"{caller}: expected Tensors in tuples, lists or dicts, got {type(value).__name__}")


def _check_in_graph(x: Tensor, caller: str) -> None:
    if not x._requires_grad:
        raise RuntimeError(
            f"{caller}: this tensor {describe(x)} does not require a gradient, so none will come; "
            "call x.requires_grad_() before it is used"
        )


def check_floating(dtype: Any) -> None:
    """Raise if a tensor of this dtype cannot have gradients."""
    if not is_floating(dtype):
        raise TypeError(
            f"only floating-point tensors have gradients, got {dtype}; convert first, for example to minigrad.float32"
        )
