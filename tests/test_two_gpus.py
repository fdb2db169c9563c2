"""Two GPUs, whose arrays are of one type: what lies on both is refused, before a kernel is given the addresses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.nn import functional as F

from . import emulated as emulator
from .strict import StrictArray, StrictNamespace, strict


@pytest.fixture
def far(emulated: list[Any], monkeypatch: pytest.MonkeyPatch) -> Callable[[mg.Tensor], mg.Tensor]:
    """Moves a Tensor of the device strict to a second one, strict:1."""
    other = StrictNamespace()
    other.device = "strict:1"
    moved: list[StrictArray] = []
    at = lambda _, array: other if any(x is array or x is array.base for x in moved) else strict  # noqa: E731
    monkeypatch.setattr(StrictNamespace, "at", at)

    def move(x: mg.Tensor) -> mg.Tensor:
        moved.append(StrictArray(strict.to_host(x.data)))
        y = mg.Tensor(moved[-1], requires_grad=x.requires_grad)
        assert y.device == "strict:1"
        return y

    return move


def clipped(x: mg.Tensor, far: Any) -> None:
    p, q = (t.detach().requires_grad_() for t in (x, x))
    p.grad, q.grad = x, far(x)
    nn.utils.clip_grad_norm_([p, q], 1.0)


def stepped(x: mg.Tensor, far: Any) -> None:
    p = far(x).requires_grad_()
    p.grad = x
    optim.Adam([p]).step()


def written(x: mg.Tensor, far: Any) -> None:
    x[0] = far(x)[0]


ids = lambda: mg.tensor([0, 1])  # noqa: E731
MISTAKES: dict[str, tuple[Callable[[mg.Tensor, Any], Any], str]] = {
    "a primitive": (lambda x, far: x + far(x), "add: expected tensors of one device, got x .* on strict, y .* on str"),
    "a fused function": (lambda x, far: mg.fuse(lambda x, y: x * y)(x, far(x)), "multiply: expected tensors of one dev"),
    "the state of a scan": (
        lambda x, far: mg.scan(lambda x, h: mg.tanh(x + h), x.reshape(1, 2, 2), far(x)),
        "add: expected tensors of one device",
    ),
    "a matrix of a scan": (
        lambda x, far: mg.scan(lambda x, h, w: mg.tanh(x + h @ w), x.reshape(1, 2, 2), x, far(x)),
        "matmul: expected tensors of one device",
    ),
    "classes": (lambda x, far: F.cross_entropy(x, far(ids())), "cross_entropy: expected one device"),
    "ids": (lambda x, far: F.embedding(far(ids()), x), "expected .* on the device of x|expected one device"),
    "an index": (lambda x, far: x[far(ids())], "getitem: expected an index on the device of x"),
    "a value": (written, r"x\[...\] = value: expected one device"),
    "a weight": (lambda x, far: F.linear(x, far(x)), "expected one device|expected tensors of one device"),
    "clipping": (clipped, "clip_grad_norm_: expected gradients on one device, got some on strict and some on strict:1"),
    "a step": (stepped, "Adam: a parameter is .* on strict:1, but its gradient is .* on strict;"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_lies_on_two_gpus_is_refused(name: str, far: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    act, message = MISTAKES[name]
    with mg.use_device("strict"):
        x = mg.tensor(np.eye(2, dtype=np.float32))
        before = len(emulator.launches or [])
        with pytest.raises(RuntimeError, match=message):
            act(x, far)
        assert len(emulator.launches or []) == before


def test_a_gradient_of_another_gpu_is_refused(far: Any) -> None:
    with mg.use_device("strict"):
        x = mg.ones(2, requires_grad=True)
        with pytest.raises(ValueError, match="expected a gradient like its tensor.*on strict, got .*on strict:1"):
            x.backward(far(mg.ones(2)))
