"""What `compare` finds out: a file of results, and the table made of it, for the terminal and for models/README.md."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import minigrad as mg

from . import files
from .console import console
from .training import Outcome

FILE = "results.json"


def fresh(program: str) -> dict[str, Any]:
    """A document without results, of this machine."""
    from bench import record

    machine = record.machine(threads=mg.get_num_threads(), packages=("scikit-learn", "Faker", "num2words"))
    machine["date"] = machine["date"].partition("T")[0]
    return {"program": program, "machine": machine, "variants": {}, "references": {}}


def add(document: dict[str, Any], variant: str, command: str, seed: int, outcome: Outcome) -> None:
    """Add what came of a run."""
    of = document["variants"].setdefault(variant, {"command": command, "parameters": outcome.parameters, "runs": []})
    figures = {name: round(value, 6) for name, value in outcome.figures.items()}
    of["runs"].append({"seed": seed, "updates": outcome.updates, "seconds": outcome.seconds, "figures": figures})


def write(folder: Path, document: Mapping[str, Any]) -> None:
    files.write_text(folder / FILE, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def made(document: Mapping[str, Any], figures: Mapping[str, Any]) -> Any:
    """A table of rich: a row for each variant and reference, a column for each figure, with a number for each seed."""
    from bench import tables

    rows = []
    for name, of in document["variants"].items():
        each = [" ".join(figure.tell(run["figures"][key]) for run in of["runs"]) for key, figure in figures.items()]
        slowest = max(run["seconds"] for run in of["runs"])
        rows.append([name, *each, f"{of['parameters']:,}", tables.digits(slowest)])
    for name, of in document["references"].items():
        each = [figure.tell(of[key]) if key in of else None for key, figure in figures.items()]
        rows.append([name, *each, None, None])
    columns = ["", *(_headed(figure) for figure in figures.values()), "parameters", "seconds at most"]
    return tables.make("Figures on what is held out, one for each seed", columns, rows)


def _headed(figure: Any) -> str:
    return figure.title if figure.goal is None else f"{figure.title} (at least {figure.tell(figure.goal)})"


def show(document: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
    """The table, in the terminal."""
    console.print(made(document, figures))


def section(document: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """The table in Markdown, the commands, the machine."""
    from bench import report, tables

    commands = "\n".join(of["command"] for of in document["variants"].values())
    return "\n\n".join(
        [
            tables.markdown(made(document, figures)),
            f"```sh\n{commands}\n```",
            report.machine_in_words(document["machine"]),
        ]
    )


def marked(program: str) -> re.Pattern[str]:
    """Where a program's results stand in models/README.md."""
    return re.compile(rf"(<!-- results: {program} -->\n).*?(<!-- end -->)", re.DOTALL)
