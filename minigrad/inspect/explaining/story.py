"""A computation as a story, in words, in Markdown and as a page."""

from __future__ import annotations

from typing import Any

from ..computation import read
from .page import as_html
from .saving import Shown
from .telling import Open, Telling
from .told import as_markdown, as_text


class Story(Telling, Shown):
    """What `explain` tells of a computed tensor. Printed it is text; in Jupyter it shows itself.

    `story.opened(0, -1)` tells other rounds of its loops; `story.computation` and `story.sweep` are what it tells of.
    """

    def __str__(self) -> str:
        return as_text(self)

    def __repr__(self) -> str:
        return f"<story of {self.title}; print it>"

    def markdown(self) -> str:
        """The story in Markdown, formulas in LaTeX between dollars."""
        return as_markdown(self)

    def html(self) -> str:
        """The story as a page of its own: every round of its loops, folded; formulas in MathML.

        Raises:
            ImportError: Jinja2 or latex2mathml is not installed.
        """
        return as_html(self)


def tell(result: Any, names: Any = None, gradient: Any = None, open: Open = False) -> Story:
    """The story of a computed tensor; see `explain`."""
    return Story(read(result, names, "explain"), gradient, open)
