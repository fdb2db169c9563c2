"""PyTorch with a single cell, called character by character."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from bench.systems.task import Array, Task
from bench.systems.torch_cells import CELLS
from bench.systems.torch_device import device as device
from bench.systems.torch_layers import facts as facts


def build(task: Task, weights: dict[str, Array], texts: list[tuple[Array, Array]]) -> Callable[[int], Any]:
    cell = CELLS[task.cell](task.hidden, task.hidden)
    is_lstm = isinstance(cell, nn.LSTMCell)

    def advance(x: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        state = cell(x, state)
        return state[0] if is_lstm else state, state

    renamed = {name.removesuffix("_l0"): weight for name, weight in weights.items()}  # a cell has one layer
    return sampling_step(task, cell, advance, renamed, texts)


def sampling_step(
    task: Task,
    rnn: nn.Module,
    advance: Callable[[torch.Tensor, Any], tuple[torch.Tensor, Any]],
    weights: dict[str, Array],
    texts: list[tuple[Array, Array]],
) -> Callable[[int], Any]:
    """The step around what takes (N, H) and a state one character further."""
    embedding = nn.Embedding(task.vocabulary, task.hidden)
    output = nn.Linear(task.hidden, task.vocabulary)
    model = nn.ModuleDict({"embedding": embedding, "rnn": rnn, "output": output}).eval()
    model.load_state_dict({name: torch.from_numpy(weight) for name, weight in weights.items()})
    model.to(task.device)
    given, following = (torch.tensor(text, device=task.device) for text in texts[0])  # (T, N)
    torch.manual_seed(task.seed)
    ids, state = given[0], None

    def step(k: int) -> Any:
        nonlocal ids, state
        with torch.inference_mode():
            h, state = advance(embedding(ids if k >= task.length else given[k]), state)  # (N, H)
            logits = output(h)  # (N, V)
            if k < task.length:
                return F.cross_entropy(logits, following[k])
            ids = torch.multinomial(F.softmax(logits, dim=-1), 1).squeeze(1)
            return ids

    return step
