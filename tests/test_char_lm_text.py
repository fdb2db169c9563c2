"""Text in: files, symbols and their numbers, splits and streams."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import minigrad as mg
from minigrad import nn, optim
from minigrad.nn import functional as F
from models.char_lm import checkpoint, sampling, streams, text, training
from models.char_lm.__main__ import app
from models.char_lm.model import CharLM, Options
from models.char_lm.vocabulary import Vocabulary
from models.common.errors import UserError
from tests.characters import CELLS, SENTENCE, small



@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_encoding_and_decoding(text):
    vocabulary = Vocabulary(text)
    assert vocabulary.characters == "".join(sorted(set(text)))
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_a_character_outside_the_vocabulary():
    with pytest.raises(UserError, match=r"'€' at position 2 is not in the vocabulary. Its 2 characters are .* ab"):
        Vocabulary("ab").encode("ab€")
    with pytest.raises(UserError, match="'c' at position 0"):
        Vocabulary("ab").encode("c")


def test_the_builtin_text_is_the_same_every_time():
    text = text.builtin_text()
    assert len(text) > 100_000
    assert text.fingerprint(text) == text.fingerprint(text.builtin_text())


def test_a_python_without_the_builtin_text(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydoc_data.topics", None)
    with pytest.raises(UserError, match="without pydoc_data.topics.*name a text with --data FILE"):
        text.builtin_text()


def test_reading_files(tmp_path):
    (tmp_path / "good.txt").write_bytes("naïve ☃\r\n".encode())
    assert text.read_text(tmp_path / "good.txt") == "naïve ☃\r\n"
    (tmp_path / "latin.txt").write_bytes("naïve".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8 text: byte 0xef at offset 2 .*iconv -f latin1"):
        text.read_text(tmp_path / "latin.txt")
    (tmp_path / "marked.txt").write_bytes(b"\xef\xbb\xbfabc")
    assert text.read_text(tmp_path / "marked.txt") == "abc"
    with pytest.raises(UserError, match=r"is a folder, not a text file"):
        text.read_text(tmp_path)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(UserError, match=r"empty.txt is empty"):
        text.read_text(tmp_path / "empty.txt")
    with pytest.raises(UserError, match="there is no text file"):
        text.read_text(tmp_path / "none.txt")


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 40))
def test_streams_are_contiguous(streams, steps, extra):
    ids = np.arange(streams * steps + 1 + extra)
    read = streams.Streams(ids, streams, steps)
    chunks = list(read.epoch())
    assert len(chunks) == read.chunks == (len(ids) - 1) // streams // steps
    assert all(part.data.flags.c_contiguous for chunk in chunks for part in chunk)
    inputs, targets = (mg.concatenate(parts).numpy() for parts in zip(*chunks, strict=True))
    assert (targets == inputs + 1).all()  # a target is the character that follows
    assert (np.diff(inputs, axis=0) == 1).all()  # row n of a chunk goes on in row n of the next
    assert (np.diff(inputs, axis=1) == len(inputs)).all()  # a stream begins where the one before ends


def test_a_text_shorter_than_one_chunk():
    streams.Streams(np.arange(13), 3, 4)
    with pytest.raises(UserError, match=r"has 12 characters, but 3 streams of 4 steps need at least 13.*--batch"):
        streams.Streams(np.arange(12), 3, 4)


def test_the_split_is_contiguous():
    train, held_out = streams.split(np.arange(100))
    assert (train.tolist(), held_out.tolist()) == (list(range(90)), list(range(90, 100)))
