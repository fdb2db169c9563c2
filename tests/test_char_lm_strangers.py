"""Files from strangers: whatever is in them, they are read, or refused in a line that says why."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from models.char_lm import checkpoint
from models.char_lm.checkpoint import Checkpoint, load, load_weights, save
from models.char_lm.commands.inspect import lines, look
from models.char_lm.model import CharLM, Options
from models.common.errors import UserError

from .characters import small
from .checkpoints import inspected, numbers, parts, with_header, written


def valid(**options: Any) -> bytes:
    metadata, arrays = parts(**options)
    return safetensors.numpy.save(arrays | {"training/x": np.arange(3.0)}, metadata)


VALID = [valid(), valid(cell="gru", layers=2), valid(embedding=0), valid(unit="byte", vocabulary="", hidden=1)]


# Mistakes -----------------------------------------------------------------------------------------


def _pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weight": np.ones(100)}))


def _zipped(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, weight=np.ones(3))


def _cut(kept: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        save(path, Checkpoint(small()[0]))
        path.write_bytes(path.read_bytes()[:kept])

    return write


def _told(**told: str) -> Callable[[Path], None]:
    """A checkpoint with other metadata."""

    def write(path: Path) -> None:
        metadata, arrays = parts()
        written(path, metadata | told, arrays)

    return write


def _option(**options: Any) -> Callable[[Path], None]:
    """A checkpoint that claims other options."""
    return _arrays(lambda arrays: None, **options)


def _arrays(change: Callable[[dict[str, np.ndarray]], object], **options: Any) -> Callable[[Path], None]:
    """A checkpoint with other arrays, that claims other options."""

    def write(path: Path) -> None:
        metadata, arrays = parts()
        metadata["model"] = json.dumps(json.loads(metadata["model"]) | options)
        change(arrays)
        written(path, metadata, arrays)

    return write


def _long_header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 1 << 25) + bytes(1 << 25))


MISTAKES = {
    "no file": (lambda path: None, r"there is no file .*x.safetensors. Train a model first, or name another"),
    "an empty folder": (Path.mkdir, r"x.safetensors holds no trained model: there is no file best.safetensors in it"),
    "a pipe": (os.mkfifo if hasattr(os, "mkfifo") else Path.mkdir, r"there is no file|holds no trained model"),
    "an empty file": (Path.touch, r"is not a whole safetensors file: its header takes 8 bytes at least, but it has 0"),
    "text": (
        lambda path: path.write_text("To be, or not to be"),
        r"is not a whole.* of another kind; .* another file$",
    ),
    "a pickle": (
        _pickled,
        r"what torch.save writes, (.|\n)*torch.load\('x.safetensors', weights_only=True\), 'x-converted.safe",
    ),
    "a zip": (_zipped, r"what torch.save writes, which is never opened here, because opening it can run any program"),
    "cut to its length": (
        _cut(8),
        r"is not a whole safetensors file: its header would take [\d,]+ bytes, but it has 8",
    ),
    "cut in the header": (_cut(100), r"is not a whole safetensors file: its header would take .* It was cut short"),
    "cut at the end": (_cut(-1), r"x.safetensors is not a whole safetensors file: .* It was cut short"),
    "a header that commands the terminal": (
        lambda path: path.write_bytes(with_header(VALID[0], lambda text: text.replace("F32", "\\u001b[31m"))),
        r"is not a whole safetensors file: [ -~]*(unknown variant `\\x1b\[31m`|InvalidHeader)",
    ),
    "a header without end": (_long_header, r"is refused: its header takes 33,554,432 bytes, more than the 16,777,216"),
    "another program's": (
        lambda path: written(path, {}, {"x": np.ones(2)}),
        r"without a word about its program, not a ch",
    ),
    "a named program's": (
        _told(program="\x1b[31mx"),
        r"of the program \\x1b\[31mx, not a checkpoint of char_lm.*--weights",
    ),
    "a newer version": (_told(version="2"), r"has format version 2, but this program reads version 1. Use the release"),
    "a version without end": (_told(version="9" * 9999), r"has format version 99999999999999999999\.\.\., but"),
    "no options": (_told(model=""), r"does not describe a char_lm model: Expecting value"),
    "a list of options": (_told(model="[]"), r"does not describe .* model: expected names with their values, got list"),
    "deep options": (_told(model='{"a":' * 99999), r"does not describe a char_lm model: its JSON is nested too deeply"),
    "deep training": (_told(about='{"a":' * 31 + "1" + "}" * 31), r"its JSON is nested in more than 30 levels"),
    "twice": (
        _told(model='{"cell": "rnn", "cell": "gru"}'),
        r"does not describe a char_lm model: a name is there twice",
    ),
    "NaN": (_told(about='{"loss": NaN}'), r"does not describe a char_lm model: NaN is no JSON"),
    "infinity": (_told(about='{"loss": 1e999}'), r"does not describe a char_lm model: 1e999 is too large a number"),
    "a number without end": (
        _told(about='{"a":' + "9" * 9999 + "}"),
        r"does not describe a char_lm model: Exceeds the",
    ),
    "an unknown option": (_option(depth=3), r"does not describe a char_lm model: a model has no option depth"),
    "text for a number": (_option(hidden="2"), r"hidden must be int, got str"),
    "a bool for a number": (_option(layers=True), r"layers must be int, got bool"),
    "a float for an int": (_option(hidden=2.0), r"hidden must be int, got float"),
    "a list for a text": (_option(vocabulary=["a", "b"]), r"vocabulary must be str, got list"),
    "another cell": (_option(cell="qrnn"), r"does not describe a char_lm model: there is no cell 'qrnn'"),
    "characters twice": (_option(vocabulary="aa"), r"the vocabulary must be text of distinct characters in order"),
    "characters of bytes": (_option(unit="byte"), r"a model of bytes has no vocabulary of characters"),
    "dropout": (_option(dropout=7), r"dropout must be a probability from 0 to 1, got 7"),
    "a size without end": (_option(hidden=10**4000), r"hidden is too large"),
    "a great size": (
        _option(hidden=10**9),
        r"It has other shapes: output.weight is \(2, 2\), expected \(2, 1000000000\), .* more",
    ),
    "a million layers": (_option(layers=10**6), r"It lacks: rnn.weight_ih_l1, .*, rnn.bias_hh_l1 and \d+ more$"),
    "a million layers, and one of them": (
        _arrays(lambda x: x.update({"rnn.bias_hh_l7": np.ones(8, np.float32)}), layers=10**6),
        r"It lacks: rnn.weight_ih_l1, .*, rnn.bias_hh_l1 and \d+ more$",
    ),
    "a great vocabulary": (
        _option(vocabulary="".join(map(chr, range(32, 50000)))),
        r"It has other shapes: output.weight is \(2, 2\), expected \(49968, 2\)",
    ),
    "fewer layers": (
        _option(embedding=0),
        r"It has besides: embedding.weight; it has other shapes: rnn.weight_ih_l0 is",
    ),
    "the weights of another cell": (
        _option(cell="gru"),
        r"does not have the weights that its metadata describes \(gru, layers: 1, hidden: 2, embedding: 1\). It",
    ),
    "a weight less": (
        _arrays(lambda x: x.pop("output.bias")),
        r"that its metadata describes \(lstm, layers: 1, .*\). It lacks: output.bias$",
    ),
    "a weight more": (_arrays(lambda x: x.update({"\x1bc": np.ones(2)})), r"It has besides: \\x1bc"),
    "whole numbers": (
        _arrays(lambda x: x.update({"output.bias": np.ones(2, int)})),
        r"expected weights that are all F16 or all F32 or all F64, got F32, I64",
    ),
    "no numbers": (_arrays(lambda x: x["output.bias"].fill(np.nan)), r"the numbers of output.bias are not all finite"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_is_no_checkpoint(mistake: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    make, message = MISTAKES[mistake]
    make(path)
    with pytest.raises(UserError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_an_array_whose_shape_numpy_lacks(tmp_path: Path) -> None:
    metadata, arrays = parts()
    written(tmp_path / "x", metadata, arrays | {"training/x": np.ones(0, np.float32)})
    raw = (tmp_path / "x").read_bytes()
    for shape in ("[0,4611686018427387904]", "[" + ",".join(["0"] * 70) + "]"):
        (tmp_path / "y").write_bytes(with_header(raw, lambda text, shape=shape: text.replace("[0]", shape)))
        with pytest.raises(UserError, match="y cannot be read: (array is too big|maximum supported dimension)"):
            load(tmp_path / "y")
        assert inspected(tmp_path / "y", "--json").exit_code == 0


# Files from strangers -----------------------------------------------------------------------------


def read_everywhere(path: Path, raw: bytes) -> set[str]:
    """Read a file in every way; which ways accept it. Anything but a UserError is an error of the test."""
    path.write_bytes(raw)
    accepted = set()
    model = CharLM(Options("ab", hidden=2, embedding=1))
    before = numbers(model)
    for name, read in {"load": load, "look": look, "weights": lambda path: load_weights(model, path)}.items():
        try:
            found = read(path)
        except UserError as error:
            said = str(error)
            assert str(path) in said
            continue
        accepted.add(name)
        if name == "look":
            "\n".join(lines(found)).encode("ascii", "backslashreplace"), json.dumps(found, allow_nan=False)
    assert "weights" in accepted or numbers(model) == before
    return accepted


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([10**9, 10**6, 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.binary(max_size=300)
    | st.builds(lambda n, x: struct.pack("<Q", n) + x, st.integers(0, 300), st.binary(max_size=300))
)
def test_random_bytes(tmp_path: Path, raw: bytes) -> None:
    assert read_everywhere(tmp_path / "x", raw) <= {"look"}  # which accepts a file of nothing


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid file with some edits: bytes exchanged, cut out, put in, or taken from another valid file."""
    raw = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(raw)))
        stop = start + draw(st.integers(0, 8) | st.integers(0, 2000))
        other = draw(st.sampled_from(VALID))
        new = draw(
            st.binary(max_size=8)
            | st.sampled_from([b"9", b"-", b'"', b"}", b"[", b"e", b"\\u0000"])
            | st.just(other[start:stop])
        )
        raw[start:stop] = new
    return bytes(raw)


@given(mutated())
def test_spoilt_files(tmp_path: Path, raw: bytes) -> None:
    read_everywhere(tmp_path / "x", raw)


OPTIONS = [field.name for field in dataclasses.fields(Options)]


@given(
    st.sampled_from(VALID),
    st.dictionaries(st.sampled_from(OPTIONS) | st.text(max_size=8), json_values, max_size=4),
    st.dictionaries(
        st.sampled_from(["program", "version", "model", "about"]) | st.text(max_size=5),
        st.text(max_size=20) | json_values.map(json.dumps),
        max_size=2,
    ),
    json_values,
)
def test_metadata_from_strangers(
    tmp_path: Path, raw: bytes, options: dict[str, Any], metadata: dict[str, str], about: Any
) -> None:
    """Whatever is claimed, memory is taken for what is there."""

    def change(text: str) -> str:
        header = json.loads(text)
        known = header["__metadata__"]
        known["model"] = json.dumps(json.loads(known["model"]) | options)
        header["__metadata__"] = known | {"about": json.dumps({"about": about})} | metadata
        return json.dumps(header)

    raw = with_header(raw, change)
    tracemalloc.start()
    read_everywhere(tmp_path / "x", raw)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000 + 30 * len(raw)


NAMES = [name for name, _ in checkpoint.expected_shapes(Options("ab", layers=2))]
sizes = st.integers(0, 3) | st.sampled_from([2**31, 2**62, 2**64])
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F32", "F64", "F16", "BF16", "F8_E4M3", "F4", "C64", "I64", "BOOL", "X"]),
        "shape": st.lists(sizes, max_size=3) | st.just([0] * 70),
        "data_offsets": st.lists(st.integers(0, 24), min_size=2, max_size=2),
    }
)


@given(
    st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), entries | json_values, max_size=4),
    st.dictionaries(st.sampled_from(["program", "version", "model"]), json_values, max_size=3),
    st.booleans(),
    st.binary(max_size=48),
)
def test_headers_from_strangers(
    tmp_path: Path, arrays: dict[str, Any], metadata: dict[str, Any], tidy: bool, data: bytes
) -> None:
    end = 0
    for entry in arrays.values() if tidy else ():  # one after another, as they should be
        if isinstance(entry, dict) and "data_offsets" in entry:
            start, end = end, end + abs(entry["data_offsets"][1] - entry["data_offsets"][0]) // 4 * 4
            entry["data_offsets"], entry["dtype"], entry["shape"] = [start, end], "F32", [(end - start) // 4]
    header = json.dumps({"__metadata__": metadata, **arrays}).encode()
    read_everywhere(tmp_path / "x", struct.pack("<Q", len(header)) + header + (bytes(end) if tidy else data))


def test_many_layers_in_a_small_file(tmp_path: Path) -> None:
    """What is there is read in a time that grows no faster than the file."""
    metadata, arrays = parts(layers=2, hidden=1)
    metadata["model"] = json.dumps(json.loads(metadata["model"]) | {"layers": 1000})
    for k in range(1000):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            arrays[f"rnn.{name}_l{k}"] = arrays[f"rnn.{name}_l1"]
    assert load(written(tmp_path / "x", metadata, arrays)).model.options.layers == 1000
