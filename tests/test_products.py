"""Matrix products by the kernels' library: which are its own, and that they are right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.fusion import runtime

from .compiling import needs_compiler

pytestmark = [pytest.mark.fusing, needs_compiler]

OWN = {  # (n, depth, m)
    "many rows": (300, 70, 65),
    "a sum of outer products": (65, 2500, 130),
    "of rows of a table, for which a BLAS would wake its threads": (128, 65, 128),
    "a little matrix": (200, 100, 120),
}
OF_THE_BLAS = {
    "few rows by a large matrix": (50, 512, 300),
    "a small product": (40, 30, 50),
    "a row": (1, 600, 700),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [*OWN, *OF_THE_BLAS])
def test_whose_a_product_is(name: str, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    n, depth, m = (OWN | OF_THE_BLAS)[name]
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((depth, n)).astype(dtype).T, rng.standard_normal((depth, m)).astype(dtype)
    seen: list[Any] = []
    blas = runtime._numpy_matmul
    monkeypatch.setattr(runtime, "_numpy_matmul", lambda *pair: seen.append(pair) or blas(*pair))
    found = (mg.Tensor(x) @ mg.Tensor(y)).numpy()
    is_own = name in OWN and mg.fuse_backend("cpu") == "c"
    assert bool(seen) != is_own
    expected = x.astype("float64") @ y.astype("float64")
    np.testing.assert_allclose(found, expected, rtol=0, atol=np.finfo(dtype).eps * depth * 4)
