"""Random functions for `mg.fuse`: written as Python text, run as they are, fused, and with noise.

How far a fused function may be from the plain one depends on the function: 1/(x - y) doubles a rounding error a
thousand times. So the plain function is run again with noise, every result of its lines a few roundings off, and
what comes out may differ as much as that. Where noise turns a number into NaN or an infinity, or a branch into the
other, nothing can be said.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

import minigrad as mg
from minigrad.fusion.compiler import find_compiler
from minigrad.ops import registry
from minigrad.ops.primitive import INPUTS, OUTPUT, Primitive
from minigrad.testing import laid_out
from minigrad.testing import strategies as mst
from minigrad.testing.application import LAYOUTS
from minigrad.testing.strategies.shapes import broadcasting_to

from .emulated import COMPILER
from .helpers import host, on
from .strict import strict

Arrays = list[np.ndarray[Any, Any] | None]

# Whose kernels are tried: the device, and the writer that is asked for there.
WRITERS = [
    *[("cpu", "c")] * (find_compiler() is not None),
    *[("cpu", "numpy"), ("strict", "numpy")],
    *[("strict", "cuda")] * (COMPILER is not None),
]


@contextlib.contextmanager
def written_by(device: str, writer: str) -> Iterator[None]:
    """Kernels of a device are written by somebody."""
    before = strict.writer
    if device == "strict":
        strict.writer = writer
    try:
        with mg.fusing(writer=writer if device == "cpu" else None):
            yield
    finally:
        strict.writer = before


SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 1e30, -1e30, 1.0, -1.0, 0.5)
ROUNDINGS = 32.0  # that noise is large
NOISY_RUNS = 4

ELEMENTWISE = [
    p for p in registry.values() if p.kind == "elementwise" and p.name != "to_device" and "minigrad" in p.__module__
]
UNARY = [p.name for p in ELEMENTWISE if len(p.inputs) == 1 and not p.parameters and p.name != "logical_not"]
BINARY = [p.name for p in ELEMENTWISE if len(p.inputs) == 2]
ON_POSITIVE = ("log", "log1p", "sqrt")


# Functions ----------------------------------------------------------------------------------------


@dataclass
class Written:
    """A function as text: what it is called with, its lines, and what it returns."""

    inputs: list[tuple[str, np.ndarray[Any, Any]]]  # the shape and dtype of each
    numbers: list[str]
    lines: list[tuple[str, str]] = field(default_factory=list)  # names, and what they are from now on
    outputs: list[str] = field(default_factory=list)

    def text(self, kept: str = "{}") -> str:
        """Python; `kept` is put around what every line computes."""
        arguments = ", ".join([name for name, _ in self.inputs] + self.numbers)
        lines = [f"    {names} = {kept.format(value)}" for names, value in self.lines]
        return "\n".join([f"def f({arguments}):", *lines, f"    return {', '.join(self.outputs)},"])

    def function(self, kept: str = "{}", **names: Any) -> Callable[..., Any]:
        names.setdefault("mg", mg)
        exec(self.text(kept), names)
        found: Callable[..., Any] = names["f"]
        return found

    @property
    def eps(self) -> float:
        """One rounding, of the smallest dtype it may compute in."""
        single = any(x.dtype == np.float32 for _, x in self.inputs) or "float32" in self.text()
        return float(np.finfo(np.float32 if single else np.float64).eps)

    def __repr__(self) -> str:
        return f"{self.text()}\n# " + ", ".join(f"{name}: {x.shape} {x.dtype}" for name, x in self.inputs)


class Drawing:
    """A function while it is drawn: the names so far, with an array of the shape and dtype of each."""

    def __init__(self, draw: st.DrawFn, written: Written) -> None:
        self.draw, self.written = draw, written
        self.values = dict(written.inputs)

    def choose(self, options: Any) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def flag(self) -> bool:
        return bool(self.draw(st.booleans()))

    def name(self, kind: str = "fb", beside: Any = None) -> str:
        """One of a kind of dtype, that broadcasts with another."""
        return str(self.choose(n for n, x in self.values.items() if x.dtype.kind in kind and _meet(x, beside)))

    def number(self) -> str:
        return str(self.choose([*self.written.numbers, "0.5", "2.0", "-1.5", "2", "0", "1"]))

    def line(self, text: str) -> None:
        """A line that defines one name, or several if it gives a list."""
        found = eval(text, {"mg": mg, **dict.fromkeys(self.written.numbers, 0.5)}, _tensors(self.values))
        several = isinstance(found, list)
        names = [f"v{len(self.values) + k}" for k in range(len(found) if several else 1)]
        if names:
            self.written.lines.append(("".join(n + ", " for n in names) if several else names[0], text))
            self.values |= {n: y.data for n, y in zip(names, found if several else [found], strict=True)}

    # The kinds of lines ---------------------------------------------------------------------------

    def unary(self) -> None:
        name, x = self.choose(UNARY), self.name("f")
        where = f"mg.absolute({x})" if name in ON_POSITIVE and self.flag() else x
        self.line(f"{x}.copy()" if name == "copy" else f"mg.{name}({where})")

    def binary(self) -> None:
        name, x = self.choose(BINARY), self.name("f")
        kind = "f" if name == "power" else "fb"  # the plain derivative of a power cannot have booleans
        y = self.number() if self.choose((True, False, False)) else self.name(kind, self.values[x])
        x, y = (x, y) if self.flag() else (y, x)
        self.line(f"mg.power(mg.absolute({x}), {y})" if name == "power" and x[0] in "xv" else f"mg.{name}({x}, {y})")

    def of_booleans(self) -> None:
        if all(x.dtype.kind == "f" for x in self.values.values()):
            return self.line(f"{self.name()} > {self.number()}")
        x = self.name("b")
        y = self.name("b", self.values[x])
        name = self.choose(("multiply", "add", "maximum", "minimum", "equal", "logical_and", "logical_not"))
        return self.line(f"mg.{name}({x})" if name == "logical_not" else f"mg.{name}({x}, {y})")

    def where(self) -> None:
        x = self.name("f")
        y = self.number() if self.flag() else self.name("f", self.values[x])
        shape = np.broadcast_shapes(self.values[x].shape, getattr(self.values.get(y), "shape", ()))
        condition = self.name("fb", np.empty(shape))
        if self.values[condition].dtype.kind == "f":
            condition = f"{condition} > {self.number()}"
        x, y = (x, y) if self.flag() else (y, x)
        self.line(f"mg.where({condition}, {x}, {y})")

    def clip(self) -> None:
        low, high = self.choose([("None", "1.0"), ("-1.0", "None"), ("-0.5", "0.5"), ("0", "2")])
        self.line(f"mg.clip({self.name('f')}, min={low}, max={high})")

    def astype(self) -> None:
        self.line(f"{self.name()}.astype(mg.{self.choose(('float32', 'float64'))})")

    def view(self) -> None:
        name = self.name()
        shape = self.values[name].shape
        kinds = ["slice", "slice", "slice", "transpose", "new axis", "repeat"]
        kind = self.choose([*kinds, "split", "unstack", "flip", "squeeze"] if shape else kinds[3:])
        axis = self.draw(st.integers(0, max(len(shape) - 1, 0)))
        if kind == "slice":
            self.line(f"{name}[{', '.join(self.part(size) for size in shape)}]")
        elif kind == "transpose":
            self.line(f"mg.transpose({name}, {tuple(self.draw(st.permutations(range(len(shape)))))})")
        elif kind == "new axis" and len(shape) < 4:
            self.line(f"mg.expand_dims({name}, {axis})")
        elif kind == "repeat" and len(shape) < 4:
            large = tuple(self.choose((1, 2, 3)) if size == 1 else size for size in shape)
            self.line(f"mg.broadcast_to({name}, {(self.choose((1, 2)), *large)})")
        elif kind == "split":
            self.line(f"mg.split({name}, [{self.draw(st.integers(0, shape[axis]))}], axis={axis})")
        elif kind == "unstack":
            self.line(f"mg.unstack({name}, axis={axis})")
        elif kind == "flip":
            self.line(f"mg.flip({name}, axis={axis})")
        elif kind == "squeeze" and shape[axis] == 1:
            self.line(f"mg.squeeze({name}, {axis})")

    def part(self, size: int) -> str:
        options = [":", ":", "::-1", "1:", ":-1", "::2", "None, :", *(["0", "-1"] if size else [])]
        return str(self.choose(options))


def _meet(x: Any, beside: Any) -> bool:
    """Whether the two broadcast, and to nothing large."""
    if beside is None:
        return True
    try:
        return bool(np.prod(np.broadcast_shapes(x.shape, beside.shape), dtype=int) <= 200)
    except ValueError:
        return False


def _tensors(values: dict[str, Any]) -> dict[str, mg.Tensor]:
    return {name: mg.Tensor(np.zeros(x.shape, x.dtype)) for name, x in values.items()}


KINDS = {
    Drawing.unary: 4,
    Drawing.binary: 5,
    Drawing.view: 4,
    Drawing.where: 1,
    Drawing.clip: 1,
    Drawing.astype: 1,
    Drawing.of_booleans: 1,
}


@st.composite
def functions(draw: st.DrawFn, *, dtypes: Sequence[Any] = (np.float64, np.float32), lines: int = 8) -> Written:
    """A function of one to three arrays, maybe a mask, and maybe a number."""
    common = draw(mst.shapes(max_side=4))
    kinds = [*draw(st.lists(st.sampled_from(dtypes), min_size=1, max_size=3)), *[np.bool_] * draw(st.booleans())]
    inputs = [(f"x{k}", np.empty(draw(broadcasting_to(common)), kind)) for k, kind in enumerate(kinds)]
    written = Written(inputs, ["s"] * draw(st.booleans()))
    drawing = Drawing(draw, written)
    with np.errstate(all="ignore"):
        for _ in range(draw(st.integers(1, lines))):
            draw(st.sampled_from([kind for kind, times in KINDS.items() for _ in range(times)]))(drawing)
    names = list(drawing.values)
    floats = [n for n in names if drawing.values[n].dtype.kind == "f"]
    last = st.sampled_from(floats[-3:])
    written.outputs = [draw(last), *draw(st.lists(st.sampled_from(names[-4:]), max_size=2))]
    return written


# Arguments ----------------------------------------------------------------------------------------


@dataclass
class Call:
    """What a function is called with, and whose gradients are asked for."""

    arrays: list[np.ndarray[Any, Any]]
    layouts: list[str]
    number: float
    needs_grad: list[bool]
    used: list[bool]  # which of the outputs gradients come from

    def tensors(self, device: str) -> list[Any]:
        found = []
        for array, layout, needs_grad in zip(self.arrays, self.layouts, self.needs_grad, strict=True):
            x = mg.Tensor(laid_out(on(device, array).data, layout))
            x.requires_grad = needs_grad
            found.append(x)
        return found


@st.composite
def calls(draw: st.DrawFn, written: Written, special: bool = False, layouts: Sequence[str] = LAYOUTS) -> Call:
    """Entries of many digits, or short ones, of which some are equal; `special` ones among them."""
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    digits = draw(st.sampled_from((17, 1)))
    arrays, needs_grad = [], []
    for _, like in written.inputs:
        entries = np.round(random.normal(size=like.shape) * 1.5, digits)
        if special:
            entries = np.where(random.random(like.shape) < 0.5, random.choice(SPECIAL, like.shape), entries)
        arrays.append((entries > 0) if like.dtype.kind == "b" else entries.astype(like.dtype))
        needs_grad.append(like.dtype.kind == "f" and draw(st.sampled_from((True, True, True, False))))
    return Call(
        arrays,
        [draw(st.sampled_from(layouts)) for _ in arrays],
        draw(st.sampled_from((0.5, -1.0, 2.0, 0.0, *SPECIAL[:3] * special))),
        needs_grad,
        [True, *(draw(st.booleans()) for _ in written.outputs[1:])],
    )


# Running ------------------------------------------------------------------------------------------


def run(f: Callable[..., Any], call: Call, numbers: int, device: str = "cpu", second: bool = False) -> Arrays:
    """The values, their gradients, and with `second` the gradients of those; None where there is none."""
    xs = call.tensors(device)
    ys = f(*xs, *[call.number] * numbers)
    wanted = [x for x in xs if x.requires_grad]
    used = [y for y, is_used in zip(ys, call.used, strict=True) if is_used and y.requires_grad]
    found = list(ys)
    if used and wanted:
        gs = [on(device, np.linspace(0.5, 2.0, y.size, dtype=y.dtype).reshape(y.shape)) for y in used]
        first = mg.grad(used, wanted, gs, create_graph=second, allow_unused=True)
        found += first
        again = [(g * g).sum() for g in first if second and g is not None and g.requires_grad]
        if again:
            found += mg.grad(again, wanted, allow_unused=True)
    return [None if y is None else host(y) for y in found]


class Noise:
    """minigrad, and a function that makes floats a little larger or smaller, and denormals, of few digits, much.

    Primitives whose derivatives read their output have it there with noise, too: 1 - y² of a tanh y near 1 is all
    rounding.
    """

    def __init__(self, eps: float, seed: int) -> None:
        self.eps, self.random = eps, np.random.default_rng(seed)

    def scale(self, y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        signs = self.random.choice([-1.0, 1.0], y.shape)
        few_digits = np.abs(y) < 1000 * np.finfo(y.dtype).tiny
        return np.asarray(1 + signs * np.where(few_digits, 0.5, ROUNDINGS * self.eps)).astype(y.dtype)

    def __call__(self, x: Any) -> Any:
        if isinstance(x, list):
            return [self(part) for part in x]
        return x * mg.Tensor(self.scale(host(x))) if x.dtype.kind == "f" else x

    def __getattr__(self, name: str) -> Any:
        primitive = registry.get(name)
        return self.twin(primitive) if primitive in ELEMENTWISE and primitive.saves_output else getattr(mg, name)

    def twin(self, primitive: Primitive[Any]) -> Primitive[Any]:
        def unary(xp: Any, x: Any) -> Any:
            y = np.asarray(primitive.value(xp, x))
            return y * self.scale(y)

        def binary(xp: Any, x: Any, y: Any) -> Any:
            out = np.asarray(primitive.value(xp, x, y))
            return out * self.scale(out)

        value = unary if len(primitive.inputs) == 1 else binary
        found: Primitive[Any] = Primitive(
            value, "elementwise", saves=(INPUTS, OUTPUT), domain=(-1.0, 1.0), explain_shapes=None
        )
        found.derivatives(*primitive.vjps)
        return found


def noisy_runs(written: Written, call: Call, second: bool = False) -> list[Arrays]:
    """What the plain function gives with noise, time and again."""
    noises = [Noise(written.eps, seed) for seed in range(NOISY_RUNS)]
    return [
        run(written.function("noisy({})", noisy=n, mg=n), call, len(written.numbers), second=second) for n in noises
    ]


def assert_agree(found: Arrays, expected: Arrays, noisy: Sequence[Arrays], values: int, eps: float) -> None:
    """What is found is what is expected, as far as noise lets one say. The first few are values, then gradients come.

    Gradients are sums, in which infinities meet in one order or in another: they are NaN or infinite where the plain
    ones are either, unless they are 0 where the plain ones sent 0 through an infinite derivative.
    """
    assert len(found) == len(expected)
    for k, (y, plain) in enumerate(zip(found, expected, strict=True)):
        assert (y is None) == (plain is None), f"{k}: {y}"
        if y is None or plain is None:
            continue
        assert (y.shape, y.dtype) == (plain.shape, plain.dtype), f"{k}: {y.shape} {y.dtype}"
        runs = np.stack([plain, *(r[k] for r in noisy)])
        if plain.dtype.kind == "b":
            agreed = np.all(runs == plain, axis=0)
            np.testing.assert_array_equal(y[agreed], plain[agreed], err_msg=f"{k}")
            continue
        for name in ("isfinite",) if k >= values else ("isnan", "isposinf", "isneginf"):
            kind = getattr(np, name)(runs)
            agreed = np.all(kind == kind[0], axis=0) & ((k < values) | (y != 0))
            np.testing.assert_array_equal(getattr(np, name)(y)[agreed], kind[0][agreed], err_msg=f"{name} of {k}")
        sure = np.all(np.isfinite(runs), axis=0) & np.isfinite(y)
        spread = np.max(np.abs(runs[:, sure] - plain[sure]), axis=0, initial=0.0)
        allowed = 4 * spread + ROUNDINGS * eps * np.abs(plain[sure]) + 64 * np.finfo(plain.dtype).smallest_subnormal
        wrong = np.abs(y[sure] - plain[sure]) > allowed
        assert not np.any(wrong), f"{k}: {y[sure][wrong]} instead of {plain[sure][wrong]}, {allowed[wrong]}"
