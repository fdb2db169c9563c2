"""Well-known texts, fetched once and kept."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..common.cache import cache_folder, made
from ..common.errors import UserError
from .sources import Source


@dataclass(frozen=True)
class Corpus:
    """A text on the web."""

    url: str
    sha256: str  # of the file there
    size: int  # of that file, in bytes
    remark: str
    member: str = ""  # the text inside the file, if that is a zip archive

    @property
    def file(self) -> str:
        """Its name here."""
        return self.sha256[:8] + "-" + self.url.rpartition("/")[2]

    def open(self, path: Path) -> IO[bytes]:
        """The text in the file that was fetched; an archive is unpacked as it is read."""
        return zipfile.ZipFile(path).open(self.member) if self.member else path.open("rb")


# The checksum of tinyshakespeare was computed; those of the archives are what many projects on GitHub pin,
# independently of each other.
CORPORA = {
    "tinyshakespeare": Corpus(
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        1_115_394,
        "40 000 lines of Shakespeare's plays, as char-rnn has them; in the public domain",
    ),
    "text8": Corpus(
        "http://mattmahoney.net/dc/text8.zip",
        "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
        31_344_016,
        "100 million letters a to z and spaces, made from the English Wikipedia of March 2006; CC BY-SA and GFDL",
        "text8",
    ),
    "enwik8": Corpus(
        "http://mattmahoney.net/dc/enwik8.zip",
        "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
        36_445_475,
        "the first 100 million bytes of the English Wikipedia of March 2006, with its XML; CC BY-SA and GFDL",
        "enwik8",
    ),
}


def corpus_source(name: str, cache: Path | None = None) -> Source:
    """A corpus by its name; it is fetched if it is not there yet, and its checksum is compared.

    Raises:
        UserError: there is none of that name, or it cannot be had.
    """
    if name not in CORPORA:
        known = "; ".join(f"{each} ({corpus.size / 1e6:.0f} MB, {corpus.remark})" for each, corpus in CORPORA.items())
        raise UserError(f"there is no corpus {name!r}. There are: {known}")
    corpus, folder = CORPORA[name], corpora_folder(cache)
    path = _fetched(name, corpus, folder)
    return Source(name, lambda: corpus.open(path))


def corpora_folder(cache: Path | None = None) -> Path:
    """Where they are kept."""
    return cache_folder("corpora", cache)


def kept(folder: Path) -> list[Path]:
    """Those that are there."""
    return [path for corpus in CORPORA.values() if (path := folder / corpus.file).is_file()]


def _fetched(name: str, corpus: Corpus, folder: Path) -> Path:
    import pooch  # here, since it takes a third of a second

    path = made(folder) / corpus.file
    try:
        pooch.retrieve(corpus.url, "sha256:" + corpus.sha256, corpus.file, folder)
    except (OSError, ValueError) as error:  # all that requests raises is an OSError; a wrong checksum is a ValueError
        reason: BaseException = error
        while reason.__context__ is not None:  # what requests and urllib3 say of it is longer, not clearer
            reason = reason.__context__
        there = "what is there now has another checksum; " if path.exists() else ""
        raise UserError(
            f"the corpus {name} cannot be had from {corpus.url}: {reason}. Fetch it in another way and put it at "
            f"{path} ({there}it has {corpus.size} bytes, SHA-256 {corpus.sha256}), or name another text with --data "
            "FILE"
        ) from error
    return path
