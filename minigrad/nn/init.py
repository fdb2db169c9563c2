"""Filling parameters with their first values, in place, as in `torch.nn.init`.

Numbers are drawn by the generator of the CPU and then moved, so that the same seed gives the same
model on every device. Each function raises TypeError for what is no floating-point Tensor.
"""

from __future__ import annotations

import math

from ..backend import as_dtype, cpu, float64, is_floating, namespace_of
from ..graph import Tensor, mark_written
from ..messages import type_name


def _check(caller: str, x: object) -> None:
    """Raise unless x can be filled."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{caller}: expected a Tensor to fill, got {type_name(x)}")
    if not is_floating(x.dtype):
        raise TypeError(f"{caller}: expected a floating-point tensor to fill, got {x.dtype}")


def _fill(x: Tensor, values: object) -> Tensor:
    host = cpu.broadcast_to(cpu.asarray(values, dtype=x.dtype), x.shape)
    xp = namespace_of(x.data)
    xp.make_current()
    x.data[...] = xp.from_host(host)
    mark_written(x)
    return x


def constant_(x: Tensor, val: float) -> Tensor:
    """x = val, everywhere.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.init.constant_(mg.zeros(2), 0.5).tolist()
    [0.5, 0.5]
    """
    _check("constant_", x)
    return _fill(x, val)


def zeros_(x: Tensor) -> Tensor:
    """x = 0.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.init.zeros_(mg.ones(2)).tolist()
    [0.0, 0.0]
    """
    _check("zeros_", x)
    return _fill(x, 0.0)


def ones_(x: Tensor) -> Tensor:
    """x = 1.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.init.ones_(mg.zeros(2)).tolist()
    [1.0, 1.0]
    """
    _check("ones_", x)
    return _fill(x, 1.0)


def uniform_(x: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """x ~ U(a, b).

    Raises:
        ValueError: a is above b.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.init.uniform_(mg.zeros((2, 3)), -0.1, 0.1).shape
    (2, 3)
    """
    _check("uniform_", x)
    if not a <= b:
        raise ValueError(f"uniform_: expected a <= b, got {a} and {b}")
    return _fill(x, cpu.generator.uniform(a, b, x.shape))


def normal_(x: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """x ~ N(mean, std²).

    Raises:
        ValueError: std is negative.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.init.normal_(mg.zeros((2, 3)), std=0.02).shape
    (2, 3)
    """
    _check("normal_", x)
    if not std >= 0.0:
        raise ValueError(f"normal_: expected std of at least 0, got {std}")
    return _fill(x, cpu.generator.normal(mean, std, x.shape))


def _fans(caller: str, x: Tensor) -> tuple[int, int]:
    _check(caller, x)
    if x.ndim < 2:
        raise ValueError(
            f"{caller}: expected a weight of at least 2 axes (out, in), for its fan-in and fan-out, got shape {x.shape}"
        )
    rest = math.prod(x.shape[2:])
    return x.shape[1] * rest, x.shape[0] * rest


def xavier_uniform_(x: Tensor, gain: float = 1.0) -> Tensor:
    """x ~ U(-a, a), a = gain √(6 / (fan_in + fan_out)).          Glorot and Bengio 2010

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.init.xavier_uniform_(mg.zeros((2, 3))).shape
    (2, 3)
    """
    bound = gain * math.sqrt(6.0 / sum(_fans("xavier_uniform_", x)))
    return uniform_(x, -bound, bound)


def xavier_normal_(x: Tensor, gain: float = 1.0) -> Tensor:
    """x ~ N(0, s²), s = gain √(2 / (fan_in + fan_out)).          Glorot and Bengio 2010

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.init.xavier_normal_(mg.zeros((2, 3))).shape
    (2, 3)
    """
    return normal_(x, 0.0, gain * math.sqrt(2.0 / sum(_fans("xavier_normal_", x))))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By what to multiply the weights before a nonlinearity, so that the values keep their size.

    Equation: tanh 5/3, relu √2, leaky_relu √(2/(1 + a²)), selu 3/4, linear and sigmoid 1.

    Args:
        nonlinearity: one of these names, as in `nn.functional`.
        param: a, the slope of leaky_relu, 0.01 by default.

    Raises:
        ValueError: the nonlinearity is unknown.

    >>> from minigrad import nn
    >>> nn.init.calculate_gain("leaky_relu", 1.0)
    1.0
    """
    slope = 0.01 if param is None else param
    gains = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "selu": 0.75,
             "leaky_relu": math.sqrt(2.0 / (1.0 + slope * slope))}  # fmt: skip
    if nonlinearity not in gains:
        raise ValueError(f"calculate_gain: expected one of {', '.join(gains)}, got {nonlinearity!r}")
    return gains[nonlinearity]


def _kaiming_std(caller: str, x: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    """√(gain² / fan)"""
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f'{caller}: expected mode "fan_in" or "fan_out", got {mode!r}')
    return calculate_gain(nonlinearity, a) / math.sqrt(_fans(caller, x)[mode == "fan_out"])


def kaiming_uniform_(x: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """x ~ U(-b, b), b = gain √(3 / fan)          He et al. 2015

    Args:
        a: the slope of leaky_relu; with 0, it is relu.
        mode: "fan_in" keeps the size of the values going forward, "fan_out" that of the gradients.
        nonlinearity: what follows; it gives the gain, see `calculate_gain`.

    Raises:
        ValueError: mode or nonlinearity is unknown, or x has fewer than 2 axes.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.init.kaiming_uniform_(mg.zeros((2, 3))).shape
    (2, 3)
    """
    bound = math.sqrt(3.0) * _kaiming_std("kaiming_uniform_", x, a, mode, nonlinearity)
    return uniform_(x, -bound, bound)


def kaiming_normal_(x: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """x ~ N(0, s²), s = gain / √fan; arguments and errors as for `kaiming_uniform_`          He et al. 2015

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.init.kaiming_normal_(mg.zeros((2, 3))).shape
    (2, 3)
    """
    return normal_(x, 0.0, _kaiming_std("kaiming_normal_", x, a, mode, nonlinearity))


def orthogonal_(x: Tensor, gain: float = 1.0) -> Tensor:
    """x = gain Q with orthonormal rows or columns, whichever are fewer.          Saxe et al. 2013

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> w = nn.init.orthogonal_(mg.zeros((3, 3)))
    >>> bool((abs(w @ w.T - mg.eye(3)) < 1e-5).numpy().all())
    True
    """
    _check("orthogonal_", x)
    if x.ndim < 2:
        raise ValueError(f"orthogonal_: expected a weight of at least 2 axes, got shape {x.shape}")
    rows, columns = x.shape[0], math.prod(x.shape[1:])
    normal = cpu.generator.standard_normal((max(rows, columns), min(rows, columns)), dtype=as_dtype(float64).type)
    q, r = cpu.module.linalg.qr(normal)
    q = q * cpu.sign(cpu.diag(r))  # makes the distribution uniform over rotations
    return _fill(x, gain * (q if rows >= columns else q.T).reshape(x.shape))
