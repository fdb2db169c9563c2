"""What was measured, and on what: `bench/results/NAME.json`. Tables and pictures are made from these files alone.

{"bench": NAME, "machine": {...}, "facts": {...}, "rows": [{...}, ...]}
"""

from __future__ import annotations

import functools
import importlib
import json
import math
import os
import platform
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.fusion.compiler import find_compiler

RESULTS = Path(__file__).parent / "results"


def write(
    name: str,
    rows: list[dict[str, Any]],
    *,
    threads: int,
    packages: Sequence[str] = (),
    folder: Path | None = None,
    **facts: Any,
) -> Path:
    """Keep `rows` as `folder`/`name`.json, whole or not at all, with the machine and with `facts` true of every row.

    Args:
        threads: how many threads the systems measured could use.
        packages: the distributions, other than NumPy and minigrad, whose versions matter.
        folder: `bench/results` if None.
        facts: the settings of the run, by name.

    Raises:
        ValueError: a number is NaN or infinite; a thing that was not measured is None.
    """
    folder = RESULTS if folder is None else folder
    folder.mkdir(parents=True, exist_ok=True)
    document = {"bench": name, "machine": machine(threads=threads, packages=packages), "facts": facts, "rows": rows}
    text = json.dumps(_short(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    path = folder / f"{name}.json"
    beside = path.with_suffix(".json.part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
    return path


def read(name: str, folder: Path | None = None) -> dict[str, Any]:
    """The document that `write` kept.

    Raises:
        FileNotFoundError: there is none; the message names the command that makes it.
    """
    path = (RESULTS if folder is None else folder) / f"{name}.json"
    if not path.exists():
        command = " --device ".join(name.split("-", 1))
        raise FileNotFoundError(f"there is no {path}: run `python -m bench {command}` first")
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def titled(name: str, device: str, usual: str = "cpu") -> str:
    """The name of a command's results, those of another device than the usual one apart.

    >>> titled("peers", "cpu"), titled("peers", "cuda:1"), titled("device", "cuda", "cuda")
    ('peers', 'peers-cuda1', 'device')
    """
    return name if device == usual else f"{name}-{device.replace(':', '')}"


def spread(seconds: Sequence[float]) -> dict[str, Any]:
    """The median of some times, the quartiles below and above it, and how many times there are.

    >>> spread([1.0, 2.0, 4.0])
    {'median': 2.0, 'low': 1.5, 'high': 3.0, 'count': 3}
    """
    low, high = np.quantile(seconds, (0.25, 0.75)).tolist()
    return {"median": statistics.median(seconds), "low": low, "high": high, "count": len(seconds)}


def _short(value: Any) -> Any:
    """`value` with every float to six significant digits, more than any time has."""
    if isinstance(value, dict):
        return {key: _short(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_short(inner) for inner in value]
    return float(f"{value:.6g}") if isinstance(value, float) and math.isfinite(value) else value


# The machine --------------------------------------------------------------------------------------


def machine(*, threads: int, packages: Sequence[str] = ()) -> dict[str, Any]:
    """Everything about this computer and its software that a time depends on; None where it cannot be told."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_bytes": _memory(),
        "gpu": _gpu(),
        "cuda": _cuda(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": f"{blas['name']} {blas['version']}",
        "writer": mg.fuse_backend("cpu"),
        "compiler": _compiler(),
        "minigrad": mg.__version__,
        "commit": _commit(),
        "packages": {package: _version(package) for package in packages},
        "threads": threads,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """Let this process's matrix products use `threads` threads, inside a `with` block."""
    before = mg.get_num_threads()
    mg.set_num_threads(threads)
    try:
        yield
    finally:
        mg.set_num_threads(before)


def _processor() -> str:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    with suppress(AttributeError, ValueError, OSError):  # what Windows and others raise
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def _gpu() -> str | None:
    if not mg.cuda_is_available():
        return None
    cupy = importlib.import_module("cupy")
    return str(cupy.cuda.runtime.getDeviceProperties(0)["name"].decode())


def _cuda() -> dict[str, Any] | None:
    """What is known of the GPU and its software; the driver's own version is None where nvidia-smi does not tell it."""
    if not mg.cuda_is_available():
        return None
    cupy = importlib.import_module("cupy")
    runtime = cupy.cuda.runtime
    about = runtime.getDeviceProperties(0)
    return {
        "cupy": cupy.__version__,
        "capability": f"{about['major']}.{about['minor']}",
        "multiprocessors": int(about["multiProcessorCount"]),
        "memory_bytes": int(about["totalGlobalMem"]),
        "driver": _driver(),
        "driver_cuda": _dotted(runtime.driverGetVersion()),
        "runtime": _dotted(runtime.runtimeGetVersion()),
    }


def _dotted(version: int) -> str:
    """
    >>> _dotted(13010)
    '13.1'
    """
    return f"{version // 1000}.{version % 1000 // 10}"


@functools.cache
def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout
        return next(iter(said.splitlines()), None)
    return None


def _compiler() -> str | None:
    """The first line of what the compiler of minigrad's kernels says of itself."""
    compiler = find_compiler()
    if compiler is not None:
        with suppress(OSError, subprocess.CalledProcessError):
            said = subprocess.run([compiler, "--version"], check=True, capture_output=True, text=True).stdout
            return next(iter(said.splitlines()), None)
    return None


def _commit() -> str | None:
    """The commit that was measured, with a + when the code had changes that were not committed."""
    here = Path(__file__).parents[1]
    with suppress(OSError, subprocess.CalledProcessError):
        commit = _git(here, "rev-parse", "--short", "HEAD")
        changed = _git(here, "status", "--porcelain", "--", "minigrad", "bench/*.py", "models/*.py")
        return commit + "+" * bool(changed)
    return None


def _git(folder: Path, *command: str) -> str:
    return subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def _version(package: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None
