"""What shows itself as text, as Markdown and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Final

FORMS: Final = {".html": "html", ".md": "markdown", ".txt": "__str__"}


class Shown:
    """The same in three forms, which can be written to a file; a notebook shows the Markdown."""

    def markdown(self) -> str:
        """In Markdown, formulas in LaTeX between dollars."""
        raise NotImplementedError

    def html(self) -> str:
        """As a page of its own, formulas in MathML.

        Raises:
            ImportError: Jinja2 or latex2mathml is not installed.
        """
        raise NotImplementedError

    def save(self, path: str | Path) -> None:
        """Write it to a file: a page if its name ends in .html, Markdown for .md, text for .txt.

        Raises:
            ValueError: the name ends otherwise.
        """
        form = FORMS.get(Path(path).suffix.lower())
        if form is None:
            known = ", ".join(FORMS)
            raise ValueError(f"save: expected a file name that ends in one of {known}, got {str(path)!r}")
        Path(path).write_text(getattr(self, form)() + "\n" * (form != "html"), encoding="utf-8")

    def _repr_markdown_(self) -> str:
        return self.markdown()
