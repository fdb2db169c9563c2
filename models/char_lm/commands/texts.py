"""Which text a command reads: one that is named, or the one that a run was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

from rich.console import Console
from typer import Option

from ...common.errors import UserError
from .. import streams
from ..checkpoint import Checkpoint
from ..text import Text, open_text

SPLITS = {"whole": "all of it", **streams.SPLITS}

Run = Annotated[Path, Option(help="Folder with a trained model, or a checkpoint in it.")]
Data = Annotated[
    Optional[list[Path]],
    Option(help="A text: a file, or a folder of *.txt; may repeat. Without it, the text the model was trained on."),
]
Corpus = Annotated[Optional[str], Option(help="A well-known text instead, downloaded once: tinyshakespeare, ...")]
Json = Annotated[bool, Option("--json", help="Print numbers as JSON.")]
Device = Annotated[str, Option(help='"cpu", or "cuda" for a GPU.')]


def warn(line: str) -> None:
    """Say what may mislead, aside from the output."""
    Console(stderr=True, highlight=False, emoji=False).print(f"warning: {line}", soft_wrap=True, markup=False)


def settings_of(found: Checkpoint) -> dict[str, Any]:
    """The options that a model was trained with, if its file says them."""
    settings = found.about.get("settings")
    return settings if isinstance(settings, dict) else {}


def text_for(
    found: Checkpoint, data: Sequence[Path] | None, corpus: str | None, unknown: str = "error"
) -> tuple[Text, bool]:
    """The text that is named, or else the one of the run; and whether the model was trained on it.

    Raises:
        UserError: nothing is named, and the model does not say what it was trained on.
    """
    settings, learned = settings_of(found), found.about.get("text") or {}
    own = not data and corpus is None
    if own:
        data, corpus = settings.get("data", ()), settings.get("corpus")
        if not learned or [str(path) for path in data] == ["-"]:
            raise UserError(
                "the model does not say where the text is that it was trained on; name a text with --data FILE or "
                "--corpus NAME"
            )
        if settings.get("min_count", 1) > 1:
            unknown = "replace"
    text = open_text([Path(path) for path in data or ()], corpus=corpus, vocabulary=found.model.vocabulary,
                     unknown=unknown, newline=settings.get("newline", "keep"))  # fmt: skip
    same = text.fingerprint == learned.get("fingerprint")
    if own and not same:
        warn(f"{text.source} has changed since the model was trained on it")
    return text, same


def judged(length: int, split: str) -> list[range]:
    """The places of the held-out pieces of a text of this length."""
    if split not in SPLITS:
        raise UserError(f"there is no split {split!r}; choose one of {', '.join(SPLITS)}")
    return [range(length)] if split == "whole" else list(streams.split(range(length), split).held_out)


def slices(ids: Any, places: Sequence[range]) -> list[Any]:
    """Pieces of a text."""
    return [ids[place.start : place.stop] for place in places]
