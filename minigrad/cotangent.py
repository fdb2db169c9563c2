"""The forms a gradient can have before somebody needs the array, and how the sweep adds them up.

A cotangent is the gradient of the sweep's outputs with respect to one value. It arrives in contributions, one per
use of the value. The first is *borrowed*: it may be the caller's array, a view, or an array that another value
received too, so nobody may write to it. The second allocates the sum; later ones are added in place into what the
sweep then owns.

A contribution need not be an array yet. A matrix that is used at every time step gets Σ xₙ gₙᵀ at every one: `Deferred`
keeps the pairs (x, g), and does one product over all of them at the end. It keeps rows of a table likewise, and
parts of an array. None of them outlives its sweep, because an optimizer will write to what they hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .backend import Array, ArrayNamespace, DType
from .ops.contraction import outer_sum
from .ops.index import add_at, scatter_add, segment_sum
from .ops.primitive import Shape

MOST_ROWS = 8192  # that are kept before they are multiplied: more would cost memory, and gain no speed


class Looked(NamedTuple):
    """What rows x[n] = table[indices[n]] receive: summed for each row of the table, and how to have it for each n."""

    indices: Array
    rows: Array  # of the shape of the table
    array: Callable[[], Array]


class Deferred:
    """A sum of contributions that has not been computed yet. To arithmetic it is the array it stands for."""

    __slots__ = ("dense", "dtype", "looked", "owned", "pairs", "parts", "rows", "segments", "shape", "xp")
    __array_ufunc__ = None  # so that `array * deferred` asks this class

    def __init__(self, xp: ArrayNamespace, shape: Shape, dtype: DType) -> None:
        self.xp, self.shape, self.dtype = xp, shape, dtype
        self.dense: Array | None = None  # what is an array already
        self.owned = False  # whether that is ours to write to
        self.pairs: list[tuple[Array, Array]] = []  # x (..., K), y (..., M): Σₙ xₙ yₙᵀ
        self.segments: list[tuple[Array, Array]] = []  # indices (...), x (..., D): x[n] is added to row indices[n]
        self.parts: list[tuple[Any, Array]] = []  # index, x: x is added at [index]
        self.looked: list[Looked] = []
        self.rows = 0  # in pairs and segments together

    def __getattr__(self, name: str) -> Any:
        return getattr(self.copy().array(), name)  # what an array has besides

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def absorb(self, contribution: Any) -> None:
        """Add an array or a Deferred to this sum, which nobody else holds."""
        if type(contribution) is not Deferred:
            self._add(contribution)
            return
        self.pairs += contribution.pairs
        self.segments += contribution.segments
        self.looked += contribution.looked
        self.rows += contribution.rows
        for index, x in contribution.parts:
            self._add_part(index, x)
        if contribution.dense is not None:
            self._add(contribution.dense)
            contribution.owned = False  # two may hold it from now on
        if self.rows > MOST_ROWS:
            self._compute_sums()

    def array(self) -> Array:
        """The sum as an array; nobody else holds it if `owned` says so."""
        self.xp.make_current()  # another device may have been going backward since
        self._compute_sums()
        for looked in self.looked:
            self._add(looked.array())
        for index, x in self.parts:
            self._add_part(index, x)
        self.looked, self.parts = [], []
        return self.dense

    def copy(self) -> Deferred:
        """The same sum, to be computed while this one goes on growing."""
        other = Deferred(self.xp, self.shape, self.dtype)
        other.absorb(self)
        return other

    def transposed(self) -> Any:
        """The sum with its two axes exchanged, deferred if it consists of pairs."""
        if self.segments or self.parts or self.looked:
            return self.array().T
        other = Deferred(self.xp, self.shape[::-1], self.dtype)
        other.pairs, other.rows = [(y, x) for x, y in self.pairs], self.rows
        if self.dense is not None:
            other.dense, self.owned = self.dense.T, False  # which two hold from now on
        return other

    def for_table(self, indices: Array) -> Any:
        """For rows looked up at `indices`: the sum for each row of the table, of what is known so; and the rest."""
        known = [looked.rows for looked in self.looked if looked.indices is indices]
        if not known:
            return None, self.array()
        self.looked = [looked for looked in self.looked if looked.indices is not indices]
        has_rest = self.looked or self.pairs or self.segments or self.parts or self.dense is not None
        return sum(known[1:], start=known[0]), self.array() if has_rest else None

    def _compute_sums(self) -> None:
        xp = self.xp
        if self.pairs:
            xs, ys = _joined(xp, [x for x, _ in self.pairs], [y for _, y in self.pairs])
            self._add(outer_sum.value(xp, xs, ys), fresh=True)
        if self.segments:
            # Of all integers: uint64 beside another kind would make floating numbers.
            indices = _concatenated(xp, _rows([indices for indices, _ in self.segments], 0), dtype="int64")
            rows = _concatenated(xp, _rows([x for _, x in self.segments], self.ndim - 1))
            self._add(segment_sum.value(xp, rows, indices=indices, size=self.shape[0]), fresh=True)
        self.pairs, self.segments, self.rows = [], [], 0

    def _add(self, x: Array, fresh: bool = False) -> None:
        xp, dense = self.xp, self.dense
        if dense is None:
            self.dense, self.owned = x, fresh
        elif self.owned:
            xp.add(dense, x, out=dense)
        else:
            self.dense, self.owned = xp.add(dense, x, out=x if fresh else None), True

    def _add_part(self, index: Any, x: Array) -> None:
        if self.dense is None:
            self.dense = scatter_add.value(self.xp, x, index=index, shape=self.shape)
        else:
            if not self.owned:
                self.dense = owned_array(self.xp, self.dense, False, self.shape)
            add_at(self.xp, self.dense, index, x)
        self.owned = True


def _forced(name: str) -> Callable[..., Any]:
    def operator(self: Deferred, *others: Any) -> Any:
        arrays = [x.copy().array() if type(x) is Deferred else x for x in (self, *others)]
        return getattr(arrays[0], name)(*arrays[1:])

    return operator


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"):
    setattr(Deferred, f"__{_name}__", _forced(f"__{_name}__"))
    setattr(Deferred, f"__r{_name}__", _forced(f"__r{_name}__"))
for _name in ("neg", "abs", "getitem", "lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Deferred, f"__{_name}__", _forced(f"__{_name}__"))


def _rows(arrays: list[Array], kept: int) -> list[Array]:
    """Each with its leading axes made one, all but the last `kept`."""
    return [a if a.ndim == 1 + kept else a.reshape(-1, *a.shape[a.ndim - kept :]) for a in arrays]


def _concatenated(xp: ArrayNamespace, arrays: list[Array], **options: Any) -> Array:
    return arrays[0] if len(arrays) == 1 else xp.concatenate(arrays, **options)


def _joined(xp: ArrayNamespace, xs: list[Array], ys: list[Array]) -> tuple[Array, Array]:
    """All rows of the xs, and all rows of the ys, in the same order; those that are in one array are not copied."""
    (x, x_backwards), (y, y_backwards) = _slices_of_one(xp, xs), _slices_of_one(xp, ys)
    if x is not None and y is not None and x_backwards != y_backwards:
        y = None
    order = -1 if (x is not None and x_backwards) or (y is not None and y_backwards) else 1
    return tuple(_concatenated(xp, _rows(a[::order], 1)) if b is None else b for a, b in ((xs, x), (ys, y)))


def _slices_of_one(xp: ArrayNamespace, arrays: list[Array]) -> tuple[Array | None, bool]:
    """The array that these lie in one after the other, as rows; and whether the last comes first."""
    first, base = arrays[0], arrays[0].base
    if len(arrays) < 2 or base is None or base.shape != (len(arrays), *first.shape):
        return None, False
    strides = base.strides[1:]  # a transposed or a flipped slice lies in the same memory, in another order
    if any(a.base is not base or a.shape != first.shape or a.strides != strides for a in arrays):
        return None, False
    start, step = xp.address(base), first.nbytes
    places = [xp.address(a) - start for a in arrays]
    forwards = list(range(0, base.nbytes, step))
    if places not in (forwards, forwards[::-1]) or not base.flags.c_contiguous:
        return None, False
    return base.reshape(-1, base.shape[-1]), places[0] != 0


# Where contributions arrive -----------------------------------------------------------------------


class Slices(list[Any]):
    """What the outputs of an `unstack` have received, and the array that these are the slices of."""

    buffer: Array


class Inbox:
    """The contributions that have reached the outputs of one node, or one leaf, in this sweep."""

    __slots__ = ("buffer", "node", "owned", "values")

    node: Any  # the node, or the leaf
    values: list[Any]  # one per output
    owned: int  # one bit per output: whether the sweep allocated its value
    buffer: Array | None  # of an `unstack`: what its outputs receive lies in it

    def add(self, slot: int, contribution: Any, xp: ArrayNamespace | None) -> None:
        """Add a contribution to an output; without `xp` it is a recorded tensor, which is never written to."""
        held = self.values[slot]
        if held is None:
            self.values[slot] = contribution
        elif xp is None:
            self.values[slot] = held + contribution
        elif type(held) is Deferred or type(contribution) is Deferred:
            if type(held) is not Deferred or not self.owned >> slot & 1:
                like = held if type(held) is Deferred else contribution
                self.values[slot] = total = Deferred(like.xp, like.shape, like.dtype)
                total.absorb(held)
                held = total
                self.owned |= 1 << slot
            held.absorb(contribution)
        elif self.owned >> slot & 1:
            xp.add(held, contribution, out=held)
        else:
            # Adding 0-d NumPy arrays gives a scalar, which cannot be added to in place.
            self.values[slot] = total = held + contribution
            self.owned |= (type(total) is xp.array_type) << slot

    def add_slice(self, slot: int, contribution: Any, xp: ArrayNamespace) -> Any:
        """Add a contribution to an output of an `unstack`, and give the slice of the buffer that it now is.

        The slice may be handed on, so what comes later is added outside of the buffer.
        """
        if self.values[slot] is not None or type(contribution) is Deferred or not contribution.shape:
            self.add(slot, contribution, xp)
            return contribution
        if self.buffer is None:
            self.buffer = xp.empty((len(self.values), *contribution.shape), dtype=contribution.dtype)
        part = self.values[slot] = self.buffer[slot]
        part[...] = contribution
        return part

    def is_slice(self, slot: int) -> bool:
        """Whether what an output has received lies in the buffer; zeros are put there if it is nothing."""
        assert self.buffer is not None
        if self.values[slot] is None:
            self.values[slot] = part = self.buffer[slot]
            part[...] = 0
        value = self.values[slot]
        return type(value) is not Deferred and value.base is self.buffer

    def take(self, slot: int) -> Any:
        """What an output has received, as an array (or recorded tensor), or None."""
        value = self.values[slot]
        if type(value) is Deferred:
            self.values[slot] = array = value.array()
            self.owned = self.owned & ~(1 << slot) | value.owned << slot
            return array
        return value


def empty_inbox(node: Any, outputs: int) -> Inbox:
    """An inbox into which nothing has come."""
    inbox = Inbox()
    inbox.node = node
    inbox.values = [None] * outputs
    inbox.owned = 0
    inbox.buffer = None
    return inbox


def owned_array(xp: ArrayNamespace, value: Array, is_owned: bool, shape: Shape) -> Array:
    """`value` as an array that nobody else holds: itself if the sweep made it, else a copy."""
    if is_owned:
        return value
    xp.make_current()
    copy = xp.empty(shape, dtype=value.dtype)  # contiguous, whatever the strides of `value`
    copy[...] = value
    return copy
