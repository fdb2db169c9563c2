"""How the kernel of a time loop is shared out among the blocks of a device: by what a time step takes, estimated."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from ..backend import ArrayNamespace
from .expression import Unfit

MOST_ROWS = 64  # of a tile, as in c/loop.cuh
ROOMS = (16384, 8192, 4096)  # entries of rows in shared memory at once

# Of a multiprocessor in a cycle, where nothing else is said; those of Hopper, as its documents have them, and guesses.
MULTIPLICATIONS = 128
LOADED, LOADED_BY_ALL = 64, 2800  # bytes, from the cache that all share; the latter by all multiprocessors together
LATENCY, MEETING = 1000, 2000  # cycles until the first entries have come, and until all blocks have met


class Multiplied(NamedTuple):
    """A product by a weight (width, depth), whose columns are shared out in periods."""

    width: int
    period: int
    depth: int

    def columns(self, parts: int) -> int:
        """How many of them a block has at most."""
        return self.width // self.period * -(-self.period // parts)


class Work(NamedTuple):
    """What a time step does."""

    products: tuple[Multiplied, ...]
    nests: int
    meets: int  # how often all blocks meet
    size: int  # bytes of an entry


class Grid(NamedTuple):
    """How a loop is shared out among blocks."""

    across: int  # of the rows of the batch
    parts: int  # of the columns
    room: int  # entries of rows in shared memory
    kept: tuple[int, ...]  # where each product's columns of its weight are kept, in entries; -1 if they are not
    shared: int  # bytes of shared memory


def grid_for(work: Work, rows: int, xp: ArrayNamespace) -> Grid:
    """The grid that needs the fewest cycles, estimated.

    Raises:
        Unfit: a block has too little shared memory, or nothing to do.
    """
    if rows == 0:
        raise Unfit("a batch of nothing")
    blocks = xp.multiprocessors
    rooms = [room_for(work, parts, xp.shared_memory) for parts in range(1, blocks + 1)]
    grids = [
        Grid(min(rows, blocks // parts), parts, *room)
        for parts, room in enumerate(rooms, start=1)
        if room[-1] <= xp.shared_memory
    ]
    if not grids:
        raise Unfit(f"blocks with {min(room[-1] for room in rooms)} bytes of shared memory")
    return min(grids, key=lambda grid: cycles(work, rows, grid))


def room_for(work: Work, parts: int, most: int) -> tuple[int, tuple[int, ...], int]:
    """The room for rows, where weights are kept, and the bytes for all that: no more than `most`, if that can be."""
    panels = [p.columns(parts) * 4 * (-(-p.depth // 4) | 1) for p in work.products]
    for room in ROOMS:
        ends = list(itertools.accumulate(panels, initial=room + 4 * MOST_ROWS))
        if ends[-1] * work.size <= most:
            return room, tuple(ends[:-1]), ends[-1] * work.size
    # Columns that come in pieces have twice the room of rows: with the gaps between them they may take that much.
    kept, used = [], 3 * ROOMS[-1] + 4 * MOST_ROWS
    for panel in panels:
        fits = (used + panel) * work.size <= most
        kept.append(used if fits else -1)
        used += panel if fits else 0
    return ROOMS[-1], tuple(kept), used * work.size


def cycles(work: Work, rows: int, grid: Grid) -> float:
    """What a time step takes. Nothing of this has been measured."""
    mine, blocks = -(-rows // grid.across), grid.across * grid.parts
    found = float(MEETING * work.meets) if grid.parts > 1 else 0.0
    for product, kept in zip(work.products, grid.kept, strict=True):
        depth, columns = product.depth, product.columns(grid.parts)
        loaded = depth * work.size * (mine + (columns if kept < 0 else 0))
        multiplied = -(-mine // 4) * -(-columns // 4) * 16 * depth / MULTIPLICATIONS
        found += LATENCY + max(multiplied, loaded / LOADED, loaded * blocks / LOADED_BY_ALL)
    return found + LATENCY * work.nests
