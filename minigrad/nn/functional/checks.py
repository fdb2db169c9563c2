"""What the functions ask of their arguments."""

from __future__ import annotations

from typing import Any

from ...backend import is_array, is_floating, namespace_of
from ...messages import describe
from ...tape import Tensor


def as_tensor(x: Any, what: str) -> Tensor:
    """Data as a Tensor: Tensors as they are, NumPy arrays copied; lists raise."""
    if isinstance(x, Tensor):
        return x
    if is_array(x):
        return Tensor(x.copy())
    raise TypeError(
        f"{what}: expected a Tensor or an array, got {type(x).__name__}; make one with minigrad.tensor(...)"
    )


def check_probability(where: str, p: float) -> None:
    """Raise unless p is a probability."""
    if isinstance(p, bool) or not isinstance(p, (int, float)):
        raise TypeError(f"{where}: expected a probability from 0 to 1, got {p!r}")
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{where}: expected a probability from 0 to 1, got {p}")


def check_dim(where: str, x: Tensor, dim: Any) -> None:
    """Raise unless x has a dimension `dim`, with something in it."""
    if not isinstance(dim, int) or not -x.ndim <= dim < x.ndim:
        dims = f"an integer dim from {-x.ndim} to {x.ndim - 1}" if x.ndim else "x of at least one dimension"
        raise ValueError(f"{where}: expected {dims}, got dim={dim!r} for x {describe(x)}")
    if not x.shape[dim]:
        raise ValueError(f"{where}: expected at least one entry along dim {dim}, got x {describe(x)}")


def check_ids(ids: Tensor, count: int, where: str, what: str = "ids") -> None:
    """Raise unless the ids (or whatever they are called) are integers, and on the CPU also from 0 to count - 1."""
    if ids.dtype.kind not in "iu":
        raise TypeError(f'{where}: expected integer {what}, got {describe(ids)}; convert them with .astype("int64")')
    if namespace_of(ids.data).checks_indices and ids.size:
        low, high = int(ids.data.min()), int(ids.data.max())
        if low < 0 or high >= count:
            raise IndexError(f"{where}: expected {what} from 0 to {count - 1}, got {what} from {low} to {high}")


def check_floating(where: str, name: str, x: Tensor) -> None:
    """Raise unless x, called `name`, is floating-point."""
    if not is_floating(x.dtype):
        raise TypeError(
            f"{where}: expected floating-point {name}, got {describe(x)}; convert with .astype(minigrad.float32)"
        )


def check_alike(where: str, name: str, y: Tensor, first: str, x: Tensor) -> None:
    """Raise unless y, called `name`, has the device and the dtype of x, called `first`."""
    if type(y.data) is not type(x.data):
        raise RuntimeError(
            f"{where}: expected one device, got {first} {describe(x)} and {name} {describe(y)}; "
            "move one with .to(device)"
        )
    if y.dtype != x.dtype:
        raise TypeError(
            f"{where}: expected {name} of the dtype of {first}, {x.dtype}, got {y.dtype}; "
            f'convert it with .astype("{x.dtype}")'
        )
