"""Writing what shows itself to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def save(shown: Any, path: str | Path) -> None:
    """Write what shows itself to a file, in the form that its name's end asks for."""
    forms = {".html": "html", ".md": "markdown", ".txt": "__str__"}
    form = forms.get(Path(path).suffix)
    if form is None:
        known = ", ".join(forms)
        raise ValueError(f"save: expected a file name that ends in one of {known}, got {str(path)!r}")
    Path(path).write_text(getattr(shown, form)() + "\n" * (form != "html"), encoding="utf-8")
