"""Which text a command reads: one that is named, or the one that a run was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

from typer import Option

from ...common import streams
from ...common.console import warn
from ...common.errors import UserError
from ..checkpoint import Checkpoint
from ..settings import recorded
from ..text import Text, open_text

SPLITS = {"whole": "all of it", **streams.SPLITS}

Run = Annotated[Path, Option(help="Folder of a run, of which the best model is taken, or a checkpoint file.")]
Data = Annotated[
    Optional[list[Path]],
    Option(
        help="A text: a file, or a folder of *.txt and *.md; several: --data A --data B. Without it, the text "
        "the model was trained on."
    ),
]
Corpus = Annotated[Optional[str], Option(help="A well-known text instead, downloaded once: tinyshakespeare, ...")]
Json = Annotated[bool, Option("--json", help="Print numbers as JSON.")]


def settings_of(found: Checkpoint) -> dict[str, Any]:
    """The options that a model was trained with, if its file says them.

    Raises:
        UserError: it says what cannot be options.
    """
    return recorded(found.about).plain() if "settings" in found.about else {}


def text_for(
    found: Checkpoint, data: Sequence[Path] | None, corpus: str | None, unknown: str = "error"
) -> tuple[Text, bool]:
    """The text that is named, or else the one of the run; and whether the model was trained on it.

    Raises:
        UserError: nothing is named, and the model does not say what it was trained on.
    """
    settings, learned = settings_of(found), found.about.get("text")
    learned = learned if isinstance(learned, dict) else {}
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


def learned_text(
    found: Checkpoint | None, data: Sequence[Path] | None, corpus: str | None, split: str | None, unit: str = "char"
) -> tuple[Text, str]:
    """A text to learn from and the split that says of what: those of a run, as far as nothing else is named."""
    if found is None:
        return open_text([Path(path) for path in data or ()], corpus=corpus, unit=unit), split or "contiguous"
    text, same = text_for(found, data, corpus)
    return text, split or (same and settings_of(found).get("split")) or "contiguous"


def judged(length: int, split: str) -> list[range]:
    """The places of the held-out pieces of a text of this length."""
    if split not in SPLITS:
        raise UserError(f"there is no split {split!r}; choose one of {', '.join(SPLITS)}")
    return [range(length)] if split == "whole" else list(streams.split(range(length), split).held_out)


def slices(ids: Any, places: Sequence[range]) -> list[Any]:
    """Pieces of a text."""
    return [ids[place.start : place.stop] for place in places]
