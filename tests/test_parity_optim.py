"""Optimizers, clipping and schedules go where PyTorch's go, step by step, in float64, to 1e-10.

Against the golden files always, on every device; against a live torch, where there is one, on random cases too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn, optim

from .golden.arrays import Arrays
from .golden.make import read
from .golden.optimizers import (
    MAX_NORMS,
    OPTIMIZERS,
    SCHEDULES,
    Optimizer,
    run_clipping,
    run_optimizer,
)
from .helpers import assert_same, host, on

OPTIMIZED, CLIPPED, SCHEDULED = read("optimizers"), read("clippings"), read("schedules")


def check_optimizer(case: Optimizer, expected: Arrays, device: str) -> None:
    kind, options = case
    p = on(device, expected["start"], requires_grad=True)
    optimizer = getattr(optim, kind)([p], **options)
    for step, (gradient, place) in enumerate(zip(expected["gradients"], expected["places"], strict=True)):
        p.grad = on(device, gradient)
        optimizer.step()
        np.testing.assert_allclose(host(p), place, rtol=1e-10, atol=1e-10, err_msg=f"step {step}")
        np.testing.assert_array_equal(host(p.grad), gradient, err_msg="a step leaves the gradient alone")


def check_clipping(max_norm: float, expected: Arrays, device: str) -> None:
    parameters = []
    for k in range(2):
        p = on(device, np.zeros_like(expected[f"before.{k}"]), requires_grad=True)
        p.grad = on(device, expected[f"before.{k}"])
        parameters.append(p)
    norm = nn.utils.clip_grad_norm_(iter(parameters), max_norm)
    assert_same({"norm": norm} | {f"after.{k}": p.grad for k, p in enumerate(parameters)}, expected)


# Against the golden file --------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer(name: str, device: str) -> None:
    check_optimizer(OPTIMIZERS[name], OPTIMIZED[name], device)


@pytest.mark.parametrize("name", MAX_NORMS)
def test_clip_grad_norm(name: str, device: str) -> None:
    check_clipping(MAX_NORMS[name], CLIPPED[name], device)


@pytest.mark.parametrize("name", SCHEDULES)
def test_cosine_schedule(name: str) -> None:
    optimizer = optim.SGD([mg.zeros(1, requires_grad=True)], lr=0.1)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, **SCHEDULES[name])
    for step, expected in enumerate(SCHEDULED[name]["rates"]):
        np.testing.assert_allclose(schedule.get_last_lr(), expected, rtol=1e-10, atol=1e-12, err_msg=f"step {step}")
        assert optimizer.param_groups[0]["lr"] == schedule.get_last_lr()[0]
        schedule.step()


def test_the_default_device_may_be_another(device: str) -> None:
    """An optimizer works where its parameters are."""
    with mg.use_device("cpu" if device == "strict" else "strict"):
        for name in ("sgd-nesterov", "rmsprop-momentum", "adam"):
            check_optimizer(OPTIMIZERS[name], OPTIMIZED[name], device)
        check_clipping(MAX_NORMS["above"], CLIPPED["above"], device)


# Against live torch, on random cases --------------------------------------------------------------

seeds = st.integers(0, 2**32 - 1)


@st.composite
def optimizers(draw: Any) -> Optimizer:
    kind = draw(st.sampled_from(["SGD", "RMSprop", "Adam"]))
    rates = st.floats(0.0, 0.99)
    memories = st.floats(0.5, 0.999)  # without memory the step is g/|g|, whose sign near 0 turns on the last bit
    options: dict[str, Any] = {"lr": draw(st.floats(0.0, 0.3)), "weight_decay": draw(st.just(0.0) | rates)}
    if kind == "Adam":
        options["betas"] = (draw(rates), draw(memories))
    else:
        options["momentum"] = draw(st.just(0.0) | rates)
    if kind == "SGD" and options["momentum"]:
        options |= draw(st.just({"nesterov": True}) | st.fixed_dictionaries({"dampening": rates}))
    if kind == "RMSprop":
        options["alpha"] = draw(memories)
    return kind, options


@given(optimizers(), seeds)
def test_live_optimizer(case: Optimizer, seed: int) -> None:
    pytest.importorskip("torch")
    check_optimizer(case, run_optimizer(case, seed), "cpu")


@given(st.floats(1e-3, 1e3), seeds)
def test_live_clip_grad_norm(max_norm: float, seed: int) -> None:
    pytest.importorskip("torch")
    check_clipping(max_norm, run_clipping(max_norm, seed), "cpu")
