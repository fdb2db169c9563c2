"""The bench's training step: the same in every system; and what the commands make of it."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("rich")

from bench import floor, memory, peers, processes, record, tables
from bench.processes import Finding
from bench.systems import SYSTEMS, products, task
from bench.systems.task import Task

REQUIRED = {"minigrad": "minigrad", "torch-cells": "torch"}  # where the name is not the package's


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
                "LOSS", "None" if name == "products" else "1.0 / (k + 1)"
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
    modules = fakes(minigrad=0.008, products=0.002)
    rows = list(floor.run(("lstm",), (1,), (4, 8), rounds=2, seconds=0.02, modules=modules))
    record.write("floor", rows, threads=1, folder=tmp_path)
    document = record.read("floor", tmp_path)
    for row in document["rows"]:
        assert 0.1 < row["share"]["median"] < 0.6 and row["flop"] == 1000
        assert row["products"]["median"] < row["step"]["median"]
    assert len(floor.table(document)) == 1 and len(floor.picture(document).axes) == 1
    with pytest.raises(processes.SystemLost, match="nobody_has"):
        list(floor.run(("lstm",), (1,), (4,), rounds=1, seconds=0.01, modules=fakes(minigrad=0.001, products=None)))


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
