"""What a packed batch is: sequences of unequal lengths, without padding.

The sequences are sorted, longest first, and their rows lie in order of time: the first step of every
sequence, then the second step of those that have one, ... `batch_sizes[t]` says how many still run at
step t; they are always the first ones.

Lengths, batch sizes and orders are numbers of the host: no device is read to know how to go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ...backend import is_array, namespace_of
from ...graph import Tensor
from ...messages import describe


@dataclass(frozen=True, eq=False, repr=False)
class PackedSequence:
    """A batch of sequences of unequal lengths without padding. Made by `pack_padded_sequence` or `pack_sequence`.

    Attributes:
        data: (Σ lengths, *), the rows in order of time.
        batch_sizes: how many sequences have a step t, for each t, as integers of the host.
        sorted_indices: where in the user's batch the sequences came from, longest first; None if they
            came sorted. Integers of the host too, so they move nowhere with `to`.
        unsorted_indices: where each of the user's sequences went: the inverse.

    To change the data alone (an embedding, dropout), use `dataclasses.replace(packed, data=...)`.

    Raises:
        ValueError: batch_sizes increase or do not sum up to the rows of data, or the indices are no
            permutation of the batch.
        TypeError: data is no Tensor.

    >>> import minigrad as mg
    >>> from minigrad.nn.utils import rnn
    >>> rnn.pack_sequence([mg.tensor([1, 2, 3]), mg.tensor([4])])
    PackedSequence(data=tensor([1, 4, 2, 3], dtype=int64, device='cpu'), batch_sizes=(2, 1, 1))
    """

    data: Tensor
    batch_sizes: tuple[int, ...]
    sorted_indices: tuple[int, ...] | None = None
    unsorted_indices: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if type(self.data) is not Tensor:
            raise TypeError(f"PackedSequence: expected a Tensor as data, got {type(self.data).__name__}")
        sizes = tuple(integers(self.batch_sizes, "PackedSequence", "batch_sizes"))
        if not sizes or sizes[-1] < 1 or any(a < b for a, b in pairwise(sizes)):
            raise ValueError(f"PackedSequence: expected batch_sizes that are positive and never increase, got {sizes}")
        if not self.data.ndim or sum(sizes) != len(self.data):
            raise ValueError(
                f"PackedSequence: expected one row of data for each of the {sum(sizes)} steps that batch_sizes "
                f"count, got {describe(self.data)}; make one with pack_padded_sequence or pack_sequence"
            )
        object.__setattr__(self, "batch_sizes", sizes)
        order, inverse = self.sorted_indices, None
        if order is not None:
            order = tuple(integers(order, "PackedSequence", "sorted_indices"))
            if sorted(order) != list(range(sizes[0])):
                raise ValueError(f"PackedSequence: expected a permutation of 0 to {sizes[0] - 1}, got {order}")
            inverse = tuple(sorted(range(len(order)), key=order.__getitem__))
        if self.unsorted_indices is not None and tuple(self.unsorted_indices) != inverse:
            raise ValueError("PackedSequence: expected unsorted_indices to be the inverse of sorted_indices")
        object.__setattr__(self, "sorted_indices", order)
        object.__setattr__(self, "unsorted_indices", inverse)

    def to(self, target: Any) -> PackedSequence:
        """The same batch with its data on another device, or of another dtype."""
        return PackedSequence(self.data.to(target), self.batch_sizes, self.sorted_indices, self.unsorted_indices)

    @property
    def device(self) -> str:
        """Where the data lie."""
        return self.data.device

    @property
    def dtype(self) -> Any:
        """The type of the data's entries."""
        return self.data.dtype

    def __repr__(self) -> str:
        order = "" if self.sorted_indices is None else f", sorted_indices={self.sorted_indices}"
        return f"PackedSequence(data={self.data!r}, batch_sizes={self.batch_sizes}{order})"


def row_numbers(batch_sizes: Sequence[int]) -> list[int]:
    """For each row of a packed batch, the place of its sequence in the sorted batch: 0, 1, ..., 0, 1, ..."""
    return [k for size in batch_sizes for k in range(size)]


def integers(values: Any, what: str, name: str) -> list[int]:
    """Integers of the host, from a list, a NumPy array or a CPU Tensor."""
    if type(values) is Tensor:
        values = values.data
    if is_array(values):
        if namespace_of(values).device != "cpu":
            raise TypeError(
                f"{what}: expected {name} on the CPU, got them on {namespace_of(values).device}. They decide how many "
                "rows each step has, so reading them would make the host wait for the device: keep them as a list"
            )
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise TypeError(
                f"{what}: expected {name} as a vector of integers, got shape {values.shape} and dtype {values.dtype}"
            )
        return [int(value) for value in values]
    if not isinstance(values, (list, tuple)):
        raise TypeError(f"{what}: expected {name} as a list of integers, got {type(values).__name__}")
    for value in values:
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError(f"{what}: expected {name} that are integers, got {value!r} among them")
    return [int(value) for value in values]
