"""PyTorch with single cells and a Python loop over time: what one writes for a cell that has no layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .task import Array, Task
from .torch_device import device as device
from .torch_layers import facts as facts
from .torch_layers import training_step

CELLS = {"rnn": nn.RNNCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}


def build(task: Task, weights: dict[str, Array], batches: list[tuple[Array, Array]]) -> Callable[[int], Any]:
    return training_step(task, Loop(task), {_renamed(name): weight for name, weight in weights.items()}, batches)


class Loop(nn.Module):
    """L cells, one time step after the other."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.cells = nn.ModuleList(CELLS[task.cell](task.hidden, task.hidden) for _ in range(task.layers))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[Any]]:
        states: list[Any] = [None] * len(self.cells)  # zeros
        outputs = []
        for h in x.unbind():
            for layer, cell in enumerate(self.cells):
                states[layer] = cell(h, states[layer])
                h = states[layer][0] if isinstance(cell, nn.LSTMCell) else states[layer]
            outputs.append(h)
        return torch.stack(outputs), states


def _renamed(name: str) -> str:
    """rnn.weight_ih_l0, as a layer calls it -> rnn.cells.0.weight_ih"""
    if not name.startswith("rnn."):
        return name
    part, layer = name.removeprefix("rnn.").rsplit("_l", 1)
    return f"rnn.cells.{layer}.{part}"
