"""The two ways to a gradient: `backward`, which adds into `.grad`, and `grad`, which writes nothing anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .backend import Array, is_array, namespace_of, python_scalar
from .cotangent import owned_array
from .graph import Tensor
from .messages import describe, type_name
from .mode import enable_grad
from .ops import elementwise
from .sweep import sweep
from .tape import apply


def _seeds(outputs: Sequence[Tensor], given: Sequence[Any], create_graph: bool, caller: str) -> list[Any]:
    """The cotangent each output starts from, checked; ones for a scalar."""
    seeds = []
    for y, g in zip(outputs, given, strict=True):
        if type(y) is not Tensor:
            raise TypeError(f"{caller}: expected a Tensor to differentiate, got {type_name(y)}")
        if not y._requires_grad:
            raise RuntimeError(
                f"{caller}: this tensor {describe(y)} does not need a gradient. Either nothing it was computed "
                "from has requires_grad=True, or it was computed under no_grad, or detached"
            )
        data = y._data
        xp = namespace_of(data)
        xp.make_current()
        if g is None:
            if data.size != 1:
                raise RuntimeError(
                    f"{caller}: expected a scalar, got shape {tuple(data.shape)}. Make it one with .sum() or "
                    ".mean(), or pass the gradient of what you want with respect to it, of the same shape"
                )
            xp.make_current()
            g = Tensor(xp.ones(data.shape, dtype=data.dtype))
        elif type(g) is not Tensor:
            if not is_array(g) and not isinstance(python_scalar(g), (int, float)):
                raise TypeError(f"{caller}: expected a Tensor as the gradient to start from, got {type_name(g)}")
            xp.make_current()
            g = Tensor(g if is_array(g) else xp.full(data.shape, g, dtype=data.dtype))
        if g._data.shape != data.shape or namespace_of(g._data) is not xp:
            raise ValueError(f"{caller}: expected a gradient like its tensor, {describe(y)}, got {describe(g)}")
        if g._data.dtype != data.dtype:
            g = Tensor(g._data.astype(data.dtype))
        seeds.append(g if create_graph else g._data)
    return seeds


def backward(
    tensor: Tensor, gradient: Any = None, *, retain_graph: bool | None = None, create_graph: bool = False
) -> None:
    """Add the gradient of this tensor into `.grad` of every leaf it was computed from.

    Equation: x.grad += Σᵢ gradientᵢ ∂tensorᵢ/∂x, for each leaf x with requires_grad.

    Args:
        gradient: of the tensor's shape; 1 if the tensor is a scalar and none is given.
        retain_graph: keep the graph for another pass; by default only if `create_graph`.
        create_graph: record the pass itself, so that the gradients can be differentiated. This ties
            leaves and graph into a cycle through `.grad`; prefer `grad`, which does not.

    Raises:
        RuntimeError: the tensor needs no gradient, is no scalar (and no gradient was given), its graph
            was freed by an earlier pass, or something saved in it was written to since.
        ValueError: the gradient's shape or device is not the tensor's.

    >>> import minigrad as mg
    >>> x = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad.tolist()
    [2.0, 4.0]
    """
    seeds = _seeds([tensor], [gradient], create_graph, "backward")
    retain = create_graph if retain_graph is None else retain_graph
    found = sweep([tensor], seeds, None, create_graph=create_graph, retain_graph=retain)
    with enable_grad():  # a gradient that is part of a graph stays so as it grows, under no_grad too
        for leaf, cotangent, owned in found:
            if leaf._requires_grad:  # else it was switched off after it was used
                new = apply(elementwise.copy, (cotangent,), {}) if create_graph else _own(leaf, cotangent, owned)
                leaf._grad = new if leaf._grad is None else leaf._grad + new


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of outputs with respect to inputs, as a tuple; nothing is written anywhere.

    Equation: resultⱼ = Σᵢ grad_outputsᵢ ∂outputsᵢ/∂inputsⱼ, of the shape of inputsⱼ.

    Args:
        outputs, inputs: a Tensor or a sequence of them; inputs may be leaves or intermediate results.
        grad_outputs: one per output, of its shape; 1 for scalars if none is given.
        create_graph: record the pass, so that the result can be differentiated again.
        retain_graph: keep the graph for another pass; by default only if `create_graph`.
        allow_unused: give None for an input that the outputs do not depend on, instead of raising.

    Raises:
        RuntimeError: as for `backward`, or an input needs no gradient or was not used.

    >>> import minigrad as mg
    >>> x = mg.tensor(3.0, requires_grad=True)
    >>> (dy,) = mg.grad(x * x * x, x, create_graph=True)     # 3x²
    >>> (ddy,) = mg.grad(dy, x)                              # 6x
    >>> dy.item(), ddy.item()
    (27.0, 18.0)
    """
    outputs, inputs = _listed(outputs, "outputs"), _listed(inputs, "inputs")
    if grad_outputs is None:
        grad_outputs = [None] * len(outputs)
    elif not isinstance(grad_outputs, (list, tuple)):
        grad_outputs = [grad_outputs]
    if len(grad_outputs) != len(outputs):
        raise ValueError(f"grad: expected one of grad_outputs per output, got {len(grad_outputs)} for {len(outputs)}")
    for i, x in enumerate(inputs):
        if type(x) is not Tensor or not x._requires_grad:
            shown = describe(x) if type(x) is Tensor else type(x).__name__
            raise RuntimeError(f"grad: expected inputs that need a gradient, but inputs[{i}], {shown}, does not")
    seeds = _seeds(outputs, grad_outputs, create_graph, "grad")
    retain = create_graph if retain_graph is None else retain_graph
    results: list[Tensor | None] = []
    wanted = [x._source or x for x in inputs]
    found = sweep(outputs, seeds, wanted, create_graph=create_graph, retain_graph=retain)
    given: set[int] = set()  # arrays handed out already: an input may be named twice
    for i, (x, (_, cotangent, owned)) in enumerate(zip(inputs, found, strict=True)):
        if cotangent is None and not allow_unused:
            raise RuntimeError(
                f"grad: the outputs do not depend on inputs[{i}], {describe(x)}; "
                "pass allow_unused=True to get None for it"
            )
        if create_graph or cotangent is None:
            results.append(cotangent)
        else:
            results.append(_own(x, cotangent, owned and id(cotangent) not in given))
            given.add(id(cotangent))
    return tuple(results)


def _listed(xs: Any, name: str) -> list[Any]:
    if isinstance(xs, Tensor):
        return [xs]
    if not isinstance(xs, Iterable):
        raise TypeError(f"grad: expected {name} to be a Tensor or a list of them, got {type_name(xs)}")
    return list(xs)


def _own(x: Tensor, cotangent: Array, owned: bool) -> Tensor:
    return Tensor(owned_array(namespace_of(x._data), cotangent, owned, x._data.shape))
