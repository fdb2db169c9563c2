"""Copying a state dict into the tensors of a module: everything is checked before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..backend import cpu, is_array, namespace_of
from ..graph import Tensor, mark_written
from ..messages import how_to_make, type_name

_KINDS = {"f": "floating-point", "i": "integer", "u": "integer", "b": "boolean"}


class LoadResult(NamedTuple):
    """What `load_state_dict` did not use or did not find; two empty lists where the names are the same."""

    missing_keys: list[str]  # in the module, but not in the state dict
    unexpected_keys: list[str]  # in the state dict, but not in the module


def load(owner: str, own: Mapping[str, Tensor], state_dict: Mapping[str, Any], strict: bool) -> LoadResult:
    """Copy the values of `state_dict` into the tensors of `own`, of a module called `owner`, by name."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"load_state_dict: expected names with their Tensors, got {type(state_dict).__name__}; "
            "read a file first, with minigrad.io.load(path)"
        )
    places: dict[int, list[str]] = {}  # of each tensor: a tied one has several names, any of which will do
    for name, x in own.items():
        places.setdefault(id(x), []).append(name)
    missing = [name for name, x in own.items() if not any(alias in state_dict for alias in places[id(x)])]
    unexpected = [name for name in state_dict if name not in own]
    if strict and (missing or unexpected):
        told = [f"{what}: {_listed(names)}" for what, names in
                (("missing", missing), ("unknown", unexpected)) if names]  # fmt: skip
        raise KeyError(
            f"this state dict is not of a {owner} with these layers; {'; '.join(told)}. "
            "With strict=False, what has the same name is loaded and the rest left alone"
        )
    values = {name: _value(name, state_dict[name]) for name in own if name in state_dict}
    wrong = [f"{name} is {x.shape}, expected {own[name].shape}" for name, x in values.items()
             if x.shape != own[name].shape]  # fmt: skip
    if wrong:
        raise ValueError(f"shapes in this state dict do not fit {owner}: {'; '.join(wrong)}")
    wrong = [f"{name} is {x.dtype}, expected {own[name].dtype}" for name, x in values.items()
             if _KINDS[x.dtype.kind] != _KINDS[own[name].dtype.kind]]  # fmt: skip
    if wrong:
        raise TypeError(
            f"dtypes in this state dict do not fit {owner}: {'; '.join(wrong)}. Nothing is rounded by itself: convert "
            "with .astype(...)"
        )
    for names in places.values():
        given = [name for name in names if name in values]
        for name in given[1:]:
            if not _same(values[given[0]], values[name]):
                raise ValueError(
                    f"{given[0]} and {name} are one tied tensor in this {owner}, but the state dict has different "
                    "values for them. Load it into a model that does not tie them, or take one of the two out of it"
                )
    # Copies, all of them before the first is written: a value may be the memory of another tensor of this module.
    arrays = {}
    for name, value in values.items():
        with namespace_of(own[name].data).activate():
            arrays[name] = value.to(own[name].device).data.astype(own[name].dtype)
    for name, array in arrays.items():
        with namespace_of(array).activate():
            own[name].data[...] = array
        mark_written(own[name])
    return LoadResult(missing, unexpected)


def _value(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor) and not is_array(value):
        cure = f"; {how_to_make(value)}" if hasattr(value, "__dlpack__") else ""
        raise TypeError(f"a state dict holds Tensors or arrays, but {name} is a {type_name(value)}{cure}")
    x = value.detach() if isinstance(value, Tensor) else Tensor(value)
    if x.dtype.kind not in _KINDS:
        raise TypeError(f"a state dict holds numbers, but {name} has dtype {x.dtype}")
    return x


def _same(x: Tensor, y: Tensor) -> bool:
    a, b = (namespace_of(z.data).to_host(z.data) for z in (x, y))
    return bool(cpu.array_equal(a, b, equal_nan=True))


def _listed(names: Iterable[str], most: int = 10) -> str:
    listed = sorted(map(str, names))
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
