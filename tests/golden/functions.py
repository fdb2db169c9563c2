"""Functions of `nn.functional`: a random input, PyTorch's value, and the gradient."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .arrays import Arrays, weighing


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
