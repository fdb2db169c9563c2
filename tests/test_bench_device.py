"""`python -m bench device`, the strict backend in place of a GPU: every part, and what fails, dies or hangs."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("rich")
pytest.importorskip("typer")

from typer.testing import CliRunner

import minigrad as mg
from bench import device, device_results, gpu_tests, processes, record
from bench.__main__ import app
from bench.device import Part


def invoke(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})


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
