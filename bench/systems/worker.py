"""What runs in a system's process: `python -m bench.systems.worker MODULE`, a line of JSON in, a line of JSON out.

The first line tells whether the module could be imported. Between two questions the process sleeps in a read of its
standard input. An answer holds what was asked for, or "missing" or "failed" with the reason.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from . import resident, task


class Worker:
    """One system, and the step that it has built."""

    def __init__(self, module: str) -> None:
        self.system = importlib.import_module(module)
        self.step: Callable[[int], Any] = _not_built
        self.count = 0  # steps so far
        self.before = 0  # bytes that were resident before the step was built

    def build(self, config: dict[str, Any], warm_up: int, cap: float) -> dict[str, Any]:
        """The losses and seconds of the first steps: as many as asked for, or two if the second outlasts the cap.

        The first step may compile, so it does not tell how long a step takes.
        """
        what, self.count = task.Task(**config), 0
        self.step = self.system.build(what, task.weights(what), task.batches(what))
        losses: list[float] = []
        seconds: list[float] = []
        while len(seconds) < warm_up and not (len(seconds) == 2 and seconds[1] > cap):
            loss, passed = self.timed()
            if loss is not None:
                losses.append(float(loss))
            seconds.append(passed)
        facts = self.system.facts(what) if hasattr(self.system, "facts") else {}
        return {"losses": losses, "seconds": seconds, **facts}

    def block(self, steps: int) -> dict[str, Any]:
        """Seconds of each of so many steps, after one that wakes threads and caches and is not counted."""
        self.timed()
        return {"seconds": [self.timed()[1] for _ in range(steps)]}

    def clear(self) -> dict[str, Any]:
        """Let go of what was built, to count from here what is built next."""
        self.step = _not_built
        self.before = resident.now()
        return {}

    def peak(self) -> dict[str, Any]:
        """Bytes: what stays between steps since `clear`, and what one step needs on top of it."""
        kept, top = resident.peak(self.timed)
        return {"kept": kept - self.before, "step": top - kept}

    def call(self, function: str, **what: Any) -> dict[str, Any]:
        """Whatever else the system's module can do."""
        found: dict[str, Any] = getattr(self.system, function)(**what)
        return found

    def timed(self) -> tuple[Any, float]:
        start = time.perf_counter()
        loss = self.step(self.count)
        passed = time.perf_counter() - start
        self.count += 1
        return loss, passed


def _not_built(k: int) -> Any:
    raise RuntimeError("no step has been built yet")


def main() -> None:
    with os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8") as answers:
        os.dup2(2, 1)  # what a library prints is no answer
        worker, found = attempt(lambda: Worker(sys.argv[1]))
        print(json.dumps(found), file=answers)
        for line in sys.stdin:
            question = json.loads(line)
            act = getattr(worker, question.pop("do"))
            answer, failure = attempt(functools.partial(act, **question))
            print(json.dumps(failure or answer), file=answers)


def attempt(act: Callable[[], Any]) -> tuple[Any, dict[str, Any]]:
    """What `act` returns; and, if it raises, what to say of that: the others go on, and the reader is told."""
    try:
        return act(), {}
    except ImportError as error:
        return None, {"missing": str(error)}
    except Exception as error:
        return None, {"failed": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
