"""Stories as text and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .latex import escaped, latex
from .lines import Backward, Forward, described, label
from .notation import text
from .story import Event, Heading, Hidden, Loop, LoopEnd, Round, Story

INDENT: Final = 17  # of what belongs to the line above
WIDTH: Final = 58  # of the column of formulas; a longer one has its value on a line of its own

# Text -----------------------------------------------------------------------------------------------


def as_text(story: Story) -> str:
    """The story for a terminal."""
    lines = [story.title, ""]
    for kind, values in story.given.items():
        lines.append(f"Given: {kind}")
        width = max(len(label(v)) for v in values)
        lines += [f"      {label(v):<{width}}  {described(v.array, v.shape)}" for v in values]
    lines += ["", "Forward", *_text_of(story.forward())]
    lines += ["", "Backward: g is the gradient that an operation receives for what it gave, → what it passes on"]
    lines += [f"      it begins with the gradient {story.seed} of {label(story.computation.result)}"]
    lines += _text_of(story.backward())
    lines += ["", "Gradients of the leaves, in the end"]
    width = max((len(label(leaf.value)) for leaf in story.leaves), default=0)
    for leaf in story.leaves:
        lines.append(f"      {label(leaf.value):<{width}}  {leaf.text}" + (f"  ({leaf.sum})" if leaf.sum else ""))
    return "\n".join(line.rstrip() for line in lines)


def _text_of(events: Iterator[Event]) -> Iterator[str]:
    bar = ""
    for event in events:
        if isinstance(event, Heading):
            yield f"  {'  ' * max(event.depth, 0)}{event.path or '(outside of modules)'}"
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


def _forward_text(line: Forward, bar: str) -> Iterator[str]:
    yield from _columns(f"{bar}{line.number:>4}  {line.primitive.name:<10} {line.said(text)}", line.value, bar)
    if line.note:
        yield f"    {bar}{'':<{INDENT}}{line.note}"


def _backward_text(line: Backward, bar: str) -> Iterator[str]:
    for k, received in enumerate(line.received[:3] if len(line.received) > 4 else line.received):
        head = f"{bar}{line.number:>4}  " if k == 0 else f"{bar}      "
        of = f"{received.letter} = ∂{label(received.value)}" + (f", {received.sum}" if received.sum else "")
        yield from _columns(f"{head}{line.primitive.name if k == 0 else '':<10} {of}", received.text, bar)
    if len(line.received) > 4:
        yield f"    {bar}      {'':<10} … and so on, {len(line.received)} in all"
    for sent in line.sent:
        yield from _columns(f"{bar}        → {label(sent.value)}: {sent.said(text)}", sent.text, bar)


def _columns(left: str, right: str, bar: str) -> Iterator[str]:
    if len(left) <= WIDTH + 4:
        yield f"    {left:<{WIDTH + 4}}  {right}"
        return
    formula, where, rest = left.partition(", where ")
    yield f"    {formula}{',' * bool(where)}"
    if where:
        yield f"    {bar}{'':<{INDENT}}where {rest}"
    yield f"    {bar:<{WIDTH + 4}}  {right}"


def loop_title(loop: Loop) -> str:
    carried = ", ".join(label(v) for v in loop.carried)
    handed = f"; each round hands on what in the first is {carried}" if carried else ""
    if loop.backward:
        return f"{loop.length} operations × {loop.times}, the last round first"
    return f"{loop.length} operations × {loop.times}{handed}"


def round_title(event: Round) -> str:
    return f"round {event.number}"


def hidden_title(hidden: Hidden) -> str:
    if hidden.first == hidden.last:
        return f"… round {hidden.first} likewise"
    return f"… rounds {hidden.first} to {hidden.last} likewise"


# Markdown -------------------------------------------------------------------------------------------


def as_markdown(story: Story) -> str:
    """The story for Jupyter and for anything that shows LaTeX between dollars."""
    lines = [f"## {_plain(story.title)}", ""]
    for kind, values in story.given.items():
        lines += [f"**Given: {kind}**", "", "| | |", "|---|---|"]
        lines += [f"| ${latex.name(label(v))}$ | {_plain(described(v.array, v.shape))} |" for v in values]
        lines.append("")
    lines += ["### Forward", "", *_markdown_of(story.forward())]
    lines += ["### Backward", "", "$g$ is the gradient that an operation receives for what it gave.", ""]
    result = latex.name(label(story.computation.result))
    lines += [f"It begins with the gradient {_plain(story.seed)} of ${result}$.", ""]
    lines += _markdown_of(story.backward())
    lines += ["### Gradients of the leaves, in the end", "", "| leaf | gradient | |", "|---|---|---|"]
    lines += [f"| ${latex.name(label(e.value))}$ | {_plain(e.text)} | {e.sum} |" for e in story.leaves]
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
            yield f"{'#' * (4 + min(max(event.depth, 0), 2))} {_plain(event.path or 'outside of modules')}"
        elif isinstance(event, Loop):
            yield f"**{loop_title(event)}**"
        elif isinstance(event, Round):
            yield f"*{round_title(event)}*"
        elif isinstance(event, Hidden):
            yield f"*{hidden_title(event)}*"
    yield ""


def _forward_row(line: Forward) -> Iterator[str]:
    note = f"<br>{_plain(line.note)}" if line.note else ""
    yield f"| {line.number} | ${_cell(line.said(latex))}${note} | {_plain(line.value)} |"


def _backward_rows(line: Backward) -> Iterator[str]:
    for k, received in enumerate(line.received):
        number = f"{line.number} {line.primitive.name}" if k == 0 else ""
        told = f"; {received.sum}" if received.sum else ""
        letter, value = latex.name(received.letter), latex.name(label(received.value))
        yield f"| {_plain(number)} | ${letter} = \\partial {value}${told} | {_plain(received.text)} |"
    for sent in line.sent:
        target = latex.name(label(sent.value))
        yield f"| | $\\to {target}:\\quad {_cell(sent.said(latex))}$ | {_plain(sent.text)} |"


def _plain(words: str) -> str:
    """Words in which Markdown sees no markup."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|$" else c for c in words)


def _cell(formula: str) -> str:
    """LaTeX in a table's cell."""
    return formula.replace("|", r"\vert ")


__all__ = ["as_markdown", "as_text", "escaped"]
