"""What the tests of the compiler and of its folder share; the fixtures are in conftest.py."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from unittest import mock

import pytest

from minigrad.fusion import compiler
from minigrad.fusion.compiler import find_compiler, load
from minigrad.fusion.folder import library_folder

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="needs a C compiler")

TWICE = "int twice(int x) { return 2 * x; }"
THRICE = "int thrice(int x) { return 3 * x; }"
ROOT = Path(__file__).parents[1]


def kept() -> list[Path]:
    """The libraries in the folder, and whatever else there is."""
    return sorted(library_folder().iterdir())


def everything(top: Path) -> set[str]:
    return {str(path.relative_to(top)) for path in top.rglob("*") if not path.is_dir()}


def elsewhere(program: str, **environment: str) -> subprocess.Popen[str]:
    """A process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def compiled(source: str) -> Path:
    """The only file in the folder: the library of a text, which this process has not loaded."""
    with mock.patch.object(compiler.ctypes, "CDLL", return_value=None):
        load(source)
    compiler.forget()
    (path,) = kept()
    return path
