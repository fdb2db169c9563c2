"""Text out: one character at a time, each drawn from what the model expects and fed back to it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

import minigrad as mg

from .data import UserError, Vocabulary
from .model import CharLM


def sample(
    model: CharLM, length: int, *, prime: str = "\n", temperature: float = 1.0, seed: int = 0, device: str = "cpu"
) -> Iterator[str]:
    """Draw `length` characters that follow `prime`, one by one.

    Args:
        temperature: the logits are divided by it. Below 1 the text is more predictable, above 1 more
            surprising; 0 always takes the likeliest character.
        seed: the same seed draws the same text.
    """
    if not 0 <= temperature < math.inf:
        raise UserError(f"the temperature must be 0 or more, got {temperature}")
    if length < 0:
        raise UserError(f"the length must be 0 or more, got {length}")
    if not prime:
        raise UserError("the prime text is empty; the model needs at least one character to start from")
    vocabulary = Vocabulary(model.options.vocabulary)
    ids = vocabulary.encode(prime)
    random = np.random.default_rng(seed)
    return _draw(model, vocabulary, ids, length, temperature, random, device)


def _draw(
    model: CharLM,
    vocabulary: Vocabulary,
    ids: np.ndarray,
    length: int,
    temperature: float,
    random: np.random.Generator,
    device: str,
) -> Iterator[str]:
    model.eval()
    with mg.no_grad():
        logits, state = model(mg.tensor(ids.reshape(-1, 1), device=device))  # (T, 1, V)
    logits = logits[-1]
    for drawn in range(length):
        ids = np.array([_choose(logits[0].to("cpu").numpy(), temperature, random)])
        yield vocabulary.decode(ids)
        if drawn < length - 1:
            with mg.no_grad():
                logits, state = model.step(mg.tensor(ids, device=device), state)


def _choose(logits: np.ndarray, temperature: float, random: np.random.Generator) -> int:
    if not np.isfinite(logits).all():
        raise UserError("the model gives no numbers any more; its training must have diverged. Train again, for "
                        "example with a smaller --lr")  # fmt: skip
    if temperature == 0:
        return int(np.argmax(logits))
    scaled = logits.astype(np.float64) / temperature
    probabilities = np.exp(scaled - scaled.max())
    return int(random.choice(len(probabilities), p=probabilities / probabilities.sum()))
