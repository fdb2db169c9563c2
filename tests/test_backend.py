"""The device switch: names, defaults, and what it says when a device cannot be had."""

import copy
import json
import sys
import threading
import types

import numpy as np
import pytest

import minigrad as mg
from minigrad import backend, cuda_device, nn

from .strict import StrictArray, StrictNamespace, strict


def test_the_default_device(device):
    name = "cuda:0" if device == "cuda" else device
    assert mg.default_device() == name
    assert mg.ones(2).device == name
    assert nn.Linear(2, 2).weight.device == name
    with mg.use_device("cpu"):
        assert mg.tensor([1.0]).device == "cpu"
    assert mg.tensor([1.0]).device == name
    assert mg.zeros(2, device="cpu").device == "cpu"


def test_use_device_is_per_thread_and_set_default_device_is_not():
    seen = []
    with mg.use_device("strict"):
        thread = threading.Thread(target=lambda: seen.append(mg.default_device()))
        thread.start()
        thread.join()
    mg.set_default_device("strict")
    try:
        thread = threading.Thread(target=lambda: seen.append(mg.default_device()))
        thread.start()
        thread.join()
    finally:
        mg.set_default_device("cpu")
    assert seen == ["cpu", "strict"]


def test_a_module_moves(device):
    model = nn.LSTM(2, 3)
    x = mg.ones((4, 1, 2))
    (model(x)[0].sum()).backward()
    before = model(x)[0].detach().to("cpu").numpy()
    model.to("cpu")
    assert {p.device for p in model.parameters()} == {"cpu"}
    assert {p.grad.device for p in model.parameters()} == {"cpu"}
    assert model(x.to("cpu"))[0].detach().numpy() == pytest.approx(before, abs=1e-6)


def test_the_same_seed_gives_the_same_model_on_every_device(device):
    mg.manual_seed(3)
    here = nn.GRU(2, 3).weight_hh_l0.tolist()
    with mg.use_device("cpu"):
        mg.manual_seed(3)
        assert nn.GRU(2, 3).weight_hh_l0.tolist() == here


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:-1", "", "cuda0"])
def test_unknown_names(name):
    with pytest.raises(mg.DeviceError, match=r"unknown device .*expected one of 'cpu'.*'cuda', 'cuda:N'"):
        mg.set_default_device(name)


# A CuPy that is missing, has no driver, or has fewer devices than were asked for


@pytest.fixture
def forget_cuda(monkeypatch):
    """A process that has not looked for CUDA yet."""
    known = {name: xp for name, xp in backend._namespaces.items() if not name.startswith("cuda")}
    monkeypatch.setattr(backend, "_namespaces", known)
    monkeypatch.setattr(backend, "_by_array_type", {xp.array_type: xp for xp in known.values()})


def pretend(monkeypatch, count):
    """A CuPy whose driver reports `count` devices, or fails."""

    def device_count():
        if isinstance(count, Exception):
            raise count
        return count

    class ndarray:  # noqa: N801
        pass

    runtime = types.SimpleNamespace(getDeviceCount=device_count)
    cuda = types.SimpleNamespace(runtime=runtime, Device=lambda number: None)
    cupy = types.SimpleNamespace(cuda=cuda, ndarray=ndarray, __version__="14.0")
    monkeypatch.setitem(sys.modules, "cupy", cupy)


def test_cupy_is_missing(monkeypatch, forget_cuda):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(
        mg.DeviceError, match=r"CuPy is not installed. Install .*pip install cupy-cuda12x.*or use device"
    ):
        mg.ones(2).to("cuda")
    assert not mg.cuda_is_available()


def test_cupy_has_no_driver(monkeypatch, forget_cuda):
    pretend(monkeypatch, RuntimeError("cudaErrorInsufficientDriver"))
    with pytest.raises(
        mg.DeviceError, match=r"no usable NVIDIA driver .*cudaErrorInsufficientDriver.*Install or update"
    ):
        mg.ones(2, device="cuda:0")
    assert not mg.cuda_is_available()


def test_there_is_no_device(monkeypatch, forget_cuda):
    pretend(monkeypatch, 0)
    with pytest.raises(mg.DeviceError, match="this machine has no CUDA device"), mg.use_device("cuda"):
        pass


@pytest.mark.parametrize(("count", "there"), [(1, "cuda:0 is the only one"), (2, "there are cuda:0 to cuda:1")])
def test_the_device_number_does_not_exist(monkeypatch, forget_cuda, count, there):
    pretend(monkeypatch, count)
    with pytest.raises(mg.DeviceError, match=rf'"cuda:7" does not exist: {there}.*Choose one of these'):
        mg.set_default_device("cuda:7")


def test_the_first_device_is_called_cuda(monkeypatch, forget_cuda):
    pretend(monkeypatch, 1)
    assert backend.namespace("cuda") is backend.namespace("cuda:0")
    assert mg.cuda_is_available()


@pytest.mark.gpu
def test_cuda_for_real():
    x = mg.ones(3, device="cuda", requires_grad=True)
    (x * 2).sum().backward()
    mg.synchronize("cuda")
    assert x.device == "cuda:0"
    assert x.grad.tolist() == [2.0, 2.0, 2.0]


def test_without_a_seed_it_is_0(monkeypatch, device):
    xp = backend.namespace(device)
    mg.manual_seed(0)
    seeded = mg.rand(3).tolist()
    monkeypatch.setattr(xp, "_generator", None)  # as in a process that has drawn nothing yet
    assert mg.rand(3).tolist() == seeded


def test_a_state_of_the_generator_draws_the_same_numbers_again(device):
    mg.manual_seed(5)
    mg.rand(3, device=device)
    state = json.loads(json.dumps(mg.get_rng_state(device)))
    first = mg.randn(4, device=device).tolist()
    mg.set_rng_state(state, device)
    assert mg.randn(4, device=device).tolist() == first
    mg.manual_seed(6)
    mg.set_rng_state(state, device)
    assert mg.randn(4, device=device).tolist() == first


@pytest.mark.parametrize(
    "state", [{}, {"seed": 3}, {"bit_generator": "MT19937"}, {"bit_generator": "PCG64", "state": 1}]
)
def test_a_state_that_is_none(state):
    before = mg.get_rng_state()
    with pytest.raises(ValueError, match="set_rng_state: expected a state that get_rng_state gave for cpu, got"):
        mg.set_rng_state(state)
    assert mg.get_rng_state() == before


def test_a_module_goes_to_cuda_by_name(monkeypatch, forget_cuda):
    pretend(monkeypatch, 0)
    layer = nn.Linear(1, 1)
    with pytest.raises(mg.DeviceError, match='device "cuda": .*no CUDA device'):
        layer.cuda()
    assert layer.weight.device == "cpu"


def test_a_namespace_says_whose_it_is(device):
    assert repr(backend.namespace(device)) == f"<array namespace of {device}>"


# Where CuPy computes something else than NumPy -----------------------------------------------------------


def of_cupy(name):
    """A function of CuPy's that is for whole numbers alone: of floats it has other results than NumPy."""

    def function(x, y):
        assert np.result_type(x, y).kind in "iu"
        return getattr(np, name)(x, y)

    return function


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("name", ["remainder", "floor_divide"])
def test_division_that_leaves_a_rest_is_numpys(name, dtype):
    own = {name: of_cupy(name) for name in ("remainder", "floor_divide")}
    same = {
        name: getattr(np, name)
        for name in ("fmod", "copysign", "rint", "divide", "logical_and", "not_equal", "where", "asarray")
    }
    xp = cuda_device.CudaNamespace(types.SimpleNamespace(ndarray=np.ndarray, **own, **same), 0)
    numbers = [0.0, 1.0, 0.3, 2.5, 7.0, 1e4] + [1e30, np.inf, np.nan] * (dtype != "int64")
    with np.errstate(all="ignore"):
        ends = np.array([*numbers, *(-n for n in numbers)]).astype(dtype)
        x, y = np.meshgrid(ends, ends)
        pairs = [(x, y), *((ends, n) for n in (2, -0.3, 0)), *((n, ends) for n in (5, -7.0))]
        for a, b in pairs:
            found, expected = getattr(xp, name)(a, b), getattr(np, name)(a, b)
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
            if found.dtype.kind == "f":
                zeros = expected == 0
                np.testing.assert_array_equal(np.signbit(found[zeros]), np.signbit(expected[zeros]))


# Several GPUs: CuPy copies to the current device, and computes on it -----------------------------------


@pytest.fixture
def current(monkeypatch):
    """Notes at each copy and each write on the strict device whether it was the current one."""
    seen, inside = [], [False]

    class Activated:
        def __enter__(self):
            inside.append(True)

        def __exit__(self, *_):
            inside.pop()

    def noting(method):
        def noted(self, *args, **keywords):
            seen.append(inside[-1])
            return method(self, *args, **keywords)

        return noted

    monkeypatch.setattr(StrictNamespace, "activate", lambda self: Activated())
    monkeypatch.setattr(StrictNamespace, "make_current", lambda self: inside.__setitem__(-1, True))
    for name in ("copy", "__setitem__"):
        monkeypatch.setattr(StrictArray, name, noting(getattr(StrictArray, name)))
    monkeypatch.setattr(StrictNamespace, "array", noting(StrictNamespace.array))
    return seen


def write(x, i):
    x[i] = 1.0


@pytest.mark.parametrize(
    "act",
    [
        lambda x, i: mg.tensor(x),
        lambda x, i: mg.tensor(x.data, dtype=mg.float64),
        lambda x, i: mg.exp(x.data),
        lambda x, i: x[i],
        lambda x, i: mg.take(x, i, axis=0),
        lambda x, i: copy.deepcopy(x),
        write,
    ],
)
def test_arrays_are_copied_and_written_to_where_they_lie(act, current):
    x, i = (mg.Tensor(strict.from_host(a)) for a in (np.ones(3, np.float32), np.array([0, 2])))
    act(x, i)
    assert current
    assert all(current)
