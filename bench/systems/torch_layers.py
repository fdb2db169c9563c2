"""PyTorch with its recurrent layers, as its documentation has a training loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .task import BETAS, EPS, RATE, Array, Task
from .torch_device import device as device
from .torch_device import precision

LAYERS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def build(task: Task, weights: dict[str, Array], batches: list[tuple[Array, Array]]) -> Callable[[int], Any]:
    return training_step(task, LAYERS[task.cell](task.hidden, task.hidden, task.layers), weights, batches)


def facts(task: Task) -> dict[str, Any]:
    return precision(task.device)


def training_step(
    task: Task, rnn: nn.Module, weights: dict[str, Array], batches: list[tuple[Array, Array]]
) -> Callable[[int], Any]:
    """The step around any recurrent part that takes (T, N, H) and returns it with a state."""
    embedding = nn.Embedding(task.vocabulary, task.hidden)
    output = nn.Linear(task.hidden, task.vocabulary)
    model = nn.ModuleDict({"embedding": embedding, "rnn": rnn, "output": output})
    model.load_state_dict({name: torch.from_numpy(weight) for name, weight in weights.items()})
    model.to(task.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, betas=BETAS, eps=EPS)
    data = [
        (torch.tensor(ids, device=task.device), torch.tensor(targets.reshape(-1), device=task.device))
        for ids, targets in batches
    ]

    def step(k: int) -> torch.Tensor:
        ids, targets = data[k % len(data)]
        hs, _ = rnn(embedding(ids))  # (T, N, H)
        loss = F.cross_entropy(output(hs).flatten(0, 1), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), task.clip)
        optimizer.step()
        return loss.detach()

    return step
