"""Text in: files, folders and pipes, symbols and their numbers, splits and streams."""

import hashlib
import io
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from models.char_lm import text
from models.char_lm.text import open_text
from models.char_lm.vocabulary import Vocabulary
from models.common import built_in, streams
from models.common.errors import UserError

from .texts import CHARACTERS, write

TEXTS = st.text(st.one_of(CHARACTERS, st.sampled_from("ab\r\n\ufeffé☃🙂")), max_size=30)


# Symbols and their numbers


@given(st.text(CHARACTERS, min_size=1))
def test_encoding_and_decoding(content):
    vocabulary = Vocabulary(content)
    assert vocabulary.characters == "".join(sorted(set(content)))
    ids = vocabulary.encode(content)
    assert ids.tolist() == [vocabulary.characters.index(c) for c in content]
    assert ids.dtype == vocabulary.dtype == np.min_scalar_type(len(vocabulary) - 1)
    assert vocabulary.decode(ids) == vocabulary.decode(ids.tolist()) == content


@given(st.text(CHARACTERS, min_size=1), st.text(CHARACTERS))
def test_unknown_characters(known, content):
    vocabulary = Vocabulary(known)
    assert vocabulary.decode(vocabulary.encode(content, "skip")) == "".join(c for c in content if c in known)
    vocabulary = Vocabulary(known + "\ufffd")
    replaced = "".join(c if c in known else "\ufffd" for c in content)
    assert vocabulary.decode(vocabulary.encode(content, "replace")) == replaced


@given(st.binary())
def test_a_vocabulary_of_bytes(data):
    vocabulary = Vocabulary("", "byte")
    assert len(vocabulary) == 256
    assert vocabulary.encode(data.decode("utf-8", "surrogateescape")).tolist() == list(data)
    assert vocabulary.decode(list(data)) == data.decode("utf-8", "replace")


def test_a_vocabulary_of_many_characters():
    for size, dtype in [(256, np.uint8), (257, np.uint16)]:
        vocabulary = Vocabulary("".join(map(chr, range(0x4E00, 0x4E00 + size))))
        assert vocabulary.encode(vocabulary.characters).tolist() == list(range(size))
        assert vocabulary.encode(vocabulary.characters).dtype == dtype
        with pytest.raises(UserError, match="the character 'a'"):
            vocabulary.encode("a")


# Files


@given(st.lists(TEXTS, min_size=1, max_size=4), st.integers(1, 40), st.sampled_from(["keep", "unix"]))
def test_any_text_in_blocks_of_any_size(tmp_path_factory, contents, block, newline):
    folder = tmp_path_factory.mktemp("texts")
    paths = [write(folder / str(n), content) for n, content in enumerate(contents)]
    whole = "".join(content.removeprefix("\ufeff") for content in contents)
    if newline == "unix":
        whole = "".join(c.removeprefix("\ufeff").replace("\r\n", "\n") for c in contents)
    if not whole:
        with pytest.raises(UserError, match="is empty"):
            open_text(paths, block=block, newline=newline)
        return
    opened = open_text(paths, block=block, newline=newline)
    assert opened.vocabulary.decode(opened.ids) == whole
    assert opened.fingerprint == hashlib.sha256(whole.encode()).hexdigest()
    assert (opened.distinct, opened.skipped, opened.replaced) == (len(set(whole)), 0, 0)
    assert opened.returns == (whole.count("\r") if newline == "keep" else 0)


@given(st.lists(st.binary(), min_size=1, max_size=3), st.integers(1, 9), st.sampled_from(["keep", "unix"]))
def test_any_bytes_in_blocks_of_any_size(tmp_path_factory, contents, block, newline):
    folder = tmp_path_factory.mktemp("bytes")
    paths = [write(folder / str(n), content) for n, content in enumerate([*contents, b"\r\n\0\xff"])]
    whole = b"".join(contents) + b"\r\n\0\xff"
    if newline == "unix":
        whole = b"".join(c.replace(b"\r\n", b"\n") for c in contents) + b"\n\0\xff"
    opened = open_text(paths, unit="byte", block=block, newline=newline)
    assert opened.ids.astype(np.uint8).tobytes() == whole
    assert opened.fingerprint == hashlib.sha256(whole).hexdigest()


def test_the_fingerprint_is_what_sha256sum_says(tmp_path):
    path = write(tmp_path / "text.txt", "naïve ☃\r\n")
    opened = open_text([path])
    assert opened.fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()
    assert opened.summary() == (
        f"{path}: 9 characters, 9 distinct, sha256 {opened.fingerprint[:12]}; "
        "1 carriage returns among them (--newline unix takes them from line ends)"
    )
    assert text.read_text(path) == "naïve ☃\r\n"


def test_a_folder(tmp_path):
    for name, content in [("b.txt", "b"), ("a/z.MD", "z"), ("a/c.txt", "c"), ("d.py", "d"), (".h.txt", "h")]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, content)
    write(tmp_path / ".git.txt", "h")
    (tmp_path / ".git").mkdir()
    write(tmp_path / ".git" / "x.txt", "h")
    opened = open_text([tmp_path])
    assert opened.vocabulary.decode(opened.ids) == "czb"
    assert opened.source == f"{tmp_path} (3 files)"
    opened = open_text([tmp_path / "d.py", tmp_path, tmp_path / "b.txt"])
    assert opened.vocabulary.decode(opened.ids) == "dczbb"


def test_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=write, args=(tmp_path / "pipe", "abc" * 5000))
    writer.start()
    opened = open_text([tmp_path / "pipe"])
    writer.join()
    assert opened.vocabulary.decode(opened.ids) == "abc" * 5000


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("é☃".encode())))
    opened = open_text([Path("-")])
    assert opened.vocabulary.decode(opened.ids) == "é☃"
    assert opened.source == "standard input"


def test_a_pipe_that_is_too_long_for_the_disk(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"abc")))
    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(UserError, match="standard input cannot be copied to .*: No space left on device.*TMPDIR"):
        open_text([Path("-")])


MISTAKES = [
    ({"a.txt": b""}, {}, r"a.txt is empty: there is nothing to read"),
    ({"a.txt": b"\xef\xbb\xbf"}, {}, r"a.txt is empty"),
    ({"a.txt": b"", "b.txt": b""}, {}, r"\(2 files\) is empty"),
    ({"a.txt": "naïve".encode("latin-1")}, {}, "a.txt is not UTF-8 text: byte 0xef at offset 2 .*iconv -f latin1"),
    ({"a.txt": "aé☃".encode()[:-1]}, {}, "a.txt is not UTF-8 text: byte 0xe2 at offset 3"),
    ({"a.txt": b"fine", "b.txt": b"\xef\xbb\xbfabc\xff"}, {}, "b.txt is not UTF-8 text: byte 0xff at offset 6"),
    ({"a.txt": "text".encode("utf-16")}, {}, "a.txt is UTF-16 text. Convert it first: iconv -f utf-16 -t utf-8 a.txt"),
    ({"a.txt": b"\xfe\xff\0a"}, {}, "a.txt is UTF-16 text"),
    ({"a.txt": "text".encode("utf-32")}, {}, "a.txt is UTF-32 text"),
    ({"a.txt": b"\0\0\xfe\xff\0\0\0a"}, {}, "a.txt is UTF-32 text"),
    ({"a.txt": b"ab\0c"}, {}, "a.txt holds a zero byte at offset 2, .*--unit byte"),
    ({"a.txt": "text".encode("utf-16-le")}, {}, "zero byte at offset 1.*UTF-16 without its mark"),
    ({"a.py": b"a", "b.py": b"", "Makefile": b""}, {}, r"is a folder without text files \(\*.txt or \*.md\); there is "
                                                       r"2 \*.py, 1 Makefile. Files of other kinds are named one by"),
    ({}, {}, "is a folder without text files .*; there is nothing"),
    ({"a.txt": b"a"}, {"unit": "word"}, "there is no unit 'word'; choose one of char, byte"),
    ({"a.txt": b"a"}, {"unknown": "drop"}, "no policy 'drop' for unknown characters; choose one of error, skip, repl"),
    ({"a.txt": b"a"}, {"newline": "dos"}, "there is no newline 'dos'; choose one of keep, unix"),
    ({"a.txt": b"a"}, {"min_count": 0}, "at least 1 .*, got 0"),
    ({"a.txt": b"a"}, {"min_count": 2, "unit": "byte"}, r"\(of bytes, 1\), got 2"),
    ({"a.txt": b"a"}, {"corpus": "text8"}, "choose one text: the corpus text8 or"),
    ({"a.txt": b"abc", "b.txt": "12€".encode()}, {"vocabulary": Vocabulary("abc12")},
     r"'€' at position 2 of .*b.txt is not in the vocabulary; --unknown .* The 5 characters .*: 12abc"),
    ({"a.txt": b"xyz"}, {"vocabulary": Vocabulary("abc"), "unknown": "skip"}, "none of its characters is in the voca"),
    ({"a.txt": b"xyz"}, {"vocabulary": Vocabulary("abc"), "unknown": "replace"}, "no U.FFFD in the vocabulary.*--min"),
]  # fmt: skip


@pytest.mark.parametrize("block", [1, 1 << 20])
@pytest.mark.parametrize(("files", "options", "message"), MISTAKES, ids=[m[2][:30] for m in MISTAKES])
def test_mistakes(tmp_path, files, options, message, block):
    for name, content in files.items():
        write(tmp_path / name, content)
    paths = [tmp_path] if len(files) != 1 else [tmp_path / name for name in files]
    with pytest.raises(UserError, match=message):
        open_text(paths, block=block, **options)


def test_what_is_no_file(tmp_path):
    with pytest.raises(UserError, match="there is no text file .*none.txt"):
        open_text([tmp_path / "none.txt"])
    with pytest.raises(UserError, match="there is no text file .*none.txt"):
        text.read_text(tmp_path / "none.txt")
    with pytest.raises(UserError, match="/dev/null is a device or a socket"):
        open_text([Path("/dev/null")])
    with pytest.raises(UserError, match="a.txt/b.txt cannot be read: Not a directory"):
        open_text([write(tmp_path / "a.txt", "a") / "b.txt"])


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that opens and cannot be read")
def test_a_file_that_cannot_be_read():
    with pytest.raises(UserError, match="/proc/self/mem cannot be read: Input/output error"):
        open_text([Path("/proc/self/mem")])


def test_the_builtin_text_is_the_same_every_time():
    opened = open_text()
    assert len(opened.ids) > 100_000
    assert (
        opened.fingerprint == open_text().fingerprint == hashlib.sha256(built_in.built_in_text().encode()).hexdigest()
    )
    assert opened.vocabulary.decode(opened.ids) == built_in.built_in_text()


def test_a_python_without_the_builtin_text(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(UserError, match="without pydoc_data.topics.*name a text with --data FILE"):
        open_text()


# Unknown and rare characters


def test_rare_characters(tmp_path):
    opened = open_text([write(tmp_path / "a.txt", "aaabbc☃\ufffd")], min_count=2)
    assert opened.vocabulary.characters == "ab\ufffd"
    assert opened.vocabulary.decode(opened.ids) == "aaabb\ufffd\ufffd\ufffd"
    assert (opened.distinct, opened.replaced) == (5, 2)
    assert "; 2 rare or unknown ones became U+FFFD" in opened.summary()
    assert open_text([tmp_path / "a.txt"]).vocabulary.characters == "abc☃\ufffd"
    assert open_text([write(tmp_path / "b.txt", "aabb")], min_count=2).vocabulary.characters == "ab"


def test_a_text_for_the_vocabulary_of_another(tmp_path):
    path = write(tmp_path / "a.txt", "abcb")
    skipped = open_text([path], vocabulary=Vocabulary("ab"), unknown="skip")
    assert (skipped.ids.tolist(), skipped.skipped, skipped.replaced) == ([0, 1, 1], 1, 0)
    assert "; 1 unknown ones left out" in skipped.summary()
    replaced = open_text([path], vocabulary=Vocabulary("ab\ufffd"), unknown="replace")
    assert (replaced.ids.tolist(), replaced.skipped, replaced.replaced) == ([0, 1, 2, 1], 0, 1)
    assert open_text([path], vocabulary=Vocabulary("", "byte")).ids.tolist() == list(b"abcb")


# Splits and streams


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 40), st.integers(1, 3))
def test_streams_are_contiguous(n, steps, extra, pieces):
    ids = np.arange(n * steps + 1 + extra)
    read = streams.Streams(np.array_split(ids, pieces), n, steps)
    chunks = [read.chunk(number) for number in range(read.chunks)]
    assert len(chunks) == (len(ids) - 1) // n // steps
    inputs, targets = (mg.concatenate(parts).numpy() for parts in zip(*chunks, strict=True))
    assert (targets == inputs + 1).all()  # a target is the character that follows
    assert (np.diff(inputs, axis=0) == 1).all()  # row n of a chunk goes on in row n of the next
    assert (np.diff(inputs, axis=1) == len(inputs)).all()  # a stream begins where the one before ends


def test_a_text_shorter_than_one_chunk():
    streams.Streams([np.arange(13)], 3, 4)
    with pytest.raises(UserError, match=r"has 12 symbols, but 3 streams of 4 steps need at least 13.*--batch"):
        streams.Streams([np.arange(12)], 3, 4)


def test_the_split_is_contiguous():
    parts = streams.split(np.arange(100))
    assert [x.tolist() for x in parts.train] == [list(range(90))]
    assert [x.tolist() for x in parts.held_out] == [list(range(90, 100))]
