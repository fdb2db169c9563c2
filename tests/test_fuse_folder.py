"""The folder of compiled kernels: what is used is whole and our own, and nothing is written anywhere else."""

from __future__ import annotations

import os
import re
import signal
import stat
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from minigrad.fusion import compiler, folder
from minigrad.fusion.compiler import CompileError, load
from minigrad.fusion.folder import clear_cache, library_folder

from .compiling import THRICE, TWICE, compiled, elsewhere, everything, kept, needs_compiler

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="kernels are compiled on Linux and macOS alone"),
    pytest.mark.usefixtures("own_cache"),
]


# Files that are not what they were.


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def open_to_all(path: Path) -> None:
    path.chmod(0o777)


def link(path: Path) -> None:
    path.rename(path.parent.parent / "moved.so")
    path.symlink_to(path.parent.parent / "moved.so")


@needs_compiler
@pytest.mark.parametrize("spoil", [cut, empty, garble, open_to_all, link])
def test_a_file_that_was_spoilt_is_compiled_again(spoil, runs):
    path = compiled(TWICE)
    before = path.read_bytes()
    spoil(path)
    assert load(TWICE).twice(21) == 42
    assert len(runs) == 2
    assert kept() == [path]
    assert path.read_bytes() == before
    assert path.is_file() and not path.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


@needs_compiler
def test_a_file_whole_in_itself_and_not_loadable_is_compiled_again(runs):
    path = compiled(TWICE)
    path.unlink()
    data = b"not a library"
    (path.parent / f"{path.name[:32]}-{compiler._digest(data)}.so").write_bytes(data)
    notes = path.parent / f"{path.name[:32]}-notes"
    notes.write_text("the user's")
    assert load(TWICE).twice(21) == 42
    assert len(runs) == 2
    assert kept() == [path, notes]


@needs_compiler
def test_clear_cache_removes_our_own_alone(monkeypatch):
    library = load(TWICE)
    load(THRICE)
    place = library_folder()
    (place / "notes.so").write_text("the user's")
    (place / "compiling-now").mkdir()
    (place / "compiling-old").mkdir()
    (place / "compiling-old" / "kernel.c").write_text("")
    os.utime(place / "compiling-old", (1, 1))
    assert clear_cache() == 2
    assert [path.name for path in kept()] == ["compiling-now", "notes.so"]
    assert library.twice(4) == 8
    assert clear_cache() == 0


# Where.


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"MINIGRAD_CACHE": "{tmp}/own"}, "own/kernels"),
        ({"MINIGRAD_CACHE": "~/own"}, "home/own/kernels"),
        ({"MINIGRAD_CACHE": "{tmp}/own", "XDG_CACHE_HOME": "{tmp}/system"}, "own/kernels"),
        ({"MINIGRAD_CACHE": "", "XDG_CACHE_HOME": "{tmp}/system"}, "system/minigrad/kernels"),
        ({"XDG_CACHE_HOME": "relative"}, "home/.cache/minigrad/kernels"),
        ({}, "home/.cache/minigrad/kernels"),
        ({"platform": "darwin"}, "home/Library/Caches/minigrad/kernels"),
    ],
    ids=str,
)
def test_the_place_of_the_folder(environment, expected, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", environment.get("platform", "linux"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(tmp=tmp_path))
    assert library_folder() == tmp_path / expected
    for part in (tmp_path / expected, (tmp_path / expected).parent):
        assert stat.S_IMODE(part.stat().st_mode) == 0o700


@needs_compiler
def test_a_folder_with_a_blank_and_other_letters(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "ein Ärger; $HOME"))
    assert load(TWICE).twice(2) == 4
    assert len(list((tmp_path / "ein Ärger; $HOME" / "kernels").iterdir())) == 1


@needs_compiler
def test_a_mask_that_lets_others_write_does_not_matter(runs):
    before = os.umask(0)
    try:
        load(TWICE)
        compiler.forget()
        load(TWICE)
    finally:
        os.umask(before)
    assert len(runs) == 1
    assert {stat.S_IMODE(path.stat().st_mode) for path in (library_folder(), *kept())} == {0o700}


@needs_compiler
def test_nothing_is_written_anywhere_else(tmp_path, monkeypatch):
    program = f"""
from minigrad.fusion.compiler import CompileError, load
assert load({TWICE!r}).twice(2) == 4
try:
    load("int wrong(void) {{ return }}")
except CompileError:
    print("both")
"""
    before = everything(tmp_path)
    home, place = tmp_path / "home", tmp_path / "tmp"
    monkeypatch.chdir(place)
    environment = {"HOME": str(home), "TMPDIR": str(place), "DEPENDENCIES_OUTPUT": str(place / "dependencies")}
    done = elsewhere(program, **environment, PYTHONDONTWRITEBYTECODE="1")
    assert done.communicate()[0].split() == ["both"]
    (new,) = everything(tmp_path) - before
    assert re.fullmatch(r"home/\.cache/minigrad/kernels/[0-9a-f]{32}-[0-9a-f]{32}\.so", new)
    assert not list(place.iterdir())
    assert [path.name for path in (home / ".cache" / "minigrad").iterdir()] == ["kernels"]


# Other users.


def by_all(place: Path) -> None:
    place.chmod(0o777)


def by_the_group(place: Path) -> None:
    place.chmod(0o770)


def from_above(place: Path) -> None:
    place.parent.chmod(0o777)


def a_file(place: Path) -> None:
    place.rmdir()
    place.write_text("")


def a_file_above(place: Path) -> None:
    place.rmdir()
    place.parent.rmdir()
    place.parent.write_text("")


def a_link_to_nothing(place: Path) -> None:
    place.rmdir()
    place.symlink_to(place.parent / "nothing")


def a_link_to_what_all_can_write(place: Path) -> None:
    place.rmdir()
    (place.parent / "open").mkdir()
    (place.parent / "open").chmod(0o777)
    place.symlink_to(place.parent / "open")


UNSAFE = [
    (by_all, r"kernels can be written to by others \(mode 777\)"),
    (by_the_group, r"kernels can be written to by others \(mode 770\)"),
    (from_above, r"kernels lies in .*minigrad, where others can put another in its place"),
    (a_file, r"File exists: .*kernels"),
    (a_file_above, r"Not a directory: .*kernels|File exists: .*minigrad"),
    (a_link_to_nothing, r"File exists: .*kernels"),
    (a_link_to_what_all_can_write, r"kernels can be written to by others \(mode 777\)"),
]


@needs_compiler
@pytest.mark.parametrize(("spoil", "message"), UNSAFE, ids=[spoil.__name__ for spoil, _ in UNSAFE])
def test_an_unsafe_folder_is_not_used(spoil, message, tmp_path, runs):
    load(TWICE)
    clear_cache()
    compiler.forget()
    place = library_folder()
    spoil(place)
    with pytest.warns(RuntimeWarning, match=rf"not kept beyond this process: .*{message}.*MINIGRAD_CACHE"):
        assert load(TWICE).twice(2) == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(THRICE)
        load(TWICE)
    assert len(runs) == 3
    private = library_folder()
    assert private.parent == tmp_path / "tmp"
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert len(kept()) == 2
    assert not [name for name in everything(tmp_path / "home") if name.endswith(".so")]


@needs_compiler
def test_what_lies_in_an_unsafe_folder_is_not_loaded(runs):
    load(TWICE)
    library_folder().chmod(0o777)
    compiler.forget()
    with pytest.warns(RuntimeWarning, match="by others"):
        load(TWICE)
    assert len(runs) == 2


def test_a_folder_of_another_user(monkeypatch):
    place = library_folder()
    me = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: me + 1)
    message = rf"kernels belongs to user {me}, not to user {me + 1}, who runs this"
    with pytest.warns(RuntimeWarning, match=message):
        assert library_folder() != place


def owned_by(monkeypatch: pytest.MonkeyPatch, path: Path, uid: int) -> None:
    """Path.stat and Path.lstat tell of another owner."""
    for name in ("stat", "lstat"):
        real = getattr(Path, name)

        def told(self: Path, *args: object, real: Callable[..., os.stat_result] = real, **kw: object) -> object:
            status = real(self, *args, **kw)
            if self != path:
                return status
            fields = list(status)
            fields[stat.ST_UID] = uid
            return os.stat_result(fields)

        monkeypatch.setattr(Path, name, told)


def test_a_link_of_another_user(monkeypatch, tmp_path):
    place = library_folder()
    place.rename(place.parent / "mine")
    place.symlink_to(place.parent / "mine")
    assert library_folder() == place.parent / "mine"
    owned_by(monkeypatch, place, os.getuid() + 7)
    with pytest.warns(RuntimeWarning, match=rf"belongs to user {os.getuid() + 7}"):
        assert library_folder().parent == tmp_path / "tmp"


def test_a_link_to_the_folder_of_another_user(monkeypatch, tmp_path):
    place = library_folder()
    place.rename(place.parent / "theirs")
    place.symlink_to(place.parent / "theirs")
    owned_by(monkeypatch, place.parent / "theirs", os.getuid() + 7)
    with pytest.warns(RuntimeWarning, match=rf"belongs to user {os.getuid() + 7}"):
        assert library_folder().parent == tmp_path / "tmp"


def test_a_folder_above_of_another_user(monkeypatch, tmp_path):
    place = library_folder()
    owned_by(monkeypatch, place.parent, os.getuid() + 7)
    with pytest.warns(RuntimeWarning, match="lies in .*minigrad, where others can put another in its place"):
        assert library_folder().parent == tmp_path / "tmp"


def test_a_folder_that_cannot_be_written_to(monkeypatch):
    place = library_folder()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != place)
    with pytest.warns(RuntimeWarning, match="kernels cannot be written to"):
        assert library_folder() != place


@pytest.mark.parametrize("home", ["/dev/null", "/proc/none"])
def test_a_home_where_nothing_can_be_made(home, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", home)
    with pytest.warns(RuntimeWarning, match=home):
        assert library_folder().parent == tmp_path / "tmp"


def test_no_home(monkeypatch, tmp_path):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # and the system knows of none
    with pytest.warns(RuntimeWarning, match="there is no home folder"):
        assert library_folder().parent == tmp_path / "tmp"


def test_no_place_at_all(monkeypatch, tmp_path, pretend):
    pretend("exit 1")
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(CompileError, match=r"nothing was compiled with .*: .*No such file or directory.*missing"):
        load(TWICE)


@needs_compiler
def test_a_private_folder_goes_with_its_process_and_not_with_a_child(tmp_path):
    program = f"""
import os, sys, warnings
warnings.simplefilter("ignore")
from minigrad.fusion.compiler import load
from minigrad.fusion.folder import library_folder
load({TWICE!r})
sys.stdout.flush()
if not os.fork():
    sys.exit()
os.wait()
print(library_folder(), *os.listdir(library_folder()))
"""
    done = elsewhere(program, HOME="/dev/null", TMPDIR=str(tmp_path / "tmp"))
    place, *names = done.communicate()[0].split()
    assert Path(place).parent == tmp_path / "tmp"
    assert len(names) == 1
    assert not Path(place).exists()


def test_a_process_that_lost_its_private_folder_makes_another(monkeypatch):
    monkeypatch.setenv("HOME", "/dev/null")
    with pytest.warns(RuntimeWarning):
        first = library_folder()
    first.rmdir()
    with pytest.warns(RuntimeWarning):
        assert library_folder().is_dir()


# Many at once.


@needs_compiler
def test_eight_processes_at_once(tmp_path):
    start = tmp_path / "start"
    program = f"""
import os, time
from minigrad.fusion.compiler import load
print("ready", flush=True)
while not os.path.exists({str(start)!r}):
    time.sleep(0.001)
print(load({TWICE!r}).twice(21))
"""
    processes = [elsewhere(program) for _ in range(8)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    start.touch()
    assert [process.communicate()[0] for process in processes] == ["42\n"] * 8
    assert {path.name[:32] for path in kept()} == {kept()[0].name[:32]}
    assert all(folder.LIBRARY.fullmatch(path.name) for path in kept())


@needs_compiler
def test_eight_threads_at_once(runs):
    libraries: list[object] = []
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        libraries.append(load(TWICE))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(libraries) == 8
    assert len({id(library) for library in libraries}) == len(runs) == 1


@needs_compiler
def test_a_compile_that_is_killed_leaves_nothing_to_load(pretend, tmp_path, monkeypatch):
    """Half of a library is there when the process, and then its compiler, is killed."""
    pretend(f'"$real" "$@"; head -c 4000 kernel.so > half; mv half kernel.so; echo $$ > {tmp_path}/pid; sleep 1000')
    process = elsewhere(f"from minigrad.fusion.compiler import load; load({TWICE!r})")
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().endswith("\n"):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.kill()
    process.wait()
    os.killpg(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (left,) = kept()
    assert left.name.startswith(folder.SCRATCH)
    assert {path.name for path in left.iterdir()} == {"kernel.c", "kernel.so"}
    monkeypatch.delenv("MINIGRAD_CC")
    compiler.forget()
    assert load(TWICE).twice(21) == 42
    assert len(kept()) == 2
