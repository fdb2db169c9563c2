"""The tables of the small programs in models/README.md, made of models/results/NAME: `python -m models.tables`.

What is there comes from `python -m models.NAME compare --out models/results/NAME`, on a machine that did nothing else.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from .common import results

FOLDER = Path(__file__).parent
README = FOLDER / "README.md"


def rewritten(readme: str) -> str:
    """`readme` with what stands between its marks made anew."""
    for path in sorted((FOLDER / "results").glob(f"*/{results.FILE}")):
        document = results.read(path)
        program = importlib.import_module(f"models.{document['program']}.program").PROGRAM
        made = f"\n{results.section(document, program.figures)}\n\n"
        readme = results.marked(program.name).sub(lambda found, made=made: found[1] + made + found[2], readme)
    return readme


if __name__ == "__main__":
    README.write_text(rewritten(README.read_text(encoding="utf-8")), encoding="utf-8")
