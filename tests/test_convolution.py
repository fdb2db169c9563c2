"""Convolution and max pooling against loops over every entry; ties, NaN and infinity; first values; mistakes.

Their derivatives are proved in test_proofs.py, and compared with PyTorch's in test_parity_*.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F
from minigrad.ops import registry
from minigrad.testing import Application

from .draws import applications
from .helpers import close, host, on

# Against loops ------------------------------------------------------------------------------------


def windows_of(x: Any, size: Any, stride: Any, padding: Any, dilation: Any, value: float) -> Any:
    """The places of the windows of x (N, C, H, W), and the entries (N, C, kh, kw) of each."""
    (kh, kw), (sh, sw), (dh, dw), (ph, pw) = size, stride, dilation, padding
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=value)
    for a, top in enumerate(range(0, x.shape[2] - dh * (kh - 1), sh)):
        for b, left in enumerate(range(0, x.shape[3] - dw * (kw - 1), sw)):
            rows, columns = top + dh * np.arange(kh), left + dw * np.arange(kw)
            yield (a, b), x[:, :, rows[:, None], columns]


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
seeds = st.integers(0, 2**32 - 1)


@given(pairs, pairs, st.tuples(st.integers(0, 2), st.integers(0, 2)), st.integers(1, 3), pairs, seeds)
def test_convolution_is_a_sum_over_each_window(
    size: Any, stride: Any, padding: Any, groups: int, more: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    dilation = (1, 2) if seed % 2 else (2, 1)
    h, w = (d * (k - 1) + n for d, k, n in zip(dilation, size, more, strict=True))
    x, weight = rng.normal(size=(2, 2 * groups, h, w)), rng.normal(size=(3 * groups, 2, *size))
    found = host(F.conv2d(mg.tensor(x), mg.tensor(weight), None, stride, padding, dilation, groups))
    for (a, b), entries in windows_of(x, size, stride, padding, dilation, 0.0):
        for o in range(3 * groups):
            part = o // 3
            expected = (entries[:, 2 * part : 2 * part + 2] * weight[o]).sum(axis=(1, 2, 3))
            np.testing.assert_allclose(found[:, o, a, b], expected, rtol=1e-12, atol=1e-12)
    assert found.shape == (2, 3 * groups, a + 1, b + 1)  # of the last window


@given(pairs, pairs, pairs, seeds)
def test_pooling_is_the_maximum_of_each_window(size: Any, stride: Any, more: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    padding, dilation = (size[0] // 2, 0), (1, 2)
    h, w = (d * (k - 1) + n for d, k, n in zip(dilation, size, more, strict=True))
    x = rng.integers(-2, 3, (2, 3, h, w)).astype(float)
    found = host(F.max_pool2d(mg.tensor(x), size, stride, padding, dilation))
    for (a, b), entries in windows_of(x, size, stride, padding, dilation, -math.inf):
        np.testing.assert_array_equal(found[:, :, a, b], entries.max(axis=(2, 3)))
    assert found.shape == (2, 3, a + 1, b + 1)


@pytest.mark.parametrize(("name", "adjoint"), [("windows", "add_windows"), ("take_from_windows", "add_to_windows")])
@given(data=st.data())
def test_they_are_adjoint(name: str, adjoint: str, data: st.DataObject) -> None:
    """⟨f(x), y⟩ = ⟨x, f*(y)⟩"""
    drawn: Application = data.draw(applications(name))
    (x,), options = drawn.inputs, dict(drawn.parameters)
    f_x = host(registry[name](mg.tensor(x), **options))
    y = np.random.default_rng(0).normal(size=f_x.shape)
    if adjoint == "add_windows":
        del options["size"]
    back = host(registry[adjoint](mg.tensor(y), shape=x.shape, **options))
    np.testing.assert_allclose((f_x * y).sum(), (x * back).sum(), rtol=1e-10, atol=1e-10)


# What is special ----------------------------------------------------------------------------------

INF, NAN = math.inf, math.nan
ROWS = {  # a row, the options, the maxima of its windows, and how often each entry is one of them
    "equal entries": ([2.0, 2.0, 1.0, 1.0], {}, [2.0, 1.0], [1, 0, 1, 0]),
    "zeros of either sign": ([-0.0, 0.0, 0.0, -0.0], {}, [0.0, 0.0], [1, 0, 1, 0]),
    "windows that overlap": ([1.0, 3.0, 2.0], {"stride": 1}, [3.0, 3.0], [0, 2, 0]),
    "a NaN": ([5.0, NAN, NAN, 5.0], {}, [NAN, NAN], [0, 1, 1, 0]),
    "two NaNs": ([NAN, NAN, 1.0, 2.0], {}, [NAN, 2.0], [0, 1, 0, 1]),
    "infinities": ([-INF, INF, -INF, -INF], {}, [INF, -INF], [0, 1, 1, 0]),
    "-∞ at the padding": ([-INF, 1.0], {"padding": (0, 1)}, [-INF, 1.0], [1, 1]),
    "negative ones at the padding": ([-3.0, -2.0], {"padding": (0, 1)}, [-3.0, -2.0], [1, 1]),
    "a window that stands out": ([1.0, 2.0, 3.0], {"ceil_mode": True}, [2.0, 3.0], [0, 1, 1]),
    "one that would begin outside": (
        [1.0, 2.0, 3.0],
        {"stride": (1, 3), "padding": (0, 1), "ceil_mode": True},
        [1.0, 3.0],
        [1, 0, 1],
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_which_entry_is_the_maximum(name: str, device: str) -> None:
    row, options, maxima, counts = ROWS[name]
    x = on(device, np.array([[row]]), True)
    y = F.max_pool2d(x, (1, 2), **options)
    np.testing.assert_array_equal(host(y), [[maxima]])
    y.backward(mg.ones(y.shape, dtype=mg.float64))
    assert x.grad.tolist() == [[counts]]


@pytest.mark.parametrize("name", ROWS)
def test_it_is_the_one_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    row, options, maxima, counts = ROWS[name]
    x = torch.tensor([[row]], requires_grad=True)
    y = torch.nn.functional.max_pool2d(x, (1, 2), **options)
    y.sum().backward()
    np.testing.assert_array_equal(y.detach(), [[maxima]])
    assert x.grad.tolist() == [[counts]]


def test_a_window_of_nothing_but_padding_is_the_maximum_of_nothing(device: str) -> None:
    x = on(device, np.ones((1, 1, 1)), True)
    y = F.max_pool2d(x, (2, 1), padding=(1, 0), dilation=(2, 1))
    y.sum().backward()
    assert (y.tolist(), x.grad.tolist()) == ([[[-INF]]], [[[0.0]]])


def test_an_infinite_gradient_reaches_the_maximum_alone(device: str) -> None:
    x = on(device, np.array([[[1.0, 3.0, 2.0]]]), True)
    F.max_pool2d(x, (1, 2), 1).backward(on(device, np.array([[[INF, NAN]]])))
    np.testing.assert_array_equal(host(x.grad), [[[0.0, NAN, 0.0]]])


def test_windows_of_more_entries_than_a_byte_can_number(device: str) -> None:
    image = np.random.default_rng(0).permutation(20.0 * np.arange(1000)).reshape(1, 25, 40)
    x = on(device, image, True)
    y = F.max_pool2d(x, (20, 17), (5, 23))
    close(y, [[[image[0, a : a + 20, b : b + 17].max() for b in (0, 23)] for a in (0, 5)]])
    y.sum().backward()
    np.testing.assert_array_equal(host(x.grad).sum(), 4.0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtypes_and_axes_stay(dtype: str, device: str) -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, dtype=dtype), nn.ReLU(), nn.MaxPool2d(2))
    for batch in ((4,), (0,), ()):
        x = mg.ones((*batch, 2, 6, 5), dtype=dtype, requires_grad=True)
        y = net(x)
        y.sum().backward()
        assert (y.shape, y.dtype, x.grad.dtype) == ((*batch, 3, 3, 2), np.dtype(dtype), np.dtype(dtype))


def test_no_windows_are_copied_back_for_images_that_need_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = nn.Conv2d(1, 2, 3), mg.ones((2, 1, 5, 5))
    monkeypatch.setattr(registry["add_windows"], "value", None)
    layer(x).sum().backward()
    assert layer.weight.grad.tolist() == [[[[18.0] * 3] * 3]] * 2


# First values -------------------------------------------------------------------------------------


def test_first_values(device: str) -> None:
    layer = nn.Conv2d(8, 64, (3, 6), groups=4)
    for p in (layer.weight, layer.bias):
        assert 0.9 / 6 < abs(host(p)).max() <= 1 / 6  # 1/√(8/4 · 3 · 6)
    before = host(layer.weight).copy()
    layer.reset_parameters()
    assert (host(layer.weight) != before).any()


SHOWN: dict[str, Any] = {
    "plain": lambda nn: nn.Conv2d(1, 2, 3),
    "options": lambda nn: nn.Conv2d(2, 4, (1, 3), stride=2, padding=1, dilation=(1, 2), groups=2, bias=False),
    "pool": lambda nn: nn.MaxPool2d(2),
    "pool with options": lambda nn: nn.MaxPool2d((2, 3), 1, padding=(1, 0), dilation=2, ceil_mode=True),
}


@pytest.mark.parametrize("name", SHOWN)
def test_shown_as_pytorch_shows_it(name: str) -> None:
    torch = pytest.importorskip("torch")
    assert repr(SHOWN[name](nn)) == repr(SHOWN[name](torch.nn))


# Mistakes -----------------------------------------------------------------------------------------


def ones(*shape: int, **options: Any) -> mg.Tensor:
    return mg.ones(shape, **options)


IMAGE, KERNEL = (1, 2, 4, 4), (3, 2, 3, 3)


def convolved(shape: Any = IMAGE, kernel: Any = KERNEL, bias: Any = None, **options: Any) -> Any:
    return lambda: F.conv2d(ones(*shape), ones(*kernel), bias and bias(), **options)


def pooled(shape: Any = IMAGE, kernel_size: Any = 2, **options: Any) -> Any:
    return lambda: F.max_pool2d(ones(*shape), kernel_size, **options)


MISTAKES: dict[str, tuple[Any, type[Exception], str]] = {
    "a list of images": (lambda: F.conv2d([[1.0]], ones(*KERNEL)), TypeError, r"conv2d: .*got list"),
    "a matrix for an image": (convolved((4, 4)), ValueError, r"conv2d: expected an input \(N, 2, H, W\) or \(2, H, W"),
    "a sequence of batches": (convolved((1, *IMAGE)), ValueError, r"conv2d: expected an input .*got \(1, 1, 2, 4, 4\)"),
    "channels last": (convolved((1, 4, 4, 2)), ValueError, r"conv2d: expected an input \(N, 2, .*got \(1, 4, 4, 2\)"),
    "channels of all groups": (
        convolved(groups=3),
        ValueError,
        r"conv2d: expected an input \(N, 6, H, W\).*got \(1, 2",
    ),
    "images without height": (convolved((1, 2, 0, 4), padding=3), ValueError, r"conv2d: expected an input"),
    "a kernel of a matrix": (
        convolved(kernel=(3, 3)),
        ValueError,
        r"conv2d: expected a weight \(O, C/groups, kh, kw\)",
    ),
    "a kernel of nothing": (convolved(kernel=(3, 2, 0, 3)), ValueError, r"conv2d: expected a weight .*\(3, 2, 0, 3\)"),
    "a kernel larger than the image": (
        convolved((2, 2, 3), padding=(0, 1)),
        ValueError,
        r"conv2d: expected an input at least as large as a window, \(3, 3\) entries, got \(2, 5\) with its padding",
    ),
    "a kernel made too large by dilation": (convolved(dilation=2), ValueError, r"as a window, \(5, 5\) .*got \(4, 4\)"),
    "no stride": (
        convolved(stride=0),
        ValueError,
        r"conv2d: expected stride to be an integer from 1 on, or two, got 0",
    ),
    "a negative stride": (convolved(stride=(1, -1)), ValueError, r"conv2d: expected stride to be .*got \(1, -1\)"),
    "a stride by halves": (convolved(stride=1.5), ValueError, r"conv2d: expected stride to be .*got 1.5"),
    "three strides": (convolved(stride=(1, 1, 1)), ValueError, r"conv2d: expected stride to be an integer from 1 on"),
    "a stride that is a flag": (convolved(stride=True), ValueError, r"conv2d: expected stride to be .*got True"),
    "no dilation": (convolved(dilation=0), ValueError, r"conv2d: expected dilation to be an integer from 1 on"),
    "negative padding": (convolved(padding=-1), ValueError, r"conv2d: expected padding to be an integer from 0 on"),
    "padding of another name": (convolved(padding="full"), ValueError, r'as numbers, "same" or "valid", got \'full\''),
    "the same size at a stride": (
        convolved(padding="same", stride=2),
        ValueError,
        r'conv2d: expected stride 1 with padding="same", got \(2, 2\); give the padding as numbers',
    ),
    "groups that do not divide": (
        convolved(groups=2),
        ValueError,
        r"conv2d: expected groups that divide the 3 channels",
    ),
    "no groups": (convolved(groups=0), ValueError, r"conv2d: expected groups to be a positive integer, got 0"),
    "a bias of another size": (
        convolved(bias=lambda: ones(1)),
        ValueError,
        r"conv2d: expected a bias \(3,\), got \(1,\)",
    ),
    "a bias of another dtype": (
        convolved(bias=lambda: ones(3, dtype=mg.float64)),
        TypeError,
        r"conv2d: expected bias of the dtype of the input, float32, got float64",
    ),
    "a kernel of another dtype": (
        lambda: F.conv2d(ones(*IMAGE), ones(*KERNEL, dtype=mg.float64)),
        TypeError,
        r"conv2d: expected weight of the dtype of the input, float32, got float64; convert",
    ),
    "an image of integers": (
        lambda: F.conv2d(ones(*IMAGE, dtype=mg.int64), ones(*KERNEL)),
        TypeError,
        r"conv2d: expected floating-point input, got .*int64.*; convert with .astype",
    ),
    "a layer of no channels": (
        lambda: nn.Conv2d(0, 1, 3),
        ValueError,
        r"Conv2d: expected in_channels to be a positive",
    ),
    "a layer with no kernel": (
        lambda: nn.Conv2d(1, 1, 0),
        ValueError,
        r"Conv2d: expected kernel_size to be an integer",
    ),
    "a layer with a word for a kernel": (
        lambda: nn.Conv2d(1, 1, "3"),
        ValueError,
        r"Conv2d: expected kernel_size .*'3'",
    ),
    "a layer whose groups do not divide": (
        lambda: nn.Conv2d(4, 6, 3, groups=4),
        ValueError,
        r"Conv2d: expected groups that divide in_channels and out_channels, 4 and 6, got 4",
    ),
    "a layer of the same size at a stride": (
        lambda: nn.Conv2d(1, 1, 3, 2, "same"),
        ValueError,
        r'Conv2d: expected stride 1 with padding="same"',
    ),
    "a word for a layer's bias": (
        lambda: nn.Conv2d(1, 1, 3, bias="no"),
        TypeError,
        r"Conv2d: expected bias to be True",
    ),
    "an image of other channels for a layer": (
        lambda: nn.Conv2d(3, 1, 3)(ones(1, 1, 8, 8)),
        ValueError,
        r"conv2d: expected an input \(N, 3, H, W\) or \(3, H, W\), got \(1, 1, 8, 8\)",
    ),
    "pooling a matrix": (
        pooled((4, 4)),
        ValueError,
        r"max_pool2d: expected an input \(N, C, H, W\) or \(C, H, W\), got",
    ),
    "pooling no channels": (pooled((1, 0, 4, 4)), ValueError, r"max_pool2d: expected an input \(N, C, H, W\)"),
    "pooling integers": (
        lambda: F.max_pool2d(ones(*IMAGE, dtype=mg.int64), 2),
        TypeError,
        r"max_pool2d: expected floating-point input",
    ),
    "pooling by nothing": (
        pooled(kernel_size=0),
        ValueError,
        r"max_pool2d: expected kernel_size to be an integer from",
    ),
    "pooling by more than there is": (
        pooled(kernel_size=(2, 5)),
        ValueError,
        r"max_pool2d: expected an input at least as large as a window, \(2, 5\) entries, got \(4, 4\)",
    ),
    "pooling at no stride": (pooled(stride=0), ValueError, r"max_pool2d: expected stride to be an integer from 1 on"),
    "padding of more than half": (
        pooled(kernel_size=3, padding=2, dilation=2),
        ValueError,
        r"max_pool2d: expected padding of at most half the kernel_size, \(3, 3\), got 2",
    ),
    "a word for pooling's padding": (pooled(padding="same"), ValueError, r"max_pool2d: expected padding .*got 'same'"),
    "a number for ceil_mode": (pooled(ceil_mode=1), TypeError, r"max_pool2d: expected ceil_mode to be True or False"),
    "a layer that pools too far out": (
        lambda: nn.MaxPool2d(2, padding=2),
        ValueError,
        r"MaxPool2d: expected padding of",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message(mistake: str, device: str) -> None:
    act, error, message = MISTAKES[mistake]
    with pytest.raises(error, match=message):
        act()


def test_two_devices() -> None:
    with pytest.raises(RuntimeError, match=r"conv2d: expected one device, got the input .*strict and weight .*cpu"):
        nn.Conv2d(2, 3, 3)(ones(*IMAGE, device="strict"))


@pytest.mark.parametrize("which", [[1, 2], [-1, 0]])
def test_an_entry_that_a_window_does_not_have_is_refused_on_the_cpu(which: list[int]) -> None:
    options = {"which": np.array(which), "size": (2,), "stride": (1,), "dilation": (1,)}
    with pytest.raises(ValueError, match=r"take_from_windows: expected .* number of an entry, from 0, per window"):
        registry["take_from_windows"](mg.zeros(3), **options)
    with pytest.raises(ValueError, match=r"add_to_windows: expected .* number of an entry, from 0, per window"):
        registry["add_to_windows"](mg.zeros(2), shape=(3,), **options)
