"""Truncated backpropagation through time, and what it reaches on text that was held out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn, optim
from minigrad.nn import functional as F

from .data import Streams, UserError
from .model import CharLM


@dataclass(frozen=True)
class Recipe:
    """How to train."""

    updates: int = 1200
    batch: int = 32  # N, streams side by side
    seq: int = 64  # T, time steps per chunk, which is how far back gradients flow
    lr: float = 4e-3  # at the start; half a cosine brings it down to 0
    clip: float = 1.0  # the largest norm of the gradient of all parameters together

    def __post_init__(self) -> None:
        for name in ("updates", "batch", "seq", "lr", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"--{name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True)
class Progress:
    """Where training stands."""

    update: int
    loss: float  # nats per character, of this chunk
    gradient_norm: float  # before clipping
    characters_per_second: float


READ_EVERY = 10  # updates between two looks at the loss; each look makes the host wait for the device


def train(model: CharLM, ids: np.ndarray, recipe: Recipe, device: str, report: Callable[[Progress], None]) -> None:
    """Train on the text `ids`, calling `report` now and then."""
    streams = Streams(ids, recipe.batch, recipe.seq, device)
    vocabulary = len(model.options.vocabulary)
    optimizer = optim.Adam(model.parameters(), lr=recipe.lr, betas=(0.9, 0.99))
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.updates)
    model.train()

    update, started = 0, time.perf_counter()
    while update < recipe.updates:
        state: Any = None  # an epoch begins: the streams start over, what came before does not fit
        for inputs, targets in streams.epoch():
            state = mg.detach(state)  # carried, but no gradient flows into the chunk before: truncated BPTT
            logits, state = model(inputs, state)
            loss = F.cross_entropy(logits.reshape(-1, vocabulary), targets.reshape(-1))

            optimizer.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            optimizer.step()
            schedule.step()

            update += 1
            if update % READ_EVERY == 0 or update == recipe.updates:
                value, size = mg.stack([loss.detach(), norm]).tolist()  # one wait for the two
                if not np.isfinite(value):
                    raise UserError(f"the loss became {value} at update {update}; try a smaller --lr or --clip")
                speed = update * recipe.batch * recipe.seq / (time.perf_counter() - started)
                report(Progress(update, value, size, speed))
            if update == recipe.updates:
                return


@mg.no_grad()
def evaluate(model: CharLM, ids: np.ndarray, device: str, steps: int = 1000) -> float:
    """Nats per character over the whole text `ids`, read once from start to end with its state carried."""
    model.eval()
    text = mg.tensor(ids, device=device)
    state: Any = None
    total = mg.zeros((), dtype=mg.float64, device=device)
    for start in range(0, len(ids) - 1, steps):
        chunk = text[start : start + steps + 1]
        logits, state = model(chunk[:-1].reshape(-1, 1), state)  # (T, 1, V)
        total += F.cross_entropy(logits.squeeze(1), chunk[1:], reduction="sum")  # promoted to float64
    return total.item() / (len(ids) - 1)
