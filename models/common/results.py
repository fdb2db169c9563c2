"""What `compare` finds out: a file of results, and the table made of it, for the terminal and for models/README.md."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import minigrad as mg

from . import files
from .console import table
from .errors import UserError
from .training import Outcome

FILE = "results.json"


@dataclass(frozen=True)
class Figure:
    """A number by which models are judged."""

    title: str
    percent: bool = False  # it is a share, shown as a percentage
    goal: float | None = None  # what it should be at least

    def tell(self, value: float) -> str:
        return f"{100 * value:.2f}%" if self.percent else f"{value:z.3f}" if abs(value) < 100 else f"{value:,.1f}"


def fresh(program: str, device: str) -> dict[str, Any]:
    """A document without results, of this machine."""
    packages = ("scikit-learn", "Faker", "num2words")
    return {"program": program, "device": device, "machine": machine(packages), "variants": {}, "references": {}}


def machine(packages: Sequence[str] = ()) -> dict[str, Any]:
    """Where something is measured, on which day, with which versions."""
    from bench import record

    found = record.machine(threads=mg.get_num_threads(), packages=packages)
    return found | {"date": found["date"].partition("T")[0]}


def add(document: dict[str, Any], variant: str, command: str, seed: int, outcome: Outcome) -> None:
    """Add what came of a run."""
    of = document["variants"].setdefault(variant, {"command": command, "parameters": outcome.parameters, "runs": []})
    figures = {name: round(value, 6) for name, value in outcome.figures.items()}
    of["runs"].append({"seed": seed, "updates": outcome.updates, "seconds": outcome.seconds, "figures": figures})


def write(folder: Path, document: Mapping[str, Any]) -> None:
    """As JSON; of an experiment's rows each in a line.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    told = {"ensure_ascii": False, "allow_nan": False}
    text = json.dumps({name: value for name, value in document.items() if name != "rows"}, indent=1, **told)
    if "rows" in document:
        rows = ",\n".join(f"  {json.dumps(row, **told)}" for row in document["rows"])
        text = f'{text[:-2]},\n "rows": [\n{rows}\n ]\n}}'
    files.write_text(folder / FILE, text + "\n")


def read(path: Path) -> dict[str, Any]:
    """
    Raises:
        UserError: the file is spoilt.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} holds no results: {error}; measure them again") from error
    return document


def rows(document: Mapping[str, Any], figures: Mapping[str, Figure]) -> dict[str, dict[str, str]]:
    """By variants and references, by the titles of figures: a number for each seed."""
    found: dict[str, dict[str, str]] = {}
    for name, of in document["variants"].items():
        each = {f.title: " ".join(f.tell(run["figures"][key]) for run in of["runs"]) for key, f in figures.items()}
        slowest = max(run["seconds"] for run in of["runs"])
        found[name] = each | {"parameters": f"{of['parameters']:,}", "seconds of training at most": f"{slowest:.1f}"}
    for name, of in document["references"].items():
        found[name] = {f.title: f.tell(of[key]) for key, f in figures.items() if key in of}
    return found


def show(document: Mapping[str, Any], figures: Mapping[str, Figure]) -> None:
    """What was found, in the terminal."""
    for name, each in rows(document, figures).items():
        table(name, each)


def section(document: Mapping[str, Any], figures: Mapping[str, Figure]) -> str:
    """A table in Markdown, the commands, the machine."""
    from bench import report, tables

    found = rows(document, figures)
    columns = {title: title for each in found.values() for title in each}
    columns |= {f.title: f"{f.title} (at least {f.tell(f.goal)})" for f in figures.values() if f.goal is not None}
    title = f"What is held out, judged, on {document['device']}; a number for each seed"
    made = tables.make(title, ["", *columns.values()], [[n, *map(each.get, columns)] for n, each in found.items()])
    commands = "\n".join(of["command"] for of in document["variants"].values())
    machine = report.machine_in_words(document["machine"])
    return "\n\n".join([tables.markdown(made), f"```sh\n{commands}\n```", machine])


def marked(name: str) -> re.Pattern[str]:
    """Where the results of a program, or of an experiment, stand in a README."""
    return re.compile(rf"(<!-- results: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
