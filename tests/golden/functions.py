"""Functions of `nn.functional`: random inputs, PyTorch's value, and the gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .arrays import Arrays, weighing

DIFFERENTIABLE = {"x", "targets", "bias"}  # where floating; the weights of layers, but not those of losses, as well
LAYERS = {"linear", "layer_norm", "embedding", "conv2d"}


class Function(NamedTuple):
    """A function of nn.functional, and what to give it."""

    kind: str
    shape: tuple[int, ...]  # of the first argument, x
    options: dict[str, Any]
    scale: float = 2.0  # of x
    ignored: int = 0  # how many of the targets do not count
    targets: str = ""  # the second argument: "classes", "probabilities", "numbers", "fractions", or none
    tensors: dict[str, tuple[int, ...]] = {}  # noqa: RUF012 - further arguments by name: the shapes  # fmt: skip

    @property
    def classes_axis(self) -> int:
        return min(1, len(self.shape) - 1)

    def differentiable(self, name: str, array: np.ndarray) -> bool:
        return array.dtype == np.float64 and (name in DIFFERENTIABLE or self.kind in LAYERS)


def cross_entropy(*args: Any, **more: Any) -> Function:
    return Function("cross_entropy", *args, **{"targets": "classes"} | more)


def nll_loss(*args: Any, **more: Any) -> Function:
    return Function("nll_loss", *args, **{"targets": "classes"} | more)


def numbers(kind: str, **options: Any) -> dict[str, Function]:
    """A loss of two arrays of numbers, in each reduction and shape."""
    return {
        f"{kind}-{'-'.join(f'{k}-{v}' for k, v in (options | own).items()) or 'plain'}-{len(shape)}d": Function(
            kind, shape, options | own, targets="numbers"
        )
        for own in ({}, {"reduction": "sum"}, {"reduction": "none"})
        for shape in ((), (3, 4))
    }


def bce(*args: Any, **more: Any) -> Function:
    return Function("binary_cross_entropy_with_logits", *args, **{"targets": "fractions"} | more)


def conv2d(shape: tuple[int, ...], weight: tuple[int, ...], **options: Any) -> Function:
    return Function("conv2d", shape, options, tensors={"weight": weight, "bias": weight[:1]})


def max_pool2d(shape: tuple[int, ...], kernel_size: Any, scale: float = 2.0, **options: Any) -> Function:
    return Function("max_pool2d", shape, {"kernel_size": kernel_size} | options, scale)


V = {"weight": (5,)}
SMOOTH = {"label_smoothing": 0.2}
FUNCTIONS = {
    "softmax": Function("softmax", (3, 5), {"dim": -1}),
    "softmax-first": Function("softmax", (3, 5), {"dim": 0}),
    "softmax-middle-large": Function("softmax", (2, 4, 3), {"dim": 1}, scale=300.0),
    "log-softmax": Function("log_softmax", (3, 5), {"dim": -1}),
    "log-softmax-middle": Function("log_softmax", (2, 4, 3), {"dim": 1}),
    "log-softmax-large": Function("log_softmax", (3, 5), {"dim": 1}, scale=300.0),
    # activations, where they are curved and where they are flat
    **{
        f"{kind}-{'-'.join(map(str, options.values())) or 'plain'}-{scale:g}": Function(kind, (4, 5), options, scale)
        for kind, options in [
            ("tanh", {}), ("relu", {}), ("sigmoid", {}), ("leaky_relu", {}), ("leaky_relu", {"negative_slope": 0.3}),
            ("elu", {}), ("elu", {"alpha": 0.7}), ("silu", {}), ("gelu", {"approximate": "tanh"}), ("softplus", {}),
            ("softplus", {"beta": 3.0, "threshold": 5.0}), ("softsign", {}), ("logsigmoid", {}), ("hardtanh", {}),
            ("hardtanh", {"min_val": -0.5, "max_val": 3.0}),
        ]
        for scale in (2.0, 300.0)
    },
    # layers
    "linear": Function("linear", (2, 3, 4), {}, tensors={"weight": (5, 4), "bias": (5,)}),
    "embedding": Function("embedding", (3, 4), {}, tensors={"weight": (6, 2)}),
    "embedding-padding": Function("embedding", (3, 4), {"padding_idx": 2}, tensors={"weight": (6, 2)}),
    "embedding-padding-last": Function("embedding", (9,), {"padding_idx": -1}, tensors={"weight": (3, 2)}),
    "layer-norm": Function("layer_norm", (3, 4), {"normalized_shape": (4,)}),
    "layer-norm-affine": Function(
        "layer_norm", (2, 3, 4), {"normalized_shape": (4,)}, tensors={"weight": (4,), "bias": (4,)}
    ),
    "layer-norm-two-axes": Function(
        "layer_norm", (2, 3, 4), {"normalized_shape": (3, 4), "eps": 0.1}, tensors={"weight": (3, 4)}
    ),
    "layer-norm-one": Function("layer_norm", (3, 1), {"normalized_shape": (1,)}),
    "conv2d": conv2d((2, 3, 5, 6), (4, 3, 3, 2)),
    "conv2d-no-bias": Function("conv2d", (2, 3, 5, 6), {}, tensors={"weight": (4, 3, 2, 2)}),
    "conv2d-one-image": conv2d((3, 5, 6), (4, 3, 3, 2), padding=1),
    "conv2d-one-entry": conv2d((2, 3, 3, 4), (4, 3, 1, 1)),
    "conv2d-stride": conv2d((2, 2, 7, 8), (3, 2, 3, 2), stride=(2, 3)),
    "conv2d-padding": conv2d((2, 2, 3, 2), (3, 2, 3, 4), padding=(1, 2), stride=2),
    "conv2d-dilation": conv2d((2, 2, 7, 8), (3, 2, 3, 2), dilation=(2, 3), padding=1),
    "conv2d-groups": conv2d((2, 6, 4, 5), (9, 2, 2, 3), groups=3),
    "conv2d-a-group-per-channel": conv2d((2, 3, 4, 5), (6, 1, 3, 3), groups=3, padding=1),
    "conv2d-same": conv2d((2, 2, 4, 5), (3, 2, 2, 3), padding="same", dilation=(3, 2)),
    "conv2d-valid": conv2d((1, 2, 4, 5), (3, 2, 2, 3), padding="valid"),
    "conv2d-everything": conv2d((3, 4, 9, 8), (6, 2, 3, 2), stride=(3, 2), padding=(2, 1), dilation=(1, 2), groups=2),
    "max-pool2d": max_pool2d((2, 3, 4, 6), 2),
    "max-pool2d-one-image": max_pool2d((3, 5, 4), (3, 2)),
    "max-pool2d-overlapping": max_pool2d((2, 3, 7, 6), 3, stride=2, padding=1),
    "max-pool2d-gaps": max_pool2d((2, 3, 8, 7), (1, 2), stride=(3, 4)),
    "max-pool2d-dilation": max_pool2d((2, 2, 7, 8), (3, 2), stride=1, dilation=(2, 3), padding=1),
    "max-pool2d-ceil": max_pool2d((2, 2, 5, 6), 2, ceil_mode=True),
    "max-pool2d-ceil-padding": max_pool2d((2, 2, 6, 7), (3, 2), stride=(2, 3), padding=1, ceil_mode=True),
    "max-pool2d-ties": max_pool2d((2, 3, 7, 8), 3, scale=0.0, stride=2, padding=1),
    # classes
    "cross-entropy-mean": cross_entropy((6, 5), {}),
    "cross-entropy-sum": cross_entropy((6, 5), {"reduction": "sum"}),
    "cross-entropy-none": cross_entropy((6, 5), {"reduction": "none"}),
    "cross-entropy-large": cross_entropy((6, 5), {"reduction": "none"}, scale=300.0),
    "cross-entropy-one": cross_entropy((5,), {}),
    "cross-entropy-default-ignored": cross_entropy((6, 5), {}, ignored=2),
    "cross-entropy-ignored-mean": cross_entropy((6, 5), {"ignore_index": 3}, ignored=2),
    "cross-entropy-ignored-sum": cross_entropy((6, 5), {"ignore_index": -1, "reduction": "sum"}, ignored=2),
    "cross-entropy-ignored-none": cross_entropy((6, 5), {"reduction": "none"}, ignored=2),
    "cross-entropy-sequence": cross_entropy((3, 5, 4), {"ignore_index": 2}, ignored=3),
    "cross-entropy-image-none": cross_entropy((2, 5, 3, 2), {"reduction": "none"}, ignored=3),
    **{
        f"cross-entropy-{name}-{reduction}": cross_entropy(shape, options | {"reduction": reduction}, **more)
        for name, shape, options, more in [
            ("weighted", (6, 5), {}, {"tensors": V, "ignored": 2}),
            ("weighted-sequence", (3, 5, 4), {"ignore_index": 1}, {"tensors": V, "ignored": 2}),
            ("smooth", (6, 5), SMOOTH, {"ignored": 2}),
            ("smooth-one", (5,), SMOOTH, {}),
            ("all-smooth", (6, 5), {"label_smoothing": 1.0}, {}),
            ("smooth-weighted", (6, 5), SMOOTH | {"ignore_index": 3}, {"tensors": V, "ignored": 2}),
            ("smooth-weighted-image", (2, 5, 3, 2), SMOOTH, {"tensors": V, "ignored": 2}),
            ("probabilities", (6, 5), {}, {"targets": "probabilities"}),
            ("probabilities-one", (5,), {}, {"targets": "probabilities"}),
            ("probabilities-smooth-weighted", (3, 5, 4), SMOOTH, {"targets": "probabilities", "tensors": V}),
        ]
        for reduction in ("mean", "sum", "none")
    },
    **{
        f"nll-loss-{name}-{reduction}": nll_loss(shape, {"reduction": reduction}, **more)
        for name, shape, more in [
            ("plain", (6, 5), {}),
            ("one", (5,), {}),
            ("weighted", (6, 5), {"tensors": V, "ignored": 2}),
            ("weighted-image", (2, 5, 3, 2), {"tensors": V, "ignored": 2}),
        ]
        for reduction in ("mean", "sum", "none")
    },
    # numbers
    **numbers("mse_loss"),
    **numbers("l1_loss"),
    **numbers("smooth_l1_loss"),
    **numbers("smooth_l1_loss", beta=0.3),
    **numbers("smooth_l1_loss", beta=0.0),
    **numbers("huber_loss"),
    **numbers("huber_loss", delta=2.5),
    **{f"bce-{reduction}": bce((4, 3), {"reduction": reduction}) for reduction in ("mean", "sum", "none")},
    "bce-large": bce((4, 3), {"reduction": "none"}, scale=300.0),
    "bce-weighted": bce((4, 3), {}, tensors={"weight": (4, 1)}),
    "bce-positive": bce((4, 3), {"reduction": "sum"}, tensors={"pos_weight": (3,)}),
    "bce-both": bce((2, 4, 3), {"reduction": "none"}, tensors={"weight": (3,), "pos_weight": (4, 1)}),
}  # fmt: skip


def inputs(case: Function, rng: np.random.Generator) -> Arrays:
    """What to give the function, by name."""
    axis, arrays = case.classes_axis, {"x": case.scale * rng.normal(size=case.shape)}
    if case.kind == "embedding":
        arrays["x"] = rng.integers(0, case.tensors["weight"][0], case.shape)
    if case.targets == "classes":
        targets = rng.integers(0, case.shape[axis], case.shape[:axis] + case.shape[axis + 1 :])
        targets.flat[: case.ignored] = case.options.get("ignore_index", -100)
        arrays["targets"] = targets
    elif case.targets:
        arrays["targets"] = rng.uniform(0, 1, case.shape) if case.targets != "numbers" else rng.normal(size=case.shape)
    if case.targets == "probabilities":
        arrays["targets"] /= arrays["targets"].sum(axis=axis, keepdims=True)
    return arrays | {name: rng.uniform(0.5, 2.0, shape) for name, shape in case.tensors.items()}


def run_function(case: Function, seed: int) -> Arrays:
    """Random inputs, the function's output, and the gradients of Σ weighing ⊙ output."""
    import torch

    arrays = inputs(case, np.random.default_rng(seed))
    leaves = {n: torch.tensor(a, requires_grad=case.differentiable(n, a)) for n, a in arrays.items()}
    first = [leaves[name] for name in ("x", "targets") if name in leaves]
    further = {name: leaf for name, leaf in leaves.items() if name in case.tensors}
    y = getattr(torch.nn.functional, case.kind)(*first, **further, **case.options)
    (y * torch.from_numpy(weighing(tuple(y.shape), 0))).sum().backward()
    gradients = {f"gradient.{name}": leaf.grad.numpy() for name, leaf in leaves.items() if leaf.requires_grad}
    return arrays | {"output.0": y.detach().numpy()} | gradients
