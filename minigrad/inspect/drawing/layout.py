"""Where boxes and arrows lie on a page: `layout`, for drawings and for the explorer.

Boxes stand in layers from top to bottom; groups of them are frames, which hold nothing else and may lie in each other.
The rounds of a loop can stand side by side, time from left to right. What arrows pass, they go round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from .columns import Column, Wire, beside
from .layers import Net, Point, arrange, shortened

PADDING = 12.0  # between a frame and what is in it
MOST = 20_000  # boxes that can be laid out in a time one waits for: those of an explorer's page


class Edge(NamedTuple):
    """An arrow from one box to another, by their numbers.

    Args:
        tail, head: the boxes.
        slot: of several places on the lower side of the tail, the one where it begins, from the left. Arrows of one
            place share their line as far as they go together.
        loop: it goes from one round of a loop into the next, which is drawn as the same: up again, and in from above.
    """

    tail: int
    head: int
    slot: int = 0
    loop: bool = False


@dataclass(eq=False)
class Group:
    """Boxes, by number, and groups, in a frame of their own.

    Args:
        members: what is in it.
        sideways: its members, which are groups all, stand side by side, in this order.
        title: width and height of what is written into its upper left corner; None: it has no frame and no title.
    """

    members: list[int | Group] = field(default_factory=list)
    sideways: bool = False
    title: Point | None = None


class Rectangle(NamedTuple):
    """A box's or a frame's upper left corner, and its size."""

    x: float
    y: float
    width: float
    height: float


@dataclass
class Layout:
    """Where all lies.

    Attributes:
        boxes: by number.
        groups: those that were given, each with its frame.
        lines: the points of each edge, from the lower side of its tail to the upper side of its head. Between two
            points a line may be straight, or a curve that begins and ends vertically: neither crosses a box.
        width, height: of all.
    """

    boxes: list[Rectangle]
    groups: dict[Group, Rectangle]
    lines: list[list[Point]]
    width: float
    height: float


Key = tuple[int, int, bool]  # arrows of the same key share their line


class _Line(NamedTuple):
    """An edge on one level: between two members of a group, or to and from outside (None)."""

    piece: tuple[int, int]  # the edge, and which piece of it
    key: Key
    tail: int | None
    head: int | None


@dataclass
class _Placed:
    """What is known of a group: its size, where lines cross its sides, and what lies where in it."""

    width: float
    height: float
    tops: dict[Key, float]
    bottoms: dict[Key, float]
    corners: list[Point]
    pieces: dict[tuple[int, int], list[Point]]  # of edges


def layout(sizes: Sequence[Point], edges: Sequence[Edge | tuple[int, int]], group: Group | None = None) -> Layout:
    """Lay out a graph without cycles: the same graph always in the same way.

    Args:
        sizes: width and height of each box.
        edges: from box to box; loops aside, they must not go in a circle, also if every group is taken for one box.
        group: all boxes, in groups; None: there are none.

    Raises:
        ValueError: the edges go in a circle, or a box is in no group or in two.

    >>> found = layout([(40.0, 20.0), (40.0, 20.0), (60.0, 20.0)], [(0, 1), (0, 2), (1, 2)])
    >>> [box.y for box in found.boxes]
    [0.0, 50.0, 100.0]
    >>> found.lines[2][0][1], found.lines[2][-1][1]        # from the lower side of box 1 to the upper side of box 2
    (70.0, 100.0)
    """
    found = [Edge(*edge) for edge in edges]
    root = Group(list(range(len(sizes)))) if group is None else group
    return _Tree(sizes, found, root).layout()


class _Tree:
    """The groups, the lines on each level, and the way from the innermost groups outwards."""

    def __init__(self, sizes: Sequence[Point], edges: Sequence[Edge], root: Group) -> None:
        self.sizes, self.edges, self.root = sizes, edges, root
        self.parent: dict[int | Group, tuple[Group, int]] = {}  # the group, and which member of it
        self.order = list(_outside_in(root))
        for group in self.order:
            for number, member in enumerate(group.members):
                if member in self.parent:
                    raise ValueError(f"layout: box {member} is in two groups")
                self.parent[member] = (group, number)
        missing = [box for box in range(len(sizes)) if box not in self.parent]
        if missing:
            raise ValueError(f"layout: expected every box in a group, but {missing[0]} is in none")
        self.slots = [1] * len(sizes)
        for edge in edges:
            self.slots[edge.tail] = max(self.slots[edge.tail], edge.slot + 1)
        self.lines: dict[Group, list[_Line]] = {group: [] for group in self.order}
        self.ways = [self._way(number, edge) for number, edge in enumerate(edges)]
        self.placed: dict[Group, _Placed] = {}

    def _way(self, number: int, edge: Edge) -> list[Group]:
        """The groups that an edge passes, from its tail to its head; in each it becomes a line."""
        ups, downs = self._outwards(edge.tail), self._outwards(edge.head)
        inside = {group: k for k, (group, _) in enumerate(downs)}
        at = next(k for k, (group, _) in enumerate(ups) if group in inside and (group.sideways or not edge.loop))
        common = ups[at][0]
        key = (edge.tail, edge.slot, edge.loop)
        steps: list[tuple[Group, int | None, int | None]] = [(group, member, None) for group, member in ups[:at]]
        steps.append((common, ups[at][1], downs[inside[common]][1]))
        steps += [(group, None, member) for group, member in reversed(downs[: inside[common]])]
        for piece, (group, tail, head) in enumerate(steps):
            self.lines[group].append(_Line((number, piece), key, tail, head))
        return [group for group, _, _ in steps]

    def _outwards(self, box: int) -> list[tuple[Group, int]]:
        found = [self.parent[box]]
        while found[-1][0] in self.parent:
            found.append(self.parent[found[-1][0]])
        return found

    def layout(self) -> Layout:
        for group in reversed(self.order):
            self.placed[group] = self._sideways(group) if group.sideways else self._downwards(group)
        corner: dict[int | Group, Point] = {self.root: (0.0, 0.0)}
        for group in self.order:
            x, y = corner[group]
            for member, (dx, dy) in zip(group.members, self.placed[group].corners, strict=True):
                corner[member] = (x + dx, y + dy)
        lines = []
        for number, way in enumerate(self.ways):
            points = []
            for piece, group in enumerate(way):
                x, y = corner[group]
                points += [(x + dx, y + dy) for dx, dy in self.placed[group].pieces[number, piece]]
            lines.append(shortened(points))
        boxes = [Rectangle(*corner[box], *size) for box, size in enumerate(self.sizes)]
        frames = {
            group: Rectangle(*corner[group], self.placed[group].width, self.placed[group].height)
            for group in self.order
        }
        whole = self.placed[self.root]
        return Layout(boxes, frames, lines, whole.width, whole.height)

    def _size(self, member: int | Group) -> Point:
        if isinstance(member, Group):
            return self.placed[member].width, self.placed[member].height
        return self.sizes[member]

    def _start(self, member: int | Group, key: Key) -> float:
        if isinstance(member, Group):
            return self.placed[member].bottoms[key]
        tail, slot, _ = key
        return self.sizes[tail][0] * (slot + 0.5) / self.slots[tail]

    def _downwards(self, group: Group) -> _Placed:
        sizes = [self._size(member) for member in group.members]
        lines = self.lines[group]
        ports: dict[tuple[Key, bool], int] = {}  # lines that enter and leave: a box of no size for each
        for line in lines:
            for entering, outside in ((True, line.tail is None), (False, line.head is None)):
                if outside and (line.key, entering) not in ports:
                    ports[line.key, entering] = len(sizes)
                    sizes.append((0.0, 0.0))
        title = len(sizes) if group.title else None
        if group.title:
            sizes.append(group.title)
        nets: dict[tuple[Key, bool], Net] = {}  # also by whether it enters: a loop leaves, and enters too
        place: dict[tuple[Key, bool, int], int] = {}  # where in its net a line is that several edges share
        which = []
        for line in lines:
            name = line.key, line.tail is None
            if line.tail is None:
                net = nets.setdefault(name, Net(ports[name], 0.0))
            else:
                net = nets.setdefault(name, Net(line.tail, self._start(group.members[line.tail], line.key)))
            head = ports.get((line.key, False), -1)
            end: float | None = 0.0
            shared = True
            if line.head is not None:
                member = group.members[line.head]
                head, shared = line.head, isinstance(member, Group)
                end = self.placed[member].tops[line.key] if isinstance(member, Group) else None
            if not shared or (*name, head) not in place:
                place[*name, head] = len(net.heads)
                net.heads.append((head, end))
            which.append(place[*name, head])
        upper = [port for (_, entering), port in ports.items() if entering] + ([title] if title is not None else [])
        lower = [port for (_, entering), port in ports.items() if not entering]
        found = arrange(sizes, list(nets.values()), upper, lower, title)
        routes = dict(zip(nets, found.routes, strict=True))

        pad = PADDING if group.title is not None else 0.0
        top = pad / 2
        height = found.height + top + pad
        corners = [(x + pad, y + top) for x, y in found.corners]
        pieces = {}
        for line, k in zip(lines, which, strict=True):
            points = [(x + pad, y + top) for x, y in routes[line.key, line.tail is None][k]]
            if line.tail is None:
                points.insert(0, (points[0][0], 0.0))
            if line.head is None:
                points.append((points[-1][0], height))
            pieces[line.piece] = points
        tops = {key: corners[port][0] for (key, entering), port in ports.items() if entering}
        bottoms = {key: corners[port][0] for (key, entering), port in ports.items() if not entering}
        return _Placed(found.width + 2 * pad, height, tops, bottoms, corners[: len(group.members)], pieces)

    def _sideways(self, group: Group) -> _Placed:
        columns = []
        for member in group.members:
            if not isinstance(member, Group):
                raise ValueError(f"layout: expected groups side by side, got box {member} among them")
            placed = self.placed[member]
            columns.append(Column(placed.width, placed.height, placed.tops, placed.bottoms))
        wires: dict[Key, Wire] = {}
        for line in self.lines[group]:
            wire = wires.setdefault(line.key, Wire(line.key, line.tail))
            if line.head is None:
                wire.out = True
            elif line.head not in wire.heads:
                wire.heads.append(line.head)
        pad = PADDING if group.title is not None else 0.0
        found = beside(columns, list(wires.values()), group.title or (0.0, 0.0))
        routes = dict(zip(wires, found.routes, strict=True))
        pieces = {
            line.piece: [(x + pad, y) for x, y in routes[line.key][-1 if line.head is None else line.head]]
            for line in self.lines[group]
        }
        return _Placed(
            found.width + 2 * pad,
            found.height,
            {key: x + pad for key, x in found.tops.items()},
            {key: x + pad for key, x in found.bottoms.items()},
            [(x + pad, y) for x, y in found.corners],
            pieces,
        )


def _outside_in(group: Group) -> Iterator[Group]:
    """A group and all in it, each before those within."""
    waiting = [group]
    while waiting:
        group = waiting.pop()
        yield group
        waiting += [member for member in reversed(group.members) if isinstance(member, Group)]
