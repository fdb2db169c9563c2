"""Drawings: the arrows are those of the computation, every box can be read, and what is folded is there once."""

from __future__ import annotations

import itertools
import re
import subprocess
import xml.etree.ElementTree as ET
from collections import Counter
from typing import Any

import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

import minigrad as mg
from minigrad import nn
from minigrad.inspect.drawing.diagram import Diagram
from minigrad.inspect.drawing.draw import Drawing, draw
from minigrad.inspect.drawing.labels import cut
from minigrad.nn import functional as F

SVG = "{http://www.w3.org/2000/svg}"


def small() -> Drawing:
    x = mg.tensor([[1.0, 2.0]], requires_grad=True)
    w = mg.tensor([[0.5], [-0.25]], requires_grad=True)
    y = (x @ w).tanh().sum()
    return draw(y, names={"x": x, "w": w, "y": y})


def hello(**options: Any) -> Drawing:
    """The LSTM of the README, with its four time steps."""
    mg.manual_seed(0)
    ids = mg.tensor(["ehlo".index(c) for c in "hello"])
    embed, lstm, output = nn.Embedding(4, 8), nn.LSTM(8, 16), nn.Linear(16, 4)
    h, _ = lstm(embed(ids[:-1]))
    loss = F.cross_entropy(output(h), ids[1:])
    return draw(loss, names={"embed": embed, "lstm": lstm, "output": output, "loss": loss}, **options)


def own_loop(steps: int = 50, **options: Any) -> Drawing:
    """A loop of one's own, around a cell."""
    mg.manual_seed(0)
    cell, h = nn.RNNCell(3, 4), mg.zeros((2, 4))
    for _ in range(steps):
        h = cell(mg.randn((2, 3)), h)
    return draw((h**2).sum(), names={"cell": cell}, **options)


def classifier(**options: Any) -> Drawing:
    mg.manual_seed(0)
    gru, linear = nn.GRU(5, 6, num_layers=2), nn.Linear(6, 3)
    logits = linear(gru(mg.randn((7, 2, 5)))[0][-1])
    return draw(F.cross_entropy(logits, mg.tensor([0, 1])), names={"gru": gru, "linear": linear}, **options)


def diamond() -> Drawing:
    a = mg.tensor(2.0, requires_grad=True)
    b, c = mg.exp(a), mg.tanh(a)
    return draw(b * c + b * b - 3 * a, names={"a": a})


def parts() -> Drawing:
    p, q, r = mg.split(mg.randn((6, 3), requires_grad=True), 3)
    return draw((p * r + q).sum())


ALL = {
    "small": small,
    "hello": hello,
    "hello, open": lambda: hello(fold=False),
    "hello, closed": lambda: hello(closed=["lstm", "embed"]),
    "hello, no frames": lambda: hello(modules=False),
    "own loop": own_loop,
    "own loop, open": lambda: own_loop(6, fold=False),
    "own loop, closed": lambda: own_loop(6, closed="cell"),
    "own loop, open, closed": lambda: own_loop(6, fold=False, closed="cell"),
    "classifier": classifier,
    "classifier, one open": lambda: classifier(opened=[2]),
    "diamond": diamond,
    "parts": parts,
}
every = pytest.mark.parametrize("make", ALL.values(), ids=ALL)


# Which boxes, which arrows ------------------------------------------------------------------------


def in_dot(text: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """The boxes of a DOT program, by name, with their labels; and its arrows."""
    boxes = re.findall(r'^\s*(n\d+) \[label="((?:[^"\\]|\\.)*)"', text, re.M)
    return dict(boxes), re.findall(r"^\s*(n\d+) -> (n\d+)\b", text, re.M)


def in_mermaid(text: str) -> tuple[list[str], list[tuple[str, str]]]:
    return re.findall(r'^\s*(n\d+)\W+"', text, re.M), re.findall(r"^\s*(n\d+) -\.?->? ?(n\d+)$", text, re.M)


def in_svg(text: str) -> list[tuple[str, str]]:
    arrows = [g for g in ET.fromstring(text).iter(f"{SVG}g") if "data-from" in g.attrib]
    return [(g.attrib["data-from"], path.attrib["data-to"]) for g in arrows for path in g if "data-to" in path.attrib]


def of_the_computation(diagram: Diagram) -> Counter[tuple[str, str]]:
    """The arrows that there should be, if nothing is folded: one for each input of each operation that is no number."""
    found: Counter[tuple[str, str]] = Counter()
    for operation in diagram.computation.operations:
        for value in operation.inputs:
            if value.role != "number":
                tail = diagram.leaf_box[value] if value.maker is None else diagram.box_of[value.maker]
                found[f"n{tail.number}", f"n{diagram.box_of[operation].number}"] += 1
    return found


def test_the_boxes_and_arrows_of_a_small_graph():
    boxes, arrows = in_dot(small().dot())
    assert boxes == {
        "n0": r"x\n(1, 2)",
        "n1": r"w\n(2, 1)",
        "n2": r"matmul\n(1, 1)",
        "n3": r"tanh\n(1, 1)",
        "n4": r"sum\ny ()",
    }
    assert arrows == [("n0", "n2"), ("n1", "n2"), ("n2", "n3"), ("n3", "n4")]


@pytest.mark.parametrize("make", [small, diamond, parts, lambda: hello(fold=False), lambda: own_loop(6, fold=False)])
def test_arrows_are_exactly_those_of_the_computation(make):
    drawing = make()
    diagram = drawing.diagram
    boxes = list(diagram.box_of.values())
    assert len(set(boxes)) == len(boxes) == len(diagram.computation.operations)
    assert Counter(in_dot(drawing.dot())[1]) == of_the_computation(diagram)


@every
def test_folded_and_closed_arrows_are_those_of_the_computation_too(make):
    drawing = make()
    expected = of_the_computation(drawing.diagram)
    modules = {f"n{box.number}" for box in drawing.diagram.boxes if box.kind == "module"}
    carried = {f"n{arrow.tail.number}" for arrow in drawing.diagram.arrows if arrow.loop}
    arrows = in_dot(drawing.dot())[1]
    assert set(arrows) == {(a, b) for a, b in expected if a != b or a not in modules - carried}
    assert all(count <= expected[arrow] for arrow, count in Counter(arrows).items())


@every
def test_all_formats_show_the_same(make):
    drawing = make()
    boxes, arrows = in_dot(drawing.dot())
    assert len(boxes) == len(drawing.diagram.boxes)
    assert in_mermaid(drawing.mermaid()) == ([*boxes], arrows)
    assert sorted(in_svg(drawing.svg())) == sorted(arrows)


def kinds(drawing: Drawing) -> Counter[str]:
    return Counter(box.kind for box in drawing.diagram.boxes)


def test_time_steps_are_folded_and_opened(device):
    folded, opened = hello(), hello(fold=False)
    (loop,) = folded.diagram.loops
    assert loop.times == 4 and len(loop.rounds[0]) == 14
    before_and_after = len(folded.diagram.computation.operations) - 4 * 14
    leaves = {"parameter": 7, "data": kinds(opened)["data"]}  # how a cross-entropy is computed depends on the device
    assert kinds(folded) == {"operation": before_and_after + 14, **leaves}
    assert kinds(opened) == {"operation": before_and_after + 4 * 14, **leaves}
    carried = [(a.tail.title, a.head.title) for a in folded.diagram.arrows if a.loop]
    assert sorted(carried) == [("add", "multiply"), ("multiply", "linear")]  # c, h
    assert sum(a.carried for a in opened.diagram.arrows) == 2 * 3
    for drawing, arrows in ((folded, 1), (opened, 4)):  # a row of the input for each step
        assert sum(a.tail.title == "unstack" for a in drawing.diagram.arrows) == arrows
    assert "loop 1: × 4" in folded.svg() and "round 4" in opened.svg()
    assert "round 4" in hello(opened=[1]).svg() and "round 1" not in folded.svg()


def test_what_comes_in_at_each_step_is_drawn_once_in_the_loop():
    folded = own_loop()
    assert kinds(folded) == {"operation": 4 + 2, "parameter": 4, "data": 2}  # the first state, and an input
    at_each_step, first = sorted(
        (box for box in folded.diagram.boxes if box.kind == "data"), key=lambda b: -len(around(b))
    )
    assert around(at_each_step)[0] == "loop 1: × 50" and around(first) == []
    assert kinds(own_loop(6, fold=False)) == {"operation": 6 * 4 + 2, "parameter": 4, "data": 7}


def test_a_module_called_at_each_step_is_in_the_loop_and_a_loop_within_a_module_in_the_module():
    (closed,) = [box for box in own_loop(closed="cell").diagram.boxes if box.kind == "module"]
    assert around(closed) == ["loop 1: × 50"] and closed.detail == "4 operations, 4 parameters"
    (arrow,) = [arrow for arrow in own_loop(closed="cell").diagram.arrows if arrow.loop]
    assert arrow.tail is arrow.head is not None and arrow.head.title == "cell"
    assert [b.kind for b in own_loop(7, fold=False, closed="cell").diagram.boxes].count("module") == 7
    (linear,) = [box for box in hello().diagram.boxes if box.title == "linear" and "loop 1: × 4" in around(box)]
    assert around(linear) == ["lstm", "loop 1: × 4"]


def around(box: Any) -> list[str]:
    frames, home = [], box.home
    while home is not None:
        frames.append(home.title)
        home = home.home
    return frames[-2::-1]


def test_modules_have_frames_and_can_be_closed(device):
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.out = nn.LSTM(2, 3), nn.Linear(3, 1)

        def forward(self, x: mg.Tensor) -> mg.Tensor:
            return self.out(self.lstm(x)[0])

    model = Model()
    loss = model(mg.randn((5, 2))).sum()
    opened = draw(loss, {"model": model})
    (weight,) = [box for box in opened.diagram.boxes if box.title == "model.out.weight"]
    assert around(weight) == ["model", "model.out"]
    half = draw(loss, {"model": model}, closed="model.lstm")
    (closed,) = [box for box in half.diagram.boxes if box.kind == "module"]
    assert closed.title == "model.lstm" and "4 parameters" in closed.detail and around(closed) == ["model"]
    assert kinds(half)["parameter"] == 2
    whole = draw(loss, {"model": model}, closed=True)
    assert [box.title for box in whole.diagram.boxes if box.kind != "data"] == ["model", "sum"]
    assert [frame.kind for frame in draw(loss, {"model": model}, modules=False).diagram.root.frames()] == ["loop"]


def test_the_outputs_of_one_operation_leave_it_at_places_of_their_own():
    drawing = parts()
    split = next(box for box in drawing.diagram.boxes if box.title.startswith("split"))
    assert split.slots == 3 and split.detail == "3 × (2, 3)"
    starts = [p for p in lines_of(drawing) if p[0] == f"n{split.number}"]
    assert len({start for _, _, start, _ in starts}) == 3


def test_saved_arrays_and_the_result_are_marked(device):
    x = mg.ones((2, 3), requires_grad=True)
    drawing = draw(mg.tanh(x + 1.0).sum())
    saved = {box.title: box.saved for box in drawing.diagram.boxes}
    assert saved == {"input": False, "add(·, 1.0)": False, "tanh": True, "sum": False}
    assert drawing.svg().count('class="kept"') == 2  # and in the legend
    assert [box.title for box in drawing.diagram.boxes if box.result] == ["sum"]
    assert sorted(in_svg(drawing.svg())) == [("n0", "n1"), ("n1", "n2"), ("n2", "n3")]


# The picture --------------------------------------------------------------------------------------


def place_of(g: ET.Element) -> tuple[float, float, float, float]:
    border = next(e for e in g if e.attrib.get("class") == "edge")
    if border.tag == f"{SVG}rect":
        x, y, w, h = (float(border.attrib[k]) for k in ("x", "y", "width", "height"))
        return x, y, x + w, y + h
    points = [tuple(map(float, each.split(","))) for each in border.attrib["points"].split()]
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def boxes_of(drawing: Drawing) -> dict[str, tuple[float, float, float, float]]:
    root = ET.fromstring(drawing.svg())
    return {g.attrib["data-box"]: place_of(g) for g in root.iter(f"{SVG}g") if "data-box" in g.attrib}


def lines_of(drawing: Drawing) -> list[tuple[str, str, tuple[float, float], tuple[float, float]]]:
    """Each arrow: from which box to which, and where it begins and ends."""
    found = []
    for g in ET.fromstring(drawing.svg()).iter(f"{SVG}g"):
        if "data-from" in g.attrib:
            (line,) = [p for p in g if p.attrib["class"] == "line"]
            starts = re.findall(r"M(\S+) ([^A-Z]+)", line.attrib["d"])
            heads = [p for p in g if p.attrib["class"] == "head"]
            for start, head in zip(starts, heads, strict=True):
                end = re.match(r"M(\S+) (\S+?)l", head.attrib["d"])
                assert end
                (a, b), (x, y) = start, end.groups()
                found.append(
                    (g.attrib["data-from"], head.attrib["data-to"], (float(a), float(b)), (float(x), float(y)))
                )
    return found


@every
def test_boxes_lie_in_the_view_and_apart_and_arrows_end_at_them(make):
    drawing = make()
    root = ET.fromstring(drawing.svg())
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    boxes = boxes_of(drawing)
    assert len(boxes) == len(drawing.diagram.boxes)
    shift = next(g for g in root if g.tag == f"{SVG}g").attrib["transform"]
    dx, dy = map(float, re.findall(r"[\d.]+", shift))
    for left, top, right, bottom in boxes.values():
        assert 0 <= left + dx < right + dx <= width and 0 <= top + dy < bottom + dy <= height
    for a, b in itertools.combinations(boxes.values(), 2):
        assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]
    for tail, head, start, end in lines_of(drawing):
        assert start[1] == pytest.approx(boxes[tail][3], abs=0.2) and boxes[tail][0] < start[0] < boxes[tail][2]
        assert end[1] == pytest.approx(boxes[head][1], abs=0.2) and boxes[head][0] < end[0] < boxes[head][2]


def wide_name(letter: str) -> Drawing:
    """The longest name that is shown, of one letter, in a pill with a second border in it."""
    x = mg.ones(2, requires_grad=True)
    return draw((x * x).sum(), names={letter * 30: x})


@pytest.mark.parametrize(
    "make", [hello, lambda: hello(closed=True), diamond, *[lambda c=c: wide_name(c) for c in "NOQDHwM8_"]]
)
def test_texts_fit_their_boxes(make):
    for g in ET.fromstring(make().svg()).iter(f"{SVG}g"):
        if "data-box" in g.attrib:
            left, top, right, bottom = place_of(g)
            for text in g.iter(f"{SVG}text"):
                size = 10.5 if text.attrib.get("class") == "small" else 12.0
                drawn = TextPath((0, 0), text.text or "", prop=FontProperties(family="DejaVu Sans", size=size))
                assert drawn.get_extents().width <= right - left - 12
                assert abs(float(text.attrib["x"]) - (left + right) / 2) < 0.2
                assert top + size <= float(text.attrib["y"]) <= bottom - 3


def test_kinds_differ_by_form_and_colour_and_the_legend_says_what_they_are():
    x = mg.ones((2, 2), requires_grad=True)
    layer = nn.Linear(2, 2)
    text = draw(layer(x * mg.ones((2, 2))).sum(), names={"x": x, "layer": layer}).svg()
    root = ET.fromstring(text)
    (legend,) = [g for g in root.iter(f"{SVG}g") if g.attrib.get("class") == "legend"]
    assert [e.text for e in legend.iter(f"{SVG}text")] == [
        "operation",
        "parameter",
        "input that needs a gradient",
        "data, constant",
        "kept for the backward pass",
        "result",
    ]
    forms, colours = set(), set()
    for kind in ("operation", "parameter", "input", "data"):
        g = next(g for g in root.iter(f"{SVG}g") if g.attrib.get("class", "").startswith(f"box {kind}"))
        border = next(e for e in g if e.attrib.get("class") == "edge")
        forms.add((border.tag, border.attrib.get("rx"), len(border.attrib.get("points", "").split())))
        light, dark = re.findall(rf"\.{kind}>\.edge{{fill:(#\w+)", text)
        colours |= {light, dark}
    assert len(forms) == 4 and len(colours) == 8
    assert "@media (prefers-color-scheme:dark)" in text


NASTY = 'a "b" \\N & <i>c</i>; #1 `t`|{z}\n\x00\x1b'


def test_names_are_escaped():
    x = mg.ones(2, requires_grad=True)
    drawing = draw((x * 2).sum(), names={NASTY: x})
    shown = cut(NASTY)
    assert shown == 'a "b" \\N & <i>…; #1 `t`|{z} \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}'
    texts = [e.text for e in ET.fromstring(drawing.svg()).iter(f"{SVG}text")]
    assert shown in texts
    label = in_dot(drawing.dot())[0]["n0"]
    assert label.startswith(r"a \"b\" \\N &amp; <i>")
    (line,) = [line for line in drawing.mermaid().splitlines() if line.strip().startswith("n0(")]
    assert "a #34;b#34; #92;N #38; #60;i#62;" in line and line.count('"') == 2


# As an object -------------------------------------------------------------------------------------


@every
def test_the_same_bytes_each_time_and_no_program_is_called(make, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    one, other = make(), make()
    assert one.svg() == other.svg() == one._repr_svg_()
    assert one.dot() == other.dot() and one.mermaid() == other.mermaid() and str(one) == str(other)


def test_it_says_what_it_shows_and_is_saved(tmp_path):
    drawing = own_loop()
    assert str(drawing).splitlines()[:2] == [
        "a drawing of 6 operations, 4 parameters, 2 data, 13 arrows",
        "loop 1: 4 operations × 50, drawn once; opened=[1] draws all",
    ]
    for name, text in (("a.svg", drawing.svg()), ("a.dot", drawing.dot()), ("a.MMD", drawing.mermaid())):
        drawing.save(tmp_path / name)
        assert (tmp_path / name).read_text(encoding="utf-8") == text
    with pytest.raises(ValueError, match=r"ends in \.svg, \.dot, \.gv, \.mmd, \.mermaid, got .*graph\.png"):
        drawing.save(tmp_path / "graph.png")


def test_too_many_boxes():
    with pytest.raises(ValueError, match=r"^draw: 257 boxes are too many to read; the limit is 100\. ") as caught:
        own_loop(50, fold=False, limit=100)
    for advice in ("fold=True", "closed=True", "'cell'", "limit=257", "explorer(loss, 'graph.html')"):
        assert advice in str(caught.value)
    with pytest.raises(ValueError, match="close modules") as caught:
        hello(limit=5)
    assert "fold=True" not in str(caught.value)
    assert len(own_loop(50, fold=False, limit=257).diagram.boxes) == 257


def test_what_the_explorer_cannot_show_either_is_not_sent_there(monkeypatch):
    monkeypatch.setattr("minigrad.inspect.drawing.draw.MOST", 30)
    with pytest.raises(ValueError, match="fewer time steps") as caught:
        own_loop(50, fold=False, limit=100)
    assert "explorer" not in str(caught.value)


def test_the_rounds_of_a_long_loop_share_what_they_have_in_common():
    """Else a loop of n rounds takes n² steps: minutes for 20 000."""
    loop = own_loop(30).diagram.places.values()
    assert len({id(place.same) for place in loop if place.loop}) == 4


def test_one_loop_or_module_needs_no_list():
    assert own_loop(4, opened=1).svg() == own_loop(4, opened=[1]).svg()
    assert own_loop(4, closed="cell").svg() == own_loop(4, closed=["cell"]).svg()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"opened": "1"}, r"opened to be numbers of loops, such as \[1\], got '1'"),
        ({"opened": [True]}, r"opened to be numbers of loops, .* got \[True\]"),
        ({"opened": None}, "opened to be numbers of loops, .* got None"),
        ({"opened": 99}, "no loop 99"),
        ({"closed": None}, "closed to be paths of modules, True or False, got None"),
        ({"closed": ["a", 3]}, r"closed to be paths .* got \['a', 3\]"),
        ({"limit": 0}, "limit to be a whole number of boxes from 1 on, got 0"),
        ({"limit": "9"}, "limit to be a whole number of boxes from 1 on, got '9'"),
        ({"fold": "yes"}, "fold to be True or False, got 'yes'"),
        ({"modules": "lstm"}, "modules to be True or False, got 'lstm'"),
    ],
)
def test_wrong_options(option, message):
    x = mg.ones(2, requires_grad=True)
    with pytest.raises((TypeError, ValueError), match=f"^draw: .*{message}"):
        draw((x * x).sum(), **option)


def test_what_cannot_be_drawn():
    x = mg.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="draw: .* a leaf"):
        draw(x)
    with pytest.raises(TypeError, match="draw: expected a Tensor"):
        draw(1.0)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="draw: the graph of this tensor was freed"):
        draw(y)
    with pytest.raises(ValueError, match="no loop 2; they are numbered from 1 to 1"):
        hello(opened=[2])
    with pytest.raises(ValueError, match="no operation ran in a module 'gru'; there are 'embed', 'lstm', 'output'"):
        hello(closed="gru")


def test_a_loop_in_a_closed_module_cannot_be_opened() -> None:
    lstm, x = nn.LSTM(2, 3), mg.ones((4, 1, 2))
    drawing = draw(lstm(x)[0].sum(), names={"lstm": lstm, "x": x}, closed=True)
    assert {box.kind for box in drawing.diagram.boxes} == {"data", "module", "operation"}
    assert "loop 1: 14 operations × 4, in a closed module" in str(drawing)
    assert "drawn once" not in str(drawing)
