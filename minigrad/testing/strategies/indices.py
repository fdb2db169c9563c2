"""Indices of every kind that an array can have."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from hypothesis import strategies as st

from ...backend import Array, cpu
from .printing import pasteable
from .shapes import Shape, broadcasting_to

KINDS: Final = ("basic", "advanced", "boolean", "mixed")
PICKED: Final = ((2,), (3,), (1,), (), (2, 2), (1, 2), (0,))  # the shapes that index arrays broadcast to


@st.composite
def indices(draw: st.DrawFn, shape: tuple[int, ...], kinds: Sequence[str] = KINDS) -> Any:
    """An index that is in range for an array of this shape: `x[index]`.

    Args:
        shape: of the array that is indexed.
        kinds: which may be drawn: "basic" (integers, slices with any step, None, `...`), "advanced" (integer arrays
            that broadcast together, with repeated, negative and no entries), "boolean" (a mask of some axes), and
            "mixed" (basic parts beside arrays and masks, as far as these are among the kinds). An array without axes
            has basic ones alone. Arrays are NumPy's.

    Raises:
        ValueError: there is no such kind.

    >>> import minigrad as mg
    >>> from hypothesis import given
    >>> from minigrad.testing import strategies as mst
    >>> @given(mst.indices((3, 2)))
    ... def test_any_index(index):
    ...     x = mg.ones((3, 2), dtype=mg.float64, requires_grad=True)
    ...     mg.testing.gradcheck(lambda x: x[index], x)
    >>> test_any_index()
    """
    unknown = set(kinds) - set(KINDS)
    if unknown or not kinds:
        raise ValueError(f"indices: expected some of the kinds {', '.join(KINDS)}, got {list(kinds)}")
    ndim = len(shape)
    kind = draw(st.sampled_from(kinds)) if ndim else "basic"
    used = draw(st.integers(kind in ("advanced", "boolean"), ndim))
    has_dots = draw(st.booleans())
    before = draw(st.integers(0, used)) if has_dots else used
    chosen = [*range(before), *range(ndim - used + before, ndim)]  # the axes that are indexed
    if kind == "boolean":  # one mask, before the dots or behind them
        parts = [draw(_masks(shape[:used] if before else shape[ndim - used :]))]
        before = min(before, 1)
    else:
        parts = draw(_parts([shape[a] for a in chosen], _allowed(kind, kinds)))
    if has_dots:
        parts.insert(before, Ellipsis)
    if kind in ("basic", "mixed"):
        for _ in range(draw(st.integers(0, 2))):
            parts.insert(draw(st.integers(0, len(parts))), None)
    return parts[0] if len(parts) == 1 and draw(st.booleans()) else tuple(parts)


def _allowed(kind: str, kinds: Sequence[str]) -> list[str]:
    basic, arrays = ["slice", "integer"], ["array"]
    if kind == "mixed":
        return basic + arrays * ("advanced" in kinds) + ["mask"] * ("boolean" in kinds)
    return basic if kind == "basic" else arrays


@st.composite
def _parts(draw: st.DrawFn, sizes: Sequence[int], allowed: Sequence[str]) -> list[Any]:
    """One part of an index for each axis, given its size. Integer arrays and a mask's true entries broadcast."""
    # An axis without entries has no integers.
    names = [draw(st.sampled_from([name for name in allowed if n or name != "integer"])) for n in sizes]
    picked = (0,) if ("array", 0) in zip(names, sizes, strict=True) else draw(st.sampled_from(PICKED))
    mask = None
    if "mask" in names:  # one, for a second would need as many true entries
        place = names.index("mask")
        names = ["slice" if name == "mask" and a != place else name for a, name in enumerate(names)]
        mask = draw(_masks((sizes[place],)))
        picked = (int(mask.sum()),)
        names = ["slice" if (name, n) == ("array", 0) else name for name, n in zip(names, sizes, strict=True)]
    draws: dict[str, Callable[[int], st.SearchStrategy[Any]]] = {
        "slice": _slices,
        "integer": _integer,
        "array": lambda n: _integers(n, picked),
        "mask": lambda n: st.just(mask),
    }
    return [draw(draws[name](n)) for name, n in zip(names, sizes, strict=True)]


def _integer(size: int) -> st.SearchStrategy[int]:
    return st.integers(-size, size - 1)


@st.composite
def _slices(draw: st.DrawFn, size: int) -> slice:
    """Also such as reach beyond the ends, or pick nothing."""
    bound = st.none() | st.integers(-size - 1, size + 1)
    return slice(draw(bound), draw(bound), draw(st.sampled_from((None, -1, 2, -2, 1))))


@st.composite
def integer_arrays(draw: st.DrawFn, size: int, shape: Shape) -> Array:
    """Indices for an axis of `size` entries, counted from either end."""
    found = draw(st.lists(_integer(max(size, 1)), min_size=math.prod(shape), max_size=math.prod(shape)))
    return pasteable(cpu.array(found, dtype=int).reshape(shape))


@st.composite
def _integers(draw: st.DrawFn, size: int, picked: Shape) -> Array:
    """Indices for an axis of `size` entries, of a shape that broadcasts to `picked`."""
    return draw(integer_arrays(size, draw(broadcasting_to(picked)) if size else picked))


@st.composite
def _masks(draw: st.DrawFn, shape: Shape) -> Array:
    size = math.prod(shape)
    found = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    return pasteable(cpu.array(found, dtype=bool).reshape(shape))
