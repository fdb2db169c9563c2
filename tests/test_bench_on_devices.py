"""How the bench works on a device: what it waits for, whose memory it counts, what lies where."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("rich")
pytest.importorskip("typer")

import minigrad as mg
from bench import memory, processes, record, report
from bench.chains import CHAINS, operations
from bench.processes import Finding, Worker
from bench.systems import SYSTEMS, minigrad_chunks, minigrad_device, task, usual
from bench.systems.task import Task

from . import strict
from .test_bench_device import knows_strict as knows_strict

LOGS = """
from bench.systems.host import Host

log = []

class Clock(Host):
    def active(self):
        log.append("active")
        return super().active()
    def synchronize(self): log.append("synchronize")
    def now(self): return 7 + len(log)
    def peak(self, act):
        act()
        return 10, 25

device = Clock

def build(task, weights, batches):
    log.append("build")
    return lambda k: log.append("step")

def told(): return {"log": log}
"""


def test_a_step_is_timed_from_one_synchronisation_to_the_next(knows_strict: Path) -> None:
    (knows_strict / "fake_logs.py").write_text(LOGS, encoding="utf-8")
    with Worker("logs", "fake_logs", 1) as worker:
        worker.answer()
        worker.ask("build", config={"cell": "rnn", "layers": 1, "hidden": 2, "device": "cuda"}, warm_up=1, cap=1.0)
        answer = worker.ask("block", steps=2)
        assert len(answer["seconds"]) == len(answer["host"]) == 2
        assert all(host <= wall for host, wall in zip(answer["host"], answer["seconds"], strict=True))
        log = worker.ask("call", function="told")["log"]
        assert log == ["active", "build", *["synchronize", "step", "synchronize"] * 4]
        assert worker.ask("held", steps=2)["bytes"] == [7 + len(log) + 3, 7 + len(log) + 6]
        assert worker.ask("peak") == {"kept": 10, "step": 15}
        worker.ask("clear")
        with pytest.raises(processes.SystemLost, match="no step has been built yet"):
            worker.ask("held", steps=1)


def test_a_system_of_the_cpu_is_not_timed_as_one_of_the_gpu(knows_strict: Path) -> None:
    (knows_strict / "fake_plain.py").write_text("def build(*_): return lambda k: 1.0\n", encoding="utf-8")
    with Worker("plain", "fake_plain", 1) as worker:
        worker.answer()
        with pytest.raises(processes.SystemLost, match="it runs on the CPU alone, not on 'cuda'"):
            worker.ask("build", config={"cell": "rnn", "layers": 1, "hidden": 2, "device": "cuda"}, warm_up=1, cap=1.0)


def test_who_reads_fewer_bits_may_be_further_off_and_does_not_say_what_is_right() -> None:
    def found(loss: float, **first: Any) -> Finding:
        return Finding(first={"losses": [loss], **first})

    pair = {"ours": found(4.0), "tf32": found(4.01, close=1e-2)}
    processes.compare_losses(pair)
    assert [finding.status for finding in pair.values()] == ["timed", "timed"]
    three = {"ours": found(4.0), "other": found(4.001), "tf32": found(4.1, close=1e-2)}
    processes.compare_losses(three)
    assert [finding.status for finding in three.values()] == ["wrong", "wrong", "wrong"]


class FakePool:
    def __init__(self) -> None:
        self.used = 1000

    def used_bytes(self) -> int:
        return self.used


class FakeHook:
    """What a memory hook of CuPy's needs; the pool calls the one that is entered."""

    entered: Any = None

    def __enter__(self) -> FakeHook:
        FakeHook.entered = self
        return self

    def __exit__(self, *_: object) -> None:
        FakeHook.entered = None


class FakeCupy:
    """So much of CuPy as is asked for a device's time and memory, and what a GPU is."""

    __version__ = "14.2.0"

    def __init__(self) -> None:
        pool = FakePool()
        self.get_default_memory_pool = lambda: pool
        runtime = SimpleNamespace(
            getDeviceProperties=lambda number: {
                "name": b"NVIDIA H200", "major": 9, "minor": 0, "multiProcessorCount": 132, "totalGlobalMem": 2**37,
            },
            driverGetVersion=lambda: 13000,
            runtimeGetVersion=lambda: 13010,
        )  # fmt: skip
        self.cuda = SimpleNamespace(
            MemoryHook=FakeHook,
            get_current_stream=lambda: SimpleNamespace(record=lambda: 4.0),
            get_elapsed_time=lambda start, end: end - start + 3.0,
            runtime=runtime,
        )

    def take(self, size: int) -> None:
        self.get_default_memory_pool().used += size
        if FakeHook.entered:
            FakeHook.entered.malloc_postprocess(device_id=0, size=size - 12, mem_size=size, mem_ptr=1, pmem_id=1)

    def free(self, size: int) -> None:
        self.get_default_memory_pool().used -= size
        if FakeHook.entered:
            FakeHook.entered.free_postprocess(device_id=0, mem_size=size, mem_ptr=1, pmem_id=1)


def test_peak_memory_of_a_cuda_device_is_the_most_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(mg, "synchronize", lambda name: None)
    cuda = minigrad_device.device("cuda")
    assert isinstance(cuda, minigrad_device.Cuda)

    def act() -> None:
        cupy.take(512)
        cupy.free(700)  # of what was there before
        cupy.take(2048)
        FakeHook.entered.malloc_postprocess(device_id=0, size=10**9, mem_size=10**9, mem_ptr=0, pmem_id=0)  # no memory
        cupy.free(1024)

    assert cuda.peak(act) == (1000, 1000 + 512 - 700 + 2048)
    assert cuda.now() == 1000 + 512 - 700 + 2048 - 1024 and FakeHook.entered is None
    assert cuda.between(cuda.mark(), cuda.mark()) == pytest.approx(0.003)


def test_cupys_own_hook_can_be_counted_with() -> None:
    hook = pytest.importorskip("cupy.cuda").MemoryHook
    with minigrad_device.counter(hook) as count:
        for size in (512, 1024):
            count.malloc_postprocess(device_id=0, size=size, mem_size=size, mem_ptr=1, pmem_id=1)
        count.free_postprocess(device_id=0, mem_size=512, mem_ptr=1, pmem_id=1)
    assert (count.highest, count.now) == (1536, 1024)


def test_what_the_gpu_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", FakeCupy())
    monkeypatch.setattr(record.mg, "cuda_is_available", lambda: True)
    monkeypatch.setattr(record, "_driver", lambda: None)
    machine = record.machine(threads=1)
    assert machine["gpu"] == "NVIDIA H200"
    assert machine["cuda"] == {
        "cupy": "14.2.0", "capability": "9.0", "multiprocessors": 132, "memory_bytes": 2**37,
        "driver": None, "driver_cuda": "13.0", "runtime": "13.1",
    }  # fmt: skip
    assert "driver unknown for CUDA 13.0" in report.machine_in_words(machine)


def test_chunks_carry_the_state_and_leave_no_tape(monkeypatch: pytest.MonkeyPatch) -> None:
    what = Task("gru", 1, 6, batch=3, length=4, vocabulary=7)
    carried = minigrad_chunks.build(what, task.weights(what), task.batches(what))
    afresh = importlib.import_module(SYSTEMS["minigrad"]).build(what, task.weights(what), task.batches(what))
    losses = [(float(carried(k)), float(afresh(k))) for k in range(3)]
    assert losses[0][0] == losses[0][1] and losses[1][0] != losses[1][1]


def test_flatness_is_told_for_each_cell_and_who_dies_is_named(knows_strict: Path) -> None:
    rows = list(memory.flat(["rnn"], 4, 2, 3, chunks=3, device="strict"))
    assert rows[0]["status"] == "measured" and len(rows[0]["bytes"]) == 3
    (row,) = memory.flat(["rnn"], 4, 2, 3, module="nobody")
    assert row["status"] == "missing"


# PyTorch ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("system", ["torch", "torch-float32", "torch-cells", "layers", "cells"])
def test_everything_of_pytorchs_lies_on_the_device(system: str, cell: str) -> None:
    """The meta device has no data, and like a GPU refuses to compute with what lies elsewhere."""
    pytest.importorskip("torch")
    what = Task(cell, 1, 6, batch=3, length=4, vocabulary=7, device="meta")
    of = SYSTEMS.get(system) or f"bench.samplers.torch_{system}"
    step = importlib.import_module(of).build(what, task.weights(what), task.batches(what))
    assert [step(k).device.type for k in (0, 1, 5)] == ["meta"] * 3


def test_pytorchs_chains_lie_on_the_device() -> None:
    pytest.importorskip("torch")
    from bench.chains import torch_chains

    found = torch_chains.times({"1": 2}, device="meta")
    assert set(found) == set(operations.OPERATIONS)
    assert all(each["1"]["forward"] > 0 and each["1"]["bare_backward"] is None for each in found.values())


@pytest.mark.parametrize("name", ["minigrad", "autograd"])
def test_chains_on_the_strict_device(name: str) -> None:
    """The host waits for the device around each chain, and not within."""
    pytest.importorskip(name)
    times = importlib.import_module(CHAINS[name]).times
    if name == "autograd":
        with pytest.raises(ValueError, match="it runs on the CPU alone, not on 'strict'"):
            times({"1": 2}, device="strict")
        return
    before = strict.strict.synchronizations, strict.strict.reads
    found = times({"1": 2, "64x512": 2}, device="strict")
    chains = 2 * 3 * len(operations.OPERATIONS)
    assert set(found) == set(operations.OPERATIONS)
    assert (strict.strict.synchronizations, strict.strict.reads) == (before[0] + 6 * chains, before[1])


def test_pytorchs_own_memory_and_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from bench.systems import torch_device

    calls: list[Any] = []
    for name, value in {
        "synchronize": None, "memory_allocated": 100, "reset_peak_memory_stats": None, "max_memory_allocated": 900,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda of, name=name, value=value: calls.append((name, str(of))) or value)
    assert torch_device.device("cuda:0").peak(lambda: calls.append("act")) == (100, 900)
    assert calls == [
        ("memory_allocated", "cuda:0"), ("reset_peak_memory_stats", "cuda:0"), "act",
        ("synchronize", "cuda:0"), ("max_memory_allocated", "cuda:0"),
    ]  # fmt: skip
    assert type(torch_device.device("cpu")).__name__ == "Host"


def test_tf32_is_stated_and_can_be_done_without() -> None:
    torch = pytest.importorskip("torch")
    from bench.systems import torch_device

    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    try:
        torch.backends.cudnn.allow_tf32 = True
        as_it_is = torch_device.precision("cuda")
        assert as_it_is["close"] == torch_device.TF32 and as_it_is["settings"]["cudnn.allow_tf32"] is True
        torch_device.only_float32()
        without = torch_device.precision("cuda")
        assert "close" not in without and without["settings"]["cudnn.allow_tf32"] is False
        assert without["settings"]["float32_matmul_precision"] == "highest"
        assert torch_device.precision("cpu") == {}
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


def test_who_is_compared_where() -> None:
    assert usual("cuda") == ("minigrad", "torch", "torch-float32", "torch-cells")
    assert "torch-float32" not in usual("cpu") and "jax" in usual("cpu")
    assert dataclasses.replace(Task("lstm", 1, 4), device="cuda") != Task("lstm", 1, 4)
