"""`scan` runs a recurrence as it is written, whoever computes it: one call of a kernel, or one step after the other.

T: time steps   N: batch   D: width of x   H: width of the state
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import threads
from minigrad.fusion import c_loop
from minigrad.ops.contraction import linear
from minigrad.testing import gradcheck, gradgradcheck

from .compiling import elsewhere, needs_compiler
from .helpers import host

T, N, D, H = 4, 3, 5, 5

pytestmark = [pytest.mark.fusing, pytest.mark.usefixtures("device")]


def array(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape) * 0.6


def given(*shape: int, seed: int = 0, dtype: Any = mg.float64) -> mg.Tensor:
    return mg.tensor(array(*shape, seed=seed), dtype=dtype, requires_grad=True)


def rnn(x: Any, h: Any, w: Any) -> Any:
    return mg.tanh(linear(h, w, x))


def lstm(x: Any, state: Any, w: Any) -> Any:
    h, c = state
    i, f, g, o = linear(h, w, x).split(4, axis=-1)
    c = mg.sigmoid(f) * c + mg.sigmoid(i) * mg.tanh(g)
    return mg.sigmoid(o) * mg.tanh(c), c


def is_one_call(y: mg.Tensor) -> bool:
    return "op=scan" in repr(y)


def loss(ys: Any) -> mg.Tensor:
    """A number that depends on every entry in its own way."""
    ys = [ys] if isinstance(ys, mg.Tensor) else ys
    total = mg.zeros((), dtype=ys[0].dtype)
    for k, y in enumerate(ys):
        total = total + (y * mg.tensor(np.cos(np.arange(y.size) * 0.7 + k).reshape(y.shape), dtype=y.dtype)).sum()
    return total


def both_ways(compute: Callable[[], list[Any]], tolerance: float = 1e-10) -> list[Any]:
    """What is computed, after it has been compared with what it is without kernels."""
    found = compute()
    with mg.fusing(False):
        expected = compute()
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert (a is None) == (b is None), k
        if a is not None:
            assert (a.shape, a.dtype) == (b.shape, b.dtype), k
            np.testing.assert_allclose(host(a), host(b), rtol=tolerance, atol=tolerance, err_msg=str(k))
    return found


def outcome(cell: Any, x: Any, state: Any, *constants: Any, wanted: Any = None, **options: Any) -> list[Any]:
    """All states, the last, and the gradients of everything."""
    states, last = mg.scan(cell, x, state, *constants, **options)
    ys = [*states, *last] if isinstance(states, tuple) else [states, last]
    if wanted is None:
        parts = state if isinstance(state, tuple) else [state]
        wanted = [t for t in (x, *parts, *constants) if isinstance(t, mg.Tensor) and t.requires_grad]
    return [*ys, *mg.grad(loss(ys), wanted, allow_unused=True)]


# What it computes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [mg.float32, mg.float64])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shape", [(T, N), (1, 1), (1, 7), (33, 1), (2, 40)])
def test_a_state_of_one_part_and_of_two(dtype: Any, reverse: bool, shape: Any, device: str) -> None:
    steps, rows = shape
    tolerance = 2e-5 if dtype == mg.float32 else 1e-10
    x, h, w = given(steps, rows, H, dtype=dtype), given(rows, H, dtype=dtype), given(H, H, dtype=dtype)
    both_ways(lambda: outcome(rnn, x, h, w, reverse=reverse), tolerance)
    x, w, c = given(steps, rows, 4 * H, dtype=dtype), given(4 * H, H, dtype=dtype), given(rows, H, seed=1, dtype=dtype)
    both_ways(lambda: outcome(lstm, x, (h, c), w, reverse=reverse), tolerance)


def test_the_states_are_the_recurrence(device: str) -> None:
    x, h, w = array(T, N, H), array(N, H), array(H, H)
    expected = []
    for x_t in x:
        h = np.tanh(x_t + h @ w.T)
        expected.append(h)
    states, last = mg.scan(rnn, given(T, N, H), given(N, H), given(H, H))
    np.testing.assert_allclose(host(states), expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(host(last), expected[-1], rtol=1e-12, atol=1e-14)


def test_backwards_is_forwards_of_the_mirrored_sequence(device: str) -> None:
    x, h, w = given(T, N, H), given(N, H), given(H, H)
    states, last = mg.scan(rnn, x, h, w, reverse=True)
    mirrored, same_last = mg.scan(rnn, mg.flip(x, axis=0), h, w)
    np.testing.assert_array_equal(host(states)[::-1], host(mirrored))
    np.testing.assert_array_equal(host(last), host(same_last))
    np.testing.assert_array_equal(host(last), host(states)[0])


CELLS: dict[str, Callable[..., Any]] = {
    "x is added to, and used": lambda x, h, w, b: mg.tanh(linear(h, w, x)) * mg.sigmoid(x),
    "the state is added to": lambda x, h, w, b: mg.tanh(linear(x, w, h)),
    "the state is added to, and used": lambda x, h, w, b: mg.tanh(linear(x, w, h)) + 0.3 * h,
    "x is added to twice": lambda x, h, w, b: mg.tanh(linear(h, w, x)) * linear(h, w, x),
    "one product after the other": lambda x, h, w, b: mg.tanh(linear(mg.tanh(linear(h, w, x)), w, x)),
    "products of products": lambda x, h, w, b: linear(linear(linear(x, w, h), w, x), w, b),
    "a product and nothing else": lambda x, h, w, b: linear(h, w, h),
    "a transpose": lambda x, h, w, b: mg.tanh(linear(h, w.T, x) + h @ w),
    "no product": lambda x, h, w, b: mg.tanh(x + b * h),
    "bias and product": lambda x, h, w, b: mg.tanh(linear(h, w, b) + b * x),
    "a row": lambda x, h, w, b: mg.tanh(x @ w + b.reshape(1, H) * h),
    "a number": lambda x, h, w, b: mg.tanh(x @ w + b[0] * h),
    "x alone": lambda x, h, w, b: mg.tanh(x @ w),
    "what was there": lambda x, h, w, b: h,
    "x as it is": lambda x, h, w, b: x,
    "mirrored": lambda x, h, w, b: mg.tanh(x + mg.flip(h, axis=1) @ w),
    "shifted": lambda x, h, w, b: mg.where(x[:, :1] > 0.1, mg.tanh(x @ w), h),
    "kinks": lambda x, h, w, b: mg.relu(x) + mg.maximum(mg.clip(h @ w, -0.5, 0.5), -mg.abs(h)),
    "one column of all": lambda x, h, w, b: mg.tanh(x * h[:, :1] + (h * x[:, -1:]) @ w),
}


@needs_compiler
@pytest.mark.parametrize("name", CELLS)
def test_what_a_kernel_is_written_for(name: str) -> None:
    tensors = given(T, N, H), given(N, H), given(H, H), given(H)
    found = both_ways(lambda: outcome(CELLS[name], *tensors))
    if mg.fuse_backend() in ("c", "cuda"):
        assert is_one_call(found[0])


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("steps", [1, 2])
def test_gradients_of_first_and_second_order(name: str, steps: int) -> None:
    if name == "kinks":
        pytest.skip("numeric differences do not hold at a kink")
    tensors = [given(steps, 2, H), given(2, H), given(H, H), given(H)]

    def function(*tensors: Any) -> Any:
        return [y for y in mg.scan(CELLS[name], *tensors) if y.requires_grad]

    assert gradcheck(function, tensors, fast_mode=True)
    assert gradgradcheck(function, tensors, fast_mode=True)


def test_parts_of_several_widths() -> None:
    def cell(x: Any, state: Any, w: Any, v: Any) -> Any:
        wide, narrow, flag = state
        wide = mg.tanh(linear(wide * narrow, w, x))
        return wide, mg.sigmoid(linear(wide, v, 0.0)) * narrow * (1 - 0.5 * flag), flag

    tensors = given(T, N, H), (given(N, H), given(N, 1), given(N, 1, seed=1)), given(H, H), given(1, H)
    both_ways(lambda: outcome(cell, *tensors))


def test_a_mask_of_booleans_and_a_flag_in_the_state() -> None:
    mask = mg.tensor(array(N, 1) > 0)

    def cell(x: Any, state: Any, w: Any, mask: Any) -> Any:
        h, has_ended = state
        h = mg.where(mg.logical_or(mask, has_ended), h, mg.tanh(linear(h, w, x)))
        return h, mg.logical_or(has_ended, h[:, :1] > 0.5)

    x, h, w, flag = given(T, N, H), given(N, H), given(H, H), mg.zeros((N, 1), dtype=mg.bool_)

    def compute() -> list[Any]:
        (hs, flags), (last, flag_last) = mg.scan(cell, x, (h, flag), w, mask)
        return [hs, flags, last, flag_last, *mg.grad(loss([hs, last]), [x, h, w])]

    assert host(both_ways(compute)[1]).any()


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("which", ["states", "last"])
def test_gradients_of_what_was_used_alone(part: int, which: str) -> None:
    tensors = given(T, N, 4 * H), given(N, H), given(N, H, seed=1), given(4 * H, H)

    def compute() -> list[Any]:
        x, h, c, w = tensors
        states, last = mg.scan(lstm, x, (h, c), w)
        return mg.grad(loss([(states if which == "states" else last)[part]]), tensors, allow_unused=True)

    both_ways(compute)


@pytest.mark.parametrize("needs", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (1, 1, 0), (1, 0, 1)])
def test_gradients_of_what_needs_one(needs: Any) -> None:
    tensors = given(T, N, H), given(N, H), given(H, H)
    for x, is_needed in zip(tensors, needs, strict=True):
        x.requires_grad = bool(is_needed)
    assert len(both_ways(lambda: outcome(rnn, *tensors))) == 2 + sum(needs)


def test_what_does_not_matter_gets_no_gradient() -> None:
    x, h, w = given(T, N, H), given(N, H), given(H, H)
    for cell in (lambda x, h, w: mg.tanh(x), lambda x, h, w: h, lambda x, h, w: mg.tanh(h @ w)):
        found = both_ways(lambda cell=cell: outcome(cell, x, h, w))
        assert sum(g is None for g in found[2:]) in (1, 2)
    x.requires_grad = w.requires_grad = False
    states, last = mg.scan(lambda x, h, w: mg.tanh(x), x, h, w)
    assert not states.requires_grad and not last.requires_grad


def test_parts_that_change_places() -> None:
    def cell(x: Any, state: Any) -> Any:
        return state[1] * 0.9, state[0] + x

    both_ways(lambda: outcome(cell, given(T, N, H), (given(N, H), given(N, H, seed=1))))


def test_nothing_in_it(device: str) -> None:
    for rows, width in ((0, H), (N, 0)):
        x, h, w = given(T, rows, width), given(rows, width), given(width, width)
        both_ways(lambda x=x, h=h, w=w: outcome(rnn, x, h, w))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_sequences_do_not_mix(bad: float) -> None:
    """What is not finite in one leaves the bits of the others alone, forward and backward."""
    x, h, w = array(T, 9, H), array(9, H), given(H, H)

    def compute(x: Any, h: Any) -> list[Any]:
        x, h = mg.tensor(x, requires_grad=True), mg.tensor(h, requires_grad=True)
        states, last = mg.scan(lambda x, h: mg.tanh(linear(h, w, x)) + 0.1 * h, x, h)
        return [host(y) for y in (states, last, *mg.grad(loss([states, last]), [x, h]))]

    expected = compute(x, h)
    x, h = x.copy(), h.copy()
    x[1, 2, 0] = h[5, 1] = bad
    found = compute(x, h)
    others = [k for k in range(9) if k not in (2, 5)]
    for a, b in zip(found, expected, strict=True):
        rows = -2
        np.testing.assert_array_equal(np.take(a, others, axis=rows), np.take(b, others, axis=rows))
    with mg.fusing(False):
        plain = compute(x, h)
    for a, b in zip(found, plain, strict=True):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    assert np.isfinite(found[0][0, 2]).all() and not np.isfinite(found[0][:, 5]).all()


def test_arrays_that_do_not_lie_in_one_piece() -> None:
    x, h, w = given(N, T, 2 * H), given(H, N), given(H, H)

    def compute() -> list[Any]:
        states, last = mg.scan(rnn, x[:, :, ::2].transpose(1, 0, 2), h.T, w.T)
        return [states, last, *mg.grad(loss([states, last]), [x, h, w])]

    both_ways(compute)


# Threads ------------------------------------------------------------------------------------------


@needs_compiler
@pytest.mark.parametrize("device", ["cpu"], indirect=True)
@pytest.mark.parametrize("dtype", [mg.float32, mg.float64])
def test_the_same_bits_on_any_number_of_threads(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_loop, "SMALL", 0)
    x, h, c = given(7, 37, 4 * 20, dtype=dtype), given(37, 20, dtype=dtype), given(37, 20, seed=1, dtype=dtype)
    w = given(4 * 20, 20, dtype=dtype)

    def bits(count: int) -> list[bytes]:
        monkeypatch.setattr(threads, "_kernels", count)
        states, last = mg.scan(lstm, x, (h, c), w)
        return [host(y).tobytes() for y in (*states, *last, *mg.grad(loss([*states, *last]), [x, h, c, w]))]

    expected = bits(1)
    for count in (1, 2, 3, 8):
        assert bits(count) == expected, count


@pytest.mark.parametrize("device", ["cpu"], indirect=True)
def test_two_python_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_loop, "SMALL", 0)
    monkeypatch.setattr(threads, "_kernels", 2)
    x, h, w = given(20, 33, H), given(33, H), given(H, H)
    expected = [host(y).tobytes() for y in outcome(rnn, x, h, w)]
    found: list[Any] = []

    def work() -> None:
        for _ in range(10):
            found.append([host(y).tobytes() for y in outcome(rnn, x, h, w)] == expected)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [True] * 20


FORK = """
import os
import minigrad as mg
from minigrad import threads
from minigrad.fusion import c_loop
c_loop.SMALL, threads._kernels = 0, 2
x, h, w = mg.ones((9, 16, 8)), mg.zeros((16, 8)), mg.eye(8, requires_grad=True)
def total():
    states, _ = mg.scan(lambda x, h, w: mg.tanh(x + h @ w), x, h, w)
    return float(mg.grad(states.sum(), [w])[0].sum())
expected = total()
child = os.fork()
if child == 0:
    os._exit(0 if total() == expected else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), total() == expected)
"""


@pytest.mark.parametrize("device", ["cpu"], indirect=True)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_scans_too() -> None:
    output, _ = elsewhere(FORK).communicate(timeout=60)
    assert output.split()[-2:] == ["0", "True"]
