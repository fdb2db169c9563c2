"""The bench's training step: the same in every system; and what the commands make of it."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("rich")

import minigrad as mg
from bench import floor, memory, peers, pictures, processes, record, tables, writers
from bench.processes import Finding
from bench.systems import SYSTEMS, minigrad_writers, own_products, products, task
from bench.systems.task import Task
from minigrad.fusion import scanned
from minigrad.fusion.compiler import find_compiler

from .compiling import needs_compiler

REQUIRED = {"torch-cells": "torch", "torch-float32": "torch"}  # where the name is not the package's


def losses(system: str, what: Task, count: int = 4) -> list[float]:
    pytest.importorskip(REQUIRED.get(system, system))
    step = importlib.import_module(SYSTEMS[system]).build(what, task.weights(what), task.batches(what))
    return [float(step(k)) for k in range(count)]


# Adam forgives a factor that all gradients share, unless they are as small as its eps: such a clip shows in the losses.
TIGHT = 1e-7


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("system", [name for name in SYSTEMS if name != "minigrad"])
def test_every_system_takes_the_same_steps(system: str, cell: str) -> None:
    what = Task(cell, 2, 6, batch=3, length=4, vocabulary=7, clip=TIGHT)
    assert losses(system, what) == pytest.approx(losses("minigrad", what), rel=1e-5)


def test_a_step_learns_and_its_clipping_shows() -> None:
    what = Task("gru", 1, 16, batch=4, length=6, vocabulary=7)
    free, tight = losses("minigrad", what, 40), losses("minigrad", dataclasses.replace(what, clip=TIGHT), 40)
    assert free[-1] < free[0] - 0.2
    assert abs(tight[4] / free[4] - 1) > 10 * processes.CLOSE


@pytest.mark.parametrize("change", [{"clip": TIGHT}, {"seed": 1}, {"layers": 1}])
def test_a_step_that_is_not_the_same_is_found_out(change: dict[str, Any]) -> None:
    what = Task("lstm", 2, 16, batch=4, length=6)
    found = {name: Finding(first={"losses": losses("minigrad", what, 5)}) for name in "abc"}
    found["c"].first["losses"] = losses("minigrad", dataclasses.replace(what, **change), 5)
    processes.compare_losses(found)
    assert [finding.status for finding in found.values()] == ["timed", "timed", "wrong"]


def test_weights_and_data_come_from_the_seed_alone() -> None:
    what = Task("gru", 2, 8)
    again, other = task.weights(what), task.weights(dataclasses.replace(what, seed=1))
    for name, weight in task.weights(what).items():
        assert weight.dtype == np.float32
        assert np.array_equal(weight, again[name]) and not np.array_equal(weight, other[name])
    pairs = task.batches(what)
    assert len(pairs) == task.BATCHES
    for ids, targets in pairs:
        assert ids.shape == targets.shape == (50, 50) and ids.min() >= 0 and ids.max() < 65
        assert np.array_equal(ids[1:], targets[:-1])


# The products -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cell", "gates"), [("lstm", 4), ("gru", 3), ("rnn", 1)])
def test_the_flop_of_the_products(cell: str, gates: int) -> None:
    T, N, H, V = 5, 2, 8, 7
    G = gates * H
    first = 3 * V * H * G + (2 * T * N + (T - 1) * N) * H * G  # look-up and product exchanged
    second = (3 * T * N + 2 * T * N + (T - 1) * N) * H * G
    what = Task(cell, 2, H, batch=N, length=T, vocabulary=V)
    assert products.facts(what)["flop"] == 2 * (first + second + 3 * T * N * H * V)


def test_the_products_are_run_as_they_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    what = Task("lstm", 2, 8, batch=2, length=5, vocabulary=7)
    step = products.build(what, {}, [])
    flop = []

    def matmul(left: Any, right: Any, *, out: Any) -> None:
        assert left.dtype == right.dtype == out.dtype == np.float32
        assert np.shares_memory(out, out.base) and (left @ right).shape == out.shape
        flop.append(2 * left.shape[0] * left.shape[1] * right.shape[1])

    monkeypatch.setattr(products.np, "matmul", matmul)
    step(0)
    assert sum(flop) == products.facts(what)["flop"]


FORMULAS: dict[str, Any] = {
    "x Wᵀ": lambda x, w: x @ w.T,
    "g W": lambda g, w: g @ w,
    "gᵀ x": lambda g, x: g.T @ x,
}


@pytest.mark.parametrize("length", [1, 2, 5])
def test_our_own_products_are_those_that_are_counted(length: int) -> None:
    what = Task("gru", 2, 8, batch=2, length=length, vocabulary=7)
    for product in products.products(what):
        if product.times:
            call = own_products.call(product, np.random.default_rng(0))
            *_, left, _, right = call.args
            found = call()[0] if product.times > 1 else call()
            assert found.size == product.times * product.rows * product.columns
            np.testing.assert_allclose(
                found.numpy(), FORMULAS[product.form](left.numpy(), right.numpy()), rtol=1e-5, atol=1e-5
            )
    own_products.build(what, {}, [])(0)
    assert own_products.facts(what) == products.facts(what)


@needs_compiler
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_our_own_products_of_all_time_steps_are_one_loop(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loops = []
    real = scanned.loop_of

    def counted(*args: Any) -> Any:
        loops.append(real(*args))
        return loops[-1]

    monkeypatch.setattr(scanned, "loop_of", counted)
    own_products.build(Task(cell, 2, 8, batch=3, length=4, vocabulary=7), {}, [])(0)
    assert len(loops) == 4 and None not in loops  # forward and back in each of two layers


# The commands -------------------------------------------------------------------------------------

FAKE = """
import time

def facts(task):
    return {"flop": 1000}

def build(task, weights, batches):
    def step(k):
        time.sleep(SECONDS)
        return LOSS
    return step
"""


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(processes, "PAUSE", 0.0)

    def write(**seconds: float | None) -> dict[str, str]:
        for name, each in seconds.items():
            source = FAKE.replace("SECONDS", str(each)).replace(
                "LOSS", "None" if "products" in name else "1.0 / (k + 1)"
            )
            if each is None:
                source = "import a_library_that_nobody_has"
            (tmp_path / f"fake_{name}.py").write_text(source, encoding="utf-8")
        return {name: f"fake_{name}" for name in seconds}

    return write


def texts(made: list[Any]) -> str:
    return "\n".join(tables.markdown(table) for table in made)


def test_peers(fakes: Any, tmp_path: Path) -> None:
    modules = fakes(minigrad=0.002, torch=0.006, jax=None)
    options: dict[str, Any] = {
        "cells": ("lstm", "rnn"),
        "layers": (1,),
        "hidden": (4,),
        "modules": modules,
        "rounds": 2,
    }
    rows = list(peers.run(**options, systems=tuple(modules), seconds=0.01, threads=1))
    record.write("peers", rows, threads=1, folder=tmp_path)
    document = record.read("peers", tmp_path)
    assert [peers.configuration(row) for row in document["rows"]] == [(cell, 1, 4, 50, 50) for cell in ("lstm", "rnn")]
    for row in document["rows"]:
        ours, theirs = row["systems"]["minigrad"], row["systems"]["torch"]
        assert ours["ratio"]["median"] == 1.0 and theirs["ratio"]["median"] > 1.5
        assert theirs["low"] <= theirs["median"] <= theirs["high"] and theirs["count"] >= 4
        assert ours["losses"] == theirs["losses"] and len(ours["losses"]) == processes.WARM_UP
        assert row["systems"]["jax"]["status"] == "missing" and "nobody_has" in row["systems"]["jax"]["reason"]
    shown = texts(peers.table(document))
    assert "missing" in shown and "No module named 'a_library_that_nobody_has'" in shown and "| all | 2 |" in shown
    assert [axes.get_title() for axes in peers.picture(document).axes] == ["lstm, 1 layer", "rnn, 1 layer"]

    nowhere = dict.fromkeys(modules, "no_such_module")  # what is done is not measured again
    assert list(peers.run(**{**options, "modules": nowhere}, systems=tuple(modules), done=rows)) == rows


def test_peers_quick_is_a_third_of_the_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        processes, "measure", lambda task, names, **_: {name: Finding("missing", "none") for name in names}
    )
    grid, quick = (list(map(peers.configuration, peers.run(quick=quick))) for quick in (False, True))
    assert len(set(grid)) == len(grid) == 36
    assert len(set(quick)) == len(quick) == 12 and set(quick) <= set(grid)


def test_a_ratio_is_taken_round_by_round() -> None:
    """A machine that is ten times slower for a round leaves it as it is."""
    ours = Finding(blocks=[[1.0, 1.0], [10.0, 10.0], [1.0, 1.0]], first={"losses": []})
    theirs = Finding(blocks=[[2.0, 2.0], [20.0, 20.0], [2.0, 2.0]], first={"losses": []})
    assert peers.summary(theirs, ours)["ratio"] == {"median": 2.0, "low": 2.0, "high": 2.0, "count": 3}


def test_floor(fakes: Any, tmp_path: Path) -> None:
    modules = fakes(**{"minigrad": 0.008, "products": 0.012, "own products": 0.002})
    rows = list(floor.run(("lstm",), (1,), (4, 8), rounds=2, seconds=0.02, modules=modules))
    record.write("floor", rows, threads=1, folder=tmp_path)
    document = record.read("floor", tmp_path)
    for row in document["rows"]:
        assert row["share"]["median"] > 1 > 0.6 > row["own_share"]["median"] > 0.1 and row["flop"] == 1000
        assert row["own"]["median"] < row["step"]["median"] < row["products"]["median"]
    shares, speeds = map(tables.markdown, floor.table(document))
    assert "share (NumPy's products) | share (minigrad's own)" in shares and "GFLOP/s" in speeds
    (panel,) = floor.picture(document).axes
    assert panel.get_ylim()[1] > 100 * max(row["share"]["median"] for row in rows)
    gone = fakes(**{"minigrad": 0.001, "products": 0.001, "own products": None})
    with pytest.raises(processes.SystemLost, match="nobody_has"):
        list(floor.run(("lstm",), (1,), (4,), rounds=1, seconds=0.01, modules=gone))


FIRST_USE = """
import os, pathlib

def first_use(cell, hidden, batch, length, is_on, device):
    kept = pathlib.Path(os.environ["MINIGRAD_CACHE"], "library")
    if cell == "gru":
        raise RuntimeError("is there a C compiler?")
    assert (hidden, batch, length) == (4, 50, 50)
    before, known = kept.exists(), not is_on
    kept.touch()
    return {"seconds": 0.001 if known else 0.010 if before else 3.0, "compiler": 2.9, "libraries": 3, "bytes": 2048}
"""


def test_writers(fakes: Any, tmp_path: Path) -> None:
    modules = fakes(**{"off": 0.004, "no compiler": 0.012, "numpy": None, "c": 0.001})
    (tmp_path / "fake_first_use.py").write_text(FIRST_USE, encoding="utf-8")
    options: dict[str, Any] = {"rounds": 2, "seconds": 0.02, "modules": modules, "first_use": "fake_first_use"}
    rows = list(writers.run(("lstm", "gru"), (8, 4), **options))
    record.write("writers", rows, threads=1, folder=tmp_path)
    document = record.read("writers", tmp_path)
    steps, uses = (writers.rows_of(document, what) for what in ("step", "first use"))
    assert [(row["cell"], row["hidden"]) for row in steps] == [("lstm", 8), ("gru", 8), ("lstm", 4), ("gru", 4)]
    for row in steps:
        systems = row["systems"]
        assert list(systems) == list(writers.SETTINGS) and systems["numpy"]["status"] == "missing"
        assert systems["off"]["ratio"]["median"] == 1
        assert systems["c"]["ratio"]["median"] < 0.8 and systems["no compiler"]["ratio"]["median"] > 1.5
    lstm, gru = uses
    assert [lstm["seconds"][kind]["median"] for kind in writers.KINDS] == [3.0, 0.010, 0.001]
    assert gru["status"] == "failed" and "is there a C compiler?" in gru["reason"]
    shown = texts(writers.table(document))
    assert "multiple of off's" in shown and "missing" in shown
    assert "| lstm | 3,000 | 10.0 | 1.00 | 2,900 | 3 | 2.00 |" in shown
    assert "| gru | failed | RuntimeError: is there a C compiler? |" in shown
    assert "| under 2 s | 3,000 ms, missed |" in shown and "| under 20 ms | 10.0 ms |" in shown
    assert "×, missed |" in shown
    lines, lines_too, bars = writers.picture(document).axes
    assert (lines.get_title(), lines_too.get_title()) == ("lstm", "gru") and len(bars.patches) == 3


def test_writers_without_a_compiler(fakes: Any, tmp_path: Path) -> None:
    """The settings that need none are timed, and nothing is said of targets that were not measured."""
    modules = fakes(**{"off": 0.002, "no compiler": 0.001, "numpy": 0.001, "c": None})
    (tmp_path / "fake_first_use.py").write_text(FIRST_USE, encoding="utf-8")
    options: dict[str, Any] = {"rounds": 1, "seconds": 0.01, "modules": modules, "first_use": "fake_first_use"}
    document = {"rows": list(writers.run(("gru",), (4,), **options))}
    shown = texts(writers.table(document))
    assert "| c | missing |" in shown and "| under 2 s | – |" in shown and "| under 20 ms | – |" in shown
    assert "| at most 1.00× | 0." in shown
    figure = writers.picture(document)
    assert [panel.get_title() for panel in figure.axes] == ["gru"]
    assert pictures.save(figure, "writers", tmp_path).exists()


@pytest.mark.parametrize("setting", writers.SETTINGS)
def test_a_setting_is_what_its_name_says(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in minigrad_writers.environment(setting).items():
        monkeypatch.setenv(name, value)
    what = Task("lstm", 1, 4, batch=2, length=3)
    with mg.fusing():  # it is as before afterwards
        find_compiler.cache_clear()
        try:
            step = minigrad_writers.build(what, task.weights(what), task.batches(what))
            assert [float(step(k)) for k in range(3)] == pytest.approx(losses("minigrad", what, 3), rel=1e-5)
            found = mg.fuse_backend("cpu")
            if found == minigrad_writers.FOUND[setting]:
                assert minigrad_writers.facts(what) == {}
            else:
                assert setting == "c" and find_compiler() is None
            monkeypatch.setitem(minigrad_writers.FOUND, setting, "cuda")
            with pytest.raises(RuntimeError, match=f"were to be written by 'cuda' and are by '{found}'"):
                minigrad_writers.facts(what)
        finally:
            monkeypatch.undo()
            find_compiler.cache_clear()


@pytest.mark.parametrize(("cell", "arrays"), [("lstm", 15), ("gru", 13), ("rnn", 4)])
def test_the_memory_that_the_equations_need(cell: str, arrays: int) -> None:
    assert memory.needed(Task(cell, 2, 8, vocabulary=7)) == arrays * 8 + 7


def test_memory(tmp_path: Path) -> None:
    """Tables and pictures of a document made up: torch takes 2000 bytes a step of time, minigrad half."""

    def of(name: str, T: int) -> dict[str, Any]:  # noqa: N803
        if name == "jax":
            return {"status": "failed", "reason": "its process died"}
        return {"status": "measured", "kept": 500 * T, "step": (500 if name == "minigrad" else 1500) * T}

    systems = ("minigrad", "torch", "jax")
    rows = [
        {"cell": "rnn", "layers": 1, "hidden": 5, "batch": 2, "length": T, "needed": 400 * T}
        | {"systems": {name: of(name, T) for name in systems}}
        for T in (2**10, 2**11)
    ]
    record.write("memory", rows, threads=1, folder=tmp_path)
    document = record.read("memory", tmp_path)
    sizes, slopes, lost = map(tables.markdown, memory.table(document))
    assert "| rnn | minigrad | 0.977 | 1.95 | 0.50× |" in sizes and "| rnn | torch | 1.95 | 3.91 | 1.00× |" in sizes
    assert "| 25.0 | 2.50× | 1.0000 |" in slopes and "| 10.0 | 1.00× | 1.0000 |" in slopes
    assert "its process died" in lost
    assert len(memory.picture(document).axes) == 1


@pytest.mark.parametrize("command", [peers, memory])
def test_an_unknown_system_is_refused(command: Any) -> None:
    with pytest.raises(ValueError, match="there is no system 'tensorflaw'; choose from minigrad, torch"):
        next(command.run(systems=("tensorflaw",)))


@pytest.mark.parametrize("module", [peers, memory])
def test_the_examples(module: Any) -> None:
    found = doctest.testmod(module)
    assert found.attempted and not found.failed
