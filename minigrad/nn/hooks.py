"""Functions that a module calls before and after its forward."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Hook:
    """One function, and when and with what to call it."""

    function: Callable[..., Any]
    before: bool  # forward, or after it
    with_kwargs: bool  # whether it is shown the keyword arguments too

    def arguments(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        return (module, args, kwargs) if self.with_kwargs else (module, args)


class HookHandle:
    """What registering a hook gives: `remove()` takes it away again; as a context manager, at the end of the block.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> layer = nn.Tanh()
    >>> with layer.register_forward_hook(lambda module, args, y: print("gave", y.shape)):
    ...     y = layer(mg.zeros(3))
    gave (3,)
    >>> y = layer(mg.zeros(3))
    """

    def __init__(self, module: Any, hook: Hook) -> None:
        if not callable(hook.function):
            raise TypeError(
                f"{type(module).__name__}: expected a function as a hook, got {type(hook.function).__name__}"
            )
        self._module = module
        self._number = next(_numbers)
        module._hooks = {**(module._hooks or {}), self._number: hook}

    def remove(self) -> None:
        """Take the hook away; once more does nothing."""
        left = {number: hook for number, hook in (self._module._hooks or {}).items() if number != self._number}
        self._module._hooks = left or None

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def call_with_hooks(module: Any, hooks: list[Hook], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The module's forward, with what the hooks put in the place of its arguments and its output."""
    for hook in hooks:
        if hook.before and (given := hook.function(*hook.arguments(module, args, kwargs))) is not None:
            if not hook.with_kwargs:
                args = given if isinstance(given, tuple) else (given,)
            elif isinstance(given, tuple) and len(given) == 2:
                args, kwargs = given
            else:
                raise TypeError(
                    f"{type(module).__name__}: expected None or (args, kwargs) from a forward pre-hook with "
                    f"with_kwargs=True, got {type(given).__name__}"
                )
    output = module.forward(*args, **kwargs)
    for hook in hooks:
        if not hook.before and (given := hook.function(*hook.arguments(module, args, kwargs), output)) is not None:
            output = given
    return output
