"""Layers without memory: Linear, Embedding, Dropout, activations and the loss."""

from __future__ import annotations

import math
from typing import Any

from ..backend import float32
from ..creation import zeros
from ..tape import Tensor
from . import functional as F
from . import init
from .module import Module, Parameter, check_sizes


def empty_parameter(*shape: int, dtype: Any = None, device: str | None = None) -> Tensor:
    """A parameter yet to be initialised."""
    return Parameter(zeros(shape, dtype=dtype or float32, device=device))


class Linear(Module):
    """y = x Wᵀ + b          x (..., in_features), W (out_features, in_features), y (..., out_features)

    W and b start uniform in ±1/√in_features, as in PyTorch.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.Linear(3, 2)(mg.zeros((5, 3))).shape
    (5, 2)
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: str | None = None, dtype: Any = None
    ) -> None:
        check_sizes(self, in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        bound = 1.0 / math.sqrt(in_features)
        self.weight = init.uniform_(
            empty_parameter(out_features, in_features, dtype=dtype, device=device), -bound, bound
        )
        self.bias = (
            init.uniform_(empty_parameter(out_features, dtype=dtype, device=device), -bound, bound) if bias else None
        )

    def forward(self, x: Any) -> Tensor:
        return F.linear(F.as_tensor(x, "Linear"), self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class Embedding(Module):
    """y = W[ids]: a learned row for each id.          ids (...) integers in [0, num_embeddings), y (..., embedding_dim)

    W starts standard normal, as in PyTorch.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.Embedding(65, 16)(mg.tensor([[1, 2, 3]])).shape
    (1, 3, 16)
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, device: str | None = None, dtype: Any = None) -> None:
        check_sizes(self, num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.weight = init.normal_(empty_parameter(num_embeddings, embedding_dim, dtype=dtype, device=device))

    def forward(self, ids: Any) -> Tensor:
        return F.embedding(ids, self.weight)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}"


class Dropout(Module):
    """Zeroes each entry with probability p while training, and scales the others by 1/(1 - p).

    Source: Srivastava et al. 2014.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.Dropout(0.5).eval()(mg.ones(3)).tolist()
    [1.0, 1.0, 1.0]
    """

    def __init__(self, p: float = 0.5) -> None:
        F.check_probability("Dropout", p)
        self.p = p

    def forward(self, x: Any) -> Tensor:
        return F.dropout(F.as_tensor(x, "Dropout"), self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Tanh(Module):
    """y = tanh x"""

    def forward(self, x: Any) -> Tensor:
        return F.as_tensor(x, "Tanh").tanh()


class ReLU(Module):
    """y = max(x, 0)"""

    def forward(self, x: Any) -> Tensor:
        return F.as_tensor(x, "ReLU").relu()


class Sigmoid(Module):
    """y = 1/(1 + e⁻ˣ)"""

    def forward(self, x: Any) -> Tensor:
        return F.as_tensor(x, "Sigmoid").sigmoid()


class CrossEntropyLoss(Module):
    """L = -log softmax(logits)[target], in nats; see `nn.functional.cross_entropy`."""

    def __init__(self, *, ignore_index: int = -100, reduction: str = "mean") -> None:
        self.ignore_index, self.reduction = ignore_index, reduction

    def forward(self, logits: Any, targets: Any) -> Tensor:
        return F.cross_entropy(logits, targets, ignore_index=self.ignore_index, reduction=self.reduction)
