"""What a primitive is, its kinds, and the registry.

A primitive is written once, as a table row: its value, and one derivative formula per input.

    @elementwise(saves=OUTPUT)
    def tanh(xp, x):
        '''y = tanh x          dy/dx = 1 - y²'''
        return xp.tanh(x)

    tanh.derivatives(lambda xp, g, y, x: g * (1 - y * y))

Both are pure functions of a namespace `xp` and of arrays, or of things that behave like arrays, so
that one formula has several readings. The *value* uses the array library's names and operators. A
*derivative* gets the incoming gradient `g`, the output `y` and the inputs, and uses operators and the
names of the registry (`xp.sigmoid`, `xp.sum_to`): it runs on arrays (`Compute`), on recorded tensors,
which is where gradients of gradients come from, and on symbols, which become the text of kernels.
Parameters such as `axis` are keywords.

The decorator says the kind: `elementwise`, `reduction`, `shape`, `index` or `contraction`; users may add
primitives by the same. `saves` names what the derivatives read: OUTPUT, INPUTS, inputs by name, or several
of these in a tuple; what was not saved comes as shape and dtype alone. `domain` is the interval in which the
function is differentiable, a `Domain` if points inside are excepted, or a list of one for each input.

`shape`, `index` and `contraction` take neither: what they save follows from the kind. What they need is
`explain_shapes`, a function that gets the shape of each input, and the parameters as keywords, after the
value has failed, and returns what was expected, in words, or None for the array library's own. A contraction
multiplies its first two inputs, or is variadic and gets all of them as one sequence.

    @shape(lambda x: f"an array of at least one axis, got shape {x}")
    def backwards(xp, x):
        '''y = x, the last entry first          its adjoint is itself'''
        return x[..., ::-1]

    backwards.derivatives(lambda xp, g, y, x: xp.backwards(g))

An input may be a Python number, and comes to the value as it is, so that 2 * x keeps the dtype of x: where an
array is needed, `xp.asarray(x, dtype=...)` makes one.

No file in this folder knows what a Tensor or a tape is.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, TypeVar, overload

from ..backend import ArrayNamespace, DType

if TYPE_CHECKING:  # a name for what calling a primitive gives; nothing here knows more of it
    from ..graph import Tensor

Result = TypeVar("Result")  # a Tensor, or a list of them

XP = Any  # the namespace a formula is read in: an ArrayNamespace, or one of the readings of derivatives
Shape = tuple[int, ...]
ShapeRule = Callable[..., str | None]

# What forward keeps for backward: the output, all inputs, some inputs by name, or nothing. OTHER is for a product of
# the first two inputs: each of them is kept only if the other needs a gradient, whose derivative alone reads it.
OUTPUT: Final = "the output"
INPUTS: Final = "all inputs"
OTHER: Final = "the other input"
NOTHING: Final = ""

NO_PARAMETERS: Final[dict[str, Any]] = {}


@dataclass(frozen=True)
class Domain:
    """Where an input may lie so that the primitive is differentiable: an interval without some points.

    Property tests draw their inputs from it.
    """

    low: float
    high: float
    kinks: tuple[float, ...] = ()  # points inside at which there is no derivative
    distinct: bool = False  # no two entries (of one input, or of two) may be equal
    dtype: str = "float"  # "bool" for a condition

    def __post_init__(self) -> None:
        if math.isnan(self.low) or math.isnan(self.high):
            raise ValueError(f"Domain: expected numbers as its ends, got {self.low} and {self.high}")


BOOLEAN: Final = Domain(0.0, 1.0, dtype="bool")


class Absent:
    """An input or output that was not saved: its shape and dtype; arithmetic on it fails loudly."""

    __slots__ = ("dtype", "shape")

    shape: Shape
    dtype: DType

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<not saved: shape {self.shape}, {self.dtype}>"

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise TypeError(
            f"a derivative used the values of something that was not saved ({self!r}); add it to the primitive's saves="
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __pow__ = __rpow__ = __neg__ = __matmul__ = __rmatmul__ = __array__ = __getitem__ = __iter__ = _refuse
    __array_ufunc__ = _refuse  # xp.cos(absent), array * absent
    __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __float__ = __abs__ = _refuse
    __eq__ = __ne__ = _refuse
    __hash__ = object.__hash__


class Primitive(Generic[Result]):
    """One operation: a value, and a derivative formula per input. Calling it records it on the tape.

    Attributes:
        name: its name in the registry, in `xp` and in error messages.
        kind: "elementwise", "reduction", "shape", "index" or "contraction".
        value: `value(xp, *inputs, **parameters)`, on arrays.
        vjps: one `f(xp, g, y, *inputs, **parameters)` per input, None where there is no derivative.
            A variadic primitive has a single one, which returns a gradient for each input.
        variadic: whether the inputs come as one sequence (`concatenate`).
        multiple: whether the output is a list (`split`).
        domains: per input, where it is differentiable.
    """

    # The tape puts its functions of these names here, so that calling a primitive records it.
    apply: ClassVar[Callable[..., Any]]
    call: ClassVar[Callable[..., Any]]  # for parameters as people write them

    def __init__(
        self,
        value: Callable[..., Any],
        kind: str,
        *,
        saves: str | tuple[str, ...],
        domain: Any,
        explain_shapes: ShapeRule | None,
        variadic: bool = False,
        multiple: bool = False,
    ) -> None:
        if callable(saves):
            raise TypeError(f"{saves.__name__}: write the decorator with parentheses, @elementwise()")
        self.name = value.__name__
        self.kind = kind
        self.value = value
        self.variadic = variadic
        self.multiple = multiple
        self.explain_shapes = explain_shapes
        self.vjps: tuple[Callable[..., Any] | None, ...] = ()
        self.is_declared = False  # whether anybody has said what the derivatives are
        self.shortcut: Callable[..., Any] | None = None  # another way to the value: see shortcuts.py
        self.runs_program = False  # whether its derivative runs what users have written: see tape.by_hand
        self.opened: Callable[..., Any] | None = None  # for a node of it: how its outputs come out of other nodes
        self.takes_none = False  # whether its derivative takes None for the gradient of an output that nobody used
        self.passes_on: tuple[int, ...] = ()  # the inputs that get the incoming gradient as it is: see sweep.py
        self.__doc__ = value.__doc__
        self.__name__ = self.name
        self.__qualname__ = self.name
        self.__module__ = value.__module__
        self.__signature__ = _signature_without_namespace(value)

        arguments = list(self.__signature__.parameters.values())
        self.inputs = tuple(a.name for a in arguments if a.kind is not a.KEYWORD_ONLY)
        self.parameters = tuple(a.name for a in arguments if a.kind is a.KEYWORD_ONLY)
        self.saves_output, self.saves_inputs = self._what_is_saved(saves)
        self.saves_for_other = OTHER in saves
        self.saves_all, self.saves_none = all(self.saves_inputs), not any(self.saves_inputs)
        if kind == "contraction" and not variadic and len(self.inputs) < 2:
            raise ValueError(
                f"contraction: expected {self.name} to have two inputs or more, or one sequence of them with "
                f"variadic=True, got the inputs {self.inputs}"
            )
        if self.saves_for_other and len(self.inputs) < 2:
            raise ValueError(f"{self.name} saves each input for the other, but has the inputs {self.inputs}")
        if multiple and self.saves_output:
            raise ValueError(f"{self.name} has several outputs; they cannot be saved")
        per_input = domain if isinstance(domain, list) else [domain] * len(self.inputs)
        self.domains = tuple(d if isinstance(d, Domain) else Domain(*d) for d in per_input)

    def _what_is_saved(self, saves: str | tuple[str, ...]) -> tuple[bool, tuple[bool, ...]]:
        named = (saves,) if isinstance(saves, str) else saves
        unknown = set(named) - {OUTPUT, INPUTS, OTHER, NOTHING, *self.inputs}
        if unknown:
            raise ValueError(f"{self.name} saves {sorted(unknown)}, but its inputs are {list(self.inputs)}")
        of_product = self.inputs[:2] if OTHER in named else ()
        return OUTPUT in named, tuple(INPUTS in named or name in (*named, *of_product) for name in self.inputs)

    def derivatives(self, *vjps: Callable[..., Any] | None) -> None:
        """Give the derivative formulas, one per input, in the order of the inputs.

        None stands for an input through which no gradient flows. Nothing but None declares that none flows at all;
        a primitive of floating values that nobody has called this for refuses an input that needs a gradient.
        """
        if len(vjps) != len(self.inputs):
            raise ValueError(f"{self.name} has {len(self.inputs)} inputs {self.inputs} but {len(vjps)} derivatives")
        self.vjps = vjps if any(vjps) else ()
        self.is_declared = True

    def __call__(self, *args: Any, **parameters: Any) -> Result:
        result: Result
        if not parameters and len(args) == len(self.inputs) and not self.variadic:
            result = Primitive.apply(self, args, NO_PARAMETERS)
            return result
        inputs, rest = args[: len(self.inputs)], args[len(self.inputs) :]
        if rest:  # NumPy lets parameters be positional: sum(x, 0)
            if len(rest) > len(self.parameters):
                raise TypeError(f"{self.name}{self.__signature__} got {len(args)} positional arguments")
            positional = dict(zip(self.parameters, rest, strict=False))
            if twice := positional.keys() & parameters.keys():
                raise TypeError(f"{self.name}{self.__signature__} got {', '.join(sorted(twice))} twice")
            parameters |= positional
        if len(inputs) < len(self.inputs):
            missing = ", ".join(self.inputs[len(inputs) :])
            raise TypeError(f"{self.name}{self.__signature__} needs {missing}; inputs are positional")
        result = Primitive.call(self, list(inputs[0]) if self.variadic else inputs, parameters)
        return result

    def __repr__(self) -> str:
        return f"<primitive {self.name}{self.__signature__}>"


def _signature_without_namespace(value: Callable[..., Any]) -> inspect.Signature:
    signature = inspect.signature(value)
    arguments = [a.replace(annotation=inspect.Parameter.empty) for a in list(signature.parameters.values())[1:]]
    return signature.replace(parameters=arguments, return_annotation=inspect.Signature.empty)


# The registry -------------------------------------------------------------------------------------

registry: dict[str, Primitive[Any]] = {}


def register(primitive: Primitive[Any]) -> Primitive[Any]:
    """Enter a primitive under its name, so that formulas and tests find it.

    One of the same name from the same module, as when a notebook's cell is run again, becomes the new one
    wherever it is in use. Only a graph recorded with the former cannot be relied on any more.

    Raises:
        ValueError: the name is taken by minigrad, or by another module.
    """
    known = registry.setdefault(primitive.name, primitive)
    if known is primitive:
        return primitive
    if known.__module__ != primitive.__module__ or known.__module__.partition(".")[0] == "minigrad":
        raise ValueError(
            f"there is a primitive named {primitive.name!r} already, of {known.__module__}; choose another name"
        )
    vars(known).clear()
    vars(known).update(vars(primitive))
    return known


class Compute:
    """The compute reading: every registered name as a function from arrays to arrays."""

    def __init__(self, xp: ArrayNamespace) -> None:
        self.arrays = xp

    def __getattr__(self, name: str) -> Callable[..., Any]:
        primitive = registry.get(name)
        if primitive is None:
            raise AttributeError(f"a derivative used xp.{name}, but no primitive of that name is registered")
        xp = self.arrays

        def compute(*inputs: Any, **parameters: Any) -> Any:
            return primitive.value(xp, *inputs, **parameters)

        setattr(self, name, compute)  # the next look-up is a plain attribute
        return compute


# The kinds ----------------------------------------------------------------------------------------

Decorator = Callable[[Callable[..., Any]], "Primitive[Tensor]"]
ListDecorator = Callable[[Callable[..., Any]], "Primitive[list[Tensor]]"]
EVERYWHERE: Final = Domain(-3.0, 3.0)


def elementwise(saves: str | tuple[str, ...] = NOTHING, domain: Any = EVERYWHERE) -> Decorator:
    """A primitive that acts entry by entry; its inputs broadcast, and the sweep undoes that."""

    def decorate(value: Callable[..., Any]) -> Primitive[Any]:
        return register(Primitive(value, "elementwise", saves=saves, domain=domain, explain_shapes=_cannot_broadcast))

    return decorate


def reduction(
    saves: str | tuple[str, ...] = NOTHING, domain: Any = EVERYWHERE, explain_shapes: ShapeRule | None = None
) -> Decorator:
    """A primitive that takes axes away (all of them if axis is None), or their adjoint."""

    def decorate(value: Callable[..., Any]) -> Primitive[Any]:
        rule = explain_shapes or _no_such_axis
        return register(Primitive(value, "reduction", saves=saves, domain=domain, explain_shapes=rule))

    return decorate


@overload
def shape(explain_shapes: ShapeRule, *, variadic: bool = False) -> Decorator: ...
@overload
def shape(explain_shapes: ShapeRule, *, multiple: Literal[True]) -> ListDecorator: ...
def shape(explain_shapes: ShapeRule, *, variadic: bool = False, multiple: bool = False) -> Decorator | ListDecorator:
    """A primitive that moves entries without changing them; its derivative moves them back."""

    def decorate(value: Callable[..., Any]) -> Primitive[Any]:
        primitive: Primitive[Any] = Primitive(
            value,
            "shape",
            saves=NOTHING,
            domain=EVERYWHERE,
            explain_shapes=explain_shapes,
            variadic=variadic,
            multiple=multiple,
        )
        return register(primitive)

    return decorate


def index(explain_shapes: ShapeRule) -> Decorator:
    """A primitive that picks entries by index, or adds them up by index."""

    def decorate(value: Callable[..., Any]) -> Primitive[Any]:
        return register(Primitive(value, "index", saves=NOTHING, domain=EVERYWHERE, explain_shapes=explain_shapes))

    return decorate


def contraction(explain_shapes: ShapeRule, *, variadic: bool = False) -> Decorator:
    """A primitive that multiplies and sums over shared axes."""

    def decorate(value: Callable[..., Any]) -> Primitive[Any]:
        primitive: Primitive[Any] = Primitive(
            value,
            "contraction",
            saves=INPUTS if variadic else OTHER,
            domain=EVERYWHERE,
            explain_shapes=explain_shapes,
            variadic=variadic,
        )
        return register(primitive)

    return decorate


# Shape rules: given shapes and parameters, what is wrong with them, or None. Read only after a failure.


def _cannot_broadcast(*shapes: Shape) -> str | None:
    ndim = max((len(s) for s in shapes), default=0)
    for axis in range(-1, -ndim - 1, -1):
        sizes = {s[axis] for s in shapes if len(s) >= -axis} - {1}
        if len(sizes) > 1:
            found = " against ".join(str(size) for size in sorted(sizes))
            return (
                "shapes that broadcast (counted from the last axis, sizes are equal or 1), "
                f"but axis {axis} has {found}; use reshape or expand_dims to line the axes up"
            )
    return None


def _no_such_axis(x: Shape, *, axis: Any = None, **_: Any) -> str | None:
    return no_such_axis(x, axis)


def no_such_axis(x: Shape, axis: Any) -> str | None:
    """What is wrong with `axis` for an array of shape `x`."""
    axes = axis if isinstance(axis, tuple) else () if axis is None else (axis,)
    for a in axes:
        if not isinstance(a, int):
            return f"an axis that is an integer, got {a!r}"
        if not -len(x) <= a < len(x):
            return f"an axis from {-len(x)} to {len(x) - 1} for shape {x}, got {a}" if x else "no axis: x is 0-d"
    if len({a % len(x) for a in axes}) < len(axes):
        return f"each axis at most once, got {axis}"
    if any(x[a] == 0 for a in (axes or range(len(x)))):
        return f"at least one entry along the axis, but the shape is {x}"
    return None
