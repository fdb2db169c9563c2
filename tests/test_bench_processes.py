"""Systems side by side in processes: nobody disturbs another, and whoever fails is told apart and left behind."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench import processes
from bench.processes import SystemLost, Worker, measure
from bench.record import cores
from bench.systems.task import Task

TASK = Task("lstm", 1, 4, batch=2, length=3)
GOOD = """
    import time

    def build(task, weights, batches):
        def step(k):
            print("what a library prints is no answer")
            time.sleep(0.001)
            return 4.0 - 0.1 * k
        return step
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write systems, by name and source; a worker finds them."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(processes, "PAUSE", 0.0)

    def write(**sources: str) -> dict[str, str]:
        for name, source in sources.items():
            lines = [line.removeprefix("    ") for line in source.splitlines()]
            (tmp_path / f"fake_{name}.py").write_text("\n".join(lines), encoding="utf-8")
        return {name: f"fake_{name}" for name in sources}

    return write


def timed(modules: dict[str, str], **options: Any) -> dict[str, processes.Finding]:
    return measure(TASK, list(modules), threads=1, **{"rounds": 2, "seconds": 0.01, **options}, modules=modules)


LATE = GOOD.replace("return 4.0", "if k == 8: raise ValueError('at step 8')\n            return 4.0")
DIES = "import os\n    def build(*_): return lambda k: k and os._exit(7)"
MISTAKES = {  # a system -> what becomes of it, and why
    "missing": ("import a_library_that_nobody_has", "missing", "No module named 'a_library_that_nobody_has'"),
    "fails": ("def build(*_): raise RuntimeError('no such layer')", "failed", "RuntimeError: no such layer"),
    "dies": (DIES, "failed", "its process died, exit status 7"),
    "cries": ("import sys\n    def build(*_): sys.exit('no libm')", "failed", "exit status 1: no libm"),
    "late": (LATE, "failed", "ValueError: at step 8"),
    "wrong": (GOOD.replace("0.1 * k", "0.11 * k"), "wrong", "its loss at step 1 is 3.890000, the others' 3.900000"),
    "nan": (GOOD.replace("0.1 * k", "float('nan')"), "wrong", "its loss at step 0 is nan"),
    "slow": (GOOD.replace("0.001", "0.06"), "too slow", "0.1 s a step, over the cap of 0.05 s"),
}


def test_who_fails_is_told_and_the_others_go_on(modules: Any) -> None:
    sources = {"good": GOOD, "too": GOOD, "three": GOOD, **{name: source for name, (source, *_) in MISTAKES.items()}}
    found = timed(modules(**sources), cap=0.05)
    for name in ("good", "too", "three"):
        assert found[name].status == "timed", found[name].reason
        assert len(found[name].blocks) == 2
        assert all(len(block) == found[name].steps >= 2 and min(block) >= 0.001 for block in found[name].blocks)
        assert found[name].first["losses"] == pytest.approx([4.0, 3.9, 3.8, 3.7, 3.6])
    for name, (_, status, reason) in MISTAKES.items():
        assert (found[name].status, reason in found[name].reason) == (status, True), (name, found[name].reason)


def test_a_process_that_hangs_is_given_up(modules: Any) -> None:
    hangs = modules(hangs="import time\n    def build(*_): time.sleep(600)")
    with Worker("hangs", hangs["hangs"], threads=1) as worker:
        worker.answer()
        started = time.monotonic()
        with pytest.raises(SystemLost, match=r"no answer within 0.2 s"):
            worker.ask("build", patience=0.2, config={"cell": "rnn", "layers": 1, "hidden": 2}, warm_up=1, cap=1.0)
        assert time.monotonic() - started < 60.0


def test_one_works_at_a_time_and_the_order_rotates(modules: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    source = """
    import time
    def build(task, weights, batches):
        def step(k):
            with open(LOG, "a") as log:
                print(__name__, time.monotonic(), file=log)
                time.sleep(0.002)
                print(__name__, time.monotonic(), file=log)
            return 1.0
        return step
    """.replace("LOG", repr(str(log)))
    timed(modules(a=source, b=source, c=source), rounds=3)
    lines = [line.split() for line in log.read_text(encoding="utf-8").splitlines()]
    times = [float(when) for _, when in lines]
    assert times == sorted(times)  # nobody began before another had ended
    turns = [name for k, (name, _) in enumerate(lines) if k == 0 or lines[k - 1][0] != name]
    assert "".join(name.removeprefix("fake_") for name in turns) == "abc" + "abc" + "acb" + "cab"  # built, then rounds


def test_a_question_before_its_time(modules: Any) -> None:
    with Worker("a", modules(a=GOOD)["a"], threads=1) as worker:
        worker.answer()
        with pytest.raises(SystemLost, match="no step has been built yet"):
            worker.ask("block", steps=1)


def test_what_is_set_for_one_reaches_no_other(modules: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "9")
    source = "import os\n    def build(*_): return lambda k: float(os.environ['OMP_NUM_THREADS'])"
    for threads in (1, 3):
        with Worker("a", modules(a=source)["a"], threads) as worker:
            worker.answer()
            answer = worker.ask("build", config={"cell": "rnn", "layers": 1, "hidden": 2}, warm_up=2, cap=1.0)
            assert answer["losses"] == [threads, threads]
    assert os.environ["OMP_NUM_THREADS"] == "9"


def test_a_variable_of_one_system_reaches_no_other(modules: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_WRITER", raising=False)
    source = "import os\n    def build(*_): return lambda k: float(os.environ.get('BENCH_WRITER', 3))"
    found = timed(modules(a=source, b=source, c=source), environments={"b": {"BENCH_WRITER": "4"}})
    assert [finding.first["losses"][0] for finding in found.values()] == [3, 4, 3]


@pytest.mark.parametrize("threads", [1, 3])
def test_kernels_and_matrix_products_have_the_threads_of_their_process(modules: Any, threads: int) -> None:
    source = """
    import minigrad as mg
    from minigrad import threads
    def build(*_): return lambda k: None
    def count(): return {"kernels": threads.kernel_threads(), "products": mg.get_num_threads()}
    """
    with Worker("a", modules(a=source)["a"], threads) as worker:
        worker.answer()
        found = worker.ask("call", function="count")
    assert found == {"kernels": threads, "products": min(threads, cores())}  # OpenBLAS has no more than cores


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_peak_memory_is_what_the_step_takes_and_what_stays(modules: Any) -> None:
    source = """
    import numpy as np
    MIB = 2**20
    def build(task, weights, batches):
        stays = []
        def step(k):
            if not stays:
                stays.append(np.ones(32 * MIB, np.uint8))
            np.ones(64 * MIB, np.uint8)
        return step
    """
    sizes = {"cell": "rnn", "layers": 1, "hidden": 2}
    with Worker("a", modules(a=source)["a"], threads=1) as worker:
        worker.answer()
        worker.ask("build", config=sizes, warm_up=1, cap=1.0)
        worker.ask("clear")
        worker.ask("build", config=sizes, warm_up=1, cap=1.0)
        answer = worker.ask("peak")
    assert answer["kept"] / 2**20 == pytest.approx(32, abs=3)
    assert answer["step"] / 2**20 == pytest.approx(64, abs=3)
