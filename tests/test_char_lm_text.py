"""Text in: files, folders, pipes and corpora, symbols and their numbers, splits and streams."""

import functools
import gc
import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import minigrad as mg
from models.char_lm import corpora, streams, text
from models.char_lm import ids as stored
from models.char_lm.__main__ import app
from models.char_lm.text import open_text
from models.char_lm.vocabulary import Vocabulary
from models.common.errors import UserError

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")  # of all planes
TEXTS = st.text(st.one_of(CHARACTERS, st.sampled_from("ab\r\n\ufeffé☃🙂")), max_size=30)


@pytest.fixture
def small_memory(monkeypatch):
    """Every text is too long for memory."""
    monkeypatch.setattr(stored, "IN_MEMORY", 0)


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


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


MISTAKES = [
    ({"a.txt": b""}, {}, r"a.txt is empty: there is nothing to learn from"),
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
     r"'€' at position 2 of .*b.txt is not in the vocabulary. Its 5 characters are those of the training text: 12abc"),
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
    assert opened.fingerprint == open_text().fingerprint == text.fingerprint(text.builtin_text())
    assert opened.vocabulary.decode(opened.ids) == text.builtin_text()


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


# Texts longer than memory


@given(st.text(CHARACTERS, min_size=1), st.data())
def test_stored_numbers_are_cut_like_arrays(tmp_path_factory, content, data):
    folder = tmp_path_factory.mktemp("stored")
    path = write(folder / "a.txt", content)
    with pytest.MonkeyPatch.context() as patch:
        in_memory = open_text([path])
        patch.setattr(stored, "IN_MEMORY", 0)
        on_disk = open_text([path], cache=folder / "cache", block=3)
    assert isinstance(on_disk.ids, stored.StoredIds)
    expected, ids = in_memory.ids, on_disk.ids
    place = st.none() | st.integers(-len(content) - 2, len(content) + 2)
    for _ in range(3):
        part = slice(data.draw(place), data.draw(place))
        assert np.asarray(ids).dtype == ids.dtype == expected.dtype
        assert np.asarray(ids).tolist() == expected.tolist() and len(ids) == len(expected)
        assert np.asarray(ids, np.int64).dtype == np.int64
        ids, expected = ids[part], expected[part]
    assert np.asarray(ids).tolist() == expected.tolist()


def test_stored_numbers_are_not_taken_one_by_one(tmp_path, small_memory):
    ids = open_text([write(tmp_path / "a.txt", "abc")], cache=tmp_path).ids
    for part in (0, slice(0, 3, 2), [0]):
        with pytest.raises(TypeError, match=r"cut by ids\[a:b\] alone"):
            ids[part]
    with pytest.raises(ValueError, match="always a copy"):
        np.asarray(ids, copy=False)


def files_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_text_is_numbered_once(tmp_path, small_memory, monkeypatch):
    path, cache = write(tmp_path / "a.txt", "abcabc"), tmp_path / "cache"
    first = open_text([path], cache=cache)
    (name,) = files_in(cache)
    assert (cache / "texts" / name).stat().st_size == stored.HEADER + 6
    monkeypatch.setattr(Vocabulary, "encode", None)  # nobody encodes again
    copy = write(tmp_path / "b.txt", "abcabc")  # the same text elsewhere
    assert np.asarray(open_text([copy], cache=cache).ids).tolist() == np.asarray(first.ids).tolist()
    assert files_in(cache) == [name]


def test_other_numbers_are_stored_apart(tmp_path, small_memory):
    path, cache = write(tmp_path / "a.txt", "abcab\r\n"), tmp_path / "cache"
    ways = [
        {},
        {"min_count": 2},
        {"unit": "byte"},
        {"newline": "unix"},
        {"vocabulary": Vocabulary("ab"), "unknown": "skip"},
        {"vocabulary": Vocabulary("ab\ufffd"), "unknown": "skip"},
        {"vocabulary": Vocabulary("abd\ufffd"), "unknown": "replace"},
    ]
    for number, options in enumerate(ways, 1):
        for _ in range(2):
            opened = open_text([path], cache=cache, **options)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(stored, "IN_MEMORY", 100)
                assert np.asarray(opened.ids).tolist() == open_text([path], **options).ids.tolist()
            assert len(files_in(cache)) == number
    write(path, "abcac\r\n")
    assert np.asarray(open_text([path], cache=cache).ids).tolist() == [2, 3, 4, 2, 4, 1, 0]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        lambda path: path.write_bytes(b"something else" * 1000),
        lambda path: path.write_bytes(path.read_bytes().replace(b'{"key": "', b'{"key": "0')),
        lambda path: path.write_bytes(b"[]".ljust(stored.HEADER) + b"abcabc"),
    ],
)
def test_a_spoilt_file_is_made_anew(tmp_path, small_memory, spoil):
    path = write(tmp_path / "a.txt", "abcabc")
    open_text([path], cache=tmp_path)
    (kept,) = (tmp_path / "texts").iterdir()
    whole = kept.read_bytes()
    spoil(kept)
    assert np.asarray(open_text([path], cache=tmp_path).ids).tolist() == [0, 1, 2] * 2
    assert kept.read_bytes() == whole


def test_numbers_outlive_their_file(tmp_path, small_memory, without_collector):
    opened = open_text([write(tmp_path / "a.txt", "abcabc")], cache=tmp_path)
    number = opened.ids._file.number
    (kept,) = (tmp_path / "texts").iterdir()
    kept.unlink()
    part = opened.ids[1:3]
    del opened
    assert np.asarray(part).tolist() == [1, 2]
    del part
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_a_file_cut_while_it_is_read(tmp_path, small_memory):
    ids = open_text([write(tmp_path / "a.txt", "abcabc")], cache=tmp_path).ids
    (kept,) = (tmp_path / "texts").iterdir()
    os.truncate(kept, stored.HEADER + 3)
    assert np.asarray(ids[:3]).tolist() == [0, 1, 2]
    with pytest.raises(UserError, match="became shorter while it was read"):
        np.asarray(ids)


@pytest.mark.parametrize("new", ["abcabd", "abcabcabc", "bbc", "abcabz", b"abc\xff"])
@pytest.mark.parametrize("long", [False, True])
def test_a_text_that_changes_between_the_readings(tmp_path, monkeypatch, new, long):
    path = write(tmp_path / "a.txt", "abcabc" + "d")
    monkeypatch.setattr(stored, "IN_MEMORY", 0 if long else 100)
    own_vocabulary = text._own_vocabulary

    def meanwhile(*arguments):
        write(path, new)
        return own_vocabulary(*arguments)

    monkeypatch.setattr(text, "_own_vocabulary", meanwhile)
    with pytest.raises(UserError, match="a.txt (changed while it was read|is not UTF-8)"):
        open_text([path], cache=tmp_path / "cache")
    assert not files_in(tmp_path / "cache")


def test_a_full_disk(tmp_path, small_memory, monkeypatch):
    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        UserError, match=r"cannot be kept in .*texts: No space left on device. Make room.*MINIGRAD_CACHE"
    ):
        open_text([write(tmp_path / "a.txt", "abc")], cache=tmp_path / "cache")
    assert not files_in(tmp_path / "cache")


def test_a_cache_that_cannot_be_made(tmp_path, small_memory):
    with pytest.raises(
        UserError, match=r"texts cannot be made: Not a directory. Name another place by .*MINIGRAD_CACHE"
    ):
        open_text([write(tmp_path / "a.txt", "abc")], cache=tmp_path / "a.txt")


def test_the_place_of_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "own"))
    assert text.texts_folder() == tmp_path / "own" / "texts"
    monkeypatch.delenv("MINIGRAD_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert text.texts_folder().is_relative_to(tmp_path) and text.texts_folder().parts[-2:] == ("minigrad", "texts")


def test_two_processes_number_the_same_text(tmp_path):
    path = write(tmp_path / "a.txt", "hello ☃ " * 200_000)
    program = f"""
import numpy as np
from pathlib import Path
from models.char_lm import ids, text
ids.IN_MEMORY = 0
path = Path({str(path)!r})
opened = text.open_text([path], cache=path.parent / "cache", block=1 << 16)
assert opened.vocabulary.decode(np.asarray(opened.ids)) == path.read_text(encoding="utf-8")
"""
    processes = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert len(files_in(tmp_path / "cache")) == 1


LARGE = """
import json, resource, sys
from pathlib import Path
import numpy as np
from models.char_lm import streams
from models.char_lm.text import open_text
opened = open_text([Path(sys.argv[1])], cache=Path(sys.argv[2]))
train, held_out = streams.split(opened.ids).train, streams.split(opened.ids).held_out
read = streams.Streams(train, 64, 128)
seen = [np.unique(read.chunk(n)[0].numpy()).tolist() for n in (0, 1, read.chunks // 2, read.chunks - 1)]
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
first = opened.vocabulary.decode(np.asarray(opened.ids[:1000]))
last = opened.vocabulary.decode(np.asarray(opened.ids[-1000:]))
print(json.dumps([len(opened.ids), opened.fingerprint, memory, first, last, [len(each) for each in seen]]))
"""


@pytest.mark.large
def test_a_gigabyte_of_text_costs_little_memory_and_disk(tmp_path):
    random = np.random.default_rng(0)
    piece = "".join(random.choice(list("abcdefgh ijklmnopqrst,.\r\n☃é🙂漢"), 1 << 20)).encode()
    path, digest = tmp_path / "large.txt", hashlib.sha256()
    with path.open("wb") as file:
        while file.tell() < 1_000_000_000:
            file.write(piece)
            digest.update(piece)
    arguments = [sys.executable, "-c", LARGE, str(path), str(tmp_path / "cache")]
    for _ in range(2):  # made, and found again
        told = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
        symbols, fingerprint, memory, first, last, seen = json.loads(told)
        (kept,) = (file for file in (tmp_path / "cache").rglob("*") if file.is_file())
        print(f"{path.stat().st_size:,} bytes: {kept.stat().st_size:,} on disk, {memory:,} of memory")
        assert fingerprint == digest.hexdigest()
        assert symbols == path.stat().st_size // len(piece) * len(piece.decode())
        assert kept.stat().st_size <= 1.2e9
        assert memory <= 200e6
        assert (first, last) == (piece.decode()[:1000], piece.decode()[-1000:])
        assert seen == [28] * 4


# Corpora


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """A server of the folder that it gives; what is in `cut` is sent by half."""
    folder = tmp_path / "web"
    folder.mkdir()
    cut = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def copyfile(self, source, outputfile):
            data = source.read()
            outputfile.write(data[: len(data) // 2] if cut else data)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "*")

    def add(name, content, *, member="", there=True, sha256=None):
        if there:
            write(folder / name, content)
        monkeypatch.setitem(
            corpora.CORPORA,
            "small",
            corpora.Corpus(
                f"http://127.0.0.1:{server.server_port}/{name}",
                sha256 or hashlib.sha256(content).hexdigest(),
                len(content),
                "for tests",
                member,
            ),
        )
        return folder / name

    add.cut, add.server = cut, server
    yield add
    server.shutdown()
    server.server_close()


def test_a_corpus_is_fetched_once(tmp_path, serve):
    at = serve("input.txt", ("né " * 1000).encode())
    cache = tmp_path / "cache"
    opened = open_text(corpus="small", cache=cache)
    assert opened.vocabulary.decode(opened.ids) == "né " * 1000
    assert opened.source == "small"
    at.unlink()
    assert open_text(corpus="small", cache=cache).fingerprint == opened.fingerprint
    assert len(files_in(cache)) == 1


def test_an_archive_is_unpacked_as_it_is_read(tmp_path, serve):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("other", "not this")
        packed.writestr("small", "né " * 1000)
    serve("small.zip", archive.getvalue(), member="small")
    opened = open_text(corpus="small", cache=tmp_path / "cache", block=7)
    assert opened.vocabulary.decode(opened.ids) == "né " * 1000
    assert opened.fingerprint == hashlib.sha256(("né " * 1000).encode()).hexdigest()
    assert files_in(tmp_path / "cache") == [corpora.CORPORA["small"].file]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pooch lets go of a broken connection
@pytest.mark.parametrize("mistake", ["checksum", "missing", "half", "nobody", "wrong file"])
def test_a_corpus_that_cannot_be_had(tmp_path, serve, mistake):
    sha256 = "0" * 64 if mistake == "checksum" else None
    serve("input.txt", b"abc" * 100_000, there=mistake != "missing", sha256=sha256)
    cache, corpus = tmp_path / "cache", corpora.CORPORA["small"]
    if mistake == "half":
        serve.cut.append(True)
    if mistake in ("nobody", "wrong file"):
        serve.server.shutdown()
        serve.server.server_close()
    if mistake == "wrong file":
        (cache / "corpora").mkdir(parents=True)
        write(cache / "corpora" / corpus.file, "something else")
    reason = {"checksum": "hash of downloaded file", "missing": "404", "half": "IncompleteRead"}
    with pytest.raises(
        UserError, match=rf"cannot be had from {corpus.url}: .*{reason.get(mistake, 'refused')}"
    ) as error:
        open_text(corpus="small", cache=cache)
    told = str(error.value)
    del error
    gc.collect()
    assert f"put it at {cache / 'corpora' / corpus.file}" in told
    assert f"it has 300000 bytes, SHA-256 {corpus.sha256}" in told
    assert ("what is there now has another checksum" in told) == (mistake == "wrong file")
    if mistake == "wrong file":
        assert (cache / "corpora" / corpus.file).read_text() == "something else"
    else:
        assert not files_in(cache)
    (cache / "corpora").mkdir(parents=True, exist_ok=True)
    write(cache / "corpora" / corpus.file, b"abc" * 100_000)  # what the error says to do
    if mistake != "checksum":
        assert len(open_text(corpus="small", cache=cache).ids) == 300_000


def test_a_corpus_that_nobody_knows():
    with pytest.raises(UserError, match=r"no corpus 'shakespeare'. There are: tinyshakespeare \(1 MB, 40 000 lines"):
        open_text(corpus="shakespeare")


def test_the_corpora():
    assert {"tinyshakespeare", "enwik8", "text8"} <= set(corpora.CORPORA)
    for corpus in corpora.CORPORA.values():
        assert len(bytes.fromhex(corpus.sha256)) == 32
        assert bool(corpus.member) == corpus.url.endswith(".zip")


# The command


def test_the_command_cache(tmp_path, small_memory, serve):
    serve("input.txt", b"abc" * 1_000_000)
    open_text(corpus="small", cache=tmp_path / "cache")
    texts = tmp_path / "cache" / "texts"
    write(texts / "mine.txt", "not the cache's")
    write(texts / "writing-new", "another process is at it")
    os.utime(write(texts / "writing-old", "a process that was killed"), (0, 0))
    (kept,) = texts.glob("*.ids")

    def run(*arguments):
        result = CliRunner().invoke(app, ["cache", "--folder", str(tmp_path / "cache"), *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    shown = run()
    assert f"{texts}: 2 files, 3.0 MB\n" in shown
    assert f"  {kept.name}  3.0 MB\n" in shown
    assert f"{corpora.CORPORA['small'].file}  3.0 MB\n" in shown
    assert "removed" not in shown and kept.exists()
    assert run("--clear").count("removed") == 3
    assert files_in(tmp_path / "cache") == ["mine.txt", "writing-new"]
    assert f"{texts}: 0 files, 0.0 MB" in run()


def test_a_cache_that_is_not_there(tmp_path):
    result = CliRunner().invoke(app, ["cache", "--folder", str(tmp_path / "none")])
    assert result.exit_code == 0 and result.output.count("0 files, 0.0 MB") == 2
    assert not (tmp_path / "none").exists()


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


def test_streams_of_stored_numbers(tmp_path, small_memory):
    content = "".join(map(chr, range(0x4E00, 0x4E00 + 1000)))
    ids = open_text([write(tmp_path / "a.txt", content)], cache=tmp_path).ids
    for convention in streams.SPLITS:
        parts = streams.split(ids[:], convention), streams.split(np.arange(1000), convention)
        for stored_part, part in zip(
            parts[0].train + parts[0].held_out, parts[1].train + parts[1].held_out, strict=True
        ):
            assert np.asarray(stored_part).tolist() == part.tolist()
        read = [streams.Streams(each.train, 3, 7) for each in parts]
        for number in range(read[0].chunks):
            assert [x.tolist() for x in read[0].chunk(number)] == [x.tolist() for x in read[1].chunk(number)]


def test_a_text_shorter_than_one_chunk():
    streams.Streams([np.arange(13)], 3, 4)
    with pytest.raises(UserError, match=r"has 12 symbols, but 3 streams of 4 steps need at least 13.*--batch"):
        streams.Streams([np.arange(12)], 3, 4)


def test_the_split_is_contiguous():
    parts = streams.split(np.arange(100))
    assert [x.tolist() for x in parts.train] == [list(range(90))]
    assert [x.tolist() for x in parts.held_out] == [list(range(90, 100))]
