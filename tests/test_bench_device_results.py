"""What `python -m bench device` reads off its results: targets, tables, a picture, a section of the README."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("rich")
pytest.importorskip("typer")

from bench import crossover, device, device_results, overhead, pictures, record, report
from bench import tables as bench_tables
from bench.systems.task import Task

Document = dict[str, Any]


def texts(made: list[Any]) -> str:
    return "\n".join(map(bench_tables.markdown, made))


def made_up(ours: float = 2.0, cells: float = 8.0, gpu: float = 1.0) -> Document:
    """Results in milliseconds: of a step in minigrad, of PyTorch's loop of cells; PyTorch's layers take 1 and 1.6."""

    def timed(ms: float) -> dict[str, Any]:
        return {"status": "timed", **record.spread([ms / 1e3]), "ratio": record.spread([ms / ours]), "losses": []}

    def peers_row(cell: str) -> dict[str, Any]:
        host = {"host": record.spread([0.5e-3])}
        lost = {"status": "failed", "reason": "OutOfMemoryError: no memory"}
        systems = {
            "minigrad": timed(ours) | host,
            "torch": timed(1.0) | {"settings": {"cudnn.allow_tf32": True}},
            "torch-float32": timed(1.6) if cell != "gru" else lost,
            "torch-cells": timed(cells),
        }
        what = {"cell": cell, "layers": 1, "hidden": 512, "batch": 64, "length": 64, "device": "cuda"}
        return what | {"systems": systems}

    def crossover_rows(cell: str) -> Iterator[dict[str, Any]]:
        for hidden, ms in ((64, 0.5), (128, 1.1), (256, 4.0)):
            for name, value in (("cpu", ms), ("cuda", gpu)):
                wall = record.spread([value / 1e3])
                rest = {"batch": 64, "length": 64, "device_time": wall, "peak_bytes": 10**6, "launches": 99}
                yield {"cell": cell, "hidden": hidden, "device": name, "wall": wall, "host": wall, **rest}

    def memory_row(length: int) -> dict[str, Any]:
        what = {"cell": "lstm", "layers": 1, "hidden": 512, "batch": 64, "length": length, "device": "cuda"}
        sizes = {"status": "measured", "kept": 10**6, "step": 10**6 * length}
        return what | {"needed": 5 * 10**5 * length, "systems": {"minigrad": sizes, "torch": sizes}}

    tests = {"collected": 9, "passed": 6, "failed": 1, "error": 0, "skipped": 0, "skipped_because": {}}
    tests |= {"why": [{"test": "tests/a.py::test_b[cuda]", "outcome": "failed", "why": "CUDA said no"}]}
    tests |= {"unfinished": ["tests/a.py::test_c[cuda]"]}
    flat = {"cell": "lstm", "status": "measured", "bytes": [2**20] * 9 + [2**21] * 11, "device": "cuda"}
    sample = {"cell": "lstm", "streams": 64, "hidden": 512, "device": "cuda"}
    parts = {
        "tests": [tests],
        "peers": [peers_row(cell) for cell in device.CELLS],
        "crossover": [row for cell in device.CELLS for row in crossover_rows(cell)],
        "memory": [memory_row(length) for length in (64, 256)],
        "flat": [flat, {"cell": "rnn", "status": "failed", "reason": "it died"}],
        "sample": [sample | {"systems": {"minigrad": timed(1), "torch": timed(2)}}],
    }
    rest = {"status": "done", "reason": "", "seconds": 9.0, "limit": 20.0, "left_out": []}
    rows = [{"part": name, **rest, "rows": rows} for name, rows in parts.items()]
    cut = {"status": "cut short", "reason": "its 20 s were over", "left_out": [f"gru H={h}" for h in range(6)]}
    rows.append({"part": "peers:sizes", **rest, **cut, "rows": []})
    cuda = {"cupy": "14.2.0", "capability": "9.0", "multiprocessors": 132, "memory_bytes": 140 * 2**30}
    cuda |= {"driver": "580.1", "driver_cuda": "13.0", "runtime": "13.1"}
    machine = record.machine(threads=1, packages=("torch",)) | {"gpu": "NVIDIA H200", "cuda": cuda}
    return {"bench": "device", "machine": machine, "facts": {}, "rows": rows}


def test_targets_are_computed() -> None:
    shown = bench_tables.markdown(device_results.targets(made_up()))
    assert "| lstm: PyTorch's loop over its cells, over ours | at least 3× | 4.00× |" in shown
    assert "| lstm: ours over PyTorch's nn.LSTM, as it is, with TF32 | at most 1.5× | 2.00×, missed |" in shown
    assert "| lstm: ours over PyTorch's nn.LSTM, with products of float32 | at most 1.5× | 1.25× |" in shown
    assert "| gru: the GPU overtakes the CPU, N=64 | at H = 128 or below | 118 |" in shown
    shown = bench_tables.markdown(device_results.targets(made_up(cells=5.0, gpu=3.0)))
    assert "| rnn: PyTorch's loop over its cells, over ours | at least 3× | 2.50×, missed |" in shown
    assert "| rnn: the GPU overtakes the CPU, N=64 | at H = 128 or below | 219, missed |" in shown
    empty = bench_tables.markdown(device_results.targets({"rows": []}))
    assert empty.count("| not measured |") == 8


def test_tables_name_what_failed_and_what_is_missing() -> None:
    shown = texts(device_results.table(made_up()))
    assert "| peers:sizes | cut short | 9.00 | its 20 s were over | gru H=0, gru H=1" in shown
    assert "gru H=3 and 2 more |" in shown
    assert "| 9 | 6 | 1 | 0 | 0 | 2 |" in shown
    assert "| tests/a.py::test_b[cuda] | failed | CUDA said no |" in shown
    assert "| tests/a.py::test_c[cuda] | unfinished | it ran when the time was over |" in shown
    assert "| torch | cudnn.allow_tf32 True |" in shown and "OutOfMemoryError: no memory" in shown
    assert "| lstm | 20 | 1.000 | 2.000 | 2.000 | 0 |" in shown and "| rnn | failed | it died |" in shown
    assert "crossover: One training step" in shown and "sample: Characters per second" in shown


@pytest.mark.parametrize("without", ["all", *(row["part"] for row in made_up()["rows"])])
def test_tables_and_picture_cope_with_what_is_missing(without: str, tmp_path: Path) -> None:
    document = made_up()
    for row in document["rows"]:
        if without in ("all", row["part"]):
            row["rows"] = []
    assert device_results.table(document)
    figure = device_results.picture(document)
    assert (figure is None) == (without == "all")
    if figure is not None:
        panels = {"crossover": 3, "peers": 1, "memory": 1, "sample": 1}
        assert len(figure.axes) == 6 - panels.get(without, 0)
        assert pictures.save(figure, "device", tmp_path).exists()


def test_the_readme_tells_what_was_measured_and_that_nothing_was(tmp_path: Path) -> None:
    text = "<!-- results of device: python -m bench report -->\nold\n<!-- end -->\n"
    assert "Nothing has been measured on a device yet: `python -m bench device`." in report.rewritten(text, tmp_path)
    document = made_up()
    (tmp_path / "device.json").write_text(json.dumps(document), encoding="utf-8")
    once = report.rewritten(text, tmp_path)
    assert "NVIDIA H200 (compute capability 9.0, 132 multiprocessors, 140 GiB)" in once
    assert "CuPy 14.2.0, CUDA 13.1 (driver 580.1 for CUDA 13.0)" in once
    assert "| lstm: PyTorch's loop" in once.partition("<details>")[0] and "CUDA said no" in once
    assert report.rewritten(once, tmp_path) == once


def test_a_crossing_is_found_without_the_sizes_that_failed(tmp_path: Path) -> None:
    (part,) = (row for row in made_up()["rows"] if row["part"] == "crossover")
    rows = [row for row in part["rows"] if row["cell"] == "gru"]
    nothing = dict.fromkeys(("wall", "host", "device_time", "peak_bytes", "launches"))
    rows += [{**rows[0], "hidden": 512}, {**rows[1], **nothing, "hidden": 512, "reason": "OutOfMemoryError: full"}]
    rows.append({**rows[0], "hidden": 1024})  # broken off before the GPU's turn
    document = {"rows": rows, "machine": {"gpu": "NVIDIA H200"}}
    shown = texts(crossover.table(document))
    assert "| gru | 64 | 64 | 118 |" in shown and "| gru | 64 | 64 | 512 | OutOfMemoryError: full |" in shown
    assert "1,024" not in shown and "1024" not in shown
    assert pictures.save(crossover.picture(document), "crossover", tmp_path).exists()


def test_a_size_that_fails_on_the_device_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(what: Task, *_: Any) -> dict[str, Any]:
        if what.device != "cpu":
            raise MemoryError("none left")
        return {"wall": None}

    monkeypatch.setattr(crossover, "measured", measured)
    rows = list(crossover.run(["gru"], [4, 8], [2], [3], device="strict"))
    assert [(row["device"], row.get("reason")) for row in rows] == [
        ("cpu", None), ("strict", "MemoryError: none left"),
    ] * 2  # fmt: skip


def test_overhead_of_nobody_is_a_table_of_reasons() -> None:
    document = {"rows": [{"system": "minigrad", "device": "cuda", "status": "failed", "reason": "no context"}]}
    assert "| minigrad | failed | no context |" in texts(overhead.table(document))
