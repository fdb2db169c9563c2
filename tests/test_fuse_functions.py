"""The scalar functions that C kernels call, in loops, against NumPy's: values, extremes, tails; that they vectorise."""

import ctypes
import platform
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import minigrad

HEADER = Path(minigrad.__file__).parent / "fusion" / "c" / "functions.h"
FLAGS = ["-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared"]
BUILDS = {
    "as kernels are": [],
    "plain": ["-ffp-contract=off", "-U__linux__"],  # no fused multiply-add, no libmvec: other machines
}
TYPES = {"f32": np.dtype(np.float32), "f64": np.dtype(np.float64)}

# Error bounds in units in the last place, for float and double. Where the header writes a function out, 2 or less and
# the same bits in every loop; libmvec promises 4, and may differ between a loop's body and its tail.
ROUNDED = {
    "exp": (1.5, 4),
    "expm1": (2, 4),
    "log": (1.5, 4),
    "log1p": (2, 4),
    "sin": (4, 4),
    "cos": (4, 4),
    "tanh": (2, 4),
    "sigmoid": (1, 1),  # of 1: its error is absolute
}
ROUNDED_OF_TWO = {"logaddexp": (3, 4), "power": (4, 4)}
EXACT = ["sqrt", "absolute", "sign", "floor", "ceil"]
EXACT_OF_TWO = ["maximum", "minimum", "remainder", "floor_divide"]
WRITTEN_OUT = {"exp_f32", "expm1_f32", "log_f32", "log1p_f32", "tanh_f32", "sigmoid_f32", "logaddexp_f32"}

UNARY, BINARY = [*ROUNDED, *EXACT], [*ROUNDED_OF_TWO, *EXACT_OF_TWO]
every_type = pytest.mark.parametrize("suffix", TYPES)
pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")


def loops() -> str:
    """C: for every function a loop over arrays, named as the function."""
    text = f'#include "{HEADER}"\n'
    for suffix, real in (("f32", "float"), ("f64", "double")):
        for name in UNARY + BINARY:
            arguments = "x[j]" if name in UNARY else "x[j], y[j]"
            text += (
                f"void {name}_loop_{suffix}(long n, const {real} *restrict x, const {real} *restrict y, "
                f"{real} *restrict out) {{\n    (void)y;\n"
                f"    for (long j = 0; j < n; j++) out[j] = {name}_{suffix}({arguments});\n}}\n"
            )
    return text


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("functions") / "loops.c"
    path.write_text(loops())
    return path


@pytest.fixture(scope="session", params=BUILDS)
def call(request, source):
    """`call(name, suffix, x, y)`: the compiled loop, over arrays of one dimension."""
    target = source.parent / f"{request.param.replace(' ', '_')}.so"
    subprocess.run(["cc", *FLAGS, *BUILDS[request.param], str(source), "-o", str(target), "-lm"], check=True)
    library = ctypes.CDLL(str(target))

    def call(name, suffix, x, y=None):
        y = x if y is None else y
        assert (
            x.dtype == y.dtype == TYPES[suffix] and x.shape == y.shape and x.data.c_contiguous and y.data.c_contiguous
        )
        room = np.full(x.size + 1, 7, x.dtype)  # and one more, which must stay
        loop = getattr(library, f"{name}_loop_{suffix}")
        loop(ctypes.c_long(x.size), *(ctypes.c_void_p(a.ctypes.data) for a in (x, y, room)))
        assert room[-1] == 7
        return room[:-1]

    return call


def wider(dtype):
    return np.float64 if dtype == np.float32 else np.longdouble


def exact(name, *inputs):
    """NumPy's function of the inputs, computed in more digits."""
    with np.errstate(all="ignore"):
        inputs = [x.astype(wider(x.dtype)) for x in inputs]
        if name == "sigmoid":
            return 0.5 * np.tanh(0.5 * inputs[0]) + 0.5
        return getattr(np, name)(*inputs)


def errors(got, want, unit_at=None):
    """How far `got` is from `want`, in units in the last place of `unit_at` (of `want`, if it is not given).

    Infinite where one is NaN or infinite, once rounded, and the other is not the same.
    """
    with np.errstate(all="ignore"):
        rounded = want.astype(got.dtype)
        unit = np.spacing(np.abs(rounded if unit_at is None else np.asarray(unit_at, got.dtype)))
        distance = np.abs(got.astype(want.dtype) - want) / unit
    same = (got == rounded) | (np.isnan(got) & np.isnan(want))
    finite = np.isfinite(got) & np.isfinite(rounded)
    return np.where(finite, distance, np.where(same, 0, np.inf)).astype(float)


def around(values, dtype):
    """Each value, of both signs, and its 8 neighbours on either side."""
    values = np.array(values, dtype)
    whole = {4: np.int32, 8: np.int64}[dtype.itemsize]
    near = (values.view(whole)[:, None] + np.arange(-8, 9, dtype=whole)).ravel().view(dtype)
    return np.concatenate([near, -near])


def special(dtype):
    info = np.finfo(dtype)
    return np.array(
        [0.0, 1, 0.5, 1.5, 2, 3, 10, 1e5, info.tiny, info.smallest_subnormal, info.max, np.inf, np.nan], dtype
    )


def sweep(suffix):
    """Numbers of every exponent and both signs, denormals, infinities, NaN; dense where functions bend or end."""
    dtype, rng = TYPES[suffix], np.random.default_rng(0)
    info = np.finfo(dtype)
    if suffix == "f32":
        patterns = np.arange(0, 2**32, 6007, dtype=np.uint64).astype(np.uint32)
    else:
        patterns = rng.integers(0, 2**64, 100_000, dtype=np.uint64)
    end, low = np.log(info.max), np.log(info.smallest_subnormal)
    bends = [
        info.tiny,
        2.0**-24,
        2.0**-13,
        1 / 3,
        np.log(2) / 2,
        0.53,
        2 / 3,
        1,
        4 / 3,
        8.66,
        9.01,
        17.3,
        18.7,
        20,
        37.4,
    ]
    bends += [end, -low, -np.log(info.tiny), np.pi / 2, np.pi, 2 * np.pi, 1e5 * np.pi, 1e22, info.max]
    dense = [rng.uniform(-a, a, 40_000) for a in (1, 20, 120, -low)] + [-1 + 2.0 ** rng.uniform(-50, 0, 10_000)]
    parts = [patterns.view(dtype), around(bends, dtype), *dense, special(dtype), -special(dtype)]
    with np.errstate(invalid="ignore"):  # of signalling NaNs
        return np.concatenate([part.astype(dtype) for part in parts])


def pairs(suffix):
    """Two arrays: all pairs of special values, and random ones, near and far apart, multiples of each other."""
    dtype, rng = TYPES[suffix], np.random.default_rng(1)
    values = np.concatenate([special(dtype), -special(dtype)])
    x, y = (a.ravel() for a in np.meshgrid(values, values))
    a, b = rng.normal(size=(2, 20_000)) * 10.0 ** rng.integers(-6, 7, (2, 20_000))
    whole = rng.integers(-30, 31, 20_000)
    x = np.concatenate([x, a, a, b.astype(dtype) * whole, whole])
    y = np.concatenate([y, b, -a, b, rng.integers(-5, 6, 20_000)])
    return x.astype(dtype), y.astype(dtype)


def same_bits(a, b):
    """Equal, zeros in their signs too; NaN is NaN, whatever its bits."""
    return np.array_equal(a, b, equal_nan=True) and np.array_equal(np.signbit(a[a == 0]), np.signbit(b[b == 0]))


# Values -------------------------------------------------------------------------------------------


@every_type
@pytest.mark.parametrize("name", ROUNDED)
def test_a_function_of_one_number_is_within_its_bound(call, name, suffix):
    x = sweep(suffix)
    got, want = call(name, suffix, x), exact(name, x)
    error = errors(got, want, unit_at=1 if name == "sigmoid" else None)
    worst = error.argmax()
    bound = ROUNDED[name][suffix == "f64"]
    assert error[worst] <= bound, (
        f"{name}({x[worst]!r}) = {got[worst]!r}, {error[worst]:.2f} units from {want[worst]!r}"
    )
    if name != "sigmoid":  # whose zeros are rounded
        assert np.array_equal(np.signbit(got[got == 0]), np.signbit(want[got == 0]))


@every_type
@pytest.mark.parametrize("name", EXACT)
def test_what_can_be_exact_is(call, name, suffix):
    x = sweep(suffix)
    with np.errstate(all="ignore"):
        assert same_bits(call(name, suffix, x), getattr(np, name)(x))


@every_type
@pytest.mark.parametrize("name", ["remainder", "floor_divide"])
def test_division_with_rest_is_numpys_to_the_last_bit(call, name, suffix):
    x, y = pairs(suffix)
    with np.errstate(all="ignore"):
        assert same_bits(call(name, suffix, x, y), getattr(np, name)(x, y))


@every_type
@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_the_larger_and_the_smaller_hand_nan_on_from_either_side(call, name, suffix):
    x, y = pairs(suffix)
    got = call(name, suffix, x, y)
    np.testing.assert_array_equal(got, getattr(np, name)(x, y))
    assert np.array_equal(np.isnan(got), np.isnan(x) | np.isnan(y))


@every_type
def test_logaddexp_cannot_overflow(call, suffix):
    x, y = pairs(suffix)
    got, want = call("logaddexp", suffix, x, y), exact("logaddexp", x, y)
    bound = ROUNDED_OF_TWO["logaddexp"][suffix == "f64"]
    # where a negative x and the logarithm nearly cancel, the error is in units of what cancelled; and as in NumPy,
    # x - y is rounded before it is an exponent
    with np.errstate(all="ignore"):
        apart = np.abs(x - y)
        terms = [np.abs(np.maximum(x, y)), np.abs(want).astype(x.dtype), np.nan_to_num(apart * np.exp(-apart))]
    assert errors(got, want, unit_at=np.maximum.reduce(terms)).max() <= bound
    x = sweep(suffix)
    zero = np.zeros_like(x)
    assert (
        errors(call("logaddexp", suffix, x, zero), exact("logaddexp", x, zero)).max()
        <= ROUNDED["log1p"][suffix == "f64"]
    )
    huge = np.array([np.inf, -np.inf, np.inf, np.finfo(x.dtype).max], x.dtype)
    other = np.array([np.inf, -np.inf, -np.inf, np.finfo(x.dtype).max], x.dtype)
    np.testing.assert_array_equal(call("logaddexp", suffix, huge, other), [np.inf, -np.inf, np.inf, huge[3]])


@every_type
def test_power_is_numpys_at_the_special_values_too(call, suffix):
    x, y = pairs(suffix)
    rng, most = np.random.default_rng(2), np.log2(float(np.finfo(x.dtype).max))
    base = np.exp2(rng.uniform(-most, most, 40_000)).astype(x.dtype)
    exponent = (rng.uniform(-1.1, 1.1, base.size) * most / np.log2(base)).astype(x.dtype)
    x, y = np.concatenate([x, base, -base]), np.concatenate([y, exponent, np.rint(exponent)])
    got, want = call("power", suffix, x, y), exact("power", x, y)
    assert errors(got, want).max() <= ROUNDED_OF_TWO["power"][suffix == "f64"]
    assert np.array_equal(np.signbit(got[got == 0]), np.signbit(want[got == 0]))


# NaN, the ends, and loops of any length -----------------------------------------------------------


@every_type
@pytest.mark.parametrize("name", UNARY)
def test_a_nan_that_goes_in_comes_out(call, name, suffix):
    x = np.full(100, 0.5, TYPES[suffix])
    x[::3] = np.nan
    assert np.array_equal(np.isnan(call(name, suffix, x)), np.isnan(x))


@every_type
def test_no_function_leaves_its_range(call, suffix):
    x = sweep(suffix)
    x = x[~np.isnan(x)]
    assert (call("exp", suffix, x) >= 0).all() and (call("expm1", suffix, x) >= -1).all()
    tanh, sigmoid = call("tanh", suffix, x), call("sigmoid", suffix, x)
    assert (np.abs(tanh) <= 1).all() and (np.abs(tanh[np.abs(x) > 20]) == 1).all()
    assert ((sigmoid >= 0) & (sigmoid <= 1)).all()
    assert (sigmoid[x > 40] == 1).all() and (sigmoid[x < -40] == 0).all()
    peaks = (np.arange(-100_000, 100_000) * (np.pi / 2)).astype(x.dtype)
    for name in ("sin", "cos"):
        assert (np.abs(call(name, suffix, peaks)) <= 1).all()


def test_a_denormal_keeps_its_last_bit(call):
    x = np.arange(-3000, 3000).astype(np.float32) * np.float32(1e-45)
    for name in ("tanh", "expm1", "log1p"):
        assert same_bits(call(name, "f32", x), x)
    tiny = call("exp", "f32", np.linspace(-103.9, -87.4, 1000, dtype=np.float32))
    assert (tiny > 0).all() and (tiny < np.finfo(np.float32).tiny).all()


@every_type
@pytest.mark.parametrize("name", UNARY + BINARY)
def test_loops_of_every_length_agree(call, name, suffix):
    rng = np.random.default_rng(3)
    x, y = rng.uniform(0.1, 4, (2, 100)).astype(TYPES[suffix])
    long = call(name, suffix, x, y)
    written_out = f"{name}_{suffix}" in WRITTEN_OUT or name in EXACT + EXACT_OF_TWO
    bounds = {**ROUNDED, **ROUNDED_OF_TWO}
    for n in range(41):
        for start in (0, 1, 5):  # memory that is not aligned
            part = slice(start, start + n)
            short = call(name, suffix, x[part], y[part])
            if written_out:
                assert same_bits(short, long[part])
            elif n:
                assert errors(short, long[part].astype(wider(x.dtype))).max() <= 2 * bounds[name][suffix == "f64"]


# What the compiler makes of it, and what the library does to the process --------------------------


def compiled(source, *flags):
    """What the compiler prints for the loops."""
    command = ["cc", *FLAGS, *flags, str(source), "-o", "-"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads the assembly of x86")
def test_the_hot_functions_vectorise(source):
    assembly = compiled(source, "-S")
    bodies = dict(re.findall(r"^(\w+_loop_f32):\n(.*?)^\s*\.size", assembly, re.DOTALL | re.MULTILINE))
    packed = re.compile(r"\bv?(mul|add|sub|fn?m(add|sub)\d+|cmp\w*)ps\b")
    for name in ["tanh", "sigmoid", "exp", "expm1", "log", "log1p", "logaddexp", "maximum", "minimum"]:
        body = bodies[f"{name}_loop_f32"]
        assert packed.search(body) and not re.search(r"\bcall\b", body), f"{name}_f32 is not vectorised"
    assert not packed.search(bodies["remainder_loop_f32"])  # which is not: the test can see it


def test_what_libmvec_has_is_called_as_vectors(source):
    declared = re.findall(r'simd\("notinbranch"\)\)\) \w+ (\w+)\(', compiled(source, "-E", "-P"))
    if not declared:
        pytest.skip("needs gcc and glibc 2.35 on x86-64")
    assembly = compiled(source, "-S")
    for name in declared:
        assert re.search(rf"\bcall\s+_ZGV\w+_{name}\b", assembly), f"{name} is called one by one"


def test_denormals_still_work_after_the_library_was_loaded(call):
    call("exp", "f32", np.zeros(40, np.float32))
    assert np.float32(1e-40) * np.float32(1) != 0 and np.float64(1e-310) * np.float64(0.5) != 0


def test_errors_are_counted_in_units_in_the_last_place():
    one, nan = np.float32([1.0]), np.float32([np.nan])
    assert errors(one + np.float32(3 * 2.0**-23), np.array([1.0])) == [3]
    assert errors(one, np.array([np.nan])) == errors(nan, np.array([1.0])) == [np.inf]
    assert errors(nan, np.array([np.nan])) == [0]
    assert errors(np.float32([np.inf]), np.array([1e300])) == [0] and errors(one, np.array([np.inf])) == [np.inf]
