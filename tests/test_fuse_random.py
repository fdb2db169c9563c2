"""Fused functions are the functions: random ones, with random arguments, forward and backward, by every writer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.ops import registry

from . import fusing
from .fusing import BINARY, SPECIAL, UNARY, WRITERS, Call, assert_agree, calls, functions, noisy_runs, run, written_by


def check(written: fusing.Written, drawn: list[fusing.Call], second: bool = False) -> None:
    plain = written.function()
    fused = [mg.fuse(plain) for _ in WRITERS]
    with np.errstate(all="ignore"):
        for call in drawn:
            numbers = len(written.numbers)
            with mg.fusing(False):
                expected = run(plain, call, numbers, second=second)
            noisy = noisy_runs(written, call, second)
            for (device, writer), f in zip(WRITERS, fused, strict=True):
                with written_by(device, writer):
                    found = run(f, call, numbers, device, second)
                assert f._plans, "it has not been fused"
                assert_agree(found, expected, noisy, len(written.outputs), written.eps)


@given(functions(), st.data())
def test_random_functions(written: fusing.Written, data: st.DataObject) -> None:
    drawn = [data.draw(calls(written, layouts=("contiguous",)), "call")]
    drawn += [data.draw(calls(written, special=special), "call") for special in (False, True)]
    check(written, drawn)


@given(functions(dtypes=(np.float64,), lines=5), st.data())
def test_second_derivatives(written: fusing.Written, data: st.DataObject) -> None:
    check(written, [data.draw(calls(written), "call")], second=True)


ENDS = [*SPECIAL, 2.0, -2.0, 3.0, 1e-30, 100.0, -100.0, 0.3, 5e-324, 1.4e-45, 1e300]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("device", "writer"), WRITERS)
def test_special_values(device: str, writer: str, dtype: Any) -> None:
    """Each primitive of each of them, or of each pair: what is NaN, infinite or zero is so without fuse."""

    def every(*xs: Any) -> Any:
        x, pairs = iter(xs[: len(UNARY)]), iter(xs[len(UNARY) :])
        of_one = [registry[name](next(x)) for name in UNARY]
        return (*of_one, *(registry[name](next(pairs), next(pairs)) for name in BINARY))

    with np.errstate(all="ignore"):
        ends = np.array(ENDS).astype(dtype)
        x, y = (part.ravel() for part in np.meshgrid(ends, ends))
        arrays = [ends] * len(UNARY) + [x, y] * len(BINARY)
        call = Call(arrays, ["contiguous"] * len(arrays), 0.0, [True] * len(arrays), [True] * len(UNARY + BINARY))
        expected = run(every, call, 0)
        with written_by(device, writer):
            found = run(mg.fuse(every), call, 0, device)
    inputs = [[name] for name in UNARY] + [[name, name] for name in BINARY]
    names = [*UNARY, *BINARY, *(f"gradient of {name}" for part in inputs for name in part)]
    for name, a, b in zip(names, found, expected, strict=True):
        assert (a is None) == (b is None), name
        if a is None or b is None:
            continue
        assert (a.shape, a.dtype) == (b.shape, b.dtype), name
        if b.dtype.kind == "b":
            np.testing.assert_array_equal(a, b, err_msg=name)
            continue
        limits = np.finfo(dtype)
        with np.errstate(all="ignore"):
            loss = 1000 if "gradient" in name else 16  # 1 - tanh² x has few digits
            near = np.abs(a - b) <= loss * limits.eps * np.abs(b) + 4 * limits.smallest_subnormal
        right = (np.isnan(a) & np.isnan(b)) | (a == b) | near
        where = np.flatnonzero(~right)[:4]
        of = ends[where] if len(ends) == len(a) else [(x[k], y[k]) for k in where]
        assert not len(where), f"{name} of {of}: {a[where]} instead of {b[where]}"
        zeros = (a == 0) & (b == 0)
        np.testing.assert_array_equal(np.signbit(a[zeros]), np.signbit(b[zeros]), err_msg=f"zeros of {name}")
