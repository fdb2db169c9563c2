"""CUDA devices: what CuPy does otherwise than NumPy, and how one is opened."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

from . import backend, quotients, tensor_cores
from .backend import Array, ArrayNamespace, DeviceError, cpu, namespace


class CudaNamespace(ArrayNamespace):
    """CuPy on one CUDA device."""

    checks_indices = False
    on_host = False
    writer = "cuda"

    def __init__(self, cupy: Any, number: int) -> None:
        super().__init__(cupy, cupy.ndarray, f"cuda:{number}")
        self.number = number

    @functools.cached_property
    def multiprocessors(self) -> int:  # type: ignore[override]
        return int(self.module.cuda.Device(self.number).attributes["MultiProcessorCount"])

    @functools.cached_property
    def shared_memory(self) -> int:  # type: ignore[override]
        return int(self.module.cuda.Device(self.number).attributes["MaxSharedMemoryPerBlockOptin"])

    def from_host(self, array: Array) -> Array:
        with self.activate():
            return self.module.asarray(array)

    def to_host(self, array: Array) -> Array:
        return self.module.asnumpy(array)

    def synchronize(self) -> None:
        self.module.cuda.Device(self.number).synchronize()

    def activate(self) -> contextlib.AbstractContextManager[Any]:
        context: contextlib.AbstractContextManager[Any] = self.module.cuda.Device(self.number)
        return context

    def address(self, array: Array) -> int:
        found: int = array.data.ptr
        return found

    def matmul(self, x: Array, y: Array) -> Array:
        found = tensor_cores.matmul(self, x, y) if self._lowers(x, y) else None
        return self.module.matmul(x, y) if found is None else found

    def einsum(self, subscripts: str, *xs: Array, **options: Any) -> Array:
        if len(xs) == 2 and self._lowers(*xs):
            return tensor_cores.einsum(self, subscripts, *xs)
        return self.module.einsum(subscripts, *xs, **options)

    def _lowers(self, *xs: Array) -> bool:
        """Whether a product is to be less precise than float32, and this GPU can (mg.matmul_precision)."""
        return tensor_cores.are_asked_for(*xs) and int(self.module.cuda.Device(self.number).compute_capability) >= 80

    def remainder(self, x: Any, y: Any, **options: Any) -> Array:
        if quotients.are_floating(x, y):
            return quotients.remainder(self, x, y, **options)
        return self.module.remainder(x, y, **options)

    def floor_divide(self, x: Any, y: Any, **options: Any) -> Array:
        if quotients.are_floating(x, y):
            return quotients.floor_divide(self, x, y, **options)
        return self.module.floor_divide(x, y, **options)

    @property
    def generator(self) -> Any:
        self.make_current()  # it draws on the current device, and must have been made there
        return super().generator

    def make_current(self) -> None:
        if self.module.cuda.runtime.getDevice() != self.number:
            self.module.cuda.Device(self.number).use()

    def at(self, array: Array) -> ArrayNamespace:
        number = array.data.device_id  # array.device is an object, made each time
        return self if number == self.number else namespace(f"cuda:{number}")

    def seed(self, seed: int) -> None:
        self._generator = self._generator_from(seed)

    def _generator_from(self, seed: int) -> Any:
        with self.activate():
            return self.module.random.default_rng(seed)

    def generator_state(self) -> dict[str, Any]:
        # CuPy's generators cannot be read: this one is replaced by one that can be made again.
        seed = int(cpu.generator.integers(2**63))
        self.seed(seed)
        return {"seed": seed}

    def set_generator_state(self, state: dict[str, Any]) -> None:
        self.seed(int(state["seed"]))

    def generator_replay(self) -> Callable[[], Any]:
        seed = self.generator_state()["seed"]
        return lambda: self._generator_from(seed)


def open_cuda(number: int) -> ArrayNamespace:
    """The namespace of a CUDA device.

    Raises:
        DeviceError: CuPy or the driver is missing, or there is no such device.
    """
    cupy = backend.load_cupy()
    count = _count_devices(cupy)
    if number >= count:
        there = "cuda:0 is the only one" if count == 1 else f"there are cuda:0 to cuda:{count - 1}"
        raise DeviceError(f'device "cuda:{number}" does not exist: {there} on this machine. Choose one of these')
    return CudaNamespace(cupy, number)


def _count_devices(cupy: Any) -> int:
    try:
        count = int(cupy.cuda.runtime.getDeviceCount())
    except Exception as error:  # CuPy raises its own CUDARuntimeError, whose import needs a working CuPy
        raise DeviceError(
            f'device "cuda": CuPy {cupy.__version__} is installed but finds no usable NVIDIA driver or GPU '
            f"(CUDA says: {error}). Install or update the NVIDIA driver (nvidia-smi must list the GPU), "
            "check that CuPy's build matches the driver's CUDA version, "
            'or use device "cpu"'
        ) from error
    if count == 0:
        raise DeviceError('device "cuda": CuPy is installed but this machine has no CUDA device; use device "cpu"')
    return count


backend.openers["cuda"] = open_cuda
