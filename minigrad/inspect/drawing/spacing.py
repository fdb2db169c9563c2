"""The middles of boxes and bends, with the order of each layer given: lines straight, boxes near their neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from .order import Links

ROUNDS = 6
STIFF = 4.0  # how much more a bend pulls than a box: long lines are to be straight
LITTLE = 10.0

Near = list[list[tuple[int, float, float]]]  # by box: its neighbours, the offset of the two ends, and the weight


def across(links: Links, layers: Sequence[Sequence[int]]) -> list[float]:
    """The middle of each box and bend: where its neighbours would have it, as near as the order allows."""
    xs = [0.0] * len(links.width)
    for layer in layers:
        links.packed(layer, xs)
    room = [[links.room(a, b) for a, b in pairwise(layer)] for layer in layers]
    above: Near = [[] for _ in xs]
    below: Near = [[] for _ in xs]
    for k, (u, v) in enumerate(zip(links.upper, links.lower, strict=True)):
        offset = links.beginning(k) - links.ending(k)
        weight = (STIFF if u >= links.boxes else 1.0) * (STIFF if v >= links.boxes else 1.0)
        above[v].append((u, offset, weight))
        below[u].append((v, -offset, weight))
    around = [a + b for a, b in zip(above, below, strict=True)]
    above, below = (
        [a or b for a, b in zip(above, below, strict=True)],
        [b or a for a, b in zip(above, below, strict=True)],
    )

    def settle(order: Iterable[int], near: Near) -> None:
        for r in order:
            wanted, weights = [], []
            for v in layers[r]:
                weight = sum(w for _, _, w in near[v])
                wanted.append(sum(w * (xs[u] + offset) for u, offset, w in near[v]) / weight if weight else xs[v])
                weights.append(weight or 1e-3)
            for v, x in zip(layers[r], isotonic(wanted, weights, room[r]), strict=True):
                xs[v] = x

    down = range(len(layers))
    for _ in range(ROUNDS):
        settle(down, above)
        settle(reversed(down), below)
    for _ in range(2):
        settle(down, around)
        settle(reversed(down), around)
    return xs


def isotonic(wanted: Sequence[float], weights: Sequence[float], room: Sequence[float]) -> list[float]:
    """The places nearest to the wanted ones that keep the distances between neighbours.

    Equation: minimise Σ wᵢ (xᵢ - wantedᵢ)² with xᵢ₊₁ - xᵢ ≥ roomᵢ. With yᵢ = xᵢ - Σ room before i, that is isotonic
    regression, solved by pooling neighbours that are in the wrong order (Ayer et al. 1955).

    >>> isotonic([0.0, 1.0, 9.0], [1.0, 1.0, 1.0], [3.0, 3.0])
    [-1.0, 2.0, 9.0]
    """
    before = [0.0]
    for each in room:
        before.append(before[-1] + each)
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for x, weight, shift in zip(wanted, weights, before, strict=False):
        mean, count = x - shift, 1
        while pools and pools[-1][0] >= mean:
            other, more, members = pools.pop()
            mean = (mean * weight + other * more) / (weight + more)
            weight, count = weight + more, count + members
        pools.append((mean, weight, count))
    means = [mean for mean, _, count in pools for _ in range(count)]
    return [mean + shift for mean, shift in zip(means, before, strict=False)]


def straighten(links: Links, layers: Sequence[Sequence[int]], lines: Iterable[Sequence[int]], xs: list[float]) -> None:
    """Make each line of bends vertical as far as its neighbours leave room, and what leans a little; changes `xs`."""
    place = {v: (r, k) for r, layer in enumerate(layers) for k, v in enumerate(layer)}

    def free(v: int) -> tuple[float, float]:
        r, k = place[v]
        layer = layers[r]
        low = xs[layer[k - 1]] + links.room(layer[k - 1], v) if k else float("-inf")
        high = xs[layer[k + 1]] - links.room(v, layer[k + 1]) if k + 1 < len(layer) else float("inf")
        return low, high

    for line in lines:
        i = 0
        while i < len(line):
            low, high = free(line[i])
            j = i + 1
            while j < len(line):
                lower, higher = free(line[j])
                if max(low, lower) > min(high, higher):
                    break
                low, high = max(low, lower), min(high, higher)
                j += 1
            above = [xs[links.upper[k]] + links.beginning(k) for k in links.into[line[i]]]
            below = [xs[links.lower[k]] + links.ending(k) for k in links.out[line[j - 1]]]
            wanted = next((x for x in above if low <= x <= high), sum(below or above) / len(below or above))
            x = min(max(wanted, low), high)
            for v in line[i:j]:
                xs[v] = x
            i = j

    for layer in layers:
        for v in layer:
            if v < links.boxes and len(links.into[v]) == 1:
                k = links.into[v][0]
                x = xs[links.upper[k]] + links.beginning(k) - links.ending(k)
                low, high = free(v)
                if abs(x - xs[v]) < LITTLE and low <= x <= high:
                    xs[v] = x
