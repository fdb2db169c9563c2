"""Packages that bring the data of the small programs."""

from __future__ import annotations

import importlib
from typing import Any


def import_extra(module: str) -> Any:
    """A module of the extra `datasets`, imported when its data is needed.

    Raises:
        ImportError: it is not installed; the message says how.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{error}. The data of this program needs minigrad's extra: pip install -e '.[models,datasets]'"
        ) from error
