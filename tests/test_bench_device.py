"""`python -m bench device`, the strict backend in place of a GPU: every part, and what fails, dies or hangs."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("rich")
pytest.importorskip("typer")

from typer.testing import CliRunner

import minigrad as mg
from bench import crossover, device, device_results, gpu_tests, memory, overhead, pictures, processes, record, report
from bench import tables as bench_tables
from bench.__main__ import app
from bench.chains import CHAINS, operations
from bench.device import Part
from bench.processes import Finding, Worker
from bench.systems import SYSTEMS, minigrad_chunks, minigrad_device, task, usual
from bench.systems.task import Task

from . import strict

Document = dict[str, Any]


def invoke(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})


def texts(made: list[Any]) -> str:
    return "\n".join(map(bench_tables.markdown, made))


@pytest.fixture
def knows_strict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every process that is started knows the strict backend; where further modules can be put."""
    here = tmp_path / "modules"
    here.mkdir()
    (here / "sitecustomize.py").write_text("import tests.strict\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(processes.ROOT)]))
    monkeypatch.setattr(processes, "PAUSE", 0.0)
    return here


# The whole command --------------------------------------------------------------------------------

TESTS = """
import pytest

pytestmark = pytest.mark.gpu

@pytest.fixture
def broken():
    raise OSError("no stream")

def test_good(): pass
def test_bad(): assert 1 == 2, "numbers"
def test_broken(broken): pass
def test_skipped(): pytest.skip("needs two GPUs")
def test_good_too(): pass
"""
ONE = {"cells": ["gru"], "hidden": [4]}
SMALL = {"batch": 2, "length": 3}
QUICK = {"rounds": 1, "seconds": 0.0}


def tiny(tests: Path) -> dict[str, Part]:
    """Every part with the smallest sizes; one that cannot work; and torch, which knows no strict device."""
    command = [sys.executable, "-m", "pytest", *gpu_tests.COMMAND[3:], "-o", "filterwarnings=", str(tests)]
    steps = {**ONE, "layers": [1], **SMALL}
    return {
        "tests": Part("gpu_tests:run", 1, options={"command": command}),
        "peers": Part("peers:run", 1, steps, {**QUICK, "systems": ["minigrad", "mygrad"]}),
        "crossover": Part("crossover:run", 1, {**ONE, "hidden": [4, 8], "batch": [2], "length": [3]}, QUICK),
        "overhead": Part("overhead:run", 1, options={"systems": ["minigrad"], "rounds": 1, "lengths": {"1": 9}}),
        "memory": Part(
            "memory:run",
            1,
            {"cells": ["gru"], "lengths": [2, 4], "hidden": 4, "layers": 1, "batch": 2},
            {"systems": ["minigrad"]},
        ),
        "flat": Part("memory:flat", 1, options={"cells": ["gru"], "hidden": 4, **SMALL, "chunks": 12}),
        "sample": Part("sample:run", 1, {**ONE, "streams": [2]}, {**QUICK, "systems": ["minigrad"]}),
        "first-use": Part("writers:uses", 1, options={"cells": ["gru"], "hidden": 4, **SMALL, "rounds": 1}),
        "peers:layers": Part("peers:run", 1, {**steps, "layers": [2]}, {"systems": ["nobody"]}),
    }


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Part]:
    tests = tmp_path / "test_made_up.py"
    tests.write_text(TESTS, encoding="utf-8")
    monkeypatch.setattr(device, "PARTS", tiny(tests))
    return device.PARTS


def test_every_part_is_measured_and_whoever_fails_is_named(
    knows_strict: Path, small: dict[str, Part], tmp_path: Path
) -> None:
    words = ("device", "--device", "strict", "--minutes", 20, "--folder", tmp_path, "--threads", 1)
    result = invoke(*words, "--parts", ",".join(small))
    assert result.exit_code == 0, result.output
    document = record.read("device-strict", tmp_path)
    parts = device_results.parts_of(document)
    assert list(parts) == list(small)
    for name, part in parts.items():
        assert part["status"] == ("failed" if name == "peers:layers" else "done"), (name, part)
        assert 0 < part["seconds"] <= part["limit"] + device.GRACE
        assert all(row["device"] in ("cpu", "strict") for row in part["rows"] if name != "tests")
    assert "there is no system 'nobody'" in parts["peers:layers"]["reason"]
    assert parts["peers:layers"]["left_out"] == ["gru L=2 H=4 N=2 T=3 on strict"]

    (tests,) = parts["tests"]["rows"]
    assert {key: tests[key] for key in ("collected", *gpu_tests.OUTCOMES)} == {
        "collected": 5, "passed": 2, "failed": 1, "error": 1, "skipped": 1,
    }  # fmt: skip
    assert [(row["test"].rpartition("::")[2], row["why"]) for row in tests["why"]] == [
        ("test_bad", "AssertionError: numbers"),
        ("test_broken", "OSError: no stream"),
    ]
    assert tests["skipped_because"] == {"Skipped: needs two GPUs": 1} and tests["unfinished"] == []
    ours, theirs = (parts["peers"]["rows"][0]["systems"][name] for name in ("minigrad", "mygrad"))
    assert ours["status"] == "timed" and 0 < ours["host"]["median"] <= ours["median"]
    assert (theirs["status"], theirs["reason"]) in (
        ("failed", "ValueError: it runs on the CPU alone, not on 'strict'"),
        ("missing", "No module named 'mygrad'"),
    )
    assert [row["device"] for row in parts["crossover"]["rows"]] == ["cpu", "strict"] * 2
    assert {row["operation"] for row in parts["overhead"]["rows"]} >= {"add", "tanh", "matmul"}
    assert [row["systems"]["minigrad"]["status"] for row in parts["memory"]["rows"]] == ["measured"] * 2
    assert len(parts["flat"]["rows"][0]["bytes"]) == 12
    assert parts["sample"]["rows"][0]["systems"]["minigrad"]["median"] > 0
    assert set(parts["first-use"]["rows"][0]["seconds"]) == {"compiled anew", "compiled before", "no kernels"}
    assert (tmp_path / "device-strict.png").read_bytes().startswith(b"\x89PNG")
    assert "test_bad" in result.output and "not measured" in result.output

    again = invoke(*words, "--show")
    assert again.exit_code == 0 and again.output == result.output


def test_without_a_gpu_it_says_so_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    if mg.cuda_is_available():
        pytest.skip("CuPy was loaded before")
    for command in ("device", "peers", "sample", "crossover", "memory", "overhead"):
        result = invoke(command, "--device", "cuda", "--folder", tmp_path)
        assert result.exit_code == 1 and 'error: device "cuda" needs CuPy' in result.output
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("device --device gpu", "unknown device 'gpu'; expected one of"),
        ("device --parts tests,everything", "there is no part 'everything'; choose from tests, peers, crossover"),
        ("device --minutes -1", "Invalid value for '--minutes'"),
        ("device --show", "run `python -m bench device` first"),
        ("peers --show --device cuda", "run `python -m bench peers --device cuda` first"),
    ],
)
def test_what_users_do_wrong(words: str, message: str, tmp_path: Path) -> None:
    result = invoke(*words.split(), "--folder", tmp_path)
    assert result.exit_code != 0
    assert message in " ".join(result.output.replace("│", " ").split())
    assert not any(tmp_path.iterdir())


def test_results_of_a_device_lie_beside_those_of_the_cpu(knows_strict: Path, tmp_path: Path) -> None:
    options = [
        "--cells",
        "gru",
        "--hidden",
        "4",
        "--streams",
        "2",
        "--systems",
        "minigrad",
        "--rounds",
        "1",
        "--seconds",
        "0",
    ]
    for name in ("cpu", "strict"):
        result = invoke("sample", *options, "--folder", tmp_path, "--threads", 1, "--device", name)
        assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.glob("sample*")) == [
        "sample-strict.json", "sample-strict.png", "sample.json", "sample.png",
    ]  # fmt: skip
    there = record.read("sample-strict", tmp_path)
    assert there["facts"]["device"] == there["rows"][0]["device"] == "strict"
    assert "host" in there["rows"][0]["systems"]["minigrad"]
    assert "host" not in record.read("sample", tmp_path)["rows"][0]["systems"]["minigrad"]


# Time, and those who do not keep it ---------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Parts take the seconds they are given here, or their whole limit, on a clock of their own."""
    state: dict[str, Any] = {"now": 100.0, "takes": {}}

    def heard(command: list[str], limit: float, **environment: str) -> dict[str, Any]:
        name = next(name for name, part in device.PARTS.items() if json.loads(command[-1])["of"] == name)
        took = min(limit, state["takes"].get(name, limit))
        state["now"] += took
        return {"status": "done", "reason": "", "seconds": took, "rows": []}

    monkeypatch.setattr(device, "time", SimpleNamespace(monotonic=lambda: state["now"]))
    monkeypatch.setattr(device, "heard", heard)
    monkeypatch.setattr(
        device, "PARTS", {name: Part("memory:flat", 20, options={"of": name}) for name in ("a", "b", "c", "d")}
    )
    return state


@pytest.mark.parametrize(
    ("minutes", "takes", "limits"),
    [
        (4, {}, [60, 60, 60, 60]),
        (4, {"a": 10, "b": 20}, [60, 230 / 3, 105, 105]),  # what one leaves, the others have
        (0.5, {}, [15, 15, 0, 0]),  # the last are left out
        (0.5, {"a": 1, "b": 1}, [15, 15, 15, 13]),
        (0, {}, [0, 0, 0, 0]),
    ],
)
def test_the_time_is_shared_out(clock: Any, minutes: float, takes: dict[str, float], limits: list[float]) -> None:
    clock["takes"] = takes
    rows = list(device.run(minutes, tuple(device.PARTS), device="cpu"))
    assert [row["limit"] for row in rows] == pytest.approx(limits)
    assert [row["status"] for row in rows] == ["done" if limit >= device.LEAST else "left out" for limit in limits]
    assert clock["now"] - 100 <= 60 * minutes


def test_the_shares_of_all_parts_are_of_eight_minutes() -> None:
    assert sum(part.seconds for part in device.PARTS.values()) <= 10 * 60
    for name, part in device.PARTS.items():
        limit = 8 * 60 * part.seconds / sum(part.seconds for part in device.PARTS.values())
        assert limit >= 0.8 * device.LEAST, name
        function = getattr(part.module, part.function.partition(":")[2])
        known = function.__annotations__
        assert {*part.sizes, *part.options, "device", "threads"} <= set(known), name


HANGS = """
import json, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=subprocess.DEVNULL)
print(json.dumps({"child": child.pid}), flush=True)
sys.stdout.write('{"half": ')
sys.stdout.flush()
time.sleep(600)
"""


def test_who_hangs_is_killed_with_all_that_it_started() -> None:
    start = time.monotonic()
    found = device.heard([sys.executable, "-c", HANGS], 3.0)
    assert time.monotonic() - start < 30
    assert (found["status"], found["reason"]) == ("cut short", "its 3 s were over")
    (row,) = found["rows"]  # and not the half
    for _ in range(100):
        state = Path(f"/proc/{row['child']}/stat")
        with contextlib.suppress(OSError):
            if state.read_text().split(")")[1].split()[0] != "Z":
                time.sleep(0.1)
                continue
        return
    pytest.fail("the child of a process that was killed lives on")


@pytest.mark.parametrize(
    ("program", "status", "reason"),
    [
        ("print('{\"a\": 1}')", "done", ""),
        ("import sys; print('{\"a\": 1}'); sys.exit('out of memory')", "failed", "out of memory"),
        ("import os; print('{\"a\": 1}', flush=True); os._exit(9)", "failed", "exit status 9"),
        ("import os; print('{\"a\": 1}', flush=True); os.abort()", "failed", "exit status -6"),
    ],
)
def test_what_was_found_before_a_process_died_is_kept(program: str, status: str, reason: str) -> None:
    found = device.heard([sys.executable, "-c", program], 60)
    assert (found["status"], found["reason"], found["rows"]) == (status, reason, [{"a": 1}])


def test_a_system_that_hangs_costs_a_part_a_third_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def heard(command: list[str], limit: float, **environment: str) -> dict[str, Any]:
        seen.update(environment)
        return {"status": "done", "reason": "", "seconds": limit, "rows": []}

    monkeypatch.setattr(device, "heard", heard)
    device.carried_out("overhead", 20.0, "cpu", 1)
    assert seen == {"BENCH_PATIENCE": "30.0"}
    device.carried_out("overhead", 120.0, "cpu", 1)
    assert seen == {"BENCH_PATIENCE": "40.0"}
    monkeypatch.undo()
    program = "import json; from bench import processes; print(json.dumps(processes.PATIENCE))"
    assert device.heard([sys.executable, "-c", program], 60, **seen)["rows"] == [40.0]


def test_tests_that_were_running_when_the_time_was_over_are_named() -> None:
    told = [{"collected": 3}, {"begun": "a"}, {"test": "a", "outcome": "passed", "why": ""}, {"collected": 2}]
    told += [{"begun": "b"}, {"begun": "c"}, {"test": "c", "outcome": "failed", "why": "1 is not 2"}]
    told.append({"test": "c", "outcome": "error", "why": "and the end of it"})  # its fixture could not be left
    found = gpu_tests.summary(told)
    assert (found["collected"], found["passed"], found["failed"], found["error"]) == (5, 1, 0, 1)
    assert found["unfinished"] == ["b"] and [row["test"] for row in found["why"]] == ["c"]


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import sys; print('there is no such file'); sys.exit(4)", "exit status 4: there is no such file"),
        ("import no_pytest_here", "exit status 1: .*No module named 'no_pytest_here'"),
    ],
)
def test_a_pytest_that_breaks_off_is_no_result(program: str, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        list(gpu_tests.run("cpu", 1, [sys.executable, "-c", program]))


# What is read off ---------------------------------------------------------------------------------


def made_up(ours: float = 2.0, cells: float = 8.0, gpu: float = 1.0) -> Document:
    """Results in milliseconds: of a step in minigrad, of PyTorch's loop of cells; PyTorch's layers take 1 and 1.6."""

    def timed(ms: float) -> dict[str, Any]:
        return {"status": "timed", **record.spread([ms / 1e3]), "ratio": record.spread([ms / ours]), "losses": []}

    def peers_row(cell: str) -> dict[str, Any]:
        host = {"host": record.spread([0.5e-3])}
        lost = {"status": "failed", "reason": "OutOfMemoryError: no memory"}
        systems = {
            "minigrad": timed(ours) | host,
            "torch": timed(1.0) | {"settings": {"cudnn.allow_tf32": True}},
            "torch-float32": timed(1.6) if cell != "gru" else lost,
            "torch-cells": timed(cells),
        }
        what = {"cell": cell, "layers": 1, "hidden": 512, "batch": 64, "length": 64, "device": "cuda"}
        return what | {"systems": systems}

    def crossover_rows(cell: str) -> Iterator[dict[str, Any]]:
        for hidden, ms in ((64, 0.5), (128, 1.1), (256, 4.0)):
            for name, value in (("cpu", ms), ("cuda", gpu)):
                wall = record.spread([value / 1e3])
                rest = {"batch": 64, "length": 64, "device_time": wall, "peak_bytes": 10**6, "launches": 99}
                yield {"cell": cell, "hidden": hidden, "device": name, "wall": wall, "host": wall, **rest}

    def memory_row(length: int) -> dict[str, Any]:
        what = {"cell": "lstm", "layers": 1, "hidden": 512, "batch": 64, "length": length, "device": "cuda"}
        sizes = {"status": "measured", "kept": 10**6, "step": 10**6 * length}
        return what | {"needed": 5 * 10**5 * length, "systems": {"minigrad": sizes, "torch": sizes}}

    tests = {"collected": 9, "passed": 6, "failed": 1, "error": 0, "skipped": 0, "skipped_because": {}}
    tests |= {"why": [{"test": "tests/a.py::test_b[cuda]", "outcome": "failed", "why": "CUDA said no"}]}
    tests |= {"unfinished": ["tests/a.py::test_c[cuda]"]}
    flat = {"cell": "lstm", "status": "measured", "bytes": [2**20] * 9 + [2**21] * 11, "device": "cuda"}
    sample = {"cell": "lstm", "streams": 64, "hidden": 512, "device": "cuda"}
    parts = {
        "tests": [tests],
        "peers": [peers_row(cell) for cell in device.CELLS],
        "crossover": [row for cell in device.CELLS for row in crossover_rows(cell)],
        "memory": [memory_row(length) for length in (64, 256)],
        "flat": [flat, {"cell": "rnn", "status": "failed", "reason": "it died"}],
        "sample": [sample | {"systems": {"minigrad": timed(1), "torch": timed(2)}}],
    }
    rest = {"status": "done", "reason": "", "seconds": 9.0, "limit": 20.0, "left_out": []}
    rows = [{"part": name, **rest, "rows": rows} for name, rows in parts.items()]
    cut = {"status": "cut short", "reason": "its 20 s were over", "left_out": [f"gru H={h}" for h in range(6)]}
    rows.append({"part": "peers:sizes", **rest, **cut, "rows": []})
    cuda = {"cupy": "14.2.0", "capability": "9.0", "multiprocessors": 132, "memory_bytes": 140 * 2**30}
    cuda |= {"driver": "580.1", "driver_cuda": "13.0", "runtime": "13.1"}
    machine = record.machine(threads=1, packages=("torch",)) | {"gpu": "NVIDIA H200", "cuda": cuda}
    return {"bench": "device", "machine": machine, "facts": {}, "rows": rows}


def test_targets_are_computed() -> None:
    shown = bench_tables.markdown(device_results.targets(made_up()))
    assert "| lstm: PyTorch's loop over its cells, over ours | at least 3× | 4.00× |" in shown
    assert "| lstm: ours over PyTorch's nn.LSTM, as it is, with TF32 | at most 1.5× | 2.00×, missed |" in shown
    assert "| lstm: ours over PyTorch's nn.LSTM, with products of float32 | at most 1.5× | 1.25× |" in shown
    assert "| gru: the GPU overtakes the CPU, N=64 | at H = 128 or below | 118 |" in shown
    shown = bench_tables.markdown(device_results.targets(made_up(cells=5.0, gpu=3.0)))
    assert "| rnn: PyTorch's loop over its cells, over ours | at least 3× | 2.50×, missed |" in shown
    assert "| rnn: the GPU overtakes the CPU, N=64 | at H = 128 or below | 219, missed |" in shown
    empty = bench_tables.markdown(device_results.targets({"rows": []}))
    assert empty.count("| not measured |") == 8


def test_tables_name_what_failed_and_what_is_missing() -> None:
    shown = texts(device_results.table(made_up()))
    assert "| peers:sizes | cut short | 9.00 | its 20 s were over | gru H=0, gru H=1" in shown
    assert "gru H=3 and 2 more |" in shown
    assert "| 9 | 6 | 1 | 0 | 0 | 2 |" in shown
    assert "| tests/a.py::test_b[cuda] | failed | CUDA said no |" in shown
    assert "| tests/a.py::test_c[cuda] | unfinished | it ran when the time was over |" in shown
    assert "| torch | cudnn.allow_tf32 True |" in shown and "OutOfMemoryError: no memory" in shown
    assert "| lstm | 20 | 1.000 | 2.000 | 2.000 | 0 |" in shown and "| rnn | failed | it died |" in shown
    assert "crossover: One training step" in shown and "sample: Characters per second" in shown


@pytest.mark.parametrize("without", ["all", *(row["part"] for row in made_up()["rows"])])
def test_tables_and_picture_cope_with_what_is_missing(without: str, tmp_path: Path) -> None:
    document = made_up()
    for row in document["rows"]:
        if without in ("all", row["part"]):
            row["rows"] = []
    assert device_results.table(document)
    figure = device_results.picture(document)
    assert (figure is None) == (without == "all")
    if figure is not None:
        panels = {"crossover": 3, "peers": 1, "memory": 1, "sample": 1}
        assert len(figure.axes) == 6 - panels.get(without, 0)
        assert pictures.save(figure, "device", tmp_path).exists()


def test_the_readme_tells_what_was_measured_and_that_nothing_was(tmp_path: Path) -> None:
    text = "<!-- results of device: python -m bench report -->\nold\n<!-- end -->\n"
    assert "Nothing has been measured on a device yet: `python -m bench device`." in report.rewritten(text, tmp_path)
    document = made_up()
    (tmp_path / "device.json").write_text(json.dumps(document), encoding="utf-8")
    once = report.rewritten(text, tmp_path)
    assert "NVIDIA H200 (compute capability 9.0, 132 multiprocessors, 140 GiB)" in once
    assert "CuPy 14.2.0, CUDA 13.1 (driver 580.1 for CUDA 13.0)" in once
    assert "| lstm: PyTorch's loop" in once.partition("<details>")[0] and "CUDA said no" in once
    assert report.rewritten(once, tmp_path) == once


def test_a_crossing_is_found_without_the_sizes_that_failed(tmp_path: Path) -> None:
    (part,) = (row for row in made_up()["rows"] if row["part"] == "crossover")
    rows = [row for row in part["rows"] if row["cell"] == "gru"]
    nothing = dict.fromkeys(("wall", "host", "device_time", "peak_bytes", "launches"))
    rows += [{**rows[0], "hidden": 512}, {**rows[1], **nothing, "hidden": 512, "reason": "OutOfMemoryError: full"}]
    rows.append({**rows[0], "hidden": 1024})  # broken off before the GPU's turn
    document = {"rows": rows, "machine": {"gpu": "NVIDIA H200"}}
    shown = texts(crossover.table(document))
    assert "| gru | 64 | 64 | 118 |" in shown and "| gru | 64 | 64 | 512 | OutOfMemoryError: full |" in shown
    assert "1,024" not in shown and "1024" not in shown
    assert pictures.save(crossover.picture(document), "crossover", tmp_path).exists()


def test_a_size_that_fails_on_the_device_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(what: Task, *_: Any) -> dict[str, Any]:
        if what.device != "cpu":
            raise MemoryError("none left")
        return {"wall": None}

    monkeypatch.setattr(crossover, "measured", measured)
    rows = list(crossover.run(["gru"], [4, 8], [2], [3], device="strict"))
    assert [(row["device"], row.get("reason")) for row in rows] == [
        ("cpu", None), ("strict", "MemoryError: none left"),
    ] * 2  # fmt: skip


def test_overhead_of_nobody_is_a_table_of_reasons() -> None:
    document = {"rows": [{"system": "minigrad", "device": "cuda", "status": "failed", "reason": "no context"}]}
    assert "| minigrad | failed | no context |" in texts(overhead.table(document))


# Devices ------------------------------------------------------------------------------------------

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
