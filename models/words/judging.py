"""How well a model expects a text: nats per word.

T: time steps   N: rows side by side   V: vocabulary
"""

from __future__ import annotations

import numpy as np

import minigrad as mg
from minigrad.nn import functional as F

from .model import WordLM

CHUNK = 1024  # words at a time: (CHUNK, V) logits


def nats(model: WordLM, words: np.ndarray, device: str) -> np.ndarray:
    """Of each word but the first, given all those before it: (T - 1,). One pass, the state is carried."""
    ids, state, found = mg.tensor(words, device=device), None, []
    for start in range(0, len(words) - 1, CHUNK):
        chunk = ids[start : start + CHUNK + 1]
        logits, state = model(chunk[:-1, None], state)
        found.append(F.cross_entropy(logits[:, 0], chunk[1:], reduction="none"))
    return mg.concatenate(found).to("cpu").numpy()


def nats_after(model: WordLM, words: np.ndarray, seen: int, first: int, device: str) -> np.ndarray:
    """Of each word from number `first` on, given the `seen` words right before it and nothing older."""
    rows = np.lib.stride_tricks.sliding_window_view(words[first - seen :], seen + 1)  # (N, seen + 1)
    found = []
    for start in range(0, len(rows), CHUNK):
        chunk = mg.tensor(rows[start : start + CHUNK].T, device=device)
        h, _ = model.read(chunk[:-1])
        found.append(F.cross_entropy(model.output(h[-1]), chunk[-1], reduction="none"))
    return mg.concatenate(found).to("cpu").numpy()
