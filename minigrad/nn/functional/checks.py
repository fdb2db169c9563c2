"""What functions and layers ask of their arguments. `caller` is the name that the message begins with."""

from __future__ import annotations

import numbers
import operator
from collections.abc import Sequence
from typing import Any

from ... import tape
from ...backend import is_floating, namespace_of
from ...graph import Tensor
from ...messages import describe

# Tensors ------------------------------------------------------------------------------------------


def check_floating(caller: str, name: str, x: Tensor) -> None:
    """Raise unless x, called `name`, is floating-point."""
    if not is_floating(x.dtype):
        raise TypeError(
            f"{caller}: expected floating-point {name}, got {describe(x)}; convert with .astype(minigrad.float32)"
        )


def check_one_device(caller: str, name: str, y: Tensor, first: str, x: Tensor) -> None:
    """Raise unless y, called `name`, is on the device of x, called `first`."""
    if namespace_of(y._data) is not namespace_of(x._data):
        raise RuntimeError(
            f"{caller}: expected one device, got {first} {describe(x)} and {name} {describe(y)}; "
            "move one with .to(device)"
        )


def check_alike(caller: str, name: str, y: Tensor, first: str, x: Tensor) -> None:
    """Raise unless y, called `name`, has the device and the dtype of x, called `first`."""
    check_one_device(caller, name, y, first, x)
    if y._data.dtype != x._data.dtype:
        raise TypeError(
            f"{caller}: expected {name} of the dtype of {first}, {x.dtype}, got {y.dtype}; "
            f'convert it with .astype("{x.dtype}")'
        )


def check_dim(caller: str, x: Tensor, dim: Any) -> None:
    """Raise unless x has a dimension `dim`, with something in it."""
    if not isinstance(dim, int) or not -x.ndim <= dim < x.ndim:
        dims = f"an integer dim from {-x.ndim} to {x.ndim - 1}" if x.ndim else "x of at least one dimension"
        raise ValueError(f"{caller}: expected {dims}, got dim={dim!r} for x {describe(x)}")
    if not x.shape[dim]:
        raise ValueError(f"{caller}: expected at least one entry along dim {dim}, got x {describe(x)}")


def check_ids(caller: str, ids: Tensor, count: int, name: str = "ids") -> None:
    """Raise unless ids, called `name`, are integers, and on the CPU, or in anomaly mode, also from 0 to count - 1."""
    if ids.dtype.kind not in "iu":
        raise TypeError(f'{caller}: expected integer {name}, got {describe(ids)}; convert them with .astype("int64")')
    xp = namespace_of(ids.data)
    if (xp.checks_indices or tape.watcher is not None) and ids.size:
        flat = xp.to_host(ids.data).ravel()
        low, high = int(flat.min()), int(flat.max())
        if low < 0 or high >= count:
            place = int(((flat < 0) | (flat >= count)).argmax())
            expected = f"{name} from 0 to {count - 1}" if count else "at least one class"
            raise IndexError(
                f"{caller}: expected {expected}, got {name} from {low} to {high}; the first outside is {flat[place]}, "
                f"number {place} of {flat.size}"
            )


# Options ------------------------------------------------------------------------------------------


def check_sizes(caller: str, **sizes: Any) -> None:
    """Raise unless the sizes of a layer are positive integers."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not hasattr(size, "__index__") or size < 1:
            raise ValueError(f"{caller}: expected {name} to be a positive integer, got {size!r}")


def check_flags(caller: str, **flags: Any) -> None:
    """Raise unless each is True or False: of anything else, such as "False", one would guess what is meant."""
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise TypeError(f"{caller}: expected {name} to be True or False, got {flag!r:.40}")


def check_numbers(caller: str, **values: Any) -> None:
    """Raise unless each is a real number."""
    for name, value in values.items():
        if not is_number(value):
            raise TypeError(f"{caller}: expected {name} to be a number, got {value!r:.40}")


def check_integers(caller: str, **values: Any) -> None:
    """Raise unless each is an integer."""
    for name, value in values.items():
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError(f"{caller}: expected {name} to be an integer, got {value!r:.40}")


def is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_probability(caller: str, p: float) -> None:
    """Raise unless p is a probability."""
    if not is_number(p):
        raise TypeError(f"{caller}: expected a probability from 0 to 1, got {p!r}")
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{caller}: expected a probability from 0 to 1, got {p}")


def check_reduction(caller: str, reduction: str) -> None:
    """Raise unless there is such a reduction of losses."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'{caller}: expected reduction "mean", "sum" or "none", got {reduction!r}')


def check_approximate(caller: str, approximate: str) -> None:
    """Raise unless GELU can be computed in this way."""
    if approximate != "tanh":
        words = (
            'approximate="none", the default of PyTorch, needs the error function erf, which NumPy does not have; '
            if approximate == "none"
            else f"there is no approximate={approximate!r}; "
        )
        raise ValueError(f'{caller}: {words}pass approximate="tanh", which differs by less than 0.0005 everywhere')


def check_softplus(caller: str, beta: float, threshold: float) -> None:
    """Raise unless softplus has such options."""
    check_numbers(caller, beta=beta, threshold=threshold)
    if beta == 0:
        raise ValueError(f"{caller}: expected beta other than 0, by which it divides")


def check_bounds(caller: str, min_val: float, max_val: float) -> None:
    """Raise unless there is something between the bounds."""
    check_numbers(caller, min_val=min_val, max_val=max_val)
    if min_val > max_val:
        raise ValueError(f"{caller}: expected min_val <= max_val, got {min_val} and {max_val}")


def as_padding_index(caller: str, padding_idx: Any, count: int) -> int:
    """A row of a table of `count` rows, counted from the front; ValueError if there is no such row."""
    if isinstance(padding_idx, bool) or not isinstance(padding_idx, int) or not -count <= padding_idx < count:
        raise ValueError(f"{caller}: expected padding_idx from {-count} to {count - 1}, got {padding_idx!r}")
    return padding_idx % count


def as_shape(caller: str, normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    """The shape to normalize over as a tuple; ValueError if it is none."""
    shape = tuple(normalized_shape) if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
    if not shape or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in shape):
        raise ValueError(f"{caller}: expected normalized_shape of positive integers, got {normalized_shape!r}")
    return shape


def as_pair(caller: str, name: str, value: Any, least: int = 1) -> tuple[int, int]:
    """A number for both of two axes, or one for each; ValueError unless they are integers of at least `least`."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2 or any(isinstance(n, bool) or not hasattr(n, "__index__") or n < least for n in pair):
        raise ValueError(f"{caller}: expected {name} to be an integer from {least} on, or two, got {value!r:.40}")
    return operator.index(pair[0]), operator.index(pair[1])
