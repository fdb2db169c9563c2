"""A call of something public, drawn with random shapes and options, and the proof of its derivatives.

A `Line` says how to draw a `Call`; the tables are in `layers.py`, `methods.py` and `composed.py`. Float arrays among
a call's inputs and options are what it is differentiated by, together with the parameters of the module that it makes;
the arrays of integers and booleans are constants. Entries keep clear of the points at which a formula changes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F
from minigrad.nn.utils import rnn
from minigrad.testing import gradcheck, gradgradcheck, jvpcheck

from .helpers import host

Array = np.ndarray[Any, Any]
Arrays = list[Array]
Function = Callable[..., tuple[mg.Tensor, ...]]
Shape = tuple[int, ...]

NAMESPACES: dict[str, Any] = {"nn": nn, "F": F, "mg": mg, "Tensor": mg.Tensor, "utils": nn.utils, "rnn": rnn}
CLEARANCE = 0.05  # of entries from a kink, and from each other where they must differ

# Drawing ------------------------------------------------------------------------------------------


class Draws:
    """What is drawn is always a choice among so many, the first the simplest: `choose(n)` gives one of range(n)."""

    def __init__(self, choose: Callable[[int], int]) -> None:
        self.choose = choose

    def of(self, *values: Any) -> Any:
        return values[self.choose(len(values))]

    def flag(self, default: bool = False) -> bool:
        return bool(self.of(default, not default))

    def shape(self, least: int = 0, most: int = 3, smallest: int = 1, largest: int = 3) -> Shape:
        """From `least` to `most` axes, each from `smallest` to `largest` long."""
        axes = least + self.choose(most - least + 1)
        return tuple(smallest + self.choose(largest - smallest + 1) for _ in range(axes))

    def x(self, shape: Shape | None = None, low: float = -3.0, high: float = 3.0, **where: Any) -> Array:
        """Entries between two bounds, of few digits; clear of `kinks`, or of each other if `distinct`."""
        return entries(self.shape() if shape is None else shape, low, high, seed=self.choose(2**16), **where)

    def ids(self, shape: Shape, count: int) -> Array:
        return np.asarray(np.random.default_rng(self.choose(2**16)).integers(0, count, shape))

    def any_shape(self) -> Shape:
        """As `shape`, of nothing too."""
        return self.shape(smallest=self.of(1, 1, 0))

    def axis(self, ndim: int, *first: Any) -> Any:
        """What is named first, or one of so many axes, counted from either end."""
        return self.of(*first, *range(ndim), *range(-1, -ndim - 1, -1))

    def order(self, count: int) -> tuple[int, ...]:
        """The numbers from 0, in any order."""
        left = list(range(count))
        return tuple(left.pop(self.choose(len(left))) for _ in range(count))


def entries(
    shape: Shape, low: float, high: float, *, seed: int, kinks: Sequence[float] = (), distinct: bool = False
) -> Array:
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    if distinct:
        assert size < 2 or (high - low) / (size - 1) > CLEARANCE
        return rng.permutation(np.linspace(low, high, size).round(3)).reshape(shape)
    x = np.asarray(rng.uniform(low, high, shape)).round(3)
    for kink in kinks:
        x = np.where(abs(x - kink) < CLEARANCE, kink + np.where(x < kink, -CLEARANCE, CLEARANCE), x)
    return np.asarray(x)


# Calls --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """target(*inputs, **options); of a module, target(*parts(), **options)(*inputs)."""

    inputs: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    parts: Callable[[], tuple[Any, ...]] = tuple  # modules that the module is made of
    training: bool = True
    seen: Callable[[Any], Any] = lambda y: y  # the part of the output that numeric differences may look at
    name: str = ""  # of the target

    def __repr__(self) -> str:
        """What was called, as code; modules that it is made of as they show themselves."""
        inputs = list(map(code, self.inputs))
        options = [*map(repr, self.parts()), *(f"{key}={code(value)}" for key, value in self.options.items())]
        own = self.name.replace("Tensor", "mg.Tensor")
        if not is_layer(self.name):
            return f"{own}({', '.join(inputs + options)})"
        return f"{own}({', '.join(options)}){'' if self.training else '.eval()'}({', '.join(inputs)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


def call(*inputs: Any, **options: Any) -> Call:
    return Call(inputs, options)


def code(value: Any) -> str:
    """A value as an expression that gives it again, to the last digit; a float array as what is differentiated by."""
    if isinstance(value, np.ndarray):
        made = f"tensor({value.tolist()}" if value.size else f"zeros({value.shape}"
        kind = "float64, requires_grad=True" if value.dtype == np.float64 else value.dtype.name.replace("bool", "bool_")
        return f"mg.{made}, dtype=mg.{kind})"
    if isinstance(value, (list, tuple)):
        inside = ", ".join(map(code, value)) + ("," if isinstance(value, tuple) and len(value) == 1 else "")
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    return getattr(value, "__qualname__", None) or repr(value)


@dataclass(frozen=True)
class Line:
    """How to draw a call of a public name.

    Attributes:
        draw: draws it.
        irrelevant: parameters of the name's signature that are not varied, with the reason.
        run: what to do instead of calling it: `run(module, *inputs)`, or of a function `run(*inputs, **options)`.
        random: whether the generator of the device takes part; each call then begins with the same seed.
    """

    draw: Callable[[Draws], Call]
    irrelevant: dict[str, str] = field(default_factory=dict)
    run: Callable[..., Any] | None = None
    random: bool = False


IN_LAYERS = {"device": "where, not what", "dtype": "numeric differences need the digits of float64"}


def target(name: str) -> Any:
    """What a name such as "nn.Linear" or "Tensor.sum" stands for."""
    where, _, own = name.partition(".")
    return getattr(NAMESPACES[where], own)


def is_layer(name: str) -> bool:
    return isinstance(target(name), type)


def options(name: str, line: Line) -> dict[str, inspect.Parameter]:
    """The parameters of its signature that a line must vary; those without default are not, if something else runs."""
    if isinstance(target(name), property):
        return {}
    listed = inspect.signature(target(name)).parameters
    irrelevant = line.irrelevant | (IN_LAYERS if is_layer(name) else {})
    return {
        key: p
        for key, p in listed.items()
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        and key not in irrelevant
        and not (line.run and p.default is p.empty)
    }


def arguments(name: str, line: Line, drawn: Call) -> dict[str, Any]:
    """What a call gives to each parameter of the signature, its default where it gives nothing."""
    signature = inspect.signature(target(name))
    positional = drawn.parts() if is_layer(name) else () if line.run else drawn.inputs
    bound = signature.bind_partial(*positional, **drawn.options)
    bound.apply_defaults()
    return bound.arguments


def function(name: str, line: Line, drawn: Call) -> tuple[Function, Arrays]:
    """A call as a function of Tensors of the default device, parameters last; and the arrays to begin with."""
    made = target(name)
    arrays = [*float_arrays(drawn.options), *float_arrays(drawn.inputs)]
    if is_layer(name):
        begun = layer(made, drawn, filled(drawn.options, iter(leaves(float_arrays(drawn.options)))))
        shapes = [p.shape for p in begun.parameters()]
        arrays += [entries(shape, -1.5, 1.5, seed=i) for i, shape in enumerate(shapes)]

    def f(*xs: mg.Tensor) -> tuple[mg.Tensor, ...]:
        given = iter(xs)
        options = filled(drawn.options, given)
        inputs = filled(drawn.inputs, given)
        module = layer(made, drawn, options) if is_layer(name) else None
        if module is not None:
            for path, _ in list(module.named_parameters()):
                owner, _, own = path.rpartition(".")
                vars(module.get_submodule(owner))[own] = next(given)
        assert next(given, None) is None
        if line.random:
            mg.manual_seed(0)
        if module is not None:
            y = line.run(module, *inputs) if line.run else module(*inputs)
        else:
            y = (line.run or made)(*inputs, **options)
        return tuple(float_tensors(drawn.seen(y)))

    return f, arrays


def layer(made: Any, drawn: Call, options: dict[str, Any]) -> nn.Module:
    double = {"dtype": mg.float64} if "dtype" in inspect.signature(made).parameters else {}
    module: nn.Module = made(*drawn.parts(), **options, **double)
    return module.train(drawn.training)


def float_arrays(value: Any) -> Arrays:
    if isinstance(value, np.ndarray):
        return [value] if value.dtype == np.float64 else []
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [array for part in parts for array in float_arrays(part)]


def filled(value: Any, given: Iterator[mg.Tensor]) -> Any:
    """The same, with a Tensor in the place of each array: those given, in order, for the float ones."""
    if isinstance(value, np.ndarray):
        return next(given) if value.dtype == np.float64 else mg.tensor(value)
    if isinstance(value, dict):
        return {key: filled(part, given) for key, part in value.items()}
    return type(value)(filled(part, given) for part in value) if isinstance(value, (tuple, list)) else value


def float_tensors(value: Any) -> Iterator[mg.Tensor]:
    if isinstance(value, rnn.PackedSequence):
        value = value.data
    if isinstance(value, mg.Tensor) and value.dtype.kind == "f":
        yield value
    elif isinstance(value, (tuple, list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from float_tensors(part)


# Proofs -------------------------------------------------------------------------------------------


def leaves(arrays: Sequence[Array]) -> list[mg.Tensor]:
    return [mg.tensor(a, requires_grad=True) for a in arrays]


def directions(like: Sequence[Any], seed: int) -> Arrays:
    """A random direction of each shape, no entry near 0."""
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.uniform(0.5, 1.5, x.shape) * rng.choice([-1.0, 1.0], x.shape)) for x in like]


def gradient(f: Function, count: int) -> Function:
    """(x, v) ↦ Σ v ∂f/∂x, recorded, of a function of so many inputs."""

    def g(*given: mg.Tensor) -> tuple[mg.Tensor, ...]:
        xs, vs = given[:count], given[count:]
        pairs = [(y, v.to(y.device)) for y, v in zip(f(*xs), vs, strict=True) if y.requires_grad]
        found = mg.grad([y for y, _ in pairs], xs, [v for _, v in pairs], create_graph=True, allow_unused=True)
        return tuple(slope for slope in found if slope is not None)

    return g


def prove(f: Function, arrays: Arrays) -> None:
    """First order, forward and backward, and second order, against central differences along a random direction."""
    jvpcheck(f, leaves(arrays))
    gradcheck(f, leaves(arrays), fast_mode=True)
    gradgradcheck(f, leaves(arrays), fast_mode=True)


def derivatives(f: Function, arrays: Arrays) -> Arrays:
    """What the default device computes: the outputs, the gradients, and the gradients of the gradients."""
    vs = [mg.tensor(v) for v in directions(f(*leaves(arrays)), seed=1)]
    xs = leaves(arrays)
    slopes = gradient(f, len(arrays))(*xs, *vs)
    pairs = [(s, mg.tensor(w)) for s, w in zip(slopes, directions(slopes, seed=2), strict=True) if s.requires_grad]
    curves = mg.grad([s for s, _ in pairs], xs, [w for _, w in pairs], allow_unused=True) if pairs else ()
    return [host(x) for x in (*f(*xs), *slopes, *curves) if x is not None]


def agree(name: str, line: Line, drawn: Call, device: str) -> None:
    """What a device computes is what the CPU computes, to rounding."""
    with mg.use_device("cpu"):
        expected = derivatives(*function(name, line, drawn))
    with mg.use_device(device):
        found = derivatives(*function(name, line, drawn))
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-12)
