"""`cache`: what is kept on disk to be quicker the next time."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from ...common.console import clear_errors, say
from .. import corpora, ids, text


def cache(
    clear: Annotated[bool, Option("--clear", help="Remove them. They are made or fetched again when needed.")] = False,
) -> None:
    """Show, or remove, the numbers of long texts and the corpora that are kept on disk.

    They are in the folder that the environment variable MINIGRAD_CACHE names, or where the system keeps such things.
    """
    with clear_errors():
        places = {text.texts_folder(): ids.kept, corpora.corpora_folder(): corpora.kept}
        for place, kept in places.items():
            files = [(path, path.stat().st_size) for path in kept(place)]
            total = sum(size for _, size in files)
            say(f"{place}: {len(files)} file{'' if len(files) == 1 else 's'}, {total / 1e6:,.1f} MB")
            for path, size in files:
                if clear:
                    path.unlink(missing_ok=True)
                say(f"  {path.name}  {size / 1e6:,.1f} MB{'  removed' if clear else ''}")
