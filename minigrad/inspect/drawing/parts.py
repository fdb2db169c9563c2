"""What drawings are made of: boxes, frames around them, arrows between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(eq=False)
class Box:
    """What is drawn as one.

    Attributes:
        kind: "operation", "module", "parameter", "input" or "data".
        title, detail: its two lines; `about` says more to those who point at it.
        saved: the graph keeps a value of it for the backward pass.
        result: it is what was asked about.
        slots: how many values leave it, each from a place of its own.
    """

    kind: str
    title: str
    detail: str
    about: str = ""
    saved: bool = False
    result: bool = False
    slots: int = 1
    number: int = 0
    home: Frame | None = None


@dataclass(eq=False)
class Frame:
    """Boxes and frames that belong together. `kind`: "module", "loop" (`folded`: a round stands for all) or "round"."""

    kind: str
    title: str
    members: list[Box | Frame] = field(default_factory=list)
    home: Frame | None = None
    folded: bool = False

    def frames(self) -> Iterator[Frame]:
        """Those in it, each before those within."""
        for member in self.members:
            if isinstance(member, Frame):
                yield member
                yield from member.frames()

    def boxes(self) -> Iterator[Box]:
        """Those in it and in all frames within, in order."""
        for member in self.members:
            if isinstance(member, Box):
                yield member
            else:
                yield from member.boxes()


class Arrow(NamedTuple):
    """A value's way from box to box; `carried`: from a round of a loop into a later one; `loop`: of a folded one."""

    tail: Box
    head: Box
    slot: int
    loop: bool
    carried: bool


def homes(box: Box) -> list[Frame]:
    """The frames around a box, from outside in."""
    found = []
    frame = box.home
    while frame is not None:
        found.append(frame)
        frame = frame.home
    return found[::-1]


def common(paths: Sequence[list[Frame]]) -> Frame:
    shared = paths[0][0]
    for frames in zip(*paths, strict=False):
        if any(frame is not frames[0] for frame in frames):
            break
        shared = frames[0]
    return shared


def member_of(frame: Frame, box: Box) -> Box | Frame:
    """The member of a frame that is a box, or holds it."""
    member: Box | Frame = box
    while member.home is not frame:
        assert member.home is not None
        member = member.home
    return member
