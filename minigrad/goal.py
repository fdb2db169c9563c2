"""Which part of a graph a sweep has to go through."""

from __future__ import annotations

from collections.abc import Sequence

from .graph import Edge, Node, Tensor

Place = tuple[int, int]  # where a computed tensor stands: the birth of its node, and the number of the output


def place_of(source: tuple[Node, int]) -> Place:
    return source[0].birth, source[1]


class Goal:
    """Which part of a graph lies between the outputs and the tensors whose gradients are wanted."""

    def __init__(self, wanted: Sequence[Edge], outputs: Sequence[Tensor], since: int) -> None:
        self.leaves = {id(edge) for edge in wanted if type(edge) is Tensor}
        self.places = {place_of(edge) for edge in wanted if type(edge) is tuple}
        self.useful: set[int] = set()  # births of nodes with an edge that leads to a wanted tensor

        # What was born before every wanted tensor leads to none.
        oldest = since if self.leaves else max(since, min((birth for birth, _ in self.places), default=0))
        reachable: dict[int, Node] = {}
        frontier = [x._source[0] for x in outputs if x._source]
        while frontier:
            node = frontier.pop()
            if node.birth > oldest and node.birth not in reachable:
                reachable[node.birth] = node
                frontier.extend(edge[0] for edge in node.edges if type(edge) is tuple)
        for birth in sorted(reachable):  # oldest first: a node's inputs are decided before it is
            node = reachable[birth]
            if not node.edges or any(self.led_to_by(edge) for edge in node.edges):
                self.useful.add(birth)  # a freed node may have led there: it counts, and the sweep raises

    def led_to_by(self, edge: Edge) -> bool:
        """Whether an edge leads to a wanted tensor."""
        if type(edge) is tuple:
            return edge[0].birth in self.useful or place_of(edge) in self.places
        return id(edge) in self.leaves
