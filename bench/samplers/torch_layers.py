"""PyTorch with a recurrent layer, called on sequences of one character."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from bench.systems.task import Array, Task
from bench.systems.torch_device import device as device
from bench.systems.torch_layers import LAYERS
from bench.systems.torch_layers import facts as facts

from .torch_cells import sampling_step


def build(task: Task, weights: dict[str, Array], texts: list[tuple[Array, Array]]) -> Callable[[int], Any]:
    rnn = LAYERS[task.cell](task.hidden, task.hidden, task.layers)

    def advance(x: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        hs, state = rnn(x.unsqueeze(0), state)  # (1, N, H)
        return hs[0], state

    return sampling_step(task, rnn, advance, weights, texts)
