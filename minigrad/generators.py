"""The random generators of all devices: seeds, states, and drawing the same numbers again."""

from __future__ import annotations

import contextlib
import copy
import numbers
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .backend import ArrayNamespace, default_device, namespace, opened


def manual_seed(seed: int) -> None:
    """Start the random generator of every device anew from `seed`, a non-negative integer.

    Without a call, every process starts from seed 0.

    Raises:
        ValueError: the seed is something else.

    >>> import minigrad as mg
    >>> mg.manual_seed(0)
    """
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or seed < 0:
        raise ValueError(f"a seed is a non-negative integer, got {seed!r}")
    ArrayNamespace.first_seed = int(seed)
    for known in opened():
        known.seed(int(seed))


def get_rng_state(device: str | None = None) -> dict[str, Any]:
    """The state of a device's random generator: what `set_rng_state` needs to draw the same numbers again.

    It is plain data, which `json.dumps` can write. CuPy's generators cannot be read: on a GPU this starts the
    generator anew from a seed that the CPU's draws, and tells that seed.

    Args:
        device: its name; without it, the default device.

    Raises:
        DeviceError: the device cannot be used.

    Source: follows torch.get_rng_state.

    >>> import minigrad as mg
    >>> state = mg.get_rng_state()
    >>> first = mg.rand(3).tolist()
    >>> mg.set_rng_state(state)
    >>> mg.rand(3).tolist() == first
    True
    """
    return copy.deepcopy(namespace(default_device() if device is None else device).generator_state())


def set_rng_state(state: Mapping[str, Any], device: str | None = None) -> None:
    """Have a device's random generator go on from a state that `get_rng_state` gave.

    Args:
        state: of the same kind of device.
        device: its name; without it, the default device.

    Raises:
        DeviceError: the device cannot be used.
        ValueError: it is no such state. The generator stays as it was.

    Source: follows torch.set_rng_state.

    >>> import minigrad as mg
    >>> mg.set_rng_state(mg.get_rng_state())
    """
    xp = namespace(default_device() if device is None else device)
    try:
        xp.set_generator_state(dict(state))
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise ValueError(
            f"set_rng_state: expected a state that get_rng_state gave for {xp.device}, got {state!r:.80}"
        ) from error


Replays = dict[ArrayNamespace, Callable[[], Any]]


def generator_replays() -> Replays:
    """For each device that may draw random numbers, how to draw those again that come from now on."""
    return {xp: xp.generator_replay() for xp in opened()}


@contextlib.contextmanager
def replaying(replays: Replays) -> Iterator[None]:
    """Draw the same numbers again inside a `with` block; afterwards every generator is where it was before."""
    before = {xp: xp._generator for xp in replays}
    try:
        for xp, replay in replays.items():
            xp._generator = replay()
        yield
    finally:
        for xp, generator in before.items():
            xp._generator = generator
