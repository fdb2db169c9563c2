"""Text in: where it comes from, and its symbols as numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..common.errors import UserError
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class Text:
    """A text, ready to be learned or to be judged."""

    source: str  # what to call it
    fingerprint: str  # SHA-256 of its content, in hexadecimal digits
    vocabulary: Vocabulary
    ids: Any  # the numbers of its symbols: len(ids), ids[a:b] as often as one likes, np.asarray(ids[a:b]) reads them

    def summary(self) -> list[str]:
        return [f"text:  {self.source}: {len(self.ids):,} symbols"]

    def facts(self):
        return {"source": self.source, "fingerprint": self.fingerprint}

    def opening(self) -> str:
        return self.vocabulary.decode(np.asarray(self.ids[:80])).partition("\n")[0]


def open_text(
    paths: Sequence[Path] = (),
    *,
    corpus: str | None = None,
    unit: str = "char",
    vocabulary: Vocabulary | None = None,
    min_count=1,
) -> Text:
    """The text of some files, of a well-known corpus, or the one inside Python.

    Args:
        vocabulary: that of a model; without it, the text has its own.
    """
    text = read_text(paths[0]) if paths else builtin_text()
    known = vocabulary or Vocabulary(text, unit)
    source = str(paths[0]) if paths else "the language reference inside Python"
    return Text(source, fingerprint(text), known, known.encode(text))


def read_text(path: Path) -> str:
    """The text of a UTF-8 file."""
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a text file")
    if not path.exists():
        raise UserError(f"there is no text file {path}")
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")  # without the mark that some editors put first
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text: byte 0x{raw[error.start]:02x} at offset {error.start} cannot be decoded. "
            "If it is text in another encoding, convert it first, for example from Latin-1 with "
            f"iconv -f latin1 -t utf-8 {path.name} > utf8.txt"
        ) from error
    if not text:
        raise UserError(f"{path} is empty: there is nothing to learn from")
    return text


def builtin_text() -> str:
    """The language reference that Python's help() shows, about 465 000 characters; it differs between versions."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise UserError(
            "this Python comes without pydoc_data.topics, the text used by default; name a text with --data FILE"
        ) from error
    return "\n\n".join(topics[name].strip("\n") for name in sorted(topics)) + "\n"


def fingerprint(text: str) -> str:
    """SHA-256 of the text."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
