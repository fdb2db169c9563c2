"""MyGrad: NumPy code on its tensors, a Python loop over time; clipping and Adam by hand, for it has no optimizers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mygrad as mg
import numpy as np
from mygrad.nnet import sigmoid, softmax_crossentropy

from .numpy_training import Adam
from .task import Array, Task

mg.turn_memory_guarding_off()  # as its documentation advises for speed
ONE = np.float32(1)  # a bare 1 becomes an int64 array, and all that follows float64


def parts(x: mg.Tensor, count: int) -> list[mg.Tensor]:
    """Blocks of columns: it has no split."""
    width = x.shape[1] // count
    return [x[:, k * width : (k + 1) * width] for k in range(count)]


def rnn(x: Any, h: Any, weight: Any, bias: Any) -> Any:
    return mg.tanh(x + h @ weight.T + bias)


def lstm(x: Any, state: Any, weight: Any, bias: Any) -> Any:
    h, c = state
    i, f, g, o = parts(x + h @ weight.T + bias, 4)
    c = sigmoid(f) * c + sigmoid(i) * mg.tanh(g)
    return sigmoid(o) * mg.tanh(c), c


def gru(x: Any, h: Any, weight: Any, bias: Any) -> Any:
    rx, zx, nx = parts(x, 3)
    rh, zh, nh = parts(h @ weight.T + bias, 3)
    r, z = sigmoid(rx + rh), sigmoid(zx + zh)
    n = mg.tanh(nx + r * nh)
    return (ONE - z) * n + z * h


CELLS = {"rnn": rnn, "lstm": lstm, "gru": gru}


def build(task: Task, weights: dict[str, Array], batches: list[tuple[Array, Array]]) -> Callable[[int], Any]:
    T, N, H = task.length, task.batch, task.hidden
    cell, is_pair = CELLS[task.cell], task.cell == "lstm"
    zeros = np.zeros((N, H), dtype=np.float32)
    p = {name: mg.tensor(weight) for name, weight in weights.items()}
    optimizer = Adam([weight.data for weight in p.values()], task.clip)

    def step(k: int) -> Any:
        ids, targets = batches[k % len(batches)]
        x = p["embedding.weight"][ids.reshape(-1)]  # (TN, H)
        for layer in range(task.layers):
            w_ih, w_hh = p[f"rnn.weight_ih_l{layer}"], p[f"rnn.weight_hh_l{layer}"]
            x = x @ w_ih.T + p[f"rnn.bias_ih_l{layer}"]
            state = (zeros, zeros) if is_pair else zeros
            hs = []
            for t in range(T):
                state = cell(x[t * N : (t + 1) * N], state, w_hh, p[f"rnn.bias_hh_l{layer}"])
                hs.append(state[0] if is_pair else state)
            x = mg.concatenate(hs)
        loss = softmax_crossentropy(x @ p["output.weight"].T + p["output.bias"], targets.reshape(-1))
        loss.backward()
        optimizer.step([weight.grad for weight in p.values()])
        return loss.data

    return step
