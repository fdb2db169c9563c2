"""Shapes, and axes of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Shape = tuple[int, ...]


@st.composite
def shapes(
    draw: st.DrawFn, *, min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = 3
) -> tuple[int, ...]:
    """A shape with `min_dims` to `max_dims` axes of `min_side` to `max_side` entries.

    One side in eleven is empty where `min_side` allows it: more would make most arrays empty.

    Raises:
        ValueError: a minimum is negative or above its maximum.

    >>> from hypothesis import find
    >>> from minigrad.testing import strategies as mst
    >>> find(mst.shapes(), lambda shape: len(shape) == 2)
    (1, 1)
    """
    if not 0 <= min_dims <= max_dims or not 0 <= min_side <= max_side:
        raise ValueError(
            "shapes: expected 0 <= min_dims <= max_dims and 0 <= min_side <= max_side, "
            f"got {min_dims}, {max_dims} and {min_side}, {max_side}"
        )
    dims, sides = range(min_dims, max_dims + 1), range(max(min_side, 1), max_side + 1)
    # More of the large ones, in which more can go wrong; the first ones are what shrinking tends to.
    ndim = draw(st.sampled_from([*dims, *dims[1:], *dims[2:]]))
    side = st.sampled_from([*sides, *sides, *sides[1:], *sides[1:], *[0] * (min_side == 0)])
    return tuple(draw(side) for _ in range(ndim))


@st.composite
def broadcastable_shapes(
    draw: st.DrawFn, n: int, *, min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = 3
) -> tuple[tuple[int, ...], ...]:
    """`n` shapes that broadcast together: some of one shape, some with fewer axes, some with axes of size 1.

    The other arguments, and errors, are those of `shapes`, and hold for the shape that is the result; the n shapes
    may have fewer axes.

    Raises:
        ValueError: n is not an integer of at least 0, or as for `shapes`.

    >>> from hypothesis import find
    >>> from minigrad.testing import strategies as mst
    >>> find(mst.broadcastable_shapes(2), lambda pair: len(pair[0]) == 1)
    ((1,), (1,))
    """
    if not hasattr(n, "__index__") or n < 0:
        raise ValueError(f"broadcastable_shapes: expected n, the number of shapes, of at least 0, got {n!r}")
    common = draw(shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side))
    return tuple(draw(broadcasting_to(common)) for _ in range(n))


@st.composite
def broadcasting_to(draw: st.DrawFn, shape: Shape) -> Shape:
    """A shape that broadcasts to `shape`."""
    missing = draw(st.sampled_from((0, 0, 0, *range(len(shape) + 1))))  # mostly it is the shape itself
    return tuple(draw(st.sampled_from((n, n, n, 1))) for n in shape[missing:])


@st.composite
def axes(
    draw: st.DrawFn,
    ndim: int,
    *,
    none: bool = True,
    integers: bool = True,
    tuples: bool = True,
    negative: bool = True,
    min_size: int = 0,
) -> Any:
    """What `axis` may be for an array of `ndim` axes: None, an integer, or a tuple, which names each axis once.

    Args:
        none, integers, tuples: which of the three may be drawn.
        negative: count some axes from the end.
        min_size: of a tuple.

    Raises:
        ValueError: ndim or min_size is not an integer of at least 0, or nothing is left to draw, such as an integer
            for an array without axes.

    >>> from hypothesis import find
    >>> from minigrad.testing import strategies as mst
    >>> find(mst.axes(3, negative=False), lambda axis: isinstance(axis, tuple) and len(axis) == 1)
    (0,)
    """
    for name, size in (("ndim", ndim), ("min_size", min_size)):
        if not hasattr(size, "__index__") or size < 0:
            raise ValueError(f"axes: expected {name}, a number of axes, of at least 0, got {size!r}")
    kinds = [None] * none + [int] * (integers and ndim > 0) + [tuple] * (tuples and min_size <= ndim)
    if not kinds:
        cure = f"lower min_size={min_size}, " if tuples else ""
        raise ValueError(f"axes: nothing to draw for {ndim} axes; {cure}allow none=True, or draw arrays with more axes")
    kind = draw(st.sampled_from(kinds))
    if kind is None:
        return None
    if kind is int:
        return draw(st.integers(-ndim if negative else 0, ndim - 1))
    chosen = draw(st.permutations(range(ndim)))[: draw(st.integers(min_size, ndim))]
    return tuple(a - ndim * (negative and draw(st.booleans())) for a in chosen)
