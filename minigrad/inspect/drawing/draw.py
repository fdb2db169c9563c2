"""`draw`: a computation as boxes and arrows."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Final

from ..computation import read
from .diagram import Diagram
from .dot import dot
from .labels import counted
from .layout import MOST
from .look import SAYS
from .mermaid import mermaid
from .svg import svg

LIMIT: Final = 400


class Drawing:
    """A computation as boxes and arrows. In Jupyter it shows itself.

    Attributes:
        diagram: its boxes, arrows and frames.
    """

    def __init__(self, diagram: Diagram) -> None:
        self.diagram = diagram

    def svg(self) -> str:
        """The picture, for light and dark pages. Nothing but Python makes it."""
        return svg(self.diagram)

    def dot(self) -> str:
        """A program for Graphviz, which lays it out itself: `dot -Tpdf graph.dot -o graph.pdf`."""
        return dot(self.diagram)

    def mermaid(self) -> str:
        """A program for Mermaid, as GitHub shows it in Markdown."""
        return mermaid(self.diagram)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file: what into, its name's ending says: .svg, .dot (or .gv), .mmd (or .mermaid).

        Raises:
            ValueError: another ending.
            OSError: the file cannot be written.
        """
        makers = {".svg": self.svg, ".dot": self.dot, ".gv": self.dot, ".mmd": self.mermaid, ".mermaid": self.mermaid}
        maker = makers.get(Path(path).suffix.lower())
        if maker is None:
            raise ValueError(f"save: expected a name that ends in {', '.join(makers)}, got {str(path)!r}")
        Path(path).write_text(maker(), encoding="utf-8", newline="\n")

    def _repr_svg_(self) -> str:
        return self.svg()

    def __str__(self) -> str:
        kinds = [box.kind for box in self.diagram.boxes]
        names = {"operation": "operation", "module": "closed module"}
        counts = [(kinds.count(kind), names.get(kind, kind)) for kind in SAYS if kind in kinds]
        text = ", ".join(f"{count} {name}" if name == "data" else counted(count, name) for count, name in counts)
        lines = [f"a drawing of {text}, {counted(len(self.diagram.arrows), 'arrow')}"]
        for number, loop in enumerate(self.diagram.loops, 1):
            first = loop.rounds[0][0]
            if self.diagram.box_of[first].kind == "module":
                how = "in a closed module"
            elif self.diagram.places[first].folded:
                how = f"drawn once; opened=[{number}] draws all"
            else:
                how = "all drawn"
            lines.append(f"loop {number}: {counted(len(loop.rounds[0]), 'operation')} × {loop.times}, {how}")
        return "\n".join([*lines, 'save("graph.svg") writes it; .svg, .dot, .mmd'])

    __repr__ = __str__


def draw(
    loss: Any,
    names: Any = None,
    *,
    fold: bool = True,
    opened: int | Iterable[int] = (),
    modules: bool = True,
    closed: str | Iterable[str] | bool = (),
    limit: int = LIMIT,
) -> Drawing:
    """Draw what led to a tensor: parameters, inputs, data and operations, each with its shape.

    A double border says that the graph keeps the value for the backward pass. The rounds of a loop, such as the time
    steps of a recurrent layer, are drawn once, with a dashed arrow for what one hands to the next; opened, they stand
    side by side. Modules have frames around what ran in them. Kernels (`scan`, `fuse`) and checkpoints are drawn as the
    operations that they stand for.

    Args:
        loss: a computed tensor, of any shape, whose graph has not been freed.
        names: a module, or a mapping from names to tensors and modules, such as `locals()`.
        fold: whether to draw loops once.
        opened: the number of a loop, or several, to draw round by round all the same; `print` of a drawing lists them.
        modules: whether to draw frames around modules.
        closed: modules to draw as one box with their parameters in it, by their paths as in the frames' titles; True:
            all.
        limit: the most boxes to draw.

    Returns:
        A drawing, with `svg()`, `dot()`, `mermaid()` and `save(path)`, which a notebook shows; printed, it says what
        is in it.

    Raises:
        TypeError: it is no Tensor; or an option is of another kind.
        RuntimeError: it is a leaf, or its graph was freed.
        ValueError: more boxes than `limit`; or there is no such loop or module.

    >>> import minigrad as mg
    >>> x = mg.tensor([[1.0, 2.0]], requires_grad=True)
    >>> w = mg.tensor([[0.5], [-0.25]], requires_grad=True)
    >>> print(draw((x @ w).tanh().sum(), names={"x": x, "w": w}))
    a drawing of 3 operations, 2 inputs, 4 arrows
    save("graph.svg") writes it; .svg, .dot, .mmd
    """
    for option, is_on in (("fold", fold), ("modules", modules)):
        if not isinstance(is_on, bool):
            raise TypeError(f"draw: expected {option} to be True or False, got {is_on!r:.40}")
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ValueError(f"draw: expected limit to be a whole number of boxes from 1 on, got {limit!r:.40}")
    numbers = _several("opened", opened, int, "numbers of loops, such as [1]")
    wanted = [] if isinstance(closed, bool) else _several("closed", closed, str, "paths of modules, True or False")
    computation = read(loss, names, "draw")
    paths = {path for operation in computation.operations for path in operation.modules}
    for path in wanted:
        if path not in paths:
            raise ValueError(f"draw: no operation ran in a module {path!r}; there are {_listed(paths)}")
    diagram = Diagram(computation, fold, numbers, modules, lambda path: closed is True or path in wanted)
    for number in numbers:
        if not 1 <= number <= len(diagram.loops):
            raise ValueError(f"draw: there is no loop {number!r}; {_counted_loops(len(diagram.loops))}")
    if len(diagram.boxes) > limit:
        raise ValueError(_too_large(diagram, fold, limit))
    return Drawing(diagram)


def _several(option: str, given: Any, kind: type, expected: str) -> list[Any]:
    """What an option names: one thing, or several of its kind."""
    items = [given] if type(given) is kind else list(given) if isinstance(given, Iterable) else [None]
    if any(type(item) is not kind for item in items):
        raise TypeError(f"draw: expected {option} to be {expected}, got {given!r:.60}")
    return items


def _listed(paths: Collection[str]) -> str:
    return ", ".join(map(repr, sorted(paths))) or "none"


def _counted_loops(count: int) -> str:
    return "there are none" if not count else "they are numbered from 1 to " + str(count)


def _too_large(diagram: Diagram, fold: bool, limit: int) -> str:
    advice = []
    if not all(diagram.places[loop.rounds[0][0]].folded for loop in diagram.loops):
        advice.append("draw each loop once (fold=True, nothing opened)")
    paths = {o.modules[0] for o, box in diagram.box_of.items() if o.modules and box.kind == "operation"}
    if paths:
        advice.append(f"close modules (closed=True, or some of {_listed(paths)})")
    advice.append(f"raise the limit (limit={len(diagram.boxes)})")
    if len(diagram.computation.operations) + len(diagram.leaf_box) <= MOST:
        advice.append("or look at it in the explorer, which is made for thousands: explorer(loss, 'graph.html')")
    else:
        advice.append("or draw a smaller computation, such as one of fewer time steps")
    return f"draw: {len(diagram.boxes)} boxes are too many to read; the limit is {limit}. " + ", ".join(advice)
