"""Optimizers and clipping go where PyTorch's go, step by step, in float64, to 1e-10.

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
    CLIPPINGS,
    LOOK_EVERY,
    OPTIMIZERS,
    STEPS_TAKEN,
    Clipping,
    Optimizer,
    run_clipping,
    run_optimizer,
)
from .helpers import assert_same, host, on

OPTIMIZED, CLIPPED = read("optimizers"), read("clippings")


def check_optimizer(case: Optimizer, expected: Arrays, device: str) -> None:
    kind, options = case
    p = on(device, expected["start"], requires_grad=True)
    optimizer = getattr(optim, kind)([p], **options)
    assert len(expected["gradients"]) == STEPS_TAKEN
    for step, gradient in enumerate(expected["gradients"], start=1):
        p.grad = on(device, gradient)
        optimizer.step()
        if step % LOOK_EVERY == 0:
            place = expected["places"][step // LOOK_EVERY - 1]
            np.testing.assert_allclose(host(p), place, rtol=1e-10, atol=1e-10, err_msg=f"step {step}")
            np.testing.assert_array_equal(host(p.grad), gradient, err_msg="a step leaves the gradient alone")


def check_clipping(case: Clipping, expected: Arrays, device: str) -> None:
    function, options = case
    parameters = []
    for k in range(2):
        p = on(device, np.zeros_like(expected[f"before.{k}"]), requires_grad=True)
        p.grad = on(device, expected[f"before.{k}"])
        parameters.append(p)
    norm = getattr(nn.utils, function)(iter(parameters), **options)
    after = {f"after.{k}": p.grad for k, p in enumerate(parameters)}
    assert_same(after if norm is None else after | {"norm": norm}, expected)


# Against the golden file --------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer(name: str, device: str) -> None:
    check_optimizer(OPTIMIZERS[name], OPTIMIZED[name], device)


@pytest.mark.parametrize("name", CLIPPINGS)
def test_clipping(name: str, device: str) -> None:
    check_clipping(CLIPPINGS[name], CLIPPED[name], device)


def test_the_default_device_may_be_another(device: str) -> None:
    """An optimizer works where its parameters are."""
    with mg.use_device("strict" if device == "cpu" else "cpu"):
        for name in ("sgd-nesterov", "adagrad-all", "rmsprop-all", "adam-amsgrad", "adamw"):
            check_optimizer(OPTIMIZERS[name], OPTIMIZED[name], device)
        for name in CLIPPINGS:
            check_clipping(CLIPPINGS[name], CLIPPED[name], device)


# Against live torch, on random cases --------------------------------------------------------------

seeds = st.integers(0, 2**32 - 1)
rates = st.floats(0.0, 0.99)
memories = st.floats(0.5, 0.999)  # without memory the step is g/|g|, whose sign near 0 turns on the last bit
some = st.just(0.0) | rates


@st.composite
def optimizers(draw: Any, kinds: tuple[str, ...] = ("SGD", "Adagrad", "RMSprop", "Adam", "AdamW")) -> Optimizer:
    kind = draw(st.sampled_from(kinds))
    options: dict[str, Any] = {"lr": draw(st.floats(0.0, 0.3)), "weight_decay": draw(some)}
    options["maximize"] = draw(st.booleans())
    if options["maximize"]:  # away from the origin, faster and faster
        options["weight_decay"] *= 0.1
    if kind in ("SGD", "RMSprop"):
        options["momentum"] = draw(some)
    if kind != "SGD":
        options["eps"] = draw(st.sampled_from([1e-10, 1e-8, 1e-3]))
    if kind == "SGD" and options["momentum"]:
        options |= draw(st.just({"nesterov": True}) | st.fixed_dictionaries({"dampening": rates}))
    elif kind == "Adagrad":
        options |= {"lr_decay": draw(some), "initial_accumulator_value": draw(some)}
    elif kind == "RMSprop":
        options |= {"alpha": draw(memories), "centered": draw(st.booleans())}
    elif kind in ("Adam", "AdamW"):
        options |= {"betas": (draw(rates), draw(memories)), "amsgrad": draw(st.booleans())}
    return kind, options


@given(optimizers(), seeds)
def test_live_optimizer(case: Optimizer, seed: int) -> None:
    pytest.importorskip("torch")
    check_optimizer(case, run_optimizer(case, seed), "cpu")


sizes = st.floats(1e-3, 1e3)
clippings = st.tuples(
    st.just("clip_grad_norm_"),
    st.fixed_dictionaries({"max_norm": sizes, "norm_type": st.just(float("inf")) | st.floats(0.5, 8.0)}),
) | st.tuples(st.just("clip_grad_value_"), st.fixed_dictionaries({"clip_value": sizes}))


@given(clippings, seeds)
def test_live_clipping(case: Clipping, seed: int) -> None:
    pytest.importorskip("torch")
    check_clipping(case, run_clipping(case, seed), "cpu")
