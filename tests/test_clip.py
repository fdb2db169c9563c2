"""Clipping gradients: what its users rely on. Values are compared with PyTorch's in test_parity_optim.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

from .strict import strict
from .test_optim import leaf, with_gradient


def test_clipping_leaves_alone_what_has_no_gradient(device: str) -> None:
    p, q, unused = with_gradient(3.0), with_gradient(0.0, 4.0), leaf(1.0)
    norm = nn.utils.clip_grad_norm_([p, unused, q], 1.0)
    assert (norm.item(), norm.shape, norm.device) == (5.0, (), device)
    assert p.grad.tolist() == pytest.approx([0.6])
    assert q.grad.tolist() == pytest.approx([0.0, 0.8])
    assert unused.grad is None
    assert nn.utils.clip_grad_norm_([unused], 1.0).item() == 0
    assert nn.utils.clip_grad_norm_(p, 10.0).item() == pytest.approx(0.6)  # one tensor may stand alone
    nn.utils.clip_grad_value_([p, unused, q], 0.7)
    assert p.grad.tolist() == pytest.approx([0.6])
    assert q.grad.tolist() == pytest.approx([0.0, 0.7])
    assert unused.grad is None


def test_gradients_within_the_norm_keep_every_bit(device: str) -> None:
    p = with_gradient(0.1, 0.2, 0.3)
    before = p.grad.tolist()
    nn.utils.clip_grad_norm_([p], 0.5)
    assert p.grad.tolist() == before


def test_a_norm_that_is_nan_goes_to_every_gradient(device: str) -> None:
    p, q = with_gradient(float("nan")), with_gradient(1.0, 2.0)
    assert math.isnan(nn.utils.clip_grad_norm_([p, q], 1.0).item())
    assert all(map(math.isnan, q.grad.tolist()))


def test_what_was_not_clipped_was_not_written_to_on_the_cpu() -> None:
    """A graph that has saved the gradient can still be gone back through."""
    p = leaf(3.0)
    g = mg.tensor([0.5], requires_grad=True)
    p.grad = g.detach()
    y = (g * g).sum()
    nn.utils.clip_grad_norm_([p], 1.0)
    y.backward()
    assert g.grad.tolist() == [1.0]


def test_a_transposed_gradient_is_scaled_where_it_is(device: str) -> None:
    p = mg.zeros((2, 3), requires_grad=True)
    base = mg.tensor([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])
    p.grad = base.T
    assert nn.utils.clip_grad_norm_([p], 2.5).item() == 5.0
    assert base.to("cpu").numpy() == pytest.approx(np.array([[1.5, 0.0], [0.0, 2.0], [0.0, 0.0]]))


@pytest.mark.parametrize(("norm_type", "expected"), [(1, 7.0), (2, 5.0), (3.0, 91 ** (1 / 3)), (math.inf, 4.0)])
def test_norms(norm_type: float, expected: float, device: str) -> None:
    p, q = with_gradient(3.0), with_gradient(0.0, -4.0)
    norm = nn.utils.clip_grad_norm_([p, q], expected / 2, norm_type)
    assert (norm.shape, norm.device, norm.dtype) == ((), device, mg.float32)
    assert norm.item() == pytest.approx(expected)
    assert p.grad.tolist() == pytest.approx([1.5], rel=1e-5)
    assert q.grad.tolist() == pytest.approx([0.0, -2.0], rel=1e-5)


@pytest.mark.parametrize("norm_type", [2, 1, math.inf])
def test_clipping_half_precision(norm_type: float, device: str) -> None:
    """The squares and the sum overflow float16, the norm in float32 does not."""
    p = with_gradient(300.0, 300.0, dtype=mg.float16)
    big = with_gradient(6e4, 6e4, dtype=mg.float16)
    for q in (p, big):
        norm = nn.utils.clip_grad_norm_([q], 1.0, norm_type)
        assert math.isfinite(norm.item())
        size = {2: math.sqrt(0.5), 1: 0.5, math.inf: 1.0}[norm_type]
        assert q.grad.tolist() == pytest.approx([size] * 2, abs=1e-3)
        assert q.grad.dtype == mg.float16


def test_float16_gradients_are_scaled_by_less_than_a_float16_can_be(device: str) -> None:
    p = with_gradient(*[40000.0, 20000.0] * 50, dtype=mg.float16)
    nn.utils.clip_grad_norm_([p], 1e-3)
    np.testing.assert_allclose(p.grad.tolist(), np.array([2.0, 1.0] * 50) * 1e-3 / np.sqrt(250), rtol=2e-3)


@pytest.mark.parametrize("norm_type", [2, 3, math.inf])
def test_gradients_of_no_shape_and_of_no_size(norm_type: float, device: str) -> None:
    p, empty = mg.tensor(0.0, requires_grad=True), with_gradient()
    p.grad = mg.tensor(-4.0)
    assert nn.utils.clip_grad_norm_([p, empty], 2.0, norm_type).item() == pytest.approx(4.0)
    assert p.grad.item() == pytest.approx(-2.0)
    nn.utils.clip_grad_value_([p, empty], 0.5)
    assert p.grad.item() == -0.5
    assert nn.utils.clip_grad_norm_([empty], 1.0, norm_type).item() == 0


@pytest.mark.parametrize("bad", [math.inf, math.nan])
@pytest.mark.parametrize("norm_type", [2, 1, math.inf])
def test_a_norm_that_is_not_finite(bad: float, norm_type: float, device: str) -> None:
    p, q = with_gradient(3.0), with_gradient(bad, 1.0)
    with pytest.raises(RuntimeError, match=rf"clip_grad_norm_: the norm .* of order {norm_type}, is {bad}.*leave"):
        nn.utils.clip_grad_norm_([p, q], 1.0, norm_type, error_if_nonfinite=True)
    assert p.grad.tolist() == [3.0]
    with np.errstate(invalid="ignore"):  # ∞ · 0
        assert not math.isfinite(nn.utils.clip_grad_norm_([p, q], 1.0, norm_type).item())
    assert p.grad.tolist() != [3.0]  # scaled by it all the same: NaN, or nothing


def test_only_error_if_nonfinite_reads_the_device() -> None:
    with mg.use_device("strict"):
        p = with_gradient(3.0)
        before = strict.reads
        for norm_type in (1, 2, 3, math.inf):
            nn.utils.clip_grad_norm_([p], 1.0, norm_type)
        nn.utils.clip_grad_value_([p], 0.1)
        assert strict.reads == before
        nn.utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
        assert strict.reads == before + 1


def test_clipping_by_value_keeps_what_is_no_number(device: str) -> None:
    p = with_gradient(math.nan, math.inf, -3.0)
    nn.utils.clip_grad_value_(p, 2)
    assert p.grad.tolist() == pytest.approx([math.nan, 2.0, -2.0], nan_ok=True)


@pytest.mark.parametrize("clip", [nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_])
def test_a_clipped_gradient_counts_as_written(clip: Any, device: str) -> None:
    p = with_gradient(3.0)
    g = p.grad
    x = leaf(1.0)
    product = (x * g).sum()
    clip([p], 1.0)
    with pytest.raises(RuntimeError, match=r"multiply: .* has been written to since"):
        product.backward()


MISTAKES: dict[str, tuple[Any, str]] = {
    "a module": (lambda clip: clip(nn.Linear(2, 2), 1.0), "got Linear; of a module, pass module.parameters()"),
    "modules": (lambda clip: clip(nn.ModuleList([nn.Linear(2, 2)]), 1.0), "got Linear; of a module, pass"),
    "names": (lambda clip: clip(nn.Linear(2, 2).named_parameters(), 1.0), "got tuple; of a module, pass"),
    "a state dict": (lambda clip: clip(nn.Linear(2, 2).state_dict(), 1.0), "got str; of a module, pass"),
    "no limit": (
        lambda clip: clip([with_gradient(1.0)], None),
        r"expected (max_norm|clip_value) to be a number, got None",
    ),
    "a tensor": (lambda clip: clip([with_gradient(1.0)], mg.ones(())), r"to be a number, got Tensor"),
}


@pytest.mark.parametrize("clip", [nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_])
@pytest.mark.parametrize("name", MISTAKES)
def test_what_cannot_be_clipped(clip: Any, name: str) -> None:
    wrong, message = MISTAKES[name]
    with pytest.raises(TypeError, match=f"{clip.__name__}: .*{message}"):
        wrong(clip)


def test_the_largest_entry_has_a_name(device: str) -> None:
    """PyTorch takes "inf" for math.inf."""
    p = with_gradient(3.0, -4.0)
    assert nn.utils.clip_grad_norm_([p], np.float32(2.0), "inf").item() == 4.0
    assert p.grad.tolist() == pytest.approx([1.5, -2.0])
    with pytest.raises(TypeError, match="clip_grad_norm_: expected norm_type to be a number, got str"):
        nn.utils.clip_grad_norm_([p], 2.0, "max")


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan])
def test_clipping_to_nothing(bad: float) -> None:
    p = with_gradient(1.0)
    with pytest.raises(ValueError, match=f"clip_grad_norm_: expected a positive max_norm, got {bad}"):
        nn.utils.clip_grad_norm_([p], bad)
    with pytest.raises(ValueError, match=f"clip_grad_norm_: expected a positive norm_type, got {bad}"):
        nn.utils.clip_grad_norm_([p], 1.0, bad)
    with pytest.raises(ValueError, match=f"clip_grad_value_: expected a positive clip_value, got {bad}"):
        nn.utils.clip_grad_value_([p], bad)
    assert p.grad.tolist() == [1.0]
