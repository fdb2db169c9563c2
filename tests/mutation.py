"""Test the tests: does each of the mistakes in `mutants` make some test of the quick profile fail?

    python -m tests.mutation                  # every mutant
    python -m tests.mutation tanh lstm        # those of some primitives and cells

The tests are collected once. Each mutant gets a forked copy of this process, makes its mistake there, and runs the
tests that should notice, until one does: the tests named after the primitive, or those of the recurrent layers;
if these do not notice, all the others. A mutant is killed by a test whose assertion fails, and by nothing else.
A test that stops with another error is passed over; if there was nothing but such, the mutant crashed: it does not
run, which is noticed as well, and reported apart. In the end the tests that killed are run on the program as it
is, where they must pass.

The exit status is 1 if a mutant survives that is not listed as equivalent, or one that is listed is killed.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import pytest
import typer
from rich.console import Console
from rich.table import Table

import minigrad as mg

from .mutants import EQUIVALENT, Mutant, mutants

Task = TypeVar("Task")
KILLED, SURVIVED, CRASHED, TIMED_OUT = "killed", "survived", "crashed", "timed out"
ENOUGH = 50  # crashes, after which no test is asked any more

# Who should notice ----------------------------------------------------------------------------------

FILES = {
    "derivative": ("test_contract.py",),
    "cell": ("test_equations.py", "test_parity_layers.py", "test_recurrent*.py"),
}


def should_notice(item: pytest.Item, mutant: Mutant) -> bool:
    """Whether a test is one of the first to be asked about a mutant."""
    if not any(fnmatch(item.path.name, pattern) for pattern in FILES[mutant.kind]):
        return False
    return mutant.kind == "cell" or mutant.subject in map(_name, parameters_of(item))


def in_order(items: Iterable[pytest.Item], mutant: Mutant) -> list[pytest.Item]:
    """Those most likely to notice first: of a derivative the tests of gradients, of an equation those of values."""
    return sorted(items, key=lambda item: ("gradient" in item.name) != (mutant.kind == "derivative"))


def parameters_of(item: pytest.Item) -> Sequence[Any]:
    return tuple(item.callspec.params.values()) if hasattr(item, "callspec") else ()


def _name(parameter: Any) -> Any:
    return parameter if isinstance(parameter, str) else getattr(parameter, "name", None)


# One mutant -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant."""

    status: str
    test: str = ""  # that killed it, or crashed first
    error: str = ""


class TimeIsUp(KeyboardInterrupt):
    """Passes through pytest and hypothesis as Ctrl-C does."""


class Observer:
    """Notes what the tests raise: a plugin of pytest."""

    def __init__(self) -> None:
        self.failed: Outcome | None = None
        self.crashed: list[Outcome] = []

    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        if call.excinfo is None or isinstance(call.excinfo.value, (pytest.skip.Exception, TimeIsUp)):
            return
        error = call.excinfo.value
        said = (str(error).strip().splitlines() or [""])[0]
        if call.when == "call" and _is_an_assertion(error):
            self.failed = self.failed or Outcome(KILLED, item.nodeid, said)
        else:
            self.crashed.append(Outcome(CRASHED, item.nodeid, f"{type(error).__name__}: {said}"))


def _is_an_assertion(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):  # hypothesis, of several failures
        return any(_is_an_assertion(e) for e in error.exceptions)
    return isinstance(error, (AssertionError, pytest.fail.Exception))


def outcome(mutant: Mutant | None, items: Sequence[pytest.Item], observer: Observer, limit: int) -> Outcome:
    """Run the tests on a mutant, in a process that ends with this; None is the program as it is."""

    def time_is_up(*_: Any) -> NoReturn:
        raise TimeIsUp

    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    mg.set_num_threads(1)
    signal.signal(signal.SIGALRM, time_is_up)
    signal.alarm(limit)
    if mutant is not None:
        mutant.apply()
    try:
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if observer.failed or len(observer.crashed) == ENOUGH:
                break
        passed = Outcome(SURVIVED)
    except TimeIsUp:
        passed = Outcome(TIMED_OUT)
    return observer.failed or (observer.crashed[0] if observer.crashed else passed)


def in_children(
    work: Callable[[Task], Outcome], tasks: Sequence[Task], processes: int
) -> Iterator[tuple[Task, Outcome]]:
    """Each task with what `work` makes of it in a process forked for it alone, as they end."""
    fork = multiprocessing.get_context("fork")
    waiting, running = deque(tasks), {}
    while waiting or running:
        while waiting and len(running) < processes:
            task = waiting.popleft()
            here, there = fork.Pipe(duplex=False)
            child = fork.Process(target=lambda task=task, there=there: there.send(work(task)), daemon=True)
            child.start()
            there.close()
            running[here] = (task, child)
        for here in multiprocessing.connection.wait(list(running)):
            task, child = running.pop(here)  # type: ignore[call-overload]
            try:
                result = here.recv()  # type: ignore[union-attr]
            except EOFError:
                result = Outcome(CRASHED, error="the process died")
            child.join()
            yield task, result


# All of them ----------------------------------------------------------------------------------------


class Run:
    """Runs mutants where pytest would run the tests that it has collected: a plugin of pytest."""

    def __init__(self, chosen: Sequence[Mutant], processes: int, limit: int, only: bool) -> None:
        self.chosen, self.processes, self.limit, self.only = chosen, processes, limit, only
        self.outcomes: dict[Mutant, Outcome] = {}
        self.observer = Observer()
        self.stopped = "the tests cannot be collected; run them first"

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        config.pluginmanager.unregister(name="terminalreporter")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            return True
        self.stopped = ""
        session.config.pluginmanager.register(self.observer)
        items = [item for item in session.items if isinstance(item, pytest.Function)]  # not the examples in docstrings
        first = {m: [i for i in items if self.only or should_notice(i, m)] for m in self.chosen}
        self._run({m: in_order(its, m) for m, its in first.items()}, self.limit)
        alive = [m for m in self.outcomes if self.outcomes[m].status in (SURVIVED, TIMED_OUT)]
        alive = [m for m in alive if m.name not in EQUIVALENT and not self.only]
        self._run({m: [i for i in items if not should_notice(i, m)] for m in alive}, 20 * self.limit)

        killers = {o.test for o in self.outcomes.values() if o.status == KILLED}
        passing = [i for i in items if i.nodeid in killers]
        for _, found in in_children(lambda _: outcome(None, passing, self.observer, 20 * self.limit), [None], 1):
            if found.status != SURVIVED:
                self.stopped = f"without any mutant, {found.test} fails: {found.error}"
        return True

    def _run(self, tests: dict[Mutant, list[pytest.Item]], limit: int) -> None:
        """Run the tests of each mutant, and say how far that is."""
        found = in_children(lambda m: outcome(m, tests[m], self.observer, limit), list(tests), self.processes)
        for count, (mutant, self.outcomes[mutant]) in enumerate(found, 1):
            status = self.outcomes[mutant].status
            print(f"\r{count} of {len(tests)}", end=f": {mutant.name} {status}\n" * (status != KILLED), file=sys.stderr)


def faults(outcomes: dict[Mutant, Outcome]) -> list[str]:
    """What is wrong with the tests, or with the list of equivalent mutants."""
    found = []
    for mutant, o in outcomes.items():
        if mutant.name in EQUIVALENT:
            if o.status != SURVIVED:
                found.append(f"{mutant.name}: listed as equivalent, but {o.status} by {o.test}")
        elif o.status in (SURVIVED, TIMED_OUT):
            found.append(f"{mutant.name}: {o.status}")
    return found


def report(outcomes: dict[Mutant, Outcome], seconds: float) -> Table:
    """How many of each kind were killed, and what else became of them."""
    table = Table("", "mutants", KILLED, CRASHED, "equivalent", SURVIVED, title=f"{seconds:.0f} s")
    for kind in FILES:
        of_kind = {m: o for m, o in outcomes.items() if m.kind == kind}
        count = Counter(o.status for o in of_kind.values())
        equivalent = sum(m.name in EQUIVALENT and o.status == SURVIVED for m, o in of_kind.items())
        alive = count[SURVIVED] + count[TIMED_OUT] - equivalent
        table.add_row(kind, *map(str, (len(of_kind), count[KILLED], count[CRASHED], equivalent, alive)))
    return table


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Primitives and cells; all, if none is named.")] = None,
    tests: Annotated[list[Path] | None, typer.Option(help="Only the tests in these files.")] = None,
    processes: Annotated[int, typer.Option(help="How many mutants run at a time.")] = 2,
    limit: Annotated[int, typer.Option(help="Seconds that one may take; 20 times as many with all the tests.")] = 120,
) -> None:
    """Test the tests: does each small mistake in a derivative or a cell make some test fail?"""
    every = list(mutants())
    if unknown := set(names or ()) - {m.subject for m in every}:
        raise typer.BadParameter(f"no primitive with a derivative, and no cell: {', '.join(sorted(unknown))}")
    if gone := EQUIVALENT.keys() - {m.name for m in every}:
        raise typer.BadParameter(f"listed as equivalent, but no mutant: {', '.join(sorted(gone))}")
    run = Run([m for m in every if not names or m.subject in names], processes, limit, bool(tests))
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"HYPOTHESIS_PROFILE": "quick", "PYTEST_DEBUG_TEMPROOT": folder}
        quiet = ["--capture=no", "-p", "no:cacheprovider"]
        pytest.main([*quiet, *map(str, tests or [Path(__file__).parent])], plugins=[run])
    console = Console()
    if run.stopped:
        console.print(run.stopped, markup=False, highlight=False)
        raise typer.Exit(2)
    console.print(report(run.outcomes, time.monotonic() - start))
    for mutant, found in run.outcomes.items():
        if found.status == CRASHED:
            console.print(f"crashed: {mutant.name} ({found.error})", markup=False, highlight=False)
    for fault in (found := faults(run.outcomes)):
        console.print(fault, markup=False, highlight=False)
    raise typer.Exit(bool(found))


if __name__ == "__main__":
    typer.run(main)
