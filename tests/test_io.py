"""Files of tensors: what is saved comes back, here and in PyTorch, and what is no such file is said to be none."""

from __future__ import annotations

import pickle
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim

from .golden import files
from .helpers import host

pytest.importorskip("safetensors")


def assert_equal(found: dict[str, mg.Tensor], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        assert found[name].shape == array.shape, name
        np.testing.assert_array_equal(host(found[name]), array, err_msg=name)


# There and back -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "int64", "uint8", "bool"])
def test_dtypes_and_shapes_survive(dtype: str, device: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shapes = {"zero axes": (), "one": (5,), "two": (2, 3), "none in it": (2, 0), "many": (1, 2, 1, 3, 1)}
    arrays = {name: (10 * rng.normal(size=shape)).astype(dtype) for name, shape in shapes.items()}
    mg.io.save(tmp_path / "x", {name: mg.tensor(array, device=device) for name, array in arrays.items()})
    found = mg.io.load(tmp_path / "x", device=device)
    assert_equal(found, arrays)
    assert all(x.device == device for x in found.values())


def test_values_that_are_hard_to_write_down_survive(device: str, tmp_path: Path) -> None:
    array = np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324, 1 / 3])
    mg.io.save(tmp_path / "x", {"x": mg.tensor(array, device=device)})
    assert host(mg.io.load(tmp_path / "x")["x"]).tobytes() == array.tobytes()


def test_tensors_that_are_not_contiguous(device: str, tmp_path: Path) -> None:
    array = np.arange(24.0).reshape(2, 3, 4)
    x = mg.tensor(array, device=device)
    views = {"turned": x.T, "stepped": x[:, ::2], "reversed": x[::-1], "broadcast": mg.broadcast_to(x[0, 0], (5, 4))}
    mg.io.save(tmp_path / "x", views)
    expected = {"turned": array.T, "stepped": array[:, ::2], "reversed": array[::-1]}
    assert_equal(mg.io.load(tmp_path / "x"), expected | {"broadcast": np.tile(array[0, 0], (5, 1))})


def test_tensors_that_share_memory_or_need_a_gradient(device: str, tmp_path: Path) -> None:
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    mg.io.save(tmp_path / "x", {"leaf": x, "same": x, "part": x[:1], "computed": x * 2})
    found = mg.io.load(tmp_path / "x")
    assert_equal(
        found, {n: np.float32(v) for n, v in {"leaf": [1, 2], "same": [1, 2], "part": [1], "computed": [2, 4]}.items()}
    )
    assert not any(y.requires_grad for y in found.values())


def test_a_model_survives(device: str, tmp_path: Path) -> None:
    saved, loaded = (nn.Sequential(nn.Embedding(7, 3), nn.Linear(3, 4)) for _ in range(2))
    ids = mg.tensor([[1, 6], [0, 3]])
    mg.io.save(tmp_path / "model", saved.state_dict())
    loaded.load_state_dict(mg.io.load(tmp_path / "model"))
    np.testing.assert_array_equal(host(loaded(ids)), host(saved(ids)))
    assert {p.device for p in loaded.parameters()} == {device}


def test_loaded_tensors_can_be_written_to(tmp_path: Path) -> None:
    mg.io.save(tmp_path / "x", {"x": mg.zeros(2)})
    x = mg.io.load(tmp_path / "x")["x"]
    x[0] = 5.0
    assert x.tolist() == [5.0, 0.0]
    assert mg.io.load(tmp_path / "x")["x"].tolist() == [0.0, 0.0]


def test_saving_replaces_and_paths_may_be_strings(tmp_path: Path) -> None:
    mg.io.save(str(tmp_path / "x"), {"old": mg.zeros(100)}, {"old": "yes"})
    mg.io.save(str(tmp_path / "x"), {"new": mg.ones(1)})
    assert list(mg.io.load(str(tmp_path / "x"))) == ["new"]
    assert mg.io.load_metadata(str(tmp_path / "x")) == {}


def test_nothing_and_names_of_all_kinds(tmp_path: Path) -> None:
    mg.io.save(tmp_path / "x", {})
    assert mg.io.load(tmp_path / "x") == {}
    names = ["a.b.0", "with space", "größe λ 字", '"quoted"', "slash/es\\"]
    mg.io.save(tmp_path / "x", {name: mg.tensor(k) for k, name in enumerate(names)})
    assert {name: x.item() for name, x in mg.io.load(tmp_path / "x").items()} == {n: k for k, n in enumerate(names)}


def test_metadata(tmp_path: Path) -> None:
    metadata = {"epoch": "3", "vocabulary": '["\\n", "é", "字"]', "": "empty"}
    mg.io.save(tmp_path / "x", {"x": mg.ones(2)}, metadata)
    assert mg.io.load_metadata(tmp_path / "x") == metadata
    assert list(mg.io.load(tmp_path / "x")) == ["x"]


def test_byte_order_is_told_apart(tmp_path: Path) -> None:
    mg.io.save(tmp_path / "x", {"x": np.array([1.0, 2.0], dtype=">f4")})
    assert mg.io.load(tmp_path / "x")["x"].tolist() == [1.0, 2.0]


def test_a_tied_model_survives(device: str, tmp_path: Path) -> None:
    saved, loaded = files.build_tied(nn), files.build_tied(nn)
    mg.io.save(tmp_path / "model", saved.state_dict())
    assert sorted(mg.io.load(tmp_path / "model")) == ["embedding.weight", "output.bias", "output.weight"]
    loaded.load_state_dict(mg.io.load(tmp_path / "model"))
    assert loaded["output"].weight is loaded["embedding"].weight
    assert loaded["output"].weight.tolist() == saved["output"].weight.tolist()


def test_an_untied_file_does_not_fit_a_tied_model(tmp_path: Path) -> None:
    untied = nn.ModuleDict({"embedding": nn.Embedding(5, 3), "output": nn.Linear(3, 5)})
    mg.io.save(tmp_path / "model", untied.state_dict())
    with pytest.raises(ValueError, match=r"one tied tensor in this ModuleDict, but the state dict has different"):
        files.build_tied(nn).load_state_dict(mg.io.load(tmp_path / "model"))


# What cannot be saved -----------------------------------------------------------------------------

UNSAVABLE = {
    "a module": (
        lambda: (nn.Tanh(), None),
        TypeError,
        r"expected names with their Tensors, got Tanh; write model.state_dict\(\)",
    ),
    "a list": (lambda: ([mg.ones(1)], None), TypeError, r"expected names with their Tensors, got list"),
    "a number": (
        lambda: ({"epoch": 3}, None),
        TypeError,
        r"as epoch, got int; make one with.*or put it into the metadata",
    ),
    "a dict in a dict": (
        lambda: (optim.SGD([mg.ones(1, requires_grad=True)]).state_dict(), None),
        TypeError,
        r"as state, got dict; the docstring of Optimizer.state_dict shows how to save a model with its optimizer",
    ),
    "a number for a name": (
        lambda: ({3: mg.ones(1)}, None),
        TypeError,
        r"expected names that are strings, got 3 \(int\)",
    ),
    "the format's own name": (
        lambda: ({"__metadata__": mg.ones(1)}, None),
        ValueError,
        r'save: the name "__metadata__" is taken by the file format; choose another',
    ),
    "complex numbers": (
        lambda: ({"x": np.ones(1, dtype=complex)}, None),
        TypeError,
        r"x has dtype complex128, which the file",
    ),
    "strings": (lambda: ({"x": np.array(["a"])}, None), TypeError, r"x has dtype <U1, which the file format lacks"),
    "a number as metadata": (
        lambda: ({"x": mg.ones(1)}, {"epoch": 3}),
        TypeError,
        r"metadata that map names to strings, got 'epoch': 3; write str\(...\) or json",
    ),
    "metadata without names": (
        lambda: ({"x": mg.ones(1)}, "text"),
        TypeError,
        r"metadata that map names to strings, got str",
    ),
}


@pytest.mark.parametrize("mistake", UNSAVABLE)
def test_what_cannot_be_saved_leaves_the_file_as_it_was(mistake: str, tmp_path: Path) -> None:
    make, error, message = UNSAVABLE[mistake]
    state_dict, metadata = make()
    mg.io.save(tmp_path / "x", {"old": mg.zeros(1)})
    with pytest.raises(error, match=message):
        mg.io.save(tmp_path / "x", state_dict, metadata)
    assert list(mg.io.load(tmp_path / "x")) == ["old"]


# What is not such a file --------------------------------------------------------------------------

readers = pytest.mark.parametrize("read", [mg.io.load, mg.io.load_metadata])


@readers
def test_a_missing_file(read, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file .*gone\.safetensors"):
        read(tmp_path / "gone.safetensors")
    with pytest.raises(OSError, match=re.escape(str(tmp_path))):
        read(tmp_path)


@readers
@pytest.mark.parametrize("kept", [0, 1, 8, 30, -400, -1])
def test_a_truncated_file(read, kept: int, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    mg.io.save(path, {"x": mg.ones(100), "y": mg.ones(10)}, {"epoch": "3"})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} is not a whole safetensors file"):
        read(path)


@readers
@pytest.mark.parametrize("kind", ["text", "pickle", "npz", "zeros", "longer"])
def test_a_foreign_file(read, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "foreign.npz"
    if kind == "npz":
        np.savez(path, x=np.ones(2))
    else:
        mg.io.save(path, {"x": mg.ones(2)})
        longer = path.read_bytes() + b"more"
        path.write_bytes(
            {"text": b"To be, or not to be", "pickle": pickle.dumps({"x": 1}), "zeros": bytes(100), "longer": longer}[
                kind
            ]
        )
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} is not a whole safetensors file"):
        read(path)


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    for path in (tmp_path / "no such directory" / "x", tmp_path):
        with pytest.raises(OSError, match=re.escape(str(tmp_path))):
            mg.io.save(path, {"x": mg.ones(2)})


def test_another_model_refuses_the_file(tmp_path: Path) -> None:
    mg.io.save(tmp_path / "model", nn.LSTM(3, 4).state_dict())
    with pytest.raises(KeyError, match="unknown: bias_hh_l0, bias_ih_l0.*strict=False"):
        nn.Linear(3, 4).load_state_dict(mg.io.load(tmp_path / "model"))
    with pytest.raises(ValueError, match=r"weight_ih_l0 is \(16, 3\), expected \(16, 5\)"):
        nn.LSTM(5, 4).load_state_dict(mg.io.load(tmp_path / "model"))


# PyTorch's files ----------------------------------------------------------------------------------


def test_files_written_by_torch_without_torch(device: str) -> None:
    """The model computes here what it computed there."""
    found = mg.io.load(files.MODEL, device=device)
    ids, expected = found.pop("example.ids"), found.pop("example.output")
    assert ids.tolist() == files.IDS
    model = files.build(nn)
    model.load_state_dict(found)
    np.testing.assert_allclose(host(files.run(model, ids)), host(expected), atol=1e-6)


def test_a_tied_file_written_by_torch_without_torch(device: str) -> None:
    found = mg.io.load(files.TIED, device=device)
    ids, expected = found.pop("example_ids"), found.pop("example_output")
    assert "output.weight" not in found  # one name is left out, and said to be the other in the metadata
    assert mg.io.load_metadata(files.TIED)["output.weight"] == "embedding.weight"
    model = files.build_tied(nn)
    model.load_state_dict(found)
    assert model["output"].weight is model["embedding"].weight
    np.testing.assert_allclose(host(files.run_tied(model, ids)), host(expected), atol=1e-6)


def torch_and_safetensors() -> tuple[Any, Any]:
    return pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")


@pytest.mark.parametrize("tied", [False, True])
def test_from_torch_to_here(tied: bool, device: str, tmp_path: Path) -> None:
    torch, safetensors = torch_and_safetensors()
    build, run = (files.build_tied, files.run_tied) if tied else (files.build, files.run)
    theirs, ours = build(torch.nn), build(nn)
    if tied:
        safetensors.save_model(theirs, str(tmp_path / "model"))
    else:
        safetensors.save_file(theirs.state_dict(), tmp_path / "model", {"from": "torch"})
    assert ours.load_state_dict(mg.io.load(tmp_path / "model", device=device)) == ([], [])
    expected = run(theirs, torch.tensor(files.IDS)).detach().numpy()
    np.testing.assert_allclose(host(run(ours, mg.tensor(files.IDS, device=device))), expected, atol=1e-6)


@pytest.mark.parametrize("tied", [False, True])
def test_from_here_to_torch(tied: bool, device: str, tmp_path: Path) -> None:
    torch, safetensors = torch_and_safetensors()
    build, run = (files.build_tied, files.run_tied) if tied else (files.build, files.run)
    theirs, ours = build(torch.nn), build(nn)
    mg.io.save(tmp_path / "model", ours.state_dict())
    assert list(theirs.state_dict()) == list(ours.state_dict())
    theirs.load_state_dict(safetensors.load_file(tmp_path / "model"))  # strict
    found = run(theirs, torch.tensor(files.IDS)).detach().numpy()
    np.testing.assert_allclose(host(run(ours, mg.tensor(files.IDS))), found, atol=1e-6)


def test_tensors_turned_and_without_axes_are_read_by_torch(device: str, tmp_path: Path) -> None:
    _, safetensors = torch_and_safetensors()
    mg.io.save(tmp_path / "x", {"turned": mg.ones((2, 3)).T, "one": mg.tensor(1.5)})
    found = safetensors.load_file(tmp_path / "x")
    assert found["turned"].shape == (3, 2)
    assert found["one"].item() == 1.5


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn"])
def test_a_dtype_that_numpy_lacks(dtype: str, tmp_path: Path) -> None:
    """It is refused in words about the file, not in NumPy's about itself."""
    torch = pytest.importorskip("torch")
    path = tmp_path / "x"
    pytest.importorskip("safetensors.torch").save_file({"weight": torch.ones(2).to(getattr(torch, dtype))}, path)
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: weight has dtype \w+, which NumPy lacks; convert"):
        mg.io.load(path)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"minigrad.io needs the package safetensors: pip install safetensors"):
        mg.io.save(tmp_path / "x.safetensors", {"x": mg.ones(2)})
    assert not list(tmp_path.iterdir())
