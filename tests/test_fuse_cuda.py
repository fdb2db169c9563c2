"""The CUDA writer. Without a GPU, a C++ compiler reads the kernels, and their threads run one after another.

That proves what the text means: indices, strides, sums, and that neither order nor barriers matter. NVRTC, where it is
installed, proves that CUDA's own compiler takes it. What is marked `gpu` runs it.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.fuse import cuda_kernel, fused
from minigrad.fuse.cuda import launches
from minigrad.fuse.fused import fuse

SHIM = (Path(__file__).parent / "cuda_on_cpu.h").read_text()
COMPILER = shutil.which("g++")
in_cpp = pytest.mark.skipif(COMPILER is None, reason="needs g++")


class Emulated:
    """A kernel as CuPy's RawKernel: called with grid, block and arguments, of which there is one."""

    backwards = False

    def __init__(self, library: ctypes.CDLL, name: str, launched: list[Any]) -> None:
        self.run, self.name, self.launched = getattr(library, f"run_{name}"), name, launched

    def __call__(self, grid: tuple[int, int], block: tuple[int, int], arguments: tuple[Any]) -> None:
        (given,) = arguments
        assert given.size == 1
        assert 0 < grid[0] < 2**31
        assert 0 < grid[1] < 2**16
        assert block[0] * block[1] == 256
        assert given.nbytes <= 4096
        self.launched.append((self.name, grid, block))
        unsigned = ctypes.c_uint * 2
        address = ctypes.c_void_p(given.__array_interface__["data"][0])
        assert self.run(unsigned(*grid), unsigned(*block), address, self.backwards) == 0


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[Any]:
    """Has fused functions on the CPU write CUDA, which g++ compiles; gives what they launch."""
    log: list[Any] = []

    def load(text: str, count: int, xp: Any) -> list[Any]:
        names = [f"kernel{i}" for i in range(count)]
        path = folder / f"{hashlib.sha256(text.encode()).hexdigest()}.so"
        if not path.exists():
            whole = "\n".join([SHIM, text, *(f"RUN({name})" for name in names)])
            command = [str(COMPILER), "-std=c++17", "-O1", "-Wall", "-Werror", "-Wno-unused", "-fPIC", "-shared"]
            subprocess.run([*command, "-x", "c++", "-", "-o", str(path)], input=whole.encode(), check=True)
        library = ctypes.CDLL(str(path))
        return [Emulated(library, name, log) for name in names]

    monkeypatch.setattr(cuda_kernel, "load", load)
    monkeypatch.setattr(cuda_kernel, "_modules", {})
    monkeypatch.setattr(fused, "writer_name", lambda xp: "cuda")
    return log


def run(f: Callable[..., Any], args: list[Any], seed: int = 0) -> tuple[list[Any], list[Any]]:
    """The values of a function, and the gradients of all its floating Tensors."""
    args = [x.detach().requires_grad_(x.dtype.kind == "f") if isinstance(x, mg.Tensor) else x for x in args]
    ys = f(*args)
    ys = list(ys) if isinstance(ys, tuple) else [ys]
    rng = np.random.default_rng(seed)
    total = sum(
        (y * mg.tensor(rng.standard_normal(y.shape).astype(y.dtype), device=y.device)).sum()
        for y in ys
        if y.requires_grad
    )
    if isinstance(total, mg.Tensor):
        total.backward()
    return [y.detach().numpy() for y in ys], [
        x.grad.numpy() for x in args if isinstance(x, mg.Tensor) and x.grad is not None
    ]


def draw(*shape: int, dtype: str = "float32", seed: int = 0) -> mg.Tensor:
    return mg.tensor(np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype))


def lstm_cell(gates: Any, c: Any, bias: Any) -> Any:
    i, f, g, o = mg.split(gates + bias, 4, axis=1)
    c = mg.sigmoid(f) * c + mg.sigmoid(i) * mg.tanh(g)
    return mg.sigmoid(o) * mg.tanh(c), c


def masked(x: Any, y: Any, keep: Any) -> Any:
    return mg.where(keep, x * y, mg.exp(-y * y)), mg.where(x > y, x, 0.5)


def shapes_apart(x: Any, w: Any) -> Any:
    return x * w, mg.exp(w) * 2, x - 1.0


CASES: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "one block": (lambda x: x * mg.sigmoid(x), [draw(5, 7)]),
    "many blocks": (lambda x, y: mg.tanh(x) / (y * y + 1), [draw(40, 70), draw(40, 70, seed=1)]),
    "doubles": (lambda x, y: mg.log(x * x + 1) * y, [draw(9, 4, dtype="float64"), draw(4, dtype="float64")]),
    "both precisions": (lambda x, y: mg.sqrt(x * x) * y, [draw(9, 4), draw(9, 1, dtype="float64")]),
    "a 0-d array": (lambda x: mg.cos(x) * x, [draw()]),
    "no entries": (lambda x, b: x * b, [draw(0, 3), draw(3)]),
    "no entries, of several axes": (lambda x, b: x * b, [draw(4, 1, 5), draw(0, 1)]),
    "numbers": (lambda x, a, n: (x * a) ** n + a, [draw(6, 3), 0.3, 2]),
    "axes of all lengths": (lambda x, w, b: x * w + b, [draw(6, 1, 5), draw(4, 1), draw(5)]),
    "transposed": (lambda x, y: x * y, [draw(6, 9).transpose(), draw(9, 6)]),
    "backwards": (lambda x, y: x[::-1] * y[:, ::-2], [draw(6, 3)[::-1, ::-1], draw(6, 6)]),
    "slices of an argument": (lambda x: x[:, :3] * mg.tanh(x[:, 2:5]), [draw(300, 5)]),
    "an LSTM cell": (lstm_cell, [draw(33, 28), draw(33, 7), draw(28)]),
    "booleans": (masked, [draw(8, 6), draw(6), draw(8, 1) > 0]),
    "outputs of several shapes": (shapes_apart, [draw(70, 5), draw(5)]),
    "a bias": (lambda x, b: mg.tanh(x + b), [draw(700, 70), draw(70)]),
    "a narrow bias": (lambda x, b: mg.tanh(x + b), [draw(3000, 3), draw(3)]),
    "a long bias of few": (lambda x, b: mg.tanh(x + b), [draw(2, 700), draw(700)]),
    "a column": (lambda x, b: mg.tanh(x + b), [draw(5, 3000), draw(5, 1)]),
    "a column of short rows": (lambda x, b: mg.tanh(x + b), [draw(700, 3), draw(700, 1)]),
    "the middle axis": (lambda x, b: mg.tanh(x * b), [draw(5, 60, 7), draw(5, 1, 7)]),
    "the outer axes": (lambda x, b: mg.tanh(x * b), [draw(25, 6, 70), draw(6, 1)]),
    "one number": (lambda x, c: mg.tanh(x * c), [draw(300, 70), draw()]),
    "several sums": (
        lambda x, b, c, d: mg.tanh(x * b + c) * d,
        [draw(200, 30), draw(30), draw(30, seed=1), draw(200, 1)],
    ),
    "a repeated argument": (lambda x: x[:1] * x + x[1:2], [draw(50, 3)]),
}


@in_cpp
@pytest.mark.parametrize("backwards", [False, True], ids=["", "the other order"])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name: str, backwards: bool, launched: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    f, args = CASES[name]
    ys, gradients = run(f, args)
    fused_f = fuse(f)
    monkeypatch.setattr(Emulated, "backwards", backwards)
    found, found_gradients = run(fused_f, args)
    assert len(found_gradients) == len(gradients)
    for a, b in zip([*ys, *gradients], [*found, *found_gradients], strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        tolerance = 2e-5 if a.dtype == "float32" else 1e-12
        np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance * max(1, np.abs(a).max(initial=0)))
    assert launched or not any(y.size for y in ys)
