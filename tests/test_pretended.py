"""minigrad's way to CuPy, on a CuPy that is made up; and tests marked `gpu` on a GPU that is not there."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import backend, nn, optim
from minigrad.cuda_device import CudaNamespace
from minigrad.nn import functional as F

from . import emulated, pretended
from . import strict as strict_module
from .strict import StrictArray, strict

SAMPLE = ["test_clip.py", "test_ownership.py", "test_updates.py"]


@pytest.mark.skipif(emulated.COMPILER is None, reason="needs g++")
def test_a_sample_of_the_tests_for_a_gpu() -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--pretend", *SAMPLE]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    passed = re.search(r"^(\d+) passed in", done.stdout, re.MULTILINE)  # and none was skipped
    assert passed
    assert int(passed[1]) > 100


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[CudaNamespace]]:
    """Two, in place of the strict device: arrays of two entries lie on cuda:1, and all others on cuda:0."""
    monkeypatch.setattr(backend, "_namespaces", {"cpu": backend.cpu})
    monkeypatch.setattr(backend, "_by_array_type", {np.ndarray: backend.cpu})
    monkeypatch.setattr(backend, "load_cupy", pretended.CuPy)
    monkeypatch.setattr(pretended.CuPy.cuda.runtime, "getDeviceCount", lambda: 2)
    monkeypatch.setattr(StrictArray, "_device", property(lambda x: int(x.shape == (2,))))
    monkeypatch.setattr(pretended.current, "number", 7)
    monkeypatch.setattr(strict, "writer", "cuda")
    return [backend.namespace(f"cuda:{i}") for i in range(2)]


def test_arrays_go_there_and_back(gpus: list[CudaNamespace]) -> None:
    for xp, size in zip(gpus, (3, 2), strict=True):
        host = np.arange(size, dtype=np.float32)
        x = xp.from_host(host)
        assert type(x) is StrictArray
        assert backend.namespace_of(x) is xp
        assert xp.address(x) == x._host.ctypes.data
        np.testing.assert_array_equal(xp.to_host(x), host)
        before = strict.synchronizations
        mg.synchronize(xp.device)
        assert strict.synchronizations == before + 1


def test_a_block_and_a_call_make_a_device_the_current_one(gpus: list[CudaNamespace]) -> None:
    with gpus[1].activate():
        assert pretended.current.number == 1
    assert pretended.current.number == 7
    for number in (1, 1, 0):
        gpus[number].make_current()
        assert pretended.current.number == number
    for number, size in enumerate((3, 2)):
        mg.exp(mg.ones(size, device=f"cuda:{number}"))
        assert pretended.current.number == number


def test_two_gpus_do_not_mix(gpus: list[CudaNamespace]) -> None:
    with pytest.raises(
        RuntimeError, match=r"add: expected tensors of one device, got .*cuda:0.*cuda:1.*\.to\(device\)"
    ):
        mg.ones(1, device="cuda:0") + mg.ones(2, device="cuda:1")


def filled(mask: mg.Tensor, x: mg.Tensor) -> None:
    x[mask] = 0.0


# What is done with x (3, 4), a mask of that shape and three class numbers, and the layer that x went through.
ACTS: dict[str, Callable[..., Any]] = {
    "a mask": lambda x, mask, ids, layer: x[mask],
    "writing by a mask": lambda x, mask, ids, layer: filled(mask, x.detach()),
    "numbers alone": lambda x, mask, ids, layer: mg.exp(2.0),
    "one-hot": lambda x, mask, ids, layer: F.one_hot(ids, 4),
    "a loss": lambda x, mask, ids, layer: F.cross_entropy(x, ids),
    "a gradient": lambda x, mask, ids, layer: layer.loss.backward(),
    "gradients of 0": lambda x, mask, ids, layer: optim.SGD([x], lr=1.0).zero_grad(set_to_none=False),
    "a state": lambda x, mask, ids, layer: layer.load_state_dict(layer.state_dict()),
    "first values": lambda x, mask, ids, layer: nn.init.zeros_(layer.weight),
    "random numbers": lambda x, mask, ids, layer: F.dropout(x, 0.5),
    "clipping": lambda x, mask, ids, layer: nn.utils.clip_grad_norm_([x], 0.1),
    "a layout": lambda x, mask, ids, layer: mg.testing.laid_out(x.data, "strided"),
    "a fused function": lambda x, mask, ids, layer: mg.fuse(lambda x: mg.exp(x) * 2)(x),
}


@pytest.mark.parametrize("name", ACTS)
def test_everything_is_computed_where_it_lies(
    name: str, gpus: list[CudaNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever device was the current one, for somebody else's work or minigrad's."""
    monkeypatch.setattr(strict_module, "compute", pretended.compute)
    monkeypatch.setattr(strict, "allocated", pretended.allocated)
    monkeypatch.setattr(backend, "_default", "cuda:0")
    x = mg.tensor(np.linspace(-1.0, 1.0, 12).reshape(3, 4), requires_grad=True)
    mask, ids, layer = x.detach() > 0, mg.tensor([0, 3, 1]), nn.Linear(4, 3, dtype=mg.float64)
    layer.loss = layer(x).sum()
    x.grad = mg.ones((3, 4), dtype=mg.float64)
    pretended.current.number = 7
    ACTS[name](x, mask, ids, layer)


def test_what_the_gpu_has(gpus: list[CudaNamespace]) -> None:
    assert gpus[0].multiprocessors == emulated.multiprocessors
    assert gpus[0].shared_memory == emulated.shared_memory


def test_generators_are_made_anew_and_not_copied(gpus: list[CudaNamespace]) -> None:
    mg.manual_seed(3)
    with mg.use_device("cuda:0"):
        first = mg.rand(5).tolist()
        mg.manual_seed(3)
        assert mg.rand(5).tolist() == first
        x = mg.ones(5, requires_grad=True)
        y = mg.checkpoint(lambda x: x * mg.rand(5), x)
        (y.sum()).backward()
        assert x.grad.tolist() == y.tolist() != first


def test_remainders_are_exact_where_those_of_cupy_are_not(
    gpus: list[CudaNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strict_module, "compute", pretended.compute)
    xp = gpus[0]
    xp.make_current()
    x, y = (xp.from_host(np.array(values)) for values in ([1.0, -3.0, 7.0], [0.1, np.inf, -2.0]))
    a, b = np.array([1.0, -3.0, 7.0]), np.array([0.1, np.inf, -2.0])
    np.testing.assert_array_equal(xp.to_host(xp.remainder(x, y)), np.remainder(a, b))
    np.testing.assert_array_equal(xp.to_host(xp.floor_divide(x, y)), np.floor_divide(a, b))
    assert xp.to_host(x % y)[0] != np.remainder(a, b)[0]
    whole = xp.from_host(np.array([7, -7, 8]))
    assert xp.to_host(xp.remainder(whole, 3)).tolist() == [1, 2, 2]
    assert xp.to_host(xp.floor_divide(whole, 3)).tolist() == [2, -3, 2]


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_products_go_to_tensor_cores_that_are_asked_for(precision: str, gpus: list[CudaNamespace]) -> None:
    xp, blas = gpus[0], pretended.CuPy.cuda.cublas
    x, y = (np.random.default_rng(seed).standard_normal((4, 4)).astype(np.float32) for seed in range(2))
    before = len(blas.compute_types)
    with mg.matmul_precision(precision):
        found = [xp.matmul(xp.from_host(x), xp.from_host(y)), xp.einsum("nk,km->nm", xp.from_host(x), xp.from_host(y))]
    assert len(blas.compute_types) - before == (0 if precision == "float32" else 2)
    for z in found:
        np.testing.assert_allclose(xp.to_host(z), x @ y, atol=0.2)
        assert (precision == "float32") == np.allclose(xp.to_host(z), x @ y, rtol=1e-6, atol=1e-6)


def test_arrays_of_a_cupy_that_somebody_else_has_loaded_are_known(
    gpus: list[CudaNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = type("ndarray", (StrictArray,), {"__module__": "cupy"})
    monkeypatch.setattr(backend, "_namespaces", {"cpu": backend.cpu})
    monkeypatch.setattr(pretended.CuPy, "ndarray", theirs)
    x = theirs(np.ones(3))
    assert backend.is_array(x)
    assert backend.namespace_of(x).device == "cuda:0"


# The last bits -----------------------------------------------------------------------------------------


@pytest.fixture
def there() -> Iterator[None]:
    with pretended.Device(0):
        yield


DRAWN = np.random.default_rng(0).uniform(0.3, 3.0, 1000)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("function", [np.exp, np.log, np.tanh, np.sin])
def test_functions_are_off_by_one_unit_at_most(function: Any, dtype: str, there: None) -> None:
    x = DRAWN.astype(dtype)
    found, exact = pretended.compute(function, x), function(x)
    off = np.rint((found - exact) / np.spacing(exact))
    assert found.dtype == dtype
    assert set(off) == {-1, 0, 1}
    np.testing.assert_array_equal(found, pretended.compute(function, x))
    np.testing.assert_array_equal(found[7], pretended.compute(function, x[7]))
    out = np.empty_like(x)
    assert pretended.compute(function, x, out=out) is out
    np.testing.assert_array_equal(out, found)


def test_what_is_exact_stays(there: None) -> None:
    np.testing.assert_array_equal(
        pretended.compute(np.exp, np.array([0.0, -np.inf, np.inf, np.nan])), [1, 0, np.inf, np.nan]
    )
    assert pretended.compute(np.tanh, np.array([0.0, 40.0])).tolist() == [0.0, 1.0]
    assert pretended.compute(np.sqrt, DRAWN).tolist() == np.sqrt(DRAWN).tolist()
    assert pretended.compute(np.sum, np.array([0.25, 3.0])) == 3.25
    assert pretended.compute(np.sum, np.arange(4)) == 6


def test_long_sums_are_added_up_in_another_order(there: None) -> None:
    x = DRAWN.reshape(50, 20)
    found, exact = pretended.compute(np.sum, x, axis=1), x.sum(axis=1)
    assert 0 < abs(found - exact).max() <= 2**-52 * exact.max()
    assert (pretended.compute(np.matmul, x.T, x) != x.T @ x).any()
    assert (pretended.compute(np.einsum, "ij,ij->i", x, x) != (x * x).sum(1)).any()


def test_it_refuses_to_compute_where_another_device_is_the_current_one() -> None:
    def elsewhere() -> None:
        with pytest.raises(RuntimeError, match=r"exp\(\) on cuda:0 while cuda:1 is the current device"):
            pretended.compute(np.exp, DRAWN)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
