"""Indices as people write them: masks, lists, Tensors and their mixtures, against NumPy's own indexing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.testing import gradcheck, gradgradcheck

from .helpers import close, host, on
from .references import added_up, places
from .strict import strict

EVERY = slice(None)
ROWS, PLANE = (
    np.array([True, False, True]),
    np.array([[True, False, True, True], [False] * 4, [True, False, True, False]]),
)
TWICE = np.array([1, 1, 0, 1])
MIXED: dict[str, Any] = {  # of an array of shape (3, 4, 5)
    "mask of one axis": ROWS,
    "mask of two axes": PLANE,
    "mask of all axes": np.arange(60).reshape(3, 4, 5) % 7 == 0,
    "mask of nothing": np.zeros(3, dtype=bool),
    "mask of everything": np.ones((3, 4), dtype=bool),
    "mask and integer": (ROWS, 0),
    "mask and repeated integers": (ROWS, np.array([1, 1])),
    "mask, slice, integers": (ROWS, EVERY, np.array([4, 4])),
    "mask, slice, one row": (ROWS, EVERY, np.array([[4], [0]])),
    "new axis, mask, ellipsis, integers": (None, ROWS, Ellipsis, np.array([0, 3])),
    "slice, mask": (EVERY, np.array([True, True, False, True])),
    "slice, mask of two axes": (EVERY, np.arange(20).reshape(4, 5) % 3 == 0),
    "integer, mask of two axes": (2, np.arange(20).reshape(4, 5) % 3 == 0),
    "ellipsis, mask": (Ellipsis, np.array([True, False, False, True, True])),
    "mask, ellipsis, mask": (ROWS, Ellipsis, np.array([True, False, False, True, False])),
    "two masks, new axis": (ROWS, None, np.array([True, False, True, False])),
    "mask of two axes, backwards": (PLANE, slice(None, None, -1)),
    "repeated integers": TWICE,
    "repeated pairs": (TWICE, TWICE),
    "repeated integers apart": (TWICE, slice(1, 3), TWICE),
    "list": [2, 0, 2],
    "list of booleans": [True, False, True],
    "nested list": [[0, 1], [2, 2]],
    "tuple in a tuple": ((0, 2), EVERY),
    "lists": ([0, 1], [3, 3]),
    "empty list": [],
    "NumPy integer": (np.int64(1), EVERY, np.int32(-1)),
}


def moved(key: Any, as_tensor: bool) -> Any:
    """An index with its arrays on the default device."""
    if isinstance(key, tuple):
        return tuple(moved(part, as_tensor) for part in key)
    if not isinstance(key, np.ndarray):
        return key
    return mg.tensor(key) if as_tensor else mg.tensor(key).data


@pytest.mark.parametrize("as_tensor", [True, False], ids=["tensors", "arrays"])
@pytest.mark.parametrize("kind", MIXED)
def test_indices_are_numpys(device: str, kind: str, as_tensor: bool) -> None:
    a = np.random.default_rng(0).normal(size=(3, 4, 5))
    key = moved(MIXED[kind], as_tensor)
    x = on(device, a, requires_grad=True)
    y = x[key]
    close(y, a[MIXED[kind]], rtol=0)
    g = np.random.default_rng(1).normal(size=y.shape)
    for create_graph in (False, True):
        (found,) = mg.grad(y, x, mg.tensor(g), create_graph=create_graph, retain_graph=True)
        close(found, added_up(g, places(a.shape)[MIXED[kind]], a.shape))  # what is picked twice is added twice
    written = mg.tensor(a)
    written[key] = 7.0
    a[MIXED[kind]] = 7.0
    close(written, a, rtol=0)


@pytest.mark.parametrize("kind", ["mask of two axes", "mask, slice, integers", "repeated pairs"])
def test_gradients_through_a_mask(device: str, kind: str) -> None:
    x = on(device, np.random.default_rng(0).normal(size=(3, 4, 5)), requires_grad=True)
    key = moved(MIXED[kind], True)
    gradcheck(lambda x: x[key] ** 3, x)
    gradgradcheck(lambda x: x[key] ** 3, x)


@st.composite
def indices(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Any mixture of integers, slices, new axes, an ellipsis, integer arrays and masks that NumPy takes."""
    parts: list[Any] = []
    length = draw(st.integers(0, 3))  # of all arrays, which broadcast
    axis = 0
    while axis < len(shape) and draw(st.integers(0, 5)):
        n = shape[axis]
        kind = draw(st.sampled_from(["slice", "integer", "array", "mask", "wide mask", "none"]))
        if kind == "slice":
            parts.append(draw(st.slices(n)))
        elif kind == "integer" and n:
            parts.append(draw(st.integers(-n, n - 1)))
        elif kind == "array" and n:
            parts.append(np.array(draw(st.lists(st.integers(-n, n - 1), min_size=length, max_size=length)), dtype=int))
        elif kind in ("mask", "wide mask"):
            axes = 2 if kind == "wide mask" and axis + 1 < len(shape) else 1
            size = int(np.prod(shape[axis : axis + axes]))
            mask = np.arange(size) < min(length, size)
            parts.append(np.array(draw(st.permutations(mask.tolist())), dtype=bool).reshape(shape[axis : axis + axes]))
            axis += axes - 1
        else:
            parts.append(None)
            axis -= 1
        axis += 1
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts))) if axis == len(shape) else len(parts), Ellipsis)
    return tuple(parts)


@given(data=st.data())
def test_any_mixture_is_numpys(device: str, data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple))
    key = data.draw(indices(shape))
    a = np.arange(float(np.prod(shape))).reshape(shape)
    x = on(device, a, requires_grad=True)
    try:
        expected = a[key]
    except IndexError:  # arrays that do not broadcast
        with pytest.raises(IndexError, match="getitem: expected"):
            x[moved(key, True)]
        return
    y = x[moved(key, True)]
    close(y, expected, rtol=0)
    g = np.linspace(1.0, 2.0, y.size).reshape(y.shape)
    close(mg.grad(y, x, mg.tensor(g))[0], added_up(g, places(shape)[key], shape))


def test_a_mask_waits_for_the_device_once_and_reads_nothing() -> None:
    with mg.use_device("strict"):
        x = mg.ones((3, 4), requires_grad=True)
        mask, rows = x > 0, mg.tensor([0, 1])
        before = strict.reads, strict.synchronizations
        mg.grad(x[mask].sum(), x)
        assert (strict.reads, strict.synchronizations) == (before[0], before[1] + 1)
        mg.grad(x[rows, [True, False, False, True]].sum(), x)  # a mask of the host costs nothing
        assert (strict.reads, strict.synchronizations) == (before[0], before[1] + 1)


def test_an_index_written_to_later_changes_nothing(device: str) -> None:
    x, mask = mg.ones((2, 2), requires_grad=True), mg.tensor([[True, False], [False, False]])
    y = x[mask]
    mask[...] = True
    assert mg.grad(y.sum(), x)[0].tolist() == [[1.0, 0.0], [0.0, 0.0]]


WRONG = {
    "a mask that is too long": (
        lambda x: x[mg.ones(4) > 0],
        r"getitem: expected a mask .* \(3,\) of x \(3, 4\).*\(4,\)",
    ),
    "a mask on the wrong axis": (
        lambda x: x[:, mg.ones(3) > 0],
        r"expected a mask .* \(4,\) of x .* got one of .*\(3,\)",
    ),
    "a mask of too many axes": (lambda x: x[mg.ones((3, 4, 1)) > 0], r"expected a mask .*\(3, 4\).*got .*\(3, 4, 1\)"),
    "a list that is too short": (lambda x: x[[True, False]], r"expected a mask .* \(3,\) of x .*\(2,\)"),
    "a mask without axes": (lambda x: x[mg.tensor(True)], r"expected a mask with the shape of the axes"),
    "True": (lambda x: x[True], r"expected a mask with the shape of the axes it picks from, got True"),
    "two of them": (lambda x: x[mg.ones(3) > 0, mg.ones(4) > 0, 0], r"getitem: expected at most 2 indices"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_the_message(device: str, mistake: str) -> None:
    act, message = WRONG[mistake]
    with pytest.raises(IndexError, match=message):
        act(mg.zeros((3, 4)))


# take_along_axis --------------------------------------------------------------------------------------


def test_take_along_axis_is_numpys(device: str) -> None:
    a = np.random.default_rng(0).normal(size=(3, 4))
    x = mg.tensor(a)
    order = np.argsort(a, axis=1)
    close(mg.take_along_axis(x, mg.tensor(order), axis=1), np.sort(a, axis=1), rtol=0)
    close(mg.take_along_axis(x, mg.tensor(order)), np.sort(a, axis=1), rtol=0)
    close(mg.take_along_axis(x, [[1, 1]], 1), np.take_along_axis(a, np.array([[1, 1]]), 1), rtol=0)
    close(mg.take_along_axis(x, [11, 0, 11], None), a.ravel()[[11, 0, 11]], rtol=0)
    picked = mg.take_along_axis(x, x.argmax(axis=0, keepdims=True), axis=0)
    np.testing.assert_array_equal(host(picked)[0], a.max(axis=0))


@pytest.mark.parametrize(
    ("indices", "axis", "error", "message"),
    [
        (
            [0, 1],
            1,
            ValueError,
            r"take_along_axis: expected integer indices .* as many axes as shape \(3, 4\).*got \(2,\)",
        ),
        ([[0, 1]] * 2, 1, IndexError, r"take_along_axis: expected .* all but axis 1 broadcast.*got \(2, 2\)"),
        ([[0]], 2, ValueError, r"take_along_axis: expected an axis from -2 to 1"),
        ([[0.5]], 1, TypeError, r"take_along_axis: expected integer indices, got float64"),
        (True, 1, TypeError, r"take_along_axis: expected integer indices, got bool"),
        ("ab", 1, TypeError, r"take_along_axis: expected integer indices, got str"),
    ],
)
def test_misuse_of_take_along_axis(device: str, indices: Any, axis: int, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        mg.take_along_axis(mg.zeros((3, 4)), indices, axis)


def test_take_along_axis_out_of_range() -> None:
    with pytest.raises(IndexError, match=r"take_along_axis: expected integer indices from -4 to 3"):
        mg.take_along_axis(mg.zeros((3, 4)), [[4]], 1)
