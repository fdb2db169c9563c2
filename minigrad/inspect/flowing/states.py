"""The states of a loop over time: which values that a round hands to the next they are, and what to call them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..computation import Operation, Value
from ..folding import Repeat

PRODUCTS = ("linear", "matmul")
REVERSE = "_reverse"  # ends the names of the weights of a layer that reads from the end


@dataclass(frozen=True)
class State:
    """One state of a loop."""

    name: str  # "rnn.l0 h"
    values: list[Value]  # one for each round
    backwards: bool = False  # whether the first round is the last time step


def states_of(loop: Repeat) -> list[State]:
    """The states, by name: h is what is multiplied by a matrix, c what is not. Running totals are left out.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> from minigrad.inspect.computation import read
    >>> from minigrad.inspect.folding import Repeat, folded
    >>> lstm = nn.LSTM(3, 5, num_layers=2)
    >>> operations = read(lstm(mg.randn((7, 4, 3)))[0].sum(), {"lstm": lstm}).operations
    >>> loops = [part for part in folded(operations) if isinstance(part, Repeat)]
    >>> [state.name for loop in loops for state in states_of(loop)]
    ['lstm.l0 c', 'lstm.l0 h', 'lstm.l1 c', 'lstm.l1 h']
    """
    carried = [values for values in loop.carried if not _is_total(values, loop)]
    weights = [_weight(values[0], loop) for values in carried]
    plain = sum(weight is None for weight in weights)
    found = []
    for k, (values, weight) in enumerate(zip(carried, weights, strict=True)):
        owner = next((w for w in [*weights[k:], *reversed(weights[:k])] if w is not None), None)
        own = "" if owner is None else owner.name.rpartition(".")[2]
        suffix = own.removeprefix("weight_hh_") if own.startswith("weight_hh_") else ""
        short = "h" if weight is not None or len(carried) == 1 else "c" if plain < len(carried) else f"state {k + 1}"
        name = f"{_layer(owner, suffix, loop, values[0])} {values[-1].name or short}"
        found.append(State(name, values, suffix.endswith(REVERSE)))
    return found


def _layer(weight: Value | None, suffix: str, loop: Repeat, value: Value) -> str:
    """What a layer is called, by its weight, or by the module in which its state is made."""
    modules = value.maker.modules if value.maker is not None else ()
    owner = weight.name.rpartition(".")[0] if weight is not None and weight.role == "parameter" else ""
    called = owner or (modules[-1] if modules else "loop")
    return f"{called}.{suffix}" if suffix else called


def _following(value: Value, loop: Repeat) -> Iterator[tuple[Operation, int]]:
    """Who takes a value of the first round in the second."""
    second = {id(operation) for operation in loop.rounds[1]}
    return ((user, place) for user, place in value.users if id(user) in second)


def _weight(value: Value, loop: Repeat) -> Value | None:
    """The matrix by which the next round multiplies a state, at once or behind a mask."""
    users = list(_following(value, loop))
    masked = [y for user, _ in users if user.primitive.name == "multiply" for y in user.outputs]
    users += [pair for y in masked for pair in _following(y, loop) if _is_constant(y.maker)]
    for user, place in users:
        if user.primitive.name in PRODUCTS and place < 2:
            return user.inputs[1 - place]
    return None


def _is_constant(operation: Operation | None) -> bool:
    """Whether one side of a product is no result: a mask."""
    return operation is not None and any(x.role == "data" for x in operation.inputs)


def _is_total(values: list[Value], loop: Repeat) -> bool:
    """Whether all that the next round does with it is to add to it."""
    users = list(_following(values[0], loop))
    return all(user.primitive.name == "add" and user.outputs[0] is values[1] for user, _ in users)
