"""Links between neighbouring layers, and the order in each layer so that few of them cross."""

from __future__ import annotations

from collections.abc import Sequence

SWEEPS = 10
BETWEEN_BOXES = 24.0
BETWEEN_LINES = 12.0
WIDEST_SHARE = 36.0  # between two arrows that end at the same box


class Links:
    """Boxes and bends, each in its layer, and the links from one layer to the next. A bend is a box of no size.

    Attributes:
        width, rank: of each box and bend; the bends follow the `boxes` boxes.
        upper, lower: of each link, what it joins.
        start, end: where on their sides, from the left; None: where there is room.
        into, out: by box or bend, its links from above and to below.
    """

    def __init__(self, width: Sequence[float], rank: Sequence[int]) -> None:
        self.boxes = len(width)
        self.width, self.rank = list(width), list(rank)
        self.upper: list[int] = []
        self.lower: list[int] = []
        self.start: list[float | None] = []
        self.end: list[float | None] = []
        self.into: list[list[int]] = [[] for _ in width]
        self.out: list[list[int]] = [[] for _ in width]

    def bend(self, rank: int) -> int:
        self.width.append(0.0)
        self.rank.append(rank)
        self.into.append([])
        self.out.append([])
        return len(self.width) - 1

    def link(self, upper: int, lower: int, start: float | None, end: float | None) -> int:
        k = len(self.upper)
        self.upper.append(upper)
        self.lower.append(lower)
        self.start.append(start)
        self.end.append(end)
        self.out[upper].append(k)
        self.into[lower].append(k)
        return k

    def beginning(self, k: int) -> float:
        """Where a link begins, from the middle of the upper box."""
        start = self.start[k]
        return 0.0 if start is None else start - self.width[self.upper[k]] / 2

    def ending(self, k: int) -> float:
        """Where a link ends, from the middle of the lower box."""
        end = self.end[k]
        return 0.0 if end is None else end - self.width[self.lower[k]] / 2

    def room(self, a: int, b: int) -> float:
        """The least distance between the middles of two neighbours."""
        lines = (a >= self.boxes) + (b >= self.boxes)
        gap = (BETWEEN_BOXES, (BETWEEN_BOXES + BETWEEN_LINES) / 2, BETWEEN_LINES)[lines]
        return gap + (self.width[a] + self.width[b]) / 2

    def packed(self, layer: Sequence[int], xs: list[float]) -> None:
        """Put a layer side by side, around 0."""
        at = 0.0
        for k, v in enumerate(layer):
            at += self.room(layer[k - 1], v) if k else 0.0
            xs[v] = at
        for v in layer:
            xs[v] -= at / 2

    def spread_ends(self, layers: Sequence[Sequence[int]]) -> None:
        """Where nobody said at which point of a box an arrow ends: side by side, in the order of their beginnings."""
        place = {v: k for layer in layers for k, v in enumerate(layer)}
        for v in range(self.boxes):
            free = [k for k in self.into[v] if self.end[k] is None]
            free.sort(key=lambda k: (place[self.upper[k]], self.beginning(k), k))
            step = min(self.width[v] / (len(free) + 1), WIDEST_SHARE)
            for i, k in enumerate(free):
                self.end[k] = self.width[v] / 2 + (i - (len(free) - 1) / 2) * step


def fewest_crossings(links: Links, title: int | None = None) -> list[list[int]]:
    """The boxes and bends of each layer, from left to right.

    Layer by layer each goes to the mean of its neighbours, downwards and upwards by turns; the best of all is kept.
    """
    layers: list[list[int]] = [[] for _ in range(max(links.rank, default=-1) + 1)]
    for v in _by_depth(links):
        layers[links.rank[v]].append(v)
    xs = [0.0] * len(links.width)
    for layer in layers:
        _put(links, layer, xs, title)
    best, fewest, idle = [list(layer) for layer in layers], _crossings(links, layers, xs), 0
    for sweep in range(SWEEPS):
        if not fewest or idle == 4:
            break
        downward = sweep % 2 == 0
        for layer in layers if downward else reversed(layers):
            _sort(links, layer, xs, downward)
            _put(links, layer, xs, title)
        found = _crossings(links, layers, xs)
        idle += 1
        if found < fewest:
            best, fewest, idle = [list(layer) for layer in layers], found, 0
    return best


def _by_depth(links: Links) -> list[int]:
    """From the lowest boxes up, each before what leads to it: trees come out without crossings."""
    seen = [False] * len(links.width)
    found = []
    ends = [v for v in range(len(links.width)) if not links.out[v]]
    for end in ends:
        waiting = [end]
        while waiting:
            v = waiting.pop()
            if not seen[v]:
                seen[v] = True
                found.append(v)
                waiting += [links.upper[k] for k in reversed(links.into[v])]
    return found


def _sort(links: Links, layer: list[int], xs: list[float], downward: bool) -> None:
    wanted = {}
    for v in layer:
        if downward:
            near = [xs[links.upper[k]] + links.beginning(k) - links.ending(k) for k in links.into[v]]
        else:
            near = [xs[links.lower[k]] + links.ending(k) - links.beginning(k) for k in links.out[v]]
        wanted[v] = sum(near) / len(near) if near else xs[v]
    layer.sort(key=wanted.__getitem__)


def _put(links: Links, layer: list[int], xs: list[float], title: int | None) -> None:
    if title in layer:
        layer.remove(title)
        layer.insert(0, title)
    links.packed(layer, xs)


def _crossings(links: Links, layers: Sequence[Sequence[int]], xs: Sequence[float]) -> int:
    """How many pairs of links cross: between two layers, the pairs in another order below than above.

    Counted by a Fenwick tree: Barth, Jünger, Mutzel 2002, "Simple and efficient bilayer cross counting".
    """
    total = 0
    for layer in layers:
        below = [
            (xs[v] + links.beginning(k), xs[links.lower[k]] + links.ending(k)) for v in layer for k in links.out[v]
        ]
        below.sort()
        place = {x: i for i, x in enumerate(sorted({x for _, x in below}), 1)}
        counts = [0] * (len(place) + 1)
        for seen, (_, x) in enumerate(below):
            i, not_right = place[x], 0
            while i:
                not_right += counts[i]
                i &= i - 1
            total += seen - not_right
            i = place[x]
            while i < len(counts):
                counts[i] += 1
                i += i & -i
    return total
