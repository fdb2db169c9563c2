"""State dicts to and from safetensors files: plain arrays with names, never pickle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from .backend import namespace_of
from .creation import tensor
from .tape import Tensor

Path = str | os.PathLike[str]


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("minigrad.io needs the package safetensors: pip install safetensors") from error
    return safetensors


def save(path: Path, state_dict: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a state dict to a safetensors file; a GPU's tensors are copied to the host first.

    Args:
        path: the file, replaced if it exists.
        state_dict: names to Tensors, as `Module.state_dict` gives them.
        metadata: names to strings, kept in the file's header.

    Raises:
        ImportError: the package safetensors is missing.
        OSError: the file cannot be written.
    """
    arrays = {}
    for name, value in state_dict.items():
        xp = namespace_of(value.data)
        host = xp.to_host(value.data)
        arrays[name] = host.copy(order="C")  # safetensors writes memory as it lies
    _safetensors().numpy.save_file(arrays, path, dict(metadata) if metadata else None)


def load(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """Read the Tensors of a safetensors file by name.

    Raises:
        ImportError: the package safetensors is missing.
        FileNotFoundError: there is no such file.
        ValueError: it is not a safetensors file, or not a whole one.
    """
    arrays = _reading(path, lambda library: library.numpy.load_file(path))
    return {name: tensor(array, device=device) for name, array in arrays.items()}


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
