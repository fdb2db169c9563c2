"""`mg.fuse`: one kernel forward, one backward, and a node on the tape like any other."""

from __future__ import annotations

import copy
import functools
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.fusion import c_kernel, fused
from minigrad.fusion.compiler import find_compiler
from minigrad.fusion.setting import fuse_backend, fusing
from minigrad.nn.cells import gru_gates, lstm_gates
from minigrad.testing import gradcheck, gradgradcheck

from .compiling import needs_compiler
from .helpers import close, host, on

lstm, gru = lstm_gates.function, gru_gates.function
N, H = 3, 5


@pytest.fixture(params=["numpy", pytest.param("c", marks=needs_compiler)], autouse=True)
def writer(request: pytest.FixtureRequest) -> Iterator[str]:
    with fusing(writer=request.param):
        yield request.param


@mg.fuse
def swish(x: Any) -> Any:
    return x * mg.sigmoid(x)


def draw(*shapes: tuple[int, ...], dtype: Any = np.float64, device: str = "cpu") -> list[mg.Tensor]:
    random = np.random.default_rng(0)
    return [on(device, random.normal(size=shape).astype(dtype), requires_grad=True) for shape in shapes]


# Values and gradients -------------------------------------------------------------------------------


@pytest.mark.parametrize(("cell", "gates", "inputs"), [(lstm, 4, 1), (gru, 3, 2)])
def test_gates_of_cells(device: str, cell: Any, gates: int, inputs: int) -> None:
    xs = draw(*[(N, gates * H)] * inputs, (N, H), device=device)
    f = mg.fuse(cell)
    gradcheck(f, xs)
    gradgradcheck(f, xs)
    for found, expected in zip(_listed(f(*xs)), _listed(cell(*xs)), strict=True):
        close(found, host(expected))


def _listed(ys: Any) -> list[mg.Tensor]:
    return list(ys) if isinstance(ys, tuple) else [ys]


def test_transforms_go_through(device: str) -> None:
    (x,) = draw((4,), device=device)
    v = on(device, np.linspace(-1.0, 1.0, 4))
    plain = swish.function

    def total(f: Any) -> Any:
        return lambda x: f(x).sum()

    close(mg.jacobian(swish, x), host(mg.jacobian(plain, x)))
    close(mg.hessian(total(swish), x), host(mg.hessian(total(plain), x)))
    for transform, f in [(mg.jvp, (swish, plain)), (mg.vjp, (swish, plain)), (mg.hvp, (total(swish), total(plain)))]:
        for found, expected in zip(transform(f[0], x, v), transform(f[1], x, v), strict=True):
            close(found, host(expected))


def test_checkpoint_around_and_a_fused_function_in_another(device: str) -> None:
    (x,) = draw((4,), device=device)
    outer = mg.fuse(lambda x: swish(x) + swish(2.0 * x))
    (expected,) = mg.grad((swish.function(x) + swish.function(2.0 * x)).sum(), x)
    close(mg.grad(outer(x).sum(), x)[0], host(expected))
    close(mg.grad(mg.checkpoint(outer, x).sum(), x)[0], host(expected))
    assert outer.source("numpy", x).count("def kernel") == 1


def test_a_function_may_call_itself(device: str) -> None:
    power = mg.fuse(lambda x, n: x if n == 0 else power(x * x, n - 1))
    (x,) = draw((4,), device=device)
    close(power(x, 3), host(x) ** 8)


def test_one_tensor_passed_twice(device: str) -> None:
    (x,) = draw((4,), device=device)
    f = mg.fuse(lambda x, y: x * x * y)
    (first,) = mg.grad(f(x, x).sum(), x, create_graph=True)
    close(first, 3 * host(x) ** 2)
    close(mg.grad(first.sum(), x)[0], 6 * host(x))


def test_numbers_and_other_arguments(device: str) -> None:
    (x,) = draw((4,), device=device)
    f = mg.fuse(lambda x, scale, n=2, how="times": x**n * scale if how == "times" else x)
    for scale in (0.5, 2.0, np.float32(0.25), np.float64(-1.0)):
        close(f(x, scale), host(x) ** 2 * float(scale))
    assert len(f._plans) == 1, "a float is no part of a kernel"
    close(f(x, n=3, scale=2.0), host(x) ** 3 * 2)
    close(f(x, 2.0, how="nothing"), host(x))
    assert len(f._plans) == 3, "anything else is"


def test_arrays_are_arguments() -> None:
    close(swish(np.array([0.0, 1.0])), [0.0, 1 / (1 + np.exp(-1))])


def test_entries_at_odd_addresses() -> None:
    record = np.zeros(7, np.dtype([("flag", "i1"), ("value", "f8")]))
    record["value"] = np.arange(7.0)
    shifted = np.zeros(7 * 8 + 1, np.uint8)[1:].view(np.float64)
    shifted[:] = np.arange(7.0)
    for array in (record["value"], shifted):
        x = mg.Tensor(array, requires_grad=True)
        assert not x.data.flags.aligned
        y = swish(x)
        close(y, host(swish.function(x)))
        (g,) = mg.grad(y, x, mg.Tensor(array))
        close(g, host(mg.grad(swish.function(x), x, mg.Tensor(array))[0]))


def test_dtypes_of_numbers_among_booleans(device: str) -> None:
    """As they are without fuse: a float among booleans is a float64."""
    x = on(device, np.array([1.0, -2.0], np.float32))
    for f in (
        lambda x: mg.where(x > 0, 1.0, 0.5),
        lambda x: (x > 0) * 0.5,
        lambda x: x * mg.where(x > 0, 1.0, 0.5),
        lambda x: x * (x > 0),
        lambda x: mg.where(x > 0, x, 0.5),
        lambda x: 2.0**x,
    ):
        found, expected = mg.fuse(f)(x), f(x)
        assert found.dtype == expected.dtype
        close(found, host(expected), rtol=1e-6)


def test_powers_of_numbers_have_derivatives(device: str) -> None:
    (x,) = draw((4,), device=device)
    for base in (2.0, 2, 0.5):
        (expected,) = mg.grad(mg.power(base, x).sum(), x)
        close(mg.grad(mg.fuse(lambda x, base=base: mg.power(base, x))(x).sum(), x)[0], host(expected))
        close(mg.grad(mg.fuse(lambda x, b: mg.power(b, x))(x, float(base)).sum(), x)[0], host(expected))


def test_what_overflows_the_dtype_is_an_infinity() -> None:
    with np.errstate(all="ignore"):
        close(mg.fuse(lambda x: x * 1e300)(mg.tensor([1.0, -1.0])), [np.inf, -np.inf])


# On the tape ----------------------------------------------------------------------------------------


def test_gradients_flow_where_they_flow_without_fuse(device: str) -> None:
    """An output that depends on nothing that needs one needs none, and an input that nobody used gets none."""
    x, y = draw((4,), (4,), device=device)
    f = mg.fuse(lambda x, y: (2.0 * x, 3.0 * y, x > y, mg.floor_divide(x, y)))
    a, b, c, d = f(x, y)
    assert (a.requires_grad, b.requires_grad, c.requires_grad, d.requires_grad) == (True, True, False, False)
    a.sum().backward()
    assert y.grad is None
    close(x.grad, np.full(4, 2.0))
    a, b, *_ = f(x.detach(), y)
    assert (a.requires_grad, b.requires_grad) == (False, True)
    with mg.no_grad():
        assert not any(out.requires_grad for out in f(x, y))
    assert not swish(x).detach().requires_grad


def test_hooks(device: str) -> None:
    (x,) = draw((4,), device=device)
    y = swish(x)
    seen: list[np.ndarray[Any, Any]] = []
    x.register_hook(lambda g: seen.append(host(g)))
    y.register_hook(lambda g: 10.0 * g)
    y.sum().backward()
    close(x.grad, seen[0])
    close(mg.grad((10.0 * swish.function(x)).sum(), x)[0], seen[-1])


def test_backward_twice(device: str) -> None:
    (x,) = draw((4,), device=device)
    y = swish(x)
    (first,) = mg.grad(y.sum(), x, retain_graph=True)
    (again,) = mg.grad(y, x, on(device, np.ones(4)))
    close(again, host(first))
    with pytest.raises(RuntimeError, match=r"freed by an earlier backward pass"):
        y.backward(on(device, np.ones(4)))


def test_writing_to_an_argument_in_between(device: str) -> None:
    (x,) = draw((4,), device=device)
    y = swish(x).sum()
    with mg.no_grad():
        x[0] = 5.0
    with pytest.raises(RuntimeError, match=r"swish: .* has been written to since"):
        y.backward()


def test_anomaly_mode_runs_the_operations(device: str) -> None:
    f = mg.fuse(lambda x: mg.sqrt(x) + mg.log(x))
    x = on(device, np.array([0.0, 1.0]), requires_grad=True)
    with pytest.raises(mg.AnomalyError, match=r"log: -inf at index \(0,\)"), mg.detect_anomaly():
        f(x)
    y = mg.fuse(mg.sqrt)(x).sum()
    with pytest.raises(mg.AnomalyError, match=r"backward of sqrt: inf"), mg.detect_anomaly():
        y.backward()


# Own primitives and methods ---------------------------------------------------------------------------


def test_own_primitives(device: str) -> None:
    @mg.ops.primitive.elementwise(saves=mg.ops.primitive.INPUTS)
    def fused_cube(xp: Any, x: Any) -> Any:
        return x * x * x

    fused_cube.derivatives(lambda xp, g, y, x: 3 * g * xp.multiply(x, x))
    f = mg.fuse(lambda x: fused_cube(x) - x)
    gradcheck(f, *draw((4,), device=device))
    gradgradcheck(f, *draw((4,), device=device))


class Scaled:
    def __init__(self, scale: float) -> None:
        self.scale = scale

    @mg.fuse
    def times(self, x: Any) -> Any:
        """x scaled."""
        return x * self.scale


def test_methods() -> None:
    a, b, x = Scaled(2.0), Scaled(3.0), mg.ones(2)
    assert a.times(x).tolist() == [2.0, 2.0]
    assert b.times(x).tolist() == [3.0, 3.0]
    a.scale = 4.0
    assert a.times(x).tolist() == [4.0, 4.0]
    assert Scaled.times.__doc__ == "x scaled."


def test_copies_and_pickles() -> None:
    swish(mg.ones(2))
    assert copy.deepcopy(swish) is swish
    assert pickle.loads(pickle.dumps(swish)) is swish
    assert mg.fuse(swish) is swish
    assert repr(swish) == "<fused swish>"


# Plans and texts ------------------------------------------------------------------------------------


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The C texts that become functions, as they do."""
    seen: list[str] = []
    compiled = c_kernel.compiled

    def noted(text: str, *rest: Any) -> Any:
        seen.append(text)
        return compiled(text, *rest)

    monkeypatch.setattr(c_kernel, "compiled", noted)
    return seen


def test_a_new_shape_needs_no_new_text(writer: str, texts: list[str]) -> None:
    f = mg.fuse(lstm)
    for n, h in [(2, 3), (5, 3), (7, 9)]:
        xs = draw((n, 4 * h), (n, h))
        sum(y.sum() for y in f(*xs)).backward()
    assert len(f._plans) == 3
    assert len(texts) == (6 if writer == "c" else 0)
    assert len(set(texts)) == (2 if writer == "c" else 0)


def test_only_so_many_plans_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "MOST_PLANS", 4)
    f = mg.fuse(lambda x: 2.0 * x)
    for n in range(10):
        assert f(mg.ones(n)).tolist() == [2.0] * n
    assert len(f._plans) == 4


def test_threads_at_once(writer: str) -> None:
    f = mg.fuse(lstm)
    xs = [draw((n, 4 * H), (n, H)) for n in range(1, 9)]
    expected = [[host(g) for g in mg.grad(lstm(*x)[0].sum(), x)] for x in xs]
    wrong: list[Any] = []

    def work(turn: int) -> None:
        with fusing(writer=writer):
            for k in range(32):
                which = (k * (turn + 1)) % len(xs)
                found = mg.grad(f(*xs[which])[0].sum(), xs[which])
                if not all(np.allclose(host(g), e) for g, e in zip(found, expected[which], strict=True)):
                    wrong.append(which)

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(f._plans) == len(xs)


def test_the_texts() -> None:
    xs = draw((N, 4 * H), (N, H))
    f = mg.fuse(lstm)
    for name, part in {"c": "sigmoid_f64(", "numpy": "xp.tanh("}.items():
        forward, backward = f.source(name, *xs), f.source(name, *xs, backward=True)
        assert forward.count(part) > 0
        assert forward != backward
    assert "sigmoid_f32(" in mg.fuse(mg.sigmoid).source("c"), "float32 matrices where nothing was given"
    assert f.source("c", *xs).count("tanh_f64(") == 2
    f(*xs)
    assert "sigmoid_f64(" in f.source("c"), "what it was last called with"
    assert swish.source("c", mg.ones((4, 4))) == swish.source("c", mg.ones(3)), "one loop is enough"
    assert mg.fuse(lambda x, y: x * y).source("c", mg.ones((4, 1)), mg.ones(4)).count("for (") == 2


# Switching ------------------------------------------------------------------------------------------


def test_switched_off_functions_run_as_they_are(device: str) -> None:
    (x,) = draw((4,), device=device)
    f = mg.fuse(swish.function)
    with mg.fusing(False):
        assert fuse_backend(device) == "none"
        assert f(x)._source[0].primitive.name == "multiply"
        with mg.fusing():
            assert f(x)._source[0].primitive.name == "swish"
        assert f(x)._source[0].primitive.name == "multiply"
    assert len(f._plans) == 1
    assert fuse_backend(device) != "none"


def test_switching_is_of_the_thread_and_needs_no_block(writer: str) -> None:
    before = fuse_backend("cpu")
    seen: list[str] = []

    def work() -> None:
        seen.append(fuse_backend("cpu"))
        mg.fusing(False)
        seen.append(fuse_backend("cpu"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == ["numpy" if find_compiler() is None else "c", "none"]
    assert fuse_backend("cpu") == before == writer


def test_attributes_of_any_kind_may_change() -> None:
    class Scale:
        factor: Any

        @mg.fuse
        def scaled(self, x: Any) -> Any:
            return x * self.factor

    scale = Scale()
    for factor in (np.float32(5.0), np.float32(7.0), 2.0, -0.0):
        scale.factor = factor
        assert scale.scaled(mg.ones(1)).item() == factor


def test_a_callable_without_a_name() -> None:
    assert mg.fuse(functools.partial(lambda a, x: a * x, 2.0))(mg.ones(2)).tolist() == [2.0, 2.0]
