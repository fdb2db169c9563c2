"""Pages: self-contained HTML, from the templates in pages/; and the colours of those about texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .extras import extra

FOLDER = Path(__file__).parent / "pages"
LEVELS = 20  # of each colour, from neutral to full
LIGHT = ((76, 140, 224), (255, 255, 255), (236, 104, 88))  # blue, neutral, red: black text is read on all of them
DARK = ((38, 92, 178), (27, 27, 31), (172, 50, 42))  # and white text on these

PICTURES = {  # by code point
    **{c: 0x2400 + c for c in range(32) if chr(c) not in "\n\t"},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),  # a terminal may obey these
    **dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD),  # and these turn the line around
    **dict.fromkeys(range(0xD800, 0xE000), 0xFFFD),  # halves of a pair, which no file can hold
}


def mixed(ends: tuple[tuple[int, int, int], ...], level: int) -> str:
    """The colour of a level from -LEVELS, the first one, over 0, the middle one, to LEVELS, the last.

    >>> mixed(LIGHT, 0), mixed(LIGHT, -20)
    ('#ffffff', '#4c8ce0')
    """
    end, share = ends[0] if level < 0 else ends[2], abs(level) / LEVELS
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(ends[1], end, strict=True))


def level_of(value: float, scale: float) -> int | None:
    """Which colour a value has if `scale` has the full one; None for NaN.

    >>> level_of(0.5, 1.0), level_of(-3.0, 1.0), level_of(0.01, 1.0), level_of(float("nan"), 1.0)
    (10, -20, 0, None)
    """
    if value != value:
        return None
    return max(-LEVELS, min(LEVELS, round(LEVELS * max(-1.0, min(1.0, value / scale if scale else 0.0)))))


def visible(symbol: str) -> str:
    r"""A symbol as a page, or a terminal, can hold it: control characters by their pictures, what has none as U+FFFD.

    >>> visible("a"), visible("\x1b"), visible("\u202e"), visible("\n") == "\n"
    ('a', '␛', '\ufffd', True)
    """
    return symbol.translate(PICTURES)


def in_a_line(symbol: str) -> str:
    r"""A symbol in one line: ↵ and ⇥ for a newline and a tab, ␣ for a space alone.

    >>> in_a_line("\n"), in_a_line(" "), in_a_line("x")
    ('↵', '␣', 'x')
    """
    return visible(symbol).replace("\n", "↵").replace("\t", "⇥") if symbol != " " else "␣"


def template(name: str, purpose: str = "a page") -> Any:
    """A template in pages/; what is put into it is escaped.

    Raises:
        ImportError: Jinja2 is not installed, which the purpose needs.
    """
    jinja2 = extra("jinja2", purpose)
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
    )  # fmt: skip
    made.globals |= {"in_a_line": in_a_line, "visible": visible}
    return made.get_template(name)


def filled(name: str, **values: Any) -> str:
    """A template in pages/ with its values: a piece of HTML."""
    made: str = template(name).render(**values)
    return made


def page(title: str, *pieces: str) -> str:
    """A whole page from pieces of HTML."""
    return filled("page.html", title=title, style=style(), pieces=pieces)


def in_notebook(*pieces: str) -> str:
    """What a notebook shows: pieces of HTML, with their style."""
    return "".join([style(), *pieces])


def style() -> str:
    """What all pieces look like, light and dark, and do: the colours of the levels among it."""

    def colours(ends: tuple[tuple[int, int, int], ...]) -> list[tuple[str, str]]:
        return [(css_class(level), mixed(ends, level)) for level in range(-LEVELS, LEVELS + 1)]

    return filled("style.html", light=colours(LIGHT), dark=colours(DARK))


def css_class(level: int | None) -> str:
    """The class of a level: b20 to b1, n, r1 to r20; x for NaN."""
    if level is None:
        return "x"
    return "n" if not level else f"{'b' if level < 0 else 'r'}{abs(level)}"


def save(path: Any, html: str) -> Path:
    """Write a page.

    Raises:
        ValueError: the suffix is not .html.
    """
    file = Path(path)
    if file.suffix != ".html":
        raise ValueError(f"expected a file named .html, got {file.name!r}")
    file.write_text(html, encoding="utf-8", newline="\n")
    return file
