"""Files that the programs replace: whole at every moment, whatever happens while they are written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

import minigrad as mg
from models.common.files import previous_of, replace_file, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_and_the_one_before_it(tmp_path: Path) -> None:
    path = tmp_path / "last.txt"
    assert previous_of(path) == tmp_path / "last.previous.txt"
    for count, text in enumerate(["one", "zwei\n", "трое"]):
        replace_file(path, lambda new, text=text: new.write_text(text, encoding="utf-8"), keep_previous=True)
        assert path.read_text(encoding="utf-8") == text
        assert names(tmp_path) == (["last.previous.txt", "last.txt"] if count else ["last.txt"])
    assert previous_of(path).read_text() == "zwei\n"
    write_text(path, "four\n")  # which keeps none, and leaves the one there
    assert path.read_bytes() == b"four\n"
    assert previous_of(path).read_text() == "zwei\n"


def test_a_new_file_is_as_public_as_any(tmp_path: Path) -> None:
    """The library that writes safetensors makes them private."""
    (tmp_path / "any").touch()
    replace_file(tmp_path / "x", lambda new: mg.io.save(new, {"x": mg.ones(2)}))
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_the_previous_one_where_files_cannot_have_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "x.txt"
    for text in "abc":
        replace_file(path, lambda new, text=text: new.write_text(text), keep_previous=True)
    assert (path.read_text(), previous_of(path).read_text()) == ("c", "b")

    replace = os.replace

    def refuse_the_new(source: Path, target: Path) -> None:
        if source.parent != tmp_path:
            raise PermissionError(errno.EACCES, "somebody has it open")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse_the_new)
    with pytest.raises(OSError, match="somebody has it open; the file that was there before is as it was"):
        replace_file(path, lambda new: new.write_text("d"), keep_previous=True)
    assert path.read_text() == "c"


def test_killed_between_the_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old file has both names already: renaming one to the other then does nothing, and says nothing."""
    path = tmp_path / "x.txt"
    write_text(path, "a")
    os.link(path, previous_of(path))
    replace_file(path, lambda new: new.write_text("b"), keep_previous=True)
    assert (path.read_text(), previous_of(path).read_text()) == ("b", "a")
    assert names(tmp_path) == ["x.previous.txt", "x.txt"]


@pytest.mark.parametrize(
    "error", [ValueError("what"), KeyboardInterrupt("stop"), OSError(errno.ENOSPC, "No space left")]
)
@pytest.mark.parametrize("before", ["there", "not there"])
def test_an_error_while_writing(tmp_path: Path, error: BaseException, before: str) -> None:
    path = tmp_path / "x.txt"
    if before == "there":
        path.write_text("old")

    def write(new: Path) -> None:
        new.write_text("half")
        (new.parent / "another").write_text("of the library")
        raise error

    kept = "; the file that was there before is as it was" if before == "there" else "$"
    message = f"x.txt cannot be written: No space left{kept}" if isinstance(error, OSError) else str(error)
    with pytest.raises(type(error), match=message):
        replace_file(path, write, keep_previous=True)
    assert names(tmp_path) == ["x.txt"] * path.exists()
    assert path.exists() == (before == "there")
    assert not path.exists() or path.read_text() == "old"


def test_an_error_while_the_disk_is_asked_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    write_text(tmp_path / "x", "old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="x cannot be written: Input/output error; the file"):
        write_text(tmp_path / "x", "new")
    assert (tmp_path / "x").read_text() == "old"
    assert names(tmp_path) == ["x"]


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"none.x cannot be written: No such file or directory$"):
        write_text(tmp_path / "none" / "x", "")
    with pytest.raises(OSError, match="folder cannot be written: Is a directory"):
        write_text(tmp_path / "folder", "")
    assert names(tmp_path) == ["folder"]


def test_a_full_disk(tmp_path: Path) -> None:
    """A limit on files stands for the disk; beyond it, writing fails in the library that writes safetensors."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "x.safetensors"
    replace_file(path, lambda new: mg.io.save(new, {"x": mg.ones(2)}))
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, limits[1]))
    try:
        with pytest.raises(OSError, match=r"x.safetensors cannot be written: .*(too large|os error).* is as it was"):
            replace_file(path, lambda new: mg.io.save(new, {"x": mg.ones(1 << 14)}), keep_previous=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["x.safetensors"]


def test_what_killed_processes_left_goes_and_what_others_write_stays(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for name, content in [(".x.1.tmp", ["lock", "x", ".tmpAbc"]), (".x.2.tmp", []), (".y.3.tmp", ["lock"])]:
        (tmp_path / name).mkdir()
        for file in content:
            (tmp_path / name / file).touch()
    (tmp_path / "x.tmp").touch()
    seen = []

    def write(new: Path) -> None:
        write_text(path, "of another, who is quicker")
        seen.extend(names(tmp_path))
        new.write_text("mine")

    replace_file(path, write)
    assert path.read_text() == "mine"
    assert len(seen) == 4 and {".y.3.tmp", "x", "x.tmp"} < set(seen)  # and the folder of the outer call
    assert names(tmp_path) == [".y.3.tmp", "x", "x.tmp"]
