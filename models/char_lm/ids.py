"""The numbers of a text too long for memory, in a file.

The file: a line of JSON that says what is in it, padded to HEADER bytes; then the numbers. Those of one byte stand one
after another, larger ones in blocks (packing.py), with a list at the end of where each begins, and the last stops.
"""

from __future__ import annotations

import array
import contextlib
import itertools
import json
import os
import re
import tempfile
import time
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..common.cache import made
from ..common.errors import UserError
from . import packing

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
        found = np.empty(len(self), self.dtype)
        if not len(found):  # of which there can be no view in bytes
            return found if dtype is None else found.astype(dtype)
        if self._file.blocks is None:
            self._file.read_into(memoryview(found).cast("B"), HEADER + self._start)
        else:
            self._file.unpack_into(found, self._start, self._file.blocks)
        return found if dtype is None else found.astype(dtype, copy=False)


class _OpenFile:
    """A file that stays open while somebody has a part of it, whoever removes it from its folder."""

    def __init__(self, path: Path) -> None:
        self.path, self.number = path, os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.number)
        self.blocks: np.ndarray | None = None  # where they begin, and the last ends

    def read_into(self, buffer: memoryview, at: int) -> None:
        while buffer:
            count = os.preadv(self.number, [buffer], at)
            if not count:
                raise UserError(f"{self.path} became shorter while it was read; start again, and it is made anew")
            buffer, at = buffer[count:], at + count

    def unpack_into(self, found: np.ndarray, start: int, blocks: np.ndarray) -> None:
        """Fill an array with the numbers from `start` on."""
        stop = start + len(found)
        first, last = start // packing.BLOCK, -(-stop // packing.BLOCK)
        packed = np.empty(int(blocks[last] - blocks[first]), np.uint8)
        self.read_into(memoryview(packed), int(blocks[first]))
        bounds = (blocks[first : last + 1] - blocks[first]).tolist()
        for number, (begin, end) in enumerate(itertools.pairwise(bounds), first):
            at = number * packing.BLOCK
            ids = packing.unpack(packed[begin:end], found.dtype)[max(start - at, 0) : stop - at]
            found[max(at - start, 0) :][: len(ids)] = ids


def find(folder: Path, key: str) -> StoredIds | None:
    """What was stored by this key, if it is there and whole."""
    path = folder / f"{key}.ids"
    try:
        file = _OpenFile(path)
        header = json.loads(os.pread(file.number, HEADER, 0))
        dtype, symbols, stop = np.dtype(header["dtype"]), header["symbols"], header["stop"]
        size = os.fstat(file.number).st_size
        if header["key"] != key or stop > size:
            return None
        if dtype.itemsize == 1:
            return StoredIds(file, dtype, 0, symbols) if size == stop == HEADER + symbols else None
        file.blocks = np.frombuffer(os.pread(file.number, size - stop, stop), "<u8")
        whole = len(file.blocks) == -(-symbols // packing.BLOCK) + 1 and file.blocks[-1] == stop
        return StoredIds(file, dtype, 0, symbols) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # it is made anew


def store(folder: Path, key: str, parts: Iterable[np.ndarray], size: int) -> StoredIds:
    """Write numbers below `size` that come in parts, and give them back as stored ones.

    The file bears another name until all of it has reached the disk, so nobody reads half of it, and of two processes
    that write the same, either may come last. What fails leaves nothing.

    Raises:
        UserError: there is no room for them.
    """
    scratch = None
    try:
        with tempfile.NamedTemporaryFile(dir=made(folder), prefix=WRITING, delete=False) as file:
            scratch = Path(file.name)
            dtype = np.min_scalar_type(size - 1)
            file.seek(HEADER)
            symbols = _write(file, parts) if dtype.itemsize == 1 else _write_packed(file, parts, size)
            header = {"key": key, "dtype": dtype.str, **symbols}
            file.seek(0)
            file.write(json.dumps(header).encode().ljust(HEADER))
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


def _write(file: IO[bytes], parts: Iterable[np.ndarray]) -> dict[str, int]:
    """How many symbols, and where they stop."""
    for part in parts:
        file.write(part.tobytes())  # which may be empty
    return {"symbols": file.tell() - HEADER, "stop": file.tell()}


def _write_packed(file: IO[bytes], parts: Iterable[np.ndarray], size: int) -> dict[str, int]:
    """The same, in blocks."""
    packer, rest, symbols, bounds = packing.Packer(size), np.empty(0, np.uint8), 0, array.array("Q", [HEADER])
    for part in itertools.chain(parts, [None]):  # the last: nothing more comes
        ids = rest if part is None else np.concatenate([rest, part]) if len(rest) else part
        whole = len(ids) if part is None else len(ids) // packing.BLOCK * packing.BLOCK
        for start in range(0, whole, packing.BLOCK):
            bounds.append(bounds[-1] + file.write(packer.pack(ids[start : min(start + packing.BLOCK, whole)])))
        rest, symbols = ids[whole:], symbols + whole
    file.write(np.array(bounds, "<u8").tobytes())
    return {"symbols": symbols, "stop": bounds[-1]}


def kept(folder: Path) -> Iterator[Path]:
    """The files in a folder that `store` made, and those whose writer was killed."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        with contextlib.suppress(FileNotFoundError):  # another process has removed it
            lost = path.name.startswith(WRITING) and time.time() - path.stat().st_mtime > ABANDONED
            if STORED.fullmatch(path.name) or lost:
                yield path
