"""What the profiler notes: events, for each thread those that it has brought about."""

from __future__ import annotations

import threading
from typing import Any, Final

from ...graph import Node
from .growth import Growth
from .where import Place

# What an event is of. Each is a tuple: kind, start and end in seconds, name, birth of the node or 0, bytes, place.
FORWARD: Final = "forward"
BACKWARD: Final = "backward"
MODULE: Final = "module"
SWEEP: Final = "sweep"
OPTIMIZER: Final = "optimizer"
SUMS: Final = "sums"
COMPILE: Final = "compile"
LAUNCH: Final = "launch"
COPY: Final = "copy"
WAIT: Final = "wait"
OWN: Final = "profile"  # the profiler's own time

Event = tuple[str, float, float, str, int, int, Any]


class Thread:
    """What one thread has done, and what it is doing."""

    __slots__ = ("events", "growth", "marks", "name", "names", "place", "quiet", "ran", "sweeps")

    def __init__(self) -> None:
        self.name = threading.current_thread().name
        self.events: list[Event] = []
        self.marks: list[tuple[int, Any, Any]] = []  # on a GPU: which event, and the device's clock before and after
        self.growth = Growth()
        self.place: Place | None = None  # the line that called the layer of minigrad which is running
        self.names: dict[int, str] | None = None  # the modules of the outermost one that is running, by id
        self.sweeps = 0  # that are running, one in the other
        self.ran = False  # whether a kernel has run
        self.quiet = False  # whether we are in a function of the array library


class Here(threading.local):
    """This thread's."""

    def __init__(self, threads: list[Thread]) -> None:
        self.me = Thread()
        threads.append(self.me)


class Watched(Node):
    """A node of which one can find out whether it is still alive."""

    __slots__ = ("__weakref__",)
