"""Simple features of a text, which a cell of a language model might follow.

Each is a function of a text, a sequence of T characters (or other symbols), and gives a value for every one of them,
which says how things stand once that character has been read: inside quotes from the opening mark on, and no longer
with the closing one. None looks ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

OPENING, CLOSING, BLANK = "([{", ")]}", " \t"


@dataclass(frozen=True)
class Feature:
    """Something that is true or false at each character of a text, or a number.

    A feature of one's own:

    >>> from minigrad.inspect.cells.features import Feature
    >>> vowel = Feature("vowel", "one of aeiou", lambda text: [c in "aeiou" for c in text])
    >>> vowel.of("hello")
    [False, True, False, False, True]
    """

    name: str
    about: str  # what it is, exactly
    of: Callable[[Sequence[str]], Sequence[Any]]
    number: bool = False  # a number at each character, instead of true or false


def inside_quotes(text: Sequence[str]) -> list[bool]:
    """Whether the number of \" since the last blank line is odd; three in a row do not count.

    >>> "".join("-x"[inside] for inside in inside_quotes('a "b" c'))
    '--xx---'
    """
    found, inside, run, before = [], False, 0, ""
    for character in text:
        run = run + 1 if character == '"' else 0
        if character == before == "\n":
            inside = False
        elif run and run != 3:  # the first two have cancelled out
            inside = not inside
        found.append(inside)
        before = character
    return found


def inside_docstring(text: Sequence[str]) -> list[bool]:
    """Between three \" in a row and the next three.

    >>> text = 'a = ' + 3 * '"' + 'b' + 3 * '"' + ' c'
    >>> "".join("-x"[inside] for inside in inside_docstring(text))
    '------xxxx---'
    """
    found, inside, run = [], False, 0
    for character in text:
        run = run % 3 + 1 if character == '"' else 0
        inside = inside != (run == 3)
        found.append(inside)
    return found


def inside_brackets(text: Sequence[str]) -> list[bool]:
    """Whether more of ( [ { than of ) ] } have come since the last blank line.

    >>> "".join("-x"[inside] for inside in inside_brackets("f(a[0]) )(b"))
    '-xxxxx---xx'
    """
    found, depth, before = [], 0, ""
    for character in text:
        if character == before == "\n":
            depth = 0
        elif character in OPENING:
            depth += 1
        elif character in CLOSING:
            depth = max(depth - 1, 0)
        found.append(depth > 0)
        before = character
    return found


def letters_into_word(text: Sequence[str]) -> list[int]:
    """Letters, digits and underscores since something else.

    >>> letters_into_word("a bcd, e")
    [1, 0, 1, 2, 3, 0, 0, 1]
    """
    found, count = [], 0
    for character in text:
        count = count + 1 if character.isalnum() or character == "_" else 0
        found.append(count)
    return found


def lines_so_far(text: Sequence[str]) -> Iterator[str]:
    """For each character its line up to it; "" at a new line."""
    line = ""
    for character in text:
        line = "" if character == "\n" else line + character
        yield line


def indentation(text: Sequence[str]) -> list[int]:
    """Blanks at the start of the line, as far as they have been read; a line keeps its number to the end.

    >>> indentation("if x:\\n  y")
    [0, 0, 0, 0, 0, 0, 1, 2, 2]
    """
    return [len(line) - len(line.lstrip(BLANK)) for line in lines_so_far(text)]


def inside_condition(text: Sequence[str]) -> list[bool]:
    """Between an if, elif or while that begins a line and the colon.

    >>> "".join("-x"[inside] for inside in inside_condition("if a: b"))
    '--xx---'
    """
    heads = ("if ", "elif ", "while ")
    return [line.lstrip(BLANK).startswith(heads) and ":" not in line for line in lines_so_far(text)]


def first_line(text: Sequence[str]) -> list[bool]:
    """In the first line after a blank one, its end not counted.

    >>> "".join("-x"[inside] for inside in first_line("a\\n\\nbc\\nd"))
    '---xx--'
    """
    found, inside, breaks = [], False, 0  # newlines in a row
    for character in text:
        inside = character != "\n" and (inside or breaks >= 2)
        breaks = breaks + 1 if character == "\n" else 0
        found.append(inside)
    return found


FEATURES = (
    Feature("inside quotes", 'an odd number of " since the last blank line', inside_quotes),
    Feature("inside a docstring", 'between three " in a row and the next three', inside_docstring),
    Feature("inside brackets", "more of ( [ { than of ) ] } since the last blank line", inside_brackets),
    Feature("inside a comment", "after a # in the line", lambda text: ["#" in line for line in lines_so_far(text)]),
    Feature("inside a condition", "between if, elif or while and the colon", inside_condition),
    Feature("inside a word", "after a letter, digit or _", lambda text: [n > 0 for n in letters_into_word(text)]),
    Feature("in the indentation", "nothing but blanks since the line began, and at least one",
            lambda text: [bool(line) and not line.strip(BLANK) for line in lines_so_far(text)]),
    Feature("after a newline", "the character is one", lambda text: [character == "\n" for character in text]),
    Feature("first line", "in the first line after a blank one", first_line),
    Feature("position in the line", "characters since the newline", lambda text: list(map(len, lines_so_far(text))),
            number=True),
    Feature("indentation", "blanks at the start of the line", indentation, number=True),
    Feature("letters into the word", "since something that is none", letters_into_word, number=True),
)  # fmt: skip
