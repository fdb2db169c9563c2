"""Two GPUs, whose arrays are of one type: what lies on both is refused, before a kernel is given the addresses."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import backend, nn, optim
from minigrad.nn import functional as F

from . import emulated as emulator
from . import strict as strict_module
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
    "a fused function": (
        lambda x, far: mg.fuse(lambda x, y: x * y)(x, far(x)),
        "multiply: expected tensors of one dev",
    ),
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


# What is computed while another GPU is current --------------------------------------------------------------


@pytest.fixture
def gpus(emulated: list[Any], monkeypatch: pytest.MonkeyPatch) -> list[StrictNamespace]:
    """Two devices of which one is current, as CuPy has it: arrays are made there, and it computes with those alone."""
    places: dict[int, int] = {}  # the device of each array, by its id
    current = [0]
    call, make = strict_module._call, StrictArray.__init__
    methods = {name: getattr(StrictArray, name) for name in ("astype", "copy", "__setitem__", "reshape")}

    def place_of(array: StrictArray) -> int:
        return places[id(array if array.base is None else array.base)]

    def check(*values: Any) -> None:
        for value in values:
            if isinstance(value, (list, tuple)):
                check(*value)
            elif type(value) is StrictArray:
                assert place_of(value) == current[0], "an array of the GPU that is not the current one"

    def made(self: StrictArray, host: Any, base: Any = None) -> None:
        make(self, host, base)
        if base is None:
            places[id(self)] = current[0]

    def called(function: Any, *args: Any, **keywords: Any) -> Any:
        check(args, *keywords.values())
        return call(function, *args, **keywords)

    def checked(method: Any) -> Any:
        def checking(self: StrictArray, *args: Any, **keywords: Any) -> Any:
            check(self, args)
            return method(self, *args, **keywords)

        return checking

    class Gpu(StrictNamespace):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number, self.device, self.writer = number, f"strict:{number}", "cuda"

        def make_current(self) -> None:
            current[0] = self.number

        @contextlib.contextmanager
        def activate(self) -> Iterator[None]:
            before, current[0] = current[0], self.number
            yield
            current[0] = before

        def from_host(self, array: Any) -> StrictArray:
            with self.activate():
                return super().from_host(array)

        def address(self, array: StrictArray) -> int:
            check(array)
            return super().address(array)

        @property
        def generator(self) -> Any:
            self.make_current()
            return super().generator

        def at(self, array: StrictArray) -> StrictNamespace:
            return both[place_of(array)]

    both: list[StrictNamespace] = [Gpu(0), Gpu(1)]
    monkeypatch.setattr(strict_module, "_call", called)
    monkeypatch.setattr(StrictArray, "__init__", made)
    for name, method in methods.items():
        monkeypatch.setattr(StrictArray, name, checked(method))
    monkeypatch.setattr(backend, "_namespaces", backend._namespaces | {xp.device: xp for xp in both})
    monkeypatch.setitem(backend._by_array_type, StrictArray, both[0])
    return both


def trained(model: nn.Module, first: str, second: str) -> list[np.ndarray[Any, Any]]:
    """Some steps of a model whose layers lie on two devices, while any of them may be current."""
    embedding, rnn, norm, output = model
    embedding.to(first), rnn.to(first), norm.to(second), output.to(second)
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    rng = np.random.default_rng(0)
    state = None
    for _ in range(2):
        ids, targets = (mg.tensor(rng.integers(0, 5, (6, 3)), device=name) for name in (first, second))
        optimizer.zero_grad(set_to_none=False)
        h, state = rnn(embedding(ids), mg.detach(state))
        h = F.dropout(norm(h.to(second)), 0.5)
        loss = F.cross_entropy(output(h).reshape(18, 5), targets.reshape(18))
        loss.backward()
        mg.ones(1, device=first)
        for p in model.parameters():
            nn.utils.clip_grad_norm_(p, 0.1)
        nn.utils.clip_grad_value_(model.parameters(), 0.3)
        optimizer.step()
    return [x.detach().to("cpu").numpy() for x in (loss, *model.parameters(), *(p.grad for p in model.parameters()))]


def test_a_model_on_two_gpus(gpus: Any) -> None:
    with mg.use_device("cpu"):
        model = nn.ModuleList([nn.Embedding(5, 4), nn.LSTM(4, 3), nn.LayerNorm(3), nn.Linear(3, 5)])
    found = []
    for first in ("strict:0", "strict:1"):
        mg.manual_seed(0)
        with mg.use_device("strict:0"):
            found.append(trained(copy.deepcopy(model), first, "strict:1"))
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


ACTS: dict[str, Callable[[mg.Tensor], Any]] = {
    "one-hot": lambda x: F.one_hot(mg.tensor([1, 0], device=x.device), 3),
    "a loss": lambda x: F.cross_entropy(x, mg.tensor([1, 0], device=x.device)),
    "a loss, of several parts": lambda x: F.nll_loss(x, mg.tensor([1, 0], device=x.device), reduction="sum"),
    "filling": lambda x: nn.init.constant_(x.detach(), 2.0),
    "a gradient to start from": lambda x: (x * x).backward(mg.ones_like(x)),
    "a scalar's gradient": lambda x: current_is_first(x.sum()).backward(),
    "two ways, one through the other GPU": lambda x: (x.to("strict:0").sum().to("strict:1") + x.sum()).backward(),
    "two ways at once": lambda x: (x.to("strict:0").to("strict:1") * (x + x) + x * x).sum().backward(),
    "a fused function": lambda x: mg.fuse(lambda x: x * mg.tanh(x))(x).sum().backward(),
    "drawing": lambda x: mg.rand_like(x) + x,
    "an index": lambda x: x[mg.tensor([1, 1], device=x.device)].sum().backward(),
    "gradients twice": lambda x: mg.grad(mg.grad((x**3).sum(), x, create_graph=True)[0].sum(), x),
}


def current_is_first(x: mg.Tensor) -> mg.Tensor:
    mg.ones(1, device="strict:0") + 1
    return x


@pytest.mark.parametrize("name", ACTS)
def test_what_is_computed_where_it_lies(name: str, gpus: Any) -> None:
    x = mg.tensor(np.eye(2, dtype=np.float32), device="strict:1", requires_grad=True)
    current_is_first(x)
    found = ACTS[name](x)
    assert x.grad is None or x.grad.device == "strict:1"
    assert not isinstance(found, mg.Tensor) or found.device == "strict:1"
