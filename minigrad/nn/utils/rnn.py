"""Sequences of unequal lengths in one batch: padded to one length, packed without padding, and back; and `tbptt`.

T: time steps of the longest   N: batch   *: whatever axes follow
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from ...backend import Array, cpu, is_array, is_floating
from ...creation import full, tensor
from ...graph import Tensor
from ...indexing import take
from ...messages import describe, type_name
from ...ops.shape import concatenate
from ...tape import as_tensor
from ..functional.checks import check_flags, is_number
from .packed import PackedSequence, integers
from .truncated import tbptt

__all__ = [
    "PackedSequence",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "tbptt",
    "unpack_sequence",
    "unpad_sequence",
]


# Packing ------------------------------------------------------------------------------------------


def pack_padded_sequence(
    input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """A padded batch without its padding.

    Args:
        input: (T, N, *), or (N, T, *) if batch_first.
        lengths: how many steps of each sequence count: a list, a NumPy array or a Tensor of the CPU.
        enforce_sorted: whether lengths must not increase. With False any order will do: the layers take
            and give states in that order, and `pad_packed_sequence` restores it.

    Raises:
        ValueError: a length is below 1 or above T, their number is not N, or they are not sorted.
        TypeError: lengths are no integers, or lie on a GPU.

    >>> import minigrad as mg
    >>> from minigrad.nn.utils import rnn
    >>> x = mg.tensor([[1, 4], [2, 0], [3, 0]])             # (T, N): the second has one step
    >>> packed = rnn.pack_padded_sequence(x, [3, 1])
    >>> packed.data.tolist(), packed.batch_sizes
    ([1, 4, 2, 3], (2, 1, 1))
    """
    what = "pack_padded_sequence"
    check_flags(what, batch_first=batch_first, enforce_sorted=enforce_sorted)
    x = as_tensor(input, what)
    if x.ndim < 2:
        raise ValueError(f"{what}: expected an input {_form(batch_first)}, got {describe(x)}")
    steps, batch = (x.shape[1], x.shape[0]) if batch_first else x.shape[:2]
    counts = _lengths(lengths, what)
    if len(counts) != batch:
        cure = f"; batch_first={not batch_first} would fit" if len(counts) == steps else ""
        raise ValueError(
            f"{what}: expected {batch} lengths for an input {_form(batch_first)} of shape {x.shape}, "
            f"got {len(counts)}{cure}"
        )
    if max(counts) > steps:
        raise ValueError(
            f"{what}: expected lengths of at most {steps}, as the input {_form(batch_first)} of shape {x.shape} has, "
            f"got {max(counts)}"
        )
    stride = (1, steps) if batch_first else (batch, 1)  # from a step to the next, from a sequence to the next
    starts = [stride[1] * k for k in range(batch)]
    return _packed(x.reshape(steps * batch, *x.shape[2:]), starts, stride[0], counts, enforce_sorted, what)


def pack_sequence(sequences: Sequence[Any], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences (Tᵢ, *) of unequal lengths, packed.

    Args:
        enforce_sorted: whether they must come longest first; see `pack_padded_sequence`.

    Raises:
        ValueError: there is none, one is empty, they are not sorted, or their other axes differ.

    >>> import minigrad as mg
    >>> from minigrad.nn.utils import rnn
    >>> rnn.pack_sequence([mg.ones((2, 5)), mg.ones((4, 5))], enforce_sorted=False).batch_sizes
    (2, 2, 1, 1)
    """
    data, starts, counts = _end_to_end(sequences, "pack_sequence")
    return _packed(data, starts, 1, counts, enforce_sorted, "pack_sequence")


def _packed(
    rows: Tensor, starts: list[int], stride: int, counts: list[int], enforce_sorted: bool, what: str
) -> PackedSequence:
    """Row starts[k] + t stride of `rows` is step t of sequence k."""
    order = sorted(range(len(counts)), key=lambda k: -counts[k])  # stable, so [0, 1, ...] if sorted already
    if enforce_sorted and order != list(range(len(counts))):
        raise ValueError(
            f"{what}: expected lengths that never increase, got {_shown(counts)}; "
            "sort the batch, or pass enforce_sorted=False to have it sorted here and restored afterwards"
        )
    longest = counts[order[0]]
    runs = cpu.arange(longest)[:, None] < cpu.asarray([counts[k] for k in order])  # (T, N)
    places = cpu.asarray([starts[k] for k in order]) + stride * cpu.arange(longest)[:, None]
    sizes = tuple(runs.sum(axis=1).tolist())
    data = take(rows, places[runs].tolist(), axis=0)
    return PackedSequence(data, sizes, None if enforce_sorted else tuple(order))


# Padding ------------------------------------------------------------------------------------------


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """A packed batch padded to one length, in the order it had before it was packed; and the lengths.

    Args:
        padding_value: what stands where a sequence has ended.
        total_length: the length to pad to; by default that of the longest.

    Returns:
        (padded, lengths): (T, N, *), or (N, T, *) if batch_first; and (N,) integers, on the CPU.

    Raises:
        ValueError: total_length is below the longest sequence's, or padding_value is none of the data's dtype.

    >>> import minigrad as mg
    >>> from minigrad.nn.utils import rnn
    >>> packed = rnn.pack_sequence([mg.tensor([1, 2, 3]), mg.tensor([4])])
    >>> padded, lengths = rnn.pad_packed_sequence(packed, batch_first=True)
    >>> padded.tolist(), lengths.tolist()
    ([[1, 2, 3], [4, 0, 0]], [3, 1])
    """
    what = "pad_packed_sequence"
    check_flags(what, batch_first=batch_first)
    _check_packed(sequence, what)
    sizes = cpu.asarray(sequence.batch_sizes)
    steps = len(sizes) if total_length is None else total_length
    if not hasattr(steps, "__index__") or steps < len(sizes):
        raise ValueError(
            f"{what}: expected a total_length, an integer, of at least {len(sizes)}, the longest, got {total_length}"
        )
    batch = sequence.batch_sizes[0]
    columns = sequence.unsorted_indices or tuple(range(batch))
    table = cpu.full((steps, batch), len(sequence.data))  # the row of each step and sequence
    table[: len(sizes)][cpu.arange(batch) < sizes[:, None]] = cpu.arange(len(sequence.data))
    lengths = (cpu.asarray(columns) < sizes[:, None]).sum(axis=0)
    padded = _laid_out(sequence.data, table[:, list(columns)], batch_first, padding_value, what)
    return padded, tensor(lengths, device="cpu")


def pad_sequence(
    sequences: Sequence[Any], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Sequences (Tᵢ, *) side by side, the shorter ones padded: (T, N, *), or (N, T, *) if batch_first.

    Args:
        padding_value: what stands where a sequence has no step.
        padding_side: "right": after its end; "left": before its start.

    Raises:
        ValueError: there is none, their other axes differ, padding_side is another word, or padding_value is
            none of their dtype.

    >>> import minigrad as mg
    >>> from minigrad.nn.utils import rnn
    >>> rnn.pad_sequence([mg.tensor([1, 2, 3]), mg.tensor([4])], batch_first=True, padding_side="left").tolist()
    [[1, 2, 3], [0, 0, 4]]
    """
    if padding_side not in ("left", "right"):
        raise ValueError(f'pad_sequence: expected padding_side "left" or "right", got {padding_side!r}')
    check_flags("pad_sequence", batch_first=batch_first)
    data, starts, counts = _end_to_end(sequences, "pad_sequence", empty=True)
    table = cpu.full((max(counts), len(counts)), len(data))
    for k, (start, count) in enumerate(zip(starts, counts, strict=True)):
        first = max(counts) - count if padding_side == "left" else 0
        table[first : first + count, k] = cpu.arange(start, start + count)
    return _laid_out(data, table, batch_first, padding_value, "pad_sequence")


def unpad_sequence(padded_sequences: Any, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The sequences (Tᵢ, *) of a padded batch: the inverse of `pad_sequence`.

    Args:
        padded_sequences: (T, N, *), or (N, T, *) if batch_first.
        lengths: one for each sequence, as for `pack_padded_sequence`.

    Raises:
        ValueError: there is not one length for each sequence, or one is below 1 or above T.

    >>> import minigrad as mg
    >>> from minigrad.nn.utils import rnn
    >>> [x.tolist() for x in rnn.unpad_sequence(mg.tensor([[1, 2, 3], [4, 0, 0]]), [3, 1], batch_first=True)]
    [[1, 2, 3], [4]]
    """
    check_flags("unpad_sequence", batch_first=batch_first)
    x = as_tensor(padded_sequences, "unpad_sequence")
    counts = _lengths(lengths, "unpad_sequence")
    if x.ndim < 2 or len(counts) != x.shape[not batch_first] or max(counts) > x.shape[bool(batch_first)]:
        raise ValueError(
            f"unpad_sequence: expected an input {_form(batch_first)} with a length from 1 to T for each of the N, got "
            f"{describe(x)} and lengths {_shown(counts)}"
        )
    each = x.unstack(axis=0 if batch_first else 1)
    return [part[:count] for part, count in zip(each, counts, strict=True)]


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences (Tᵢ, *) of a packed batch: the inverse of `pack_sequence`.

    >>> import minigrad as mg
    >>> from minigrad.nn.utils import rnn
    >>> [x.tolist() for x in rnn.unpack_sequence(rnn.pack_sequence([mg.tensor([1, 2, 3]), mg.tensor([4])]))]
    [[1, 2, 3], [4]]
    """
    _check_packed(packed_sequences, "unpack_sequence")
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)


def _laid_out(data: Tensor, table: Array, batch_first: bool, padding_value: float, what: str) -> Tensor:
    """The rows of `data` by number; a number past the last one is padding.          table (T, N)"""
    _check_padding(padding_value, data.dtype, what)
    padding = full((1, *data.shape[1:]), padding_value, dtype=data.dtype, device=data.device)
    return take(concatenate([data, padding]), (table.T if batch_first else table).tolist(), axis=0)


def _check_padding(value: Any, dtype: Any, what: str) -> None:
    """Raise unless the dtype can hold the value."""
    if not is_number(value) and not isinstance(value, bool):
        raise TypeError(f"{what}: expected padding_value to be a number, got {value!r:.40}")
    if is_floating(dtype):
        fits = not math.isfinite(value) or abs(value) <= float(cpu.module.finfo(dtype).max)
    else:
        low, high = (0, 1) if dtype.kind == "b" else (cpu.module.iinfo(dtype).min, cpu.module.iinfo(dtype).max)
        fits = low <= value <= high and value % 1 == 0
    if not fits:
        raise ValueError(f"{what}: expected a padding_value that {dtype} can hold, as the sequences are, got {value!r}")


# What comes in ------------------------------------------------------------------------------------


def _end_to_end(sequences: Sequence[Any], what: str, empty: bool = False) -> tuple[Tensor, list[int], list[int]]:
    """All rows of the sequences, where each one starts, and how many it has."""
    if isinstance(sequences, Tensor) or is_array(sequences):
        raise TypeError(f"{what}: expected a list of sequences, got one Tensor; x.unstack() makes a list of it")
    if not isinstance(sequences, (list, tuple)):
        raise TypeError(f"{what}: expected a list of sequences, got {type(sequences).__name__}")
    tensors = [as_tensor(x, what) for x in sequences]
    if not tensors:
        raise ValueError(f"{what}: expected at least one sequence, got none")
    first = tensors[0]
    for k, x in enumerate(tensors):
        if not x.ndim or x.shape[1:] != first.shape[1:] or x.dtype != first.dtype:
            raise ValueError(
                f"{what}: expected sequences (T, *) that differ in T alone, got {describe(first)}, and {describe(x)} "
                f"as number {k}"
            )
        if not len(x) and not empty:
            raise ValueError(f"{what}: expected sequences of at least one step, but number {k} has none")
    counts = [len(x) for x in tensors]
    starts = list(accumulate(counts[:-1], initial=0))
    return concatenate(tensors), starts, counts


def _check_packed(sequence: Any, what: str) -> None:
    if not isinstance(sequence, PackedSequence):
        raise TypeError(
            f"{what}: expected a PackedSequence, got {type_name(sequence)}; pack_padded_sequence and "
            "pack_sequence make one"
        )


def _lengths(lengths: Any, what: str) -> list[int]:
    counts = integers(lengths, what, "lengths")
    if not counts:
        raise ValueError(f"{what}: expected at least one length, got none")
    if min(counts) < 1:
        raise ValueError(
            f"{what}: expected lengths of at least 1, got {min(counts)} as number {counts.index(min(counts))}; "
            "leave empty sequences out of the batch"
        )
    return counts


def _form(batch_first: bool) -> str:
    return "(N, T, *)" if batch_first else "(T, N, *)"


def _shown(counts: list[int]) -> str:
    return f"[{', '.join(map(str, counts[:8]))}{', ...' if len(counts) > 8 else ''}]"
