"""State dicts to and from safetensors files: plain arrays with names, never pickle."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .backend import is_array, namespace_of
from .creation import tensor
from .graph import Tensor
from .messages import how_to_make, type_name

Path = str | os.PathLike[str]
Found = TypeVar("Found")
_DTYPES = {"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "F32", "F64"}


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "minigrad.io needs the package safetensors: pip install safetensors (minigrad's extra io)"
        ) from error
    return safetensors


def save(path: Path, state_dict: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write a state dict to a safetensors file; a GPU's tensors are copied to the host first.

    The names of a tied tensor all get their copy of it. PyTorch reads the file with
    `model.load_state_dict(safetensors.torch.load_file(path))`.

    Args:
        path: the file, replaced if it exists.
        state_dict: names to Tensors or arrays, as `Module.state_dict` gives them.
        metadata: names to strings, kept in the file's header.

    Raises:
        ImportError: the package safetensors is missing.
        TypeError: the state dict or the metadata hold something else. Nothing is written.
        ValueError: a name is "__metadata__", which is the file format's own. Nothing is written.
        OSError: the file cannot be written.

    >>> import tempfile
    >>> import minigrad as mg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     mg.io.save(f"{folder}/model.safetensors", mg.nn.Linear(2, 3).state_dict(), {"epoch": "7"})
    ...     found = mg.io.load(f"{folder}/model.safetensors")
    >>> {name: x.shape for name, x in found.items()}
    {'bias': (3,), 'weight': (3, 2)}
    """
    if isinstance(path, Mapping):
        raise TypeError("save: expected a path first and names with their Tensors second; write save(path, state_dict)")
    _check_path("save", path)
    if not isinstance(state_dict, Mapping):
        came = type_name(state_dict)
        cure = "; write model.state_dict()" if hasattr(state_dict, "state_dict") else ""
        raise TypeError(f"save: expected names with their Tensors, got {came}{cure}")
    if "__metadata__" in state_dict:
        raise ValueError('save: the name "__metadata__" is taken by the file format; choose another')
    arrays = {name: _host_copy(name, value) for name, value in state_dict.items()}
    header = _strings(metadata or {})
    library = _safetensors()
    try:
        library.numpy.save_file(arrays, path, header or None)
    except library.SafetensorError as error:
        raise OSError(f"{os.fspath(path)} cannot be written: {error}") from error


def _host_copy(name: Any, value: Any) -> Any:
    if not isinstance(name, str):
        raise TypeError(f"save: expected names that are strings, got {name!r} ({type(name).__name__})")
    if not isinstance(value, Tensor) and not is_array(value):
        cure = f"{how_to_make(value)}, or put it into the metadata as a string"
        if isinstance(value, Mapping):
            cure = "the docstring of Optimizer.state_dict shows how to save a model with its optimizer"
        raise TypeError(f"save: expected a Tensor or an array as {name}, got {type_name(value)}; {cure}")
    array = value.data if isinstance(value, Tensor) else value
    host = namespace_of(array).to_host(array)
    if host.dtype.kind not in "fiub" or host.dtype.itemsize > 8:
        raise TypeError(f"save: {name} has dtype {host.dtype}, which the file format lacks; convert it first")
    return host.copy(order="C")  # safetensors writes memory as it lies


def _strings(metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, Mapping):
        raise TypeError(f"save: expected metadata that map names to strings, got {type(metadata).__name__}")
    for name, value in metadata.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(
                f"save: expected metadata that map names to strings, got {name!r}: {value!r}; write str(...) or "
                "json.dumps(...)"
            )
    return dict(metadata)


def load(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """Read the Tensors of a safetensors file by name, from whichever program wrote it.

    Args:
        path: the file.
        device: where the Tensors are to be.

    Raises:
        ImportError: the package safetensors is missing.
        DeviceError: the device cannot be used.
        FileNotFoundError, IsADirectoryError: there is no such file.
        TypeError: the path is none.
        ValueError: it is not a safetensors file, or not a whole one, or NumPy lacks a dtype in it.

    >>> import tempfile
    >>> import minigrad as mg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     mg.io.save(f"{folder}/x.safetensors", {"x": mg.ones(2)})
    ...     mg.io.load(f"{folder}/x.safetensors")
    {'x': tensor([1., 1.], dtype=float32, device='cpu')}
    """

    def read(file: Any) -> dict[str, Tensor]:
        names = list(file.keys())
        for name in names:
            if (dtype := file.get_slice(name).get_dtype()) not in _DTYPES:
                raise ValueError(
                    f"{os.fspath(path)}: {name} has dtype {dtype}, which NumPy lacks; "
                    "convert it to float32 in the program that wrote it"
                )
        return {name: tensor(file.get_tensor(name), device=device) for name in names}

    return _reading("load", path, read)


def load_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file, without its Tensors.

    Raises:
        ImportError, FileNotFoundError, IsADirectoryError, TypeError, ValueError: as for `load`.

    >>> import tempfile
    >>> import minigrad as mg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     mg.io.save(f"{folder}/x.safetensors", {"x": mg.ones(2)}, {"epoch": "7"})
    ...     mg.io.load_metadata(f"{folder}/x.safetensors")
    {'epoch': '7'}
    """
    return _reading("load_metadata", path, lambda file: dict(file.metadata() or {}))


def _check_path(caller: str, path: Any) -> None:
    if not isinstance(path, (str, os.PathLike)):
        cure = f"; write its name, {path.name!r}" if isinstance(getattr(path, "name", None), str) else ""
        raise TypeError(f"{caller}: expected the path of a file, as a string or a Path, got {type_name(path)}{cure}")


def _reading(caller: str, path: Path, read: Callable[[Any], Found]) -> Found:
    """What `read` makes of the open file."""
    _check_path(caller, path)
    library = _safetensors()
    if os.path.isdir(path):
        raise IsADirectoryError(f"{caller}: {os.fspath(path)} is a folder; name a file in it")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{caller}: there is no file {os.fspath(path)}")
    try:
        with library.safe_open(path, framework="numpy") as file:
            return read(file)
    except library.SafetensorError as error:
        raise ValueError(f"{os.fspath(path)} is not a whole safetensors file: {error}") from error
