"""Videos whose frames are handwritten digits, drawn at random, with a label for every frame.

A label depends on the frames before:

    larger    is this digit larger than the one before? At the first frame: no.
    seen      has this digit been in the video already?

The ten digits are about equally frequent. "Larger" is then so at 45% of the frames but the first; "seen" at frame t, of
0, 1, ..., with probability 1 - 0.9ᵗ: never at the first, and more often than not from the eighth on.

Videos for learning are of images for learning alone, those for judging of held-out ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..digits.data import Digits

QUESTIONS = ("larger", "seen")
HELD_OUT = 1000  # videos, the same ones for every seed


@dataclass(frozen=True)
class Videos:
    """Frames (T, N, 1, 8, 8); the digits on them and whether the answer is yes, (T, N)."""

    frames: np.ndarray
    digits: np.ndarray
    labels: np.ndarray


def answers(digits: np.ndarray, question: str) -> np.ndarray:
    """Whether the answer is yes, 1.0 or 0.0, for each digit of videos (T, N).

    >>> answers(np.array([[3], [5], [5], [3]]), "larger")[:, 0]
    array([0., 1., 0., 0.], dtype=float32)
    >>> answers(np.array([[3], [5], [5], [3]]), "seen")[:, 0]
    array([0., 0., 1., 1.], dtype=float32)
    """
    if question == "larger":
        yes = np.diff(digits, axis=0, prepend=digits[:1]) > 0
    else:
        same = digits[:, None] == digits[None]  # (T, T, N): at frames t and s
        yes = np.tril(same.transpose(2, 0, 1), -1).any(2).T
    return yes.astype(np.float32)


def often(question: str, steps: int) -> np.ndarray:
    """How likely the answer is yes at each frame (T,), if one does not look and every digit is as likely.

    >>> often("larger", 3).tolist(), often("seen", 3).round(2).tolist()
    ([0.0, 0.45, 0.45], [0.0, 0.1, 0.19])
    """
    t = np.arange(steps)
    return np.where(t > 0, 0.45, 0.0) if question == "larger" else 1 - 0.9**t


def videos(source: Digits, question: str, steps: int, count: int, rng: np.random.Generator) -> Videos:
    """`count` videos of T = `steps` frames, each an image of `source` drawn at random."""
    drawn = rng.integers(0, len(source), (steps, count))
    digits = source.labels[drawn]
    return Videos(source.images[drawn], digits, answers(digits, question))
