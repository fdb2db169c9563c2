"""`cache`: what is kept on disk to be quicker the next time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

from typer import Option

from ...common.console import clear_errors, say
from .. import corpora, ids, text


def cache(
    clear: Annotated[bool, Option("--clear", help="Remove them. They are made or fetched again when needed.")] = False,
    folder: Annotated[
        Optional[Path], Option(help="Where they are, instead of MINIGRAD_CACHE or the system's place.")
    ] = None,
) -> None:
    """Show, or remove, the numbered long texts and the corpora that are kept on disk."""
    with clear_errors():
        places = {text.texts_folder(folder): ids.kept, corpora.corpora_folder(folder): corpora.kept}
        for place, kept in places.items():
            files = [(path, path.stat().st_size) for path in kept(place)]
            say(f"{place}: {len(files)} files, {sum(size for _, size in files) / 1e6:,.1f} MB")
            for path, size in files:
                if clear:
                    path.unlink(missing_ok=True)
                say(f"  {path.name}  {size / 1e6:,.1f} MB{'  removed' if clear else ''}")
