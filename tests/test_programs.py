"""What all small programs do alike: a run and its folder, the same bits each time, stopping, wrong input, comparing."""

import dataclasses
import itertools
import re
import shutil
import signal

import numpy as np
import pytest
import safetensors.numpy
import typer

from minigrad import nn
from models import tables
from models.common import curves, journal, results, saved
from models.common.batches import shuffled
from models.common.checks import check_numbers, check_printable, check_sizes
from models.common.errors import UserError
from models.common.extras import import_extra
from tests.programs import NAMES, SMALL, good, module, run, train

every_program = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each program, trained when it is first asked for."""
    folder, made = tmp_path_factory.mktemp("runs"), {}

    def of(name):
        if name not in made:
            made[name] = train(name, folder / name)
        return folder / name, made[name]

    return of


@pytest.fixture
def heeded():
    """Ctrl-C is heard, also where whoever started the tests ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def failed(name, *arguments):
    """What is told where the user can put it right."""
    result = run(name, *arguments)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    return result.output


# train ------------------------------------------------------------------------------------------------


@every_program
def test_each_option_has_a_remark(name):
    app = typer.main.get_command(module(name).app)
    assert app.help and set(app.commands) == {"train", "predict", "compare"}
    for command in app.commands.values():
        assert command.help
        assert [p.name for p in command.params if not getattr(p, "help", None)] == []


@every_program
def test_a_run_leaves_a_model_a_journal_and_pictures(name, runs):
    folder, told = runs(name)
    records = journal.read(folder / "log.jsonl")
    assert [r["event"] for r in records] == ["start", "train", "validation", "end", "result"]
    figures = module(name).PROGRAM.figures
    assert set(figures) <= set(records[-1]) and all(np.isfinite(records[-1][key]) for key in figures)
    model, about = module(name).PROGRAM.load(folder)
    assert not model.training and about["updates"] == 2 and about["figures"].keys() >= figures.keys()
    pictures = re.findall(r"picture: (.*)", told)
    assert len(pictures) >= 2 and str(folder / "loss.png") in pictures
    for picture in pictures:
        with open(picture, "rb") as file:
            assert file.read(8) == b"\x89PNG\r\n\x1a\n"


@every_program
def test_the_same_seed_gives_the_same_bits_and_another_others(name, runs, tmp_path):
    first = _weights(name, runs(name)[0])
    for seed, same in (0, True), (1, False):
        train(name, tmp_path / str(seed), "--seed", seed)
        assert (_weights(name, tmp_path / str(seed)) == first) is same


def _weights(name, folder):
    model, _ = module(name).PROGRAM.load(folder)
    return {key: x.numpy().tobytes() for key, x in model.state_dict().items()}


@every_program
def test_a_run_is_replaced_only_when_asked(name, runs, tmp_path):
    folder, _ = runs(name)
    shutil.copytree(folder, tmp_path / "run")
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    arguments = ["train", *SMALL[name], "--updates", "1", "--seed", "5", "--out", tmp_path / "run"]
    assert "holds a run already (model.safetensors): name another folder with --out, or replace it" in failed(
        name, *arguments
    )
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before
    good(name, *arguments, "--overwrite")
    assert (tmp_path / "run" / "model.safetensors").read_bytes() != before


WRONG = {
    "a learning rate of 0": (["--lr", "0"], r"--lr must be positive, got 0\.0"),
    "a learning rate without end": (["--lr", "inf"], r"--lr must be positive, got inf"),
    "a negative clip": (["--clip", "-1"], r"--clip must be positive, got -1\.0"),
    "a decay without end": (["--weight-decay", "inf"], r"--weight-decay must be 0 or more, got inf"),
    "another device": (["--device", "tpu"], r"tpu"),
    "no folder": (["--out", "/dev/null/run"], r"nothing can be saved in /dev/null/run: Not a directory; name"),
}


@every_program
@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_options_of_training(name, wrong, tmp_path):
    options, pattern = WRONG[wrong]
    told = failed(name, "train", *SMALL[name], "--updates", "1", "--out", tmp_path / "run", *options)
    assert re.search(pattern, told.replace("\n", " "))
    assert not (tmp_path / "run" / "model.safetensors").exists()


@every_program
def test_ctrl_c_stops_and_saves(name, tmp_path, monkeypatch, heeded):
    task = module(name).PROGRAM.task
    loss, calls = task.loss, []

    def interrupted(self):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return loss(self)

    monkeypatch.setattr(task, "loss", interrupted)
    told = train(name, tmp_path / "run", updates=50)
    assert "stopped after 3 updates" in told
    assert module(name).PROGRAM.load(tmp_path / "run")[1]["updates"] == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@every_program
def test_a_loss_that_is_no_number_stops_the_run(name, tmp_path, monkeypatch):
    task = module(name).PROGRAM.task
    loss = task.loss
    monkeypatch.setattr(task, "loss", lambda self: loss(self) * float("nan"))
    told = failed(name, "train", *SMALL[name], "--updates", "50", "--out", tmp_path / "run")
    assert "at update 10 not all is a number any more: the loss nan, the gradient's norm nan. Nothing is saved." in told
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_figures_that_are_no_numbers_stop_the_run_too(tmp_path, monkeypatch):
    task = module("digits").PROGRAM.task
    judge = task.judge
    monkeypatch.setattr(task, "judge", lambda self: judge(self) | {"nats": float("inf")})
    told = failed("digits", "train", *SMALL["digits"], "--updates", "3", "--out", tmp_path / "run")
    assert "at update 3 not all is a number any more: accuracy" in told and "nats inf. Nothing is saved." in told


def test_a_run_that_replaces_another_leaves_nothing_of_it(tmp_path):
    train("digits", tmp_path, "--model", "cnn", "--channels", 2)
    assert (tmp_path / "filters.png").exists()
    (tmp_path / "mine.png").write_bytes(b"")
    train("digits", tmp_path, "--overwrite")
    assert not (tmp_path / "filters.png").exists() and (tmp_path / "mine.png").exists()


@every_program
def test_what_a_program_draws_is_known_beforehand(name, runs):
    drawn = {path.name for path in runs(name)[0].glob("*.png")} - {"loss.png"}
    assert drawn and drawn <= set(module(name).PROGRAM.pictures)


# A trained model --------------------------------------------------------------------------------------


@every_program
def test_a_model_that_is_not_there(name, tmp_path):
    program = module(name).PROGRAM
    for path, pattern in {
        tmp_path: rf"holds no trained model: there is no file model.safetensors in it. Train one .*models.{name} train",
        tmp_path / "nothing": rf"there is no file .*nothing. Train one first: python -m models.{name} train",
    }.items():
        with pytest.raises(UserError, match=pattern):
            program.load(path)


@every_program
def test_a_model_that_is_another_or_spoilt(name, runs, tmp_path):
    program, folder = module(name).PROGRAM, runs(name)[0]
    file, whole = tmp_path / "model.safetensors", (folder / "model.safetensors").read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="is not a whole safetensors file"):
        program.load(tmp_path)
    file.write_bytes(whole.replace(f'"{name}"'.encode(), f'"{name[::-1]}"'.encode()))
    with pytest.raises(UserError, match=f"of the program {name[::-1]}, not a checkpoint of {name}"):
        program.load(file)
    file.write_bytes(whole[:-4] + np.float32(np.nan).tobytes())
    with pytest.raises(UserError, match="are not all finite; the model is of no use"):
        program.load(file)


@every_program
def test_predict_tells_of_a_model_that_is_not_there(name, tmp_path):
    told = failed(name, "predict", "--run", tmp_path / "nothing", *([] if name == "digits" else ["x"]))
    assert "there is no file" in told


# compare ----------------------------------------------------------------------------------------------


@every_program
def test_a_variant_that_is_not_there(name, tmp_path):
    told = failed(name, "compare", "best", "--out", tmp_path)
    every = ", ".join(module(name).PROGRAM.variants)
    assert f"there is no variant 'best'; choose from {every}" in " ".join(told.split())


def test_variants_side_by_side(tmp_path):
    arguments = ["compare", "mlp", "--seeds", 2, "--updates", 3, "--out", tmp_path]
    told = good("digits", *arguments)
    assert "mlp, seed 0: accuracy" in told and "mlp, seed 1: accuracy" in told
    document = results.read(tmp_path / "results.json")
    assert [r["seed"] for r in document["variants"]["mlp"]["runs"]] == [0, 1]
    assert document["variants"]["mlp"]["command"] == "python -m models.digits train --model mlp --updates 3"
    assert (tmp_path / "compared.png").stat().st_size > 10_000
    assert "holds a run already (results.json)" in failed("digits", *arguments)
    good("digits", "compare", "mlp", "--seeds", 1, "--updates", 1, "--out", tmp_path, "--overwrite")


def test_what_is_compared_is_refused_when_it_was_stopped(tmp_path, monkeypatch, heeded):
    task = module("digits").PROGRAM.task
    loss = task.loss

    def interrupted(self):
        signal.raise_signal(signal.SIGINT)
        return loss(self)

    monkeypatch.setattr(task, "loss", interrupted)
    assert "nothing is compared" in failed("digits", "compare", "mlp", "--updates", 3, "--out", tmp_path)
    assert not (tmp_path / "results.json").exists()


def test_a_picture_of_variants_has_their_means_and_their_range(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(curves, "save", lambda figure, path: drawn.append(figure))
    looks = {"a": [[0.5, 0.7], [0.7, 0.9]], "b": [[0.1, 0.2]]}
    journals = {
        name: [
            [{"event": "validation", "update": 10 * (k + 1), "accuracy": value} for k, value in enumerate(values)]
            for values in each
        ]
        for name, each in looks.items()
    }
    others = {"counting": {"accuracy": 0.4}, "another": {"nats": 1.0}}
    curves.side_by_side(journals, {"accuracy": ("share of right ones", True)}, tmp_path / "x.png", "a title", others)
    (axes,) = drawn[0].axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert lines.keys() == {"a", "b", "counting"} and axes.get_ylabel() == "share of right ones"
    np.testing.assert_allclose(lines["a"], [0.6, 0.8])
    np.testing.assert_allclose(axes.collections[0].get_datalim(axes.transData).get_points()[:, 1], [0.5, 0.9])


def test_batches_go_through_all_examples_in_an_order_of_their_own():
    first, again = (list(itertools.islice(shuffled(10, 3, seed=1), 7)) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    for epoch in range(2):
        seen = np.concatenate(first[3 * epoch : 3 * epoch + 3])
        assert len(seen) == len(set(seen.tolist())) == 9
    assert len(next(shuffled(2, 5, seed=0))) == 2


def test_data_that_is_not_installed_says_which_extra():
    with pytest.raises(ImportError, match=r"No module named 'no_such_thing'.*pip install -e '.\[models,datasets\]'"):
        import_extra("no_such_thing")


# Files from strangers -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Layer:
    """What the model of these tests is made of."""

    width: int
    words: tuple[str, ...] = ()

    def __post_init__(self):
        check_sizes(self, "width")


def linear(options):
    model = nn.Linear(options.width, 1)
    model.options = options
    return model


def spoilt(path, **metadata):
    weights = {"weight": np.ones((1, 2), np.float32), "bias": np.zeros(1, np.float32)}
    told = {"program": "layer", "version": "1", "model": '{"width": 2}', "about": "{}"} | metadata
    safetensors.numpy.save_file(weights, path / "model.safetensors", told)
    return path


STRANGE = {
    "another version": ({"version": "2"}, "has format version 2, but this program reads version 1"),
    "no JSON": ({"model": "{"}, "does not describe a layer model: Expecting"),
    "an option too many": ({"model": '{"width": 2, "depth": 1}'}, "a model has no option depth"),
    "an option too few": ({"model": "{}"}, "does not describe a layer model: width is missing"),
    "a float for an int": ({"model": '{"width": 2.0}'}, "width must be int, got float"),
    "a text for a list": ({"model": '{"width": 2, "words": "a"}'}, "words must be list, got str"),
    "numbers for texts": ({"model": '{"width": 2, "words": [1]}'}, "words must be a list of texts"),
    "no end": ({"model": '{"width": 1000000000}'}, "width must be from 1 to 4,096, got 1,000,000,000"),
    "other shapes": ({"model": '{"width": 3}'}, r"has other shapes: weight is \(1, 2\), expected \(1, 3\)"),
}


def test_a_model_comes_back_as_it_was_saved(tmp_path):
    model = linear(Layer(2, ("a", "이")))
    saved.save(tmp_path / saved.MODEL, "layer", model, model.options, {"figures": {"nats": 1.5}})
    found, about = saved.load(tmp_path, "layer", Layer, linear)
    assert found.options == model.options and about == {"figures": {"nats": 1.5}}
    assert found.weight.tolist() == model.weight.tolist()


@pytest.mark.parametrize("strange", STRANGE)
def test_a_model_of_a_stranger(strange, tmp_path):
    metadata, pattern = STRANGE[strange]
    saved.load(spoilt(tmp_path), "layer", Layer, linear)
    with pytest.raises(UserError, match=pattern):
        saved.load(spoilt(tmp_path, **metadata), "layer", Layer, linear)


# The README ---------------------------------------------------------------------------------------


def test_every_program_has_its_results():
    found = {path.parent.name for path in tables.RESULTS.glob("*/results.json") if "variants" in results.read(path)}
    assert sorted(found) == NAMES


def test_every_program_has_its_section_with_its_commands():
    readme = tables.README.read_text(encoding="utf-8")
    for name in NAMES:
        assert re.search(rf"^## {name}: ", readme, re.MULTILINE) and results.marked(name).search(readme)
        for command in "train", "predict", "compare":
            assert f"python -m models.{name} {command}" in readme


# Bad luck -----------------------------------------------------------------------------------------


def test_a_batch_without_end_is_refused(tmp_path):
    assert "--batch must be at most 65,536, got 1,000,000" in failed(
        "digits", "train", "--batch", 1_000_000, "--out", tmp_path
    )


def test_a_run_that_fails_leaves_the_model_before_it(tmp_path, monkeypatch):
    train("digits", tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    task = module("digits").PROGRAM.task
    loss = task.loss
    monkeypatch.setattr(task, "loss", lambda self: loss(self) * float("nan"))
    failed("digits", "train", *SMALL["digits"], "--updates", 3, "--out", tmp_path, "--overwrite")
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_comparing_does_not_replace_a_run_that_happens_to_have_the_same_name(tmp_path):
    train("digits", tmp_path / "mlp-0")
    before = (tmp_path / "mlp-0" / "model.safetensors").read_bytes()
    told = failed("digits", "compare", "mlp", "--updates", 1, "--out", tmp_path)
    assert "mlp-0 holds a run already (model.safetensors)" in told
    assert (tmp_path / "mlp-0" / "model.safetensors").read_bytes() == before


def test_what_a_model_gives_must_be_numbers():
    assert check_numbers(np.ones(2)).tolist() == [1, 1]
    with pytest.raises(UserError, match=r"the model gives what is no number: its weights are of no use. Train it"):
        check_numbers(np.array([1, np.nan]))


def test_texts_of_a_model_do_not_command_the_terminal():
    check_printable("words", ["이", "a b", "soft\xadhyphen"])
    with pytest.raises(UserError, match=r"words must be texts without control characters, got '\\x1b\[31m'"):
        check_printable("words", ["a", "\x1b[31m"])
