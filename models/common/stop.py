"""Ctrl-C that waits for the right moment."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


class Stop:
    """Whether somebody asked for the end, by Ctrl-C or another signal. Asked twice, it is at once."""

    def __init__(self) -> None:
        self.asked = False

    @contextlib.contextmanager
    def listening(self, tell: Callable[[str], None]) -> Iterator[Stop]:
        """Inside a `with` block, signals ask instead of interrupting."""

        def ask(number: int, frame: Any) -> None:
            if self.asked:
                raise KeyboardInterrupt
            self.asked = True
            with contextlib.suppress(OSError, RuntimeError):  # a terminal that is closed; in the midst of other output
                tell("stopping after this update, to save; once more stops at once")

        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        named = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, being terminated, a terminal that is closed
        numbers = [getattr(signal, name) for name in named if hasattr(signal, name)]
        heeded = [n for n in numbers if signal.getsignal(n) != signal.SIG_IGN]  # nohup has one ignored
        before = {number: signal.signal(number, ask) for number in heeded}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
