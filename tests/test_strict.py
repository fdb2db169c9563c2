"""The strict backend refuses what CuPy refuses, so that code which passes on it has a chance on a GPU."""

from __future__ import annotations

import ast
import copy
import gc
import inspect
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.backend import ArrayNamespace, is_array, namespace_of
from minigrad.nn import functional as F
from minigrad.ops import registry

from .counters import Counts
from .strict import KEYWORDS, MISSING, StrictArray, strict

OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.matmul]
COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


def on_strict(values: Any, dtype: Any = None) -> StrictArray:
    return strict.from_host(np.array(values, dtype=dtype))


@pytest.fixture
def x() -> StrictArray:
    return on_strict([[1.0, 2.0], [3.0, 4.0]])


# Nothing is read implicitly -------------------------------------------------------------------------


@pytest.mark.parametrize("read", [float, int, bool, complex, np.asarray, np.array, operator.index, range, np.float64])
def test_no_value_is_read_implicitly(read: Any) -> None:
    for array in (on_strict(1), on_strict(1.0), on_strict([1])):
        with pytest.raises(TypeError):
            read(array)


def test_no_value_is_read_by_a_condition_or_a_slice(x: StrictArray) -> None:
    with pytest.raises(TypeError, match="implicit"):
        assert x[0, 0] > 0
    with pytest.raises(TypeError, match="implicit"):
        x[: on_strict(1)]
    with pytest.raises(TypeError):
        hash(x)


def test_printing_reads_nothing(x: StrictArray) -> None:
    before = strict.reads
    assert repr(x) == "<strict array of shape (2, 2), float64>"
    assert strict.reads == before


def test_reads_and_waits_and_uploads_are_counted(x: StrictArray) -> None:
    before = strict.counts()
    strict.to_host(x)
    mg.Tensor(x)[0, 0].item()
    mg.synchronize("strict")
    on_strict([1.0])
    strict.asarray(2.0)  # CuPy copies a number, too
    assert strict.asarray(x) is x
    assert strict.counts() - before == Counts(reads=2, synchronizations=1, uploads=2)


LAUNCHES = {  # of f(x), x of shape (2, 2)
    0: [
        lambda x: x[0],
        lambda x: x[:, ::-1],
        lambda x: x[None, 1, 1:],
        lambda x: x.T.T.reshape(4),
        lambda x: strict.split(x, 2),
        lambda x: strict.moveaxis(strict.broadcast_to(x, (3, 2, 2)), 0, 1),
        lambda x: strict.empty((2, 2)),
        lambda x: strict.empty_like(x),
        lambda x: x.astype(np.float64, copy=False),
        lambda x: strict.ascontiguousarray(x),
        lambda x: x[:0] + 1.0,
    ],
    1: [
        lambda x: x + 1.0,
        lambda x: 2.0 - x,
        lambda x: -x,
        lambda x: x > 1.0,
        lambda x: strict.exp(x),
        lambda x: strict.add(x, x, out=x),
        lambda x: x.__imul__(2.0),
        lambda x: x @ x,
        lambda x: x.sum(axis=0),
        lambda x: strict.max(x, axis=1, keepdims=True),
        lambda x: x.copy(),
        lambda x: x.astype(np.float64),
        lambda x: x.astype(np.float32, copy=False),
        lambda x: x.T.reshape(4),
        lambda x: strict.ascontiguousarray(x.T),
        lambda x: x.fill(0.0),
        lambda x: x.__setitem__((slice(None), 1), x[:, 0]),
        lambda x: strict.zeros((2, 2)),
        lambda x: strict.zeros_like(x),
        lambda x: strict.full((2,), 3.0),
        lambda x: strict.arange(3),
        lambda x: strict.stack([x, x]),
        lambda x: strict.concatenate([x, x]),
        lambda x: strict.argmax(x),
        lambda x: strict.einsum("ij->i", x),
        lambda x: strict.generator.random((2, 2)),
        lambda x: strict.generator.standard_normal(3),
        lambda x: strict.generator.integers(0, 5, 3),
        lambda x: strict.generator.uniform(-1.0, 1.0, 3),
        lambda x: strict.array(x),
    ],
    2: [
        lambda x: strict.where(x > 1.0, x, 0.0),
        lambda x: strict.take(x, strict.arange(1), axis=0),
        lambda x: x[strict.arange(2)],
        lambda x: strict.add_at(x, strict.arange(2), x),
    ],
}


@pytest.mark.parametrize("count", LAUNCHES)
def test_launches_are_counted(count: int, x: StrictArray) -> None:
    for k, call in enumerate(LAUNCHES[count]):
        before = strict.counts()
        call(x)
        assert strict.counts() - before == Counts(launches=count), k


def test_bytes_are_counted_while_the_memory_is_held() -> None:
    gc.collect()
    start = strict.live
    x = on_strict(np.zeros((4, 8)))
    assert strict.live - start == 256
    strict.forget_peak()
    view = (x * 2.0)[0].T
    twin = copy.deepcopy(view)
    assert (strict.live - start, strict.peak - start) == (256 + 256 + 64, 256 + 256 + 64)  # a view holds all of it
    del view, x
    assert (strict.live - start, strict.peak - start) == (64, 256 + 256 + 64)
    del twin
    assert strict.live == start


def test_what_cupy_would_wait_for_is_refused(x: StrictArray) -> None:
    mask = on_strict([True, False])
    for refused in (
        lambda: x[mask],
        lambda: x[0, mask],
        lambda: strict.unique(x),
        lambda: strict.flatnonzero(x),
        lambda: strict.bincount(on_strict([0, 1])),
        lambda: strict.repeat(x, on_strict([1, 2]), axis=0),
    ):
        with pytest.raises(TypeError, match="CuPy would wait"):
            refused()
    assert strict.repeat(x, 2, axis=0).shape == (4, 2)
    x[mask] = 7.0  # which needs no count
    assert strict.to_host(x).tolist() == [[7.0, 7.0], [3.0, 4.0]]
    with pytest.raises(AttributeError):
        x.tolist()


def test_a_read_is_a_copy(x: StrictArray) -> None:
    strict.to_host(x)[...] = 0.0
    assert strict.to_host(x)[0, 0] == 1.0


# Quotients are exact ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_remains_is_exact_and_of_the_sign_of_the_divisor(dtype: Any) -> None:
    numbers = np.array([1, 0.1, 0.7, 1e4, 5, 7, 0, np.inf, np.nan, 3e-5], dtype=dtype)
    x, y = np.meshgrid(np.concatenate([numbers, -numbers]), np.concatenate([numbers, -numbers]))
    for name in ("remainder", "floor_divide"):
        with np.errstate(all="ignore"):
            expected = getattr(np, name)(x, y)
        found = strict.to_host(getattr(strict, name)(on_strict(x), on_strict(y)))
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(np.signbit(found[found == 0]), np.signbit(expected[expected == 0]))
    for a, b in [(on_strict([1.0, -1.0]), 0.1), (1.0, on_strict([0.1, -0.1])), (on_strict([1, -1]), 0.1)]:
        hosts = [strict.to_host(z) if isinstance(z, StrictArray) else z for z in (a, b)]
        np.testing.assert_array_equal(strict.to_host(strict.remainder(a, b)), np.remainder(*hosts))
        np.testing.assert_array_equal(strict.to_host(strict.floor_divide(a, b)), np.floor_divide(*hosts))


# Nothing is mixed with NumPy's arrays ----------------------------------------------------------------


@pytest.mark.parametrize("operate", OPERATORS + COMPARISONS)
def test_operators_refuse_numpy_arrays_and_lists(operate: Any, x: StrictArray) -> None:
    for other in (np.ones((2, 2)), np.array(1.0), [1.0, 2.0]):
        with pytest.raises(TypeError):
            operate(x, other)
        with pytest.raises(TypeError):
            operate(other, x)


@pytest.mark.parametrize("operate", OPERATORS[:-1] + COMPARISONS)
def test_operators_take_numbers(operate: Any, x: StrictArray) -> None:
    for number in (2, 2.0) if operate in COMPARISONS else (2, 2.0, np.float32(2)):
        assert type(operate(x, number)) is type(operate(number, x)) is StrictArray
        np.testing.assert_array_equal(strict.to_host(operate(number, x)), operate(number, strict.to_host(x)))


def test_in_place_operators(x: StrictArray) -> None:
    same, view = x, x[0]
    x += 1.0
    x *= x
    assert x is same
    assert strict.to_host(view).tolist() == [4.0, 9.0]
    array = np.ones((2, 2))
    with pytest.raises(TypeError):
        x += array
    with pytest.raises(TypeError):
        array += x


def test_functions_refuse_numpy_arrays(x: StrictArray) -> None:
    host = np.ones((2, 2))
    for refused in (
        lambda: strict.add(x, host),
        lambda: strict.exp(host),
        lambda: strict.exp([1.0]),
        lambda: strict.sum(host),
        lambda: strict.concatenate([x, host]),
        lambda: strict.concatenate([host]),
        lambda: strict.stack([x, 1.0]),
        lambda: strict.where(x > 1, x, host),
        lambda: strict.matmul(host, x),
        lambda: strict.take(x, np.array([0])),
        lambda: strict.take(x, [0]),
        lambda: strict.asarray(host),
        lambda: strict.array([1.0, 2.0]),
        lambda: strict.add(x, x, out=host),
        lambda: strict.add_at(x, np.array([0]), x),
        lambda: strict.add_at(x, on_strict([0]), np.ones(2)),
        lambda: strict.vdot(x, host),
        lambda: strict.einsum("ij,ij->", x, host),
        lambda: strict.to_host(host),
        lambda: strict.from_host(x),
    ):
        with pytest.raises(TypeError, match="strict"):
            refused()


def test_numpy_functions_refuse_device_arrays(x: StrictArray) -> None:
    for refused in (
        lambda: np.add(np.ones((2, 2)), x),
        lambda: np.add.reduce(x),
        lambda: np.sum(x),
        lambda: np.concatenate([x, x]),
        lambda: np.add(np.ones(2), np.ones(2), out=(x[0],)),
        lambda: np.ones((2, 2)).__setitem__(0, x[0]),
    ):
        with pytest.raises(TypeError):
            refused()


def test_indices_and_assigned_values_refuse_numpy_arrays(x: StrictArray) -> None:
    for key in (np.array([0]), [0], (slice(None), np.array([0])), (slice(None), [0, 1]), np.array([True, False])):
        with pytest.raises(TypeError):
            x[key]
        with pytest.raises(TypeError):
            x[key] = 0.0
    for value in (np.ones(2), [1.0, 2.0]):
        with pytest.raises(TypeError):
            x[0] = value


# What CuPy does otherwise than NumPy -----------------------------------------------------------------


def test_results_are_arrays_never_scalars(x: StrictArray) -> None:
    for result in (x.sum(), x.max(), strict.vdot(x, x), x[0, 0], x[-1][0], strict.matmul(x[0], x[0]), strict.exp(1.0)):
        assert type(result) is StrictArray
        assert result.shape == ()
    assert type(strict.sum(x) * 2.0 + 1) is StrictArray
    assert [type(part) for part in strict.split(x, 2)] == [StrictArray] * 2


def test_an_entry_is_a_view(x: StrictArray) -> None:
    entry = x[1, 0]
    x[1] = 7.0
    assert strict.to_host(entry) == 7.0


def test_base_says_whose_memory(x: StrictArray) -> None:
    for view in (x[0], x[...], x.T, x.reshape(4), strict.moveaxis(x, 0, 1), x[:, ::-1][0], strict.split(x, 2)[0]):
        assert view.base is x
    for own in (x, x + 0, x[on_strict([0, 1])], x[:, on_strict([0])], x.copy(), x.T.reshape(4), x.astype(np.float32)):
        assert own.base is None


def test_index_arrays_wrap_silently() -> None:
    x = on_strict([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    rows = on_strict([4, -4])
    assert strict.to_host(x[rows]).tolist() == [[3.0, 4.0], [5.0, 6.0]]
    assert strict.to_host(x[rows, on_strict([2, 0])]).tolist() == [3.0, 5.0]
    assert strict.to_host(x[None, ..., on_strict([3])]).tolist() == [[[2.0], [4.0], [6.0]]]
    assert strict.to_host(strict.arange(300)[on_strict(np.array([255], np.uint8))]).tolist() == [255]
    assert strict.to_host(x.take(rows, 0)).tolist() == [[3.0, 4.0], [5.0, 6.0]]
    assert strict.to_host(x.take(rows)).tolist() == [5.0, 3.0]
    assert strict.to_host(strict.take(x, 4, axis=0)).tolist() == [3.0, 4.0]
    strict.add_at(x, (slice(None), on_strict([2, 2])), on_strict([10.0, 20.0]))
    assert strict.to_host(x)[:, 0].tolist() == [31.0, 33.0, 35.0]


def test_what_still_raises() -> None:
    """Python integers are checked on the host, and there is nothing to wrap to in an empty axis."""
    x = on_strict([[1.0, 2.0]])
    for key in (1, (0, 2), (0, 0, 0), on_strict([0.5])):
        with pytest.raises(IndexError):
            x[key]
    with pytest.raises(IndexError):
        strict.take(on_strict(np.zeros((0, 2))), on_strict([0]), axis=0)


def test_where_needs_an_array_as_its_condition(x: StrictArray) -> None:
    with pytest.raises(AttributeError):
        strict.module.where(True, x, x)
    with pytest.raises(AttributeError):
        strict.sum(1.0)


def test_missing_functions_and_keywords(x: StrictArray) -> None:
    for name in MISSING:
        with pytest.raises(AttributeError, match="CuPy has no"):
            getattr(strict, name)
    for refused in (
        lambda: strict.reshape(x, shape=(4,)),
        lambda: strict.sum(x, initial=0.0),
        lambda: strict.max(x, where=x > 1),
        lambda: strict.take(x, on_strict([0]), mode="clip"),
        lambda: strict.add(x, x, where=x > 1),
    ):
        with pytest.raises(TypeError, match=r"keyword|takes device arrays"):
            refused()
    with pytest.raises(NotImplementedError):
        x.ravel("K")


def test_atomic_addition_of_long_integers_is_missing() -> None:
    with pytest.raises(TypeError, match="int64"):
        strict.add_at(on_strict([1, 2]), on_strict([0]), on_strict([1]))


def test_no_warning_of_overflow_or_division(x: StrictArray) -> None:
    strict.exp(x * 1000)
    strict.log(x * 0)
    x / 0
    assert np.isnan(strict.to_host(strict.mean(x[:0])))


def test_out_is_what_comes_back(x: StrictArray) -> None:
    assert strict.multiply(x, 2.0, out=x) is x
    assert strict.to_host(x).tolist() == [[2.0, 4.0], [6.0, 8.0]]
    with pytest.raises(TypeError):
        strict.add(on_strict([1]), 0.5, out=on_strict([1]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_generator(dtype: Any) -> None:
    def drawn() -> Iterator[StrictArray]:
        strict.seed(3)
        yield strict.generator.random((2, 3), dtype=dtype)
        yield strict.generator.standard_normal(4, dtype=dtype)
        yield strict.generator.uniform(-1.0, 1.0, (2,), dtype=dtype)
        yield strict.generator.integers(0, 5, 10)

    first, again = list(drawn()), list(drawn())
    assert all(type(a) is StrictArray for a in first)
    assert [a.shape for a in first] == [(2, 3), (4,), (2,), (10,)]
    assert [a.dtype for a in first[:3]] == [dtype] * 3
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(strict.to_host(a), strict.to_host(b))
    with pytest.raises(TypeError):
        strict.generator.random(3, dtype=np.float16)


# In minigrad --------------------------------------------------------------------------------------------


def test_it_is_a_device(x: StrictArray) -> None:
    assert is_array(x)
    assert namespace_of(x) is strict
    t = mg.ones((2, 2)).to("strict")
    assert t.device == "strict"
    assert type((t @ t).sum().data) is StrictArray
    with pytest.raises(RuntimeError, match="strict"):
        t + mg.ones((2, 2))
    with pytest.raises(TypeError, match="strict"):
        t.numpy()


def test_arrays_can_be_copied(x: StrictArray) -> None:
    twin = copy.deepcopy(x)
    x[...] = 0.0
    assert strict.to_host(twin)[1, 1] == 4.0


@pytest.mark.parametrize("cell", [nn.RNN, nn.LSTM, nn.GRU])
def test_training_reads_nothing(cell: type[nn.RNN]) -> None:
    """A whole training step of a character model, without the host once waiting for the device."""
    with mg.use_device("strict"):
        embedding, rnn, output = nn.Embedding(7, 3), cell(3, 5, 2, dropout=0.1), nn.Linear(5, 7)
        model = nn.ModuleList([embedding, rnn, nn.Dropout(0.2), output])
        optimizer = optim.Adam(model.parameters())
        ids, targets, state = mg.tensor([[1, 2], [3, 4]]), mg.tensor([3, 4, 5, 6]), None
        before = strict.reads, strict.synchronizations
        for _ in range(2):
            h, state = rnn(embedding(ids), mg.detach(state))
            loss = F.cross_entropy(output(model[2](h)).reshape(4, 7), targets)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        assert (strict.reads, strict.synchronizations) == before


def test_gradients_of_gradients_read_nothing() -> None:
    with mg.use_device("strict"):
        x, w = mg.randn((4, 3)), mg.randn((3, 2), requires_grad=True)
        before = strict.reads, strict.synchronizations
        (g,) = mg.grad(mg.logsumexp((x @ w).tanh(), axis=1).mean(), w, create_graph=True)
        (g * g).sum().backward()
        assert (strict.reads, strict.synchronizations) == before


# CuPy itself, which can be asked what it offers without a GPU -------------------------------------------


def test_the_table_of_keywords_is_cupys() -> None:
    cupy = pytest.importorskip("cupy")
    for name, keywords in KEYWORDS.items():
        theirs = list(inspect.signature(getattr(cupy, name)).parameters)
        assert set(keywords.split()) <= set(theirs), name
    for name in MISSING:
        assert not hasattr(cupy, name), name


def takes(function: Any, keywords: set[str]) -> bool:
    offered = inspect.signature(function).parameters
    return keywords <= set(offered) or any(p.kind is p.VAR_KEYWORD for p in offered.values())


def array_functions() -> Iterator[tuple[str, str, set[str]]]:
    """Each call `xp.name(..., keyword=...)` in minigrad, with the place it stands."""
    for path in sorted(Path(mg.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                if isinstance(owner, ast.Name) and owner.id == "xp":
                    yield f"{path.name}:{node.lineno}", node.func.attr, {k.arg for k in node.keywords if k.arg}


def test_cupy_has_every_function_that_minigrad_calls() -> None:
    """With its keywords. A name of the registry is the primitive's (`xp.sum_to` in a derivative)."""
    cupy = pytest.importorskip("cupy")
    for place, name, keywords in array_functions():
        if hasattr(ArrayNamespace, name):
            continue
        theirs = getattr(cupy, name, None)
        assert theirs is not None or name in registry, f"{place}: CuPy has no {name}"
        if theirs is None or isinstance(theirs, cupy.ufunc):
            continue
        ours = set(registry[name].parameters) if name in registry else set()
        assert keywords <= ours or takes(theirs, keywords), f"{place}: cupy.{name} takes not all of {sorted(keywords)}"
