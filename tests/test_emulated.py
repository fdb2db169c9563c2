"""The emulator of CUDA: it computes what a GPU computes, refuses what a GPU refuses, and finds what is wrong."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from . import emulated
from .emulated import COMPILER, LaunchError, RawKernel, RawModule
from .strict import StrictArray, strict

pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs g++")

N = 64  # entries of x, and threads of a block where nothing else is said

# All blocks of a cooperative launch wait for each other.
MEET = """
static __device__ void meet(int *count)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        const int goal = (atomicAdd(count, 1) / gridDim.x + 1) * gridDim.x;
        while (__ldcg(count) < goal) __nanosleep(20);
        __threadfence();
    }
    __syncthreads();
}
"""


def on_strict(values: Any, dtype: Any = "float32") -> StrictArray:
    return strict.from_host(np.asarray(values, dtype))


def kernel(body: str, before: str = "", bounds: str = "", cooperative: bool = False) -> RawKernel:
    """A kernel of floats x and y and whole numbers n."""
    head = f'extern "C" __global__ void {bounds} run(float *x, float *y, int *n)'
    text = (
        f"{before}{head}\n{{\n    const int t = threadIdx.x, b = blockIdx.x, all = blockDim.x * gridDim.x;\n{body}\n}}"
    )
    return RawModule(code=text, options=("-std=c++17",), enable_cooperative_groups=cooperative).get_function("run")


def given() -> list[StrictArray]:
    """Arrays of a kernel: 0, 1, 2, ..., NaN, and zeros."""
    return [on_strict(np.arange(N)), strict.empty(N, dtype="float32"), on_strict(np.zeros(N), "int32")]


def values(array: StrictArray) -> list[float]:
    return strict.to_host(array).tolist()


@pytest.fixture(params=emulated.ORDERS)
def order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulated, "order", request.param)


# What it computes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory", "bytes_asked"),
    [
        ("__shared__ double sums[64];", 0),
        ("extern __shared__ double sums[];", 512),
        ("extern __shared__ __align__(16) double sums[];", 512),
    ],
    ids=["static", "dynamic", "aligned"],
)
def test_a_sum_in_shared_memory(memory: str, bytes_asked: int, order: None) -> None:
    sums = kernel(
        memory
        + """
        sums[t] = x[t];
        for (int half = 32; half > 0; half /= 2) {
            __syncthreads();
            if (t < half) sums[t] += sums[t + half];
        }
        if (t == 0) y[b] = sums[0];"""
    )
    x, y, n = given()
    sums((3,), (N,), (x, y, n), shared_mem=bytes_asked)
    assert values(y)[:3] == [N * (N - 1) / 2] * 3 and np.isnan(values(y)[3:]).all()


def test_a_warp_tells_its_threads(order: None) -> None:
    tells = kernel(
        """
        float sum = x[t];
        for (int by = 16; by > 0; by /= 2) sum += __shfl_xor_sync(~0u, sum, by);
        const float next = __shfl_down_sync(~0u, x[t], 1), before = __shfl_up_sync(~0u, x[t], 1, 8);
        y[t] = sum + next * 1000 + before * 100000 + __shfl_sync(~0u, x[t], 3) * 10000000;"""
    )
    x, y, n = given()
    tells((1,), (N,), (x, y, n))
    for t, found in enumerate(values(y)):
        first = t // 32 * 32
        sums = sum(range(first, first + 32))
        told = sums + min(t + 1, first + 31) * 1000 + (t - (t % 8 > 0)) * 100000 + (first + 3) * 10000000
        assert found == np.float32(told)


def test_indices_of_three_axes(order: None) -> None:
    numbered = kernel(
        """
        const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
        const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
        y[block * 8 + thread] = block * 100 + thread;"""
    )
    x, y, n = given()
    numbered((2, 2, 2), (2, 2, 2), (x, y, n))
    assert values(y) == [100 * block + thread for block in range(8) for thread in range(8)]


def test_blocks_that_wait_for_each_other(order: None) -> None:
    """The sum over all blocks, doubled again and again, each with memory of its own."""
    sums = kernel(
        """
        __shared__ float mine;
        if (t == 0) mine = b + 1;
        for (int step = 0; step < 5; step++) {
            if (t == 0) y[b] = mine;
            meet(n);
            float sum = 0;
            for (int k = 0; k < gridDim.x; k++) sum += __ldcg(y + k);
            meet(n);
            if (t == 0) mine += sum;
        }
        if (t == 0) y[b] = mine;""",
        before=MEET,
        cooperative=True,
    )
    x, y, n = given()
    sums((6,), (N,), (x, y, n))
    expected = np.arange(1, 7)
    for _ in range(5):
        expected = expected + expected.sum()
    assert values(y)[:6] == expected.tolist()


LAST_ADDS = """
    __shared__ bool is_last;
    if (t == 0) {
        y[b] = x[b];
        FENCE;
        is_last = atomicAdd(n, 1) == gridDim.x - 1;
    }
    __syncthreads();
    if (!is_last || t > 0) return;
    __threadfence();
    for (int k = 0; k < gridDim.x; k++) y[N] += y[k];"""


def test_the_last_block_adds_what_the_others_left(order: None) -> None:
    adds = kernel(LAST_ADDS.replace("FENCE", "__threadfence()").replace("N", "63"))
    x, y, n = given()
    y[63] = 0.0
    adds((40,), (N,), (x, y, n))
    assert values(y)[63] == sum(range(40))


def test_atomic_functions(order: None) -> None:
    counts = kernel(
        """
        atomicAdd(n, 2), atomicSub(n + 1, 3), atomicMax(n + 2, t), atomicMin(n + 3, -t), atomicOr(n + 4, t);
        if (atomicCAS(n + 5, 0, 7) == 0) atomicExch(n + 6, 5);
        atomicAdd(y, x[t]);"""
    )
    x, y, n = given()
    y[0] = 0.0
    counts((1,), (N,), (x, y, n))
    assert values(n)[:7] == [2 * N, -3 * N, N - 1, 1 - N, N - 1, 7, 5] and values(y)[0] == sum(range(N))


def test_numbers_and_vectors() -> None:
    computes = kernel(
        """
        float4 v = __ldcg(reinterpret_cast<float4 *>(x) + t);
        v.w = max(v.x, 2.5f) + min(3, 4) + rsqrtf(4.0f) + __int_as_float(__float_as_int(v.y)) + fmaf(2.0f, v.z, 1.0f);
        __stcg(reinterpret_cast<float4 *>(y) + t, v);
        const float2 two = make_float2(1, 2);
        #pragma unroll
        for (int k = 0; k < 2; k++) n[2 * t + k] = k ? two.y : two.x;"""
    )
    x, y, n = given()
    computes((1,), (16,), (x, y, n))
    assert values(y)[:8] == [0, 1, 2, 2.5 + 3 + 0.5 + 1 + 5, 4, 5, 6, 4 + 3 + 0.5 + 5 + 13]
    assert values(n)[:4] == [1, 2, 1, 2]


def test_a_structure_is_given_by_value() -> None:
    text = """
    struct Given { float *x; long long n; double s; };
    extern "C" __global__ void __launch_bounds__(32) scaled(Given given)
    {
        if (threadIdx.x < given.n) given.x[threadIdx.x] *= given.s;
    }"""
    x = given()[0]
    whole = np.array([strict.address(x), 3], np.int64).tobytes() + np.array(0.5).tobytes()
    emulated.allow(x._host)
    RawModule(code=text).get_function("scaled")((1,), (32,), (np.frombuffer(whole, "V24"),))
    assert values(x)[:5] == [0, 0.5, 1, 3, 4]


def test_what_nobody_has_written_shows() -> None:
    forgets = kernel(
        "__shared__ float kept[2]; if (t == 9) kept[1] = 0; if (t != 7) y[t] = x[t]; if (t == 9) y[9] = kept[n[9]];"
    )
    x, y, n = given()
    forgets((1,), (N,), (x, y, n))
    assert [k for k, found in enumerate(values(y)) if np.isnan(found)] == [7, 9]
    assert np.isnan(strict.to_host(strict.empty_like(x))).all()
    assert (np.abs(strict.to_host(strict.empty(5, dtype="int32"))) > 1_000_000).all()


# What it finds ------------------------------------------------------------------------------------

# Text, message, and blocks and threads if they are not one of N.
WRONG: dict[str, tuple[Any, ...]] = {
    "a barrier is missing": (
        "__shared__ float kept[64];\nkept[t] = x[t];\ny[t] = kept[63 - t];",
        r"line [56], block \(0, 0, 0\), thread .*: a race: it (reads|writes) shared memory that thread .* (wrote|read)",
    ),
    "a barrier is missing before the next round": (
        "__shared__ float kept;\nfor (int k = 0; k < 3; k++) {\n"
        "if (t == k) kept = k;\n__syncthreads();\ny[t] = kept;\n}",
        r"a race: it (reads|writes) shared memory",
    ),
    "two threads write one entry": (
        "y[t / 2] = x[t];",
        r"line 4, .* a race: it writes global memory that thread .* wrote",
    ),
    "two blocks write one entry": ("if (t == 0) y[0] = b;", r"writes global .* of block \(\d, 0, 0\) wrote", 2, N),
    "a block reads what another writes": (
        "y[t + 32 * b] = t;\nx[t + 32 * b] = y[31 - t];",
        r"a race: it (reads|writes) global",
        *(2, 32),
    ),
    "a plain read of what is counted": (
        "atomicAdd(n, 1);\nif (n[0] > 5) y[t] = 0;",
        r"a race: it (reads|writes) global",
    ),
    "a warp does not wait": (
        "__shared__ int kept[32];\nkept[t] = t;\ny[t] = kept[t ^ 1];",
        "a race: .* shared memory",
        1,
        32,
    ),
    "no fence before the count": (
        LAST_ADDS.replace("FENCE", "").replace("N", "63"),
        "a race: it reads global memory",
        40,
        N,
    ),
    "some leave out a barrier": ("if (t < 40) __syncthreads();", "wait at a barrier .* that 24 others have left out"),
    "some wait once more": (
        "for (int k = 0; k < (t < 40 ? 3 : 2); k++) __syncthreads();",
        "40 threads wait at a barrier .* that 24 others have left out",
    ),
    "half a warp waits": (
        "if (t % 2) __syncthreads(); else __syncwarp();",
        "no thread can go on: some wait at a barrier",
    ),
    "a warp that it is none of": (
        "__syncwarp(t < 16 ? 0xffffu : 0xffu);",
        "waits for .* threads 0xff, of which it is none",
    ),
    "masks that differ": ("__syncwarp(t % 32 < 16 ? 0xffffffffu : 0xffff0000u);", "wait for each other with masks"),
    "a number that never comes": ("while (__ldcg(n) == 0) __nanosleep(100);", "wait for memory that nobody changes"),
    "nobody sleeps": ("while (*(volatile int *)n == 0);", "wait for memory that nobody changes"),
    "a number that never rests": ("while (t < 2 && atomicAdd(n, 1) >= 0);", "threads change memory for ever"),
    "a lock of the same warp": (
        "while (atomicCAS(n, 0, 1) != 0);\n__syncwarp();",
        "wait for memory that nobody changes",
    ),
    "an index of shared memory": (
        "__shared__ float kept[64];\nkept[t + 1] = 0;",
        r"line 5, .* index 64 is out of range",
    ),
    "an index before it": (
        "__shared__ float kept[64];\nkept[t - 1] = 0;",
        r"index -1 is out of range for 'float \[64\]'",
    ),
    "more dynamic memory than was asked": (
        "extern __shared__ float kept[];\nkept[t] = 0;\nif (t == 0) y[0] = kept[64];",
        "line 6, .* byte 256 of dynamic shared memory is read, which has 256",
    ),
    "past the end of an array": (
        "y[t + 1] = x[t];",
        r"line 4, .* thread \(63, 0, 0\): 4 bytes that are in no array are written",
    ),
    "before its start": ("y[t] = x[t - 1];", r"line 4, .* thread \(0, 0, 0\): 4 bytes that are in no array are read"),
    "a null pointer": ("float *p = n[0] ? x : nullptr;\ny[t] = *p;", "a null pointer to 'float'"),
    "an address between two": (
        "if (t < 2)\ny[t] = reinterpret_cast<float4 *>(x + t)->x;",
        r"not a multiple of 16, of .*float4",
    ),
    "too large a number": ("y[t] = (n[t] + 0x7fffffff) + (n[t] + t);", "a sum of whole numbers overflows"),
    "a division by 0": ("y[t] = 5 / n[t];", "a whole number is divided by 0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_found(name: str, order: None) -> None:
    body, message, *launch = WRONG[name]
    blocks, threads = launch or (1, N)
    with pytest.raises(LaunchError, match=f"^run: .*{message}"):
        kernel(body)((blocks,), (threads,), tuple(given()), shared_mem=256)


def turned(meet: str) -> RawKernel:
    """Twice, each entry becomes its neighbour, which may be another block's."""
    body = """
        y[t + 8 * b] = t + 8 * b;
        meet(n);
        x[t + 8 * b] = y[(t + 8 * b + 1) % all];
        meet(n);
        y[t + 8 * b] = x[(t + 8 * b + 1) % all];"""
    return kernel(body, before=meet, cooperative=True)


def test_blocks_read_what_others_wrote(order: None) -> None:
    x, y, n = given()
    turned(MEET)((6,), (8,), (x, y, n))
    assert values(y)[:48] == [(k + 2) % 48 for k in range(48)]


@pytest.mark.parametrize("left_out", range(5))
def test_every_part_of_a_barrier_of_blocks_is_needed(left_out: int, order: None) -> None:
    parts = list(re.finditer(r"__syncthreads\(\);|__threadfence\(\);|while .*;", MEET))
    assert len(parts) == 5
    start, end = parts[left_out].span()
    with pytest.raises(LaunchError, match="a race: it (reads|writes) global"):
        turned(MEET[:start] + MEET[end:])((6,), (8,), tuple(given()))


# What a GPU refuses -------------------------------------------------------------------------------

PLAIN = "y[t] = x[t];"
REFUSED: dict[str, Any] = {
    "too many threads": (lambda run, args: run((1,), (1025,), args), LaunchError, r"a block of \(1025, 1, 1\) threads"),
    "too many threads in all": (lambda run, args: run((1,), (64, 32), args), LaunchError, "more than 1024"),
    "too deep a block": (lambda run, args: run((1,), (1, 1, 65), args), LaunchError, r"a block of \(1, 1, 65\)"),
    "no threads": (lambda run, args: run((1,), (0,), args), LaunchError, "a block of"),
    "no blocks": (lambda run, args: run((0,), (1,), args), LaunchError, "a grid of"),
    "too high a grid": (
        lambda run, args: run((1, 65536), (1,), args),
        LaunchError,
        r"a grid of \(1, 65536, 1\) blocks",
    ),
    "too much shared memory": (
        lambda run, args: run((1,), (1,), args, shared_mem=49153),
        LaunchError,
        "49153 bytes of dynamic shared memory, more than max_dynamic_shared_size_bytes = 49152",
    ),
    "more than there is": (
        lambda run, args: setattr(run, "max_dynamic_shared_size_bytes", 65537),
        LaunchError,
        "65537 bytes of dynamic shared memory and 0 of __shared__ variables, more than the 65536 that a block can have",
    ),
    "too few arguments": (
        lambda run, args: run((1,), (1,), args[:2]),
        LaunchError,
        r"of \[8, 8\] bytes for .* \[8, 8, 8\]",
    ),
    "an argument of another size": (
        lambda run, args: run((1,), (1,), (*args[:2], np.int32(3))),
        LaunchError,
        r"arguments of \[8, 8, 4\] bytes for parameters of \[8, 8, 8\]",
    ),
    "an array of NumPy's": (
        lambda run, args: run((1,), (1,), (*args[:2], np.zeros(3, np.int32))),
        TypeError,
        "Unsupported type <class 'numpy.ndarray'>",
    ),
    "a list": (lambda run, args: run([1], (1,), args), TypeError, "grid, block and arguments are tuples"),
    "a text": (lambda run, args: run((1,), (1,), (*args[:2], "n")), TypeError, "Unsupported type <class 'str'>"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_gpu_refuses(name: str) -> None:
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call(kernel(PLAIN), tuple(given()))


def test_more_shared_memory_has_to_be_asked_for() -> None:
    last = kernel("extern __shared__ float kept[];\nkept[16383] = 3;\ny[0] = kept[16383];")
    last.max_dynamic_shared_size_bytes = strict.shared_memory
    x, y, n = given()
    last((1,), (1,), (x, y, n), shared_mem=65536)
    assert values(y)[0] == 3


def test_a_larger_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict, "shared_memory", 227 << 10)
    monkeypatch.setattr(strict, "multiprocessors", 16)
    last = kernel(
        "extern __shared__ float kept[];\nkept[58111] = 3;\nif (t == 0) y[b] = kept[58111];", cooperative=True
    )
    last.max_dynamic_shared_size_bytes = 227 << 10
    x, y, n = given()
    last((16,), (1,), (x, y, n), shared_mem=227 << 10)
    assert values(y)[:16] == [3] * 16


def test_bounds_of_a_launch() -> None:
    with pytest.raises(LaunchError, match="more than 32"):
        kernel(PLAIN, bounds="__launch_bounds__(32)")((1,), (33,), tuple(given()))


def test_blocks_that_wait_for_each_other_must_all_be_there(order: None) -> None:
    with pytest.raises(
        LaunchError, match=r"a cooperative grid of \(7, 1, 1\) blocks, more than the 6 there are at once"
    ):
        kernel("meet(n);", before=MEET, cooperative=True)((7,), (N,), tuple(given()))
    with pytest.raises(LaunchError, match="wait for memory that nobody changes"):
        kernel("meet(n);", before=MEET)((2,), (N,), tuple(given()))


def test_what_a_text_may_not_have() -> None:
    with pytest.raises(SyntaxError, match=r"kernel.cu:\d+.* .z. was not declared"):
        kernel("y[t] = z;")
    with pytest.raises(LaunchError, match="491.. bytes of __shared__ variables, more than 48 KiB"):
        kernel("__shared__ float kept[12289];\nkept[t] = x[t];\ny[t] = kept[n[t]];")
    text = 'struct Given { float x[1025]; }; extern "C" __global__ void run(Given given) {}'
    with pytest.raises(LaunchError, match="parameters of 4100 bytes, more than 4096"):
        RawModule(code=text).get_function("run")
