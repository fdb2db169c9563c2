"""minigrad's chains, and those of the array library below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import minigrad as mg
from minigrad.backend import namespace

from . import operations
from .operations import Array, System


def record(chain: Callable[[Any], Any], x: Array, g: Array, wait: Callable[[], None]) -> tuple[float, float]:
    return operations.clocked(chain, mg.tensor(x, requires_grad=True), mg.tensor(g), wait)


def times(lengths: Mapping[str, int], device: str = "cpu") -> dict[str, Any]:
    xp = namespace(device)  # whose sigmoid is the calls that minigrad makes
    with mg.use_device(device):
        system = System(xp=mg, bare=xp, array=xp.from_host, constant=mg.tensor, record=record, wait=xp.synchronize)
        return operations.times(system, lengths)
