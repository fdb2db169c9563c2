"""A GPU that is not there (`--pretend`): minigrad's own CudaNamespace on a made-up CuPy, for the tests marked `gpu`.

Underneath is the strict device, which is cuda:0 then and no device of its own any more. Kernels are CUDA's
(emulated.py), the last bits of what is computed are not NumPy's, random numbers are others, and generators cannot be
copied.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy

from minigrad import backend

from . import emulated, strict
from .cublas import Blas

# What CUDA's functions give with a last bit of their own, what is added up in another order, and CuPy's own formulas.
ROUNDED = {numpy.exp, numpy.expm1, numpy.log, numpy.log1p, numpy.power, numpy.sin, numpy.cos, numpy.tanh}
ADDED = {numpy.cumsum, numpy.einsum, numpy.matmul, numpy.mean, numpy.std, numpy.sum, numpy.var, numpy.vdot}
OTHERWISE: dict[Any, Callable[..., Any]] = {
    numpy.floor_divide: lambda x, y: numpy.floor(x / y),
    numpy.logaddexp: lambda x, y: numpy.where(
        x == y, x + math.log(2.0), numpy.fmax(x, y) + numpy.log1p(numpy.exp(-abs(x - y)))
    ),
    numpy.remainder: lambda x, y: x - numpy.floor(x / y) * y,
}


def compute(function: Callable[..., Any], *hosts: Any, **keywords: Any) -> Any:
    """As NumPy does, but for the last bits."""
    check_current(f"{function.__name__}()")
    result = function(*hosts, **keywords)
    if getattr(result, "dtype", numpy.dtype(int)).kind != "f":
        return result
    if function in OTHERWISE:
        found = OTHERWISE[function](*hosts)
    elif function in ROUNDED:
        found = _nearby(result, numpy.where(abs(result) == 1, 0, numpy.spacing(result)))
    elif function in ADDED and not all(_is_added_exactly(x) for x in hosts):
        sizes = [abs(x) if isinstance(x, numpy.ndarray) else x for x in hosts]
        size = function(*sizes, **{name: given for name, given in keywords.items() if name != "out"})
        found = _nearby(result, numpy.finfo(result.dtype).eps * size)
    else:
        return result
    if keywords.get("out") is None:
        return found.astype(result.dtype)
    result[...] = found
    return result


def _nearby(x: Any, unit: Any) -> Any:
    """x - unit, x, or x + unit: the same for the same x; 0 and what is not finite stay."""
    bits = numpy.ascontiguousarray(x).view(f"u{x.itemsize}").reshape(x.shape).astype("u8")
    chosen = (bits * numpy.uint64(0x9E3779B97F4A7C15) >> numpy.uint64(40)) % numpy.uint64(3)
    found = x + (chosen.astype(x.dtype) - 1) * unit
    return numpy.where(numpy.isfinite(found) & (x != 0), found, x)


def _is_added_exactly(x: Any) -> bool:
    """Whether entries are so round that sums of some of them are exact in any order."""
    return not isinstance(x, numpy.ndarray) or x.dtype.kind != "f" or bool((x * 64 == numpy.rint(x * 64)).all())


class Current(threading.local):
    number = 1  # somebody else's device, until minigrad makes its own the current one


current = Current()


def check_current(what: str) -> None:
    if current.number != 0:
        raise RuntimeError(f"{what} on cuda:0 while cuda:{current.number} is the current device")


def allocated(size: int) -> None:
    """New memory is taken on the current device."""
    check_current(f"{size} bytes")
    strict.StrictNamespace.allocated(strict.strict, size)


class Device:
    """As CuPy's: the GPU of emulated.py."""

    compute_capability = "90"
    attributes = property(
        lambda _: {
            "MultiProcessorCount": emulated.multiprocessors,
            "MaxSharedMemoryPerBlockOptin": emulated.shared_memory,
        }
    )

    def __init__(self, number: int) -> None:
        self.number, self.before = number, []

    def use(self) -> None:
        current.number = self.number

    def synchronize(self) -> None:
        strict.strict.synchronize()

    def __enter__(self) -> None:
        self.before.append(current.number)
        self.use()

    def __exit__(self, *_: Any) -> None:
        current.number = self.before.pop()


class Generator(strict.StrictGenerator):
    def __init__(self, seed: int) -> None:
        self._generator = numpy.random.default_rng([seed, 1])

    def __deepcopy__(self, _: Any) -> Any:
        raise TypeError("CuPy's generators cannot be copied")


class CuPy(strict._Module):
    """The module: what it does not have here, the strict device has."""

    __version__ = "pretended"
    ndarray = strict.StrictArray
    asnumpy = staticmethod(strict.strict.to_host)
    random = SimpleNamespace(default_rng=Generator)
    cuda = SimpleNamespace(
        Device=Device,
        runtime=SimpleNamespace(getDevice=lambda: current.number, getDeviceCount=lambda: 1),
        cublas=Blas(),
        get_cublas_handle=lambda: 7,
    )

    def __init__(self) -> None:
        self.add = functools.partial(strict.strict.add)  # a function of CuPy's with a method
        self.add.at = strict.strict.add_at  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        return getattr(strict.strict, name)

    def asarray(self, x: Any, dtype: Any = None) -> strict.StrictArray:
        return strict.strict.from_host(x) if type(x) is numpy.ndarray else strict.strict.asarray(x, dtype)


def install() -> None:
    """For the rest of the process."""
    strict.compute, strict.strict.allocated = compute, allocated
    strict.strict.writer = "cuda"
    del backend._namespaces["strict"]
    backend.load_cupy = CuPy
    backend.namespace("cuda")
