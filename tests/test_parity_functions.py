"""Functions compute what PyTorch's compute: values and gradients, in float64, to 1e-10.

Against the golden file always, on every device; against a live torch, where there is one, on random cases too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

from .golden.arrays import Arrays, weighing
from .golden.functions import FUNCTIONS, Function, run_function
from .golden.make import read
from .helpers import assert_same, host, on

GOLDEN = read("functions")


def check_function(case: Function, expected: Arrays, device: str) -> None:
    given = {name: expected[name] for name in ("x", "targets", *case.tensors) if name in expected}
    leaves = {name: on(device, array, case.differentiable(name, array)) for name, array in given.items()}
    first = [leaves[name] for name in ("x", "targets") if name in leaves]
    y = getattr(F, case.kind)(*first, **{name: leaves[name] for name in case.tensors}, **case.options)
    (y * on(device, weighing(y.shape, 0))).sum().backward()
    gradients = {f"gradient.{name}": leaf.grad for name, leaf in leaves.items() if leaf.requires_grad}
    assert {name for name in expected if name.startswith("gradient.")} == gradients.keys()
    assert_same({"output.0": y} | gradients, expected)


# Against the golden file --------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str, device: str) -> None:
    check_function(FUNCTIONS[name], GOLDEN[name], device)


def test_every_function_has_a_case() -> None:
    random = {"dropout"}
    no_gradient = {"one_hot"}
    assert set(F.__all__) - random - no_gradient == {case.kind for case in FUNCTIONS.values()}


def test_the_default_device_may_be_another(device: str) -> None:
    """A function works where its arguments are."""
    with mg.use_device("strict" if device == "cpu" else "cpu"):
        for name in ("softmax", "cross-entropy-ignored-mean", "cross-entropy-smooth-weighted-none", "bce-both",
                     "elu-0.7-2", "layer-norm-affine", "embedding-padding", "huber_loss-delta-2.5-2d"):  # fmt: skip
            check_function(FUNCTIONS[name], GOLDEN[name], device)


# What is special ----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"weight": np.ones(3)}, {"label_smoothing": 0.1}])
def test_cross_entropy_of_nothing_but_ignored_targets(options: Any, device: str) -> None:
    options = {k: on(device, v) if k == "weight" else v for k, v in options.items()}
    logits, targets = on(device, np.zeros((2, 3))), on(device, np.array([-100, -100]))
    with np.errstate(invalid="ignore"):  # as for the mean of nothing, NumPy warns
        assert np.isnan(F.cross_entropy(logits, targets, **options).item())
    assert F.cross_entropy(logits, targets, **options, reduction="sum").item() == 0.0


def test_the_mean_loss_of_nothing_is_nan(device: str) -> None:
    nothing = on(device, np.zeros((0, 3)))
    with np.errstate(invalid="ignore"), pytest.warns(RuntimeWarning) if device == "cpu" else np.errstate():
        assert np.isnan(F.mse_loss(nothing, nothing).item())
    with np.errstate(invalid="ignore"):
        assert np.isnan(F.cross_entropy(nothing, on(device, np.zeros(0, dtype=int))).item())
    assert F.cross_entropy(nothing, on(device, np.zeros(0, dtype=int)), reduction="none").shape == (0,)


POINTS = {  # the gradient where the formula changes, as PyTorch has it
    "leaky_relu": ([0.0], {"negative_slope": 0.2}, [0.2]),
    "elu": ([0.0], {"alpha": 2.0}, [2.0]),
    "relu": ([0.0], {}, [0.0]),
    "hardtanh": ([-1.0, 1.0], {}, [0.0, 0.0]),
    "softplus": ([20.0, 21.0], {}, [1 / (1 + np.exp(-20.0)), 1.0]),
    "softsign": ([0.0], {}, [1.0]),
}


@pytest.mark.parametrize("kind", POINTS)
def test_where_the_formula_changes(kind: str, device: str) -> None:
    at, options, expected = POINTS[kind]
    x = on(device, np.array(at), requires_grad=True)
    getattr(F, kind)(x, **options).sum().backward()
    np.testing.assert_allclose(host(x.grad), expected, rtol=1e-14)


@pytest.mark.parametrize("kind", ["tanh", "sigmoid", "elu", "silu", "softplus", "softsign", "logsigmoid", "hardtanh",
                                  "leaky_relu", "relu", "gelu"])  # fmt: skip
def test_activations_stay_finite_and_pass_nan_on(kind: str, device: str) -> None:
    options = {"approximate": "tanh"} if kind == "gelu" else {}
    x = on(device, np.array([-1e4, 1e4, np.nan], dtype=np.float32), requires_grad=True)
    with np.errstate(invalid="ignore"):  # NumPy warns of a NaN in softplus
        y = getattr(F, kind)(x, **options)
        y.sum().backward()
    assert y.dtype == np.float32
    assert np.isfinite(host(y)).tolist() == [True, True, False]
    assert np.isfinite(host(x.grad)[:2]).all()


def test_huber_loss_is_curved_where_it_is_zero(device: str) -> None:
    """The second derivative is 1 at d = 0 too, where that of |d| would give 0."""
    for loss in (F.huber_loss, F.smooth_l1_loss):
        x = on(device, np.zeros(2), requires_grad=True)
        (g,) = mg.grad(loss(x, on(device, np.zeros(2)), reduction="sum"), x, create_graph=True)
        assert mg.grad(g.sum(), x)[0].tolist() == [1.0, 1.0]


# Against live torch, on random cases --------------------------------------------------------------

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 4)
reductions = st.sampled_from(["mean", "sum", "none"])


@st.composite
def class_losses(draw: Any) -> Function:
    kind = draw(st.sampled_from(["cross_entropy", "nll_loss"]))
    shape = tuple(draw(st.lists(sizes, min_size=1, max_size=4)))
    options: dict[str, Any] = {"reduction": draw(reductions)}
    targets, ignored = "classes", 0
    if kind == "cross_entropy":
        options["label_smoothing"] = draw(st.sampled_from([0.0, 0.1, 1.0]))
        targets = draw(st.sampled_from(["classes", "classes", "probabilities"]))
    axis = min(1, len(shape) - 1)
    if targets == "classes":
        options["ignore_index"] = draw(st.sampled_from([-100, -1, 0]))
        ignored = draw(st.integers(0, int(np.prod(shape)) // shape[axis] - 1))  # of none, the mean is NaN
        if options["ignore_index"] == 0 and options["reduction"] == "mean":
            options["ignore_index"] = -100  # else a random target may be 0, and all ignored; the golden cases have it
    tensors = {"weight": (shape[axis],)} if draw(st.booleans()) else {}
    return Function(kind, shape, options, draw(st.sampled_from([1.0, 30.0])), ignored, targets, tensors)


@given(class_losses(), seeds)
def test_live_class_loss(case: Function, seed: int) -> None:
    pytest.importorskip("torch")
    check_function(case, run_function(case, seed), "cpu")


@st.composite
def number_losses(draw: Any) -> Function:
    kind, own = draw(
        st.sampled_from([("mse_loss", ""), ("l1_loss", ""), ("smooth_l1_loss", "beta"), ("huber_loss", "delta"),
                         ("binary_cross_entropy_with_logits", "")])
    )  # fmt: skip
    shape = tuple(draw(st.lists(sizes, max_size=3)))
    options: dict[str, Any] = {"reduction": draw(reductions)}
    if own:
        options[own] = draw(st.floats(0.01, 5.0))
    tensors = {}
    if kind.startswith("binary"):
        for name in draw(st.sampled_from([(), ("weight",), ("pos_weight",), ("weight", "pos_weight")])):
            kept = draw(st.integers(0, len(shape)))
            tensors[name] = tuple(draw(st.sampled_from([1, n])) for n in shape[kept:])
    targets = "fractions" if kind.startswith("binary") else "numbers"
    return Function(kind, shape, options, draw(st.sampled_from([1.0, 30.0])), 0, targets, tensors)


@given(number_losses(), seeds)
def test_live_number_loss(case: Function, seed: int) -> None:
    pytest.importorskip("torch")
    check_function(case, run_function(case, seed), "cpu")


positive = st.floats(0.01, 3.0)
ACTIVATIONS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "leaky_relu": {"negative_slope": positive},
    "elu": {"alpha": positive},
    "silu": {},
    "gelu": {"approximate": st.just("tanh")},
    "softplus": {"beta": positive, "threshold": positive},
    "softsign": {},
    "logsigmoid": {},
    "hardtanh": {"max_val": positive},
    "softmax": {"dim": st.just(-1)},
    "log_softmax": {"dim": st.just(0)},
}


@given(st.data(), st.sampled_from(sorted(ACTIVATIONS)), st.lists(sizes, min_size=1, max_size=3), seeds)
def test_live_activation(data: Any, kind: str, shape: list[int], seed: int) -> None:
    pytest.importorskip("torch")
    options = {name: data.draw(values) for name, values in ACTIVATIONS[kind].items()}
    case = Function(kind, tuple(shape), options, data.draw(st.sampled_from([1.0, 30.0])))
    check_function(case, run_function(case, seed), "cpu")


@given(st.lists(sizes, min_size=1, max_size=4), st.integers(1, 4), st.sets(st.sampled_from(["weight", "bias"])), seeds)
def test_live_layer_norm(shape: list[int], axes: int, parameters: set[str], seed: int) -> None:
    pytest.importorskip("torch")
    normalized = tuple(shape[-axes:])
    tensors = dict.fromkeys(sorted(parameters), normalized)
    case = Function("layer_norm", tuple(shape), {"normalized_shape": normalized, "eps": 1e-3}, tensors=tensors)
    check_function(case, run_function(case, seed), "cpu")


pairs = st.integers(1, 3) | st.tuples(st.integers(1, 3), st.integers(1, 3))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@given(st.data(), sizes, st.sampled_from([1, 1, 2, 3]), seeds)
def test_live_conv2d(data: Any, channels: int, groups: int, seed: int) -> None:
    pytest.importorskip("torch")
    draw = data.draw
    h, w, kh, kw = draw(st.integers(3, 8)), draw(st.integers(3, 8)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    options: dict[str, Any] = {"stride": draw(pairs), "padding": draw(st.sampled_from([0, 1, (1, 2), "valid", "same"]))}
    if options["padding"] == "same":
        options["stride"] = 1
    dilation = draw(st.integers(1, min(3, (h - 1) // max(kh - 1, 1)))), draw(st.integers(1, (w - 1) // max(kw - 1, 1)))
    options |= {"dilation": dilation, "groups": groups}
    batch = draw(st.sampled_from([(3,), (1,), (0,), ()]))
    out = groups * draw(st.integers(1, 2))
    tensors = {"weight": (out, channels, kh, kw)} | draw(st.sampled_from([{}, {"bias": (out,)}]))
    case = Function("conv2d", (*batch, channels * groups, h, w), options, tensors=tensors)
    check_function(case, run_function(case, seed), "cpu")


@given(st.data(), pairs, seeds)
def test_live_max_pool2d(data: Any, kernel_size: Any, seed: int) -> None:
    pytest.importorskip("torch")
    draw = data.draw
    kh, kw = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    padding = draw(st.sampled_from([(0, 0), (kh // 2, kw // 2)]))
    options = {"kernel_size": kernel_size, "stride": draw(st.none() | pairs), "padding": padding}
    options |= {"dilation": draw(pairs) if padding == (0, 0) else 1, "ceil_mode": draw(st.booleans())}
    shape = (*draw(st.sampled_from([(2,), (0,), ()])), draw(sizes), draw(st.integers(7, 9)), draw(st.integers(7, 9)))
    case = Function("max_pool2d", shape, options, draw(st.sampled_from([2.0, 0.0])))
    check_function(case, run_function(case, seed), "cpu")


# The modules of the same names --------------------------------------------------------------------

W = np.array([0.5, 2.0, 1.0, 0.7])
MODULES = {  # how to make it; what to call it with
    "Tanh": ({}, "x"), "ReLU": ({}, "x"), "Sigmoid": ({}, "x"), "LeakyReLU": ({}, "x"), "ELU": ({}, "x"),
    "SiLU": ({}, "x"), "GELU": ({"approximate": "tanh"}, "x"), "Softplus": ({}, "x"), "Softsign": ({}, "x"),
    "LogSigmoid": ({}, "x"), "Hardtanh": ({}, "x"), "Softmax": ({"dim": 1}, "x"), "LogSoftmax": ({"dim": 0}, "x"),
    "Identity": ({}, "x"), "Flatten": ({"start_dim": 0}, "x"), "Dropout": ({"p": 0.0}, "x"),
    "Conv2d": ({"in_channels": 2, "out_channels": 4, "kernel_size": (3, 2), "groups": 2}, "image"),
    "MaxPool2d": ({"kernel_size": (2, 3)}, "image"),
    "LayerNorm": ({"normalized_shape": 4}, "x"), "Embedding": ({"num_embeddings": 4, "embedding_dim": 2}, "ids"),
    "CrossEntropyLoss": ({"weight": W, "label_smoothing": 0.1}, "x ids"), "NLLLoss": ({"weight": W}, "x ids"),
    "MSELoss": ({}, "x y"), "L1Loss": ({"reduction": "none"}, "x y"), "SmoothL1Loss": ({}, "x y"),
    "HuberLoss": ({}, "x y"), "BCEWithLogitsLoss": ({"pos_weight": W, "weight": W}, "x y"),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_module(name: str, device: str) -> None:
    """With the defaults of the one and of the other, the same names are in the state dict, and the same comes out."""
    torch = pytest.importorskip("torch")
    options, arguments = MODULES[name]
    rng = np.random.default_rng(0)
    arrays = {"x": 3 * rng.normal(size=(3, 4)), "y": rng.uniform(size=(3, 4)), "ids": np.array([2, 0, 3])}
    arrays["image"] = rng.normal(size=(2, 2, 5, 6))
    theirs = getattr(torch.nn, name)(
        **{k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    ).double()
    ours = getattr(nn, name)(
        **{k: on(device, v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    ).to(mg.float64)  # fmt: skip
    assert {k: tuple(x.shape) for k, x in theirs.state_dict().items()} == {
        k: x.shape for k, x in ours.state_dict().items()
    }
    ours.load_state_dict({k: x.numpy() for k, x in theirs.state_dict().items()})
    chosen = [arrays[argument] for argument in arguments.split()]
    expected = theirs(*map(torch.tensor, chosen)).detach().numpy()
    np.testing.assert_allclose(host(ours(*(on(device, a) for a in chosen))), expected, rtol=1e-10, atol=1e-12)
