"""The folder of a run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from .errors import UserError

LOG, OPTIONS, CURVE = "log.jsonl", "options.toml", "loss.png"


def make(folder: Path) -> None:
    """See that the folder can be written to: nothing must be in the way once a model is trained.

    Raises:
        UserError: it cannot be made, or not be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"nothing can be saved in {folder}: {error.strerror}; name another folder with --out"
        ) from error


def refuse_another(folder: Path, written: Iterable[str], *, overwrite: bool, instead: str = "") -> None:
    """Nothing is written over unless that is asked for.

    Args:
        written: the names of what a run leaves in its folder.
        instead: what else one can do with the run that is there.

    Raises:
        UserError: there is some of it.
    """
    there = [name for name in written if (folder / name).exists()]
    if there and not overwrite:
        raise UserError(
            f"{folder} holds a run already ({there[0]}): {instead}name another folder with --out, or replace it with "
            "--overwrite"
        )
