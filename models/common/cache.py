"""The folder for what can be made or fetched again."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import UserError


def cache_folder(name: str, root: Path | None = None) -> Path:
    """The folder `name` in `root`, or in $MINIGRAD_CACHE, or where the system keeps such things for minigrad.

    It need not be there yet: `made` makes it.
    """
    if root is None and (own := os.environ.get("MINIGRAD_CACHE")):
        root = Path(own).expanduser()
    if root is None:
        import platformdirs

        root = platformdirs.user_cache_path("minigrad", appauthor=False)
    return root.absolute() / name


def made(folder: Path) -> Path:
    """The folder, made if there was none.

    Raises:
        UserError: it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the folder {folder} cannot be made: {error.strerror}. Name another place by the environment variable "
            "MINIGRAD_CACHE"
        ) from error
    return folder
