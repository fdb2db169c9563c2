"""What is read off the results of `device`: targets, tables, one picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from . import crossover, memory, overhead, peers, pictures, sample, tables, writers
from .gpu_tests import OUTCOMES

CELLS, AT = ("lstm", "gru", "rnn"), {"layers": 1, "hidden": 512, "batch": 64, "length": 64}
NAMES = 4  # of what is missing that a table names
TESTS = 40  # of those that did not pass that a table shows
LOOP, CUDNN, HIDDEN = 3.0, 1.5, 128  # the targets
NOT_MEASURED = "not measured"


def parts_of(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["part"]: row for row in document["rows"]}


def rows_of(document: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The rows of a part and of those that have more of the same: "peers", "peers:layers"."""
    return [row for name, part in parts_of(document).items() if name.partition(":")[0] == kind for row in part["rows"]]


# Targets ------------------------------------------------------------------------------------------


def targets(document: dict[str, Any]) -> Table:
    """Computed anew from the rows."""
    at = [row for row in rows_of(document, "peers") if row | AT == row]
    lines = []
    for cell in CELLS:
        reached = ratio(at, cell, "torch-cells")
        words = None if reached is None else f"{reached:.2f}×" + ", missed" * (reached < LOOP)
        lines.append([f"{cell}: PyTorch's loop over its cells, over ours", f"at least {LOOP:g}×", words])
    for system, what in (("torch", "as it is, with TF32"), ("torch-float32", "with products of float32")):
        reached = ratio(at, "lstm", system)
        words = None if reached is None else f"{1 / reached:.2f}×" + ", missed" * (1 / reached > CUDNN)
        lines.append([f"lstm: ours over PyTorch's nn.LSTM, {what}", f"at most {CUDNN:g}×", words])
    crossings = crossover.lines({"rows": rows_of(document, "crossover")})
    for cell in CELLS:
        sizes, size = crossover.crossing_of(crossings.get((cell, 64, 64), {"cpu": [], "cuda": []}))
        words = None if size is None else str(crossover.in_words(sizes, size)) + ", missed" * (size > HIDDEN)
        lines.append([f"{cell}: the GPU overtakes the CPU, N=64", f"at H = {HIDDEN} or below", words])
    title = "Targets; the training step at H=512 N=64 T=64"
    return tables.make(title, ["target", "wanted", "reached"], [[*a, b or NOT_MEASURED] for *a, b in lines])


def ratio(rows: Sequence[dict[str, Any]], cell: str, system: str) -> float | None:
    """A system's time over ours."""
    found = peers.ratios([row for row in rows if row["cell"] == cell], system)
    return found[0] if found else None


# Tables -------------------------------------------------------------------------------------------


def table(document: dict[str, Any]) -> list[Table]:
    made = [targets(document), parts(document), *tests(document)]
    for kind, show in SHOWN.items():
        rows = rows_of(document, kind)
        if rows:
            for each in show({"rows": rows, "machine": document["machine"]}):
                each.title = f"{kind}: {each.title}"
                made.append(each)
    return made


def parts(document: dict[str, Any]) -> Table:
    """What became of each part."""
    lines = []
    for name, part in parts_of(document).items():
        missing = part["left_out"][:NAMES]
        more = len(part["left_out"]) - len(missing)
        without = ", ".join(missing) + f" and {more} more" * bool(more)
        lines.append([name, part["status"], tables.digits(part["seconds"]), part["reason"], without])
    return tables.make("Parts", ["part", "", "seconds", "why", "left out"], lines)


def tests(document: dict[str, Any]) -> list[Table]:
    """How many tests passed, and what the others say."""
    made = []
    for found in rows_of(document, "tests"):
        seen = sum(found[outcome] for outcome in OUTCOMES)
        counts = [found["collected"], *(found[outcome] for outcome in OUTCOMES), found["collected"] - seen]
        made.append(tables.make("Tests marked gpu", ["in all", *OUTCOMES, "not reached"], [counts]))
        bad = [[each["test"], each["outcome"], each["why"]] for each in found["why"]]
        bad += [[name, "unfinished", "it ran when the time was over"] for name in found["unfinished"]]
        if bad:
            title = "Tests that did not pass" + f", the first {TESTS} of {len(bad)}" * (len(bad) > TESTS)
            made.append(tables.make(title, ["test", "", "why"], bad[:TESTS]))
    return made


def peers_tables(document: dict[str, Any]) -> list[Table]:
    """Those of `peers`; the host's share of each step; and what PyTorch did with products of float32."""
    rows, systems = document["rows"], peers.systems_of(document)
    lines, settings = [], {}
    for row in rows:
        hosts = [row["systems"].get(system, {}).get("host") for system in systems]
        lines.append([row["cell"], row["layers"], row["hidden"], *(_ms(host) for host in hosts)])
        for name, found in row["systems"].items():
            if "settings" in found:
                settings[name] = [name, ", ".join(f"{key} {value}" for key, value in found["settings"].items())]
    made = peers.table(document)
    made.append(tables.make("Milliseconds until the call returned", ["cell", "L", "H", *systems], lines))
    return [*made, tables.make("Settings", ["system", "what it said"], settings.values())] if settings else made


def flat_tables(document: dict[str, Any]) -> list[Table]:
    """Bytes in use after the first chunk, after ten and after the last, and what each of the last forty added."""
    lines, lost = [], []
    for row in document["rows"]:
        if row["status"] == "measured":
            held = row["bytes"]
            begin = min(10, len(held)) - 1
            added = (held[-1] - held[begin]) / max(1, len(held) - 1 - begin)
            mib = [tables.digits(held[k] / 2**20, 4) for k in (0, begin, -1)]
            lines.append([row["cell"], len(held), *mib, f"{added:,.0f}"])
        else:
            lost.append([row["cell"], row["status"], row["reason"]])
    columns = ["cell", "chunks", "MiB after one", "after ten", "after all", "bytes added by each after ten"]
    made = [tables.make("Memory in use from chunk to chunk, the state carried", columns, lines)] if lines else []
    return [*made, tables.make("Not measured", ["cell", "", "why"], lost)] if lost else made


def _ms(spread: dict[str, Any] | None) -> str | None:
    return tables.digits(spread["median"] * 1e3) if spread else None


SHOWN: Mapping[str, Callable[[dict[str, Any]], list[Table]]] = {
    "peers": peers_tables,
    "crossover": crossover.table,
    "overhead": overhead.table,
    "memory": memory.table,
    "flat": flat_tables,
    "sample": sample.table,
    "first-use": writers.first_use_tables,
}

# The picture --------------------------------------------------------------------------------------


def picture(document: dict[str, Any]) -> Figure | None:
    """A panel for each thing that was measured: CPU and GPU over H, systems side by side, memory over T, sampling."""
    draw: list[Callable[[Axes], None]] = []
    for what, rows in crossover.lines({"rows": rows_of(document, "crossover")}).items():
        if what[1] == 64:
            draw.append(lambda panel, what=what, rows=rows: crossover.curves(panel, what, rows))
    at = [row for row in rows_of(document, "peers") if row | AT == row]
    if at:
        draw.append(lambda panel: steps(panel, at))
    grown = memory.curves({"rows": rows_of(document, "memory")})
    if grown:
        draw.append(lambda panel: memory_panel(panel, grown))
    drawn = rows_of(document, "sample")
    if drawn:
        draw.append(lambda panel: sampling(panel, drawn))
    if not draw:
        return None
    figure, axes = pictures.panels(len(draw), title=str(document["machine"]["gpu"] or "no GPU"))
    for panel, paint in zip(axes, draw, strict=True):
        paint(panel)
    return figure


def steps(panel: Axes, rows: Sequence[dict[str, Any]]) -> None:
    systems = peers.systems_of({"rows": rows})
    heights = {name: [_height(row["systems"].get(name), 1e3) for row in rows] for name in systems}
    pictures.bars(panel, [row["cell"] for row in rows], heights)
    panel.set_title("training step, H=512, N=64, T=64")
    panel.set_ylabel("milliseconds")
    panel.margins(y=0.4)  # room for the legend
    panel.legend()


def sampling(panel: Axes, rows: Sequence[dict[str, Any]]) -> None:
    for name in rows[0]["systems"]:
        rates = [(place, sample.rate(row, name)) for place, row in enumerate(rows)]
        there = [(place, rate) for place, rate in rates if rate]
        panel.plot(*zip(*there, strict=True) if there else ((), ()), "o", label=name, color=pictures.COLOURS.get(name))
    panel.set_xticks(range(len(rows)), [f"{row['cell']}\n{row['streams']}" for row in rows])
    panel.set_title(f"characters per second, by streams, H={rows[0]['hidden']}")
    panel.set_yscale("log")
    panel.margins(x=0.2, y=0.4)
    panel.grid(axis="y", alpha=0.3)
    panel.legend()


def memory_panel(panel: Axes, grown: memory.Curves) -> None:
    cell = next(iter(grown))[0]
    memory.lines(panel, grown, cell)
    panel.set_title(f"peak memory of a step, {cell}")
    panel.legend()


def _height(found: dict[str, Any] | None, scale: float) -> float | None:
    return found["median"] * scale if found and found["status"] == "timed" else None
