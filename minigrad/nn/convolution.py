"""Layers that slide over images: Conv2d, MaxPool2d."""

from __future__ import annotations

import math
from typing import Any

from ..graph import Tensor
from . import functional as F
from . import init
from .functional.checks import check_flags, check_sizes
from .functional.convolution import Pair, convolving, pooling
from .module import Module
from .parameter import zero_parameter


class Conv2d(Module):
    """y[n, o, a, b] = Σ w[o, c, i, j] x[n, c, a s + i d, b s + j d] + bias[o], summed over c, i, j; x padded by zeros

    With groups, o sees the channels of its part alone: c counts from the first of these.

    Shapes: x (N, in_channels, H, W), y (N, out_channels, H', W'), both with or without N; weight
    (out_channels, in_channels/groups, kh, kw), bias (out_channels,). `nn.functional.conv2d` says what H' and W' are.

    Weight and bias start uniform in ±1/√(in_channels/groups kh kw), as in PyTorch.

    Args:
        kernel_size: (kh, kw). Here and below, one number, or one for H and one for W.
        stride: s, the step from one window to the next.
        padding: how many zeros stand at each side; "valid" is none, "same" as many as keep H and W at stride 1.
        dilation: d, the step from one entry of a window to the next.
        groups: how many parts the channels fall into; each channel of y sees those of one part.
        bias: whether there is a bias.

    Raises:
        ValueError: a size is no positive integer, groups do not divide the channels, "same" has a stride; in a call: x
            has other channels, or is smaller than the kernel.
        TypeError: in a call: x has another dtype than the weight.

    Source: LeCun et al. 1989.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.Conv2d(3, 8, kernel_size=5, stride=2, padding=2)(mg.zeros((4, 3, 28, 28))).shape
    (4, 8, 14, 14)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair | str = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        check_sizes("Conv2d", in_channels=in_channels, out_channels=out_channels, groups=groups)
        check_flags("Conv2d", bias=bias)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"Conv2d: expected groups that divide in_channels and out_channels, {in_channels} and {out_channels}, "
                f"got {groups}"
            )
        sliding = convolving("Conv2d", kernel_size, stride, padding, dilation)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = sliding.size, sliding.stride, sliding.dilation
        self.padding = padding if isinstance(padding, str) else (sliding.sides[0][0], sliding.sides[1][0])
        shape = out_channels, in_channels // groups, *self.kernel_size
        self.weight = zero_parameter(*shape, dtype=dtype, device=device)
        self.bias = zero_parameter(out_channels, dtype=dtype, device=device) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the first values again."""
        bound = 1.0 / math.sqrt(math.prod(self.weight.shape[1:]))
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Any) -> Tensor:
        """x (N, in_channels, H, W) -> y (N, out_channels, H', W'), both with or without N."""
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        usual = {"padding": (0, 0), "dilation": (1, 1), "groups": 1}
        others = "".join(f", {k}={getattr(self, k)!r}" for k, value in usual.items() if getattr(self, k) != value)
        size = f"kernel_size={self.kernel_size}, stride={self.stride}{others}"
        return f"{self.in_channels}, {self.out_channels}, {size}{', bias=False' if self.bias is None else ''}"


class MaxPool2d(Module):
    """y[n, c, a, b] = max x[n, c, a s + i d, b s + j d] over the window, 0 ≤ i < kh, 0 ≤ j < kw

    Arguments, shapes and errors are those of `nn.functional.max_pool2d`.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.MaxPool2d(2)(mg.zeros((4, 8, 28, 28))).shape
    (4, 8, 14, 14)
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        *,
        ceil_mode: bool = False,
    ) -> None:
        pooling("MaxPool2d", kernel_size, stride, padding, dilation, ceil_mode)
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation, self.ceil_mode = padding, dilation, ceil_mode

    def forward(self, x: Any) -> Tensor:
        """x (N, C, H, W) -> y (N, C, H', W'), both with or without N."""
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def extra_repr(self) -> str:
        names = "kernel_size", "stride", "padding", "dilation", "ceil_mode"
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)
