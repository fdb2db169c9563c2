"""The character model on disk: what is saved comes back, whoever is killed meanwhile, and PyTorch reads it, too."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from models.char_lm import checkpoint
from models.char_lm.checkpoint import Checkpoint, load, load_last, load_weights, save
from models.char_lm.commands.inspect import look
from models.char_lm.model import CharLM, Options
from models.common.errors import UserError

from .characters import CELLS, small
from .checkpoints import numbers, parts, written
from .golden import files
from .helpers import host

ABOUT = {"updates": 3, "best": 1.5, "text": "größe \U0001f600\x1b", "random": [2**127, {"a": None}], "done": True}


# There and back -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("embedding", [0, 4])
def test_a_saved_model_comes_back(device: str, tmp_path: Path, cell: str, embedding: int) -> None:
    model, _ = small(cell, embedding=embedding, layers=2)
    arrays = {"adam.0": np.arange(3.0), "chunk": np.array(7), "flags": np.array([[True, False]])}
    save(tmp_path / "x.safetensors", Checkpoint(model, ABOUT, arrays))
    found = load(tmp_path / "x.safetensors")
    assert found.model.options == model.options
    assert {x.device for x in found.model.parameters()} == {"cpu"}
    assert numbers(found.model) == numbers(model)
    assert found.about == ABOUT
    assert {name: (x.dtype, x.tolist()) for name, x in found.arrays.items()} == {
        name: (x.dtype, x.tolist()) for name, x in arrays.items()
    }


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_a_model_of_bytes_in_another_dtype_comes_back(tmp_path: Path, dtype: str) -> None:
    model = CharLM(Options("", hidden=3, embedding=2, unit="byte")).to(getattr(mg, dtype))
    save(tmp_path / "x", Checkpoint(model))
    found = load(tmp_path / "x").model
    assert found.options == model.options
    assert found.output.weight.dtype == dtype
    assert numbers(found) == numbers(model)


def test_a_folder_gives_its_best_model_and_goes_on_from_its_last(tmp_path: Path) -> None:
    def about(read: Callable[[Path], Checkpoint]) -> Any:
        return read(tmp_path).about["name"]

    model, said = small()[0], []
    for name, expected in [(checkpoint.PREVIOUS, "previous"), (checkpoint.LAST, "last"), (checkpoint.BEST, "best")]:
        save(tmp_path / name, Checkpoint(model, {"name": expected}))
        assert about(load) == expected
    assert about(load_last) == "last"
    (tmp_path / checkpoint.LAST).write_bytes((tmp_path / checkpoint.LAST).read_bytes()[:-1])
    assert load_last(tmp_path, said.append).about["name"] == "previous"
    (tmp_path / checkpoint.LAST).unlink()
    assert load_last(tmp_path, said.append).about["name"] == "previous"
    assert "last.safetensors is not a whole safetensors file" in said[0]
    assert "there is no file" in said[1]
    assert all(
        line.endswith(f"Going on from the checkpoint before it, {tmp_path / checkpoint.PREVIOUS}") for line in said
    )
    (tmp_path / checkpoint.PREVIOUS).write_bytes(b"")
    with pytest.raises(
        UserError, match=r"no file .*last.safetensors.*The one before cannot be used either: .*previous"
    ):
        load_last(tmp_path)
    (tmp_path / checkpoint.PREVIOUS).unlink()
    with pytest.raises(UserError, match=r"there is no file .*last.safetensors. Train a model first"):
        load_last(tmp_path)


def test_saving_keeps_the_one_before(tmp_path: Path) -> None:
    for count in range(3):
        save(tmp_path / checkpoint.LAST, Checkpoint(small()[0], {"count": count}), keep_previous=True)
    assert load(tmp_path / checkpoint.LAST).about == {"count": 2}
    assert load(tmp_path / checkpoint.PREVIOUS).about == {"count": 1}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_that_diverged_replaces_nothing(device: str, tmp_path: Path, value: float) -> None:
    model, _ = small()
    save(tmp_path / "x", Checkpoint(model, {"good": True}))
    model.output.bias.data[3] = value
    with pytest.raises(UserError, match="x is not written: output.bias would not be finite, so training has diverged"):
        save(tmp_path / "x", Checkpoint(model))
    assert load(tmp_path / "x").about == {"good": True}


def test_what_json_cannot_say_replaces_nothing(tmp_path: Path) -> None:
    save(tmp_path / "x", Checkpoint(small()[0]))
    for about in ({"loss": np.inf}, {"loss": np.float32(1)}):
        with pytest.raises((ValueError, TypeError), match="JSON"):
            save(tmp_path / "x", Checkpoint(small()[0], about))
    assert load(tmp_path / "x").about == {}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", [{}, {"embedding": 0}, {"layers": 3}, {"unit": "byte", "vocabulary": ""}])
def test_the_formula_of_the_shapes(cell: str, options: dict[str, Any]) -> None:
    model = CharLM(Options(**{"vocabulary": "abc", "cell": cell, "hidden": 5, "embedding": 2} | options))
    assert dict(checkpoint.expected_shapes(model.options)) == {n: x.shape for n, x in model.state_dict().items()}


# Killed -------------------------------------------------------------------------------------------

WRITER = """
import os, sys
from pathlib import Path
from models.char_lm import checkpoint
from tests.characters import small

run, model = Path(sys.argv[1]), small()[0]
weights = {name: x.numpy() for name, x in model.state_dict().items()}
while sys.stdin.readline():  # another child for each line
    if child := os.fork():
        os.waitpid(child, 0)
        print("gone", flush=True)
        continue
    for count in range(1, 10**9):
        for array in weights.values():
            array[:] = count
        found = checkpoint.Checkpoint(model, {"count": count}, weights)
        checkpoint.save(run / checkpoint.LAST, found, keep_previous=True)
        if count == 2:
            print(os.getpid(), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_while_writing(tmp_path: Path) -> None:
    """At any moment: what is there is whole, and of one moment."""
    rng, debris = random.Random(0), 0
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        for _ in range(50):
            parent.stdin.write("go on\n")
            child = int(parent.stdout.readline())
            time.sleep(rng.uniform(0, 0.02))
            os.kill(child, signal.SIGKILL)
            assert parent.stdout.readline() == "gone\n"
            debris += len(list(tmp_path.iterdir())) > 2
            counts = []
            for name in (checkpoint.PREVIOUS, checkpoint.LAST):
                found = load(tmp_path / name)
                counts.append(found.about["count"])
                arrays = [*found.arrays.values(), *(x.numpy() for x in found.model.state_dict().values())]
                assert all((x == counts[-1]).all() for x in arrays)
            assert counts[1] - counts[0] in (0, 1)  # 0 between the two names that the one before gets
        parent.stdin.close()
    assert debris > 0  # some were killed while they wrote
    save(tmp_path / checkpoint.LAST, Checkpoint(small()[0]), keep_previous=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [checkpoint.PREVIOUS, checkpoint.LAST]


# PyTorch ------------------------------------------------------------------------------------------


def language(cell: str) -> CharLM:
    """The model of tests/golden/files.py."""
    return CharLM(Options("abcde", cell, hidden=4, layers=2, embedding=3))


@pytest.mark.parametrize("cell", CELLS)
def test_weights_written_by_torch_without_torch(device: str, cell: str) -> None:
    model = language(cell)
    load_weights(model, files.LANGUAGE[cell])
    logits = json.loads(look(files.LANGUAGE[cell])["metadata"]["logits"])
    np.testing.assert_allclose(host(model(mg.tensor(files.IDS))[0]), logits, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_from_torch_and_back(device: str, tmp_path: Path, cell: str) -> None:
    torch, safetensors_torch = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    theirs, ours, back = files.build_language(torch.nn, cell), language(cell), files.build_language(torch.nn, cell)
    expected = files.run_language(theirs, torch.tensor(files.IDS)).detach().numpy()
    safetensors_torch.save_file(theirs.state_dict(), tmp_path / "theirs.safetensors", {"format": "pt"})
    load_weights(ours, tmp_path / "theirs.safetensors")
    np.testing.assert_allclose(host(ours(mg.tensor(files.IDS))[0]), expected, atol=1e-6)

    save(tmp_path / "best.safetensors", Checkpoint(ours))
    back.load_state_dict(safetensors_torch.load_file(tmp_path / "best.safetensors"))
    assert all(torch.equal(x, y) for x, y in zip(theirs.parameters(), back.parameters(), strict=True))


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_weights_take_the_dtype_of_the_model(tmp_path: Path, dtype: str) -> None:
    model, expected = language("gru"), language("gru")
    arrays = {name: host(x).astype(dtype) for name, x in expected.state_dict().items()}
    load_weights(model, written(tmp_path / "x", {}, arrays))
    assert model.output.weight.dtype == mg.float32
    np.testing.assert_array_equal(model.output.weight.detach().numpy(), arrays["output.weight"].astype("float32"))


def test_weights_of_a_checkpoint_without_what_training_left(tmp_path: Path) -> None:
    model, other = small()[0], small()[0]
    other.output.bias.data[:] = 3
    save(tmp_path / checkpoint.LAST, Checkpoint(other, {}, {"x": np.ones(3, complex).real}))
    load_weights(model, tmp_path)
    assert numbers(model) == numbers(other)


def _torch(dtype: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        torch, safetensors_torch = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
        weights = files.build_language(torch.nn, "lstm").to(getattr(torch, dtype)).state_dict()
        safetensors_torch.save_file(weights, path)

    return write


def _torch_saved(path: Path, **options: Any) -> None:
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(2, 2).state_dict(), path, **options)


def _weights(**options: Any) -> Callable[[Path], None]:
    """A checkpoint of another model, or only its arrays."""

    def write(path: Path) -> None:
        plain = options.pop("plain", False)
        model = CharLM(Options(**{"vocabulary": "abcde", "hidden": 4, "layers": 2, "embedding": 3} | options))
        metadata, arrays = parts(model)
        written(path, {} if plain else metadata, arrays)

    return write


def _huge(path: Path) -> None:
    arrays = {name: host(x).astype(float) for name, x in language("lstm").state_dict().items()}
    arrays["output.bias"][0] = 1e300
    written(path, {}, arrays)


WEIGHTS = {
    "torch.save": (_torch_saved, r"what torch.save writes, which is never opened here(.|\n)*import torch, safetensors"),
    "torch.save of old": (
        lambda path: _torch_saved(path, _use_new_zipfile_serialization=False),
        r"what torch.save writes, which is never opened here",
    ),
    "bfloat16": (_torch("bfloat16"), r"embedding.weight has dtype BF16, which NumPy lacks; convert it .* x.float"),
    "too large for float32": (_huge, r"the numbers of output.bias are not all finite"),
    "another cell": (
        _weights(cell="gru", plain=True),
        r"weights that this model has. It has other shapes: .* and 4 more",
    ),
    "fewer layers": (
        _weights(layers=1),
        r"does not have the weights that this model has. It lacks: rnn.weight_ih_l1, .*",
    ),
    "other names": (
        lambda path: written(path, {}, {"lstm.weight": np.ones(3)}),
        r"It lacks: embedding.weight, .* and 7 more; it has besides: lstm.weight$",
    ),
    "other characters": (
        _weights(vocabulary="vwxyz"),
        r"is a model of 5 characters \(vwxyz\), but this one is of 5 characters \(abcde\): what was learned",
    ),
    "bytes": (_weights(vocabulary="", unit="byte"), r"is a model of bytes, but this one is of 5 characters"),
    "whole numbers": (
        lambda path: written(path, {}, {n: x.astype(int) for n, x in parts(language("lstm"))[1].items()}),
        r"expected weights that are floating-point numbers, got I64 as embedding.weight, .* and 7 more",
    ),
    "no file": (lambda path: None, r"there is no file"),
}


@pytest.mark.parametrize("mistake", WEIGHTS)
def test_weights_that_do_not_fit(mistake: str, tmp_path: Path) -> None:
    make, message = WEIGHTS[mistake]
    make(tmp_path / "x.pt")
    model = language("lstm")
    before = numbers(model)
    with pytest.raises(UserError, match=message):
        load_weights(model, tmp_path / "x.pt")
    assert numbers(model) == before
