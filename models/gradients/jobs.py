"""Runs side by side, each in a process of its own with one thread."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import minigrad as mg

from ..common.errors import UserError

Found = TypeVar("Found")


def side_by_side(function: Callable[..., Found], each: Sequence[tuple[Any, ...]], jobs: int) -> Iterator[Found]:
    """function(*arguments) for each tuple of arguments, in their order, `jobs` at a time.

    One job, or one tuple alone, stays in this process. The result is the same: a thread is all that a run has.

    Raises:
        UserError: a process was ended from outside.
    """
    if min(jobs, len(each)) == 1:
        before = mg.get_num_threads()
        mg.set_num_threads(1)
        try:
            for arguments in each:
                yield function(*arguments)
        finally:
            mg.set_num_threads(before)
        return
    pool = ProcessPoolExecutor(min(jobs, len(each)), multiprocessing.get_context("spawn"), _prepare)
    try:
        for future in [pool.submit(function, *arguments) for arguments in each]:
            yield future.result()
    except BrokenProcessPool as error:
        raise UserError("a process was ended before it was done; is there enough memory? Try --jobs 1") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare() -> None:
    """Ctrl-C ends a process at once; whoever started it tells."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    mg.set_num_threads(1)
