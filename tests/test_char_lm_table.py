"""Which loss to expect: runs as commands of their own, the file of results, the tables made from it; the README."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from models.char_lm import measured, table
from models.char_lm.program import app
from models.char_lm.settings import PRESETS, Settings
from tests.characters import SENTENCE

TINY = ["--grid", "1x8,2x8", "--cell", "rnn,lstm", "--preset", "fast", "--updates", "20", "--batch", "2", "--seq", "8"]


def run(*words):
    runner = typer.Typer()
    runner.command()(table.main)
    return CliRunner().invoke(runner, [str(word) for word in words], env={"COLUMNS": "200"})


def told(result):
    return " ".join(result.output.split())


def records(settings=None, nats=2.0):
    settings = {"cell": "lstm", "layers": 1, "hidden": 8, "batch": 2, "seq": 8, "split": "contiguous"} | (
        settings or {}
    )
    return [
        {"event": "start", "settings": settings, "parameters": 1234},
        {"event": "train", "update": 10, "loss": 2.5, "seconds": 1.0},
        {"event": "validation", "update": 10, "nats": 1.9, "seconds": 1.0},
        {"event": "validation", "update": 20, "nats": 1.6, "seconds": 2.0},
        {"event": "end", "why": "done", "update": 20, "best": {"update": 20}, "seconds": 2.0},
        {"event": "result", "update": 20, "nats": nats + 1e-9},
    ]


@pytest.fixture
def small_text(tmp_path):
    path = tmp_path / "small.txt"
    path.write_text(SENTENCE * 60)
    return path


@pytest.fixture
def trained(monkeypatch):
    """The options of every run; nothing is trained."""
    asked = []

    def train(options, folder, data=None, environment=None):
        asked.append(" ".join(options))
        given = {name.removeprefix("--"): value for name, value in zip(options[::2], options[1::2], strict=True)}
        return records({name: int(x) if x.isdigit() else x for name, x in given.items()}, 1.5 + len(asked) / 10)

    monkeypatch.setattr(measured, "train", train)
    return asked


# A run as a command -------------------------------------------------------------------------------


def test_a_run_is_the_command_that_is_shown(tmp_path, small_text):
    options = ["--cell", "rnn", "--hidden", "8", "--updates", "20", "--batch", "2", "--seq", "8", "--eval-every", "10"]
    found = measured.train(options, tmp_path / "run", small_text)
    settings = next(record["settings"] for record in found if record["event"] == "start")
    assert (settings["cell"], settings["hidden"], settings["updates"]) == ("rnn", 8, 20)
    out = measured.outcome(found)
    assert out["updates"] == 20 and 0 < out["nats"] < 10 and out["parameters"] > 8 * 8
    assert [look[0] for look in out["looks"]] == [10, 20] and 0 < out["looks"][0][1] < out["seconds"]
    command = measured.command(options, small_text)
    assert command == f"python -m models.char_lm train --data small.txt {shlex.join(options)}"


def test_a_run_that_fails_says_why(tmp_path, small_text):
    with pytest.raises(ChildProcessError, match=r"train --data small\.txt --batch 9999` ended .* need at least"):
        measured.train(["--batch", "9999"], tmp_path / "run", small_text)


def test_a_run_that_was_stopped_is_no_result(tmp_path, monkeypatch):
    (tmp_path / "log.jsonl").write_text('{"event": "end", "why": "stopped", "update": 3}\n')
    monkeypatch.setattr(
        measured.subprocess, "run", lambda *_, **__: measured.subprocess.CompletedProcess([], 0, "", "")
    )
    with pytest.raises(ChildProcessError, match="did not come to its end: stopped"):
        measured.train([], tmp_path)


def test_a_loss_is_reached_at_the_first_look_at_or_below_it():
    looks = [[10, 1.0, 2.0], [20, 2.0, None], [30, 3.0, 1.88], [40, 4.0, 1.9], [50, 5.0, 1.5]]
    assert measured.reached(looks, 1.88) == (30, 3.0)
    assert measured.reached(looks, 1.879) == (50, 5.0)
    assert measured.reached(looks, 1.4) is None


# The file of results ------------------------------------------------------------------------------


def test_everything_is_planned_once():
    items = table.planned([Path("a.txt"), None], ("rnn", "gru", "lstm"), ("1x128", "2x256"),
                          ("contiguous", "streams"), ("fast", "best"), 1500, 32, 64)  # fmt: skip
    names = [item.name for item in items]
    assert len(names) == len(set(names)) == 2 * (2 + 3 * 2 * 2 + 2)
    assert ("python -m models.char_lm train --data a.txt --cell gru --layers 2 --hidden 256 "
            "--updates 1500 --batch 32 --seq 64 --split streams") in names  # fmt: skip
    assert "python -m models.char_lm train --preset best --split contiguous" in names
    assert {item.file for item in items} == {"a.json", "built-in.json"}
    slow, fast = (
        next(i for i in items if part in i.name) for part in ("lstm --layers 2 --hidden 256", "rnn --layers 1")
    )
    assert slow.seconds() > 10 * fast.seconds() > 0


def test_a_dry_run_lists_the_commands(tmp_path, small_text, trained):
    result = run("--data", small_text, *TINY, "--folder", tmp_path / "results", "--dry-run")
    assert result.exit_code == 0, result.output
    assert result.output.count("models.char_lm train") == 2 * 2 * 2 + 1
    assert re.search(r"about \d+ minutes", result.output)
    assert not trained and not (tmp_path / "results").exists()


def test_what_is_there_is_not_run_again(tmp_path, small_text, trained, monkeypatch):
    folder, whole = tmp_path / "results", measured.train
    done = iter(range(3))

    def broken_off(*arguments, **options):
        if next(done, None) is None:
            raise KeyboardInterrupt
        return whole(*arguments, **options)

    monkeypatch.setattr(measured, "train", broken_off)
    assert run("--data", small_text, *TINY, "--folder", folder).exit_code != 0
    kept = json.loads((folder / "small.json").read_text(encoding="utf-8"))
    assert len(kept["results"]) == 2 + 3 and len(trained) == 3

    monkeypatch.setattr(measured, "train", whole)
    assert run("--data", small_text, *TINY, "--folder", folder).exit_code == 0
    assert len(trained) == 9 and len(set(trained)) == 9
    document = json.loads((folder / "small.json").read_text(encoding="utf-8"))
    assert document["results"].items() >= kept["results"].items()
    assert document["text"] == {"name": "small.txt", "symbols": len(SENTENCE) * 60, "distinct": len(set(SENTENCE)),
                                "sha256": kept["text"]["sha256"]}  # fmt: skip
    assert [machine["python"] for machine in document["machines"]] == [sys.version.split()[0]]
    assert list(folder.iterdir()) == [folder / "small.json"]
    assert "there already" in told(run("--data", small_text, *TINY, "--folder", folder)) and len(trained) == 9


def test_only_some(tmp_path, small_text, trained):
    assert run("--data", small_text, *TINY, "--only", "lstm*streams", "--folder", tmp_path / "r").exit_code == 0
    assert [(o.split()[1], o.split()[-1]) for o in trained] == [("lstm", "streams")] * 2


def test_results_of_another_text_are_kept_apart(tmp_path, small_text, trained):
    assert run("--data", small_text, *TINY, "--folder", tmp_path / "r").exit_code == 0
    small_text.write_text(SENTENCE * 61)
    result = run("--data", small_text, *TINY, "--updates", "21", "--folder", tmp_path / "r")
    assert result.exit_code == 1 and "is about another text of that name" in told(result)


MISTAKES = [
    (["--grid", "256"], "expected layers x hidden size such as 1x256 in --grid, got '256'"),
    (["--cell", "linear"], "there is no cell 'linear'; choose from rnn, gru, lstm"),
    (["--split", "half"], "there is no split 'half'; choose from contiguous, streams"),
    (["--preset", "huge"], "there is no preset 'huge'"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES)
def test_what_users_do_wrong(tmp_path, words, message):
    result = run("--built-in", "--folder", tmp_path / "r", *words)
    assert result.exit_code != 0 and message in told(result).replace("│ ", "")
    assert not (tmp_path / "r").exists()


# The tables ---------------------------------------------------------------------------------------

README = "before\n<!-- results: python -m models.char_lm.table -->\nold\n<!-- end -->\nafter\n"


def test_the_tables_are_made_from_the_results_alone(tmp_path, small_text, trained, monkeypatch):
    monkeypatch.setattr(table, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(table, "README", tmp_path / "README.md")
    (tmp_path / "README.md").write_text(README)
    assert run("--data", small_text, *TINY).exit_code == 0
    made = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert made.startswith("before\n") and made.endswith("after\n") and "old" not in made
    assert "| rnn | 1 x 8 | 1,234 | 1.600 | 1.700 | 20 | 2 x 8 | 2.00 |" in made
    assert "| lstm | 2 x 8 | 1,234 | 2.200 | 2.300 | 20 | 2 x 8 | 2.00 |" in made
    assert re.search(r"^\| fast \| lstm 1 x 8 \| 1,234 \| 2\.400 \| 20 \| 2\.00 \| 10 \|$", made, re.MULTILINE)
    assert re.search(r"^\| 8 \| \d\.\d{3} \| \d\.\d{3} \|", made, re.MULTILINE)
    assert made.count("python -m models.char_lm train --data small.txt") == 9
    (tmp_path / "README.md").write_text(README)
    assert run().exit_code == 0 and (tmp_path / "README.md").read_text(encoding="utf-8") == made
    assert len(trained) == 9


def test_targets_are_those_of_tinyshakespeare(tmp_path, small_text, trained):
    assert run("--data", small_text, *TINY, "--only", "fast", "--folder", tmp_path / "r").exit_code == 0
    document = table.read(tmp_path / "r" / "small.json")
    assert "to 1.88" not in table.section(document)
    document["text"]["sha256"] = table.TINYSHAKESPEARE
    shown = table.section(document)
    assert "| to 1.88 | to 1.6 | to 1.4697 | updates between looks |" in shown
    assert "| 20 updates, 2.00 s | 20 updates, 2.00 s | – | 10 |" in shown


def test_without_results_the_readme_says_so(tmp_path):
    assert "There are no results yet" in table.rewritten(README, tmp_path)


def test_the_readme_is_made_from_the_results():
    text = table.README.read_text(encoding="utf-8")
    assert table.MARKED.search(text)
    assert table.rewritten(text) == text, "run `python -m models.char_lm.table`"


@pytest.mark.parametrize("name", PRESETS)
def test_the_presets_in_the_readme_are_those_there_are(name):
    chosen = Settings(**PRESETS[name])
    row = f"| `{name}` | {chosen.layers} x {chosen.hidden} | {chosen.updates:,} |"
    assert chosen.cell == "lstm"  # as the column says
    assert row in table.README.read_text(encoding="utf-8")


COMMANDS = re.findall(r"^python -m models\.char_lm (.+)$", table.MARKED.sub("", table.README.read_text("utf-8")), re.M)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_in_the_readme_is_one(line):
    name, *words = shlex.split(line)
    command = typer.main.get_command(app).commands[name]
    command.make_context(name, words)  # an option that there is not, or a value of another kind, raises
