"""The numbers of a text too long for memory, in a file.

The file: a line of JSON that says what is in it, padded to HEADER bytes; then the numbers, one after another.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import time
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..common.cache import made
from ..common.errors import UserError

IN_MEMORY = 1 << 24  # symbols of a text that needs no file
HEADER = 4096  # bytes
STORED = re.compile(r"[0-9a-f]{32}\.ids")  # KEY.ids
WRITING = "writing-"  # begins the name of a file that is not whole
ABANDONED = 24 * 3600.0  # seconds after which the writer of such a file must have been killed


class StoredIds:
    """The numbers in a file, or a part of them: len(ids), ids[a:b], np.asarray(ids[a:b]).

    A slice is a view and reads nothing; to make it an array reads that part, and keeps none of it.
    """

    def __init__(self, file: _OpenFile, dtype: np.dtype, start: int, stop: int) -> None:
        self._file, self.dtype, self._start, self._stop = file, dtype, start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, part: slice) -> StoredIds:
        if not isinstance(part, slice) or part.step not in (None, 1):
            raise TypeError(f"stored numbers are cut by ids[a:b] alone, got {part!r}; np.asarray(ids[a:b]) is an array")
        start, stop, _ = part.indices(len(self))
        return StoredIds(self._file, self.dtype, self._start + start, self._start + max(start, stop))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("the numbers lie in a file, so an array of them is always a copy")
        array = np.empty(len(self), self.dtype)
        if not len(array):  # of which there can be no view in bytes
            return array if dtype is None else array.astype(dtype)
        self._file.read_into(memoryview(array).cast("B"), HEADER + self._start * self.dtype.itemsize)
        return array if dtype is None else array.astype(dtype, copy=False)


class _OpenFile:
    """A file that stays open while somebody has a part of it, whoever removes it from its folder."""

    def __init__(self, path: Path) -> None:
        self.path, self.number = path, os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.number)

    def read_into(self, buffer: memoryview, at: int) -> None:
        while buffer:
            count = os.preadv(self.number, [buffer], at)
            if not count:
                raise UserError(f"{self.path} became shorter while it was read; start again, and it is made anew")
            buffer, at = buffer[count:], at + count


def find(folder: Path, key: str) -> StoredIds | None:
    """What was stored by this key, if it is there and whole."""
    path = folder / f"{key}.ids"
    try:
        file = _OpenFile(path)
        header = json.loads(os.pread(file.number, HEADER, 0))
        dtype, symbols = np.dtype(header["dtype"]), header["symbols"]
        whole = header["key"] == key and os.fstat(file.number).st_size == HEADER + symbols * dtype.itemsize
    except (OSError, ValueError, KeyError, TypeError):
        return None  # it is made anew
    return StoredIds(file, dtype, 0, symbols) if whole else None


def store(folder: Path, key: str, parts: Iterable[np.ndarray], dtype: np.dtype) -> StoredIds:
    """Write numbers that come in parts, and give them back as stored ones.

    The file bears another name until all of it has reached the disk, so nobody reads half of it, and of two processes
    that write the same, either may come last. What fails leaves nothing.

    Raises:
        UserError: there is no room for them.
    """
    scratch = None
    try:
        with tempfile.NamedTemporaryFile(dir=made(folder), prefix=WRITING, delete=False) as file:
            scratch = Path(file.name)
            file.seek(HEADER)
            for part in parts:
                file.write(part.tobytes())  # which may be empty
            symbols = (file.tell() - HEADER) // dtype.itemsize
            file.seek(0)
            file.write(json.dumps({"key": key, "dtype": dtype.str, "symbols": symbols}).encode().ljust(HEADER))
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, folder / f"{key}.ids")
        scratch = None
    except OSError as error:
        raise UserError(
            f"the numbers of the text cannot be kept in {folder}: {error.strerror}. Make room there (the command "
            "cache --clear removes what other texts left), or name another place by the environment variable "
            "MINIGRAD_CACHE"
        ) from error
    finally:
        if scratch:
            scratch.unlink(missing_ok=True)
    found = find(folder, key)
    if found is None:
        raise UserError(f"{folder / key}.ids was removed or changed as soon as it was written; start again")
    return found


def kept(folder: Path) -> Iterator[Path]:
    """The files in a folder that `store` made, and those whose writer was killed."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        with contextlib.suppress(FileNotFoundError):  # another process has removed it
            lost = path.name.startswith(WRITING) and time.time() - path.stat().st_mtime > ABANDONED
            if STORED.fullmatch(path.name) or lost:
                yield path
