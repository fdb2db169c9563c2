"""einsum: what its subscripts may be, against NumPy's; the primitive under it is a line of test_contract.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.testing import gradcheck, gradgradcheck

from .helpers import close, on

EXPRESSIONS: list[tuple[str, list[tuple[int, ...]]]] = [
    # implicit output
    ("ij,jk", [(2, 3), (3, 2)]),
    ("ba", [(2, 3)]),
    ("ij,ij", [(2, 3), (2, 3)]),
    ("i", [(3,)]),
    ("ii", [(3, 3)]),
    ("", [()]),
    (",", [(), ()]),
    # explicit output, spaces
    (" i j , j k -> k i ", [(2, 3), (3, 2)]),
    ("aBc,Bd->cad", [(2, 3, 2), (3, 2)]),
    ("ij,jk,kl,l->i", [(2, 3), (3, 2), (2, 2), (2,)]),
    ("i,i,i->", [(3,), (3,), (3,)]),
    ("i,j,k->kij", [(2,), (1,), (3,)]),
    # diagonals
    ("ii->", [(3, 3)]),
    ("ii->i", [(3, 3)]),
    ("iij->ji", [(2, 2, 3)]),
    ("iji->j", [(2, 3, 2)]),
    ("iii->i", [(2, 2, 2)]),
    ("ijij->ij", [(2, 3, 2, 3)]),
    ("ii,ij->j", [(2, 2), (2, 3)]),
    ("...ii->...i", [(2, 3, 3)]),
    # an ellipsis
    ("...ij,...jk->...ik", [(2, 2, 3), (2, 3, 2)]),
    ("...ij,...jk", [(2, 2, 3), (2, 3, 2)]),
    ("...ij,jk->...ik", [(2, 2, 3), (3, 2)]),
    ("...ij,...jk->...ik", [(2, 1, 2, 3), (3, 3, 2)]),
    ("...ij,...jk->...ik", [(1, 2, 3), (3, 2)]),
    ("...,...", [(2, 1), (3,)]),
    ("...,...->...", [(1, 1), (1,)]),
    ("...,...->...", [(0,), (1,)]),
    ("i...->...i", [(2, 3, 2)]),
    ("i...j,j->...", [(2, 3, 2), (2,)]),
    ("...->...", [(2, 3)]),
    ("i...->i...", [(2,)]),
    ("i...,...i->...", [(2, 3), (1, 2)]),
    # nothing
    ("ij,jk->ik", [(2, 0), (0, 2)]),
    ("ij->", [(0, 2)]),
]


def drawn(shapes: list[tuple[int, ...]], device: str) -> tuple[list[Any], list[mg.Tensor]]:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape) for shape in shapes]
    return arrays, [on(device, a, requires_grad=True) for a in arrays]


@pytest.mark.parametrize(("subscripts", "shapes"), EXPRESSIONS)
def test_einsum_is_numpys(device: str, subscripts: str, shapes: list[tuple[int, ...]]) -> None:
    arrays, xs = drawn(shapes, device)
    y = mg.einsum(subscripts, *xs)
    close(y, np.einsum(subscripts, *arrays))
    gradcheck(lambda *xs: mg.einsum(subscripts, *xs), xs)
    gradgradcheck(lambda *xs: mg.einsum(subscripts, *xs), xs)


def test_the_same_operand_twice_and_constants(device: str) -> None:
    x = on(device, np.arange(6.0).reshape(2, 3), requires_grad=True)
    y = mg.einsum("ij,kj->ik", x, x)
    close(y, np.arange(6.0).reshape(2, 3) @ np.arange(6.0).reshape(2, 3).T)
    gradcheck(lambda x: mg.einsum("ij,kj->ik", x, x), x)
    z = mg.einsum("ij,j->i", x, mg.ones(3).data)  # an array is a constant
    close(mg.grad(z.sum(), x)[0], np.ones((2, 3)))


def test_dtypes(device: str) -> None:
    x, w = mg.ones((2, 3), requires_grad=True), mg.ones((3, 2), dtype=mg.float64, requires_grad=True)
    y = mg.einsum("ij,jk->ik", x, w)
    assert y.dtype == mg.float64
    assert [g.dtype for g in mg.grad(y.sum(), [x, w])] == [mg.float32, mg.float64]
    assert mg.einsum("ij,ij->i", x, x).dtype == mg.float32


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "sizes that disagree": (
        lambda x: mg.einsum("ij,jk->ik", x, x),
        ValueError,
        r"einsum: .*label 'j' of 'ij,jk->ik' has 3 and 2; the operands' shapes are \(2, 3\), \(2, 3\)",
    ),
    "named axes do not broadcast": (lambda x: mg.einsum("ij,ij->", x, x[:1]), ValueError, r"label 'i' .* has 2 and 1"),
    "sizes under an ellipsis": (
        lambda x: mg.einsum("...,...", x, x[:, :2]),
        ValueError,
        r"an axis under \.\.\. of '\.\.\.,\.\.\.' has 3 and 2",
    ),
    "no square": (lambda x: mg.einsum("ii", x), ValueError, r"label 'i' of 'ii' has 2 and 3"),
    "an unknown label": (lambda x: mg.einsum("ij->ik", x), ValueError, r"output label 'k' .* stands in no operand"),
    "an output label twice": (lambda x: mg.einsum("ij->ii", x), ValueError, r"output label 'i' .* more than once"),
    "too few axes": (lambda x: mg.einsum("ijk->", x), ValueError, r"expected 3 axes for 'ijk' .* got shape \(2, 3\)"),
    "too many axes": (lambda x: mg.einsum("i->", x), ValueError, r"expected 1 axes for 'i' .* got shape \(2, 3\)"),
    "too few axes beside an ellipsis": (
        lambda x: mg.einsum("...ijk->i", x),
        ValueError,
        r"expected at least 3 axes for '...ijk'",
    ),
    "too few operands": (lambda x: mg.einsum("ij,jk", x), ValueError, r"expected 2 operands .* got \(2, 3\)"),
    "no operands": (lambda x: mg.einsum("ij"), ValueError, r"expected 1 operands for 'ij', got none"),
    "an ellipsis the output lacks": (
        lambda x: mg.einsum("...i->i", x),
        ValueError,
        r"the output lacks; write ->\.\.\.i",
    ),
    "something else than letters": (lambda x: mg.einsum("i1->i", x), ValueError, r"expected letters, \.\.\., commas"),
    "two arrows": (lambda x: mg.einsum("ij->i->j", x), ValueError, r"expected letters, \.\.\., commas and one ->"),
    "two ellipses": (lambda x: mg.einsum("...i...->i", x), ValueError, r"expected letters"),
    "operands first": (lambda x: mg.einsum(x, [0, 1]), TypeError, r"expected subscripts such as .* got Tensor first"),
    "a list": (lambda x: mg.einsum("i->", [1.0]), TypeError, r"einsum: expected a Tensor or an array, got list"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_the_message(device: str, mistake: str) -> None:
    act, error, message = WRONG[mistake]
    with pytest.raises(error, match=message):
        act(mg.zeros((2, 3)))


def test_mixed_devices() -> None:
    with pytest.raises(RuntimeError, match=r"einsum: expected tensors of one device.*on cpu.*on strict"):
        mg.einsum("i,i->", mg.ones(2), mg.ones(2, device="strict"))
