"""What a program prints, and how it tells an error."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import rich.progress
import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

import minigrad as mg

from .errors import UserError

WIDEST = 1000  # columns

console = Console(highlight=False, emoji=False)

# How the news of an update are told, by their names in the journal.
NEWS: dict[str, Callable[[float], str]] = {
    "loss": lambda nats: f"loss {nats:.3f} nats, {nats / math.log(2):.3f} bits",
    "gradient_norm": lambda norm: f"grad {norm:.2f}",
    "symbols_per_second": lambda speed: f"{speed:,.0f} symbols/s",
}


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """What the user can put right is told in a line, without a traceback."""
    try:
        with np.errstate(all="ignore"):  # what is no number is looked for where it matters
            yield
    except BrokenPipeError:  # whoever read the output has had enough; typer ends quietly
        raise
    except (UserError, mg.DeviceError, OSError, ImportError) as error:
        of_a_file = isinstance(error, OSError) and error.filename is not None and error.strerror
        told = f"{error.filename}: {error.strerror}" if of_a_file else str(error)
        _tell_aside(f"error: {told}")
        raise typer.Exit(1) from error
    except MemoryError as error:
        _tell_aside(f"error: there is not enough memory: {error}")
        raise typer.Exit(1) from error


def warn(line: str) -> None:
    """Say what may mislead, aside from the output."""
    _tell_aside(f"warning: {line}")


def _tell_aside(line: str) -> None:
    """What a file or a name has in it does not command the terminal."""
    shown = "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in line)
    with contextlib.suppress(OSError):  # nobody reads it
        Console(stderr=True, highlight=False, emoji=False).print(shown, soft_wrap=True, markup=False)


def say(line: str | Text) -> None:
    """Print a line as it is."""
    _show_whatever_comes()
    console.print(line, soft_wrap=True, markup=False)


def table(title: str, rows: Mapping[str, Any]) -> None:
    """Print names and values as two columns, in full."""
    shown = {name: "-" if value is None else str(value) for name, value in rows.items()}
    width = max(map(len, shown), default=0)
    say(Text(title, style="bold"))
    for name, value in shown.items():
        say(Text.assemble("  ", (name.ljust(width), "cyan"), "  ", value))


def show(made: Table) -> None:
    """Print a table whole: as wide as it must be, or in a terminal with its cells folded."""
    _show_whatever_comes()
    least = Measurement.get(console, console.options.update(width=WIDEST), made).minimum + 2 * len(made.columns)
    width = console.width if console.is_terminal else max(least, console.width)
    if made.min_width is not None:
        made.min_width = min(made.min_width, width)
    for column in made.columns:
        column.overflow = "fold"
    Console(highlight=False, emoji=False, width=width).print(made)


def write_out(parts: Iterable[str]) -> None:
    """Print pieces of a text as they come, in other words where the terminal cannot show one; then a new line."""
    _show_whatever_comes()
    for part in parts:
        print(part, end="", flush=True)
    print()


def in_units(nats: float) -> str:
    """A loss per symbol, in both units.

    >>> in_units(1.234)
    '1.234 nats (1.780 bits)'
    """
    return f"{nats:.3f} nats ({nats / math.log(2):.3f} bits)"


@contextlib.contextmanager
def progress(total: int, *, start: int = 0) -> Iterator[Callable[..., None]]:
    """A bar with the latest news while updates are made; where there is no terminal, a line for each tenth of the way.

        with progress(1000) as report:
            report(10, loss=2.5, gradient_norm=0.3, symbols_per_second=90_000)

    `say` prints above the bar.

    Args:
        total: how many updates there shall be.
        start: how many an earlier session has made.
    """
    live = console.is_terminal and not console.is_dumb_terminal
    columns = (
        rich.progress.BarColumn(bar_width=6),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeRemainingColumn(compact=True),
        rich.progress.TextColumn("{task.fields[news]}", markup=False),
    )
    tenths = start * 10 // total
    with rich.progress.Progress(*columns, console=console, transient=True, disable=not live) as bar:
        task = bar.add_task("training", total=total, completed=start, news="")

        def report(update: int, **news: float) -> None:
            """Tell how far it is; of the news, those in NEWS."""
            nonlocal tenths
            told = "  ".join(tell(news[name]) for name, tell in NEWS.items() if name in news)
            room = console.width - 2 * len(str(total)) - 16  # beside the bar, the updates and the time
            bar.update(task, completed=update, news=_shortened(told, room))
            if not live and update * 10 // total > tenths:
                tenths = update * 10 // total
                say(f"update {update}/{total}  {told}")

        yield report


@contextlib.contextmanager
def reading(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal while something long is read; what it gives is told how much was read in addition."""
    columns = (rich.progress.BarColumn(), rich.progress.TaskProgressColumn(), rich.progress.TimeRemainingColumn())
    live = console.is_terminal and not console.is_dumb_terminal
    with rich.progress.Progress(*columns, console=console, transient=True, disable=not live) as bar:
        task = bar.add_task("reading", total=total)
        yield lambda more: bar.advance(task, more)


def _shortened(news: str, room: int) -> str:
    """As much of the news as there is room for, but no half of a number.

    >>> _shortened("loss 2.000 nats, 2.885 bits  grad 0.25", 30), _shortened("loss 2.000 nats, 2.885 bits", 20)
    ('loss 2.000 nats, 2.885 bits', 'loss 2.000 nats')
    """
    while len(news) > room:
        news = news[: max(news.rfind("  "), news.rfind(", "), 0)]
    return news


def _show_whatever_comes() -> None:
    """Let characters that the terminal cannot show be written as their escapes."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
