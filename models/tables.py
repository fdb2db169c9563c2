"""The tables of what was measured, in models/README.md and the pages beside it: `python -m models.tables`.

They are made of models/results: of small programs, from `python -m models.NAME compare --out models/results/NAME`,
and of experiments, from `python -m models.NAME EXPERIMENT --out models/results/NAME/EXPERIMENT`, on a machine that did
nothing else. An experiment may have been made in parts, each in a folder inside that one; its pictures are drawn anew.
"""

from __future__ import annotations

import importlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .common import results
from .common.experiments import Experiment, path, section

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
README = FOLDER / "README.md"
PAGES = (README, *sorted(FOLDER.glob("*/README.md")))


def rewritten(page: str) -> str:
    """`page` with what stands between its marks made anew."""
    made = {}
    for file in sorted(RESULTS.glob(f"*/{results.FILE}")):
        document = results.read(file)
        if "variants" in document:
            program = importlib.import_module(f"models.{document['program']}.program").PROGRAM
            made[program.name] = results.section(document, program.figures)
    made |= {name: section(documents, experiment) for name, _, experiment, documents in experiments()}
    for name, text in made.items():
        page = results.marked(name).sub(lambda found, text=text: f"{found[1]}\n{text}\n\n{found[2]}", page)
    return page


def experiments() -> Iterator[tuple[str, Path, Experiment, list[dict[str, Any]]]]:
    """Of each experiment that was made its name in the marks, its folder, itself, and what its runs found."""
    files = sorted(RESULTS.rglob(results.FILE), key=_naturally)
    documents = [document for file in files if "rows" in (document := results.read(file))]
    for (program, name), group in itertools.groupby(documents, lambda d: (d["program"], d["experiment"])):
        found = importlib.import_module(f"models.{program}.program").EXPERIMENTS
        experiment = {each.name: each for each in found}[name]
        called = path(program, experiment)
        yield " ".join(called), RESULTS.joinpath(*called), experiment, list(group)


def _naturally(file: Path) -> list[tuple[int, str]]:
    """What to sort by: numbers by their size."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(file))]


if __name__ == "__main__":
    for _, folder, experiment, documents in experiments():
        experiment.draw([row for document in documents for row in document["rows"]], folder)
    for page in PAGES:
        page.write_text(rewritten(page.read_text(encoding="utf-8")), encoding="utf-8")
