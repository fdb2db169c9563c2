"""Clipping and Adam in plain NumPy, for systems that bring derivatives and no optimizer."""

from __future__ import annotations

import math

import numpy as np

from .task import BETAS, EPS, RATE, Array


class Adam:
    """Clips gradients to a norm, then moves the weights in place, with few passes and no new arrays but one."""

    def __init__(self, weights: list[Array], clip: float) -> None:
        self.weights, self.clip, self.t = weights, clip, 0
        self.m = [np.zeros_like(weight) for weight in weights]
        self.v = [np.zeros_like(weight) for weight in weights]

    def step(self, gradients: list[Array]) -> None:
        norm = math.sqrt(sum(float(np.vdot(g, g)) for g in gradients))
        factor = min(1.0, self.clip / (norm + 1e-6))
        self.t += 1
        c1, c2 = 1 - BETAS[0] ** self.t, 1 - BETAS[1] ** self.t
        for p, g, m, v in zip(self.weights, gradients, self.m, self.v, strict=True):
            m *= BETAS[0]
            m += (1 - BETAS[0]) * factor * g
            v *= BETAS[1]
            v += (1 - BETAS[1]) * factor**2 * np.square(g)
            change = np.sqrt(v)
            change /= math.sqrt(c2)
            change += EPS
            np.divide(m, change, out=change)
            change *= RATE / c1
            p -= change
