"""A drawing in the language of Mermaid, which GitHub and many notebooks show: a block ```mermaid of Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .diagram import Diagram
from .look import BOXES, FRAMES, SAVED, legend
from .parts import Box, Frame

FORMS = {
    "rectangle": ("[", "]"),
    "thick": ("[[", "]]"),
    "hexagon": ("{{", "}}"),
    "pill": ("([", "])"),
    "slanted": ("[/", "/]"),
}


def mermaid(diagram: Diagram) -> str:
    """The program."""
    return "\n".join(_lines(diagram)) + "\n"


def quoted(text: str) -> str:
    """A text as Mermaid reads it: what could be taken for a part of the language is written as #NUMBER;.

    >>> quoted('a<b> "c" #1')
    '"a#60;b#62; #34;c#34; #35;1"'
    """
    safe = re.sub(r"[^\w\s.,:·×…()\[\]=+*/-]", lambda found: f"#{ord(found[0])};", text)
    return '"' + safe.replace("\n", "<br/>") + '"'


def _lines(diagram: Diagram) -> Iterator[str]:
    yield "flowchart TB"
    yield from _members(diagram.root, "  ")
    loops = []
    for number, arrow in enumerate(diagram.arrows):
        yield f"  n{arrow.tail.number} {'-.->' if arrow.loop else '-->'} n{arrow.head.number}"
        loops += [str(number)] if arrow.carried else []
    yield '  subgraph legend["legend"]'
    entries = legend(diagram)
    for number, entry in enumerate(entries):
        before, after = FORMS[BOXES[entry.kind].form] if entry.kind in BOXES else FORMS["rectangle"]
        yield f"    legend{number}{before}{quoted(entry.text)}{after}"
    yield "  end"
    yield "  style legend fill:none,stroke:#c4c8ce"
    for kind, style in BOXES.items():
        yield f"  classDef {kind} fill:{style.fill},stroke:{style.line},color:#1b1f24"
    for kind in FRAMES:
        yield f"  classDef {kind}frame fill:none,stroke:{FRAMES[kind].line}"
        ids = [_name(frame, depth) for frame, depth in _frames(diagram.root) if frame.kind == kind]
        if ids:
            yield f"  class {','.join(ids)} {kind}frame"
    yield f"  classDef saved stroke:{SAVED.line},stroke-width:3px"
    yield "  classDef result stroke-width:4px"
    yield f"  classDef loop stroke:{FRAMES['loop'].line},stroke-dasharray:4"
    for kind in [*BOXES, "saved", "result", "loop"]:
        ids = [f"n{box.number}" for box in diagram.boxes if _is(box, kind)]
        alike = (kind, "saved", "result", "loop") if kind == "operation" else (kind,)
        ids += [f"legend{number}" for number, entry in enumerate(entries) if entry.kind in alike]
        if ids:
            yield f"  class {','.join(ids)} {kind}"
    if loops:
        yield f"  linkStyle {','.join(loops)} stroke:{FRAMES['loop'].line}"


def _frames(frame: Frame, depth: int = 1) -> Iterator[tuple[Frame, int]]:
    for member in frame.members:
        if isinstance(member, Frame):
            yield member, depth
            yield from _frames(member, depth + 1)


def _name(frame: Frame, depth: int) -> str:
    return f"f{next(frame.boxes()).number}_{depth}"


def _is(box: Box, kind: str) -> bool:
    return box.kind == kind or (kind == "saved" and box.saved) or (kind == "result" and box.result)


def _members(frame: Frame, indent: str) -> Iterator[str]:
    for member in frame.members:
        if isinstance(member, Box):
            before, after = FORMS[BOXES[member.kind].form]
            label = f"{member.title}\n{member.detail}" if member.detail else member.title
            yield f"{indent}n{member.number}{before}{quoted(label)}{after}"
            continue
        yield f"{indent}subgraph {_name(member, len(indent) // 2)}[{quoted(member.title)}]"
        yield from _members(member, indent + "  ")
        yield f"{indent}end"
