"""Drawing characters from a model, written for several systems; each module runs in a process alone.

    build(task, weights, texts) -> step        step(k): one character further in each of N streams

The model is that of `bench.systems`. In the first T steps a sampler reads a given text and returns the mean
cross-entropy of what follows each character, by which the systems are compared; from then on it reads what it draws,
from the probabilities as they are (temperature 1), with a seed.
"""

from __future__ import annotations

SAMPLERS = {
    "minigrad": "bench.samplers.minigrad_step",
    "torch-cells": "bench.samplers.torch_cells",
    "torch": "bench.samplers.torch_layers",
}
