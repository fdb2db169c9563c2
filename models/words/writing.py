"""Words out: one at a time, each drawn from what the model expects and fed back to it.

<unk> is never written: what it would have had of the probability goes to all others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import minigrad as mg
from minigrad import Tensor
from minigrad.nn import functional as F

from ..common.checks import check_numbers
from ..common.choice import Choice, choose
from ..common.errors import UserError
from . import data
from .model import WordLM

POLICIES = ("error", "replace")


def prompted(words: Sequence[str], vocabulary: Sequence[str], unknown: str = "error") -> np.ndarray:
    """The numbers of the words to go on from; of none, a paragraph begins.

    Args:
        unknown: what becomes of words that are not in the vocabulary: an "error", or "replace" for <unk>.

    Raises:
        UserError: there are such words; or none at all, and the vocabulary has no empty line to begin with.
    """
    if unknown not in POLICIES:
        raise UserError(f"--unknown must be one of {', '.join(POLICIES)}, got {unknown!r}")
    if not words and data.PARAGRAPH not in vocabulary:
        raise UserError("name words to go on from: the text that was learned has no empty line to begin after")
    ids = data.numbers(words or [data.PARAGRAPH], vocabulary)
    if unknown == "error" and not ids.all():
        strange = dict.fromkeys(repr(word) for word, number in zip(words, ids, strict=True) if not number)
        raise UserError(
            f"not in the model's vocabulary of {len(vocabulary) - 1:,} words: {', '.join(strange)}. Use other words, "
            f"or have {data.UNKNOWN} stand for them with --unknown replace"
        )
    return ids


@mg.no_grad()
def write(model: WordLM, ids: np.ndarray, length: int, choice: Choice, seed: int = 0) -> list[int]:
    """The numbers of `length` words that follow; the same seed draws the same ones."""
    rng, written, state = np.random.default_rng(seed), [], None
    chunk = mg.tensor(ids[:, None])  # (T, 1)
    for _ in range(length):
        h, state = model.read(chunk, state)
        logits = model.output(h[-1])  # (1, V)
        check_numbers(logits.numpy())
        chunk = choose(logits[:, 1:], choice, rng.random())[None] + 1  # (1, 1), no 0: that is <unk>
        written.append(int(chunk.item()))
    return written


@mg.no_grad()
def expected(model: WordLM, ids: np.ndarray) -> Tensor:
    """What the model expects next: the probability of each word (V,), <unk> included."""
    h, _ = model.read(mg.tensor(ids[:, None]))
    return F.softmax(model.output(h[-1, 0]), dim=0)
