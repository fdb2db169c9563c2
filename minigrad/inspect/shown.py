"""Values shown short: what an array holds, in a few words; and what a primitive says of itself."""

from __future__ import annotations

import inspect
from typing import Any

from ..backend import Array, cpu, is_array, namespace_of
from ..ops.primitive import Primitive

ALL = 4  # so many entries are shown whole
SOME = 12  # of so many by its first two and its last; of a longer one, range and mean


def number(x: Any, digits: int = 3) -> str:
    """A number in as few characters as tell it: `digits` significant digits, no zeros behind them.

    >>> [number(x) for x in (0.25, 1.0, -0.000123456, 123456.0, 7, True, float("nan"))]
    ['0.25', '1', '-0.000123', '1.23e+05', '7', 'True', 'nan']
    """
    if isinstance(x, (bool, int)):
        return str(x)
    value = float(x)
    return f"{0.0 if value == 0 else value:.{digits}g}"


def short(array: Any) -> str:
    """What an array of any device holds, short enough for a line.

    A number as it is; a short row, or four entries and fewer, by its entries; anything else by its shape, range and
    mean, of the finite entries, with the number of those that are not. An array on a GPU comes to the host for it.

    Args:
        array: an array of a device, a Python number, or None for what nobody has kept.

    >>> import minigrad as mg
    >>> short(mg.tensor(0.25).data), short(mg.tensor([0.1, -0.2, 0.3]).data), short(mg.arange(9).data)
    ('0.25', '[0.1 -0.2 0.3]', '[0 1 … 8]')
    >>> short(mg.tensor([[0.5], [-0.25]]).data)
    '[[0.5] [-0.25]]'
    >>> short(mg.tensor([[0.0, 1.0, 2.0], [-0.5, 0.0, float("nan")]]).data)
    '(2, 3) from -0.5 to 2, mean 0.5, 1 NaN'
    """
    if array is None:
        return "not kept"
    if not is_array(array):
        return number(array)
    xp = namespace_of(array)
    return _of_host(array if xp is cpu else xp.to_host(array))


def _of_host(array: Array) -> str:
    if array.ndim == 0:
        return number(array.item())
    if array.size == 0:
        return f"{array.shape}, no entries"
    if array.ndim > 1 and array.size <= ALL:
        return f"[{' '.join(map(_of_host, array))}]"
    if array.ndim == 1 and array.size <= SOME:
        entries = [number(x) for x in array.tolist()]
        return f"[{' '.join(entries if len(entries) <= ALL else [*entries[:2], '…', entries[-1]])}]"
    if array.dtype.kind == "b":
        return f"{array.shape}, {int(array.sum())} of {array.size} true"
    if array.dtype.kind in "iu":
        return f"{array.shape} from {array.min()} to {array.max()}"
    return f"{array.shape} {_of_floats(array)}"


def _of_floats(array: Array) -> str:
    finite = cpu.isfinite(array)
    count, nans = int(finite.sum()), int(cpu.isnan(array).sum())
    values = array if count == array.size else array[finite]
    shown = []
    if count:
        low, high, mean = (number(f(values, dtype=cpu.float64) if f is cpu.mean else f(values)) for f in _STATISTICS)
        shown.append(f"all {low}" if low == high else f"from {low} to {high}, mean {mean}")
    infinite = array.size - count - nans
    return ", ".join(shown + [f"{n} {name}" for n, name in ((nans, "NaN"), (infinite, "infinite")) if n])


_STATISTICS = (cpu.min, cpu.max, cpu.mean)


def stated(primitive: Primitive[Any]) -> str:
    """The formulas in its docstring: the lines before the first empty one."""
    return inspect.cleandoc(primitive.__doc__ or "").split("\n\n")[0].strip()
