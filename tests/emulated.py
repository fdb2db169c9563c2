"""CUDA without a GPU: what CuPy's RawModule does, with a C++ compiler, and the kernels' threads one after another.

`strict.writer = "cuda"` (the fixture `emulated`, the option `--fusing cuda`) has the strict device run its kernels
through the very code that runs them on a GPU. What a GPU would refuse is refused, and so is some of what it would
answer with wrong numbers; cuda_on_cpu.cpp says what.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy
import pytest

HERE = Path(__file__).parent
SHIM = HERE / "cuda_on_cpu.h"
COMPILER = shutil.which("g++") if sys.platform == "linux" else None

# The GPU: strict.multiprocessors and strict.shared_memory are these.
multiprocessors = 6  # few, so that blocks get unequal shares
shared_memory = 64 << 10  # bytes that a block may have when it asks for them; 227 KiB at most

FLAGS = "-std=c++17 -U_FORTIFY_SOURCE -fPIC -shared"
OF_THE_SCHEDULER = f"{FLAGS} -O2"
OF_KERNELS = (
    f"{FLAGS} -O1 -g1 -Wall -Werror -Wno-unused -Wno-sign-compare -Wno-unknown-pragmas "
    "-fvisibility=hidden -fno-gnu-unique -nodefaultlibs -lm -lc "
    "-fsanitize=thread,alignment,null,bounds-strict,signed-integer-overflow,shift,integer-divide-by-zero "
    "--param=tsan-distinguish-volatile=1 --param=tsan-instrument-func-entry-exit=0"
)
DYNAMIC_SHARED = re.compile(r"extern\s+__shared__\s+((?:__align__\(\d+\)\s*)?)([\w\s]+?)\s*\b(\w+)\s*\[\s*\]\s*;")
KERNELS = re.compile(r"__global__\s+(?:void\s+)?(?:__launch_bounds__\s*\(([^)]*)\)\s*)?(?:void\s+)?(\w+)\s*\(")

# The order in which blocks and threads have their turns: "forward", "backward", or the seed of a random one.
order: str | int = "forward"
ORDERS = ("forward", "backward", 1, 2)  # for a test to try

# The kernels that were launched, if somebody wants to know: their names, grids and blocks.
launches: list[tuple[str, tuple[int, ...], tuple[int, ...]]] | None = None

_lock = threading.Lock()  # the scheduler is one


class LaunchError(RuntimeError):
    """What a GPU refuses, or would not survive."""


def _built(text: str, flags: str) -> Path:
    """The library of a C++ text, kept beside the kernels of the CPU for other processes and for the next run."""
    if COMPILER is None:
        pytest.skip("needs g++")
    digest = hashlib.sha256("\n".join([text, flags, _version()]).encode()).hexdigest()
    kept = os.environ.get("MINIGRAD_CACHE") or HERE.parent / ".pytest_cache" / "minigrad"
    path = Path(kept) / "emulated" / f"{digest}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        mine = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        command = [COMPILER, "-x", "c++", "-", "-o", str(mine), *flags.split()]
        done = subprocess.run(command, input=text, capture_output=True, text=True)
        if done.returncode:
            raise SyntaxError(f"a C++ compiler does not take the CUDA text:\n{done.stderr}")
        mine.replace(path)
    return path


@functools.cache
def _version() -> str:
    return subprocess.run([str(COMPILER), "--version"], capture_output=True, text=True, check=True).stdout


@functools.cache
def _scheduler() -> ctypes.CDLL:
    source = "".join((HERE / name).read_text() for name in ("cuda_on_cpu.cpp", "cuda_memory.cpp"))
    found = ctypes.CDLL(str(_built(source, OF_THE_SCHEDULER)), mode=ctypes.RTLD_GLOBAL)
    found.static_shared.restype = ctypes.c_size_t
    found.static_shared.argtypes = [ctypes.c_void_p]
    found.allow.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
    found.allow.restype = None
    return found


def allow(array: numpy.ndarray[Any, Any]) -> None:
    """Kernels may touch the memory that an array looks into."""
    while isinstance(array.base, numpy.ndarray):
        array = array.base
    first = array.__array_interface__["data"][0]
    if array.nbytes:
        with _lock:
            _scheduler().allow(first, first + array.nbytes)


def cpp(code: str) -> str:
    """The text for a C++ compiler."""
    text = DYNAMIC_SHARED.sub(r"\2 *const \3 = (\2 *)dynamic_shared;", code)
    entries = [f"EMULATED({name}, {bound.partition(',')[0] or 1024})" for bound, name in KERNELS.findall(text)]
    return "\n".join([SHIM.read_text(), '#line 1 "kernel.cu"', text, *entries, ""])


class Entry(ctypes.Structure):
    """As in cuda_on_cpu.h."""

    _fields_ = (
        ("call", ctypes.c_void_p),
        ("parameters", ctypes.c_uint),
        ("sizes", ctypes.POINTER(ctypes.c_uint)),
        ("aligned", ctypes.POINTER(ctypes.c_uint)),
        ("most_threads", ctypes.c_uint),
        ("shared", ctypes.c_void_p),
    )


class RawModule:
    """CuPy's RawModule: compiled when a function is first asked for."""

    def __init__(
        self,
        code: str,
        *,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        enable_cooperative_groups: bool = False,
    ) -> None:
        if not isinstance(code, str) or not isinstance(options, tuple):
            raise TypeError(f"RawModule: code is a str and options a tuple, got {type(code)} and {type(options)}")
        self.code, self.enable_cooperative_groups = code, enable_cooperative_groups

    @functools.cached_property
    def binary(self) -> ctypes.CDLL:
        _scheduler()
        return ctypes.CDLL(str(_built(cpp(self.code), OF_KERNELS)))

    def get_function(self, name: str) -> RawKernel:
        return RawKernel(self.binary, name, self.enable_cooperative_groups)


def _with_line(message: str, binary: ctypes.CDLL) -> str:
    """A message that ends with an address in a library, with the line of the kernel's text instead."""
    text, at, address = message.partition(" @")
    tool = shutil.which("addr2line")
    if not at or tool is None:
        return text
    command = [tool, "-i", "-e", binary._name, hex(int(address, 16) - 1)]
    found = re.search(r"kernel\.cu:(\d+)", subprocess.run(command, capture_output=True, text=True).stdout)
    return f"line {found[1]}, {text}" if found else text


class RawKernel:
    """A kernel: called with the grid, the block and a tuple of arguments."""

    def __init__(self, binary: ctypes.CDLL, name: str, is_cooperative: bool) -> None:
        self.binary, self.name, self.is_cooperative = binary, name, is_cooperative
        self.entry = Entry.in_dll(binary, f"entry_of_{name}")
        self.sizes = self.entry.sizes[: self.entry.parameters]
        with _lock:
            self.static_shared = _scheduler().static_shared(ctypes.byref(self.entry))
        self._most_dynamic = (48 << 10) - self.static_shared
        if self._most_dynamic < 0:
            raise LaunchError(f"{name}: {self.static_shared} bytes of __shared__ variables, more than 48 KiB")
        if sum(self.sizes) > 4096:
            raise LaunchError(f"{name}: parameters of {sum(self.sizes)} bytes, more than 4096")

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        return self._most_dynamic

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        if size + self.static_shared > shared_memory:
            raise LaunchError(
                f"{self.name}: {size} bytes of dynamic shared memory and {self.static_shared} of __shared__ variables, "
                f"more than the {shared_memory} that a block can have"
            )
        self._most_dynamic = size

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], *, shared_mem: int = 0
    ) -> None:
        if not all(isinstance(given, tuple) for given in (grid, block, args)):
            raise TypeError(f"{self.name}: grid, block and arguments are tuples")
        whole_grid, whole_block = (grid + (1, 1))[:3], (block + (1, 1))[:3]
        self._check(whole_grid, whole_block, shared_mem)
        given = [_bytes_of(value) for value in args]
        if [value.nbytes for value in given] != self.sizes:
            sizes = [value.nbytes for value in given]
            raise LaunchError(f"{self.name}: arguments of {sizes} bytes for parameters of {self.sizes}")
        from .strict import strict  # which imports this file

        strict.launches += 1
        if launches is not None:
            launches.append((self.name, grid, block))
        dims = ctypes.c_uint * 3
        addresses = (ctypes.c_void_p * (len(given) + 1))(*(value.ctypes.data for value in given))
        number = {"forward": 0, "backward": -1}.get(order, order)  # type: ignore[call-overload]
        message = ctypes.create_string_buffer(1000)
        with _lock:
            failed = _scheduler().launch(
                *(ctypes.byref(self.entry), dims(*whole_grid), dims(*whole_block), addresses, shared_mem),
                *(self.is_cooperative, ctypes.c_longlong(number), message, len(message)),
            )
        if failed:
            raise LaunchError(f"{self.name}: {_with_line(message.value.decode(), self.binary)}")

    def _check(self, grid: tuple[int, ...], block: tuple[int, ...], shared_mem: int) -> None:
        """As the driver does."""
        if not all(0 < n < limit for n, limit in zip(grid, (2**31, 2**16, 2**16), strict=True)):
            raise LaunchError(f"{self.name}: a grid of {grid} blocks")
        if not all(0 < n <= limit for n, limit in zip(block, (1024, 1024, 64), strict=True)):
            raise LaunchError(f"{self.name}: a block of {block} threads")
        threads, most = block[0] * block[1] * block[2], self.entry.most_threads
        if threads > most:
            raise LaunchError(f"{self.name}: a block of {block} threads, more than {most}")
        if not 0 <= shared_mem <= self._most_dynamic:
            raise LaunchError(
                f"{self.name}: {shared_mem} bytes of dynamic shared memory, more than "
                f"max_dynamic_shared_size_bytes = {self._most_dynamic}"
            )
        if self.is_cooperative and grid[0] * grid[1] * grid[2] > multiprocessors:
            raise LaunchError(
                f"{self.name}: a cooperative grid of {grid} blocks, more than the {multiprocessors} there are at once"
            )


def _bytes_of(value: Any) -> numpy.ndarray[Any, Any]:
    """An argument as CuPy passes it: a NumPy value as its bytes, an array of the device as its address."""
    if isinstance(value, (numpy.ndarray, numpy.generic)) and value.size == 1:
        return numpy.ascontiguousarray(value).reshape(1)
    if type(value) in (int, float):
        return numpy.array([value])
    if hasattr(value, "_host"):  # a StrictArray
        allow(value._host)
        return numpy.array([value._host.ctypes.data])
    raise TypeError(f"Unsupported type {type(value)}")
