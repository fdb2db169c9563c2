"""Forms of boxes in SVG, and how much room texts need."""

from __future__ import annotations

from typing import Final

from .layers import Point
from .layout import Rectangle
from .look import BOXES
from .parts import Box

LETTERS: Final = 12.0  # the size of letters; of the second line's and of frames' titles
SMALL: Final = 10.5
LINE: Final = 15.0  # the height of a line of text
BESIDE: Final = {"hexagon": 30.0, "slanted": 30.0, "pill": 28.0, "thick": 30.0}  # room that a form takes from its text

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
            total += 0.79 if c.isupper() else 0.71 if c == "_" else 0.64
    return total * size


def size(box: Box) -> Point:
    """Width and height of a box: so that its texts fit."""
    width = max(text_width(box.title), text_width(box.detail, SMALL))
    width += BESIDE.get(BOXES[box.kind].form, 20.0)
    spread = 14.0 * box.slots + 10.0  # so that the arrows which leave it stand apart
    return max(width, min(spread, 600.0), 56.0), 2 * LINE + 10.0


def outline(form: str, place: Rectangle, inset: float = 0.0) -> str:
    """The border of a box as attributes of an element, and its name."""
    x, y, w, h = place.x + inset, place.y + inset, place.width - 2 * inset, place.height - 2 * inset
    if form == "hexagon":
        e = 10.0 - inset / 2
        right, low, middle = x + w, y + h, y + h / 2
        return _polygon((x + e, y), (right - e, y), (right, middle), (right - e, low), (x + e, low), (x, middle))
    if form == "slanted":
        e = 10.0 - inset / 2
        return _polygon((x + e, y), (x + w, y), (x + w - e, y + h), (x, y + h))
    radius = h / 2 if form == "pill" else 2.0 if form == "thick" else 6.0
    sides = f'width="{number(w)}" height="{number(h)}" rx="{number(min(radius, h / 2))}"'
    return f'rect x="{number(x)}" y="{number(y)}" {sides}'


def _polygon(*points: Point) -> str:
    return 'polygon points="' + " ".join(f"{number(x)},{number(y)}" for x, y in points) + '"'


def number(x: float) -> str:
    """A number, as short as it goes."""
    return f"{x:.1f}".removesuffix(".0") if abs(x) >= 0.05 else "0"
