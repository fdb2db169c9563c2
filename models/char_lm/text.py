"""Text in: where it comes from, and its symbols as numbers.

A text is read twice, in blocks: once for its checksum and how often each symbol occurs, once to number its symbols.
So it may be larger than memory: the numbers of a long one lie in a file, which is made once.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..common.built_in import built_in_text
from ..common.cache import cache_folder
from ..common.errors import UserError
from . import ids as stored
from .corpora import corpus_source
from .sources import BLOCK, NEWLINES, Source, find_sources, read
from .vocabulary import REPLACEMENT, Vocabulary, check_unknown, code_points

FORMAT = 2  # of what is kept; another number, and it is made anew


@dataclass(frozen=True)
class Text:
    """A text, ready to be learned or to be judged."""

    source: str  # what to call it
    fingerprint: str  # SHA-256 of its content in UTF-8, in hexadecimal digits; of plain files, what sha256sum says
    vocabulary: Vocabulary
    ids: Any  # the numbers of its symbols: len(ids), ids[a:b] as often as one likes, np.asarray(ids[a:b]) reads them
    distinct: int = 0  # symbols that occur in it, before any was skipped or replaced
    skipped: int = 0  # characters that are not in the vocabulary and were left out,
    replaced: int = 0  # or became U+FFFD
    returns: int = 0  # carriage returns in it

    def summary(self) -> str:
        """What it is, in a line."""
        unit = "bytes" if self.vocabulary.unit == "byte" else "characters"
        line = f"{self.source}: {len(self.ids):,} {unit}, {self.distinct:,} distinct, sha256 {self.fingerprint[:12]}"
        if self.skipped:
            line += f"; {self.skipped:,} unknown ones left out"
        if self.replaced:
            line += f"; {self.replaced:,} rare or unknown ones became U+FFFD"
        if self.returns:
            line += f"; {self.returns:,} carriage returns among them (--newline unix takes them from line ends)"
        return line


def open_text(
    paths: Sequence[Path] = (),
    *,
    corpus: str | None = None,
    unit: str = "char",
    vocabulary: Vocabulary | None = None,
    min_count: int = 1,
    unknown: str = "error",
    newline: str = "keep",
    cache: Path | None = None,
    block: int = BLOCK,
) -> Text:
    """The text of some files, of a well-known corpus, or the one inside Python.

    Files are joined in order, with nothing between them, as `cat` does. A folder means the files *.txt and *.md in it
    and below, ordered by path; "-" is the standard input. Characters are read as UTF-8, without the mark that some
    editors put first; the unit "byte" takes any file as it is.

    Args:
        unit: "char" or "byte"; that of the vocabulary, if there is one.
        vocabulary: that of a model; without it, the text has its own.
        min_count: for a vocabulary of the text's own: characters that occur less often become U+FFFD.
        unknown: for a given vocabulary: what becomes of characters that are not in it, see `vocabulary.UNKNOWN`.
        newline: "keep", or "unix" for LF where there is CR LF.
        cache: the folder instead of $MINIGRAD_CACHE. It gets a file, as long as the text or a little longer,
            for texts of more than `ids.IN_MEMORY` symbols.
        block: bytes to read at a time.

    Raises:
        UserError: there is no such text, it is not UTF-8, it is empty, or a character is unknown.
    """
    check_unknown(unknown)
    if newline not in NEWLINES:
        raise UserError(f"there is no newline {newline!r}; choose one of {', '.join(NEWLINES)}")
    if vocabulary is not None:
        unit = vocabulary.unit
    elif min_count < 1 or (unit == "byte" and min_count > 1):
        raise UserError(f"min_count is how often a character must occur, at least 1 (of bytes, 1), got {min_count}")
    with contextlib.ExitStack() as stack:
        name, sources = _sources(paths, corpus, cache, stack)
        reading = _Reading(name, sources, unit, newline, block)
        own = vocabulary is None
        known = _own_vocabulary(reading, unit, min_count) if vocabulary is None else vocabulary
        strange = sum(n for code, n in reading.counts.items() if unit == "char" and chr(code) not in known.characters)
        policy = "error" if not strange else "replace" if own else unknown
        ids = _numbers(reading, known, policy, own, cache)
    if not len(ids):
        raise UserError(f"{name}: none of its characters is in the vocabulary, so nothing is left")
    return Text(
        name,
        reading.fingerprint,
        known,
        ids,
        distinct=len(reading.counts),
        skipped=strange if policy == "skip" else 0,
        replaced=strange if policy == "replace" else 0,
        returns=reading.counts[ord("\r")] if newline == "keep" else 0,
    )


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, or of a folder; all of it in memory."""
    with contextlib.ExitStack() as stack:
        text = "".join("".join(read(source, "char")) for source in find_sources([path], stack))
    if not text:
        raise UserError(f"{path} is empty: there is nothing to read")
    return text


class _Reading:
    """The first reading of some sources: what is in them. `again` is the second."""

    def __init__(self, name: str, sources: Sequence[Source], unit: str, newline: str, block: int) -> None:
        self.name, self.sources = name, sources
        self.unit, self.newline, self.block = unit, newline, block
        self.counts: collections.Counter[int] = collections.Counter()  # of each code point or byte
        digest = hashlib.sha256()
        for _, part in self._parts():
            data = part.encode() if isinstance(part, str) else part
            digest.update(data)
            codes = code_points(part) if isinstance(part, str) else np.frombuffer(data, np.uint8).astype("<u4")
            values, counts = np.unique(codes, return_counts=True)  # 32 bits sort 20 times faster than 8
            self.counts.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        if not self.counts:
            raise UserError(f"{name} is empty: there is nothing to read")
        self.fingerprint = digest.hexdigest()

    def again(self) -> Iterator[tuple[Source, str | bytes]]:
        """The same parts, each with its source.

        Raises:
            UserError: the text is not what it was at the first reading.
        """
        digest = hashlib.sha256()
        for source, part in self._parts():
            digest.update(part.encode() if isinstance(part, str) else part)
            yield source, part
        if digest.hexdigest() != self.fingerprint:
            raise UserError(self.changed)

    @property
    def changed(self) -> str:
        return f"{self.name} changed while it was read. Start again when nobody writes to it any more"

    def _parts(self) -> Iterator[tuple[Source, str | bytes]]:
        for source in self.sources:
            for part in read(source, self.unit, self.newline, self.block):
                yield source, part


def _sources(
    paths: Sequence[Path], corpus: str | None, cache: Path | None, stack: contextlib.ExitStack
) -> tuple[str, list[Source]]:
    """What to call the text, and where it comes from."""
    if corpus is not None:
        if paths:
            raise UserError(f"choose one text: the corpus {corpus} or {paths[0]}")
        return corpus, [corpus_source(corpus, cache)]
    if not paths:
        name = "the language reference inside Python"
        data = built_in_text().encode()
        return name, [Source(name, lambda: io.BytesIO(data))]
    sources = find_sources([Path(path) for path in paths], stack)
    if len(sources) == 1:
        return sources[0].name, sources
    return ", ".join(map(str, paths[:3])) + f"{', ...' if len(paths) > 3 else ''} ({len(sources)} files)", sources


def _own_vocabulary(reading: _Reading, unit: str, min_count: int) -> Vocabulary:
    """The characters that occur often enough, and U+FFFD if there are others."""
    common = "".join(chr(code) for code, count in reading.counts.items() if count >= min_count)
    rare = unit == "char" and len(common) < len(reading.counts)
    return Vocabulary(common + REPLACEMENT if rare else common, unit)


def _numbers(reading: _Reading, vocabulary: Vocabulary, policy: str, own: bool, cache: Path | None) -> Any:
    """The numbers of the symbols: in memory, or, if they are many, in a file."""
    parts = _encoded(reading, vocabulary, policy, own)
    if reading.counts.total() <= stored.IN_MEMORY:
        return np.concatenate(list(parts))
    about = [FORMAT, reading.fingerprint, vocabulary.unit, vocabulary.characters, policy]
    key = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]
    folder = texts_folder(cache)
    found = stored.find(folder, key)
    return stored.store(folder, key, parts, len(vocabulary)) if found is None else found


def _encoded(reading: _Reading, vocabulary: Vocabulary, policy: str, own: bool) -> Iterator[np.ndarray]:
    """The numbers, part by part."""
    before, start = None, 0  # the source, and the place there
    for source, part in reading.again():
        if isinstance(part, bytes):
            yield np.frombuffer(part, np.uint8)
            continue
        before, start = source, start if source is before else 0
        try:
            ids = vocabulary.encode(part, policy, source=source.name, start=start)
        except UserError as error:
            raise UserError(reading.changed) if own else error from None
        yield ids
        start += len(part)


def texts_folder(cache: Path | None = None) -> Path:
    """Where the numbers of long texts are kept."""
    return cache_folder("texts", cache)
