"""Text out: one character at a time, each drawn from what the model expects and fed back to it.

V: vocabulary
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

import minigrad as mg

from ..common.errors import UserError
from .model import CharLM
from .vocabulary import Vocabulary

# Characters between two looks at what was drawn: each look makes the host wait for the device. The CPU never waits.
READ_EVERY = 32


def sample(
    model: CharLM, length: int, *, prime: str = "\n", temperature: float = 1.0, seed: int = 0, device: str = "cpu"
) -> Iterator[str]:
    """Draw `length` characters that follow `prime`, one by one; on a GPU they come a few at a time.

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
    vocabulary = model.vocabulary
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
    together = 1 if device == "cpu" else READ_EVERY
    # NumPy need not warn of what is no number: what is drawn is looked at.
    with mg.no_grad(), np.errstate(all="ignore"):
        logits, state = model(mg.tensor(ids.reshape(-1, 1).astype(np.int64), device=device))  # (T, 1, V)
    logits, last = logits[-1], None
    for start in range(0, length, together):
        drawn: list[mg.Tensor] = []
        with mg.no_grad(), np.errstate(all="ignore"):
            for place in range(start, min(start + together, length)):
                if place:
                    logits, state = model.step(last, state)
                last = _choose(logits, temperature, random.random())
                drawn.append(last)
            numbers = mg.concatenate(drawn).tolist()
        for number in numbers:
            if number == len(vocabulary):
                raise UserError("the model gives no numbers any more; its training must have diverged. Train again, "
                                "for example with a smaller --lr")  # fmt: skip
            yield vocabulary.decode([number])


def _choose(logits: mg.Tensor, temperature: float, u: float) -> mg.Tensor:
    """The number (1,) of a character, drawn by u in [0, 1): the first i with p_0 + ... + p_i > u.

    It is V if the logits (1, V) are no numbers. Nothing is read.
    """
    below = logits - logits.max(axis=-1, keepdims=True)
    if temperature == 0:
        p, u = below == 0, 0.0
    else:
        p = mg.exp(below.astype(mg.float64) / temperature)  # times what makes their sum 1
    reached = mg.cumsum(p, axis=-1)
    return logits.shape[-1] - (reached > u * reached[:, -1:]).sum(axis=-1)
