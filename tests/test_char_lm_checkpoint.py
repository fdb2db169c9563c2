"""The character model on disk."""

import json

import pytest

from models.char_lm import checkpoint
from models.common.errors import UserError
from tests.characters import CELLS, small


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("embedding", [0, 4])
def test_a_saved_model_comes_back(device, tmp_path, cell, embedding):
    model, _ = small(cell, embedding=embedding, layers=2)
    checkpoint.save(tmp_path / "run", model, {"updates": 1})
    loaded = checkpoint.load(tmp_path / "run")
    assert loaded.options == model.options
    assert {k: v.tolist() for k, v in loaded.state_dict().items()} == {
        k: v.tolist() for k, v in model.state_dict().items()
    }


def test_a_checkpoint_for_another_cell(tmp_path):
    for cell in ("lstm", "gru"):
        checkpoint.save(tmp_path / cell, small(cell)[0], {})
    (tmp_path / "lstm" / checkpoint.DESCRIPTION).replace(tmp_path / "gru" / checkpoint.DESCRIPTION)
    with pytest.raises(
        UserError, match="the weights of a gru model, but model.json beside it describes a lstm model"
    ):
        checkpoint.load(tmp_path / "gru")


def test_a_checkpoint_of_another_size(tmp_path):
    checkpoint.save(tmp_path, small()[0], {})
    path = tmp_path / checkpoint.DESCRIPTION
    described = json.loads(path.read_text())
    described["model"]["hidden"] = 17
    path.write_text(json.dumps(described))
    with pytest.raises(
        UserError, match=r"does not fit model.json beside it: shapes .*rnn.weight_hh_l0 is \(64, 16\)"
    ):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (checkpoint.DESCRIPTION, b"{", "does not describe a char_lm model"),
        (checkpoint.DESCRIPTION, b"{}", "does not describe a char_lm model: 'model'"),
        (checkpoint.DESCRIPTION, b"[]", "does not describe a char_lm model"),
        (checkpoint.DESCRIPTION, b'{"model": {"vocabulary": "ab", "cell": "qrnn"}}', "there is no cell 'qrnn'"),
        (
            checkpoint.DESCRIPTION,
            b'{"model": {"vocabulary": "ab", "hidden": "x"}}',
            "hidden must be an integer of at le",
        ),
        (
            checkpoint.DESCRIPTION,
            b'{"model": {"vocabulary": "ab", "layers": 0}}',
            "layers must be an integer of at least",
        ),
        (checkpoint.DESCRIPTION, b'{"model": {"vocabulary": "ab", "dropout": 7}}', "dropout must be a probability"),
        (
            checkpoint.DESCRIPTION,
            b'{"model": {"vocabulary": "aa"}}',
            "the vocabulary must be text of distinct characters",
        ),
        (checkpoint.DESCRIPTION, b'{"model": {"vocabulary": 5}}', "the vocabulary must be text of distinct characters"),
        (checkpoint.WEIGHTS, b"", "not a whole safetensors file"),
        (checkpoint.WEIGHTS, b"\x80\x04pickle", "not a whole safetensors file"),
    ],
)
def test_broken_checkpoints(tmp_path, name, content, message):
    checkpoint.save(tmp_path, small()[0], {})
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        checkpoint.load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=f"holds no trained model: there is no file {name}"):
        checkpoint.load(tmp_path)
