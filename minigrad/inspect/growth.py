"""How large the graph is while a program runs, and whether it grows from chunk to chunk: the forgotten `detach`.

A *chunk* is what is computed from one backward pass to the next (or to the next `step` mark). In truncated
backpropagation through time each chunk has a graph of its own, and the backward pass frees it. Two things show that
one does not: passes go through more and more chunks, or ever more chunks have something that somebody still holds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from weakref import ref

from ..backend import is_array
from ..graph import Node, Tensor, tick

MANY: Final = 4  # chunks, each of which hangs on the one before: then it is called a leak


class Sample(NamedTuple):
    """The graph at one moment."""

    time: int  # nanoseconds
    nodes: int  # alive, and not freed by a pass
    kept: int  # bytes that they keep for the backward pass


class Crossing(NamedTuple):
    """A node that takes what an earlier chunk has computed."""

    node: int  # its birth
    source: int  # the birth of the node it takes it from
    chunk: int
    is_number: bool  # whether it gives a single number, like a sum of losses


class Pass(NamedTuple):
    """One backward pass."""

    nodes: int
    chunks: int  # how many of them it went through
    last: int  # the newest of these


class Growth:
    """What is known of the graph that one thread makes."""

    def __init__(self, thread: str) -> None:
        self.thread = thread
        self.nodes: list[ref[Node]] = []
        self.enough = 1000  # nodes, at which to look again
        self.samples: list[Sample] = []
        self.starts = [tick()]  # of the chunks, on the clock that numbers nodes
        self.seen = self.starts[0]  # up to where crossings have been looked for
        self.newest = 0  # the birth of the newest node
        self.crossings: list[Crossing] = []
        self.passes: list[Pass] = []
        self.survivors: list[dict[int, int]] = []  # at the end of each chunk: chunk → the newest node of it that is left
        self.failed_chunk: int | None = None  # in which a pass ran into a graph that is no more

    def chunk_of(self, birth: int) -> int:
        """The number of a chunk; that of what was there before is -1."""
        return bisect_right(self.starts, birth) - 1

    def look(self, time: int) -> None:
        """Take a sample, and look for what crosses from one chunk into another."""
        count, alive = len(self.nodes), []
        owners: dict[int, int] = {}
        leaves: set[int] = set()
        live, start, newest = 0, self.starts[-1], self.seen
        for reference in self.nodes[:count]:
            node = reference()
            if node is None:
                continue
            alive.append(reference)
            if not node.edges:
                continue
            live += 1
            for array in kept_by(node):
                owners[id(array)] = array.nbytes
            for edge in node.edges:
                if type(edge) is Tensor:
                    leaves.add(id(_owner(edge._data)))
            if node.birth > self.seen:
                newest = max(newest, node.birth)
                self._find_crossing(node, start)
        self.nodes[:count] = alive
        self.enough = 2 * len(alive) + 1000
        self.seen = newest
        kept = sum(size for owner, size in owners.items() if owner not in leaves)
        self.samples.append(Sample(time, live, kept))

    def _find_crossing(self, node: Node, start: int) -> None:
        for edge in node.edges:
            if type(edge) is tuple and edge[0].birth <= start:
                is_number = all(not spec.shape for spec in node.specs)
                self.crossings.append(Crossing(node.birth, edge[0].birth, len(self.starts) - 1, is_number))
                return

    def gone_back(self, births: list[int], create_graph: bool, failed: bool) -> None:
        """Note a backward pass through nodes of these births, which may have failed because some were freed."""
        self.failed_chunk = len(self.starts) - 1 if failed else None
        if not create_graph and births:
            chunks = {self.chunk_of(birth) for birth in births}
            self.passes.append(Pass(len(births), len(chunks), max(chunks)))
            self.end_chunk()
        self.seen = tick()  # what a pass has recorded is nobody's carelessness

    def step(self) -> None:
        """End the chunk, if something is left of it that no pass has ended it for."""
        nodes = (reference() for reference in self.nodes)
        if any(node is not None and node.birth > self.starts[-1] for node in nodes):
            self.end_chunk()

    def end_chunk(self) -> None:
        """Begin another chunk, and see of which ones something is left."""
        left: dict[int, int] = {}
        for reference in self.nodes:
            node = reference()
            if node is not None:
                chunk = self.chunk_of(node.birth)
                left[chunk] = max(left.get(chunk, 0), node.birth)
        self.survivors.append(left)
        self.starts.append(tick())

    # Leaks ----------------------------------------------------------------------------------------

    def longest_chain(self) -> list[Pass]:
        """The passes, one after the other, of which each went through one more chunk than the one before."""
        best: list[Pass] = []
        run: list[Pass] = []
        for found in self.passes:
            run = [*run, found] if run and found.chunks > run[-1].chunks else [found]
            best = max(best, run, key=len)
        return best if len(best) >= MANY else []

    def hoarded(self) -> dict[int, int]:
        """Chunk → newest node left of it, if at the end of each chunk there was something left of one more."""
        counts = [len(left) for left in self.survivors]
        grows = all(a <= b for a, b in zip(counts, counts[1:], strict=False))
        rises = sum(a < b for a, b in zip(counts, counts[1:], strict=False))
        return self.survivors[-1] if grows and rises >= MANY - 1 and 2 * rises >= len(counts) - 1 else {}

    def first_crossing(self, chunk: int) -> Crossing | None:
        """The first operation of a chunk that takes what an earlier one has computed."""
        return min((c for c in self.crossings if c.chunk == chunk), default=None)


def kept_by(node: Node) -> Iterator[Any]:
    """The arrays that own what a node keeps for the backward pass."""
    output: Any = node.output
    if is_array(output):
        yield _owner(output)
    elif output is not None:  # of a time loop: its states, and what it has kept of each step
        for array in (*output.arrays.values(), *output.states):
            yield _owner(array)
    if node.lookup is not None:
        yield _owner(node.lookup.table._data)
    for x in (*node.inputs, *node.parameters.values()):
        if type(x) is Tensor:
            yield _owner(x._data)
        elif is_array(x):
            yield _owner(x)
        elif hasattr(x, "sources") and hasattr(x, "args"):  # of a checkpoint: what its function is called with
            for argument in (*x.args, *x.kwargs.values()):
                if type(argument) is Tensor:
                    yield _owner(argument._data)


def _owner(array: Any) -> Any:
    """The array whose memory this one looks into."""
    while is_array(getattr(array, "base", None)):
        array = array.base
    return array
