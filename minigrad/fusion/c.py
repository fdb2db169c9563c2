"""The C writer: nests as loops that a compiler vectorises.

A kernel gets three arrays: where its arguments lie, whole numbers (the sizes, offsets and strides of each layout),
and the Python numbers that came with the call.
"""

from __future__ import annotations

import functools
import importlib.resources
import math
from collections.abc import Sequence
from typing import Any, Final

from ..backend import DType, cpu
from .expression import BOOL, COMPARISONS, FLOATS, LOGIC, Expr
from .nest import Layout, Operand

SINGLE, DOUBLE = FLOATS
TYPES: Final = {SINGLE: "float", DOUBLE: "double", BOOL: "uint8_t"}
VALUES: Final = {SINGLE: "float", DOUBLE: "double", BOOL: "int", None: "double"}  # of variables; None is a number
SUFFIX: Final = {SINGLE: "f32", DOUBLE: "f64"}

INFIX: Final = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "/",
    "equal": "==",
    "not_equal": "!=",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "logical_and": "&&",
    "logical_or": "||",
}
OF_BOOLEANS: Final = {"add": "||", "multiply": "&&", "maximum": "||", "minimum": "&&"}
TESTS: Final = {"isnan": "{0} != {0}", "isinf": "fabs({0}) == INFINITY", "isfinite": "fabs({0}) < INFINITY"}


@functools.cache
def header(name: str) -> str:
    """One of the texts in the folder c/."""
    return importlib.resources.files(__package__).joinpath("c", name).read_text(encoding="utf-8")


def kernel(name: str, layouts: Sequence[Layout]) -> str:
    """A function that goes through nests, one after the other."""
    lines = [f"void {name}(char *const *p, const int64_t *n, const double *s)", "{"]
    at = 0
    for layout in layouts:
        lines += ["    {", *("        " + line for line in nest(layout, at)), "    }"]
        at += len(layout.numbers)
    return "\n".join([*lines, "}", ""])


def nest(layout: Layout, at: int) -> list[str]:
    """The loops of one nest, whose numbers begin at n[at]."""
    depth = len(layout.sizes)
    lines = [f"const int64_t {', '.join(f'n{d} = n[{at + d}]' for d in range(depth))};"]
    indent = ""
    for d in range(depth - 1):
        lines.append(f"{indent}for (int64_t i{d} = 0; i{d} < n{d}; i{d}++) {{")
        indent += "    "
    alone = "" if is_in_place(layout) else "restrict "
    for name, kind, operand, first in operands(layout, at):
        outer = "".join(f" + i{d} * n[{first + 1 + d}]" for d in range(depth - 1))
        lines.append(f"{indent}{kind} *{alone}{name} = ({kind} *)(p[{operand.slot}] + n[{first}]{outer});")
    lines += [indent + line for line in innermost(layout, at, f"n{depth - 1}")]
    for d in reversed(range(depth - 1)):
        lines.append("    " * d + "}")
    return lines


def is_in_place(layout: Layout) -> bool:
    """Whether something is written to where it was read, so that pointers may be one."""
    return not {y.slot for y in layout.stores}.isdisjoint(a.slot for a in layout.loads.values())


def operands(layout: Layout, at: int) -> list[tuple[str, str, Operand, int]]:
    """The pointers of a nest whose numbers begin at n[at]: a0, a1, ... to what is read, y0, y1, ... to what is written.

    Each is a name, what it points to, how that lies, and where its own numbers begin.
    """
    read = [(f"a{k}", f"const {TYPES[e.dtype]}", operand) for k, (e, operand) in enumerate(layout.loads.items())]
    written = zip(layout.nest.stores, layout.stores, strict=True)
    pointers = [*read, *((f"y{k}", TYPES[store.dtype], operand) for k, (store, operand) in enumerate(written))]
    depth = len(layout.sizes)
    return [(*pointer, at + depth + k * (depth + 1)) for k, pointer in enumerate(pointers)]


def innermost(layout: Layout, at: int, count: str) -> list[str]:
    """The loop over neighbours, from the pointers to what is read to those to what is written."""
    steps = {
        name: f" * (n[{first + len(layout.sizes)}] / (int64_t)sizeof *{name})"
        for name, _, operand, first in operands(layout, at)
        if operand.kind == "s"
    }
    before: list[str] = []
    inside: list[str] = []
    after: list[str] = []
    text = Text()
    for k, (expr, operand) in enumerate(layout.loads.items()):
        name = f"a{k}"
        where = "*" + name if operand.kind == "0" else f"{name}[j{steps.get(name, '')}]"
        text.names[expr] = f"{name}_"
        (before if operand.kind == "0" else inside).append(f"const {VALUES[expr.dtype]} {name}_ = {where};")
    inside += text.statements(layout.nest.expressions())
    for k, (store, operand) in enumerate(zip(layout.nest.stores, layout.stores, strict=True)):
        value = text.operand(store.value, store.dtype)
        if operand.kind != "0":
            inside.append(f"y{k}[j{steps.get(f'y{k}', '')}] {'+' if store.adds else ''}= {value};")
        elif store.adds:
            before.append(f"double sum{k} = 0;")
            inside.append(f"sum{k} += {value};")
            after.append(f"*y{k} += ({TYPES[store.dtype]})sum{k};")
        else:
            inside.append(f"*y{k} = {value};")
    loop = ["INDEPENDENT", f"for (int64_t j = 0; j < {count}; j++) {{", *("    " + line for line in inside), "}"]
    return [*before, *loop, *after]


# Expressions --------------------------------------------------------------------------------------


class Text:
    """Expressions as C, or CUDA, one statement each."""

    def __init__(self) -> None:
        self.names: dict[Expr, str] = {}

    def statements(self, exprs: Sequence[Expr]) -> list[str]:
        """A line for each expression that has no name yet; operands come before what is made of them."""
        lines = []
        for expr in exprs:
            if expr not in self.names:
                value = self._value(expr)
                self.names[expr] = name = f"v{len(self.names)}"
                lines.append(f"const {VALUES[expr.dtype]} {name} = {value};")
        return lines

    def operand(self, x: Any, dtype: DType) -> str:
        """An expression that has a name, or a number, as a value of a dtype."""
        if type(x) is not Expr:
            return literal(x, dtype)
        name = self.names[x]
        if x.dtype == dtype:
            return name
        return f"({name} != 0)" if dtype == BOOL else f"({VALUES[dtype]}){name}"

    def _value(self, expr: Expr) -> str:
        op, args = expr.op, expr.args
        if op == "scalar":
            return f"s[{expr.slot}]"
        if op == "astype":
            return self.operand(args[0], expr.dtype)
        if op == "where":
            return f"{self.operand(args[0], BOOL)} ? {self._as(args[1], expr)} : {self._as(args[2], expr)}"
        common = expr.dtype
        if op in LOGIC:
            common = BOOL
        elif op in COMPARISONS or op in TESTS:
            common = _compared_as(args)
        values = [self.operand(a, common) for a in args]
        if op == "logical_not":
            return f"!{values[0]}"
        if op == "negative":
            return f"-{values[0]}"
        if op in TESTS:
            return TESTS[op].format(values[0])
        if common == BOOL and op not in LOGIC and op not in COMPARISONS:
            return values[0] if op == "absolute" else f" {OF_BOOLEANS[op]} ".join(values)
        if op in INFIX:
            return f" {INFIX[op]} ".join(values)
        return f"{op}_{SUFFIX[common or DOUBLE]}({', '.join(values)})"

    def _as(self, x: Any, expr: Expr) -> str:
        return self.operand(x, expr.dtype)


def _compared_as(args: Sequence[Any]) -> DType:
    """The dtype in which NumPy compares."""
    known = [a.dtype for a in args if type(a) is Expr and a.dtype is not None]
    if not known:
        return DOUBLE
    if all(d == BOOL for d in known):
        return BOOL if all(type(a) is Expr or type(a) is bool for a in args) else SINGLE
    return cpu.result_type(*known)


def literal(x: Any, dtype: DType | None) -> str:
    """A Python number as a constant, to the last bit."""
    if dtype == BOOL:
        return str(int(bool(x)))
    with cpu.errstate(over="ignore"):
        x = float(cpu.asarray(x, dtype=dtype or DOUBLE))
    if math.isnan(x):
        return "NAN"
    if math.isinf(x):
        return "-INFINITY" if x < 0 else "INFINITY"
    found = x.hex() + ("f" if dtype == SINGLE else "")
    return f"({found})" if x < 0 else found
