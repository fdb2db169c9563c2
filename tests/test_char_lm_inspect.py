"""What the command `inspect` shows of a file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from models.char_lm import checkpoint
from models.char_lm.checkpoint import Checkpoint, save

from .characters import small
from .checkpoints import inspected, with_header, written
from .golden import files

ABOUT = {"updates": 3, "settings": {"lr": 0.004}, "text": "größe \U0001f600\x1b"}

# `inspect` ----------------------------------------------------------------------------------------


def squeezed(told: str) -> str:
    """A text with one space between words, however wide its columns."""
    return re.sub(" +", " ", told)


def test_inspect(tmp_path: Path) -> None:
    save(
        tmp_path / checkpoint.BEST,
        Checkpoint(small(layers=2)[0], ABOUT, {"x": np.ones(3)}),
    )
    for path in (tmp_path, tmp_path / checkpoint.BEST):
        shown = inspected(path)
        assert shown.exit_code == 0, shown.output
        for line in [
            f"{tmp_path / checkpoint.BEST}: a checkpoint of char_lm, 19,",
            "cell lstm",
            "symbols 28 characters: ' .abcdefghijklmnopqrstuvwxyz'",
            "parameters 4,540",
            "settings.lr 0.004",
            "text größe 😀\\x1b",
            "arrays 1, to go on with",
            "rnn.weight_ih_l1 F32 (64, 16)",
            "all numbers that were read are finite",
        ]:
            assert line in squeezed(shown.output)
    found = json.loads(inspected(tmp_path, "--json").output)
    assert found["model"]["vocabulary"] == " .abcdefghijklmnopqrstuvwxyz"
    assert found["about"]["text"] == ABOUT["text"]
    assert found["parameters"] == 4540
    assert found["arrays"]["training/x"] == {"dtype": "F64", "shape": [3], "finite": True}


def test_inspect_looks_where_train_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs/char_lm").mkdir(parents=True)
    save(tmp_path / "runs/char_lm" / checkpoint.BEST, Checkpoint(small()[0], ABOUT))
    monkeypatch.chdir(tmp_path)
    result = inspected()
    assert result.exit_code == 0
    assert "best.safetensors: a checkpoint of char_lm" in result.output


def test_inspect_other_files(tmp_path: Path) -> None:
    arrays = {"a\x1b[31m": np.array([1.0, np.nan]), "b": np.ones((2, 3), int), "training/c": np.ones(1, np.float16)}
    path = written(tmp_path / "x", {"from": "elsewhere\n"}, arrays)
    path.write_bytes(with_header(path.read_bytes(), lambda text: text.replace("F16", "BF16")))
    shown = inspected(path).output
    for line in [
        "x: a safetensors file, ",
        "from  elsewhere\\n",
        "arrays, 8 numbers",
        "a\\x1b[31m  F64   (2,)",
        "b          I64   (2, 3)",
        "training/c  BF16  (1,)",
        "not finite: a\\x1b[31m",
        "not read, because NumPy lacks the dtype: training/c",
    ]:
        assert " ".join(line.split()) in " ".join(shown.split())
    assert json.loads(inspected(path, "--json").output)["metadata"] == {"from": "elsewhere\n"}
    assert "logits" in inspected(files.LANGUAGE["lstm"]).output
    path.write_bytes(path.read_bytes()[:-1])
    for arguments in ([path], [path, "--json"], [tmp_path / "none"]):
        failed = inspected(*arguments)
        assert failed.exit_code == 1
        assert failed.output.startswith("error: ")
        assert "Traceback" not in failed.output
