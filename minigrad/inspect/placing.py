"""Where the explorer's boxes lie: time goes from left to right, and within a time step the values flow downward.

The operations come in blocks: each round of a loop is one, and what stands between loops is another. Blocks stand side
by side in the order of computing. In a block, an operation lies below all that it reads there, and beside what it
belongs to: each layer is ordered by the mean place of what its boxes are joined to (the barycentre of Sugiyama, Tagawa
and Toda 1981), a few times down and up. Rounds of a loop look the same, so one of them is ordered for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .computation import Operation, Value
from .folding import Repeat

WIDTH, HEIGHT = 132.0, 50.0  # of a box
ASIDE, BELOW, APART, SHARED = 22.0, 34.0, 64.0, 110.0  # between boxes, layers, blocks; below what blocks share
TALLEST = 24  # layers of a block; one that is taller goes on in a block beside it
SWEEPS = 6


@dataclass
class Block:
    """Boxes that stand together; `round` is (loop, round) for those of a loop."""

    boxes: list[int] = field(default_factory=list)
    round: tuple[int, int] | None = None


@dataclass
class Places:
    """The upper left corner of each box, and the blocks they stand in."""

    corners: list[tuple[float, float]]
    blocks: list[Block]


def placed(
    parts: Sequence[Operation | Repeat], box_of: dict[Value, int], operation_box: dict[int, int], count: int
) -> Places:
    """Places for all boxes.

    Args:
        parts: the operations, folded.
        box_of: the box of each value that has one, a leaf's own or that of the operation that gives it.
        operation_box: the box of an operation, by its number.
        count: of all boxes.
    """
    operations = _in_order(parts)
    above: list[list[int]] = [[] for _ in range(count)]
    for operation in operations:
        above[operation_box[operation.number]] = [box_of[x] for x in operation.inputs if x in box_of]
    blocks = _blocks(parts, operation_box, above)
    home = {box: k for k, block in enumerate(blocks) for box in block.boxes}
    shared = _add_leaves(blocks, home, above, count)

    corners = [(0.0, 0.0)] * count
    left, known = 0.0, {}
    top = (HEIGHT + SHARED) if shared else 0.0
    for block in blocks:
        key = (block.round[0], _form(block, above)) if block.round else None
        if key is None or key not in known:
            found = _arranged(block, above)
            if key is not None:
                known[key] = found
        else:
            found = known[key]
        layers, width = found
        for depth, layer in enumerate(layers):
            for place, x in layer:
                corners[block.boxes[place]] = (left + x, top + depth * (HEIGHT + BELOW))
        left += width + (APART if block.round is None else APART * 0.6)
    _place_shared(shared, home, above, corners)
    return Places(corners, blocks)


def _in_order(parts: Sequence[Operation | Repeat]) -> list[Operation]:
    return [o for part in parts for o in (_of(part) if isinstance(part, Repeat) else [part])]


def _of(repeat: Repeat) -> list[Operation]:
    return [operation for steps in repeat.rounds for operation in steps]


def _blocks(
    parts: Sequence[Operation | Repeat], operation_box: dict[int, int], above: Sequence[Sequence[int]]
) -> list[Block]:
    """A block for each round, and for what stands between: as many as its depth asks for."""
    blocks: list[Block] = []
    depth: dict[int, int] = {}
    loop = 0
    for part in parts:
        if isinstance(part, Repeat):
            for k, steps in enumerate(part.rounds):
                blocks.append(Block([operation_box[o.number] for o in steps], (loop, k)))
            loop += 1
            depth = {}
            continue
        box = operation_box[part.number]
        depth[box] = 1 + max((depth[a] for a in above[box] if a in depth), default=-1)
        if not blocks or blocks[-1].round is not None or depth[box] >= TALLEST:
            blocks.append(Block())
            depth = {box: 0}
        blocks[-1].boxes.append(box)
    return blocks


def _add_leaves(blocks: list[Block], home: dict[int, int], above: list[list[int]], count: int) -> list[int]:
    """Put each leaf into the block that uses it; those that several use are returned."""
    users: dict[int, list[int]] = {}
    for box, inputs in enumerate(above):
        for a in inputs:
            users.setdefault(a, []).append(box)
    shared = []
    for leaf in range(count):
        if leaf in home:
            continue
        where = {home[u] for u in users[leaf]}
        if len(where) == 1:
            (k,) = where
            blocks[k].boxes.append(leaf)
            home[leaf] = k
        else:
            shared.append(leaf)
    return shared


def _form(block: Block, above: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """What two rounds have in common if they can be laid out alike: who reads whom, by place."""
    places = {box: k for k, box in enumerate(block.boxes)}
    return tuple(tuple(places.get(a, -1) for a in above[box]) for box in block.boxes)


def _arranged(block: Block, above: Sequence[Sequence[int]]) -> tuple[list[list[tuple[int, float]]], float]:
    """The layers of a block, each of (place in the block, left edge); and its width."""
    places = {box: k for k, box in enumerate(block.boxes)}
    up = [[places[a] for a in above[box] if a in places] for box in block.boxes]
    down: list[list[int]] = [[] for _ in up]
    for k, inputs in enumerate(up):
        for a in inputs:
            down[a].append(k)
    depth = [0] * len(up)
    leaves = [k for k, box in enumerate(block.boxes) if not above[box]]
    for k in range(len(up)):  # operations come in the order of computing; leaves after them, all in the first layer
        if k not in leaves:
            depth[k] = 1 + max((depth[a] for a in up[k]), default=-1)
    for k in leaves:  # just above who reads them first
        depth[k] = max(0, min((depth[d] for d in down[k]), default=1) - 1)
    layers: list[list[int]] = [[] for _ in range(max(depth) + 1)]
    for k, d in enumerate(depth):
        layers[d].append(k)
    centre = {k: float(place) * (WIDTH + ASIDE) for layer in layers for place, k in enumerate(layer)}
    for sweep in range(SWEEPS):
        joined = up if sweep % 2 == 0 else down
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wanted = {k: sum(centre[j] for j in joined[k]) / len(joined[k]) if joined[k] else centre[k] for k in layer}
            layer.sort(key=lambda k: (wanted[k], k))
            _spread(layer, wanted, centre)
    leftmost = min(centre.values())
    width = max(centre.values()) - leftmost + WIDTH
    return [[(k, centre[k] - leftmost) for k in layer] for layer in layers], width


def _spread(layer: Sequence[int], wanted: dict[int, float], centre: dict[int, float]) -> None:
    """Boxes as near to where they are wanted as their widths allow: those that touch share their mean."""
    step = WIDTH + ASIDE
    groups: list[tuple[float, int]] = []  # (wanted place of its first, how many)
    for k in layer:
        first, size = wanted[k], 1
        while groups and groups[-1][0] + groups[-1][1] * step > first:
            before, many = groups.pop()
            first = (before * many + (first - many * step) * size) / (many + size)
            size += many
        groups.append((first, size))
    k = 0
    for first, size in groups:
        for place in range(size):
            centre[layer[k]] = first + place * step
            k += 1


def _place_shared(
    shared: Sequence[int], home: dict[int, int], above: Sequence[Sequence[int]], corners: list[tuple[float, float]]
) -> None:
    """What several blocks use stands in a row above all, each near the middle of its users."""
    users: dict[int, list[float]] = {leaf: [] for leaf in shared}
    for box, inputs in enumerate(above):
        for a in inputs:
            if a in users:
                users[a].append(corners[box][0])
    wanted = {leaf: sum(xs) / len(xs) for leaf, xs in users.items()}
    order = sorted(shared, key=lambda leaf: (wanted[leaf], leaf))
    centre: dict[int, float] = {}
    _spread(order, wanted, centre)
    for leaf in order:
        corners[leaf] = (centre[leaf], 0.0)
