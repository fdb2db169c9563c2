"""How large gradients are, layer by layer and time step by time step: where they vanish, explode, or are no numbers.

T: time steps
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from ...backend import cpu, namespace_of
from ...graph import Tensor
from ...nn.module import Module
from ...tape import as_array
from ..computation import Computation, Value, on_host, read
from ..folding import Repeat, folded
from ..slow import SlowSweep, add_to, sent_back, slow_backward
from .norms import Followed, Row, logarithm, norm
from .shown import GradientFlow
from .states import states_of


def gradient_flow(loss: Tensor, names: Any = None) -> GradientFlow:
    """The norms of the gradients of a loss: of each parameter, and of the state of each recurrent layer at each step.

    For a parameter w: ‖dL/dw‖, ‖w‖ and their ratio. For the states h (and c) of a loop: ‖dL/dh_t‖ for each t, and by
    which factor a step a gradient changes on its way back. The factor is that of what sets out from the last step
    alone, a geometric mean from there to the first: if the loss looks at the last state alone, the curve of the norms
    falls or rises by it; if the loss looks at every step, the curve has all contributions in it and may be flat, though
    each of them vanishes on its way. Below 0.95 it vanishes, above 1.05 it explodes. Recurrent layers are opened,
    though they run as one kernel; loops of one's own are found where three rounds or more are alike. Packed
    sequences are several loops: one for each stretch of steps at which as many sequences go on. Everything is computed
    once more, from the graph: `.grad` and the graph stay as they are, and hooks are not run.

    Args:
        loss: a scalar, before its `backward()`.
        names: what to call parameters and layers: a module, or a mapping such as locals(); see `read`.

    Returns:
        An object that prints as tables, and draws itself: `plot("flow.png")`. Its `parameters`, `states` and `norm`
        are numbers.

    Raises:
        TypeError: it is no Tensor.
        RuntimeError: it is a leaf, no scalar, or its graph was freed.

    Source: Pascanu, Mikolov and Bengio 2013, "On the difficulty of training recurrent neural networks".

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> from minigrad.inspect import gradient_flow
    >>> mg.manual_seed(0)
    >>> rnn = nn.RNN(3, 8)
    >>> output, h = rnn(mg.randn((30, 4, 3)))
    >>> flow = gradient_flow((output[-1] ** 2).sum(), names=rnn)
    >>> (state,) = flow.states
    >>> state.name, len(state.norms), state.verdict[:9]
    ('RNN.l0 h', 30, 'vanishes:')
    >>> flow["weight_hh_l0"].shape
    (8, 8)
    """
    with cpu.errstate(all="ignore"):  # what is no number is looked for, and told where
        computation = read(loss, names, "gradient_flow")
        sweep = slow_backward(computation, caller="gradient_flow")
        rows = [_row(value, sweep) for value in computation.values if value.role in ("parameter", "input")]
        loops = [part for part in folded(computation.operations) if isinstance(part, Repeat)]
        states = [state for loop in loops for state in _followed(loop, sweep, computation.result)]
    assert computation.result.array is not None
    value = float(on_host(computation.result.array).reshape(-1)[0])
    return GradientFlow(value, rows, _numbered(states), _unreached(names, computation))


def _row(value: Value, sweep: SlowSweep) -> Row:
    name = value.name or f"unnamed {value.role} {value.number}"
    reached = value in sweep.gradients
    return Row(name, value.shape, norm(sweep.gradients.get(value)), norm(value.array), reached)


def _unreached(names: Any, computation: Computation) -> list[str]:
    """Parameters of the modules that were named, to which nothing leads from the loss."""
    given: dict[str, Any] = {"": names} if isinstance(names, Module) else {}
    if isinstance(names, Mapping):
        given = {str(name): x for name, x in names.items() if isinstance(x, Module)}
    seen = {id(value.array) for value in computation.values if value.role == "parameter"}
    found: dict[int, str] = {}
    for prefix, module in given.items():
        for name, parameter in module.named_parameters(prefix):
            if id(parameter._data) not in seen and parameter.requires_grad:
                found.setdefault(id(parameter), name)
    return list(found.values())


# By time step -------------------------------------------------------------------------------------


def _followed(loop: Repeat, sweep: SlowSweep, result: Value) -> list[Followed]:
    """The states of a loop, their norms in the order of time."""
    states = states_of(loop)
    ways = _way_back(loop, [state.values for state in states], sweep, result) if states else []
    found = []
    for state, way in zip(states, ways, strict=True):
        norms = [norm(sweep.gradients.get(value)) for value in state.values]
        order = -1 if state.backwards else 1
        found.append(Followed(state.name, norms[::order], way[::order], state.backwards))
    return found


def _way_back(loop: Repeat, states: Sequence[list[Value]], sweep: SlowSweep, result: Value) -> list[list[float]]:
    """What sets out from the last round alone: for each state the logarithm of its norm, by round.

    After each round all is divided by its norm, so that however far it goes it is neither 0 nor infinite.
    """
    own = {id(operation) for operation in chain(*loop.rounds)}
    last = {id(operation) for operation in loop.rounds[-1]}
    gradients = {value: g for value, g in sweep.gradients.items() if value is result and id(value.maker) in last}
    for passage in sweep.passages:
        if id(passage.operation) not in own:
            for value, g in zip(passage.operation.inputs, passage.sent, strict=True):
                if g is not None and value.maker is not None and id(value.maker) in last:
                    add_to(gradients, value, g)
    scale, found = 0.0, [[-math.inf] * loop.times for _ in states]
    for number in reversed(range(loop.times)):
        for operation in reversed(loop.rounds[number]):
            received = [gradients.get(y) for y in operation.outputs]
            if all(g is None for g in received):
                continue
            for value, g in zip(operation.inputs, sent_back(operation, received), strict=True):
                if g is not None and value.maker is not None and id(value.maker) in own:
                    add_to(gradients, value, g)
        for row, values in zip(found, states, strict=True):
            row[number] = scale + logarithm(norm(gradients.get(values[number])))
        handed = [values[number - 1] for values in states]  # and no running totals, which all steps have added to
        gradients = {value: gradients[value] for value in handed if value in gradients}
        size = math.hypot(*map(norm, gradients.values()))
        if 0 < size < math.inf:
            gradients = {value: as_array(namespace_of(g), g / size, "a gradient") for value, g in gradients.items()}
            scale += math.log(size)
    return found


def _numbered(states: list[Followed]) -> list[Followed]:
    """The same with names that differ."""
    counts: dict[str, int] = {}
    found = []
    for state in states:
        counts[state.name] = counts.get(state.name, 0) + 1
        number = counts[state.name]
        name = state.name if number == 1 else f"{state.name} ({number})"
        found.append(replace(state, name=name))
    return found
