"""Libraries that an instrument needs, and `import minigrad` does not."""

from __future__ import annotations

import importlib
from typing import Any, Final

PACKAGES: Final = {"jinja2": "Jinja2", "latex2mathml": "latex2mathml", "matplotlib": "matplotlib", "rich": "rich"}


def extra(module: str, purpose: str) -> Any:
    """The module of a library, for a purpose that a message can name.

    Raises:
        ImportError: it is not installed; the message says what to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        if (error.name or "").partition(".")[0] != library:
            raise
        package = PACKAGES[library]
        raise ImportError(
            f"{purpose} needs the package {package}: pip install {package}, or minigrad's extra inspect, which has all "
            f"that the instruments use: {', '.join(PACKAGES.values())}"
        ) from None
