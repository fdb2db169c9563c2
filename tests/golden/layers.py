"""Layers: what goes in, what PyTorch's layer of the same name gives, and every gradient."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .arrays import Arrays, flat, weighing


class Layer(NamedTuple):
    """A layer, and what to feed it."""

    kind: str  # its name, in torch.nn and in minigrad.nn
    sizes: tuple[int, ...]  # its first arguments
    options: dict[str, Any]  # its other arguments
    shape: tuple[int, ...]  # of the input
    given: bool = False  # whether there is an initial state
    lengths: tuple[int, ...] = ()  # of the sequences, if the input is packed

    @property
    def has_memory(self) -> bool:
        return self.kind.startswith("LSTM")

    @property
    def state_shapes(self) -> list[tuple[int, ...]]:
        """Of h, and of c if there is one."""
        hidden = self.sizes[1]
        leading = self.shape[:-1]
        if not self.kind.endswith("Cell"):
            batch = self.shape[:1] if self.options.get("batch_first") else self.shape[1:2]
            count = self.options.get("num_layers", 1) * (1 + self.options.get("bidirectional", False))
            leading = (count, *(batch if len(self.shape) == 3 else ()))
        shapes = [(*leading, self.options.get("proj_size") or hidden), (*leading, hidden)]
        return shapes[: 1 + self.has_memory]

    def arguments(self, x: Any, state: list[Any], rnn: Any) -> tuple[Any, ...]:
        """What to call the layer with; `rnn` is torch's nn.utils.rnn, or minigrad's."""
        if self.lengths:
            batch_first, in_order = self.options.get("batch_first", False), list(self.lengths)
            enforce_sorted = in_order == sorted(in_order, reverse=True)
            x = rnn.pack_padded_sequence(x, in_order, batch_first, enforce_sorted)
        if not state:
            return (x,)
        return (x, tuple(state) if self.has_memory else state[0])

    def outputs(self, found: Any, rnn: Any) -> list[Any]:
        """What the layer gave, as a list; the output of a packed input padded again."""
        if self.lengths:
            padded, _ = rnn.pad_packed_sequence(found[0], self.options.get("batch_first", False))
            found = (padded, found[1])
        return flat(found)


SEQUENCES = {  # T = 4, N = 3, D = 2, H = 3
    "one-layer": ({}, (4, 3, 2), False),
    "one-step": ({}, (1, 3, 2), False),
    "state": ({}, (4, 3, 2), True),
    "no-bias": ({"bias": False}, (4, 3, 2), True),
    "two-layers": ({"num_layers": 2}, (4, 3, 2), True),
    "two-layers-no-bias": ({"num_layers": 2, "bias": False}, (4, 3, 2), False),
    "batch-first": ({"num_layers": 2, "batch_first": True}, (3, 4, 2), True),
    "unbatched": ({"num_layers": 2}, (4, 2), True),
    "unbatched-no-state": ({"batch_first": True}, (4, 2), False),
}
STEPS = {
    "plain": ({}, (3, 2), False),
    "state": ({}, (3, 2), True),
    "no-bias": ({"bias": False}, (3, 2), True),
    "unbatched": ({}, (2,), True),
}
# Both directions, and sequences of unequal lengths: kind, options, input, state given, lengths.
BOTH, PROJECTED = {"bidirectional": True}, {"proj_size": 2}
FURTHER = {
    "rnn-tanh-both-packed": ("RNN", BOTH, (4, 3, 2), True, (4, 2, 1)),
    "rnn-relu-both": ("RNN", BOTH | {"nonlinearity": "relu", "num_layers": 2}, (4, 3, 2), False, ()),
    "lstm-both-two-layers": ("LSTM", BOTH | {"num_layers": 2, "bias": False}, (4, 3, 2), True, ()),
    "lstm-both-unbatched": ("LSTM", BOTH, (4, 2), True, ()),
    "lstm-packed": ("LSTM", {}, (4, 3, 2), True, (4, 4, 2)),
    "lstm-both-packed-unsorted": ("LSTM", BOTH | {"num_layers": 2}, (4, 3, 2), True, (1, 4, 3)),
    "lstm-both-packed-no-state": ("LSTM", BOTH | {"batch_first": True}, (3, 4, 2), False, (1, 2, 4)),
    "lstm-projected": ("LSTM", PROJECTED | {"num_layers": 2}, (4, 3, 2), True, ()),
    "lstm-projected-both-packed": ("LSTM", PROJECTED | BOTH | {"num_layers": 2}, (4, 3, 2), True, (2, 4, 1)),
    "lstm-projected-no-bias": ("LSTM", PROJECTED | {"bias": False}, (1, 3, 2), False, ()),
    "gru-both-batch-first": ("GRU", BOTH | {"batch_first": True, "num_layers": 2}, (3, 4, 2), True, ()),
    "gru-both-packed-unsorted": ("GRU", BOTH | {"num_layers": 2}, (4, 3, 2), True, (3, 1, 4)),
}
RELU = {"nonlinearity": "relu"}
KINDS = {"rnn-tanh": ("RNN", {}), "rnn-relu": ("RNN", RELU), "lstm": ("LSTM", {}), "gru": ("GRU", {})}
LAYERS = {
    **{
        f"{name}{'' if suffix == '' else '-cell'}-{variant}": Layer(kind + suffix, (2, 3), own | options, shape, given)
        for suffix, variants in (("", SEQUENCES), ("Cell", STEPS))
        for name, (kind, own) in KINDS.items()
        for variant, (options, shape, given) in variants.items()
    },
    **{
        name: Layer(kind, (2, 3), options, shape, given, lengths)
        for name, (kind, options, shape, given, lengths) in FURTHER.items()
    },
    "linear": Layer("Linear", (4, 3), {}, (5, 4)),
    "linear-no-bias": Layer("Linear", (4, 3), {"bias": False}, (2, 3, 4)),
    "linear-vector": Layer("Linear", (4, 3), {}, (4,)),
    "conv2d": Layer("Conv2d", (3, 4, 3), {}, (2, 3, 5, 6)),
    "conv2d-no-bias": Layer("Conv2d", (2, 3), {"kernel_size": (2, 3), "bias": False, "padding": 1}, (2, 2, 4, 4)),
    "conv2d-one-image": Layer("Conv2d", (2, 3, (3, 2)), {"padding": "same"}, (2, 4, 4)),
    "conv2d-groups": Layer("Conv2d", (4, 6, 3), {"groups": 2, "stride": (2, 1), "dilation": (1, 2)}, (2, 4, 7, 8)),
    "embedding": Layer("Embedding", (7, 3), {}, (5, 4)),
    "embedding-one-id": Layer("Embedding", (7, 3), {}, ()),
}


def run_layer(case: Layer, seed: int) -> Arrays:
    """Random weights and inputs, the layer's outputs, and the gradients of Σ weighing ⊙ outputs."""
    import torch

    rng = np.random.default_rng(seed)
    layer = getattr(torch.nn, case.kind)(*case.sizes, **case.options, dtype=torch.float64)
    weights = {name: rng.uniform(-0.8, 0.8, p.shape) for name, p in layer.state_dict().items()}
    layer.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})

    x = rng.integers(0, case.sizes[0], case.shape) if case.kind == "Embedding" else rng.normal(size=case.shape)
    state = [rng.uniform(-1, 1, shape) for shape in case.state_shapes] if case.given else []
    inputs = {"x": x} | {f"state.{k}": part for k, part in enumerate(state)}
    leaves = {name: torch.tensor(value, requires_grad=value.dtype == np.float64) for name, value in inputs.items()}
    rnn = torch.nn.utils.rnn
    given = [leaves[f"state.{k}"] for k in range(len(state))]
    outputs = case.outputs(layer(*case.arguments(leaves["x"], given, rnn)), rnn)

    loss = sum((y * torch.from_numpy(weighing(tuple(y.shape), k))).sum() for k, y in enumerate(outputs))
    loss.backward()
    leaves |= {f"weight.{name}": p for name, p in layer.named_parameters()}
    return {
        **{name: leaf.detach().numpy() for name, leaf in leaves.items()},
        **{f"output.{k}": y.detach().numpy() for k, y in enumerate(outputs)},
        **{f"gradient.{name}": leaf.grad.numpy() for name, leaf in leaves.items() if leaf.requires_grad},
    }
