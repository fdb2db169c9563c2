"""The part of bench/README.md that is made from bench/results/: between the marks of each command."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from rich.table import Table

from . import record, tables

README = Path(__file__).parent / "README.md"
MARKED = re.compile(r"(<!-- results of (\w+): python -m bench report -->\n).*?(<!-- end -->)", re.DOTALL)

ABSENT = {"device": "Nothing has been measured on a device yet"}


def rewrite() -> None:
    """Write the README anew."""
    README.write_text(rewritten(README.read_text(encoding="utf-8")), encoding="utf-8")


def rewritten(text: str, folder: Path | None = None) -> str:
    """`text` with what stands between its marks made anew."""
    return MARKED.sub(lambda found: found[1] + section(found[2], folder) + found[3], text)


def section(name: str, folder: Path | None = None) -> str:
    """Where and when, the first table and the picture of a command; its further tables folded away."""
    folder = record.RESULTS if folder is None else folder
    if not (folder / f"{name}.json").exists():
        return f"\n{ABSENT.get(name, 'Not measured yet')}: `python -m bench {name}`.\n\n"
    document = record.read(name, folder)
    made = importlib.import_module(f"bench.{name}").table(document)
    first, *rest = [made] if isinstance(made, Table) else made
    parts = [machine_in_words(document["machine"]), tables.markdown(first)]
    if (folder / f"{name}.png").exists():
        parts.append(f"![{name}](results/{name}.png)")
    if rest:
        parts.append("<details><summary>More numbers</summary>")
        parts += [tables.markdown(table) for table in rest]
        parts.append("</details>")
    return "\n" + "\n\n".join(parts) + "\n\n"


def machine_in_words(machine: dict[str, Any]) -> str:
    """One sentence: what was measured, on what, when."""
    packages = [f"{name} {version}" for name, version in machine["packages"].items() if version]
    software = [f"Python {machine['python']}", f"NumPy {machine['numpy']} ({machine['blas']})", *packages]
    hardware = [machine["processor"], _many(machine["cores"], "core"), _many(machine["threads"], "thread")]
    ours = [f"minigrad {machine['minigrad']}" + (f" ({machine['commit']})" if machine["commit"] else "")]
    if "writer" in machine:  # older records do not tell
        ours.append(f"kernels: {machine['writer']}" + (f" ({machine['compiler']})" if machine["compiler"] else ""))
    gpu, cuda = machine["gpu"] or "no GPU", machine.get("cuda")
    if cuda:
        size = f"{cuda['multiprocessors']} multiprocessors, {cuda['memory_bytes'] / 2**30:.0f} GiB"
        gpu += f" (compute capability {cuda['capability']}, {size})"
        driver = f"driver {cuda['driver'] or 'unknown'} for CUDA {cuda['driver_cuda']}"
        software.append(f"CuPy {cuda['cupy']}, CUDA {cuda['runtime']} ({driver})")
    date = machine["date"].partition("T")[0]
    return f"{', '.join([*hardware, gpu])}; {', '.join(software)}; {', '.join(ours)}, {date}."


def _many(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"
