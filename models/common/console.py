"""What a program prints, and how it tells an error."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator

import typer
from rich.console import Console

import minigrad as mg

from .errors import UserError

console = Console(highlight=False)


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """What the user can put right is told in a line, without a traceback."""
    try:
        yield
    except BrokenPipeError:  # whoever read the output has had enough; typer ends quietly
        raise
    except (UserError, mg.DeviceError, OSError, ImportError) as error:
        Console(stderr=True, highlight=False).print(f"error: {error}", soft_wrap=True, markup=False)
        raise typer.Exit(1) from error


def say(line: str) -> None:
    """Print a line as it is."""
    console.print(line, soft_wrap=True, markup=False)


def write_out(parts: Iterable[str]) -> None:
    """Print pieces of a text as they come, in other words where the terminal cannot show one; then a new line."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    for part in parts:
        print(part, end="", flush=True)
    print()
