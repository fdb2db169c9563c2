"""Runs side by side, each in a process of its own with one thread."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Annotated, Any, TypeVar

from typer import Option

import minigrad as mg

from .errors import UserError

Found = TypeVar("Found")
Jobs = Annotated[int, Option(help="Runs side by side, each with a thread; on a GPU always 1.", min=1)]


def side_by_side(function: Callable[..., Found], each: Sequence[tuple[Any, ...]], jobs: int) -> Iterator[Found]:
    """function(*arguments) for each tuple of arguments, in their order, `jobs` at a time; on a GPU one at a time.

    One job, or one tuple alone, stays in this process. The result is the same: a thread is all that a run has.

    Raises:
        UserError: a process was ended from outside.
    """
    if min(jobs, len(each)) == 1 or mg.default_device() != "cpu":
        before = mg.get_num_threads()
        mg.set_num_threads(1)
        try:
            for arguments in each:
                yield function(*arguments)
        finally:
            mg.set_num_threads(before)
        return
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(min(jobs, len(each)), multiprocessing.get_context("spawn"), _prepare)
    done = False
    try:
        with _deaf():
            futures = [pool.submit(function, *arguments) for arguments in each]
        for future in futures:
            yield future.result()
        done = True
    except BrokenProcessPool as error:
        raise UserError("a process was ended before it was done; is there enough memory? Try --jobs 1") from error
    finally:
        if not done:  # by Ctrl-C, an error, or because nobody wants more
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Ctrl-C is for this process alone: those that are started here ignore it, from their first moment on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _prepare() -> None:
    """One thread; and no process outlives the one that started it."""
    mg.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
