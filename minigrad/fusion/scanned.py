"""`scan`: a recurrence over a whole sequence, its time loop in one call.

T: time steps   N: batch
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from types import FunctionType, ModuleType
from typing import Any

from .. import tape
from ..backend import ArrayNamespace, cpu, namespace_of, nothing_drawn
from ..graph import Storage, Tensor
from ..messages import describe, type_name
from ..mode import enable_grad, mode
from ..ops.shape import stack, unstack
from ..tape import as_tensor, by_hand, record
from .cell import Cell
from .compiler import CompileError
from .expression import FLOATS, Unfit
from .fused import MOST_PLANS
from .gradient import recorded_gradients
from .run import WRITERS, Plan, Run
from .setting import note_failure, setting, writer_name


def _derivative(xp: Any, gs: list[Any], run: Run, xs: list[Any], *, captured: int) -> list[Any]:
    if not any(type(x) is Tensor for x in xs):
        return run.backward(xp, gs)
    return recorded_gradients(lambda: _again(run, xs), xs, gs)


def _again(run: Run, xs: Sequence[Any]) -> list[Tensor]:
    """The outputs, computed one time step after the other."""
    cell = run.plan.cell
    count = len(cell.before)
    fixed = {slot.number: x for slot, x in zip(cell.fixed, xs[1 + count :], strict=True)}
    state, states = list(xs[1 : 1 + count]), []
    steps = unstack(xs[0])
    for x in reversed(steps) if run.reverse else steps:
        before = {slot.number: part for slot, part in zip(cell.before, state, strict=True)}
        state = cell.again({cell.x.number: x, **before, **fixed}, cell.results)
        states.append(state)
    stacks = [stack(part[::-1] if run.reverse else part) for part in zip(*states, strict=True)]
    return [*stacks, *state]


scanned = by_hand("scan", _derivative)
scanned.runs_program, scanned.takes_none = False, True
scanned.opened = lambda node: _again(node.output, node.inputs)

_plans: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()


def loop_of(
    cell: Callable[..., Any], x: Tensor, parts: Sequence[Tensor], joined: bool, constants: Sequence[Any], reverse: bool
) -> list[Tensor] | None:
    """For each part of the state: all of it, and the last; None if no kernel runs this."""
    xp = namespace_of(x._data)
    writer = writer_name(xp)
    if tape.watcher is not None or not setting.is_on or writer not in WRITERS:
        return None
    if any(namespace_of(part._data) is not xp for part in parts):
        return None
    flat: list[Any] = []
    _flatten(constants, flat)
    tensors = [c for c in flat if type(c) is Tensor]
    plans = _plans.setdefault(cell, {}) if _has_nothing_outside(cell) else {}
    key = (
        joined,
        xp,
        writer,
        *((t._data.shape[x is t :], t._data.dtype) for t in (x, *parts)),
        *(
            (c._data.shape, c._data.dtype, _position(tensors, c)) if type(c) is Tensor else (type(c), c, repr(c))
            for c in flat
        ),
    )
    try:
        found = plans.get(key)
    except TypeError:  # constants that cannot be compared: the operations take them as they are, or say what is wrong
        return None
    if found is None:
        found = _traced(cell, x, parts, joined, constants, tensors, xp, writer)
        if len(plans) >= MOST_PLANS:
            plans.clear()
        if found[2]:
            plans[key] = (found[0], [_position(tensors, t) for t in found[1]], True)
    if found[0] is None:
        return None
    plan = found[0]
    captured = [t if type(t) is Tensor else tensors[t] for t in found[1]]
    if any(namespace_of(t._data) is not xp for t in captured):
        return None
    inputs = [x, *parts, *captured]
    needs_grad = mode.recording and any(t._requires_grad for t in inputs)
    wanted = (x._requires_grad, tuple(t._requires_grad for t in captured)) if needs_grad else None
    try:
        run = Run(plan, x._data, [p._data for p in parts], [t._data for t in captured], reverse, wanted)
    except CompileError as error:
        note_failure(error)
        return None
    except Unfit:  # the loop backward
        return None
    outputs = [Tensor(y) for y in run.outputs]
    if needs_grad:
        storage = Storage()
        node = record(scanned, {"captured": len(captured)}, inputs, outputs, xp)
        node.output, node.storage = run, storage
        for y in outputs[: len(parts)]:
            y._storage = storage
        slots = [plan.cell.x, *plan.cell.before, *plan.cell.fixed]
        needed = {slot.number for slot, t in zip(slots, inputs, strict=True) if t._requires_grad}
        for k, y in enumerate(outputs):
            if not plan.cell.reach[k % len(parts)] & needed:
                y._requires_grad, y._source = False, None
    return outputs


def _has_nothing_outside(cell: Any) -> bool:
    """Whether a cell is made of its arguments and other functions alone: anything else may be different next time."""
    if type(cell) is not FunctionType or cell.__closure__ is not None or cell.__defaults__ or cell.__kwdefaults__:
        return False
    named = (cell.__globals__.get(name) for name in cell.__code__.co_names)
    return all(value is None or callable(value) or type(value) is ModuleType for value in named)


def _traced(
    cell: Any,
    x: Tensor,
    parts: Sequence[Tensor],
    joined: bool,
    constants: Sequence[Any],
    tensors: Sequence[Tensor],
    xp: ArrayNamespace,
    writer: str,
) -> Any:
    """A plan (None if there can be none), what the cell captured, and whether that is among the constants."""
    try:
        name = getattr(cell, "__name__", "the cell")
        with enable_grad():
            traced = _cell(cell, name, x, parts, joined, constants)
        plan = Plan(traced, xp, writer)
    except Exception as error:  # what is wrong the cell will say itself, step by step
        return None, [], isinstance(error, Unfit)
    captured = traced.tensors
    traced.tensors = []  # the plan outlives them
    return plan, captured, all(any(t is c for c in tensors) for t in captured)


def _cell(cell: Any, name: str, x: Tensor, parts: Sequence[Tensor], joined: bool, constants: Sequence[Any]) -> Cell:
    with nothing_drawn(Unfit("random numbers, which it draws for each time step anew")):
        return Cell(cell, name, x._data, [p._data for p in parts], joined, constants, x.device)


def _position(tensors: Sequence[Tensor], wanted: Tensor) -> int:
    return next(k for k, t in enumerate(tensors) if t is wanted)


def _flatten(value: Any, found: list[Any]) -> None:
    if isinstance(value, (tuple, list)):
        found += [type(value), len(value)]
        for part in value:
            _flatten(part, found)
    else:
        found.append(value)


def scan(cell: Callable[..., Any], x: Any, state: Any, *constants: Any, reverse: bool = False) -> tuple[Any, Any]:
    """Run a recurrence over a sequence: state_t = cell(x_t, state_{t-1}, *constants), for t = 1 to T.

    On the CPU, with a C compiler, the whole time loop is one call, on a CUDA device it is one kernel, and so is its
    backward, which is derived from the formulas of what the cell does. This takes a cell of matrix products of rows
    (N, ...) by weights, of elementwise primitives, and of slices; any other runs step by step. The results are the
    same, to rounding. `scan_source` says which it is.

    Args:
        cell: a pure function (x_t, state, *constants) -> state, which may also use Tensors from outside. It is run on
            stand-ins, once for each new combination of shapes if it uses nothing but its arguments.
        x: (T, ...): its slices along the first axis are what the cell gets.
        state: the first state, a Tensor or a tuple of Tensors.
        constants: further arguments of the cell, the same at all time steps: Tensors, numbers, None, tuples of these.
        reverse: whether to go from the last time step to the first.

    Returns:
        (states, last): all states, a Tensor (T, ...) for each part, in the order of x; and the one after the last step.

    Raises:
        TypeError: x or the state are not Tensors, or the cell gives another kind of state than it gets.
        ValueError: there is no time step, or the cell gives a state of another shape.

    >>> import minigrad as mg
    >>> x, w = mg.ones((3, 1, 2)), mg.eye(2)
    >>> states, last = mg.scan(lambda x, h: x + 0.5 * (h @ w), x, mg.zeros((1, 2)))
    >>> states.tolist()
    [[[1.0, 1.0]], [[1.5, 1.5]], [[1.75, 1.75]]]
    """
    x, parts, joined = _checked(x, state)
    found = loop_of(cell, x, parts, joined, constants, reverse)
    if found is None:
        found = _step_by_step(cell, x, parts, joined, constants, reverse)
    count = len(parts)
    return (tuple(found[:count]), tuple(found[count:])) if joined else (found[0], found[1])


def scan_source(
    cell: Callable[..., Any], x: Any, state: Any, *constants: Any, backward: bool = False, writer: str = "c"
) -> str:
    """The text of the time loop that `scan` runs for these arguments.

    Args:
        backward: the loop of the gradients of x, the first state and all weights, instead of the loop forward.
        writer: "c" or "cuda".

    Raises:
        TypeError: no kernel can be written for the cell, which `scan` then runs step by step; the message says why.
        ValueError: there is no such writer; or as for `scan`.

    >>> import minigrad as mg
    >>> print(mg.scan_source(lambda x, h: mg.tanh(x + h), mg.ones((3, 1, 2)), mg.zeros((1, 2))))
    ... # doctest: +ELLIPSIS
    typedef float real;
    ...
                        const float v2 = a0_ + a1_;
                        const float v3 = tanh_f32(v2);
    ...
    """
    if writer not in WRITERS:
        raise ValueError(f'scan_source: expected the writer "c" or "cuda", got {writer!r}')
    x, parts, joined = _checked(x, state)
    name = getattr(cell, "__name__", "the cell")
    try:
        traced = _cell(cell, name, x, parts, joined, constants)
        plan = Plan(traced, cpu, writer)
    except Unfit as error:
        raise Unfit(f"scan({name}): {error}") from None
    loop = plan.forward_loop
    if backward:
        floats = tuple(slot.dtype in FLOATS for slot in traced.fixed)
        _, loop = plan.backward_of((True,) * len(parts), True, floats)
    source: str = loop.source
    return source


def _checked(x: Any, state: Any) -> tuple[Tensor, list[Tensor], bool]:
    x = as_tensor(x, "scan")
    if x.ndim == 0 or x.shape[0] == 0:
        raise ValueError(f"scan: expected x of at least one time step, (T, ...), got {describe(x)}")
    joined = isinstance(state, (tuple, list))
    return x, [as_tensor(part, "scan, the state") for part in (state if joined else [state])], joined


def _step_by_step(
    cell: Callable[..., Any], x: Tensor, parts: Sequence[Tensor], joined: bool, constants: Sequence[Any], reverse: bool
) -> list[Tensor]:
    state: Any = tuple(parts) if joined else parts[0]
    shapes, states = [(p.shape, p.dtype) for p in parts], []
    steps = unstack(x)
    for x_t in reversed(steps) if reverse else steps:
        state = cell(x_t, state, *constants)
        given = list(state) if isinstance(state, (tuple, list)) else [state]
        if isinstance(state, (tuple, list)) != joined or any(type(p) is not Tensor for p in given):
            wanted = f"a tuple of {len(parts)} Tensors" if joined else "a Tensor"
            raise TypeError(
                f"scan: expected the cell to give {wanted} as the state, as it gets, got {type_name(state)}"
            )
        if [(p.shape, p.dtype) for p in given] != shapes:
            came = ", ".join(describe(p) for p in given)
            raise ValueError(f"scan: expected the cell to give a state like the one it gets, {shapes}, got {came}")
        states.append(given)
    stacks = [stack(part[::-1] if reverse else part) for part in zip(*states, strict=True)]
    return [*stacks, *states[-1]]
