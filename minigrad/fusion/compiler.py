"""From C text to functions that can be called: the machine's compiler, and what it has compiled before.

A library is kept as KEY-CONTENT.so. KEY is a digest of all that it depends on: the text, the flags, the compiler, the
CPU; so a home that several machines share is safe, and finding a library again runs no program. CONTENT is a digest of
the file: one that was cut or altered is not loaded, for that could end the process. A file gets its name when it is
whole, so any number of processes may compile at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import itertools
import os
import stat
import sys
import threading
from pathlib import Path
from typing import Final

from .folder import LIBRARY, compile_folder, forget_private_folder, is_safe, library_folder

SCHEME: Final = 1  # of the names in the folder
COMPILERS: Final = ("cc", "gcc", "clang")
# Not -ffast-math: it loses NaN, and what is made with it turns denormals off in the thread that loads it.
FLAGS: Final = (
    *("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math"),
    *("-fPIC", "-shared", "-std=gnu11", "-pthread"),
)
INSTEAD: Final = {"-march=native": "-mcpu=native"}  # what some compilers call it
PROBE: Final = """
void probe(float *y, int n) { for (int i = 0; i < n; i++) y[i] = y[i] * y[i] + 1; }
int main(void) { return 0; }
"""
TIMEOUT: Final = 60.0  # seconds that the compiler gets

# The lines of /proc/cpuinfo that name a CPU and what it can do, on x86, ARM, POWER, s390 and RISC-V.
CPU: Final = {
    *("vendor_id", "cpu family", "model", "model name", "flags", "cpu", "isa", "uarch"),
    *("features", "cpu implementer", "cpu architecture", "cpu variant", "cpu part"),
}

# What this process has found out. `forget` empties it all.
_lock = threading.Lock()
_loaded: dict[str, ctypes.CDLL] = {}  # by path
_taken: dict[tuple[str, ...], tuple[str, ...]] = {}  # compiler and flags -> the flags that it takes
_given_up: dict[str, str] = {}  # compiler -> why


class CompileError(RuntimeError):
    """C text did not become a library: what was tried, and the compiler's own words.

    >>> from minigrad.fusion.compiler import CompileError, load
    >>> try:
    ...     load("int one(void) { return }")
    ... except CompileError as error:
    ...     print("no library")
    no library
    """


@functools.cache
def find_compiler() -> str | None:
    """The path of the machine's C compiler, or None if there is none.

    The environment variable MINIGRAD_CC names one, by path or by name; "" or "none" switches compiling off. Without it
    the first of these that is found on the PATH: what CC names, cc, gcc, clang. Looked for once in a process. On
    Windows there is none: it has another kind of libraries.

    >>> from minigrad.fusion.compiler import find_compiler
    >>> path = find_compiler()
    >>> path is None or path.startswith("/")
    True
    """
    from shutil import which

    if os.name != "posix":
        return None
    named = os.environ.get("MINIGRAD_CC")
    if named is None:  # CC may be "ccache gcc -m64": the compiler is wanted, without its options
        words = [w for w in os.environ.get("CC", "").split() if os.path.basename(w) not in ("ccache", "distcc")]
        candidates = (*words[:1], *COMPILERS)
    else:
        candidates = () if named in ("", "none") else (named,)
    found = next(filter(None, map(which, candidates)), None)
    return found and os.path.abspath(found)


def load(source: str, *, libraries: tuple[str, ...] = ("m",)) -> ctypes.CDLL:
    """The functions of a C text, compiled by the machine's compiler, now or on an earlier day.

    Args:
        source: the text, whole: it may include the system's headers, and no file of ours.
        libraries: what to link with; those that the machine lacks are left out. glibc's "m" brings its vector functions
            (libmvec) with it.

    Raises:
        CompileError: there is no compiler, it failed, or what it made cannot be loaded.

    >>> from minigrad.fusion.compiler import find_compiler, load
    >>> find_compiler() is None or load("int twice(int x) { return 2 * x; }").twice(21) == 42
    True
    """
    compiler = find_compiler()
    if compiler is None:
        raise CompileError(_why_none())
    flags = (*FLAGS, *(f"-l{name}" for name in libraries))
    with _lock:
        try:
            folder = str(library_folder())
            key = _key(source, compiler, flags)
            return _find(folder, key) or _make(source, compiler, flags, folder, key)
        except OSError as error:
            raise CompileError(f"nothing was compiled with {compiler}: {error}") from error


def forget() -> None:
    """Look for the compiler, its flags and the folder again the next time: the environment has changed."""
    with _lock:
        for found in (_loaded, _taken, _given_up):
            found.clear()
        forget_private_folder()
        find_compiler.cache_clear()
        _cpu.cache_clear()


# Finding a library again.


def _key(source: str, compiler: str, flags: tuple[str, ...]) -> str:
    """All that a library depends on, without running a program."""
    real = os.path.realpath(compiler)
    status = os.stat(real)
    machine = (sys.platform, os.uname().machine, sys.maxsize, _cpu())
    all_of_it = (SCHEME, source, flags, INSTEAD, compiler, real, status.st_size, status.st_mtime_ns, machine)
    return _digest(repr(all_of_it).encode())


@functools.cache
def _cpu() -> str:
    """What -march=native depends on; the machine's name where the system does not tell."""
    lines: list[str] = []
    with contextlib.suppress(OSError, AttributeError):
        if sys.platform == "darwin":
            size, text = ctypes.c_size_t(256), ctypes.create_string_buffer(256)
            ctypes.CDLL(None).sysctlbyname(
                b"machdep.cpu.brand_string", text, ctypes.byref(size), None, ctypes.c_size_t(0)
            )
            lines.append(text.value.decode())
        else:
            with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
                first = itertools.takewhile(str.strip, file)  # the first processor; an empty line follows
                lines += [line for line in first if line.partition(":")[0].strip().lower() in CPU]
    return "".join(lines) or os.uname().nodename


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _find(folder: str, key: str) -> ctypes.CDLL | None:
    for name in os.listdir(folder):
        if name.startswith(key) and LIBRARY.fullmatch(name):
            path = os.path.join(folder, name)
            try:
                return _open(path)
            except OSError:  # it is of no use, or another process has removed it
                with contextlib.suppress(OSError):
                    os.remove(path)
    return None


def _open(path: str) -> ctypes.CDLL:
    """Load a library that is what its name says."""
    if path not in _loaded:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or not is_safe(status):
            raise OSError(f"{path} is not a file of this user alone")
        with open(path, "rb") as file:
            if not path.endswith(f"-{_digest(file.read())}.so"):
                raise OSError(f"{path} has been altered")
        _loaded[path] = ctypes.CDLL(path)
    return _loaded[path]


# Compiling.


def _make(source: str, compiler: str, flags: tuple[str, ...], folder: str, key: str) -> ctypes.CDLL:
    with compile_folder(folder) as scratch:
        wrong = _compile(source, compiler, _taken.get((compiler, *flags), flags), scratch)
        if wrong and (compiler, *flags) not in _taken:  # is it the text, or a flag?
            _taken[(compiler, *flags)] = accepted = _accepted(compiler, flags, scratch)
            if accepted != flags:
                wrong = _compile(source, compiler, accepted, scratch)
        if wrong:
            raise CompileError(wrong)
        made = Path(scratch, "kernel.so")
        made.chmod(0o700)
        path = os.path.join(folder, f"{key}-{_digest(made.read_bytes())}.so")
        os.replace(made, path)
    try:
        return _open(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.remove(path)
        raise CompileError(
            f"{compiler} made a kernel that cannot be loaded: {error}. If {folder} lies where no program may run, "
            "name another folder by the environment variable MINIGRAD_CACHE."
        ) from error


def _compile(source: str, compiler: str, flags: tuple[str, ...], scratch: str) -> str:
    """Make kernel.so; what went wrong, or "" if nothing did."""
    text, made = Path(scratch, "kernel.c"), Path(scratch, "kernel.so")
    text.write_text(source, encoding="utf-8")
    made.unlink(missing_ok=True)  # of an earlier try
    libraries = [flag for flag in flags if flag.startswith("-l")]
    options = [flag for flag in flags if flag not in libraries]
    command = [compiler, *options, "-o", made.name, text.name, *libraries]
    code, words = _run(command, scratch)
    if code == 0 and made.is_file():
        return ""
    said = words if len(words) <= 3000 else words[:3000] + " ..."
    return f"the C compiler failed (status {code}): {' '.join(command)}\n{said or 'It said nothing.'}"


def _accepted(compiler: str, flags: tuple[str, ...], scratch: str) -> tuple[str, ...]:
    """Those of the flags that a program which is surely right compiles with; all, where flags make no difference."""

    def works(*some: str) -> bool:
        return not _compile(PROBE, compiler, some, scratch)

    if works(*flags) or not works():
        return flags
    accepted: list[str] = []
    for flag in flags:
        choices = (flag, INSTEAD[flag]) if flag in INSTEAD else (flag,)
        accepted += next(([choice] for choice in choices if works(*accepted, choice)), [])
    return tuple(accepted)


def _run(command: list[str], scratch: str) -> tuple[int, str]:
    """The status of a compiler and what it said. One that takes too long is ended, with all that it has started."""
    import signal
    import subprocess

    compiler = command[0]
    if compiler in _given_up:
        raise CompileError(_given_up[compiler])
    writes_elsewhere = ("DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES")
    environment = {name: value for name, value in os.environ.items() if name not in writes_elsewhere}
    environment |= {"LC_ALL": "C", "TMPDIR": scratch}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=scratch,
        env=environment,
        process_group=0,
    ) as process:
        try:
            words, _ = process.communicate(timeout=TIMEOUT)
        except BaseException as error:  # Ctrl-C too
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            _given_up[compiler] = (
                f"the C compiler did not end within {TIMEOUT:g} seconds, and is not tried again: {' '.join(command)}"
            )
            raise CompileError(_given_up[compiler]) from None
    return process.returncode, words.decode("utf-8", errors="replace").strip()


def _why_none() -> str:
    named = os.environ.get("MINIGRAD_CC")
    if os.name != "posix":
        return "kernels are compiled on Linux and macOS alone"
    if named in ("", "none"):
        return f"compiling is switched off by the environment variable MINIGRAD_CC={named!r}; unset it to compile"
    if named is not None:
        return f"no C compiler: the environment variable MINIGRAD_CC names {named!r}, and no such program was found"
    return (
        f"no C compiler: {', '.join(COMPILERS)} were looked for on the PATH. Install one (Debian: apt install gcc; "
        "Fedora: dnf install gcc; macOS: xcode-select --install), or name one by the environment variable MINIGRAD_CC"
    )
