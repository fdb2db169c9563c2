"""One training step of a character model, written for several systems.

A system is a module with one function, imported in a process that serves that system alone:

    build(task, weights, batches) -> step        step(k) trains on batch k, waits until that is done, returns the loss

A system that runs on other devices than the CPU has `device(name) -> Host` besides (host.py), which waits for one and
asks it for its memory. `task.py` says what every step computes; `worker.py` runs in the process and answers what it is
asked.
"""

from __future__ import annotations

# What `--systems` names, and the module behind it.
SYSTEMS = {
    "minigrad": "bench.systems.minigrad_layers",
    "torch": "bench.systems.torch_layers",
    "torch-float32": "bench.systems.torch_float32",
    "torch-cells": "bench.systems.torch_cells",
    "jax": "bench.systems.jax_scan",
    "autograd": "bench.systems.hips_autograd",
    "mygrad": "bench.systems.mygrad_loop",
}


def usual(device: str) -> tuple[str, ...]:
    """The systems that are compared on a device if nobody chooses; PyTorch has TF32 on a GPU only."""
    if device == "cpu":
        return tuple(name for name in SYSTEMS if name != "torch-float32")
    return tuple(name for name in SYSTEMS if name.startswith(("minigrad", "torch")))
