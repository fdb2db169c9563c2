"""What runs in a system's process: `python -m bench.systems.worker MODULE`, a line of JSON in, a line of JSON out.

The first line tells whether the module could be imported. Between two questions the process sleeps in a read of its
standard input. An answer holds what was asked for, or "missing" or "failed" with the reason.
"""

from __future__ import annotations

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
        self.step: Callable[[int], Any] | None = None
        self.count = 0  # steps so far
        self.before = 0  # bytes that were resident before the model was

    def build(self, config: dict[str, Any], warm_up: int, cap: float) -> dict[str, Any]:
        """The losses and seconds of the first steps: as many as asked for, or two if the second outlasts the cap.

        The first step may compile, so it does not tell how long a step takes.
        """
        self.step = None  # what was built before goes
        config_, self.before = task.Task(**config), resident.now()
        self.step = self.system.build(config_, task.weights(config_), task.batches(config_))
        losses: list[float] = []
        seconds: list[float] = []
        while len(seconds) < warm_up and not (len(seconds) == 2 and seconds[1] > cap):
            loss, passed = self.timed()
            if loss is not None:
                losses.append(float(loss))
            seconds.append(passed)
        facts = getattr(self.system, "facts", lambda _: {})(config_)
        return {"losses": losses, "seconds": seconds, **facts}

    def block(self, steps: int) -> dict[str, Any]:
        """Seconds of each of so many steps, after one that wakes threads and caches and is not counted."""
        self.timed()
        return {"seconds": [self.timed()[1] for _ in range(steps)]}

    def peak(self) -> dict[str, Any]:
        """Bytes: what stays between steps since before the model was built, and what one step needs on top of it."""
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


def main() -> None:
    with os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8") as answers:
        os.dup2(2, 1)  # what a library prints is no answer
        worker: list[Worker] = []
        answer(answers, lambda: worker.append(Worker(sys.argv[1])) or {"ready": True})
        for line in sys.stdin:
            question = json.loads(line)
            answer(answers, lambda asked=question: getattr(worker[0], asked.pop("do"))(**asked))


def answer(answers: Any, act: Callable[[], dict[str, Any]]) -> None:
    try:
        found = act()
    except ImportError as error:
        found = {"missing": str(error)}
    except Exception as error:  # whatever it is, the others go on and the reader is told
        found = {"failed": f"{type(error).__name__}: {error}"}
    print(json.dumps(found), file=answers)


if __name__ == "__main__":
    main()
