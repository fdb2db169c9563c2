"""The character model's command line."""

import json
import math

import pytest
from typer.testing import CliRunner

from minigrad import nn
from models.char_lm import checkpoint, sampling
from models.char_lm.__main__ import app
from models.common.errors import UserError
from tests.characters import SENTENCE, small


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize("options", [[], ["--one-hot", "--cell", "gru", "--layers", 2, "--dropout", 0.1]])
def test_train_and_sample(tmp_path, options):
    text = tmp_path / "text.txt"
    text.write_text("ß" + SENTENCE * 30, encoding="utf-8")
    out = tmp_path / "run"
    trained = run(
        "train", "--data", text, "--out", out, "--hidden", 8, "--batch", 2, "--seq", 10, "--updates", 20, *options
    )
    assert trained.exit_code == 0, trained.output
    assert "1,351 characters, 29 distinct, sha256" in trained.output.replace("\n", " ")
    assert "bits) per character" in trained.output
    assert "validation:" in trained.output
    results = json.loads((out / checkpoint.DESCRIPTION).read_text(encoding="utf-8"))
    assert results["training"]["updates"] == 20

    first = run("sample", "--run", out, "--prime", "ß", "--length", 40)
    assert first.exit_code == 0, first.output
    assert first.output.startswith("ß")
    assert len(first.output) == 1 + 40 + 1
    assert run("sample", "--run", out, "--prime", "ß", "--length", 40).output == first.output


def test_a_model_that_diverged_is_not_saved(tmp_path):
    (tmp_path / "text.txt").write_text(SENTENCE * 30)
    options = ["--hidden", 8, "--batch", 2, "--seq", 10, "--updates", 1, "--lr", 1e38]
    result = run("train", "--data", tmp_path / "text.txt", "--out", tmp_path / "run", *options)
    assert result.exit_code == 1
    assert "the validation loss is nan, so nothing was saved; try a smaller --lr" in result.output
    assert not list((tmp_path / "run").iterdir())


def test_a_model_without_numbers_says_so():
    model, _ = small()
    nn.init.constant_(model.output.bias, math.nan)
    with pytest.raises(UserError, match=r"its training must have diverged"):
        list(sampling.sample(model, 3, prime="a"))


def test_sampling_without_a_prime(tmp_path):
    (tmp_path / "text.txt").write_text(SENTENCE * 30)  # no new line in it
    options = ["--hidden", 8, "--batch", 2, "--seq", 10, "--updates", 1]
    assert run("train", "--data", tmp_path / "text.txt", "--out", tmp_path / "run", *options).exit_code == 0
    assert len(run("sample", "--run", tmp_path / "run", "--length", 20).output) == 21


def test_errors_are_told_in_a_line(tmp_path):
    (tmp_path / "short.txt").write_text("too short")
    (tmp_path / "latin.txt").write_bytes(b"\xe9" * 5000)
    for arguments, message in [
        (["train", "--data", tmp_path / "none.txt"], "there is no text file"),
        (["train", "--data", tmp_path / "short.txt"], "need at least 2049"),
        (["train", "--data", tmp_path / "latin.txt"], "is not UTF-8 text"),
        (
            ["train", "--data", tmp_path / "short.txt", "--cell", "qrnn"],
            "there is no cell 'qrnn'; choose one of rnn, lstm",
        ),
        (["train", "--data", "[/none].txt"], "there is no text file [/none].txt"),
        (["train", "--updates", "1", "--out", tmp_path / "short.txt"], "name another folder with --out"),
        (["train", "--lr", "0"], "--lr must be positive"),
        (["train", "--device", "gpu"], "unknown device 'gpu'"),
        (["sample", "--run", tmp_path], "holds no trained model"),
    ]:
        result = run(*arguments)
        assert result.exit_code == 1
        assert message in result.output
        assert "Traceback" not in result.output
    assert run("train", "--hidden", "0").exit_code == 2
