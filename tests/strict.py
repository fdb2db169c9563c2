"""The strict backend: NumPy underneath, CuPy's manners on top. A machine without a GPU finds what a GPU refuses.

CuPy's arrays live on a device. They never turn into NumPy arrays by themselves, do not mix with them, and
their reductions give 0-d arrays; an index out of range wraps silently; NumPy's newest functions and
keywords are missing. Where CuPy would quietly copy to or from the device (`float(x)`, `x[[0, 1]]`,
`cupy.asarray(numpy_array)`) or wait for it (`x[mask]`, `cupy.unique(x)`) this backend refuses: minigrad
promises neither. What is asked for by name is counted: see counters.py.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy

from minigrad import quotients, tensor_cores
from minigrad.backend import ArrayNamespace, register
from minigrad.cuda_device import CudaNamespace
from minigrad.precision import setting

from . import emulated
from .counters import Counters

# Functions of NumPy 2 that CuPy 14 does not have.
MISSING = {"block", "einsum_path", "geomspace", "insert", "matvec", "spacing", "unstack", "vecdot", "vecmat"}
CREATION = {"arange", "empty", "eye", "full", "linspace", "ones", "zeros"}  # their first argument is no array
# Functions whose results are as large as the values say: CuPy waits for those.
COUNTING = {
    "argwhere", "bincount", "compress", "delete", "extract", "flatnonzero", "histogram", "intersect1d", "place",
    "setdiff1d", "setxor1d", "tril_indices", "trim_zeros", "triu_indices", "union1d", "unique", "unique_all",
    "unique_counts", "unique_inverse", "unique_values",
}  # fmt: skip
REFUSED_DTYPES = set("?bhlqBH")  # CUDA has no atomic addition for these (CuPy 14 makes one for l and q)

# The keywords of CuPy 14's functions (its ufuncs take out, casting and dtype). einsum hides its own in **kwargs.
KEYWORDS = {
    "arange": "start stop step dtype",
    "all": "axis out keepdims",
    "any": "axis out keepdims",
    "argmax": "axis dtype out keepdims",
    "argmin": "axis dtype out keepdims",
    "broadcast_to": "shape",
    "concatenate": "axis out dtype casting",
    "cumsum": "axis dtype out",
    "empty": "shape dtype order",
    "empty_like": "dtype order subok shape",
    "expand_dims": "axis",
    "eye": "N M k dtype order",
    "flip": "axis",
    "full": "shape fill_value dtype order",
    "full_like": "fill_value dtype order subok shape",
    "linspace": "start stop num endpoint retstep dtype axis",
    "max": "axis out keepdims",
    "mean": "axis dtype out keepdims",
    "min": "axis out keepdims",
    "moveaxis": "source destination",
    "nonzero": "",
    "ones": "shape dtype order",
    "ones_like": "dtype order subok shape",
    "prod": "axis dtype out keepdims",
    "reshape": "newshape order copy",
    "split": "indices_or_sections axis",
    "squeeze": "axis",
    "stack": "axis out dtype casting",
    "std": "axis dtype out ddof keepdims",
    "sum": "axis dtype out keepdims",
    "take": "indices axis out",
    "take_along_axis": "indices axis",
    "transpose": "axes",
    "var": "axis dtype out ddof keepdims",
    "vdot": "b",
    "where": "x y",
    "zeros": "shape dtype order",
    "zeros_like": "dtype order subok shape",
}


def _refuse(what: str) -> TypeError:
    return TypeError(f"strict: {what}")


def _host(value: Any) -> Any:
    """What NumPy is to see; a NumPy array among the arguments is refused, as CuPy does."""
    if type(value) is StrictArray:
        return value._host
    if isinstance(value, numpy.ndarray):
        raise _refuse("Unsupported type <class 'numpy.ndarray'>")
    if type(value) in (list, tuple):
        return type(value)(_host(part) for part in value)
    return value


def _wrapped(result: Any, sources: Any = ()) -> Any:
    """A result of NumPy's as this backend's: arrays always, lists of them as lists."""
    if isinstance(result, (list, tuple)):
        return [_wrapped(part, sources) for part in result]
    if not isinstance(result, (numpy.ndarray, numpy.generic)):
        return result
    host, base = numpy.asarray(result), None
    for source in sources:
        if type(source) is StrictArray and numpy.may_share_memory(host, source._host):
            base = source if source.base is None else source.base
    return StrictArray(host, base)


def _launched(result: Any) -> Any:
    """What a call gave: it took a launch unless all of that is views, or nothing."""
    arrays = result if isinstance(result, list) else [result]
    strict.launches += any(type(a) is StrictArray and a.base is None and a.size for a in arrays)
    return result


def compute(function: Callable[..., Any], *hosts: Any, **keywords: Any) -> Any:
    """As NumPy does; pretended.py puts in its place what is as exact as a GPU."""
    return function(*hosts, **keywords)


def _call(function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    """A function of NumPy's on StrictArrays. A GPU warns of no overflow and no division by zero."""
    hosts, out = _host(args), keywords.get("out")
    if isinstance(function, numpy.ufunc) and function is not numpy.matmul:
        keywords = {"order": "C", **keywords}  # CuPy lays new results out so, whatever the order of its operands
    with numpy.errstate(all="ignore"):
        result = compute(function, *hosts, **{name: _host(value) for name, value in keywords.items()})
    if out is not None:
        strict.launches += bool(out.size)
        return out
    array = _wrapped(result, args)
    return array if function in (numpy.empty, numpy.empty_like) else _launched(array)


class Memory(NamedTuple):
    """Where an array lies, and on which device, in CuPy's words."""

    ptr: int
    device_id: int


class Flags(NamedTuple):
    """What CuPy tells of an array's memory; all of it may be written to."""

    c_contiguous: bool
    f_contiguous: bool


class StrictArray:
    """An array of the strict device."""

    __slots__ = ("__weakref__", "_host", "base")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, host: numpy.ndarray[Any, Any], base: StrictArray | None = None) -> None:
        self._host = host
        self.base = base  # the array whose memory this one looks into
        if base is None:
            strict.allocated(host.nbytes)

    def __del__(self) -> None:
        if self.base is None:
            strict.freed(self._host.nbytes)

    def __reduce__(self) -> Any:
        return StrictArray, (self._host,)

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    nbytes = property(lambda self: self._host.nbytes)
    flags = property(lambda self: Flags(self._host.flags.c_contiguous, self._host.flags.f_contiguous))
    strides = property(lambda self: self._host.strides)
    data = property(lambda self: Memory(strict.address(self), self._device))
    _device = 0
    T = property(lambda self: self.transpose())

    def __repr__(self) -> str:
        return f"<strict array of shape {self.shape}, {self.dtype}>"  # showing values would read the device

    # What a device array refuses --------------------------------------------------------------------

    def _no_implicit_read(self, *_: Any, **__: Any) -> Any:
        raise _refuse("implicit conversion to a host value is not allowed; use xp.to_host(array)")

    __array__ = __bool__ = __float__ = __int__ = __index__ = __complex__ = _no_implicit_read

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Any:
        """NumPy met a StrictArray: in `ndarray + strict`, which is refused, or in `numpy.float64(2) * strict`."""
        if method != "__call__":
            raise _refuse(f"numpy.{ufunc.__name__}.{method} on a device array")
        return _call(ufunc, *inputs, **keywords)

    def __array_function__(self, function: Any, *_: Any) -> Any:
        raise _refuse(f"numpy.{function.__name__} on a device array; use the namespace's own")

    # Indexing ---------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[StrictArray]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> StrictArray:
        if any(_is_mask(part) for part in (key if type(key) is tuple else (key,))):
            raise _refuse("how many entries a mask picks, CuPy would wait for; use nonzero")
        found: StrictArray = _launched(_wrapped(self._host[_index(self._host.shape, key)], [self]))
        return found

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(value, (list, tuple)):
            raise _refuse("a list cannot be assigned to a device array")
        compute(operator.setitem, self._host, _index(self._host.shape, key), _host(value))
        strict.launches += bool(self.size)

    # Methods ----------------------------------------------------------------------------------------

    def astype(self, dtype: Any, copy: bool = True) -> StrictArray:
        return self if not copy and self.dtype == dtype else _new(self._host.astype(dtype))

    def copy(self) -> StrictArray:
        return _new(self._host.copy())

    def fill(self, value: Any) -> None:
        self[...] = value

    def reshape(self, *shape: Any) -> StrictArray:
        reshaped: StrictArray = _launched(_wrapped(self._host.reshape(*shape), [self]))
        return reshaped

    def transpose(self, *axes: Any) -> StrictArray:
        transposed: StrictArray = _wrapped(self._host.transpose(*axes), [self])
        return transposed

    def view(self, dtype: Any) -> StrictArray:
        seen: StrictArray = _wrapped(self._host.view(dtype), [self])
        return seen


def _new(host: Any) -> StrictArray:
    """What a call computes into memory of its own."""
    array: StrictArray = _launched(StrictArray(numpy.asarray(host)))
    return array


def _method(name: str) -> Callable[..., Any]:
    return lambda self, *args, **keywords: getattr(strict, name)(self, *args, **keywords)


for _name in ("all", "any", "argmax", "argmin", "max", "mean", "min", "prod", "ravel", "squeeze", "sum", "take", "var"):
    setattr(StrictArray, _name, _method(_name))


def _operator(function: Callable[..., Any], swapped: bool, in_place: bool = False) -> Callable[..., Any]:
    def method(x: StrictArray, y: Any) -> Any:
        if isinstance(y, (numpy.ndarray, list, tuple)):
            raise _refuse(f"Unsupported type {type(y)} in an operator with a device array")
        if not isinstance(y, (StrictArray, int, float, numpy.generic)):
            return NotImplemented
        pair = (y, x) if swapped else (x, y)
        return _call(function, *pair, out=x) if in_place else _call(function, *pair)

    return method


_BINARY = {
    "add": numpy.add,
    "sub": numpy.subtract,
    "mul": numpy.multiply,
    "truediv": numpy.divide,
    "floordiv": numpy.floor_divide,
    "mod": numpy.remainder,
    "pow": numpy.power,
    "matmul": numpy.matmul,
    "and": numpy.bitwise_and,
    "or": numpy.bitwise_or,
    "xor": numpy.bitwise_xor,
}
for _name, _function in _BINARY.items():
    setattr(StrictArray, f"__{_name}__", _operator(_function, swapped=False))
    setattr(StrictArray, f"__r{_name}__", _operator(_function, swapped=True))
    if _name != "matmul":
        setattr(StrictArray, f"__i{_name}__", _operator(_function, swapped=False, in_place=True))
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(StrictArray, f"__{_name}__", _operator(getattr(operator, _name), swapped=False))
for _name, _function in {"neg": numpy.negative, "abs": numpy.absolute, "invert": numpy.invert}.items():
    setattr(StrictArray, f"__{_name}__", lambda x, function=_function: _call(function, x))


def _index(shape: tuple[int, ...], key: Any) -> tuple[Any, ...]:
    """`key` for NumPy: integer arrays wrapped into range, and an Ellipsis, so that one entry is a 0-d view."""
    parts = key if type(key) is tuple else (key,)
    consumed = [part.ndim if _is_mask(part) else int(part is not None and part is not Ellipsis) for part in parts]
    found: list[Any] = []
    axis = 0
    for part, axes in zip(parts, consumed, strict=True):
        if isinstance(part, (numpy.ndarray, list, tuple)):
            raise _refuse(f"an index of {type(part)} would be copied to the device implicitly")
        found.append(_in_range(part, shape, axis))
        axis += len(shape) - sum(consumed) if part is Ellipsis else axes
    return tuple(found) if any(part is Ellipsis for part in parts) else (*found, Ellipsis)


def _is_mask(part: Any) -> bool:
    return type(part) is StrictArray and part.dtype.kind == "b"


def _in_range(part: Any, shape: tuple[int, ...], axis: int | None) -> Any:
    """An index array wrapped silently, as CuPy's kernels do: index modulo size. Anything else as it is."""
    if type(part) is not StrictArray:
        return part
    size = int(numpy.prod(shape)) if axis is None else shape[axis] if -len(shape) <= axis < len(shape) else 0
    host = part._host
    return host.astype(numpy.int64) % size if host.dtype.kind in "iu" and size else host


class StrictGenerator:
    """The distributions of `cupy.random.Generator` that minigrad draws from."""

    def __init__(self, seed: int) -> None:
        self._generator = numpy.random.default_rng(seed)

    def random(self, size: Any = None, dtype: Any = numpy.float64) -> StrictArray:
        return _new(self._generator.random(size, dtype))

    def standard_normal(self, size: Any = None, dtype: Any = numpy.float64) -> StrictArray:
        return _new(self._generator.standard_normal(size, dtype))

    def integers(
        self, low: int, high: int | None = None, size: Any = None, dtype: Any = numpy.int64, endpoint: bool = False
    ) -> StrictArray:
        return _new(self._generator.integers(low, high, size, dtype, endpoint))

    def uniform(self, low: float = 0.0, high: float = 1.0, size: Any = None, dtype: Any = numpy.float64) -> StrictArray:
        return _new(numpy.asarray(self._generator.uniform(low, high, size)).astype(dtype))


class _Module:
    """What minigrad takes from the library itself."""

    RawModule = emulated.RawModule

    @staticmethod
    def where(condition: StrictArray, x: Any, y: Any) -> StrictArray:
        chosen: StrictArray = _call(numpy.where, condition.astype(bool, copy=False), x, y)
        return chosen


BITS = {"tf32": 10, "bfloat16": 7}  # behind the leading one; float32 has 23


def rounded(x: numpy.ndarray[Any, Any], bits: int) -> numpy.ndarray[Any, Any]:
    """float32 numbers rounded to so many bits behind the leading one: to the nearest, of two to the even one."""
    dropped = 23 - bits
    pattern = numpy.ascontiguousarray(x).view(numpy.uint32)
    half = (1 << dropped - 1) - 1 + (pattern >> dropped & 1)
    found = ((pattern + half) >> dropped << dropped).view(numpy.float32).reshape(x.shape)
    return numpy.where(numpy.isfinite(x), found, x)


def _of_the_gpu(name: str) -> Any:
    return property(lambda self: getattr(emulated, name), lambda self, value: setattr(emulated, name, value))


class StrictNamespace(Counters, ArrayNamespace):
    """NumPy's functions as CuPy has them. With the writer "cuda", kernels are CUDA's (emulated.py)."""

    checks_indices = False
    on_host = False
    multiprocessors = _of_the_gpu("multiprocessors")
    shared_memory = _of_the_gpu("shared_memory")

    generator_state = CudaNamespace.generator_state  # CuPy's generators cannot be read
    set_generator_state = CudaNamespace.set_generator_state

    def __init__(self) -> None:
        super().__init__(_Module, StrictArray, "strict")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        function = getattr(numpy, name)
        if name in MISSING:
            raise AttributeError(f"CuPy has no function {name}")
        if name in COUNTING:
            raise _refuse(f"{name}: CuPy would wait for the size of its result")
        if isinstance(function, type) or not callable(function):
            return function  # float32, pi, newaxis
        call = _ufunc(function) if isinstance(function, numpy.ufunc) else _function(name, function)
        setattr(self, name, call)
        return call

    def from_host(self, array: numpy.ndarray[Any, Any]) -> StrictArray:
        if not isinstance(array, (numpy.ndarray, numpy.generic)):
            raise _refuse(f"from_host takes a NumPy array, got {type(array)}")
        self.uploads += 1
        return StrictArray(numpy.array(array))

    def to_host(self, array: StrictArray) -> numpy.ndarray[Any, Any]:
        if type(array) is not StrictArray:
            raise _refuse(f"to_host takes an array of this device, got {type(array)}")
        self.reads += 1
        return array._host.copy()

    def address(self, array: StrictArray) -> int:
        if self.writer == "cuda":
            emulated.allow(array._host)
        return int(array._host.__array_interface__["data"][0])

    def synchronize(self) -> None:
        self.synchronizations += 1

    def seed(self, seed: int) -> None:
        self._generator = StrictGenerator(seed)

    def asarray(self, value: Any, dtype: Any = None) -> StrictArray:
        """A StrictArray as it is, or a number; CuPy would copy anything else to the device."""
        if not isinstance(value, (StrictArray, int, float, numpy.generic)):
            raise _refuse(f"asarray of {type(value)} would be copied to the device implicitly; use from_host")
        if type(value) is StrictArray and dtype in (None, value.dtype):
            return value
        if type(value) is StrictArray:
            return value.astype(dtype)
        self.uploads += 1  # of a number
        return StrictArray(numpy.array(value, dtype=dtype))

    def array(self, value: Any, dtype: Any = None, copy: bool = True) -> StrictArray:
        array = self.asarray(value, dtype)
        return array.copy() if copy and array is value else array

    def empty(self, *args: Any, **keywords: Any) -> StrictArray:
        return _spoilt(_function("empty", numpy.empty)(*args, **keywords))

    def empty_like(self, *args: Any, **keywords: Any) -> StrictArray:
        return _spoilt(_function("empty_like", numpy.empty_like)(*args, **keywords))

    def matmul(self, x: Any, y: Any) -> Any:
        """x y, of operands rounded as tensor cores round them where less than float32 is asked for."""
        if tensor_cores.are_asked_for(x, y) and x.ndim + y.ndim > 2:
            x, y = (StrictArray(rounded(a._host, BITS[setting.matmul])) for a in (x, y))
        return _ufunc(numpy.matmul)(x, y)

    def einsum(self, subscripts: str, *xs: Any, **keywords: Any) -> Any:
        if len(xs) == 2 and tensor_cores.are_asked_for(*xs):
            return tensor_cores.einsum(self, subscripts, *xs)
        return _function("einsum", numpy.einsum)(subscripts, *xs, **keywords)

    def remainder(self, x: Any, y: Any, **options: Any) -> Any:
        if quotients.are_floating(x, y):
            return quotients.remainder(self, x, y, **options)
        return _ufunc(numpy.remainder)(x, y, **options)

    def floor_divide(self, x: Any, y: Any, **options: Any) -> Any:
        if quotients.are_floating(x, y):
            return quotients.floor_divide(self, x, y, **options)
        return _ufunc(numpy.floor_divide)(x, y, **options)

    def ravel(self, a: StrictArray, order: str = "C") -> StrictArray:
        if order == "K":
            raise NotImplementedError("ravel with order='K' not yet implemented.")  # CuPy's words
        flat: StrictArray = _wrapped(numpy.ravel(_host(a), order), [a])  # type: ignore[call-overload]
        return flat

    def nonzero(self, a: StrictArray) -> Any:
        """How many there are, the host must wait for."""
        self.synchronizations += 1
        return _function("nonzero", numpy.nonzero)(a)

    def take(self, a: StrictArray, indices: Any, axis: int | None = None, out: Any = None) -> StrictArray:
        if not isinstance(indices, (StrictArray, int)):
            raise _refuse(f"indices of {type(indices)} would be copied to the device implicitly")
        wrapped = _in_range(indices, a.shape, axis)
        if isinstance(wrapped, int) and a.size:
            wrapped %= a.size if axis is None else a.shape[axis]
        taken: StrictArray = _launched(_wrapped(numpy.take(a._host, wrapped, axis, _host(out))))
        return taken

    def repeat(self, a: StrictArray, repeats: int, axis: int | None = None) -> StrictArray:
        if not isinstance(repeats, int):
            raise _refuse(f"repeat with counts of {type(repeats)}: CuPy would wait for their sum")
        repeated: StrictArray = _function("repeat", numpy.repeat)(a, repeats, axis=axis)
        return repeated

    def add_at(self, out: StrictArray, index: Any, values: StrictArray) -> None:
        parts = index if isinstance(index, tuple) else (index,)
        if any(_is_mask(part) for part in parts):
            raise _refuse("add.at with a mask, which would have to be counted")
        if any(type(part) is StrictArray for part in parts) and out.dtype.char in REFUSED_DTYPES:
            raise _refuse(f"add.at does not support {out.dtype}")
        self.launches += 1
        numpy.add.at(out._host, _index(out.shape, index), _host(values))


def _spoilt(array: StrictArray) -> StrictArray:
    """Full of what shows where nobody has written: NaN, or an unlikely number."""
    array._host[...] = numpy.nan if array.dtype.kind == "f" else numpy.array(-0x5A5A5A5B).astype(array.dtype)
    return array


def _ufunc(function: numpy.ufunc) -> Callable[..., Any]:
    def call(*args: Any, **keywords: Any) -> Any:
        unknown = set(keywords) - {"out", "casting", "dtype"}
        if unknown or any(isinstance(arg, (list, tuple)) for arg in args):
            raise _refuse(f"{function.__name__} takes device arrays and numbers, and no {sorted(unknown) or 'lists'}")
        if keywords.get("out") is not None and type(keywords["out"]) is not StrictArray:
            raise _refuse(f"{function.__name__}: out= is {type(keywords['out'])}")
        return _call(function, *args, **keywords)

    return call


def _function(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **keywords: Any) -> Any:
        unknown = set(keywords) - set(KEYWORDS.get(name, " ".join(keywords)).split())
        if unknown:
            raise _refuse(f"{name}() got an unexpected keyword argument {sorted(unknown)}")
        arrays = args[0] if args and isinstance(args[0], (list, tuple)) else args[:1]
        if name not in CREATION and name != "einsum" and any(type(a) is not StrictArray for a in arrays):
            if name in ("concatenate", "stack") or any(isinstance(a, numpy.ndarray) for a in arrays):
                raise _refuse(f"{name}: only device arrays, got {[type(a).__name__ for a in arrays]}")
            raise AttributeError(f"{type(arrays[0]).__name__!r} object has no attribute {name!r}")  # CuPy's words
        with warnings.catch_warnings():
            if name in ("mean", "std", "var") and args[0].size == 0:  # of nothing: NumPy warns, CuPy does not
                warnings.simplefilter("ignore")
            return _call(function, *args, **keywords)

    return call


strict = StrictNamespace()
register(strict)
