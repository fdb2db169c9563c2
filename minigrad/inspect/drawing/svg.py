"""A drawing as SVG: laid out here, with its colours for light and dark pages in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final
from xml.sax.saxutils import escape

from .diagram import Diagram
from .layers import Point
from .layout import Edge, Group, Layout, Rectangle, layout
from .look import BOXES, Entry, legend
from .parts import Arrow, Box, Frame
from .shapes import LINE, SMALL, outline, size, text_width
from .shapes import number as n
from .style import css

MARGIN: Final = 18.0
CORNER: Final = 6.0  # the radius where a line turns
HEAD: Final = 7.0  # the length of an arrow's head
ROW: Final = 24.0  # of the legend


def svg(diagram: Diagram) -> str:
    """The document."""
    return "\n".join(_Picture(diagram).lines()) + "\n"


class _Picture:
    def __init__(self, diagram: Diagram) -> None:
        self.diagram = diagram
        self.groups: list[tuple[Frame, Group]] = []
        root = self._group(diagram.root)
        sizes = [size(box) for box in diagram.boxes]
        edges = [Edge(a.tail.number, a.head.number, a.slot, a.loop) for a in diagram.arrows]
        self.places: Layout = layout(sizes, edges, root)

    def _group(self, frame: Frame) -> Group:
        members: list[int | Group] = [m.number if isinstance(m, Box) else self._group(m) for m in frame.members]
        title = (text_width(frame.title, SMALL) + 6.0, LINE) if frame.title else None
        if frame.kind == "loop" and frame.folded:
            group = Group([Group(members)], True, title)
        else:
            group = Group(members, frame.kind == "loop", title)
        if frame.title:
            self.groups.append((frame, group))
        return group

    def lines(self) -> Iterator[str]:
        entries = self._legend()
        dashed = all(arrow.loop for arrow in self.diagram.arrows if arrow.carried)
        width = max(self.places.width, max(right for *_, right in entries)) + 2 * MARGIN
        below = self.places.height + MARGIN * 2
        height = below + (entries[-1][1] + 1) * ROW + MARGIN / 2
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="minigrad" width="{n(width)}" height="{n(height)}" '
            f'viewBox="0 0 {n(width)} {n(height)}" role="img" aria-label="a computation as boxes and arrows">'
        )
        yield f"<style>{css()}</style>"
        yield f'<rect class="page" width="{n(width)}" height="{n(height)}"/>'
        yield f'<g transform="translate({n((width - self.places.width) / 2)} {n(MARGIN)})">'
        for frame, group in sorted(self.groups, key=lambda pair: _depth(pair[0])):
            yield from _frame(frame, self.places.groups[group])
        yield from self._arrows()
        for frame, group in self.groups:
            yield _frame_title(frame, self.places.groups[group])
        for box in self.diagram.boxes:
            yield from _box(box, self.places.boxes[box.number])
        yield "</g>"
        yield f'<g class="legend" transform="translate({n(MARGIN)} {n(below)})">'
        for entry, row, left, _ in entries:
            yield from _entry(entry, left, row, dashed)
        yield "</g>"
        yield "</svg>"

    def _arrows(self) -> Iterator[str]:
        """The arrows that begin at one place are one path: they share their beginning."""
        bundles: dict[tuple[int, int, bool, bool], list[tuple[Arrow, Sequence[Point]]]] = {}
        for arrow, points in zip(self.diagram.arrows, self.places.lines, strict=True):
            bundles.setdefault((arrow.tail.number, arrow.slot, arrow.loop, arrow.carried), []).append((arrow, points))
        for (tail, _, loop, carried), bundle in bundles.items():
            kind = "arrow" + (" carried" if carried else "") + (" loop" if loop else "")
            yield f'<g class="{kind}" data-from="n{tail}">'
            yield f'<path class="line" d="{" ".join(_path(points) for _, points in bundle)}"/>'
            for arrow, line in bundle:
                x, y = line[-1]
                tip = f"M{n(x)} {n(y)}l{n(-HEAD / 2)} {n(-HEAD)}h{n(HEAD)}z"
                yield f'<path class="head" data-to="n{arrow.head.number}" d="{tip}"/>'
            yield "</g>"

    def _legend(self) -> list[tuple[Entry, int, float, float]]:
        """What the legend says: each with its row, its left and its right end."""
        found = []
        row, x = 0, 0.0
        for entry in legend(self.diagram):
            width = 36.0 + text_width(entry.text, SMALL)
            if x and x + width > max(self.places.width, 480.0):
                row, x = row + 1, 0.0
            found.append((entry, row, x, x + width))
            x += width + 16.0
        return found


# Pieces -------------------------------------------------------------------------------------------


def _box(box: Box, place: Rectangle) -> Iterator[str]:
    yield f'<g class="box {box.kind}{" result" if box.result else ""}" data-box="n{box.number}">'
    if box.about:
        yield f"<title>{escape(box.about)}</title>"
    yield from _drawn(BOXES[box.kind].form, place, box.saved)
    x, y = n(place.x + place.width / 2), place.y + (17.0 if box.detail else 24.0)
    yield f'<text x="{x}" y="{n(y)}">{escape(box.title)}</text>'
    if box.detail:
        yield f'<text class="small" x="{x}" y="{n(y + 14.0)}">{escape(box.detail)}</text>'
    yield "</g>"


def _drawn(form: str, place: Rectangle, saved: bool) -> Iterator[str]:
    """The border of a box, and a second one in it if the graph keeps its value."""
    yield f'<{outline(form, place)} class="edge"/>'
    if form == "thick":
        left, right = n(place.x + 5), n(place.x + place.width - 5)
        yield f'<path class="edge" d="M{left} {n(place.y)}v{n(place.height)}M{right} {n(place.y)}v{n(place.height)}"/>'
        place = place._replace(x=place.x + 5, width=place.width - 10)
    if saved:
        yield f'<{outline(form, place, 3.0)} class="kept"/>'


def _frame(frame: Frame, place: Rectangle) -> Iterator[str]:
    yield f'<g class="{frame.kind}">'
    yield f'<{outline("rectangle", place)} class="frame"/>'
    if frame.folded:  # the other rounds behind it, like sheets of paper
        for shift in (4.0, 8.0):
            x, y = n(place.x + shift), n(place.y - shift + 4.0)
            w, h = n(place.width - 6.0), n(place.height - 6.0)
            yield f'<path class="sheet" d="M{x} {y}v-4h{w}q6 0 6 6v{h}h-4"/>'
    yield "</g>"


def _frame_title(frame: Frame, place: Rectangle) -> str:
    x, y = n(place.x + 12), n(place.y + 17)
    return f'<text class="title {frame.kind}" x="{x}" y="{y}">{escape(frame.title)}</text>'


def _entry(entry: Entry, left: float, row: int, dashed: bool) -> Iterator[str]:
    """A line of the legend."""
    kind, y = entry.kind, row * ROW
    if kind == "loop":
        yield f'<g class="arrow carried{" loop" if dashed else ""}"><path class="line" d="M{n(left)} {n(y + 8)}h22"/>'
        yield f'<path class="head" d="M{n(left + 28)} {n(y + 8)}l-7 -3.5v7z"/></g>'
    else:
        form = BOXES[kind].form if kind in BOXES else "rectangle"
        yield f'<g class="sample {kind if kind in BOXES else "operation"}{" result" if kind == "result" else ""}">'
        yield from _drawn(form, Rectangle(left, y, 28.0, 16.0), kind == "saved")
        yield "</g>"
    yield f'<text class="small key" x="{n(left + 34)}" y="{n(y + 12)}">{escape(entry.text)}</text>'


def _path(points: Sequence[Point]) -> str:
    """A line through points, up to the arrow's head: curves where it leans, rounded corners where it turns."""
    line = [(round(x, 1), round(y, 1)) for x, y in points]
    line[-1] = (line[-1][0], line[-1][1] - HEAD / 2)
    found = [f"M{n(line[0][0])} {n(line[0][1])}"]
    for k in range(1, len(line)):
        (a, b), (x, y) = line[k - 1], line[k]
        if a != x and b != y:
            middle = (b + y) / 2
            found.append(f"C{n(a)} {n(middle)} {n(x)} {n(middle)} {n(x)} {n(y)}")
            continue
        after = line[k + 1] if k + 1 < len(line) else (x, y)
        turns = (after[0] == x) != (after[1] == y) and (after[0] == x) != (a == x)
        if turns:
            r = min(CORNER, (abs(x - a) + abs(y - b)) / 2, (abs(after[0] - x) + abs(after[1] - y)) / 2)
            before = _towards((x, y), (a, b), r)
            beyond = _towards((x, y), after, r)
            found.append(f"L{n(before[0])} {n(before[1])}Q{n(x)} {n(y)} {n(beyond[0])} {n(beyond[1])}")
        else:
            found.append(f"L{n(x)} {n(y)}")
    return "".join(found)


def _towards(start: Point, end: Point, distance: float) -> Point:
    (x, y), (a, b) = start, end
    length = abs(a - x) + abs(b - y)
    return x + (a - x) * distance / length, y + (b - y) * distance / length


def _depth(frame: Frame) -> int:
    return 0 if frame.home is None else 1 + _depth(frame.home)
