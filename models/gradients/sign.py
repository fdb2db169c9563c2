"""A task: was the first input 1 or -1? Noise as large follows, and then the answer is wanted.

T: time steps   N: sequences
"""

import numpy as np

import minigrad as mg
from minigrad import Tensor, nn, optim
from minigrad.nn import functional as F

from ..common.console import say
from ..common.experiments import Row

BATCH, LR, CLIP = 32, 1e-2, 1.0  # of the updates, by Adam
JUDGED, LOOK, ENOUGH = 500, 20, 0.95  # sequences held out, updates between two looks, and the share that is success


def examples(delay: int, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """x (1 + delay, N, 1): 1 or -1, and then noise, normal with deviation 1; and whether it is 1, (N,)."""
    plus = rng.integers(0, 2, count)
    x = rng.standard_normal((1 + delay, count, 1))
    x[0, :, 0] = 2 * plus - 1
    return mg.tensor(x, dtype=mg.float32), mg.tensor(plus, dtype=mg.float32)


class Sign(nn.Module):
    """A logit (N,) of what the first input was, after the last of x (T, N, 1)."""

    def __init__(self, units: int, bias: float) -> None:
        self.lstm = nn.LSTM(1, units, forget_bias=bias)
        self.output = nn.Linear(units, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.output(self.lstm(x)[0][-1])[:, 0]
        return logits


def learn(units: int, updates: int, bias: float, delay: int, seed: int) -> Row:
    """The share that is right every few updates, of these at most so many, until it is enough."""
    mg.manual_seed(seed)
    model, rng, right = Sign(units, bias), np.random.default_rng([seed, 2]), []
    x, plus = examples(delay, JUDGED, np.random.default_rng([seed, 1]))
    parameters = list(model.parameters())
    optimizer = optim.Adam(parameters, lr=LR)
    for update in range(updates + 1):
        if update % LOOK == 0:
            with mg.no_grad():
                right.append(float(((model(x) > 0) == (plus > 0)).to("cpu").numpy().mean()))
            if right[-1] >= ENOUGH:
                break
        if update < updates:
            inputs, wanted = examples(delay, BATCH, rng)
            loss = F.binary_cross_entropy_with_logits(model(inputs), wanted)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, CLIP)
            optimizer.step()
    learned = (len(right) - 1) * LOOK if right[-1] >= ENOUGH else None
    told = f"not within {updates}" if learned is None else f"after {learned}"
    say(f"{delay} steps of noise, bias {bias:g}, seed {seed}: learned {told} updates")
    row = {"kind": "task", "bias": bias, "delay": delay, "seed": seed, "budget": updates}
    return {**row, "learned": learned, "right": right}
