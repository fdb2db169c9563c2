"""Files of tensors: what is saved comes back, here and in PyTorch, and what is no such file is said to be none."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

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
    with pytest.raises(KeyError, match="unknown: bias_hh_l0, bias_ih_l0"):
        nn.Linear(3, 4).load_state_dict(mg.io.load(tmp_path / "model"))
    with pytest.raises(ValueError, match=r"weight_ih_l0 is \(16, 3\), expected \(16, 5\)"):
        nn.LSTM(5, 4).load_state_dict(mg.io.load(tmp_path / "model"))


# PyTorch's files ----------------------------------------------------------------------------------


def test_files_written_by_torch(device: str, tmp_path: Path) -> None:
    """A recurrent layer trained there goes on here."""
    torch = pytest.importorskip("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    theirs, ours = torch.nn.LSTM(3, 4, num_layers=2), nn.LSTM(3, 4, num_layers=2)
    save_file(theirs.state_dict(), tmp_path / "lstm", {"from": "torch"})
    assert mg.io.load_metadata(tmp_path / "lstm")["from"] == "torch"
    ours.load_state_dict(mg.io.load(tmp_path / "lstm", device=device))
    x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
    expected = theirs(torch.from_numpy(x))[0].detach().numpy()
    np.testing.assert_allclose(host(ours(mg.tensor(x, device=device))[0]), expected, atol=1e-6)


def test_files_read_by_torch(device: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    load_file = pytest.importorskip("safetensors.torch").load_file
    ours, theirs = nn.GRU(3, 4, num_layers=2), torch.nn.GRU(3, 4, num_layers=2)
    mg.io.save(tmp_path / "gru", ours.state_dict() | {"turned": mg.ones((2, 3)).T, "one": mg.tensor(1.5)})
    found = load_file(tmp_path / "gru")
    assert found.pop("turned").shape == (3, 2)
    assert found.pop("one").item() == 1.5
    theirs.load_state_dict(found)
    for name, x in ours.state_dict().items():
        np.testing.assert_array_equal(host(x), theirs.state_dict()[name].numpy(), err_msg=name)


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn"])
def test_a_dtype_that_numpy_lacks(dtype: str, tmp_path: Path) -> None:
    """It is refused in words about the file, not in NumPy's about itself."""
    torch = pytest.importorskip("torch")
    path = tmp_path / "x"
    pytest.importorskip("safetensors.torch").save_file({"weight": torch.ones(2).to(getattr(torch, dtype))}, path)
    with pytest.raises((TypeError, ValueError), match=re.escape(str(path))):
        mg.io.load(path)
