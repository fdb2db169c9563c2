"""Kernels that the NumPy writer writes: the same values and gradients as the operations they stand for."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.backend import cpu, namespace
from minigrad.fusion import numpy_writer
from minigrad.fusion.expression import Graph, Values, dummy
from minigrad.fusion.fused import fuse
from minigrad.fusion.nest import Nest, Store
from minigrad.fusion.setting import fuse_backend, fusing
from minigrad.nn.cells import gru_gates, lstm_gates

from .helpers import host, on

lstm, gru = lstm_gates.function, gru_gates.function
N, H = 3, 4


@pytest.fixture(autouse=True)
def numpy_program() -> Iterator[None]:
    with fusing(writer="numpy"):
        yield


def draw(device: str, *shapes: Any, dtype: Any = np.float64, seed: int = 0) -> list[mg.Tensor]:
    """An argument for each shape that needs a gradient, and each number or Tensor as it is."""
    random = np.random.default_rng(seed)
    return [
        on(device, random.normal(size=s).astype(dtype), requires_grad=True) if type(s) is tuple else s for s in shapes
    ]


def results(f: Callable[..., Any], xs: list[Any]) -> list[np.ndarray[Any, Any]]:
    """The values, and what the arguments receive from incoming gradients of which no two entries are equal."""
    ys = f(*xs)
    ys = list(ys) if isinstance(ys, tuple) else [ys]
    given = [y for y in ys if y.requires_grad]
    gs = [on(y.device, np.linspace(0.5, 2.0, y.size, dtype=y.dtype).reshape(y.shape)) for y in given]
    wanted = [x for x in xs if type(x) is mg.Tensor and x.requires_grad]
    gradients = mg.grad(given, wanted, gs) if given else []
    return [host(y) for y in (*ys, *gradients)]


def agrees(f: Callable[..., Any], xs: list[Any], rtol: float = 1e-12) -> Any:
    """The fused function gives what the function gives."""
    fused = fuse(f)
    expected = results(f, xs)
    for _ in range(2):  # the second time in buffers that have been used
        for found, value in zip(results(fused, xs), expected, strict=True):
            assert found.dtype == value.dtype
            assert found.shape == value.shape
            np.testing.assert_allclose(found, value, rtol=rtol, atol=rtol)
    assert len(fused._plans) == 1, "it has not been fused"
    return fused


# Cells --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-12), (np.float32, 2e-6)])
@pytest.mark.parametrize("size", [(N, H), (50, 33), (0, H)])
def test_gates(device: str, dtype: Any, rtol: float, size: tuple[int, int]) -> None:
    n, h = size
    agrees(lstm, draw(device, (n, 4 * h), (n, h), dtype=dtype), rtol)
    agrees(gru, draw(device, (n, 3 * h), (n, 3 * h), (n, h), dtype=dtype), rtol)


def test_gates_with_biases(device: str) -> None:
    """Parts of what was computed are computed from parts of what broadcasts."""

    def cell(x: Any, h: Any, bias: Any, c: Any) -> Any:
        return lstm(x + h + bias, c)

    agrees(cell, draw(device, (N, 4 * H), (N, 4 * H), (4 * H,), (N, H)))
    agrees(cell, draw(device, (1, 4 * H), (N, 4 * H), (), (N, 1)))


def test_the_backward_program_reuses_its_buffers(device: str) -> None:
    f = agrees(lstm, draw(device, (N, 4 * H), (N, H)))
    text = f.source("numpy", backward=True)
    assert text.count(f"({N}, {H}) float64") - text.count(" a") <= 7
    assert text.count("xp.tanh") == 5


# Layouts ------------------------------------------------------------------------------------------

LAYOUTS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "broadcasting": (lambda x, y, z: x * y + mg.exp(z), ((2, 3, 4), (3, 1), (4,))),
    "a column times a row": (lambda x, y: mg.tanh(x * y), ((3, 1), (1, 4))),
    "more ones than the other": (lambda x, y: x * y, ((1, 1, 4), (3, 1))),
    "a number of no axes": (lambda x, y: x / mg.exp(y), ((2, 3), ())),
    "no axes at all": (lambda x: mg.sin(x) * x, ((),)),
    "nothing": (lambda x, y: x * y, ((0, 3), (3,))),
    "nothing, of something": (lambda x, y: x[:0] * y, ((2, 3), (3,))),
    "transposed": (lambda x, y: x.T * y, ((4, 3), (3, 4))),
    "a slice of what is transposed": (lambda x, y: x.T[1:] * y, ((4, 3), (2, 4))),
    "backwards": (lambda x, y: mg.flip(x, axis=0) * y[::-1, ::2], ((3, 2), (3, 4))),
    "neighbours": (lambda x: x[:-1] * x[1:], ((5, 3),)),
    "three neighbours": (lambda x: x[:-2] * x[1:-1] + x[2:], ((5, 3),)),
    "itself backwards": (lambda x: x * mg.flip(x, axis=1), ((2, 3),)),
    "steps": (lambda x: x[::2] - x[1::2] * x[::2], ((6, 3),)),
    "rows": (lambda x: x[0] * x[2, :] + x[-1], ((4, 3),)),
    "one entry": (lambda x, y: x[1, 2] * y, ((4, 3), (2,))),
    "new axes": (lambda x, y: x[:, None] * y[None, :, 1:], ((3, 4), (2, 5))),
    "unstacked": (lambda x: mg.multiply(*mg.unstack(x, axis=1)), ((3, 2, 4),)),
    "unstacked to entries": (lambda x: mg.multiply(*mg.unstack(x)), ((2,),)),
    "another shape": (lambda x, y: mg.reshape(x, (2, 6)) * y, ((3, 4), (6,))),
    "a squeezed slice": (lambda x, y: mg.squeeze(x[:, 1:2], axis=1) * y, ((3, 4), (3,))),
    "repeated": (lambda x, y: mg.broadcast_to(x, (2, 3, 4)) * y, ((4,), (2, 3, 4))),
    "repeated, then cut up": (lambda x, y: mg.add(*mg.split(mg.broadcast_to(x, (3, 4)), 2, axis=1)) * y, ((4,), (2,))),
    "turned, then repeated": (lambda x, y: mg.broadcast_to(x.T, (2, 4, 3)) * y, ((3, 4), (2, 4, 3))),
    "repeated for itself alone": (lambda x: mg.exp(mg.broadcast_to(x, (2, 3))), ((3,),)),
    "outputs of several shapes": (lambda x, y: (mg.exp(x), x * y, mg.tanh(y)), ((4,), (3, 1))),
    "the same output twice": (lambda x, y: (x * y, y * x, x * y), ((3,), (3,))),
    "an argument as it is": (lambda x, y: (x[1:], x * y, y), ((3,), (3,))),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(device: str, name: str) -> None:
    f, shapes = LAYOUTS[name]
    agrees(f, draw(device, *shapes))


def test_arguments_with_any_strides(device: str) -> None:
    x, y, z = draw(device, (3, 4), (6, 8), (1, 4))

    xs = [x.detach().T, y.detach()[::-2, ::2].T, mg.broadcast_to(z.detach(), (3, 4)).T]
    for v in xs:
        v.requires_grad = True
    assert not any(v.data.flags.c_contiguous for v in xs)
    agrees(lambda x, y, z: mg.tanh(x) * y + z * z[1:2] * z[:, :1], xs)


# Values -------------------------------------------------------------------------------------------

FORMULAS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "squares": (lambda x: x**2 + x**1 + x**3, ((5,),)),
    "powers": (lambda x, y: mg.exp(x) ** y + mg.exp(y) ** 1.5 + x**2.0, ((5,), (5,))),
    "roots and logarithms": (lambda x: mg.log(mg.sqrt(mg.exp(x)) + 1) * mg.log1p(x * x), ((5,),)),
    "soft functions": (lambda x, y: mg.softplus(x) + mg.logaddexp(x, y) + mg.expm1(y), ((5,), (5,))),
    "kinks": (
        lambda x, y: mg.relu(x) + mg.maximum(x, y) * mg.minimum(x, 0.5) + mg.clip(y, min=-1.0, max=1.0),
        ((5,), (5,)),
    ),
    "a condition": (lambda x, y: mg.where(x > y, x * 2, mg.where(y > 0.0, y, -x)), ((4, 5), (5,))),
    "a condition on numbers": (lambda x: x * mg.where(x > 0.0, 1.0, -0.5), ((4, 5),)),
    "remainders": (lambda x, y: x % (y * y + 1) + mg.floor_divide(x, 0.5), ((5,), (5,))),
    "rounding": (lambda x: mg.floor(x) + mg.ceil(x * 3) * mg.sign(x) * mg.absolute(x), ((5,),)),
    "another dtype": (lambda x: x.astype(mg.float32) * 0.1, ((5,),)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas(device: str, name: str) -> None:
    f, shapes = FORMULAS[name]
    agrees(f, draw(device, *shapes), 1e-6 if name == "another dtype" else 1e-12)


def test_booleans(device: str) -> None:
    def f(x: Any, keep: Any) -> Any:
        both = keep * (x > 0.0)
        return mg.where(both, x, 0.0), both, mg.maximum(keep, both), x * keep

    keep = on(device, np.array([[True, False, True, False]]))
    agrees(f, [*draw(device, (3, 4)), keep])


def test_what_is_no_number_and_what_is_no_end(device: str) -> None:
    values = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-310, 1e300])
    for dtype in (np.float64, np.float32):
        with np.errstate(all="ignore"):
            x = on(device, values.astype(dtype), requires_grad=True)
            for f in (
                mg.sigmoid,
                mg.tanh,
                mg.exp,
                mg.relu,
                mg.absolute,
                lambda x: x * 2.0,
                lambda x: mg.where(x > 0.0, x, -x),
            ):
                agrees(f, [x])


def test_numbers_that_change(device: str) -> None:
    (x,) = draw(device, (N, H), dtype=np.float32)

    @fuse
    def f(x: Any, a: Any, b: Any) -> Any:
        return mg.exp(x * (a * b)) + mg.sigmoid(a) + mg.where(a > b, x, b)

    for a, b in [(0.5, 2.0), (-1.0, 0.25), (0.0, 0.0)]:
        found, expected = results(f, [x, a, b]), results(f.function, [x, a, b])
        assert found[0].dtype == np.float32
        for y, value in zip(found, expected, strict=True):
            np.testing.assert_allclose(y, value, rtol=1e-6)
    assert len(f._plans) == 1


def test_numbers_take_the_dtype_of_what_they_meet(device: str) -> None:
    (x,) = draw(device, (50,), dtype=np.float32)
    found = fuse(lambda x, a, b: x * (a * b))(x.detach(), 0.1, 0.3)
    np.testing.assert_array_equal(host(found), host(x) * (0.1 * 0.3))


@given(st.data())
def test_slices_of_all_kinds(device: str, data: st.DataObject) -> None:
    """Two slices of one array, of one shape."""
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple))

    def key() -> Any:
        parts = [[data.draw(st.one_of(st.slices(n), st.integers(-n, n - 1)))] for n in shape]
        return tuple(k for part in parts for k in ([None] if data.draw(st.booleans()) else []) + part)

    first, second = key(), key()
    x = np.empty(shape)
    try:
        np.broadcast_shapes(x[first].shape, x[second].shape)
    except ValueError:
        second = first
    agrees(lambda x: mg.tanh(x[first]) * x[second], draw(device, shape))


# Nests --------------------------------------------------------------------------------------------


def whole(xp: Any, x: Any) -> Any:
    return x


def test_what_is_added_is_counted_as_often_as_the_loops_come_by(device: str) -> None:
    """Numbers, and values of fewer entries than the nest has."""
    xp = namespace(device)
    xp.make_current()
    graph = Graph()
    row = graph.load(0, dummy((4,), xp.dtype("float64")), whole)
    values = [0.5, graph.scalar(1) * 2.0, row, math.nan, graph.scalar(1).astype(xp.float32)]
    shapes = [(3, 4), (4,), (3, 1), (1,), ()]
    places = [dummy(shape, xp.dtype("float64")) for shape in shapes]
    x = np.arange(4.0)
    for value, expected in zip(values, [0.5, 2.5, x, np.nan, np.float32(1.25)], strict=True):
        stores = [Store(2 + k, place, whole, value, adds=True) for k, place in enumerate(places)]
        kernel = numpy_writer.Kernel([Nest((3, 4), stores)])
        arrays = [xp.from_host(np.ones(shape)) for shape in shapes]
        kernel([xp.from_host(x), None, *arrays], [0.0, 1.25])
        full = np.broadcast_to(expected, (3, 4))
        sums = [full, full.sum(0), full.sum(1, keepdims=True), full.sum(keepdims=True)[0], full.sum()]
        for array, total in zip(arrays, sums, strict=True):
            np.testing.assert_allclose(xp.to_host(array), 1.0 + total)


def test_numbers_are_stored(device: str) -> None:
    xp = namespace(device)
    xp.make_current()
    graph = Graph()
    place = dummy((2, 3), xp.dtype("float32"))
    values = [-math.inf, graph.scalar(0), graph.scalar(0) > 1.0, graph.load(1, dummy((3,), xp.dtype("bool")), whole)]
    stores = [Store(2 + k, place, whole, value) for k, value in enumerate(values)]
    arrays = [xp.empty((2, 3), dtype="float32") for _ in values]
    numpy_writer.Kernel([Nest((2, 3), stores)])([None, xp.from_host(np.array([True, False, True])), *arrays], [0.5])
    for array, expected in zip(arrays, [-np.inf, 0.5, 0.0, [1.0, 0.0, 1.0]], strict=True):
        np.testing.assert_array_equal(xp.to_host(array), np.broadcast_to(expected, (2, 3)))


def test_loops_over_nothing_add_nothing() -> None:
    store = Store(0, dummy((3,), cpu.dtype("float64")), whole, math.nan, adds=True)
    y = np.ones(3)
    numpy_writer.Kernel([Nest((0, 3), [store])])([y], [])
    np.testing.assert_array_equal(y, 1.0)


def test_values_and_numbers_keep_their_precision() -> None:
    """Also where what they are stored to has another."""
    graph = Graph()
    xp, x = Values(graph), graph.load(0, dummy((3,), cpu.dtype("float64")), whole)
    y, number = xp.exp(x), graph.scalar(1).astype(np.float32) * 0.1 * 0.3
    single, double = (dummy((3,), cpu.dtype(d)) for d in ("float32", "float64"))
    places = [single, double, double]
    stores = [
        Store(2 + k, place, whole, e) for k, (place, e) in enumerate(zip(places, [y, y * y, number], strict=True))
    ]
    arrays = [np.arange(3.0), None, *(np.empty(3, p.dtype) for p in places)]
    numpy_writer.Kernel([Nest((3,), stores)])(arrays, [0.0, 0.7])
    np.testing.assert_array_equal(arrays[2], np.exp(arrays[0]).astype(np.float32))
    np.testing.assert_array_equal(arrays[3], np.exp(arrays[0]) ** 2)
    np.testing.assert_array_equal(arrays[4], np.float32(0.7) * np.float32(0.1) * np.float32(0.3))


def test_buffers_are_kept_between_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    nests = [Nest((3,), [Store(1, dummy((3,), cpu.dtype("float64")), whole, sine_of_sine())])]
    kernel = numpy_writer.Kernel(nests)
    x, y = np.arange(3.0), np.empty(3)
    kernel([x, y], [])
    monkeypatch.setattr(cpu, "empty", None)
    kernel([x, y], [])
    np.testing.assert_array_equal(y, np.sin(np.sin(x)) * np.cos(x))


def sine_of_sine() -> Any:
    graph = Graph()
    xp, x = Values(graph), graph.load(0, dummy((3,), cpu.dtype("float64")), whole)
    return xp.sin(xp.sin(x)) * xp.cos(x)


# Second derivatives, threads, the text ------------------------------------------------------------


def test_second_derivatives(device: str) -> None:
    xs = draw(device, (N, 4 * H), (N, H))
    found = []
    for f in (fuse(lstm), lstm):
        h, c = f(*xs)
        first = mg.grad((h * c).sum(), xs, create_graph=True)
        second = mg.grad(sum((g * g).sum() for g in first), xs)
        found.append([host(g) for g in (*first, *second)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_two_threads_at_once() -> None:
    """Neither sees the other's numbers."""
    f = fuse(lstm)
    x, c = draw("cpu", (64, 4 * 32), (64, 32))
    inputs = [x * scale for scale in (1.0, 0.1)]
    with fusing(False):
        expected = [host(lstm(x, c)[0]) for x in inputs]
    with fusing(writer="numpy"):
        f(inputs[0], c)
    start, wrong = threading.Barrier(2), []

    def run(k: int) -> None:
        with fusing(writer="numpy"):
            start.wait()
            for _ in range(200):
                if not np.allclose(host(f(inputs[k], c)[0]), expected[k]):
                    wrong.append(k)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    assert len(f._plans) == 1


def test_a_call_while_another_is_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library calls back: what is under way keeps its buffers."""
    f = fuse(lstm)
    xs = draw("cpu", (N, 4 * H), (N, H))
    expected = results(lstm, xs)[:2]
    f(*xs)
    tanh, inner = np.tanh, []

    def calls_back(*args: Any, **keywords: Any) -> Any:
        monkeypatch.setattr(mg.backend.cpu, "tanh", tanh)
        inner.append(f(*(x * 3.0 for x in xs)))
        return tanh(*args, **keywords)

    monkeypatch.setattr(mg.backend.cpu, "tanh", calls_back)
    for found, value in zip(f(*xs), expected, strict=True):
        np.testing.assert_allclose(host(found), value, rtol=1e-12)
    assert len(inner) == 1


def test_the_backend_has_a_name(device: str) -> None:
    assert fuse_backend(device) == (namespace(device).writer if device != "cpu" else "numpy")


def test_the_text_says_what_runs() -> None:
    text = fuse(lstm).source("numpy", *draw("cpu", (N, 4 * H), (N, H)))
    assert text.startswith("def kernel(xp, p, s, t):\n")
    assert f"a1 = p[0][:, 0:{H}]  # ({N}, {H}) float64\n" in text
    assert text.count("xp.tanh") == 5
    assert text.count("out=y") == 2
    assert text == fuse(lstm).source("numpy", *draw("cpu", (N, 4 * H), (N, H)))


@pytest.mark.parametrize(
    ("f", "part"),
    [
        (lambda x: x, "p[0]"),
        (lambda x: x[:, 1:3], "p[0][:, 1:3]"),
        (lambda x: x[:, ::2], "p[0][:, 0:4:2]"),
        (lambda x: mg.flip(x, axis=0), "p[0][2::-1, :]"),
        (lambda x: x[2], "p[0][2, :]"),
        (lambda x: x[:, 3], "p[0][:, 3]"),
        (lambda x: x[1, 2], "p[0][1, 2, ...]"),
        (lambda x: x[1:2, None, :], "p[0][None, None, 1, :]"),
        (lambda x: mg.broadcast_to(x[1], (2, 4)), "p[0][None, 1, :]"),
        (lambda x: x.T, "part0(xp, p[0])"),
    ],
)
def test_the_text_names_parts_by_their_slices(f: Callable[..., Any], part: str) -> None:
    with mg.no_grad():
        x = on("cpu", np.ones((3, 4)))
        text = fuse(lambda x: mg.exp(f(x))).source("numpy", x)
        assert f"    a0 = {part}  #" in text
        f_order = on("cpu", np.ones((4, 3))).T
        assert fuse(lambda x: mg.exp(f(x))).source("numpy", f_order).count("part0") == (f(x).shape == (4, 3))


def test_the_text_is_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    compiled = numpy_writer.Program.compiled

    def note(self: Any) -> Any:
        written.append(self.text)
        return compiled(self)

    monkeypatch.setattr(numpy_writer.Program, "compiled", note)
    f = agrees(lstm, draw("cpu", (N, 4 * H), (N, H)))
    assert written == [f.source("numpy"), f.source("numpy", backward=True)]
