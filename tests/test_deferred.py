"""What a sweep defers is the sum that it stands for, in any order, whoever shares it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import cotangent
from minigrad.backend import namespace
from minigrad.cotangent import Deferred, empty_inbox
from minigrad.readings import readings_of

# A sum of its own ---------------------------------------------------------------------------------

SHAPES = [(3, 2), (2, 2), (1, 3)]
LEADING = [(1,), (2,), (3, 2), (2, 1, 2)]
INDICES = [
    0,
    -1,
    ...,
    slice(1, None),
    slice(None, None, -1),
    (slice(None), 0),
    (..., slice(0, 1)),
    (None, 0),
    np.array([0, -1, 0]),
    (np.array([[0], [-1]]), np.array([0, -1, 0])),
]


class Hand:
    """Gives arrays of a device to what is tested, and sees afterwards that none has been written to.

    Their entries are small integers, so that sums in any order are equal to the last bit.
    """

    def __init__(self, device: str, data: st.DataObject) -> None:
        self.xp, self.data = namespace(device), data
        self.xp.make_current()
        self.defer = readings_of(self.xp).defer
        self.given: list[tuple[Any, np.ndarray[Any, Any]]] = []
        self.random = np.random.default_rng(data.draw(st.integers(0, 999), label="seed"))

    def draw(self, choices: Any) -> Any:
        return self.data.draw(st.sampled_from(choices))

    def put(self, array: np.ndarray[Any, Any]) -> Any:
        self.given.append((self.xp.from_host(array), array.copy()))
        return self.given[-1][0]

    def array(self, *shape: int) -> tuple[Any, np.ndarray[Any, Any]]:
        array = np.asarray(self.random.integers(-3, 4, shape), dtype=float)
        return self.put(array), array

    def contribution(self, shape: tuple[int, int]) -> tuple[Any, np.ndarray[Any, Any]]:
        """Something to add to a sum, as the sweep gets it, and as an array."""
        rows, columns = shape
        kind = self.draw(["pair", "pair", "segment", "part", "dense"])
        if kind == "dense":
            return self.array(*shape)
        expected = np.zeros(shape)
        leading = self.draw([(), *LEADING] if kind == "pair" else LEADING)
        if kind == "pair":
            (x, x_host), (y, y_host) = self.array(*leading, rows), self.array(*leading, columns)
            return self.defer.outer_sum(x, y), x_host.reshape(-1, rows).T @ y_host.reshape(-1, columns)
        if kind == "segment":
            indices = self.random.integers(-rows, rows, leading)
            x, x_host = self.array(*leading, columns)
            np.add.at(expected, indices, x_host)
            return self.defer.segment_sum(x, indices=self.put(indices), size=rows), expected
        index = self.draw(INDICES)
        x, x_host = self.array(*expected[index].shape)
        np.add.at(expected, index, x_host)
        return self.defer.scatter_add(x, index=self.index(index), shape=shape), expected

    def index(self, index: Any) -> Any:
        if isinstance(index, tuple):
            return tuple(self.index(part) for part in index)
        return self.put(index) if isinstance(index, np.ndarray) else index

    def check(self, found: Any, expected: np.ndarray[Any, Any]) -> None:
        assert found.shape == expected.shape
        np.testing.assert_array_equal(self.xp.to_host(found), expected)

    def check_given(self) -> None:
        for array, was in self.given:
            self.check(array, was)


@given(data=st.data())
def test_what_arrives_adds_up_in_any_order(device, data):
    hand, shape = Hand(device, data), data.draw(st.sampled_from(SHAPES))
    inbox, expected = empty_inbox(None, 1), np.zeros(shape)
    with patch.object(cotangent, "MOST_ROWS", hand.draw([3, 8192])):
        for _ in range(data.draw(st.integers(1, 5))):
            contribution, array = hand.contribution(shape)
            inbox.add(0, contribution, hand.xp)
            expected = expected + array
        found = inbox.take(0)
    hand.check(found, expected)
    if inbox.owned:
        found[...] = 99.0
    hand.check_given()


def forms(array: Any) -> list[Callable[[Any], Any]]:
    return [
        lambda x: x + array,
        lambda x: array - x,
        lambda x: x * x,
        lambda x: 2.0 - x,
        lambda x: array * x,
        lambda x: x / 4.0,
        lambda x: x @ array.T,
        lambda x: array.T @ x,
        operator.neg,
        abs,
        lambda x: x**2,
        lambda x: x[1:],
        lambda x: x > array,
    ]


@given(data=st.data())
def test_sums_that_share_and_go_on_growing(device, data):
    """Sums are added to one another, copied, transposed, read and used, and grow on: each is what came to it."""
    hand, shape = Hand(device, data), data.draw(st.sampled_from(SHAPES))
    sums: list[tuple[Deferred, np.ndarray[Any, Any]]] = []
    with patch.object(cotangent, "MOST_ROWS", hand.draw([3, 8192])):
        for _ in range(data.draw(st.integers(1, 10))):
            step = hand.draw(["new", "grow", "grow", "absorb", "copy", "transpose", "use", "read"]) if sums else "new"
            if step == "new":
                sums.append((Deferred(hand.xp, shape, np.dtype(float)), np.zeros(shape)))
            i = -1 if step == "new" else hand.draw(range(len(sums)))
            total, expected = sums[i]
            if step in ("new", "grow"):
                contribution, array = hand.contribution(total.shape)
                total.absorb(contribution)
                sums[i] = total, expected + array
            elif step == "absorb":
                other, array = sums[hand.draw(range(len(sums)))]
                if other is not total and other.shape == total.shape:
                    total.absorb(other)
                    sums[i] = total, expected + array
            elif step == "copy":
                sums.append((total.copy(), expected))
            elif step == "transpose":
                turned = total.transposed()
                if type(turned) is Deferred:
                    sums.append((turned, expected.T))
                else:
                    hand.check(turned, expected.T)
            elif step == "use":
                array, on_host = hand.array(*total.shape)
                k = hand.draw(range(len(forms(None))))
                hand.check(forms(array)[k](total), forms(on_host)[k](expected))
            else:
                hand.check(total.array(), expected)
        for total, expected in sums:
            hand.check(total.array(), expected)
    hand.check_given()


def test_many_rows_are_multiplied_before_the_end(device):
    xp, most = namespace(device), cotangent.MOST_ROWS
    xp.make_current()
    defer, total = readings_of(xp).defer, Deferred(xp, (2, 3), np.dtype(float))
    for rows, waiting in [(most, most), (1, 0), (5, 5)]:
        total.absorb(defer.outer_sum(xp.ones((rows, 2)), xp.ones((rows, 3))))
        assert total.rows == waiting
    assert xp.to_host(total.array()).tolist() == [[most + 6.0] * 3] * 2


@pytest.mark.parametrize(
    ("kinds", "owned"),
    [(["dense"], False), (["dense", "dense"], True), (["pair"], True), (["segment"], True), (["part"], True)],
)
def test_whether_a_sum_may_be_written_to(device, kinds, owned):
    xp = namespace(device)
    xp.make_current()
    defer, array, inbox = readings_of(xp).defer, xp.ones((2, 2)), empty_inbox(None, 1)
    make = {
        "dense": lambda: array,
        "pair": lambda: defer.outer_sum(array, array),
        "segment": lambda: defer.segment_sum(array, indices=xp.arange(2), size=2),
        "part": lambda: defer.scatter_add(array, index=..., shape=(2, 2)),
    }
    for kind in kinds:
        inbox.add(0, make[kind](), xp)
    found = inbox.take(0)
    assert bool(inbox.owned) is owned
    assert (found is array) is not owned


# Slices of one array ------------------------------------------------------------------------------

Make = Callable[..., Any]  # a new array of a shape


def shifted(array: Any, inner: tuple[int, ...]) -> list[Any]:
    """The slices of an array, the first of which begins an entry later."""
    count, flat, size = len(array), array.reshape(-1), array.size // len(array)
    return [flat[i * size + (i == 0 and count > 1) :][:size].reshape(inner) for i in range(count)]


def turned(arrays: list[Any]) -> list[Any]:
    return [arrays[-1], *arrays[:-1]]


def across(array: Any, count: int) -> list[Any]:
    return [array[..., i, :] for i in range(count)]


# Lists of n arrays of a shape `to`, which lie in one array. Only the first three are its slices in order.
SLICES: dict[str, Callable[[Make, int, tuple[int, ...]], list[Any]]] = {
    "forwards": lambda make, n, to: list(make(n, *to)),
    "backwards": lambda make, n, to: list(make(n, *to))[::-1],
    "forwards by a view": lambda make, n, to: list(make(n, *to)[::-1])[::-1],
    "the first each time": lambda make, n, to: [make(n, *to)[0]] * n,
    "one from elsewhere": lambda make, n, to: [*list(make(n, *to))[:-1], make(n, *to)[-1]],
    "too few": lambda make, n, to: list(make(n + 1, *to))[:-1],
    "not from the first": lambda make, n, to: list(make(n + 1, *to))[1:],
    "turned round": lambda make, n, to: turned(list(make(n, *to))),
    "halves": lambda make, n, to: [a[..., : to[-1]] for a in make(n, *to[:-1], 2 * to[-1])],
    "flipped": lambda make, n, to: [a[..., ::-1] for a in make(n, *to)],
    "flipped along the first axis": lambda make, n, to: [a[::-1] for a in make(n, *to)],
    "each second": lambda make, n, to: [a[..., ::2] for a in make(n, *to[:-1], 2 * to[-1])],
    "of the last axis but one": lambda make, n, to: across(make(*to[:-1], n, to[-1]), n),
    "transposed": lambda make, n, to: [a.T for a in make(n, *to[::-1])],
    "of a transposed array": lambda make, n, to: list(make(*to[::-1], n).T),
    "shifted": lambda make, n, to: shifted(make(n, *to), to),
    "copies": lambda make, n, to: [a.copy() for a in make(n, *to)],
}


@given(data=st.data())
def test_joined_rows_are_those_of_all_arrays_in_order(device, data):
    hand = Hand(device, data)
    count, leading = hand.draw([1, 2, 3]), hand.draw([(), (1,), (2,), (3,), (2, 2)])
    lists = [
        SLICES[hand.draw(list(SLICES))](lambda *shape: hand.array(*shape)[0], count, (*leading, hand.draw([1, 2, 3])))
        for _ in range(2)
    ]
    expected = 0.0
    for x, y in zip(*lists, strict=True):
        x, y = (hand.xp.to_host(a).reshape(-1, a.shape[-1]) for a in (x, y))
        expected = expected + x.T @ y
    xs, ys = cotangent._joined(hand.xp, *lists)
    hand.check(hand.xp.transpose(xs) @ ys, expected)
    hand.check_given()


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", SLICES)
def test_only_slices_in_order_are_taken_for_their_array(device, name, count):
    xp = namespace(device)
    xp.make_current()
    arrays = SLICES[name](lambda *shape: xp.ones(shape), count, (count, count))
    found, backwards = cotangent._slices_of_one(xp, arrays)
    in_order = list(SLICES)[:3]
    if count == 2 and name == "turned round":
        in_order = [name]
    assert (found is not None) == (name in in_order)
    assert backwards == (name == "backwards" or in_order == [name])
    if found is not None:
        arrays[0][...] = 7.0  # no copy
        assert xp.to_host(found).sum() == 7.0 * count**2 + (count - 1) * count**2
