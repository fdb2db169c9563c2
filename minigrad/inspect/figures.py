"""Pictures by matplotlib: their colours, and writing them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from .extras import extra

FORMATS: Final = (".png", ".svg", ".pdf")
COLOURS: Final = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
)  # told apart by the colour-blind too


def check_format(path: str | Path | None, *others: str) -> None:
    """Raise unless matplotlib can write it, and the name says what; `others` are named in the message as well."""
    if path is not None and Path(path).suffix not in FORMATS:
        raise ValueError(f"expected a file named {', '.join([*FORMATS, *others])}, got {Path(path).name!r}")


def save_figure(figure: Any, path: str | Path) -> None:
    """Write a picture; the same one twice has the same bytes."""
    suffix = Path(path).suffix[1:]
    unsaid: dict[str, Any] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[suffix]
    with extra("matplotlib", "a picture").rc_context({"svg.hashsalt": "minigrad"}):
        figure.savefig(path, format=suffix, dpi=110, metadata=unsaid)
