"""minigrad, as a user writes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad import nn, optim
from minigrad.nn import functional as F

from .minigrad_device import device as device
from .task import BETAS, EPS, RATE, Array, Task

LAYERS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def build(
    task: Task, weights: dict[str, Array], batches: list[tuple[Array, Array]], carries_state: bool = False
) -> Callable[[int], Any]:
    """On the default device; what carries its state begins a step with the one that the step before left."""
    embedding = nn.Embedding(task.vocabulary, task.hidden)
    rnn = LAYERS[task.cell](task.hidden, task.hidden, task.layers)
    output = nn.Linear(task.hidden, task.vocabulary)
    model = nn.ModuleDict({"embedding": embedding, "rnn": rnn, "output": output})
    model.load_state_dict(weights)
    optimizer = optim.Adam(model.parameters(), lr=RATE, betas=BETAS, eps=EPS)
    data = [(mg.tensor(ids), mg.tensor(targets.reshape(-1))) for ids, targets in batches]

    state: Any = None

    def step(k: int) -> mg.Tensor:
        nonlocal state
        ids, targets = data[k % len(data)]
        hs, last = rnn(embedding(ids), state)  # (T, N, H)
        if carries_state:
            state = mg.detach(last)
        loss = F.cross_entropy(output(hs).reshape(-1, task.vocabulary), targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), task.clip)
        optimizer.step()
        return loss

    return step


def facts(task: Task) -> dict[str, Any]:
    """Who writes the kernels of another device than the CPU; of the CPU's the record of the machine tells."""
    return {} if task.device == "cpu" else {"settings": {"kernels": mg.fuse_backend(task.device)}}
