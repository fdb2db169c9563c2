"""The tests marked `gpu`: how many pass on this machine, and what the others say.

pytest loads this file as a plugin. It then tells what becomes of each test, a line of JSON each, through a pipe, so
that a run that is broken off has told of the tests before.
"""

from __future__ import annotations

import collections
import json
import os
import queue
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator, Sequence
from typing import IO, Any, cast

from . import processes, record

COMMAND = (
    *(sys.executable, "-m", "pytest", "-m", "gpu", "-q", "--continue-on-collection-errors"),
    *("-p", "bench.gpu_tests", "-p", "no:cacheprovider"),
)
PIPE, SHARE = "BENCH_TESTS_PIPE", "BENCH_TESTS_SHARE"  # the file descriptor; "k/n": only the k-th of n shares
MOST = 8  # processes
WORDS = 300  # characters of a reason that are kept


def run(device: str = "cuda", threads: int = 1, command: Sequence[str] = COMMAND) -> Iterator[dict[str, Any]]:
    """What pytest tells, in so many processes as there are cores: how many tests there are, then a line for each.

    `device` and `threads` are what every part is given; the tests choose for themselves.

    Raises:
        RuntimeError: pytest broke off by itself.
    """
    told: queue.Queue[dict[str, Any] | None] = queue.Queue()
    count = min(MOST, record.cores())
    shares = [Share(command, f"{k}/{count}", told) for k in range(count)]
    collected = 0
    for _ in range(count):
        for row in iter(told.get, None):
            collected += "collected" in row
            yield row
    for status, words in [share.end() for share in shares]:
        if status not in (0, 1, 5) or collected < count:  # all passed, some failed, there are none
            raise RuntimeError(f"pytest broke off with exit status {status}: {words}")


class Share:
    """One pytest that runs its share of the tests, and the thread that hears what it tells."""

    def __init__(self, command: Sequence[str], share: str, told: queue.Queue[dict[str, Any] | None]) -> None:
        heard, says = os.pipe()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {PIPE: str(says), SHARE: share},
            cwd=processes.ROOT,
            pass_fds=[says],
            text=True,
            errors="replace",
        )
        os.close(says)
        self._output = cast(IO[str], self._process.stdout)
        self._words: collections.deque[str] = collections.deque(maxlen=5)
        self._listens = threading.Thread(target=self._listen, args=(os.fdopen(heard, encoding="utf-8"), told))
        self._reads = threading.Thread(target=self._words.extend, args=(self._output,))
        self._listens.start()
        self._reads.start()

    def _listen(self, heard: IO[str], told: queue.Queue[dict[str, Any] | None]) -> None:
        with heard:
            for line in heard:
                told.put(json.loads(line))
        told.put(None)

    def end(self) -> tuple[int, str]:
        """The exit status, and the last words."""
        status = self._process.wait()
        self._listens.join()
        self._reads.join()
        self._output.close()
        return status, " ".join("".join(self._words).split())


# In pytest ----------------------------------------------------------------------------------------


class Teller:
    """Tells what becomes of each test."""

    def __init__(self, pipe: IO[str], share: str) -> None:
        self.pipe = pipe
        self.number, self.of = map(int, share.split("/"))

    def pytest_unconfigure(self) -> None:
        self.pipe.close()

    def tell(self, **what: Any) -> None:
        print(json.dumps(what), file=self.pipe, flush=True)

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Every file is shared out: the order is by a hash of the names, so that any part of them is a fair sample."""
        ours = [item for item in items if zlib.crc32(item.nodeid.encode()) % self.of == self.number]
        items[:] = sorted(ours, key=lambda item: zlib.crc32(item.nodeid[::-1].encode()))

    def pytest_collection_finish(self, session: Any) -> None:
        self.tell(collected=len(session.items))

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.tell(test=report.nodeid, outcome="error", why=reason(report))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.tell(begun=nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or not report.passed:
            broken = report.failed and report.when != "call"
            outcome = "error" if broken else report.outcome
            self.tell(test=report.nodeid, outcome=outcome, why="" if report.passed else reason(report))


def reason(report: Any) -> str:
    """The first line of what went wrong, or why a test is skipped."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        words = crash.message
    elif isinstance(report.longrepr, tuple):  # of a skipped one: file, line, reason
        words = report.longrepr[2]
    else:
        words = str(report.longrepr or "").strip().splitlines()[-1:]
        words = words[0] if words else ""
    return next(iter(words.splitlines()), "")[:WORDS]


def pytest_configure(config: Any) -> None:
    if PIPE in os.environ:
        pipe = os.fdopen(int(os.environ[PIPE]), "w", encoding="utf-8")
        config.pluginmanager.register(Teller(pipe, os.environ[SHARE]), "bench-teller")


# What is kept of it -------------------------------------------------------------------------------

OUTCOMES = ("passed", "failed", "error", "skipped")


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How many tests there are, what became of how many; of those that failed the name and the first line of why.

    A test that errs after it has failed or passed counts once, as an error. `unfinished` are those that had begun when
    the run was broken off.
    """
    found = {row["test"]: row for row in rows if "test" in row}
    counts = collections.Counter(row["outcome"] for row in found.values())
    begun = [row["begun"] for row in rows if "begun" in row]
    bad = [row for row in found.values() if row["outcome"] in ("failed", "error")]
    return {
        "collected": sum(row.get("collected", 0) for row in rows),
        **{outcome: counts[outcome] for outcome in OUTCOMES},
        "why": sorted(bad, key=lambda row: row["test"]),
        "skipped_because": collections.Counter(r["why"] for r in found.values() if r["outcome"] == "skipped"),
        "unfinished": [name for name in begun if name not in found],
    }
