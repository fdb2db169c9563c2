"""minigrad computes what PyTorch computes: layers, losses, optimizers; values and gradients, in float64, to 1e-10.

Against the golden files always, on every device; against a live torch, where there is one, on random cases too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn, optim
from minigrad.nn import functional as F

from .golden import make
from .golden.make import Arrays, Function, Layer, Optimizer
from .helpers import host, on

GOLDEN = {family: make.read(family) for family in make.FAMILIES}


def assert_same(found: dict[str, mg.Tensor], expected: Arrays) -> None:
    for name, x in found.items():
        assert x.dtype == expected[name].dtype, name
        assert x.shape == expected[name].shape, name
        np.testing.assert_allclose(host(x), expected[name], rtol=1e-10, atol=1e-10, err_msg=name)


# One check per family, for the golden files and for live torch ------------------------------------


def check_layer(case: Layer, expected: Arrays, device: str) -> None:
    layer = getattr(nn, case.kind)(*case.sizes, **case.options, dtype=mg.float64, device=device)
    weights = {name.removeprefix("weight."): a for name, a in expected.items() if name.startswith("weight.")}
    shapes = [(name, x.shape) for name, x in layer.state_dict().items()]
    assert shapes == [(name, a.shape) for name, a in weights.items()], "state_dict keys, their order and shapes"
    layer.load_state_dict(weights)

    x = on(device, expected["x"], requires_grad="gradient.x" in expected)
    state = {name: on(device, a, True) for name, a in expected.items() if name.startswith("state.")}
    outputs = make.flat(layer(*case.arguments(x, list(state.values()))))
    assert len(outputs) == sum(name.startswith("output.") for name in expected)

    loss = sum((y * on(device, make.weighing(y.shape, k))).sum() for k, y in enumerate(outputs))
    loss.backward()
    leaves = {"x": x} | state | {f"weight.{name}": p for name, p in layer.named_parameters()}
    assert_same({f"output.{k}": y for k, y in enumerate(outputs)}, expected)
    assert_same({f"gradient.{name}": leaf.grad for name, leaf in leaves.items() if leaf.requires_grad}, expected)


def check_function(case: Function, expected: Arrays, device: str) -> None:
    x = on(device, expected["x"], requires_grad=True)
    targets = [on(device, expected["targets"])] if "targets" in expected else []
    y = getattr(F, case.kind)(x, *targets, **case.options)
    (y * on(device, make.weighing(y.shape, 0))).sum().backward()
    assert_same({"output.0": y, "gradient.x": x.grad}, expected)


def check_optimizer(case: Optimizer, expected: Arrays, device: str) -> None:
    kind, options = case
    p = on(device, expected["start"], requires_grad=True)
    optimizer = getattr(optim, kind)([p], **options)
    for step, (gradient, place) in enumerate(zip(expected["gradients"], expected["places"], strict=True)):
        p.grad = on(device, gradient)
        optimizer.step()
        np.testing.assert_allclose(host(p), place, rtol=1e-10, atol=1e-10, err_msg=f"step {step}")
        np.testing.assert_array_equal(host(p.grad), gradient, err_msg="a step leaves the gradient alone")


def check_clipping(max_norm: float, expected: Arrays, device: str) -> None:
    parameters = []
    for k in range(2):
        p = on(device, np.zeros_like(expected[f"before.{k}"]), requires_grad=True)
        p.grad = on(device, expected[f"before.{k}"])
        parameters.append(p)
    norm = nn.utils.clip_grad_norm_(iter(parameters), max_norm)
    assert_same({"norm": norm} | {f"after.{k}": p.grad for k, p in enumerate(parameters)}, expected)


# Against the golden files -------------------------------------------------------------------------


@pytest.mark.parametrize("name", make.LAYERS)
def test_layer(name: str, device: str) -> None:
    check_layer(make.LAYERS[name], GOLDEN["layers"][name], device)


@pytest.mark.parametrize("name", make.FUNCTIONS)
def test_function(name: str, device: str) -> None:
    check_function(make.FUNCTIONS[name], GOLDEN["functions"][name], device)


@pytest.mark.parametrize("name", make.OPTIMIZERS)
def test_optimizer(name: str, device: str) -> None:
    check_optimizer(make.OPTIMIZERS[name], GOLDEN["optimizers"][name], device)


@pytest.mark.parametrize("name", make.MAX_NORMS)
def test_clip_grad_norm(name: str, device: str) -> None:
    check_clipping(make.MAX_NORMS[name], GOLDEN["clippings"][name], device)


@pytest.mark.parametrize("name", make.SCHEDULES)
def test_cosine_schedule(name: str) -> None:
    optimizer = optim.SGD([mg.zeros(1, requires_grad=True)], lr=0.1)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, **make.SCHEDULES[name])
    for step, expected in enumerate(GOLDEN["schedules"][name]["rates"]):
        np.testing.assert_allclose(schedule.get_last_lr(), expected, rtol=1e-10, atol=1e-12, err_msg=f"step {step}")
        assert optimizer.param_groups[0]["lr"] == schedule.get_last_lr()[0]
        schedule.step()


def test_cross_entropy_of_nothing_but_ignored_targets(device: str) -> None:
    logits, targets = on(device, np.zeros((2, 3))), on(device, np.array([-100, -100]))
    with np.errstate(invalid="ignore"):  # as for the mean of nothing, NumPy warns
        assert np.isnan(F.cross_entropy(logits, targets).item())
    assert F.cross_entropy(logits, targets, reduction="sum").item() == 0.0


def test_the_default_device_may_be_another(device: str) -> None:
    """A layer, a loss and an optimizer work where their arguments are."""
    with mg.use_device("cpu" if device == "strict" else "strict"):
        for name in ("rnn-relu-one-layer", "lstm-one-layer", "gru-one-layer", "gru-cell-plain", "linear", "embedding"):
            check_layer(make.LAYERS[name], GOLDEN["layers"][name], device)
        for name in ("softmax", "cross-entropy-ignored-mean", "cross-entropy-ignored-none"):
            check_function(make.FUNCTIONS[name], GOLDEN["functions"][name], device)
        for name in ("sgd-nesterov", "rmsprop-momentum", "adam"):
            check_optimizer(make.OPTIMIZERS[name], GOLDEN["optimizers"][name], device)
        check_clipping(make.MAX_NORMS["above"], GOLDEN["clippings"]["above"], device)


@pytest.mark.parametrize("family", make.FAMILIES)
def test_golden_files_hold_the_cases(family: str) -> None:
    cases = make.FAMILIES[family][1]
    assert GOLDEN[family].keys() == cases.keys(), "run python -m tests.golden.make"


# Against live torch, on random cases --------------------------------------------------------------

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 4)


@st.composite
def recurrent_layers(draw: Any) -> Layer:
    kind = draw(st.sampled_from(["RNN", "LSTM", "GRU"]))
    options = {"bias": draw(st.booleans())}
    if kind == "RNN":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    d, h, t, n = (draw(sizes) for _ in range(4))
    if draw(st.integers(0, 3)) == 0:  # a single step
        return Layer(kind + "Cell", (d, h), options, draw(st.sampled_from([(n, d), (d,)])), draw(st.booleans()))
    options |= {"num_layers": draw(st.integers(1, 3)), "batch_first": draw(st.booleans())}
    return Layer(kind, (d, h), options, draw(st.sampled_from([(t, n, d), (t, d)])), draw(st.booleans()))


@given(recurrent_layers(), seeds)
def test_live_recurrent_layer(case: Layer, seed: int) -> None:
    pytest.importorskip("torch")
    check_layer(case, make.run_layer(case, seed), "cpu")


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
    check_function(case, make.run_function(case, seed), "cpu")


@st.composite
def optimizers(draw: Any) -> Optimizer:
    kind = draw(st.sampled_from(["SGD", "RMSprop", "Adam"]))
    rates = st.floats(0.0, 0.99)
    memories = st.floats(0.5, 0.999)  # without memory the step is g/|g|, whose sign near 0 turns on the last bit
    options: dict[str, Any] = {"lr": draw(st.floats(0.0, 0.3)), "weight_decay": draw(st.just(0.0) | rates)}
    if kind == "Adam":
        options["betas"] = (draw(rates), draw(memories))
    else:
        options["momentum"] = draw(st.just(0.0) | rates)
    if kind == "SGD" and options["momentum"]:
        options |= draw(st.just({"nesterov": True}) | st.fixed_dictionaries({"dampening": rates}))
    if kind == "RMSprop":
        options["alpha"] = draw(memories)
    return kind, options


@given(optimizers(), seeds)
def test_live_optimizer(case: Optimizer, seed: int) -> None:
    pytest.importorskip("torch")
    check_optimizer(case, make.run_optimizer(case, seed), "cpu")


@given(st.floats(1e-3, 1e3), seeds)
def test_live_clip_grad_norm(max_norm: float, seed: int) -> None:
    pytest.importorskip("torch")
    check_clipping(max_norm, make.run_clipping(max_norm, seed), "cpu")
