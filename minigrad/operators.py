"""Arithmetic, mathematics and shapes on a Tensor: its operators, and the methods that a primitive does alone.

Each is a line. Methods follow NumPy (`axis=`, `keepdims=`), and give a new tensor, recorded as the function
of the same name would be. `hang` puts the methods of a class onto Tensor. At the end stand two functions that are
a `transpose`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .graph import Tensor
from .messages import describe
from .mode import mode
from .ops import contraction, elementwise, logic, reduction, shape
from .ops.reduction import Axis
from .tape import apply, as_tensor

Operand = Any  # a Tensor, an array of the same device, or a Python number
NOTHING: dict[str, Any] = {}


class Operators:
    """The operators of Tensor, and its methods that compute."""

    __array_ufunc__ = None  # so that `ndarray * tensor` asks the tensor

    if TYPE_CHECKING:  # the slots of Tensor, see tape.py
        _data: Any
        _requires_grad: bool
        _source: Any
        _storage: Any
        _grad: Tensor | None
        is_parameter: bool

    # Operators ------------------------------------------------------------------------------------

    def __pow__(self, other: Operand) -> Tensor:
        if type(other) is int and other == 2:
            return self * self  # several times faster than the general power
        return apply(elementwise.power, (self, other), NOTHING)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        if other is None:
            return NotImplemented  # so that `x == None` is False, and `x in [None, x]` works
        return apply(logic.equal, (self, other), NOTHING)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        if other is None:
            return NotImplemented
        return apply(logic.not_equal, (self, other), NOTHING)

    __hash__ = object.__hash__

    def _update_in_place(self, *_: Any) -> Any:
        if self._requires_grad and self._source is None and not mode.recording:
            raise RuntimeError(
                "x -= y makes a new tensor and leaves x as it was, which for a leaf that needs a gradient is hardly "
                "meant. To change it under no_grad, write x[...] = x - y"
            )
        return NotImplemented  # so that Python goes on to x = x - y

    __iadd__ = __isub__ = __imul__ = __itruediv__ = _update_in_place
    __ifloordiv__ = __imod__ = __ipow__ = _update_in_place

    # Shapes ---------------------------------------------------------------------------------------

    @property
    def T(self) -> Tensor:  # noqa: N802 - NumPy's name
        """The tensor with its axes reversed."""
        tensor: Tensor = apply(shape.transpose, (self,), NOTHING)
        return tensor

    def reshape(self, *sizes: Any) -> Tensor:
        """The entries, in C order, under another shape: reshape(2, 3) or reshape((2, 3)); one size may be -1."""
        return apply(shape.reshape, (self,), {"shape": _one_tuple(sizes)})

    def flatten(self) -> Tensor:
        """The entries, in C order, along one axis."""
        return apply(shape.reshape, (self,), {"shape": (-1,)})

    ravel = flatten

    def transpose(self, *axes: Any) -> Tensor:
        """The axes in another order: transpose(1, 0) or transpose((1, 0)); reversed if none are given."""
        return apply(shape.transpose, (self,), {"axes": _one_tuple(axes) or None})

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        """Two axes exchanged."""
        return swapaxes(self, axis1, axis2)

    def squeeze(self, axis: int | tuple[int, ...] | None = None) -> Tensor:
        """Without axes of size 1."""
        return apply(shape.squeeze, (self,), {"axis": axis})

    def expand_dims(self, axis: int | tuple[int, ...]) -> Tensor:
        """With new axes of size 1 at these positions of the result."""
        return apply(shape.expand_dims, (self,), {"axis": axis})

    def broadcast_to(self, *sizes: Any) -> Tensor:
        """Repeated along new axes and along axes of size 1: broadcast_to(2, 3) or broadcast_to((2, 3))."""
        return apply(reduction.broadcast_to, (self,), {"shape": _one_tuple(sizes)})

    def split(self, sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
        """Equal sections along an axis, or the parts between the indices given, as `numpy.split`."""
        return apply(shape.split, (self,), {"sections": sections, "axis": axis})

    def unstack(self, axis: int = 0) -> list[Tensor]:
        """The slices along an axis, which disappears."""
        return apply(shape.unstack, (self,), {"axis": axis})

    # Mathematics ----------------------------------------------------------------------------------

    def var(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
        """The variance, Σ (x - mean x)² / (n - ddof)."""
        return apply(reduction.var, (self,), {"axis": axis, "ddof": ddof, "keepdims": keepdims})

    def std(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
        """The standard deviation, the root of the variance."""
        return apply(reduction.std, (self,), {"axis": axis, "ddof": ddof, "keepdims": keepdims})

    def cumsum(self, axis: int | None = None) -> Tensor:
        """The sum of each entry and all before it, along an axis (of the flattened tensor if None)."""
        return apply(reduction.cumsum, (self,), {"axis": axis})

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
        def any(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def all(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def abs(self) -> Tensor: ...
        def sign(self) -> Tensor: ...
        def exp(self) -> Tensor: ...
        def expm1(self) -> Tensor: ...
        def log(self) -> Tensor: ...
        def log1p(self) -> Tensor: ...
        def sqrt(self) -> Tensor: ...
        def sin(self) -> Tensor: ...
        def cos(self) -> Tensor: ...
        def tanh(self) -> Tensor: ...
        def sigmoid(self) -> Tensor: ...
        def softplus(self) -> Tensor: ...
        def relu(self) -> Tensor: ...
        def copy(self) -> Tensor: ...
        def clone(self) -> Tensor: ...
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
        def __floordiv__(self, other: Operand) -> Tensor: ...
        def __rfloordiv__(self, other: Operand) -> Tensor: ...
        def __mod__(self, other: Operand) -> Tensor: ...
        def __rmod__(self, other: Operand) -> Tensor: ...
        def __matmul__(self, other: Operand) -> Tensor: ...
        def __rmatmul__(self, other: Operand) -> Tensor: ...
        def __rpow__(self, other: Operand) -> Tensor: ...
        def __lt__(self, other: Operand) -> Tensor: ...
        def __le__(self, other: Operand) -> Tensor: ...
        def __gt__(self, other: Operand) -> Tensor: ...
        def __ge__(self, other: Operand) -> Tensor: ...
        def __and__(self, other: Operand) -> Tensor: ...
        def __or__(self, other: Operand) -> Tensor: ...


def _one_tuple(sizes: tuple[Any, ...]) -> tuple[Any, ...]:
    """(2, 3) from both f(2, 3) and f((2, 3))."""
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


# The tables ---------------------------------------------------------------------------------------

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
}
UNARY = {
    "__neg__": elementwise.negative,
    "__abs__": elementwise.absolute,
    "abs": elementwise.absolute,
    "sign": elementwise.sign,
    "exp": elementwise.exp,
    "expm1": elementwise.expm1,
    "log": elementwise.log,
    "log1p": elementwise.log1p,
    "sqrt": elementwise.sqrt,
    "sin": elementwise.sin,
    "cos": elementwise.cos,
    "tanh": elementwise.tanh,
    "sigmoid": elementwise.sigmoid,
    "softplus": elementwise.softplus,
    "relu": elementwise.relu,
    "copy": elementwise.copy,
    "clone": elementwise.copy,
}
REDUCTIONS = {
    "sum": reduction.sum,
    "mean": reduction.mean,
    "max": reduction.max,
    "min": reduction.min,
    "logsumexp": reduction.logsumexp,
    "argmax": reduction.argmax,
    "argmin": reduction.argmin,
    "any": logic.any,
    "all": logic.all,
}


def _operator(primitive: Any) -> Any:
    return lambda x, y: apply(primitive, (x, y), NOTHING)


def _logical(primitive: Any, symbol: str, swapped: bool = False) -> Any:
    """NumPy's & | ~ work on the bits of integers; here they are logic, for booleans alone."""

    def method(*operands: Any) -> Tensor:
        for x in operands:
            if not (x.dtype.kind == "b" if hasattr(x, "dtype") else type(x) is bool):
                raise TypeError(
                    f"{symbol}: expected booleans, got {describe(x)}; make them by a comparison, for example (x != 0)"
                )
        return apply(primitive, operands[::-1] if swapped else operands, NOTHING)  # type: ignore[no-any-return]

    return method


def _reflected(primitive: Any) -> Any:
    return lambda x, y: apply(primitive, (y, x), NOTHING)


def _unary(primitive: Any) -> Any:
    return lambda x: apply(primitive, (x,), NOTHING)


def _reduction(primitive: Any) -> Any:
    return lambda x, axis=None, keepdims=False: apply(primitive, (x,), {"axis": axis, "keepdims": keepdims})


def _give(name: str, method: Any, doc: str | None) -> None:
    method.__name__, method.__qualname__, method.__doc__ = name, f"Tensor.{name}", doc
    setattr(Tensor, name, method)


_of_any_class = {*vars(type("", (), {})), "__annotations__"} - {"__doc__"}


def hang(methods: type) -> None:
    """Make what a class defines Tensor's own, under Tensor's name in messages."""
    for name, member in vars(methods).items():
        if name not in _of_any_class or name == "__hash__":
            function: Any = member.fget if isinstance(member, property) else member
            if hasattr(function, "__qualname__") and function is not object.__hash__:
                function.__qualname__ = f"Tensor.{function.__name__}"
            setattr(Tensor, name, member)


for _name, _primitive in OPERATORS.items():
    _give(f"__{_name}__", _operator(_primitive), _primitive.__doc__)
    if _name not in ("lt", "le", "gt", "ge"):  # Python reflects these itself
        _give(f"__r{_name}__", _reflected(_primitive), _primitive.__doc__)
_give("__invert__", _logical(logic.logical_not, "~"), logic.logical_not.__doc__)
for _name, _symbol, _primitive in (("and", "&", logic.logical_and), ("or", "|", logic.logical_or)):
    _give(f"__{_name}__", _logical(_primitive, _symbol), _primitive.__doc__)
    _give(f"__r{_name}__", _logical(_primitive, _symbol, swapped=True), _primitive.__doc__)
for _name, _primitive in UNARY.items():
    _give(_name, _unary(_primitive), _primitive.__doc__)
for _name, _primitive in REDUCTIONS.items():
    _give(_name, _reduction(_primitive), _primitive.__doc__)
hang(Operators)

# Functions that transpose --------------------------------------------------------------------------


def swapaxes(x: Any, axis1: int, axis2: int) -> Tensor:
    """x with two axes exchanged, as `numpy.swapaxes`.

    Equation: y[..., i, ..., j, ...] = x[..., j, ..., i, ...].

    Raises:
        ValueError: there is no such axis.

    >>> import minigrad as mg
    >>> mg.swapaxes(mg.zeros((2, 3, 4)), 0, -1).shape
    (4, 3, 2)
    """
    x = as_tensor(x, "swapaxes")
    order = list(range(x.ndim))
    first, second = _axes(x, (axis1, axis2), "swapaxes")
    order[first], order[second] = order[second], order[first]
    return shape.transpose(x, axes=tuple(order))


def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """x with axes moved to other positions, the rest in their old order, as `numpy.moveaxis`.

    Raises:
        ValueError: there is no such axis, one is named twice, or there are more sources than destinations.

    >>> import minigrad as mg
    >>> mg.moveaxis(mg.zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    x = as_tensor(x, "moveaxis")
    sources, targets = (
        _axes(x, axes if isinstance(axes, (tuple, list)) else [axes], "moveaxis") for axes in (source, destination)
    )
    if not len(sources) == len(targets) == len(set(sources)) == len(set(targets)):
        raise ValueError(
            f"moveaxis: expected one destination for each source, none twice, got {source} and {destination}"
        )
    order = [a for a in range(x.ndim) if a not in sources]
    for target, axis in sorted(zip(targets, sources, strict=True)):
        order.insert(target, axis)
    return shape.transpose(x, axes=tuple(order))


def _axes(x: Any, axes: Sequence[Any], caller: str) -> list[int]:
    """Axes counted from the first, checked."""
    for axis in axes:
        if not isinstance(axis, int) or not -x.ndim <= axis < x.ndim:
            raise ValueError(
                f"{caller}: expected axes from {-x.ndim} to {x.ndim - 1} for shape {tuple(x.shape)}, got {axis!r}"
            )
    return [axis % x.ndim for axis in axes]
