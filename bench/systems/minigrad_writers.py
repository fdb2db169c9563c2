"""minigrad with its kernels written by the one that the environment variable BENCH_WRITER names, or by nobody."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import minigrad as mg

from . import minigrad_layers
from .minigrad_device import device as device
from .task import Array, Task

FOUND = {"c": "c", "numpy": "numpy", "off": "none", "no compiler": "numpy"}  # setting -> fuse_backend


def environment(setting: str) -> dict[str, str]:
    """What the process of a setting finds in its environment."""
    return {"BENCH_WRITER": setting} | ({"MINIGRAD_CC": "none"} if setting == "no compiler" else {})


def build(task: Task, weights: dict[str, Array], batches: list[tuple[Array, Array]]) -> Callable[[int], Any]:
    setting = os.environ["BENCH_WRITER"]
    mg.fusing(setting != "off", writer="numpy" if setting == "numpy" else None)
    return minigrad_layers.build(task, weights, batches)


def facts(task: Task) -> dict[str, Any]:
    """Nothing; but the first steps must have been computed by the one that was asked for.

    Raises:
        RuntimeError: they were not: there is no compiler, or it failed.
    """
    found, wanted = mg.fuse_backend("cpu"), FOUND[os.environ["BENCH_WRITER"]]
    if found != wanted:
        raise RuntimeError(f"the kernels were to be written by {wanted!r} and are by {found!r}: is there a C compiler?")
    return {}
