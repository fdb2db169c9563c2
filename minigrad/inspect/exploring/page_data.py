"""What the explorer's page is told: boxes, values, edges, and every contribution of the sweep, as JSON."""

from __future__ import annotations

import json
import re
from typing import Any

from ...backend import Array
from ..computation import Computation, Operation, Value, on_host
from ..drawing.layout import Edge, Rectangle
from ..explaining.lines import Forward, all_sent
from ..explaining.notation import text
from ..folding import Repeat, folded
from ..shown import number as written
from ..shown import short, stated
from ..slow import SlowSweep, add_to
from .digest import histogram, norm, picture
from .placing import Placing


def page_data(computation: Computation, sweep: SlowSweep) -> dict[str, Any]:
    """All that the page shows of a computation and its sweep."""
    return _Exhibit(computation, sweep).data()


def as_json(data: Any) -> str:
    """JSON that can stand inside of a script element: no text in it can end the element, or open another."""
    written = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return written.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


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
        frames: list[dict[str, Any]] = []
        for frame in placing.frames:
            title = f"loop {frame.loop + 1}, {frame.title}" if several and frame.loop is not None else frame.title
            found: dict[str, Any] = {"label": title, "at": _places(placing.found.groups[frame.group])}
            if frame.module is not None:
                found["module"] = self.modules[frame.module]
            for number in frame.boxes:
                self.boxes[number]["frame"] = len(frames)
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
            "in": [written(x.scalar) if x.role == "number" else self.index[x] for x in operation.inputs],
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
            formulas = iter(all_sent(passage))
            for place, (x, contribution) in enumerate(zip(passage.operation.inputs, passage.sent, strict=True)):
                if contribution is None:
                    continue
                g = on_host(contribution)
                row: list[Any] = [self.index[x], place, next(formulas).said(text), short(g), norm(g)]
                is_first = x not in totals
                add_to(totals, x, g)
                row += [] if is_first else [short(totals[x]), norm(totals[x])]
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
    return "\n".join(part.strip() for part in re.split(r"\n|\s{4,}", stated(primitive)) if part.strip())
