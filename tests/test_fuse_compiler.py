"""The compiler of kernels: which one, what it is asked again and what not, and how it may fail."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from minigrad.fusion import compiler
from minigrad.fusion.compiler import CompileError, find_compiler, load
from minigrad.fusion.folder import library_folder

from .compiling import THRICE, TWICE, elsewhere, everything, is_alive, kept, needs_compiler

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="kernels are compiled on Linux and macOS alone"),
    pytest.mark.usefixtures("own_cache"),
]


# Which compiler.


def program(path: Path) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("there", "environment", "expected"),
    [
        (["clang"], {}, "clang"),
        (["clang", "gcc"], {}, "gcc"),
        (["clang", "gcc", "cc"], {}, "cc"),
        (["cc", "icx"], {"CC": "icx -m64"}, "icx"),
        (["cc", "icx", "ccache"], {"CC": "ccache icx"}, "icx"),
        (["cc"], {"CC": "missing"}, "cc"),
        (["cc"], {"CC": ""}, "cc"),
        (["cc", "icx"], {"MINIGRAD_CC": "icx"}, "icx"),
        (["cc", "icx"], {"MINIGRAD_CC": "icx", "CC": "cc"}, "icx"),
        (["cc", "icx"], {"MINIGRAD_CC": "{there}/icx"}, "icx"),
        (["cc"], {"MINIGRAD_CC": "missing"}, None),
        (["cc"], {"MINIGRAD_CC": ""}, None),
        (["cc"], {"MINIGRAD_CC": "none"}, None),
        ([], {}, None),
    ],
    ids=str,
)
def test_which_compiler(there, environment, expected, monkeypatch, tmp_path):
    for name in there:
        program(tmp_path / "bin" / name)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(there=tmp_path / "bin"))
    assert find_compiler() == (expected and str(tmp_path / "bin" / expected))


def test_the_path_of_the_compiler_holds_wherever_the_process_goes(monkeypatch, tmp_path):
    program(tmp_path / "icx")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIGRAD_CC", "./icx")
    assert find_compiler() == str(tmp_path / "icx")


def test_the_compiler_is_looked_for_once(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_compiler() is None
    program(tmp_path / "cc")
    assert find_compiler() is None
    compiler.forget()
    assert find_compiler() == str(tmp_path / "cc")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, r"cc, gcc, clang were looked for on the PATH\. Install one .*apt install gcc.*MINIGRAD_CC"),
        ({"MINIGRAD_CC": "none"}, r"switched off by the environment variable MINIGRAD_CC='none'; unset it"),
        ({"MINIGRAD_CC": ""}, r"switched off by the environment variable MINIGRAD_CC=''"),
        ({"MINIGRAD_CC": "missing"}, r"MINIGRAD_CC names 'missing', and no such program"),
    ],
    ids=str,
)
def test_without_a_compiler(environment, message, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CompileError, match=message):
        load(TWICE)
    assert not everything(tmp_path)


def test_windows_has_none(monkeypatch):
    monkeypatch.setattr(compiler.os, "name", "nt")
    found = find_compiler()
    with pytest.raises(CompileError, match="on Linux and macOS alone"):
        load(TWICE)
    monkeypatch.undo()  # pathlib asks for the name too
    assert found is None


# Compiled once.


@needs_compiler
def test_a_miss_compiles_and_a_hit_runs_nothing(runs):
    assert load(TWICE).twice(21) == 42
    assert len(runs) == 1
    assert load(TWICE) is load(TWICE)
    compiler.forget()
    assert load(TWICE).twice(-4) == -8
    assert len(runs) == 1
    assert len(kept()) == 1


@needs_compiler
def test_another_process_runs_nothing_either(pretend):
    load(TWICE)
    program = f"""
import subprocess, os
def refuse(*_, **__): raise RuntimeError("a program was run")
subprocess.Popen = os.system = os.posix_spawn = os.fork = refuse
from minigrad.fusion.compiler import load
print(load({TWICE!r}).twice(21))
"""
    assert elsewhere(program).communicate()[0].split() == ["42"]
    assert "a program was run" in elsewhere(program.replace("2 * x", "4 * x")).communicate()[0]


CHANGES: dict[str, Callable[[pytest.MonkeyPatch], object]] = {
    "the flags": lambda m: m.setattr(compiler, "FLAGS", (*compiler.FLAGS, "-DN=1")),
    "the CPU": lambda m: m.setattr(compiler, "_cpu", lambda: "another"),
    "the scheme": lambda m: m.setattr(compiler, "SCHEME", 0),
    "the system": lambda m: m.setattr(sys, "platform", "freebsd"),
}


@needs_compiler
@pytest.mark.parametrize("change", CHANGES)
def test_what_a_library_depends_on_is_in_its_name(change, runs, monkeypatch):
    load(TWICE)
    with monkeypatch.context() as changed:
        CHANGES[change](changed)
        assert load(TWICE).twice(3) == 6
    assert len(runs) == len(kept()) == 2
    load(TWICE)
    assert len(runs) == 2


@needs_compiler
def test_other_text_and_other_libraries_are_others(runs):
    load(TWICE)
    assert load(THRICE).thrice(3) == 9
    load(TWICE, libraries=())
    load(TWICE + " ")
    assert len(runs) == 4
    load(THRICE)
    assert len(runs) == 4


@needs_compiler
def test_a_new_version_of_the_compiler_compiles_again(pretend, runs):
    script = pretend('"$real" "$@"')
    load(TWICE)
    os.utime(script, ns=(1, 1))
    load(TWICE)
    assert len(runs) == 2
    with script.open("a") as file:
        file.write("# longer\n")
    os.utime(script, ns=(1, 1))
    load(TWICE)
    assert len(runs) == 3


CPUINFO = """processor\t: 0
model name\t: {name}
cpu MHz\t\t: {clock}
flags\t\t: fpu {flags}

processor\t: 1
flags\t\t: {other}
"""


def test_the_cpu_is_what_it_can_do_and_not_how_it_is(monkeypatch, tmp_path):
    real_open = open

    def cpu(text: str) -> str:
        (tmp_path / "cpuinfo").write_text(text)
        compiler._cpu.cache_clear()
        return compiler._cpu()

    def instead(path: object, *args: object, **options: object) -> object:
        return real_open(tmp_path / "cpuinfo" if path == "/proc/cpuinfo" else path, *args, **options)

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("builtins.open", instead)
    one = cpu(CPUINFO.format(name="A", clock=1.0, flags="avx", other="fpu avx"))
    assert one == "model name\t: A\nflags\t\t: fpu avx\n"
    assert one == cpu(CPUINFO.format(name="A", clock=2.5, flags="avx", other="fpu"))
    assert one != cpu(CPUINFO.format(name="B", clock=1.0, flags="avx", other="fpu avx"))
    assert one != cpu(CPUINFO.format(name="A", clock=1.0, flags="sse", other="fpu avx"))
    arm = "processor\t: 0\nFeatures\t: fp asimd {}\nCPU part\t: 0xd0c\n"
    assert cpu(arm.format("sve")) != cpu(arm.format("")) != os.uname().nodename
    assert cpu("nothing that says anything\n") == os.uname().nodename
    (tmp_path / "cpuinfo").unlink()
    compiler._cpu.cache_clear()
    assert compiler._cpu() == os.uname().nodename


def test_the_cpu_of_a_mac_is_asked_for_without_a_program(monkeypatch, runs):
    class Library:
        def sysctlbyname(self, name, text, *_):
            text.value = b"Apple M4" if name == b"machdep.cpu.brand_string" else b""
            return 0

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(compiler.ctypes, "CDLL", lambda name: Library())
    assert compiler._cpu() == "Apple M4"
    assert not runs


# Compilers that fail.


@needs_compiler
def test_the_compilers_own_words():
    with pytest.raises(CompileError) as caught:
        load("int wrong(void) { return unheard_of; }")
    words = str(caught.value)
    assert re.search(r"the C compiler failed \(status \d+\): \S+ -O3 ", words)
    assert "kernel.c:1:" in words
    assert "unheard_of" in words
    assert kept() == []


@needs_compiler
def test_a_text_that_is_wrong_does_not_cost_the_next_one_a_flag(runs):
    with pytest.raises(CompileError):
        load("int wrong(void) { return }")
    count = len(runs)
    assert count == 2  # the text, and one that is right
    load(TWICE)
    assert len(runs) == count + 1
    assert set(compiler.FLAGS) <= set(runs[-1])
    with pytest.raises(CompileError):
        load("int wrong(void) { return again }")
    assert len(runs) == count + 2  # the flags are known to be right


def test_long_words_are_cut(pretend):
    pretend("yes 0123456789 | head -c 100000; exit 3")
    with pytest.raises(CompileError, match=r"status 3") as caught:
        load(TWICE)
    assert str(caught.value).endswith(" ...")
    assert len(str(caught.value)) < 4000


# What the script does -> what the message says.
FAILURES = [
    ("echo 'no licence'; exit 2", r"failed \(status 2\): .*pretender -O3 .*kernel\.c.*\nno licence"),
    ("exit 1", r"failed \(status 1\): .*\nIt said nothing\."),
    ("exit 0", r"failed \(status 0\): .*\nIt said nothing\."),
    ("kill -9 $$", r"failed \(status -9\)"),
    ("printf 'caf\\351' >&2; exit 1", r"caf�"),
    ("echo garbage > kernel.so", r"pretender made a kernel that cannot be loaded: .*MINIGRAD_CACHE"),
    (": > kernel.so", r"cannot be loaded"),
]


@pytest.mark.parametrize(("script", "message"), FAILURES, ids=[script for script, _ in FAILURES])
def test_a_compiler_that_fails(script, message, pretend):
    pretend(script)
    for _ in range(2):
        with pytest.raises(CompileError, match=message):
            load(TWICE)
        assert kept() == []


def test_a_compiler_writes_among_its_own_and_speaks_english(pretend):
    pretend('echo "language $LC_ALL, place $TMPDIR, here $PWD"; exit 1')
    with pytest.raises(CompileError) as caught:
        load(TWICE)
    assert "language C, " in str(caught.value)
    place, here = re.search(r"place (\S+), here (\S+)", str(caught.value)).groups()
    assert place == here
    assert Path(place).parent == library_folder()


def test_a_compiler_that_cannot_be_run(pretend):
    script = pretend("")
    script.write_bytes(b"\x7fELF and no more")
    with pytest.raises(CompileError, match=r"nothing was compiled with .*pretender: .*Exec format error"):
        load(TWICE)
    script.unlink()
    with pytest.raises(CompileError, match=r"nothing was compiled with .*No such file"):
        load(TWICE)
    assert kept() == []


def test_a_compiler_that_hangs_is_ended_with_all_it_has_started(pretend, monkeypatch, runs, tmp_path):
    monkeypatch.setattr(compiler, "TIMEOUT", 0.5)
    pretend(f"sleep 1000 & echo $! > {tmp_path}/pid; wait")
    with pytest.raises(CompileError, match=r"did not end within 0\.5 seconds, and is not tried again: .*pretender"):
        load(TWICE)
    assert kept() == []
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):  # the signal takes a moment
        if not is_alive(pid):
            break
        time.sleep(0.05)
    assert not is_alive(pid)
    with pytest.raises(CompileError, match="is not tried again"):
        load(THRICE)
    assert len(runs) == 1


def test_an_interrupt_ends_the_compiler(pretend, monkeypatch, tmp_path):
    pretend(f"echo $$ > {tmp_path}/pid; exec sleep 1000")

    def interrupted(process: subprocess.Popen[bytes], *_: object, **__: object) -> None:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().endswith("\n"):
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(TWICE)
    assert not is_alive(int((tmp_path / "pid").read_text()))
    assert kept() == []
    monkeypatch.undo()


REFUSES = """for flag in "$@"; do case "$flag" in {}) echo "unknown: $flag" >&2; exit 1;; esac; done
"$real" "$@" """


@needs_compiler
@pytest.mark.parametrize(
    ("refused", "libraries", "gone", "instead"),
    [
        ("-m*=native", ("m",), {"-march=native"}, set()),
        ("-fno-trapping-math", ("m",), {"-fno-trapping-math"}, set()),
        ("-lmvec", ("m", "mvec"), {"-lmvec"}, set()),
        ("-lmvec|-lm|-pthread", ("m", "mvec"), {"-lmvec", "-lm", "-pthread"}, set()),
        ("-march=native", ("m",), {"-march=native"}, {"-mcpu=native"}),
    ],
    ids=lambda part: " ".join(sorted(part)) if isinstance(part, set) else str(part),
)
def test_a_flag_that_is_refused_is_left_out(refused, libraries, gone, instead, pretend, runs):
    # -mcpu=native is another machine's word for it: the real compiler here is told what it knows
    script = REFUSES.format(refused)
    if instead:
        script = script.replace(
            '"$real" "$@"', 'for flag; do shift; [ "$flag" = -mcpu=native ] || set -- "$@" "$flag"; done; "$real" "$@"'
        )
    pretend(script)
    asked = {*compiler.FLAGS, *(f"-l{name}" for name in libraries)}
    assert load(TWICE, libraries=libraries).twice(5) == 10
    assert {flag for flag in runs[0] if flag in asked} == asked
    assert {flag for flag in runs[-1] if flag in asked} == asked - gone
    assert instead <= set(runs[-1])
    count = len(runs)
    assert load(THRICE, libraries=libraries).thrice(5) == 15
    assert len(runs) == count + 1  # found out once
    compiler.forget()
    load(TWICE, libraries=libraries)
    assert len(runs) == count + 1  # and found again without finding out


@needs_compiler
def test_a_library_that_the_machine_lacks_is_left_out():
    assert load(TWICE, libraries=("m", "unheard_of")).twice(5) == 10


@needs_compiler
def test_a_function_that_is_in_no_library_is_an_error():
    with pytest.raises(CompileError, match=r"cannot be loaded: .*unheard_of|failed .*[\s\S]*unheard_of"):
        load("int unheard_of(int); int once(int x) { return unheard_of(x); }")
    assert kept() == []


@needs_compiler
def test_what_is_left_by_one_try_is_not_taken_for_the_next(pretend):
    """The probe succeeds and leaves a library; the text itself yields none, with success."""
    pretend('case "$*" in *-march*) exit 1;; esac; grep -q probe kernel.c && "$real" "$@" || exit 0')
    with pytest.raises(CompileError, match=r"status 0"):
        load(TWICE)
    assert kept() == []


@needs_compiler
def test_mathematics_and_threads_are_there():
    text = """
#include <math.h>
#include <pthread.h>
static void *half(void *x) { *(double *)x = tanh(*(double *)x) / 2; return 0; }
double value(double x) { pthread_t t; pthread_create(&t, 0, half, &x); pthread_join(t, 0); return x; }
"""
    value = load(text).value
    value.argtypes, value.restype = [compiler.ctypes.c_double], compiler.ctypes.c_double
    assert value(0.5) == pytest.approx(np.tanh(0.5) / 2, rel=1e-15)


@needs_compiler
def test_denormals_and_nan_stay_alive():
    """In the thread that loads, and in the library."""
    text = """
void add(float *y, int n) { for (int i = 0; i < n; i++) y[i] = y[i] + 0 * y[i]; }
int is_nan(float x) { return x != x; }
"""
    library = load(text)
    library.is_nan.argtypes = [compiler.ctypes.c_float]
    tiny = np.full(37, 1e-40, np.float32)
    assert (tiny * np.float32(1) != 0).all()
    assert np.finfo(np.float32).smallest_subnormal != 0
    library.add(compiler.ctypes.c_void_p(tiny.ctypes.data), tiny.size)
    assert (tiny == np.float32(1e-40)).all()
    assert library.is_nan(float("nan")) == 1
