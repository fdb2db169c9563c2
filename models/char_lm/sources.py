"""Where a text comes from: files, folders, what is piped in. It is read in blocks, as often as one likes."""

from __future__ import annotations

import codecs
import collections
import contextlib
import itertools
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, AnyStr

from ..common.errors import UserError

BLOCK = 1 << 21  # bytes that are read at a time
SUFFIXES = (".txt", ".md")  # of the files that are meant by a folder
NEWLINES = {"keep": "as they are in the file", "unix": "CR LF becomes LF"}
MARK = "\ufeff"  # that some editors put first
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16's, with which it begins
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True)
class Source:
    """Something to read."""

    name: str
    open: Callable[[], IO[bytes]]  # from its start


def find_sources(paths: Sequence[Path], stack: contextlib.ExitStack) -> list[Source]:
    """The files, in the order named; of a folder, all SUFFIXES in it and in the folders inside, ordered by path.

    What can be read only once ("-" is the standard input, or a pipe) is copied to a temporary file until `stack` ends.
    Names that begin with a dot are left out of a folder.
    """
    found: list[Source] = []
    for path in paths:
        if str(path) == "-":
            if sys.stdin is None:
                raise UserError("the standard input is closed; name a file")
            found.append(_copied("standard input", sys.stdin.buffer, stack))
            continue
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            raise UserError(f"there is no text file {path}") from None
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from error
        if stat.S_ISDIR(mode):
            found += [_file(file) for file in _texts_in(path)]
        elif stat.S_ISREG(mode):
            found.append(_file(path))
        elif stat.S_ISFIFO(mode):
            with path.open("rb") as pipe:
                found.append(_copied(str(path), pipe, stack))
        else:
            raise UserError(f"{path} is a device or a socket, not a text file")
    return found


def read(source: Source, unit: str, newline: str = "keep", block: int = BLOCK) -> Iterator[Any]:
    """The text of a source in parts: strings, or for the unit "byte" its bytes as they are.

    Raises:
        UserError: it cannot be read, or is not UTF-8 text.
    """
    parts: Iterator[Any] = _decoded(source, block) if unit == "char" else _blocks(source, block)
    return parts if newline == "keep" else _unix(parts)


def _file(path: Path) -> Source:
    return Source(str(path), lambda: path.open("rb"))


def _copied(name: str, stream: IO[bytes], stack: contextlib.ExitStack) -> Source:
    file = stack.enter_context(tempfile.NamedTemporaryFile())  # noqa: SIM115
    try:
        shutil.copyfileobj(stream, file, BLOCK)
        file.flush()
    except OSError as error:
        raise UserError(
            f"{name} cannot be copied to {Path(file.name).parent}: {error.strerror}. Make room there, or name another "
            "folder by the environment variable TMPDIR"
        ) from error
    return Source(name, lambda: Path(file.name).open("rb"))


def _texts_in(folder: Path) -> list[Path]:
    every = []
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        every += [Path(here, name) for name in names if not name.startswith(".")]
    texts = sorted(path for path in every if path.suffix.lower() in SUFFIXES and path.is_file())
    if not texts:
        kinds = collections.Counter(f"*{path.suffix}" if path.suffix else path.name for path in every)
        there = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5)) or "nothing"
        raise UserError(
            f"{folder} is a folder without text files ({' or '.join('*' + s for s in SUFFIXES)}); there is {there}. "
            "Files of other kinds are named one by one"
        )
    return texts


def _blocks(source: Source, size: int) -> Iterator[bytes]:
    try:
        with source.open() as file:
            while block := file.read(size):
                yield block
    except OSError as error:
        raise UserError(f"{source.name} cannot be read: {error.strerror or error}") from error


def _decoded(source: Source, size: int) -> Iterator[str]:
    """The characters of UTF-8 text, without the mark at its start."""
    rest, offset, first = b"", 0, True
    for block in itertools.chain(_blocks(source, size), [b""]):  # the last: nothing more comes
        rest += block
        try:
            text, used = codecs.utf_8_decode(rest, "strict", not block)
        except UnicodeDecodeError as error:
            raise UserError(_complaint(source, rest[error.start], offset + error.start)) from error
        if "\0" in text:
            raise UserError(_complaint(source, 0, offset + rest.index(0)))
        rest, offset = rest[used:], offset + used
        if text and first:
            text, first = text.removeprefix(MARK), False
        if text:
            yield text


def _complaint(source: Source, byte: int, offset: int) -> str:
    """Why a file is no text."""
    name, start = source.name, next(_blocks(source, 4), b"")
    for mark, encoding in MARKS.items():
        if start.startswith(mark):
            return f"{name} is {encoding.upper()} text. Convert it first: {_iconv(encoding, name)}"
    if byte == 0:
        return (
            f"{name} holds a zero byte at offset {offset}, so it is not text but a binary file, or UTF-16 without its "
            "mark. A model of bytes learns any file: --unit byte"
        )
    return (
        f"{name} is not UTF-8 text: byte 0x{byte:02x} at offset {offset} cannot be decoded. If it is text in another "
        f"encoding, convert it first, for example from Latin-1 with {_iconv('latin1', name)}; or let the model learn "
        "bytes: --unit byte"
    )


def _iconv(encoding: str, name: str) -> str:
    return f"iconv -f {encoding} -t utf-8 {Path(name).name} > utf8.txt"


def _unix(parts: Iterator[AnyStr]) -> Iterator[AnyStr]:
    """LF instead of CR LF."""
    held = None
    for part in parts:
        cr, lf = ("\r", "\n") if isinstance(part, str) else (b"\r", b"\n")
        part = part if held is None else held + part
        held = cr if part.endswith(cr) else None  # what follows may be its LF
        part = part.removesuffix(cr) if held else part
        if part:
            yield part.replace(cr + lf, lf)
    if held is not None:
        yield held
