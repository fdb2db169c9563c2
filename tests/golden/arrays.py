"""What the families of golden cases share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


def weighing(shape: tuple[int, ...], k: int) -> np.ndarray:
    """Fixed weights for output k, all different: Σ weights ⊙ output makes one number of it to differentiate."""
    return (np.cos(0.7 * np.arange(math.prod(shape)) + k) + 1.5).reshape(shape)


def flat(outputs: Any) -> list[Any]:
    """What a layer returns, (output, (h, c)) for example, as a list."""
    return [y for part in outputs for y in flat(part)] if isinstance(outputs, (tuple, list)) else [outputs]
