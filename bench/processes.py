"""Systems side by side: each alone in a process of its own, blocks of steps in turn.

While one process works the others sleep in a read, so that nobody's threads sit on the cores of another; a system
alternating step by step with another inside one process is slowed down by the other's idle threads. What is set for
one (the number of threads) is set in its own environment and reaches no other.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

from .systems import SYSTEMS
from .systems.task import Task

ROOT = Path(__file__).resolve().parents[1]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "PJRT_NPROC")
# Seconds without an answer after which a process is taken to hang.
PATIENCE = float(os.environ.get("BENCH_PATIENCE", 300))
PAUSE = 0.2  # seconds between two blocks: the idle threads of a BLAS spin for up to 0.1 s before they sleep
WARM_UP = 5  # steps whose losses are compared before anything is timed
CLOSE = 1e-4  # relative; rounding makes about 1e-6 of it


class SystemLost(ChildProcessError):  # noqa: N818 (it names what happened)
    """A system that cannot go on: `status` is a word for the table, and the message the reason."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Worker:
    """One system's process. It works when asked and sleeps otherwise."""

    def __init__(self, name: str, module: str, threads: int, **environment: str) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the worker)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.systems.worker", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=os.environ | dict.fromkeys(THREADS, str(threads)) | environment,
            cwd=ROOT,
            text=True,
        )
        self._questions, self._answers = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def ask(self, do: str, patience: float = PATIENCE, **what: Any) -> dict[str, Any]:
        """Have it do something, and wait.

        Raises:
            SystemLost: it said why it cannot, it died, or it did not answer in time.
        """
        with contextlib.suppress(BrokenPipeError):  # a dead one is found out when its answer is read
            print(json.dumps({"do": do, **what}), file=self._questions, flush=True)
        return self.answer(patience)

    def answer(self, patience: float = PATIENCE) -> dict[str, Any]:
        """The next answer; the first one comes unasked, when the system is imported."""
        timer = threading.Timer(patience, self._process.kill)
        timer.start()
        line = self._answers.readline()
        late = not timer.is_alive()
        timer.cancel()
        if late and not line:
            raise SystemLost("failed", f"no answer within {patience:g} s")
        if not line:
            raise SystemLost("failed", f"its process died, exit status {self._process.wait()}{self._last_words()}")
        found: dict[str, Any] = json.loads(line)
        for status in ("missing", "failed"):
            if status in found:
                raise SystemLost(status, found[status])
        return found

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""


@dataclasses.dataclass
class Finding:
    """What became of one system: "timed", or why not."""

    status: str = "timed"
    reason: str = ""
    first: dict[str, Any] = dataclasses.field(default_factory=dict)  # what it said when it had built its step
    steps: int = 0  # in a block
    blocks: list[list[float]] = dataclasses.field(default_factory=list)  # seconds of each step, of each round
    hosts: list[float] = dataclasses.field(default_factory=list)  # of all steps: seconds until the call returned


def measure(
    task: Task,
    systems: Sequence[str],
    *,
    threads: int,
    rounds: int = 5,
    seconds: float = 0.4,
    cap: float = 10.0,
    modules: Mapping[str, str] = SYSTEMS,
    environments: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Finding]:
    """Time the same step in several systems; those that fail are reported, and the others go on.

    Args:
        task: what a step computes.
        systems: names out of `modules`.
        threads: how many each may use.
        rounds: in each of them, every system runs one block of steps.
        seconds: how long a block shall take; it has at least two steps.
        cap: a system whose step takes longer than this many seconds is not timed.
        modules: where each system is.
        environments: what a system's process finds in its environment besides.
    """
    found = {name: Finding() for name in systems}
    with contextlib.ExitStack() as stack:
        workers = {
            name: stack.enter_context(Worker(name, modules[name], threads, **(environments or {}).get(name, {})))
            for name in systems
        }

        def each(act: Callable[[Worker, Finding], None], turn: int = 0) -> None:
            """One after the other, beginning with another one each turn and going the other way every second turn."""
            order = list(workers)[turn % len(workers) :] + list(workers)[: turn % len(workers)]
            for name in order[:: -1 if turn % 2 else 1]:
                if found[name].status == "timed":
                    try:
                        act(workers[name], found[name])
                    except SystemLost as lost:
                        found[name].status, found[name].reason = lost.status, str(lost)

        def imported(worker: Worker, finding: Finding) -> None:
            worker.answer()

        def build(worker: Worker, finding: Finding) -> None:
            time.sleep(PAUSE)
            first = worker.ask("build", config=dataclasses.asdict(task), warm_up=WARM_UP, cap=cap)
            finding.first, fastest = first, min(first["seconds"][1:])
            if fastest > cap:
                raise SystemLost("too slow", f"{fastest:.1f} s a step, over the cap of {cap:g} s")
            finding.steps = max(2, round(seconds / fastest))

        def block(worker: Worker, finding: Finding) -> None:
            time.sleep(PAUSE)
            answer = worker.ask("block", steps=finding.steps)
            finding.blocks.append(answer["seconds"])
            finding.hosts += answer.get("host", ())

        each(imported)  # all of them, before anyone works
        each(build)
        compare_losses(found)
        for turn in range(rounds):
            each(block, turn)
    return found


def check_names(systems: Sequence[str], modules: Mapping[str, str]) -> None:
    for name in systems:
        if name not in modules:
            raise ValueError(f"there is no system {name!r}; choose from {', '.join(modules)}")


def compare_losses(found: Mapping[str, Finding]) -> None:
    """Mark as wrong those whose losses differ from what most found: the median, step by step, over the systems.

    A system whose products read fewer bits says itself how "close" its losses come.
    """
    losses = {name: f.first["losses"] for name, f in found.items() if f.status == "timed" and f.first["losses"]}
    if not losses:
        return
    exact = [got for name, got in losses.items() if "close" not in found[name].first]
    expected = [statistics.median(step) for step in zip(*(exact or losses.values()), strict=True)]
    for name, got in losses.items():
        for k, (a, b) in enumerate(zip(got, expected, strict=True)):
            if not abs(a - b) <= found[name].first.get("close", CLOSE) * abs(b):  # so that a NaN is wrong, too
                found[name].status = "wrong"
                found[name].reason = f"its loss at step {k} is {a:.6f}, the others' {b:.6f}"
                break
