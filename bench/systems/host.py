"""Where a system's step runs, and how it is measured there. Systems on other devices have classes of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from . import resident


class Host:
    """The computer itself, where a call that has returned is done."""

    def __init__(self, name: str = "cpu") -> None:
        self.name = name

    def active(self) -> contextlib.AbstractContextManager[Any]:
        """A context in which the system's new arrays lie on this device."""
        return contextlib.nullcontext()

    def synchronize(self) -> None:
        """Wait until everything that was asked for is done."""

    def mark(self) -> Any:
        """A moment in the device's own time; the host has none."""

    def between(self, start: Any, end: Any) -> float | None:
        """Seconds of the device's own time between two marks."""
        return None

    def now(self) -> int:
        """Bytes in use."""
        return resident.now()

    def peak(self, act: Callable[[], Any]) -> tuple[int, int]:
        """Bytes in use before `act`, and the most while it runs.

        Raises:
            OSError: this system cannot tell.
        """
        return resident.peak(act)
