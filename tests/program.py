"""A program that is written line by line, run as it is written, and held against the oracle after each line.

What does not agree is written as a last line, which fails: pasted into an interpreter, the lines show it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import minigrad as mg

from . import oracle
from .oracle import Value, owner

TAME = 4.0  # what is larger is scaled down, so that nothing overflows at any depth
MOST_SWEPT, MOST_RECORDED = 150, 40  # applications that a sweep may go through


class Program:
    """Lines, the names they have defined, and for each of their tensors what the oracle makes of it."""

    device = "cpu"

    def __init__(self) -> None:
        super().__init__()
        oracle.writes.clear()
        self.lines: list[str] = []
        self.names: dict[str, Any] = {}
        self.values: dict[str, Value] = {}
        self.seen: dict[str, list[np.ndarray[Any, Any]]] = {}  # gradients that hooks have put into lists
        self.known: set[str] = set()  # those whose memory has been looked at
        self.pinned: list[Any] = []  # memory that is not written to
        self.count = 0
        self.run("import numpy as np, pytest")
        self.run("import minigrad as mg")
        self.run("from minigrad.ops.contraction import linear")
        if self.device == "strict":
            self.run("from tests import strict")

    # Writing ----------------------------------------------------------------------------------------

    def run(self, line: str, context: str = "") -> None:
        self.lines.append(f"with {context}: {line}" if context else line)
        exec(self.lines[-1], self.names)

    def raises(self, message: str, line: str, context: str = "") -> None:
        expected = f"pytest.raises(RuntimeError, match={message!r})"
        self.run(line, f"{context}, {expected}" if context else expected)

    def new(self, prefix: str = "t") -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def literal(self, array: np.ndarray[Any, Any], requires_grad: bool = False) -> str:
        options = "" if self.device == "cpu" else f", device={self.device!r}"
        options += ", requires_grad=True" * requires_grad
        return f"mg.tensor({array.tolist()}, dtype=mg.float64{options})"

    def keep(self, value: Value, expression: str, context: str = "") -> str:
        """Assign what an expression gives to a new name, scaled down if it is large."""
        name = self.new()
        self.run(f"{name} = {expression}", context)
        largest = float(np.abs(value.array).max())
        if largest > TAME:
            factor = 2.0 ** -np.ceil(np.log2(largest))
            self.run(f"{name} = {factor} * {name}", context)
            with oracle.record(context != "mg.no_grad()"):
                value = oracle.scale(factor, value)
        self.values[name] = value
        return name

    # Sweeps -----------------------------------------------------------------------------------------

    def sweep(
        self,
        ys: Sequence[Value],
        xs: Sequence[Value] | None,
        line: str,
        context: str,
        *,
        retain: bool | None,
        create: bool,
        message: str = "",
    ) -> bool:
        """Run a line that goes backward, and say whether the oracle has to: not if the line raises midway."""
        wanted = None if xs is None else set(xs)
        if len(oracle.way(ys, wanted)) > (MOST_RECORDED if create else MOST_SWEPT):
            return False
        error = oracle.passes(ys, wanted, create if retain is None else retain)
        if error == "unknown":
            return False
        if error or message:
            self.raises(error or message, line, context)
        else:
            self.run(line, context)
        if error:
            for name, seen in self.seen.items():  # which hooks have run before it raises is promised to nobody
                self.run(f"del {name}[{len(seen)}:]")
        return not error

    def accumulate(self, x: Value, found: Value | None, create: bool) -> None:
        assert found is not None
        with oracle.record(True):
            new = oracle.linear(np.copy, found) if create else Value(found.array.copy())
            x.grad = new if x.grad is None else oracle.add(x.grad, new)

    # What must agree --------------------------------------------------------------------------------

    def agree(self) -> None:
        for name, value in self.values.items():
            found = self.names[name]
            self._agree(name, found, value)
            if value.grad is None or found.grad is None:
                self._hold(f"{name}.grad is {'not ' * (value.grad is not None)}None", found.grad is value.grad)
            else:
                self._agree(f"{name}.grad", found.grad, value.grad)
        for name, seen in self.seen.items():
            self._hold(f"len({name}) == {len(seen)}", len(self.names[name]) == len(seen))
            for i, array in enumerate(seen):
                self._close(f"{name}[{i}]", self.names[name][i], array)

    def _agree(self, name: str, found: mg.Tensor, value: Value) -> None:
        self._close(name, found, value.array)
        self._hold(f"{name}.requires_grad is {value.requires}", found.requires_grad is value.requires)
        self._hold(f"{name}.is_leaf is {value.node is None}", found.is_leaf is (value.node is None))

    def _close(self, name: str, found: mg.Tensor, expected: np.ndarray[Any, Any]) -> None:
        array, allowed = _raw(found), 1e-9 * max(1.0, float(np.abs(expected).max()))
        if array.shape != expected.shape or not np.abs(array - expected).max() <= allowed:
            self.run(f"np.testing.assert_allclose({name}.tolist(), {expected.tolist()}, rtol=0, atol={allowed:.1g})")

    def _hold(self, claim: str, holds: bool) -> None:
        if not holds:
            self.run(f"assert {claim}")

    def own_memory(self, fresh: Sequence[str], create: bool) -> None:
        """What a sweep has handed out can be written to, and shares its memory with nothing."""
        gradients = [f"{name}.grad" for name, value in self.values.items() if value.grad]
        seen = [f"{name}[{i}]" for name, seen in self.seen.items() for i in range(len(seen))]
        found = {name: eval(name, self.names) for name in [*self.values, *gradients, *seen]}
        owners = {name: owner(_raw(t)) for name, t in found.items()}
        data = "data" if self.device == "cpu" else "data._host"
        # A hook's gradient is its own unless it is recorded: then it is the very tensor that goes on.
        fresh = [*fresh, *(name for name in seen if name not in self.known and not create)]
        self.known.update(seen)
        for mine in fresh:
            self._hold(f"{mine}.{data}.flags.writeable", _raw(found[mine]).flags.writeable)
            for other in found:
                shared = found[mine] is not found[other] and owners[mine] is owners[other]
                self._hold(f"not np.shares_memory({mine}.{data}, {other}.{data})", not shared)


def fits(f: Callable[..., Any], *arrays: Any, largest: int = 18) -> bool:
    """Whether a map takes these arrays and gives one, or several, of a few entries each."""
    try:
        found = f(*arrays)
    except (ValueError, IndexError):
        return False
    return all(0 < np.size(a) <= largest for a in (found if isinstance(found, list) else [found]))


def _raw(x: mg.Tensor) -> np.ndarray[Any, Any]:
    return getattr(x.data, "_host", x.data)
