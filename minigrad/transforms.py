"""Derivatives of a function of Tensors: products with its Jacobian and Hessian, and the matrices themselves.

x: inputs     y: outputs     J = ∂y/∂x: the Jacobian     v: a vector, of the shape of the outputs (vjp) or the inputs
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .creation import zeros, zeros_like
from .engine import grad
from .graph import Tensor
from .messages import describe
from .mode import enable_grad
from .ops.shape import stack
from .tape import as_tensor
from .tensor import check_floating

Function = Callable[..., Any]

# Products with the Jacobian ---------------------------------------------------------------------------


def vjp(fn: Function, inputs: Any, v: Any = None, *, create_graph: bool = False) -> tuple[Any, Any]:
    """The outputs of a function, and the product of a vector with its Jacobian: one backward pass.

    Equation: resultⱼ = Σᵢ vᵢ ∂yᵢ/∂xⱼ, y = fn(x).

    Args:
        fn: takes the inputs, each as an argument, and gives a Tensor or a tuple of them.
        inputs: a Tensor or a tuple of them; they need not require a gradient.
        v: of the form and shapes of the outputs; 1 if there is one output of one entry and none is given.
        create_graph: record the derivative too, so that it can be differentiated with respect to the inputs
            or to anything else `fn` uses.

    Returns:
        (outputs, result), the result of the form and shapes of the inputs; zeros where nothing depends on an input.

    Raises:
        TypeError: something is not a floating-point Tensor.
        ValueError: v does not fit.

    Source: torch.autograd.functional.vjp.

    >>> import minigrad as mg
    >>> y, g = mg.vjp(lambda x: x * x, mg.tensor([1.0, 2.0]), mg.tensor([1.0, 10.0]))
    >>> y.tolist(), g.tolist()
    ([1.0, 4.0], [2.0, 40.0])
    """
    xs, ys, form = _called("vjp", fn, inputs, create_graph)
    vs = _like(ys, v, form, "vjp", "the outputs")
    result = _gradients(ys, xs, vs, create_graph=create_graph)
    return _finished(ys, form, create_graph), _finished(result, inputs, create_graph)


def jvp(fn: Function, inputs: Any, v: Any = None, *, create_graph: bool = False) -> tuple[Any, Any]:
    """The outputs of a function, and the product of its Jacobian with a vector: a directional derivative.

    Equation: resultᵢ = Σⱼ ∂yᵢ/∂xⱼ vⱼ, y = fn(x). Since vjp is linear in its vector u, this is the gradient of
    u ↦ vjp(u), which is recorded: two passes over the function, whatever the sizes.

    Args:
        fn, inputs, create_graph: as for `vjp`.
        v: of the form and shapes of the inputs; 1 if there is one input of one entry and none is given.

    Returns:
        (outputs, result), the result of the form and shapes of the outputs.

    Raises:
        TypeError, ValueError: as for `vjp`.

    Source: torch.autograd.functional.jvp; Townsend 2017, "A new trick for calculating Jacobian vector products".

    >>> import minigrad as mg
    >>> y, dy = mg.jvp(lambda x: x * x, mg.tensor([1.0, 2.0]), mg.tensor([1.0, 10.0]))
    >>> y.tolist(), dy.tolist()
    ([1.0, 4.0], [2.0, 40.0])
    """
    xs, ys, form = _called("jvp", fn, inputs, create_graph)
    vs = _like(xs, v, inputs, "jvp", "the inputs")
    us = [zeros_like(y).requires_grad_() for y in ys]
    products = _gradients(ys, xs, us, create_graph=True)
    result = _gradients(products, us, vs, create_graph=create_graph)
    return _finished(ys, form, create_graph), _finished(result, form, create_graph)


def hvp(fn: Function, inputs: Any, v: Any = None, *, create_graph: bool = False) -> tuple[Any, Any]:
    """The output of a scalar function, and the product of its Hessian with a vector.

    Equation: resultᵢ = Σⱼ ∂²y/∂xᵢ∂xⱼ vⱼ, y = fn(x) of one entry. Costs a few evaluations, whatever the sizes.

    Args:
        fn, inputs, create_graph: as for `vjp`, but fn gives one Tensor of one entry.
        v: of the form and shapes of the inputs; 1 if there is one input of one entry and none is given.

    Returns:
        (output, result), the result of the form and shapes of the inputs.

    Raises:
        TypeError, ValueError: as for `vjp`, or the output has more than one entry.

    Source: torch.autograd.functional.vhp; the Hessian is symmetric.

    >>> import minigrad as mg
    >>> y, h = mg.hvp(lambda x: (x * x * x).sum(), mg.tensor([1.0, 2.0]), mg.tensor([1.0, 1.0]))
    >>> y.item(), h.tolist()
    (9.0, [6.0, 12.0])
    """
    xs, ys, form = _called("hvp", fn, inputs, create_graph)
    _check_scalar(ys, form, "hvp")
    vs = _like(xs, v, inputs, "hvp", "the inputs")
    slopes = _gradients(ys, xs, [None], create_graph=True)
    result = _gradients(slopes, xs, vs, create_graph=create_graph)
    return _finished(ys, form, create_graph), _finished(result, inputs, create_graph)


# Whole matrices ---------------------------------------------------------------------------------------


def jacobian(fn: Function, inputs: Any, *, create_graph: bool = False) -> Any:
    """Every derivative of every output with respect to every input: one backward pass per entry of the outputs.

    Equation: J[i, j] = ∂yᵢ/∂xⱼ, y = fn(x); i runs over the axes of the output, then j over those of the input.

    Args:
        fn, inputs, create_graph: as for `vjp`.

    Returns:
        a Tensor of shape output.shape + input.shape; with several inputs a tuple of these, one per input; with
        several outputs a tuple, one per output, of whatever the inputs call for.

    Raises:
        TypeError: as for `vjp`.

    Source: torch.autograd.functional.jacobian.

    >>> import minigrad as mg
    >>> mg.jacobian(lambda x: x * x, mg.tensor([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """
    xs, ys, form = _called("jacobian", fn, inputs, create_graph)
    blocks = [_finished(_rows(y, xs, create_graph), inputs, create_graph) for y in ys]
    return tuple(blocks) if isinstance(form, (tuple, list)) else blocks[0]


def hessian(fn: Function, inputs: Any, *, create_graph: bool = False) -> Any:
    """Every second derivative of a scalar function: the Jacobian of its gradient.

    Equation: H[i, j] = ∂²y/∂xᵢ∂xⱼ, y = fn(x) of one entry.

    Args:
        fn, inputs, create_graph: as for `hvp`.

    Returns:
        a Tensor of shape input.shape + input.shape; with several inputs a tuple of tuples, [k][l] holding the
        derivatives with respect to inputs k and l.

    Raises:
        TypeError, ValueError: as for `hvp`.

    Source: torch.autograd.functional.hessian.

    >>> import minigrad as mg
    >>> mg.hessian(lambda x: (x * x * x).sum(), mg.tensor([1.0, 2.0])).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """
    xs, ys, form = _called("hessian", fn, inputs, create_graph)
    _check_scalar(ys, form, "hessian")
    slopes = _gradients(ys, xs, [None], create_graph=True)
    blocks = [_finished(_rows(slope, xs, create_graph), inputs, create_graph) for slope in slopes]
    return tuple(blocks) if isinstance(inputs, (tuple, list)) else blocks[0]


def _rows(y: Tensor, xs: list[Tensor], create_graph: bool) -> list[Tensor]:
    """∂y/∂x for each x, a row per entry of y."""
    rows = []
    for flat in range(y.size):
        one = zeros(y.size, dtype=y.dtype, device=y.device)
        one[flat] = 1
        rows.append(_gradients([y], xs, [one.reshape(y.shape)], create_graph=create_graph, retain_graph=True))
    if not rows:
        return [zeros((*y.shape, *x.shape), dtype=x.dtype, device=x.device) for x in xs]
    return [stack(parts).reshape(*y.shape, *x.shape) for x, parts in zip(xs, zip(*rows, strict=True), strict=True)]


# What they share --------------------------------------------------------------------------------------


def _listed(value: Any, caller: str, what: str) -> list[Tensor]:
    """A Tensor, or a tuple or list of them, as a list."""
    parts = list(value) if isinstance(value, (tuple, list)) else [value]
    tensors = [as_tensor(part, f"{caller}, {what}") for part in parts]
    for x in tensors:
        check_floating(x.dtype)
    return tensors


def _called(caller: str, fn: Function, inputs: Any, create_graph: bool) -> tuple[list[Tensor], list[Tensor], Any]:
    """The inputs as Tensors to differentiate by, the outputs as a list, and the outputs as `fn` gave them."""
    given = _listed(inputs, caller, "the inputs")
    with enable_grad():
        # Their own place in the graph: nothing else `fn` may use is the same Tensor.
        xs = [x.reshape(x.shape) if create_graph and x.requires_grad else x.detach().requires_grad_() for x in given]
        ys = fn(*xs)
    return xs, _listed(ys, caller, "what the function gives"), ys


def _like(tensors: list[Tensor], v: Any, form: Any, caller: str, what: str) -> list[Tensor]:
    """The vector `v`, one part for each of the tensors, checked."""
    if v is None:
        if len(tensors) != 1 or tensors[0].size != 1:
            raise ValueError(f"{caller}: expected v, in the form of {what}; only for one number may it be left out")
        return [zeros_like(tensors[0]) + 1]
    vs = _listed(v, caller, "v")
    if isinstance(v, (tuple, list)) != isinstance(form, (tuple, list)) or len(vs) != len(tensors):
        raise ValueError(f"{caller}: expected v in the form of {what}, {len(tensors)} in number, got {len(vs)}")
    for part, x in zip(vs, tensors, strict=True):
        if (part.shape, part.device) != (x.shape, x.device):
            raise ValueError(f"{caller}: expected v of the shapes of {what}, {describe(x)}, got {describe(part)}")
    return [part if part.dtype == x.dtype else part.astype(x.dtype) for part, x in zip(vs, tensors, strict=True)]


def _check_scalar(ys: list[Tensor], form: Any, caller: str) -> None:
    if isinstance(form, (tuple, list)) or ys[0].size != 1:
        came = f"{len(ys)} Tensors" if isinstance(form, (tuple, list)) else describe(ys[0])
        raise ValueError(f"{caller}: expected a function that gives one number, got {came}; make it one with .sum()")


def _gradients(ys: list[Tensor], xs: list[Tensor], vs: Sequence[Any], **options: bool) -> list[Tensor]:
    """Σ v ∂y/∂x for each x; zeros where nothing depends on it."""
    pairs = [(y, v) for y, v in zip(ys, vs, strict=True) if y.requires_grad]
    found: Sequence[Tensor | None] = [None] * len(xs)
    if pairs:
        with enable_grad():
            found = grad([y for y, _ in pairs], xs, [v for _, v in pairs], allow_unused=True, **options)
    return [zeros_like(x) if g is None else g for x, g in zip(xs, found, strict=True)]


def _finished(tensors: list[Tensor], form: Any, create_graph: bool) -> Any:
    """What is given out: in the form asked for, and cut from the graph unless that was asked for."""
    parts = tensors if create_graph else [x.detach() for x in tensors]
    return tuple(parts) if isinstance(form, (tuple, list)) else parts[0]
