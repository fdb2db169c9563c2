"""The table of what `nn` and `nn.functional` hold: a line per name says how to draw a call of it, with every option.

Layers and functions of one meaning share a line. What each computes is compared with PyTorch elsewhere.

N: batch   T: time   D: features   V: classes
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.nn.utils import rnn

from .proofs import Array, Call, Draws, Line, Shape, call

# Activations --------------------------------------------------------------------------------------


def bounded(d: Draws) -> Call:
    low, high = d.of((-1.0, 1.0), (-0.5, 2.0), (-1.0, 0.3), (0.0, 1.0))
    return call(d.x(kinks=(low, high)), min_val=low, max_val=high)


def rounded_off(d: Draws) -> Call:
    beta, threshold = d.of((1.0, 20.0), (2.0, 20.0), (1.0, 0.5), (0.5, -0.25), (-1.5, 2.0))
    return call(d.x(kinks=(threshold / beta,)), beta=beta, threshold=threshold)


def along(d: Draws) -> Call:
    x = d.x(d.shape(least=1))
    return call(x, dim=d.axis(x.ndim, -1))


def of_x(**where: Any) -> Line:
    return Line(lambda d: call(d.x(d.any_shape(), **where)))


ACTIVATIONS = {
    "nn.Tanh F.tanh": of_x(),
    "nn.Sigmoid F.sigmoid": of_x(),
    "nn.ReLU F.relu": of_x(kinks=(0.0,)),
    "nn.SiLU F.silu": of_x(),
    "nn.Softsign F.softsign": of_x(kinks=(0.0,)),
    "nn.LogSigmoid F.logsigmoid": of_x(),
    "nn.LeakyReLU F.leaky_relu": Line(lambda d: call(d.x(kinks=(0.0,)), negative_slope=d.of(0.01, 0.3, -0.5, 2))),
    "nn.ELU F.elu": Line(lambda d: call(d.x(kinks=(0.0,)), alpha=d.of(1.0, 0.5, 2, -1.0))),
    "nn.GELU F.gelu": Line(
        lambda d: call(d.x(), approximate="tanh"), {"approximate": '"tanh" is the only one that can be computed'}
    ),
    "nn.Softplus F.softplus": Line(rounded_off),
    "nn.Hardtanh F.hardtanh": Line(bounded),
    "nn.Softmax F.softmax": Line(along),
    "nn.LogSoftmax F.log_softmax": Line(along),
}

# Layers -------------------------------------------------------------------------------------------


def linear_layer(d: Draws) -> Call:
    x = d.x((*d.any_shape(), d.of(1, 2, 3)))
    return call(x, in_features=x.shape[-1], out_features=d.of(1, 2, 3), bias=d.flag(True))


def linear(d: Draws) -> Call:
    x, out = d.x((*d.any_shape(), d.of(1, 2, 3))), d.of(1, 2, 3)
    return call(x, d.x((out, x.shape[-1])), d.of(None, d.x((out,))))


def without_padding(ids: Array, padding_idx: int | None, count: int) -> Callable[[Any], Any]:
    """The padding's row is held constant in the derivative, which differences would not know."""
    if padding_idx is None:
        return lambda y: y
    return lambda y: mg.where(mg.tensor((ids == padding_idx % count)[..., None]), 0.0, y)


def look_up(d: Draws) -> tuple[Array, int, int | None]:
    count = d.of(1, 2, 4)
    return d.ids(d.any_shape(), count), count, d.axis(count, None)


def embedding_layer(d: Draws) -> Call:
    ids, count, padding = look_up(d)
    options = {"num_embeddings": count, "embedding_dim": d.of(1, 3), "padding_idx": padding}
    return Call((ids,), options, seen=without_padding(ids, padding, count))


def embedding(d: Draws) -> Call:
    ids, count, padding = look_up(d)
    table = d.x((count, d.of(1, 3)))
    return Call((ids, table, padding), seen=without_padding(ids, padding, count))


def normalized(d: Draws) -> tuple[Array, Any, Shape]:
    x = d.x(d.shape(least=1), distinct=True)  # nearly equal ones would curve too much for differences
    inner = x.shape[d.choose(x.ndim) :]
    return x, d.of(inner, list(inner), *(inner if len(inner) == 1 else ())), inner


def norm_layer(d: Draws) -> Call:
    x, shape, _ = normalized(d)
    options = {"elementwise_affine": d.flag(True), "bias": d.flag(True)}
    return call(x, normalized_shape=shape, eps=d.of(1e-5, 0.1), **options)


def layer_norm(d: Draws) -> Call:
    x, shape, inner = normalized(d)
    return call(x, shape, weight=d.of(None, d.x(inner)), bias=d.of(None, d.x(inner)), eps=d.of(1e-5, 0.1))


def images(d: Draws, channels: int, needed: Shape, **where: Any) -> Array:
    """With a batch or without, at least as high and wide as needed, by a little."""
    return d.x((*d.of((2,), (), (1,)), channels, *(n + d.choose(3) for n in needed)), **where)


def needed(size: Any, dilation: Any, around: Any) -> Shape:
    """How high and wide images have to be for one window."""
    pairs = ((n, n) if isinstance(n, int) else n for n in (size, dilation, around))
    return tuple(max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in zip(*pairs, strict=True))


def convolution(d: Draws) -> tuple[int, int, Any, dict[str, Any]]:
    """Channels in and out, the size of the kernel, and the options."""
    groups = d.of(1, 2)
    size = d.of(2, 1, (1, 2), (3, 2))
    stride, dilation = d.of(1, 2, (1, 2)), d.of(1, 2, (2, 1))
    options = {"stride": stride, "padding": d.of(0, 1, (0, 2), "valid", *(["same"] if stride == 1 else []))}
    return groups * d.of(1, 2), groups * d.of(1, 2), size, options | {"dilation": dilation, "groups": groups}


def around(options: dict[str, Any]) -> Any:
    return 0 if isinstance(options["padding"], str) else options["padding"]


def conv2d_layer(d: Draws) -> Call:
    channels, out, size, options = convolution(d)
    x = images(d, channels, needed(size, options["dilation"], around(options)))
    sizes = {"in_channels": channels, "out_channels": out, "kernel_size": size, "bias": d.flag(True)}
    return call(x, **sizes, **options)


def conv2d(d: Draws) -> Call:
    channels, out, size, options = convolution(d)
    x = images(d, channels, needed(size, options["dilation"], around(options)))
    size = (size, size) if isinstance(size, int) else size
    return call(x, d.x((out, channels // options["groups"], *size)), d.of(None, d.x((out,))), **options)


def pooled(d: Draws) -> Call:
    size, padding = d.of((2, 0), (1, 0), ((2, 1), 0), ((2, 3), (1, 0)), (3, 1))
    options = {"stride": d.of(None, 1, (1, 2)), "padding": padding, "dilation": d.of(1, 2, (2, 1))}
    x = images(d, d.of(1, 2), needed(size, options["dilation"], 0), distinct=True, low=-10.0, high=10.0)
    return call(x, kernel_size=size, **options, ceil_mode=d.flag())


PROBABILITIES = 0.5, 0.2, 0.8, 0.0, 1.0


def locked(d: Draws) -> Call:
    x = d.x(d.shape(least=2))
    inputs = (packed(d),) if d.choose(3) == 2 else (x,)
    return Call(inputs, {"p": d.of(*PROBABILITIES), "batch_first": d.flag()}, training=d.flag(True))


def packed(d: Draws) -> list[Array]:
    """Sequences (Tᵢ, D)."""
    features = d.of(1, 2)
    return [d.x((d.of(1, 2, 3), features)) for _ in range(d.of(1, 2, 3))]


def locked_dropout(module: nn.Module, x: Any) -> Any:
    return module(rnn.pack_sequence(x, enforce_sorted=False) if isinstance(x, list) else x)


def flattened(d: Draws) -> Call:
    x = d.x(d.shape(least=2))
    first = d.choose(x.ndim)
    last = first + d.choose(x.ndim - first)
    return call(x, start_dim=d.of(first, first - x.ndim), end_dim=d.of(last, last - x.ndim))


DOUBLE = {"dtype": mg.float64}
STACKS: tuple[Callable[[], list[nn.Module]], ...] = (
    list,
    lambda: [nn.Linear(2, 3, **DOUBLE), nn.Tanh(), nn.Linear(3, 1, **DOUBLE)],
    lambda: [nn.LayerNorm(2, **DOUBLE), nn.Linear(2, 2, bias=False, **DOUBLE), nn.SiLU()],
)


def held(hold: Callable[[list[nn.Module]], tuple[Any, ...]]) -> Callable[[Draws], Call]:
    """A container of some modules."""

    def drawn(d: Draws) -> Call:
        stack = d.of(*STACKS)
        return Call((d.x((*d.shape(most=1), 2), distinct=True),), parts=lambda: hold(stack()))

    return drawn


def in_turn(modules: Any, x: Any) -> Any:
    for module in modules.values() if isinstance(modules, nn.ModuleDict) else modules:
        x = module(x)
    return x


LAYERS = {
    "nn.Linear": Line(linear_layer),
    "F.linear": Line(linear),
    "nn.Conv2d": Line(conv2d_layer),
    "F.conv2d": Line(conv2d),
    "nn.MaxPool2d F.max_pool2d": Line(pooled),
    "nn.Embedding": Line(embedding_layer),
    "F.embedding": Line(embedding),
    "nn.LayerNorm": Line(norm_layer),
    "F.layer_norm": Line(layer_norm),
    "nn.Dropout": Line(
        lambda d: Call((d.x(d.any_shape()),), {"p": d.of(*PROBABILITIES)}, training=d.flag(True)), random=True
    ),
    "F.dropout": Line(lambda d: call(d.x(d.any_shape()), p=d.of(*PROBABILITIES), training=d.flag(True)), random=True),
    "nn.LockedDropout": Line(locked, run=locked_dropout, random=True),
    "nn.Identity": Line(lambda d: call(d.x(d.any_shape()), **d.of({}, {"size": 3}))),
    "nn.Flatten": Line(flattened),
    "nn.Sequential": Line(held(tuple)),
    "nn.ModuleList": Line(held(lambda stack: (stack,) if stack else ()), run=in_turn),
    "nn.ModuleDict": Line(
        held(lambda stack: ({f"layer {i}": m for i, m in enumerate(stack)},) if stack else ()), run=in_turn
    ),
}

# Losses -------------------------------------------------------------------------------------------


def reduction(d: Draws) -> str:
    return str(d.of("mean", "sum", "none"))


def scores(d: Draws) -> tuple[Array, int]:
    """Scores (N, V, d₁, ...) or (V,), and V."""
    x = d.x(d.shape(least=1, most=4))
    return x, x.shape[min(1, x.ndim - 1)]


def labelled(d: Draws, x: Array, count: int) -> tuple[Array, dict[str, Any]]:
    """Targets, some of them ignored, but not all; and the options of losses that have them."""
    ignored = d.of(-100, -1, *range(1, count))
    shape = x.shape[:1] + x.shape[2:] if x.ndim > 1 else ()
    targets = np.where(d.ids(shape, 3) == 0, ignored, d.ids(shape, count))
    targets.flat[0] = 0
    weight = d.of(None, d.x((count,), 0.2, 2.0))
    return targets, {"weight": weight, "ignore_index": ignored, "reduction": reduction(d)}


def cross_entropy(d: Draws) -> Call:
    x, count = scores(d)
    targets, options = labelled(d, x, count)
    if d.choose(3) == 2:
        targets = d.x(x.shape, 0.05, 1.0)
        options["ignore_index"] = d.of(-100, -1)
    return call(x, targets, **options, label_smoothing=d.of(0.0, 0.1, 0.6, 1.0))


def nll_loss(d: Draws) -> Call:
    x, count = scores(d)
    targets, options = labelled(d, x, count)
    return call(x, targets, **options)


def apart(d: Draws, kinks: tuple[float, ...], **options: Any) -> Call:
    """Predictions and targets, whose difference is clear of the kinks."""
    targets = d.x()
    return call(np.asarray(targets + d.x(targets.shape, kinks=kinks)), targets, reduction=reduction(d), **options)


def smooth_l1(d: Draws) -> Call:
    beta = d.of(1.0, 0.3, 2.5, 0.0)
    return apart(d, (-beta, beta), beta=beta)


def huber(d: Draws) -> Call:
    delta = d.of(1.0, 0.3, 2.5)
    return apart(d, (-delta, delta), delta=delta)


def factor(d: Draws, shape: Shape) -> Array | None:
    """None, or something that broadcasts to the shape."""
    kept = shape[d.choose(len(shape) + 1) :]
    return d.of(None, d.x(tuple(d.of(n, 1) for n in kept), 0.2, 2.0))  # type: ignore[no-any-return]


def binary(d: Draws) -> Call:
    x = d.x()
    targets = d.x(x.shape, 0.0, 1.0)
    weights = {"weight": factor(d, x.shape), "pos_weight": factor(d, x.shape)}
    return call(x, targets, reduction=reduction(d), **weights)


LOSSES = {
    "nn.CrossEntropyLoss F.cross_entropy": Line(cross_entropy),
    "nn.NLLLoss F.nll_loss": Line(nll_loss),
    "nn.MSELoss F.mse_loss": Line(lambda d: apart(d, ())),
    "nn.L1Loss F.l1_loss": Line(lambda d: apart(d, (0.0,))),
    "nn.SmoothL1Loss F.smooth_l1_loss": Line(smooth_l1),
    "nn.HuberLoss F.huber_loss": Line(huber),
    "nn.BCEWithLogitsLoss F.binary_cross_entropy_with_logits": Line(binary),
}

# Sequences of unequal lengths ---------------------------------------------------------------------


def side_by_side(d: Draws) -> tuple[Array, dict[str, Any]]:
    """A padded batch and its lengths."""
    first = d.flag()
    x = d.x((*d.shape(least=2, most=2), *d.shape(most=1)))
    steps, batch = x.shape[first], x.shape[not first]
    return x, {"lengths": [1 + d.choose(steps) for _ in range(batch)], "batch_first": first}


def pack_padded(d: Draws) -> Call:
    x, options = side_by_side(d)
    if d.flag():
        return call(x, **options, enforce_sorted=False)
    options["lengths"].sort(reverse=True)
    return call(x, **options)


def pack(d: Draws) -> Call:
    sequences = packed(d)
    if d.flag():
        return call(sequences, enforce_sorted=False)
    return call(sorted(sequences, key=len, reverse=True))


def pad(d: Draws) -> Call:
    options = {"batch_first": d.flag(), "padding_value": d.of(0.0, -1.5), "padding_side": d.of("right", "left")}
    return call(packed(d), **options)


def pad_packed(d: Draws) -> Call:
    options = {"batch_first": d.flag(), "padding_value": d.of(0.0, -1.5), "total_length": d.of(None, 3, 5)}
    return call(packed(d), **options)


def unpad(d: Draws) -> Call:
    x, options = side_by_side(d)
    return call(x, **options)


def after_packing(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda rows, **options: function(rnn.pack_sequence(rows, enforce_sorted=False), **options)


SEQUENCES = {
    "rnn.pack_padded_sequence": Line(pack_padded),
    "rnn.pack_sequence": Line(pack),
    "rnn.pad_sequence": Line(pad),
    "rnn.pad_packed_sequence": Line(pad_packed, run=after_packing(rnn.pad_packed_sequence)),
    "rnn.unpad_sequence": Line(unpad),
    "rnn.unpack_sequence": Line(lambda d: call(packed(d)), run=after_packing(rnn.unpack_sequence)),
}

LINES = {
    name: line
    for table in (ACTIVATIONS, LAYERS, LOSSES, SEQUENCES)
    for names, line in table.items()
    for name in names.split()
}

# What has no line ---------------------------------------------------------------------------------

WITHOUT = {
    "has its own proofs, with a loop over time": (
        "nn.RNN nn.LSTM nn.GRU nn.RNNCell nn.LSTMCell nn.GRUCell nn.LayerNormLSTM nn.PeepholeLSTM nn.Stateful rnn.tbptt"
    ),
    "computes nothing": "nn.Module nn.Parameter rnn.PackedSequence",
    "has integers for input": "F.one_hot",
    "changes gradients in place, which is not recorded": "utils.clip_grad_norm_ utils.clip_grad_value_",
}
