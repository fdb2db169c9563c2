"""Updates: formulas that change arrays in place, by every writer; the optimizers' steps and clipping made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn, optim
from minigrad.backend import cpu, namespace
from minigrad.fusion import c_kernel, cuda_kernel, setting, updates
from minigrad.fusion.compiler import CompileError, find_compiler
from minigrad.fusion.updates import update
from minigrad.optim import adagrad, adam, rmsprop, sgd

from .golden.optimizers import CLIPPINGS, OPTIMIZERS
from .helpers import host
from .strict import strict
from .test_fuse_cuda import ptx as ptx
from .test_optim import OPTIONS
from .test_parity_optim import CLIPPED, OPTIMIZED, check_clipping, check_optimizer

every_option = pytest.mark.parametrize(
    ("make", "options"), OPTIONS, ids=[f"{make.__name__} {o}" for make, o in OPTIONS]
)
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="needs a C compiler")


@pytest.fixture(autouse=True)
def fusing() -> Iterator[None]:
    """These tests choose the writers by themselves."""
    with mg.fusing():
        yield


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels step small parameters too."""
    monkeypatch.setattr(updates, "SMALL", 0)


def draw(*shape: int, dtype: Any = np.float32, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


# Parameters of every layout -----------------------------------------------------------------------


def laid_out(x: np.ndarray[Any, Any], order: str) -> np.ndarray[Any, Any]:
    """The same entries, in another order in memory, or with room between them."""
    if order == "roomy" and x.ndim:
        room = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
        room[..., ::2] = x
        return room[..., ::2]
    if order == "backwards" and x.ndim:
        return np.ascontiguousarray(x[::-1])[::-1]
    return np.array(x, order="F" if order == "F" else "C")


SHAPES = [(7, 5), (3, 2, 4), (300,), (1, 20), (), (0, 3), (40, 60)]


def steps(
    make: Any, options: dict[str, Any], device: str, of_p: str = "C", of_g: str = "C", bad: float | None = None
) -> list[np.ndarray[Any, Any]]:
    """Parameters of several shapes and two dtypes, and their states, after four steps at changing rates."""
    xp = namespace(device)
    arrays = [draw(*shape, dtype=dtype) for shape in SHAPES for dtype in (np.float32, np.float64)]

    def moved(x: np.ndarray[Any, Any], order: str) -> mg.Tensor:
        there = laid_out(x, order)
        if device == "strict":  # whose copies would be in C order
            return mg.Tensor(type(xp.from_host(x))(there))
        return mg.Tensor(there)

    ps = [moved(x, of_p).requires_grad_() for x in arrays]
    optimizer = make(ps, lr=0.1, **options)
    for n in range(4):
        optimizer.param_groups[0]["lr"] = 0.1 / (n + 1)
        for p, x in zip(ps, arrays, strict=True):
            g = draw(*x.shape, dtype=x.dtype, seed=n + 1)
            if bad is not None and n == 1 and g.size:
                g[(0,) * g.ndim] = bad
            p.grad = moved(g, of_g)
        optimizer.step()
    states = [x for state in optimizer.state_dict()["state"].values() for x in state.values()]
    return [x.detach().to("cpu").numpy() for x in [*ps, *(x for x in states if isinstance(x, mg.Tensor))]]


def agree(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for x, y in zip(found, expected, strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        tolerance = 1e-5 if x.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def plainly(*args: Any, **options: Any) -> list[Any]:
    """The same on the CPU, by the formulas as they stand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(updates, "SMALL", math.inf)
        return steps(*args, "cpu", **options)


LAYOUTS = [("C", "C"), ("F", "F"), ("C", "F"), ("F", "C"), ("roomy", "C"), ("C", "roomy"), ("backwards", "F")]


@every_option
@pytest.mark.parametrize(("of_p", "of_g"), LAYOUTS, ids=[f"{p} {g}" for p, g in LAYOUTS])
def test_steps_on_the_host(make: Any, options: dict[str, Any], of_p: str, of_g: str, kernels: None) -> None:
    expected = plainly(make, options, of_p=of_p, of_g=of_g)
    agree(steps(make, options, "cpu", of_p, of_g), expected)
    for by_numpy in ({"writer": "numpy"}, {"is_on": False}):
        with mg.fusing(**by_numpy):
            for x, y in zip(steps(make, options, "cpu", of_p, of_g), expected, strict=True):
                np.testing.assert_array_equal(x, y)


@every_option
@pytest.mark.parametrize(("of_p", "of_g"), LAYOUTS[:5], ids=[f"{p} {g}" for p, g in LAYOUTS[:5]])
def test_steps_on_a_device(make: Any, options: dict[str, Any], of_p: str, of_g: str, emulated: list[Any]) -> None:
    """One launch for each parameter that has entries, whatever the options, and nothing is read back."""
    before = (strict.reads, strict.synchronizations)
    found = steps(make, options, "strict", of_p, of_g)
    assert (strict.reads - len(found), strict.synchronizations) == before  # those of the test itself
    assert len(emulated) == 4 * 2 * sum(math.prod(shape) > 0 for shape in SHAPES)
    agree(found, plainly(make, options, of_p=of_p, of_g=of_g))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@every_option
def test_what_is_no_number_goes_as_far(
    make: Any, options: dict[str, Any], bad: float, kernels: None, emulated: list[Any]
) -> None:
    with np.errstate(all="ignore"):
        expected = plainly(make, options, bad=bad)
        assert not all(np.isfinite(x).all() for x in expected)
        agree(steps(make, options, "cpu", bad=bad), expected)
        agree(steps(make, options, "strict", bad=bad), expected)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_kernels_go_where_pytorch_goes(name: str, device: str, kernels: None) -> None:
    check_optimizer(OPTIMIZERS[name], OPTIMIZED[name], device)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_cuda_kernels_go_where_pytorch_goes(name: str, emulated: list[Any]) -> None:
    check_optimizer(OPTIMIZERS[name], OPTIMIZED[name], "strict")
    assert emulated


@every_option
def test_half_precision_runs_as_it_stands(make: Any, options: dict[str, Any], emulated: list[Any]) -> None:
    """And beside parameters of other dtypes, which have kernels."""
    found = []
    for device in ("cpu", "strict"):
        ps = [mg.tensor(draw(50, 60, dtype=t), device=device, requires_grad=True) for t in (np.float16, np.float32)]
        optimizer = make(ps, lr=0.1, **options, **({} if make is optim.SGD else {"eps": 1e-3}))
        for n in range(3):
            for p in ps:
                p.grad = mg.tensor(draw(50, 60, dtype=p.dtype, seed=n), device=device)
            optimizer.step()
        found.append([p.detach().to("cpu").numpy() for p in ps])
    assert len(emulated) == 3
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-5, atol=1e-5)


def test_parameters_on_several_devices(emulated: list[Any], kernels: None) -> None:
    ps = [mg.tensor(draw(20, 30), device=device, requires_grad=True) for device in ("cpu", "strict", "cpu")]
    for p in ps:
        p.grad = mg.tensor(draw(20, 30, seed=1), device=p.device)
    optim.Adam(ps, lr=0.1).step()
    assert len(emulated) == 1
    agree([p.detach().to("cpu").numpy() for p in ps[1:]], [ps[0].detach().numpy()] * 2)


@needs_compiler
def test_changing_rates_make_no_new_kernel(kernels: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adam.step, "_kernels", {})
    p = mg.tensor(draw(30), requires_grad=True)
    optimizer = optim.Adam([p])
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    for n in range(4):
        p.grad = mg.tensor(draw(30, seed=n))
        optimizer.step()
        schedule.step()
    assert len(adam.step._kernels) == 1
    optimizer.param_groups[0]["amsgrad"] = True
    optimizer.step()
    assert len(adam.step._kernels) == 2


def test_a_gradient_that_is_the_parameter(kernels: None) -> None:
    """p.grad shares the memory that is written to."""
    found = []
    for is_fused in (True, False):
        with mg.fusing(is_fused):
            p = mg.tensor(draw(40, 50), requires_grad=True)
            p.grad = p.detach()
            for make in (optim.SGD, optim.Adam):
                make([p], lr=0.1, weight_decay=0.1).step()
            found.append(p.detach().numpy())
    agree(found[:1], found[1:])


@needs_compiler
def test_entries_at_odd_addresses_are_not_for_kernels(kernels: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(c_kernel.Kernel, "__call__")
    memory = bytearray(4 * 100 + 1)
    array = np.frombuffer(memory, np.float32, offset=1)
    array[...] = draw(100)
    assert not array.flags.aligned
    expected = array - np.float32(0.5) * draw(100, seed=1)
    p = mg.Tensor(array).requires_grad_()
    p.grad = mg.tensor(draw(100, seed=1))
    optim.SGD([p], lr=0.5).step()
    assert p.data is array
    np.testing.assert_array_equal(array, expected)


def test_a_compiler_that_fails_is_noted_and_the_step_is_taken(kernels: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(nests: Any) -> None:
        raise CompileError("it is broken")

    monkeypatch.setattr(c_kernel, "Kernel", fails)
    monkeypatch.setattr(setting, "_compiler_failed", False)
    monkeypatch.setattr(setting, "find_compiler", lambda: "/usr/bin/cc")
    monkeypatch.setattr(adam.step, "_kernels", {})
    p = mg.tensor(draw(30), requires_grad=True)
    p.grad = mg.tensor(draw(30, seed=1))
    optimizer = optim.Adam([p], lr=0.1)
    with pytest.warns(RuntimeWarning, match="run on NumPy from now on: it is broken"):
        optimizer.step()
    optimizer.step()
    assert optimizer.state[p]["step"] == 2
    np.testing.assert_allclose(p.detach().numpy(), draw(30) - 0.2 * np.sign(draw(30, seed=1)), atol=1e-5)


def test_a_kernel_that_fails_leaves_no_state_behind(emulated: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first momentum is the gradient: memory that nobody has written to would be taken for it."""

    def fails(*_: Any) -> None:
        raise RuntimeError("no memory is left")

    p = mg.tensor(draw(30), device="strict", requires_grad=True)
    p.grad = mg.tensor(draw(30, seed=1), device="strict")
    optimizer = optim.SGD([p], lr=0.1, momentum=0.9)
    with monkeypatch.context() as patch:
        patch.setattr(cuda_kernel.Kernel, "__call__", fails)
        with pytest.raises(RuntimeError, match="no memory"):
            optimizer.step()
    assert not optimizer.state[p]
    optimizer.step()
    assert optimizer.state_dict()["state"][0]["momentum_buffer"].to("cpu").tolist() == p.grad.to("cpu").tolist()


@every_option
def test_nvrtc_takes_a_step(make: Any, options: dict[str, Any], ptx: Callable[[str], str]) -> None:
    seen: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(updates, "SMALL", 0)
        patch.setattr(updates, "writer_name", lambda xp: "cuda")
        patch.setattr(cuda_kernel, "Kernel", lambda nests: lambda *_: seen.append(cuda_kernel.source(nests)))
        for update_of in (sgd.step, adagrad.step, rmsprop.step, adam.step):
            patch.setattr(update_of, "_kernels", {})
        p = mg.tensor(draw(7, 5), requires_grad=True)
        p.grad = mg.tensor(draw(7, 5))
        make([p], lr=0.1, **options).step()
    found = ptx(seen[0])
    assert found.count(".entry") == 1
    assert ".local" not in found


# Optimizers of one's own --------------------------------------------------------------------------


def test_an_optimizer_of_ones_own_gets_the_gradient_turned(device: str) -> None:
    class Sign(optim.Optimizer):
        def __init__(self, params: Any, **options: Any) -> None:
            super().__init__(params, {"lr": 0.1, "weight_decay": 0.0, "maximize": False} | options)

        def __new__(cls, *_: Any, **__: Any) -> Any:
            return object.__new__(cls)

        def _update(self, xp: Any, p: Any, g: Any, state: Any, group: Any) -> None:
            assert type(g) is xp.array_type
            state["seen"] = g.copy()

    for shape in ((), (3,)):
        p = mg.full(shape, 2.0, requires_grad=True)
        p.grad = mg.full(shape, 0.5)
        for options, expected in (({}, 0.5), ({"maximize": True}, -0.5), ({"weight_decay": 0.25}, 1.0)):
            optimizer = Sign([p], **options)
            optimizer.step()
            assert mg.Tensor(optimizer.state[p]["seen"]).tolist() == np.full(shape, expected).tolist()
        assert p.grad.tolist() == np.full(shape, 0.5).tolist()


def test_a_step_along_another_gradient(device: str) -> None:
    """A subclass hands its parent a gradient of its own making."""

    class Centred(optim.SGD):
        def _update(self, xp: Any, p: Any, g: Any, state: Any, group: Any) -> None:
            super()._update(xp, p, g - xp.mean(g), state, group)

    p = mg.zeros(2, requires_grad=True)
    p.grad = mg.tensor([1.0, 3.0])
    Centred([p], lr=0.5, weight_decay=0.1).step()
    assert p.tolist() == [0.5, -0.5]


# Clipping -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLIPPINGS)
def test_clipping_by_kernels(name: str, kernels: None, emulated: list[Any]) -> None:
    for device in ("cpu", "strict"):
        check_clipping(CLIPPINGS[name], CLIPPED[name], device)


@pytest.mark.parametrize("p", [2, 3.0, 1])
def test_a_norm_is_added_up_on_the_device(p: float, emulated: list[Any]) -> None:
    """A short gradient takes two launches, a long one, whose sum is shared out, three; one more is for all."""
    arrays = [draw(30, 40), draw(), draw(5), draw(90, 80), draw(6, 4).T, draw(3, 9, dtype=np.float64)]
    ps = [mg.zeros(x.shape, dtype=x.dtype, device="strict", requires_grad=True) for x in arrays]
    for parameter, x in zip(ps, arrays, strict=True):
        parameter.grad = mg.Tensor(type(strict.from_host(x))(x.copy("K")))
    before = (strict.reads, strict.synchronizations)
    norm = nn.utils.clip_grad_norm_(ps, 0.5, p)
    assert (strict.reads, strict.synchronizations) == before
    assert len(emulated) == 2 * len(arrays) + 1 + 1
    exact = sum((np.abs(x.astype(np.float64)) ** p).sum() for x in arrays) ** (1 / p)
    assert norm.item() == pytest.approx(exact, rel=1e-6)
    assert norm.dtype == np.float64
    for parameter, x in zip(ps, arrays, strict=True):
        np.testing.assert_allclose(parameter.grad.to("cpu").numpy(), x * (0.5 / exact), rtol=2e-5)


def test_a_norm_is_the_same_to_the_bit_every_time(emulated: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from . import emulated as emulator

    found = set()
    for order in ("forward", "backward"):
        monkeypatch.setattr(emulator, "order", order)
        p = mg.zeros((300, 70), device="strict", requires_grad=True)
        p.grad = mg.tensor(draw(300, 70), device="strict")
        found.add((nn.utils.clip_grad_norm_(p, 1.0).item(), p.grad.to("cpu").numpy().tobytes()))
    assert len(found) == 1


# Any formula --------------------------------------------------------------------------------------

NAMES = "abcd"


@st.composite
def formulas(draw_from: st.DrawFn) -> tuple[list[str], list[str], list[str]]:
    """Lines of a formula of four arrays and two numbers, what it replaces, and by what."""
    names = [*NAMES, "m", "n"]
    lines = []
    for k in range(draw_from(st.integers(1, 8))):
        x, y = (draw_from(st.sampled_from(names)) for _ in range(2))
        text = draw_from(st.sampled_from(["{} + {}", "{} - {}", "{} * {}", "xp.maximum({}, {})", "-{} + 0.5 * {}"]))
        lines.append(f"v{k} = a * 0 + {text.format(x, y)}" if {x, y} <= {"m", "n"} else f"v{k} = {text.format(x, y)}")
        names.append(f"v{k}")
    replaced = draw_from(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    free = [name for name in names if name not in replaced and name not in "mn"]
    results = [draw_from(st.sampled_from([*free, *free[-3:]])) for _ in replaced]
    return lines, replaced, results


def compiled(lines: list[str], results: list[str]) -> Callable[..., Any]:
    names: dict[str, Any] = {}
    body = "".join(f"    {line}\n" for line in lines)
    exec(f"def f(xp, a, b, c, d, m, n):\n{body}    return {', '.join(results)},\n", names)
    found: Callable[..., Any] = names["f"]
    return found


@given(formulas(), st.sampled_from(["C", "F"]))
def test_no_writer_writes_before_all_has_been_read(formula: tuple[list[str], list[str], list[str]], order: str) -> None:
    lines, replaced, results = formula
    f = compiled(lines, results)
    arrays = [np.array(draw(5, 6, dtype=np.float64, seed=k), order=order) for k in range(4)]  # type: ignore[call-overload]
    expected = dict(zip(NAMES, (x.copy() for x in arrays), strict=True))
    expected |= {name: np.array(value) for name, value in zip(replaced, f(cpu, *arrays, 0.5, -1.25), strict=True)}
    for writer, at_most in (("numpy", 0.0), *([("c", 1e-12)] if find_compiler() else [])):
        mine = [x.copy("K") for x in arrays]
        with pytest.MonkeyPatch.context() as patch, mg.fusing(writer=writer):
            patch.setattr(updates, "SMALL", 0)
            update(*replaced)(f)(cpu, mine, [0.5, -1.25])
        for x, y in zip(mine, expected.values(), strict=True):
            np.testing.assert_allclose(x, y, rtol=0, atol=at_most * max(1, np.abs(y).max()))


def test_a_formula_that_adds_up(device: str, kernels: None) -> None:
    @update("total", adds=True)
    def add(xp: Any, total: Any, x: Any, n: Any) -> Any:
        return (x * n,)

    xp = namespace(device)
    xp.make_current()
    for x in (draw(3, 4), draw(4, 3).T, draw(), draw(70)):
        total = xp.full((), 1.0, dtype="float64")
        for is_fused in (True, False):
            with mg.fusing(is_fused):
                add(xp, [total, xp.from_host(x)], [2.0])
        assert xp.to_host(total).item() == pytest.approx(1 + 4 * x.astype(np.float64).sum(), rel=1e-5)


def test_kernels_are_forgotten_when_there_are_many(kernels: None, monkeypatch: pytest.MonkeyPatch) -> None:
    @update("x")
    def twice(xp: Any, x: Any) -> Any:
        return (x + x,)

    monkeypatch.setattr(updates, "MOST_KERNELS", 3)
    for n in range(1, 8):
        x = np.ones(n)
        twice(cpu, [x], [])
        assert (x == 2).all()
        assert len(twice._kernels) <= 3


# Memory that others have ----------------------------------------------------------------------------------


@pytest.mark.parametrize("turned", [lambda w: w.transpose(), lambda w: w[::-1], lambda w: w, lambda w: w[:, ::-1]])
def test_a_gradient_that_is_the_parameter_laid_out_otherwise(turned: Any, device: str) -> None:
    data = np.arange(70.0 * 70).reshape(70, 70)
    w = mg.tensor(data, requires_grad=True)
    w.grad = turned(w.detach())
    optim.SGD([w], lr=1.0).step()
    np.testing.assert_array_equal(host(w), data - turned(data))


@pytest.mark.parametrize("size", [10, 5000])
def test_what_is_read_only_is_not_written_to(size: int) -> None:
    mine = np.ones(size)
    mine.flags.writeable = False
    w = mg.tensor(mine, requires_grad=True)
    w.grad = mg.Tensor(mine)
    with pytest.raises(ValueError, match="read-only"):
        nn.utils.clip_grad_norm_([w], 0.5)
    shared = mg.broadcast_to(mg.ones(size), shape=(3, size))
    x = mg.zeros((3, size), requires_grad=True)
    x.grad = shared
    with pytest.raises(ValueError, match="read-only"):
        nn.utils.clip_grad_norm_([x], 0.5)
    assert mine.sum() == size and host(shared).sum() == 3 * size
