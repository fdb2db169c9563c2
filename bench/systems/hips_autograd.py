"""HIPS autograd: plain NumPy code and a Python loop over time. Its own Adam brings its own loop, so that is by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as np
from autograd import value_and_grad

from .numpy_training import Adam
from .task import Array, Task


def sigmoid(x: Any) -> Any:
    return 0.5 * (np.tanh(0.5 * x) + 1)  # as in autograd's own example of an LSTM


def rnn(x: Any, h: Any, weight: Any, bias: Any) -> Any:
    return np.tanh(x + h @ weight.T + bias)


def lstm(x: Any, state: Any, weight: Any, bias: Any) -> Any:
    h, c = state
    i, f, g, o = np.split(x + h @ weight.T + bias, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(x: Any, h: Any, weight: Any, bias: Any) -> Any:
    rx, zx, nx = np.split(x, 3, axis=1)
    rh, zh, nh = np.split(h @ weight.T + bias, 3, axis=1)
    r, z = sigmoid(rx + rh), sigmoid(zx + zh)
    n = np.tanh(nx + r * nh)
    return (1 - z) * n + z * h


CELLS = {"rnn": rnn, "lstm": lstm, "gru": gru}


def build(task: Task, weights: dict[str, Array], batches: list[tuple[Array, Array]]) -> Callable[[int], Any]:
    T, N, H = task.length, task.batch, task.hidden
    cell, is_pair = CELLS[task.cell], task.cell == "lstm"
    positions, zeros = np.arange(T * N), np.zeros((N, H), dtype=np.float32)

    def loss_of(p: dict[str, Any], ids: Array, targets: Array) -> Any:
        x = p["embedding.weight"][ids.reshape(-1)]  # (TN, H)
        for layer in range(task.layers):
            w_ih, w_hh = p[f"rnn.weight_ih_l{layer}"], p[f"rnn.weight_hh_l{layer}"]
            b_ih, b_hh = p[f"rnn.bias_ih_l{layer}"], p[f"rnn.bias_hh_l{layer}"]
            state = (zeros, zeros) if is_pair else zeros
            hs = []
            for x_t in np.split(x @ w_ih.T + b_ih, T):  # (N, GH) each
                state = cell(x_t, state, w_hh, b_hh)
                hs.append(state[0] if is_pair else state)
            x = np.concatenate(hs)
        logits = x @ p["output.weight"].T + p["output.bias"]  # (TN, V)
        highest = np.max(logits, axis=-1, keepdims=True)
        logs = logits - highest - np.log(np.sum(np.exp(logits - highest), axis=-1, keepdims=True))
        return -np.mean(logs[positions, targets.reshape(-1)])

    differentiated = value_and_grad(loss_of)
    params = {name: weight.copy() for name, weight in weights.items()}
    optimizer = Adam(list(params.values()), task.clip)

    def step(k: int) -> Any:
        loss, gradients = differentiated(params, *batches[k % len(batches)])
        optimizer.step([gradients[name] for name in params])
        return loss

    return step
