"""A second autograd, naive enough to be believed by reading, against which `test_machine` holds the engine.

It knows four things: linear maps (what a map does to each unit vector is all there is to know), the product, products
of matrices (maps that are linear in each of two arguments), and three functions of one number. A derivative is a
`Value` again, so there are gradients of gradients. The gradient of a value is, by definition, the sum over its users
of what each hands down: a recursion from the inputs *up* to the outputs.
Nothing is swept, sorted, borrowed or added in place.

The second half keeps the books: which application was freed, and whose saved memory has been written to since.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

# Values and their gradients -------------------------------------------------------------------------

recording = [True]  # whether what is computed is remembered: the last entry counts


@contextlib.contextmanager
def record(on: bool) -> Iterator[None]:
    recording.append(on)
    yield
    recording.pop()


class Value:
    """An array; its parts, each with a function that makes of this one's gradient what the part gets by it."""

    def __init__(self, array: Any, pulls: Sequence[tuple[Value, Any]] = (), node: Node | None = None) -> None:
        self.array = np.asarray(array)
        self.pulls = [(part, pull) for part, pull in pulls if part.requires and recording[-1]]
        self.requires = bool(self.pulls)
        self.node = node if self.requires else None
        self.depth = 1 + max((part.depth for part, _ in self.pulls), default=0)
        self.hooks: dict[str, Callable[[Value], Value | None]] = {}
        self.retains = False
        self.grad: Value | None = None


def linear(f: Callable[..., Any], *xs: Value, node: Node | None = None) -> Value:
    """f(x, ...) of which nothing is known but that it is linear."""
    shapes = [x.array.shape for x in xs]
    pulls = [(x, functools.partial(transposed, f, shapes, k)) for k, x in enumerate(xs)]
    return Value(f(*(x.array for x in xs)), pulls, node or Node(xs))


def transposed(f: Callable[..., Any], shapes: list[Shape], k: int, g: Value) -> Value:
    """The transpose of a linear map, as a map of its k-th argument: entry i is g · f(unit vector i)."""
    rows = []
    for i in np.ndindex(shapes[k]):
        arguments = [np.zeros(shape) for shape in shapes]
        arguments[k][i] = 1.0
        rows.append(np.ravel(f(*arguments)))
    return linear(lambda a: (np.array(rows) @ np.ravel(a)).reshape(shapes[k]), g)


def multiply(x: Value, y: Value) -> Value:
    """x y, broadcasting: (x y)' = x' y + x y', summed over the entries that one entry was repeated to."""
    x_read, y_read, product = _as_read(x), _as_read(y), x.array * y.array

    def pull(other: Value, shape: Shape, g: Value) -> Value:
        return transposed(lambda a: np.broadcast_to(a, product.shape), [shape], 0, multiply(g, other))

    pulls = [(x, functools.partial(pull, y_read, x.array.shape)), (y, functools.partial(pull, x_read, y.array.shape))]
    return Value(product, pulls, Node([x, y], saved=[y] * x.requires + [x] * y.requires))


def bilinear(f: Callable[..., Any], x: Value, y: Value, plus: Value | None = None) -> Value:
    """f(x, y), linear in x and in y; and something added to it, which broadcasts to its shape."""
    units = [np.eye(a.array.size).reshape(-1, *a.array.shape) for a in (x, y)]
    table = np.array([[np.ravel(f(a, b)) for b in units[1]] for a in units[0]])
    return _contracted(table.transpose(2, 0, 1), np.shape(f(x.array, y.array)), x, y, plus)


def _contracted(table: Array, shape: Shape, x: Value, y: Value, plus: Value | None = None) -> Value:
    """Σᵢⱼ table[k, i, j] x[i] y[j], of a shape; the gradient of x is such a sum over k, j; that of y over k, i."""
    x_read, y_read = _as_read(x), _as_read(y)
    array, parts = (table @ np.ravel(y.array) @ np.ravel(x.array)).reshape(shape), [x, y]
    pulls: list[tuple[Value, Any]] = [
        (x, lambda g: _contracted(table.transpose(1, 0, 2), x.array.shape, g, y_read)),
        (y, lambda g: _contracted(table.transpose(2, 0, 1), y.array.shape, g, x_read)),
    ]
    if plus is not None:
        array, parts = array + plus.array, [x, y, plus]
        pulls.append((plus, functools.partial(transposed, lambda a: np.broadcast_to(a, shape), [plus.array.shape], 0)))
    return Value(array, pulls, Node(parts, saved=[y] * x.requires + [x] * y.requires))


def tanh(x: Value) -> Value:
    """y' = 1 - y²"""
    node = Node([x])
    y = Value(np.tanh(x.array), [(x, lambda g: multiply(g, subtract(Value(1.0), multiply(y, y))))], node)
    node.saved.append(owner(y.array))
    return y


def sin(x: Value) -> Value:
    """y' = cos x"""
    return Value(np.sin(x.array), [(x, lambda g: multiply(g, cos(x)))], Node([x], saved=[x]))


def cos(x: Value) -> Value:
    """y' = -sin x"""
    return Value(np.cos(x.array), [(x, lambda g: multiply(scale(-1.0, g), sin(x)))], Node([x], saved=[x]))


def add(x: Value, y: Value) -> Value:
    return linear(np.add, x, y)


def subtract(x: Value, y: Value) -> Value:
    return linear(np.subtract, x, y)


def scale(factor: float, x: Value) -> Value:
    return linear(lambda a: factor * a, x)


def _as_read(x: Value) -> Value:
    """For a derivative to read: what needs no gradient now is a constant there, whatever becomes of it later."""
    return x if x.requires else Value(x.array)


def gradients(
    outputs: Sequence[Value], seeds: Sequence[Value], wanted: Collection[Value], *, record_them: bool
) -> dict[Value, Value | None]:
    """The gradient of each value wanted, None if the outputs do not depend on it."""
    users: dict[Value, list[tuple[Value, Any]]] = {}

    def explore(user: Value) -> None:
        if user not in users:
            users[user] = []
            for part, pull in user.pulls:
                explore(part)
                users[part].append((user, pull))

    @functools.cache
    def gradient(x: Value) -> Value | None:
        shares = [seed for y, seed in zip(outputs, seeds, strict=True) if y is x]
        shares += [pull(gradient(user)) for user, pull in users.get(x, ())]
        if not shares:
            return None
        total = functools.reduce(add, shares)
        for hook in x.hooks.values():
            total = hook(total) or total
        return total

    for y in outputs:
        explore(y)
    with record(record_them), made_inside():
        return {x: gradient(x) for x in wanted}


# The books ------------------------------------------------------------------------------------------

clock = itertools.count(1)
writes: list[tuple[Array, int]] = []  # memory, and when it was written to
inside: list[list[Node]] = []  # the nodes that the recorded sweep we are in has made so far


@contextlib.contextmanager
def made_inside() -> Iterator[None]:
    inside.append([])
    yield
    inside.pop()


def owner(array: Array) -> Array:
    """The array whose memory this one looks into."""
    while array.base is not None:
        array = array.base
    return array


def mark_written(array: Array) -> None:
    writes.append((owner(array), next(clock)))


class Node:
    """One application: when it was made, of what, and which memory its derivative will read.

    What a recorded sweep makes is its own business: how many nodes there are, and which of them several gradients
    share, is promised to nobody. Once one of them is freed, it is unknown (None) which of the others are.
    """

    def __init__(self, parts: Sequence[Value], saved: Sequence[Value] = ()) -> None:
        self.born = next(clock)
        self.parts = [part for part in parts if part.requires]
        self.saved = [owner(x.array) for x in saved]
        self.freed: bool | None = False
        self.siblings = inside[-1] if inside else None
        if self.siblings is not None:
            self.siblings.append(self)

    def is_stale(self) -> bool:
        return any(when > self.born for memory, when in writes if any(memory is s for s in self.saved))

    def free(self) -> None:
        self.freed = True
        for node in self.siblings or ():
            node.freed = None


def way(outputs: Sequence[Value], wanted: Collection[Value] | None, suspicious: bool = False) -> list[Node]:
    """The nodes that a sweep goes through, newest first: those that lead to what is wanted (None: all).

    A freed node has forgotten where it leads, and may lead to whatever is older. Of those of which nobody knows
    whether they were freed, the suspicious believe that they were.
    """
    oldest = 0 if wanted is None else min((x.node.born if x.node else 0 for x in wanted), default=0)

    @functools.cache
    def leads(node: Node) -> bool:
        if wanted is None or ((node.freed or (suspicious and node.freed is None)) and node.born > oldest):
            return True
        return any(part in wanted or (part.node and leads(part.node)) for part in node.parts)

    found: set[Node] = set()

    def follow(node: Node | None) -> None:
        if node is not None and node not in found and leads(node):
            found.add(node)
            for part in node.parts if not node.freed else ():
                follow(part.node)

    for y in outputs:
        follow(y.node)
    return sorted(found, key=lambda node: -node.born)


def passes(outputs: Sequence[Value], wanted: Collection[Value] | None, retain: bool) -> str:
    """Enter a sweep into the books. What it must say if it fails, "" if it does not fail, "unknown" if nobody knows."""
    certain, possible = way(outputs, wanted), way(outputs, wanted, suspicious=True)
    bad = next((node for node in certain if node.freed or node.is_stale()), None)
    # From here on it is not certain that the sweep goes on.
    doubt = next((n for n in possible if n.freed is None or (n not in certain and (n.freed or n.is_stale()))), None)
    if doubt and not bad:
        return "unknown"
    for node in () if retain else possible:
        if bad is None or node.born > bad.born:
            node.free()
            if node not in certain or (doubt and node.born <= doubt.born):
                node.freed = None
    if bad is None:
        return ""
    if bad.siblings is not None and not retain:
        for node in bad.siblings:
            node.freed = None
    if doubt or bad.siblings is not None:
        return "freed by an earlier|written to since"
    return "freed by an earlier" if bad.freed else "written to since"
