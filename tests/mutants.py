"""Programs that are wrong in one place: what the tests must notice. `tests.mutation` runs them.

A derivative is multiplied by 1.001, negated, dropped, or exchanged with its neighbour. A recurrent cell is read as
source text: every factor, term and argument of its equations is multiplied by 1.001, every term and factor is
left out, and neighbouring gates are exchanged. A new primitive or cell is mutated without anything said here.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, ModuleType
from typing import Any

from minigrad.nn import cells, variants
from minigrad.ops import registry
from minigrad.ops.primitive import Primitive

FACTOR = 1.001
MODULES = (cells, variants)  # whose equations are mutated

# Mutants that compute what the original computes: no test can notice, and none may.
EQUIVALENT = {
    "add: x and y exchanged": "both derivatives are 1",
    **{
        f"{name}: x {change}": "the derivative is 0 everywhere"
        for name in ("sign", "floor", "ceil")
        for change in ("scaled", "negated")
    },
}


@dataclass(frozen=True)
class Mutant:
    """One mistake."""

    subject: str  # the primitive or function that is wrong
    change: str
    kind: str  # "derivative" or "cell"
    apply: Callable[[], None]  # makes the mistake, for the rest of the process

    @property
    def name(self) -> str:
        return f"{self.subject}: {self.change}"


def mutants() -> Iterator[Mutant]:
    own = [p for p in registry.values() if p.vjps and p.__module__.startswith("minigrad.")]
    for primitive in own:
        yield from _wrong_derivatives(primitive)
    for module in MODULES:
        yield from _wrong_equations(module)


# Derivatives --------------------------------------------------------------------------------------

Formula = Callable[..., Any]


def _wrong_derivatives(primitive: Primitive[Any]) -> Iterator[Mutant]:
    vjps = primitive.vjps

    def mutant(change: str, wrong: dict[int, Formula | None]) -> Mutant:
        formulas = [wrong.get(k, vjp) for k, vjp in enumerate(vjps)]
        return Mutant(primitive.name, change, "derivative", lambda: primitive.derivatives(*formulas))

    has_one = [(k, name, vjp) for k, (name, vjp) in enumerate(zip(primitive.inputs, vjps, strict=True)) if vjp]
    for k, name, vjp in has_one:
        yield mutant(f"{name} scaled", {k: _then(vjp, lambda found: _times(FACTOR, found))})
        yield mutant(f"{name} negated", {k: _then(vjp, lambda found: _times(-1, found))})
        yield mutant(f"{name} dropped", {k: None})
    for (j, first, by_first), (k, second, by_second) in itertools.pairwise(has_one):
        yield mutant(f"{first} and {second} exchanged", {j: by_second, k: by_first})
    for k, name, vjp in has_one:
        for change, edit in _IN_A_LIST.items():
            if primitive.variadic:
                yield mutant(f"of {name}, {change}", {k: _then(vjp, edit)})
            if primitive.multiple:
                yield mutant(f"of what came in, {change}", {k: _first(vjp, edit)})


def _then(vjp: Formula, edit: Callable[[Any], Any]) -> Formula:
    return lambda *args, **parameters: edit(vjp(*args, **parameters))


def _first(vjp: Formula, edit: Callable[[Any], Any]) -> Formula:
    return lambda xp, g, *args, **parameters: vjp(xp, edit(g), *args, **parameters)


def _times(factor: float, found: Any) -> Any:
    return [factor * part for part in found] if isinstance(found, (list, tuple)) else factor * found


_IN_A_LIST: dict[str, Callable[[Any], Any]] = {
    "the first scaled": lambda parts: [*_times(FACTOR, parts[:1]), *parts[1:]],
    "the last scaled": lambda parts: [*parts[:-1], *_times(FACTOR, parts[-1:])],
    "the first lost": lambda parts: [*_times(0, parts[:1]), *parts[1:]],
    "the order reversed": lambda parts: parts[::-1],
}

# Equations ----------------------------------------------------------------------------------------

Span = tuple[int, int, int | None, int | None]
Edit = tuple[str, ast.expr, str]  # what is changed, where, and what stands there instead


def _wrong_equations(module: ModuleType) -> Iterator[Mutant]:
    source = inspect.getsource(module)
    tree = ast.parse(source)
    for qualname, function in _functions(tree):
        if _takes_and_gives_tensors(function):
            seen: dict[str, int] = {}
            for change, node, text in _edits(source, function):
                seen[change] = seen.get(change, 0) + 1
                which = f" ({seen[change]})" if seen[change] > 1 else ""
                wrong = _edited(source, node, text)
                code = _code(compile(wrong, module.__file__ or "", "exec"), qualname)
                apply = functools.partial(_replace_code, module, qualname, code)
                yield Mutant(qualname, change + which, "cell", apply)


def _functions(tree: ast.AST, outer: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            yield outer + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{outer}{node.name}.")


def _takes_and_gives_tensors(function: ast.FunctionDef) -> bool:
    taken = [ast.unparse(a.annotation) for a in function.args.args if a.annotation]
    return "Tensor" in taken and function.returns is not None and "Tensor" in ast.unparse(function.returns)


def _edits(source: str, function: ast.FunctionDef) -> Iterator[Edit]:
    """Every change to the equations of one function."""

    def text(node: ast.AST) -> str:
        return ast.get_source_segment(source, node) or ""

    scaled: dict[Span, ast.expr] = {}  # by place: what is an operand and an argument at once counts once
    for node in _arithmetic(function):
        parts: list[ast.expr] = []
        if isinstance(node, ast.BinOp):
            parts = [node.left, node.right]
            if not isinstance(node.op, (ast.MatMult, ast.Div)):  # these cannot do without either
                for kept, left_out in (parts, parts[::-1]):
                    yield f"{text(node)} without {text(left_out)}", node, f"({text(kept)})"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "linear":
            parts = [part for part in node.args if not isinstance(part, ast.Constant)]
            if parts[2:]:
                yield f"{text(node)} without {text(parts[2])}", parts[2], "0.0"
        elif isinstance(node, ast.Call):
            parts = node.args[:1]
        elif isinstance(node, ast.IfExp):
            parts = [node.body, node.orelse]
        elif isinstance(node, ast.Return) and node.value is not None:
            parts = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
            if not isinstance(node.value, ast.Tuple):
                names = [text(name) for name in node.targets[0].elts]
                for k in range(len(names) - 1):
                    exchanged = [*names[:k], names[k + 1], names[k], *names[k + 2 :]]
                    yield f"{names[k]} and {names[k + 1]} exchanged", node.targets[0], ", ".join(exchanged)
        elif isinstance(node, ast.Assign) and not isinstance(node.value, ast.List):
            parts = [node.value]
        scaled |= {_span(part): part for part in parts if not isinstance(part, ast.IfExp)}
    for part in scaled.values():
        yield f"{text(part)} scaled", part, f"({FACTOR} * ({text(part)}))"


def _arithmetic(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a function that compute with Tensors: not its signature, sizes, or what looks things up."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.arguments, ast.List, ast.Compare, ast.Subscript)) or child is _returns(node):
            continue
        if not isinstance(child, ast.Call) or (isinstance(child.func, ast.Name) and child.func.id in _NAMES):
            yield child
        yield from _arithmetic(child)


def _returns(node: ast.AST) -> ast.AST | None:
    return node.returns if isinstance(node, ast.FunctionDef) else None


def _span(node: ast.expr) -> Span:
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset


# What an equation calls: a primitive, or a function of another equation.
_NAMES = {
    *registry,
    *(name for module in MODULES for name, value in vars(module).items() if inspect.isfunction(inspect.unwrap(value))),
}


def _edited(source: str, node: ast.expr, text: str) -> str:
    """The source with other text where `node` stands; the syntax tree counts bytes."""
    lines = source.encode().splitlines(keepends=True)
    first, start, last, end = _span(node)
    before = b"".join(lines[: first - 1]) + lines[first - 1][:start]
    after = b"".join([lines[(last or first) - 1][end:], *lines[last or first :]])
    return (before + text.encode() + after).decode()


def _code(code: CodeType, qualname: str) -> CodeType:
    """The code of one function, out of that of its module."""
    inside = [part for part in code.co_consts if isinstance(part, CodeType)]
    for part in inside:
        if part.co_qualname == qualname:
            return part
        if qualname.startswith(part.co_qualname + "."):
            return _code(part, qualname)
    raise LookupError(qualname)


def _replace_code(module: ModuleType, qualname: str, code: CodeType) -> None:
    """In place, for whoever holds the function already."""
    function: Any = inspect.unwrap(functools.reduce(getattr, qualname.split("."), module))  # a fused one wraps it
    function.__code__ = code
