"""Less precise products of float32 matrices: what may be lost, where, and that nothing else changes."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn, optim, tensor_cores
from minigrad.cuda_device import CudaNamespace
from minigrad.nn import functional as F
from minigrad.precision import PRECISIONS

from .cublas import Blas
from .helpers import host, on
from .strict import BITS, rounded

LOWER = ["tf32", "bfloat16"]
ROUNDED_TWICE = {"float32": 0.0, "tf32": 2.0**-10 + 2.0**-22, "bfloat16": 2.0**-7 + 2.0**-16}

# The setting ----------------------------------------------------------------------------------------


def test_a_block_ends_as_it_began() -> None:
    for name in PRECISIONS:
        with mg.matmul_precision(name), mg.matmul_precision("bfloat16"):
            assert mg.get_matmul_precision() == "bfloat16"
            with pytest.raises(ZeroDivisionError), mg.matmul_precision("tf32"):
                _ = 1 / 0
            assert mg.get_matmul_precision() == "bfloat16"
        assert mg.get_matmul_precision() == "float32"


def test_without_a_block_it_stays() -> None:
    try:
        mg.matmul_precision("tf32")
        assert mg.get_matmul_precision() == "tf32"
    finally:
        mg.matmul_precision("float32")
    assert mg.get_matmul_precision() == "float32"


def test_each_thread_has_its_own() -> None:
    found = []
    with mg.matmul_precision("tf32"):
        thread = threading.Thread(target=lambda: found.append(mg.get_matmul_precision()))
        thread.start()
        thread.join()
    assert found == ["float32"]


@pytest.mark.parametrize("name", ["high", "TF32", "float16", None, mg.float32, 32])
def test_other_names_are_refused(name: Any) -> None:
    message = r'matmul_precision: expected one of "float32", "tf32", "bfloat16", got '
    with pytest.raises(ValueError, match=message):
        mg.matmul_precision(name)
    assert mg.get_matmul_precision() == "float32"


# Rounding, as the strict backend does it -------------------------------------------------------------


def test_rounding_is_to_the_nearest_and_of_two_to_the_even_one() -> None:
    for bits in BITS.values():
        last = 2.0**-bits
        given = np.array([1 + last / 2, 1 + 1.5 * last, 1 + 0.51 * last, -1 - last / 4, 0, np.inf, np.nan, 3e38])
        with np.errstate(over="ignore"):
            expected = [1, 1 + 2 * last, 1 + last, -1, 0, np.inf, np.nan]
        found = rounded(given.astype(np.float32), bits)
        np.testing.assert_array_equal(found[:-1], np.array(expected, dtype=np.float32))
        assert abs(found[-1] / np.float32(3e38) - 1) <= last / 2


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=50))
def test_rounding_to_bfloat16_is_pytorchs(numbers: list[float]) -> None:
    torch = pytest.importorskip("torch")
    x = np.array(numbers, dtype=np.float32)
    np.testing.assert_array_equal(rounded(x, BITS["bfloat16"]), torch.tensor(x).bfloat16().float().numpy())


# The error of a product ------------------------------------------------------------------------------

SHAPES = [
    ((5, 300), (300, 7)),
    ((300,), (300, 7)),
    ((5, 300), (300,)),
    ((3, 5, 300), (300, 7)),
    ((3, 5, 300), (3, 300, 7)),
    ((2, 1, 5, 300), (3, 300, 1)),
    ((1, 300), (300, 1)),
]


def drawn(*shapes: tuple[int, ...], dtype: Any = np.float32) -> list[np.ndarray[Any, Any]]:
    random = np.random.default_rng(0)
    return [random.standard_normal(shape).astype(dtype) for shape in shapes]


def check(found: Any, exact: Any, size: Any, depth: int, precision: str, device: str) -> None:
    """The error of an entry is within its bound, where `size` is Σ |x y|, and a lower precision has made one."""
    lost = ROUNDED_TWICE[precision] if device != "cpu" else 0.0
    cut_off = 2 if device.startswith("cuda") else 1  # a GPU may cut the bits off instead of rounding
    error = np.abs(found - exact)
    assert (error <= (cut_off * lost + depth * 2.0**-23) * size).all()
    if device == "strict" and precision != "float32":
        assert error.max() > 2.0**-14 * lost * size.max()
        assert error.max() > 2.0**-20 * size.max()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_a_product_is_within_its_bound(a: Any, b: Any, precision: str, device: str) -> None:
    x, y = drawn(a, b)
    with mg.matmul_precision(precision):
        found = host(on(device, x) @ on(device, y))
    wide = np.float64
    check(found, x.astype(wide) @ y.astype(wide), np.abs(x).astype(wide) @ np.abs(y), 300, precision, device)


def test_ordinarily_a_product_is_in_float32_on_every_device(device: str) -> None:
    """What TF32 cannot tell apart."""
    x = np.full((64, 64), 1 + 2.0**-20, dtype=np.float32)
    np.testing.assert_allclose(host(on(device, x) @ on(device, np.eye(64, dtype=np.float32))), x, rtol=2.0**-23)


@pytest.mark.parametrize("precision", LOWER)
def test_derivatives_of_both_orders_multiply_as_is_set_where_they_are_asked_for(precision: str, device: str) -> None:
    x, w, g, h = drawn((40, 300), (300, 50), (40, 50), (40, 300))
    wide = [a.astype(np.float64) for a in (x, w, g, h)]
    for inside in (True, False):
        tx, tw, tg = (on(device, a, requires_grad=True) for a in (x, w, g))
        y = tx @ tw
        with mg.matmul_precision(precision if inside else "float32"):
            gx, gw = mg.grad(y, [tx, tw], tg, create_graph=True)
            (gg,) = mg.grad(gx, tg, on(device, h))
        set_there = precision if inside else "float32"
        x_, w_, g_, h_ = wide
        for found, a, b in [(gx, g_, w_.T), (gw, x_.T, g_), (gg, h_, w_)]:
            check(host(found.detach()), a @ b, np.abs(a) @ np.abs(b), a.shape[1], set_there, device)


@pytest.mark.parametrize("precision", LOWER)
def test_layers_and_einsum_obey_it(precision: str, device: str) -> None:
    x, w, b = drawn((40, 300), (50, 300), (50,))
    exact, size = x.astype(np.float64) @ w.T, np.abs(x).astype(np.float64) @ np.abs(w.T)
    tx, tw, tb = (on(device, a) for a in (x, w, b))
    with mg.matmul_precision(precision):
        of_linear, of_einsum = F.linear(tx, tw, tb), mg.einsum("nk,mk->nm", tx, tw)
    check(host(of_linear) - b, exact, size + np.abs(b), 300, precision, device)
    check(host(of_einsum), exact, size, 300, precision, device)


@pytest.mark.parametrize("precision", LOWER)
@pytest.mark.parametrize("dtype", ["float16", "float64", "int64"])
def test_other_dtypes_keep_their_bits(dtype: str, precision: str, device: str) -> None:
    x, y = (on(device, (10 * a).astype(dtype)) for a in drawn((8, 30), (30, 9), dtype=np.float64))
    expected = host(x @ y)
    with mg.matmul_precision(precision):
        np.testing.assert_array_equal(host(x @ y), expected)


# Training --------------------------------------------------------------------------------------------


def losses(precision: str, device: str) -> list[float]:
    """Of a small LSTM that learns a sequence by heart."""
    mg.manual_seed(0)
    random = np.random.default_rng(1)
    ids = mg.tensor(random.integers(0, 8, (13, 6)))
    table, rnn, out = nn.Embedding(8, 16), nn.LSTM(16, 32), nn.Linear(32, 8)
    parameters = [p for layer in (table, rnn, out) for p in layer.parameters()]
    optimizer = optim.Adam(parameters, lr=0.03)
    found = []
    with mg.matmul_precision(precision):
        for _ in range(30):
            y, _ = rnn(table(ids[:-1]))
            loss = F.cross_entropy(out(y).reshape(-1, 8), ids[1:].reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            found.append(loss.item())
    return found


def test_training_goes_the_same_way(device: str) -> None:
    usual = losses("float32", device)
    assert usual[-1] < 0.5 * usual[0]
    for precision, tolerance in [("tf32", 0.02), ("bfloat16", 0.1)]:
        found = losses(precision, device)
        np.testing.assert_allclose(found, usual, rtol=tolerance)
        if device == "cpu":
            assert found == usual
        elif device == "strict":
            assert found != usual


# cuBLAS ------------------------------------------------------------------------------------------------


@pytest.fixture
def gpu() -> Any:
    """A namespace of the host's arrays with such a cuBLAS."""
    blas = Blas()
    xp = SimpleNamespace(
        empty=np.empty, ascontiguousarray=np.ascontiguousarray, broadcast_to=np.broadcast_to, sum=np.sum
    )
    xp.module = SimpleNamespace(cuda=SimpleNamespace(cublas=blas, get_cublas_handle=lambda: 7))
    xp.address = lambda array: array.__array_interface__["data"][0]
    xp.matmul = lambda x, y: tensor_cores.matmul(xp, x, y)
    xp.blas = blas
    return xp


def whole(*shape: int) -> np.ndarray[Any, Any]:
    """Small whole numbers, whose products every precision has exactly."""
    return np.random.default_rng(len(shape)).integers(-4, 5, shape).astype(np.float32)


LAYOUTS = {
    "in order": lambda *shape: whole(*shape),
    "transposed": lambda *shape: whole(*shape[:-2], *shape[:-3:-1]).swapaxes(-1, -2),
    "columns of a wider one": lambda *shape: whole(*shape[:-1], 3 * shape[-1])[..., shape[-1] : 2 * shape[-1]],
    "every other row": lambda *shape: whole(*shape[:-2], 2 * shape[-2], shape[-1])[..., ::2, :],
    "every other column": lambda *shape: whole(*shape[:-1], 2 * shape[-1])[..., ::2],
    "rows backwards": lambda *shape: whole(*shape)[..., ::-1, :],
    "one row for all": lambda *shape: np.broadcast_to(whole(*shape[:-2], 1, shape[-1]), shape),
    "batch backwards": lambda *shape: whole(*shape)[::-1] if len(shape) > 2 else whole(*shape),
    "batch inside": lambda *shape: np.moveaxis(whole(*shape[1:], shape[0]), -1, 0),
}
LEADS = [((), ()), ((3,), (3,)), ((3,), ()), ((), (3,)), ((2, 1), (3,)), ((1,), (2, 2)), ((2, 3), (2, 3)), ((1, 1), ())]


@pytest.mark.parametrize("sizes", [(4, 5, 6), (1, 5, 6), (4, 1, 6), (4, 5, 1), (1, 1, 1), (1, 5, 1)])
@pytest.mark.parametrize("second", LAYOUTS)
@pytest.mark.parametrize("first", LAYOUTS)
def test_matrices_lie_as_they_like(first: str, second: str, sizes: Any, gpu: Any) -> None:
    n, depth, m = sizes
    for a, b in LEADS:
        x, y = LAYOUTS[first](*a, n, depth), LAYOUTS[second](*b, depth, m)
        with mg.matmul_precision("tf32"):
            found = tensor_cores.matmul(gpu, x, y)
        np.testing.assert_array_equal(found, x @ y)
    assert gpu.blas.compute_types == [77] * len(LEADS)


def test_vectors_are_rows_and_columns(gpu: Any) -> None:
    x, y, batch = whole(5), whole(5, 4), whole(3, 5, 4)
    with mg.matmul_precision("bfloat16"):
        for a, b in [(x, y), (y.T, x), (x, batch), (batch.swapaxes(1, 2), x), (x[::-1], y)]:
            np.testing.assert_array_equal(tensor_cores.matmul(gpu, a, b), a @ b)
    assert set(gpu.blas.compute_types) == {75}


def test_what_is_no_product_of_matrices_is_left_to_cupy(gpu: Any) -> None:
    with mg.matmul_precision("tf32"):
        for a, b in [
            ((5,), (5,)),
            ((0, 5), (5, 4)),
            ((4, 0), (0, 4)),
            ((), (4, 4)),
            ((4, 5), (4, 5)),
            ((2, 4, 4), (3, 4, 4)),
        ]:
            assert tensor_cores.matmul(gpu, np.ones(a, np.float32), np.ones(b, np.float32)) is None
    assert gpu.blas.compute_types == []


@pytest.mark.parametrize(
    "subscripts",
    [
        "nk,km->nm",
        "nk,mk->mn",
        "bnk,bkm->nbm",
        "ij,jk->",
        "i,j->ji",
        "ij,ij->ij",
        "ijk,kl->l",
        "ij,ij->",
        "abc,cbd->dab",
    ],
)
def test_einsum_is_one_product(subscripts: str, gpu: Any) -> None:
    sizes = dict(zip("abcdijklmn", [2, 3, 4, 5, 3, 4, 2, 5, 6, 7], strict=True))
    x, y = (whole(*(sizes[label] for label in labels)) for labels in subscripts.split("->")[0].split(","))
    with mg.matmul_precision("tf32"):
        found = tensor_cores.einsum(gpu, subscripts, x, y)
    np.testing.assert_array_equal(found, np.einsum(subscripts, x, y))
    assert len(gpu.blas.compute_types) == 1


@pytest.mark.parametrize(
    ("capability", "precision"), [("90", "tf32"), ("80", "bfloat16"), ("75", "tf32"), ("90", "float32")]
)
def test_a_gpu_without_such_tensor_cores_multiplies_as_ever(capability: str, precision: str, gpu: Any) -> None:
    of_cupy = SimpleNamespace(**vars(gpu) | {"ndarray": np.ndarray, "matmul": np.matmul, "einsum": np.einsum})
    of_cupy.cuda = SimpleNamespace(
        **vars(gpu.module.cuda), Device=lambda n: SimpleNamespace(compute_capability=capability)
    )
    xp = CudaNamespace(of_cupy, 0)
    xp.address = gpu.address  # type: ignore[method-assign]
    x, y = whole(4, 5), whole(5, 6)
    with mg.matmul_precision(precision):
        found = [
            xp.matmul(x, y),
            xp.einsum("nk,km->nm", x, y),
            xp.matmul(x.astype(np.float64), y),
            xp.matmul(x[0], y[:, 0]),
        ]
        found.append(xp.einsum("nk,km,nm->n", x, y, x @ y, optimize=True))
    for one, other in zip(found, [x @ y, x @ y, x @ y, x[0] @ y[:, 0], ((x @ y) ** 2).sum(1)], strict=True):
        np.testing.assert_array_equal(one, other)
    lowers = capability != "75" and precision != "float32"
    assert gpu.blas.compute_types == ([tensor_cores.COMPUTE_TYPES[precision]] * 2 if lowers else [])
