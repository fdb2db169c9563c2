"""Texts longer than memory: their numbers in a file, what spoils it, what it costs."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.char_lm import ids as stored
from models.char_lm import packing, text
from models.char_lm.text import open_text
from models.char_lm.vocabulary import Vocabulary
from models.common import streams
from models.common.errors import UserError

from .texts import CHARACTERS, files_in, write


@pytest.fixture
def small_memory(monkeypatch):
    """Every text is too long for memory."""
    monkeypatch.setattr(stored, "IN_MEMORY", 0)


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


@given(
    st.sampled_from([257, 300, 5000, 1 << 16, 70_000, 0x110000]),
    st.lists(st.tuples(st.integers(0, 3 * packing.BLOCK), st.integers(1, 2000)), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)
def test_large_numbers_are_packed_and_unpacked(tmp_path_factory, size, parts, random):
    """Parts of any length, of few different numbers and of many; cut anywhere."""
    draw = np.random.default_rng(random.getrandbits(32))
    made = [draw.choice(draw.integers(0, size, different), count) for count, different in parts]
    dtype = np.min_scalar_type(size - 1)
    whole = np.concatenate(made).astype(dtype)
    found = stored.store(tmp_path_factory.mktemp("stored"), "0" * 32, (part.astype(dtype) for part in made), size)
    assert (len(found), found.dtype) == (len(whole), dtype)
    for _ in range(8):
        start, stop = sorted(random.randint(0, len(whole)) for _ in range(2))
        np.testing.assert_array_equal(np.asarray(found[start:stop]), whole[start:stop])
    np.testing.assert_array_equal(np.asarray(found), whole)


@pytest.mark.parametrize("share", [0, 0.01, 0.05, 0.15, 0.3, 0.5, 1])
def test_many_symbols_cost_little_more_than_their_text(tmp_path, small_memory, share):
    """Of ASCII with some Chinese: the more frequent a character, the smaller its number, as 1/n."""
    draw = np.random.default_rng(0)
    weights = 1 / np.arange(1, 3001)
    chinese = 0x4E00 + draw.choice(3000, 200_000, p=weights / weights.sum())
    plain = draw.choice(list(b"etaoinshrdlu \n,.ETAOINSHRDLU0123456789wmfgypbvkjxqzWMFGYPBVK"), 200_000)
    codes = np.where(draw.random(200_000) < share, chinese, plain)
    path = write(tmp_path / "a.txt", "".join(map(chr, codes)) + "".join(map(chr, range(0x4E00, 0x4E00 + 3000))))
    opened = open_text([path], cache=tmp_path / "cache")
    (name,) = files_in(tmp_path / "cache")
    assert opened.ids.dtype == np.uint16
    assert (tmp_path / "cache" / "texts" / name).stat().st_size <= 1.2 * path.stat().st_size


def test_stored_numbers_are_not_taken_one_by_one(tmp_path, small_memory):
    ids = open_text([write(tmp_path / "a.txt", "abc")], cache=tmp_path).ids
    for part in (0, slice(0, 3, 2), [0]):
        with pytest.raises(TypeError, match=r"cut by ids\[a:b\] alone"):
            ids[part]
    with pytest.raises(ValueError, match="always a copy"):
        np.asarray(ids, copy=False)


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
from models.common import streams
from models.char_lm.text import open_text
opened = open_text([Path(sys.argv[1])], cache=Path(sys.argv[2]))
train, held_out = streams.split(opened.ids).train, streams.split(opened.ids).held_out
read = streams.Streams(train, 64, 128)
chunks = [read.chunk(n)[0].numpy() for n in (0, 1, read.chunks // 2, read.chunks - 1)]
seen = [opened.vocabulary.decode(np.unique(chunk)) for chunk in chunks]
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
first = opened.vocabulary.decode(np.asarray(opened.ids[:1000]))
last = opened.vocabulary.decode(np.asarray(opened.ids[-1000:]))
print(json.dumps([len(opened.ids), opened.fingerprint, memory, first, last, seen]))
"""


@pytest.mark.large
@pytest.mark.parametrize("more", ["", "".join(map(chr, range(0x4E00, 0x4E00 + 1000)))], ids=["a byte", "two bytes"])
def test_a_gigabyte_of_text_costs_little_memory_and_disk(tmp_path, more):
    random = np.random.default_rng(0)
    letters = "abcdefgh ijklmnopqrst,.\r\n☃é🙂漢"
    piece = ("".join(random.choice(list(letters), 1 << 20)) + more).encode()
    path, digest = tmp_path / "large.txt", hashlib.sha256()
    with path.open("wb") as file:
        while file.tell() < 1_000_000_000:
            file.write(piece)
            digest.update(piece)
    # Through a shell, for at its start a process is said to be as large as the one that started it.
    arguments = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", LARGE, str(path), str(tmp_path / "cache")]
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
        assert all(set(found) - set(more) == set(letters) for found in seen)


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
