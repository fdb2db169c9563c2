"""Which line of the user's program it was, and which name in it carries something over to the next round."""

from __future__ import annotations

import ast
import linecache
import textwrap
from types import CodeType, FrameType
from typing import Final, NamedTuple

from ... import graph

FOLDER: Final = graph.__file__.removesuffix("graph.py")

Place = tuple[CodeType, int]  # a code, and which instruction: found fast, and made a line of when somebody asks


class Places:
    """Finds the line outside of minigrad that led to where a program is."""

    def __init__(self) -> None:
        self._inside: dict[CodeType, bool] = {}

    def is_inside(self, code: CodeType) -> bool:
        """Whether code is minigrad's own."""
        found = self._inside.get(code)
        if found is None:
            found = self._inside[code] = code.co_filename.startswith(FOLDER)
        return found

    def of(self, frame: FrameType | None) -> Place | None:
        """The place from which a frame was called, or where it is itself."""
        inside = self._inside
        while frame is not None:
            code = frame.f_code
            found = inside.get(code)
            if found is False or (found is None and not self.is_inside(code)):
                return code, frame.f_lasti
            frame = frame.f_back
        return None


class Line(NamedTuple):
    """A line of a program."""

    file: str
    number: int
    function: str

    @classmethod
    def of(cls, place: Place) -> Line:
        """The line of an instruction."""
        code, instruction = place
        number = code.co_firstlineno
        for start, end, line in code.co_lines():
            if start <= instruction < end and line is not None:
                number = line
        return cls(code.co_filename, number, code.co_name)

    @property
    def text(self) -> str:
        return linecache.getline(self.file, self.number).strip()

    @property
    def short(self) -> str:
        return f"{self.file}:{self.number}"

    def __str__(self) -> str:
        return f'File "{self.file}", line {self.number}, in {self.function}' + (
            f"\n    {self.text}" if self.text else ""
        )


def carried(line: Line) -> str:
    """The name, like `state` in `y, state = lstm(x, state)`, that a line reads and gives another value; "" if none."""
    for statement in _assignments(line):
        if isinstance(statement, ast.AugAssign):
            return ast.unparse(statement.target)
        targets = [part for target in statement.targets for part in _parts(target)]
        read = {ast.unparse(part) for part in ast.walk(statement.value) if isinstance(part, (ast.Name, ast.Attribute))}
        for name in targets:
            if name in read:
                return name
    return ""


def addition(line: Line) -> tuple[str, str] | None:
    """("total", "loss") of `total += loss` and of `total = total + loss`; None of anything else."""
    for statement in _assignments(line):
        if isinstance(statement, ast.AugAssign):
            if isinstance(statement.op, ast.Add):
                return ast.unparse(statement.target), _as_operand(statement.value)
        elif isinstance(statement.value, ast.BinOp) and isinstance(statement.value.op, ast.Add):
            target, sides = ast.unparse(statement.targets[0]), (statement.value.left, statement.value.right)
            names = [ast.unparse(side) for side in sides]
            if target in names:
                return target, _as_operand(sides[1 - names.index(target)])
    return None


def _as_operand(value: ast.expr) -> str:
    text = ast.unparse(value)
    return text if isinstance(value, (ast.Name, ast.Attribute, ast.Call, ast.Subscript)) else f"({text})"


def _parts(target: ast.expr) -> list[str]:
    if isinstance(target, (ast.Tuple, ast.List)):
        return [name for part in target.elts for name in _parts(part)]
    return [ast.unparse(target)]


def _assignments(line: Line) -> list[ast.Assign | ast.AugAssign]:
    """Those that begin on a line, also behind others or a colon; the last may go over several lines."""
    text = ""
    for number in range(line.number, line.number + 10):
        text += linecache.getline(line.file, number)
        try:
            parsed = ast.parse(textwrap.dedent(text).strip())
        except SyntaxError:
            continue
        assigned = [each for each in ast.walk(parsed) if isinstance(each, (ast.Assign, ast.AugAssign))]
        return [each for each in assigned if each.lineno == 1]
    return []
