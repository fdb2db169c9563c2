"""Anomaly mode: who was the first to make a NaN or an infinity, forward or backward, and where.

While `detect_anomaly` is on, the tape shows every result to the watcher below, which looks at it, and which
notes for each node the lines that led to it. Both cost time and make the host wait for the device: it is for
finding an error, not for training.
"""

from __future__ import annotations

import contextlib
import linecache
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from types import FrameType
from typing import Any, NamedTuple

from . import tape
from .backend import ArrayNamespace, cpu, is_array, namespace_of
from .cotangent import Deferred
from .graph import Edge, Node, Tensor
from .messages import describe, explained, input_names
from .ops.primitive import Primitive

_PACKAGE = __name__.partition(".")[0]


class AnomalyError(FloatingPointError):
    """An operation made a NaN or an infinity out of numbers that were none; raised inside `detect_anomaly`.

    >>> import minigrad as mg
    >>> try:
    ...     with mg.detect_anomaly():
    ...         mg.log(mg.tensor([1.0, 0.0]))
    ... except mg.AnomalyError as error:
    ...     print(str(error).splitlines()[0])
    log: -inf at index (1,), from x (2,) float32 from 0 to 1. Keep its inputs where it is finite
    """


class _Here(threading.local):
    def __init__(self) -> None:
        self.blocks: list[Any] = []  # of detect_anomaly in which this thread is: NumPy's error state of each
        self.step = ""  # which time step of which layer is running


_here = _Here()
_lock = threading.Lock()
_blocks = 0  # of all threads


class detect_anomaly(contextlib.ContextDecorator):  # noqa: N801 - used like a function, as in PyTorch
    """Inside this block, or a function so decorated, the first operation to make a NaN or an infinity raises.

    Forward as well as backward; the message names the operation, its inputs, the line of your program that called it,
    and the time step, if it is in a recurrent layer or was reached by a loop. A NaN that comes in, with data or a
    weight, raises where it is first used; an infinity that comes in (a mask of -inf) may go through. Errors of the
    backward pass show the forward line too, and indices out of range, which a GPU wraps silently, raise there as well.
    One per thread. Much slower: every result is read by the host.

    Raises:
        AnomalyError: a NaN or an infinity was made.

    >>> import minigrad as mg
    >>> x = mg.tensor([0.0, 4.0], requires_grad=True)
    >>> y = x.sqrt().sum()                            # √0 = 0: nothing wrong yet
    >>> with mg.detect_anomaly():                     # doctest: +ELLIPSIS
    ...     y.backward()
    Traceback (most recent call last):
    minigrad.anomaly.AnomalyError: backward of sqrt: inf in the gradient of x at index (0,), ...
    """

    def __enter__(self) -> None:
        global _blocks
        with _lock:
            _blocks += 1
            tape.watcher = _watcher
        quiet = cpu.errstate(all="ignore")  # NumPy would warn first, of less
        quiet.__enter__()
        _here.blocks.append(quiet)

    def __exit__(self, *_: object) -> None:
        global _blocks
        _here.blocks.pop().__exit__(None, None, None)
        with _lock:
            _blocks -= 1
            if not _blocks:
                tape.watcher = None


def time_steps(steps: Sequence[Tensor], layer: str, backwards: bool = False) -> Iterable[Tensor]:
    """The time steps of a layer, one after the other; anomaly mode notes which one is running."""
    if tape.watcher is not None:
        return _noted(steps, layer, backwards)
    return reversed(steps) if backwards else steps


def _noted(steps: Sequence[Tensor], layer: str, backwards: bool) -> Iterator[Tensor]:
    outside = _here.step
    try:
        for t in reversed(range(len(steps))) if backwards else range(len(steps)):
            _here.step = f"time step {t} of {layer}"
            yield steps[t]
    finally:
        _here.step = outside


# Where an operation was called ------------------------------------------------------------------------


class Line(NamedTuple):
    """A place in a program, down to the instruction: two calls on one line are two places."""

    file: str
    number: int
    function: str
    instruction: int

    def __str__(self) -> str:
        text = linecache.getline(self.file, self.number).strip()
        return f'File "{self.file}", line {self.number}, in {self.function}' + (f"\n    {text}" if text else "")


class Origin(NamedTuple):
    """The lines that led to an operation, from the user's own to the equation, and the time step."""

    lines: tuple[Line, ...]
    step: str


def _origin() -> Origin:
    lines: list[Line] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        room = module.split(".")
        outside = room[0] != _PACKAGE
        if outside or (room[1:2] == ["nn"] and frame.f_code.co_name != "__call__"):  # the rest is how minigrad works
            code = frame.f_code
            lines.append(Line(code.co_filename, frame.f_lineno, code.co_name, frame.f_lasti))
        if outside:
            break
        frame = frame.f_back
    return Origin(tuple(reversed(lines)), _here.step)


def _told(origin: Origin | None, primitive: Primitive[Any], sources: Iterable[Node]) -> str:
    """The forward line and the time step, for a message."""
    if origin is None:
        return "\nIt was recorded outside of detect_anomaly: have the forward pass inside too, and the line is shown."
    told = "".join(f"\n  {line}" for line in origin.lines)
    if origin.step:
        return f"\nForward, at {origin.step}:{told}"
    before = _same_before(origin, primitive, sources)
    count = f" (reached {before} times before on the way here: time step {before}, if it loops over time)"
    return f"\nForward{count if before else ''}:{told}"


def _same_before(origin: Origin, primitive: Primitive[Any], sources: Iterable[Node]) -> int:
    """How many nodes that lead here were made by the very same instruction."""
    seen: set[int] = set()
    count, frontier = 0, list(sources)
    while frontier:
        node = frontier.pop()
        if node.birth not in seen:
            seen.add(node.birth)
            known = node.notes.origin if node.notes else None
            count += known is not None and known.lines == origin.lines and node.primitive is primitive
            frontier.extend(edge[0] for edge in node.edges if type(edge) is tuple)
    return count


# Looking on ---------------------------------------------------------------------------------------------


class _Watcher:
    def forward(
        self,
        primitive: Primitive[Any],
        inputs: Sequence[Any],
        parameters: dict[str, Any],
        xp: ArrayNamespace,
        outputs: Sequence[Tensor],
    ) -> None:
        if not _here.blocks:
            return
        origin = _origin()
        sources = [x._source[0] for x in inputs if type(x) is Tensor and x._source]
        if not xp.checks_indices and primitive.kind == "index":
            _check_range(primitive, inputs, parameters, outputs)
        for y in outputs:
            found = _new_anomaly(y, [*inputs, *parameters.values()])
            if found:
                named = zip(input_names(primitive, inputs), inputs, strict=True)
                came = ", ".join(f"{name} {_range(x)}" for name, x in named)
                raise AnomalyError(
                    f"{primitive.name}: {found}, from {came}. Keep its inputs where it is finite"
                    + _told(origin, primitive, sources)
                )
        if outputs and outputs[0]._source is not None:
            outputs[0]._source[0].noted().origin = origin

    def backward(self, node: Node, place: int, received: Sequence[Any], cotangent: Any) -> None:
        found = _here.blocks and _new_anomaly(cotangent, received)
        if found:
            place_found = found.replace(" at index", f" in the gradient of {_name(node, place)} at index")
            names = [*input_names(node.primitive, node.inputs), "the output"]
            values = zip(names, [*node.inputs, node.output], strict=True)
            saved = ", ".join(f"{name} {_range(x)}" for name, x in values if type(x) is Tensor or is_array(x))
            raise AnomalyError(
                f"backward of {node.primitive.name}: {place_found}, from incoming gradients "
                f"{', '.join(_range(g) for g in received if g is not None)}"
                + (f" and {saved}" if saved else "")
                + ". Keep its inputs where the derivative is finite"
                + _told_of(node)
            )

    def added(self, edge: Edge, before: Any, contribution: Any, after: Any) -> None:
        found = _here.blocks and _new_anomaly(after, [before, contribution])
        if found:
            what = f"output of {edge[0].primitive.name}" if type(edge) is tuple else f"leaf {describe(edge)}"
            where = _told_of(edge[0]) if type(edge) is tuple else ""
            raise AnomalyError(
                f"backward: {found}, in the sum of the gradients that the {what} received, "
                f"{_range(before)} and {_range(contribution)}" + where
            )

    def explain(self, node: Node, error: Exception) -> None:
        if _here.blocks and not isinstance(error, AnomalyError):
            error.add_note(f"in the backward pass through {node.primitive.name}" + _told_of(node))


_watcher = _Watcher()


def _told_of(node: Node) -> str:
    origin = node.notes.origin if node.notes else None
    return _told(origin, node.primitive, [edge[0] for edge in node.edges if type(edge) is tuple])


def _name(node: Node, place: int) -> str:
    return input_names(node.primitive, node.inputs)[place]


def _on_host(x: Any) -> Any:
    """The floating-point values of something as a NumPy array; None for anything else."""
    array = x._data if type(x) is Tensor else x.copy().array() if type(x) is Deferred else x
    if isinstance(array, float):
        array = cpu.asarray(array)
    if not is_array(array) or array.dtype.kind != "f":
        return None
    return namespace_of(array).to_host(array)


def _new_anomaly(y: Any, sources: Sequence[Any]) -> str:
    """The first NaN or infinity in y, in words, if it is not an infinity that came in."""
    values = _on_host(y)
    if values is None or cpu.isfinite(values).all():
        return ""
    came = [host for host in map(_on_host, sources) if host is not None]
    is_nan = cpu.isnan(values)
    if is_nan.any():
        return _at(values, is_nan) + (", which came in" if any(cpu.isnan(host).any() for host in came) else "")
    if all(cpu.isfinite(host).all() for host in came):
        return _at(values, ~cpu.isfinite(values))
    return ""


def _at(values: Any, wrong: Any) -> str:
    index = tuple(int(i) for i in cpu.unravel_index(int(wrong.argmax()), wrong.shape))
    count = int(wrong.sum())
    others = f" (and {count - 1} more of {wrong.size})" if count > 1 else ""
    return f"{float(values[index])} at index {index}{others}"


def _range(x: Any) -> str:
    """An operand, with the smallest and the largest of its values."""
    host = _on_host(x)
    if host is None or not host.ndim:
        return describe(x) if host is None else str(float(host))
    shown = f"{tuple(host.shape)} {host.dtype}"
    return shown + (f" from {float(host.min()):.6g} to {float(host.max()):.6g}" if host.size else "")


def _check_range(
    primitive: Primitive[Any], inputs: Sequence[Any], parameters: dict[str, Any], outputs: Sequence[Tensor]
) -> None:
    """Pick the same indices on the host, from zeros, where NumPy raises for one out of range."""
    zeros = [cpu.broadcast_to(cpu.zeros((), dtype=x._data.dtype), x._data.shape) for x in inputs if type(x) is Tensor]
    try:
        primitive.value(cpu, *zeros, **{name: _to_host(value) for name, value in parameters.items()})
    except IndexError as error:
        raise explained(primitive, inputs, parameters, error) from error


def _to_host(parameter: Any) -> Any:
    if isinstance(parameter, tuple):
        return tuple(_to_host(part) for part in parameter)
    return namespace_of(parameter).to_host(parameter) if is_array(parameter) else parameter
