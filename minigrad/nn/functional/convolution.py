"""Convolution and pooling over two axes.          N: batch, C: channels, H and W: height and width

Inside, the batch is the last axis: windows (C, kh, kw, H, W, N) are copied in long rows then, however small the images
have become, and one product multiplies them all.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ...backend import namespace_of
from ...graph import Tensor
from ...messages import describe
from ...ops.shape import expand_dims, pad, reshape, squeeze, transpose
from ...ops.window import first_maxima, take_from_windows, windows
from ...tape import as_tensor
from .checks import as_pair, check_alike, check_flags, check_floating, check_sizes

Pair = tuple[int, int]


class Sliding(NamedTuple):
    """How windows slide over height and width."""

    size: Pair
    stride: Pair
    dilation: Pair
    sides: tuple[Pair, Pair]  # how much is put before and after, of the height and of the width

    @property
    def span(self) -> Pair:
        """From the first to the last entry of a window."""
        return self.dilation[0] * (self.size[0] - 1), self.dilation[1] * (self.size[1] - 1)

    @property
    def options(self) -> dict[str, Any]:
        """Of the primitives, for x (C, H, W, N)."""
        return {"size": self.size, "stride": self.stride, "dilation": self.dilation, "axis": 1}


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Tensor:
    """y[n, o, a, b] = Σ w[o, c, i, j] x[n, c, a s + i d, b s + j d] + bias[o], summed over c, i, j; x padded by zeros

    With groups, o sees the channels of its part alone: c counts from the first of these.

    Shapes: x (N, C, H, W) or (C, H, W), w (O, C/groups, kh, kw), bias (O,), y (N, O, H', W') or (O, H', W'), where
    H' = ⌊(H + 2 padding - dilation (kh - 1) - 1) / stride⌋ + 1, and W' likewise.

    What backward needs of x takes kh kw times the memory of x where windows overlap at stride 1.

    Args:
        stride: s, the step from one window to the next. Here and below, one number, or one for H and one for W.
        padding: how many zeros stand at each side. "valid" is none; "same" as many as keep H and W at stride 1, one
            more after than before if their number is odd.
        dilation: d, the step from one entry of a window to the next.
        groups: how many parts the channels fall into, in order; each o sees the channels of one part.

    Raises:
        ValueError: the shapes do not fit, the kernel is larger than the padded input, or an option is none of these.
        TypeError: the input is not floating-point, or the dtypes differ.
        RuntimeError: the weight or the bias is on another device.

    Source: LeCun et al. 1989.

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> F.conv2d(mg.tensor([[[1.0, 2.0, 4.0]]]), mg.tensor([[[[-1.0, 1.0]]]])).tolist()
    [[[1.0, 2.0]]]
    """
    x, weight = as_tensor(input, "conv2d"), as_tensor(weight, "conv2d, weight")
    check_floating("conv2d", "input", x)
    check_alike("conv2d", "weight", weight, "the input", x)
    check_sizes("conv2d", groups=groups)
    if weight.ndim != 4 or not weight.size:
        raise ValueError(f"conv2d: expected a weight (O, C/groups, kh, kw), got {describe(weight)}")
    count, channels, *size = weight.shape
    if count % groups:
        raise ValueError(f"conv2d: expected groups that divide the {count} channels of the output, got groups={groups}")
    _check_images("conv2d", x, channels * groups)
    if bias is not None:
        bias = as_tensor(bias, "conv2d, bias")
        check_alike("conv2d", "bias", bias, "the input", x)
        if bias.shape != (count,):
            raise ValueError(f"conv2d: expected a bias {(count,)}, got {describe(bias)}")
    sliding = convolving("conv2d", size, stride, padding, dilation)
    _check_room("conv2d", x, sliding)

    patches = windows(_padded(_batch_last(x), sliding, 0.0), **sliding.options)  # (C, kh, kw, H', W', N)
    places = patches.shape[3:]
    columns = reshape(patches, (groups, channels * math.prod(size), math.prod(places)))
    y = reshape(reshape(weight, (groups, count // groups, -1)) @ columns, (count, *places))  # (O, H', W', N)
    return _batch_first(y if bias is None else y + reshape(bias, (count, 1, 1, 1)), x)


def max_pool2d(
    input: Tensor,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """y[n, c, a, b] = max x[n, c, a s + i d, b s + j d] over the window, 0 ≤ i < kh, 0 ≤ j < kw; x padded by -∞

    The first of equal entries gets the gradient. A window with a NaN gives NaN.

    Shapes: x (N, C, H, W) or (C, H, W), y of as many axes, with
    H' = ⌊(H + 2 padding - dilation (kh - 1) - 1) / stride⌋ + 1, and W' likewise.

    Args:
        kernel_size: (kh, kw). Here and below, one number, or one for H and one for W.
        stride: s, the step from one window to the next; kernel_size if None.
        padding: by how many entries windows may stand out at each side, at most half of kernel_size.
        dilation: d, the step from one entry of a window to the next.
        ceil_mode: have windows stand out at the end, if they begin inside: ⌈ ⌉ for ⌊ ⌋.

    Raises:
        ValueError: x has other axes, a window is larger than the padded input, or an option is none of these.
        TypeError: the input is not floating-point.

    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> x = mg.tensor([[[1.0, 3.0, 3.0, 2.0]]], requires_grad=True)
    >>> y = F.max_pool2d(x, (1, 2))
    >>> y.tolist()
    [[[3.0, 3.0]]]
    >>> y.sum().backward()
    >>> x.grad.tolist()
    [[[0.0, 1.0, 1.0, 0.0]]]
    """
    x = as_tensor(input, "max_pool2d")
    check_floating("max_pool2d", "input", x)
    _check_images("max_pool2d", x)
    sliding = pooling("max_pool2d", kernel_size, stride, padding, dilation, ceil_mode)
    if ceil_mode:
        sliding = _up_to_the_end(x, sliding)
    _check_room("max_pool2d", x, sliding)

    last = _batch_last(x)
    padded = _padded(last, sliding, -math.inf)
    xp = namespace_of(x.data)
    xp.make_current()
    inside = None
    if padded is not last:
        inside = pad.value(xp, xp.ones((1, *last.shape[1:3], 1), dtype=bool), pad_width=_pad_width(sliding))
    which = first_maxima(xp, padded.data, inside, **sliding.options)
    return _batch_first(take_from_windows(padded, which=which, **sliding.options), x)


# Options ------------------------------------------------------------------------------------------


def convolving(caller: str, kernel_size: Any, stride: Any, padding: Any, dilation: Any) -> Sliding:
    """The options of a convolution, checked."""
    size, stride, dilation = (
        as_pair(caller, name, value)
        for name, value in (("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation))
    )
    if not isinstance(padding, str):
        h, w = as_pair(caller, "padding", padding, least=0)
        return Sliding(size, stride, dilation, ((h, h), (w, w)))
    sliding = Sliding(size, stride, dilation, ((0, 0), (0, 0)))
    if padding == "valid":
        return sliding
    if padding != "same":
        raise ValueError(f'{caller}: expected padding as numbers, "same" or "valid", got {padding!r:.40}')
    if stride != (1, 1):
        raise ValueError(f'{caller}: expected stride 1 with padding="same", got {stride}; give the padding as numbers')
    h, w = sliding.span
    return sliding._replace(sides=((h // 2, h - h // 2), (w // 2, w - w // 2)))


def pooling(caller: str, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any) -> Sliding:
    """The options of max pooling, checked."""
    check_flags(caller, ceil_mode=ceil_mode)
    h, w = as_pair(caller, "padding", padding, least=0)  # no words here
    sliding = convolving(caller, kernel_size, kernel_size if stride is None else stride, (h, w), dilation)
    if h > sliding.size[0] // 2 or w > sliding.size[1] // 2:
        raise ValueError(f"{caller}: expected padding of at most half the kernel_size, {sliding.size}, got {padding!r}")
    return sliding


def _up_to_the_end(x: Tensor, sliding: Sliding) -> Sliding:
    """With as much after x as makes room for every window that begins inside."""
    sides = []
    for length, span, step, (before, after) in zip(
        x.shape[-2:], sliding.span, sliding.stride, sliding.sides, strict=True
    ):
        last = -(-(before + length + after - span - 1) // step) * step  # where the last window begins
        if last >= before + length:
            last -= step
        sides.append((before, max(after, last + span + 1 - before - length)))
    return sliding._replace(sides=(sides[0], sides[1]))


def _check_images(caller: str, x: Tensor, channels: int | None = None) -> None:
    named = "C" if channels is None else channels
    if x.ndim not in (3, 4) or (channels is not None and x.shape[-3] != channels) or 0 in x.shape[-3:]:
        raise ValueError(f"{caller}: expected an input (N, {named}, H, W) or ({named}, H, W), got {describe(x)}")


def _check_room(caller: str, x: Tensor, sliding: Sliding) -> None:
    room = tuple(n + before + after for n, (before, after) in zip(x.shape[-2:], sliding.sides, strict=True))
    needed = tuple(span + 1 for span in sliding.span)
    if room[0] < needed[0] or room[1] < needed[1]:
        raise ValueError(
            f"{caller}: expected an input at least as large as a window, {needed} entries, "
            f"got {room} with its padding, x {describe(x)}"
        )


# Axes ---------------------------------------------------------------------------------------------


def _batch_last(x: Tensor) -> Tensor:
    """x (N, C, H, W) or (C, H, W) -> (C, H, W, N)"""
    return transpose(x, (1, 2, 3, 0)) if x.ndim == 4 else expand_dims(x, -1)


def _batch_first(y: Tensor, x: Tensor) -> Tensor:
    """y (C, H, W, N) -> (N, C, H, W) or (C, H, W), as many axes as x has"""
    return transpose(y, (3, 0, 1, 2)) if x.ndim == 4 else squeeze(y, -1)


def _pad_width(sliding: Sliding) -> tuple[Pair, ...]:
    return (0, 0), *sliding.sides, (0, 0)


def _padded(x: Tensor, sliding: Sliding, value: float) -> Tensor:
    if not any(map(any, sliding.sides)):
        return x
    return pad(x, pad_width=_pad_width(sliding), constant_values=value)
