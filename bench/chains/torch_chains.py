"""PyTorch's chains, recorded, and the same functions of PyTorch without a gradient.

Its derivatives are calls from C++ to C++, some of them of one fused kernel, so there is nothing bare to compare its
backward with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from bench.systems import torch_device

from . import operations
from .operations import Array, System


def times(lengths: Mapping[str, int], device: str = "cpu") -> dict[str, Any]:
    def tensor(array: Array) -> torch.Tensor:
        return torch.from_numpy(array).to(device)

    def record(chain: Callable[[Any], Any], x: Array, g: Array, wait: Callable[[], None]) -> tuple[float, float]:
        return operations.clocked(chain, tensor(x).requires_grad_(), tensor(g), wait)

    return operations.times(
        System(
            xp=torch,
            bare=torch,
            array=tensor,
            constant=tensor,
            record=record,
            quiet=torch.no_grad,
            wait=torch_device.device(device).synchronize,
            derives_in_python=False,
        ),
        lengths,
    )
