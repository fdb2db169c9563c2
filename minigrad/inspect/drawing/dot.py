"""A drawing in the language of Graphviz, which lays it out itself: dot -Tpdf graph.dot -o graph.pdf."""

from __future__ import annotations

from collections.abc import Iterator

from .diagram import Diagram
from .look import BOXES, FRAMES, Style, legend
from .parts import Arrow, Box, Frame

SHAPES = {"rectangle": "box", "pill": "box", "hexagon": "hexagon", "slanted": "parallelogram", "thick": "box3d"}


def dot(diagram: Diagram) -> str:
    """The program."""
    return "\n".join(_lines(diagram)) + "\n"


def quoted(text: str) -> str:
    """A text as DOT reads it: there a backslash begins an escape, and & an entity of HTML.

    >>> quoted('a "b" & c')
    '"a \\\\"b\\\\" &amp; c"'
    """
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;").replace("\n", "\\n")
    return f'"{text}"'


def _lines(diagram: Diagram) -> Iterator[str]:
    yield "digraph computation {"
    yield "  rankdir=TB; compound=true; nodesep=0.3; ranksep=0.4;"
    yield '  graph [fontname="Helvetica", fontsize=11, style="rounded"];'
    yield '  node [fontname="Helvetica", fontsize=11, margin="0.12,0.05"];'
    yield '  edge [color="#5b6573", arrowsize=0.7];'
    yield from _members(diagram.root, "  ")
    for arrow in diagram.arrows:
        yield "  " + _arrow(arrow)
    yield from _legend(diagram)
    yield "}"


def _members(frame: Frame, indent: str) -> Iterator[str]:
    for member in frame.members:
        if isinstance(member, Box):
            yield f"{indent}n{member.number} [{_attributes(member)}];"
            continue
        first = next(member.boxes())
        colour = FRAMES[member.kind].line
        depth = len(indent) // 2
        yield f"{indent}subgraph cluster_{first.number}_{depth} {{"
        yield f'{indent}  label={quoted(member.title)}; labeljust=l; color="{colour}";'
        if member.folded:
            yield f"{indent}  penwidth=2;"
        yield from _members(member, indent + "  ")
        yield f"{indent}}}"


def _attributes(box: Box) -> str:
    label = f"{box.title}\n{box.detail}" if box.detail else box.title
    found = [f"label={quoted(label)}", *_styled(BOXES[box.kind])]
    if box.saved:
        found.append('peripheries=2, color="#d55e00"')
    if box.result:
        found.append("penwidth=3")
    if box.about:
        found.append(f"tooltip={quoted(box.about)}")
    return ", ".join(found)


def _styled(style: Style) -> list[str]:
    rounded = ', style="filled,rounded"' if style.form == "pill" else ', style="filled"'
    return [f'shape={SHAPES[style.form]}{rounded}, fillcolor="{style.fill}", color="{style.line}"']


def _arrow(arrow: Arrow) -> str:
    text = f"n{arrow.tail.number} -> n{arrow.head.number}"
    if arrow.loop:
        return text + ' [color="#8a3ffc", style=dashed, constraint=false];'
    return text + (' [color="#8a3ffc"];' if arrow.carried else ";")


def _legend(diagram: Diagram) -> Iterator[str]:
    yield "  subgraph cluster_legend {"
    yield '    label="legend"; labeljust=l; color="#c4c8ce"; fontsize=9;'
    for number, entry in enumerate(legend(diagram)):
        if entry.kind in BOXES:
            look = ", ".join(_styled(BOXES[entry.kind]))
        elif entry.kind == "saved":
            look = 'shape=box, peripheries=2, color="#d55e00"'
        elif entry.kind == "result":
            look = "shape=box, penwidth=3"
        else:
            look = 'shape=plaintext, fontcolor="#8a3ffc"'
        yield f"    legend_{number} [label={quoted(entry.text)}, {look}, fontsize=9];"
    yield "  }"
