"""PyTorch's chains, recorded, and the same functions of PyTorch without a gradient.

Its derivatives are calls from C++ to C++, some of them of one fused kernel, so there is nothing bare to compare its
backward with.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from . import operations
from .operations import Array, System


def record(chain: Callable[[Any], Any], x: Array, g: Array) -> tuple[float, float]:
    leaf, incoming = torch.from_numpy(x).requires_grad_(), torch.from_numpy(g)
    start = time.perf_counter()
    y = chain(leaf)
    middle = time.perf_counter()
    y.backward(incoming)
    return middle - start, time.perf_counter() - middle


times = partial(
    operations.times,
    System(
        xp=torch,
        bare=torch,
        array=torch.from_numpy,
        constant=torch.from_numpy,
        record=record,
        quiet=torch.no_grad,
        derives_in_python=False,
    ),
)
