"""minigrad: a recurrent layer's `step`, without recording."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import minigrad as mg
from bench.systems.minigrad_device import device as device
from bench.systems.minigrad_layers import LAYERS
from bench.systems.task import Array, Task
from minigrad import nn
from minigrad.nn import functional as F


def build(task: Task, weights: dict[str, Array], texts: list[tuple[Array, Array]]) -> Callable[[int], Any]:
    embedding = nn.Embedding(task.vocabulary, task.hidden)
    rnn = LAYERS[task.cell](task.hidden, task.hidden, task.layers)
    output = nn.Linear(task.hidden, task.vocabulary)
    nn.ModuleDict({"embedding": embedding, "rnn": rnn, "output": output}).load_state_dict(weights)
    given, following = mg.tensor(texts[0][0]), mg.tensor(texts[0][1])  # (T, N)
    mg.manual_seed(task.seed)
    ids, state = given[0], None

    def step(k: int) -> Any:
        nonlocal ids, state
        with mg.no_grad():
            h, state = rnn.step(embedding(ids if k >= task.length else given[k]), state)  # (N, H)
            logits = output(h)  # (N, V)
            if k < task.length:
                return F.cross_entropy(logits, following[k])
            # The largest of pᵢ/eᵢ, with eᵢ drawn from the exponential distribution, is i with probability pᵢ.
            ids = (F.softmax(logits, dim=-1) / -mg.log(mg.rand(logits.shape))).argmax(axis=-1)
            return ids

    return step
