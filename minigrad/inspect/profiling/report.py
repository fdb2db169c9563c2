"""A profile as text: tables whose columns are left out where nothing happened, and a curve in one line."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Final

from ..extras import extra
from .events import FORWARD
from .growth import Sample
from .spans import OUTSIDE, Row, totals

BARS: Final = "▁▂▃▄▅▆▇█"
WIDTH: Final = 48  # characters of a curve


def milliseconds(seconds: float) -> str:
    """Three digits, as far as they mean something."""
    ms = seconds * 1000
    return "" if not ms else f"{ms:,.0f} ms" if ms >= 100 else f"{ms:.1f} ms" if ms >= 10 else f"{ms:.2f} ms"


def size(count: float) -> str:
    """Bytes in the unit that suits them."""
    if count < 1000:
        return f"{count:.0f} B" if count else ""
    for unit in ("kB", "MB", "GB", "TB"):
        count /= 1000
        if count < 999.5 or unit == "TB":
            return f"{count:.0f} {unit}" if count >= 99.95 else f"{count:.1f} {unit}"
    raise AssertionError


def number(count: int) -> str:
    return f"{count:,}" if count else ""


COLUMNS: Final[list[tuple[str, Callable[[Row], str]]]] = [
    ("calls", lambda row: number(row.calls)),
    ("backward calls", lambda row: number(row.backward_calls)),
    ("forward", lambda row: milliseconds(row.forward)),
    ("backward", lambda row: milliseconds(row.backward)),
    ("device", lambda row: milliseconds(row.device)),
    ("bytes made", lambda row: size(row.bytes)),
    ("kernels", lambda row: number(row.launches)),
    ("copies", lambda row: number(row.copies)),
    ("waits", lambda row: number(row.waits)),
]

HEADS: Final = {"operation": "operation", "module": "module, with all in it"}


class Table:
    """Rows, which print as a table.

    Attributes:
        by: "operation" or "module".
        rows: what each has taken; a number in each of `calls`, `backward_calls`, `forward`, `backward` and `device`
            (seconds), `bytes`, `launches`, `copies`, `waits`; and `name`, `depth`.
        seconds: how long the profile took.
    """

    def __init__(self, by: str, rows: Sequence[Row], seconds: float, sums: Sequence[Row]) -> None:
        self.by, self.rows, self.seconds, self.sums = by, list(rows), seconds, list(sums)

    def cells(self) -> tuple[list[str], list[list[str]], int]:
        """The heads of the columns, the lines, and how many of these are sums."""
        rows = [*self.rows, *self.sums]
        columns = [(head, show) for head, show in COLUMNS if any(show(row) for row in rows)]
        share = ("share", lambda row: f"{row.seconds / self.seconds:.1%}" if row.seconds and self.seconds else "")
        columns.insert(sum(head in ("calls", "backward calls", "forward", "backward") for head, _ in columns), share)
        heads = [HEADS[self.by], *(head for head, _ in columns)]
        lines = [["  " * row.depth + row.name, *(show(row) for _, show in columns)] for row in rows]
        return heads, lines, len(self.sums)

    def __str__(self) -> str:
        if not self.rows:
            return f"no {self.by} has run"
        heads, lines, sums = self.cells()
        widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]

        def line(cells: Sequence[str]) -> str:
            first, *rest = zip(cells, widths, strict=True)
            return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]).rstrip()

        rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
        above = [line(cells) for cells in lines[: len(lines) - sums]]
        below = [rule, *(line(cells) for cells in lines[len(lines) - sums :])] if sums else []
        return "\n".join([line(heads), rule, *above, *below])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        if not self.rows:
            return f"<p>{self}</p>"
        heads, lines, _ = self.cells()

        def row(cells: Sequence[str], tag: str) -> str:
            sides = ["left", *["right"] * (len(cells) - 1)]
            told = [
                f'<{tag} style="text-align: {side}; white-space: pre">{html.escape(cell)}</{tag}>'
                for side, cell in zip(sides, cells, strict=True)
            ]
            return f"<tr>{''.join(told)}</tr>"

        return f"<table>{row(heads, 'th')}{''.join(row(cells, 'td') for cells in lines)}</table>"


def operation_table(rows: Sequence[Row], seconds: float) -> Table:
    """Operations first, then what is none; and last how much of the block that is."""
    operations = [row for row in rows if row.kind is FORWARD]
    others = [row for row in rows if row.kind is not FORWARD and row.name != OUTSIDE]
    rest = next((row for row in rows if row.name == OUTSIDE), Row(OUTSIDE, kind=OUTSIDE))
    rest.forward = max(seconds - sum(row.seconds for row in [*operations, *others]), 0.0)
    whole = totals([*operations, *others, rest], "in all")
    whole.calls, whole.backward_calls = sum(r.calls for r in operations), sum(r.backward_calls for r in operations)
    return Table("operation", [*operations, *others, rest], seconds, [whole])


def module_table(rows: Sequence[Row], seconds: float) -> Table:
    return Table("module", rows, seconds, [])


def memory_report(samples: Sequence[Sample]) -> str:
    """How large the graph was, as two curves."""
    if not any(sample.nodes for sample in samples):
        return ""
    lines = ["the graph, from beginning to end"]
    for name, key, show in (("nodes alive", "nodes", number), ("kept for the backward pass", "kept", size)):
        values = [getattr(sample, key) for sample in samples]
        shown = f"at most {show(max(values)) or '0'}, {show(values[-1]) or '0'} at the end"
        lines.append(f"{name:<26}  {curve([s.time for s in samples], values)}  {shown}")
    return "\n".join(lines)


def curve(times: Sequence[float], values: Sequence[float], width: int = WIDTH) -> str:
    """Values over time, as bars: the largest of each stretch of time; where none was taken, the last before it."""
    first, last, top = times[0], times[-1], max(values)
    if not top:
        return BARS[0] * width
    found: list[float | None] = [None] * width
    for time, value in zip(times, values, strict=True):
        k = min(int((time - first) / ((last - first) or 1) * width), width - 1)
        found[k] = max(found[k] or 0, value)
    bars, height = [], values[0]
    for highest in found:
        height = height if highest is None else highest
        bars.append(BARS[round(height / top * (len(BARS) - 1))])
    return "".join(bars)


def as_html(parts: Sequence[str | Table]) -> str:
    """A report for a notebook."""
    return "".join(
        part._repr_html_() if isinstance(part, Table) else f"<pre>{html.escape(part)}</pre>" for part in parts
    )


def shown_by_rich(parts: Sequence[str | Table]) -> None:
    """Print a report, its tables by the package rich."""
    rich = extra("rich", "profile.show()")
    console, box = rich.get_console(), extra("rich.box", "profile.show()")
    for part in parts:
        if isinstance(part, str) or not part.rows:
            console.print(part, markup=False, highlight=False)
            continue
        heads, lines, sums = part.cells()
        made = extra("rich.table", "profile.show()").Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for k, (head, *cells) in enumerate(zip(heads, *lines, strict=True)):
            whole = (
                cells if k else [word for cell in cells for word in cell.split()]
            )  # names may be broken, not numbers
            longest = max(map(len, [*head.split(), *whole]))
            made.add_column(head, justify="right" if k else "left", min_width=longest)
        last = len(lines) - sums
        for k, cells in enumerate(lines):
            made.add_row(*cells, end_section=k == last - 1, style="bold" if k >= last else None)
        console.print(made)
