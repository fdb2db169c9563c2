"""Where compiled kernels are kept: a folder of the user's own, that no other user can have written to.

It is `kernels` in $MINIGRAD_CACHE, or in minigrad where the system keeps what can be made again (~/.cache,
~/Library/Caches). Nothing is written outside it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

LIBRARY: Final = re.compile(r"[0-9a-f]{32}-[0-9a-f]{32}\.so")  # KEY-CONTENT.so, as compiler.py explains
SCRATCH: Final = "compiling-"  # begins the name of a folder for one compile
ABANDONED: Final = 3600.0  # seconds after which a compile that has not cleared up was killed

_lock = threading.Lock()
_private: list[Path] = []  # the folder that this process uses instead of an unsafe one


def library_folder() -> Path:
    """The folder of compiled kernels; it is made if there is none.

    It must belong to this user, be writable to nobody else, and lie where nobody else can put another in its place.
    Otherwise, or if it cannot be made or written to, a folder for this process alone is used, and one warning says so.

    Raises:
        OSError: there is no place for that folder either.

    >>> from minigrad.fusion.folder import library_folder
    >>> library_folder().is_dir()
    True
    """
    with _lock:
        try:
            return _checked(_wanted_folder())
        except OSError as error:
            return _private_folder(str(error))


def clear_cache() -> int:
    """Remove the compiled kernels from `library_folder()`; what is loaded stays usable.

    Returns:
        How many there were.

    >>> from minigrad.fusion.folder import clear_cache
    >>> clear_cache()  # doctest: +SKIP
    12
    """
    from shutil import rmtree

    removed = 0
    folder = library_folder()
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process clears up too
            if LIBRARY.fullmatch(path.name):
                path.unlink()
                removed += 1
            elif path.name.startswith(SCRATCH) and time.time() - path.stat().st_mtime > ABANDONED:
                rmtree(path, ignore_errors=True)
    return removed


@contextlib.contextmanager
def compile_folder(folder: str) -> Iterator[str]:
    """A folder for one compile, in the same file system as what comes of it."""
    import shutil
    import tempfile

    made = tempfile.mkdtemp(prefix=SCRATCH, dir=folder)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def forget_private_folder() -> None:
    """The next private folder is another one, and there is a warning again."""
    _private.clear()


def _wanted_folder() -> Path:
    own, system = os.environ.get("MINIGRAD_CACHE"), os.environ.get("XDG_CACHE_HOME", "")
    if own:
        return Path(os.path.abspath(os.path.expanduser(own)), "kernels")
    if not os.path.isabs(system):  # unset; and a relative one is to be ignored, says the XDG specification
        system = os.path.expanduser("~/Library/Caches" if sys.platform == "darwin" else "~/.cache")
    return Path(system, "minigrad", "kernels")


def _checked(folder: Path) -> Path:
    """The folder, made if there was none, without symbolic links in its path; OSError says why it cannot be used."""
    if not folder.is_absolute():
        raise OSError("there is no home folder")
    for part in reversed((folder, *folder.parents)):
        if not part.is_dir():
            part.mkdir(mode=0o700, exist_ok=True)
    real, me = Path(os.path.realpath(folder)), os.getuid()
    for status in (folder.lstat(), real.stat()):  # a symbolic link, and what it leads to
        if status.st_uid != me:
            raise OSError(f"{folder} belongs to user {status.st_uid}, not to user {me}, who runs this")
    if not is_safe(real.stat()):
        raise OSError(f"{folder} can be written to by others (mode {stat.S_IMODE(real.stat().st_mode):o})")
    trusted = (me, 0, os.stat("/").st_uid)  # in a container, root may bear another number
    for above in real.parents:
        status = above.stat()
        open_to_all = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
        if open_to_all or status.st_uid not in trusted:
            raise OSError(f"{folder} lies in {above}, where others can put another in its place")
    if not os.access(real, os.W_OK | os.X_OK):
        raise OSError(f"{folder} cannot be written to")
    return real


def is_safe(status: os.stat_result) -> bool:
    """Whether nobody but this user could have written to it."""
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _private_folder(wrong: str) -> Path:
    """A folder of this process, removed when it ends; the first time, a warning says why."""
    import tempfile
    import warnings

    if not _private or not _private[0].is_dir():  # a process that was forked off loses its parent's
        _private[:] = [Path(tempfile.mkdtemp(prefix="minigrad-"))]
        atexit.register(_remove, _private[0], os.getpid())
        warnings.warn(
            f"compiled kernels are not kept beyond this process: {wrong}. Make the folder yours alone (chmod 700), "
            "remove it, or name another by the environment variable MINIGRAD_CACHE.",
            RuntimeWarning,
            stacklevel=2,
        )
    return _private[0]


def _remove(folder: Path, owner: int) -> None:
    from shutil import rmtree

    if os.getpid() == owner:
        rmtree(folder, ignore_errors=True)
