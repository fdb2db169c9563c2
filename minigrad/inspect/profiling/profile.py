"""`profile`: where the time of a program goes, and its memory."""

from __future__ import annotations

import gzip
import json
import threading
import warnings
from pathlib import Path
from time import perf_counter as now
from types import TracebackType
from typing import Any, Final

from .chrome import trace
from .events import Thread
from .growth import Sample
from .leaks import Finder, Leak
from .recording import Recorder
from .report import Table, as_html, memory_report, module_table, operation_table, shown_by_rich
from .spans import Span, by_module, by_operation, spans_of

SUFFIXES: Final = (".json", ".json.gz", ".txt")
_lock = threading.Lock()
_running: profile | None = None


class profile:  # noqa: N801 - used like a function, as detect_anomaly is
    """Measures what runs inside of this block, as it runs: operations, modules, kernels, copies, and the graph.

    `print(p)` shows a table by operation, a table by module, and how large the graph was; `p.table(by)` is one of
    these, with `rows` to compute with. A profile may be read inside its block too, and shows what has ended by then.

    Time: forward is what applying an operation takes, backward all that runs in a backward pass. Each moment counts
    for the innermost operation that is running, so the rows of a table by operation add up. What a checkpoint computes
    again, and what `create_graph` records, is a call, and its time is backward. A GPU works on while the host goes
    ahead: these times are the host's, and `device` the GPU's own, by its events, if it was in use before the block.
    Bytes: of the results of an operation, and of sums of gradients; a view of an input is 0. Not of what is needed on
    the way to a result, and not of the gradients on their way back.
    Kernels: on a GPU launches, a call of the array library counted as one; on the CPU calls of compiled kernels.
    Copies and waits: between the host and a device, and of the host for a device. On the CPU there are none.
    Memory: nodes that are alive, and the bytes of what they keep for the backward pass; memory that several share, or
    that views lie in, is counted once and whole, parameters and other leaves that need a gradient not at all. Looked
    at before and after each backward pass, at each `step`, and when the graph has doubled; a large graph of as many
    nodes as at the passes before is taken to keep as much as these did.

    If the graph grows from chunk to chunk, there is a warning at the end that names the line: a state that was carried
    over without `mg.detach`, a loss that was summed or kept with its graph. `p.leaks` has it too, also when a backward
    pass has failed because of it; the error then says so.

    All threads are measured; a block is one at a time. It costs about 2 µs and 200 bytes for each operation, less than
    10% of a training step with 128 hidden units (bench/README.md), and nothing where no profile is running.

    Raises:
        RuntimeError: another profile is running, or this one has run already.

    >>> import minigrad as mg
    >>> from minigrad.inspect import profile
    >>> x = mg.ones((2, 3), requires_grad=True)
    >>> with profile() as p:
    ...     mg.tanh(x * x).sum().backward()
    >>> [(row.name, row.calls, row.backward_calls, row.bytes) for row in p.table().rows if row.name == "tanh"]
    [('tanh', 1, 1, 24)]
    """

    def __init__(self) -> None:
        self._recorder: Recorder | None = None
        self._threads: list[tuple[Thread, list[Span]]] = []
        self._steps: list[float] = []
        self._start = self._end = 0.0

    # The block ------------------------------------------------------------------------------------

    def __enter__(self) -> profile:
        global _running
        with _lock:
            if _running is not None:
                raise RuntimeError(
                    "profile: another profile is running already; end its block first. It measures all threads, and "
                    "nothing is gained by a second one inside"
                )
            if self._start:
                raise RuntimeError("profile: this one has run already; make a new one: with profile() as p")
            self._recorder = recorder = Recorder()
            try:
                recorder.start()
            except BaseException:
                self._recorder = None
                recorder.stop()
                raise
            _running = self
        self._start = now()
        return self

    def __exit__(self, _: Any, error: BaseException | None, trace: TracebackType | None) -> None:
        global _running
        assert self._recorder is not None
        with _lock:
            try:
                self._end = self._recorder.stop()
            finally:
                _running = None
        self._threads = self._snapshot()
        self._recorder = None
        for leak in self.leaks:
            if error is not None:
                error.add_note(f"profile: {leak}")
            else:
                line = leak.line
                warnings.warn_explicit(f"profile: {leak}", UserWarning, line.file, line.number)

    def step(self) -> None:
        """Mark the end of a training step: the trace shows it, the graph is looked at, and a new chunk begins.

        Raises:
            RuntimeError: the block has not begun, or is over.
        """
        if self._recorder is None:
            raise RuntimeError("profile.step: call it inside of the block: with profile() as p")
        self._steps.append(now())
        self._recorder.end_step()

    def _snapshot(self) -> list[tuple[Thread, list[Span]]]:
        if self._recorder is None:
            return self._threads
        found = []
        for thread in list(self._recorder.threads):
            events, clock = list(thread.events), self._recorder.clock
            marks = [(k, clock.between(*pair)) for k, *pair in list(thread.marks)] if clock else []
            found.append((thread, spans_of(events, marks)))
        return found

    # Reading --------------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """How long the block took, or has taken so far."""
        return ((self._end or now()) - self._start) if self._start else 0.0

    @property
    def leaks(self) -> list[Leak]:
        """Where the graph was carried from chunk to chunk: the lines, what was seen, and what to do."""
        found = [Finder(thread.growth, spans).found() for thread, spans in self._snapshot()]
        return [leak for leak in found if leak is not None]

    @property
    def memory(self) -> list[Sample]:
        """The graph over time: nodes that are alive, and the bytes that they keep for the backward pass."""
        last: dict[int, Sample] = {}
        found = []
        threads = [thread for thread, _ in self._snapshot()]
        samples = sorted((sample, k) for k, thread in enumerate(threads) for sample in list(thread.growth.samples))
        for sample, k in samples:
            last[k] = sample
            nodes, kept = sum(s.nodes for s in last.values()), sum(s.kept for s in last.values())
            found.append(Sample(sample.time - self._start, nodes, kept))
        return found

    def table(self, by: str = "operation") -> Table:
        """What each operation, or each module, has taken.

        Args:
            by: "operation" or "module". A module's row has all that ran in it, also in the modules that it called.

        Raises:
            ValueError: by is neither.
        """
        if by not in ("operation", "module"):
            raise ValueError(f'profile.table: expected by="operation" or by="module", got {by!r}')
        spans = [span for _, spans in self._snapshot() for span in spans]
        if by == "operation":
            return operation_table(by_operation(spans), self.seconds)
        return module_table(by_module(spans), self.seconds)

    def _parts(self) -> list[str | Table]:
        """All that there is to tell, in order."""
        if not self._start:
            return ["profile: nothing has been measured yet; write with profile() as p: ..."]
        running = ", and has not ended yet" if self._recorder is not None else ""
        steps = f", {len(self._steps)} step{'s' * (len(self._steps) > 1)}" if self._steps else ""
        parts: list[str | Table] = [f"profile: {self.seconds * 1000:,.1f} ms{steps}{running}"]
        parts += [self.table("operation"), self.table("module")]
        return parts + [part for part in (memory_report(self.memory), *(f"! {leak}" for leak in self.leaks)) if part]

    def __str__(self) -> str:
        return "\n\n".join(map(str, self._parts()))

    def _repr_html_(self) -> str:
        return as_html(self._parts())

    def __repr__(self) -> str:
        return f"<profile of {self.seconds * 1000:,.1f} ms>"

    def show(self) -> None:
        """Print it with lines and colours, by the package rich.

        Raises:
            ImportError: rich is not installed.
        """
        shown_by_rich(self._parts())

    def save(self, path: str | Path) -> None:
        """Write it to a file.

        Args:
            path: its suffix says what is written: ".json" or ".json.gz" a trace that ui.perfetto.dev and
                chrome://tracing open; ".txt" what `print` shows.

        Raises:
            ValueError: another suffix.
            RuntimeError: nothing has been measured.
        """
        name = str(path)
        if not name.endswith(SUFFIXES):
            raise ValueError(
                f"profile.save: expected a file name that ends in {', '.join(SUFFIXES)}, got {name!r}: .json is a "
                "trace for ui.perfetto.dev, .txt the tables"
            )
        if not self._start:
            raise RuntimeError("profile.save: nothing has been measured yet; write with profile() as p: ...")
        text = str(self) if name.endswith(".txt") else json.dumps(self.trace(), allow_nan=False)
        if name.endswith(".gz"):
            Path(path).write_bytes(gzip.compress(text.encode(), mtime=0))
        else:
            Path(path).write_text(text + "\n", encoding="utf-8")

    def trace(self) -> dict[str, Any]:
        """The trace, as `save` writes it: Chrome's trace events."""
        samples = [sample._replace(time=sample.time + self._start) for sample in self.memory]
        return trace(self._snapshot(), samples, self._steps, self._start)
