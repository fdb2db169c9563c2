"""A drawing in the language of Mermaid, which GitHub and many notebooks show: a block ```mermaid of Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .diagram import Box, Diagram, Frame
from .look import BOXES, FRAMES, SAVED, legend

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
        before, after = FORMS[BOXES[entry.kind].form] if entry.kind in BOXES else ("[", "]")
        yield f"    legend{number}{before}{quoted(entry.text)}{after}"
    yield "  end"
    for kind, style in BOXES.items():
        yield f"  classDef {kind} fill:{style.fill},stroke:{style.line},color:#1b1f24"
    yield f"  classDef saved stroke:{SAVED.line},stroke-width:3px"
    yield "  classDef result stroke-width:4px"
    yield f"  classDef loop stroke:{FRAMES['loop'].line},stroke-dasharray:4"
    for kind in [*BOXES, "saved", "result", "loop"]:
        ids = [f"n{box.number}" for box in diagram.boxes if _is(box, kind)]
        ids += [f"legend{number}" for number, entry in enumerate(entries) if entry.kind == kind]
        if ids:
            yield f"  class {','.join(ids)} {kind}"
    if loops:
        yield f"  linkStyle {','.join(loops)} stroke:{FRAMES['loop'].line}"


def _is(box: Box, kind: str) -> bool:
    return box.kind == kind or (kind == "saved" and box.saved) or (kind == "result" and box.result)


def _members(frame: Frame, indent: str) -> Iterator[str]:
    for member in frame.members:
        if isinstance(member, Box):
            before, after = FORMS[BOXES[member.kind].form]
            label = f"{member.title}\n{member.detail}" if member.detail else member.title
            yield f"{indent}n{member.number}{before}{quoted(label)}{after}"
            continue
        yield f"{indent}subgraph f{next(member.boxes()).number}_{len(indent) // 2}[{quoted(member.title)}]"
        yield from _members(member, indent + "  ")
        yield f"{indent}end"
