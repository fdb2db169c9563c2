"""Which module made a part of the graph: a note at the nodes that a module's outputs hang from.

Nodes are numbered as they are made, so what a module has made lies between the moment it was called and the node of
its output. To note those two is all that has to be done while a program runs; the instruments in `inspect` read them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple
from weakref import ref

from ..graph import Node, Tensor


class Call(NamedTuple):
    """One call of a module: every node that was born after `since`, up to the one that has this note, is its own."""

    module: Any  # None if it is no more: a graph keeps no module alive
    kind: type
    since: int


def note_call(module: Any, since: int, output: Any) -> None:
    """Note at the nodes of `output` which module gave it, if they were recorded after `since`."""
    if type(output) is Tensor:
        source = output._source
        if source is not None and source[0].birth > since:
            node = source[0]
            node.calls = ref(module), type(module), since, node.calls
    elif isinstance(output, (tuple, list)):
        for part in output:
            note_call(module, since, part)
    elif isinstance(output, dict):
        for part in output.values():
            note_call(module, since, part)
    elif "data" in getattr(type(output), "__dataclass_fields__", ()):  # a packed batch
        note_call(module, since, output.data)


def calls_of(node: Node) -> Iterator[Call]:
    """The calls that gave an output of this node, the last, which is the outermost, first."""
    noted = node.calls
    while noted is not None:
        module, kind, since, noted = noted
        yield Call(module(), kind, since)
