"""Activations: functions of each entry, and softmax along a dimension. All compose primitives."""

from __future__ import annotations

import math

from ...graph import Tensor
from ...ops.elementwise import absolute, clip, exp, expm1, sigmoid, tanh, where
from ...ops.elementwise import softplus as log1p_exp
from ...ops.reduction import logsumexp
from ...tape import as_tensor
from .checks import check_approximate, check_bounds, check_dim, check_numbers, check_softplus


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """y = x where x > 0, else negative_slope x

    Source: Maas et al. 2013.

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> F.leaky_relu(mg.tensor([-2.0, 3.0]), 0.5).tolist()
    [-1.0, 3.0]
    """
    x = as_tensor(x, "leaky_relu")
    check_numbers("leaky_relu", negative_slope=negative_slope)
    return where(x > 0, x, negative_slope * x)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """y = x where x > 0, else alpha (eˣ - 1)

    Source: Clevert et al. 2016.

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> F.elu(mg.tensor([-100.0, 3.0])).tolist()
    [-1.0, 3.0]
    """
    x = as_tensor(x, "elu")
    check_numbers("elu", alpha=alpha)
    return where(x > 0, x, alpha * expm1(clip(x, max=0.0)))  # clipped, or the branch not taken overflows


def silu(x: Tensor) -> Tensor:
    """y = x σ(x), also called swish

    Source: Elfwing et al. 2017.

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> F.silu(mg.tensor([0.0, 100.0])).tolist()
    [0.0, 100.0]
    """
    x = as_tensor(x, "silu")
    return x * sigmoid(x)


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """y = x Φ(x), Φ approximated: y = x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))

    Args:
        approximate: "tanh". The default, "none", is PyTorch's, and raises: NumPy has no error function.

    Raises:
        ValueError: approximate is not "tanh".

    Source: Hendrycks and Gimpel 2016.

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> F.gelu(mg.tensor([-10.0, 0.0, 10.0]), approximate="tanh").tolist()
    [-0.0, 0.0, 10.0]
    """
    check_approximate("gelu", approximate)
    x = as_tensor(x, "gelu")
    return 0.5 * x * (1.0 + tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * (x * x * x))))


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """y = log(1 + e^(beta x)) / beta; x itself where beta x > threshold

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> F.softplus(mg.tensor([0.0, 100.0])).tolist()
    [0.6931471824645996, 100.0]
    """
    x = as_tensor(x, "softplus")
    check_softplus("softplus", beta, threshold)
    return where(x * beta > threshold, x, log1p_exp(x * beta) / beta)


def softsign(x: Tensor) -> Tensor:
    """y = x / (1 + |x|)

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> F.softsign(mg.tensor([-1.0, 3.0])).tolist()
    [-0.5, 0.75]
    """
    x = as_tensor(x, "softsign")
    return x / (1.0 + absolute(x))


def logsigmoid(x: Tensor) -> Tensor:
    """y = log σ(x) = -log(1 + e⁻ˣ), exact where σ itself would be 0

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> F.logsigmoid(mg.tensor([-1000.0, 0.0])).tolist()
    [-1000.0, -0.6931471824645996]
    """
    return -log1p_exp(-as_tensor(x, "logsigmoid"))


def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """y = x between min_val and max_val, else the nearer of the two; on them the derivative is 0

    Raises:
        ValueError: min_val is above max_val.

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> F.hardtanh(mg.tensor([-5.0, 0.5, 5.0])).tolist()
    [-1.0, 0.5, 1.0]
    """
    check_bounds("hardtanh", min_val, max_val)
    x = as_tensor(x, "hardtanh")
    return where(x <= min_val, min_val, where(x >= max_val, max_val, x))


def log_softmax(x: Tensor, dim: int = -1) -> Tensor:
    """y = x - log Σ eˣ along `dim`: the logarithm of softmax, exact where softmax itself would be 0

    Raises:
        ValueError: x has no such dim.

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> F.log_softmax(mg.zeros(4)).tolist()
    [-1.3862943649291992, -1.3862943649291992, -1.3862943649291992, -1.3862943649291992]
    """
    x = as_tensor(x, "log_softmax")
    check_dim("log_softmax", x, dim)
    return x - logsumexp(x, axis=dim, keepdims=True)


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    """y = eˣ / Σ eˣ along `dim`

    Raises:
        ValueError: x has no such dim.

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> F.softmax(mg.zeros(4)).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    x = as_tensor(x, "softmax")
    check_dim("softmax", x, dim)
    return exp(x - logsumexp(x, axis=dim, keepdims=True))
