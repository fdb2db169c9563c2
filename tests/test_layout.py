"""Where boxes and arrows lie: nothing overlaps, arrows begin and end at their boxes and go round the others."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from minigrad.inspect.drawing import layers
from minigrad.inspect.drawing.layout import Edge, Group, Layout, Rectangle, layout
from minigrad.inspect.drawing.spacing import isotonic

NEAR = 0.1


def overlap(a: Rectangle, b: Rectangle) -> bool:
    return (
        a.x < b.x + b.width - NEAR and b.x < a.x + a.width - NEAR
        and a.y < b.y + b.height - NEAR and b.y < a.y + a.height - NEAR
    )  # fmt: skip


def within(a: Rectangle, b: Rectangle) -> bool:
    return (
        a.x >= b.x - NEAR and a.y >= b.y - NEAR
        and a.x + a.width <= b.x + b.width + NEAR and a.y + a.height <= b.y + b.height + NEAR
    )  # fmt: skip


def crosses(line: list[tuple[float, float]], box: Rectangle) -> bool:
    """Whether a line passes through a box; where it leans, a curve may be anywhere between its ends."""
    pieces = (
        Rectangle(min(a, x), min(b, y), max(abs(x - a), 3 * NEAR), max(abs(y - b), 3 * NEAR))
        for (a, b), (x, y) in itertools.pairwise(line)
    )
    return any(overlap(piece, box) for piece in pieces)


def assert_sound(found: Layout, edges: list[Edge]) -> None:
    page = Rectangle(0.0, 0.0, found.width, found.height)
    for box in [*found.boxes, *found.groups.values()]:
        assert within(box, page)
    for a, b in itertools.combinations(found.boxes, 2):
        assert not overlap(a, b)
    for edge, line in zip(edges, found.lines, strict=True):
        tail, head = found.boxes[edge.tail], found.boxes[edge.head]
        assert line[0][1] == pytest.approx(tail.y + tail.height)
        assert tail.x <= line[0][0] <= tail.x + tail.width
        assert line[-1][1] == pytest.approx(head.y)
        assert head.x <= line[-1][0] <= head.x + head.width
        assert line[-2][1] < line[-1][1]  # it comes from above
        for number, box in enumerate(found.boxes):
            if number not in (edge.tail, edge.head):
                assert not crosses(line, box)


def random_graph(seed: int, count: int) -> tuple[list[tuple[float, float]], list[Edge]]:
    source = random.Random(seed)
    sizes = [(source.uniform(20, 120), source.choice([20.0, 40.0])) for _ in range(count)]
    edges = []
    for head in range(1, count):
        for _ in range(source.randrange(3)):
            first = 0 if source.random() < 0.3 else max(0, head - 5)
            edges.append(Edge(source.randrange(first, head), head))
    return sizes, edges


@pytest.mark.parametrize("seed", range(8))
def test_boxes_do_not_overlap_and_lines_go_round_them(seed):
    sizes, edges = random_graph(seed, 40)
    assert_sound(layout(sizes, edges), edges)


def test_a_chain_is_straight_and_a_diamond_even():
    found = layout([(40.0, 20.0)] * 4, [(0, 1), (1, 2), (2, 3)])
    assert [box.x for box in found.boxes] == [0.0] * 4
    assert all(len({x for x, _ in line}) == 1 for line in found.lines)
    top, left, right, bottom = layout([(40.0, 20.0)] * 4, [(0, 1), (0, 2), (1, 3), (2, 3)]).boxes
    assert left.y == right.y and top.y < left.y < bottom.y
    assert top.x == bottom.x == (left.x + right.x) / 2


def test_a_long_arrow_goes_round_what_it_passes():
    sizes = [(40.0, 20.0)] * 5
    edges = [Edge(0, 1), Edge(1, 2), Edge(2, 3), Edge(3, 4), Edge(0, 4)]
    found = layout(sizes, edges)
    assert_sound(found, edges)
    assert len({x for x, _ in found.lines[-1]}) > 1


def test_arrows_that_begin_at_one_place_share_their_line():
    edges = [(0, 1), (1, 2), (2, 3), (0, 2), (0, 3)]
    found = layout([(40.0, 20.0)] * 4, edges)
    near, far = found.lines[3], found.lines[4]
    assert near[:2] == far[:2]


def test_arrows_of_several_places_begin_side_by_side():
    edges = [Edge(0, 1, 0), Edge(0, 2, 1), Edge(0, 3, 2)]
    found = layout([(90.0, 20.0)] + [(40.0, 20.0)] * 3, edges)
    left = found.boxes[0].x
    assert [line[0][0] - left for line in found.lines] == [15.0, 45.0, 75.0]
    assert [box.x for box in found.boxes[1:]] == sorted(box.x for box in found.boxes[1:])


def unrolled(steps: int, folded: bool = False) -> tuple[list[tuple[float, float]], list[Edge], Group, list[Group]]:
    """A recurrent network: 0 the weight, 1 the first state, then each step's product, sum and state, then a stack."""
    edges, rounds, state = [], [], 1
    for step in range(steps):
        product, total, new = range(2 + 3 * step, 5 + 3 * step)
        edges += [Edge(state, product), Edge(0, product), Edge(product, total), Edge(state, total), Edge(total, new)]
        rounds.append(Group([product, total, new], title=(40.0, 15.0)))
        state = new
    if folded:
        edges += [Edge(state, 2, 0, True), Edge(state, 3, 0, True)]
    stack = 2 + 3 * steps
    edges += [Edge(2 + 3 * step + 2, stack) for step in range(steps)]
    loop = Group(list(rounds), True, title=(60.0, 15.0))
    return [(50.0, 30.0)] * (stack + 1), edges, Group([0, 1, loop, stack]), [loop, *rounds]


@pytest.mark.parametrize("steps", [1, 5, 30])
def test_rounds_stand_side_by_side(steps):
    sizes, edges, root, (loop, *rounds) = unrolled(steps)
    found = layout(sizes, edges, root)
    assert_sound(found, edges)
    frames = [found.groups[each] for each in rounds]
    assert all(a.x + a.width < b.x and a.y == b.y for a, b in itertools.pairwise(frames))
    assert all(within(frame, found.groups[loop]) for frame in frames)
    for group, frame in zip(rounds, frames, strict=True):
        assert all(within(found.boxes[member], frame) for member in group.members)
    heights = {tuple(found.boxes[member].y for member in group.members) for group in rounds}
    assert len(heights) == 1
    for outside in (0, 1, len(sizes) - 1):
        assert not overlap(found.boxes[outside], found.groups[loop])


def test_a_folded_loop_leads_back_into_itself():
    sizes, edges, root, (loop, inner) = unrolled(1, folded=True)
    found = layout(sizes, edges, root)
    assert_sound(found, edges)
    back = [line for edge, line in zip(edges, found.lines, strict=True) if edge.loop]
    frame, around = found.groups[inner], found.groups[loop]
    for line in back:
        assert max(y for _, y in line) > frame.y + frame.height  # below its round
        assert max(x for x, _ in line) > frame.x + frame.width  # up beside it
        assert min(y for _, y in line) < frame.y  # and in from above
        assert all(around.x <= x <= around.x + around.width for x, _ in line)


def test_frames_hold_what_is_in_them_and_nothing_else():
    sizes = [(40.0, 20.0)] * 6
    edges = [Edge(0, 1), Edge(1, 2), Edge(2, 3), Edge(0, 4), Edge(4, 3), Edge(3, 5), Edge(1, 5)]
    inner = Group([2], title=(50.0, 15.0))
    outer = Group([1, inner], title=(50.0, 15.0))
    found = layout(sizes, edges, Group([0, outer, 3, 4, 5]))
    assert_sound(found, edges)
    assert within(found.groups[inner], found.groups[outer])
    assert within(found.boxes[2], found.groups[inner]) and within(found.boxes[1], found.groups[outer])
    assert not overlap(found.boxes[1], found.groups[inner])
    for box in (0, 3, 4, 5):
        assert not overlap(found.boxes[box], found.groups[outer])


def test_the_same_graph_is_laid_out_in_the_same_way():
    sizes, edges = random_graph(1, 60)
    one, other = layout(sizes, edges), layout(list(sizes), list(edges))
    assert (one.boxes, one.lines) == (other.boxes, other.lines)


def test_thousands_of_boxes(monkeypatch):
    sizes, edges, root, _ = unrolled(1500)
    found = layout(sizes, edges, root)
    assert len(found.boxes) == 4503 and len(found.lines) == len(edges)
    monkeypatch.setattr(layers, "MOST_BENDS", 100)  # where a bend in each layer would be too many
    sizes, edges, *_ = unrolled(300)
    found = layout(sizes, edges)
    assert sum(map(len, found.lines)) < 6 * len(edges) + 400
    for edge, line in zip(edges, found.lines, strict=True):
        assert line[-1][1] == pytest.approx(found.boxes[edge.head].y)


def test_isotonic_places_are_the_best_there_are():
    source = random.Random(0)
    for _ in range(20):
        wanted = [source.uniform(-9, 9) for _ in range(4)]
        weights = [source.uniform(0.1, 3) for _ in range(4)]
        room = [source.uniform(0, 4) for _ in range(3)]
        found = isotonic(wanted, weights, room)

        def cost(xs: Any, wanted: Any = wanted, weights: Any = weights) -> float:
            return sum(w * (x - y) ** 2 for w, x, y in zip(weights, xs, wanted, strict=True))

        def allowed(xs: Any, room: Any = room) -> bool:
            return all(b - a >= gap - 1e-9 for (a, b), gap in zip(itertools.pairwise(xs), room, strict=True))

        assert allowed(found)
        for _ in range(200):
            other = [x + source.uniform(-0.3, 0.3) for x in found]
            assert not allowed(other) or cost(other) >= cost(found) - 1e-9


@pytest.mark.parametrize(
    ("edges", "group", "says"),
    [
        ([(0, 1), (1, 2), (2, 0)], None, "circle"),
        ([], Group([0, 1]), "box in a group"),
        ([], Group([0, 1, 2, Group([2])]), "in two groups"),
        ([], Group([0, Group([1, 2], sideways=True)]), "groups side by side"),
        ([(0, 1), (1, 2)], Group([Group([0, 2]), 1]), "circle"),
    ],
)
def test_what_cannot_be_laid_out(edges, group, says):
    with pytest.raises(ValueError, match=says):
        layout([(10.0, 10.0)] * 3, edges, group)
