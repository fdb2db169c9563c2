"""How large the graph is while a program runs, and whether it grows from chunk to chunk: the forgotten `detach`.

A *chunk* is what is computed from one backward pass to the next (or to the next `step` mark). In truncated
backpropagation through time each chunk has a graph of its own, and the backward pass frees it. Two things show that
one does not: passes go through more and more chunks, or ever more chunks have something that somebody still holds.
"""

from __future__ import annotations

import gc
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final, NamedTuple
from weakref import ref

from ...backend import is_array
from ...graph import Node, Tensor, tick
from ...recompute import checkpointed

FEW: Final = 50  # nodes, which are looked at in no time
MANY: Final = 4  # chunks, each of which hangs on the one before: then it is called a leak


class Sample(NamedTuple):
    """The graph at one moment."""

    time: float  # seconds
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

    def __init__(self) -> None:
        self.nodes: list[ref[Node]] = []
        self.enough = 1000  # nodes, at which to look again
        self.at_pass = (0, 0)  # before the last backward pass: how many nodes there were, and how often as many
        self.samples: list[Sample] = []
        self.before_pass = Sample(0.0, 0, 0)  # the last one of a graph that no pass has gone through yet
        self.starts = [tick()]  # of the chunks, on the clock that numbers nodes
        self.seen = self.starts[0]  # up to where crossings have been looked for
        self.crossings: list[Crossing] = []
        self.passes: list[Pass] = []
        self.survivors: list[dict[int, int]] = []  # at the end of each chunk: chunk → the newest node left of it
        self.is_marked = False  # whether the program says where its steps end
        self.suspicious = MANY  # chunks of which something is left
        self.failed_chunk: int | None = None  # in which a pass ran into a graph that is no more

    def chunk_of(self, birth: int) -> int:
        """The number of a chunk; that of what was there before is -1."""
        return bisect_right(self.starts, birth) - 1

    def is_as_usual(self, time: float) -> bool:
        """Whether a pass finds as many nodes as those before it: then the sample is the same, and nothing is grown."""
        count, (before, times) = len(self.nodes), self.at_pass
        self.at_pass = count, times + 1 if count == before else 0
        if count != before or times < 2 or count < FEW:
            return False
        self.samples.append(self.before_pass._replace(time=time))
        return True

    def look(self, time: float) -> None:
        """Take a sample, and look for what crosses from one chunk into another. The profiler's dearest part."""
        nodes, alive = self.nodes[:], []
        arrays: dict[int, Any] = {}
        leaves: dict[int, Any] = {}
        live, seen, start, newest = 0, self.seen, self.starts[-1], self.seen
        for reference in nodes:
            node: Any = reference()
            if node is None:
                continue
            alive.append(reference)
            edges = node.edges
            if not edges:  # a pass has freed it
                continue
            live += 1
            for x in node.inputs:
                if type(x) is Tensor:
                    arrays[id(x._data)] = x._data
            if node.output is not None or node.lookup is not None or node.parameters:
                for array in _kept_besides(node):
                    arrays[id(array)] = array
            birth, crosses = node.birth, None
            for edge in edges:
                if type(edge) is Tensor:
                    leaves[id(edge)] = edge
                elif edge is not None and birth > seen and edge[0].birth <= start:
                    crosses = edge[0].birth
            if birth > newest:
                newest = birth
            if crosses is not None:
                is_number = not any(spec.shape for spec in node.specs)
                self.crossings.append(Crossing(birth, crosses, len(self.starts) - 1, is_number))
        self.nodes[: len(nodes)] = alive
        self.enough = 2 * len(alive) + 1000
        self.seen = newest
        owners = {id(owner): owner.nbytes for owner in map(owner_of, arrays.values())}
        for leaf in leaves.values():
            owners.pop(id(owner_of(leaf._data)), None)
        self.samples.append(Sample(time, live, sum(owners.values())))
        if newest > seen:
            self.before_pass = self.samples[-1]

    def gone_back(self, births: list[int], create_graph: bool, failed: bool) -> None:
        """Note a backward pass through nodes of these births, which may have failed because some were freed."""
        self.failed_chunk = len(self.starts) - 1 if failed else None
        if not create_graph and births:
            chunks = {self.chunk_of(birth) for birth in births}
            self.passes.append(Pass(len(births), len(chunks), max(chunks)))
            if not self.is_marked:
                self.end_chunk()
        self.seen = tick()  # what a pass has recorded is nobody's carelessness

    def step(self) -> None:
        """End the chunk: where there are marks, they alone end it, whatever passes there were in it."""
        if not self.is_marked:
            self.is_marked = True
            del self.starts[1:], self.survivors[:], self.passes[:], self.crossings[:]
        nodes = (reference() for reference in self.nodes)
        if any(node is not None and node.birth > self.starts[-1] for node in nodes):
            self.end_chunk()

    def end_chunk(self) -> None:
        """Begin another chunk, and see of which ones something is left."""
        left = self._left()
        if len(left) >= self.suspicious:  # or does it only wait for Python's garbage collector?
            gc.collect()
            left = self._left()
            self.suspicious = max(self.suspicious, 2 * len(left))
        self.survivors.append(left)
        self.starts.append(tick())

    def _left(self) -> dict[int, int]:
        found: dict[int, int] = {}
        for reference in self.nodes:
            node = reference()
            if node is not None:
                chunk = self.chunk_of(node.birth)
                found[chunk] = max(found.get(chunk, 0), node.birth)
        return found

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
        """Chunk → newest node left of it, if there was something left of ever more of them, to the end."""
        counts = [len(left) for left in self.survivors]
        rises = [a < b for a, b in pairwise(counts)]
        early, late = sum(rises[: len(rises) // 2]), sum(rises[len(rises) // 2 :])
        grows = all(a <= b for a, b in pairwise(counts)) and early + late >= MANY - 1
        return self.survivors[-1] if grows and 2 * late >= early else {}  # else it has come to an end

    def first_crossing(self, chunk: int) -> Crossing | None:
        """The first operation of a chunk that takes what an earlier one has computed."""
        return min((c for c in self.crossings if c.chunk == chunk), default=None)


def _kept_besides(node: Any) -> Iterator[Any]:
    """The arrays that a node keeps for the backward pass besides its inputs."""
    output = node.output
    if is_array(output):
        yield output
    elif output is not None:  # of a time loop: its states, and what it has kept of each step
        yield from output.arrays.values()
        yield from output.states
    if node.lookup is not None:
        yield node.lookup.table._data
    for x in node.parameters.values():
        if is_array(x):
            yield x
        elif node.primitive is checkpointed:  # what the function is called with
            for argument in (*x.args, *x.kwargs.values()):
                if type(argument) is Tensor:
                    yield argument._data


def owner_of(array: Any) -> Any:
    """The array whose memory this one looks into."""
    base = array.base
    while base is not None and is_array(base):
        array, base = base, base.base
    return array
