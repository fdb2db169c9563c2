"""How many kernels a training step launches on the GPU, counted in a process alone: counting slows what is counted.

CUPTI, which PyTorch's profiler asks, sees the kernels of its whole process, CuPy's as well.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

import minigrad as mg

from .systems import minigrad_layers
from .systems.task import Task, batches, weights


def launches(config: dict[str, Any]) -> dict[str, int | None]:
    """The launches of one step after two; None without a PyTorch for CUDA, or if CUPTI cannot be asked."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return {"launches": None}
    if not config.get("device", "").startswith("cuda") or not torch.cuda.is_available():
        return {"launches": None}
    gpu = torch.autograd.DeviceType.CUDA
    return {"launches": kernels(_events_of_a_step(torch, Task(**config)), gpu) or None}


def kernels(events: Iterable[Any], gpu: Any) -> int:
    """How many of a profiler's events are kernels: they happen on the GPU, and neither copy nor fill memory."""
    return sum(event.device_type == gpu and not event.name.startswith(("Memcpy", "Memset")) for event in events)


def _events_of_a_step(torch: Any, task: Task) -> Any:
    with mg.use_device(task.device):
        step = minigrad_layers.build(task, weights(task), batches(task))
        step(0)
        step(1)
        mg.synchronize()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            step(2)
            mg.synchronize()
    return profile.events()
