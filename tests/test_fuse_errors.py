"""What people do wrong with `mg.fuse`, and what happens where no kernel can be compiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.fusion import c_kernel, setting
from minigrad.fusion.expression import Unfit
from minigrad.fusion.setting import fuse_backend
from minigrad.ops.primitive import elementwise

from .compiling import needs_compiler
from .helpers import close

fuse = mg.fuse


def ones(*shape: int, **options: Any) -> mg.Tensor:
    return mg.ones(shape, **options)


def needing() -> mg.Tensor:
    return ones(2, requires_grad=True)


def under_no_grad(x: Any) -> Any:
    with mg.no_grad():
        scale = mg.exp(x)
    return x * scale


def written_to(x: Any) -> Any:
    x[0] = 1.0
    return x


def keyword_only(x: Any, *, scale: Any) -> Any:
    return x * scale


def arc() -> Any:
    @elementwise()
    def arc(xp: Any, x: Any) -> Any:
        return xp.arctan(x)

    return arc


def undeclared() -> Any:
    @elementwise()
    def undeclared(xp: Any, x: Any) -> Any:
        return x * x

    return undeclared


def total_slope() -> Any:
    @elementwise()
    def total_slope(xp: Any, x: Any) -> Any:
        return xp.exp(x)

    total_slope.derivatives(lambda xp, g, y, x: xp.sum_to(g, shape=()) + 0 * g)
    return total_slope


CAPTURED = mg.ones(2)
MISTAKES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    # what does not act entry by entry
    "a reduction": (
        lambda: fuse(lambda x: x / x.sum())(ones(2)),
        Unfit,
        r"fuse\(<lambda>\): sum \(reduction\).*outside",
    ),
    "a product": (
        lambda: fuse(lambda x: x @ x)(ones(2, 2)),
        Unfit,
        r"matmul \(contraction\), which does not act entry",
    ),
    "joining": (lambda: fuse(lambda x: mg.concatenate([x, x]))(ones(2)), Unfit, r"concatenate \(shape\)"),
    "indices": (lambda: fuse(lambda x: x[np.array([0])])(ones(2)), Unfit, r"getitem with indices or a mask.* slices"),
    "indices in a list": (lambda: fuse(lambda x: x[[0, 1]])(ones(2)), Unfit, r"getitem with indices or a mask"),
    "a mask": (lambda: fuse(lambda x: x[x > 0])(ones(2)), Unfit, r"getitem with indices or a mask"),
    "take": (lambda: fuse(lambda x: mg.take(x, np.array([0])))(ones(2)), Unfit, r"take.* inside of the function"),
    "a new shape of what lies apart": (
        lambda: fuse(lambda x: x.T.reshape(-1) * 2)(ones(2, 3)),
        Unfit,
        r"reshape of what does not lie in one piece",
    ),
    # what is not given as an argument
    "a Tensor it was not given": (
        lambda: fuse(lambda x: x * CAPTURED)(ones(2)),
        Unfit,
        r"multiply: a Tensor of shape \(2,\) that the function was not given.* pass it as one",
    ),
    "an array it was not given": (lambda: fuse(lambda x: x * np.ones(2))(ones(2)), Unfit, r"ndarray inside of"),
    # dtypes
    "float16": (
        lambda: fuse(mg.exp)(ones(2, dtype=mg.float16)),
        Unfit,
        r"fuse\(exp\): an array of float16, where float32",
    ),
    "integers": (lambda: fuse(mg.exp)(mg.arange(2)), Unfit, r"an array of int64, where float32, float64 and bool"),
    "to integers": (lambda: fuse(lambda x: x.astype(mg.int32))(ones(2)), Unfit, r"astype: a conversion to int32"),
    "integers of booleans": (
        lambda: fuse(lambda x: (x > 0) + 1)(ones(2)),
        Unfit,
        r"add of booleans or integers.* as 1.0",
    ),
    # what comes back
    "it gives a number": (lambda: fuse(lambda x: 1.0)(ones(2)), Unfit, r"it returns float, where a Tensor"),
    "it gives nothing": (lambda: fuse(lambda x: None)(ones(2)), Unfit, r"it returns NoneType"),
    "it gives lists of lists": (
        lambda: fuse(lambda x: [[x]])(ones(2)),
        Unfit,
        r"it returns list, .* or a tuple of them",
    ),
    # what would happen once
    "a condition": (lambda: fuse(lambda x: x if x > 0 else -x)(ones()), Unfit, r"a condition on a tensor.* mg.where"),
    "item": (lambda: fuse(lambda x: x * x.item())(ones()), Unfit, r"values of a tensor \(float\(\), .item\(\)"),
    "float": (lambda: fuse(lambda x: x * float(x))(ones()), Unfit, r"values of a tensor"),
    "a loop": (lambda: fuse(lambda x: sum(v for v in x))(ones(2)), Unfit, r"a loop over a tensor.* mg.unstack"),
    "writing": (lambda: fuse(written_to)(ones(2)), Unfit, r"fuse\(written_to\): writing to a tensor"),
    "its array": (lambda: fuse(lambda x: x * x.data)(ones(2)), Unfit, r"the array of a tensor"),
    "detach": (lambda: fuse(lambda x: x * x.detach())(ones(2)), Unfit, r"detach, to, backward or a hook inside"),
    "requires_grad": (
        lambda: fuse(lambda x: x if x.requires_grad else -x)(ones(2)),
        Unfit,
        r"requires_grad or is_leaf",
    ),
    "no_grad": (lambda: fuse(under_no_grad)(ones(2)), Unfit, r"no_grad or enable_grad inside"),
    # primitives of one's own
    "a function no kernel knows": (lambda: fuse(arc())(ones(2)), Unfit, r"fuse\(arc\): arc: xp.arctan in its formula"),
    "no derivatives": (lambda: fuse(undeclared())(needing()), RuntimeError, r"undeclared: .* has no derivatives"),
    "a derivative that is none": (
        lambda: fuse(total_slope())(needing()),
        Unfit,
        r"fuse\(total_slope\): total_slope: xp.sum_to in its derivative, which does not act entry by entry",
    ),
    # calling it
    "keywords only": (lambda: fuse(keyword_only)(ones(2), scale=2.0), TypeError, r"keyword_only: .* no keyword-only"),
    "an unknown keyword": (lambda: fuse(lambda x: x)(ones(2), y=1), TypeError, r"unexpected keyword argument 'y'"),
    "too few": (lambda: fuse(lambda x, y: x * y)(ones(2)), TypeError, r"missing 1 required positional argument: 'y'"),
    "a list": (lambda: fuse(lambda x, y: x)(ones(2), [1]), TypeError, r"expected Tensors and numbers as arguments"),
    "shapes": (
        lambda: fuse(lambda x, y: x * y)(ones(2, 3), ones(4)),
        ValueError,
        r"multiply: expected shapes that broadcast .* axis -1 has 3 against 4.*x \(2, 3\) float32.*y \(4,\)",
    ),
    "an index": (lambda: fuse(lambda x: x[5] * 2)(ones(2)), IndexError, r"getitem: expected .* got 5"),
    "its own error": (lambda: fuse(lambda x: x * {}["rate"])(ones(2)), KeyError, r"rate"),
    "None": (lambda: fuse(lambda x: x * None)(ones(2)), TypeError, r"NoneType inside of the function"),
    "a library's function": (lambda: fuse(np.exp)(ones(2)), TypeError, r"'Tensor' does not support ufuncs"),
    # fuse itself
    "no function": (lambda: fuse(ones(2)), TypeError, r"fuse: expected a function, got Tensor; write fuse\(f\)"),
    "an unknown writer": (lambda: fuse(mg.exp).source("fortran"), ValueError, r'exp.source: expected "c", "cuda" or'),
    "a writer that is not the CPU's": (
        lambda: mg.fusing(writer="cuda"),
        ValueError,
        r'fusing: expected the writer "c"',
    ),
    "no arguments to go by": (
        lambda: fuse(lambda x: x[:, :, 0]).source("c"),
        TypeError,
        r"getitem: .*; give arguments to write it for|too many indices.*; give arguments to write it for",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str) -> None:
    mistake, kind, message = MISTAKES[name]
    with pytest.raises(kind, match=message) as caught:
        mistake()
    assert not any(word in str(caught.value) for word in ("Traced", "Expr", "_Spec", "Term"))


def test_tensors_of_two_devices() -> None:
    with pytest.raises(RuntimeError, match=r"multiply: expected tensors of one device"):
        fuse(lambda x, y: x * y)(ones(2), ones(2, device="strict"))


def test_fallback_runs_the_function_as_it_is(device: str) -> None:
    @mg.fuse(fallback=True)
    def softmax(x: Any) -> Any:
        y = mg.exp(x)
        return y / y.sum()

    x = ones(2, requires_grad=True)
    close(softmax(x), [0.5, 0.5], 1e-6)
    close(softmax(x), [0.5, 0.5], 1e-6)
    softmax(x)[0].backward()
    close(x.grad, [0.25, -0.25], 1e-6)
    slope = total_slope()
    for f in (slope, lambda x: x.astype(mg.float16), lambda x: x if x.requires_grad else -x):
        assert fuse(f, fallback=True)(needing()).dtype == f(needing()).dtype
    assert fuse(slope, fallback=True)(needing())._source[0].primitive is slope


# Compilers ------------------------------------------------------------------------------------------


@pytest.fixture
def nothing_failed(own_cache: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler's failures are news, and what it made before is forgotten."""
    monkeypatch.setattr(setting, "_compiler_failed", False)
    monkeypatch.setattr(c_kernel, "_functions", {})


def f(x: Any) -> Any:
    return x * mg.sigmoid(x)


def test_without_a_compiler(nothing_failed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_CC", "none")
    assert fuse_backend("cpu") == "numpy"
    x = needing()
    fused = fuse(f)
    close(fused(x), f(x).tolist(), rtol=1e-6)
    assert len(fused._plans) == 1


@needs_compiler
@pytest.mark.parametrize("says", ["echo no such thing; exit 1", "echo > kernel.so; exit 0"])
def test_a_compiler_that_fails(nothing_failed: None, pretend: Callable[[str], Path], says: str) -> None:
    """One warning, and NumPy runs from then on, here and for functions to come."""
    pretend(says)
    assert fuse_backend("cpu") == "c"
    x = needing()
    fused = fuse(f)
    with pytest.warns(RuntimeWarning, match=r"fused functions run on NumPy from now on: "):
        y = fused(x)
    assert fuse_backend("cpu") == "numpy"
    close(y, f(x).tolist(), rtol=1e-6)
    close(mg.grad(y.sum(), x)[0], mg.grad(f(x).sum(), x)[0].tolist(), rtol=1e-6)
    close(fuse(lambda x: 2.0 * x)(x), [2.0, 2.0])


@needs_compiler
def test_a_compiler_that_fails_at_the_gradient(
    nothing_failed: None, pretend: Callable[[str], Path], tmp_path: Path
) -> None:
    pretend(f'[ -e {tmp_path}/once ] && exit 1; touch {tmp_path}/once; exec "$real" "$@"')
    x = needing()
    y = fuse(f)(x)
    with pytest.warns(RuntimeWarning, match=r"run on NumPy from now on"):
        (g,) = mg.grad(y.sum(), x)
    close(g, mg.grad(f(x).sum(), x)[0].tolist(), rtol=1e-6)
