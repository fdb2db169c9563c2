"""Running a model once, to see what its recurrent layers are called with and what it gives.

T: time steps   V: symbols
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from ...backend import Array, namespace_of
from ...graph import Tensor
from ...messages import describe
from ...mode import no_grad
from ...nn.module import Module
from ...nn.sequence import Layers


def called(model: Module, inputs: Any, recurrent: dict[str, Layers]) -> tuple[dict[str, tuple[Any, Any]], Any]:
    """What each recurrent layer was called with, in the order of the calls, and the model's output."""
    calls: dict[str, tuple[Any, Any]] = {}

    def noted(name: str) -> Any:
        def note(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if name in calls:
                raise ValueError(
                    f"neurons: {name or 'the layer'} is called a second time; give the whole text in one call"
                )
            given = dict(zip(("input", "hx"), args, strict=False)) | kwargs
            calls[name] = given.get("input"), given.get("hx")

        return note

    with contextlib.ExitStack() as stack:
        for name, layer in recurrent.items():
            stack.callback(layer.register_forward_pre_hook(noted(name), with_kwargs=True).remove)
        stack.enter_context(evaluated(model))
        output = model(*inputs) if isinstance(inputs, tuple) else model(inputs)
    missed = [name for name in recurrent if name not in calls]
    if missed:
        raise ValueError(
            f"neurons: the model did not call {', '.join(missed)} on a whole sequence; a model that calls step() has "
            "to be run with the layers themselves"
        )
    return calls, output


@contextlib.contextmanager
def evaluated(model: Module) -> Iterator[None]:
    """In evaluation, without a graph; then as before."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def logits(output: Any, steps: int, symbols: Sequence[str] | None) -> Array | None:
    """(T, V) on the host, if symbols are named for them."""
    if symbols is None:
        return None
    found = output[0] if isinstance(output, tuple) else output
    if type(found) is not Tensor or found.size != steps * len(symbols) or found.shape[-1] != len(symbols):
        came = describe(found) if type(found) is Tensor else type(found).__name__
        raise ValueError(f"neurons: expected logits of {steps} steps and {len(symbols)} symbols, got {came}")
    return namespace_of(found.data).to_host(found.data).reshape(steps, len(symbols))
