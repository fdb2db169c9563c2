"""State dicts to and from safetensors files: plain arrays with names, never pickle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from .backend import namespace_of
from .creation import tensor
from .tape import Tensor

Path = str | os.PathLike[str]
_DTYPES = {"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "F32", "F64"}


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("minigrad.io needs the package safetensors: pip install safetensors") from error
    return safetensors


def save(path: Path, state_dict: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write a state dict to a safetensors file; a GPU's tensors are copied to the host first.

    Args:
        path: the file, replaced if it exists.
        state_dict: names to Tensors or arrays, as `Module.state_dict` gives them.
        metadata: names to strings, kept in the file's header.

    Raises:
        ImportError: the package safetensors is missing.
        OSError: the file cannot be written.
    """
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"save(path, state_dict): expected names with their Tensors, got {type(state_dict).__name__}")
    if "__metadata__" in state_dict:
        raise ValueError('the name "__metadata__" is taken by the file format')
    arrays = {}
    for name, value in state_dict.items():
        array = value.data if isinstance(value, Tensor) else value
        host = namespace_of(array).to_host(array)
        arrays[name] = host.copy(order="C")  # safetensors writes memory as it lies
    library = _safetensors()
    try:
        library.numpy.save_file(arrays, path, dict(metadata) if metadata else None)
    except library.SafetensorError as error:
        raise OSError(f"{os.fspath(path)} cannot be written: {error}") from error


def load(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """Read the Tensors of a safetensors file by name.

    Raises:
        ImportError: the package safetensors is missing.
        FileNotFoundError: there is no such file.
        ValueError: it is not a safetensors file, or not a whole one, or NumPy lacks a dtype in it.
    """

    def read(library: Any) -> dict[str, Tensor]:
        with library.safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 - not a dict
                if (dtype := file.get_slice(name).get_dtype()) not in _DTYPES:
                    raise ValueError(
                        f"{os.fspath(path)}: {name} has dtype {dtype}, which NumPy lacks; "
                        "convert it to float32 in the program that wrote it"
                    )
            return {name: tensor(file.get_tensor(name), device=device) for name in file.keys()}  # noqa: SIM118

    found: dict[str, Tensor] = _reading(path, read)
    return found


def load_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file, without its Tensors.

    Raises:
        ImportError, FileNotFoundError, ValueError: as for `load`.
    """

    def read(library: Any) -> dict[str, str]:
        with library.safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})

    metadata: dict[str, str] = _reading(path, read)
    return metadata


def _reading(path: Path, read: Any) -> Any:
    library = _safetensors()
    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no file {os.fspath(path)}")
    try:
        return read(library)
    except library.SafetensorError as error:
        raise ValueError(f"{os.fspath(path)} is not a whole safetensors file: {error}") from error
