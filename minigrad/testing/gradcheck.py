"""Comparing gradients with numeric differences, for any function of Tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..backend import cpu, float64, namespace_of
from ..engine import grad
from ..graph import Tensor

Function = Callable[..., Any]


class GradcheckError(AssertionError):
    """A gradient is not the one that numeric differences give.

    >>> import minigrad as mg
    >>> x = mg.tensor([0.5], dtype=mg.float64, requires_grad=True)
    >>> try:
    ...     mg.testing.gradcheck(lambda x: x * x.detach(), x)          # half of the derivative of x² is cut off
    ... except mg.testing.GradcheckError as error:
    ...     print(str(error).partition(":")[0])
    the worst entry is input 0 of shape (1,) at index (0,)
    """


def gradcheck(
    fn: Function, inputs: Tensor | Sequence[Any], *, eps: float = 1e-6, atol: float = 1e-7, rtol: float = 1e-5
) -> bool:
    """Check every entry of every gradient of `fn` at `inputs` against central differences.

    Equation: ∂L/∂xᵢ ≈ (L(x + eps eᵢ) - L(x - eps eᵢ)) / (2 eps), where L = Σ v ⊙ fn(x) with fixed
    weights v, which are all different.

    Args:
        fn: takes the inputs and gives a Tensor, or a list or tuple of them.
        inputs: float64 Tensors with requires_grad are checked; anything else is passed on. A function may
            leave them unused: `gradcheck(lambda *_: model(x), list(model.parameters()))` checks a model.
        eps: the step.
        atol, rtol: an entry may differ by atol + rtol |numeric|.

    Returns:
        True.

    Raises:
        GradcheckError: an entry differs (the input, the index and both values are named), or there is nothing to check:
            no output depends on the inputs.
        TypeError: an input is not float64, or none requires a gradient.

    >>> import minigrad as mg
    >>> x = mg.tensor([0.3, -0.7], dtype=mg.float64, requires_grad=True)
    >>> mg.testing.gradcheck(mg.tanh, x)
    True
    """
    inputs = _checked_inputs(inputs, "gradcheck")
    active = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
    weights = [_weights(y, k) for k, y in enumerate(_outputs(fn(*inputs), "gradcheck"))]

    def loss(*xs: Any) -> Tensor:
        ys = _outputs(fn(*xs), "gradcheck")
        total = (ys[0] * weights[0]).sum()
        for y, v in zip(ys[1:], weights[1:], strict=True):
            total = total + (y * v).sum()
        return total

    analytic = grad(loss(*inputs), [inputs[i] for i in active], allow_unused=True)
    for i, gradient in zip(active, analytic, strict=True):
        _compare(loss, inputs, i, gradient, eps, atol, rtol)
    return True


def gradgradcheck(
    fn: Function, inputs: Tensor | Sequence[Any], *, eps: float = 1e-6, atol: float = 1e-6, rtol: float = 1e-4
) -> bool:
    """Check the gradients of the gradients of `fn`, by `gradcheck` of the gradient as a function of the inputs.

    Arguments, results and errors are those of `gradcheck`.

    >>> import minigrad as mg
    >>> x = mg.tensor([0.3, -0.7], dtype=mg.float64, requires_grad=True)
    >>> mg.testing.gradgradcheck(mg.tanh, x)
    True
    """
    inputs = _checked_inputs(inputs, "gradgradcheck")
    weights = [_weights(y, k) for k, y in enumerate(_outputs(fn(*inputs), "gradgradcheck"))]
    for v in weights:
        v.requires_grad = True

    def gradient(*xs: Any) -> list[Tensor]:
        xs, vs = xs[: len(inputs)], xs[len(inputs) :]
        pairs = [(y, v) for y, v in zip(_outputs(fn(*xs), "gradgradcheck"), vs, strict=True) if y.requires_grad]
        active = [x for x in xs if isinstance(x, Tensor) and x.requires_grad]
        found = grad([y for y, _ in pairs], active, [v for _, v in pairs], create_graph=True, allow_unused=True)
        return [g for g in found if g is not None]

    return gradcheck(gradient, [*inputs, *weights], eps=eps, atol=atol, rtol=rtol)


def _checked_inputs(inputs: Tensor | Sequence[Any], caller: str) -> list[Any]:
    given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    active = [x for x in given if isinstance(x, Tensor) and x.requires_grad]
    if not active:
        raise TypeError(f"{caller}: expected at least one Tensor with requires_grad=True among the inputs")
    if any(x.dtype != float64 for x in active):
        raise TypeError(
            f"{caller}: expected float64 inputs, numeric differences need the digits; use dtype=minigrad.float64"
        )
    return given


def _outputs(ys: Any, caller: str) -> list[Tensor]:
    outputs = list(ys) if isinstance(ys, (list, tuple)) else [ys]
    for y in outputs:
        if not isinstance(y, Tensor):
            raise TypeError(f"{caller}: expected a function that gives Tensors, got {type(y).__name__} from it")
    if not any(y.requires_grad for y in outputs):
        raise GradcheckError(
            f"{caller}: the output of the function does not depend on any input that requires a gradient"
        )
    return outputs


def _weights(y: Tensor, k: int) -> Tensor:
    """Fixed, all different, around 1: no symmetry of the function can hide an error."""
    xp = namespace_of(y.data)
    weights = xp.cos(xp.arange(y.size, dtype=float64) * 0.7 + k + 0.3) + 1.5
    return Tensor(weights.reshape(y.shape))


def _compare(
    loss: Any, inputs: list[Any], i: int, gradient: Tensor | None, eps: float, atol: float, rtol: float
) -> None:
    x = inputs[i]
    xp, unmoved = namespace_of(x.data), x.data
    host = xp.to_host(unmoved)
    analytic = xp.to_host(gradient.data) if gradient is not None else host * 0.0
    worst: tuple[float, str] | None = None
    for flat in range(host.size):
        values = []
        for sign in (1, -1):
            moved = host.copy()
            moved.flat[flat] += sign * eps
            # The tensor itself, so that a model's parameters can be checked too; put back before anyone can notice.
            x._data = xp.from_host(moved)
            try:
                values.append(loss(*inputs).item())
            finally:
                x._data = unmoved
        numeric = (values[0] - values[1]) / (2 * eps)
        found = float(analytic.flat[flat])
        difference = abs(found - numeric)
        if not difference <= atol + rtol * abs(numeric) and (worst is None or not difference <= worst[0]):
            place = tuple(int(n) for n in cpu.unravel_index(flat, host.shape))
            report = f"input {i} of shape {x.shape} at index {place}: analytic {found:.10g}, numeric {numeric:.10g}"
            worst = (difference, report)
    if worst is not None:
        raise GradcheckError(f"the worst entry is {worst[1]} (difference {worst[0]:.3g})")
