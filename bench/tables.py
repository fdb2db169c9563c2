"""Tables: the same one for the terminal (rich) and for the README (Markdown)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

MISSING = "–"  # what was not measured
NUMBER = re.compile(r"–|[-+]?[\d.,]+[×%]?( ±[\d.,]+)?")


def make(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A table of `rows`; None is shown as a dash, text to the left, numbers to the right.

    A number is shown as it is: round it with `digits` before.
    """
    table = Table(title=title, title_justify="left", min_width=min(len(title), 100))
    texts = [[MISSING if cell is None else str(cell) for cell in row] for row in rows]
    for number, column in enumerate(columns):
        numeric = all(NUMBER.fullmatch(row[number]) for row in texts)
        table.add_column(column, justify="right" if numeric else "left")
    for row in texts:
        table.add_row(*map(Text, row))  # as it is, brackets and all
    return table


def markdown(table: Table) -> str:
    """`table` as it stands in a README, its title in front."""
    heads = [str(column.header) for column in table.columns]
    rules = ["--:" if column.justify == "right" else "---" for column in table.columns]
    rows = zip(*(column.cells for column in table.columns), strict=True)
    safe = [[" ".join(str(cell).replace("|", r"\|").split()) for cell in row] for row in rows]
    lines = ["| " + " | ".join(cells) + " |" for cells in (heads, rules, *safe)]
    return "\n".join([f"{table.title}:", "", *lines])


def digits(value: float | None, significant: int = 3) -> str | None:
    """`value` to some significant digits, thousands apart, never in powers of ten; None stays None.

    >>> digits(12345.6), digits(0.01234567), digits(2.0), digits(None)
    ('12,346', '0.0123', '2.00', None)
    """
    if value is None:
        return None
    size = len(f"{abs(value):.0f}") if abs(value) >= 1 else int(f"{value:e}".partition("e")[2]) + 1
    return f"{value:,.{max(0, significant - size)}f}"
