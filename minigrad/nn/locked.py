"""Locked dropout: one mask for a whole sequence, the same at every time step.

T: time steps   N: batch   D: features
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ..creation import ones
from ..graph import Tensor
from ..messages import describe
from ..tape import as_tensor
from . import functional as F
from .functional.checks import check_flags, check_probability
from .module import Module
from .utils.packed import PackedSequence, row_numbers


def locked_mask(shape: tuple[int, ...], p: float, like: Tensor) -> Tensor:
    """Each entry 0 with probability p, else 1/(1 - p); of the dtype and on the device of `like`."""
    return F.dropout(ones(shape, dtype=like.dtype, device=like.device), p)


class LockedDropout(Module):
    """Dropout that zeroes the same features of a sequence at all its time steps, for inputs and outputs of layers.

    Equation: y_t = m ⊙ x_t while training, each entry of m being 0 with probability p, else 1/(1 - p); y = x in
    evaluation. Every sequence of the batch has a mask of its own, drawn anew in each call.
    Shapes: x (T, N, D), or (N, T, D) if batch_first, or (T, D) for a single sequence, or a PackedSequence;
    y like x, m (N, D).
    Source: Gal and Ghahramani 2016, arXiv 1512.05287; Merity et al. 2018, arXiv 1708.02182 (AWD-LSTM).

    Args:
        p: the probability of zeroing a feature.
        batch_first: whether x is (N, T, D).

    Raises:
        ValueError: p is not in [0, 1], or x has another number of axes.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> mg.manual_seed(0)
    >>> nn.LockedDropout(0.5)(mg.ones((2, 1, 4))).tolist()          # two steps, one mask
    [[[2.0, 2.0, 2.0, 0.0]], [[2.0, 2.0, 2.0, 0.0]]]
    """

    def __init__(self, p: float = 0.5, batch_first: bool = False) -> None:
        check_probability("LockedDropout", p)
        check_flags("LockedDropout", batch_first=batch_first)
        self.p, self.batch_first = p, batch_first

    def forward(self, x: Any) -> Any:
        """y of the shape of x, packed if x is; x itself in evaluation."""
        if isinstance(x, PackedSequence):
            return dataclasses.replace(x, data=self._packed(x.data, x.batch_sizes))
        x = as_tensor(x, "LockedDropout")
        if x.ndim not in (2, 3):
            form = "(N, T, D)" if self.batch_first else "(T, N, D)"
            raise ValueError(f"LockedDropout: expected x {form} or (T, D), got {describe(x)}")
        if not self.training or self.p == 0.0:
            return x
        time = 1 if self.batch_first and x.ndim == 3 else 0
        return x * locked_mask((*x.shape[:time], 1, *x.shape[time + 1 :]), self.p, x)

    def _packed(self, rows: Tensor, batch_sizes: tuple[int, ...]) -> Tensor:
        if not self.training or self.p == 0.0:
            return rows
        mask = locked_mask((batch_sizes[0], *rows.shape[1:]), self.p, rows)
        return rows * mask[row_numbers(batch_sizes)]

    def extra_repr(self) -> str:
        return f"p={self.p}" + (", batch_first=True" if self.batch_first else "")
