"""The state machine that makes up programs: each rule adds a line or two, or none where it does not apply."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from . import oracle
from .oracle import Value, owner
from .program import TAME, Program, fits

SHAPES = [(), (3,), (3, 1), (3, 3)]

# Linear maps, in words that NumPy and minigrad share.
OF_ONE = [
    "-x",
    "0.5 * x",
    "np.sum(x)",
    "x.sum(axis=0)",
    "x.mean(axis=-1, keepdims=True)",
    "x.reshape(-1)",
    "x.T",
    "x[1:]",
    "x[::-1, ..., None]",
    "x[[0, -1, 0]]",
    "np.flip(x)",
    "np.broadcast_to(x, (2, *x.shape))",
    "x.take([0, -1, 0, 1, 1, 0], axis=0)",
]
OF_TWO = ["x + y", "x - y", "y - x", "np.stack([x, y], axis=-1)", "np.concatenate([y, x, y])"]
PARTS = {
    "np.split(x, 3)": lambda a: np.split(a, 3),
    "np.split(x, [1])": lambda a: np.split(a, [1]),
    "np.unstack(x)": list,
    "np.unstack(x, axis=-1)": lambda a: [a[..., i] for i in range(a.shape[-1])],
}
MARKS = ["retain", "keep", "double", "weigh", "every", "remove"]
CHANGES = ["fill", "fill part", "assign", "refuse", "on", "off", "no gradient", "zero gradient"]

modes = st.sampled_from([*[""] * 8, "mg.no_grad()", "mg.no_grad(), mg.enable_grad()"])
sweep_modes = st.sampled_from([*[""] * 4, "mg.no_grad()"])
retains = st.sampled_from([None, True, True, True, False])
rarely = st.sampled_from([*[False] * 9, True])
sources = st.sampled_from(["leaf", "leaf", "constant", "detach", "gradient", "gradient"])
spoils = st.sampled_from(["", "", "", "fill", "fill part", "assign"])


class Machine(Program, RuleBasedStateMachine):
    tensors = Bundle("tensors")

    def teardown(self) -> None:
        note("\n".join(["", *self.lines]))

    @invariant()
    def all_agree(self) -> None:
        self.agree()

    # Computing --------------------------------------------------------------------------------------

    @initialize(target=tensors)
    def begin(self) -> Any:
        return multiple(self.leaf((3,), True), self.leaf((3, 3), True))

    @rule(target=tensors, x=tensors, shape=st.sampled_from(SHAPES), kind=sources)
    def source(self, x: str, shape: tuple[int, ...], kind: str) -> Any:
        """A tensor with no past, or a gradient: the very one, under a name of its own, to compute with."""
        if kind == "gradient":
            x = self.one_of([name for name, value in self.values.items() if value.grad], x)
            found = self.values[x].grad
            if found is None or np.abs(found.array).max() > TAME:
                return multiple()
            return self.keep(found, f"{x}.grad")
        if kind == "detach":
            return self.keep(Value(self.values[x].array), f"{x}.detach()")
        return self.leaf(shape, kind == "leaf")

    def leaf(self, shape: tuple[int, ...], needed: bool) -> str:
        array = np.round(np.sin(7.0 * self.count + np.arange(float(np.prod(shape)))), 2).reshape(shape)
        value = Value(array)
        value.requires = needed
        return self.keep(value, self.literal(array, needed))

    @rule(target=tensors, x=tensors, expression=st.sampled_from(OF_ONE), mode=modes)
    def map(self, x: str, expression: str, mode: str) -> Any:
        return self.linear([x], expression, mode) or multiple()

    @rule(target=tensors, x=tensors, y=tensors, expression=st.sampled_from(OF_TWO), mode=modes)
    def combine(self, x: str, y: str, expression: str, mode: str) -> Any:
        y = self.partner(_function(expression), x, y)
        return self.linear([x, y], expression, mode) or multiple()

    def linear(self, xs: list[str], expression: str, mode: str) -> str | None:
        f, values = _function(expression), [self.values[x] for x in xs]
        if not fits(f, *(value.array for value in values)):
            return None
        with oracle.record(mode != "mg.no_grad()"):
            return self.keep(oracle.linear(f, *values), _in_words(expression, *xs), mode)

    @rule(target=tensors, x=tensors, y=tensors, mode=modes)
    def multiply(self, x: str, y: str, mode: str) -> Any:
        y = self.partner(np.multiply, x, y)
        with oracle.record(mode != "mg.no_grad()"):
            return self.keep(oracle.multiply(self.values[x], self.values[y]), f"{x} * {y}", mode)

    @rule(target=tensors, x=tensors, y=tensors, z=tensors, plus=st.booleans(), mode=modes)
    def product(self, x: str, y: str, z: str, plus: bool, mode: str) -> Any:
        """A matrix product; or one with a transposed matrix, and something added to it."""
        f = _with_rows if plus else np.matmul
        y = self.partner(f, x, y)
        a, b, plus_c = self.values[x], self.values[y], None
        if not fits(f, a.array, b.array):
            return multiple()
        if plus:
            shape = f(a.array, b.array).shape
            z = self.partner(lambda _, c: np.broadcast_to(c, shape), x, z)
            if not fits(np.broadcast_to, self.values[z].array, shape):
                return multiple()
            plus_c = self.values[z]
        with oracle.record(mode != "mg.no_grad()"):
            value = oracle.bilinear(f, a, b, plus_c)
            return self.keep(value, f"linear({x}, {y}, {z})" if plus else f"{x} @ {y}", mode)

    def partner(self, f: Callable[..., Any], x: str, y: str) -> str:
        """y, or another tensor that goes with x."""
        array = self.values[x].array
        return self.one_of([name for name, value in self.values.items() if fits(f, array, value.array)], y)

    @rule(target=tensors, x=tensors, name=st.sampled_from(["tanh", "sin"]), around=st.booleans(), mode=modes)
    def function(self, x: str, name: str, around: bool, mode: str) -> Any:
        """A function of x; or x plus that, two ways of unequal length."""
        with oracle.record(mode != "mg.no_grad()"):
            value = getattr(oracle, name)(self.values[x])
            y = self.keep(value, f"mg.{name}({x})", mode)
            return self.keep(oracle.add(self.values[x], value), f"{x} + {y}", mode) if around else y

    @rule(target=tensors, x=tensors, expression=st.sampled_from(list(PARTS)), twice=st.booleans())
    def parts(self, x: str, expression: str, twice: bool) -> Any:
        """Several outputs of one application; and one of them times itself, so that it receives two gradients."""
        f, value = PARTS[expression], self.values[x]
        if value.array.ndim < 1 + ("unstack" in expression) or not fits(f, value.array):
            return multiple()
        node, count = oracle.Node([value]), len(f(value.array))
        found = [oracle.linear(lambda a, i=i: f(a)[i], value, node=node) for i in range(count)]
        name = self.new("p")
        self.run(f"{name} = {_in_words(expression, x)}")
        names = [self.keep(part, f"{name}[{i}]") for i, part in enumerate(found)]
        if twice:
            names.append(self.keep(oracle.multiply(found[0], found[0]), f"{names[0]} * {names[0]}"))
        return multiple(*names)

    # What a user does to a tensor -------------------------------------------------------------------

    @rule(x=tensors, y=tensors, kind=st.sampled_from(MARKS + CHANGES), stray=rarely)
    def treat(self, x: str, y: str, kind: str, stray: bool) -> None:
        if kind in CHANGES:
            self.change(x, kind)
            return
        x = x if stray else self.needing(x)
        for mark in ["double", "retain", "keep", "weigh"] if kind == "every" else [kind]:
            self.mark(x, y, mark)

    def mark(self, x: str, y: str, kind: str) -> None:
        """Retained gradients, and hooks: some change the gradient, some keep it."""
        value, other, seen, name = self.values[x], self.values[y], [], self.new("h")
        hooks: dict[str, tuple[str, Callable[[Value], Value | None]]] = {
            "keep": (f"{name}_saw.append", lambda g: seen.append(g.array.copy())),
            "double": ("lambda g: 2.0 * g", lambda g: oracle.scale(2.0, g)),
            "weigh": (f"lambda g: g * {y}.mean()", lambda g: oracle.multiply(g, oracle.linear(np.mean, other))),
        }
        if kind == "remove":
            for hook in list(value.hooks)[-1:]:
                self.run(f"{hook}.remove()")
                del value.hooks[hook]
        elif not value.requires:
            line = "retain_grad()" if kind == "retain" else "register_hook(print)"
            self.raises("does not require a gradient", f"{x}.{line}")
        elif kind == "retain":
            self.run(f"{x}.retain_grad()")
            value.retains = value.node is not None
        else:
            code, value.hooks[name] = hooks[kind]
            if kind == "keep":
                self.run(f"{name}_saw = []")
                self.seen[f"{name}_saw"] = seen
            self.run(f"{name} = {x}.register_hook({code})")

    def change(self, x: str, kind: str) -> None:
        """Writes between sweeps, and the switch."""
        value = self.values[x]
        if kind in ("on", "off"):
            self.switch(x, kind == "on")
        elif "gradient" in kind:
            if value.grad is None or kind == "no gradient":
                value.grad = None
                self.run(f"{x}.grad = None")
            elif not self.is_pinned(value.grad):
                self.run(f"{x}.grad.detach()[...] = 0.0")
                self.write(value.grad, ..., 0.0)
        elif kind == "refuse" and value.requires:
            told = "a recorded value is never changed in place"
            self.raises(told, f"{x}[...] = 0.5", "mg.no_grad()" if value.node else "")
        elif not self.is_pinned(value):
            new = np.asarray(0.25 - 0.5 * value.array)
            if kind == "assign":
                self.run(f"{x}.data = (0.25 - 0.5 * {x}.detach()).data")
                oracle.mark_written(value.array)
                value.array = new
            elif value.array.flags.writeable and kind == "fill part" and value.array.ndim:
                self.run(f"{x}.detach()[:1] = 0.25")
                self.write(value, slice(1), 0.25)
            elif value.array.flags.writeable:
                target = f"{x}.detach()" if value.node else x
                self.run(f"{target}[...] = 0.25 - 0.5 * {x}", "mg.no_grad()")
                self.write(value, ..., new)

    def write(self, value: Value, key: Any, new: Any) -> None:
        value.array[key] = new
        oracle.mark_written(value.array)

    def is_pinned(self, value: Value) -> bool:
        return any(owner(value.array) is memory for memory in self.pinned)

    def switch(self, x: str, needed: bool) -> None:
        line, value = f"{x}.requires_grad_({needed})", self.values[x]
        if value.node and not needed:
            self.raises("computed tensor cannot be turned off", line)
        else:
            self.run(line)
            value.requires = needed

    # Sweeps -----------------------------------------------------------------------------------------

    @rule(
        y=tensors,
        start=st.sampled_from(["sum", "tensor", "tensor", "tensor", "number", "bare"]),
        retain=retains,
        create=st.sampled_from([False, False, False, True]),
        mode=sweep_modes,
        stray=rarely,
        spoil=spoils,
        x=tensors,
    )
    def backward(
        self, y: str, start: str, retain: bool | None, create: bool, mode: str, stray: bool, spoil: str, x: str
    ) -> None:
        y = y if stray else self.needing(y)
        if not (stray or self.values[y].requires):
            return
        if spoil:
            self.change(self.one_of(self.reached([y]), x), spoil)
        output = self.values[y]
        options = _options(retain_graph=retain, create_graph=create or None)
        seed, given = self.seed(output)
        if start == "sum":
            y, output, seed, mode = f"{y}.sum()", oracle.linear(np.sum, output), Value(1.0), ""
        elif start == "number":
            options, seed = ["-0.5", *options], Value(np.full(output.array.shape, -0.5))
        elif start == "tensor":
            options = [given, *options]
        else:
            seed = Value(np.ones(output.array.shape))
        line = f"{y}.backward({', '.join(options)})"
        if not output.requires:
            self.raises("does not need a gradient", line, mode)
        elif start == "bare" and output.array.size > 1:
            self.raises("expected a scalar", line, mode)
        elif self.sweep([output], None, line, mode, retain=retain, create=create):
            gradients = oracle.gradients([output], [seed], _reached([output]), record_them=create)
            takers = [x for x in gradients if (x.node is None and x.requires) or x.retains]
            for x in takers:
                self.accumulate(x, gradients[x], create)
            self.own_memory([f"{name}.grad" for name, value in self.values.items() if value in takers], create)

    @rule(
        target=tensors,
        outputs=st.lists(tensors, min_size=1, max_size=2),
        inputs=st.lists(tensors, min_size=1, max_size=3),
        seed=tensors,
        retain=retains,
        create=st.booleans(),
        allow=st.booleans(),
        mode=sweep_modes,
        stray=rarely,
        spoil=spoils,
        again=st.booleans(),
    )
    def grad(
        self,
        outputs: list[str],
        inputs: list[str],
        seed: str,
        retain: bool | None,
        create: bool,
        allow: bool,
        mode: str,
        stray: bool,
        spoil: str,
        again: bool,
    ) -> Any:
        if not stray:
            outputs = [self.needing(y) for y in outputs]
            if not all(self.values[y].requires for y in outputs):
                return multiple()
            if spoil:
                self.change(self.one_of(self.reached(outputs), inputs[0]), spoil)
            among = [x for x in self.reached(outputs) if self.values[x].requires]
            inputs = [x if allow and self.values[x].requires else self.one_of(among, x) for x in inputs]
        ys, xs = [self.values[y] for y in outputs], [self.values[x] for x in inputs]
        seeds, given = map(list, zip(*map(self.seed, ys), strict=True))
        if self.values[seed].array.shape == ys[0].array.shape:
            given[0], seeds[0] = seed, self.values[seed]
            self.pinned += [owner(seeds[0].array)] * create
        options = _options(create_graph=create or None, retain_graph=retain, allow_unused=allow or None)
        line = f"mg.grad({', '.join([_listed(outputs), _listed(inputs), _listed(given), *options])})"
        if not all(x.requires for x in xs):
            self.raises("expected inputs that need a gradient", line, mode)
            return multiple()
        if not all(y.requires for y in ys):
            self.raises("does not need a gradient", line, mode)
            return multiple()

        results = [self.new("r") for _ in xs]
        unused = not allow and any(x not in _reached(ys) for x in xs)
        told = "do not depend on" if unused else ""
        line = f"{_listed(results)} = {line}"
        if not self.sweep(ys, xs, line, mode, retain=retain, create=create, message=told):
            return multiple()
        gradients = oracle.gradients(ys, seeds, xs, record_them=create)
        names = []
        for result, x in zip(results, () if unused else xs, strict=not unused):
            found = gradients[x]
            if found is None:
                self.run(f"assert {result} is None")
            elif create:  # which tensors lie on a recorded gradient's way is the sweep's business: the name is a copy's
                names.append(self.keep(oracle.scale(1.0, found), f"1.0 * {result}"))
            else:
                names.append(self.keep(Value(found.array.copy()), result))
        self.own_memory([] if create else names, create)
        if create and again and names:
            self.backward(names[0], "tensor", retain, allow, mode, stray, spoil, names[-1])
        return multiple(*names)

    def seed(self, y: Value) -> tuple[Value, str]:
        """A gradient to start from, and how to write it."""
        array = np.round(np.cos(np.arange(float(y.array.size))), 2).reshape(y.array.shape)
        return Value(array), self.literal(array)

    def reached(self, ys: Sequence[str]) -> list[str]:
        """What these were computed from, and they."""
        found = _reached([self.values[y] for y in ys])
        return [name for name, value in self.values.items() if value in found]

    # Choosing ---------------------------------------------------------------------------------------

    def needing(self, x: str) -> str:
        """x if a sweep can begin there, or else another tensor where one can, if there is one."""
        return self.one_of([name for name, value in self.values.items() if value.node and not value.node.freed], x)

    def one_of(self, names: Sequence[str], x: str) -> str:
        """The name itself if it is among them, or another instead of it."""
        return x if x in names or not names else names[int(x[1:]) % len(names)]


def _with_rows(x: Any, y: Any) -> Any:
    if np.ndim(y) != 2:
        raise ValueError
    return x @ y.T


def _reached(ys: Sequence[Value]) -> dict[Value, None]:
    """Everything that these were computed from, and they, in the order in which it is found."""
    found: dict[Value, None] = {}
    waiting = list(ys)
    while waiting:
        x = waiting.pop()
        if x not in found:
            found[x] = None
            waiting.extend(part for part, _ in x.pulls)
    return found


@functools.cache
def _function(expression: str) -> Callable[..., Any]:
    code = compile(expression, expression, "eval")
    return lambda x, y=None: eval(code, {"np": np, "x": x, "y": y})


def _in_words(expression: str, x: str, y: str = "") -> str:
    """An expression with the tensors' names, in minigrad."""
    return re.sub(r"\b(x|y|np)\b", lambda found: {"np": "mg", "x": x, "y": y}[found[0]], expression)


def _listed(names: Sequence[str]) -> str:
    return f"[{', '.join(names)}]"


def _options(**options: Any) -> list[str]:
    return [f"{name}={value}" for name, value in options.items() if value is not None]
