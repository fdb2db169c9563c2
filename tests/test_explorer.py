"""What the explorer's page is told: its JSON holds the graph, and a sweep whose sums are the gradients of backward().

The page itself is tried in test_explorer_page.py, in a browser.
"""

from __future__ import annotations

import html
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.inspect import explorer
from minigrad.inspect.computation import read
from minigrad.inspect.exploring import explorer as module
from minigrad.inspect.exploring.digest import histogram, norm, picture, rounded
from minigrad.inspect.exploring.page_data import as_json, page_data
from minigrad.inspect.shown import short
from minigrad.inspect.slow import slow_backward
from minigrad.nn import functional as F

from .helpers import host


def told(loss: mg.Tensor, names: Any = None) -> dict[str, Any]:
    """The page's data, through JSON."""
    computation = read(loss, names)
    found: dict[str, Any] = json.loads(as_json(page_data(computation, slow_backward(computation))))
    return found


def spelling() -> tuple[mg.Tensor, nn.Module]:
    """The LSTM of the README, before it has learned."""
    ids = mg.tensor([1, 0, 2, 2, 3])
    embed, lstm, output = nn.Embedding(4, 8), nn.LSTM(8, 16), nn.Linear(16, 4)
    h, _ = lstm(embed(ids[:-1]))
    return F.cross_entropy(output(h), ids[1:]), nn.ModuleDict({"embed": embed, "lstm": lstm, "output": output})


def named(data: dict[str, Any], name: str) -> dict[str, Any]:
    (value,) = [v for v in data["values"] if v.get("name") == name]
    return value


def sent_to(data: dict[str, Any], value: dict[str, Any]) -> list[list[Any]]:
    """What a value receives: [text, norm, text of the sum so far, its norm], in the order of the sweep."""
    number = data["values"].index(value)
    rows = [row[3:] for _, sent in data["backward"] for row in sent if row[0] == number]
    return [row if len(row) == 4 else row * 2 for row in rows]


def test_boxes_and_edges_of_a_small_graph() -> None:
    x, w = mg.tensor([1.0, 2.0], requires_grad=True), nn.Parameter(mg.tensor([3.0, 4.0]))
    data = told((x * w + 1.0).sum(), {"x": x, "w": w})
    boxes, values = data["boxes"], data["values"]
    assert [(b["kind"], b.get("label")) for b in boxes] == [
        ("input", None), ("parameter", None), ("operation", "multiply"), ("operation", "add"), ("operation", "sum"),
    ]  # fmt: skip
    edges = [(values[number]["box"], to, place) for number, to, place, _ in data["edges"]]
    assert edges == [(0, 2, 0), (1, 2, 1), (2, 3, 0), (3, 4, 0)]
    assert boxes[3]["in"] == [2, "1"]  # a number of Python stands in its operation
    assert boxes[2]["said"].endswith("= x ⊙ w")
    assert data["forward"] == [2, 3, 4] and [box for box, _ in data["backward"]] == [4, 3, 2]
    assert [row[:5] for row in data["backward"][2][1]] == [
        [0, 0, "g ⊙ w", "[3 4]", 5.0],
        [1, 1, "g ⊙ x", "[1 2]", 2.2361],
    ]
    assert data["operations"][0] == {
        "name": "multiply", "kind": "elementwise", "formula": "out = x y\n∂out/∂x = y, ∂out/∂y = x",
    }  # fmt: skip
    assert values[data["result"]]["gradient"]["text"] == "1"


def test_every_sum_ends_at_the_gradient_of_backward(device: str) -> None:
    loss, model = spelling()
    data = told(loss, model)
    loss.backward()
    for name, parameter in model.named_parameters():
        value, gradient = named(data, name), host(parameter.grad)
        assert value["gradient"]["norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-4), name
        assert value["shape"] == list(parameter.shape) and value["role"] == "parameter"
        received = sent_to(data, value)
        assert received[-1][3] == value["gradient"]["norm"] and received[-1][2] == value["gradient"]["text"], name
    recurrent = sent_to(data, named(data, "lstm.weight_hh_l0"))
    assert len(recurrent) == 4  # one from each time step
    assert [row[3] for row in recurrent] != [row[1] for row in recurrent]


def test_sums_grow_by_what_is_sent() -> None:
    """A scalar used three times: each sum is the one before and the contribution, and the last is the gradient."""
    x = mg.tensor(0.5, requires_grad=True)
    data = told(x * x + 3.0 * x, {"x": x})
    received = sent_to(data, named(data, "x"))
    total = 0.0
    for text, size, so_far, so_far_norm in received:
        total += float(text)
        assert float(so_far) == pytest.approx(total) and so_far_norm == pytest.approx(abs(total))
        assert size == abs(float(text))
    assert len(received) == 3 and total == pytest.approx(4.0) == float(named(data, "x")["gradient"]["text"])


def test_frames_are_time_steps_and_modules() -> None:
    loss, model = spelling()
    data = told(loss, {"model": model})
    frames, boxes = data["frames"], data["boxes"]
    steps = [f"round {k}" for k in (0, 1, 2, 3)]
    assert [f["label"] for f in frames] == ["model.embed", "model.lstm", *steps, "model.output"]
    assert [data["modules"][f["module"]] for f in frames if "module" in f] == [
        f["label"] for f in frames if f["label"] not in steps
    ]
    for k, frame in enumerate(frames):
        x, y, width, height = frame["at"]
        inside = [b for b in boxes if b.get("frame") == k]
        assert all(x <= b["x"] and b["x"] + b["w"] <= x + width for b in inside)
        assert all(y <= b["y"] and b["y"] + b["h"] <= y + height for b in inside)
        assert bool(inside) == frame["label"].startswith("round")
    lefts = [f["at"][0] for f in frames if f["label"].startswith("round")]
    assert lefts == sorted(lefts) and len(set(lefts)) == 4  # time goes from left to right
    starts = [
        points[0] for v, _, _, points in data["edges"] if boxes[data["values"][v]["box"]].get("label") == "unstack"
    ]
    assert starts == sorted(starts) and len(set(starts)) == 4  # each output leaves from a place of its own
    assert {b["inside"] for b in boxes if "frame" in b and b["kind"] == "operation"} == {"scan"}


def test_no_two_boxes_overlap() -> None:
    loss, model = spelling()
    boxes = told(loss, model)["boxes"]
    for k, a in enumerate(boxes):
        for b in boxes[:k]:
            assert abs(a["x"] - b["x"]) >= a["w"] or abs(a["y"] - b["y"]) >= a["h"], (a, b)


def test_loops_after_each_other_are_told_apart() -> None:
    h, w = mg.zeros(2), mg.tensor([0.5, -0.5], requires_grad=True)
    for _ in range(3):
        h = mg.tanh(h * w + 1.0)
    h = h.reshape((2, 1))
    for _ in range(4):
        h = mg.sin(h)
    labels = [f["label"] for f in told(h.sum())["frames"]]
    assert labels[:3] == ["loop 1, round 0", "loop 1, round 1", "loop 1, round 2"] and labels[-1] == "loop 2, round 3"


def test_what_json_lacks_is_kept() -> None:
    x = mg.tensor([0.0, -1.0, 4.0] * 4, requires_grad=True)
    with np.errstate(all="ignore"):
        data = told((mg.sqrt(x) * 1.0).sum(), {"x": x})
    text = as_json(data)
    assert "NaN" in data["values"][data["result"]]["text"] or data["values"][data["result"]]["text"] == "nan"
    assert named(data, "x")["gradient"]["norm"] == "nan"
    assert not re.search(r"[:,\[](NaN|-?Infinity)", text)
    assert rounded(float("inf")) == "inf" and norm(np.array([np.inf, 1.0])) == "inf"
    assert histogram(np.array([np.nan, np.inf, *range(20)]))[3] == 2
    assert picture(np.array([[0.0, np.nan, -2.0, 2.0]])) == ["m.az"]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros(3), None),
        (np.full(9, 2.5), [2.5, 2.5, [9], 0]),
        (np.arange(20.0), [0.0, 19.0, [1] * 20, 0]),
        (np.full(9, np.nan), None),
        (np.array([True] * 9 + [False]), [0.0, 1.0, [1, *[0] * 18, 9], 0]),
    ],
)
def test_histogram(array: np.ndarray, expected: list[Any] | None) -> None:
    assert histogram(array) == expected


def test_picture_of_a_large_array_is_a_small_one() -> None:
    rows = picture(np.linspace(-1, 1, 200 * 100).reshape(200, 100))
    assert rows is not None and len(rows) <= 12 and len(rows[0]) <= 24
    assert rows[0][0] == "a" and rows[-1][-1] in "xyz" and picture(np.array(1.0)) is None


def test_the_largest_number_is_not_rounded_to_infinity() -> None:
    largest = float(np.finfo(np.float64).max)
    assert rounded(largest) == largest and rounded(-largest) == -largest


def test_norm_of_what_is_too_large_to_square() -> None:
    assert norm(np.array([3e30, 4e30], dtype=np.float32)) == 5e30


def test_text_cannot_leave_its_script() -> None:
    name = "</script><script>alert(1)</script><!--"
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    data = told((x * x).sum(), {name: x})
    assert named(data, name)["role"] == "input"
    assert "<" not in as_json(data)


def test_half_of_a_pair_in_a_name(tmp_path: Path) -> None:
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    page = explorer((x * x).sum(), tmp_path / "graph.html", names={"half \ud800": x})
    assert '"name":"half �"' in page.path.read_text(encoding="utf-8")


def test_the_page_is_one_file_and_the_same_each_time(tmp_path: Path) -> None:
    name = "<b>x</b>"
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    loss = (x * x).sum()
    first, second = (explorer(loss, tmp_path / f"{k}.html", {"x": x, name: loss}) for k in "ab")
    text = first.path.read_text(encoding="utf-8")
    assert text == second.path.read_text(encoding="utf-8")
    assert name not in text and f"<h1>How {html.escape(name)} was computed</h1>" in text
    outside = r"""(?:src|href)\s*=\s*["'](?!data:)|@import|url\(|https?://(?!www\.w3\.org/2000/svg)|\bimport\b"""
    assert not re.search(outside, text)
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert json.loads(data)["forward"] == [1, 2]
    assert text.count("<script") == 2 and str(first) == str(first.path) and "MB" in repr(first)
    shown = first._repr_html_()
    assert shown.startswith("<iframe") and 'sandbox="allow-scripts allow-forms"' in shown and "<script" not in shown
    loss.backward()  # the graph is as it was
    np.testing.assert_array_equal(host(x.grad), [2.0, 4.0])


def test_a_thousand_boxes_stay_small(tmp_path: Path) -> None:
    h, w = mg.zeros((4, 8)), mg.tensor(np.eye(8) / 2, requires_grad=True)
    for _ in range(300):
        h = mg.tanh(h @ w + 1.0)
    page = explorer(h.sum(), tmp_path / "long.html", {"w": w})
    assert page.path.stat().st_size < 2_000_000


def test_lines_of_the_program_in_anomaly_mode() -> None:
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    with mg.detect_anomaly():
        loss = mg.exp(x).sum()
    lines = [box["line"] for box in told(loss)["boxes"] if box["kind"] == "operation"]
    assert len(lines) == 2 and all("test_explorer.py" in line for line in lines)


def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    loss = (x * x).sum()
    page = tmp_path / "graph.html"
    with pytest.raises(RuntimeError, match="explorer: .*a leaf"):
        explorer(x, page)
    with pytest.raises(TypeError, match="explorer: expected a Tensor .*got float"):
        explorer(1.0, page)
    with pytest.raises(RuntimeError, match="explorer: expected a scalar .*sum"):
        explorer(x * x, page)
    with pytest.raises(ValueError, match=r"explorer: .*\.html, got 'graph.svg'"):
        explorer(loss, "graph.svg")
    with pytest.raises(TypeError, match="explorer: expected a path .*got int"):
        explorer(loss, 3)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError) as caught:
        explorer(loss, tmp_path / "nowhere" / "graph.html")
    assert "folder that is there" in caught.value.__notes__[0]
    monkeypatch.setattr(module, "MOST", 2)
    with pytest.raises(ValueError, match=r"explorer: this graph has 3 nodes.* fewer time steps"):
        explorer(loss, page)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match="pip install Jinja2"):
        explorer(loss, page)
    monkeypatch.undo()
    loss.backward()
    with pytest.raises(RuntimeError, match="explorer: the graph .*freed"):
        explorer(loss, page)
    assert not page.exists()


def test_what_nobody_kept_is_said_so() -> None:
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    (data,) = [v for v in told((x + mg.tensor([3.0, 4.0])).sum())["values"] if v["role"] == "data"]
    assert data["text"] in ("not kept", short(mg.tensor([3.0, 4.0])._data)) and "gradient" not in data
