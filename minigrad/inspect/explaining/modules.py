"""Modules explained: the equations of the code that runs when they are called."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from ...backend import cpu, is_floating, namespace
from ...creation import arange, tensor
from ...fusion.setting import fusing
from ...graph import Tensor
from ...mode import enable_grad, no_grad
from ...nn.convolution import Conv2d, MaxPool2d
from ...nn.linear import Embedding, LayerNorm, Linear
from ...nn.module import Module
from ...nn.sequence import Layers
from ...nn.steps import Step
from ...nn.weights import RecurrentBase
from ..computation import on_host
from .equations import Equations, Watch, equations_of, tensors_in

SIZES: Final[dict[str, tuple[Any, ...]]] = {  # with which a class is made, to be explained
    "Linear": (3, 2),
    "Embedding": (5, 3),
    "LayerNorm": (4,),
    "Conv2d": (2, 3, 2),
    "MaxPool2d": (2,),
    "GELU": ("tanh",),
}
BEFORE, NOW, AFTER = "{t−1}", "t", "{t+1}"
LETTERS: Final = {"weight": "W", "bias": "b", "gain": "γ"}


@dataclass(frozen=True)
class Block:
    """Equations under a heading; `legend` says what the names are that the module itself calls otherwise."""

    heading: str
    equations: Equations
    legend: tuple[tuple[str, str], ...]


def example_of(kind: type[Module]) -> Module:
    """A small module of a class.

    Raises:
        TypeError: it cannot be made without being told more.
    """
    sizes = SIZES.get(kind.__name__, ())
    if issubclass(kind, RecurrentBase):
        sizes = (3, 4)
    try:
        return kind(*sizes)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"explain: cannot make a {kind.__name__} without arguments ({error}); make one, and pass it with an "
            f"example of what it is called on: explain({kind.__name__}(...), input)"
        ) from error


def blocks_of(module: Module, inputs: tuple[Any, ...]) -> list[Block]:
    """What a module computes: for a recurrent one, at a time step of each layer and direction."""
    with fusing(False), enable_grad():
        if isinstance(module, Layers):
            return [_step_of(module, suffix) for suffix in module._suffixes()]
        if isinstance(module, Step):
            return [_step_of(module, "")]
        given = inputs or _inputs_for(module)
        if any(isinstance(part, RecurrentBase) for part in module.modules()):
            return _by_parts(module, given)
    texts = _argument_names(module.forward, len(given))
    return [equations_of_call(module, given, tuple(module.named_parameters()), texts)]


# Recurrent layers ---------------------------------------------------------------------------------


def _step_of(module: RecurrentBase, suffix: str) -> Block:
    """One time step of one layer in one direction: the module's own share, weights and cell, on one sequence."""
    backwards = suffix.endswith("_reverse")
    before = AFTER if backwards else BEFORE
    size = module._input_sizes()[suffix]
    like = next(iter(module.parameters()))
    x = _leaf(like, (size,), 0.3)
    parts = [_leaf(like, shape, 0.5 + k) for k, shape in enumerate(module._state_shapes())]
    leaves = {"x_t": x} | {f"{letter}_{before}": part for letter, part in zip("hc", parts, strict=False)}
    legend = []
    for path, parameter in module.named_parameters():
        if path.endswith(suffix) and (backwards or not path.endswith("_reverse")):
            leaves[symbol := _letter(path.removesuffix(suffix))] = parameter
            legend.append((symbol, path))

    def step() -> Any:
        share = module._input_share(x, suffix)
        return module.cell()(share, module._joined(parts), module._recurrent(suffix, None))

    watch = Watch()
    state = module._parts(watch.run(step))
    results = dict(zip((f"{letter}_{NOW}" for letter in "hc"), state, strict=False))
    heading = "at a time step t"
    if suffix:
        level = int(re.findall(r"\d+", suffix)[0])
        below = f", where x is the h of layer {level - 1}" if level else ""
        heading = f"layer {level}{', from the last step to the first' * backwards}, at a time step t{below}"
    equations = equations_of(_without_leaves(results), leaves, watch)
    return Block(heading, equations, tuple(pair for pair in legend if pair[0] in equations.arrays))


def _without_leaves(results: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {text: y for text, y in results.items() if y._source is not None}


def _leaf(like: Tensor, shape: tuple[int, ...], start: float) -> Tensor:
    """A tensor of example values, of the device and dtype of another."""
    values = cpu.sin(start + cpu.arange(math.prod(shape))).reshape(shape).astype(like.dtype)
    return Tensor(namespace(like.device).from_host(values), True)


def _letter(path: str) -> str:
    """What textbooks write for a parameter: W_ih for weight_ih, W for weight, γ_c for gain_c."""
    first, _, rest = path.partition("_")
    if first not in LETTERS or "." in path:
        return path
    return LETTERS[first] + (f"_{rest}" if rest else "")


# Any module ---------------------------------------------------------------------------------------


def _inputs_for(module: Module) -> tuple[Any, ...]:
    """An example of what a module of minigrad's own is called on.

    Raises:
        TypeError: it is none for which an example is known.
    """
    like = next(iter(module.parameters()), tensor(0.0))
    if isinstance(module, Linear):
        return (_leaf(like, (module.in_features,), 0.3),)
    if isinstance(module, Embedding):
        return (arange(min(module.num_embeddings, 3), device=like.device),)
    if isinstance(module, LayerNorm):
        return (_leaf(like, tuple(module.normalized_shape), 0.3),)
    if isinstance(module, Conv2d):
        return (_leaf(like, (1, module.in_channels, 5, 5), 0.3),)
    if isinstance(module, MaxPool2d):
        return (_leaf(like, (1, 1, 4, 4), 0.3),)
    if type(module).__module__ == "minigrad.nn.activation":
        return (_leaf(like, (4,), 0.3),)
    raise TypeError(
        f"explain: to read the equations of {type(module).__name__} off the code that runs, it has to run: pass an "
        f"example of what it is called on, explain(module, input)"
    )


def _by_parts(module: Module, inputs: tuple[Any, ...]) -> list[Block]:
    """The equations of the parts of a module that has recurrent layers, in the order in which they are called."""
    calls: dict[str, tuple[Any, ...]] = {}
    handles = []
    parts = dict(_parts_of(module, ""))

    def note(path: str) -> Callable[..., None]:
        def hook(_: Module, args: tuple[Any, ...]) -> None:
            calls.setdefault(path, args)

        return hook

    try:
        handles = [part.register_forward_pre_hook(note(path)) for path, part in parts.items()]
        with no_grad():
            module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    found = []
    for path, args in calls.items():
        if isinstance(parts[path], RecurrentBase) or any(True for _ in parts[path].parameters()):
            found += [replace(block, heading=f"{path}: {block.heading}") for block in blocks_of(parts[path], args)]
    return found


def _parts_of(module: Module, path: str) -> Iterator[tuple[str, Module]]:
    """The largest parts of a module that are recurrent layers, or have none inside."""
    for name, part in module.named_children():
        inside = f"{path}.{name}" if path else name
        if isinstance(part, RecurrentBase) or not any(isinstance(m, RecurrentBase) for m in part.modules()):
            yield inside, part
        else:
            yield from _parts_of(part, inside)


def equations_of_call(
    function: Callable[..., Any],
    inputs: tuple[Any, ...],
    parameters: tuple[tuple[str, Tensor], ...],
    texts: list[str] | None = None,
) -> Block:
    """What calling a module or a function on these inputs computes."""
    texts = texts or _argument_names(function, len(inputs))
    given: list[Any] = []
    leaves: dict[str, Tensor] = {}
    indices = {}
    for text, x in zip(texts, inputs, strict=True):
        if type(x) is Tensor and is_floating(x.dtype):
            x = leaves[text] = Tensor(x._data, True)
        elif type(x) is Tensor:
            indices[text] = on_host(x._data)
        given.append(x)
    legend = []
    for path, parameter in parameters:
        symbol = _letter(path)
        leaves[symbol] = parameter
        legend.append((symbol, path))
    watch = Watch()
    with fusing(False), enable_grad():
        output = "y" if "y" not in texts else "result"
        results = {output + path: y for path, y in tensors_in(watch.run(function, *given))}
        computed = _without_leaves(results)
        if not computed:
            raise TypeError(
                f"explain: expected {getattr(function, '__name__', type(function).__name__)} to compute tensors of "
                "floating dtype from its inputs or parameters; what it gave was not computed from them"
            )
        equations = equations_of(computed, leaves, watch, indices)
    shapes = ", ".join(f"{text} {tuple(x.shape)}" for text, x in zip(texts, given, strict=True) if hasattr(x, "shape"))
    return Block(f"called on {shapes}", equations, tuple(pair for pair in legend if pair[0] in equations.arrays))


def _argument_names(forward: Callable[..., Any], count: int) -> list[str]:
    try:
        parameters = list(inspect.signature(forward).parameters.values())
    except (TypeError, ValueError):  # it has no signature
        parameters = []
    texts = ["x" if p.name == "input" else p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD][:count]
    return texts + [f"x{k}" for k in range(len(texts), count)]
