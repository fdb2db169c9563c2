"""The operations of which chains are made, and how long a chain takes, forward and backward, recorded and bare.

    x -> y = f(x, b) -> f(y, b) -> ...          b: a constant; only x needs a gradient

Bare are the calls that the value and the derivative formula need, without anything being recorded: what a derivative
written by hand would take. The loop over the operations is the same in both. Times are the host's, until the calls have
returned; before and after them it waits for the device.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
SIZES = {"1": (1, 1), "64x512": (64, 512)}  # x, and b but for matmul
START = 1e30  # the gradient that comes in: what sigmoids leave of it after 100 operations is still a normal number


@dataclass(frozen=True)
class Operation:
    """A value and its derivative, in terms of a namespace `xp`."""

    value: Callable[[Any, Any, Any], Any]  # xp, x, b
    derivative: Callable[[Any, Any, Any, Any], Any]  # xp, g, y, b
    name: str = ""  # in the namespace, where not every system has it
    saves: bool = False  # whether the derivative reads y


def _scattered(xp: Any, g: Any, y: Any, b: Any) -> Any:
    scattered = xp.zeros_like(y)
    scattered[0 : len(b)] = g
    return scattered


OPERATIONS = {
    "add": Operation(lambda xp, x, b: x + b, lambda xp, g, y, b: g),
    "multiply": Operation(lambda xp, x, b: x * b, lambda xp, g, y, b: g * b),
    "tanh": Operation(lambda xp, x, b: xp.tanh(x), lambda xp, g, y, b: g * (1 - y * y), "tanh", saves=True),
    "sigmoid": Operation(lambda xp, x, b: xp.sigmoid(x), lambda xp, g, y, b: g * (y * (1 - y)), "sigmoid", saves=True),
    "matmul": Operation(lambda xp, x, b: x @ b, lambda xp, g, y, b: g @ b.T),
    "getitem": Operation(lambda xp, x, b: x[0 : len(b)], _scattered),
}


def nothing() -> None:
    """What waiting for the CPU is."""


@dataclass(frozen=True)
class System:
    """What a chain needs to know of a system."""

    xp: Any  # the functions that record
    bare: Any  # the same functions of the array library below
    array: Callable[[Array], Any]  # an array of that library
    constant: Callable[[Array], Any]  # b, as a recorded operation takes it
    record: Callable[..., tuple[float, float]]  # of chain, x, g and wait: seconds forward and backward
    quiet: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext  # while it computes bare
    wait: Callable[[], Any] = nothing  # until the device has done what it was asked for
    derives_in_python: bool = True  # else its backward makes no calls that a loop in Python could make


def constant_of(operation: str, size: str) -> Array:
    """b, such that a long chain neither vanishes nor overflows."""
    rows, columns = SIZES[size]
    if operation == "matmul":
        return np.roll(np.eye(columns, dtype=np.float32), 1, axis=1)  # BLAS does not look for zeros
    return np.full((rows, columns), 0.999, dtype=np.float32)


def clocked(chain: Callable[[Any], Any], leaf: Any, incoming: Any, wait: Callable[[], None]) -> tuple[float, float]:
    """Seconds of a chain forward, and backward by the method that PyTorch's tensors and minigrad's have."""
    wait()
    start = time.perf_counter()
    y = chain(leaf)
    forward = time.perf_counter() - start
    wait()
    start = time.perf_counter()
    y.backward(incoming)
    backward = time.perf_counter() - start
    wait()
    return forward, backward


def times(system: System, lengths: Mapping[str, int], repeats: int = 3) -> dict[str, Any]:
    """Seconds per operation of each operation and size: medians of a few chains, recorded and bare in turn.

    What a system does not have is None, or not there.
    """
    found: dict[str, Any] = {}
    for name, operation in OPERATIONS.items():
        if not operation.name or hasattr(system.xp, operation.name):
            for size, length in lengths.items():
                runs = [one(system, operation, name, size, length) for _ in range(repeats)]
                medians: dict[str, float | None] = {
                    key: statistics.median(run[key] for run in runs) / length for key in runs[0]
                }
                if not system.derives_in_python:
                    medians["bare_backward"] = None
                found.setdefault(name, {})[size] = medians
    return found


def one(system: System, operation: Operation, name: str, size: str, length: int) -> dict[str, float]:
    """Seconds of one chain, forward and backward, recorded and bare."""
    x = np.random.default_rng(1).standard_normal(SIZES[size]).astype(np.float32)
    b, g = constant_of(name, size), np.full_like(x, START)
    constant = system.constant(b)

    def chain(y: Any) -> Any:
        for _ in range(length):
            y = operation.value(system.xp, y, constant)
        return y

    forward, backward = system.record(chain, x, g, system.wait)
    with system.quiet():
        array = system.array
        bare = bare_chain(system, operation, array(x), array(b), array(g), length)
    return {"forward": forward, "backward": backward, "bare_forward": bare[0], "bare_backward": bare[1]}


def bare_chain(system: System, operation: Operation, x: Any, b: Any, g: Any, length: int) -> tuple[float, float]:
    xp, kept = system.bare, []
    system.wait()
    start = time.perf_counter()
    y = x
    for _ in range(length):
        y = operation.value(xp, y, b)
        if operation.saves:
            kept.append(y)
    forward = time.perf_counter() - start
    system.wait()
    start = time.perf_counter()
    for k in range(length):
        g = operation.derivative(xp, g, kept[-1 - k] if operation.saves else y, b)
    backward = time.perf_counter() - start
    system.wait()
    return forward, backward
