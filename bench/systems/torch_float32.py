"""PyTorch's recurrent layers with products of float32 only: on a GPU its default is TF32, which keeps 11 of 24 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import torch_layers
from .task import Array, Task
from .torch_device import device as device
from .torch_device import only_float32
from .torch_layers import facts as facts


def build(task: Task, weights: dict[str, Array], batches: list[tuple[Array, Array]]) -> Callable[[int], Any]:
    only_float32()
    return torch_layers.build(task, weights, batches)
