"""Options of the command line that several commands share, and lists written as "64,128"."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from typer import Option

from . import record

CELLS = ("rnn", "gru", "lstm")


class Sizes(tuple[int, ...]):
    """Positive whole numbers from text such as "64,128"."""

    def __new__(cls, text: str) -> Sizes:
        parts = str(text).split(",")
        if not all(part.strip().isdigit() and int(part) > 0 for part in parts):
            raise typer.BadParameter(f"expected positive whole numbers such as 64,128, got {text!r}")
        return super().__new__(cls, map(int, parts))


class Names(tuple[str, ...]):
    """Names from text such as "minigrad,torch"."""

    def __new__(cls, text: str) -> Names:
        return super().__new__(cls, (part.strip() for part in str(text).split(",")))


class TextFile(str):
    """A file, called by its name alone in what is kept; `path` is where it lies."""

    path: Path

    def __new__(cls, text: str) -> TextFile:
        path = Path(text)
        if not path.is_file():
            raise typer.BadParameter(f"there is no file {text}")
        found = super().__new__(cls, path.name)
        found.path = path
        return found


Show = Annotated[bool, Option("--show", help="Measure nothing: table and picture again from the JSON that is there.")]
Folder = Annotated[Optional[Path], Option(help="Where JSON and picture go; bench/results if not given.")]  # noqa: UP045
Threads = Annotated[int, Option(help="Threads of the matrix products, in every system.", min=1)]
Rounds = Annotated[int, Option(help="How often everything is measured, in turns.", min=1)]
Seconds = Annotated[float, Option(help="How long one block of steps shall take.", min=0)]
Device = Annotated[str, Option(help="Where it runs: cpu, cuda or cuda:1. Results of a GPU go to a file of their own.")]
THREADS = record.cores()


def sizes(help: str) -> Any:
    return Option(parser=Sizes, metavar="N,N...", help=help)


def names(known: Collection[str], kind: str = "system") -> Any:
    """An option that takes some of the names in `known`."""

    def chosen(text: str) -> Names:
        found = Names(text)
        for name in found:
            if name not in known:
                raise typer.BadParameter(f"there is no {kind} {name!r}; choose from {', '.join(known)}")
        return found

    return Option(parser=chosen, metavar="NAME,NAME...", help=f"Of {', '.join(known)}.")


def cells() -> Any:
    return names(CELLS, "cell")
