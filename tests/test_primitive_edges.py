"""Where formulas are easily wrong (ties, kinks, extremes), and what a primitive says when it is misused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.ops import registry
from minigrad.testing import gradcheck, gradgradcheck

from .cases import CASES, on_device
from .helpers import close, host, leaf, on

# Ties, kinks and extremes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("f", [mg.max, mg.min])
def test_ties_share_the_gradient_equally(f: Any, device: str) -> None:
    x = mg.tensor([[2.0, 2.0, 1.0], [5.0, 5.0, 5.0]], requires_grad=True)
    (g,) = mg.grad(f(x, axis=1).sum(), x)
    close(g, [[0.5, 0.5, 0.0], [1 / 3] * 3] if f is mg.max else [[0.0, 0.0, 1.0], [1 / 3] * 3], rtol=1e-6)


@pytest.mark.parametrize("width", [1, 700], ids=["entry by entry", "row by row"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint8", "bool"])
def test_rows_picked_twice_from_either_end_are_added_up(dtype: str, width: int) -> None:
    ids = np.array([[0, -1], [2, -3], [2, 1]])
    x = np.arange(6 * width).reshape(3, 2, width).astype(dtype)
    expected = np.zeros((4, width), dtype)
    np.add.at(expected, ids, x)
    found = registry["segment_sum"](x, indices=ids, size=4)
    assert found.dtype == expected.dtype
    assert np.array_equal(host(found), expected)
    turned = np.ascontiguousarray(x.transpose(2, 1, 0)).transpose(2, 1, 0)
    assert np.array_equal(host(registry["scatter_add"](turned, index=ids, shape=(4, width))), expected)
    for outside in (4, -5):
        with pytest.raises(IndexError, match="segment_sum"):
            registry["segment_sum"](x, indices=np.array([[0, 1], [2, outside], [3, 3]]), size=4)
    with pytest.raises(IndexError, match="segment_sum"):
        registry["segment_sum"](x, indices=ids, size=0)


def test_a_nan_stays_in_the_row_it_is_added_to() -> None:
    x = np.ones((3, 700), np.float32)
    x[1] = np.nan
    found = host(registry["segment_sum"](x, indices=np.array([0, 1, 0]), size=3))
    assert np.array_equal(np.isnan(found).all(axis=1), [False, True, False])
    assert np.array_equal(found[0], np.full(700, 2.0))


@pytest.mark.parametrize("f", [mg.maximum, mg.minimum])
def test_equal_entries_share_the_gradient_equally(f: Any, device: str) -> None:
    x, y = mg.tensor([1.0, 2.0], requires_grad=True), mg.tensor([1.0, 2.0], requires_grad=True)
    for g in mg.grad(f(x, y).sum(), [x, y]):
        close(g, [0.5, 0.5])


@pytest.mark.parametrize(
    ("f", "at", "expected"),
    [
        (mg.relu, 0.0, 0.0),
        (mg.absolute, 0.0, 0.0),
        (mg.sign, 0.0, 0.0),
        (lambda x: mg.clip(x, -1.0, 1.0), 1.0, 1.0),
        (lambda x: x**0, 0.0, 0.0),
        (lambda x: x**1, 0.0, 1.0),
        (lambda x: x**2, 0.0, 0.0),
        (lambda x: x**3, -2.0, 12.0),
        (lambda x: 2.0**x, 0.0, np.log(2.0)),
        (lambda x: 0.0**x, 2.0, 0.0),
        (mg.sigmoid, -1000.0, 0.0),
        (mg.sigmoid, 1000.0, 0.0),
        (mg.softplus, 1000.0, 1.0),
        (mg.softplus, -1000.0, 0.0),
        (mg.tanh, 1000.0, 0.0),
        (mg.floor, 1.5, 0.0),
        (mg.ceil, 1.0, 0.0),
        (lambda x: x % 2.0, -0.5, 1.0),
        (lambda x: 5.0 % x, -2.0, 3.0),  # 5 - (-2)(-3) = -1
        (lambda x: -5.0 % x, 2.0, 3.0),
        (lambda x: mg.logaddexp(x, 0.0), 1000.0, 1.0),
        (lambda x: mg.logaddexp(x, 0.0), -np.inf, 0.0),
        (lambda x: mg.logaddexp(x, -np.inf), 3.0, 1.0),
        (lambda x: mg.logaddexp(x, -np.inf), -np.inf, 0.0),
        (lambda x: mg.std(mg.stack([x, x])), 3.0, 0.0),
        (lambda x: mg.logsumexp(mg.stack([x, x - 1000.0])), 1000.0, 1.0),
        (lambda x: mg.logsumexp(mg.stack([x * 0 - np.inf, x])), 3.0, 1.0),
    ],
)
def test_gradient_at_a_kink_or_an_extreme(f: Any, at: float, expected: float, device: str) -> None:
    x = mg.tensor(at, dtype=mg.float64, requires_grad=True)
    (g,) = mg.grad(f(x), x)
    close(g, expected)


def test_rounding_and_remainders_are_pythons(device: str) -> None:
    a, b = np.array([7.0, -7.0, 7.0, -7.0, 6.0]), np.array([2.0, 2.0, -2.0, -2.0, -3.0])
    x, y = mg.tensor(a), mg.tensor(b)
    close(x % y, [p % q for p, q in zip(a.tolist(), b.tolist(), strict=True)])
    close(x // y, [p // q for p, q in zip(a.tolist(), b.tolist(), strict=True)])
    close(7 % y, 7 % b)
    close(-7 // y, -7 // b)
    assert [(mg.tensor(v) // 2).dtype for v in (7, 7.0)] == [np.int64, np.float32]
    assert not (mg.ones(1, requires_grad=True) // 2).requires_grad
    close(mg.floor(x / 2), np.floor(a / 2))
    close(mg.ceil(x / 2), np.ceil(a / 2))


def test_what_is_finite(device: str) -> None:
    x = mg.tensor([0.0, np.inf, -np.inf, np.nan])
    assert mg.isnan(x).tolist() == [False, False, False, True]
    assert mg.isinf(x).tolist() == [False, True, True, False]
    assert mg.isfinite(x).tolist() == [True, False, False, False]
    assert not mg.isfinite(x).all().item()
    assert mg.isnan(x).any().item()


def test_cumulative_sums_of_integers_and_booleans_count(device: str) -> None:
    assert mg.cumsum(mg.tensor([True, False, True])).tolist() == [1, 1, 2]
    assert mg.cumsum(mg.tensor([[1, 2], [3, 4]])).tolist() == [1, 3, 6, 10]


def test_padding_keeps_the_dtype(device: str) -> None:
    assert mg.pad(mg.ones(2), (1, 0), constant_values=0.5).dtype == np.float32
    assert mg.pad(mg.tensor([1, 2]), 1, "constant", 7).tolist() == [7, 1, 2, 7]


@pytest.mark.parametrize("k", [2, 3, -1])
def test_powers_of_negative_numbers(k: int, device: str) -> None:
    x = mg.tensor([-1.5, 0.7], dtype=mg.float64, requires_grad=True)
    gradcheck(lambda x: x**k, x)
    gradgradcheck(lambda x: x**k, x)


@pytest.mark.parametrize("name", ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"])
def test_comparing_equal_entries(name: str, device: str) -> None:
    x = mg.tensor([1.0, 2.0, 3.0])
    y = mg.tensor([1.0, 3.0, 2.0])
    found = registry[name](x, y)
    assert found.dtype == np.bool_
    close(found, CASES[name].reference(host(x), host(y)))


def test_outputs_nobody_used_contribute_zeros(device: str) -> None:
    x = mg.tensor(np.arange(6.0), dtype=mg.float64, device=device, requires_grad=True)
    for create_graph in (False, True):
        _, middle, _ = mg.split(x, [2, 4])
        (g,) = mg.grad((middle * middle).sum(), x, create_graph=create_graph)
        close(g, [0, 0, 4, 6, 0, 0])
        (g,) = mg.grad(mg.unstack(x)[5] * 3, x, create_graph=create_graph)
        close(g, [0, 0, 0, 0, 0, 3])


def test_an_index_out_of_range(device: str) -> None:
    """Raises on the CPU. A GPU, which would have to be waited for, wraps it silently: index modulo size."""
    x = mg.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    index = mg.tensor([4])
    if device == "cpu":
        for f in (lambda: x[index], lambda: mg.take(x, index, 0)):
            with pytest.raises(IndexError, match=r"(getitem|take): expected .* range|from -3 to 2"):
                f()
    else:
        assert x[index].tolist() == mg.take(x, index, 0).tolist() == [[3.0, 4.0]]


@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin"])
def test_the_largest_of_nothing(name: str, device: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected at least one entry"):
        registry[name](mg.zeros((2, 0)), axis=1)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's remark that the result is NaN
@pytest.mark.parametrize(
    ("f", "shape"), [(lambda x: x.mean(axis=0), (0,)), (lambda x: x.var(ddof=1), (1,)), (lambda x: x.var(), (0,))]
)
def test_the_mean_of_nothing_is_nan(f: Any, shape: Any, device: str) -> None:
    x = mg.ones(shape, requires_grad=True)
    y = f(x)
    assert np.isnan(y.item())
    (g,) = mg.grad(y, x)
    assert g.shape == shape
    assert np.all(np.isnan(host(g)))


def test_split_where_the_parts_overlap(device: str) -> None:
    """NumPy allows indices that go back: an entry in two parts gets both contributions."""
    x = mg.tensor([1.0, 2.0, 3.0, 4.0], dtype=mg.float64, requires_grad=True)
    parts = mg.split(x, [3, 1])
    loss = sum((k * part.sum() for k, part in enumerate(parts, start=1)), mg.zeros((), dtype=mg.float64))
    close(mg.grad(loss, x)[0], [1.0, 4.0, 4.0, 3.0])


# Misuse -------------------------------------------------------------------------------------------------

ROWS = np.array([0, 1])
MISUSES: list[tuple[str, Any, dict[str, Any]]] = [
    ("add", [(2, 3), (4,)], {}),
    ("where", [(2, 3), (2, 3), (2, 2)], {}),
    ("less", [(2,), (3,)], {}),
    ("sum", [(2, 3)], {"axis": 2}),
    ("mean", [(2, 3)], {"axis": (0, -3)}),
    ("var", [(2, 3)], {"axis": (0, 0)}),
    ("max", [(2, 0)], {}),
    ("logsumexp", [(0, 2)], {"axis": 0}),
    ("argmax", [(2,)], {"axis": 1}),
    ("broadcast_to", [(2, 3)], {"shape": (3, 2)}),
    ("sum_to", [(2, 3)], {"shape": (2,)}),
    ("reshape", [(2, 3)], {"shape": (4,)}),
    ("transpose", [(2, 3)], {"axes": (0, 0)}),
    ("squeeze", [(2, 3)], {"axis": 1}),
    ("expand_dims", [(2, 3)], {"axis": 4}),
    ("concatenate", [(2, 3), (2, 2)], {}),
    ("concatenate", [], {}),
    ("stack", [(2, 3), (2, 2)], {}),
    ("stack", [(2,), (2,)], {"axis": 2}),
    ("split", [(4, 2)], {"sections": 3}),
    ("split", [(4, 2)], {"sections": 0}),
    ("split", [(4, 2)], {"sections": 2, "axis": 2}),
    ("unstack", [(2, 3)], {"axis": -3}),
    ("flip", [(2, 3)], {"axis": 2}),
    ("pad", [(2, 3)], {"pad_width": -1}),
    ("pad", [(2, 3)], {"pad_width": ((1, 1), (1, 1), (1, 1))}),
    ("pad", [(2, 3)], {"pad_width": (1, 2, 3)}),
    ("pad", [(2, 3)], {"pad_width": 0.5}),
    ("pad", [(2, 3)], {"pad_width": 1, "mode": "edge"}),
    ("cumsum", [(2, 3)], {"axis": 2}),
    ("std", [(2, 3)], {"axis": -3}),
    ("any", [(2, 3)], {"axis": 2}),
    ("getitem", [(2, 3)], {"index": (0, 0, 0)}),
    ("getitem", [(2, 3)], {"index": 2}),
    ("getitem", [(2, 3)], {"index": (slice(None), np.array([0.5]))}),
    ("scatter_add", [(3,)], {"index": slice(0, 2), "shape": (4,)}),
    ("scatter_add", [(3,)], {"index": ROWS, "shape": (4,)}),
    ("take", [(2, 3)], {"indices": ROWS, "axis": 2}),
    ("take", [(0, 3)], {"indices": ROWS, "axis": 0}),
    ("segment_sum", [(3, 2)], {"indices": ROWS, "size": 4}),
    ("take_along_axis", [(2, 3)], {"indices": ROWS, "axis": 0}),
    ("add_along_axis", [(3,)], {"indices": ROWS, "axis": 0, "shape": (4,)}),
    ("windows", [(2, 3)], {"size": (4,), "stride": (1,), "dilation": (1,), "axis": 1}),
    ("windows", [(2, 3)], {"size": (2, 2), "stride": (1, 1), "dilation": (1, 1), "axis": 1}),
    ("windows", [(2, 3)], {"size": (2, 2), "stride": (1, 0), "dilation": (1, 1)}),
    ("windows", [(2, 3)], {"size": (2, 2), "stride": (1,), "dilation": (1, 1)}),
    ("add_windows", [(2, 3)], {"shape": (5,), "stride": (1,), "dilation": (1,)}),
    ("add_windows", [(2, 3)], {"shape": (4,), "stride": (1,), "dilation": (1,), "axis": 1}),
    ("take_from_windows", [(4,)], {"which": ROWS, "size": (2,), "stride": (1,), "dilation": (1,)}),
    ("take_from_windows", [(3,)], {"which": ROWS / 2, "size": (2,), "stride": (1,), "dilation": (1,)}),
    ("take_from_windows", [(4,)], {"which": ROWS, "size": (5,), "stride": (1,), "dilation": (1,)}),
    ("add_to_windows", [(3,)], {"which": ROWS, "shape": (4,), "size": (2,), "stride": (1,), "dilation": (1,)}),
    ("matmul", [(2, 3), (2, 3)], {}),
    ("matmul", [(2, 2, 3), (3, 3, 2)], {}),
    ("matmul", [(), (3,)], {}),
    ("outer_sum", [(2, 3), (3, 2)], {}),
    ("linear", [(2, 3), (3, 2), (3,)], {}),
    ("linear", [(2, 3), (3,), (3,)], {}),
    ("linear", [(2, 3), (4, 3), (3,)], {}),
    ("linear", [(2, 3), (4, 3), (5, 2, 4)], {}),
    ("einsum", [(2, 3), (2, 3)], {"subscripts": "ij,jk->ik"}),
]


@pytest.mark.parametrize(("name", "shapes", "parameters"), MISUSES, ids=[f"{n} {s} {p}" for n, s, p in MISUSES])
def test_a_misuse_is_explained(name: str, shapes: Any, parameters: Any, device: str) -> None:
    """The message names the operation, what it expected and what came; on every device in the same words."""
    primitive = registry[name]
    xs = [mg.zeros(shape) for shape in shapes]
    moved = {key: on_device(value, device) for key, value in parameters.items()}
    came = ".*".join(rf"{tuple(shape)}".replace("(", r"\(").replace(")", r"\)") for shape in shapes[:1])
    with pytest.raises((ValueError, IndexError, TypeError), match=rf"(?s)^{name}: expected .*Came: .*{came}"):
        primitive(xs, **moved) if primitive.variadic else primitive(*xs, **moved)


def test_a_parameter_given_twice() -> None:
    with pytest.raises(TypeError, match=r"sum\(x, .*\) got axis twice"):
        mg.sum(mg.ones((2, 3)), 0, axis=1)


def test_every_kind_of_primitive_is_misused() -> None:
    assert {registry[name].kind for name, _, _ in MISUSES} == {primitive.kind for primitive in registry.values()}


def test_the_slope_of_softplus_is_exact_far_out(device):
    """σ(x) ≈ eˣ there, where 1 - (1 - σ) would be 0: an easy negative still has its small gradient."""
    x = on(device, np.array([-40.0, -18.0, 0.0, 40.0, -np.inf, np.inf]), True)
    (g,) = mg.grad(mg.softplus(x), x, mg.ones(6, dtype=mg.float64))
    np.testing.assert_allclose(host(g), [np.exp(-40.0), 1 / (1 + np.exp(18.0)), 0.5, 1.0, 0.0, 1.0], rtol=1e-13)


def test_no_spread_no_derivative_of_any_order(device):
    x = on(device, np.ones(3), True)
    (g,) = mg.grad(x.std(), x, create_graph=True)
    assert g.tolist() == [0.0, 0.0, 0.0]
    assert mg.hvp(lambda x: x.std(), x, mg.tensor([1.0, 0.0, 0.0], dtype=mg.float64))[1].tolist() == [0.0, 0.0, 0.0]


def test_a_negative_power_of_zero(device):
    x, y = on(device, np.array(0.0), True), on(device, np.array(-1.0), True)
    with np.errstate(all="ignore"):
        assert [g.item() for g in mg.grad(x**y, [x, y])] == [-np.inf, -np.inf]


def test_a_bound_that_is_a_tensor_is_taken_as_it_is_now(device: str) -> None:
    """A parameter may be a Tensor: what is written to it later does not change the derivative."""
    x, bound = leaf(0.5, 2.0), mg.tensor([1.0, 1.0], dtype=mg.float64)
    y = mg.clip(x, max=bound)
    bound[...] = -1.0
    y.sum().backward()
    close(y, [0.5, 1.0])
    close(x.grad, [1.0, 0.0])
