"""Stories and sheets as pages: one HTML file each, formulas in MathML, which browsers draw by themselves."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any, Final

from ..extras import extra
from ..page import template
from .latex import latex
from .lines import Backward, Forward, Omitted, described, label
from .notation import text
from .telling import Event, Heading, Hidden, Loop, Round, Telling
from .told import hidden_title, loop_title

PURPOSE: Final = "explain(...).html()"
LETTER: Final = re.compile(r"<m[ino][^>]*>([^<]*)</m[ino]>")
UPRIGHT: Final = re.compile(
    r'<mi mathvariant="normal">[^<]*</mi>(?:<mo>&#x0002E;</mo>|<mn>[^<]*</mn>|<mi mathvariant="normal">[^<]*</mi>)+'
)
WHERE: Final = f",{latex.infix('where')}"
IN_FULL: Final = 100  # rounds of a loop that a page holds all of
MATHML: Final = 3  # rounds of a loop whose formulas are drawn; those of the others are text


def as_html(story: Telling) -> str:
    """A story as a page; of its loops every round, folded, up to a hundred."""
    found = template("story.html", PURPOSE)
    longest = max((part.times for part in story.parts if hasattr(part, "times")), default=0)
    every_round = longest <= IN_FULL
    forward, backward = list(_blocks(story.forward(every_round))), list(_blocks(story.backward(every_round)))
    page: str = found.render(
        title=story.title,
        numbers={
            way: {block["number"] for block in blocks if block["kind"] in ("forward", "backward")}
            for way, blocks in (("f", forward), ("b", backward))
        },
        given={
            kind: [(_drawn(latex.name(label(v))), described(v.array, v.shape)) for v in values]
            for kind, values in story.given.items()
        },
        forward=forward,
        backward=backward,
        seed=story.seed,
        result=_drawn(latex.name(label(story.computation.result))),
        glossary=story.glossary,
        leaves=[(_drawn(latex.name(label(leaf.value))), leaf.text, leaf.sum) for leaf in story.leaves],
    )
    return page


def sheet_as_html(sheet: Any) -> str:
    """A sheet as a page."""
    found = template("sheet.html", PURPOSE)
    parts = [(part.heading, [_row(row) for row in part.rows]) for part in sheet.parts]
    page: str = found.render(title=sheet.title, parts=parts)
    return page


def _row(row: Any) -> dict[str, Any]:
    is_formula = not isinstance(row.said, str)
    said = row.said if isinstance(row.said, str) else _drawn(row.said(latex))
    name = _drawn(latex.name(row.label)) if row.is_name else row.label
    return {"label": name, "is_name": row.is_name, "said": said, "is_formula": is_formula, "remark": row.remark}


@functools.lru_cache(maxsize=4096)
def _drawn(formula: str) -> Any:
    """A formula in LaTeX as MathML, which a template takes as it is; what its parts stand for is on a second line."""
    converter = extra("latex2mathml.converter", PURPOSE)
    markupsafe = extra("jinja2", PURPOSE).utils.markupsafe
    first, where, rest = formula.partition(WHERE)
    drawn = [UPRIGHT.sub(_one_word, converter.convert(part)) for part in ([first, rest] if where else [first])]
    return markupsafe.Markup('<br><span class="remark">where</span> '.join(drawn))


def _one_word(letters: re.Match[str]) -> str:
    """A name of many letters in one element, where the converter makes one for each."""
    return f'<mi mathvariant="normal">{"".join(LETTER.findall(letters[0]))}</mi>'


def _blocks(events: Iterator[Event]) -> Iterator[dict[str, Any]]:
    """What the template shows: headings, lines, and where loops and rounds begin and end."""
    drawn, told = True, 0
    in_round = False
    for event in events:
        if in_round and not isinstance(event, (Forward, Backward, Heading)):
            yield {"kind": "end round"}
            in_round = False
        if isinstance(event, Heading):
            yield {"kind": "heading", "path": event.path or "outside of modules", "depth": max(event.depth, 0)}
        elif isinstance(event, Loop):
            told = 0
            yield {"kind": "loop", "title": loop_title(event)}
        elif isinstance(event, Round):
            told += 1
            drawn, in_round = told <= MATHML or event.is_open, True
            yield {"kind": "round", "number": event.number, "times": event.times, "is_open": event.is_open}
        elif isinstance(event, Hidden):
            yield {"kind": "hidden", "title": hidden_title(event)}
        elif isinstance(event, Forward):
            yield _forward(event, drawn)
        elif isinstance(event, Backward):
            yield _backward(event, drawn)
        else:
            drawn = True
            yield {"kind": "end loop"}


def _forward(line: Forward, drawn: bool) -> dict[str, Any]:
    said = _drawn(line.said(latex)) if drawn else line.said(text)
    return {
        "kind": "forward",
        "number": line.number,
        "name": line.primitive.name,
        "said": said,
        "value": line.value,
        "note": line.note,
    }


def _backward(line: Backward, drawn: bool) -> dict[str, Any]:
    def name(letters: str) -> Any:
        return _drawn(latex.name(letters)) if drawn else letters

    received = [
        {"omitted": r.text}
        if isinstance(r, Omitted)
        else {
            "letter": name(r.letter),
            "value": name(label(r.value)),
            "gradient": r.text,
            "count": len(r.makers),
            "makers": list(dict.fromkeys(r.makers)),
        }
        for r in line.received
    ]
    sent = [
        {"omitted": s.text}
        if isinstance(s, Omitted)
        else {
            "value": name(label(s.value)),
            "said": _drawn(s.said(latex)) if drawn else s.said(text),
            "gradient": s.text,
        }
        for s in line.sent
    ]
    return {
        "kind": "backward",
        "number": line.number,
        "name": line.primitive.name,
        "received": received,
        "sent": sent,
    }
