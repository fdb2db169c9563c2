"""What a Tensor can do: its operators, methods and printing. Importing this file gives them to Tensor.

Each is a line: the work is a primitive's. Functions and methods follow NumPy (`axis=`, `keepdims=`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from . import engine
from .backend import Array, as_dtype, cpu, is_array, is_floating, namespace, namespace_of
from .indexing import as_index, take
from .ops import contraction, elementwise, index, logic, reduction, shape
from .ops.reduction import Axis
from .tape import Tensor, apply, describe, mark_written, mode, storage_of

Operand = Any  # a Tensor, an array of the same device, or a Python number
_NOTHING: dict[str, Any] = {}


class Methods:
    """The operators and methods of Tensor."""

    __array_ufunc__ = None  # so that `ndarray * tensor` asks the tensor

    if TYPE_CHECKING:  # the slots of Tensor, see tape.py
        _data: Any
        _requires_grad: bool
        _source: Any
        _storage: Any
        grad: Tensor | None
        is_parameter: bool

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

    @property
    def T(self) -> Tensor:  # noqa: N802 - NumPy's name
        """The tensor with its axes reversed."""
        tensor: Tensor = apply(shape.transpose, (self,), _NOTHING)
        return tensor

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

    def to(self, target: Any) -> Tensor:
        """This tensor on another device, or with another dtype; itself if nothing changes.

        Args:
            target: a device name ("cpu", "cuda", "cuda:1") or a dtype.

        Raises:
            DeviceError: the device cannot be used.

        >>> import minigrad as mg
        >>> mg.ones(2).to("cpu").to(mg.float64)
        tensor([1., 1.], dtype=float64, device='cpu')
        """
        if not _is_device(target):
            return self.astype(target)
        target = namespace(target).device
        if target == self.device:
            return cast(Tensor, self)
        return apply(elementwise.to_device, (self,), {"device": target, "source": self.device})

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

    def _update_in_place(self, *_: Any) -> Any:
        if self._requires_grad and self._source is None and not mode.recording:
            raise RuntimeError(
                "x -= y makes a new tensor and leaves x as it was, which for a leaf that needs a gradient is hardly "
                "meant. To change it under no_grad, write x[...] = x - y"
            )
        return NotImplemented  # so that Python goes on to x = x - y

    __iadd__ = __isub__ = __imul__ = __itruediv__ = _update_in_place

    # Shapes ---------------------------------------------------------------------------------------

    def reshape(self, *sizes: Any) -> Tensor:
        """The entries, in C order, under another shape: reshape(2, 3) or reshape((2, 3)); one size may be -1."""
        target = tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
        return apply(shape.reshape, (self,), {"shape": target})

    def transpose(self, *axes: Any) -> Tensor:
        """The axes in another order: transpose(1, 0) or transpose((1, 0)); reversed if none are given."""
        order = tuple(axes[0]) if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else axes
        return apply(shape.transpose, (self,), {"axes": order or None})

    def squeeze(self, axis: int | tuple[int, ...] | None = None) -> Tensor:
        """Without axes of size 1."""
        return apply(shape.squeeze, (self,), {"axis": axis})

    def split(self, sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
        """Equal sections along an axis, or the parts between the indices given, as `numpy.split`."""
        return apply(shape.split, (self,), {"sections": sections, "axis": axis})

    def unstack(self, axis: int = 0) -> list[Tensor]:
        """The slices along an axis, which disappears."""
        return apply(shape.unstack, (self,), {"axis": axis})

    # Reductions -----------------------------------------------------------------------------------

    def var(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
        """The variance, Σ (x - mean x)² / (n - ddof)."""
        return apply(reduction.var, (self,), {"axis": axis, "ddof": ddof, "keepdims": keepdims})

    def clip(self, min: float | None = None, max: float | None = None) -> Tensor:
        """The entries, those below min as min, those above max as max."""
        return elementwise.clip(self, min=min, max=max)

    if TYPE_CHECKING:  # made from the tables below

        def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def min(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def logsumexp(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor: ...
        def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor: ...
        def exp(self) -> Tensor: ...
        def log(self) -> Tensor: ...
        def sqrt(self) -> Tensor: ...
        def tanh(self) -> Tensor: ...
        def sigmoid(self) -> Tensor: ...
        def relu(self) -> Tensor: ...
        def abs(self) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __add__(self, other: Operand) -> Tensor: ...
        def __radd__(self, other: Operand) -> Tensor: ...
        def __sub__(self, other: Operand) -> Tensor: ...
        def __rsub__(self, other: Operand) -> Tensor: ...
        def __mul__(self, other: Operand) -> Tensor: ...
        def __rmul__(self, other: Operand) -> Tensor: ...
        def __truediv__(self, other: Operand) -> Tensor: ...
        def __rtruediv__(self, other: Operand) -> Tensor: ...
        def __matmul__(self, other: Operand) -> Tensor: ...
        def __rmatmul__(self, other: Operand) -> Tensor: ...
        def __rpow__(self, other: Operand) -> Tensor: ...
        def __lt__(self, other: Operand) -> Tensor: ...
        def __le__(self, other: Operand) -> Tensor: ...
        def __gt__(self, other: Operand) -> Tensor: ...
        def __ge__(self, other: Operand) -> Tensor: ...
        def __and__(self, other: Operand) -> Tensor: ...
        def __or__(self, other: Operand) -> Tensor: ...

    def __pow__(self, other: Operand) -> Tensor:
        if type(other) is int and other == 2:
            return self * self  # several times faster than the general power
        return apply(elementwise.power, (self, other), _NOTHING)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        if other is None:
            return NotImplemented  # so that `x == None` is False, and `x in [None, x]` works
        return apply(logic.equal, (self, other), _NOTHING)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        if other is None:
            return NotImplemented
        return apply(logic.not_equal, (self, other), _NOTHING)

    __hash__ = object.__hash__


OPERATORS = {
    "add": elementwise.add,
    "sub": elementwise.subtract,
    "mul": elementwise.multiply,
    "truediv": elementwise.divide,
    "floordiv": elementwise.floor_divide,
    "mod": elementwise.remainder,
    "pow": elementwise.power,
    "matmul": contraction.matmul,
    "lt": logic.less,
    "le": logic.less_equal,
    "gt": logic.greater,
    "ge": logic.greater_equal,
    "and": logic.logical_and,
    "or": logic.logical_or,
}
UNARY = {
    "__neg__": elementwise.negative,
    "__abs__": elementwise.absolute,
    "__invert__": logic.logical_not,
    "abs": elementwise.absolute,
    **{name: getattr(elementwise, name) for name in ("exp", "log", "sqrt", "tanh", "sigmoid", "relu")},
}
REDUCTIONS = {name: getattr(reduction, name) for name in ("sum", "mean", "max", "min", "logsumexp", "argmax", "argmin")}
REDUCTIONS |= {"any": logic.any, "all": logic.all}


def _operator(primitive: Any) -> Any:
    return lambda x, y: apply(primitive, (x, y), _NOTHING)


def _reflected(primitive: Any) -> Any:
    return lambda x, y: apply(primitive, (y, x), _NOTHING)


def _unary(primitive: Any) -> Any:
    return lambda x: apply(primitive, (x,), _NOTHING)


def _reduction(primitive: Any) -> Any:
    return lambda x, axis=None, keepdims=False: apply(primitive, (x,), {"axis": axis, "keepdims": keepdims})


def _give(name: str, method: Any, doc: str | None) -> None:
    method.__name__, method.__qualname__, method.__doc__ = name, f"Tensor.{name}", doc
    setattr(Tensor, name, method)


for _name, _primitive in OPERATORS.items():
    _give(f"__{_name}__", _operator(_primitive), _primitive.__doc__)
    if _name not in ("lt", "le", "gt", "ge"):  # Python reflects these itself
        _give(f"__r{_name}__", _reflected(_primitive), _primitive.__doc__)
for _name, _primitive in UNARY.items():
    _give(_name, _unary(_primitive), _primitive.__doc__)
for _name, _primitive in REDUCTIONS.items():
    _give(_name, _reduction(_primitive), _primitive.__doc__)

_of_any_class = {*vars(type("", (), {})), "__annotations__", "__hash__"}
for _name, _method in vars(Methods).items():
    if _name not in _of_any_class:
        setattr(Tensor, _name, _method)


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
    if type(state) is Tensor:
        return state.detach()
    if state is None:
        return None
    if isinstance(state, dict):
        return {key: detach(part) for key, part in state.items()}
    if isinstance(state, (tuple, list)):
        parts = [detach(part) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
    raise TypeError(f"detach: expected Tensors in tuples, lists or dicts, got {type(state).__name__}")


def _is_device(target: Any) -> bool:
    return isinstance(target, str) and (target.partition(":")[0] in ("cpu", "cuda") or not hasattr(cpu.module, target))


def check_floating(dtype: Any) -> None:
    """Raise if a tensor of this dtype cannot have gradients."""
    if not is_floating(dtype):
        raise TypeError(
            f"only floating-point tensors have gradients, got {dtype}; convert first, for example to minigrad.float32"
        )
