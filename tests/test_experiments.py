"""What all experiments in models/ do alike: rows, tables and pictures, wrong input, the tables of their pages."""

import dataclasses
import importlib
import json
import re
import shlex

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from bench.tables import make, markdown
from models import tables
from models.common import console, curves, experiments, results
from models.common.errors import UserError
from models.common.experiments import path

# Of each experiment the options that make it as small as it can be.
SMALL = {
    ("gradients", "scalar"): ["--steps", "4"],
    ("step", "step"): ["--cell", "rnn", "--hidden", "3", "--steps", "4", "--rounds", "1"],
    ("gradients", "spectrum"): ["--steps", "4", "--hidden", "3", "--sigma", "1", "--batch", "1"],
    ("gradients", "clipping"): ["--updates=2", "--steps=4", "--batch=1", "--hidden=2", "--seeds=1", "--gain=1"],
    ("gradients", "flow"): [
        *("--distance=4", "--before=2", "--hidden=4", "--updates=2", "--batch=300", "--seq=4", "--sequences=3"),
    ],
    ("gradients", "forget"): [
        *("--distance=4", "--before=2", "--hidden=4", "--units=2", "--updates=2", "--delay=2", "--seeds=1"),
    ],
    ("gradients", "memory"): [
        *(
            "--lag",
            "4",
            "--hidden",
            "3",
            "--batch",
            "4",
            "--updates",
            "3",
            "--jobs",
            "1",
            "--cells",
            "rnn",
            "--seeds",
            "1",
        )
    ],
    ("one_hot", "one_hot"): ["--steps", "3", "--batch=2", "--hidden=2", "--updates=2", "--repeats=1", "--vocabulary=5"],
    ("truncation", "truncation"): [
        *(
            "--steps",
            "4",
            "--every=2",
            "--symbols=24",
            "--batch=2",
            "--hidden=2",
            "--seeds=1",
            "--repeats=1",
            "--jobs=1",
        ),
        *("--look-back=1", "--look-back=2:3", "--learn=2", "--learn=1"),
    ],
}

every_experiment = pytest.mark.parametrize("key", SMALL, ids=" ".join)


def program(name):
    return importlib.import_module(f"models.{name}.program")


def experiment(key):
    return next(each for each in program(key[0]).EXPERIMENTS if each.name == key[1])


def run(key, *arguments):
    """An experiment's command: what came of some arguments."""
    name, *command = path(key[0], experiment(key))
    return CliRunner().invoke(program(name).app, [*command, *map(str, arguments)], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An experiment's folder and what it told, made when it is first asked for."""
    folder, found = tmp_path_factory.mktemp("experiments"), {}

    def of(key):
        if key not in found:
            result = run(key, *SMALL[key], "--out", folder / "-".join(key))
            assert result.exit_code == 0, result.output
            found[key] = result.output
        return folder / "-".join(key), found[key]

    return of


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures are made, but not written: that takes longer than all else."""
    monkeypatch.setattr(curves, "save", lambda figure, path: None)


def test_every_experiment_is_tried():
    laboratories = [
        path.parent.name for path in tables.FOLDER.glob("*/program.py") if "EXPERIMENTS" in path.read_text()
    ]
    assert {(name, each.name) for name in laboratories for each in program(name).EXPERIMENTS} == SMALL.keys()


@every_experiment
def test_each_option_has_a_remark(key):
    command = typer.main.get_command(program(key[0]).app)
    for each in (command, *getattr(command, "commands", {}).values()):
        assert each.help and [p.name for p in each.params if not getattr(p, "help", None)] == []


@every_experiment
def test_an_experiment_leaves_what_it_found_and_its_pictures(key, made):
    folder, told = made(key)
    document = json.loads((folder / results.FILE).read_text())
    assert (document["program"], document["experiment"]) == key and document["rows"]
    assert (
        document["command"].startswith(f"python -m models.{key[0]}")
        and SMALL[key][0].partition("=")[0] in document["command"]
    )
    assert set(re.findall(r"picture: (.*)", told)) == {str(folder / name) for name in experiment(key).pictures}
    for name in experiment(key).pictures:
        assert (folder / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    for each in experiment(key).tables(document["rows"]):
        assert markdown(each).count("\n") > 3


@every_experiment
def test_what_was_found_is_replaced_only_when_asked_and_by_the_same_but_for_times(key, made, tmp_path, undrawn):
    (tmp_path / results.FILE).write_text("{}")
    result = run(key, *SMALL[key], "--out", tmp_path)
    assert result.exit_code == 1 and "holds a run already (results.json): name another folder" in result.output
    assert (tmp_path / results.FILE).read_text() == "{}"
    assert run(key, *SMALL[key], "--out", tmp_path, "--overwrite").exit_code == 0
    first, second = (results.read(path / results.FILE)["rows"] for path in (made(key)[0], tmp_path))
    assert _without_times(first) == _without_times(second)


def _without_times(rows):
    return [{name: value for name, value in row.items() if name not in ("seconds", "bytes")} for row in rows]


def test_without_a_name_each_run_gets_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    key = ("gradients", "scalar")
    for _ in range(2):
        assert run(key, *SMALL[key]).exit_code == 0
    assert sorted(path.name for path in (tmp_path / "runs" / "gradients").iterdir()) == ["scalar", "scalar-2"]
    before = (tmp_path / "runs" / "gradients" / "scalar" / results.FILE).read_text()
    assert run(key, "--steps", 5, "--overwrite").exit_code == 0
    assert (tmp_path / "runs" / "gradients" / "scalar" / results.FILE).read_text() != before
    assert len(list((tmp_path / "runs" / "gradients").iterdir())) == 2


def test_all_by_turns(tmp_path, monkeypatch):
    """Without the name of an experiment: all of them, two here."""
    monkeypatch.chdir(tmp_path)
    scalar = experiment(("gradients", "scalar"))
    app = experiments.laboratory("gradients", scalar, dataclasses.replace(scalar, name="second"), about="Two of them.")
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 0, result.output
    assert {path.parent.name for path in tmp_path.glob("runs/gradients/*/results.json")} == {"scalar", "second"}


def test_what_is_named_twice_counts_once(tmp_path):
    arguments = ["--b", "0.5", "--b", "0.5", "--steps", "4"]
    assert run(("gradients", "scalar"), *arguments, "--out", tmp_path).exit_code == 0
    document = results.read(tmp_path / results.FILE)
    assert [row["b"] for row in document["rows"][:-1]] == [0.5] * 3  # at three places
    assert document["command"] == "python -m models.gradients scalar --b 0.5 --steps 4"


def test_what_is_no_number_is_not_saved(tmp_path, monkeypatch):
    def measure(settings):
        return [{"value": float("nan")}]

    app = experiments.laboratory(
        "step", dataclasses.replace(experiment(("step", "step")), measure=measure), about="A test."
    )
    result = CliRunner().invoke(app, ["--out", str(tmp_path)])
    assert result.exit_code == 1 and "is not all finite numbers, and nothing is saved" in result.output
    assert not (tmp_path / results.FILE).exists()


def test_a_file_that_is_spoilt_is_named(tmp_path):
    (tmp_path / results.FILE).write_text('{"rows": [')
    with pytest.raises(UserError, match=r"results.json holds no results: Expecting value.*; measure them again"):
        results.read(tmp_path / results.FILE)


def test_a_table_is_whole_wherever_it_is_shown(monkeypatch, capsys):
    made = make("A title that is rather long for so narrow a terminal", ["a", "longer"], [["1,234,567", "x" * 30]])
    monkeypatch.setattr(console, "console", Console(width=24, force_terminal=True, color_system=None))
    console.show(made)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 24 and sum(line.count("x") for line in lines) == 30
    monkeypatch.setattr(console, "console", Console(width=24))
    console.show(make("t", ["a", "longer"], [["1,234,567", "x" * 30]]))
    assert any("x" * 30 in line for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda page: page.parent.name)
def test_the_lines_of_the_pages_have_options_that_there_are(page):
    lines = re.findall(r"^python -m models\.(\w+)(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    seen = 0
    for name, rest in lines:
        if any(name == each for each, _ in SMALL):
            words, command = shlex.split(rest, comments=True), typer.main.get_command(program(name).app)
            command = command.commands[words.pop(0)] if hasattr(command, "commands") and words else command
            seen += 1
            command.make_parser(typer.Context(command)).parse_args(words)
    assert seen > 8


@every_experiment
@pytest.mark.parametrize("device", ["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_an_experiment_runs_on_a_gpu_too(key, device, tmp_path, undrawn):
    """Where there is none the strict device shows what a GPU would refuse."""
    result = run(key, *SMALL[key], "--device", device, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / results.FILE).read_text())["command"].endswith(f" --device {device}")


# The pages ----------------------------------------------------------------------------------------


def test_the_tables_of_every_page_are_those_of_the_results():
    for page in tables.PAGES:
        text = page.read_text(encoding="utf-8")
        assert tables.rewritten(text) == text, page


@every_experiment
def test_every_experiment_has_its_table_and_its_line(key):
    called = path(key[0], experiment(key))
    assert any(results.marked(" ".join(called)).search(page.read_text(encoding="utf-8")) for page in tables.PAGES)
    assert f"python -m models.{' '.join(called)}" in tables.README.read_text(encoding="utf-8")
    folder = tables.RESULTS.joinpath(*called)
    assert all((folder / picture).exists() for picture in experiment(key).pictures)
