"""Activations as layers: each calls the function of `nn.functional` of its name, which says more."""

from __future__ import annotations

from typing import Any

from ..graph import Tensor
from . import functional as F
from .functional.checks import check_approximate, check_bounds, check_integers, check_numbers, check_softplus
from .module import Module


class _Activation(Module):
    """A function with options, which are attributes."""

    _options: tuple[str, ...]

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self._options)


class Tanh(Module):
    """y = tanh x

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.Tanh()(mg.tensor([0.0, 100.0])).tolist()
    [0.0, 1.0]
    """

    def forward(self, x: Any) -> Tensor:
        """y of the shape of x; see `nn.functional.tanh`."""
        return F.tanh(x)


class ReLU(Module):
    """y = max(x, 0)

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.ReLU()(mg.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def forward(self, x: Any) -> Tensor:
        """y of the shape of x; see `nn.functional.relu`."""
        return F.relu(x)


class Sigmoid(Module):
    """y = σ(x) = 1/(1 + e⁻ˣ)

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.Sigmoid()(mg.tensor([0.0, 100.0])).tolist()
    [0.5, 1.0]
    """

    def forward(self, x: Any) -> Tensor:
        """y of the shape of x; see `nn.functional.sigmoid`."""
        return F.sigmoid(x)


class LeakyReLU(_Activation):
    """y = x where x > 0, else negative_slope x

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.LeakyReLU(0.5)(mg.tensor([-2.0, 3.0])).tolist()
    [-1.0, 3.0]
    """

    _options = ("negative_slope",)

    def __init__(self, negative_slope: float = 0.01) -> None:
        check_numbers("LeakyReLU", negative_slope=negative_slope)
        self.negative_slope = negative_slope

    def forward(self, x: Any) -> Tensor:
        """y of the shape of x; see `nn.functional.leaky_relu`."""
        return F.leaky_relu(x, self.negative_slope)


class ELU(_Activation):
    """y = x where x > 0, else alpha (eˣ - 1)

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.ELU()(mg.tensor([-100.0, 3.0])).tolist()
    [-1.0, 3.0]
    """

    _options = ("alpha",)

    def __init__(self, alpha: float = 1.0) -> None:
        check_numbers("ELU", alpha=alpha)
        self.alpha = alpha

    def forward(self, x: Any) -> Tensor:
        """y of the shape of x; see `nn.functional.elu`."""
        return F.elu(x, self.alpha)


class SiLU(Module):
    """y = x σ(x), also called swish

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.SiLU()(mg.tensor([0.0, 100.0])).tolist()
    [0.0, 100.0]
    """

    def forward(self, x: Any) -> Tensor:
        """y of the shape of x; see `nn.functional.silu`."""
        return F.silu(x)


class GELU(_Activation):
    """y = x Φ(x), Φ approximated through tanh; see `nn.functional.gelu`

    Raises:
        ValueError: approximate is not "tanh": the default, PyTorch's "none", needs erf, which NumPy lacks.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.GELU("tanh")(mg.tensor([0.0, 10.0])).tolist()
    [0.0, 10.0]
    """

    _options = ("approximate",)

    def __init__(self, approximate: str = "none") -> None:
        check_approximate("GELU", approximate)
        self.approximate = approximate

    def forward(self, x: Any) -> Tensor:
        """y of the shape of x; see `nn.functional.gelu`."""
        return F.gelu(x, self.approximate)


class Softplus(_Activation):
    """y = log(1 + e^(beta x)) / beta; x itself where beta x > threshold

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.Softplus()(mg.tensor([0.0, 100.0])).tolist()
    [0.6931471824645996, 100.0]
    """

    _options = ("beta", "threshold")

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        check_softplus("Softplus", beta, threshold)
        self.beta, self.threshold = beta, threshold

    def forward(self, x: Any) -> Tensor:
        """y of the shape of x; see `nn.functional.softplus`."""
        return F.softplus(x, self.beta, self.threshold)


class Softsign(Module):
    """y = x / (1 + |x|)

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.Softsign()(mg.tensor([-1.0, 3.0])).tolist()
    [-0.5, 0.75]
    """

    def forward(self, x: Any) -> Tensor:
        """y of the shape of x; see `nn.functional.softsign`."""
        return F.softsign(x)


class LogSigmoid(Module):
    """y = log σ(x) = -log(1 + e⁻ˣ)

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.LogSigmoid()(mg.tensor([-1000.0, 0.0])).tolist()
    [-1000.0, -0.6931471824645996]
    """

    def forward(self, x: Any) -> Tensor:
        """y of the shape of x; see `nn.functional.logsigmoid`."""
        return F.logsigmoid(x)


class Hardtanh(_Activation):
    """y = x between min_val and max_val, else the nearer of the two

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.Hardtanh()(mg.tensor([-5.0, 0.5, 5.0])).tolist()
    [-1.0, 0.5, 1.0]
    """

    _options = ("min_val", "max_val")

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        check_bounds("Hardtanh", min_val, max_val)
        self.min_val, self.max_val = min_val, max_val

    def forward(self, x: Any) -> Tensor:
        """y of the shape of x; see `nn.functional.hardtanh`."""
        return F.hardtanh(x, self.min_val, self.max_val)


class Softmax(_Activation):
    """y = eˣ / Σ eˣ along `dim`, the last by default (PyTorch wants it named)

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.Softmax(dim=0)(mg.zeros(4)).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    _options = ("dim",)

    def __init__(self, dim: int = -1) -> None:
        check_integers("Softmax", dim=dim)
        self.dim = dim

    def forward(self, x: Any) -> Tensor:
        """y of the shape of x; see `nn.functional.softmax`."""
        return F.softmax(x, self.dim)


class LogSoftmax(_Activation):
    """y = x - log Σ eˣ along `dim`, the last by default (PyTorch wants it named)

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.LogSoftmax(dim=0)(mg.zeros(1)).tolist()
    [0.0]
    """

    _options = ("dim",)

    def __init__(self, dim: int = -1) -> None:
        check_integers("LogSoftmax", dim=dim)
        self.dim = dim

    def forward(self, x: Any) -> Tensor:
        """y of the shape of x; see `nn.functional.log_softmax`."""
        return F.log_softmax(x, self.dim)
