"""Where the explorer's boxes lie: in frames of modules and of the rounds of loops, rounds side by side.

What stands together in the program's order makes a frame, so no arrow goes from a frame back into an earlier one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..computation import Operation, Value
from ..drawing.layout import Edge, Group, Layout, layout
from ..folding import Repeat

WIDTH, HEIGHT = 136.0, 62.0  # of a box
LETTER, LINE = 7.5, 18.0  # about how wide a letter of a title is, and how high

Part = Operation | Repeat


@dataclass
class Frame:
    """A group of the layout and what it is: a module, or round `round` of loop number `loop`."""

    group: Group
    title: str
    module: str | None = None
    loop: int | None = None
    round: int = 0
    boxes: list[int] = field(default_factory=list)  # of operations


class Placing:
    """Groups made of the parts, and the places that the layout finds for them.

    Args:
        parts: the operations, folded.
        box_of: the box of each value that has one: a leaf's own, or that of the operation that gives it.
        operation_box: the box of an operation, by its number.
        count: of all boxes.

    Attributes:
        frames: outer ones before those in them.
        found: what the layout says; its lines are in the order of `edges`.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        box_of: dict[Value, int],
        operation_box: dict[int, int],
        count: int,
        edges: Sequence[Edge],
    ) -> None:
        self._boxes = operation_box
        self.frames: list[Frame] = []
        self._loops = 0
        self._path: dict[int, tuple[Group, ...]] = {}  # of a box: the groups it is in
        root = Group()
        self._fill((root,), parts, 0)
        self._add_leaves(root, edges, count)
        self.found: Layout = layout([(WIDTH, HEIGHT)] * count, edges, root)

    def _fill(self, path: tuple[Group, ...], parts: Sequence[Part], depth: int) -> None:
        """Put parts into the last group of the path; runs of one module at this depth into a group of their own."""
        start = 0
        while start < len(parts):
            module = _module(parts[start], depth)
            end = start + 1
            if module is None:
                self._add(path, parts[start], depth)
            else:
                while end < len(parts) and _module(parts[end], depth) == module:
                    end += 1
                group = self._frame(path[-1], module, module=module)
                self._fill((*path, group), parts[start:end], depth + 1)
            start = end

    def _add(self, path: tuple[Group, ...], part: Part, depth: int) -> None:
        if isinstance(part, Operation):
            box = self._boxes[part.number]
            path[-1].members.append(box)
            self._path[box] = path
            return
        beside = Group(sideways=True)
        path[-1].members.append(beside)
        number, self._loops = self._loops, self._loops + 1
        for k, operations in enumerate(part.rounds):
            group = self._frame(beside, f"round {k}", loop=number, round=k)
            self.frames[-1].boxes = [self._boxes[o.number] for o in operations]
            self._fill((*path, beside, group), operations, depth)

    def _frame(self, outer: Group, title: str, **what: object) -> Group:
        group = Group(title=(LETTER * len(title), LINE))
        outer.members.append(group)
        self.frames.append(Frame(group, title, **what))  # type: ignore[arg-type]
        return group

    def _add_leaves(self, root: Group, edges: Sequence[Edge], count: int) -> None:
        """A leaf goes into the innermost group that holds all its users, but not between the rounds of a loop."""
        users: dict[int, list[int]] = {}
        for edge in edges:
            users.setdefault(edge.tail, []).append(edge.head)
        for leaf in range(count):
            if leaf in self._path:
                continue
            paths = [self._path[user] for user in users[leaf]]
            common = paths[0]
            for path in paths[1:]:
                same = 0
                while same < min(len(common), len(path)) and common[same] is path[same]:
                    same += 1
                common = common[:same]
            while common[-1].sideways:
                common = common[:-1]
            common[-1].members.append(leaf)


def _module(part: Part, depth: int) -> str | None:
    """The module at a depth in which a part ran as a whole."""
    if isinstance(part, Operation):
        return part.modules[depth] if depth < len(part.modules) else None
    paths = {o.modules[: depth + 1] for operations in part.rounds for o in operations}
    (path, *others) = paths
    return path[depth] if not others and depth < len(path) else None
