"""Which module made a part of the graph: a note at the nodes that a module's outputs hang from.

Nodes are numbered as they are made, so what a module has made lies between the moment it was called and the node of
its output. To note those two is all that has to be done while a program runs; the instruments in `inspect` read them.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

from ..graph import Tensor


class Call(NamedTuple):
    """One call of a module: every node that was born after `since`, up to the one that has this note, is its own."""

    module: weakref.ref[Any]  # a graph keeps no module alive
    kind: type
    since: int


def note_call(module: Any, since: int, output: Any) -> None:
    """Note at the nodes of `output` which module gave it, if it was recorded after `since`."""
    if type(output) is Tensor:
        source = output._source
        if source is not None and source[0].birth > since:
            node = source[0]
            node.calls = (*getattr(node, "calls", ()), Call(weakref.ref(module), type(module), since))
    elif isinstance(output, (tuple, list)):
        for part in output:
            note_call(module, since, part)
    elif isinstance(output, dict):
        for part in output.values():
            note_call(module, since, part)
    elif type(getattr(output, "data", None)) is Tensor:  # a packed batch
        note_call(module, since, output.data)
