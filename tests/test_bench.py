"""The bench's own parts: records, tables, pictures, what is read off, and every command with tiny sizes."""

import doctest
import importlib
import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import minigrad as mg
from bench import crossover, kernels, overhead, pictures, profile, record, report, sample, scaling, tables, timing
from bench.__main__ import app
from bench.chains import operations
from bench.samplers import minigrad_step
from bench.systems import minigrad_device
from bench.systems.task import Task, batches, weights
from minigrad.backend import cpu
from minigrad.fusion.compiler import find_compiler
from minigrad.threads import kernel_threads


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})


def text_of(made):
    console = Console(width=200)
    with console.capture() as captured:
        for table in made:
            console.print(table)
    return captured.get()


def spread(milliseconds):
    return record.spread([milliseconds / 1e3])


# Every command ------------------------------------------------------------------------------------

TINY = {
    "crossover": "--device cpu --cells rnn,lstm --hidden 4,8 --batch 2 --length 3 --rounds 1 --seconds 0",
    "overhead": "--systems minigrad --rounds 1",
    "sample": "--cells gru --hidden 4 --streams 2 --systems minigrad --rounds 1 --seconds 0.001",
    "scaling": "--cells rnn --rounds 1",
    "writers": "--cells rnn --hidden 4 --batch 2 --length 3 --rounds 1 --seconds 0",
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """What has no option is made small here."""
    monkeypatch.setattr(scaling, "SIZES", {"T": (2, 4, 8), "N": (1, 2), "H": (4, 8), "L": (1, 2)})
    monkeypatch.setattr(scaling, "CHAIN", (10, 20))
    monkeypatch.setattr(overhead, "LENGTHS", {"1": 10, "64x512": 2})


@pytest.mark.parametrize("name", TINY)
def test_a_command_keeps_json_and_makes_table_and_picture_from_it(name, tmp_path, monkeypatch):
    result = invoke(name, *TINY[name].split(), "--folder", tmp_path, "--threads", 1)
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert document["bench"] == name and document["rows"]
    machine = document["machine"]
    assert machine["threads"] == 1 and machine["numpy"] == np.__version__ and machine["minigrad"] == mg.__version__
    assert document["facts"]["rounds"] == 1
    assert machine["writer"] == mg.fuse_backend("cpu") and (machine["compiler"] is None) == (find_compiler() is None)
    picture = tmp_path / f"{name}.png"
    assert picture.read_bytes().startswith(b"\x89PNG")

    picture.unlink()
    monkeypatch.setattr(importlib.import_module(f"bench.{name}"), "run", None)  # nothing is measured any more
    again = invoke(name, "--show", "--folder", tmp_path)
    assert again.exit_code == 0 and again.output == result.output and picture.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("writers --cells lstm,linear", "there is no cell 'linear'; choose from rnn, gru, lstm"),
        ("crossover --cells rnn,transformer", "there is no cell 'transformer'; choose from rnn, gru, lstm"),
        ("crossover --hidden 64,-1", "expected positive whole numbers such as 64,128, got '64,-1'"),
        ("sample --streams many", "expected positive whole numbers such as 64,128, got 'many'"),
        ("scaling --rounds 0", "Invalid value for '--rounds'"),
        ("scaling --threads 0", "Invalid value for '--threads'"),
        ("overhead --systems tensorflow", "there is no system 'tensorflow'; choose from minigrad, torch, autograd"),
        ("sample --systems tensorflow", "there is no system 'tensorflow'; choose from minigrad"),
        ("overhead --show", "run `python -m bench overhead` first"),
    ],
)
def test_what_users_do_wrong(words, message, tmp_path):
    result = invoke(*words.split(), "--folder", tmp_path)
    assert result.exit_code != 0
    assert message in " ".join(result.output.replace("│", " ").split())
    assert not any(tmp_path.iterdir())


def test_a_run_that_is_broken_off_keeps_what_it_has(tmp_path, monkeypatch):
    def run(**options):
        yield {"what": "chain", "axis": "length", "size": 10, "forward": spread(1), "backward": spread(2)}
        raise KeyboardInterrupt

    monkeypatch.setattr(scaling, "run", run)
    invoke("scaling", "--folder", tmp_path)
    assert [row["size"] for row in record.read("scaling", tmp_path)["rows"]] == [10]


def test_the_number_of_threads_is_as_before_a_run():
    before = mg.get_num_threads()
    with record.limited(1):
        assert mg.get_num_threads() == kernel_threads() == 1
    assert mg.get_num_threads() == before


@pytest.mark.parametrize("module", [record, tables, scaling, crossover], ids=lambda module: module.__name__)
def test_examples(module):
    found = doctest.testmod(module)
    assert found.attempted and not found.failed


def test_tasks_take_turns_after_a_warm_up():
    called = []
    tasks = {name: lambda name=name: called.append(name) or len(called) for name in "abc"}
    assert timing.in_turns(tasks, 3) == {"a": [4, 9, 11], "b": [5, 7, 12], "c": [6, 8, 10]}
    assert "".join(called) == "abc" + "abc" + "bca" + "cab"


# Records, tables, the README ----------------------------------------------------------------------


def test_a_record_is_written_whole_or_not_at_all(tmp_path):
    path = record.write("name", [{"seconds": 1 / 3}], threads=2, packages=("numpy", "no-such"), folder=tmp_path, a=1)
    document = record.read("name", tmp_path)
    assert document["rows"] == [{"seconds": 0.333333}] and document["facts"] == {"a": 1}
    assert document["machine"]["packages"] == {"numpy": np.__version__, "no-such": None}
    with pytest.raises(ValueError, match="nan"):
        record.write("name", [{"seconds": math.nan}], threads=2, folder=tmp_path)
    assert record.read("name", tmp_path) == document
    assert list(tmp_path.iterdir()) == [path]


def test_one_table_for_the_terminal_and_for_the_readme():
    table = tables.make("Title", ["cell", "ms"], [["rnn", "1,200"], ["a|[b]\nc", None]])
    assert tables.markdown(table) == "Title:\n\n| cell | ms |\n| --- | --: |\n| rnn | 1,200 |\n| a\\|[b] c | – |"
    shown = text_of([table])
    assert "│ rnn" in shown and "a|[b]" in shown and "–" in shown


def test_the_readme_is_made_from_the_results():
    text = report.README.read_text(encoding="utf-8")
    assert report.rewritten(text) == text, "run `python -m bench report`"
    names = [found[2] for found in report.MARKED.finditer(text)]
    assert sorted(names) == sorted(
        {
            "crossover",
            "peers",
            "overhead",
            "profile",
            "floor",
            "memory",
            "sample",
            "scaling",
            "writers",
            "quality",
            "device",
        }
    )


def test_a_result_names_who_wrote_the_kernels(tmp_path, monkeypatch):
    compiler = tmp_path / "cc"
    for script, said in (("echo cc 1.2; echo free software", "cc 1.2"), ("exit 1", None), ("exit 0", None)):
        compiler.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        compiler.chmod(0o700)
        monkeypatch.setattr(record, "find_compiler", lambda: str(compiler))
        assert record.machine(threads=1)["compiler"] == said
    monkeypatch.setattr(record, "find_compiler", lambda: None)
    with mg.fusing(False):
        machine = record.machine(threads=1)
    assert machine["compiler"] is None and machine["writer"] == "none"
    assert ", kernels: none, " in report.machine_in_words(machine)
    assert ", kernels: c (cc 1.2), " in report.machine_in_words(machine | {"writer": "c", "compiler": "cc 1.2"})


def test_a_section_follows_the_json(tmp_path):
    text = "before\n<!-- results of scaling: python -m bench report -->\nold\n<!-- end -->\nafter\n"
    assert "Not measured yet" in report.rewritten(text, tmp_path)
    row = {"what": "chain", "axis": "length", "size": 10, "forward": spread(1), "backward": spread(2)}
    record.write("scaling", [row, {**row, "size": 1_000}], threads=1, folder=tmp_path)
    pictures.save(scaling.picture(record.read("scaling", tmp_path)), "scaling", tmp_path)
    once = report.rewritten(text, tmp_path)
    assert "| chain | length | 1,000 | 1.00 | 2.00 | 1.00 | 2.00 |" in once
    assert "![scaling](results/scaling.png)" in once and "1 thread," in once
    assert once.startswith("before\n") and once.endswith("after\n") and "old" not in once
    assert report.rewritten(once, tmp_path) == once


def test_what_a_profile_costs(tmp_path):
    rows = list(profile.run(("rnn",), (4,), batch=2, length=3, rounds=2, seconds=0.01))
    record.write("profile", rows, threads=1, folder=tmp_path)
    document = record.read("profile", tmp_path)
    assert [(row["way"], row["hidden"]) for row in rows] == [("kernels", 4), ("operations", 4)]
    assert 10 < rows[0]["events"] <= rows[1]["events"] and all(row["ratio"]["median"] > 0 for row in rows)
    (table,) = map(tables.markdown, profile.table(document))
    assert "| rnn | 4 × 2 × 3 | operations |" in table
    (panel,) = profile.picture(document).axes
    assert [text.get_text() for text in panel.get_xticklabels()] == ["rnn\nH=4"]


# Crossover ----------------------------------------------------------------------------------------


def crossover_rows(cpu, gpu):
    """Made-up milliseconds over H = 64, 128, 256."""
    rest = {"cell": "gru", "batch": 2, "length": 3, "host": None, "device_time": None}
    for kind, times in (("cpu", cpu), ("cuda", gpu)):
        for hidden, time in zip((64, 128, 256), times, strict=True):
            wall = None if time is None else spread(time)
            yield {**rest, "hidden": hidden, "device": kind, "wall": wall, "peak_bytes": 2_000_000, "launches": None}


@pytest.mark.parametrize(
    ("gpu", "words"),
    [
        ((4, 4, 4), "128"),  # equal at a size that was measured
        ((2, 2, 2 * 2**0.5), "91"),  # half way between 64 and 128, in the logarithm
        ((0.5, 8, 4), "161"),  # ahead, behind, ahead: what counts is from where on it stays ahead
        ((0.5, 0.5, 0.5), "below 64"),
        ((9, 9, 16), "above 256"),
        ((None, None, None), "–"),
    ],
)
def test_where_the_gpu_overtakes(gpu, words, tmp_path):
    record.write("crossover", list(crossover_rows((1, 4, 16), gpu)), threads=1, folder=tmp_path)
    document = record.read("crossover", tmp_path)
    line = next(line for line in text_of(crossover.table(document)).splitlines() if "gru" in line)
    assert [cell.strip() for cell in line.strip("│").split("│")] == ["gru", "2", "3", words]
    (panel,) = crossover.picture(document).axes
    assert len(panel.lines) == (1 if words == "–" else 2) + (words.isdigit())
    assert [found.get_text() for found in panel.texts] == ([crossover.NO_GPU] if words == "–" else [])


class FakeGpu(minigrad_device.Ours):
    """The strict backend with a clock of its own."""

    def __init__(self):
        super().__init__("strict")
        self.calls = []

    def synchronize(self):
        self.calls.append("synchronize")

    def mark(self):
        self.calls.append("mark")
        return len(self.calls)

    def between(self, start, end):
        return 0.25 * (end - start)

    def peak(self, act):
        act()
        return 1_000_000, 5_000_000


def test_both_sides_are_synchronised_and_every_number_has_its_place(monkeypatch, tmp_path):
    gpu = FakeGpu()
    monkeypatch.setattr(crossover, "devices", lambda name: [minigrad_device.device("cpu"), gpu])
    monkeypatch.setattr(crossover, "counter", lambda stack: lambda task: 123 if task.device == "strict" else None)
    rows = list(crossover.run(["lstm"], [4], [2], [3], rounds=2, seconds=0, device="strict"))
    steps = crossover.WARM_UP + 2
    assert gpu.calls == ["synchronize", "mark", "mark", "synchronize"] * steps
    host, device = rows
    assert host["device"] == "cpu" and host["device_time"] is None and host["wall"]["count"] == 2
    assert device["device"] == "strict" and device["device_time"]["median"] == 0.25
    assert device["launches"] == 123 and device["peak_bytes"] == 4_000_000
    assert 0 < device["host"]["median"] <= device["wall"]["median"]
    record.write("crossover", rows, threads=1, folder=tmp_path)
    assert "250" in text_of(crossover.table(record.read("crossover", tmp_path)))


def test_without_a_gpu_its_half_is_missing():
    measured, missing = crossover.run(["rnn"], [4], [2], [3], rounds=1, seconds=0)
    assert measured["wall"] and missing["device"] == "cuda"
    assert {key for key, value in missing.items() if value is None} == set(missing) - {
        "cell", "hidden", "batch", "length", "device",
    }  # fmt: skip


def test_kernels_are_counted_where_pytorch_can_see_them(monkeypatch):
    event = SimpleNamespace
    names = ["sgemm", "Memcpy HtoD (Pageable -> Device)", "Memset (Device)", "cupy_add__float32"]
    events = [event(name=name, device_type="gpu") for name in names] + [event(name="cudaLaunch", device_type="cpu")]
    assert kernels.kernels(events, "gpu") == 2
    for cuda in (None, SimpleNamespace(is_available=lambda: False)):  # no PyTorch, and one for the CPU
        monkeypatch.setitem(sys.modules, "torch", cuda and SimpleNamespace(cuda=cuda))
        assert kernels.launches({"device": "cuda"}) == {"launches": None}


# Overhead -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", operations.SIZES)
@pytest.mark.parametrize("name", operations.OPERATIONS)
def test_bare_derivatives_are_what_minigrad_computes(name, size):
    operation, b = operations.OPERATIONS[name], operations.constant_of(name, size)
    x = np.random.default_rng(0).standard_normal(operations.SIZES[size]).astype(np.float32)
    g = np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)
    leaf = mg.tensor(x, requires_grad=True)
    recorded = operation.value(mg, leaf, mg.tensor(b))
    recorded.backward(mg.tensor(g))
    y = operation.value(cpu, x, b)
    np.testing.assert_allclose(recorded.detach().numpy(), y, rtol=1e-6)
    np.testing.assert_allclose(leaf.grad.numpy(), operation.derivative(cpu, g, y, b), rtol=1e-4, atol=1e-5)


def test_overhead_is_the_difference_of_each_round_and_a_missing_system_is_named(tmp_path, monkeypatch):
    rounds = [{"forward": f, "backward": 3e-6, "bare_forward": 1e-6, "bare_backward": None} for f in (2e-6, 5e-6, 4e-6)]
    found = overhead.summary(rounds)
    assert found["over_forward"]["median"] == pytest.approx(3e-6) and found["over_backward"] is None

    monkeypatch.setitem(overhead.CHAINS, "nobody", "bench.chains.nobody")
    rows = list(overhead.run(["minigrad", "nobody"], rounds=1))
    assert rows[0]["system"] == "nobody" and rows[0]["status"] == "missing" and "nobody" in rows[0]["reason"]
    assert {row["operation"] for row in rows[1:]} == set(operations.OPERATIONS)
    record.write("overhead", rows, threads=1, folder=tmp_path)
    shown = text_of(overhead.table(record.read("overhead", tmp_path)))
    assert "Not timed" in shown and "nobody" in shown


# Sampling -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_samplers_are_the_same_model(cell):
    pytest.importorskip("torch")
    from bench.samplers import torch_cells, torch_layers

    task = Task(cell, 1, 8, batch=3, length=4, vocabulary=7)
    built = [module.build(task, weights(task), batches(task)) for module in (minigrad_step, torch_cells, torch_layers)]
    for k in range(task.length):
        ours, *theirs = [float(step(k)) for step in built]
        assert theirs == pytest.approx([ours, ours], rel=1e-5)
    for step in built:
        for k in range(task.length, task.length + 3):
            ids = np.asarray(step(k))
            assert ids.shape == (3,) and (ids >= 0).all() and (ids < 7).all()


@pytest.mark.parametrize("module", ["minigrad_step", "torch_cells"])
def test_what_is_drawn_follows_the_probabilities(module):
    if module != "minigrad_step":
        pytest.importorskip("torch")
    streams, wanted = 20_000, np.array([0.5, 0.3, 0.15, 0.05])
    task = Task("rnn", 1, 2, batch=streams, length=1, vocabulary=4)
    given = weights(task)
    given["output.weight"][:] = 0
    given["output.bias"][:] = np.log(wanted)
    step = importlib.import_module(f"bench.samplers.{module}").build(task, given, batches(task))
    step(0)
    shares = np.bincount(np.asarray(step(1)), minlength=4) / streams
    np.testing.assert_allclose(shares, wanted, atol=5 * (0.25 / streams) ** 0.5)


def test_characters_per_second_are_of_all_streams():
    timed = {"status": "timed", **record.spread([0.002])}
    row = {"cell": "rnn", "streams": 64, "hidden": 4}
    ours = {"minigrad": {**timed, "ratio": spread(1e3)}}
    document = {"rows": [{**row, "systems": {**ours, "torch": {**timed, "median": 0.004, "ratio": spread(2e3)}}}]}
    shown = text_of(sample.table(document))
    assert "32,000" in shown and "16,000" in shown and "2.00×" in shown
    gone = {"status": "missing", "reason": "No module named 'torch'"}
    document = {"rows": [{**row, "systems": {**ours, "torch": gone}}]}
    assert "No module named 'torch'" in text_of(sample.table(document))
    assert len(sample.picture(document).axes[0].patches) == 1


# Scaling ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [0.5, 1, 2])
def test_the_exponent_is_found_whatever_small_sizes_cost(power):
    sizes = [1, 10, 100, 1_000, 10_000]
    slope, fitted = scaling.exponent(sizes, [3 * size**power if size >= 100 else 1e3 for size in sizes])
    assert slope == pytest.approx(power) and fitted == [100, 1_000, 10_000]


def test_scaling_grows_one_size_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "SIZES", {"T": (2, 4), "N": (1,), "H": (4, 8), "L": (1, 2)})
    rows = scaling.run(["gru"], 1)
    assert [(row["what"], row["axis"], row["size"]) for row in rows] == [
        ("chain", "length", 10), ("chain", "length", 20), ("gru", "T", 2), ("gru", "T", 4), ("gru", "N", 1),
        ("gru", "H", 4), ("gru", "H", 8), ("gru", "L", 1), ("gru", "L", 2),
    ]  # fmt: skip
    assert all(row["forward"]["median"] > 0 and row["backward"]["median"] > 0 for row in rows)
    assert rows[2] | {"N": 8, "H": 64, "L": 1} == rows[2]
    record.write("scaling", rows, threads=1, folder=tmp_path)
    figure = scaling.picture(record.read("scaling", tmp_path))
    assert [len(panel.lines) for panel in figure.axes] == [1, 1, 1, 1]
