"""What the options of the small programs' models are held to."""

from __future__ import annotations

from typing import Any

from .errors import UserError

WIDEST = 4096  # of a size: what a file claims is not to fill the memory


def check_sizes(options: Any, *names: str, least: int = 1) -> None:
    """
    Raises:
        UserError: one of these fields is below `least`, or above WIDEST.
    """
    for name in names:
        size = getattr(options, name)
        if not least <= size <= WIDEST:
            raise UserError(f"{name} must be from {least} to {WIDEST:,}, got {size:,}")


def check_share(name: str, value: float) -> None:
    """
    Raises:
        UserError: a share to drop is not in [0, 1).
    """
    if not 0 <= value < 1:
        raise UserError(f"{name} must be from 0 to below 1, got {value}")
