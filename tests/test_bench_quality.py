"""`python -m bench quality`: how soon a model reaches a loss."""

import json

import pytest
from typer.testing import CliRunner

from bench import quality, tables
from bench.__main__ import app
from models.char_lm import measured
from tests.characters import SENTENCE


def invoke(*words):
    return CliRunner().invoke(app, ["quality", *map(str, words)], env={"COLUMNS": "200"})


@pytest.fixture
def small_text(tmp_path):
    path = tmp_path / "small.txt"
    path.write_text(SENTENCE * 60)
    return path


def test_it_keeps_json_and_makes_table_and_picture_from_it(tmp_path, small_text, monkeypatch):
    folder = tmp_path / "results"
    tiny = ["--hidden", "8", "--batch", "2", "--seq", "8", "--updates", "20", "--eval-every", "10"]
    result = invoke(small_text, "--presets", "tiny", "--threads", 1, "--folder", folder, "--", *tiny)
    assert result.exit_code == 0, result.output
    document = json.loads((folder / "quality.json").read_text(encoding="utf-8"))
    assert document["facts"] == {"text": "small.txt", "presets": ["tiny"], "more": tiny, "rounds": 1, "device": "cpu"}
    (row,) = document["rows"]
    assert row["updates"] == 20 and [look[0] for look in row["looks"]] == [10, 20]
    assert row["command"].startswith("python -m models.char_lm train --data small.txt --preset tiny --hidden 8 ")
    assert (folder / "quality.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(quality, "run", None)  # nothing is measured any more
    assert invoke("--show", "--folder", folder).output == result.output


def test_rounds_are_seeds_and_threads_are_in_the_environment(monkeypatch, small_text):
    asked = []

    def train(options, folder, data, environment):
        asked.append(options)
        assert data == small_text and environment["OMP_NUM_THREADS"] == "3"
        return []

    monkeypatch.setattr(measured, "train", train)
    monkeypatch.setattr(measured, "outcome", lambda records: {"looks": []})
    rows = list(quality.run(quality.TextFile(str(small_text)), ("fast", "best"), rounds=2, threads=3))
    assert [(row["preset"], row["seed"]) for row in rows] == [("fast", 0), ("best", 0), ("fast", 1), ("best", 1)]
    assert asked[2] == ["--preset", "fast", "--seed", "1", "--device", "cpu"]


def test_the_first_look_at_or_below_a_loss_is_told():
    looks = [[50, 1.0, 2.5], [100, 2.0, 1.87], [150, 3.0, 1.6], [200, 4.0, 1.7]]
    row = {"preset": "fast", "seed": 0, "command": "python", "parameters": 1000, "updates": 200, "seconds": 4.0,
           "nats": 1.6, "looks": looks}  # fmt: skip
    document = {"facts": {"text": "small.txt"}, "rows": [row]}
    shown = tables.markdown(quality.table(document)[0])
    assert shown.endswith("| fast | 0 | 1,000 | 100 | 2.00 | 150 | 3.00 | – | – | 50 | 200 | 4.00 | 1.6000 |")
    (axes,) = quality.picture(document).axes
    assert axes.lines[0].get_xydata().tolist() == [[1.0, 2.5], [2.0, 1.87], [3.0, 1.6], [4.0, 1.7]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a text to learn"),
        (["none.txt"], "there is no file none.txt"),
        (["--show"], "run `python -m bench quality` first"),
        (["--presets", "huge"], "there is no preset 'huge'"),
    ],
)
def test_what_users_do_wrong(words, message, tmp_path):
    result = invoke(*words, "--folder", tmp_path)
    assert result.exit_code != 0
    assert message in " ".join(result.output.replace("│", " ").split())
    assert not any(tmp_path.iterdir())


def test_a_training_that_fails_says_why(tmp_path, small_text):
    result = invoke(small_text, "--presets", "tiny", "--folder", tmp_path / "r", "--", "--batch", 99999)
    assert result.exit_code == 1 and "need at least" in result.output
