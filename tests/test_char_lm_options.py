"""The options of `train` that change what a run is, each as far as its result; and what a checkpoint says of them."""

import hashlib
import json

import pytest
from typer.testing import CliRunner

from models.char_lm import checkpoint
from models.char_lm.model import CharLM, Options
from models.char_lm.program import app
from models.char_lm.settings import PRESETS, Settings, recorded
from models.common import journal
from models.common.errors import UserError
from tests.characters import SENTENCE

TEXT = "ß" + SENTENCE * 30 + "\r\n"
SMALL = ["--hidden", "8", "--batch", "2", "--seq", "10"]


@pytest.fixture
def train(tmp_path):
    """Trains a small model in a folder of that name, which is given back."""
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT.encode())

    def run(name, *options):
        result = CliRunner().invoke(
            app, ["train", "--data", str(path), "--out", str(tmp_path / name), *SMALL, *map(str, options)]
        )
        assert result.exit_code == 0, result.output
        return tmp_path / name

    return run


def events(folder, kind):
    return [record for record in journal.read(folder / "log.jsonl") if record["event"] == kind]


# Options --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "symbols"),
    [
        ([], "\n\r .abcdefghijklmnopqrstuvwxyzß"),
        (["--newline", "unix"], "\n .abcdefghijklmnopqrstuvwxyzß"),
        (["--min-count", 2], " .abcdefghijklmnopqrstuvwxyz\ufffd"),
        (["--unit", "byte"], ""),
    ],
)
def test_what_the_symbols_of_a_text_are(train, options, symbols):
    found = checkpoint.load(train("run", "--updates", 1, *options)).model.options
    assert found.vocabulary == "".join(sorted(symbols))
    assert found.symbols == (len(symbols) or 256)


def test_a_run_starts_from_weights(train):
    first = train("first", "--updates", 5, "--lr", 0.1)
    second = train("second", "--updates", 1, "--lr", 1e-12, "--weights", first)
    other = train("other", "--updates", 1, "--lr", 1e-12)
    resumed = CliRunner().invoke(app, ["train", "--resume", str(second), "--updates", "2"])
    assert resumed.exit_code == 0, resumed.output
    weights = [
        {name: x.numpy() for name, x in checkpoint.load(run).model.state_dict().items()}
        for run in (first, second, other)
    ]
    for name, array in weights[0].items():
        assert weights[1][name] == pytest.approx(array, abs=1e-9)
    assert any(abs(weights[2][name] - array).max() > 0.01 for name, array in weights[0].items())


def test_the_learning_rate_warms_up(train):
    rates = [e["lr"] for e in events(train("run", "--updates", 30, "--warmup", 25, "--eval-every", 10), "train")]
    assert rates[0] < 0.4 * Settings().lr  # of update 10; without it, 0.79 times


@pytest.mark.parametrize("pause_at", [None, 15])
def test_a_run_without_progress_stops_early(train, tmp_path, pause_at):
    """After as many looks as ever, whether it was resumed between or not."""
    options = ["--updates", 1000, "--eval-every", 10, "--patience", 2, "--lr", 1e-30]
    run = train("run", *options, *([] if pause_at is None else ["--pause-at", pause_at]))
    if pause_at is not None:
        assert CliRunner().invoke(app, ["train", "--resume", str(run)]).exit_code == 0
    (end,) = (e for e in events(run, "end") if e["why"] != "paused")
    assert (end["update"], end["why"]) == (30, "no better after 2 looks at the held-out text")


def test_tensorboard_gets_what_the_log_gets(train):
    pytest.importorskip("tensorboardX")
    run = train("run", "--updates", 10, "--tensorboard")
    (written,) = (run / "tensorboard").iterdir()
    assert b"loss/validation" in written.read_bytes() and b"loss/train" in written.read_bytes()
    assert not (train("other", "--updates", 1) / "tensorboard").exists()


def test_presets_are_settings():
    assert {Settings(**options).cell for options in PRESETS.values()} == {"lstm"}


# What a checkpoint says -----------------------------------------------------------------------------


def test_what_was_recorded_comes_back():
    settings = Settings(data=["/a"], lr=1, layers=2, weights="/b", average=0.5)
    assert recorded({"settings": json.loads(json.dumps(settings.plain()))}) == settings
    assert recorded({}) == Settings()


WRONG = {
    "no table": [1],
    "nothing": None,
    "another name": {"hiden": 3},
    "one path": {"data": "text.txt"},
    "a number for a path": {"data": [1]},
    "a list for a name": {"corpus": ["a"]},
    "a text for a number": {"updates": "3"},
    "a truth for a number": {"layers": True},
    "a number for a truth": {"one_hot": 1},
    "too few": {"batch": 0},
    "a fraction": {"seq": 1.5},
    "a list for a choice": {"newline": []},
    "no choice": {"split": "half"},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_settings_of_a_stranger(wrong):
    with pytest.raises(UserError, match="the checkpoint says what cannot be options of `train`|there is no split"):
        recorded({"settings": wrong})


FINGERPRINT = hashlib.sha256(TEXT.encode()).hexdigest()


@pytest.mark.parametrize("claim", [{"hidden": 10**9}, {"embedding": 10**9}, {"cell": "gru"}])
def test_a_run_of_another_model_than_is_said_is_not_resumed(tmp_path, claim):
    (tmp_path / "text.txt").write_bytes(TEXT.encode())
    settings = {"data": [str(tmp_path / "text.txt")], "batch": 2, "seq": 10, **claim}
    model = CharLM(Options("".join(sorted(set(TEXT)))))
    said = {"settings": settings, "text": {"fingerprint": FINGERPRINT}}
    checkpoint.save(tmp_path / checkpoint.LAST, checkpoint.Checkpoint(model, said))
    result = CliRunner().invoke(app, ["train", "--resume", str(tmp_path)])
    assert result.exit_code == 1
    assert "holds another model than its settings describe" in " ".join(result.output.split())


@pytest.mark.parametrize("wrong", [*WRONG.values(), {"\x1b[31m": 1}])
@pytest.mark.parametrize("command", ["eval", "copied"])
def test_the_text_of_a_stranger_is_not_looked_for(tmp_path, command, wrong):
    said = {"settings": wrong, "text": {"fingerprint": FINGERPRINT}}
    checkpoint.save(tmp_path / checkpoint.BEST, checkpoint.Checkpoint(CharLM(Options("ab", hidden=2)), said))
    result = CliRunner().invoke(app, [command, "--run", str(tmp_path)])
    assert result.exit_code == 1
    assert result.output.startswith("error: ") and "\x1b" not in result.output
