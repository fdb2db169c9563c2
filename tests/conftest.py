"""What all tests share: how hard hypothesis tries, who writes the kernels, and the devices that one body runs on."""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

import minigrad as mg
from minigrad import readings, shortcuts
from minigrad.backend import namespace
from minigrad.cotangent import Inbox
from minigrad.fusion import compiler
from minigrad.fusion.setting import setting
from minigrad.ops.contraction import linear, matmul

from . import emulated as emulator
from . import pretended
from . import strict as strict  # registers the device "strict"
from .emulated import COMPILER

# What deep finds stays in .hypothesis, and is tried first the next time.
_kept = DirectoryBasedExampleDatabase(Path(__file__).parents[1] / ".hypothesis" / "examples")

# The `device` fixture chooses a default device and a seed, which hypothesis may keep from example to example.
_common: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}
settings.register_profile("quick", max_examples=25, derandomize=True, **_common)
settings.register_profile("deep", max_examples=300, database=_kept, print_blob=True, **_common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fusing",
        choices=["on", "off", "numpy", "no-compiler", "cuda"],
        default="on",
        help="off: mg.fusing(False) for the whole run; numpy: NumPy runs the kernels; no-compiler: there is none; "
        "cuda: the device strict runs CUDA kernels, which a C++ compiler reads",
    )
    parser.addoption("--pretend", action="store_true", help="the tests marked gpu, on a GPU that is not there")


def pytest_configure(config: pytest.Config) -> None:
    """Kernels are kept beside pytest's own files, for all processes of the run and for the next one."""
    os.environ.setdefault("MINIGRAD_CACHE", str(config.rootpath / ".pytest_cache" / "minigrad"))
    chosen = config.getoption("--fusing")
    if chosen == "no-compiler":
        os.environ["MINIGRAD_CC"] = "none"
        compiler.forget()
    type(setting).is_on = chosen != "off"  # in all threads
    type(setting).writer = "numpy" if chosen == "numpy" else None
    if chosen == "cuda":
        strict.strict.writer = "cuda"
    if config.getoption("--pretend"):
        pretended.install()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The bench asks CuPy itself what the GPU is."""
    return (config.getoption("--pretend") and collection_path.name.startswith("test_bench")) or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Another setting of --fusing changes what the CPU does, and no other device; "cuda" what strict does."""
    chosen = config.getoption("--fusing")
    if chosen != "on":
        kept = ("strict",) if chosen == "cuda" else (None, "cpu")
        items[:] = [i for i in items if (i.callspec.params.get("device") if hasattr(i, "callspec") else None) in kept]
    if config.getoption("--pretend"):
        items[:] = [i for i in items if i.get_closest_marker("gpu")]


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not mg.cuda_is_available():
        pytest.skip("needs a CUDA device and CuPy")


@pytest.fixture
def cupy() -> Any:
    """The library itself, for tests that need more of it than minigrad does."""
    found = namespace("cuda").module
    if isinstance(found, pretended.CuPy):
        pytest.skip("needs CuPy itself, and a GPU")
    return found


@pytest.fixture(params=["cpu", "strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each device in turn, as the default device, with a fresh seed."""
    name: str = request.param
    with mg.use_device(name):
        mg.manual_seed(0)
        pretended.current.number = 1  # as if somebody else had worked on another GPU meanwhile
        yield mg.default_device()


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """For the rest of the test, the device strict runs CUDA kernels; gives those that are launched, as they run."""
    if COMPILER is None:
        pytest.skip("needs g++")
    log: list[Any] = []
    monkeypatch.setattr(emulator, "launches", log)
    monkeypatch.setattr(strict.strict, "writer", "cuda")
    return log


@pytest.fixture
def without_collector() -> Iterator[None]:
    """What is freed, is so because nobody holds it any more."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """For the rest of the test, products are of the rows themselves, and a sweep computes each sum at once."""

    def add_as_it_is(inbox: Inbox, slot: int, contribution: Any, xp: Any) -> Any:
        inbox.add(slot, contribution, xp)
        return contribution

    def turn_off() -> None:
        monkeypatch.setattr(matmul, "shortcut", None)
        monkeypatch.setattr(linear, "shortcut", None)
        monkeypatch.setattr(readings, "Defer", readings.Compute)
        monkeypatch.setattr(readings, "_readings", {})
        monkeypatch.setattr(Inbox, "add_slice", add_as_it_is)

    return turn_off


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The look-ups that products made use of, as they run."""
    used: list[Any] = []

    def product(*arguments: Any) -> Any:
        y, lookup = shortcuts.product(*arguments)
        if lookup is not None:
            used.append(lookup)
        return y, lookup

    monkeypatch.setattr(matmul, "shortcut", product)
    monkeypatch.setattr(linear, "shortcut", product)
    return used


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A process that has found out nothing yet, with a home of its own."""
    for name in ("MINIGRAD_CACHE", "MINIGRAD_CC", "CC", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    compiler.forget()
    yield
    compiler.forget()


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that are run, as they run."""
    seen: list[list[str]] = []
    popen = subprocess.Popen

    def counted(command: list[str], **options: object) -> object:
        seen.append(command)
        return popen(command, **options)

    monkeypatch.setattr(subprocess, "Popen", counted)
    return seen


@pytest.fixture
def pretend(own_cache: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Path]:
    """Make a shell script the compiler; in it, "$real" is the real one."""
    real = compiler.find_compiler()

    def write(text: str) -> Path:
        script = tmp_path / "pretender"
        script.write_text(f"#!/bin/sh\nreal={real}\n{text}\n")
        script.chmod(0o755)
        monkeypatch.setenv("MINIGRAD_CC", str(script))
        compiler.forget()
        return script

    return write
