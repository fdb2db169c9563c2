"""models/captions: captions in numbers, the decoder's equations, padding, the frozen CNN; a small run; `predict`."""

import functools

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import minigrad as mg
from minigrad import nn
from models.captions import data, pictures
from models.captions.model import MOST, Captioner, Options
from models.captions.program import PROGRAM, Captions, Settings
from models.common import journal, runs, saved
from models.common.stop import Stop
from models.common.training import fit
from models.digits import data as images

from . import programs
from .strict import strict

WORDS = data.vocabulary()
run = functools.partial(programs.run, "captions")
run_digits = functools.partial(programs.run, "digits")


@pytest.fixture(scope="module")
def cnn(tmp_path_factory):
    """The folder of a run of models.digits."""
    folder = tmp_path_factory.mktemp("cnn")
    result = run_digits("train", "--out", folder, "--updates", 400, "--eval-every", 400)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def trained(cnn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("captions")
    result = run("train", "--out", folder, "--cnn", cnn, "--updates", 300, "--lr", 5e-3, "--eval-every", 150)
    assert result.exit_code == 0, result.output
    return folder


def small(inject="every", **options):
    mg.manual_seed(0)
    usual = {"channels": 2, "features": 6, "embedding": 5, "hidden": 7}
    return Captioner(Options(WORDS, inject=inject, **(usual | options)))


def weights(model):
    return {name: x.numpy().copy() for name, x in model.state_dict().items()}


# Captions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("digit", "language", "expected"),
    [
        (0, "en", "a handwritten zero, an even number smaller than five, between minus one and one"),
        (5, "en", "a handwritten five, an odd number equal to five, between four and six"),
        (9, "en", "a handwritten nine, an odd number larger than five, between eight and ten"),
        (1, "de", "eine handgeschriebene Eins, eine ungerade Zahl kleiner als fünf, zwischen null und zwei"),
        (6, "de", "eine handgeschriebene Sechs, eine gerade Zahl größer als fünf, zwischen fünf und sieben"),
        (0, "ko", "손으로 쓴 영, 오보다 작은 짝수, 마이너스 일과 일 사이"),
        (3, "ko", "손으로 쓴 삼, 오보다 작은 홀수, 이와 사 사이"),  # 이 ends in a vowel, 일 in a consonant
        (8, "ko", "손으로 쓴 팔, 오보다 큰 짝수, 칠과 구 사이"),
    ],
)
def test_what_a_caption_says(digit, language, expected):
    assert data.joined(data.caption(digit, language)) == expected


def test_captions_in_numbers_can_be_read_back():
    table = data.captions(WORDS)
    assert table.reads.shape == table.says.shape == (17, 30)
    seen = set()
    for place, language in enumerate(data.LANGUAGES):
        for digit in range(10):
            column = int(data.Captions.number(np.array(digit), np.array(place)))
            caption = data.caption(digit, language)
            read, said = table.reads[:, column], table.says[:, column]
            assert [WORDS[n] for n in read[: len(caption) + 1]] == [data.start(language), *caption]
            assert [WORDS[n] for n in said[: len(caption) + 1]] == [*caption, data.END]
            assert (said[len(caption) + 1 :] == data.IGNORED).all()
            seen.add(tuple(said))
    assert len(seen) == 30


def test_words():
    assert WORDS[:4] == ("<end>", "<en>", "<de>", "<ko>")
    assert len(set(WORDS)) == len(WORDS) == 92
    assert data.vocabulary() == WORDS
    assert data.until_the_end([5, 6], WORDS) == [WORDS[5], WORDS[6]]  # no END yet
    assert data.until_the_end([0, 6], WORDS) == []


# The decoder --------------------------------------------------------------------------------------


def by_hand(w, inject, words, v):
    """h_t = tanh(W_xh x_t + W_hh h_{t-1} + W_ih v), y_t = W_hy h_t"""
    h, logits = 0.0, []
    for t, each in enumerate(words):
        x = w["embedding.weight"][each]
        image = v @ w["ih.weight"].T * (inject == "every" or t == 0)
        h = np.tanh(x @ w["xh.weight"].T + w["xh.bias"] + (h @ w["hh.weight"].T if t else 0) + image)
        logits.append(h @ w["hy.weight"].T + w["hy.bias"])
    return np.stack(logits)


@pytest.mark.parametrize("inject", ["every", "first"])
def test_the_decoder_computes_its_equations(inject):
    decoder, rng = small(inject).decoder, np.random.default_rng(0)
    words, v = rng.integers(0, len(WORDS), (9, 4)), rng.normal(size=(4, 6)).astype(np.float32)
    found = decoder(mg.tensor(words), mg.tensor(v)).detach().numpy()
    np.testing.assert_allclose(found, by_hand(weights(decoder), inject, words, v), atol=1e-5)


@pytest.mark.parametrize("inject", ["every", "first"])
def test_it_is_an_rnn_that_reads_words_and_features_side_by_side(inject):
    """[W_xh W_ih] (x, v) = W_xh x + W_ih v; where the image does not enter, v is 0."""
    decoder, rng = small(inject).decoder, np.random.default_rng(1)
    words, v = mg.tensor(rng.integers(0, len(WORDS), (5, 3))), mg.tensor(rng.normal(size=(3, 6)).astype(np.float32))
    rnn = nn.RNN(5 + 6, 7)
    w = weights(decoder)
    rnn.load_state_dict({
        "weight_ih_l0": np.concatenate([w["xh.weight"], w["ih.weight"]], axis=1), "weight_hh_l0": w["hh.weight"],
        "bias_ih_l0": w["xh.bias"], "bias_hh_l0": np.zeros(7, np.float32),
    })  # fmt: skip
    seen = mg.stack([v if inject == "every" or t == 0 else mg.zeros_like(v) for t in range(5)])
    h, _ = rnn(mg.concatenate([decoder.embedding(words), seen], axis=-1))
    np.testing.assert_allclose(decoder(words, v).detach().numpy(), decoder.hy(h).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("inject", ["every", "first"])
def test_it_writes_the_likeliest_word_and_reads_it_next(inject):
    decoder = small(inject, hidden=30).decoder
    v = mg.tensor(np.random.default_rng(2).normal(size=(4, 6)).astype(np.float32) * 3)
    start = mg.tensor([1, 2, 3, 1])
    with mg.no_grad():
        written = decoder.write(start, v, 8).numpy()
        read = np.concatenate([start.numpy()[None], written[:-1]])
        np.testing.assert_array_equal(decoder(mg.tensor(read), v).argmax(-1).numpy(), written)
    assert len({tuple(column) for column in written.T}) > 1  # the image and the language matter


def test_a_caption_ends_with_end_or_is_as_long_as_it_may_be():
    model = small()
    for likely, length in ((30.0, 0), (-30.0, MOST)):
        with mg.no_grad():
            model.decoder.hy.bias[0] = likely
            told = model.captions(mg.tensor(images.load()[1].images[:2]), "en")
        assert [len(each.replace(",", " ,").split()) for each in told] == [length] * 2


# Training -----------------------------------------------------------------------------------------

SMALL = {"hidden": 8, "embedding": 4, "batch": 16, "updates": 12}


def task_of(cnn, device="cpu", **settings):
    """The same weights on every device."""
    with mg.use_device("cpu"):
        mg.manual_seed(settings.get("seed", 0))
        return Captions(Settings(cnn=cnn and str(cnn), **(SMALL | settings)), device)


def fitted(task, folder, **settings):
    """A few updates, without pictures; the losses that were looked at."""
    losses = []
    task.draw = lambda folder: []
    given = Settings(**{**SMALL, "eval_every": 12, **settings})
    fit(task, given, folder, "captions", Stop(), lambda update, **news: losses.append(news["loss"]))
    return losses


def test_what_a_shorter_caption_is_padded_with_does_not_count(cnn):
    found = []
    for other in (0, 7):
        task = task_of(cnn)
        reads, says = task._captions.reads, task._captions.says
        assert (says == data.IGNORED).any()
        reads[says == data.IGNORED] = other
        loss = task.loss()
        loss.backward()
        found.append([loss.item(), *(p.grad.numpy() for p in task.model.decoder.parameters())])
    assert found[0][0] == found[1][0]
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


def test_the_loss_is_the_mean_over_the_words_that_count(cnn):
    task = task_of(cnn)
    numbers, image = np.array([0, 27]), images.load()[0].images[:2]  # 15 + 2 words, and 11
    logits = task.model(mg.tensor(image), mg.tensor(task._captions.reads[:, numbers])).detach().numpy()
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    said = task._captions.says[:, numbers]
    cost = [-np.log(p[t, n, said[t, n]]) for t in range(17) for n in range(2) if said[t, n] != data.IGNORED]
    assert len(cost) < said.size
    assert task._loss(mg.tensor(image), numbers).item() == pytest.approx(np.mean(cost), rel=1e-5)


@pytest.mark.parametrize("tune", [False, True])
def test_the_cnn_is_frozen_unless_it_is_tuned(cnn, tmp_path, tune):
    task = task_of(cnn, tune=tune)
    before = weights(task.model)
    file = load_file(cnn / saved.MODEL)
    for name, array in before.items():
        if name.startswith("features."):
            np.testing.assert_array_equal(array, file[name])
    fitted(task, tmp_path, updates=3)
    after = weights(task.model)
    changed = {name.partition(".")[0] for name in after if (after[name] != before[name]).any()}
    assert changed == {"decoder", "features"} if tune else {"decoder"}


def test_a_short_run_writes_captions(trained):
    (result,) = (r for r in journal.read(trained / runs.LOG) if r["event"] == "result")
    assert result["exact"] > 0.9
    assert result["named"] > 0.95
    assert result["whole"] >= result["exact"]
    model, _ = PROGRAM.load(trained)
    held_out = images.load()[1]
    with mg.no_grad():
        for language in data.LANGUAGES:
            told = model.captions(mg.tensor(held_out.images), language)
            right = [data.joined(data.caption(digit, language)) for digit in held_out.labels.tolist()]
            assert np.mean([a == b for a, b in zip(told, right, strict=True)]) > 0.85


def test_the_same_seed_gives_the_same_bits_whether_the_cnn_is_loaded_or_trained(tmp_path, capsys):
    own = ["--updates", 10, "--seed", 3, "--out", tmp_path / "cnn"]
    assert run_digits("train", *own).exit_code == 0
    found = []
    for cnn, seed in ((None, 3), (tmp_path / "cnn", 3), (tmp_path / "cnn", 4)):
        capsys.readouterr()
        task = task_of(cnn, seed=seed, cnn_updates=10)
        assert ("first the CNN, as models.digits trains it" in capsys.readouterr().out) == (cnn is None)
        fitted(task, tmp_path, updates=5, seed=seed)
        found.append({n: a.tobytes() for n, a in load_file(tmp_path / saved.MODEL).items()})
    assert found[0] == found[1] != found[2]


def test_training_reaches_the_same_on_every_device(cnn, device, tmp_path):
    with mg.use_device("cpu"):
        losses = fitted(task_of(cnn, inject="first"), tmp_path)
    assert fitted(task_of(cnn, device, inject="first"), tmp_path) == pytest.approx(losses, rel=1e-3)


@pytest.mark.parametrize("inject", ["every", "first"])
def test_an_update_reads_nothing_and_copies_the_batch(cnn, inject):
    task = task_of(cnn, "strict", inject=inject)
    with mg.use_device("strict"):
        before = strict.counts()
        task.loss().backward()
        counts = strict.counts() - before
        assert (counts.reads, counts.synchronizations, counts.uploads) == (0, 0, 3)  # images, words, and those to say
        before = strict.counts()
        task.model.captions(mg.zeros((5, 1, 8, 8)), "ko")
        assert (strict.counts() - before).reads == 1


def test_the_picture(trained, tmp_path, monkeypatch):
    assert {path.name for path in trained.glob("*.png")} == {"captions.png", "loss.png"}
    figures = []
    monkeypatch.setattr(pictures.curves, "save", lambda figure, path: figures.append(figure))
    model, _ = PROGRAM.load(trained)
    held_out = images.load()[1]
    wrong = held_out.labels.copy()
    wrong[:4] = (wrong[:4] + 1) % 10  # as if the data said otherwise
    with mg.no_grad():
        pictures.captions(model, images.Digits(held_out.images, wrong), "cpu", tmp_path / pictures.CAPTIONS)
    axes = {each.get_ylabel(): each for each in figures[0].axes}
    assert len(axes) >= 10
    for number in range(4):
        shown = axes[f"image {number}, a {wrong[number]}"]
        assert shown.get_title().startswith("a handwritten")
        assert shown.get_xlabel().startswith("eine handgeschriebene")
        assert shown.title.get_color() == shown.xaxis.label.get_color() == pictures.curves.RED
    assert any(each.title.get_color() == "black" for each in axes.values())


# predict ------------------------------------------------------------------------------------------


def test_predict(trained, tmp_path):
    image = images.load()[1].images[0]  # a six
    Image.fromarray((255 - 255 * np.kron(image[0], np.ones((20, 20)))).astype(np.uint8)).save(tmp_path / "six.png")
    result = run("predict", tmp_path / "six.png", "--example", 12, "--run", trained)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    at = lines.index("held-out image 12, a 0:")
    assert lines[at + 1 :] == [data.joined(data.caption(0, language)) for language in data.LANGUAGES]
    at = next(n for n, line in enumerate(lines) if line.endswith("six.png:"))
    assert lines[at + 1] == "a handwritten six, an even number larger than five, between five and seven"
    result = run("predict", "--example", 12, "--language", "de", "--run", trained)
    assert result.output.splitlines()[-2:] == ["held-out image 12, a 0:", data.joined(data.caption(0, "de"))]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a picture of a digit, or a held-out image by --example"),
        (["--example", 0, "--language", "fr"], "there are no captions in 'fr'; choose one of en, de, ko"),
        (["--example", 0, "--language", ""], "there are no captions in ''; choose one of en, de, ko"),
        (["--example", 1000], "there are held-out images 0 to 359, got 1000"),
        (["nowhere.png"], "nowhere.png: No such file or directory"),
    ],
)
def test_mistakes_in_predict(trained, arguments, message):
    result = run("predict", *arguments, "--run", trained)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())


def test_a_model_of_another_program(cnn):
    result = run("predict", "--example", 0, "--run", cnn)
    assert result.exit_code == 1
    assert "of the program digits, not a checkpoint of captions" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--inject", "last"], "the image cannot enter at the step 'last'; choose one of every, first"),
        (["--cnn", "nowhere"], "there is no file nowhere. Train one first: python -m models.digits train"),
        (["--cnn", "mlp"], "mlp holds a model of the kind 'mlp'; captions need one of the kind 'cnn'"),
        (["--hidden", 0], "Invalid value for '--hidden'"),
    ],
)
def test_mistakes_in_train(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    if "mlp" in options:
        run_digits("train", "--model", "mlp", "--updates", 1, "--out", "mlp")
    result = run("train", "--out", "run", *options)
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.output.replace("│", " ").split())
    assert not list(tmp_path.glob("run/*.safetensors"))
    assert "first the CNN" not in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"words": ("a", "b")}, "<de>, <en>, <end>, <ko> among them"),
        ({"words": ("<end>", "a", "a")}, "words must differ"),
        ({"words": WORDS, "hidden": 0}, "hidden must be from 1 to 4,096, got 0"),
    ],
)
def test_options_of_a_model(options, message):
    with pytest.raises(ValueError, match=message):
        Options(**options)
