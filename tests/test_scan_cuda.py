"""Time loops in CUDA, as a C++ compiler reads them: shared out among blocks in every way, in any order.

What they compute is compared with the steps wherever `scan` is tested, with `--fusing cuda`; here is what is theirs.

T: time steps   N: batch   H: width of the state
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.fusion import cuda_grid, cuda_kernel, cuda_loop, scanned
from minigrad.fusion.c import header
from minigrad.fusion.cell import Cell
from minigrad.fusion.run import Plan
from minigrad.fusion.scanned import scan_source
from minigrad.fusion.steps import Slot
from minigrad.ops.contraction import linear

from . import emulated as emulator
from .helpers import host
from .strict import strict
from .test_fuse_cuda import architectures, memory_of_threads, nvrtc
from .test_fuse_cuda import ptx as ptx
from .test_scan import CELLS, H, N, T, array, both_ways, given, is_one_call, loss, lstm, outcome, rnn
from .test_scan_random import Recipe, recipes

ORDERS = ["forward", "backward", 7]  # in which blocks and threads have their turns


@pytest.fixture
def launched(emulated: list[Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The kernels that are launched, on the device strict, where nothing has been traced yet."""
    scanned._plans.clear()
    monkeypatch.setattr(strict, "shared_memory", 110 << 10)
    with mg.use_device("strict"):
        yield emulated
    scanned._plans.clear()


def share_out(monkeypatch: pytest.MonkeyPatch, parts: int, kept: bool = True) -> None:
    """Have the columns in so many parts, and weights in shared memory, or not."""
    monkeypatch.setattr(cuda_grid, "cycles", lambda work, rows, grid: abs(grid.parts - parts))
    if not kept:
        monkeypatch.setattr(cuda_grid, "room_for", in_pieces)


def in_pieces(work: cuda_grid.Work, parts: int, most: int) -> Any:
    room = cuda_grid.ROOMS[-1]
    return room, (-1,) * len(work.products), (3 * room + 4 * cuda_grid.MOST_ROWS) * work.size


def gru(x: Any, h: Any, w: Any) -> Any:
    """With the reset gate before the product: two products, one after the other."""
    r, z, n = x.split(3, axis=-1)
    r, z = mg.sigmoid(linear(h, w[:H], r)), mg.sigmoid(linear(h, w[H : 2 * H], z))
    n = mg.tanh(linear(r * h, w[2 * H :], n))
    return (1 - z) * n + z * h


def of_lstm(rows: int, width: int, steps: int = 3, dtype: Any = mg.float64) -> list[Any]:
    x, w = given(steps, rows, 4 * width, dtype=dtype), given(4 * width, width, dtype=dtype)
    return outcome(lstm, x, (given(rows, width, dtype=dtype), given(rows, width, seed=1, dtype=dtype)), w)


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "in pieces"])
@pytest.mark.parametrize("parts", [1, 2, 3, 6])
@pytest.mark.parametrize("sizes", [(3, 6), (5, 17), (70, 9), (2, 40), (1, 1), (300, 2)])
def test_shared_out_in_every_way(
    sizes: tuple[int, int], parts: int, kept: bool, launched: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    share_out(monkeypatch, parts, kept)
    found = []
    for order in ORDERS:
        monkeypatch.setattr(emulator, "order", order)
        found.append([host(y).tobytes() for y in both_ways(lambda: of_lstm(*sizes), 1e-12)])
    assert found[0] == found[1] == found[2]
    (grid,) = {grid for name, grid, _ in launched if name == "kernel0" and grid[0] % parts == 0}
    assert grid == (min(sizes[0], emulator.multiprocessors // parts) * parts,)


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("depth", [1, 3, 127, 128, 129, 4100])
def test_products_of_any_depth(depth: int, parts: int, launched: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows come in pieces of up to 16384 entries, in fours, if they lie so."""
    share_out(monkeypatch, parts, depth < 1000)
    x, h, w, v = given(2, 3, depth), given(3, 2), given(depth, 2), given(2, depth, seed=1)

    def cell(x: Any, h: Any, w: Any, v: Any) -> Any:
        return mg.tanh(linear(mg.tanh(linear(h, w, x)), v, 0.0))

    assert is_one_call(both_ways(lambda: outcome(cell, x, h, w, v), 1e-11)[0])


@pytest.mark.parametrize("parts", [1, 5])
@pytest.mark.parametrize("name", CELLS)
def test_every_cell_in_parts(name: str, parts: int, launched: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    share_out(monkeypatch, parts)
    monkeypatch.setattr(emulator, "order", 3)
    found = both_ways(lambda: outcome(CELLS[name], given(T, N, H), given(N, H), given(H, H), given(H)))
    assert is_one_call(found[0])


def test_a_gru_with_two_products_one_after_the_other(launched: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    share_out(monkeypatch, 3)
    assert is_one_call(both_ways(lambda: outcome(gru, given(T, N, 3 * H), given(N, H), given(3 * H, H)))[0])


# Where blocks meet --------------------------------------------------------------------------------


def loops_of(cell: Any, *args: Any) -> list[cuda_loop.Loop]:
    """The loops that are run, forward and backward."""
    made: list[cuda_loop.Loop] = []
    original = cuda_loop.Loop.__call__

    def noted(self: cuda_loop.Loop, *given: Any) -> None:
        made.append(self)
        original(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda_loop.Loop, "__call__", noted)
        outcome(cell, *args)
    return made


def test_once_in_a_step_of_the_usual_cells(launched: list[Any]) -> None:
    """Gates are computed where their columns of the state are; only products need the columns of others."""
    x, h, c = given(T, N, 4 * H), given(N, H), given(N, H, seed=1)
    for loops in (loops_of(lstm, x, (h, c), given(4 * H, H)), loops_of(rnn, given(T, N, H), h, given(H, H))):
        assert [sum(loop.meets) for loop in loops] == [1, 1]
    assert [sum(loop.meets) for loop in loops_of(lambda x, h: mg.tanh(x + h), given(T, N, H), h)] == [0, 0]


@pytest.mark.parametrize("order", ORDERS)
def test_what_is_read_last_is_not_written_before(
    order: Any, launched: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One block adds up columns of a gradient of the state; others, a step ahead, would write the next one there."""
    share_out(monkeypatch, 3)
    monkeypatch.setattr(emulator, "order", order)
    x, h, c = given(T, N, 9), given(N, 9), given(N, 1)

    def compute() -> list[Any]:
        _, last = mg.scan(lambda x, state: (x * state[1], mg.tanh(state[1])), x, (h, c))
        return [*last, *mg.grad(loss(last), [x, h, c], allow_unused=True)]

    assert is_one_call(both_ways(compute)[0])


def test_blocks_meet_more_often_than_a_counter_can_count(launched: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to 2³²; here it begins near that."""
    first = 2**32 - 10
    monkeypatch.setattr(cuda_loop, "TEXT", cuda_loop.TEXT.replace("awaited = 0;", f"awaited = {first}u;"))
    monkeypatch.setattr(strict, "zeros", lambda shape, dtype: strict.full(shape, first, dtype=dtype))
    monkeypatch.setattr(emulator, "order", "backward")
    share_out(monkeypatch, 3)
    states, _ = mg.scan(rnn, given(9, N, H), given(N, H), given(H, H))
    (_, grid, _), *others = launched
    assert grid[0] > 3 and not others
    with mg.fusing(False):
        expected, _ = mg.scan(rnn, given(9, N, H), given(N, H), given(H, H))
    np.testing.assert_allclose(host(states), host(expected), rtol=1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_blocks_that_do_not_meet_are_found(order: Any, launched: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    share_out(monkeypatch, 3)
    monkeypatch.setattr(cuda_loop, "meetings", lambda statements: [False] * len(statements))
    monkeypatch.setattr(emulator, "order", order)
    with pytest.raises(emulator.LaunchError, match="a race"):
        of_lstm(3, 6)


def memory(slot: Slot, t: int) -> Any:
    """Which it is at time step t, as MOVES has it; what a step finds, the one before has left."""
    if slot.role in ("arrives", "leaves"):
        return (slot.left_in or slot).number, (t if slot.role == "arrives" else ~t) & 1
    if slot.left_in is not None:
        return slot.left_in.number, t - 1
    return slot.number, t if slot.role == "step" else None


def check_meetings(loop: cuda_loop.Loop, slots: list[Slot]) -> None:
    """Of any two accesses to the same memory, one of them writing: they are by one block, or all have met between."""
    seen: dict[Any, list[tuple[int, cuda_loop.Access]]] = {}
    met = 0
    for t in range(4):
        for meets, part in zip(loop.meets, loop.statements, strict=True):
            met += meets
            for new in loop._accesses(part, slots):
                others = seen.setdefault(memory(new.slot, t), [])
                for when, old in others:
                    is_own = old == new or (old.columns is not None and old.columns == new.columns)
                    assert met > when or is_own or not (old.writes or new.writes), (t, old, new)
                others.append((met, new))


@settings(max_examples=4 * settings.default.max_examples)
@hypothesis.given(recipes(st.just("float64"), st.sampled_from([1, 9]), most_lines=3), st.data())
def test_blocks_meet_wherever_they_have_to(recipe: Recipe, data: Any) -> None:
    arrays, count = [mg.tensor(a) for a in recipe.arrays()], len(recipe.ends)
    state = [part._data for part in arrays[1 : 1 + count]]
    cell = Cell(recipe.cell(), "cell", arrays[0]._data, state, count > 1, arrays[1 + count :])
    plan = Plan(cell, strict, "cuda")
    arrived = tuple(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    _, backward = plan.backward_of(arrived, data.draw(st.booleans()), (True,) * len(cell.fixed))
    for loop in (plan.forward_loop, backward):
        check_meetings(loop, cell.slots.all)


# What does not fit --------------------------------------------------------------------------------


def test_with_too_little_shared_memory_it_runs_step_by_step(
    launched: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strict, "shared_memory", 20 << 10)
    assert not is_one_call(both_ways(lambda: of_lstm(3, 6))[0])


def test_with_some_shared_memory_some_weights_are_kept(launched: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def cell(x: Any, h: Any, w: Any, v: Any) -> Any:
        return mg.tanh(linear(mg.tanh(linear(h, w, x)), v, 0.0))

    monkeypatch.setattr(strict, "shared_memory", 140 << 10)
    args = given(T, N, 40), given(N, H), given(40, H), given(H, 40, seed=1)
    kept = [loop.grid.kept for loop in loops_of(cell, *args)]
    assert all(min(places) >= 0 for places in kept)
    args = given(T, N, 800), given(N, H), given(800, H), given(H, 800, seed=1)
    share_out(monkeypatch, 1)
    kept = [loop.grid.kept for loop in loops_of(cell, *args)]
    assert [[place < 0 for place in places] for places in kept] == [[True, False], [True, False]]
    assert is_one_call(both_ways(lambda: outcome(cell, *args))[0])


def test_more_arrays_than_a_kernel_can_be_told_of(launched: list[Any]) -> None:
    def cell(x: Any, state: Any) -> Any:
        return tuple(mg.tanh(x + part) for part in state)

    def compute(count: int) -> list[Any]:
        return outcome(cell, given(2, 2, 2), tuple(given(2, 2, seed=k) for k in range(count)))

    assert is_one_call(both_ways(lambda: compute(20))[0])
    assert not is_one_call(both_ways(lambda: compute(80))[0])


def test_which_texts_there_are() -> None:
    args = given(T, N, H), given(N, H), given(H, H)
    assert "__global__" in scan_source(rnn, *args, writer="cuda")
    assert scan_source(rnn, *args, writer="cuda") != scan_source(rnn, *args, writer="cuda", backward=True)
    with pytest.raises(ValueError, match=r'scan_source: expected the writer "c" or "cuda", got \'numpy\''):
        scan_source(rnn, *args, writer="numpy")


# What it costs ------------------------------------------------------------------------------------


def test_one_launch_each_way_and_nothing_read(launched: list[Any]) -> None:
    x, h, c, w = given(T, N, 4 * H), given(N, H), given(N, H, seed=1), given(4 * H, H)
    before = strict.reads, strict.synchronizations
    states, _ = mg.scan(lstm, x, (h, c), w)
    forward = len(launched)
    states[0].backward(mg.ones((T, N, H), dtype=mg.float64))
    assert (forward, len(launched)) == (1, 2)
    assert (strict.reads, strict.synchronizations) == before


def test_a_function_that_is_made_anew_is_compiled_once(launched: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_kernel, "_modules", {})
    x, h, w = given(T, N, H), given(N, H), given(H, H)
    for _ in range(3):
        _, last = mg.scan(lambda x, h: rnn(x, h, w), x, h)
        last.sum().backward()
    assert len(launched) == 6
    assert len(cuda_kernel._modules) == 2  # forward and backward


def test_others_may_draw_while_a_cell_is_traced() -> None:
    drawn: list[Any] = []

    def cell(x: Any, h: Any) -> Any:
        other = threading.Thread(target=lambda: drawn.append(mg.rand(2)))
        other.start()
        other.join()
        return mg.tanh(x + h)

    mg.scan(cell, given(T, N, H), given(N, H))
    assert drawn and all(isinstance(x, mg.Tensor) for x in drawn)


# CUDA's own compiler, and a GPU -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("name", CELLS)
def test_nvrtc_takes_it(name: str, backward: bool, dtype: str, ptx: Callable[[str], str]) -> None:
    tensors = [given(*shape, dtype=dtype) for shape in ((T, N, H), (N, H), (H, H), (H,))]
    found = ptx(scan_source(CELLS[name], *tensors, writer="cuda", backward=backward))
    assert found.count(".entry") == 1
    assert ".local" not in found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_gpu_has_enough_registers(dtype: str) -> None:
    """The machine code of each kind of GPU: a block of 256 threads has all there are."""
    library = nvrtc()
    if library is None:
        pytest.skip("needs NVRTC (pip install nvidia-cuda-nvrtc)")
    x, w = given(T, N, 4 * H, dtype=dtype), given(4 * H, H, dtype=dtype)
    state = given(N, H, dtype=dtype), given(N, H, seed=1, dtype=dtype)
    text = header("functions.cuh") + scan_source(lstm, x, state, w, writer="cuda", backward=True)
    found = {architecture: memory_of_threads(text, library, architecture) for architecture in architectures(library)}
    assert len(found) > 5
    assert {architecture: sizes for architecture, sizes in found.items() if sizes != {"0"}} == {}


LAYERS: dict[str, Callable[..., Any]] = {
    "rnn": nn.RNN,
    "lstm": nn.LSTM,
    "lstm, projected": lambda *sizes, **options: nn.LSTM(*sizes, proj_size=5, **options),
    "gru": nn.GRU,
    "gru, reset before": lambda *sizes, **options: nn.GRU(*sizes, reset_after=False, **options),
    "lstm, peepholes": nn.PeepholeLSTM,
}


@pytest.mark.parametrize("where", ["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("dtype", [mg.float32, mg.float64])
@pytest.mark.parametrize("kind", LAYERS)
def test_layers_compute_what_they_do_on_the_cpu(
    kind: str, dtype: Any, where: str, request: pytest.FixtureRequest
) -> None:
    if where == "strict":
        request.getfixturevalue("launched")

    def compute(device: str) -> list[np.ndarray]:
        mg.manual_seed(0)
        with mg.use_device(device):
            layer = LAYERS[kind](6, 11, num_layers=2, bidirectional=True, dtype=dtype)
            x = mg.tensor(array(7, 9, 6), dtype=dtype, requires_grad=True)
            y, state = layer(x)
            total = loss([y, *(state if isinstance(state, tuple) else [state])])
            first = mg.grad(total, [x, *layer.parameters()], create_graph=True)
            second = mg.grad(sum((g * g).sum() for g in first), [x, *layer.parameters()])
            return [host(t) for t in (y, *first, *second)]

    tolerance = 1e-4 if dtype == mg.float32 else 1e-11
    for a, b in zip(compute(where), compute("cpu"), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, np.abs(b).max()))
