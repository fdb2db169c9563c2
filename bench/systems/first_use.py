"""What the first use of a recurrent layer costs, in a process that has computed nothing before."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import minigrad as mg
from minigrad.fusion import compiler
from minigrad.fusion.folder import library_folder

from . import minigrad_device
from .host import Host
from .minigrad_layers import LAYERS


def first_use(cell: str, hidden: int, batch: int, length: int, is_on: bool, device: str = "cpu") -> dict[str, Any]:
    """Seconds of the first forward and backward beyond those of the second; of these, the compiler's; what is kept.

    Raises:
        RuntimeError: kernels were asked for, and there is no compiler, or it failed.
    """
    mg.fusing(is_on)
    where = minigrad_device.device(device)
    with where.active():
        if device != "cpu":
            woken(where)
        found = used(cell, hidden, batch, length, where)
    if is_on and device == "cpu" and mg.fuse_backend("cpu") != "c":
        raise RuntimeError(f"the kernels are written by {mg.fuse_backend('cpu')!r}: is there a C compiler?")
    sizes = [path.stat().st_size for path in kept(device)]
    return {**found, "libraries": len(sizes), "bytes": sum(sizes)}


def woken(where: Host) -> None:
    """What a device and its BLAS take to wake is no kernel's."""
    x = mg.ones((2, 2))
    x @ x
    where.synchronize()


def kept(device: str) -> list[Path]:
    """The files of compiled kernels."""
    if device == "cpu":
        return list(library_folder().glob("*.so"))
    return [path for path in Path(os.environ["CUPY_CACHE_DIR"]).glob("*") if path.is_file()]


def used(cell: str, hidden: int, batch: int, length: int, where: Host) -> dict[str, Any]:
    runs: list[float] = []
    real = compiler._run

    def timed(command: list[str], scratch: str) -> tuple[int, str]:
        start = time.perf_counter()
        try:
            return real(command, scratch)
        finally:
            runs.append(time.perf_counter() - start)

    compiler._run = timed
    rnn, x = LAYERS[cell](hidden, hidden), mg.randn((length, batch, hidden))

    def seconds() -> float:
        where.synchronize()
        start = time.perf_counter()
        rnn(x)[0].sum().backward()
        where.synchronize()
        passed = time.perf_counter() - start
        rnn.zero_grad()
        return passed

    first, second = seconds(), seconds()
    return {"seconds": first - second, "compiler": sum(runs)}
