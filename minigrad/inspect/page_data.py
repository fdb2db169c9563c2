"""What the explorer's page is told: boxes, values, edges, and every contribution of the sweep, as JSON.

Python's numbers NaN and ±inf, which JSON lacks, become the texts "nan", "inf" and "-inf"; norms have five digits.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

from ..backend import Array, cpu
from .computation import Computation, Operation, Value, on_host
from .folding import Repeat, folded
from .layout import Edge, Rectangle
from .placing import Placing
from .lines import Backward, Forward
from .notation import text
from .shown import number, short
from .slow import SlowSweep

DIGITS: Final = 5
BINS: Final = 20  # of a histogram
FEW: Final = 8  # entries that are better read than counted
ROWS, COLUMNS = 12, 24  # of the picture of an array
SHADES: Final = "abcdefghijklmnopqrstuvwxyz"  # from the most negative to the most positive; m and n are next to zero


def page_data(computation: Computation, sweep: SlowSweep) -> dict[str, Any]:
    """All that the page shows of a computation and its sweep."""
    return _Exhibit(computation, sweep).data()


def as_json(data: Any) -> str:
    """JSON that can stand inside of a script element: no text in it can end the element, or open another."""
    written = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return written.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def rounded(x: float) -> float | str:
    """A number with five digits, as JSON can have it.

    >>> rounded(1 / 3), rounded(float("-inf"))
    (0.33333, '-inf')
    """
    if not math.isfinite(x):
        return "nan" if math.isnan(x) else "inf" if x > 0 else "-inf"
    return float(f"{x:.{DIGITS}g}")


def norm(array: Array) -> float | str:
    """√Σ x² of an array on the host, whose squares may be too large or too small for its dtype."""
    return rounded(float(cpu.sqrt(cpu.sum(cpu.square(array.astype(cpu.float64))))))


def histogram(array: Array) -> list[Any] | None:
    """[smallest, largest, counts in 20 bins, how many are not finite], or None for a handful of entries."""
    if array.size <= FEW:
        return None
    entries = array.astype(cpu.float64).reshape(-1)
    finite = entries[cpu.isfinite(entries)]
    if finite.size == 0:
        return None
    low, high = float(finite.min()), float(finite.max())
    if not math.isfinite(high - low) or high - low <= 1e-300:
        return [rounded(low), rounded(high), [int(finite.size)], int(entries.size - finite.size)]
    counts = cpu.histogram(finite, bins=BINS, range=(low, high))[0]
    return [rounded(low), rounded(high), counts.tolist(), int(entries.size - finite.size)]


def picture(array: Array) -> list[str] | None:
    """Rows of letters, a letter an entry: "a" is minus the largest magnitude, "z" is plus, and "." is not finite.

    Of a large array every k-th row and column; all axes but the last count as rows.
    """
    if array.size <= 2 or array.ndim == 0:
        return None
    table = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array.reshape(1, -1)
    rows, columns = (-(-size // most) for size, most in zip(table.shape, (ROWS, COLUMNS), strict=True))
    table = table[::rows, ::columns].astype(cpu.float64)
    finite = cpu.isfinite(table)
    largest = float(cpu.max(cpu.where(finite, cpu.absolute(table), 0.0))) or 1.0
    half = (len(SHADES) - 1) / 2
    shades = cpu.where(finite, cpu.rint(cpu.where(finite, table, 0.0) / largest * half + half), -1).astype(int)
    return ["".join(SHADES[k] if k >= 0 else "." for k in row) for row in shades.tolist()]


class _Exhibit:
    """Boxes are leaves and operations: a computed value is seen in the box of the operation that gives it."""

    def __init__(self, computation: Computation, sweep: SlowSweep) -> None:
        self.computation, self.sweep = computation, sweep
        self.values = [x for x in computation.values if x.role != "number"]
        self.index = {x: k for k, x in enumerate(self.values)}
        self.names: dict[str, int] = {}  # of primitives and of modules, by their place in the lists of the page
        self.modules: dict[str, int] = {}
        self.boxes: list[dict[str, Any]] = []
        self.box_of: dict[Value, int] = {}
        self.operation_box: dict[int, int] = {}
        for x in self.values:
            if x.maker is None:
                self.box_of[x] = self._add_box({"kind": x.role, "out": [self.index[x]]})
        for operation in computation.operations:
            number = self._add_box(self._operation(operation))
            self.operation_box[operation.number] = number
            self.box_of.update(dict.fromkeys(operation.outputs, number))

    def data(self) -> dict[str, Any]:
        parts = folded(self.computation.operations)
        edges = self._edges()
        arrows = [Edge(self.box_of[x], head, x.slot) for x, head, _ in edges]
        placing = Placing(parts, self.box_of, self.operation_box, len(self.boxes), arrows)
        for box, place in zip(self.boxes, placing.found.boxes, strict=True):
            box.update(zip("xywh", _places(place), strict=True))
        several = sum(isinstance(part, Repeat) for part in parts) > 1
        frames = []
        for frame in placing.frames:
            title = f"loop {frame.loop + 1}, {frame.title}" if several and frame.loop is not None else frame.title
            found: dict[str, Any] = {"label": title, "at": _places(placing.found.groups[frame.group])}
            if frame.module is not None:
                found["module"] = self.modules[frame.module]
            for box in frame.boxes:
                self.boxes[box]["frame"] = len(frames)
            frames.append(found)
        return {
            "result": self.index[self.computation.result],
            "operations": self._primitives(),
            "modules": list(self.modules),
            "frames": frames,
            "boxes": self.boxes,
            "values": [self._value(x) for x in self.values],
            "edges": [
                [self.index[x], head, place, [c for point in line for c in _places(point)]]
                for (x, head, place), line in zip(edges, placing.found.lines, strict=True)
            ],
            "forward": [self.operation_box[operation.number] for operation in self.computation.operations],
            "backward": self._backward(),
        }

    def _add_box(self, box: dict[str, Any]) -> int:
        self.boxes.append({"modules": [], **box})
        return len(self.boxes) - 1

    def _operation(self, operation: Operation) -> dict[str, Any]:
        box: dict[str, Any] = {
            "kind": "operation",
            "label": operation.primitive.name,
            "said": Forward(operation).said(text),
            "operation": self.names.setdefault(operation.primitive.name, len(self.names)),
            "in": [number(x.scalar) if x.role == "number" else self.index[x] for x in operation.inputs],
            "out": [self.index[y] for y in operation.outputs],
            "modules": [self.modules.setdefault(path, len(self.modules)) for path in operation.modules],
        }
        settings = ", ".join(f"{name}={_setting(x)}" for name, x in operation.parameters.items())
        return box | {
            key: words
            for key, words in (("parameters", settings), ("inside", operation.inside), ("line", operation.line))
            if words
        }

    def _primitives(self) -> list[dict[str, Any]]:
        known = {operation.primitive.name: operation.primitive for operation in self.computation.operations}
        return [{"name": name, "kind": known[name].kind, "formula": _formula(known[name])} for name in self.names]

    def _value(self, x: Value) -> dict[str, Any]:
        array = None if x.array is None else on_host(x.array)
        found: dict[str, Any] = {
            "id": x.number, "role": x.role, "shape": list(x.shape), "dtype": str(x.dtype), "text": short(array),
            "box": self.box_of[x], "slot": x.slot,
        }  # fmt: skip
        if x.name:
            found["name"] = x.name
        if x.saved:
            found["saved"] = 1
        if array is not None:
            found |= _pictures(array)
        total = self.sweep.gradients.get(x)
        if total is not None:
            g = on_host(total)
            found["gradient"] = {"text": short(g), "norm": norm(g), **_pictures(g)}
        return found

    def _edges(self) -> list[tuple[Value, int, int]]:
        """Each value that an operation takes, the operation's box, and the place of the input."""
        return [
            (x, self.operation_box[operation.number], place)
            for operation in self.computation.operations
            for place, x in enumerate(operation.inputs)
            if x.role != "number"
        ]

    def _backward(self) -> list[list[Any]]:
        """For each passage its box, and for each input [value, place, formula, contribution, its norm]; where it is not
        the first that the value receives, also the sum so far and its norm."""
        totals: dict[Value, Array] = {}
        steps: list[list[Any]] = []
        for passage in self.sweep.passages:
            sent: list[list[Any]] = []
            formulas = iter(Backward(passage, {}).sent)
            for place, (x, contribution) in enumerate(zip(passage.operation.inputs, passage.sent, strict=True)):
                if contribution is None:
                    continue
                g = on_host(contribution)
                row: list[Any] = [self.index[x], place, next(formulas).said(text), short(g), norm(g)]
                if x in totals:
                    totals[x] = totals[x] + g
                    row += [short(totals[x]), norm(totals[x])]
                else:
                    totals[x] = g
                sent.append(row)
            steps.append([self.operation_box[passage.operation.number], sent])
        return steps


def _places(numbers: Rectangle | tuple[float, float]) -> list[float]:
    """Places on the page, to half a unit."""
    return [int(x) if x == int(x) else x for x in (round(2 * x) / 2 for x in numbers)]


def _pictures(array: Array) -> dict[str, Any]:
    found = {"bins": histogram(array), "cells": picture(array)}
    return {key: x for key, x in found.items() if x is not None}


def _setting(x: Any) -> str:
    """A parameter of an operation in a few characters; a slice as one writes it.

    >>> _setting((slice(None), slice(3, None), None))
    '(:, 3:, None)'
    """
    if isinstance(x, (tuple, list)):
        words = f"({', '.join(map(_setting, x))}{',' * (len(x) == 1)})"
    elif isinstance(x, slice):
        start, stop, step = ("" if part is None else str(part) for part in (x.start, x.stop, x.step))
        words = f"{start}:{stop}" + (f":{step}" if step else "")
    else:
        words = short(x) if hasattr(x, "dtype") and hasattr(x, "shape") else repr(x)
    return words if len(words) <= 60 else words[:59] + "…"


def _formula(primitive: Any) -> str:
    """The first paragraph of the docstring, which says the value and the derivatives, each in a line.

    >>> import minigrad as mg
    >>> _formula(mg.tanh)
    'y = tanh x\\ndy/dx = 1 - y²'
    """
    first = (primitive.__doc__ or "").strip().partition("\n\n")[0]
    return "\n".join(part.strip() for part in re.split(r"\n|\s{4,}", first) if part.strip())
