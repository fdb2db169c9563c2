"""Adding up by index, and the library's kernels in CUDA: what comes out, to the bit, in whatever order threads run."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.backend import cpu, namespace
from minigrad.fusion import cuda_library
from minigrad.fusion.c import header
from minigrad.nn import functional as F
from minigrad.ops.classes import surprisal, surprisal_gradient
from minigrad.ops.index import add_at
from minigrad.ops.reduction import logsumexp
from minigrad.testing import gradgradcheck

from . import emulated as emulator
from .strict import strict
from .test_fuse_cuda import nvrtc, ptx_of

SCHEDULES = ["forward", "backward", 1, 2]


@pytest.fixture(params=["numpy", "cuda"])
def writer(request: pytest.FixtureRequest) -> Iterator[str]:
    """The device strict, with kernels and without."""
    if request.param == "cuda":
        request.getfixturevalue("emulated")
    with mg.use_device("strict"):
        yield request.param


@pytest.fixture
def schedules(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Iterator[Any]]:
    """Have threads and blocks run in one order after the other."""

    def each() -> Iterator[Any]:
        for order in SCHEDULES:
            monkeypatch.setattr(emulator, "order", order)
            yield order

    return each


def added(y: Any, index: Any, x: Any, dtype: Any = np.float64) -> Any:
    """By NumPy, one after the other; an index array out of range counts from the other end, or anew."""
    y = y.astype(dtype)
    np.add.at(y, index, x.astype(dtype))
    return y


def on_strict(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(on_strict(part) for part in index)
    return strict.from_host(index) if isinstance(index, np.ndarray) else index


def add(y: Any, index: Any, x: Any) -> Any:
    """`add_at` on the device, without the host once waiting for it."""
    device_y, device_index, device_x = strict.from_host(y), on_strict(index), strict.from_host(x)
    before = strict.reads, strict.synchronizations
    add_at(strict, device_y, device_index, device_x)
    assert (strict.reads, strict.synchronizations) == before
    return strict.to_host(device_y)


# Rows of a table --------------------------------------------------------------------------------------

NUMBERS: dict[str, Callable[[Any, int], Any]] = {
    "any": lambda rng, n: rng.integers(0, 13, n),
    "one alone": lambda rng, n: np.full(n, 7),
    "one almost alone": lambda rng, n: np.where(rng.random(n) < 0.9, 3, rng.integers(0, 13, n)),
    "sorted": lambda rng, n: np.sort(rng.integers(0, 13, n)),
    "reversed": lambda rng, n: np.sort(rng.integers(0, 13, n))[::-1].copy(),
    "negative": lambda rng, n: rng.integers(-13, 13, n),
    "out of range": lambda rng, n: rng.integers(-100, 100, n),
    "far out of range": lambda rng, n: rng.integers(-(2**62), 2**62, n),
}


def case(kind: str, n: int, width: int, dtype: str, seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng([seed, n, width])
    y, x = rng.standard_normal((13, width)), rng.standard_normal((n, width))
    return y.astype(dtype), NUMBERS[kind](rng, n), x.astype(dtype)


def agree(found: Any, expected: Any, terms: Any) -> None:
    """Within the roundings of a sum of `terms`."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=8 * np.finfo(found.dtype).eps * max(1.0, terms))


@pytest.mark.parametrize("kind", NUMBERS)
@given(
    n=st.integers(0, 70) | st.sampled_from([255, 256, 257, 700]),
    width=st.integers(0, 5) | st.sampled_from([31, 32, 33, 70]),
    dtype=st.sampled_from(["float32", "float64", "float16"]),
    seed=st.integers(0, 99),
)
def test_rows(writer: str, kind: str, n: int, width: int, dtype: str, seed: int) -> None:
    y, numbers, x = case(kind, n, width, dtype, seed)
    found = add(y, numbers, x)
    assert found.dtype == dtype
    agree(found, added(y, numbers % 13, x), added(np.abs(y), numbers % 13, np.abs(x)).max(initial=0))


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize(("n", "width"), [(1, 1), (33, 40), (600, 1), (1500, 3)])
def test_the_same_bits_under_all_schedules(emulated: Any, schedules: Any, kind: str, n: int, width: int) -> None:
    """And they are those of the sums in double, rounded once."""
    y, numbers, x = case(kind, n, width, "float32")
    y[...] = 0
    exact = added(y, numbers % 13, x)
    found = [add(y, numbers, x) for _ in schedules()]
    np.testing.assert_allclose(found[0], exact, rtol=np.finfo("f").eps / 2, atol=1e-12)
    for other in found:
        np.testing.assert_array_equal(other, found[0])


def check_order(numbers: Any) -> None:
    order, ordered = cuda_library._sorted(strict, np.dtype("float32"), strict.from_host(numbers), 13)
    expected = np.argsort(numbers % 13, kind="stable")
    np.testing.assert_array_equal(strict.to_host(order), expected)
    np.testing.assert_array_equal(strict.to_host(ordered), (numbers % 13)[expected])


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("n", [1, 31, 32, 33, 255, 256, 257, 1000])
def test_sorting(emulated: Any, schedules: Any, kind: str, n: int) -> None:
    for _ in schedules():
        check_order(NUMBERS[kind](np.random.default_rng(n), n))


@pytest.mark.parametrize("kind", NUMBERS)
def test_many_numbers_are_sorted_by_the_library(emulated: Any, monkeypatch: Any, kind: str) -> None:
    """The same sums, to the bit, as where each is compared with all."""
    y, numbers, x = case(kind, 300, 5, "float32")
    few = add(y, numbers, x)
    assert [name for name, *_ in emulated] == ["sort_few", "add_pieces", "join_pieces"]
    monkeypatch.setattr(cuda_library, "FEW", 0)
    np.testing.assert_array_equal(add(y, numbers, x), few)
    assert [name for name, *_ in emulated][3:] == ["add_pieces", "join_pieces"]


def test_long_runs_are_shared_out(emulated: Any) -> None:
    """A number that is most of them: no thread adds up more than a fraction of its rows."""
    y, numbers, x = case("one alone", 20_000, 2, "float32")
    agree(add(y, numbers, x), added(y, numbers, x), 20_000)
    (_, (blocks, _), block), (_, (runs, _), _) = emulated
    pieces = blocks * block[1]
    assert pieces >= 20_000 / 64
    assert runs >= pieces - block[1]


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("spoilt", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_row(writer: str, kind: str, spoilt: float) -> None:
    y, numbers, x = case(kind, 200, 3, "float32")
    sound = add(y, numbers, x)
    x[17, 1] = x[150, 2] = spoilt
    found = add(y, numbers, x)
    reached = {(numbers[17] % 13, 1), (numbers[150] % 13, 2)}
    for place in np.ndindex(13, 3):
        if place in reached:
            np.testing.assert_equal(found[place], np.float32(spoilt))
        else:
            assert found[place] == sound[place]


def test_the_order_is_that_of_the_index(emulated: Any) -> None:
    """1e17 + 1 - 1e17 is not 1e17 - 1e17 + 1, in double: the rows of a piece are added as they came."""
    x, numbers = np.array([[1e17], [1.0], [-1e17], [1e17], [-1e17], [1.0]]), np.array([0, 0, 0, 1, 1, 1])
    assert add(np.zeros((2, 1)), numbers, x).tolist() == [[0.0], [1.0]]
    assert add(np.zeros((2, 1)), numbers[[3, 0, 4, 1, 5, 2]], x[[3, 0, 4, 1, 5, 2]]).tolist() == [[0.0], [1.0]]


@pytest.mark.parametrize("dtype", ["int8", "int32", "uint8", "uint64"])
def test_indices_of_any_integers(writer: str, dtype: str) -> None:
    y, numbers, x = case("any", 50, 2, "float32")
    np.testing.assert_array_equal(add(y, numbers.astype(dtype), x), add(y, numbers, x))


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_sums_of_integers_are_exact(writer: str, dtype: str) -> None:
    numbers, x = np.array([0, 2, 2, 0, 2]), np.array([[1], [2], [3], [4], [100]], dtype)
    assert add(np.zeros((3, 1), dtype), numbers, x).tolist() == [[5], [0], [105]]


def test_what_is_added_to_lies_in_another_order(writer: str) -> None:
    y = strict.from_host(np.zeros((3, 4), "f")).T
    add_at(strict, y, strict.from_host(np.array([1, 1, 3])), strict.from_host(np.ones((3, 3), "f")))
    assert strict.to_host(y)[:, 0].tolist() == [0.0, 2.0, 0.0, 1.0]


def test_rows_that_lie_apart_or_in_one_place(writer: str) -> None:
    y, numbers, x = case("any", 40, 4, "float32")
    device = strict.from_host
    for rows, same in (
        (device(x.T.copy()).T, x),
        (device(np.repeat(x, 2, 1))[:, ::2], x),
        (strict.broadcast_to(device(x[:1]), (40, 4)), np.broadcast_to(x[:1], (40, 4)).copy()),
    ):
        out = device(y)
        add_at(strict, out, device(numbers), rows)
        np.testing.assert_array_equal(strict.to_host(out), add(y, numbers, same))


# Any index --------------------------------------------------------------------------------------------

A, B = np.array([1, 1, 0, 1, -1]), np.array([0, 2, 0, 2, 1])
EVERY = slice(None)
INDICES: dict[str, Any] = {  # of an array (3, 4, 5)
    "rows": (A,),
    "rows of rows": (np.stack([A, B]),),
    "planes": (A, EVERY, EVERY),
    "rows, ellipsis": (A, ...),
    "pairs": (A, B),
    "pairs, ellipsis, slice": (A, B, ..., EVERY),
    "all three": (A, B, A),
    "columns": (EVERY, EVERY, A),
    "ellipsis, columns": (..., A),
    "ellipsis, columns, slice": (..., A, EVERY),
    "apart": (A, EVERY, B),
    "apart, with a slice": (A, slice(1, 3), B),
    "behind an integer": (1, A),
    "before an integer": (A, EVERY, 2),
    "with new axes": (None, A, None, B),
    "a new axis at the end": (A, EVERY, None),
    "crossed": (A[:, None], B),
    "one number": (np.array(2), B),
    "backwards": (slice(None, None, -1), A),
}


@pytest.mark.parametrize("kind", INDICES)
def test_any_index(writer: str, schedules: Any, kind: str) -> None:
    index, rng = INDICES[kind], np.random.default_rng(0)
    y = rng.standard_normal((3, 4, 5)).astype("f")
    x = rng.standard_normal(y[index].shape).astype("f")
    first = add(y, index, x)
    agree(first, added(y, index, x), 5)
    for _ in schedules():
        np.testing.assert_array_equal(add(y, index, x), first)


# Gradients --------------------------------------------------------------------------------------------

FUNCTIONS: dict[str, Callable[[Any], Any]] = {  # of a matrix (6, 4)
    "take": lambda x: mg.take(x, mg.tensor([1, 1, 5, 1]), axis=0),
    "take of columns": lambda x: mg.take(x, mg.tensor([[1, 1], [3, 1]]), axis=1),
    "take of flattened": lambda x: mg.take(x, mg.tensor([1, 1, 23, -23])),
    "getitem": lambda x: x[mg.tensor([1, 1, 5]), mg.tensor([0, 0, 3])],
    "take_along_axis": lambda x: mg.take_along_axis(x, mg.tensor([[1, 1, 0], [0, 0, 0]] * 3), axis=1),
    "embedding": lambda x: F.embedding(mg.tensor([[1, 1], [5, 1]]), x),
    "two uses": lambda x: x[mg.tensor([1, 1])] * 2.0 + mg.take(x, mg.tensor([1, 2]), axis=0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients(writer: str, name: str) -> None:
    """Of first and second order: those of the CPU, and without the host once waiting for the device."""
    f = FUNCTIONS[name]
    rng = np.random.default_rng(0)
    a = rng.standard_normal((6, 4))

    def gradients(device: str) -> list[Any]:
        with mg.use_device(device):
            x = mg.tensor(a, requires_grad=True)
            y = f(x)
            g = mg.tensor(np.random.default_rng(1).standard_normal(y.shape))
            before = strict.reads, strict.synchronizations
            (first,) = mg.grad((mg.tanh(y) * g).sum(), x, create_graph=True)
            (second,) = mg.grad((first * first).sum(), x)
            assert (strict.reads, strict.synchronizations) == before
            return [first.detach().to("cpu").numpy(), second.to("cpu").numpy()]

    for found, expected in zip(gradients("strict"), gradients("cpu"), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-13)
    gradgradcheck(lambda x: mg.tanh(f(x)), mg.tensor(a, requires_grad=True))


# log Σ eˣ -----------------------------------------------------------------------------------------------


@given(
    count=st.integers(1, 20) | st.sampled_from([255, 257]),
    width=st.integers(1, 70) | st.sampled_from([255, 256, 257, 1030]),
    dtype=st.sampled_from(["float32", "float64"]),
    scale=st.sampled_from([1.0, 1e4]),
)
def test_logsumexp(emulated: Any, count: int, width: int, dtype: str, scale: float) -> None:
    x = (np.random.default_rng(width).standard_normal((count, width)) * scale).astype(dtype)
    wide = x.astype(np.longdouble)
    largest = wide.max(axis=1)
    expected = np.log(np.exp(wide - largest[:, None]).sum(axis=1)) + largest
    found = strict.to_host(logsumexp.value(strict, strict.from_host(x), axis=-1))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected.astype(np.float64), rtol=4 * np.finfo(dtype).eps, atol=0)
    assert emulated[-1][0] == "logsumexp"


SPECIAL: dict[str, list[float]] = {
    "all minus infinity": [-math.inf] * 3,
    "minus infinity beside a number": [-math.inf, 2.0, -1000.0],
    "far below nothing": [-1000.0, -1000.0],
    "infinity": [math.inf, 0.0, -math.inf],
    "NaN": [math.nan, 0.0, 1.0],
    "NaN and infinity": [math.inf, math.nan, 0.0],
    "one entry": [3.5],
    "too large for exp": [1e30, 1e30],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SPECIAL)
def test_logsumexp_of_extremes(emulated: Any, schedules: Any, name: str, dtype: str) -> None:
    row = np.array([SPECIAL[name]], dtype)
    x = np.concatenate([row, np.zeros_like(row), row[:, ::-1]])  # rows keep to themselves
    with np.errstate(all="ignore"):
        expected = np.logaddexp.reduce(x.astype(np.float64), axis=1)
    for _ in schedules():
        found = strict.to_host(logsumexp.value(strict, strict.from_host(x), axis=1, keepdims=True))
        np.testing.assert_allclose(found[:, 0], expected, rtol=4 * np.finfo(dtype).eps)


@given(
    count=st.integers(1, 20) | st.sampled_from([255, 257]),
    width=st.integers(1, 70) | st.sampled_from([257, 1030]),
    dtype=st.sampled_from(["float32", "float64"]),
    ids=st.sampled_from(["int64", "int32", "uint8"]),
)
def test_surprisal_and_its_gradient(emulated: Any, count: int, width: int, dtype: str, ids: str) -> None:
    rng = np.random.default_rng([count, width])
    x, g = (3 * rng.standard_normal((count, width))).astype(dtype), rng.standard_normal((count, 2)).astype(dtype)
    classes = rng.integers(0, min(width, 256), count).astype(ids)
    device = strict.from_host
    value = surprisal.value(strict, device(x), classes=device(classes))
    gradient = surprisal_gradient.value(strict, device(g)[:, 0], device(x), classes=device(classes))
    assert [name for name, *_ in emulated[-2:]] == ["surprisal", "surprisal_gradient"]
    eps = 8 * np.finfo(dtype).eps
    for found, expected in (
        (value, surprisal.value(cpu, x.astype("d"), classes=classes)),
        (gradient, surprisal_gradient.value(cpu, g[:, 0].astype("d"), x.astype("d"), classes=classes)),
    ):
        assert found.dtype == dtype
        np.testing.assert_allclose(strict.to_host(found), expected, rtol=eps, atol=4 * eps)


@pytest.mark.parametrize("name", SPECIAL)
def test_surprisal_of_extremes(emulated: Any, name: str) -> None:
    """Infinity and NaN come out where NumPy's formula has them."""
    row = np.array([SPECIAL[name]])
    x, g, classes = np.concatenate([row, np.ones_like(row)]), np.array([2.0, 3.0]), np.array([0, len(row[0]) - 1])
    device = strict.from_host
    with np.errstate(all="ignore"):
        expected = [
            surprisal.value(cpu, x, classes=classes),
            surprisal_gradient.value(cpu, g, x, classes=classes),
        ]
    found = [
        surprisal.value(strict, device(x), classes=device(classes)),
        surprisal_gradient.value(strict, device(g), device(x), classes=device(classes)),
    ]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(strict.to_host(a), b, rtol=1e-14)


def test_classes_out_of_range_are_wrapped(writer: str) -> None:
    """As every index on a device is, which no host may wait for."""
    x = strict.from_host(np.random.default_rng(0).standard_normal((4, 3)))
    near, far = (strict.from_host(np.array(ids)) for ids in ([1, 2, 0, 2], [-2, 5, 300, -1]))
    g = strict.ones(4)
    for f in (
        lambda ids: surprisal.value(strict, x, classes=ids),
        lambda ids: surprisal_gradient.value(strict, g, x, classes=ids),
    ):
        np.testing.assert_array_equal(strict.to_host(f(near)), strict.to_host(f(far)))


def test_a_cross_entropy_is_one_kernel_each_way(emulated: Any) -> None:
    with mg.use_device("strict"):
        logits = mg.randn((9, 5), requires_grad=True)
        loss = F.cross_entropy(logits, mg.tensor([1, 4, -100, 0, 0, 3, 2, 2, 1]))
        assert [name for name, *_ in emulated] == ["surprisal"]
        loss.backward()
        assert [name for name, *_ in emulated] == ["surprisal", "surprisal_gradient"]


MISTAKES: dict[str, tuple[Any, Any, type[Exception], str]] = {
    "no class for a row": (
        np.ones((3, 4)),
        np.array([0, 1]),
        ValueError,
        r"x \(N, V\).*got \(3, 4\) and classes \(2,\)",
    ),
    "one class for all": (np.ones((3, 4)), np.array(1), ValueError, r"classes \(N,\).*classes \(\)"),
    "no matrix": (np.ones((3, 4, 2)), np.array([0, 1, 2]), ValueError, r"got \(3, 4, 2\)"),
    "no classes": (np.ones((3, 0)), np.array([0, 0, 0]), ValueError, r"V > 0.*got \(3, 0\)"),
    "a class out of range": (np.ones((3, 4)), np.array([0, 4, 0]), IndexError, r"from 0 to V - 1"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_has_no_surprisal(mistake: str) -> None:
    x, classes, error, message = MISTAKES[mistake]
    with pytest.raises(error, match=f"surprisal: expected .*{message}"):
        surprisal(mg.tensor(x), classes=classes)
    with pytest.raises(error, match=f"surprisal_gradient: expected g .*{message.replace('got ', 'got .*')}"):
        surprisal_gradient(mg.ones(len(x), dtype=x.dtype), mg.tensor(x), classes=classes)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 3, 4), (4,)])
def test_logsumexp_of_other_shapes(emulated: Any, shape: tuple[int, ...]) -> None:
    """What is no matrix, or empty, goes the library's way, and fails where it fails."""
    x = mg.zeros(shape, device="strict")
    if 0 in shape[-1:]:
        with pytest.raises(ValueError, match="logsumexp"):
            mg.logsumexp(x, axis=-1)
    else:
        assert mg.logsumexp(x, axis=-1).shape == shape[:-1]
    assert not emulated


def test_off_is_off(emulated: Any) -> None:
    y, numbers, x = case("any", 50, 2, "float32")
    with mg.fusing(False):
        agree(add(y, numbers, x), added(y, numbers, x), 50)
        mg.logsumexp(mg.ones((3, 4), device="strict"), axis=1)
    assert not emulated


# Together -----------------------------------------------------------------------------------------------


def step(device: str) -> list[Any]:
    """A step of a model of characters: its loss, and all gradients."""
    rng = np.random.default_rng(0)
    with mg.use_device(device):
        mg.manual_seed(0)
        model = nn.ModuleList([nn.Embedding(11, 6), nn.LSTM(6, 8), nn.Linear(8, 11)])
        weights = {name: rng.standard_normal(p.shape).astype("f") for name, p in model.named_parameters()}
        model.load_state_dict(weights)
        ids = mg.tensor(rng.integers(0, 11, (7, 9)))
        h, _ = model[1](model[0](ids))
        loss = F.cross_entropy(model[2](h).reshape(-1, 11), ids.reshape(-1))
        loss.backward()
        return [x.detach().to("cpu").numpy() for x in (loss, *(p.grad for p in model.parameters()))]


def test_a_step_has_the_same_bits_under_all_schedules(emulated: Any, schedules: Any) -> None:
    first = None
    for _ in schedules():
        found = step("strict")
        first = first or found
        for a, b in zip(found, first, strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(first or [], step("cpu"), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


# Wrong kernels are found out, CUDA's own compiler, and a GPU ------------------------------------------------


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("other == mine && first + k < i", "other == mine && first + k > i"),
        ("row < 8", "row < 7"),
        ("first > 0 && sorted[first - 1] == number;", "false;"),
        ("number = numbers[k], has_begun_before = false, sum = 0", "number = numbers[k], has_begun_before = false"),
        ("if (threadIdx.y == 0) sum = given.tails", "sum = given.tails"),
        ("if (sorted[of * given.length] != number) break;", ""),
        ("    __syncthreads();\n    return largest", "    return largest"),
        ("    __syncthreads();\n    return found", "    return found"),
        ("wrapped(given.classes[i], width)];", "given.classes[0]];"),
        ("j == at ? g", "j == at ? 1"),
    ],
)
def test_a_wrong_kernel_is_noticed(
    was: str, becomes: str, emulated: Any, schedules: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = header("library.cuh")
    assert text.count(was) == 1
    changed = text.replace(was, becomes)
    monkeypatch.setattr(cuda_library, "header", lambda name: changed if name == "library.cuh" else header(name))
    monkeypatch.setattr(cuda_library, "_function", cuda_library._function.__wrapped__)
    monkeypatch.setattr(cuda_library, "_module", functools.cache(cuda_library._module.__wrapped__))
    with pytest.raises((AssertionError, emulator.LaunchError)):
        check_all(schedules)


def check_all(schedules: Any) -> None:
    rng = np.random.default_rng(0)
    x, g, classes = rng.standard_normal((50, 70)), rng.standard_normal(50), rng.integers(0, 70, 50)
    device_x, device_g, device_classes = map(strict.from_host, (x, g, classes))
    for _ in schedules():
        found = surprisal.value(strict, device_x, classes=device_classes)
        np.testing.assert_allclose(strict.to_host(found), surprisal.value(cpu, x, classes=classes))
        found = surprisal_gradient.value(strict, device_g, device_x, classes=device_classes)
        expected = surprisal_gradient.value(cpu, g, x, classes=classes)
        np.testing.assert_allclose(strict.to_host(found), expected, atol=1e-12)
    for kind in NUMBERS:
        y, numbers, x = case(kind, 700, 2, "float32")
        exact = added(y, numbers % 13, x)
        for _ in schedules():
            check_order(numbers)  # what is sorted wrongly may not be looked up
            np.testing.assert_allclose(add(y, numbers, x), exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nvrtc_takes_it(dtype: str) -> None:
    library = nvrtc()
    if library is None:
        pytest.skip("needs NVRTC (pip install nvidia-cuda-nvrtc)")
    found = ptx_of(cuda_library.text(np.dtype(dtype)), library)
    assert found.count(".entry") == len(cuda_library.KERNELS)
    assert ".local" not in found  # what a thread keeps, it keeps in registers
    assert "atom." not in found


@pytest.mark.gpu
@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize(("n", "width"), [(700, 3), (8000, 65), (100_000, 1), (30_000, 300)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_rows_on_a_gpu(kind: str, n: int, width: int, dtype: str, request: pytest.FixtureRequest) -> None:
    if n > 1000:
        request.getfixturevalue("cupy")  # a pretended GPU would take minutes
    xp = namespace("cuda")
    xp.make_current()
    y, numbers, x = case(kind, n, width, dtype)
    found = []
    for _ in range(3):
        out = xp.from_host(y)
        add_at(xp, out, xp.from_host(numbers), xp.from_host(x))
        found.append(xp.to_host(out))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    agree(found[0], added(y, numbers % 13, x), added(np.abs(y), numbers % 13, np.abs(x)).max())


@pytest.mark.gpu
@pytest.mark.parametrize("kind", INDICES)
def test_any_index_on_a_gpu(kind: str) -> None:
    xp, index, rng = namespace("cuda"), INDICES[kind], np.random.default_rng(0)
    xp.make_current()
    y = rng.standard_normal((3, 4, 5)).astype("f")
    x = rng.standard_normal(y[index].shape).astype("f")
    out = xp.from_host(y)
    add_at(xp, out, tuple(xp.from_host(p) if isinstance(p, np.ndarray) else p for p in index), xp.from_host(x))
    agree(xp.to_host(out), added(y, index, x), 5)


@pytest.mark.gpu
@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extremes_on_a_gpu(name: str, dtype: str) -> None:
    xp, row = namespace("cuda"), np.array([SPECIAL[name]], dtype)
    xp.make_current()
    x, g, classes = np.concatenate([row, np.ones_like(row)]), np.array([2, 3], dtype), np.array([0, len(row[0]) - 1])
    device_x, device_classes = xp.from_host(x), xp.from_host(classes)
    with np.errstate(all="ignore"):
        for found, expected in (
            (logsumexp.value(xp, device_x, axis=1), logsumexp.value(cpu, x, axis=1)),
            (surprisal.value(xp, device_x, classes=device_classes), surprisal.value(cpu, x, classes=classes)),
            (
                surprisal_gradient.value(xp, xp.from_host(g), device_x, classes=device_classes),
                surprisal_gradient.value(cpu, g, x, classes=classes),
            ),
        ):
            np.testing.assert_allclose(xp.to_host(found), expected, rtol=8 * np.finfo(dtype).eps)


@pytest.mark.gpu
def test_the_same_bits_twice_on_a_gpu() -> None:
    first, second = step("cuda"), step("cuda")
    for a, b, c in zip(first, second, step("cpu"), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, c, rtol=2e-4, atol=2e-5)
