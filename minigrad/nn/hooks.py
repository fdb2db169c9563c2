"""Functions that a module calls before and after its forward, and when the gradient has come back through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..backend import namespace_of
from ..graph import RemovableHandle, Tensor, storage_of
from ..messages import describe
from ..tape import attach, by_hand
from ..tensor import map_tensors

BEFORE, AFTER, BACKWARD = "before", "after", "backward"


@dataclass(frozen=True, slots=True)
class Hook:
    """One function, and when and with what to call it."""

    function: Callable[..., Any]
    when: str  # BEFORE the forward, AFTER it, or when its gradients are known, BACKWARD
    with_kwargs: bool = False  # whether it is shown the keyword arguments too

    def arguments(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        return (module, args, kwargs) if self.with_kwargs else (module, args)


def register(module: Any, hook: Hook) -> RemovableHandle:
    """Add a hook to the module's own."""
    if not callable(hook.function):
        raise TypeError(f"{type(module).__name__}: expected a function as a hook, got {type(hook.function).__name__}")
    return RemovableHandle(vars(module).setdefault("_hooks", {}), hook)


def call_with_hooks(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The module's forward, with what the hooks put in the place of its arguments and its output."""
    hooks: list[Hook] = list(module._hooks.values())
    for hook in hooks:
        if hook.when == BEFORE and (given := hook.function(*hook.arguments(module, args, kwargs))) is not None:
            if not hook.with_kwargs:
                args = given if isinstance(given, tuple) else (given,)
            elif isinstance(given, tuple) and len(given) == 2:
                args, kwargs = given
            else:
                raise TypeError(
                    f"{type(module).__name__}: expected None or (args, kwargs) from a forward pre-hook with "
                    f"with_kwargs=True, got {type(given).__name__}"
                )
    backward = [hook.function for hook in hooks if hook.when == BACKWARD]
    forward = _Passage(module, backward).forward if backward else module.forward
    output = forward(*args, **kwargs)
    for hook in hooks:
        if hook.when == AFTER and (given := hook.function(*hook.arguments(module, args, kwargs), output)) is not None:
            output = given
    return output


# Backward -----------------------------------------------------------------------------------------


def _pass_on(xp: Any, gs: list[Any], ys: Any, xs: Any, *, seen: Callable[[list[Any]], list[Any]]) -> list[Any]:
    return seen(gs)


# ys = xs, and whoever is concerned sees the gradients, all at once.
passage = by_hand("full_backward_hook", _pass_on)
passage.opened = lambda node: node.edges


def _through(xs: Sequence[Any], seen: Callable[[list[Any]], list[Any]]) -> list[Any]:
    """The same values behind a node that shows the gradients of those that need one, once all are known."""
    active = [x for x in xs if type(x) is Tensor and x.requires_grad]
    twins = [Tensor(x.data, True, storage_of(x)) for x in active]
    if twins:
        attach(passage, {"seen": seen}, [x._source or x for x in active], twins)
    waiting = iter(twins)
    return [next(waiting) if type(x) is Tensor and x.requires_grad else x for x in xs]


class _Passage:
    """One call of a module that has backward hooks: one node before it, one after it."""

    def __init__(self, module: Any, hooks: list[Callable[..., Any]]) -> None:
        self.module, self.hooks = module, hooks

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.inputs = [type(x) is Tensor and x.requires_grad for x in args]
        output = self.module.forward(*_through(args, self.leave), **kwargs)
        outputs: list[Tensor] = []

        def collect(y: Tensor) -> Tensor:
            outputs.append(y)
            return y

        map_tensors(collect, output, f"{type(self.module).__name__} with a backward hook")
        # Which of them have a gradient; not they themselves, whose node holds this passage.
        self.outputs = [y.requires_grad for y in outputs]
        behind = iter(_through(outputs, self.enter))
        return map_tensors(lambda _: next(behind), output, "")

    def enter(self, gs: list[Any]) -> list[Any]:
        """The gradients reach the outputs."""
        self.grad_output = _shown(self.outputs, gs)
        if not any(self.inputs):
            self._call(tuple(None for _ in self.inputs))
        return gs

    def leave(self, gs: list[Any]) -> list[Any]:
        """They reach the inputs; what the hooks give goes on instead."""
        grad_input = self._call(_shown(self.inputs, gs))
        changed = [g for g in grad_input if g is not None]
        return changed if type(gs[0]) is Tensor else [g.data for g in changed]

    def _call(self, grad_input: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        for hook in self.hooks:
            given = hook(self.module, grad_input, self.grad_output)
            if given is not None:
                grad_input = _checked(given, grad_input, type(self.module).__name__)
        return grad_input


def _shown(active: Sequence[bool], gs: list[Any]) -> tuple[Tensor | None, ...]:
    """A gradient for each place that has one, as a Tensor of its own."""
    given = iter(gs)
    found: list[Tensor | None] = []
    for is_active in active:
        g = next(given) if is_active else None
        found.append(g if g is None or type(g) is Tensor else Tensor(namespace_of(g).array(g)))
    return tuple(found)


def _checked(given: Any, grad_input: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    changed = given if isinstance(given, tuple) else (given,)
    alike = len(changed) == len(grad_input) and all(
        g is x is None
        or (type(g) is type(x) is Tensor and (g.shape, g.dtype, g.device) == (x.shape, x.dtype, x.device))
        for g, x in zip(changed, grad_input, strict=True)
    )
    if not alike:
        came, like = (
            ", ".join(describe(g) if type(g) is Tensor else type(g).__name__ for g in gs)
            for gs in (changed, grad_input)
        )
        raise TypeError(f"{name}: expected a backward hook to give None or gradients like ({like}), got ({came})")
    return changed
