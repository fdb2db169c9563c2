"""Timing inside one process: warm up, then take turns, so that a slow moment of the machine meets all alike."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


def in_turns(tasks: Mapping[Key, Callable[[], Result]], rounds: int, what: str = "") -> dict[Key, list[Result]]:
    """Run every task once for warming up, then once in each round, and give the results of the rounds.

    The round after begins one task further on, so that no task is always the first.
    """
    for task in tasks.values():
        task()
    results: dict[Key, list[Result]] = {key: [] for key in tasks}
    keys = list(tasks)
    console = Console(stderr=True)
    for turn in track(range(rounds), what, console=console, transient=True, disable=not console.is_terminal):
        first = turn % len(keys)
        for key in keys[first:] + keys[:first]:
            results[key].append(tasks[key]())
    return results
