"""A sheet: what is said of one thing, in rows of a label and a formula or a few words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .latex import latex
from .marks import markdown_words
from .notation import Text, text
from .page import sheet_as_html
from .saving import Shown

Said = str | Callable[[Text], str]  # words, or a formula in a notation


@dataclass(frozen=True)
class Row:
    label: str
    said: Said
    remark: str = ""
    is_name: bool = False  # whether the label is a name in formulas

    def text(self) -> str:
        return self.said if isinstance(self.said, str) else self.said(text)


@dataclass(frozen=True)
class Part:
    heading: str
    rows: tuple[Row, ...]


class Sheet(Shown):
    """What `explain` says of a primitive or of a module. Printed it is text; in Jupyter it shows itself."""

    def __init__(self, title: str, parts: list[Part]) -> None:
        self.title, self.parts = title, parts

    def __str__(self) -> str:
        lines = [self.title]
        for part in self.parts:
            width = max((len(row.label) for row in part.rows), default=0)
            lines += ["", f"  {part.heading}"] if part.heading else []
            for row in part.rows:
                first, *others = row.text().splitlines() or [""]
                remark = f"      ({row.remark})" if row.remark else ""
                lines.append(f"    {row.label:<{width}}  {first}{remark}" if width else f"    {first}{remark}")
                lines += [f"    {'':<{width}}  {line}" for line in others]
        return "\n".join(line.rstrip() for line in lines)

    def __repr__(self) -> str:
        return f"<{self.title}; print it>"

    def markdown(self) -> str:
        """The same in Markdown, formulas in LaTeX between dollars."""
        lines = [f"## {markdown_words(self.title)}"]
        for part in self.parts:
            lines += ["", f"### {markdown_words(part.heading)}"] if part.heading else []
            lines.append("")
            for row in part.rows:
                name = f"${latex.name(row.label)}$" if row.is_name else f"**{markdown_words(row.label)}**"
                label = f"{name}: " if row.label else ""
                said = markdown_words(row.said) if isinstance(row.said, str) else f"${row.said(latex)}$"
                lines.append(f"- {label}{said}" + (f" ({markdown_words(row.remark)})" if row.remark else ""))
        return "\n".join(lines)

    def html(self) -> str:
        """The same as a page of its own, formulas in MathML.

        Raises:
            ImportError: Jinja2 or latex2mathml is not installed.
        """
        return sheet_as_html(self)
