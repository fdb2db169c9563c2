"""Which loss to expect: `python -m models.char_lm.table --data FILE --built-in`.

Trains every cell in a few sizes on each text and split, and the presets, and counts n-grams; keeps what came out in
models/results/, a file for each text, and writes the tables of models/README.md from these files alone. What is there
already is not run again, so that it can be broken off and gone on with.
"""

from __future__ import annotations

import fnmatch
import itertools
import json
import platform
import re
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

try:
    import typer
    from typer import Option

    from bench import record, report, tables
    from bench.options import Names, cells, names
    from minigrad import get_num_threads
except ImportError as error:
    raise SystemExit(f"{error}. This program needs minigrad's extras: pip install -e '.[models,bench]'") from error

from ..common import files, ngrams, streams
from ..common.console import clear_errors, in_units, say
from ..common.errors import UserError
from . import measured, text
from .checkpoint import GATES
from .corpora import CORPORA
from .settings import PRESETS, Settings

FOLDER, README = measured.ROOT / "models" / "results", measured.ROOT / "models" / "README.md"
MARKED = re.compile(r"(<!-- results: python -m models.char_lm.table -->\n).*?(<!-- end -->)", re.DOTALL)
TINYSHAKESPEARE = CORPORA["tinyshakespeare"].sha256  # TARGETS are about this text
SPEED = 1.5e11  # floating point operations per second, about those of two cores
ORDERS = 8


@dataclass(frozen=True)
class Item:
    """One thing to find out about a text: the options of a run, or n-grams."""

    data: Path | None
    split: str
    options: tuple[tuple[str, str], ...] = ()  # names and values; none: n-grams

    @property
    def words(self) -> list[str]:
        """What follows `train`."""
        return [word for name, value in (*self.options, ("split", self.split)) for word in (f"--{name}", value)]

    @property
    def name(self) -> str:
        """What it is called in the file of results: the command that others can type."""
        if self.options:
            return measured.command(self.words, self.data)
        of = f" --data {shlex.quote(self.data.name)}" if self.data else ""
        return f"python -m models.char_lm ngram{of} --split {self.split} --orders {ORDERS}"

    @property
    def file(self) -> str:
        return f"{self.data.stem if self.data else 'built-in'}.json"

    def seconds(self) -> float:
        """About how long it takes: 2 operations a weight forward and 4 backward; the input's product is a table's."""
        if not self.options:
            return 10.0
        given = dict(self.options)
        settings = Settings().plain() | PRESETS.get(given.get("preset", ""), {}) | given
        H, L = int(settings["hidden"]), int(settings["layers"])
        weights = GATES[settings["cell"]] * H * H * (2 * L - 1) + 100 * H
        return 6 * weights * int(settings["batch"]) * int(settings["seq"]) * int(settings["updates"]) / SPEED

    def run(self, learned: text.Text) -> dict[str, Any]:
        """Find it out."""
        if not self.options:
            parts = streams.split(learned.ids, self.split)
            found = ngrams.judge(parts.train, parts.held_out, len(learned.vocabulary), ORDERS)
            return {"split": self.split, "orders": [
                asdict(order) | {"nats": round(order.nats, 6), "seconds": round(order.seconds, 3)} for order in found
            ]}  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            records = measured.train(self.words, Path(folder), self.data)
        settings = next(record["settings"] for record in records if record["event"] == "start")
        kept = {name: settings[name] for name in ("cell", "layers", "hidden", "batch", "seq", "split")}
        return {"preset": dict(self.options).get("preset"), **kept, **measured.outcome(records)}


def planned(
    texts: Sequence[Path | None], cells: Sequence[str], shapes: Sequence[str], splits: Sequence[str],
    presets: Sequence[str], updates: int, batch: int, seq: int,
) -> list[Item]:  # fmt: skip
    """All there is to find out; the presets are trained on the contiguous split alone."""
    sizes = (("updates", str(updates)), ("batch", str(batch)), ("seq", str(seq)))
    items = []
    for data in texts:
        items += [Item(data, split) for split in splits]
        for shape, cell, split in itertools.product(shapes, cells, splits):
            layers, hidden = shape.split("x")
            items.append(Item(data, split, (("cell", cell), ("layers", layers), ("hidden", hidden), *sizes)))
        items += [Item(data, "contiguous", (("preset", preset),)) for preset in presets]
    return items


# The file of results ------------------------------------------------------------------------------


def read(path: Path) -> dict[str, Any]:
    """What is known about a text."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def keep(path: Path, item: Item, learned: text.Text, found: dict[str, Any]) -> None:
    """Add a result to those that are there, with the machine; the file is replaced as a whole."""
    name = item.data.name if item.data else f"the language reference inside Python {platform.python_version()}"
    about = {"name": name, "symbols": len(learned.ids), "distinct": len(learned.vocabulary)}
    fresh = {"text": about | {"sha256": learned.fingerprint}, "machines": [], "results": {}}
    document = read(path) if path.exists() else fresh
    machine = record.machine(threads=get_num_threads(), packages=())
    machine["date"] = machine["date"].partition("T")[0]
    if machine not in document["machines"]:
        document["machines"].append(machine)
    document["results"][item.name] = found | {"machine": document["machines"].index(machine)}
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


# The README ---------------------------------------------------------------------------------------


def rewritten(readme: str, folder: Path | None = None) -> str:
    """`readme` with what stands between its marks made anew."""
    files = sorted((FOLDER if folder is None else folder).glob("*.json"))
    parts = [section(read(path)) for path in files]
    absent = "There are no results yet: `python -m models.char_lm.table --data FILE --built-in` makes them."
    return MARKED.sub(lambda found: f"{found[1]}\n{chr(10).join(parts) or absent + chr(10)}\n{found[2]}", readme)


def section(document: dict[str, Any]) -> str:
    """The tables of a text, where and when they were made, and the commands."""
    about, results = document["text"], document["results"]
    runs = {name: found for name, found in results.items() if "orders" not in found}
    parts = [
        f"### {about['name']}",
        f"{about['symbols']:,} symbols, {about['distinct']} distinct, SHA-256 `{about['sha256'][:12]}`. "
        "Losses are nats per symbol of the whole held-out text, by the best weights; seconds are of training alone.",
        *(tables.markdown(made) for made in _tables(document)),
        *(report.machine_in_words(machine) for machine in document["machines"]),
    ]
    if runs:
        parts += ["<details><summary>The commands</summary>", "```sh\n" + "\n".join(runs) + "\n```", "</details>"]
    return "\n\n".join(parts) + "\n"


def _tables(document: dict[str, Any]) -> Iterator[Any]:
    found = document["results"].values()
    sizes: dict[tuple[Any, ...], dict[str, Any]] = {}
    for run in found:
        if "orders" not in run and run["preset"] is None:
            key = tuple(run[name] for name in ("cell", "layers", "hidden", "updates", "batch", "seq"))
            sizes.setdefault(key, {})[run["split"]] = run
    splits = [split for split in streams.SPLITS if any(split in by for by in sizes.values())]
    if sizes:
        lines = []
        ordered = sorted(sizes.items(), key=lambda item: (item[0][1:], GATES[item[0][0]]))
        for (cell, layers, hidden, updates, batch, seq), by in ordered:
            first = next(iter(by.values()))
            losses = [_nats(by[split]["nats"]) if split in by else None for split in splits]
            lines.append([cell, f"{layers} x {hidden}", f"{first['parameters']:,}", *losses, f"{updates:,}",
                          f"{batch} x {seq}", tables.digits(first["seconds"])])  # fmt: skip
        columns = ["cell", "layers x H", "parameters", *splits, "updates", "N x T", "seconds"]
        yield tables.make("Loss by cell, size and split", columns, lines)

    presets = [run for run in found if "orders" not in run and run["preset"] is not None]
    if presets:
        targets = measured.TARGETS if document["text"]["sha256"] == TINYSHAKESPEARE else ()
        lines = []
        for run in presets:
            times = [measured.reached(run["looks"], target) for target in targets]
            told = [at and f"{at[0]:,} updates, {tables.digits(at[1])} s" for at in times]
            every = run["looks"][0][0] if run["looks"] else None
            lines.append([run["preset"], f"{run['cell']} {run['layers']} x {run['hidden']}", f"{run['parameters']:,}",
                          _nats(run["nats"]), f"{run['updates']:,}", tables.digits(run["seconds"]),
                          *told, every])  # fmt: skip
        columns = ["preset", "model", "parameters", "contiguous", "updates", "seconds"]
        columns += [f"to {target:g}" for target in targets]
        yield tables.make("The presets, and how soon they reach a loss", [*columns, "updates between looks"], lines)

    counted = {run["split"]: {order["order"]: order for order in run["orders"]} for run in found if "orders" in run}
    if counted:
        columns = ["n", *counted, f"distinct n-grams ({next(iter(counted))})"]
        lines = [
            [n, *(_nats(by[n]["nats"]) for by in counted.values()), f"{next(iter(counted.values()))[n]['ngrams']:,}"]
            for n in next(iter(counted.values()))
        ]
        yield tables.make("Counting alone: character n-grams, interpolated", columns, lines)


def _nats(value: float) -> str:
    return f"{value:.3f}"


# The command line ---------------------------------------------------------------------------------


def main(
    data: Annotated[list[Path] | None, Option(help="A UTF-8 text, such as tinyshakespeare.txt; may repeat.")] = None,
    built_in: Annotated[bool, Option("--built-in", help="The language reference inside Python, too.")] = False,
    cell: Annotated[Names, cells()] = "rnn,gru,lstm",
    grid: Annotated[Names, Option(parser=Names, metavar="LxH,LxH...", help="Layers and hidden sizes.")]
    = "1x128,1x256,1x512,2x256",
    split: Annotated[Names, names(streams.SPLITS, "split")] = "contiguous,streams",
    preset: Annotated[Names, names((*PRESETS, "none"), "preset")] = "fast,best",
    updates: Annotated[int, Option(help="Of each run of the grid.", min=1)] = 1200,
    batch: Annotated[int, Option(help="Streams read side by side.", min=1)] = 32,
    seq: Annotated[int, Option(help="Symbols per chunk.", min=1)] = 64,
    only: Annotated[str, Option(help="Commands that contain this; * stands for anything.")] = "*",
    dry_run: Annotated[bool, Option("--dry-run", help="List the commands, and about how long they take.")] = False,
    folder: Annotated[Path | None, Option(help="Where the results go; models/results if not given.")] = None,
) -> None:  # fmt: skip
    """Find out which loss to expect, and write the tables of models/README.md. Run on a machine that does nothing else.

    Without a text, the tables are written from the results that are there.
    """
    with clear_errors():
        for shape in grid:
            if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", shape):
                raise UserError(f"expected layers x hidden size such as 1x256 in --grid, got {shape!r}")
        texts: list[Path | None] = [*(data or ()), *([None] if built_in else [])]
        chosen = [name for name in preset if name != "none"]
        items = planned(texts, cell, grid, split, chosen, updates, batch, seq)
        items = [item for item in items if fnmatch.fnmatchcase(item.name, f"*{only}*")]
        results = FOLDER if folder is None else folder
        opened: dict[Path | None, text.Text] = {}
        left = 0.0
        for number, item in enumerate(items, start=1):
            path = results / item.file
            known = read(path) if path.exists() else {"results": {}}
            if item.name in known["results"]:
                say(f"{number}/{len(items)} {item.name}: there already")
                continue
            left += item.seconds()
            if dry_run:
                say(f"{number}/{len(items)} {item.name}: about {item.seconds():,.0f} s")
                continue
            if item.data not in opened:
                opened = {item.data: text.open_text([item.data] if item.data else [])}
            learned = opened[item.data]
            if "text" in known and known["text"]["sha256"] != learned.fingerprint:
                raise UserError(f"{path} is about another text of that name; name another --folder, or rename the text")
            found = item.run(learned)
            keep(path, item, learned, found)
            say(f"{number}/{len(items)} {item.name}: {in_units(found.get('orders', [found])[-1]['nats'])}")
        if dry_run:
            say(f"about {left / 60:,.0f} minutes on two cores")
        elif folder is None:
            README.write_text(rewritten(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
