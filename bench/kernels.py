"""How many kernels a training step launches on the GPU, counted in a process alone: counting slows what is counted.

CUPTI, which PyTorch's profiler asks, sees the kernels of its whole process, CuPy's as well.
"""

from __future__ import annotations

import importlib
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
    if not torch.cuda.is_available():
        return {"launches": None}
    return {"launches": _counted(torch, Task(**config)) or None}  # pragma: gpu


def _counted(torch: Any, task: Task) -> int:  # pragma: gpu
    with mg.use_device("cuda"):
        step = minigrad_layers.build(task, weights(task), batches(task))
        step(0)
        step(1)
        mg.synchronize()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            step(2)
            mg.synchronize()
    on_device = [event.name for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    return sum(not name.startswith(("Memcpy", "Memset")) for name in on_device)
