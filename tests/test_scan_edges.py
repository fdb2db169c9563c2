"""What `scan` does with cells that no kernel runs, with mistakes, and with all that users do around it.

T: time steps   N: batch   H: width of x and of the state
"""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.nn import functional as F
from minigrad.ops.contraction import linear

from .helpers import host
from .test_scan import H, N, T, array, both_ways, given, is_one_call, loss, lstm, outcome, rnn

pytestmark = [pytest.mark.fusing, pytest.mark.usefixtures("device")]


# Cells that no kernel runs ------------------------------------------------------------------------

SQUARE = 4  # rows and columns, where a transpose fits
APART: dict[str, Callable[..., Any]] = {
    "a reduction": lambda x, h, w: mg.tanh(linear(h, w, x)) - h.mean(axis=-1, keepdims=True),
    "a softmax": lambda x, h, w: F.softmax(linear(h, w, x), dim=-1),
    "rows by columns": lambda x, h, w: mg.tanh(x.T + h @ w),
    "rows in another order": lambda x, h, w: mg.tanh(mg.flip(h, axis=0) @ w + x),
    "the first row for all": lambda x, h, w: mg.tanh(h[:1] + x @ w),
    "the row before": lambda x, h, w: mg.tanh(h.reshape(-1)[: SQUARE * SQUARE].reshape(SQUARE, SQUARE).T + x @ w),
    "indices": lambda x, h, w: mg.tanh(h[:, [1, 0, 2, 2]] + x @ w),
    "a product of rows": lambda x, h, w: mg.tanh(h @ x.T + x @ w),
    "a condition": lambda x, h, w: mg.tanh(x + h @ w) if bool((x > 0).any()) else h * 2,
    "a number": lambda x, h, w: mg.tanh(x + h @ w) * float(x.sum()),
    "a concatenation": lambda x, h, w: mg.tanh(mg.concatenate([x[:, :2], h[:, 2:]], axis=1) @ w),
    "an einsum": lambda x, h, w: mg.tanh(mg.einsum("nk,km->nm", h, w) + x),
    "a running sum": lambda x, h, w: mg.tanh(mg.cumsum(h, axis=1) @ w + x),
    "dropout, drawn at each step": lambda x, h, w: mg.tanh(F.dropout(h, 0.5) @ w + x),
    "noise": lambda x, h, w: mg.tanh(h @ w + x + mg.randn(x.shape, dtype=x.dtype)),
}


@pytest.mark.parametrize("name", APART)
def test_what_no_kernel_runs_is_run_step_by_step(name: str) -> None:
    tensors = given(T, SQUARE, SQUARE), given(SQUARE, SQUARE), given(SQUARE, SQUARE, seed=1)

    def compute() -> list[Any]:
        mg.manual_seed(3)
        return [*outcome(APART[name], *tensors), mg.rand(2)]  # and what is drawn next

    for _ in range(2):
        assert not is_one_call(both_ways(compute, 1e-13)[0])


@pytest.mark.parametrize(
    ("x", "h"), [((T, H), (H,)), ((T, 2, N, H), (2, N, H)), ((T,), ()), ((T, N, H), (1, H)), ((T, N, H), (N, N, H))]
)
def test_a_state_of_any_shape(x: Any, h: Any) -> None:
    def cell(x: Any, h: Any) -> Any:
        return mg.tanh(h * 0.5 + (x if x.shape == h.shape else 0.1))

    both_ways(lambda: outcome(cell, given(*x), given(*h)))


def test_half_precision_and_whole_numbers() -> None:
    tensors = [given(T, N, H, dtype=mg.float16), given(N, H, dtype=mg.float16), given(H, H, dtype=mg.float16)]
    both_ways(lambda: outcome(rnn, *tensors), 1e-3)
    count = mg.zeros((N, 1), dtype=mg.int64)
    x, h = given(T, N, H), given(N, H)

    def compute() -> list[Any]:
        (hs, counts), last = mg.scan(lambda x, state: (mg.tanh(x + state[0]), state[1] + 1), x, (h, count))
        return [hs, counts, *last, *mg.grad(loss(hs), [x, h])]

    assert host(both_ways(compute)[1])[-1].tolist() == [[T]] * N


def test_what_a_cell_does_besides_is_done_at_each_step_where_no_kernel_runs() -> None:
    seen: list[float] = []

    def cell(x: Any, h: Any) -> Any:
        seen.append(h.sum().item())
        return mg.tanh(x + h)

    mg.scan(cell, given(T, N, H), given(N, H))
    assert len(seen) == T and len(set(seen)) == T


# What changes from call to call -------------------------------------------------------------------


def test_a_weight_that_is_another_or_has_been_written_to() -> None:
    x, h, w = given(T, N, H), given(N, H), given(H, H)

    def cell(x: Any, h: Any) -> Any:
        return mg.tanh(linear(h, w, x))

    first = both_ways(lambda: outcome(cell, x, h, wanted=[w]))
    with mg.no_grad():
        w[0] = 0.0
    second = both_ways(lambda: outcome(cell, x, h, wanted=[w]))
    w.data = w.data * 2
    third = both_ways(lambda: outcome(cell, x, h, wanted=[w]))
    w = given(H, H, seed=5)
    fourth = both_ways(lambda: outcome(cell, x, h, wanted=[w]))
    assert len({host(found[0]).tobytes() for found in (first, second, third, fourth)}) == 4


def test_constants_that_are_the_same_once_and_then_are_not() -> None:
    x, h, w, v = given(T, N, H), given(N, H), given(H, H), given(H, H, seed=1)

    def cell(x: Any, h: Any, w: Any, v: Any) -> Any:
        return mg.tanh(linear(h, w, x)) + h @ v

    for pair in ((w, w), (w, v), (v, w), (v, v)):
        both_ways(lambda pair=pair: outcome(cell, x, h, *pair))


def test_constants_grouped_otherwise() -> None:
    x, h, w, v, u = given(T, N, H), given(N, H), *(given(H, H, seed=k) for k in range(3))

    def found(*constants: Any) -> list[Any]:
        return both_ways(lambda: outcome(grouped, x, h, *constants, wanted=[w, v, u]))

    assert len({host(found(*c)[0]).tobytes() for c in (((w, v), (u,)), ((w,), (v, u)), ([w, v], (u,)))}) == 3


def grouped(x: Any, h: Any, first: Any, second: Any) -> Any:
    """A function that remembers nothing, so that what was traced for it is kept."""
    return mg.tanh(linear(h, first[-1], x) - h @ second[0] * (2 if isinstance(first, list) else 1))


def test_numbers_that_a_cell_finds_outside_of_it() -> None:
    x, h, w = given(T, N, H), given(N, H), given(H, H)

    class Model:
        scale = 0.5

        def step(self, x: Any, h: Any, w: Any) -> Any:
            return mg.tanh(linear(h, w, x)) * self.scale

    model, scale = Model(), 0.5
    step = model.step

    def cell(x: Any, h: Any, w: Any) -> Any:
        return mg.tanh(linear(h, w, x)) * scale

    for scale in (0.5, 0.25):
        model.scale = scale
        for function in (cell, step):
            both_ways(lambda function=function: outcome(function, x, h, w))
    for number in (0.5, 1, True, -0.0):
        both_ways(lambda number=number: outcome(lambda x, h, w, n: mg.tanh(linear(h, w, x)) * n, x, h, w, number))


# Mistakes -----------------------------------------------------------------------------------------

MISTAKES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "a list of numbers": (
        lambda: mg.scan(rnn, [1.0], given(N, H)),
        TypeError,
        r"scan: expected a Tensor or an array, got list",
    ),
    "a state that is a number": (
        lambda: mg.scan(rnn, given(T, N, H), 0.0),
        TypeError,
        r"scan, the state: expected a Tensor or an array, got float",
    ),
    "no time steps": (
        lambda: mg.scan(lambda x, h: h, given(0, N, H), given(N, H)),
        ValueError,
        r"scan: expected x of at least one time step, \(T, \.\.\.\), got .*\(0, 3, 5\)",
    ),
    "x without an axis of time": (
        lambda: mg.scan(lambda x, h: h, mg.zeros(()), given(N, H)),
        ValueError,
        r"scan: expected x of at least one time step",
    ),
    "a number as the state": (
        lambda: mg.scan(lambda x, h: 1.0, given(T, N, H), given(N, H)),
        TypeError,
        r"scan: expected the cell to give a Tensor as the state, as it gets, got float",
    ),
    "nothing as the state": (
        lambda: mg.scan(lambda x, h: None, given(T, N, H), given(N, H)),
        TypeError,
        r"scan: expected the cell to give a Tensor as the state, as it gets, got None",
    ),
    "an array as the state": (
        lambda: mg.scan(lambda x, h: array(N, H), given(T, N, H), given(N, H)),
        TypeError,
        r"scan: expected the cell to give a Tensor as the state",
    ),
    "outputs besides the state": (
        lambda: mg.scan(lambda x, h: (h, x), given(T, N, H), given(N, H)),
        TypeError,
        r"scan: expected the cell to give a Tensor as the state, as it gets, got tuple",
    ),
    "one part of two": (
        lambda: mg.scan(lambda x, state: state[0], given(T, N, H), (given(N, H), given(N, H))),
        TypeError,
        r"scan: expected the cell to give a tuple of 2 Tensors as the state, as it gets, got Tensor",
    ),
    "three parts of two": (
        lambda: mg.scan(lambda x, state: (x, x, x), given(T, N, H), (given(N, H), given(N, H))),
        ValueError,
        r"scan: expected the cell to give a state like the one it gets",
    ),
    "a state of another width": (
        lambda: mg.scan(lambda x, h: mg.tanh(x @ given(H, 2)), given(T, N, H), given(N, H)),
        ValueError,
        r"scan: expected the cell to give a state like the one it gets, .*\(3, 5\).*got .*\(3, 2\)",
    ),
    "a state of another dtype": (
        lambda: mg.scan(lambda x, h: h.astype(mg.float64), mg.ones((T, N, H)), mg.zeros((N, H))),
        ValueError,
        r"scan: expected the cell to give a state like the one it gets, .*float32.*got .*float64",
    ),
    "a weight of another size": (
        lambda: mg.scan(lambda x, h: mg.tanh(x + h @ given(4, H)), given(T, N, H), given(N, H)),
        ValueError,
        r"matmul: expected .* K is 5 in x and 4 in y",
    ),
    "a weight of another size, transposed": (
        lambda: mg.scan(lambda x, h: linear(h, given(H, 4), x), given(T, N, H), given(N, H)),
        ValueError,
        r"linear: .*Came: x \(3, 5\)",
    ),
    "shapes that do not broadcast": (
        lambda: mg.scan(lambda x, h: x + h, given(T, N, H), given(N, 4)),
        ValueError,
        r"add: expected shapes that broadcast",
    ),
    "an axis too many": (
        lambda: mg.scan(lambda x, h: h.sum(axis=5), given(T, N, H), given(N, H)),
        ValueError,
        r"sum: expected an axis",
    ),
    "an index too large": (
        lambda: mg.scan(lambda x, h: h[:, 7:8] + h[:, 9], given(T, N, H), given(N, H)),
        IndexError,
        r"getitem: expected",
    ),
    "an error of the cell's own": (
        lambda: mg.scan(lambda x, h: {}["weight"], given(T, N, H), given(N, H)),
        KeyError,
        r"weight",
    ),
    "too few constants": (
        lambda: mg.scan(rnn, given(T, N, H), given(N, H)),
        TypeError,
        r"missing 1 required positional argument: 'w'",
    ),
}


@pytest.mark.parametrize("is_on", [True, False])
@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str, is_on: bool) -> None:
    function, error, message = MISTAKES[name]
    with mg.fusing(is_on), pytest.raises(error, match=message):
        function()


# Writing to what going backward needs ---------------------------------------------------------------


def zero(x: mg.Tensor) -> None:
    x.detach()[...] = 0.0


def assign(x: mg.Tensor) -> None:
    x.data = x.data * 2


@pytest.mark.parametrize("write", [zero, assign])
@pytest.mark.parametrize("place", range(4))
def test_what_a_gradient_needs_may_not_be_written_to(write: Any, place: int) -> None:
    for is_on in (True, False):
        tensors = given(T, N, 4 * H), given(N, H), given(N, H, seed=1), given(4 * H, H)
        x, h, c, w = tensors
        with mg.fusing(is_on):
            states, _ = mg.scan(lstm, x, (h, c), w)
        total = loss(states)
        write(tensors[place])
        if place or is_one_call(states[0]):  # step by step, x is only added to
            with pytest.raises(RuntimeError, match="has been written to since"):
                total.backward()


def test_the_states_may_not_be_written_to_and_the_last_one_may() -> None:
    tensors = given(T, N, 4 * H), given(N, H), given(N, H, seed=1), given(4 * H, H)
    x, h, c, w = tensors
    for part in (0, 1):
        states, _ = mg.scan(lstm, x, (h, c), w)
        total = loss(states)
        zero(states[part].detach()[0])
        if is_one_call(states[0]):
            with pytest.raises(RuntimeError, match=r"scan: the output, which it saved .*has been written to since"):
                total.backward()

    def compute(writes: bool) -> list[Any]:
        _, last = mg.scan(lstm, x, (h, c), w)
        total = loss(last)
        if writes:
            zero(last[0].detach())
        return mg.grad(total, tensors)

    if is_one_call(states[0]):
        for a, b in zip(compute(True), compute(False), strict=True):
            np.testing.assert_array_equal(host(a), host(b))


# Around it ------------------------------------------------------------------------------------------


def test_going_backward_twice() -> None:
    tensors = given(T, N, H), given(N, H), given(H, H)
    states, _ = mg.scan(rnn, *tensors)
    total = loss(states)
    first = mg.grad(total, tensors, retain_graph=True)
    second = mg.grad(total, tensors)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(host(a), host(b))
    with pytest.raises(RuntimeError, match="freed by an earlier backward pass"):
        total.backward()


def test_a_state_that_was_not_detached() -> None:
    x, h, w = given(T, N, H), given(N, H), given(H, H)
    states, state = mg.scan(rnn, x, h, w)
    loss(states).backward()
    states, _ = mg.scan(rnn, x, state, w)
    with pytest.raises(RuntimeError, match=r"detach the state you carried: state = minigrad.detach\(state\)"):
        loss(states).backward()


def test_nothing_is_recorded_under_no_grad() -> None:
    tensors = given(T, N, H), given(N, H), given(H, H)
    with mg.no_grad():
        states, last = mg.scan(rnn, *tensors)
    assert not states.requires_grad and not last.requires_grad
    expected, _ = mg.scan(rnn, *tensors)
    np.testing.assert_array_equal(host(states), host(expected))


def test_the_same_bits_each_time() -> None:
    tensors = given(T, N, H), given(N, H), given(H, H)
    first, second = ([host(y).tobytes() for y in outcome(rnn, *tensors)] for _ in range(2))
    assert first == second


def test_hooks() -> None:
    x, h, w = given(T, N, H), given(N, H), given(H, H)

    def compute() -> list[Any]:
        seen: list[Any] = []
        inside = x * 1
        inside.register_hook(seen.append)
        states, last = mg.scan(rnn, inside, h, w)
        states.register_hook(lambda g: g * 2)
        handle = w.register_hook(lambda g: g * 3)
        gradients = mg.grad(loss(states) + loss(mg.scan(rnn, x, last, w)[0]), [x, h, w])
        handle.remove()
        return [*gradients, *seen]

    assert len(both_ways(compute)) == 4


def test_anomaly_mode_names_the_operation_in_the_cell() -> None:
    def cell(x: Any, h: Any) -> Any:
        return mg.sqrt(x - 3) + h

    x, h = given(T, N, H), given(N, H)
    with np.errstate(invalid="ignore"):
        states, _ = mg.scan(cell, x, h)
    assert np.isnan(host(states)).all()
    with np.errstate(invalid="ignore"), mg.detect_anomaly(), pytest.raises(mg.AnomalyError, match=r"sqrt"):
        mg.scan(cell, x, h)


def test_transforms_and_checkpoint() -> None:
    x, h, w = given(T, N, H), given(N, H), given(H, H)

    def total(x: Any, h: Any, w: Any) -> Any:
        states, last = mg.scan(rnn, x, h, w)
        return loss([states, last])

    def as_rows(found: Any) -> list[Any]:
        return [y for part in found for y in (part if isinstance(part, (tuple, list)) else [part])]

    v = [mg.tensor(array(*t.shape, seed=9)) for t in (x, h, w)]
    both_ways(lambda: as_rows(mg.vjp(lambda *ts: mg.scan(rnn, *ts)[0], [x, h, w], v[0])))
    both_ways(lambda: as_rows(mg.jvp(lambda *ts: mg.scan(rnn, *ts)[0], [x, h, w], v)))
    both_ways(lambda: as_rows(mg.hvp(total, [x, h, w], v)))
    found = both_ways(lambda: mg.grad(mg.checkpoint(total, x, h, w), [x, h, w]))
    for a, b in zip(found, mg.grad(total(x, h, w), [x, h, w]), strict=True):
        np.testing.assert_allclose(host(a), host(b), rtol=1e-13)


def test_a_fused_function_inside() -> None:
    gate = mg.fuse(lambda x, h: mg.sigmoid(x) * mg.tanh(h))

    def cell(x: Any, h: Any, w: Any) -> Any:
        return gate(x, linear(h, w, x))

    first = given(T, N, H), given(N, H), given(H, H)
    found = both_ways(lambda: outcome(cell, *first))
    plain = both_ways(lambda: outcome(lambda x, h, w: mg.sigmoid(x) * mg.tanh(linear(h, w, x)), *first))
    np.testing.assert_allclose(host(found[0]), host(plain[0]), rtol=1e-12)


# Memory ---------------------------------------------------------------------------------------------


def test_counting_references_frees_the_graph_and_what_is_known_of_a_cell() -> None:
    gc.collect()
    gc.disable()
    try:
        x, h, w = given(T, N, H), given(N, H), given(H, H)

        def cell(x: Any, h: Any, w: Any) -> Any:
            return mg.tanh(linear(h, w, x))

        states, last = mg.scan(cell, x, h, w)
        loss([states, last]).backward()
        states, last = mg.scan(cell, x, h, w)
        watched = [weakref.ref(thing) for thing in (states, last, cell, w)]
        held = states._source[0].output if is_one_call(states) else states
        watched.append(weakref.ref(held))
        del x, h, w, states, last, cell, held
        assert [reference() for reference in watched] == [None] * len(watched)
    finally:
        gc.enable()


def test_nothing_grows_from_chunk_to_chunk() -> None:
    w, state = given(4 * H, H), (given(N, H), given(N, H))
    x = given(T, N, 4 * H)

    def chunk(state: Any) -> Any:
        states, state = mg.scan(lambda x, state: lstm(x, state, w), x, state)
        loss(states).backward()
        x.grad = w.grad = None
        return mg.detach(state)

    tracemalloc.start()
    try:
        for _ in range(10):
            state = chunk(state)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(50):
            state = chunk(state)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000


# What a cell finds outside of its arguments ----------------------------------------------------------

FACTOR = 2.0
OUTSIDE = mg.tensor([[2.0]])


def test_a_global_number_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    def cell(x: Any, h: Any) -> Any:
        return x * FACTOR + h

    for value in (2.0, 3.0):
        monkeypatch.setitem(globals(), "FACTOR", value)
        assert mg.scan(cell, mg.ones((2, 1, 1)), mg.zeros((1, 1)))[1].item() == 2 * value


@pytest.mark.parametrize("device", ["cpu"], indirect=True)
def test_a_global_tensor_is_not_taken_for_the_argument_that_it_once_was() -> None:
    def cell(x: Any, h: Any, w: Any) -> Any:
        return x @ w + h @ OUTSIDE

    for w in (OUTSIDE, mg.tensor([[5.0]])):
        found = mg.scan(cell, mg.ones((2, 1, 1)), mg.ones((1, 1)), w)[1].item()
        assert found == (w.item() + 2.0) * 2.0 + w.item()


def test_no_grad_inside_of_a_cell_first_run_under_no_grad() -> None:
    def cell(x: Any, h: Any) -> Any:
        with mg.no_grad():
            s = mg.sigmoid(x)
        return h * s + x

    with mg.no_grad():
        mg.scan(cell, mg.ones((1, 1, 1)), mg.ones((1, 1)))
    x = mg.ones((1, 1, 1), requires_grad=True)
    (g,) = mg.grad(mg.scan(cell, x, mg.ones((1, 1)))[1], [x])
    assert g.item() == 1.0


def test_the_sign_of_a_zero_is_part_of_a_kernel() -> None:
    def cell(x: Any, h: Any, k: float) -> Any:
        return x / k + h

    with np.errstate(divide="ignore"):
        found = [mg.scan(cell, mg.ones((1, 1, 1)), mg.zeros((1, 1)), k)[1].item() for k in (0.0, -0.0)]
    assert found == [np.inf, -np.inf]


@pytest.mark.parametrize("device", ["cpu"], indirect=True)
@pytest.mark.parametrize("constant", [np.full(1, 3.0, np.float32), {"a": 3.0}])
def test_constants_that_cannot_be_compared(constant: Any) -> None:
    def cell(x: Any, h: Any, w: Any) -> Any:
        return h * (w["a"] if isinstance(w, dict) else w)

    assert mg.scan(cell, mg.ones((3, 1, 1)), mg.ones((1, 1)), constant)[1].item() == 27.0
