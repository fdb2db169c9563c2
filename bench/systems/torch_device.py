"""PyTorch's devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .host import Host


class Cuda(Host):
    """The bytes are those of tensors, as PyTorch's allocator rounds their sizes."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.device = torch.device(name)

    def synchronize(self) -> None:
        torch.cuda.synchronize(self.device)

    def now(self) -> int:
        return int(torch.cuda.memory_allocated(self.device))

    def peak(self, act: Callable[[], Any]) -> tuple[int, int]:
        before = self.now()
        torch.cuda.reset_peak_memory_stats(self.device)
        act()
        self.synchronize()
        return before, int(torch.cuda.max_memory_allocated(self.device))


def device(name: str) -> Host:
    return Cuda(name) if name.startswith("cuda") else Host(name)


# Float32 products -----------------------------------------------------------------------------------

TF32 = 1e-2  # how close losses are, relative, where products read 11 of the 24 bits of a float32


def precision(name: str) -> dict[str, Any]:
    """What PyTorch makes of products of float32 on a device, and how close the losses then are."""
    if not name.startswith("cuda"):
        return {}
    in_cudnn, in_products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    settings = {
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "cudnn.allow_tf32": in_cudnn,
        "float32_matmul_precision": in_products,
    }
    return {"settings": settings} | ({"close": TF32} if in_cudnn or in_products != "highest" else {})


def only_float32() -> None:
    """No TF32 in this process: recurrent layers use it unless told otherwise."""
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
