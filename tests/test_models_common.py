"""What the programs share: the terminal, the journal of a run, its curves."""

import io
import json
import math
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from models.common import console, curves, journal, options
from models.common.errors import UserError

LOSSES = {"loss": 2.0, "gradient_norm": 0.25, "symbols_per_second": 90_000.4, "lr": 1e-3}


@pytest.fixture
def terminal(monkeypatch):
    """A terminal, and what was written to it."""
    written = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=written, force_terminal=True, width=120, highlight=False))
    return written


# The terminal ----------------------------------------------------------------------------------------


def test_without_a_terminal_progress_is_a_line_for_each_tenth(capsys):
    with console.progress(200) as report:
        for update in range(5, 201, 5):
            report(update, **LOSSES)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "update 20/200  loss 2.000 nats, 2.885 bits  grad 0.25  90,000 symbols/s"
    assert [line.split()[1] for line in lines] == [f"{n}/200" for n in range(20, 201, 20)]


def test_progress_goes_on_from_where_an_earlier_session_stopped(capsys):
    with console.progress(100, start=55) as report:
        for update in range(56, 101):
            report(update)
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == [
        f"{n}/100" for n in range(60, 101, 10)
    ]


def test_in_a_terminal_progress_is_a_bar_that_goes_away(terminal):
    with console.progress(50) as report:
        report(30, **LOSSES)
        console.say("a line above the bar [not markup]")
    shown = terminal.getvalue()
    assert "30/50" in shown and "loss 2.000 nats, 2.885 bits  grad 0.25  90,000 symbols/s" in shown
    assert "a line above the bar [not markup]\n" in shown
    assert shown.endswith("\x1b[2K")  # the last that is done erases the line


@pytest.mark.parametrize(
    ("width", "news"),
    [
        (80, "loss 2.000 nats, 2.885 bits  grad 0.25  90,000 symbols/s"),
        (60, "loss 2.000 nats, 2.885 bits"),
        (40, "loss 2.000 nats"),
    ],
)
def test_progress_fits_a_narrow_terminal(monkeypatch, width, news):
    """The updates are whole, and so is each number."""
    written = io.StringIO()
    narrow = Console(file=written, force_terminal=True, width=width, highlight=False, color_system=None)
    monkeypatch.setattr(console, "console", narrow)
    with console.progress(8000) as report:
        report(7990, **LOSSES)
    last = [line for line in written.getvalue().replace("\r", "\n").splitlines() if "7990/8000" in line][-1]
    assert re.sub(r"\x1b\[[0-9;?]*\w", "", last).rstrip().endswith(f" {news}")


def test_an_error_inside_progress_comes_out():
    with pytest.raises(KeyError, match="mine"), console.progress(10):
        raise KeyError("mine")


def test_a_table_shows_everything(capsys):
    console.table("settings", {"cell": "lstm", "text": "a/very/long/name" * 20, "dropout": 0.0, "seed": None})
    assert capsys.readouterr().out.splitlines() == [
        "settings", "  cell     lstm", "  text     " + "a/very/long/name" * 20, "  dropout  0.0", "  seed     -",
    ]  # fmt: skip


def test_what_the_output_cannot_encode_is_escaped(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    console.table("größe", {"ß": "中"})
    console.write_out(["é"])
    sys.stdout.flush()
    assert written.getvalue().decode("ascii").split() == [r"gr\xf6\xdfe", r"\xdf", r"\u4e2d", r"\xe9"]


def test_losses_are_told_in_both_units():
    assert console.in_units(math.log(2)) == "0.693 nats (1.000 bits)"


# The journal -----------------------------------------------------------------------------------------


def written(path, updates=range(1, 6)):
    with journal.Journal(path) as log:
        log.write("start", cell="lstm")
        for update in updates:
            log.write("train", update=update, loss=1 / update)
    return path


def test_what_is_written_is_read(tmp_path):
    path = written(tmp_path / "new" / "log.jsonl")
    assert journal.read(path)[0] == {"event": "start", "cell": "lstm"}
    assert [record.get("update") for record in journal.read(path)] == [None, 1, 2, 3, 4, 5]
    written(path, [6])  # opened again, it goes on
    assert [record["event"] for record in journal.read(path)] == ["start"] + ["train"] * 5 + ["start", "train"]


def test_a_line_is_there_as_soon_as_it_is_written(tmp_path):
    log = journal.Journal(tmp_path / "log.jsonl")
    log.write("saved", update=1)
    assert journal.read(log.path) == [{"event": "saved", "update": 1}]
    log.close()


def test_every_line_is_json_whatever_the_values(tmp_path):
    facts = {
        "loss": np.float32(0.5), "update": np.int64(3), "nan": math.nan, "norm": np.float64("inf"), "none": None,
        "list": (1, np.array([2.0, math.nan])), "path": Path("a") / "b", "name": "ß中\n\u2028\udcff",
        "in": {"x": np.bool_(True)},
    }  # fmt: skip
    with journal.Journal(tmp_path / "log.jsonl") as log:
        log.write("train", **facts)
    text = (tmp_path / "log.jsonl").read_text(encoding="utf-8")
    assert text.count("\n") == 1 and "ß中" in text
    json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))
    expected = facts | {"event": "train", "loss": 0.5, "update": 3, "nan": None, "norm": None}
    expected |= {"list": [1, [2.0, None]], "path": str(Path("a/b")), "in": {"x": True}}
    assert journal.read(tmp_path / "log.jsonl") == [expected]


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_half_a_line_is_skipped_and_cut_off(tmp_path, cut):
    path = written(tmp_path / "log.jsonl")
    path.write_bytes(path.read_bytes()[:-cut])  # what a killed process leaves
    assert [record.get("update") for record in journal.read(path)] == [None, 1, 2, 3, 4]
    with journal.Journal(path) as log:
        log.write("train", update=5, loss=0.3)
    assert [record.get("update") for record in journal.read(path)] == [None, 1, 2, 3, 4, 5]


def test_half_a_character_is_skipped_too(tmp_path):
    path = written(tmp_path / "log.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole + '{"event": "ß'.encode()[:-1])
    assert len(journal.read(path)) == 6
    journal.Journal(path).close()
    assert path.read_bytes() == whole


def test_going_on_from_an_older_checkpoint_drops_what_came_after(tmp_path):
    path = written(tmp_path / "log.jsonl")
    with journal.Journal(path) as log:
        log.keep(3)
        log.write("train", update=4, loss=0.25)
    assert [record.get("update") for record in journal.read(path)] == [None, 1, 2, 3, 4]
    assert [file.name for file in tmp_path.iterdir()] == ["log.jsonl"]


MISTAKES = [
    (None, "there is no journal"),
    (b'{"event": "start"}\nnonsense\n{"event": "end"}\n', r"line 2 is not JSON"),
    (b'{"event": "start"}\n\xff\xff\n', r"line 2 is not JSON"),
    (b"[1]\n", r"line 1 must be a JSON object"),
    (b'{"event": "train", "update": "x"}\n', r"line 1: expected a number of updates"),
]


@pytest.mark.parametrize(("content", "message"), MISTAKES)
def test_what_is_no_journal_is_refused(tmp_path, content, message):
    path = tmp_path / "log.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        journal.read(path)


def shown_by_tensorboard(folder):
    """(tag, update, number) of all files, in the order in which they were written."""
    from tensorboardX.proto.event_pb2 import Event

    found, purged = [], None
    for file in sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns):
        content = file.read_bytes()
        while content:  # length (8 bytes), its checksum (4), the event, its checksum (4)
            size = int.from_bytes(content[:8], "little")
            event = Event.FromString(content[12 : 12 + size])
            content = content[16 + size :]
            if event.HasField("session_log"):
                purged = event.step
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
    return found, purged


def test_tensorboard_gets_the_numbers(tmp_path):
    pytest.importorskip("tensorboardX")
    board = journal.TensorBoard(tmp_path)
    board.write("start", cell="lstm")
    board.write("train", update=10, seconds=0.5, **LOSSES)
    board.write("validation", update=10, nats=np.float32(2.5))
    board.close()
    found, purged = shown_by_tensorboard(tmp_path)
    assert {tag: number for tag, _, number in found} == pytest.approx(
        {"loss/train": 2.0, "loss/validation": 2.5, "training/gradient_norm": 0.25,
         "training/learning_rate": 1e-3, "training/symbols_per_second": 90_000.4}
    )  # fmt: skip
    assert {update for _, update, _ in found} == {10}
    assert purged is None


def test_tensorboard_is_told_where_a_run_goes_on(tmp_path):
    pytest.importorskip("tensorboardX")
    board = journal.TensorBoard(tmp_path, resumed_at=10)
    board.write("train", update=11, loss=1.0)
    board.close()
    assert shown_by_tensorboard(tmp_path) == ([("loss/train", 11, 1.0)], 11)


def test_tensorboard_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"pip install -e '\.\[tensorboard\]'"):
        journal.TensorBoard(tmp_path)


# The curves ------------------------------------------------------------------------------------------


def losses(updates, validations=()):
    records = [{"event": "start"}]
    records += [{"event": "train", "update": u, "loss": 1 + 3 / u, "seconds": u / 50} for u in updates]
    return records + [{"event": "validation", "update": u, "nats": 1.5 + abs(u - 60) / 100} for u in validations]


RUNS = {
    "usual": losses(range(10, 101, 10), range(20, 101, 20)),
    "one record": losses([1]),
    "at update 0": [{"event": name, "update": 0, "loss": 4.0, "nats": 3.0} for name in ("train", "validation")],
    "validation alone": losses([], [50]),
    "no numbers between": losses([10, 20]) + [{"event": "train", "update": 30, "loss": x} for x in (None, math.nan)],
    "100 000 records": losses(range(1, 100_001), range(1000, 100_001, 1000)),
}  # fmt: skip


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("run", RUNS)
def test_every_run_fits_the_terminal(run, plain):
    text = curves.in_terminal(RUNS[run], plain=plain)
    lines = text.splitlines()
    assert len(lines) == 20
    assert text.isascii() == plain
    assert ("\x1b" in text) != plain
    if plain:
        assert max(map(len, lines)) <= 80
        body = "".join(line[5:] for line in lines[1:-1])  # without the numbers on the left
        assert ("." in body) == any(r["event"] == "train" for r in RUNS[run])
        assert ("o" in body) == any(r["event"] == "validation" for r in RUNS[run])


def test_the_axes_tell_the_numbers():
    lines = curves.in_terminal(RUNS["usual"], plain=True).splitlines()
    assert lines[-1].split() == ["0", "25", "50", "75", "100"]
    assert lines[2].startswith("1.90+") and lines[-3].startswith("1.03+")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_colours_and_blocks_are_for_terminals_that_have_them(monkeypatch, encoding):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(curves, "console", Console(file=file, force_terminal=True, width=60))
    text = curves.in_terminal(RUNS["usual"])
    assert text.isascii() == (encoding == "latin-1")
    monkeypatch.setattr(curves, "console", Console(file=file, force_terminal=False, width=60))
    text = curves.in_terminal(RUNS["usual"])
    assert text.isascii() and max(map(len, text.splitlines())) <= 60


@pytest.mark.parametrize("records", [[], [{"event": "start"}], [{"event": "train", "update": 1, "loss": math.inf}]])
def test_without_a_loss_there_is_no_curve(records):
    assert curves.in_terminal(records) == ""


def test_a_narrow_terminal_has_no_curve(monkeypatch):
    monkeypatch.setattr(curves, "console", Console(file=io.StringIO(), width=39))
    assert curves.in_terminal(RUNS["usual"]) == ""


def test_plotext_is_left_as_it_was_found():
    import plotext

    before = str(plotext.figure.clear().build())
    curves.in_terminal(RUNS["usual"])
    assert str(plotext.figure.build()) == before


@pytest.mark.parametrize("run", [*RUNS, "nothing"])
def test_every_run_has_a_picture(tmp_path, run):
    import matplotlib

    settings = dict(matplotlib.rcParams)
    curves.draw(RUNS.get(run, []), tmp_path / "loss.png", "costs $5 and $6, 中文")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == settings


def test_the_picture_tells_the_best(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    curves.draw(RUNS["usual"], tmp_path / "loss.png", "a title")
    (axes,) = drawn[0].axes
    assert axes.get_title() == "a title"
    assert axes.get_ylabel() == "nats per symbol"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "training",
        "validation",
        "least: 1.5000 at 60",
    ]
    labels = {child.get_ylabel() or child.get_xlabel() for child in axes.child_axes}
    assert labels == {"bits per symbol", "seconds of training"}


def test_means_keep_the_mean():
    x, y = np.arange(10.0), np.arange(10.0) ** 2
    few = curves.means(x, y, 5)
    assert few[0].tolist() == [0.5, 2.5, 4.5, 6.5, 8.5]
    assert few[1].mean() == y.mean()
    assert curves.means(x, y, 99)[1].tolist() == y.tolist()
    assert curves.means(x[:0], y[:0], 5)[0].tolist() == []


# Options in a file --------------------------------------------------------------------------------

VALUES = st.text(st.characters(exclude_categories=["Cs"])) | st.booleans() | st.integers(-(2**63), 2**63 - 1)
VALUES |= st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True), VALUES | st.lists(VALUES)))
def test_options_are_written_as_toml(values):
    found = tomllib.loads(options.to_toml(values, "a remark"))
    assert found == {name.replace("_", "-"): value for name, value in values.items()}
