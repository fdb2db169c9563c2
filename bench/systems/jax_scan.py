"""JAX: the whole step compiled as one function, a scan over time, the inputs projected before it in one product."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from .task import BETAS, EPS, RATE, Array, Task


def rnn(x: Any, h: Any, weight: Any, bias: Any) -> Any:
    return jnp.tanh(x + h @ weight.T + bias)


def lstm(x: Any, state: Any, weight: Any, bias: Any) -> Any:
    h, c = state
    i, f, g, o = jnp.split(x + h @ weight.T + bias, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(c), c


def gru(x: Any, h: Any, weight: Any, bias: Any) -> Any:
    rx, zx, nx = jnp.split(x, 3, axis=-1)
    rh, zh, nh = jnp.split(h @ weight.T + bias, 3, axis=-1)
    r, z = sigmoid(rx + rh), sigmoid(zx + zh)
    n = jnp.tanh(nx + r * nh)
    return (1 - z) * n + z * h


CELLS = {"rnn": rnn, "lstm": lstm, "gru": gru}


def build(task: Task, weights: dict[str, Array], batches: list[tuple[Array, Array]]) -> Callable[[int], Any]:
    data = [(jnp.asarray(ids), jnp.asarray(targets)) for ids, targets in batches]
    cell, is_pair = CELLS[task.cell], task.cell == "lstm"

    def loss_of(p: Any, ids: Any, targets: Any) -> Any:
        x = p["embedding.weight"][ids]  # (T, N, H)
        for layer in range(task.layers):
            w_ih, w_hh = p[f"rnn.weight_ih_l{layer}"], p[f"rnn.weight_hh_l{layer}"]
            b_ih, b_hh = p[f"rnn.bias_ih_l{layer}"], p[f"rnn.bias_hh_l{layer}"]

            def advance(state: Any, x_t: Any, w_hh: Any = w_hh, b_hh: Any = b_hh) -> Any:
                state = cell(x_t, state, w_hh, b_hh)
                return state, state[0] if is_pair else state

            zeros = jnp.zeros((task.batch, task.hidden))
            _, x = jax.lax.scan(advance, (zeros, zeros) if is_pair else zeros, x @ w_ih.T + b_ih)
        logs = jax.nn.log_softmax(x @ p["output.weight"].T + p["output.bias"])
        return -jnp.mean(jnp.take_along_axis(logs, targets[..., None], axis=-1))

    @functools.partial(jax.jit, donate_argnums=0)
    def train(state: Any, ids: Any, targets: Any) -> Any:
        p, m, v, t = state
        loss, g = jax.value_and_grad(loss_of)(p, ids, targets)
        norm = jnp.sqrt(sum(jnp.vdot(each, each) for each in g.values()))
        factor = jnp.minimum(1.0, task.clip / (norm + 1e-6))
        g = {name: each * factor for name, each in g.items()}
        t = t + 1
        m = {name: BETAS[0] * m[name] + (1 - BETAS[0]) * g[name] for name in p}
        v = {name: BETAS[1] * v[name] + (1 - BETAS[1]) * g[name] ** 2 for name in p}
        c1, c2 = 1 - BETAS[0] ** t, 1 - BETAS[1] ** t
        p = {name: p[name] - RATE * (m[name] / c1) / (jnp.sqrt(v[name] / c2) + EPS) for name in p}
        return (p, m, v, t), loss

    params = {name: jnp.asarray(weight) for name, weight in weights.items()}
    zeros = {name: jnp.zeros_like(weight) for name, weight in params.items()}
    state = (params, zeros, {name: jnp.zeros_like(weight) for name, weight in params.items()}, jnp.zeros(()))

    def step(k: int) -> Any:
        nonlocal state
        state, loss = train(state, *data[k % len(data)])
        jax.block_until_ready(state)
        return loss

    return step
