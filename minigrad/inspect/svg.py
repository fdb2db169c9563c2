"""A drawing as SVG: laid out here, with its colours for light and dark pages in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final
from xml.sax.saxutils import escape

from .diagram import Arrow, Box, Diagram, Frame
from .layers import Point
from .layout import Edge, Group, Layout, Rectangle, layout
from .look import BOXES, FRAMES, SAVED, legend

LINE: Final = 15.0  # the height of a line of text
LETTERS: Final = 12.0  # their size; the second line's, and that of frames' titles
SMALL: Final = 10.5
MARGIN: Final = 18.0
CORNER: Final = 6.0  # the radius where a line turns
HEAD: Final = 7.0  # the length of an arrow's head

FONT: Final = "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
NARROW, WIDE = frozenset("iIjlft.,:;|!'()[] -·"), frozenset("mwMW@×…%")


def text_width(text: str, size: float = LETTERS) -> float:
    """At most how wide a text is, in a usual sans-serif face: in units of a drawing.

    >>> text_width("ill") < text_width("mmm")
    True
    """
    total = 0.0
    for c in text:
        if ord(c) > 0x2E7F:  # letters as wide as they are high
            total += 1.05
        elif c in NARROW:
            total += 0.41
        elif c in WIDE:
            total += 1.0
        else:
            total += 0.71 if c.isupper() or c == "_" else 0.64
    return total * size


def svg(diagram: Diagram) -> str:
    """The document."""
    return "\n".join(_Picture(diagram).lines()) + "\n"


class _Picture:
    def __init__(self, diagram: Diagram) -> None:
        self.diagram = diagram
        self.groups: list[tuple[Frame, Group]] = []
        root = self._group(diagram.root)
        sizes = [_size(box) for box in diagram.boxes]
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
        width = max(self.places.width, max((x for _, x, _ in entries), default=0.0)) + 2 * MARGIN
        rows = 1 + max((row for _, _, row in entries), default=0)
        below = self.places.height + MARGIN * 2
        height = below + rows * 24.0 + MARGIN / 2
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="minigrad" width="{_n(width)}" height="{_n(height)}" '
            f'viewBox="0 0 {_n(width)} {_n(height)}" role="img" aria-label="a computation as boxes and arrows">'
        )
        yield f"<style>{_css()}</style>"
        yield f'<rect class="page" width="{_n(width)}" height="{_n(height)}"/>'
        yield f'<g transform="translate({_n(MARGIN)} {_n(MARGIN)})">'
        for frame, group in sorted(self.groups, key=lambda pair: _depth(pair[0])):
            yield from _frame(frame, self.places.groups[group])
        yield from self._arrows()
        for frame, group in self.groups:
            yield _frame_title(frame, self.places.groups[group])
        for box in self.diagram.boxes:
            yield from _box(box, self.places.boxes[box.number])
        yield "</g>"
        yield f'<g class="legend" transform="translate({_n(MARGIN)} {_n(below)})">'
        for kind, right, row in entries:
            yield from _entry(kind, right, row)
        yield "</g>"
        yield "</svg>"

    def _arrows(self) -> Iterator[str]:
        """The arrows that begin at one place are one path: they share their beginning."""
        bundles: dict[tuple[int, int, bool], list[tuple[Arrow, Sequence[Point]]]] = {}
        for arrow, points in zip(self.diagram.arrows, self.places.lines, strict=True):
            bundles.setdefault((arrow.tail.number, arrow.slot, arrow.loop), []).append((arrow, points))
        for (tail, _, loop), bundle in bundles.items():
            yield f'<g class="arrow{" loop" if loop else ""}" data-from="n{tail}">'
            yield f'<path class="line" d="{" ".join(_path(points) for _, points in bundle)}"/>'
            for arrow, points in bundle:
                x, y = points[-1]
                tip = f"M{_n(x)} {_n(y)}l{_n(-HEAD / 2)} {_n(-HEAD)}h{_n(HEAD)}z"
                yield f'<path class="head" data-to="n{arrow.head.number}" d="{tip}"/>'
            yield "</g>"

    def _legend(self) -> list[tuple[str, float, int]]:
        """What the legend says: its kinds, the right end of each, and its row."""
        found: list[tuple[str, float, int]] = []
        x, row = 0.0, 0
        for entry in legend(self.diagram):
            width = 34.0 + text_width(entry.text, SMALL) + 14.0
            if x and x + width > max(self.places.width, 560.0):
                x, row = 0.0, row + 1
            x += width
            found.append((entry.kind, x, row))
        return found


# Pieces -------------------------------------------------------------------------------------------


def _size(box: Box) -> Point:
    width = max(text_width(box.title), text_width(box.detail, SMALL))
    width += {"hexagon": 30.0, "slanted": 30.0, "pill": 28.0, "thick": 28.0}.get(BOXES[box.kind].form, 20.0)
    spread = 14.0 * box.slots + 10.0  # so that the arrows which leave it stand apart
    return max(width, min(spread, 600.0), 56.0), 2 * LINE + 10.0


def _outline(form: str, place: Rectangle, inset: float = 0.0) -> str:
    """The border of a box as attributes of an element, and its name."""
    x, y, w, h = place.x + inset, place.y + inset, place.width - 2 * inset, place.height - 2 * inset
    if form == "hexagon":
        e = 10.0 - inset / 2
        return _polygon(
            (x + e, y), (x + w - e, y), (x + w, y + h / 2), (x + w - e, y + h), (x + e, y + h), (x, y + h / 2)
        )
    if form == "slanted":
        e = 10.0 - inset / 2
        return _polygon((x + e, y), (x + w, y), (x + w - e, y + h), (x, y + h))
    radius = h / 2 if form == "pill" else 2.0 if form == "thick" else 6.0
    return f'rect x="{_n(x)}" y="{_n(y)}" width="{_n(w)}" height="{_n(h)}" rx="{_n(min(radius, h / 2))}"'


def _polygon(*points: Point) -> str:
    return 'polygon points="' + " ".join(f"{_n(x)},{_n(y)}" for x, y in points) + '"'


def _box(box: Box, place: Rectangle) -> Iterator[str]:
    form = BOXES[box.kind].form
    yield f'<g class="box {box.kind}{" result" if box.result else ""}" id="n{box.number}">'
    if box.about:
        yield f"<title>{escape(box.about)}</title>"
    yield f"<{_outline(form, place)}/>"
    if form == "thick":
        for x in (place.x + 5, place.x + place.width - 5):
            yield f'<path class="bar" d="M{_n(x)} {_n(place.y)}v{_n(place.height)}"/>'
    if box.saved:
        yield f'<{_outline(form, place, 3.0)} class="saved"/>'
    x, y = place.x + place.width / 2, place.y + 5.0
    if box.detail:
        yield f'<text x="{_n(x)}" y="{_n(y + 12.0)}">{escape(box.title)}</text>'
        yield f'<text class="small" x="{_n(x)}" y="{_n(y + 26.0)}">{escape(box.detail)}</text>'
    else:
        yield f'<text x="{_n(x)}" y="{_n(y + 19.0)}">{escape(box.title)}</text>'
    yield "</g>"


def _frame(frame: Frame, place: Rectangle) -> Iterator[str]:
    yield f'<g class="frame {frame.kind}">'
    if frame.folded:  # sheets, one behind the other
        for shift in (6.0, 3.0):
            yield f'<{_outline("rectangle", place._replace(x=place.x + shift, y=place.y - shift))} class="sheet"/>'
    yield f"<{_outline('rectangle', place)}/>"
    yield "</g>"


def _frame_title(frame: Frame, place: Rectangle) -> str:
    return (
        f'<text class="title {frame.kind}" x="{_n(place.x + 12)}" y="{_n(place.y + 17)}">{escape(frame.title)}</text>'
    )


def _entry(kind: str, right: float, row: int) -> Iterator[str]:
    from .look import SAYS

    text = SAYS[kind]
    left, y = right - 48.0 - text_width(text, SMALL), row * 24.0
    place = Rectangle(left, y, 28.0, 16.0)
    form = BOXES[kind].form if kind in BOXES else "rectangle"
    if kind == "loop":
        yield f'<g class="arrow loop"><path class="line" d="M{_n(left)} {_n(y + 8)}h22"/>'
        yield f'<path class="head" d="M{_n(left + 28)} {_n(y + 8)}l-7 -3.5v7z"/></g>'
    else:
        yield f'<g class="sample {kind if kind in BOXES else "operation"}{" result" if kind == "result" else ""}">'
        yield f"<{_outline(form, place)}/>"
        if kind == "saved":
            yield f'<{_outline(form, place, 3.0)} class="saved"/>'
        if form == "thick":
            yield f'<path class="bar" d="M{_n(left + 4)} {_n(y)}v16M{_n(left + 24)} {_n(y)}v16"/>'
        yield "</g>"
    yield f'<text class="small key" x="{_n(left + 34)}" y="{_n(y + 12)}">{escape(text)}</text>'


def _path(points: Sequence[Point]) -> str:
    """A line through points: curves where it leans, rounded corners where it turns. The last piece stops at the arrow's head."""
    points = [*points[:-1], (points[-1][0], points[-1][1] - HEAD / 2)]
    found = [f"M{_n(points[0][0])} {_n(points[0][1])}"]
    for k in range(1, len(points)):
        (a, b), (x, y) = points[k - 1], points[k]
        if a != x and b != y:
            middle = (b + y) / 2
            found.append(f"C{_n(a)} {_n(middle)} {_n(x)} {_n(middle)} {_n(x)} {_n(y)}")
            continue
        after = points[k + 1] if k + 1 < len(points) else (x, y)
        turns = (after[0] == x) != (after[1] == y) and (after[0] == x) != (a == x)
        if turns:
            r = min(CORNER, (abs(x - a) + abs(y - b)) / 2, (abs(after[0] - x) + abs(after[1] - y)) / 2)
            before = _towards((x, y), (a, b), r)
            beyond = _towards((x, y), after, r)
            found.append(f"L{_n(before[0])} {_n(before[1])}Q{_n(x)} {_n(y)} {_n(beyond[0])} {_n(beyond[1])}")
        else:
            found.append(f"L{_n(x)} {_n(y)}")
    return "".join(found)


def _towards(start: Point, end: Point, distance: float) -> Point:
    (x, y), (a, b) = start, end
    length = abs(a - x) + abs(b - y)
    return x + (a - x) * distance / length, y + (b - y) * distance / length


def _depth(frame: Frame) -> int:
    return 0 if frame.home is None else 1 + _depth(frame.home)


def _n(x: float) -> str:
    """A number, as short as it goes."""
    return f"{x:.1f}".removesuffix(".0").replace("-0", "0") if abs(x) < 0.05 else f"{x:.1f}".removesuffix(".0")


def _css() -> str:
    rules = [
        ".minigrad .page{fill:#fff}",
        f".minigrad text{{font:{LETTERS:g}px {FONT};fill:#1b1f24;text-anchor:middle}}",
        f".minigrad .small,.minigrad .title{{font-size:{SMALL:g}px;fill:#4a525c}}",
        ".minigrad .key,.minigrad .title{text-anchor:start}",
        ".minigrad .title{font-weight:600;paint-order:stroke;stroke:#fff;stroke-width:4px;stroke-linejoin:round}",
        ".minigrad .arrow .line{fill:none;stroke:#5b6573;stroke-width:1.2}",
        ".minigrad .arrow .head{fill:#5b6573}",
        ".minigrad .loop .line{stroke:#8a3ffc;stroke-width:1.6;stroke-dasharray:5 3}",
        ".minigrad .loop .head{fill:#8a3ffc}",
        ".minigrad .box>*,.minigrad .sample>*{stroke-width:1.2}",
        ".minigrad .box text{stroke:none}",
        ".minigrad .result>:first-of-type{stroke-width:3}",
    ]
    dark = [
        ".minigrad .page{fill:#16191d}",
        ".minigrad text{fill:#e8eaed}",
        ".minigrad .small,.minigrad .title{fill:#b4bcc6}",
        ".minigrad .title{stroke:#16191d}",
        ".minigrad .arrow .line{stroke:#9aa5b1}.minigrad .arrow .head{fill:#9aa5b1}",
        ".minigrad .loop .line{stroke:#be95ff}.minigrad .loop .head{fill:#be95ff}",
    ]
    for kind, style in BOXES.items():
        at = ",".join(f".minigrad .{kind}>{shape}" for shape in ("rect", "polygon", "path"))
        rules.append(f"{at}{{fill:{style.fill};stroke:{style.line}}}")
        dark.append(f"{at}{{fill:{style.dark_fill};stroke:{style.dark_line}}}")
    for kind, style in FRAMES.items():
        tint = "0.02" if kind == "round" else "0.05"
        rules.append(
            f".minigrad .frame.{kind}>rect{{fill:{style.fill};fill-opacity:{tint};stroke:{style.line};stroke-opacity:.55}}"
        )
        rules.append(f".minigrad .title.{kind}{{fill:{style.line}}}")
        dark.append(f".minigrad .frame.{kind}>rect{{fill:{style.dark_fill};stroke:{style.dark_line}}}")
        dark.append(f".minigrad .title.{kind}{{fill:{style.dark_line}}}")
    rules.append(f".minigrad .saved.saved{{fill:none;stroke:{SAVED.line};stroke-width:1.5}}")
    dark.append(f".minigrad .saved.saved{{stroke:{SAVED.dark_line}}}")
    return "".join(rules) + "@media (prefers-color-scheme:dark){" + "".join(dark) + "}"
