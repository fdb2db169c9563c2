"""Stories as text and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .latex import latex
from .lines import Backward, Forward, Omitted, described, label
from .marks import markdown_words
from .notation import text
from .telling import Event, Heading, Hidden, Loop, LoopEnd, Round, Telling

INDENT: Final = 17  # of what belongs to the line above
Line = str | tuple[str, str]  # a line, or a formula and the value beside it
WIDTH: Final = 66  # of the column of formulas; a longer one has its value on a line of its own

# Text -----------------------------------------------------------------------------------------------


def as_text(story: Telling) -> str:
    """The story for a terminal."""
    lines: list[Line] = [story.title, ""]
    for kind, values in story.given.items():
        lines.append(f"Given: {kind}")
        width = max(len(label(v)) for v in values)
        lines += [f"      {label(v):<{width}}  {described(v.array, v.shape)}" for v in values]
    lines += ["", "Forward", *_text_of(story.forward())]
    lines += ["", "Backward: g is the gradient that an operation receives for what it gave, → what it passes on"]
    lines += [f"      it begins with the gradient {story.seed} of {label(story.computation.result)}"]
    lines += _text_of(story.backward())
    if story.glossary:
        lines += ["", "Names in the formulas"]
        lines += [f"      {name}: {stated}" for name, stated in story.glossary.items()]
    lines += ["", "Gradients of the leaves, in the end"]
    width = max((len(label(leaf.value)) for leaf in story.leaves), default=0)
    for leaf in story.leaves:
        lines.append(f"      {label(leaf.value):<{width}}  {leaf.text}" + (f"  ({leaf.sum})" if leaf.sum else ""))
    left = max((len(line[0]) for line in lines if isinstance(line, tuple) and len(line[0]) <= WIDTH), default=0)
    return "\n".join(_laid_out(line, left) for line in lines)


def _laid_out(line: Line, left: int) -> str:
    """A line whose value stands in a column, below it if the formula is long."""
    if isinstance(line, str):
        return line.rstrip()
    formula, value = line
    if len(formula) <= left:
        return f"{formula:<{left}}  {value}".rstrip()
    first, where, rest = formula.partition(", where ")
    bar = "    │ " if formula.startswith("    │") else ""
    middle = [f"{bar:<{INDENT + 4 + len(bar) - len(bar[:4])}}where {rest}"] if where else []
    return "\n".join([first + "," * bool(where), *middle, f"{bar:<{left}}  {value}"])


def _text_of(events: Iterator[Event]) -> Iterator[Line]:
    bar = ""
    for event in events:
        if isinstance(event, Heading):
            indent = f"    {bar}" if bar else "  " + "  " * max(event.depth, 0)
            yield f"{indent}{event.path or '(outside of modules)'}"
        elif isinstance(event, Loop):
            yield f"      {loop_title(event)}"
            bar = "│ "
        elif isinstance(event, Round):
            yield f"    {bar}{round_title(event)}"
        elif isinstance(event, Hidden):
            yield f"    {bar}{hidden_title(event)} (open=True tells them)"
        elif isinstance(event, LoopEnd):
            bar = ""
        elif isinstance(event, Forward):
            yield from _forward_text(event, bar)
        else:
            yield from _backward_text(event, bar)


def _forward_text(line: Forward, bar: str) -> Iterator[Line]:
    yield f"    {bar}{line.number:>4}  {line.primitive.name:<10} {line.said(text)}", line.value
    if line.note:
        yield f"    {bar}{'':<{INDENT}}{line.note}"


def _backward_text(line: Backward, bar: str) -> Iterator[Line]:
    head = f"{line.number:>4}  {line.primitive.name:<10} "
    for received in line.received:
        if isinstance(received, Omitted):
            yield f"    {bar}{'':<{INDENT}}{received.text}"
            continue
        of = f"{received.letter} = ∂{label(received.value)}" + (f", {received.sum}" if received.sum else "")
        yield f"    {bar}{head}{of}", received.text
        head = " " * INDENT
    for sent in line.sent:
        if isinstance(sent, Omitted):
            yield f"    {bar}        {sent.text}"
        else:
            yield f"    {bar}        → {label(sent.value)}: {sent.said(text)}", sent.text


def loop_title(loop: Loop) -> str:
    """ "14 operations × 50, each round handing on v25 and v28 (their names in round 0)"."""
    if loop.backward:
        return f"{loop.length} operations × {loop.times}, the last round first"
    *others, last = [label(v) for v in loop.carried] or [""]
    handed = f"{', '.join(others)} and {last}" if others else last
    names = "their names" if others else "its name"
    opened = f", opened from {loop.inside}, as which they ran" if loop.inside else ""
    return f"{loop.length} operations × {loop.times}{opened}" + (
        f", each round handing on {handed} ({names} in round 0)" if handed else ""
    )


def round_title(event: Round) -> str:
    return f"round {event.number}"


def hidden_title(hidden: Hidden) -> str:
    if hidden.first == hidden.last:
        return f"… round {hidden.first} likewise"
    return f"… rounds {hidden.first} to {hidden.last} likewise"


# Markdown -------------------------------------------------------------------------------------------


def as_markdown(story: Telling) -> str:
    """The story for Jupyter and for anything that shows LaTeX between dollars."""
    lines = [f"## {markdown_words(story.title)}", ""]
    for kind, values in story.given.items():
        lines += [f"**Given: {kind}**", "", "| | |", "|---|---|"]
        lines += [f"| ${latex.name(label(v))}$ | {markdown_words(described(v.array, v.shape))} |" for v in values]
        lines.append("")
    lines += ["### Forward", "", *_markdown_of(story.forward())]
    lines += ["### Backward", "", "$g$ is the gradient that an operation receives for what it gave.", ""]
    result = latex.name(label(story.computation.result))
    lines += [f"It begins with the gradient {markdown_words(story.seed)} of ${result}$.", ""]
    lines += _markdown_of(story.backward())
    if story.glossary:
        lines += ["### Names in the formulas", ""]
        lines += [f"- {markdown_words(name)}: {markdown_words(stated)}" for name, stated in story.glossary.items()]
        lines.append("")
    lines += ["### Gradients of the leaves, in the end", "", "| leaf | gradient | |", "|---|---|---|"]
    lines += [f"| ${latex.name(label(e.value))}$ | {markdown_words(e.text)} | {e.sum} |" for e in story.leaves]
    return "\n".join(lines)


def _markdown_of(events: Iterator[Event]) -> Iterator[str]:
    head = ""  # the head of a table that is yet to be written
    for event in events:
        if isinstance(event, (Forward, Backward)):
            if not head:
                yield from ("", "| | | |", "|---|---|---|")
                head = "written"
            yield from _forward_row(event) if isinstance(event, Forward) else _backward_rows(event)
            continue
        head = ""
        yield ""
        if isinstance(event, Heading):
            yield f"{'#' * (4 + min(max(event.depth, 0), 2))} {markdown_words(event.path or 'outside of modules')}"
        elif isinstance(event, Loop):
            yield f"**{loop_title(event)}**"
        elif isinstance(event, Round):
            yield f"*{round_title(event)}*"
        elif isinstance(event, Hidden):
            yield f"*{hidden_title(event)}*"
    yield ""


def _forward_row(line: Forward) -> Iterator[str]:
    note = f"<br>{markdown_words(line.note)}" if line.note else ""
    yield f"| {line.number} | ${line.said(latex)}${note} | {markdown_words(line.value)} |"


def _backward_rows(line: Backward) -> Iterator[str]:
    number = f"{line.number} {line.primitive.name}"
    for received in line.received:
        if isinstance(received, Omitted):
            yield f"| | {received.text} | |"
            continue
        told = f"; {received.sum}" if received.sum else ""
        letter, value = latex.name(received.letter), latex.name(label(received.value))
        yield f"| {markdown_words(number)} | ${letter} = \\partial {value}${told} | {markdown_words(received.text)} |"
        number = ""
    for sent in line.sent:
        if isinstance(sent, Omitted):
            yield f"| | {sent.text} | |"
            continue
        target = latex.name(label(sent.value))
        yield f"| | $\\to {target}:\\quad {sent.said(latex)}$ | {markdown_words(sent.text)} |"
