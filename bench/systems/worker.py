"""What runs in a system's process: `python -m bench.systems.worker MODULE`, a line of JSON in, a line of JSON out.

The first line tells whether the module could be imported. Between two questions the process sleeps in a read of its
standard input. An answer holds what was asked for, or "missing" or "failed" with the reason.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from . import lines, task
from .host import Host


class Worker:
    """One system, and the step that it has built."""

    def __init__(self, module: str) -> None:
        self.system = importlib.import_module(module)
        self.step: Callable[[int], Any] = _not_built
        self.count = 0  # steps so far
        self.before = 0  # bytes that were in use before the step was built
        self.device, self.context = Host(), contextlib.ExitStack()

    def build(self, config: dict[str, Any], warm_up: int, cap: float) -> dict[str, Any]:
        """The losses and seconds of the first steps: as many as asked for, or two if the second outlasts the cap.

        The first step may compile, so it does not tell how long a step takes.
        """
        what, self.count = task.Task(**config), 0
        self.go_to(what.device)
        self.step = self.system.build(what, task.weights(what), task.batches(what))
        losses: list[float] = []
        seconds: list[float] = []
        while len(seconds) < warm_up and not (len(seconds) == 2 and seconds[1] > cap):
            loss, passed, _ = self.timed()
            if loss is not None:
                losses.append(float(loss))
            seconds.append(passed)
        facts = self.system.facts(what) if hasattr(self.system, "facts") else {}
        return {"losses": losses, "seconds": seconds, **facts}

    def block(self, steps: int) -> dict[str, Any]:
        """Seconds of each of so many steps, after one that wakes threads and caches and is not counted.

        On another device than the CPU also the host's part of them, until the call has returned.
        """
        self.timed()
        _, seconds, host = zip(*(self.timed() for _ in range(steps)), strict=True)
        return {"seconds": seconds} | ({} if self.device.name == "cpu" else {"host": host})

    def clear(self) -> dict[str, Any]:
        """Let go of what was built, to count from here what is built next."""
        self.step = _not_built
        gc.collect()
        self.before = self.device.now()
        return {}

    def held(self, steps: int) -> dict[str, Any]:
        """Bytes in use after each of so many steps; garbage that only Python's collector would find counts."""
        found = []
        for _ in range(steps):
            self.timed()
            found.append(self.device.now())
        return {"bytes": found}

    def peak(self) -> dict[str, Any]:
        """Bytes: what stays between steps since `clear`, and what one step needs on top of it."""
        kept, top = self.device.peak(self.timed)
        return {"kept": kept - self.before, "step": top - kept}

    def call(self, function: str, **what: Any) -> dict[str, Any]:
        """Whatever else the system's module can do."""
        found: dict[str, Any] = getattr(self.system, function)(**what)
        return found

    def go_to(self, device: str) -> None:
        """Work on a device from now on.

        Raises:
            ValueError: the system knows nothing of devices.
        """
        make = getattr(self.system, "device", Host if device == "cpu" else None)
        if make is None:
            raise ValueError(f"it runs on the CPU alone, not on {device!r}")
        if device != self.device.name:
            self.context.close()
            self.device = make(device)
            self.context.enter_context(self.device.active())

    def timed(self) -> tuple[Any, float, float]:
        """The loss of the next step, its seconds from one synchronisation to the next, and until the call returned."""
        self.device.synchronize()
        start = time.perf_counter()
        loss = self.step(self.count)
        returned = time.perf_counter()
        self.device.synchronize()
        passed = time.perf_counter() - start
        self.count += 1
        return loss, passed, returned - start


def _not_built(k: int) -> Any:
    raise RuntimeError("no step has been built yet")


def main() -> None:
    with lines.only_answers() as answers:
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
