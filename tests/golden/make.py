"""Golden values: what PyTorch computes, in float64, for minigrad to be compared with.

Run by hand, with torch installed, after a case is added or changed:

    python -m tests.golden.make

It writes one .npz file per family of cases beside this file. The tests read the files, so they need no
torch; where torch is installed, they also call the `run_...` functions below on cases drawn at random.

A case's arrays have these names: what goes in ("x", "state.0", "weight.bias_hh_l0", ...), what comes out
("output.0", ...), and "gradient." before the name of each thing that goes in and has a gradient.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Arrays = dict[str, np.ndarray]
HERE = Path(__file__).parent


def weighing(shape: tuple[int, ...], k: int) -> np.ndarray:
    """Fixed weights for output k, all different: Σ weights ⊙ output makes one number of it to differentiate."""
    return (np.cos(0.7 * np.arange(math.prod(shape)) + k) + 1.5).reshape(shape)


def flat(outputs: Any) -> list[Any]:
    """What a layer returns, (output, (h, c)) for example, as a list."""
    return [y for part in outputs for y in flat(part)] if isinstance(outputs, (tuple, list)) else [outputs]


# Layers -------------------------------------------------------------------------------------------


class Layer(NamedTuple):
    """A layer, and what to feed it."""

    kind: str  # its name, in torch.nn and in minigrad.nn
    sizes: tuple[int, ...]  # its first arguments
    options: dict[str, Any]  # its other arguments
    shape: tuple[int, ...]  # of the input
    given: bool = False  # whether there is an initial state

    @property
    def has_memory(self) -> bool:
        return self.kind.startswith("LSTM")

    @property
    def state_shape(self) -> tuple[int, ...]:
        hidden = self.sizes[1]
        if self.kind.endswith("Cell"):
            return (*self.shape[:-1], hidden)
        batch = self.shape[:1] if self.options.get("batch_first") else self.shape[1:2]
        return (self.options.get("num_layers", 1), *(batch if len(self.shape) == 3 else ()), hidden)

    def arguments(self, x: Any, state: list[Any]) -> tuple[Any, ...]:
        """What to call the layer with."""
        if not state:
            return (x,)
        return (x, tuple(state) if self.has_memory else state[0])


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
RELU = {"nonlinearity": "relu"}
KINDS = {"rnn-tanh": ("RNN", {}), "rnn-relu": ("RNN", RELU), "lstm": ("LSTM", {}), "gru": ("GRU", {})}
LAYERS = {
    **{
        f"{name}{'' if suffix == '' else '-cell'}-{variant}": Layer(kind + suffix, (2, 3), own | options, shape, given)
        for suffix, variants in (("", SEQUENCES), ("Cell", STEPS))
        for name, (kind, own) in KINDS.items()
        for variant, (options, shape, given) in variants.items()
    },
    "linear": Layer("Linear", (4, 3), {}, (5, 4)),
    "linear-no-bias": Layer("Linear", (4, 3), {"bias": False}, (2, 3, 4)),
    "linear-vector": Layer("Linear", (4, 3), {}, (4,)),
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
    state = [rng.uniform(-1, 1, case.state_shape) for _ in range((1 + case.has_memory) * case.given)]
    inputs = {"x": x} | {f"state.{k}": part for k, part in enumerate(state)}
    leaves = {name: torch.tensor(value, requires_grad=value.dtype == np.float64) for name, value in inputs.items()}
    outputs = flat(layer(*case.arguments(leaves["x"], [leaves[f"state.{k}"] for k in range(len(state))])))

    loss = sum((y * torch.from_numpy(weighing(tuple(y.shape), k))).sum() for k, y in enumerate(outputs))
    loss.backward()
    leaves |= {f"weight.{name}": p for name, p in layer.named_parameters()}
    return {
        **{name: leaf.detach().numpy() for name, leaf in leaves.items()},
        **{f"output.{k}": y.detach().numpy() for k, y in enumerate(outputs)},
        **{f"gradient.{name}": leaf.grad.numpy() for name, leaf in leaves.items() if leaf.requires_grad},
    }


# Functions ----------------------------------------------------------------------------------------


class Function(NamedTuple):
    """A function of nn.functional, and what to give it."""

    kind: str
    shape: tuple[int, ...]
    options: dict[str, Any]
    scale: float = 2.0  # of the input
    ignored: int = 0  # how many of the targets do not count

    @property
    def classes_axis(self) -> int:
        return min(1, len(self.shape) - 1)


FUNCTIONS = {
    "softmax": Function("softmax", (3, 5), {"dim": -1}),
    "softmax-first": Function("softmax", (3, 5), {"dim": 0}),
    "softmax-middle-large": Function("softmax", (2, 4, 3), {"dim": 1}, scale=300.0),
    "log-softmax": Function("log_softmax", (3, 5), {"dim": -1}),
    "log-softmax-middle": Function("log_softmax", (2, 4, 3), {"dim": 1}),
    "log-softmax-large": Function("log_softmax", (3, 5), {"dim": 1}, scale=300.0),
    "cross-entropy-mean": Function("cross_entropy", (6, 5), {}),
    "cross-entropy-sum": Function("cross_entropy", (6, 5), {"reduction": "sum"}),
    "cross-entropy-none": Function("cross_entropy", (6, 5), {"reduction": "none"}),
    "cross-entropy-large": Function("cross_entropy", (6, 5), {"reduction": "none"}, scale=300.0),
    "cross-entropy-one": Function("cross_entropy", (5,), {}),
    "cross-entropy-default-ignored": Function("cross_entropy", (6, 5), {}, ignored=2),
    "cross-entropy-ignored-mean": Function("cross_entropy", (6, 5), {"ignore_index": 3}, ignored=2),
    "cross-entropy-ignored-sum": Function("cross_entropy", (6, 5), {"ignore_index": -1, "reduction": "sum"}, ignored=2),
    "cross-entropy-ignored-none": Function("cross_entropy", (6, 5), {"reduction": "none"}, ignored=2),
    "cross-entropy-sequence": Function("cross_entropy", (3, 5, 4), {"ignore_index": 2}, ignored=3),
    "cross-entropy-image-none": Function("cross_entropy", (2, 5, 3, 2), {"reduction": "none"}, ignored=3),
}


def run_function(case: Function, seed: int) -> Arrays:
    """A random input, the function's output, and the gradient of Σ weighing ⊙ output."""
    import torch

    rng = np.random.default_rng(seed)
    arrays = {"x": case.scale * rng.normal(size=case.shape)}
    x = torch.tensor(arrays["x"], requires_grad=True)
    arguments = [x]
    if case.kind == "cross_entropy":
        axis = case.classes_axis
        targets = rng.integers(0, case.shape[axis], case.shape[:axis] + case.shape[axis + 1 :])
        targets.flat[: case.ignored] = case.options.get("ignore_index", -100)
        arrays["targets"] = targets
        arguments.append(torch.from_numpy(targets))
    y = getattr(torch.nn.functional, case.kind)(*arguments, **case.options)
    (y * torch.from_numpy(weighing(tuple(y.shape), 0))).sum().backward()
    return arrays | {"output.0": y.detach().numpy(), "gradient.x": x.grad.numpy()}


# Optimizers, clipping, schedules ------------------------------------------------------------------


Optimizer = tuple[str, dict[str, Any]]
STEPS_TAKEN = 50

OPTIMIZERS = {
    "sgd": ("SGD", {"lr": 0.1}),
    "sgd-weight-decay": ("SGD", {"lr": 0.1, "weight_decay": 0.05}),
    "sgd-momentum": ("SGD", {"lr": 0.05, "momentum": 0.9}),
    "sgd-dampening": ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3}),
    "sgd-nesterov": ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    "sgd-all": ("SGD", {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.1, "dampening": 0.5}),
    "rmsprop": ("RMSprop", {}),
    "rmsprop-alpha": ("RMSprop", {"lr": 2e-3, "alpha": 0.95, "eps": 1e-4}),
    "rmsprop-momentum": ("RMSprop", {"lr": 2e-3, "momentum": 0.9}),
    "rmsprop-all": ("RMSprop", {"lr": 2e-3, "momentum": 0.5, "weight_decay": 0.1}),
    "adam": ("Adam", {}),
    "adam-betas": ("Adam", {"lr": 0.02, "betas": (0.5, 0.9), "eps": 1e-4}),
    "adam-weight-decay": ("Adam", {"lr": 0.02, "weight_decay": 0.1}),
}


def run_optimizer(case: Optimizer, seed: int) -> Arrays:
    """Where a small parameter is after each step, on a sequence of gradients that depends on nothing."""
    import torch

    kind, options = case
    rng = np.random.default_rng(seed)
    arrays = {"start": rng.normal(size=(2, 3)), "gradients": rng.normal(size=(STEPS_TAKEN, 2, 3))}
    p = torch.tensor(arrays["start"], requires_grad=True)
    optimizer = getattr(torch.optim, kind)([p], **options)
    places = []
    for gradient in arrays["gradients"]:
        p.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        places.append(p.detach().numpy().copy())
    return arrays | {"places": np.stack(places)}


MAX_NORMS = {"below": 100.0, "above": 0.5, "far-above": 1e-3}


def run_clipping(max_norm: float, seed: int) -> Arrays:
    """The gradients of two parameters before and after, and their norm."""
    import torch

    rng = np.random.default_rng(seed)
    gradients = [rng.normal(size=(3, 2)), rng.normal(size=4)]
    parameters = [torch.zeros(g.shape, dtype=torch.float64, requires_grad=True) for g in gradients]
    for p, g in zip(parameters, gradients, strict=True):
        p.grad = torch.from_numpy(g.copy())
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    before = {f"before.{k}": g for k, g in enumerate(gradients)}
    return before | {f"after.{k}": p.grad.numpy() for k, p in enumerate(parameters)} | {"norm": norm.numpy()}


SCHEDULES = {"cosine": {"T_max": 20}, "cosine-eta-min": {"T_max": 20, "eta_min": 0.01}}


def run_schedule(options: dict[str, Any], seed: int = 0) -> Arrays:
    """The learning rate at first, 0.1, and after each of 30 steps."""
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, **options)
    rates = [schedule.get_last_lr()]
    for _ in range(30):
        optimizer.step()
        schedule.step()
        rates.append(schedule.get_last_lr())
    return {"rates": np.array(rates, dtype=np.float64)}


# The files ----------------------------------------------------------------------------------------

FAMILIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "layers": (run_layer, LAYERS),
    "functions": (run_function, FUNCTIONS),
    "optimizers": (run_optimizer, OPTIMIZERS),
    "clippings": (run_clipping, MAX_NORMS),
    "schedules": (run_schedule, SCHEDULES),
}


def read(family: str) -> dict[str, Arrays]:
    """The arrays of a golden file, by case."""
    cases: dict[str, Arrays] = {}
    with np.load(HERE / f"{family}.npz", allow_pickle=False) as file:
        for name in file.files:
            case, _, array = name.partition("/")
            if array:
                cases.setdefault(case, {})[array] = file[name]
    return cases


def main() -> None:
    import torch

    torch.set_num_threads(1)
    for family, (run, cases) in FAMILIES.items():
        arrays = {"torch": np.array(torch.__version__)}
        for name, case in cases.items():
            found = run(case, seed=zlib.crc32(name.encode()))
            arrays |= {f"{name}/{array}": value for array, value in found.items()}
        path = HERE / f"{family}.npz"
        np.savez_compressed(path, **arrays)
        print(f"{path.name}: {len(cases)} cases, {path.stat().st_size} bytes, torch {torch.__version__}")


if __name__ == "__main__":
    main()
