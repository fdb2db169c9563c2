"""One training step of a character model, written for several systems.

A system is a module with one function, imported in a process that serves that system alone:

    build(task, weights, batches) -> step        step(k) trains on batch k, waits until that is done, returns the loss

`task.py` says what every step computes; `worker.py` runs in the process and answers what it is asked.
"""

from __future__ import annotations

# What `--systems` names, and the module behind it.
SYSTEMS = {
    "minigrad": "bench.systems.minigrad_layers",
    "torch": "bench.systems.torch_layers",
    "torch-cells": "bench.systems.torch_cells",
    "jax": "bench.systems.jax_scan",
    "autograd": "bench.systems.hips_autograd",
    "mygrad": "bench.systems.mygrad_loop",
}
