"""What tensors and modules are called, and which module a node was made in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..graph import Node, Tensor
from ..messages import type_name
from ..nn.calls import Call, calls_of
from ..nn.module import Module


class Names:
    """Names by what the caller gives, and for the rest by the modules that were called."""

    def __init__(self, given: Any, nodes: Sequence[Node], caller: str) -> None:
        self._known: dict[Any, str] = {}  # by id of a leaf or a module, by place of a computed tensor
        self._alive: list[Any] = [given]
        if isinstance(given, Module):
            self._add_module("", given)
        elif isinstance(given, Mapping):
            for name, x in given.items():
                self._add(name, x, caller)
        elif given is not None:
            raise TypeError(
                f"{caller}: expected names to be a module, or a mapping from names to tensors and modules, such as "
                f"locals(), got {type_name(given)}"
            )
        self._add_called(nodes)

    def _add(self, name: Any, x: Any, caller: str) -> None:
        if isinstance(x, (tuple, list)) and any(isinstance(part, (Tensor, Module)) for part in x):
            for k, part in enumerate(x):
                self._add(f"{name}[{k}]", part, caller)
        elif isinstance(x, (Tensor, Module)):
            if not isinstance(name, str):
                raise TypeError(f"{caller}: expected names to be strings, got {name!r} ({type_name(name)})")
            if isinstance(x, Module):
                self._add_module(name, x)
            else:
                source = x._source
                self._call(id(x) if source is None else (source[0].birth, source[1]), name)

    def _add_module(self, prefix: str, module: Module) -> None:
        for path, part in module.named_modules(prefix):
            self._call(id(part), path or type(part).__name__)
        for path, parameter in module.named_parameters(prefix):
            self._call(id(parameter), path)
        self._alive.append(module)

    def _call(self, key: Any, name: str) -> None:
        """The first name is the one, made to be printed in a line."""
        printed = (c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in name)
        self._known.setdefault(key, "".join(printed))

    def _add_called(self, nodes: Sequence[Node]) -> None:
        """Modules that nobody has named: those that are part of no other get the name of their class."""
        called: dict[int, Module] = {}
        for node in nodes:
            for call in calls_of(node):
                if call.module is not None and id(call.module) not in self._known:
                    called.setdefault(id(call.module), call.module)
        parts = {id(part) for module in called.values() for part in module.modules() if part is not module}
        counts: dict[str, int] = {}
        for module in called.values():
            if id(module) not in parts:
                kind = type(module).__name__.lower()
                counts[kind] = counts.get(kind, 0) + 1
                self._add_module(kind if counts[kind] == 1 else f"{kind}_{counts[kind]}", module)

    def name_of(self, key: Any) -> str:
        """The name of a leaf, by its id, or of a computed tensor, by its place; "" if it has none."""
        return self._known.get(key, "")

    def modules_of(self, nodes: Sequence[Node]) -> dict[int, tuple[str, ...]]:
        """For each node, by its birth: the paths of the modules in which it was made, outermost first."""
        ends: dict[tuple[str, int], int] = {}
        for node in nodes:
            for call in calls_of(node):
                key = self._path(call), call.since
                ends[key] = max(ends.get(key, 0), node.birth)
        spans = sorted((since, -end, path) for (path, since), end in ends.items())  # outer before inner
        found: dict[int, tuple[str, ...]] = {}
        open_now: list[tuple[int, str]] = []
        waiting = iter([*spans, None])
        following = next(waiting)
        for node in nodes:
            while following is not None and following[0] < node.birth:
                open_now.append((-following[1], following[2]))
                following = next(waiting)
            open_now = [(end, path) for end, path in open_now if end >= node.birth]
            found[node.birth] = tuple(dict.fromkeys(path for _, path in open_now))
        return found

    def _path(self, call: Call) -> str:
        return self._known.get(id(call.module), call.kind.__name__)
