"""The NumPy writer: nests as a program of array functions that write into a few buffers.

A program computes each expression once, for whole arrays and at the expression's own shape. What it computes lies in
the output it belongs to, or else in a buffer, which goes to the next expression of its shape and dtype as soon as
nothing reads it any more.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..backend import Array, DType, cpu, namespace_of
from ..ops.primitive import Shape
from ..ops.reduction import sum_to
from .expression import FLOATS, Expr, offset
from .nest import Nest, Store


def source(nests: Sequence[Nest]) -> str:
    """The text of the program."""
    return Program(nests).text


class Kernel:
    """Nests, as a program: call it with the arrays of all slots, and the Python numbers."""

    def __init__(self, nests: Sequence[Nest]) -> None:
        program = Program(nests)
        self._function = program.compiled()
        self._shapes = program.buffers
        self._idle: list[list[Array]] = []  # buffers that no call is using now

    def __call__(self, arrays: Sequence[Array], scalars: Sequence[float]) -> None:
        xp = namespace_of(next(a for a in arrays if a is not None))
        try:
            buffers = self._idle.pop()
        except IndexError:  # the first call, or another one is running
            buffers = [xp.empty(shape, dtype=dtype) for shape, dtype in self._shapes]
        self._function(xp, arrays, scalars, buffers)
        if xp.on_host:  # a device may still be computing: its library knows best when memory is free
            self._idle.append(buffers)


class Program:
    """The text of a program, while it is written.

    Its names: p, s the arrays and numbers it is called with, by slot; t its buffers; a an array that is read, y one
    that is written, n a number, part a way to a part of an array that slices do not give.
    """

    def __init__(self, nests: Sequence[Nest]) -> None:
        self.lines: list[str] = []
        self.parts: list[Callable[[Any, Array], Array]] = []
        self.buffers: list[tuple[Shape, DType]] = []
        self._idle: dict[tuple[Shape, DType], list[str]] = {}
        self._names: dict[Expr, str] = {}
        self._shapes: dict[Expr, Shape] = {}  # an expression of broadcast arguments is computed before it is broadcast
        self._numbers: set[Expr] = set()  # those that are the same for all entries, whatever the arrays
        self._used: Counter[str] = Counter()  # how many names begin with a letter
        stores = [(store, nest.shape) for nest in nests if math.prod(nest.shape) for store in nest.stores]
        exprs = list(dict.fromkeys(e for nest in nests if math.prod(nest.shape) for e in nest.expressions()))
        self._readers = Counter(a for e in exprs for a in set(e.args) if type(a) is Expr)
        self._readers.update(store.value for store, _ in stores if type(store.value) is Expr)
        self._loads = [e for e in exprs if e.op == "load"]
        self._on_the_way = {e: s for s, _ in stores for e in _leading_to(s, self._loads, self._readers)}
        self._late: list[tuple[Store, Shape, Expr]] = []  # they wait until nothing is read any more where they write
        for expr in exprs:
            self._compute(expr, [store for store in stores if store[0].value is expr])
        for store, shape in stores:
            if type(store.value) is not Expr:
                self._store(store, shape, repr(store.value), ())
        for store, shape, expr in self._late:
            self._store(store, shape, self._names[expr], self._shapes[expr])

    @property
    def text(self) -> str:
        """The text; comments give shapes and dtypes."""
        buffers = [f"t{k} = t[{k}]  # {_described(*buffer)}" for k, buffer in enumerate(self.buffers)]
        return "\n    ".join(["def kernel(xp, p, s, t):", *(buffers + self.lines or ["pass"])]) + "\n"

    def compiled(self) -> Callable[..., None]:
        """The function `kernel` of the text."""
        known: dict[str, Any] = {f"part{k}": part for k, part in enumerate(self.parts)}
        known |= {"host": cpu, "sum_to": sum_to.value, "inf": math.inf, "nan": math.nan}
        exec(compile(self.text, "<numpy kernel>", "exec"), known)
        function: Callable[..., None] = known["kernel"]
        return function

    # Expressions ----------------------------------------------------------------------------------

    def _compute(self, expr: Expr, stores: Sequence[tuple[Store, Shape]]) -> None:
        """Lines that compute an expression, whose operands have names, and store it."""
        operands = [a for a in expr.args if type(a) is Expr]
        waiting = list(stores)
        if expr.op == "load":
            part, shape = self._part(expr.place, expr.view)
            self._shapes[expr] = shape
            self._names[expr] = self._name("a", part.format(f"p[{expr.slot}]"), _described(shape, expr.dtype))
        elif expr.op == "scalar" or all(a in self._numbers for a in operands):
            self._numbers.add(expr)
            self._names[expr], self._shapes[expr] = self._name("n", self._number(expr)), ()
        else:
            shape = self._shapes[expr] = cpu.broadcast_shapes(*(self._shapes[a] for a in operands))
            fit = next((s for s in waiting if _fits(s[0], shape, expr.dtype) and self._may_write(s[0], expr)), None)
            place = self._on_the_way.get(expr)
            if fit is not None:
                waiting.remove(fit)
                place = fit[0]
            if place is not None:
                part, _ = self._part(place.place, place.view)
                self._names[expr] = self._name("y", part.format(f"p[{place.slot}]"))
            for a in dict.fromkeys(operands):
                self._release(a)
            if place is None:
                self._names[expr] = self._buffer(shape, FLOATS[1] if expr.dtype is None else expr.dtype)
            self._write(expr, [self._names[a] if type(a) is Expr else repr(a) for a in expr.args])
        for store, whole in waiting:
            if self._may_write(store):
                self._store(store, whole, self._names[expr], self._shapes[expr])
                self._release(expr)
            else:
                self._late.append((store, whole, expr))

    def _may_write(self, store: Store, reader: Expr | None = None) -> bool:
        """Whether all have read what a store overwrites, but for an expression that reads the same entries."""
        for load in self._loads:
            if load.slot == store.slot and self._readers[load]:
                is_last = reader is not None and self._readers[load] == 1 and any(a is load for a in reader.args)
                if not (is_last and _is_same(load.place, store.place)):
                    return False
        return True

    def _write(self, expr: Expr, args: list[str]) -> None:
        """An intrinsic of operands, into the memory that it has a name for."""
        out = self._names[expr]
        exponent = args[1] if expr.op == "power" else ""
        if expr.op == "sigmoid":  # as the array namespace does
            self._call("multiply", args[0], "0.5", out)
            self._call("tanh", out, out)
            self._call("multiply", out, "0.5", out)
            self._call("add", out, "0.5", out)
        elif expr.op == "where":
            self.lines.append(f"{out}[...] = xp.where({', '.join(args)})")
        elif expr.op == "astype" or exponent in ("1", "1.0"):
            self.lines.append(f"{out}[...] = {args[0]}")
        elif exponent in ("2", "2.0"):
            self._call("multiply", args[0], args[0], out)
        else:
            self._call(expr.op, *args, out)

    def _call(self, function: str, *args: str) -> None:
        *operands, out = args
        self.lines.append(f"xp.{function}({', '.join(operands)}, out={out})")

    def _number(self, expr: Expr) -> str:
        """A number made of numbers. It is Python's own, which takes the dtype of what it meets, if it has no dtype."""
        args = [self._names[a] if type(a) is Expr else repr(a) for a in expr.args]
        if expr.op == "scalar":
            return f"s[{expr.slot}]"
        if expr.op == "astype":
            return f'host.dtype("{expr.dtype}").type({args[0]})'
        if expr.op == "sigmoid":  # of an array alone
            args = [f"host.asarray({args[0]})"]
        number = f"host.{expr.op}({', '.join(args)})"
        return number + ".item()" if expr.dtype is None else number

    # Buffers --------------------------------------------------------------------------------------

    def _buffer(self, shape: Shape, dtype: DType) -> str:
        idle = self._idle.get((shape, dtype))
        if idle:
            return idle.pop()
        self.buffers.append((shape, dtype))
        return f"t{len(self.buffers) - 1}"

    def _release(self, expr: Expr) -> None:
        """One reader of an expression has run, or is about to, entry by entry."""
        self._readers[expr] -= 1
        name = self._names[expr]
        if self._readers[expr] == 0 and name[0] == "t":
            self._idle.setdefault(self.buffers[int(name[1:])], []).append(name)

    def _name(self, letter: str, value: str, comment: str = "") -> str:
        name = f"{letter}{self._used[letter]}"
        self._used[letter] += 1
        self.lines.append(f"{name} = {value}" + (f"  # {comment}" if comment else ""))
        return name

    # Parts of arguments ---------------------------------------------------------------------------

    def _part(self, place: Array, view: Any) -> tuple[str, Shape]:
        """The way to a part of an argument, with one entry along each axis where its entries are one; and its shape."""
        once = _once(place)
        index = _index(once)
        if index is not None:
            return "{}" + index, once.shape
        self.parts.append(view)
        return f"part{len(self.parts) - 1}(xp, {{}})", place.shape

    def _store(self, store: Store, whole: Shape, value: str, shape: Shape) -> None:
        """Write, or add, a value of a shape to its place, once for each index of the whole shape."""
        part, target = self._part(store.place, store.view)
        argument = f"p[{store.slot}]"
        if not store.adds:
            self.lines.append(f"{part.format(argument)}[...] = {value}")
            return
        once = _once(store.place).shape
        n = len(whole)
        sizes = zip(whole, (1,) * (n - len(shape)) + shape, (1,) * (n - len(once)) + once, strict=True)
        count = math.prod(size for size, of_value, of_target in sizes if of_value == of_target == 1)
        kept = min(len(shape), len(once))
        summed = tuple(min(a, b) for a, b in zip(shape[len(shape) - kept :], once[len(once) - kept :], strict=True))
        if summed != shape:
            value = f"sum_to(xp, {value}, shape={summed})"
        if count != 1:
            value += f" * {count}"
        if target == once:
            y = self._name("y", part.format(argument), _described(target, store.dtype))
            self.lines.append(f"{y} += {value}")
        else:  # a repeated part may not be written to: find where its entries lie, once each
            places = part.format(f"xp.arange({argument}.size).reshape({argument}.shape)")
            cut = ", ".join(":1" if a != b else ":" for a, b in zip(target, once, strict=True))
            value = f"xp.broadcast_to(xp.asarray({value}), {once})"
            self.lines.append(f"xp.add_at({argument}.reshape(-1), {places}[{cut}], {value})")


def _described(shape: Shape, dtype: DType) -> str:
    return f"{shape} {dtype}"


def _fits(store: Store, shape: Shape, dtype: DType | None) -> bool:
    """Whether a value can be computed where it is to be stored."""
    return not store.adds and store.place.shape == shape and store.dtype == dtype


def _leading_to(store: Store, loads: Sequence[Expr], readers: Mapping[Expr, int]) -> list[Expr]:
    """What may be computed where a value is to be stored, for the value alone reads it, and it alone what was there."""
    there = [load for load in loads if load.slot == store.slot]
    if len(there) != 1 or readers[there[0]] != 1 or type(store.value) is not Expr:
        return []
    return [
        e
        for e in store.value.args
        if type(e) is Expr and readers[e] == 1 and _fits(store, e.shape, e.dtype)
        if any(a is there[0] for a in e.args) and _is_same(there[0].place, store.place)
    ]


def _once(place: Array) -> Array:
    """A place without the repetitions of its entries."""
    steps = zip(place.strides, place.shape, strict=True)
    return place[*(slice(0, 1) if step == 0 and size > 1 else slice(None) for step, size in steps), ...]


def _whole(part: Array) -> Array:
    """The argument's dummy, from which a part of it was cut."""
    return part.base if isinstance(part.base, cpu.array_type) else part


def _index(part: Array) -> str | None:
    """The slices of an argument that give a part of it, as text ("[:, 4:8]", and "" for all of it); None if none do."""
    whole = _whole(part)
    if _is_same(part, whole):
        return ""
    starts, rest = [0] * whole.ndim, offset(part) - offset(whole)
    for axis in sorted(range(whole.ndim), key=lambda axis: -whole.strides[axis]):
        if whole.strides[axis] > 0:
            starts[axis], rest = divmod(rest, whole.strides[axis])
    if any(not 0 <= start < count for start, count in zip(starts, whole.shape, strict=True)):
        return None
    axes = iter(range(whole.ndim))
    index: list[Any] = []
    for size, stride in zip(part.shape, part.strides, strict=True):
        found = None  # a new axis, where there is only one entry
        while size > 1 and found is None:
            axis = next(axes, -1)
            if axis < 0:
                return None
            found = _slice(starts[axis], size, stride, whole.strides[axis], whole.shape[axis])
            index += [] if found else [starts[axis]]
        index.append(found)
    index += [*(starts[axis] for axis in axes), *([] if part.ndim else [...])]
    return f"[{', '.join(map(_spelled, index))}]" if _is_same(whole[tuple(index)], part) else None


def _slice(start: int, size: int, stride: int, step: int, count: int) -> slice | None:
    """The slice, from a start, of an axis with a step and a count, that has a size and a stride; None if none has."""
    if step == 0 or stride % step:
        return None
    by = stride // step
    stop = start + size * by
    if not 0 <= stop - by < count:
        return None
    if by == 1:
        return slice(None) if size == count else slice(start, stop)
    return slice(start, None if stop < 0 else stop, by)


def _is_same(x: Array, y: Array) -> bool:
    """Whether two parts are the same entries in the same order."""
    steps = zip(x.shape, x.strides, y.strides, strict=False)
    return x.shape == y.shape and offset(x) == offset(y) and all(n == 1 or a == b for n, a, b in steps)


def _spelled(index: Any) -> str:
    if type(index) is not slice:
        return "..." if index is ... else str(index)
    ends = ["" if end is None else str(end) for end in (index.start, index.stop)]
    return ":".join(ends if index.step is None else [*ends, str(index.step)])
