"""Whether memory that was freed is kept: never by importing, by the first sweep, or as the user says."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import minigrad as mg

# Every call of mallopt and malloc_trim is written down, and none is made.
WATCHED = """
import ctypes
calls = []

class Library:
    gnu_get_libc_version = None
    def mallopt(self, option, value):
        calls.append((option, value))
    def malloc_trim(self, pad):
        calls.append("trim")

class Other:  # another C library: it has a mallopt, and is not glibc
    mallopt = Library.mallopt

ctypes.CDLL = lambda name: Library()
import minigrad as mg

def step():
    x = mg.ones(3, requires_grad=True)
    (x * x).sum().backward()
"""
KEPT = [(-1, 2**31 - 1), (-3, 2**25)]
GIVEN_BACK = [(-1, 131072), (-3, 131072), "trim"]


def run(program: str, **environment: str) -> object:
    """What `calls` is at the end of a program in a process of its own."""
    own = {name: value for name, value in os.environ.items() if "MALLOC" not in name and name != "GLIBC_TUNABLES"}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED + program + "\nprint(calls)"],
        env=own | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return eval(done.stdout)


def test_importing_and_computing_set_nothing():
    assert run("x = mg.ones(3, requires_grad=True); (x * x).sum().item()") == []


@pytest.mark.parametrize(
    "program", ["step()", "step(); step()", "x = mg.ones((), requires_grad=True); mg.grad(x * x, x)"]
)
def test_the_first_sweep_keeps_what_is_freed_once(program):
    assert run(program) == KEPT


def test_what_was_decided_stays():
    assert run("mg.keep_freed_memory(False); step()") == GIVEN_BACK
    assert run("mg.keep_freed_memory(); step()") == KEPT
    assert run("step(); mg.keep_freed_memory(False); step()") == [*KEPT, *GIVEN_BACK]


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"])
def test_the_environment_decides_over_the_sweep_and_not_over_the_user(name):
    setting = {name: "glibc.malloc.trim_threshold=200000" if name == "GLIBC_TUNABLES" else "200000"}
    assert run("step()", **setting) == []
    assert run("mg.keep_freed_memory(); step()", **setting) == KEPT


def test_a_sweep_that_fails_has_decided_as_well():
    program = """
x = mg.ones(3, requires_grad=True)
x.register_hook(lambda g: 1 / 0)
try:
    x.sum().backward()
except ZeroDivisionError:
    step()
"""
    assert run(program) == KEPT


def test_other_c_libraries_are_left_alone():
    assert run("ctypes.CDLL = lambda name: Other(); assert mg.keep_freed_memory() is False; step()") == []
    assert run("def none(name): raise OSError\nctypes.CDLL = none; assert mg.keep_freed_memory(False) is False") == []


def test_the_real_library_answers_the_same_each_time():
    program = "import minigrad as mg; print([mg.keep_freed_memory(k) for k in (True, False, True)])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert eval(done.stdout) in ([True] * 3, [False] * 3)


MISTAKES = [
    (0, r"keep_freed_memory: expected True or False, got 0"),
    (1, r"keep_freed_memory: expected True or False, got 1"),
    (None, r"keep_freed_memory: expected True or False, got None"),
    ("no", r"keep_freed_memory: expected True or False, got 'no'"),
]


@pytest.mark.parametrize(("keep", "message"), MISTAKES, ids=lambda x: repr(x) if not isinstance(x, str) else "")
def test_the_message(keep, message):
    with pytest.raises(TypeError, match=message):
        mg.keep_freed_memory(keep)


def test_a_mistake_decides_nothing():
    assert run("try:\n    mg.keep_freed_memory(0)\nexcept TypeError:\n    step()") == KEPT
