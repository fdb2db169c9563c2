"""Files that are never half written: at every moment the old content is there whole, or the new."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .errors import UserError

try:
    import fcntl
except ImportError:  # Windows, which refuses to delete a file that somebody has open, and so needs no lock
    fcntl = None

LOCK = "lock"


def replace_file(path: Path, write: Callable[[Path], object], *, keep_previous: bool = False) -> None:
    """Have `write` make a new file, and put it at `path` when it is whole and on the disk.

    It is written in a folder of its own beside `path`, so that whatever `write` leaves behind when it fails goes
    with the folder. If the process is killed, the folder stays until the next call for the same path; a folder in
    which another process is still writing is left alone.

    On POSIX systems and NTFS there is a whole file at `path` at every moment, once there was one. Where a file
    cannot have two names (FAT, some network drives), `keep_previous` leaves a moment in which it has the name of the
    previous one alone. A power failure is survived as far as the drive does what fsync asks; Windows cannot be asked
    to write down a folder's names at once, so the old file may be back there.

    Args:
        path: the file; a link there is replaced itself.
        write: is given the path that it is to write to.
        keep_previous: the old file stays, with the name `previous_of(path)`.

    Raises:
        OSError: the file cannot be written, because the disk is full, for example. The old one is there as before.
        Whatever `write` raises, likewise.
    """
    previous = previous_of(path)
    try:
        _sweep(path)
        with _workplace(path) as folder:
            new = folder / path.name
            write(new)
            shutil.copymode(folder / LOCK, new)  # as any new file of this user; some writers make it private
            with new.open("rb+") as file:
                os.fsync(file.fileno())
            moved = keep_previous and path.exists() and _keep(path, previous, folder / previous.name)
            try:
                os.replace(new, path)
            except OSError:
                if moved:
                    os.replace(previous, path)
                raise
        _sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or error.__cause__ or error
        kept = "; the file that was there before is as it was" if path.exists() else ""
        raise OSError(f"{path} cannot be written: {reason}{kept}") from error


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep a folder to oneself inside a `with` block, among those who ask; where the system has no locks, do nothing.

    Raises:
        UserError: there is no such folder, or another process has it.
    """
    if fcntl is None:
        yield
        return
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; name one that is there")
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another process is at work in {folder}; wait for its end, or stop it, or name another folder"
            ) from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Replace a small text file, in UTF-8, by `replace_file`.

    Raises:
        OSError: as for `replace_file`.
    """
    replace_file(path, lambda new: new.write_text(text, encoding="utf-8", newline="\n"))


def previous_of(path: Path) -> Path:
    """Where the file before is kept: `last.previous.safetensors` of `last.safetensors`."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def _keep(path: Path, previous: Path, spare: Path) -> bool:
    """Give the old file the name `previous`, too. Whether it lost its own."""
    try:
        os.link(path, spare)
    except OSError:
        os.replace(path, previous)
        return True
    os.replace(spare, previous)  # does nothing if they are one file already; the spare name goes with its folder
    return False


@contextlib.contextmanager
def _workplace(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, locked as long as this process lives, and deleted at the end."""
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        with (folder / LOCK).open("xb") as lock:
            with contextlib.suppress(OSError):  # a file system without locks
                _lock(lock)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(path: Path) -> None:
    """Delete what killed processes left beside `path`."""
    for folder in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        try:
            with (folder / LOCK).open("rb+") as lock:
                _lock(lock)
            (folder / LOCK).unlink()
        except FileNotFoundError:  # killed before it had a lock
            pass
        except OSError:  # somebody is writing there
            continue
        shutil.rmtree(folder, ignore_errors=True)


def _lock(file: Any) -> None:
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sync_folder(folder: Path) -> None:
    """Have the folder's new names on the disk, too."""
    with contextlib.suppress(OSError):  # Windows opens no folders, and some file systems sync none
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
