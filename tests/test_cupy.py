"""What minigrad asks of CuPy is there, with those arguments: wherever CuPy is installed, without a GPU too.

The strict backend stands for CuPy in every other test. Here its manners are compared with CuPy itself, and what the
whole registry and a training step call on it is looked up in CuPy.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.nn import functional as F
from minigrad.ops import registry
from minigrad.testing import check_primitive

from .cases import CASES, inputs_for
from .strict import CREATION, KEYWORDS, MISSING, Flags, StrictArray, StrictGenerator, StrictNamespace, strict

cupy = pytest.importorskip("cupy")

# What the strict backend says of CuPy -----------------------------------------------------------------


def keywords_of(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.mark.parametrize("name", KEYWORDS)
def test_functions_have_the_keywords_that_are_listed(name: str) -> None:
    found = keywords_of(getattr(cupy, name))[0 if name in CREATION else 1 :]
    assert sorted(KEYWORDS[name].split()) == sorted(found)


@pytest.mark.parametrize("name", sorted(MISSING))
def test_functions_that_are_missing(name: str) -> None:
    assert not hasattr(cupy, name)


def test_arrays_have_the_methods_and_operators() -> None:
    own = {name for name in vars(StrictArray) if not name.startswith("_")}
    operators = {name for name in vars(StrictArray) if name.startswith("__") and callable(getattr(StrictArray, name))}
    of_python = {"__init__", "__del__", "__hash__", "__repr__", "__index__", "__weakref__"}
    assert {name for name in own | operators - of_python if not hasattr(cupy.ndarray, name)} == set()


def test_the_memory_of_an_array_is_described_alike() -> None:
    assert all(hasattr(cupy._core.flags.Flags, name) for name in Flags._fields)


@pytest.mark.parametrize("name", ["random", "standard_normal", "integers", "uniform"])
def test_generators_have_the_distributions(name: str) -> None:
    drawn = set(keywords_of(getattr(StrictGenerator, name)))
    assert drawn <= set(keywords_of(getattr(cupy.random.Generator, name)))


@pytest.mark.parametrize("name", ["array", "asarray", "take", "nonzero", "where"])
def test_what_the_namespace_has_of_its_own_takes_what_cupy_takes(name: str) -> None:
    named = [n for n in keywords_of(getattr(StrictNamespace, name))[2:] if n not in ("a", "value", "indices")]
    assert set(named) <= set(keywords_of(getattr(cupy, name)))


def test_what_the_cuda_namespace_calls() -> None:
    for path in ("cuda.runtime.getDevice", "cuda.runtime.getDeviceCount", "cuda.Device.use", "cuda.Device.synchronize"):
        found = cupy
        for name in path.split("."):
            found = getattr(found, name)
        assert callable(found), path
    assert all(isinstance(f, cupy.ufunc) for f in (cupy.add, cupy.fmod, cupy.copysign, cupy.floor))
    assert cupy.result_type(np.int64, 0.5) == np.float64
    assert callable(cupy.add.at)
    assert {"stream", "order", "out"} <= set(keywords_of(cupy.asnumpy))
    assert "seed" in keywords_of(cupy.random.default_rng)
    assert hasattr(cupy.cuda.MemoryPointer, "device_id")
    assert (cupy.ndarray.__module__.partition(".")[0], cupy.ndarray.__name__) == ("cupy", "ndarray")


# What is called -----------------------------------------------------------------------------------------

Call = tuple[str, int, tuple[str, ...]]  # a function, how many arguments it got by place, and which by name


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[Call]]:
    """The library's functions that are called on the strict device, as they are called."""
    seen: set[Call] = set()
    look_up = StrictNamespace.__getattr__
    kept = [name for name in vars(strict) if name in KEYWORDS or hasattr(cupy, name)]

    def noting(self: StrictNamespace, name: str) -> Any:
        found = look_up(self, name)
        if isinstance(found, type) or not callable(found):
            return found

        def noted(*arguments: Any, **keywords: Any) -> Any:
            seen.add((name, len(arguments), tuple(sorted(keywords))))
            return found(*arguments, **keywords)

        vars(self)[name] = noted
        return noted

    for name in kept:
        del vars(strict)[name]
    monkeypatch.setattr(StrictNamespace, "__getattr__", noting)
    yield seen
    for name in {called for called, *_ in seen}:
        del vars(strict)[name]  # the next look-up finds the library's own again


def refused(call: Call) -> str | None:
    """Why CuPy would not take a call."""
    name, count, keywords = call
    function = getattr(cupy, name, None)
    if function is None:
        return "there is no such function"
    if isinstance(function, cupy.ufunc):
        fits = function.nin <= count <= function.nargs and set(keywords) <= {"out", "dtype", "casting"}
        return None if fits else f"a ufunc of {function.nin} inputs"
    if name == "einsum":
        return None if set(keywords) <= {"dtype", "optimize"} else "its keywords are dtype and optimize"
    try:
        inspect.signature(function).bind(*range(count), **dict.fromkeys(keywords))
    except TypeError as error:
        return str(error)
    return None


def test_calls_that_do_not_fit_are_found() -> None:
    assert refused(("sum", 1, ("axis", "keepdims"))) is None
    assert refused(("tanh", 2, ())) is None
    for wrong in [("unstack", 1, ()), ("sum", 1, ("where",)), ("tanh", 3, ()), ("add", 2, ("order",)), ("vdot", 3, ())]:
        assert refused(wrong)
    assert refused(("einsum", 2, ("out",)))


def test_the_registry(calls: set[Call]) -> None:
    for name, case in CASES.items():
        for draw in case.draws:
            inputs = inputs_for(registry[name], draw.shapes)
            check_primitive(name, inputs, draw.parameters, reference=case.reference, device="strict")
    assert len({name for name, *_ in calls}) > 50
    assert {call: why for call in calls if (why := refused(call))} == {}


OPTIMIZERS = [
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    lambda p: optim.RMSprop(p, lr=0.1, momentum=0.9, centered=True),
    lambda p: optim.Adagrad(p, lr=0.1),
    lambda p: optim.Adam(p, lr=0.1, amsgrad=True, maximize=True),
]


@pytest.mark.parametrize("norm_type", [1.0, 2.0, float("inf")])
@pytest.mark.parametrize("make", OPTIMIZERS)
def test_a_training_step(make: Any, norm_type: float, calls: set[Call]) -> None:
    with mg.use_device("strict"):
        table, rnn, norm, out = nn.Embedding(5, 4), nn.LSTM(4, 3, num_layers=2, dropout=0.5), nn.LayerNorm(3), None
        out = nn.Linear(3, 5)
        parameters = [p for layer in (table, rnn, norm, out) for p in layer.parameters()]
        optimizer = make(parameters)
        ids = mg.tensor([[1, 2], [3, 0], [4, 4]])
        y, _ = rnn(table(ids))
        F.cross_entropy(out(norm(y)).reshape(-1, 5), ids.reshape(-1)).backward()
        nn.utils.clip_grad_norm_(parameters, 0.1, norm_type=norm_type)
        nn.utils.clip_grad_value_(parameters, 0.05)
        optimizer.step()
    assert {call: why for call in calls if (why := refused(call))} == {}
