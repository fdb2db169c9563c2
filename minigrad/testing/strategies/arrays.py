"""Arrays: their dtypes, their entries from the domain of a primitive, the ways they lie in memory."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any, Final

from hypothesis import strategies as st

from ...backend import Array, DType, cpu, float16, float32, float64
from ...ops.primitive import EVERYWHERE, Domain
from ..application import LAYOUTS, laid_out
from .printing import pasteable
from .shapes import Shape

CLEARANCE: Final = 0.05  # from kinks and, where entries must be distinct, between them, as long as they fit


def dtypes(*, half: bool = False) -> st.SearchStrategy[DType]:
    """float64 or float32, with `half` also float16.

    >>> from hypothesis import find
    >>> from minigrad.testing import strategies as mst
    >>> find(mst.dtypes(), lambda dtype: True)
    <class 'numpy.float64'>
    """
    return st.sampled_from([float64, float32, float16] if half else [float64, float32])


# Entries ------------------------------------------------------------------------------------------


@cache
def values_of(domain: Domain, count: int, ties: bool = False) -> list[float]:
    """At least `count` short numbers inside a domain, simple ones first: clear of its kinks, and never its ends.

    With `ties` they are few and far between, so that drawing some of them gives equal ones.

    Raises:
        ValueError: the domain has no room for as many.
    """
    low, high = (
        max(domain.low, min(domain.high, 0) - 10),
        min(domain.high, max(domain.low, 0) + 10),
    )  # of a wide one, a part
    clearance = min(CLEARANCE, (high - low) / 20)
    coarse = (1, 10, 20) if ties else (20,) if domain.distinct else ()
    for parts in (*coarse, 100, 1000, 10**4, 10**5, 10**6):
        grid = [k / parts for k in range(math.floor(low * parts), math.ceil(high * parts) + 1)]
        inside = [x for x in grid if low < x < high and all(abs(x - kink) >= clearance for kink in domain.kinks)]
        if len(inside) >= max(count, 3):
            return sorted(inside, key=lambda x: (not x.is_integer(), len(repr(abs(x))), x == 0, abs(x), x < 0))
    raise ValueError(f"arrays: expected a domain with room for {count} different numbers, got {domain}")


def entries(
    domain: Domain, count: int, taken: Collection[float] = (), unique: bool = True
) -> st.SearchStrategy[list[Any]]:
    """`count` numbers from a domain, none of those in `taken`."""
    if domain.dtype == "bool":
        return st.lists(st.booleans(), min_size=count, max_size=count)
    values = values_of(domain, count + len(taken) if unique else 1, ties=not unique)
    free = [x for x in values if x not in taken] if taken else values
    return st.lists(st.sampled_from(free), min_size=count, max_size=count, unique=unique)


def as_array(found: Sequence[Any], domain: Domain, shape: Shape, dtype: DType) -> Array:
    """Entries as an array; those of a domain of booleans stay booleans."""
    return cpu.array(found, dtype=bool if domain.dtype == "bool" else dtype).reshape(shape)


@st.composite
def arrays(
    draw: st.DrawFn,
    shape: tuple[int, ...] | st.SearchStrategy[tuple[int, ...]],
    domain: Domain | tuple[Any, ...] = EVERYWHERE,
    dtype: DType | st.SearchStrategy[DType] = float64,
    *,
    unique: bool = True,
) -> Array:
    """A NumPy array with entries from a domain, which a primitive gives for each input: `primitive.domains`.

    Entries are short decimals strictly inside the domain (no further than 10 from 0, or from the end nearest to it) and
    clear of its kinks. No two are equal unless `unique` is False, because much that is wrong goes unseen when all are.
    They shrink to small whole numbers.

    Args:
        shape, dtype: or strategies for them.
        domain: a Domain, or the tuple of its arguments, (low, high); (-3, 3) if none is given. One of booleans gives
            booleans, whatever the dtype.
        unique: whether entries all differ; if not, many are equal.

    Raises:
        TypeError: the domain is neither a Domain nor a tuple.
        ValueError: the domain has no room for as many different numbers, or an end is NaN.

    >>> from hypothesis import find
    >>> from minigrad.ops import registry
    >>> from minigrad.testing import strategies as mst
    >>> find(mst.arrays((2,), registry["log"].domains[0]), lambda x: True)
    array([1., 2.])
    """
    if not isinstance(domain, Domain):
        if not isinstance(domain, tuple) or len(domain) < 2:
            raise TypeError(f"arrays: expected a Domain, or a tuple (low, high), got {domain!r}")
        domain = Domain(*domain)
    size, kind = _drawn(draw, shape), _drawn(draw, dtype)
    found = draw(entries(domain, math.prod(size), unique=unique))
    return pasteable(as_array(found, domain, size, kind))


def _drawn(draw: st.DrawFn, value: Any) -> Any:
    return draw(value) if isinstance(value, st.SearchStrategy) else value


# Layouts ------------------------------------------------------------------------------------------


@st.composite
def views(draw: st.DrawFn, array: Array | st.SearchStrategy[Array], *, read_only: bool = True) -> Array:
    """A NumPy array, or one drawn from a strategy, as it is or as a view of other memory with the same values.

    Layouts are those of `minigrad.testing.laid_out`: contiguous, strided, reversed, transposed.

    Args:
        read_only: whether some of them refuse to be written to.

    >>> import minigrad as mg
    >>> from hypothesis import given
    >>> from minigrad.testing import strategies as mst
    >>> @given(mst.views(mst.arrays((2, 3))))
    ... def test_any_view(array):
    ...     assert (mg.Tensor(array) + 0.0).tolist() == array.tolist()
    >>> test_any_view()
    """
    layout = draw(st.sampled_from(LAYOUTS))
    frozen = read_only and draw(st.booleans())
    return pasteable(laid_out(_drawn(draw, array), layout, read_only=frozen))
