"""How things look in drawings: forms, and colours which those who do not see all of them can tell apart.

The colours are those of Okabe and Ito 2008 ("Color universal design"), with lighter ones to fill and darker ones for a
dark page; every kind has a form of its own besides.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from .diagram import Diagram


class Style(NamedTuple):
    """The form of a box, and its colours on a light page and on a dark one."""

    form: str
    fill: str
    line: str
    dark_fill: str
    dark_line: str


BOXES: Final = {
    "operation": Style("rectangle", "#f1f3f5", "#5b6573", "#2b3037", "#9aa5b1"),
    "module": Style("thick", "#f6e3ef", "#a8558a", "#41283a", "#d991bd"),
    "parameter": Style("hexagon", "#d5e8f7", "#0072b2", "#12354f", "#56b4e9"),
    "input": Style("pill", "#d2f0e5", "#009e73", "#0c3d30", "#2fc79b"),
    "data": Style("slanted", "#fdf3c4", "#9a7d00", "#403711", "#e0c846"),
}
FRAMES: Final = {
    "module": Style("rectangle", "#a8558a", "#a8558a", "#d991bd", "#d991bd"),
    "loop": Style("rectangle", "#8a3ffc", "#8a3ffc", "#be95ff", "#be95ff"),
    "round": Style("rectangle", "#8a3ffc", "#8a3ffc", "#be95ff", "#be95ff"),
}
SAVED: Final = Style("rectangle", "none", "#d55e00", "none", "#ff9b52")

SAYS: Final = {
    "operation": "operation",
    "module": "closed module",
    "parameter": "parameter",
    "input": "input that needs a gradient",
    "data": "data, constant",
    "saved": "kept for the backward pass",
    "result": "result",
    "loop": "on to the next round",
}


class Entry(NamedTuple):
    """A line of the legend."""

    kind: str
    text: str


def legend(diagram: Diagram) -> list[Entry]:
    """What is in this drawing, in a fixed order."""
    kinds = {box.kind for box in diagram.boxes} | {"result"}
    kinds |= {"saved"} if any(box.saved for box in diagram.boxes) else set()
    kinds |= {"loop"} if any(arrow.carried for arrow in diagram.arrows) else set()
    return [Entry(kind, text) for kind, text in SAYS.items() if kind in kinds]
