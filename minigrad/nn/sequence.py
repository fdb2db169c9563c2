"""Layers over whole sequences: any cell, in layers, in one direction or both, padded or packed.

T: time steps   N: batch   D: input size   H: hidden size   L: layers   K: L, or 2L in two directions
G: gates (1, 4 or 3)

A layer hides no state: it takes the first one and returns the last one.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from ..anomaly import time_steps
from ..fusion.scanned import loop_of
from ..graph import Tensor
from ..ops.reduction import broadcast_to
from ..ops.shape import concatenate, split, stack, unstack
from ..shortcuts import reused
from . import functional as F
from .functional.checks import check_flags, check_probability, check_sizes
from .locked import locked_mask
from .utils.packed import PackedSequence, row_numbers
from .weights import RecurrentBase, Shape


class Layout(NamedTuple):
    """How the time steps lie in one array."""

    cut: Callable[[Tensor], list[Tensor]]  # the array -> its time steps
    join: Callable[[list[Tensor]], Tensor]  # the inverse
    spread: Callable[[Tensor], Tensor]  # a mask with a row per sequence -> one that fits the array


PADDED = Layout(unstack, stack, lambda mask: mask)  # (T, N, ...): the mask (N, ...) broadcasts


def packed(batch_sizes: Sequence[int]) -> Layout:
    """(Σ lengths, ...): step t has the first batch_sizes[t] sequences."""
    ends = list(accumulate(batch_sizes[:-1]))
    return Layout(cut=lambda x: split(x, ends), join=concatenate, spread=lambda mask: mask[row_numbers(batch_sizes)])


class Layers(RecurrentBase):
    """L layers over a whole sequence."""

    projects = False  # whether it may have a proj_size

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int,
        recurrent_init: str | None,
        learn_initial_state: bool,
        locked_dropout: bool,
        recurrent_dropout: float,
        device: str | None,
        dtype: Any,
    ) -> None:
        name = type(self).__name__
        check_sizes(name, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        check_probability(f"{name}, dropout", dropout)
        check_probability(f"{name}, recurrent_dropout", recurrent_dropout)
        check_flags(
            name,
            bias=bias,
            batch_first=batch_first,
            bidirectional=bidirectional,
            learn_initial_state=learn_initial_state,
            locked_dropout=locked_dropout,
        )
        self._check_projection(proj_size, hidden_size)
        if dropout and num_layers == 1:
            warnings.warn(f"{name}: dropout acts between layers, and there is only one", stacklevel=3)
        if locked_dropout and not dropout:
            warnings.warn(f"{name}: locked_dropout says how dropout acts, and dropout is 0", stacklevel=3)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, dropout
        self.bidirectional, self.proj_size = bidirectional, proj_size
        self.learn_initial_state, self.locked_dropout = learn_initial_state, locked_dropout
        self.recurrent_dropout = recurrent_dropout
        self._set_recurrent_init(recurrent_init)
        self._make_weights(device, dtype)

    def _check_projection(self, proj_size: int, hidden_size: int) -> None:
        name = type(self).__name__
        if proj_size and not self.projects:
            raise ValueError(f"{name}: only nn.LSTM has a projection; leave proj_size={proj_size!r} out")
        if not hasattr(proj_size, "__index__") or not 0 <= proj_size < hidden_size:
            raise ValueError(
                f"{name}: expected proj_size below hidden_size = {hidden_size}, or 0 for no projection, got {proj_size}"
            )

    @property
    def _directions(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)

    def _suffixes(self) -> list[str]:
        """_l0, _l0_reverse, _l1, ...: what the names of the parameters end with; the order of the states, too."""
        return [f"_l{layer}{direction}" for layer in range(self.num_layers) for direction in self._directions]

    def _input_sizes(self) -> dict[str, int]:
        width = self.h_size * len(self._directions)
        first = len(self._directions)  # how many see the input itself
        return {suffix: self.input_size if k < first else width for k, suffix in enumerate(self._suffixes())}

    def _learned_state_shapes(self) -> dict[str, Shape]:
        shapes = self._state_shapes(len(self._suffixes()), 1) if self.learn_initial_state else []
        return dict(zip(("h_0", "c_0"), shapes, strict=False))

    def flatten_parameters(self) -> None:
        """Does nothing: every weight is in one piece already. It is here for programs written for PyTorch."""

    # A whole sequence -----------------------------------------------------------------------------

    def _over_sequence(self, x: Any, state: Any) -> tuple[Any, Any]:
        if isinstance(x, PackedSequence):
            return self._over_packed(x, state)
        form = "(N, T, D) or (T, D)" if self.batch_first else "(T, N, D) or (T, D)"
        x = self._check_input(x, self.input_size, (2, 3), form)
        batched = x.ndim == 3
        if not batched:
            x = x.reshape(x.shape[0], 1, x.shape[1])
        elif self.batch_first:
            x = x.transpose(1, 0, 2)
        if x.shape[0] == 0:
            raise ValueError(f"{type(self).__name__}: expected at least one time step, got an input of shape {x.shape}")
        parts = self._first_state(state, x.shape[1], x, batched, other_batch=x.shape[0])
        x, parts = self._over_layers(x, parts, PADDED)
        if not batched:
            x, parts = x.squeeze(1), [part.squeeze(1) for part in parts]
        elif self.batch_first:
            x = x.transpose(1, 0, 2)
        return x, self._joined(parts)

    def _over_packed(self, sequence: PackedSequence, state: Any) -> tuple[PackedSequence, Any]:
        """States come and go in the user's order; inside, the longest sequence is first."""
        x = self._check_input(sequence.data, self.input_size, (2,), "of packed rows (Σ lengths, D)")
        parts = self._first_state(state, sequence.batch_sizes[0], x)
        if sequence.sorted_indices is not None:
            parts = [part.take(sequence.sorted_indices, axis=1) for part in parts]
        x, parts = self._over_layers(x, parts, packed(sequence.batch_sizes))
        if sequence.unsorted_indices is not None:
            parts = [part.take(sequence.unsorted_indices, axis=1) for part in parts]
        return dataclasses.replace(sequence, data=x), self._joined(parts)

    def _over_layers(self, x: Tensor, parts: list[Tensor], layout: Layout) -> tuple[Tensor, list[Tensor]]:
        """All layers over all time steps.          x as the layout has it, parts of the state (K, N, H)"""
        rows, suffixes, states = parts[0].shape[1], iter(self._suffixes()), self._per_layer(parts)
        last = []
        for layer in range(self.num_layers):
            if layer:
                x = self._between(x, rows, layout)
            outputs = []
            for direction in self._directions:
                suffix = next(suffixes)
                share = self._input_share(x, suffix)
                hh = self._recurrent(suffix, self._recurrent_mask(rows, x))
                backwards = direction == "_reverse"
                y, state = self._at_once(share, next(states), hh, layout, f"layer {layer}", backwards)
                outputs.append(y)
                last.append(state)
            x = concatenate(outputs, axis=-1) if self.bidirectional else outputs[0]
        return x, self._stacked(last)

    def _at_once(
        self, share: Tensor, state: Any, hh: Any, layout: Layout, layer: str, backwards: bool
    ) -> tuple[Tensor, Any]:
        """One layer in one direction, its time loop in one call where there is a kernel for it."""
        if layout is PADDED:
            parts = self._parts(state)
            found = loop_of(self.cell(), share, parts, self.has_memory, (hh,), backwards)
            if found is not None:
                return found[0], self._joined(found[len(parts) :])
        steps = layout.cut(share)  # (N, GH) each
        with reused(hh, len(steps)):
            hs, state = self._over_time(steps, state, hh, layer, backwards)
        return layout.join(hs), state

    def _over_time(
        self, steps: list[Tensor], state: Any, hh: Any, layer: str, backwards: bool
    ) -> tuple[list[Tensor], Any]:
        """One layer in one direction, one time step after the other: every h, and the last state.

        A step advances as many rows of the state as it has. In a packed batch the others rest: forward,
        those that have ended; backwards, those whose end has not come yet.
        """
        cell, hs = self.cell(), []
        running, resting = state, None
        rows = every_row = self._parts(state)[0].shape[0]
        mask = hh.mask
        for x_t in time_steps(steps, f"{type(self).__name__}, {layer}{', backwards' if backwards else ''}", backwards):
            if x_t.shape[0] != rows:
                rows = x_t.shape[0]
                running, resting = self._regrouped(running, resting, rows)
                hh = hh if mask is None else hh._replace(mask=mask[:rows])
            running = cell(x_t, running, hh)
            hs.append(self._parts(running)[0])
        if rows != every_row:
            running, _ = self._regrouped(running, resting, every_row)
        return hs[::-1] if backwards else hs, running

    def _regrouped(self, running: Any, resting: Any, rows: int) -> tuple[Any, Any]:
        """The first `rows` rows of the state, and the others."""
        whole = self._parts(running)
        if resting is not None:
            whole = [concatenate(pair) for pair in zip(whole, self._parts(resting), strict=True)]
        heads, tails = zip(*(split(part, [rows]) for part in whole), strict=True)
        return self._joined(heads), self._joined(tails)

    def _between(self, x: Tensor, rows: int, layout: Layout) -> Tensor:
        """Dropout from one layer to the next."""
        if not (self.training and self.dropout):
            return x
        if not self.locked_dropout:
            return F.dropout(x, self.dropout)
        return x * layout.spread(locked_mask((rows, x.shape[-1]), self.dropout, x))

    # One time step --------------------------------------------------------------------------------

    def _one_step(self, x: Any, state: Any) -> tuple[Tensor, Any]:
        if self.bidirectional:
            raise ValueError(
                f"{type(self).__name__}.step: expected a layer of one direction; a bidirectional one has to see the "
                "end of the sequence first, so call it on the whole sequence"
            )
        x = self._check_input(x, self.input_size, (1, 2), "(N, D) or (D,)")
        batched = x.ndim == 2
        if not batched:
            x = x.reshape(1, x.shape[0])
        rows = x.shape[0]
        cell, last = self.cell(), []
        states = self._per_layer(self._first_state(state, rows, x, batched))
        for layer, (suffix, first) in enumerate(zip(self._suffixes(), states, strict=True)):
            if layer:
                x = self._between(x, rows, PADDED)
            hh = self._recurrent(suffix, self._recurrent_mask(rows, x))
            last.append(cell(self._input_share(x, suffix), first, hh))
            x = self._parts(last[-1])[0]
        parts = self._stacked(last)
        if not batched:
            x, parts = x.squeeze(0), [part.squeeze(1) for part in parts]
        return x, self._joined(parts)

    # The state ------------------------------------------------------------------------------------

    def _first_state(
        self, state: Any, rows: int, x: Tensor, batched: bool = True, other_batch: int = 0
    ) -> list[Tensor]:
        """The parts of the state, (K, N, H) each: what was given, what was learned, or zeros."""
        count = len(self._suffixes())
        shapes = self._state_shapes(count, rows)
        if state is None and self.learn_initial_state:
            learned = [vars(self)[part] for part in self._learned_state_shapes()]
            return [broadcast_to(part, shape=shape) for part, shape in zip(learned, shapes, strict=True)]
        if state is None:
            return self._zero_state(shapes, x)

        def hint(found: Shape) -> str:
            if batched and len(found) == 3 and (found[1], found[0], found[2]) in shapes:
                return "; the state is never batch_first: .transpose(1, 0, 2) makes it (L, N, H)"
            if batched and other_batch and found in self._state_shapes(count, other_batch):
                form = "(N, T, D)" if self.batch_first else "(T, N, D)"
                return (
                    f"; it fits an input with the first two axes exchanged: this layer takes {form}, "
                    f"one with batch_first={not self.batch_first} the other order"
                )
            other = (*found[:-2], rows, *found[-1:])  # with as many sequences as the input has
            if batched and len(found) == 3 and found[1] != rows and other in shapes:
                return (
                    f"; it is of {found[1]} sequences, and the input has {rows}: as many are needed from one chunk to "
                    "the next, so leave out a last batch that is smaller, or start it with no state"
                )
            if batched and len(found) == 3 and (count, *found[1:]) in shapes:
                return f"; this layer has {count} first states, one for each layer and direction"
            return ""

        if batched:
            return self._check_state(state, shapes, x, hint)
        parts = self._check_state(state, self._state_shapes(count), x, hint)
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def _per_layer(self, parts: list[Tensor]) -> Iterator[Any]:
        """The state of each layer and direction, from parts (K, N, H)."""
        return (self._joined(each) for each in zip(*(unstack(part) for part in parts), strict=True))

    def _stacked(self, states: list[Any]) -> list[Tensor]:
        """Parts (K, N, H), from the state of each layer and direction."""
        each = zip(*(self._parts(state) for state in states), strict=True)
        return [part[0].reshape(1, *part[0].shape) if len(part) == 1 else stack(part) for part in each]
