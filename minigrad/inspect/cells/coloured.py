"""A text, coloured by a number for each of its characters; and what a model guessed at each of them.

T: characters   V: symbols
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...backend import Array, cpu
from ..extras import extra
from ..page import LEVELS, LIGHT, css_class, filled, in_a_line, in_notebook, level_of, mixed, page, save, visible


@dataclass(frozen=True, eq=False, repr=False)
class Coloured:
    """A text whose characters have a background from blue (-scale) over neutral (0) to red (scale).

    It shows itself in a notebook, and in a terminal by rich: `rich.print(coloured)`.

    >>> from minigrad.inspect.cells.coloured import Coloured
    >>> print(Coloured(list("abc"), [0.5, -1.0, 0.0], title="cell 7"))
    cell 7: 3 characters, from -1 to 0.5
    """

    text: Sequence[str]
    values: Any  # (T,)
    title: str = ""
    scale: float = 1.0
    what: str = "value"
    about: str = ""
    start: int = 0  # where in the whole text it begins

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", cpu.asarray(self.values, dtype=float))
        if self.values.shape != (len(self.text),):
            raise ValueError(
                f"Coloured: expected a value for each of {len(self.text)} characters, got shape {self.values.shape}"
            )

    def levels(self) -> list[int | None]:
        """The colour of each character, from -20 to 20; None for NaN."""
        return [level_of(value, self.scale) for value in self.values.tolist()]

    def __str__(self) -> str:
        seen = self.values[cpu.isfinite(self.values)]
        across = f"from {seen.min():.3g} to {seen.max():.3g}" if len(seen) else "none of them finite"
        return f"{self.title or self.what}: {len(self.text):,} characters, {across}"

    __repr__ = __str__

    def html(self, headed: bool = True) -> str:
        """A piece of HTML, with or without its title."""
        characters = []
        for place, (symbol, value, level) in enumerate(
            zip(self.text, self.values.tolist(), self.levels(), strict=True)
        ):
            name = css_class(level) + {"\n": " nl", "\t": " tab"}.get(symbol, "")
            characters.append((name, f"{self.start + place:,}: {in_a_line(symbol)} {value:+.3f}", visible(symbol)))
        return filled(
            "coloured.html",
            title=self.title if headed else "",
            about=self.about,
            what=self.what,
            low=f"{-self.scale:g}",
            high=f"{self.scale:g}",
            levels=[css_class(level) for level in range(-LEVELS, LEVELS + 1, 2)],
            characters=characters,
        )

    def _repr_html_(self) -> str:
        return in_notebook(self.html())

    def save(self, path: str | Path) -> Path:
        """Write a page, path.html.

        Raises:
            ValueError: the file is named otherwise.
            ImportError: jinja2 is not installed.
        """
        return save(path, page(self.title or self.what, self.html(headed=False)))

    def __rich__(self) -> Any:
        line = extra("rich.text", "a coloured text in the terminal").Text()
        for symbol, level in zip(self.text, self.levels(), strict=True):
            shown = "↵\n" if symbol == "\n" else in_a_line(symbol) if symbol != " " else symbol
            line.append(shown, style="black on white" if level is None else f"#000000 on {mixed(LIGHT, level)}")
        return line


@dataclass(frozen=True, eq=False, repr=False)
class Guesses:
    """Under each character of a text, the likeliest symbols to come next, with their probabilities.

    Source: Karpathy 2015, "The Unreasonable Effectiveness of Recurrent Neural Networks".
    """

    text: Sequence[str]
    symbols: Sequence[str]
    numbers: Array  # (T, k): of the guesses, the likeliest first
    probabilities: Array  # (T, k)
    title: str = ""

    def __str__(self) -> str:
        hits, known = self._hits(), len(self.text) - 1
        among = f", {sum(map(any, hits)) / known:.0%} of what comes next is among them" if known > 0 else ""
        first = f" and {sum(hit[0] for hit in hits) / known:.0%} the first" if known > 0 else ""
        return f"{self.numbers.shape[1]} guesses at each of {len(self.text):,} characters{among}{first}"

    __repr__ = __str__

    def _hits(self) -> list[list[bool]]:
        """Which guesses came true; none at the last character."""
        following = [*self.text[1:], None]
        return [[self.symbols[n] == after for n in row] for row, after in zip(self.numbers, following, strict=True)]

    def _rows(self) -> list[list[tuple[int, float, str, bool]]]:
        """For each character its guesses: the colour, the probability, the symbol, and whether it came."""
        return [
            [(level_of(p, 1.0) or 0, p, self.symbols[n], hit) for n, p, hit in zip(*row, strict=True)]
            for row in zip(self.numbers.tolist(), self.probabilities.tolist(), self._hits(), strict=True)
        ]

    def html(self, headed: bool = True) -> str:
        """A piece of HTML, with or without its title."""
        lines: list[list[Any]] = [[]]
        for symbol, row in zip(self.text, self._rows(), strict=True):
            shown = [(css_class(n), f"{in_a_line(guess)} {p:.1%}", in_a_line(guess), hit) for n, p, guess, hit in row]
            lines[-1].append((in_a_line(symbol) if symbol != " " else " ", shown))
            if symbol == "\n":
                lines.append([])
        return filled(
            "guesses.html",
            title=(self.title or "Guesses") if headed else "",
            about=str(self),
            lines=[line for line in lines if line],
            levels=[css_class(level) for level in range(LEVELS + 1)],
        )

    def _repr_html_(self) -> str:
        return in_notebook(self.html())

    def save(self, path: str | Path) -> Path:
        """Write a page, path.html; errors as for `Coloured.save`."""
        return save(path, page(self.title or "Guesses", self.html(headed=False)))

    def __rich__(self) -> Any:
        return self.shown()

    def shown(self, width: int = 80) -> Any:
        """For a terminal, by rich: the text in lines of this width, and under each the guesses."""
        made = extra("rich.text", "guesses in the terminal").Text()
        rows = self._rows()
        for start in range(0, len(rows), width):
            made.append("".join(in_a_line(c) if c != " " else " " for c in self.text[start : start + width]), "bold")
            for rank in range(self.numbers.shape[1]):
                made.append("\n")
                for row in rows[start : start + width]:
                    level, _, guess, hit = row[rank]
                    underlined = " underline" if hit else ""
                    made.append(in_a_line(guess), f"#000000 on {mixed(LIGHT, level)}{underlined}")
            made.append("\n\n" if start + width < len(rows) else "")
        return made
