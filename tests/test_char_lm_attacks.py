"""A run under bad luck and bad input: nothing is lost, and every error is told in a line."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from models.char_lm import checkpoint, ids
from models.char_lm.settings import Settings
from models.char_lm.text import open_text
from models.common import files, options
from models.common.errors import UserError

from .characters import SENTENCE, good, heed_signals, run

ROOT = Path(__file__).parents[1]
SMALL = ["--hidden", 4, "--batch", 2, "--seq", 5, "--updates", 20, "--eval-every", 5]


def refused(*arguments):
    result = run(*arguments)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1
    return " ".join(result.output.split())


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    monkeypatch.setattr("models.common.curves.draw", lambda *args: None)
    monkeypatch.setattr("models.common.curves.in_terminal", lambda *args: "")


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(SENTENCE * 20)
    return path


def last(folder):
    found = checkpoint.load(folder / checkpoint.LAST)
    arrays = {name: x.numpy().tobytes() for name, x in found.model.state_dict().items()}
    return found.about["update"], arrays | {name: x.tobytes() for name, x in found.arrays.items()}


def test_patience_ends_a_paused_run_where_it_ends_the_straight_one(tmp_path, text):
    straight, paused = tmp_path / "straight", tmp_path / "paused"
    impatient = [*SMALL, "--data", text, "--lr", 1e-30, "--patience", 1]  # nothing is learned: the first look is best
    assert "no better after 1 looks" in good("train", *impatient, "--out", straight)
    assert "no better after 1 looks" in good("train", *impatient, "--out", paused, "--pause-at", 10)
    for path in (straight, paused):
        assert "no better after 1 looks" in good("train", "--resume", path)
    assert last(paused) == last(straight)
    assert last(paused)[0] == 10
    assert "done after 20 updates" in good("train", "--resume", paused, "--patience", 0)


def test_a_run_that_is_paused_is_not_trained_by_a_pause_before(tmp_path, text):
    good("train", *SMALL, "--data", text, "--out", tmp_path / "run", "--pause-at", 10)
    assert "paused after 10 updates" in good("train", "--resume", tmp_path / "run", "--pause-at", 3)


def test_a_run_goes_on_without_the_weights_it_began_with(tmp_path, text):
    first, second = tmp_path / "first", tmp_path / "second"
    good("train", *SMALL, "--data", text, "--out", first)
    weights = first / "best.safetensors"
    good("train", *SMALL, "--data", text, "--out", second, "--weights", weights, "--pause-at", 10)
    weights.unlink()
    assert "done after 20 updates" in good("train", "--resume", second)


def test_two_processes_do_not_train_in_one_folder(tmp_path, text):
    out = tmp_path / "run"
    good("train", *SMALL, "--data", text, "--out", out, "--pause-at", 10)
    before = last(out)
    with files.held(out):
        for arguments in (["--resume", out], ["--out", out, "--overwrite", "--data", text, *SMALL]):
            assert "another process is at work in" in refused("train", *arguments)
    assert last(out) == before
    good("train", "--resume", out)


@pytest.mark.parametrize("name", ["options.toml", "loss.png", "last.previous.safetensors", "tensorboard/mine.py"])
def test_nothing_is_written_over_unasked(tmp_path, text, name):
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    told = refused("train", *SMALL, "--data", text, "--out", tmp_path / "run")
    assert "holds a run already" in told
    assert path.read_text() == "mine"


def test_overwrite_takes_nothing_but_what_a_run_wrote(tmp_path, text):
    out = tmp_path / "run"
    mine = [out / "best.of_all.safetensors", out / "tensorboard" / "mine.py"]
    (out / "tensorboard").mkdir(parents=True)
    for path in mine:
        path.write_text("mine")
    good("train", *SMALL, "--data", text, "--out", out, "--overwrite")
    assert [path.read_text() for path in mine] == ["mine", "mine"]


def test_what_is_missing_is_seen_before_a_run_is_overwritten(tmp_path, text, monkeypatch):
    out = tmp_path / "run"
    good("train", *SMALL, "--data", text, "--out", out)
    before = last(out)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert "[tensorboard]" in refused("train", *SMALL, "--data", text, "--out", out, "--overwrite", "--tensorboard")
    assert last(out) == before


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("settings", "batch"), "2"),
        (("settings", "batch"), 0),
        (("settings", "updates"), True),
        (("settings", "updates"), 1.5),
        (("settings", "data"), 5),
        (("settings", "cell"), ["lstm"]),
        (("settings",), [1]),
        (("progress", "updates"), "ten"),
        (("progress", "updates"), None),
        (("best",), "x"),
        (("best",), {}),
        (("seconds",), None),
        (("since_best",), []),
        (("text",), [1]),
        (("progress",), {}),
        (("progress", "groups"), [1]),
        (("progress", "rng"), "x"),
    ],
)
def test_a_checkpoint_edited_by_hand(tmp_path, text, where, value):
    out = tmp_path / "run"
    good("train", *SMALL, "--data", text, "--out", out, "--pause-at", 5)
    found = checkpoint.load(out / checkpoint.LAST)
    inner = found.about
    for name in where[:-1]:
        inner = inner[name]
    inner[where[-1]] = value
    checkpoint.save(out / checkpoint.LAST, found)
    assert "error: " in refused("train", "--resume", out)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("hidden = true", "true and false are for switches"),
        ("one-hot = 1", "true and false are for switches"),
    ],
)
def test_options_of_another_kind(tmp_path, line, message):
    path = tmp_path / "options.toml"
    path.write_text(line)
    assert message in refused("train", "--config", path, "--out", tmp_path / "run")


def test_a_name_that_is_no_unicode(tmp_path, text):
    strange = tmp_path / os.fsdecode(b"\xff.txt")
    try:
        text.rename(strange)
    except OSError:
        pytest.skip("this file system has no such names")
    good("train", *SMALL, "--data", strange, "--out", tmp_path / "run", "--pause-at", 5)
    assert "data" not in options.read_toml(tmp_path / "run" / "options.toml", Settings)
    good("train", "--resume", tmp_path / "run")


def test_an_error_does_not_command_the_terminal():
    told = refused("eval", "--run", "no\x1b[2Jfile")
    assert "\x1b" not in told
    assert "no\\x1b[2Jfile" in told


def test_too_little_memory_is_told(tmp_path, text):
    assert "not enough memory" in refused("train", *SMALL, "--data", text, "--out", tmp_path / "run",
                                          "--embedding", 10**13)  # fmt: skip


def test_numbers_of_no_symbols(tmp_path):
    parts = [np.zeros(0, np.uint8), np.arange(3, dtype=np.uint8)]
    stored = ids.store(tmp_path, "0" * 32, parts, 3)
    assert np.asarray(stored).tolist() == [0, 1, 2]
    assert np.asarray(stored[2:2]).tolist() == []


def test_a_closed_input(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UserError, match="the standard input is closed"):
        open_text([Path("-")])


def wait_for(condition, process, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.05)


@pytest.mark.parametrize("how", ["terminal", "pipe"])
def test_nobody_watches_any_more(tmp_path, text, how):
    """The terminal is closed, or the reader of a pipe has had enough: what was learned is saved."""
    out = tmp_path / "run"
    # So many updates that only the end saves, or, for the pipe, few enough that the next tenth of the way comes soon.
    long = ["--hidden", 4, "--batch", 2, "--seq", 5, "--updates", 10**6 if how == "terminal" else 2000]
    arguments = ["train", "--data", text, "--out", out, *long, "--eval-every", 10**6, "--save-every", 10**6]
    ours, theirs = pty.openpty() if how == "terminal" else os.pipe()
    with subprocess.Popen(
        [sys.executable, "-m", "models.char_lm", *map(str, arguments)],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, preexec_fn=heed_signals,
    ) as process:  # fmt: skip
        os.close(theirs)
        try:
            log = out / "log.jsonl"
            wait_for(lambda: log.exists() and b'"train"' in log.read_bytes(), process)
            os.close(ours)
            if how == "terminal":
                process.send_signal(signal.SIGHUP)
            process.wait(60)
        finally:
            process.kill()
    update, _ = last(out)
    assert 0 < update < 10**6
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [e["update"] for e in events if e["event"] == "saved"][-1] == update
