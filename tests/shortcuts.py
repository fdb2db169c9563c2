"""What the tests of shorter ways to a product have in common: sizes, numbers, and running a program in both ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn

from .helpers import close, host, on

V, D, H = 5, 4, 3
ENOUGH, TOO_FEW = 2 * V, 2 * V - 1  # look-ups from which the table is multiplied, and the last number below
T, N = 6, 4

Made = dict[str, Any]


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def rows(count: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, count]).integers(0, V, size=count)


def leaves(device: str) -> tuple[mg.Tensor, mg.Tensor, mg.Tensor]:
    """A table E (V, D), a weight W (H, D) and a bias b (H,), in float64."""
    return on(device, numbers(V, D), True), on(device, numbers(H, D), True), on(device, numbers(H), True)


def agree(found: Any, expected: Any, rtol: float = 1e-11) -> None:
    assert type(found) is type(expected)
    if isinstance(found, mg.Tensor):
        assert found.dtype == expected.dtype
        close(found.detach(), host(expected.detach()), rtol)
    elif isinstance(found, dict):
        assert found.keys() == expected.keys()
        for name in found:
            agree(found[name], expected[name], rtol)
    elif isinstance(found, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            agree(one, other, rtol)
    else:
        assert found == expected


def twice(program: Callable[[], Any], plain: Callable[[], None]) -> None:
    """What a program gives, in the short way and in the plain one."""
    found = program()
    plain()
    agree(found, program())


def gradients(loss: mg.Tensor, *xs: mg.Tensor) -> Made:
    loss.backward()
    return {"loss": loss, **{str(k): x.grad for k, x in enumerate(xs)}}


def language_model(kind: Any, **options: Any) -> tuple[nn.Embedding, Any]:
    mg.manual_seed(1)
    table = nn.Embedding(V, D, padding_idx=options.pop("padding_idx", None), dtype=mg.float64)
    return table, kind(D, H, dtype=mg.float64, **options)


def grads(*modules: Any) -> list[Any]:
    return [p.grad for module in modules for p in module.parameters()]
