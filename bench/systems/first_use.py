"""What the first use of a recurrent layer costs, in a process that has computed nothing before."""

from __future__ import annotations

import time
from typing import Any

import minigrad as mg
from minigrad.fusion import compiler
from minigrad.fusion.folder import library_folder

from .minigrad_layers import LAYERS


def first_use(cell: str, hidden: int, batch: int, length: int, is_on: bool) -> dict[str, Any]:
    """Seconds of the first forward and backward beyond those of the second; of these, the compiler's; what is kept.

    Raises:
        RuntimeError: kernels were asked for, and there is no compiler, or it failed.
    """
    mg.fusing(is_on)
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
        start = time.perf_counter()
        rnn(x)[0].sum().backward()
        passed = time.perf_counter() - start
        rnn.zero_grad()
        return passed

    first, second = seconds(), seconds()
    if is_on and mg.fuse_backend("cpu") != "c":
        raise RuntimeError(f"the kernels are written by {mg.fuse_backend('cpu')!r}: is there a C compiler?")
    sizes = [path.stat().st_size for path in library_folder().glob("*.so")]
    return {"seconds": first - second, "compiler": sum(runs), "libraries": len(sizes), "bytes": sum(sizes)}
