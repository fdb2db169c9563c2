"""Fused functions are the functions: random ones, with random arguments, forward and backward, by every writer."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg

from . import fusing
from .fusing import WRITERS, assert_agree, calls, functions, noisy_runs, run


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
                with mg.fusing(writer=writer):
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
