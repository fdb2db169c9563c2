"""What is remembered of a parameter: whether it still fits, and how a saved state is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..backend import cpu, is_array, namespace_of, python_scalar
from ..creation import tensor
from ..graph import Tensor
from ..messages import describe


def check_fit(caller: str, p: Tensor, gradient: Tensor, state: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise if p cannot be changed, or its data were replaced by some that fit neither gradient nor state."""
    x, g = p.data, gradient.data
    xp, shape, dtype = namespace_of(x), x.shape, x.dtype
    if xp is cpu and not x.flags.writeable:  # CuPy's arrays all are
        raise RuntimeError(f"{caller}: the data of a parameter, {describe(p)}, are read-only; assign p.data a copy")
    if namespace_of(g) is not xp or g.dtype != dtype or g.shape != shape:
        raise RuntimeError(
            f"{caller}: a parameter is {describe(p)}, but its gradient is {describe(gradient)}; it was changed after "
            "backward. Write optimizer.zero_grad(), and compute the loss and its gradient anew"
        )
    for name, value in state.items():
        if not is_array(value):
            continue
        is_like_p = namespace_of(value) is xp and value.dtype == dtype
        if is_like_p and value.shape == shape:
            continue
        if not is_like_p:
            cure = "it was moved or converted after a step. To bring its state along, write "
            cure += "optimizer.load_state_dict(optimizer.state_dict())"
        elif name in known:
            cure = "its data were replaced after a step. To begin its state anew, write del optimizer.state[p]"
        else:
            continue
        raise RuntimeError(
            f"{caller}: a parameter is {describe(p)}, but its {name} is {describe(Tensor(value))}; {cure}"
        )


def laid_out(caller: str, state_dict: Any) -> tuple[Sequence[Mapping[str, Any]], Mapping[Any, Mapping[str, Any]]]:
    """The groups and the states of a state dict; TypeError if it is none."""
    if not isinstance(state_dict, Mapping) or not state_dict.keys() >= {"state", "param_groups"}:
        raise TypeError(f'{caller}: expected a state dict with "state" and "param_groups", as state_dict() gives it')
    groups, states = state_dict["param_groups"], state_dict["state"]
    if not isinstance(groups, (list, tuple)) or not all(
        isinstance(group, Mapping)
        and isinstance(group.get("params"), (list, tuple))
        and all(isinstance(number, int) for number in group["params"])
        for group in groups
    ):
        raise TypeError(
            f'{caller}: expected "param_groups" to be a list of dicts, each with "params", a list of numbers'
        )
    if not isinstance(states, Mapping) or not all(isinstance(values, Mapping) for values in states.values()):
        raise TypeError(f'{caller}: expected "state" to be a dict with a dict for each number of a parameter')
    return groups, states


def loaded(
    caller: str, number: Any, p: Tensor, values: Mapping[str, Any], always: Sequence[str], sometimes: Sequence[str]
) -> dict[str, Any]:
    """The state of one parameter, checked and copied."""
    values = {name: value for name, value in values.items() if value is not None}
    if values and not set(always) <= values.keys() <= {*always, *sometimes}:
        raise ValueError(
            f"{caller}: the state of parameter {number} holds {', '.join(map(str, values))}, but expected "
            f"{' and '.join(always) or 'nothing'} always, {', '.join(sometimes) or 'nothing'} besides; "
            "it is of another optimizer"
        )
    state: dict[str, Any] = {}
    for name, value in values.items():
        where = f"{caller}: {name} of parameter {number}"
        if not (isinstance(value, Tensor) or is_array(value) or isinstance(python_scalar(value), (int, float))):
            came = f"{type(value).__module__}.{type(value).__name__}"
            raise TypeError(f"{where}: expected a Tensor, a NumPy array or a number, got {came}; convert it first")
        shape = tuple(getattr(value, "shape", ()))
        if shape != (() if name == "step" else p.shape):
            raise ValueError(f"{where}: expected shape {() if name == 'step' else p.shape}, got {shape}")
        if name == "step":
            count = tensor(value).item()
            if not (count >= 0 and count % 1 == 0):
                raise ValueError(f"{where}: expected a count of steps, got {count}")
            state[name] = int(count)
        else:
            state[name] = tensor(value, dtype=p.dtype, device=p.device).data
    return state
