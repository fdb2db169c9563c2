"""What the pages in models/ say, for the tests that hold them to what was measured."""

from models import tables

LABORATORY = tables.FOLDER / "gradients" / "README.md"


def told(*texts: str) -> None:
    """That the page of the gradients says so, wherever its lines break."""
    page = " ".join(LABORATORY.read_text(encoding="utf-8").split())
    for text in texts:
        assert text in page, text
