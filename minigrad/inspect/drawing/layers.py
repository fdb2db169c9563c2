"""Boxes in layers, from top to bottom: every arrow goes from a higher layer to a lower one.

The way of Sugiyama, Tagawa and Toda 1981 ("Methods for visual understanding of hierarchical system structures"):
layers first, then the order in each so that few arrows cross (order.py), then the coordinates (spacing.py). An arrow
that passes layers gets a bend in each, for which room is kept as for a box, so that it goes round what stands there.
Arrows that begin at the same place share their bends: what is used in a hundred places is one line with branches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from .order import Links, fewest_crossings
from .spacing import across, straighten

Point = tuple[float, float]

BETWEEN = 30.0  # between two layers
CLOSE = 20.0  # between one and where lines enter or leave
STEEP = 0.12  # of the longest way sideways between two layers: they stand further apart, so that no line is flat
FURTHEST = 180.0
MOST_BENDS = 40_000  # laying out so many takes some seconds


@dataclass
class Net:
    """The arrows that begin at one place: where on the lower side of its box (None: anywhere), and where they end."""

    tail: int
    start: float | None = None
    heads: list[tuple[int, float | None]] = field(default_factory=list)


@dataclass
class Arranged:
    """Where all lies: the upper left corners of the boxes, the points of each arrow of each net, the whole size."""

    corners: list[Point]
    routes: list[list[list[Point]]]
    width: float
    height: float


def arrange(
    sizes: Sequence[Point],
    nets: Sequence[Net],
    top: Iterable[int] = (),
    bottom: Iterable[int] = (),
    title: int | None = None,
) -> Arranged:
    """Lay out boxes and arrows without a cycle.

    Args:
        sizes: width and height of each box.
        nets: the arrows.
        top, bottom: boxes that have the first and the last layer for themselves.
        title: the box of `top` that is to stand leftmost.

    Raises:
        ValueError: the arrows go in a circle.
    """
    ends = {*top, *bottom} - {title}
    rank = _ranks(len(sizes), nets, set(top), set(bottom))
    links = Links([w for w, _ in sizes], rank)
    chains = _chained(links, nets)
    layers = fewest_crossings(links, title)
    links.spread_ends(layers)
    xs = across(links, layers)
    straighten(links, layers, [_line(net, bends, ends) for net, (bends, _) in zip(nets, chains, strict=True)], xs)
    left = min((x - w / 2 for x, w in zip(xs, links.width, strict=True)), default=0.0)
    close = {links.rank[v] for v in top} | {links.rank[v] - 1 for v in bottom}
    return _measured(sizes, nets, links, layers, chains, [x - left for x in xs], close)


def _ranks(count: int, nets: Sequence[Net], top: set[int], bottom: set[int]) -> list[int]:
    """The layer of each box: as far up as it goes, then down again where that makes the arrows shorter."""
    into: list[list[int]] = [[] for _ in range(count)]  # by box: the boxes before it
    out: list[list[int]] = [[] for _ in range(count)]
    nets_out = [0] * count
    for net in nets:
        nets_out[net.tail] += bool(net.heads)
        for head in dict.fromkeys(head for head, _ in net.heads):
            into[head].append(net.tail)
            out[net.tail].append(head)
    waiting = [len(each) for each in into]
    order = [v for v in range(count) if not waiting[v]]
    for v in order:  # grows as it is read
        for w in out[v]:
            waiting[w] -= 1
            if not waiting[w]:
                order.append(w)
    if len(order) < count:
        raise ValueError("layout: expected arrows without a cycle, got boxes that lead to each other in a circle")

    first = 1 if top else 0
    rank = [0] * count
    for v in order:
        if v not in top:
            rank[v] = max([first, *(rank[u] + 1 for u in into[v])])
    last = max((rank[v] for v in range(count) if v not in bottom), default=0) + 1
    for v in bottom:
        rank[v] = last
    for v in reversed(order):
        if v not in top and v not in bottom and out[v] and len(into[v]) <= nets_out[v]:
            rank[v] = min(rank[w] for w in out[v]) - 1
    lowest = min(rank, default=0)
    return [r - lowest for r in rank]


Chain = tuple[dict[int, int], list[int]]  # the bend in each layer, and the last link of each arrow; or nothing


def _chained(links: Links, nets: Sequence[Net]) -> list[Chain]:
    """The bends of each net, and links from the box through them to where the arrows end.

    Where there would be too many bends to lay out, the longest nets have none, and pass behind what is in their way.
    """
    length = [max((links.rank[head] for head, _ in net.heads), default=0) - links.rank[net.tail] - 1 for net in nets]
    room, long = MOST_BENDS, set(range(len(nets)))
    for number in sorted(range(len(nets)), key=lambda k: (length[k], k)):
        room -= max(length[number], 0)
        if room >= 0:
            long.discard(number)
    return [({}, []) if number in long else _bent(links, net) for number, net in enumerate(nets)]


def _bent(links: Links, net: Net) -> Chain:
    bends: dict[int, int] = {}
    before, start = net.tail, net.start
    furthest = max((links.rank[head] for head, _ in net.heads), default=0)
    for r in range(links.rank[net.tail] + 1, furthest):
        bends[r] = links.bend(r)
        links.link(before, bends[r], start, 0.0)
        before, start = bends[r], 0.0
    last = []
    for head, end in net.heads:
        before = bends.get(links.rank[head] - 1, net.tail)
        last.append(links.link(before, head, net.start if before == net.tail else 0.0, end))
    return bends, last


def _line(net: Net, bends: dict[int, int], ends: set[int]) -> list[int]:
    """What of a net is to be vertical: its bends, and where it enters or leaves."""
    found = [net.tail] if net.tail in ends and bends else []
    found += bends.values()
    leaving = [head for head, _ in net.heads if head in ends]
    return found + leaving[:1] if bends else found


def _measured(
    sizes: Sequence[Point],
    nets: Sequence[Net],
    links: Links,
    layers: Sequence[Sequence[int]],
    chains: Sequence[Chain],
    xs: Sequence[float],
    close: Collection[int],
) -> Arranged:
    """From layers and middles to points; below the layers in `close` there is little room."""
    count = len(sizes)
    heights = [max((sizes[v][1] for v in layer if v < count), default=0.0) for layer in layers]
    sideways = [0.0] * len(layers)
    for k, (u, v) in enumerate(zip(links.upper, links.lower, strict=True)):
        r = links.rank[v]
        sideways[r] = max(sideways[r], abs(xs[u] + links.beginning(k) - xs[v] - links.ending(k)))
    tops, y = [], 0.0
    for r, height in enumerate(heights):
        if r and layers[r]:
            y += max(CLOSE if r - 1 in close else BETWEEN, min(STEEP * sideways[r], FURTHEST))
        tops.append(y)
        y += height

    corners = []
    for v, (w, h) in enumerate(sizes):
        r = links.rank[v]
        corners.append((xs[v] - w / 2, tops[r] + (heights[r] - h) / 2))
    routes = []
    for net, (bends, last) in zip(nets, chains, strict=True):
        tail_rank, found = links.rank[net.tail], []
        bottom = corners[net.tail][1] + sizes[net.tail][1]
        start = net.start if net.start is not None else sizes[net.tail][0] / 2
        x = corners[net.tail][0] + start
        stem = [(x, bottom), (x, tops[tail_rank] + heights[tail_rank])]
        for number, (head, end) in enumerate(net.heads):
            points = list(stem)
            for r in range(tail_rank + 1, links.rank[head]) if bends else ():
                points += [(xs[bends[r]], tops[r]), (xs[bends[r]], tops[r] + heights[r])]
            x = xs[head] + (links.ending(last[number]) if last else 0.0 if end is None else end - sizes[head][0] / 2)
            found.append(shortened([*points, (x, tops[links.rank[head]]), (x, corners[head][1])]))
        routes.append(found)
    return Arranged(corners, routes, max((x + w / 2 for x, w in zip(xs, links.width, strict=True)), default=0.0), y)


def shortened(points: Sequence[Point]) -> list[Point]:
    """A line without the points that change nothing."""
    found: list[Point] = []
    for x, y in points:
        while len(found) > 1 and abs(found[-1][0] - x) < 0.05 and abs(found[-2][0] - x) < 0.05:
            found.pop()
        if found and abs(found[-1][0] - x) < 0.05 and abs(found[-1][1] - y) < 0.05:
            continue
        found.append((x, y))
    return found
