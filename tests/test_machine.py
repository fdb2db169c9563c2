"""Random programs, run by minigrad and by the oracle at once: values, gradients, errors and memory must agree.

The machine writes its program as lines of Python and runs those lines, so what a failing example prints (as a note of
the exception) can be pasted into an interpreter, and ends with the line that fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

import minigrad as mg
from minigrad import cotangent, engine, sweep, tape
from minigrad.ops import registry

from . import oracle
from .oracle import Value, owner

SHAPES = [(), (3,), (2, 1), (2, 3)]
LARGEST = 12  # entries of a tensor
MOST_SWEPT, MOST_RECORDED = 150, 40  # applications that a sweep may go through
TAME = 4.0  # what is larger is scaled down, so that nothing overflows at any depth

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
]
OF_TWO = ["x + y", "x - y", "y - x", "np.stack([x, y], axis=-1)", "np.concatenate([y, x, y])"]
PARTS = {
    "np.split(x, 2, axis=-1)": lambda a: np.split(a, 2, axis=-1),
    "np.split(x, [1], axis=0)": lambda a: np.split(a, [1]),
    "np.unstack(x, axis=-1)": lambda a: [a[..., i] for i in range(a.shape[-1])],
}

modes = st.sampled_from(["", "", "", "", "", "", "mg.no_grad()", "mg.no_grad(), mg.enable_grad()"])
sweep_modes = st.sampled_from(["", "", "", "", "mg.no_grad()"])
retains = st.sampled_from([None, None, None, True, False])
rarely = st.sampled_from([False, False, False, False, True])


def evaluated(expression: str) -> Callable[..., Any]:
    code = compile(expression, expression, "eval")
    return lambda x, y=None: eval(code, {"np": np, "x": x, "y": y})


def in_words(expression: str, **names: str) -> str:
    """An expression with the tensors' names, in minigrad."""
    return re.sub(r"\b(x|y|np)\b", lambda found: {"np": "mg", **names}[found[0]], expression)


class Machine(RuleBasedStateMachine):
    """Rules add lines to the program; `values` is what the oracle holds for each of its names."""

    device = "cpu"
    tensors, hooks = Bundle("tensors"), Bundle("hooks")

    def __init__(self) -> None:
        super().__init__()
        oracle.writes.clear()
        self.values: dict[str, Value] = {}
        self.kept: dict[str, list[np.ndarray[Any, Any]]] = {}  # by the hook's name, what it has seen
        self.hooked: dict[str, Value] = {}
        self.pinned: list[Any] = []  # memory that is not written to
        self.count = 0
        self.program: list[str] = []
        self.names: dict[str, Any] = {}
        self.run("import numpy as np, pytest")
        self.run("import minigrad as mg")
        if self.device == "strict":
            self.run("from tests import strict")
            self.run('mg.set_default_device("strict")')

    def teardown(self) -> None:
        note("\n".join(["", *self.program]))

    def run(self, line: str) -> None:
        self.program.append(line)
        exec(line, self.names)

    def raises(self, message: str, line: str, mode: str = "") -> None:
        self.run(_within(", ".join(filter(None, [mode, f"pytest.raises(RuntimeError, match={message!r})"])), line))

    def new(self, prefix: str = "t") -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    # Computing --------------------------------------------------------------------------------------

    def keep(self, value: Value, expression: str, mode: str = "") -> str:
        """Assign what an expression gives to a new name, scaled down if it is large."""
        name = self.new()
        self.run(_within(mode, f"{name} = {expression}"))
        self.values[name] = self.tamed(name, value, mode)
        return name

    def tamed(self, name: str, value: Value, mode: str) -> Value:
        largest = float(np.abs(value.array).max())
        if largest <= TAME:
            return value
        factor = 2.0 ** -np.ceil(np.log2(largest))
        self.run(_within(mode, f"{name} = {factor} * {name}"))
        with oracle.record(mode != "mg.no_grad()"):
            return oracle.scale(factor, value)

    def compute(self, expression: str, mode: str, f: Callable[..., Value], *xs: Value) -> Any:
        with oracle.record(mode != "mg.no_grad()"):
            return self.keep(f(*xs), expression, mode)

    @initialize(target=tensors, shape=st.sampled_from(SHAPES))
    def begin(self, shape: tuple[int, ...]) -> Any:
        return self.leaf(shape, True)

    @rule(target=tensors, shape=st.sampled_from(SHAPES), needed=st.sampled_from([True, True, False]))
    def leaf(self, shape: tuple[int, ...], needed: bool) -> Any:
        name = self.new()
        array = np.round(np.sin(7.0 * self.count + np.arange(float(np.prod(shape)))), 2).reshape(shape)
        self.run(f"{name} = mg.tensor({array.tolist()}, dtype=mg.float64, requires_grad={needed})")
        self.values[name] = Value(array)
        self.values[name].requires = needed
        return name

    @rule(target=tensors, x=tensors, expression=st.sampled_from(OF_ONE), mode=modes)
    def map(self, x: str, expression: str, mode: str) -> Any:
        f, value = evaluated(expression), self.values[x]
        if not _fits(f, value.array):
            return multiple()
        return self.compute(in_words(expression, x=x), mode, lambda v: oracle.linear(f, v), value)

    @rule(target=tensors, x=tensors, y=tensors, expression=st.sampled_from(OF_TWO), mode=modes)
    def combine(self, x: str, y: str, expression: str, mode: str) -> Any:
        f = evaluated(expression)
        if not _fits(f, self.values[x].array, self.values[y].array):
            y = x
        if not _fits(f, self.values[x].array, self.values[y].array):
            return multiple()
        expression = in_words(expression, x=x, y=y)
        return self.compute(expression, mode, lambda *vs: oracle.linear(f, *vs), self.values[x], self.values[y])

    @rule(target=tensors, x=tensors, y=tensors, mode=modes)
    def multiply(self, x: str, y: str, mode: str) -> Any:
        if not _fits(np.multiply, self.values[x].array, self.values[y].array):
            y = x
        return self.compute(f"{x} * {y}", mode, oracle.multiply, self.values[x], self.values[y])

    @rule(target=tensors, x=tensors, name=st.sampled_from(["tanh", "sin"]), mode=modes)
    def function(self, x: str, name: str, mode: str) -> Any:
        return self.compute(f"mg.{name}({x})", mode, getattr(oracle, name), self.values[x])

    @rule(target=tensors, x=tensors, expression=st.sampled_from(list(PARTS)), mode=modes)
    def parts(self, x: str, expression: str, mode: str) -> Any:
        """Several outputs of one application."""
        f, value = PARTS[expression], self.values[x]
        if value.array.ndim < 2 or not _fits(f, value.array):
            return multiple()
        node, count = oracle.Node([value]), len(f(value.array))
        found = [oracle.linear(lambda a, i=i: f(a)[i], value, node=node) for i in range(count)]
        pieces = self.new("p")
        self.run(f"{pieces} = {in_words(expression, x=x)}")
        return multiple(*(self.keep(part, f"{pieces}[{i}]") for i, part in enumerate(found)))

    @rule(target=tensors, x=tensors)
    def detach(self, x: str) -> Any:
        return self.keep(Value(self.values[x].array), f"{x}.detach()")

    # What a user does to a tensor -------------------------------------------------------------------

    @rule(x=tensors, needed=st.booleans())
    def switch(self, x: str, needed: bool) -> None:
        line = f"{x}.requires_grad_({needed})"
        if self.values[x].node and not needed:
            self.raises("computed tensor cannot be turned off", line)
        else:
            self.run(line)
            self.values[x].requires = needed

    @rule(x=tensors)
    def retain(self, x: str) -> None:
        if not self.values[x].requires:
            self.raises("does not require a gradient", f"{x}.retain_grad()")
        else:
            self.run(f"{x}.retain_grad()")
            self.values[x].retains = self.values[x].node is not None

    @rule(target=hooks, x=tensors, y=tensors, kind=st.sampled_from(["keep", "keep", "double", "weigh"]))
    def hook(self, x: str, y: str, kind: str) -> Any:
        value, other, seen = self.values[x], self.values[y], []
        if not value.requires:
            self.raises("does not require a gradient", f"{x}.register_hook(print)")
            return multiple()
        name = self.new("h")
        if kind == "keep":
            self.run(f"{name}_saw = []")
            self.kept[f"{name}_saw"] = seen
        code, function = {
            "keep": (f"{name}_saw.append", lambda g: seen.append(g.array.copy())),
            "double": ("lambda g: 2.0 * g", lambda g: oracle.scale(2.0, g)),
            "weigh": (f"lambda g: g * {y}.mean()", lambda g: oracle.multiply(g, oracle.linear(np.mean, other))),
        }[kind]
        self.run(f"{name} = {x}.register_hook({code})")
        value.hooks[name] = function
        self.hooked[name] = value
        return name

    @rule(hook=hooks)
    def remove(self, hook: str) -> None:
        self.run(f"{hook}.remove()")
        self.hooked[hook].hooks.pop(hook, None)

    @rule(x=tensors, kind=st.sampled_from(["all", "first", "assign", "refused"]))
    def write(self, x: str, kind: str) -> None:
        value = self.values[x]
        if kind == "refused" and value.requires:
            self.raises(
                "a recorded value is never changed in place", f"{x}[...] = 0.5", "mg.no_grad()" * bool(value.node)
            )
        elif self.is_pinned(value):
            return
        elif kind == "assign":
            self.run(f"{x}.data = (0.25 - 0.5 * {x}.detach()).data")
            oracle.mark_written(value.array)
            value.array = np.asarray(0.25 - 0.5 * value.array)
        elif not value.array.flags.writeable:
            return
        elif kind == "first" and value.array.ndim:
            self.run(f"{x}.detach()[:1] = 0.25")
            value.array[:1] = 0.25
            oracle.mark_written(value.array)
        else:
            target = f"{x}.detach()" if value.node else x
            self.run(f"with mg.no_grad(): {target}[...] = 0.25 - 0.5 * {x}")
            value.array[...] = 0.25 - 0.5 * value.array
            oracle.mark_written(value.array)

    def is_pinned(self, value: Value) -> bool:
        return any(owner(value.array) is memory for memory in self.pinned)

    @rule(x=tensors, in_place=st.booleans())
    def zero(self, x: str, in_place: bool) -> None:
        value = self.values[x]
        if in_place and value.grad is not None and not self.is_pinned(value.grad):
            self.run(f"{x}.grad.detach()[...] = 0.0")
            value.grad.array[...] = 0.0
            oracle.mark_written(value.grad.array)
        else:
            self.run(f"{x}.grad = None")
            value.grad = None

    @rule(target=tensors, x=tensors)
    def take_gradient(self, x: str) -> Any:
        """The gradient itself, under a name of its own, to compute with."""
        found = self.values[x].grad
        if found is None or np.abs(found.array).max() > TAME:
            return multiple()
        return self.keep(found, f"{x}.grad")

    # Sweeps -----------------------------------------------------------------------------------------

    @rule(
        y=tensors,
        start=st.sampled_from(["sum", "sum", "ones", "number", "bare"]),
        retain=retains,
        create=rarely,
        mode=sweep_modes,
    )
    def backward(self, y: str, start: str, retain: bool | None, create: bool, mode: str) -> None:
        output = self.values[y]
        arguments, seed = _options(retain_graph=retain, create_graph=create or None), Value(np.ones(output.array.shape))
        if start == "sum":
            y, output, seed = f"{y}.sum()", oracle.linear(np.sum, output), Value(1.0)
        elif start == "ones":
            arguments = [f"mg.ones({output.array.shape}, dtype=mg.float64)", *arguments]
        elif start == "number":
            arguments, seed = ["-0.5", *arguments], oracle.scale(-0.5, seed)
        line = f"{y}.backward({', '.join(arguments)})"
        if start == "sum":  # what is computed under no_grad needs no gradient
            mode = ""
        if not output.requires:
            self.raises("does not need a gradient", line, mode)
        elif start == "bare" and output.array.size > 1:
            self.raises("expected a scalar", line, mode)
        elif self.sweeps([output], None, retain, create, line, mode):
            find = self.gradients([output], [seed], create)
            found = {x: find(x) for x in _reached(output)}
            takers = [x for x in found if (x.node is None and x.requires) or x.retains]
            for x in takers:
                self.accumulate(x, found[x], create)
            self.own_memory([f"{name}.grad" for name, value in self.values.items() if value in takers])

    @rule(
        target=tensors,
        outputs=st.lists(tensors, min_size=1, max_size=2),
        inputs=st.lists(tensors, min_size=1, max_size=3),
        seed=tensors,
        seeded=st.booleans(),
        retain=retains,
        create=st.booleans(),
        allow=st.sampled_from([True, True, False]),
        mode=sweep_modes,
    )
    def grad(
        self,
        outputs: list[str],
        inputs: list[str],
        seed: str,
        seeded: bool,
        retain: bool | None,
        create: bool,
        allow: bool,
        mode: str,
    ) -> Any:
        ys, xs = [self.values[y] for y in outputs], [self.values[x] for x in inputs]
        seeds = [Value(np.full(y.array.shape, 0.5)) for y in ys]
        given = [f"mg.full({y.array.shape}, 0.5, dtype=mg.float64)" for y in ys]
        if seeded and self.values[seed].array.shape == ys[0].array.shape:
            given[0], seeds[0] = seed, self.values[seed]
            self.pinned += [owner(seeds[0].array)] * create
        options = _options(create_graph=create or None, retain_graph=retain, allow_unused=allow or None)
        arguments = ", ".join([_listed(outputs), _listed(inputs), _listed(given), *options])
        line = f"mg.grad({arguments})"
        if not all(x.requires for x in xs):
            self.raises("expected inputs that need a gradient", line, mode)
            return multiple()
        if not all(y.requires for y in ys):
            self.raises("does not need a gradient", line, mode)
            return multiple()
        unused = [x for x in xs if all(x not in _reached(y) for y in ys)]
        message = "do not depend on" if unused and not allow else ""
        results = [self.new("r") for _ in xs]
        if not self.sweeps(ys, xs, retain, create, f"{_listed(results)} = {line}", mode, message):
            return multiple()
        find = self.gradients(ys, seeds, create)
        found = [find(x) for x in xs]
        if message:
            return multiple()
        names = []
        for result, gradient in zip(results, found, strict=True):
            if gradient is None:
                self.run(f"assert {result} is None")
                continue
            # Which tensors lie between a recorded gradient and others is the sweep's business: the name is for a copy.
            copy = oracle.scale(1.0, gradient) if create else Value(gradient.array.copy())
            names.append(self.keep(copy, f"1.0 * {result}" if create else result))
        self.own_memory([] if create else names)
        return multiple(*names)

    def sweeps(
        self,
        ys: Sequence[Value],
        xs: Sequence[Value] | None,
        retain: bool | None,
        create: bool,
        line: str,
        mode: str,
        message: str = "",
    ) -> bool:
        """Run a line that sweeps, and say whether the oracle should do so too: not if it has raised midway."""
        nodes = oracle.way(ys, None if xs is None else set(xs))
        if len(nodes) > (MOST_RECORDED if create else MOST_SWEPT):
            return False
        error = oracle.passes(nodes, create if retain is None else retain)
        if error == "unknown":
            return False
        if error or message:
            self.raises(error or message, line, mode)
        else:
            self.run(_within(mode, line))
        if error:
            for name, seen in self.kept.items():  # which hooks ran before it raised is promised to nobody
                self.run(f"del {name}[{len(seen)}:]")
        return not error

    def gradients(self, ys: Sequence[Value], seeds: Sequence[Value], create: bool) -> Callable[[Value], Value | None]:
        """The oracle's, each found while recording as in the sweep."""
        find, siblings = oracle.gradients(ys, seeds), []

        def found(x: Value) -> Value | None:
            oracle.inside.append(siblings)
            with oracle.record(create):
                gradient = find(x)
            oracle.inside.pop()
            return gradient

        return found

    def accumulate(self, x: Value, found: Value | None, create: bool) -> None:
        assert found is not None
        with oracle.record(True):
            copy = oracle.linear(np.copy, found) if create else Value(found.array.copy())
            x.grad = copy if x.grad is None else oracle.add(x.grad, copy)

    # What must agree --------------------------------------------------------------------------------

    @invariant()
    def all_agree(self) -> None:
        for name, value in self.values.items():
            self.agree(name, value)
            if value.grad is None:
                self.hold(f"{name}.grad is None")
            else:
                self.agree(f"{name}.grad", value.grad)
        for name, seen in self.kept.items():
            self.hold(f"len({name}) == {len(seen)}")
            for i, array in enumerate(seen):
                self.close(f"{name}[{i}]", array)

    def agree(self, name: str, value: Value) -> None:
        self.close(name, value.array)
        self.hold(f"{name}.requires_grad is {value.requires}")
        self.hold(f"{name}.is_leaf is {value.node is None}")

    def hold(self, claim: str) -> None:
        if not eval(claim, self.names):
            self.run(f"assert {claim}")

    def close(self, name: str, expected: np.ndarray[Any, Any]) -> None:
        found = _raw(eval(name, self.names))
        allowed = 1e-9 * max(1.0, np.abs(expected).max())
        if found.shape != expected.shape or not np.abs(found - expected).max() <= allowed:
            self.run(f"np.testing.assert_allclose({name}.tolist(), {expected.tolist()}, rtol=0, atol={allowed:.1g})")

    def own_memory(self, fresh: Sequence[str]) -> None:
        """What a sweep has handed out shares memory with nothing."""
        others = [*self.values, *(f"{name}.grad" for name, value in self.values.items() if value.grad)]
        others += [f"{name}[{i}]" for name, seen in self.kept.items() for i in range(len(seen))]
        found = {name: eval(name, self.names) for name in [*fresh, *others]}
        owners = {name: owner(_raw(t)) for name, t in found.items()}
        for mine in fresh:
            for other in others:
                if found[mine] is not found[other] and owners[mine] is owners[other]:
                    data = "data" if self.device == "cpu" else "data._host"
                    self.run(f"assert not np.shares_memory({mine}.{data}, {other}.{data})")


def _fits(f: Callable[..., Any], *arrays: np.ndarray[Any, Any]) -> bool:
    """Whether a map takes these arrays and gives one, or several, of a tame size."""
    try:
        found = f(*arrays)
    except (ValueError, IndexError):
        return False
    return all(0 < np.size(a) <= LARGEST for a in (found if isinstance(found, list) else [found]))


def _reached(y: Value) -> dict[Value, None]:
    """Everything that y was computed from, and y, in an order that does not depend on the day."""
    found: dict[Value, None] = {}
    waiting = [y]
    while waiting:
        x = waiting.pop()
        if x not in found:
            found[x] = None
            waiting.extend(part for part, _ in x.pulls)
    return found


def _within(context: str, line: str) -> str:
    return f"with {context}: {line}" if context else line


def _listed(names: Sequence[str]) -> str:
    return f"[{', '.join(names)}]"


def _options(**options: Any) -> list[str]:
    return [f"{name}={value}" for name, value in options.items() if value is not None]


def _raw(x: mg.Tensor) -> np.ndarray[Any, Any]:
    return getattr(x.data, "_host", x.data)


# The tests ------------------------------------------------------------------------------------------


def run_machine(device: str) -> None:
    machine = type("Machine", (Machine,), {"device": device})
    tries = settings(max_examples=4 * settings.default.max_examples, stateful_step_count=40)
    run_state_machine_as_test(machine, settings=tries)


def test_random_programs_agree_with_the_oracle(device):
    run_machine(device)
