"""The states of a layer, one by one, what comes back to them, and by how much it shrinks a step.

T: time steps   N: sequences   D: numbers in an input   H: hidden size
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import minigrad as mg
from minigrad import Tensor, nn


def states(cell: nn.RNN | nn.LSTM | nn.GRU, x: Tensor) -> list[tuple[Tensor, ...]]:
    """The states after 0 to T steps, from zeros: (h,) each, or (h, c) of an LSTM, of (1, N, H); x (T, N, D)."""
    rnn, shape = nn.Stateful(cell), (1, x.shape[1], cell.hidden_size)
    h, c = (mg.zeros(shape, dtype=x.dtype, requires_grad=True) for _ in range(2))
    rnn.state = (h, c) if isinstance(cell, nn.LSTM) else h
    found = [rnn.state]
    for x_t in x:
        rnn.step(x_t)
        found.append(rnn.state)
    return [state if isinstance(state, tuple) else (state,) for state in found]


def gradients(loss: Tensor, states: Sequence[tuple[Tensor, ...]]) -> list[np.ndarray]:
    """dL/dh_t, and for an LSTM dL/dc_t: (T + 1, N, H) each, by the distance T - t.

    A state (h, c) is two variables: either derivative is with the other held fixed.
    """
    flat = [each for state in reversed(states) for each in state]
    found = mg.grad(loss, flat, allow_unused=True)
    arrays = [np.zeros(x.shape) if g is None else g.to("cpu").numpy() for x, g in zip(flat, found, strict=True)]
    kinds = len(states[0])
    return [np.concatenate(arrays[kind::kinds]) for kind in range(kinds)]


def rate(gradient: Sequence[float]) -> float:
    """By how much a gradient grows or shrinks a step: the geometric mean over the second half of the way."""
    half, last = len(gradient) // 2, len(gradient) - 1
    return float((gradient[last] / gradient[half]) ** (1 / (last - half))) if gradient[half] else 0.0
