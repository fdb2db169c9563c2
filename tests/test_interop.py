"""Tensors among other libraries' arrays, numbers and files: NumPy, DLPack, copy, pickle, threads."""

from __future__ import annotations

import copy
import operator
import pickle
import sys
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

from .helpers import close

# NumPy on either side ---------------------------------------------------------------------------------

ARITHMETIC = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.mod, operator.floordiv]
COMPARISONS = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("act", ARITHMETIC + COMPARISONS + [operator.matmul], ids=lambda act: act.__name__)
def test_arrays_on_either_side(act: Any, dtype: Any) -> None:
    a, b = np.array([[1.0, 2.0], [3.0, 5.0]], dtype=dtype), np.array([[2.0, 2.0], [1.0, 4.0]], dtype=dtype)
    for y in (act(a, mg.tensor(b)), act(mg.tensor(a), b)):
        assert type(y) is mg.Tensor
        assert y.dtype == act(a, b).dtype
        close(y, act(a, b), rtol=1e-6)


@pytest.mark.parametrize("number", [2, 2.0, np.float32(2), np.float64(2), np.int64(2), np.bool_(True)], ids=repr)
@pytest.mark.parametrize("act", ARITHMETIC + COMPARISONS, ids=lambda act: act.__name__)
def test_numbers_on_either_side_leave_the_dtype(device: str, act: Any, number: Any) -> None:
    a = np.array([1.0, 2.0, 5.0], dtype=np.float32)
    plain = number.item() if isinstance(number, np.generic) else number
    for y, expected in ((act(number, mg.tensor(a)), act(plain, a)), (act(mg.tensor(a), number), act(a, plain))):
        assert type(y) is mg.Tensor
        assert y.dtype == (np.bool_ if act in COMPARISONS else np.float32)
        close(y, expected, rtol=1e-6)


def test_an_array_gets_no_gradient_and_may_change_afterwards() -> None:
    a, x = np.ones(2, dtype=np.float32), mg.ones(2, requires_grad=True)
    y = a * x
    a[...] = 7.0
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.0]


# DLPack -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int32, np.int64, np.uint8, np.bool_])
def test_dlpack_shares_memory_with_numpy(dtype: Any) -> None:
    array = np.zeros((2, 3), dtype=dtype)
    x = mg.from_dlpack(array)
    assert (x.shape, x.dtype, x.device, x.requires_grad) == ((2, 3), dtype, "cpu", False)
    array[0, 1] = 1
    assert x[0, 1].item() == 1
    again = np.from_dlpack(x)
    array[1, 2] = 1
    assert again[1, 2] == 1
    x[0, 0] = 1
    assert array[0, 0] == 1


def test_dlpack_of_a_tensor_is_watched_with_it() -> None:
    x = mg.ones(2)
    twin = mg.from_dlpack(x)
    y = (mg.ones(2, requires_grad=True) * x).sum()
    twin[0] = 7.0
    with pytest.raises(RuntimeError, match="has been written to"):
        y.backward()


def test_dlpack_keeps_strides_and_computes() -> None:
    a = np.arange(6.0).reshape(2, 3)
    x = mg.from_dlpack(a.T[::-1])
    close(x, a.T[::-1])
    x.requires_grad = True
    (x.reshape(-1)[2:] ** 2).sum().backward()
    assert x.grad is not None
    close(x.grad, [[0, 0], [2 * 1, 2 * 4], [2 * 0, 2 * 3]])


def test_dlpack_with_pytorch() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.arange(4.0)
    x = mg.from_dlpack(theirs)
    theirs[0] = 7.0
    assert x.tolist() == [7.0, 1.0, 2.0, 3.0]
    back = torch.from_dlpack(mg.tensor([1.0, 2.0]))
    assert back.tolist() == [1.0, 2.0]
    assert back.dtype is torch.float32
    with pytest.raises(BufferError, match="detach"):
        mg.from_dlpack(torch.ones(2, requires_grad=True))
    with pytest.raises((BufferError, TypeError, RuntimeError)):
        mg.from_dlpack(torch.ones(2, dtype=torch.bfloat16))


def test_dlpack_of_a_tensor_that_needs_a_gradient() -> None:
    x = mg.ones(2, requires_grad=True)
    for take in (np.from_dlpack, mg.from_dlpack):
        with pytest.raises(BufferError, match=r"use x.detach\(\)"):
            take(x)
        assert take(x.detach()).tolist() == [1.0, 1.0]


class OnAnotherDevice:
    def __dlpack_device__(self) -> tuple[int, int]:
        return 10, 0  # ROCm


def test_what_has_no_dlpack() -> None:
    with pytest.raises(
        TypeError, match=r"from_dlpack: expected an array with __dlpack__, got list; use minigrad.tensor"
    ):
        mg.from_dlpack([1.0])
    with pytest.raises(TypeError, match=r"expected real numbers or booleans, got dtype complex128"):
        mg.from_dlpack(np.ones(2, dtype=complex))
    with pytest.raises(mg.DeviceError, match=r"host or of a CUDA device, got DLPack's device 10"):
        mg.from_dlpack(OnAnotherDevice())


@pytest.mark.gpu
def test_dlpack_on_a_gpu(cupy: Any) -> None:
    x = mg.ones(3, device="cuda")
    y = mg.from_dlpack(x)
    y[0] = 2.0
    assert x.tolist() == [2.0, 1.0, 1.0]
    assert y.device == "cuda:0"


# copy -------------------------------------------------------------------------------------------------


def parameter() -> mg.Tensor:
    w = mg.tensor([1.0, 2.0], requires_grad=True)
    w.is_parameter = True
    (w * w).sum().backward()
    return w


def assert_twins(twin: mg.Tensor, x: mg.Tensor) -> None:
    assert twin is not x
    assert (twin.tolist(), twin.dtype, twin.device) == (x.tolist(), x.dtype, x.device)
    assert (twin.requires_grad, twin.is_leaf, twin.is_parameter) == (True, True, True)
    assert twin.grad is not None and x.grad is not None
    assert twin.grad.tolist() == x.grad.tolist()


def test_a_deep_copy_shares_nothing(device: str) -> None:
    x = parameter()
    twin = copy.deepcopy(x)
    assert_twins(twin, x)
    loss = (x * x).sum()
    with mg.no_grad():
        twin[0] = 7.0
        twin.grad[0] = 7.0  # type: ignore[index]
    assert x.tolist() == [1.0, 2.0]
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 4.0]
    loss.backward()  # the copy has a storage of its own: x has not been written to


def test_deep_copies_keep_what_is_shared(device: str) -> None:
    x = parameter()
    first, second, other = copy.deepcopy((x, x, x.detach()))
    assert first is second
    assert first is not other
    embedding, output = nn.Embedding(3, 2), nn.Linear(2, 3)
    output.weight = embedding.weight
    model = nn.ModuleList([embedding, output])
    twin = copy.deepcopy(model)
    assert len(list(twin.parameters())) == len(list(model.parameters())) == 2
    assert twin[0].weight is twin[1].weight
    assert twin[0].weight is not embedding.weight


def test_a_shallow_copy_shares_memory_and_is_watched_with_it(device: str) -> None:
    x = parameter()
    twin = copy.copy(x)
    assert_twins(twin, x)
    loss = (x * x).sum()
    with mg.no_grad():
        twin[0] = 7.0
    assert x.tolist() == [7.0, 2.0]
    with pytest.raises(RuntimeError, match="has been written to"):
        loss.backward()


def test_a_shallow_copy_of_a_computed_tensor_stands_where_it_stands(device: str) -> None:
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    (copy.copy(y).sum() + y.sum()).backward()
    assert x.grad is not None
    assert x.grad.tolist() == [4.0, 8.0]


def test_a_recorded_copy(device: str) -> None:
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    for twin in (x.copy(), x.clone()):
        assert twin.requires_grad and not twin.is_leaf
        assert mg.grad((twin * twin).sum(), x)[0].tolist() == [2.0, 4.0]
        detached = twin.detach()
        detached[0] = 7.0
        assert x.tolist() == [1.0, 2.0]


def test_pickle(device: str) -> None:
    x = parameter()
    assert_twins(pickle.loads(pickle.dumps(x)), x)
    first, second = pickle.loads(pickle.dumps((x, x)))
    assert first is second
    model = nn.LSTM(2, 3)
    twin = pickle.loads(pickle.dumps(model))
    for name, value in twin.state_dict().items():
        assert value.tolist() == model.state_dict()[name].tolist()
    h = mg.ones((4, 1, 2))
    close(twin(h)[0].detach(), model(h)[0].tolist())


@pytest.mark.parametrize("act", [copy.deepcopy, pickle.dumps], ids=["deepcopy", "pickle"])
def test_a_computed_tensor_is_not_copied_with_its_graph(device: str, act: Any) -> None:
    x = parameter()
    y = x * 2
    with pytest.raises(RuntimeError, match=r"got one that multiply computed.*Use x.detach\(\), or x.copy\(\)"):
        act(y)
    act(y.detach())
    with mg.no_grad():
        act(x * 2)


# Threads ----------------------------------------------------------------------------------------------


def test_the_number_of_threads() -> None:
    pytest.importorskip("threadpoolctl")
    before = mg.get_num_threads()
    try:
        mg.set_num_threads(1)
        assert mg.get_num_threads() == 1
        mg.set_num_threads(2)
        assert mg.get_num_threads() == 2
    finally:
        mg.set_num_threads(before)


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "2", None])
def test_no_number_of_threads(n: Any) -> None:
    with pytest.raises(ValueError, match=r"set_num_threads: expected a positive integer, got"):
        mg.set_num_threads(n)


def test_threadpoolctl_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    with pytest.raises(ImportError, match=r"get_num_threads needs .* pip install threadpoolctl .*extra threads"):
        mg.get_num_threads()


def test_a_blas_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    monkeypatch.setattr(threadpoolctl.ThreadpoolController, "info", lambda self: [])
    with pytest.raises(RuntimeError, match=r"set_num_threads: NumPy's BLAS is none .*environment variable"):
        mg.set_num_threads(2)
