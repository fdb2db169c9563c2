"""How the sweep adds up gradients: what it borrows, what it owns, and how one leaves it.

A cotangent is the gradient of the sweep's outputs with respect to one value. It arrives in
contributions, one per use of the value. The first is *borrowed*: it may be the caller's array, a view,
or an array that another value received too, so nobody may write to it. The second allocates the sum;
later ones are added in place into what the sweep then owns.
"""

from __future__ import annotations

from typing import Any

from .backend import Array, ArrayNamespace
from .ops.primitive import Shape


class Inbox:
    """The contributions that have reached the outputs of one node, or one leaf, in this sweep."""

    __slots__ = ("owned", "values")

    def __init__(self, outputs: int) -> None:
        self.values: list[Any] = [None] * outputs
        self.owned = 0  # one bit per output: whether the sweep allocated its value

    def add(self, slot: int, contribution: Any, xp: ArrayNamespace | None) -> None:
        """Add a contribution to an output; without `xp` it is a recorded tensor, which is never written to."""
        held = self.values[slot]
        if held is None:
            self.values[slot] = contribution
        elif xp is not None and self.owned >> slot & 1:
            xp.add(held, contribution, out=held)
        else:
            self.values[slot] = held + contribution
            if xp is not None:
                # Adding 0-d NumPy arrays gives a scalar, which cannot be added to in place.
                self.owned |= (type(self.values[slot]) is xp.array_type) << slot


def owned_array(xp: ArrayNamespace, value: Array, is_owned: bool, shape: Shape) -> Array:
    """`value` as an array that nobody else holds: itself if the sweep made it, else a copy."""
    if is_owned:
        return value
    copy = xp.empty(shape, dtype=value.dtype)  # contiguous, whatever the strides of `value`
    copy[...] = value
    return copy
