"""The CUDA writer. Without a GPU, a C++ compiler reads the kernels (emulated.py), whose arrays are the strict device's.

That proves what the text means: indices, strides, sums, and that no order of threads matters. NVRTC, where it is
installed, proves that CUDA's own compiler takes it. What is marked `gpu` runs it.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.fusion import cuda_kernel, fused
from minigrad.fusion.c import header
from minigrad.fusion.fused import fuse

from . import emulated


@pytest.fixture
def launched(emulated: list[Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The kernels that are launched, on the device strict, with nothing compiled yet in this test."""
    monkeypatch.setattr(cuda_kernel, "_modules", {})
    with mg.use_device("strict"):
        yield emulated


def run(f: Callable[..., Any], args: list[Any]) -> list[Any]:
    """The values of a function, and the gradients of all its floating Tensors, as NumPy's."""
    args = [x.detach().requires_grad_(x.dtype.kind == "f") if isinstance(x, mg.Tensor) else x for x in args]
    ys = f(*args)
    ys = list(ys) if isinstance(ys, tuple) else [ys]
    rng = np.random.default_rng(0)
    pulls = [mg.tensor(rng.standard_normal(y.shape).astype(y.dtype)) for y in ys]
    sum((y * g).sum() for y, g in zip(ys, pulls, strict=True) if y.requires_grad).backward()
    gradients = [x.grad for x in args if isinstance(x, mg.Tensor) and x.grad is not None]
    return [y.detach().to("cpu").numpy() for y in (*ys, *gradients)]


def draw(*shape: int, dtype: str = "float32", seed: int = 0) -> mg.Tensor:
    return mg.tensor(np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype))


def lstm_cell(gates: Any, c: Any, bias: Any) -> Any:
    i, f, g, o = mg.split(gates + bias, 4, axis=1)
    c = mg.sigmoid(f) * c + mg.sigmoid(i) * mg.tanh(g)
    return mg.sigmoid(o) * mg.tanh(c), c


def masked(x: Any, y: Any, keep: Any) -> Any:
    return mg.where(keep, x * y, mg.exp(-y * y)), mg.where(mg.logical_not(x > y), x, 0.5)


def of_several_shapes(x: Any, w: Any) -> Any:
    return x * w, mg.exp(w) * 2, x - 1.0


def added(x: Any, b: Any) -> Any:
    return mg.tanh(x + b)


# A function, and its arguments on the default device.
CASES: dict[str, tuple[Callable[..., Any], Callable[[], list[Any]]]] = {
    "one block": (lambda x: x * mg.sigmoid(x), lambda: [draw(5, 7)]),
    "many blocks": (lambda x, y: mg.tanh(x) / (y * y + 1), lambda: [draw(40, 70), draw(40, 70, seed=1)]),
    "doubles": (lambda x, y: mg.log(x * x + 1) * y, lambda: [draw(9, 4, dtype="float64"), draw(4, dtype="float64")]),
    "two precisions": (lambda x, y: mg.sqrt(x * x) * y, lambda: [draw(9, 4), draw(9, 1, dtype="float64")]),
    "a 0-d array": (lambda x: mg.cos(x) * x, lambda: [draw()]),
    "no entries": (lambda x, b: x * b, lambda: [draw(0, 3), draw(3)]),
    "no entries, several axes": (lambda x, b: x * b, lambda: [draw(4, 1, 5), draw(0, 1)]),
    "numbers": (lambda x, a, n: (x * a) ** n + a, lambda: [draw(6, 3), 0.3, 2]),
    "axes of all lengths": (lambda x, w, b: x * w + b, lambda: [draw(6, 1, 5), draw(4, 1), draw(5)]),
    "transposed": (lambda x, y: x * y, lambda: [draw(6, 9).transpose(), draw(9, 6)]),
    "backwards": (lambda x, y: x[::-1] * y[:, ::-2], lambda: [draw(6, 3)[::-1, ::-1], draw(6, 6)]),
    "slices of an argument": (lambda x: x[:, :3] * mg.tanh(x[:, 2:5]), lambda: [draw(300, 5)]),
    "an LSTM cell": (lstm_cell, lambda: [draw(33, 28), draw(33, 7), draw(28)]),
    "booleans": (masked, lambda: [draw(8, 6), draw(6), draw(8, 1) > 0]),
    "outputs of several shapes": (of_several_shapes, lambda: [draw(70, 5), draw(5)]),
    "a bias": (added, lambda: [draw(700, 70), draw(70)]),
    "a narrow bias": (added, lambda: [draw(3000, 3), draw(3)]),
    "a long bias of few": (added, lambda: [draw(2, 700), draw(700)]),
    "a column": (added, lambda: [draw(5, 3000), draw(5, 1)]),
    "a column of short rows": (added, lambda: [draw(700, 3), draw(700, 1)]),
    "the middle axis": (added, lambda: [draw(5, 60, 7), draw(5, 1, 7)]),
    "the outer axes": (added, lambda: [draw(25, 6, 70), draw(6, 1)]),
    "one number": (added, lambda: [draw(300, 70), draw()]),
    "several sums": (
        lambda x, b, c, d: mg.tanh(x * b + c) * d,
        lambda: [draw(200, 30), draw(30), draw(30, seed=1), draw(200, 1)],
    ),
    "parts of one argument": (lambda x: x[:1] * x + x[1:2], lambda: [draw(50, 3)]),
}
cases = pytest.mark.parametrize("name", CASES)


def agree(found: list[Any], expected: list[Any], scale: float | None = None) -> None:
    """Within rounding, relative to each entry and to a scale: by default the largest entry, since sums cancel."""
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        tolerance = 2e-5 if a.dtype == "float32" else 1e-12
        size = max(1, np.abs(b).max(initial=0)) if scale is None else scale
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * size)


def values_and_gradients(f: Any, args: Any, launched: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """They are right, and the same to the bit when threads and blocks run in other orders."""
    found = run(fuse(f), args())
    agree(found, run(f, args()))
    assert launched or found[0].size == 0
    for order in emulated.ORDERS[1:]:
        monkeypatch.setattr(emulated, "order", order)
        for a, b in zip(run(fuse(f), args()), found, strict=True):
            np.testing.assert_array_equal(a, b)


@cases
def test_values_and_gradients(name: str, launched: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    values_and_gradients(*CASES[name], launched, monkeypatch)


sizes = st.integers(0, 9) | st.integers(30, 300)
steps = st.sampled_from([1, 1, -1, 2])


@st.composite
def operands(draw_from: st.DrawFn) -> list[mg.Tensor]:
    """Three that broadcast, of any strides."""
    shape = draw_from(st.lists(sizes, max_size=3).filter(lambda shape: np.prod(shape) < 20_000))
    found = []
    for seed in range(3):
        mine = [size if draw_from(st.booleans()) else 1 for size in shape][draw_from(st.integers(0, len(shape))) :]
        order = draw_from(st.permutations(range(len(mine))))
        jumps = [draw_from(steps) for _ in mine]
        roomy = [size * abs(jump) for size, jump in zip(mine, jumps, strict=True)]
        laid_out = draw(*(roomy[k] for k in order), seed=seed).transpose(tuple(np.argsort(order)))
        found.append(laid_out[tuple(slice(None, None, jump) for jump in jumps)])
    return found


@given(operands())
def test_any_shapes_and_strides(launched: list[Any], args: list[mg.Tensor]) -> None:
    f = lambda x, w, b: (mg.tanh(x * w) + b, x * x)  # noqa: E731
    agree(run(fuse(f), args), run(f, args))


EXTREMES = [0.0, -0.0, 1.0, -1.0, 0.3, -2.5, 7.0, 88.0, -104.0, 1e30, np.inf, -np.inf, np.nan]


def every_function(x: Any, y: Any) -> Any:
    of_one = (mg.exp, mg.expm1, mg.log, mg.log1p, mg.sqrt, mg.sin, mg.cos, mg.tanh, mg.sigmoid, mg.softplus, mg.relu)
    of_one += (mg.absolute, mg.sign, mg.floor, mg.ceil, mg.negative, mg.isnan, mg.isinf, mg.isfinite, mg.logical_not)
    of_two = (mg.add, mg.subtract, mg.multiply, mg.divide, mg.power, mg.remainder, mg.floor_divide, mg.logaddexp)
    of_two += (mg.maximum, mg.minimum, mg.equal, mg.not_equal, mg.less, mg.less_equal, mg.greater, mg.greater_equal)
    of_two += (mg.logical_and, mg.logical_or)
    return tuple(f(x) for f in of_one) + tuple(f(x, y) for f in of_two)


def extremes(dtype: str) -> list[mg.Tensor]:
    x = mg.tensor(np.array(EXTREMES, dtype))
    return [mg.expand_dims(x, 1) + mg.zeros_like(x), x + mg.expand_dims(mg.zeros_like(x), 1)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extremes(dtype: str, launched: list[Any]) -> None:
    with np.errstate(all="ignore"):
        agree(run(fuse(every_function), extremes(dtype)), run(every_function, extremes(dtype)), scale=1)


def test_long_sums_are_shared_out_and_exact(launched: list[Any]) -> None:
    x = draw(400, 700) * 1e4
    b = mg.zeros((), requires_grad=True)
    fuse(lambda x, b: x + x * b)(x, b).sum().backward()
    assert [name for name, _, _ in launched] == ["kernel0", "kernel0", "kernel1"]  # values, sums of parts, their sum
    assert launched[1][1][1] > 8
    exact = x.to("cpu").numpy().astype(np.float64).sum()
    assert b.grad.item() == np.float32(exact)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [("__syncthreads();\n        if", "if"), ("    __syncthreads(); /*", "    /*"), ("half > 0", "half > row")],
    ids=["halves are added too early", "sums are overwritten", "some threads wait less often"],
)
def test_wrong_barriers_are_noticed(
    was: str, becomes: str, launched: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = header("functions.cuh")
    assert text.count(was) == 1
    monkeypatch.setattr(cuda_kernel, "header", lambda name: text.replace(was, becomes))
    with pytest.raises((AssertionError, emulated.LaunchError)):
        values_and_gradients(*CASES["several sums"], launched, monkeypatch)


def test_a_sum_is_not_taken_away_by_the_one_before(launched: list[Any]) -> None:
    """Long sums need memory for their parts, short ones none, in whichever order they come."""
    f = lambda x, b, y, c: (x * b, y * c)  # noqa: E731
    long, short = [draw(9000, 2), draw(2)], [draw(3, 2, seed=1), draw(2, seed=1)]
    for args in ([*long, *short], [*short, *long]):
        agree(run(fuse(f), args), run(f, args))


def test_the_text_does_not_depend_on_sizes(launched: list[Any]) -> None:
    f = fuse(added)
    for n in (3, 5000):
        f(draw(n, 4, seed=1).requires_grad_(), draw(4).requires_grad_()).sum().backward()
    assert len(cuda_kernel._modules) == 2  # forward and backward


def test_what_a_kernel_cannot_be_told() -> None:
    x = draw(600)
    f = fuse(lambda x: sum(x[k : k + 1] for k in range(600)))
    with pytest.raises(TypeError, match=r"601 arrays and parts of arrays with 1 axes, more than .* fuse it in pieces"):
        cuda_kernel.Kernel(fused.Program(f.function, "f", [x._data], "cuda").forward())


# NVRTC, which needs no GPU ------------------------------------------------------------------------


def nvrtc() -> ctypes.CDLL | None:
    """The compiler that CuPy calls, from its PyPI package or from the system."""
    found = importlib.util.find_spec("nvidia")
    folders = found.submodule_search_locations if found else None
    paths = [str(path) for folder in folders or [] for path in Path(folder).rglob("libnvrtc.so.*")]
    for name in [*paths, "libnvrtc.so.13", "libnvrtc.so.12"]:
        with contextlib.suppress(OSError):
            return ctypes.CDLL(name)
    return None


@contextlib.contextmanager
def compiled(text: str, library: ctypes.CDLL, *options: str) -> Iterator[Callable[[str], str]]:
    """What NVRTC tells of a text, with the options that CuPy calls it with: "PTX", or its "ProgramLog"."""
    options = (*cuda_kernel.OPTIONS, "-ftz=true", "--device-as-default-execution-space", *options)
    program, size = ctypes.c_void_p(), ctypes.c_size_t()

    def told(what: str) -> str:
        getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(library, f"nvrtcGet{what}")(program, buffer)
        return buffer.value.decode()

    library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None)
    try:
        encoded = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        assert not library.nvrtcCompileProgram(program, len(options), encoded), told("ProgramLog")
        yield told
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def ptx_of(text: str, library: ctypes.CDLL) -> str:
    """What NVRTC makes of a text. It may not have anything to say."""
    with compiled(text, library, "-arch=compute_75") as told:
        assert not told("ProgramLog").strip("\n"), told("ProgramLog")
        return told("PTX")


def memory_of_threads(text: str, library: ctypes.CDLL, architecture: int) -> set[str]:
    """How many bytes of memory a thread of a text's functions has for what does not fit into its registers."""
    with compiled(text, library, f"-arch=sm_{architecture}", "--ptxas-options=-v") as told:
        return set(re.findall(r"(\d+) bytes (?:stack frame|spill)", told("ProgramLog")))


def architectures(library: ctypes.CDLL) -> list[int]:
    """Those that this NVRTC knows."""
    count = ctypes.c_int()
    library.nvrtcGetNumSupportedArchs(ctypes.byref(count))
    found = (ctypes.c_int * count.value)()
    library.nvrtcGetSupportedArchs(found)
    return list(found)


@pytest.fixture(scope="module")
def ptx() -> Callable[[str], str]:
    library = nvrtc()
    if library is None:
        pytest.skip("needs NVRTC (pip install nvidia-cuda-nvrtc)")
    return lambda text: ptx_of(header("functions.cuh") + text, library)


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("name", [*CASES, "every function"])
def test_nvrtc_takes_it(name: str, backward: bool, ptx: Callable[[str], str]) -> None:
    f, args = CASES.get(name, (every_function, lambda: extremes("float32")))
    text = fuse(f).source("cuda", *args(), backward=backward)
    found = ptx(text)
    assert found.count(".entry") == text.count("__global__") > 0
    if "sin_" not in text and "cos_" not in text:  # these keep tables there
        assert ".local" not in found  # a thread has no copy of the arguments


def test_division_and_roots_are_rounded_correctly(ptx: Callable[[str], str]) -> None:
    found = ptx(fuse(lambda x, y: mg.sqrt(x / y)).source("cuda"))
    assert "div.rn.ftz.f32" in found
    assert "sqrt.rn.ftz.f32" in found


# A GPU --------------------------------------------------------------------------------------------


@pytest.mark.gpu
@cases
def test_on_a_gpu(name: str) -> None:
    f, args = CASES[name]
    expected = run(f, args())
    with mg.use_device("cuda"):
        first, second = run(fuse(f), args()), run(fuse(f), args())
    agree(first, expected)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)  # in whichever order the blocks ran


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extremes_on_a_gpu(dtype: str) -> None:
    with mg.use_device("cuda"), np.errstate(all="ignore"):
        agree(run(fuse(every_function), extremes(dtype)), run(every_function, extremes(dtype)), scale=1)


@pytest.mark.gpu
def test_kernels_are_queued_on_the_current_stream(cupy: Any) -> None:
    f = fuse(added)
    with mg.use_device("cuda"), cupy.cuda.Stream(non_blocking=True):
        x, b = draw(3000, 300) * 0, mg.zeros(300, requires_grad=True)
        for _ in range(50):
            x = f(x, 1.0 + b.detach())
        total = f(x, b)
        total.sum().backward()
        agree([b.grad.to("cpu").numpy()], [(1 - total.detach() ** 2).sum(axis=0).to("cpu").numpy()])
