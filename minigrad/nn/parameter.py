"""What a module learns."""

from __future__ import annotations

from typing import Any

from ..creation import tensor, zeros
from ..graph import Tensor


def Parameter(data: Any, requires_grad: bool = True) -> Tensor:  # noqa: N802 - PyTorch's name
    """A Tensor that a Module lists among its parameters: the flag `is_parameter` is set, nothing else differs.

    Args:
        data: a Tensor, whose memory is shared; or an array or numbers, which are copied.
        requires_grad: False for a parameter that is saved with the others but not learned.

    Raises:
        TypeError: the data are no numbers, or they are integers and a gradient is wanted.

    >>> from minigrad import nn
    >>> weight = nn.Parameter([0.5, -0.5])
    >>> weight.is_parameter, weight.requires_grad
    (True, True)
    """
    try:
        parameter = data.detach() if isinstance(data, Tensor) else tensor(data)
    except TypeError as error:
        raise TypeError(f"Parameter: {error}") from None
    parameter.requires_grad = requires_grad
    parameter.is_parameter = True
    return parameter


def zero_parameter(*shape: int, dtype: Any = None, device: str | None = None) -> Tensor:
    """A parameter of zeros, which most layers fill with other first values."""
    return Parameter(zeros(shape, dtype=dtype, device=device))


def is_parameter(value: Any) -> bool:
    """Whether a value is a Tensor marked as a parameter."""
    return isinstance(value, Tensor) and value.is_parameter
