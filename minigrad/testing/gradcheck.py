"""Comparing gradients, gradients of gradients and directional derivatives with numeric differences."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..backend import Array, cpu, float64, namespace_of
from ..engine import grad
from ..graph import Tensor
from ..transforms import jvp
from .numeric import Function, GradcheckError, Inputs, Moves, Point, Tolerance, host, outputs_of


def gradcheck(
    fn: Function,
    inputs: Inputs,
    *,
    eps: float = 1e-6,
    atol: float = 1e-7,
    rtol: float = 1e-5,
    fast_mode: bool = False,
    seed: int = 0,
) -> bool:
    """Check every entry of every gradient of `fn` at `inputs` against central differences.

    Equation: ∂L/∂xᵢ ≈ Σ v ⊙ (fn(x + eps eᵢ) - fn(x - eps eᵢ)) / (2 eps), where L = Σ v ⊙ fn(x) with fixed
    weights v, which are all different. In the fast mode, with one random direction d in the place of every eᵢ, every
    |dᵢ| between ½ and 1½: Σᵢ dᵢ ∂L/∂xᵢ takes two evaluations, however many entries there are.

    Args:
        fn: takes the inputs and gives a Tensor, or a list or tuple of them.
        inputs: float64 Tensors with requires_grad are checked; anything else is passed on. A dict names them for the
            report. A function may leave them unused: `gradcheck(lambda *_: model(x), dict(model.named_parameters()))`
            checks a model.
        eps: the step.
        atol, rtol: a derivative may differ by atol + rtol |numeric|. In the fast mode that is the derivative along d:
            an error in one entry of very many is not seen if it is smaller.
        fast_mode: compare along one random direction. If that fails, a search by halves finds an entry that is wrong.
        seed: of the direction.

    Returns:
        True.

    Raises:
        GradcheckError: an entry differs (the worst is named, with its input, index and both values), or there is
            nothing to check: no output depends on the inputs.
        TypeError: an input is not float64, or none requires a gradient.
        ValueError: eps, atol or rtol is out of range, or `fn` gives different values when it is called again.

    Source: the modes of torch.autograd.gradcheck.

    >>> import minigrad as mg
    >>> x = mg.tensor([0.3, -0.7], dtype=mg.float64, requires_grad=True)
    >>> mg.testing.gradcheck(mg.tanh, x)
    True
    >>> lstm = mg.nn.LSTM(30, 20, dtype=mg.float64)                     # 4 160 parameters, two evaluations
    >>> sequence = mg.ones((5, 1, 30), dtype=mg.float64)
    >>> mg.testing.gradcheck(lambda *_: lstm(sequence)[0], dict(lstm.named_parameters()), fast_mode=True)
    True
    """
    tolerance = Tolerance(eps, atol, rtol)
    tolerance.check("gradcheck")
    return _check(fn, Point(inputs, "gradcheck"), tolerance, fast_mode, seed)


def gradgradcheck(
    fn: Function,
    inputs: Inputs,
    *,
    eps: float = 1e-6,
    atol: float = 1e-6,
    rtol: float = 1e-4,
    fast_mode: bool = False,
    seed: int = 0,
) -> bool:
    """Check the gradients of the gradients of `fn`, by `gradcheck` of the gradient as a function of the inputs.

    Arguments, results and errors are those of `gradcheck`. The gradient also depends on the incoming gradients of the
    outputs of `fn`, so these are checked like inputs.

    >>> import minigrad as mg
    >>> x = mg.tensor([0.3, -0.7], dtype=mg.float64, requires_grad=True)
    >>> mg.testing.gradgradcheck(mg.tanh, x)
    True
    """
    tolerance = Tolerance(eps, atol, rtol)
    tolerance.check("gradgradcheck")
    point = Point(inputs, "gradgradcheck")
    count = len(point.inputs)
    weights = [_weights(y, k) for k, y in enumerate(outputs_of(fn(*point.inputs), point.caller))]
    for v in weights:
        v.requires_grad = True

    def gradient(*xs: Tensor) -> list[Tensor]:
        xs, vs = xs[:count], xs[count:]
        pairs = [(y, v) for y, v in zip(outputs_of(fn(*xs), point.caller), vs, strict=True) if y.requires_grad]
        found = grad([y for y, _ in pairs], point.tensors, [v for _, v in pairs], create_graph=True, allow_unused=True)
        return [g for g in found if g is not None]

    return _check(gradient, point.extended(weights, "incoming gradient"), tolerance, fast_mode, seed)


def jvpcheck(
    fn: Function, inputs: Inputs, *, eps: float = 1e-6, atol: float = 1e-7, rtol: float = 1e-5, seed: int = 0
) -> bool:
    """Check `minigrad.jvp` of `fn`, every output's derivative along a random direction, against central differences.

    Equation: Σⱼ ∂yᵢ/∂xⱼ dⱼ ≈ (yᵢ(x + eps d) - yᵢ(x - eps d)) / (2 eps), y = fn(x).

    Arguments and errors are those of `gradcheck`, but `fn` must use what it is given: what it takes from elsewhere,
    as a model its parameters, does not move with the direction. GradcheckError names an output instead of an input.

    >>> import minigrad as mg
    >>> x = mg.tensor([0.3, -0.7], dtype=mg.float64, requires_grad=True)
    >>> mg.testing.jvpcheck(lambda x: x * x.sum(), x)
    True
    """
    tolerance = Tolerance(eps, atol, rtol)
    tolerance.check("jvpcheck")
    point = Point(inputs, "jvpcheck")
    point.check_repeatable(fn, tolerance)
    direction = point.direction(seed)

    def of_the_active(*xs: Tensor) -> tuple[Tensor, ...]:
        replaced = dict(zip(point.active, xs, strict=True))
        return tuple(outputs_of(fn(*[replaced.get(i, x) for i, x in enumerate(point.inputs)]), point.caller))

    vs = [Tensor(namespace_of(point.inputs[i]._data).from_host(direction[i])) for i in point.active]
    _, products = jvp(of_the_active, tuple(point.tensors), tuple(vs))
    wrong = []
    for k, (product, numeric) in enumerate(zip(products, point.slopes(fn, direction, eps), strict=True)):
        analytic = host(product)
        wrong += [
            _Entry(f"output {k}", k, product.shape, index, float(analytic[index]), float(numeric[index]))
            for index in cpu.ndindex(*product.shape)
            if not tolerance.allows(analytic[index], numeric[index])
        ]
    if wrong:
        raise max(wrong).error(f"{point.caller}: the worst entry")
    return True


# How the numbers are compared -------------------------------------------------------------------------


class _Entry:
    """One derivative, as computed and as the differences give it; the larger of two is the worse."""

    def __init__(
        self, name: str, key: int | str, shape: tuple[int, ...], index: tuple[int, ...], analytic: float, numeric: float
    ) -> None:
        self.place = f"{name} of shape {shape} at index {index}"
        self.found = (key, index, analytic, numeric)
        self.difference = abs(analytic - numeric)
        self.values = f"analytic {analytic:.10g}, numeric {numeric:.10g} (difference {self.difference:.3g})"

    def __lt__(self, other: _Entry) -> bool:
        return not other.difference <= self.difference  # NaN is the worst

    def error(self, which: str) -> GradcheckError:
        return GradcheckError(f"{which} is {self.place}: {self.values}", *self.found)


def _check(fn: Function, point: Point, tolerance: Tolerance, fast_mode: bool, seed: int) -> bool:
    point.check_repeatable(fn, tolerance)
    ys = outputs_of(fn(*point.inputs), point.caller)
    weights = [_weights(y, k) for k, y in enumerate(ys)]
    pairs = [(y, v) for y, v in zip(ys, weights, strict=True) if y.requires_grad]
    found = grad([y for y, _ in pairs], point.tensors, [v for _, v in pairs], allow_unused=True)
    slopes = {
        i: cpu.zeros(x.shape) if g is None else host(g)
        for i, x, g in zip(point.active, point.tensors, found, strict=True)
    }

    def derivatives(moves: Moves) -> tuple[float, float]:
        """Of the weighted outputs along a move: from the gradients, and from differences."""
        analytic = sum(float((slopes[i] * move).sum()) for i, move in moves.items())
        differences = point.slopes(fn, moves, tolerance.eps)
        return analytic, sum(float((host(v) * d).sum()) for v, d in zip(weights, differences, strict=True))

    def entry(i: int, flat: int) -> _Entry:
        """The derivative with respect to one entry of one input."""
        one = cpu.zeros(slopes[i].shape)
        one.flat[flat] = 1.0
        index = tuple(int(n) for n in cpu.unravel_index(flat, one.shape))
        _, numeric = derivatives({i: one})
        return _Entry(point.names[i], point.keys[i], one.shape, index, float(slopes[i][index]), numeric)

    if fast_mode:
        return _check_along(point, derivatives, entry, tolerance, seed)
    entries = (entry(i, flat) for i in point.active for flat in range(slopes[i].size))
    wrong = [e for e in entries if not tolerance.allows(e.found[2], e.found[3])]
    if wrong:
        raise max(wrong).error(f"{point.caller}: the worst entry")
    return True


def _check_along(
    point: Point,
    derivatives: Callable[[Moves], tuple[float, float]],
    entry: Callable[[int, int], _Entry],
    tolerance: Tolerance,
    seed: int,
) -> bool:
    """The fast mode: one direction; where that fails, the input and then the half whose difference is the larger."""
    direction = point.direction(seed)
    analytic, numeric = derivatives(direction)
    if tolerance.allows(analytic, numeric):
        return True

    def difference(i: int, among: Array) -> float:
        """Between the two derivatives, along what the direction moves of these entries of one input."""
        part = cpu.zeros(direction[i].size)
        part[among] = direction[i].flat[among]
        found, expected = derivatives({i: part.reshape(direction[i].shape)})
        return math.inf if math.isnan(found - expected) else abs(found - expected)

    every = {i: cpu.arange(move.size) for i, move in direction.items() if move.size}
    i = max(every, key=lambda i: difference(i, every[i]))
    within = every[i]
    while within.size > 1:
        within = max(cpu.array_split(within, 2), key=lambda half: difference(i, half))
    found = entry(i, int(within[0]))
    if not tolerance.allows(found.found[2], found.found[3]):
        raise found.error(f"{point.caller}: an entry that differs")
    raise GradcheckError(
        f"{point.caller}: along a random direction analytic {analytic:.10g}, numeric {numeric:.10g} (difference "
        f"{abs(analytic - numeric):.3g}), though no entry stands out; fast_mode=False compares every one"
    )


def _weights(y: Tensor, k: int) -> Tensor:
    """Fixed, all different, around 1: no symmetry of the function can hide an error."""
    xp = namespace_of(y.data)
    weights = xp.cos(xp.arange(y.size, dtype=float64) * 0.7 + k + 0.3) + 1.5
    return Tensor(weights.reshape(y.shape))
