"""The table of primitives in README.md, made from the registry: `python -m tests.table` brings it up to date."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.ops import registry
from minigrad.ops.primitive import Domain, Primitive

from . import strict as strict  # registers the device "strict"
from .cases import CASES, Draw, with_formulas
from .helpers import host, listed, prepared, seeds_like

README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
HEAD = ("primitive", "kind", "domain", "first order", "second order", "backends")
DEVICES = ("cpu", "strict")


def with_table(text: str) -> str:
    """The text with the table of today between its two marks."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + "\n" + "\n".join(lines()) + "\n\n" + END + rest.partition(END)[2]


def lines() -> Iterator[str]:
    yield _line(*HEAD)
    yield _line(*["---"] * len(HEAD))
    for name in CASES:
        p = registry[name]
        of = ", ".join
        runs = of(device for device in DEVICES if _agrees(name, device))
        yield _line(f"`{name}`", p.kind, _domains(p), of(with_formulas(p)) or "none", of(_second_order(name)), runs)


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _domains(primitive: Primitive[Any]) -> str:
    if len(set(primitive.domains)) == 1:
        return _domain(primitive.domains[0])
    return "; ".join(f"{x}: {_domain(d)}" for x, d in zip(primitive.inputs, primitive.domains, strict=True))


def _domain(domain: Domain) -> str:
    if domain.dtype == "bool":
        return "boolean"
    without = [f"{kink:g}" for kink in domain.kinks] + ["ties"] * domain.distinct
    return f"{domain.low:g} to {domain.high:g}" + (" without " + ", ".join(without) if without else "")


def _second_order(name: str) -> list[str]:
    """The inputs on which a first derivative depends, found by differentiating it where it is recorded."""
    if not with_formulas(registry[name]):
        return ["none"]
    f, xs, _ = prepared(name, _draw(name), "cpu")
    ys = listed(f(*xs))
    active = [x for x in xs if x.requires_grad]
    first = [g for g in mg.grad(ys, active, seeds_like(ys), create_graph=True) if g.requires_grad]
    second = mg.grad(first, active, seeds_like(first), allow_unused=True) if first else ()
    curved = {id(x) for x, g in zip(active, second, strict=False) if g is not None and np.any(host(g))}
    names = registry[name].inputs * (len(xs) if registry[name].variadic else 1)
    return list(dict.fromkeys(n for n, x in zip(names, xs, strict=True) if id(x) in curved)) or ["0"]


def _draw(name: str) -> Draw:
    return CASES[name].draws[0]


def _agrees(name: str, device: str) -> bool:
    """Whether it gives there what it gives in NumPy."""
    (f, xs, _), (g, on_cpu, _) = prepared(name, _draw(name), device), prepared(name, _draw(name), "cpu")
    pairs = zip(listed(f(*xs)), listed(g(*on_cpu)), strict=True)
    return all(np.allclose(host(y), host(expected), rtol=1e-12, atol=0) for y, expected in pairs)


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
