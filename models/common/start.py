"""How a program starts, `python -m models.NAME`."""

from __future__ import annotations

import importlib
import sys

INTERRUPTED = 130  # as a shell has it of a program that Ctrl-C ended


def start(program: str, extras: str = "models,datasets") -> None:
    """Import a program's command line, `models.NAME.program`, and run it.

    Args:
        program: NAME.
        extras: of pyproject.toml, which it needs.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # for the help, where a terminal has no ² or σ
    try:
        app = importlib.import_module(f"models.{program}.program").app
    except ImportError as error:
        raise SystemExit(f"{error}. This program needs minigrad's extra: pip install -e '.[{extras}]'") from error
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    try:
        app()
    except KeyboardInterrupt:  # before typer heeds it
        raise SystemExit(INTERRUPTED) from None
