"""Functions compute what PyTorch's compute: values and gradients, in float64, to 1e-10.

Against the golden file always, on every device; against a live torch, where there is one, on random cases too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.nn import functional as F

from .golden.arrays import Arrays, weighing
from .golden.functions import FUNCTIONS, Function, run_function
from .golden.make import read
from .helpers import assert_same, on

GOLDEN = read("functions")


def check_function(case: Function, expected: Arrays, device: str) -> None:
    x = on(device, expected["x"], requires_grad=True)
    targets = [on(device, expected["targets"])] if "targets" in expected else []
    y = getattr(F, case.kind)(x, *targets, **case.options)
    (y * on(device, weighing(y.shape, 0))).sum().backward()
    assert_same({"output.0": y, "gradient.x": x.grad}, expected)


# Against the golden file --------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str, device: str) -> None:
    check_function(FUNCTIONS[name], GOLDEN[name], device)


def test_cross_entropy_of_nothing_but_ignored_targets(device: str) -> None:
    logits, targets = on(device, np.zeros((2, 3))), on(device, np.array([-100, -100]))
    with np.errstate(invalid="ignore"):  # as for the mean of nothing, NumPy warns
        assert np.isnan(F.cross_entropy(logits, targets).item())
    assert F.cross_entropy(logits, targets, reduction="sum").item() == 0.0


def test_the_default_device_may_be_another(device: str) -> None:
    """A loss works where its arguments are."""
    with mg.use_device("cpu" if device == "strict" else "strict"):
        for name in ("softmax", "cross-entropy-ignored-mean", "cross-entropy-ignored-none"):
            check_function(FUNCTIONS[name], GOLDEN[name], device)


# Against live torch, on random cases --------------------------------------------------------------

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 4)


@st.composite
def cross_entropies(draw: Any) -> Function:
    shape = tuple(draw(st.lists(sizes, min_size=1, max_size=4)))
    options = {"reduction": draw(st.sampled_from(["mean", "sum", "none"]))}
    options |= draw(st.sampled_from([{}, {"ignore_index": 0}, {"ignore_index": -1}]))
    targets = int(np.prod(shape)) // shape[min(1, len(shape) - 1)]
    ignored = draw(st.integers(0, targets - 1))  # a mean over no target is NaN, tested above
    if options == {"reduction": "mean", "ignore_index": 0}:
        ignored = 0  # a random target may be 0 as well; the golden cases have this one
        options["ignore_index"] = -100
    return Function("cross_entropy", shape, options, draw(st.sampled_from([1.0, 30.0])), ignored)


@given(cross_entropies(), seeds)
def test_live_cross_entropy(case: Function, seed: int) -> None:
    pytest.importorskip("torch")
    check_function(case, run_function(case, seed), "cpu")
