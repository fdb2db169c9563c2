"""What the options of the small programs' models are held to."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np

from .errors import UserError
from .options import flag

WIDEST = 4096  # of a size: what a file claims is not to fill the memory


def check_sizes(options: Any, *names: str, least: int = 1, most: int = WIDEST) -> None:
    """
    Raises:
        UserError: one of these fields, or of the numbers in it, is below `least`, or above `most`.
    """
    for name in names:
        value = getattr(options, name)
        for size in value if isinstance(value, list) else [value]:
            if not least <= size <= most:
                raise UserError(f"{name} must be from {least} to {most:,}, got {size:,}")


def check_finite(options: Any, *names: str, positive: bool = False) -> None:
    """
    Raises:
        UserError: one of these fields, or of the numbers in it, is infinite or NaN, or not `positive`.
    """
    for name in names:
        values = np.atleast_1d(getattr(options, name))
        if not np.isfinite(values).all() or (positive and not (values > 0).all()):
            raise UserError(f"{flag(name)} must be {'positive and ' * positive}finite, got {getattr(options, name)}")


def check_printable(name: str, texts: Iterable[str]) -> None:
    """
    Raises:
        UserError: a text would command the terminal that it is shown on.
    """
    for text in texts:
        if any(unicodedata.category(c) == "Cc" for c in text):
            raise UserError(f"{name} must be texts without control characters, got {text!a:.60}")


def check_numbers(found: np.ndarray) -> np.ndarray:
    """What a model gives, if it is numbers.

    Raises:
        UserError: it is not.
    """
    if not np.isfinite(found).all():
        raise UserError("the model gives what is no number: its weights are of no use. Train it again")
    return found


def check_share(name: str, value: float) -> None:
    """
    Raises:
        UserError: a share to drop is not in [0, 1).
    """
    if not 0 <= value < 1:
        raise UserError(f"{name} must be from 0 to below 1, got {value}")
