"""Moving the inputs of a function a little, and seeing by how much what it gives moves: what all checks share."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..backend import Array, cpu, float64, namespace_of
from ..graph import Tensor
from ..messages import type_name
from ..mode import is_grad_enabled

Function = Callable[..., Any]
Inputs = Tensor | Sequence[Any] | Mapping[str, Any]
Moves = dict[int, Array]  # a host array of the shape of the input, by the number of the input


class GradcheckError(AssertionError):
    """A derivative is not the one that numeric differences give.

    Attributes:
        input: the number of the input, or the name under which it was given; of the output, for `jvpcheck`.
        index: the entry in it.
        analytic, numeric: its derivative, as computed and as the differences give it.
            All four are None where no single entry stands out, or there was nothing to compare.

    >>> import minigrad as mg
    >>> x = mg.tensor([0.5], dtype=mg.float64, requires_grad=True)
    >>> try:
    ...     mg.testing.gradcheck(lambda x: x * x.detach(), x)          # half of the derivative of x² is cut off
    ... except mg.testing.GradcheckError as error:
    ...     print(error.input, error.index, error.analytic < error.numeric)
    0 (0,) True
    """

    def __init__(
        self,
        message: str,
        input: int | str | None = None,
        index: tuple[int, ...] | None = None,
        analytic: float | None = None,
        numeric: float | None = None,
    ) -> None:
        super().__init__(message)
        self.input = input
        self.index = index
        self.analytic = analytic
        self.numeric = numeric


@dataclass(frozen=True)
class Tolerance:
    """The step of a central difference, and how far a derivative may be from it: atol + rtol |numeric|."""

    eps: float
    atol: float
    rtol: float

    def check(self, caller: str) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, (int, float)):
                raise TypeError(f"{caller}: expected {name} to be a number, got {type_name(value)}")
        if not 0 < self.eps < math.inf:
            raise ValueError(f"{caller}: expected a step eps above 0, got {self.eps!r}")
        if not (0 <= self.atol < math.inf and 0 <= self.rtol < 1):
            raise ValueError(
                f"{caller}: expected atol of at least 0 and rtol from 0 to below 1, got {self.atol!r} and {self.rtol!r}"
            )

    def allows(self, analytic: Array, numeric: Array) -> Any:
        """Whether the two agree, entry by entry; NaN agrees with nothing."""
        return abs(analytic - numeric) <= self.atol + self.rtol * abs(numeric)


class Point:
    """Where a function is examined: its inputs, what they are called, and which of them are checked."""

    def __init__(self, inputs: Inputs, caller: str) -> None:
        if isinstance(inputs, Tensor):
            inputs = [inputs]
        if not isinstance(inputs, (Mapping, Sequence)):
            raise TypeError(
                f"{caller}: expected a Tensor, or a list or dict of inputs, got {type_name(inputs)}; for a model, "
                "dict(model.named_parameters())"
            )
        self.caller = caller
        self.keys: list[int | str] = list(inputs) if isinstance(inputs, Mapping) else list(range(len(inputs)))
        self.names = [f"input {key}" for key in self.keys]
        self.inputs: list[Any] = list(inputs.values()) if isinstance(inputs, Mapping) else list(inputs)
        self.active = [i for i, x in enumerate(self.inputs) if isinstance(x, Tensor) and x.requires_grad]
        if not self.active:
            raise TypeError(f"{caller}: expected at least one Tensor with requires_grad=True among the inputs")
        seen: dict[int, str] = {}
        for i in self.active:
            same = seen.setdefault(id(self.inputs[i]), self.names[i])
            if same != self.names[i]:
                raise ValueError(
                    f"{caller}: expected each Tensor once, but {self.names[i]} is {same} and cannot be moved alone; "
                    "give a copy, or a function that uses one input twice"
                )
        if any(x.dtype != float64 for x in self.tensors):
            raise TypeError(
                f"{caller}: expected float64 inputs, numeric differences need the digits; use dtype=minigrad.float64"
            )

    @property
    def tensors(self) -> list[Tensor]:
        """The inputs that are checked."""
        return [self.inputs[i] for i in self.active]

    def extended(self, tensors: Sequence[Tensor], name: str) -> Point:
        """This point with further inputs, each called `name` and its number."""
        point = Point([*self.inputs, *tensors], self.caller)
        further = [f"{name} {k}" for k in range(len(tensors))]
        point.keys, point.names = [*self.keys, *further], [*self.names, *further]
        return point

    def direction(self, seed: int) -> Moves:
        """A random move of every entry of every checked input, none near 0: of size ½ to 1½, of either sign."""
        if not isinstance(seed, int) or seed < 0:
            raise ValueError(f"{self.caller}: expected a seed that is a whole number from 0 on, got {seed!r}")
        rng = cpu.random.default_rng(seed)
        sizes = {i: self.inputs[i].shape for i in self.active}
        return {i: cpu.asarray(rng.uniform(0.5, 1.5, n) * rng.choice([-1.0, 1.0], n)) for i, n in sizes.items()}

    @contextlib.contextmanager
    def moved(self, moves: Moves, step: float) -> Iterator[None]:
        """The inputs elsewhere, for a while: the tensors themselves, so that a model's parameters can be moved too."""
        unmoved = {i: self.inputs[i]._data for i in moves}
        try:
            for i, data in unmoved.items():
                xp = namespace_of(data)
                self.inputs[i]._data = xp.from_host(cpu.asarray(xp.to_host(data) + step * moves[i]))
            yield
        finally:
            for i, data in unmoved.items():
                self.inputs[i]._data = data

    def values(self, fn: Function) -> list[Array]:
        """What the function gives here, on the host."""
        return [host(y) for y in outputs_of(fn(*self.inputs), self.caller)]

    def slopes(self, fn: Function, moves: Moves, eps: float) -> list[Array]:
        """The central difference of each output along a move, entry by entry."""
        with self.moved(moves, eps):
            ahead = self.values(fn)
        with self.moved(moves, -eps):
            back = self.values(fn)
        with cpu.errstate(invalid="ignore"):  # what does not move has no slope, be it infinite
            return [cpu.where(a == b, 0.0, a - b) / (2 * eps) for a, b in zip(ahead, back, strict=True)]

    def check_repeatable(self, fn: Function, tolerance: Tolerance) -> None:
        """Raise unless the function gives the same numbers each time: else a difference says nothing of a move."""
        first, second = self.values(fn), self.values(fn)
        for k, (a, b) in enumerate(zip(first, second, strict=False)):
            if cpu.isnan(a).any():
                raise GradcheckError(
                    f"{self.caller}: output {k} is NaN at index {first_index(cpu.isnan(a))}; the inputs lie where the "
                    "function has no value"
                )
            allowed = 2 * tolerance.eps * tolerance.atol + 1e-13 * abs(a)
            with cpu.errstate(invalid="ignore"):
                is_same = a.shape == b.shape and ((a == b) | (abs(a - b) <= allowed)).all()
            if not is_same or len(first) != len(second):
                raise ValueError(
                    f"{self.caller}: expected a function that gives the same values when it is called again, but its "
                    f"output {k} changed from one call to the next; seed what is random inside it with "
                    "minigrad.manual_seed, and keep it from changing what it is given"
                )


def outputs_of(ys: Any, caller: str) -> list[Tensor]:
    """What a function gave, a Tensor or a list or tuple of them, as a list; some of it depends on the inputs."""
    outputs = list(ys) if isinstance(ys, (list, tuple)) else [ys]
    for y in outputs:
        if not isinstance(y, Tensor):
            raise TypeError(
                f"{caller}: expected a function that gives Tensors, got {type(y).__name__} from it; choose among what "
                "it gives, as in lambda x: layer(x)[0]"
            )
    if not any(y.requires_grad for y in outputs):
        cause = "" if is_grad_enabled() else "; nothing is recorded under no_grad"
        raise GradcheckError(
            f"{caller}: the output of the function does not depend on any input that requires a gradient{cause}"
        )
    return outputs


def host(x: Tensor) -> Array:
    """The array of a Tensor, as one of NumPy's."""
    return namespace_of(x._data).to_host(x._data)


def first_index(mask: Array) -> tuple[int, ...]:
    """The index of the first entry of a host array that is true."""
    return tuple(int(n) for n in cpu.argwhere(mask)[0])
