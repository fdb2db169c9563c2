"""The command `train`: its options and where they come from, a run's folder, stopping and going on."""

import itertools
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from models.char_lm import checkpoint
from models.char_lm.settings import PRESETS
from models.common import journal
from models.common.console import clear_errors
from tests.characters import SENTENCE, good, heed_signals, run

ROOT = Path(__file__).parent.parent
SMALL = ["--hidden", "8", "--batch", "2", "--seq", "10"]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("ß" + SENTENCE * 30, encoding="utf-8")
    return path


def bits(folder, name=checkpoint.LAST):
    return {name: array.tobytes() for name, array in load_file(folder / name).items()}


def events(folder, *names):
    """What happened, but for the times it took."""
    times = {"seconds", "symbols_per_second", "best"}
    records = journal.read(folder / "log.jsonl")
    return [{k: v for k, v in r.items() if k not in times} for r in records if r["event"] in names]


@pytest.mark.parametrize("options", [[], ["--one-hot", "--cell", "gru", "--layers", 2, "--dropout", 0.1]])
def test_train_and_sample(tmp_path, text, options):
    out = tmp_path / "run"
    told = good("train", "--data", text, "--out", out, *SMALL, "--updates", 20, *options).replace("\n", " ")
    assert "1,351 characters, 29 distinct, sha256" in told
    assert re.search(
        r"validation: \d\.\d{3} nats \(\d\.\d{3} bits\) per character, the contiguous split's 136 held-out", told
    )
    assert {path.name for path in out.iterdir()} == {
        "best.safetensors", "last.safetensors", "log.jsonl", "loss.png", "options.toml"
    }  # fmt: skip
    first = good("sample", "--run", out, "--prime", "ß", "--length", 40)
    assert first.startswith("ß")
    assert len(first) == 1 + 40 + 1
    assert good("sample", "--run", out, "--prime", "ß", "--length", 40) == first


# Where options come from --------------------------------------------------------------------------


def settings_of(folder):
    return checkpoint.load(folder / checkpoint.LAST).about["settings"]


def test_the_command_line_goes_before_a_file_before_a_preset_before_the_default(tmp_path, text):
    config = tmp_path / "mine.toml"
    config.write_text('hidden = 9\nlr = 0.5\n"weight-decay" = 0.25\n')
    out = tmp_path / "run"
    for order in ([0, 1], [1, 0]):
        both = [["--preset", "tiny"], ["--config", str(config)]]
        given = [*both[order[0]], *both[order[1]], "--lr", 0.01, "--batch", 2, "--updates", 2, "--overwrite"]
        told = good("train", "--data", text, "--out", out, *given)
        found = settings_of(out)
        assert (found["lr"], found["hidden"], found["seq"]) == (0.01, 9, PRESETS["tiny"]["seq"])
        assert (found["weight_decay"], found["layers"]) == (0.25, 1)
        for name, value in found.items():  # all are shown
            assert re.search(
                rf"^  --{name.replace('_', '-')} +{re.escape('-' if value is None else str(value))}$", told, re.M
            ), name


def test_the_options_of_a_run_make_the_same_run(tmp_path, text):
    first, second = tmp_path / "first", tmp_path / "second"
    good("train", "--data", text, "--out", first, *SMALL, "--updates", 5, "--dropout", 0.2, "--average", 0.5)
    good("train", "--config", first / "options.toml", "--out", second)
    assert bits(first) == bits(second)
    assert (first / "options.toml").read_bytes() == (second / "options.toml").read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("hiden = 3", "there is no option 'hiden'; there are average, batch"),
        ("hidden = ", "is not a TOML file"),
        ("[model]\nhidden = 3", "there is no option 'model'"),
        ("eval_every = 3\nx = 1", "embedding, eval-every, "),
        ("[hidden]\na = 3", "expected a value for 'hidden', got a table"),
        ('hidden = "many"', "--hidden"),
        ("hidden = 0", "--hidden"),
        ('cell = "qrnn"', "there is no cell 'qrnn'"),
    ],
)
def test_a_file_of_options_that_is_wrong(tmp_path, content, message):
    (tmp_path / "mine.toml").write_text(content)
    result = run("train", "--config", tmp_path / "mine.toml", "--out", tmp_path / "run")
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.output.replace("│", " ").split())


def test_one_text_in_a_file_of_options(tmp_path, text):
    (tmp_path / "mine.toml").write_text(f'data = "{text.as_posix()}"\nupdates = 2\nseq = 8\nbatch = 4\nhidden = 4')
    good("train", "--config", tmp_path / "mine.toml", "--out", tmp_path / "run")
    assert settings_of(tmp_path / "run")["data"] == [str(text)]


# Dry runs -----------------------------------------------------------------------------------------


def test_a_dry_run_tells_what_a_run_takes_and_leaves_nothing(tmp_path, text):
    out = tmp_path / "run"
    told = good("train", "--dry-run", "--data", text, "--out", out, *SMALL, "--updates", 500, "--average", 0.9)
    parameters = 29 * 8 + 4 * 8 * (8 + 8 + 2) + 29 * 8 + 29
    assert re.search(rf"parameters +{parameters:,}", told)
    assert "rnn.weight_hh_l0 (32, 8)" in told
    assert re.search(
        r"memory +[\d,]+ MB .*; of it 0\.0 MB are weights, gradients, Adam's moments and the average", told
    )
    assert re.search(r"time +[\d,]+ s: 500 updates of [\d.]+ ms, and 5 looks", told)
    assert not out.exists()


# A folder that holds a run ------------------------------------------------------------------------


def test_a_run_is_not_lost_by_another(tmp_path, text):
    out = tmp_path / "run"
    same = ["train", "--data", text, "--out", out, *SMALL, "--updates", 2]
    good(*same)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    result = run(*same)
    assert result.exit_code == 1
    assert "holds a run already (last.safetensors): go on with it by --resume" in " ".join(result.output.split())
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    good(*same, "--overwrite", "--cell", "gru")
    assert checkpoint.load(out).model.options.cell == "gru"
    assert len(events(out, "start")) == 1


def test_a_run_is_not_lost_where_tensorboard_is_missing(tmp_path, text, monkeypatch):
    out = tmp_path / "run"
    same = ["train", "--data", text, "--out", out, *SMALL, "--updates", 2]
    good(*same)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    result = run(*same, "--overwrite", "--tensorboard")
    assert result.exit_code == 1
    assert "pip install -e '.[tensorboard]'" in " ".join(result.output.split())
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


# Going on -----------------------------------------------------------------------------------------


def test_stopping_and_going_on_makes_no_difference(tmp_path, text):
    """N updates = k, and N - k by another process: weights, all that training keeps, what was noted."""
    options = ["--data", text, *SMALL, "--dropout", 0.3, "--average", 0.9, "--eval-every", 20, "--layers", 2]
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    good("train", "--out", straight, *options, "--updates", 70)
    told = good("train", "--out", stopped, *options, "--updates", 70, "--pause-at", 33)
    assert f"go on with: {sys.orig_argv[0]} -m models.char_lm train --resume {stopped}" in told.replace("\n", " ")
    told = good("train", "--resume", stopped, "--pause-at", 51)
    assert "paused after 51 updates" in told
    good("train", "--resume", stopped)
    assert bits(stopped) == bits(straight)
    assert bits(stopped, checkpoint.BEST) == bits(straight, checkpoint.BEST)
    for kind in ("train", "validation"):
        assert events(stopped, kind) == events(straight, kind)
    assert [e["update"] for e in events(stopped, "resumed")] == [33, 51]


def test_what_a_resumed_run_may_change(tmp_path, text):
    out = tmp_path / "run"
    good("train", "--data", text, "--out", out, *SMALL, "--updates", 20, "--pause-at", 10)
    for wrong, message in [
        (["--hidden", 9], "a resumed run keeps its --hidden 8, got 9. To change it, start another run"),
        (["--seed", 3], "a resumed run keeps its --seed 0, got 3"),
        (["--split", "streams"], "a resumed run keeps its --split contiguous"),
        (["--preset", "fast"], "a resumed run has its options and its folder; leave --preset out"),
        (["--out", tmp_path / "other"], "leave --out out"),
    ]:
        result = run("train", "--resume", out, *wrong)
        assert result.exit_code == 1
        assert message in " ".join(result.output.split())
    good("train", "--resume", out, "--hidden", 8, "--lr", 1e-3, "--updates", 30)
    found = checkpoint.load(out / checkpoint.LAST).about
    assert (found["update"], found["settings"]["lr"], found["settings"]["hidden"]) == (30, 1e-3, 8)


def test_a_text_that_moved_or_changed(tmp_path, text):
    out = tmp_path / "run"
    good("train", "--data", text, "--out", out, *SMALL, "--updates", 20, "--pause-at", 10)
    moved = text.rename(tmp_path / "moved.txt")
    assert "there is no text file" in run("train", "--resume", out).output
    good("train", "--resume", out, "--data", moved, "--pause-at", 15)
    good("train", "--resume", out, "--pause-at", 16)  # it remembers
    moved.write_text("another text " * 200)
    result = run("train", "--resume", out)
    assert "is not the text that this run was trained on: its SHA-256 begins" in " ".join(result.output.split())


def test_resuming_what_is_no_run(tmp_path, text):
    told = " ".join(run("train", "--resume", tmp_path).output.split())
    assert "there is no file" in told and "Train a model first" in told
    out = tmp_path / "run"
    good("train", "--data", text, "--out", out, *SMALL, "--updates", 20, "--pause-at", 10)
    result = run("train", "--resume", out / checkpoint.LAST)
    assert result.exit_code == 1
    assert f"is a file; to go on with a run, name its folder: {out}" in " ".join(result.output.split())
    for path in out.glob("*.safetensors"):
        path.write_bytes(b"nothing")
    result = run("train", "--resume", out)
    assert result.exit_code == 1
    assert "error:" in result.output
    assert "Traceback" not in result.output


def test_a_run_that_is_done_is_done(tmp_path, text):
    out = tmp_path / "run"
    good("train", "--data", text, "--out", out, *SMALL, "--updates", 10)
    before = bits(out)
    assert "done after 10 updates" in good("train", "--resume", out)
    assert bits(out) == before


# Signals ------------------------------------------------------------------------------------------


def process(*arguments, **options):
    command = [sys.executable, "-m", "models.char_lm", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", **options
    )


def wait_for(condition, seconds=60):
    for _ in range(seconds * 100):
        if condition():
            return
        time.sleep(0.01)
    raise TimeoutError


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, text):
    out = tmp_path / "a run"
    options = ["--data", text, *SMALL, "--eval-every", 5000, "--save-every", 0.01]
    with process("train", "--out", out, *options, "--updates", 100_000, preexec_fn=heed_signals) as running:
        try:
            wait_for(lambda: (out / "last.safetensors").exists() or running.poll() is not None)
            running.send_signal(signal.SIGINT)
            told, _ = running.communicate(timeout=60)
        finally:
            running.kill()
    assert running.returncode == 0, told
    assert "stopping after this update" in told
    assert f"go on with: {sys.executable} -m models.char_lm train --resume '{out}'" in told
    update = checkpoint.load(out / "last.safetensors").about["update"]
    assert f"stopped after {update:,} updates" in told
    good("train", "--resume", out, "--pause-at", update + 7)
    good("train", "--out", tmp_path / "straight", *options, "--updates", 100_000, "--pause-at", update + 7)
    assert bits(out) == bits(tmp_path / "straight")


# A process that starts trainings and kills them: it has everything imported, so that each starts at once. It waits for
# another file at a path (or not), and some more seconds.
KILLER = """
import os, pathlib, signal, sys, time, warnings
warnings.simplefilter("ignore")  # Python 3.12 does not like forks beside threads
from models.char_lm.program import app
def file_at(path):
    return pathlib.Path(path).exists() and os.stat(path).st_ino
for line in sys.stdin:
    path, seconds, *arguments = line.rstrip("\\n").split("\\t")
    before, child = path and file_at(path), os.fork()
    if child == 0:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        app(arguments)
    while path and file_at(path) == before and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.001)
    time.sleep(float(seconds))
    os.kill(child, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs fork and SIGKILL")
def test_killed_fifty_times_a_run_loses_nothing(tmp_path, text):
    """After each kill there is a checkpoint, not older than the one before; at last all is as without kills."""
    out, straight = tmp_path / "run", tmp_path / "straight"
    last = out / checkpoint.LAST
    options = ["--data", text, *SMALL, "--updates", 10**6, "--eval-every", 30, "--dropout", 0.2, "--average", 0.9]
    killer = subprocess.Popen(
        [sys.executable, "-c", KILLER], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )

    def start_and_kill(path, seconds, *arguments):
        killer.stdin.write("\t".join(map(str, [path, seconds, *arguments])) + "\n")
        killer.stdin.flush()
        assert int(killer.stdout.readline()) == -9

    updates = [0]
    try:
        start_and_kill(last, 0.01, "train", "--out", out, *options, "--save-every", 0)
        for kill in range(50):
            seconds = (kill * 0.618) % 1 / 20  # spread evenly
            if kill % 5 == 0:  # before it trains, too
                start_and_kill("", 2 * seconds, "train", "--resume", out)
            else:
                start_and_kill(last, seconds, "train", "--resume", out)
            updates.append(checkpoint.load_last(out, tell=pytest.fail).about["update"])
            for path in out.glob("*.safetensors"):
                checkpoint.load(path)
    finally:
        killer.communicate()
    assert updates == sorted(updates)
    assert sum(b > a for a, b in itertools.pairwise(updates)) >= 40
    end = updates[-1] + 13
    good("train", "--resume", out, "--pause-at", end)
    good("train", "--out", straight, *options, "--pause-at", end)
    assert bits(out) == bits(straight)
    assert events(out, "train", "validation") == events(straight, "train", "validation")


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)  # writing more to a file fails
from models.char_lm.program import app
app(sys.argv[2:])
"""


def test_a_full_disk_stops_a_run_with_its_checkpoint_intact(tmp_path, text):
    pytest.importorskip("resource")
    out = tmp_path / "run"
    good("train", "--data", text, "--out", out, *SMALL, "--updates", 40, "--pause-at", 20)
    before = {path.name: path.read_bytes() for path in out.glob("*.safetensors")}
    limit = len(before["last.safetensors"]) - 1000
    result = subprocess.run(
        [sys.executable, "-c", FULL, str(limit), "train", "--resume", str(out)],
        cwd=ROOT, text=True, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert "last.safetensors cannot be written: " in result.stderr
    assert f"With that mended, go on with: {sys.executable} -m models.char_lm train --resume {out}" in result.stderr
    assert {path.name: path.read_bytes() for path in out.glob("last*")} == {
        "last.safetensors": before["last.safetensors"]
    }
    good("train", "--resume", out)


# Wrong input --------------------------------------------------------------------------------------


def test_errors_are_told_in_a_line(tmp_path):
    (tmp_path / "short.txt").write_text("too short")
    (tmp_path / "latin.txt").write_bytes(b"\xe9" * 5000)
    out = ["--out", tmp_path / "run"]
    for arguments, message in [
        (["train", *out, "--data", tmp_path / "none.txt"], "there is no text file"),
        (["train", *out, "--data", tmp_path / "short.txt"], "need at least 2049"),
        (["train", *out, "--data", tmp_path / "latin.txt"], "is not UTF-8 text"),
        (["train", *out, "--cell", "qrnn"], "there is no cell 'qrnn'; choose one of rnn, lstm"),
        (["train", *out, "--data", "[/none].txt"], "there is no text file [/none].txt"),
        (["train", "--updates", "1", "--out", tmp_path / "short.txt"], "name another folder with --out"),
        (["train", *out, "--lr", "0"], "--lr must be positive"),
        (["train", *out, "--device", "gpu"], "unknown device 'gpu'"),
        (["train", *out, "--preset", "huge"], "there is no preset 'huge'; choose one of tiny, fast, best"),
        (["train", *out, "--config", tmp_path / "none.toml"], "none.toml cannot be read: No such file"),
        (["sample", "--run", tmp_path], "holds no trained model"),
    ]:
        result = run(*arguments)
        assert result.exit_code == 1
        assert message in result.output
        assert "Traceback" not in result.output
    assert run("train", "--hidden", "0").exit_code == 2


def test_other_errors_are_not_hidden():
    with pytest.raises(ZeroDivisionError), clear_errors():
        _ = 1 / 0
