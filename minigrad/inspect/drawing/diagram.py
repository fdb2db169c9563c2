"""What a drawing shows, before anybody asks where: boxes, arrows and frames, with loops folded and modules closed.

Every operation and every leaf of the computation belongs to one box; the arrows are those of the computation, from box
to box. So what is folded is drawn once, and nothing else is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from ...nn.calls import calls_of
from ..computation import Computation, Operation, Value
from ..folding import Repeat, folded
from .labels import counted, cut, formula_of, operation_text, outputs_text, shape_text
from .parts import Arrow, Box, Frame, common, homes, member_of

Key = tuple[Any, ...]  # of a frame: ("module", path), ("loop", number), ("round", loop, number)


class Place(NamedTuple):
    """Where an operation stands: in which frames, from outside in, and in which round of which loop."""

    frames: tuple[Key, ...]
    same: tuple[Operation, ...]  # it, in all rounds, if the loop is folded; the first stands for all
    loop: int  # 0: none
    round: int
    folded: bool


class Diagram:
    """The boxes, arrows and frames of a computation.

    Args:
        fold: whether to draw the rounds of a loop once.
        opened: numbers of loops that are drawn round by round all the same.
        frames: whether modules have frames.
        closed: whether a module, given by its path, is drawn as one box.
    """

    def __init__(
        self,
        computation: Computation,
        fold: bool,
        opened: Collection[int],
        frames: bool,
        closed: Callable[[str], bool],
    ) -> None:
        self.computation, self.frames, self.closed = computation, frames, closed
        self.loops: list[Repeat] = []
        self.places: dict[Operation, Place] = {}
        for part in folded(computation.operations):
            if isinstance(part, Repeat):
                self.loops.append(part)
                number = len(self.loops)
                self._place_loop(part, number, fold and number not in opened)
            else:
                self.places[part] = Place(self._modules(part), (part,), 0, 0, False)
        self.box_of: dict[Operation, Box] = {}
        self.leaf_box: dict[Value, Box] = {}
        self.root = Frame("all", "")
        shown = [place.same[0] for operation, place in self.places.items() if place.same[0] is operation]
        self._fill(self.root, shown, 0)
        self._add_leaves()
        self.boxes = list(self.root.boxes())
        for number, box in enumerate(self.boxes):
            box.number = number
        self.arrows = self._arrows()

    def _place_loop(self, loop: Repeat, number: int, fold: bool) -> None:
        paths = [self._modules(operation) for operation in loop.rounds[0]]
        shared = 0
        while all(len(path) > shared and path[shared] == paths[0][shared] for path in paths):
            shared += 1
        shared = max(shared - _called_each_round(loop), 0)
        alike = list(zip(*loop.rounds, strict=True))
        for k, operations in enumerate(loop.rounds):
            for j, operation in enumerate(operations):
                inner: tuple[Key, ...] = (("loop", number),) if fold else (("loop", number), ("round", number, k + 1))
                where = paths[j][:shared] + inner + paths[j][shared:]
                self.places[operation] = Place(where, alike[j] if fold else (operation,), number, k, fold)

    def _modules(self, operation: Operation) -> tuple[Key, ...]:
        return tuple(("module", path) for path in operation.modules if self.frames or self.closed(path))

    # Frames and boxes -----------------------------------------------------------------------------

    def _fill(self, frame: Frame, operations: Sequence[Operation], depth: int) -> None:
        def key_of(operation: Operation) -> Key | None:
            keys = self.places[operation].frames
            return keys[depth] if len(keys) > depth else None

        for key, run in groupby(operations, key_of):
            inside = list(run)
            if key is None:
                for operation in inside:
                    self._hold(frame, self._operation_box(self.places[operation].same), [operation])
            elif key[0] == "module" and self.closed(key[1]):
                self._hold(frame, self._module_box(key[1], inside, depth), inside)
            else:
                inner = self._frame(key, frame)
                frame.members.append(inner)
                self._fill(inner, inside, depth + 1)

    def _hold(self, frame: Frame, box: Box, operations: Sequence[Operation]) -> None:
        box.home = frame
        frame.members.append(box)
        for operation in operations:
            for each in self.places[operation].same:
                self.box_of[each] = box
                box.result = box.result or self.computation.result.maker is each

    def _frame(self, key: Key, home: Frame) -> Frame:
        if key[0] == "module":
            return Frame("module", cut(key[1]), home=home)
        if key[0] == "round":
            return Frame("round", f"round {key[2]}", home=home)
        loop = self.loops[key[1] - 1]
        is_folded = self.places[loop.rounds[0][0]].folded
        return Frame("loop", f"loop {key[1]}: × {loop.times}", home=home, folded=is_folded)

    def _operation_box(self, same: Sequence[Operation]) -> Box:
        one = same[0]
        about = [f"{one.primitive.name}: {formula_of(one)}"]
        about += [f"in {one.modules[-1]}"] if one.modules else []
        about += [f"opened from {one.inside}"] if one.inside else []
        about += [one.line] if one.line else []
        saved = any(y.saved for each in same for y in each.outputs)
        last = same[-1] if self.computation.result.maker in same else one
        return Box(
            "operation",
            operation_text(same),
            outputs_text(last.outputs),
            "\n".join(cut(each, 200) for each in about),
            saved,
        )

    def _module_box(self, path: str, operations: Sequence[Operation], depth: int) -> Box:
        every: list[Operation] = []
        for operation in operations:
            place = self.places[operation]
            around = any(key[0] == "loop" for key in place.frames[:depth])  # what is drawn once counts once
            every += place.same[:1] if around else place.same
        parameters = {x for each in every for x in each.inputs if x.role == "parameter"}
        detail = counted(len(every), "operation")
        detail += f", {counted(len(parameters), 'parameter')}" if parameters else ""
        saved = any(y.saved for each in every for y in each.outputs)
        return Box("module", cut(path), detail, f"the module {cut(path, 200)}, closed", saved)

    # Leaves ---------------------------------------------------------------------------------------

    def _add_leaves(self) -> None:
        leaves = [x for x in self.computation.values if x.maker is None and x.role != "number" and x.users]
        each_round: dict[Any, list[Value]] = {}  # leaves that the rounds of a folded loop read at the same place
        for leaf in leaves:
            each_round.setdefault(self._by_round(leaf), []).append(leaf)
        for name, alike in each_round.items():
            own = name[0] == "round" and len(alike) >= self.loops[name[1] - 1].times - 1
            for together in [alike] if own else [[leaf] for leaf in alike]:
                self._add_leaf(together, own)

    def _by_round(self, leaf: Value) -> tuple[Any, ...]:
        users = [(self.places[operation], place) for operation, place in leaf.users]
        first, place = users[0]
        if all((user.loop, user.round) == (first.loop, first.round) for user, _ in users) and first.loop:
            if leaf.role == "parameter":
                return "one", leaf
            loop = self.loops[first.loop - 1]
            return "round", first.loop, loop.rounds[first.round].index(leaf.users[0][0]), place
        return "one", leaf

    def _add_leaf(self, leaves: Sequence[Value], own: bool) -> None:
        if own and not self.places[leaves[0].users[0][0]].folded:  # an open loop: a box in each round
            for leaf in leaves:
                self._put_leaf([leaf], own)
        else:
            self._put_leaf(leaves, own)

    def _put_leaf(self, leaves: Sequence[Value], own: bool) -> None:
        leaf = leaves[0]
        users = list(dict.fromkeys(self.box_of[operation] for each in leaves for operation, _ in each.users))
        if leaf.role == "parameter" and len(users) == 1 and users[0].kind == "module":
            self.leaf_box[leaf] = users[0]
            return
        name = leaf.name if len(leaves) == 1 else ""
        detail = shape_text(leaf.shape)
        about = cut(f"{leaf.role} {leaf.name} {detail} {leaf.dtype}", 200)
        box = Box(leaf.role, cut(name) or leaf.role, detail, about, any(each.saved for each in leaves))
        for each in leaves:
            self.leaf_box[each] = box
        home = common([homes(user) for user in users])
        outer = home
        while outer.home is not None:
            if outer.kind in ("loop", "round") and not own:
                home = outer.home
            outer = outer.home
        while leaf.name and leaf.role != "parameter" and home.kind == "module" and home.home is not None:
            home = home.home  # somebody has given it to the module
        box.home = home
        home.members.insert(home.members.index(member_of(home, users[0])), box)

    # Arrows ---------------------------------------------------------------------------------------

    def _arrows(self) -> list[Arrow]:
        sources: dict[tuple[Box, Any], Any] = {}  # places of a box that are drawn as one, as a forest
        by_end: dict[Any, tuple[Box, Any]] = {}
        found: dict[tuple[Box, Any, Box, bool, bool], dict[Any, int]] = {}
        raw = []
        for operation in self.computation.operations:
            user, head = self.places[operation], self.box_of[operation]
            for place, value in enumerate(operation.inputs):
                if value.role == "number":
                    continue
                if value.maker is None:
                    tail, source, loop = self.leaf_box[value], (self.leaf_box[value], (0, 0)), False
                    carried = False
                else:
                    maker = self.places[value.maker]
                    tail = self.box_of[value.maker]
                    source = (tail, (maker.same[0].number, value.slot))
                    carried = 0 < maker.loop == user.loop and maker.round < user.round
                    loop = carried and user.folded
                if tail is head and not (loop and self._shows(head, user)):
                    continue
                end = (tail, user.same[0].number, place, loop)
                if user.folded and end in by_end:
                    _join(sources, by_end[end], source)
                by_end.setdefault(end, source)
                raw.append((source, head, loop, carried, (value, operation)))
        for source, head, loop, carried, pair in raw:
            counts = found.setdefault((source[0], _root(sources, source), head, loop, carried), {})
            counts[pair] = counts.get(pair, 0) + 1
        slots: dict[Box, list[Any]] = {}
        for tail, root, *_ in found:
            slots.setdefault(tail, [])
            if root not in slots[tail]:
                slots[tail].append(root)
        for box, roots in slots.items():
            roots.sort(key=lambda root: root[1])
            box.slots = len(roots)
        arrows = []
        for (tail, root, head, loop, carried), counts in found.items():
            arrows += [Arrow(tail, head, slots[tail].index(root), loop, carried)] * max(counts.values())
        return sorted(arrows, key=lambda a: (a.head.number, a.tail.number, a.slot, a.loop))

    def _shows(self, box: Box, place: Place) -> bool:
        """Whether a loop is drawn around this box, and not hidden in it."""
        return ("loop", place.loop) in place.frames[: len(homes(box)) - 1]


def _called_each_round(loop: Repeat) -> int:
    """How many modules are called anew in each round, and make all of it."""
    return min(
        sum(call.since >= before[-1].node.birth for call in calls_of(now[-1].node))
        for before, now in pairwise(loop.rounds)
    )


def _root(forest: dict[Any, Any], source: Any) -> Any:
    while source in forest:
        source = forest[source]
    return source


def _join(forest: dict[Any, Any], a: Any, b: Any) -> None:
    a, b = _root(forest, a), _root(forest, b)
    if a != b:
        low, high = sorted((a, b), key=lambda source: source[1])
        forest[high] = low
