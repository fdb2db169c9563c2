"""minigrad's chains, and those of the array library below."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import minigrad as mg
from minigrad.backend import namespace

from . import operations
from .operations import Array, System


def record(chain: Callable[[Any], Any], x: Array, g: Array, wait: Callable[[], None]) -> tuple[float, float]:
    leaf, incoming = mg.tensor(x, requires_grad=True), mg.tensor(g)
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


def times(lengths: Mapping[str, int], device: str = "cpu") -> dict[str, Any]:
    xp = namespace(device)  # whose sigmoid is the calls that minigrad makes
    with mg.use_device(device):
        system = System(xp=mg, bare=xp, array=xp.from_host, constant=mg.tensor, record=record, wait=xp.synchronize)
        return operations.times(system, lengths)
