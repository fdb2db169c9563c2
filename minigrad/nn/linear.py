"""Layers without memory: Linear, Embedding, LayerNorm, Dropout, and those that only change a shape, or nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

from ..graph import Tensor
from ..messages import describe
from ..tape import as_tensor
from . import functional as F
from . import init
from .functional.checks import (
    as_padding_index,
    as_shape,
    check_dim,
    check_flags,
    check_floating,
    check_numbers,
    check_probability,
    check_sizes,
)
from .module import Module
from .parameter import Parameter, zero_parameter


class Linear(Module):
    """y = x Wᵀ + b          x (..., in_features), W (out_features, in_features), y (..., out_features)

    W and b start uniform in ±1/√in_features, as in PyTorch.

    Args:
        bias: whether there is a b.

    Raises:
        ValueError: a size is no positive integer; in a call: x has another last size.
        TypeError: in a call: x has another dtype than W.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.Linear(3, 2)(mg.zeros((5, 3))).shape
    (5, 2)
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: str | None = None, dtype: Any = None
    ) -> None:
        check_sizes("Linear", in_features=in_features, out_features=out_features)
        check_flags("Linear", bias=bias)
        self.in_features, self.out_features = in_features, out_features
        self.weight = zero_parameter(out_features, in_features, dtype=dtype, device=device)
        self.bias = zero_parameter(out_features, dtype=dtype, device=device) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the first values again."""
        bound = 1.0 / math.sqrt(self.in_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Any) -> Tensor:
        """x (..., in_features) -> y (..., out_features)."""
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class Embedding(Module):
    """y = W[ids]: a learned row for each id.          ids (...) integers in [0, num_embeddings), y (..., embedding_dim)

    W starts standard normal, as in PyTorch.

    Args:
        padding_idx: the id of a row that starts at zero and gets no gradient; from the end if negative.

    Raises:
        ValueError: a size is no positive integer, or there is no row padding_idx.
        TypeError: in a call: the ids are not integers.
        IndexError: in a call: an id is out of range (checked on the CPU).

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.Embedding(65, 16)(mg.tensor([[1, 2, 3]])).shape
    (1, 3, 16)
    >>> nn.Embedding(65, 2, padding_idx=0)(mg.tensor([0])).tolist()
    [[0.0, 0.0]]
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        check_sizes("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        weight = zero_parameter(num_embeddings, embedding_dim, dtype=dtype, device=device)
        self._set(weight, padding_idx)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the first values again; the row padding_idx is zero."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            init.zeros_(self.weight.detach()[self.padding_idx])

    def _set(self, weight: Tensor, padding_idx: int | None) -> None:
        self.num_embeddings, self.embedding_dim = weight.shape
        if padding_idx is not None:
            padding_idx = as_padding_index("Embedding", padding_idx, self.num_embeddings)
        self.padding_idx, self.weight = padding_idx, weight

    @classmethod
    def from_pretrained(cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None) -> Self:
        """An Embedding of given rows.

        Args:
            embeddings: (num_embeddings, embedding_dim); the memory of a Tensor is shared, an array is copied.
            freeze: whether the rows stay as they are; if not, they are learned further.
            padding_idx: the id of a row that gets no gradient; its values stay as given.

        Raises:
            ValueError: the rows have not two axes, or there is no row padding_idx.
            TypeError: the rows are not floating-point.

        >>> import minigrad as mg
        >>> from minigrad import nn
        >>> nn.Embedding.from_pretrained(mg.tensor([[1.0, 2.0], [3.0, 4.0]]))(mg.tensor([1])).tolist()
        [[3.0, 4.0]]
        """
        rows = as_tensor(embeddings, "Embedding.from_pretrained")
        check_floating("Embedding.from_pretrained", "rows", rows)
        if rows.ndim != 2 or not rows.size:
            raise ValueError(
                "Embedding.from_pretrained: expected rows (num_embeddings, embedding_dim), at least one, "
                f"got {describe(rows)}"
            )
        embedding = cls.__new__(cls)  # without __init__, which would draw numbers for nothing
        embedding._set(Parameter(rows, requires_grad=not freeze), padding_idx)
        return embedding

    def forward(self, ids: Any) -> Tensor:
        """ids (...) -> rows (..., embedding_dim)."""
        return F.embedding(ids, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class LayerNorm(Module):
    """y = (x - mean x) / √(var x + eps) ⊙ w + b, mean and variance over the last axes of each example.

    Shapes: x and y (..., *normalized_shape); weight w and bias b normalized_shape, starting at 1 and 0.

    Args:
        normalized_shape: the sizes of the last axes, or the size of the last one.
        elementwise_affine: whether there are w and b.
        bias: whether there is b.

    Raises:
        ValueError: a size is no positive integer; in a call: the last axes of x have other sizes.
        TypeError: in a call: x has another dtype than w.

    Source: Ba et al. 2016.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> [[round(v, 3) for v in row] for row in nn.LayerNorm(2)(mg.tensor([[1.0, 3.0], [5.0, 5.0]])).tolist()]
    [[-1.0, 1.0], [0.0, 0.0]]
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.normalized_shape = shape = as_shape("LayerNorm", normalized_shape)
        check_numbers("LayerNorm", eps=eps)
        check_flags("LayerNorm", elementwise_affine=elementwise_affine, bias=bias)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.weight = zero_parameter(*shape, dtype=dtype, device=device) if elementwise_affine else None
        self.bias = zero_parameter(*shape, dtype=dtype, device=device) if elementwise_affine and bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Give w and b their first values again, 1 and 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, x: Any) -> Tensor:
        """x (..., *normalized_shape) -> y of the shape of x."""
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        options = {"elementwise_affine": self.weight is not None, "bias": self.bias is not None}
        off = "".join(f", {name}=False" for name, on in options.items() if not on)
        return f"{self.normalized_shape}, eps={self.eps}{off}"


class Dropout(Module):
    """Zeroes each entry with probability p while training, and scales the others by 1/(1 - p).

    Raises:
        ValueError: p is not in [0, 1].

    Source: Srivastava et al. 2014.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.Dropout(0.5).eval()(mg.ones(3)).tolist()
    [1.0, 1.0, 1.0]
    """

    def __init__(self, p: float = 0.5) -> None:
        check_probability("Dropout", p)
        self.p = p

    def forward(self, x: Any) -> Tensor:
        """y of the shape of x; x itself in evaluation."""
        return F.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Identity(Module):
    """y = x. Any arguments are taken, and ignored, so that it can stand where another layer stood.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.Identity(54)(mg.ones(2)).tolist()
    [1.0, 1.0]
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def forward(self, x: Any) -> Any:
        """x itself."""
        return x


class Flatten(Module):
    """The axes from start_dim to end_dim as one; the first, the batch, is left alone by default.

    Raises:
        ValueError: in a call: x has no such axes.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.Flatten()(mg.zeros((5, 2, 3))).shape
    (5, 6)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, data: Any) -> Tensor:
        """x (N, d₁, d₂, ...) -> y (N, d₁ d₂ ...), or between the axes that were named."""
        x = as_tensor(data, "Flatten")
        check_dim("Flatten", x, self.start_dim)
        check_dim("Flatten", x, self.end_dim)
        start, end = self.start_dim % x.ndim, self.end_dim % x.ndim
        if start > end:
            raise ValueError(f"Flatten: expected start_dim before end_dim, got {start} and {end} for x {describe(x)}")
        return x.reshape(*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :])

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
