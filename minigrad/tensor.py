"""What a Tensor is: its properties, printing, conversion, copying and indexing.

Its arithmetic is in operators.py. Importing this file gives Tensor both.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Self, cast

from . import engine
from .backend import Array, as_dtype, cpu, is_array, is_floating, namespace, namespace_of
from .indexing import as_index, take
from .messages import describe
from .operators import Operators, hang
from .ops import elementwise, index
from .tape import RemovableHandle, Tensor, apply, mark_written, mode, storage_of


class Methods(Operators):
    """An array with a place in the graph of what it was computed from. `minigrad.tensor` makes one.

    Attributes:
        data: the array itself, of NumPy or CuPy; shape, ndim, size, dtype and device are its own.
        requires_grad: whether operations on it are recorded, so that it can get a gradient.
        grad: the gradient that `backward` added up, a Tensor of the same shape, or None.
        is_leaf: whether the user made it, rather than an operation; leaves get `.grad`.

    Operators, methods and indexing follow NumPy; each gives a new Tensor.

    >>> import minigrad as mg
    >>> x = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.], dtype=float32, device='cpu')
    """

    # What it is -----------------------------------------------------------------------------------

    @property
    def data(self) -> Array:
        """The raw array. Assigning another makes a backward pass that still needs the old one raise.

        Assign an array of the tensor's own: that two tensors share memory in this way, nobody notices.
        """
        return self._data

    @data.setter
    def data(self: Any, array: Array) -> None:
        if not is_array(array):
            raise TypeError(
                f".data is an array (of NumPy or CuPy), got {type(array).__name__}; assign t.data of a Tensor t"
            )
        if self._requires_grad:
            check_floating(array.dtype)
        mark_written(self)
        self._data, self._storage = array, None  # other memory: what shared the old goes on without this tensor

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

    # Out of minigrad ------------------------------------------------------------------------------

    def numpy(self) -> Any:
        """The NumPy array itself, not a copy.

        Raises:
            TypeError: the tensor is on a GPU, or it requires a gradient.

        >>> import minigrad as mg
        >>> mg.tensor([1.0, 2.0]).numpy()
        array([1., 2.], dtype=float32)
        """
        if self._requires_grad:
            raise TypeError("numpy() on a tensor that requires a gradient; use x.detach().numpy()")
        if type(self._data) is not cpu.array_type:
            raise TypeError(f'numpy() on a tensor of {self.device}; use x.to("cpu").numpy()')
        return self._data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return cpu.array(self.numpy(), dtype=dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        if self._requires_grad:
            raise BufferError("a tensor that requires a gradient cannot be shared by DLPack; use x.detach()")
        return self._data.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._data.__dlpack_device__()

    # Copies ---------------------------------------------------------------------------------------

    def __copy__(self: Any) -> Tensor:
        """Another tensor with the same memory, at the same place in the graph."""
        twin = Tensor(self._data, self._requires_grad, storage_of(self))
        twin._source, twin.grad, twin.is_parameter = self._source, self.grad, self.is_parameter
        return twin

    def __deepcopy__(self: Any, memo: dict[int, Any]) -> Tensor:
        """A leaf with memory of its own, and a copy of the gradient."""
        self._must_be_leaf("copy.deepcopy")
        with namespace_of(self._data).activate():
            twin = Tensor(self._data.copy(), self._requires_grad)
        memo[id(self)] = twin
        twin.grad, twin.is_parameter = copy.deepcopy(self.grad, memo), self.is_parameter
        return twin

    def __reduce__(self) -> Any:
        self._must_be_leaf("pickle")
        return _unpickled, (self._data, self._requires_grad, self.grad, self.is_parameter)

    def _must_be_leaf(self, caller: str) -> None:
        if self._source is not None:
            raise RuntimeError(
                f"{caller}: expected a tensor that was made, got one that {self._source[0].primitive.name} computed, "
                "with a graph behind it. Use x.detach(), or x.copy() for a copy through which gradients flow"
            )

    # As a Python number ---------------------------------------------------------------------------

    def item(self) -> Any:
        """The only entry, as a Python number; waits for the device.

        Raises:
            ValueError: there is more than one entry, or none.
        """
        if self.size != 1:
            raise ValueError(f"item() needs a tensor of one entry, got shape {self.shape}; use tolist()")
        return namespace_of(self._data).to_host(self._data).item()

    def tolist(self) -> Any:
        """The entries as (nested lists of) Python numbers; waits for the device."""
        return namespace_of(self._data).to_host(self._data).tolist()

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else repr(self)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    # Moving and converting ------------------------------------------------------------------------

    def to(self, *targets: Any, device: str | None = None, dtype: Any = None) -> Tensor:
        """This tensor on another device, with another dtype, or both; itself if nothing changes.

        Args:
            targets: a device name ("cpu", "cuda", "cuda:1"), a dtype, or both in either order.
            device, dtype: the same by name.

        Raises:
            DeviceError: the device cannot be used.
            TypeError: something else was given, or two devices or dtypes.

        >>> import minigrad as mg
        >>> mg.ones(2).to("cpu", mg.float64)
        tensor([1., 1.], dtype=float64, device='cpu')
        """
        devices = [] if device is None else [device]
        dtypes = [] if dtype is None else [dtype]
        for target in targets:
            (devices if _is_device(target) else dtypes).append(target)
        if not 0 < len(devices) + len(dtypes) <= 2 or len(devices) > 1 or len(dtypes) > 1:
            raise TypeError(f"to: expected a device, a dtype, or one of each, got {[*devices, *dtypes]}")
        x = self.astype(dtypes[0]) if dtypes else cast(Tensor, self)
        there = namespace(devices[0]).device if devices else x.device
        return x if there == x.device else apply(elementwise.to_device, (x,), {"device": there, "source": x.device})

    def astype(self, dtype: Any) -> Tensor:
        """This tensor with another dtype; itself if it has it already."""
        if dtype is None:
            raise TypeError("astype: expected a dtype such as minigrad.float32, got None")
        dtype = as_dtype(dtype)
        if dtype == self.dtype:
            return cast(Tensor, self)
        return apply(elementwise.astype, (self,), {"dtype": dtype})

    def detach(self) -> Tensor:
        """The same memory as a tensor of its own, cut from the graph: no gradient flows through it."""
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
        `.grad`. Hooks run in the order in which they were registered.

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
            if type(value._data) is not type(self._data):
                raise RuntimeError(
                    f"x[...] = value: expected one device, got x {describe(self)}, value {describe(value)}"
                )
            value = value._data
        self._data[as_index(self, key)] = value
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
        state: a Tensor, None, or tuples, lists and dicts of them, which come back in the same form.

    Raises:
        TypeError: something else is in there.

    >>> import minigrad as mg
    >>> h = mg.ones(2, requires_grad=True) * 2
    >>> mg.detach((h, None))[0].requires_grad
    False
    """
    return map_tensors(Tensor.detach, state, "detach")


def map_tensors(function: Callable[[Tensor], Tensor], value: Any, caller: str) -> Any:
    """The same tuples, lists and dicts, with each Tensor in them replaced by what the function makes of it."""
    if type(value) is Tensor:
        return function(value)
    if value is None:
        return None
    if isinstance(value, dict):
        return {key: map_tensors(function, part, caller) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        parts = [map_tensors(function, part, caller) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    raise TypeError(f"{caller}: expected Tensors in tuples, lists or dicts, got {type(value).__name__}")


def _check_in_graph(x: Tensor, caller: str) -> None:
    if not x._requires_grad:
        raise RuntimeError(
            f"{caller}: this tensor {describe(x)} does not require a gradient, so none will come; "
            "call x.requires_grad_() before it is used"
        )


def _is_device(target: Any) -> bool:
    """Whether a target of `to` is a device, or else a dtype."""
    if not isinstance(target, str):
        return False
    try:
        name = as_dtype(target).name
    except TypeError:
        return True
    if name != target:  # "float", "f4": NumPy has a meaning for these that other libraries do not share
        raise TypeError(f'to: expected a device such as "cpu" or a dtype such as minigrad.{name}, got {target!r}')
    return False


def _unpickled(data: Array, requires_grad: bool, grad: Tensor | None, is_parameter: bool) -> Tensor:
    tensor = Tensor(data, requires_grad)
    tensor.grad, tensor.is_parameter = grad, is_parameter
    return tensor


def check_floating(dtype: Any) -> None:
    """Raise if a tensor of this dtype cannot have gradients."""
    if not is_floating(dtype):
        raise TypeError(
            f"only floating-point tensors have gradients, got {dtype}; convert first, for example to minigrad.float32"
        )
