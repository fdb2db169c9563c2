"""The NumPy/CuPy switch: which array library runs, on which device.

This is the only file of minigrad that imports NumPy or CuPy. Everything else is written against an
`ArrayNamespace`, called `xp`: the functions of one array library on one device, plus the few things
in which the libraries differ. A device is a name: "cpu", "cuda" (short for "cuda:0") or "cuda:1".

CuPy is loaded when a CUDA device is first asked for, never on import.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import importlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy

Array = Any  # numpy.ndarray, cupy.ndarray, or whatever array type a registered backend brings
DType = Any  # NumPy's dtypes serve every backend

float16, float32, float64 = numpy.float16, numpy.float32, numpy.float64
int32, int64, bool_ = numpy.int32, numpy.int64, numpy.bool_


class DeviceError(RuntimeError):
    """A device cannot be used: its library or driver is missing, or there is no such device.

    >>> import minigrad as mg
    >>> try:
    ...     mg.ones(2, device="tpu")
    ... except mg.DeviceError as error:
    ...     print(str(error).partition(";")[0])
    unknown device 'tpu'
    """


class ArrayNamespace:
    """The functions of one array library on one device: `xp` in every formula.

    An attribute that is not defined here is the library's own (`xp.tanh` is `numpy.tanh`).
    A new backend subclasses this, says what differs, and calls `register`.
    """

    # An index out of range raises by itself. CuPy wraps it silently, and a check would synchronise.
    checks_indices = True

    # The arrays lie in the host's memory: reading an entry waits for nothing, and a call costs no launch.
    on_host = True

    # In which language kernels are written for this device: "c", "cuda", or "numpy" for a program of its functions.
    writer = "numpy"

    # What CUDA kernels are shared out among: multiprocessors, and the bytes that a block of threads may share.
    multiprocessors = 1
    shared_memory = 227 << 10

    def __init__(self, module: Any, array_type: type, device: str) -> None:
        self.module = module
        self.array_type = array_type
        self.device = device
        self._generator: Any = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        function = getattr(self.module, name)
        setattr(self, name, function)  # the next look-up is a plain attribute
        return function

    def __repr__(self) -> str:
        return f"<array namespace of {self.device}>"

    # Moving between the host and this device ------------------------------------------------------

    def from_host(self, array: numpy.ndarray[Any, Any]) -> Array:
        """The NumPy `array` as an array of this device; a CPU array comes back as it is."""
        return array

    def to_host(self, array: Array) -> numpy.ndarray[Any, Any]:
        """`array` as a NumPy array; waits until the device has computed it."""
        host: numpy.ndarray[Any, Any] = array
        return host

    def synchronize(self) -> None:
        """Wait until everything this device was asked to do is done."""

    def activate(self) -> contextlib.AbstractContextManager[Any]:
        """A context in which this device is its library's current one."""
        return contextlib.nullcontext()

    def make_current(self) -> None:
        """Have the library compute on this device from now on, in this thread."""

    def at(self, array: Array) -> ArrayNamespace:
        """The namespace of the device that `array`, of this array type, lies on."""
        return self

    # Randomness -----------------------------------------------------------------------------------

    first_seed = 0  # what generators start from, see manual_seed

    @property
    def generator(self) -> Any:
        """This device's random generator."""
        if _drawing.refusal is not None:
            raise _drawing.refusal
        if self._generator is None:
            self.seed(self.first_seed)
        return self._generator

    def seed(self, seed: int) -> None:
        """Start this device's generator anew from `seed`."""
        self._generator = self.module.random.default_rng(seed)

    def generator_state(self) -> dict[str, Any]:
        """What makes the generator draw again, after `set_generator_state`, what it is going to draw now."""
        state: dict[str, Any] = self.generator.bit_generator.state
        return state

    def set_generator_state(self, state: dict[str, Any]) -> None:
        """Have the generator go on from a state."""
        self.generator.bit_generator.state = state

    def generator_replay(self) -> Callable[[], Any]:
        """A function that makes generators which draw what this device's is going to draw from now on."""
        now = copy.deepcopy(self.generator)
        return lambda: copy.deepcopy(now)

    # What the libraries do differently ------------------------------------------------------------

    def where(self, condition: Any, x: Any, y: Any) -> Array:
        """x where the condition holds, else y; CuPy would take nothing but an array for the condition."""
        return self.module.where(condition if is_array(condition) else self.asarray(condition, dtype=bool), x, y)

    def sigmoid(self, x: Array) -> Array:
        """(1 + tanh(x/2))/2, in one piece of memory; NumPy's tanh is several times faster than its exp."""
        y = x * 0.5
        if x.size < 64:  # new memory is cheaper then; and of a 0-d array NumPy has made a scalar
            return self.tanh(y) * 0.5 + 0.5
        self.tanh(y, y)
        y *= 0.5
        y += 0.5
        return y

    def add_at(self, out: Array, index: Any, values: Array) -> None:
        """out[index] += values, where an index that occurs twice is added twice."""
        self.module.add.at(out, index, values)

    def without_blas(self) -> contextlib.AbstractContextManager[None]:
        """A context in which kernels, where there are any, multiply small matrices too: no BLAS wakes its threads."""
        return contextlib.nullcontext()

    def logsumexp(self, x: Array) -> Array | None:
        """log Σ eˣ over each row by a kernel, where there is one; None if there is not."""
        library = libraries.get(self.writer)
        return None if library is None else library.logsumexp(self, x)

    def surprisal(self, x: Array, classes: Array) -> Array | None:
        """log Σ eˣ - x[class] for each row by a kernel, where there is one; None if there is not."""
        library = libraries.get(self.writer)
        return None if library is None else library.surprisal(self, x, classes)

    def surprisal_gradient(self, g: Array, x: Array, classes: Array) -> Array | None:
        """Its gradient by a kernel, where there is one; None if there is not."""
        library = libraries.get(self.writer)
        return None if library is None else library.surprisal_gradient(self, g, x, classes)

    def add_rows(self, out: Array, numbers: Array, rows: Array) -> bool:
        """out[numbers[i]] += rows[i] by a kernel, where there is one; whether that was done."""
        library = libraries.get(self.writer)
        return library is not None and library.add_rows(self, out, numbers, rows)

    def matmul_add(self, x: Array, y: Array, start: Array) -> Array | None:
        """start + x y by a kernel, where there is one; None if there is not."""
        return None

    def in_c_order(self, matrix: Array) -> Array:
        """A copy of a matrix in C order; in strips, because NumPy's own way through a transposed one is slow."""
        copy = self.empty(matrix.shape, dtype=matrix.dtype)
        for start in range(0, matrix.shape[1], 32):
            copy[:, start : start + 32] = matrix[:, start : start + 32]
        return copy

    def address(self, array: Array) -> int:
        """Where the first entry of an array lies in memory."""
        try:
            return ctypes.addressof(ctypes.c_char.from_buffer(array))  # the short way
        except (TypeError, ValueError):  # it may not be written to, has no entries, or does not lie in C order
            found: int = array.__array_interface__["data"][0]
            return found


class Library(NamedTuple):
    """The kernels of a language: what each does is said where an `ArrayNamespace` calls it."""

    add_rows: Callable[[ArrayNamespace, Array, Array, Array], bool]
    logsumexp: Callable[[ArrayNamespace, Array], Array | None]
    surprisal: Callable[[ArrayNamespace, Array, Array], Array | None]
    surprisal_gradient: Callable[[ArrayNamespace, Array, Array, Array], Array | None]


libraries: dict[str, Library] = {}  # by the name of the writer; what is not there, functions of whole arrays do

# Finding a namespace ------------------------------------------------------------------------------

cpu = ArrayNamespace(numpy, numpy.ndarray, "cpu")
_namespaces: dict[str, ArrayNamespace] = {"cpu": cpu}
_by_array_type: dict[type, ArrayNamespace] = {numpy.ndarray: cpu}
openers: dict[str, Callable[[int], ArrayNamespace]] = {}  # of devices with numbers, which are opened when asked for
_lock = threading.Lock()


def opened() -> list[ArrayNamespace]:
    """The namespaces of all devices that are in use."""
    return list(_namespaces.values())


def register(namespace: ArrayNamespace) -> None:
    """Make a further backend known: its device name, and its array type."""
    _namespaces[namespace.device] = namespace
    _by_array_type[namespace.array_type] = namespace


def namespace_of(array: Array) -> ArrayNamespace:
    """The namespace whose arrays `array` is one of.

    Raises:
        TypeError: no backend has arrays of this type.
    """
    if not is_array(array):
        raise TypeError(f"expected an array of a known backend, got {type(array).__name__}")
    return _by_array_type[type(array)].at(array)


def copied(array: Array) -> Array:
    """A copy of an array on the device it lies on, where CuPy would make it on the current one."""
    with namespace_of(array).activate():
        return array.copy()


def is_array(value: object) -> bool:
    """Whether `value` is an array of some backend."""
    if type(value) in _by_array_type:
        return True
    if type(value).__module__.partition(".")[0] != "cupy" or type(value).__name__ != "ndarray":
        return False
    namespace("cuda")  # somebody else has loaded CuPy: make its arrays known
    return True


def namespace(device: str) -> ArrayNamespace:
    """The namespace of a device name.

    Raises:
        DeviceError: the device's library or driver is missing, or there is no device of that name.
    """
    found = _namespaces.get(device)
    if found is not None:
        return found
    if not isinstance(device, str):
        raise TypeError(f'a device is a name such as "cpu" or "cuda:1", got {device!r}')
    name, _, digits = device.partition(":")
    if name not in openers or not (digits.isdecimal() or device == name):
        known = ", ".join(repr(name) for name in [*_namespaces, "cuda", "cuda:N"])
        raise DeviceError(f"unknown device {device!r}; expected one of {known}")
    canonical = f"{name}:{int(digits or 0)}"
    with _lock:
        if canonical not in _namespaces:
            register(openers[name](int(digits or 0)))
        return _namespaces[canonical]


def load_cupy() -> Any:
    """The module, if it is installed."""
    try:
        return importlib.import_module("cupy")
    except ImportError as error:
        if getattr(error, "name", None) == "cupy":
            cause = "CuPy is not installed"
        else:  # an installation that is there but broken explains itself
            cause = f"CuPy is installed but cannot be loaded ({error})"
        raise DeviceError(
            f'device "cuda" needs CuPy: {cause}. Install the build for your CUDA version, '
            "for example pip install cupy-cuda12x or cupy-cuda13x (minigrad's extras cuda12 and cuda13), "
            'or use device "cpu"'
        ) from error


def cuda_is_available() -> bool:
    """Whether a CUDA device can be used: CuPy is installed and finds a driver and a GPU.

    >>> import minigrad as mg
    >>> mg.cuda_is_available() in (True, False)
    True
    """
    try:
        namespace("cuda")
    except DeviceError:
        return False
    return True


def synchronize(device: str | None = None) -> None:
    """Wait until everything `device` (the default device if None) was asked to do is done.

    A GPU works on while Python goes ahead: wait on both sides of what is timed.

    Raises:
        DeviceError: the device cannot be used.

    >>> import minigrad as mg
    >>> mg.synchronize("cpu")
    """
    namespace(default_device() if device is None else device).synchronize()


# The default device -------------------------------------------------------------------------------


class _Chosen(threading.local):
    device: str | None = None  # this thread's own choice, made by use_device


_chosen = _Chosen()
_default = "cpu"


def default_device() -> str:
    """The device on which new tensors and modules are made.

    >>> import minigrad as mg
    >>> mg.default_device()
    'cpu'
    """
    return _chosen.device or _default


def set_default_device(device: str) -> None:
    """Make `device` the default of every thread.

    Raises:
        DeviceError: the device cannot be used; the message says what to install or change.

    >>> import minigrad as mg
    >>> mg.set_default_device("cpu")
    """
    global _default
    _default = namespace(device).device


@contextlib.contextmanager
def use_device(device: str) -> Iterator[None]:
    """Make `device` this thread's default inside a `with` block.

    Raises:
        DeviceError: the device cannot be used; the message says what to install or change.

    >>> import minigrad as mg
    >>> with mg.use_device("cpu"):
    ...     mg.default_device()
    'cpu'
    """
    xp = namespace(device)
    before, _chosen.device = _chosen.device, xp.device
    try:
        with xp.activate():
            yield
    finally:
        _chosen.device = before


class _Drawing(threading.local):
    refusal: Exception | None = None


_drawing = _Drawing()


@contextlib.contextmanager
def nothing_drawn(refusal: Exception) -> Iterator[None]:
    """Inside a `with` block, whoever wants a random generator in this thread gets this error instead."""
    before, _drawing.refusal = _drawing.refusal, refusal
    try:
        yield
    finally:
        _drawing.refusal = before


# Data of the host ---------------------------------------------------------------------------------


def as_host_array(data: Any, dtype: DType | None = None) -> numpy.ndarray[Any, Any]:
    """A new NumPy array from numbers, nested lists or a NumPy array.

    NumPy arrays and scalars keep their dtype; Python floats give float32, ints int64, bools bool.

    Raises:
        TypeError: the data are not numbers (strings, ragged lists, objects).
    """
    if isinstance(data, numpy.ma.MaskedArray):
        raise TypeError("expected an array without a mask, which would be lost; fill it first: array.filled(value)")
    dtype = None if dtype is None else as_dtype(dtype)
    try:
        array = numpy.array(data, dtype=dtype)
    except (ValueError, TypeError) as error:
        raise TypeError(f"expected numbers in (nested) lists of equal lengths, or an array: {error}") from error
    if dtype is None and array.dtype == numpy.float64 and not _has_dtype(data):
        array = array.astype(numpy.float32)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"expected real numbers or booleans, got dtype {array.dtype}")
    return array


def _has_dtype(data: Any) -> bool:
    """Whether (nested) `data` holds an array, a NumPy number or a Tensor: its dtype is then the user's own choice."""
    if isinstance(data, (list, tuple)):
        return any(_has_dtype(part) for part in data)
    return hasattr(data, "dtype")


def is_floating(dtype: DType) -> bool:
    """Whether `dtype` is a floating one, the only kind that has gradients."""
    return numpy.dtype(dtype).kind == "f"


def as_dtype(dtype: DType) -> Any:
    """`dtype` as a NumPy dtype object.

    Raises:
        TypeError: it is no dtype, or not one of real numbers or booleans.
    """
    try:
        found = numpy.dtype(dtype)
    except TypeError as error:
        raise TypeError(f"expected a dtype such as minigrad.float32, got {dtype!r}") from error
    if found.kind not in "fiub":
        raise TypeError(f"expected a dtype of real numbers or booleans, got {found}")
    return found


def python_scalar(value: Any) -> Any:
    """A NumPy scalar as a Python one; anything else as it is."""
    return value.item() if isinstance(value, numpy.generic) else value
