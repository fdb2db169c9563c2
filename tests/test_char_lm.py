"""The character language model: data, training, sampling, checkpoints and the command line."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import minigrad as mg
from minigrad import nn, optim
from minigrad.nn import functional as F
from models.char_lm import checkpoint, data, sampling, training
from models.char_lm.__main__ import app
from models.char_lm.model import CharLM, Options

CELLS = ["rnn", "lstm", "gru"]
SENTENCE = "the quick brown fox jumps over the lazy dog. "


# The textbook example -----------------------------------------------------------------------------


@pytest.mark.parametrize("embedding", [0, 8], ids=["one-hot", "embedded"])
@pytest.mark.parametrize("cell", CELLS)
def test_hello(device, cell, embedding):
    """From "h" alone, having read "hello", the model says "ello"."""
    vocabulary = data.Vocabulary("helo")
    model = CharLM(Options(vocabulary.characters, cell, hidden=16, embedding=embedding))
    ids = mg.tensor(vocabulary.encode("hello").reshape(-1, 1))
    optimizer = optim.Adam(model.parameters(), lr=0.03)
    for _ in range(80):
        logits, _ = model(ids[:-1])
        loss = F.cross_entropy(logits.squeeze(1), ids[1:].squeeze(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert "".join(sampling.sample(model, 4, prime="h", temperature=0, device=device)) == "ello"


@pytest.mark.parametrize("cell", CELLS)
def test_one_hot_and_embedded_models_with_the_same_weights_give_the_same_numbers(device, cell):
    """W_ih (E[id]) = (W_ih Eᵀ) one_hot(id): an embedding is a product with a one-hot vector, cut short."""
    embedded = CharLM(Options("abcd", cell, hidden=5, embedding=3)).to(mg.float64)
    one_hot = CharLM(Options("abcd", cell, hidden=5, embedding=0)).to(mg.float64)
    weights = embedded.state_dict()
    table = weights.pop("embedding.weight")
    weights["rnn.weight_ih_l0"] = weights["rnn.weight_ih_l0"] @ table.T
    one_hot.load_state_dict(weights)

    ids = mg.tensor([[0, 3], [1, 1], [2, 0]])
    for given_state in (None, embedded(ids)[1]):
        a, b = (model(ids, given_state)[0].detach().to("cpu").numpy() for model in (embedded, one_hot))
        np.testing.assert_allclose(a, b, rtol=1e-12)


# Text and numbers ---------------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_encoding_and_decoding(text):
    vocabulary = data.Vocabulary(text)
    assert vocabulary.characters == "".join(sorted(set(text)))
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_a_character_outside_the_vocabulary():
    with pytest.raises(data.UserError, match=r"'€' at position 2 is not in the vocabulary. Its 2 characters are .* ab"):
        data.Vocabulary("ab").encode("ab€")
    with pytest.raises(data.UserError, match="'c' at position 0"):
        data.Vocabulary("ab").encode("c")


def test_the_builtin_text_is_the_same_every_time():
    text = data.builtin_text()
    assert len(text) > 100_000
    assert data.fingerprint(text) == data.fingerprint(data.builtin_text())


def test_a_python_without_the_builtin_text(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydoc_data.topics", None)
    with pytest.raises(data.UserError, match="without pydoc_data.topics.*name a text with --data FILE"):
        data.builtin_text()


def test_reading_files(tmp_path):
    (tmp_path / "good.txt").write_bytes("naïve ☃\r\n".encode())
    assert data.read_text(tmp_path / "good.txt") == "naïve ☃\r\n"
    (tmp_path / "latin.txt").write_bytes("naïve".encode("latin-1"))
    with pytest.raises(data.UserError, match="not UTF-8 text: byte 0xef at offset 2 .*iconv -f latin1"):
        data.read_text(tmp_path / "latin.txt")
    (tmp_path / "marked.txt").write_bytes(b"\xef\xbb\xbfabc")
    assert data.read_text(tmp_path / "marked.txt") == "abc"
    with pytest.raises(data.UserError, match=r"is a folder, not a text file"):
        data.read_text(tmp_path)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(data.UserError, match=r"empty.txt is empty"):
        data.read_text(tmp_path / "empty.txt")
    with pytest.raises(data.UserError, match="there is no text file"):
        data.read_text(tmp_path / "none.txt")


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 40))
def test_streams_are_contiguous(streams, steps, extra):
    ids = np.arange(streams * steps + 1 + extra)
    read = data.Streams(ids, streams, steps)
    chunks = list(read.epoch())
    assert len(chunks) == read.chunks == (len(ids) - 1) // streams // steps
    assert all(part.data.flags.c_contiguous for chunk in chunks for part in chunk)
    inputs, targets = (mg.concatenate(parts).numpy() for parts in zip(*chunks, strict=True))
    assert (targets == inputs + 1).all()  # a target is the character that follows
    assert (np.diff(inputs, axis=0) == 1).all()  # row n of a chunk goes on in row n of the next
    assert (np.diff(inputs, axis=1) == len(inputs)).all()  # a stream begins where the one before ends


def test_a_text_shorter_than_one_chunk():
    data.Streams(np.arange(13), 3, 4)
    with pytest.raises(data.UserError, match=r"has 12 characters, but 3 streams of 4 steps need at least 13.*--batch"):
        data.Streams(np.arange(12), 3, 4)


def test_the_split_is_contiguous():
    train, held_out = data.split(np.arange(100))
    assert (train.tolist(), held_out.tolist()) == (list(range(90)), list(range(90, 100)))


# Training and evaluating --------------------------------------------------------------------------


def small(cell="lstm", **options):
    vocabulary = data.Vocabulary(SENTENCE)
    mg.manual_seed(0)
    return CharLM(Options(vocabulary.characters, cell, **({"hidden": 16, "embedding": 8} | options))), vocabulary


@pytest.mark.parametrize("cell", CELLS)
def test_training_learns_a_sentence_by_heart(device, cell):
    model, vocabulary = small(cell)
    ids, news = vocabulary.encode(SENTENCE * 30), []
    training.train(model, ids, training.Recipe(100, batch=4, seq=20, lr=0.02), device, news.append)
    assert [p.update for p in news] == list(range(10, 101, 10))
    assert news[-1].loss < 0.5 < 2.0 < news[0].loss
    assert training.evaluate(model, ids, device) < 0.7


def test_training_is_deterministic():
    def run():
        model, vocabulary = small(dropout=0.3)
        recipe = training.Recipe(20, batch=4, seq=20)
        training.train(model, vocabulary.encode(SENTENCE * 30), recipe, "cpu", lambda p: None)
        return {name: p.tolist() for name, p in model.state_dict().items()}

    assert run() == run()


def test_training_carries_the_state_and_resets_it_at_the_wrap(monkeypatch):
    model, vocabulary = small()
    seen, forward = [], CharLM.forward
    monkeypatch.setattr(
        CharLM, "forward", lambda self, ids, state=None: seen.append(state) or forward(self, ids, state)
    )
    ids = vocabulary.encode(SENTENCE * 3)[:121]  # 2 streams of 60: three chunks an epoch
    training.train(model, ids, training.Recipe(7, batch=2, seq=20), "cpu", lambda p: None)
    assert [state is None for state in seen] == [True, False, False, True, False, False, True]
    assert not any(part.requires_grad for state in seen if state for part in state)


def test_evaluation_reads_the_whole_text_with_its_state_carried(device):
    model, vocabulary = small()
    ids = vocabulary.encode(SENTENCE)
    whole = training.evaluate(model, ids, device, steps=1000)
    assert training.evaluate(model, ids, device, steps=7) == pytest.approx(whole, rel=1e-5)
    logits, _ = model(mg.tensor(ids[:-1].reshape(-1, 1)))
    assert F.cross_entropy(logits.squeeze(1), mg.tensor(ids[1:])).item() == pytest.approx(whole, rel=1e-5)


def test_an_untrained_model_is_near_uniform():
    model, vocabulary = small()
    assert training.evaluate(model, vocabulary.encode(SENTENCE), "cpu") == pytest.approx(
        math.log(len(vocabulary)), rel=0.1
    )


def test_a_loss_that_is_not_a_number_stops_training():
    model, vocabulary = small()
    nn.init.constant_(model.output.bias, math.nan)
    with pytest.raises(data.UserError, match="the loss became nan at update 10; try a smaller --lr"):
        training.train(model, vocabulary.encode(SENTENCE * 30), training.Recipe(20, 4, 20), "cpu", lambda p: None)


@pytest.mark.parametrize("name", ["updates", "batch", "seq", "lr", "clip"])
def test_recipes_are_positive(name):
    with pytest.raises(data.UserError, match=f"--{name} must be positive, got 0"):
        training.Recipe(**{name: 0})


# Sampling -----------------------------------------------------------------------------------------


def test_sampling_repeats_with_the_seed(device):
    model, vocabulary = small()

    def text(**options):
        return "".join(sampling.sample(model, 30, prime="the", device=device, **options))

    assert text(seed=1) == text(seed=1) != text(seed=2)
    assert set(text(seed=1)) <= set(vocabulary.characters)
    assert text(temperature=0, seed=1) == text(temperature=0, seed=2) == text(temperature=1e-6, seed=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prime": "THE"}, "'T' at position 0 is not in the vocabulary"),
        ({"prime": ""}, "the prime text is empty"),
        ({"temperature": -1.0}, "the temperature must be 0 or more, got -1.0"),
        ({"temperature": math.nan}, "the temperature must be 0 or more, got nan"),
    ],
)
def test_sampling_with_wrong_options(options, message):
    with pytest.raises(data.UserError, match=message):
        sampling.sample(small()[0], 5, **({"prime": "a"} | options))


# Checkpoints --------------------------------------------------------------------------------------


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
        data.UserError, match="the weights of a gru model, but model.json beside it describes a lstm model"
    ):
        checkpoint.load(tmp_path / "gru")


def test_a_checkpoint_of_another_size(tmp_path):
    checkpoint.save(tmp_path, small()[0], {})
    path = tmp_path / checkpoint.DESCRIPTION
    described = json.loads(path.read_text())
    described["model"]["hidden"] = 17
    path.write_text(json.dumps(described))
    with pytest.raises(
        data.UserError, match=r"does not fit model.json beside it: shapes .*rnn.weight_hh_l0 is \(64, 16\)"
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
    with pytest.raises(data.UserError, match=message):
        checkpoint.load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(data.UserError, match=f"holds no trained model: there is no file {name}"):
        checkpoint.load(tmp_path)


# The command line ---------------------------------------------------------------------------------


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize("options", [[], ["--one-hot", "--cell", "gru", "--layers", 2, "--dropout", 0.1]])
def test_train_and_sample(tmp_path, options):
    text = tmp_path / "text.txt"
    text.write_text("ß" + SENTENCE * 30, encoding="utf-8")
    out = tmp_path / "run"
    trained = run(
        "train", "--data", text, "--out", out, "--hidden", 8, "--batch", 2, "--seq", 10, "--updates", 20, *options
    )
    assert trained.exit_code == 0, trained.output
    assert "1,351 characters, 29 distinct, sha256" in trained.output.replace("\n", " ")
    assert "bits) per character" in trained.output
    assert "validation:" in trained.output
    results = json.loads((out / checkpoint.DESCRIPTION).read_text(encoding="utf-8"))
    assert results["training"]["updates"] == 20

    first = run("sample", "--run", out, "--prime", "ß", "--length", 40)
    assert first.exit_code == 0, first.output
    assert first.output.startswith("ß")
    assert len(first.output) == 1 + 40 + 1
    assert run("sample", "--run", out, "--prime", "ß", "--length", 40).output == first.output


def test_a_model_that_diverged_is_not_saved(tmp_path):
    (tmp_path / "text.txt").write_text(SENTENCE * 30)
    options = ["--hidden", 8, "--batch", 2, "--seq", 10, "--updates", 1, "--lr", 1e38]
    result = run("train", "--data", tmp_path / "text.txt", "--out", tmp_path / "run", *options)
    assert result.exit_code == 1
    assert "the validation loss is nan, so nothing was saved; try a smaller --lr" in result.output
    assert not list((tmp_path / "run").iterdir())


def test_a_model_without_numbers_says_so():
    model, _ = small()
    nn.init.constant_(model.output.bias, math.nan)
    with pytest.raises(data.UserError, match=r"its training must have diverged"):
        list(sampling.sample(model, 3, prime="a"))


def test_sampling_without_a_prime(tmp_path):
    (tmp_path / "text.txt").write_text(SENTENCE * 30)  # no new line in it
    options = ["--hidden", 8, "--batch", 2, "--seq", 10, "--updates", 1]
    assert run("train", "--data", tmp_path / "text.txt", "--out", tmp_path / "run", *options).exit_code == 0
    assert len(run("sample", "--run", tmp_path / "run", "--length", 20).output) == 21


def test_errors_are_told_in_a_line(tmp_path):
    (tmp_path / "short.txt").write_text("too short")
    (tmp_path / "latin.txt").write_bytes(b"\xe9" * 5000)
    for arguments, message in [
        (["train", "--data", tmp_path / "none.txt"], "there is no text file"),
        (["train", "--data", tmp_path / "short.txt"], "need at least 2049"),
        (["train", "--data", tmp_path / "latin.txt"], "is not UTF-8 text"),
        (
            ["train", "--data", tmp_path / "short.txt", "--cell", "qrnn"],
            "there is no cell 'qrnn'; choose one of rnn, lstm",
        ),
        (["train", "--data", "[/none].txt"], "there is no text file [/none].txt"),
        (["train", "--updates", "1", "--out", tmp_path / "short.txt"], "name another folder with --out"),
        (["train", "--lr", "0"], "--lr must be positive"),
        (["train", "--device", "gpu"], "unknown device 'gpu'"),
        (["sample", "--run", tmp_path], "holds no trained model"),
    ]:
        result = run(*arguments)
        assert result.exit_code == 1
        assert message in result.output
        assert "Traceback" not in result.output
    assert run("train", "--hidden", "0").exit_code == 2
