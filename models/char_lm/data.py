"""Text in: where it comes from, its characters as numbers, and its cutting into streams.

V: vocabulary   N: streams side by side   T: time steps per chunk
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import minigrad as mg


class UserError(ValueError):
    """Something the user can put right; the command line shows the message alone."""


# Where the text comes from ------------------------------------------------------------------------


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
    """The first 12 hexadecimal digits of the text's SHA-256."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:12]


# Characters and numbers ---------------------------------------------------------------------------


class Vocabulary:
    """The distinct characters of a text, in order; a character's number is its place."""

    def __init__(self, characters: str) -> None:
        self.characters = "".join(sorted(set(characters)))
        self._codes = _code_points(self.characters)

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> np.ndarray:
        """The numbers (len(text),) of the characters, int64."""
        codes = _code_points(text)
        ids = np.searchsorted(self._codes, codes)
        known = self._codes[np.minimum(ids, len(self._codes) - 1)] == codes
        if not known.all():
            at = int(np.argmin(known))
            shown = self.characters.replace("\n", "\\n")
            raise UserError(
                f"the character {text[at]!r} at position {at} is not in the vocabulary. Its {len(self)} characters "
                f"are those of the training text: {shown[:200]}{'...' if len(shown) > 200 else ''}"
            )
        return ids

    def decode(self, ids: np.ndarray) -> str:
        """The text of some numbers."""
        return "".join(self.characters[i] for i in ids)


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


# Cutting ------------------------------------------------------------------------------------------


def split(ids: np.ndarray, validation: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """The first part for training, the last for validation, each contiguous."""
    held_out = max(2, round(len(ids) * validation))
    return ids[: len(ids) - held_out], ids[len(ids) - held_out :]


class Streams:
    """A text as N contiguous streams side by side, read T steps at a time.

    Stream n begins where stream n - 1 ends, so row n of one chunk goes on in row n of the next:
    a state carried from chunk to chunk fits. The whole text goes to the device at once; a chunk is a slice of it.
    """

    def __init__(self, ids: np.ndarray, streams: int, steps: int, device: str = "cpu") -> None:
        length = (len(ids) - 1) // streams // steps * steps
        if length < steps:
            raise UserError(
                f"the training text (what is left when validation has its share) has {len(ids)} characters, but "
                f"{streams} streams of {steps} steps need at least {streams * steps + 1}. Use a longer text, or "
                "smaller --batch or --seq"
            )
        self.steps = steps
        self.chunks = length // steps
        parts = ids[: streams * length], ids[1 : streams * length + 1]
        text = np.ascontiguousarray(np.stack([part.reshape(streams, length).T for part in parts]))  # (2, length, N)
        self.inputs, self.targets = mg.tensor(text, device=device)

    def epoch(self) -> Iterator[tuple[mg.Tensor, mg.Tensor]]:
        """Each chunk in order: inputs (T, N) and the characters that follow them (T, N)."""
        for start in range(0, self.chunks * self.steps, self.steps):
            yield self.inputs[start : start + self.steps], self.targets[start : start + self.steps]
