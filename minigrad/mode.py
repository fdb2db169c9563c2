"""Whether operations are being recorded: `no_grad`, `enable_grad`. One answer per thread."""

from __future__ import annotations

import contextlib
import inspect
import threading
from typing import Any


class _Mode(threading.local):
    def __init__(self) -> None:
        self.recording = True
        self.outside: list[bool] = []  # what to go back to, for each block of no_grad or enable_grad we are in


mode = _Mode()


class _Recording(contextlib.ContextDecorator):
    recording: bool

    def __new__(cls, function: Any = None) -> Any:
        return super().__new__(cls) if function is None else cls()(function)  # @no_grad, without parentheses

    def __call__(self, function: Any) -> Any:
        if inspect.isgeneratorfunction(function):
            name = type(self).__name__
            raise TypeError(f"{name} cannot decorate a generator, which runs later; write `with {name}():` inside it")
        return super().__call__(function)

    def __enter__(self) -> None:
        mode.outside.append(mode.recording)
        mode.recording = self.recording

    def __exit__(self, *_: object) -> None:
        mode.recording = mode.outside.pop()


class no_grad(_Recording):  # noqa: N801 - used like a function, as in PyTorch
    """Inside this block, or a function decorated with `@no_grad()`, nothing is recorded. One per thread.

    >>> import minigrad as mg
    >>> x = mg.ones(2, requires_grad=True)
    >>> with mg.no_grad():
    ...     (2 * x).requires_grad
    False
    """

    recording = False


class enable_grad(_Recording):  # noqa: N801
    """Inside this block, or a function decorated with `@enable_grad()`, operations are recorded, `no_grad` or not.

    >>> import minigrad as mg
    >>> x = mg.ones(2, requires_grad=True)
    >>> with mg.no_grad(), mg.enable_grad():
    ...     (2 * x).requires_grad
    True
    """

    recording = True


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread.

    >>> import minigrad as mg
    >>> mg.is_grad_enabled()
    True
    """
    return mode.recording
