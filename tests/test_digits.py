"""models/digits: images of digits, moved and read from pictures; the network's equations; a small run; `predict`."""

import functools
import re

import numpy as np
import pytest
from PIL import Image, ImageDraw
from safetensors.numpy import load_file

import minigrad as mg
from models.common import journal, runs, saved
from models.common.errors import UserError
from models.common.stop import Stop
from models.common.training import fit
from models.digits import data, pictures
from models.digits.model import Classifier, Options
from models.digits.program import PROGRAM, Digits, Settings

from . import programs
from .strict import strict

run = functools.partial(programs.run, "digits")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a short run."""
    folder = tmp_path_factory.mktemp("digits")
    result = run("train", "--out", folder, "--updates", 400, "--seed", 0, "--eval-every", 200)
    assert result.exit_code == 0, result.output
    return folder


# Data ---------------------------------------------------------------------------------------------


def test_the_same_images_are_held_out_every_time():
    learned, held_out = data.load()
    again, held_out_again = data.load()
    assert (len(learned), len(held_out)) == (1437, 360)
    assert learned.images.shape == (1437, 1, 8, 8) and learned.images.dtype == np.float32
    assert learned.images.min() == 0 and learned.images.max() == 1
    for found in (learned, held_out):
        assert set(found.labels) == set(range(10))
    np.testing.assert_array_equal(learned.images, again.images)
    np.testing.assert_array_equal(held_out.labels, held_out_again.labels)
    assert not {image.tobytes() for image in learned.images} & {image.tobytes() for image in held_out.images}


def test_half_of_the_images_are_moved_by_a_pixel_at_most():
    image = data.load()[0].images[:1]
    wide = np.pad(image[0, 0], 1)
    nine = [wide[down : down + 8, across : across + 8] for down in range(3) for across in range(3)]
    moved = data.moved(np.repeat(image, 1800, axis=0), np.random.default_rng(0))
    assert moved.shape == (1800, 1, 8, 8) and moved.dtype == np.float32
    counts = np.array([(moved[:, 0] == one).all((1, 2)).sum() for one in nine])
    assert counts.sum() == 1800
    assert counts[4] == pytest.approx(1000, abs=60)  # in its place: half of them, and a ninth of the others
    assert np.delete(counts, 4) == pytest.approx(100, abs=35)


# Pictures of digits -------------------------------------------------------------------------------


def enlarged(image, factor=20):
    """An image as somebody scans it: large, black on white, not in the middle."""
    ink = np.kron(image[0], np.ones((factor, factor)))
    return Image.fromarray(np.pad(255 - 255 * ink, ((40, 90), (130, 20)), constant_values=255).astype(np.uint8))


def test_a_picture_is_read_as_the_images_are(tmp_path):
    """Whatever its colours, its size, its margins and its format."""
    image = data.load()[1].images[4]
    grey = enlarged(image)
    inverted = grey.point(lambda value: 255 - value)
    clear = Image.new("RGBA", grey.size, (0, 0, 0, 0))
    clear.putalpha(inverted)
    white = Image.new("RGBA", grey.size, (255, 255, 255, 0))
    white.putalpha(inverted)
    pale = grey.point(lambda value: 120 + value // 3)
    found = []
    for name, picture in [("a.png", grey), ("b.bmp", inverted), ("c.webp", clear), ("d.tiff", pale), ("e.png", white)]:
        picture.save(tmp_path / name, **({"lossless": True} if name == "c.webp" else {}))
        found.append(data.read(tmp_path / name))
    first = found[0]
    assert first.shape == (1, 8, 8) and first.dtype == np.float32 and first.min() == 0 and first.max() == 1
    for other in found[1:]:
        np.testing.assert_allclose(other, first, atol=0.02)
    columns = np.flatnonzero(image[0].any(0))  # the digit goes to the middle
    shift = (7 - columns[0] - columns[-1]) // 2
    assert np.abs(first - np.roll(image, shift, axis=2)).mean() < 0.08


def test_the_thinnest_line_is_seen(tmp_path):
    picture = Image.new("L", (3000, 3000), 255)
    ImageDraw.Draw(picture).line([(1500, 100), (1500, 2900)], fill=0, width=1)
    picture.save(tmp_path / "line.png")
    found = data.read(tmp_path / "line.png")
    assert found.max() == 1 and set(np.flatnonzero(found[0].any(0))) <= {3, 4}


SPOILT = {
    "short.png": lambda whole: whole[: len(whole) // 2],
    "chunk.png": lambda whole: whole.replace(b"IDAT", b"I\x97\xbbf", 1),
    "header.ppm": lambda whole: b"P6 abc def 255\n" + bytes(30),
    "empty.png": lambda whole: b"",
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_picture_is_told_by_its_name(name, tmp_path):
    enlarged(data.load()[1].images[0]).save(tmp_path / "whole.png")
    (tmp_path / name).write_bytes(SPOILT[name]((tmp_path / "whole.png").read_bytes()))
    with pytest.raises(UserError, match=rf"{name} is not a picture that can be read: "):
        data.read(tmp_path / name)


def test_a_picture_that_is_too_large_is_refused(tmp_path):
    Image.new("1", (10_000, 7_000)).save(tmp_path / "large.png")
    with pytest.raises(UserError, match=r"large.png is not a picture .*: 10000 x 7000 pixels; make it smaller"):
        data.read(tmp_path / "large.png")


def drawn(digit):
    """Strokes of a broad pen."""
    picture = Image.new("L", (200, 240), 250)
    pen = ImageDraw.Draw(picture)
    if digit == 0:
        pen.ellipse((50, 20, 160, 220), outline=10, width=36)
    elif digit == 1:
        pen.line([(75, 75), (110, 30), (110, 215)], fill=10, width=44, joint="curve")
    elif digit == 4:
        pen.line([(100, 25), (50, 135), (165, 135)], fill=10, width=34, joint="curve")
        pen.line([(130, 90), (115, 220)], fill=10, width=34)
    else:
        pen.line([(55, 40), (150, 40), (85, 215)], fill=10, width=36, joint="curve")
        pen.line([(65, 130), (165, 130)], fill=10, width=28)
    return picture


def test_predict_names_digits_that_were_drawn(trained, tmp_path):
    paths = []
    for digit in (0, 1, 4, 7):
        paths.append(tmp_path / f"{digit}.png")
        drawn(digit).save(paths[-1])
    result = run("predict", *paths, "--run", trained)
    assert result.exit_code == 0, result.output
    told = re.findall(r"(\d)\.png: (\d) \(([\d.]+)%\), \d \([\d.]+%\), \d \([\d.]+%\)$", result.output, re.M)
    assert [name for name, _, _ in told] == ["0", "1", "4", "7"]
    assert all(name == guess and float(likely) > 50 for name, guess, likely in told)


# The model ----------------------------------------------------------------------------------------


def convolved(x, weight, bias):
    """With zeros around: x (N, C, P, P), weight (O, C, 3, 3)"""
    wide = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    y = np.zeros((len(x), len(weight), *x.shape[2:])) + bias[:, None, None]
    for row in range(x.shape[2]):
        for column in range(x.shape[3]):
            window = wide[:, :, row : row + 3, column : column + 3]
            y[:, :, row, column] += np.einsum("ncij,ocij->no", window, weight)
    return y


def pooled(x):
    n, channels, p, _ = x.shape
    return x.reshape(n, channels, p // 2, 2, p // 2, 2).max((3, 5))


@pytest.mark.parametrize("kind", ["cnn", "mlp"])
def test_the_model_computes_its_equations(kind):
    mg.manual_seed(0)
    model = Classifier(Options(kind, channels=3, hidden=5))
    state = {name: x.numpy().astype(np.float64) for name, x in model.state_dict().items()}
    x = data.load()[1].images[:6]
    logits = model(mg.tensor(x)).detach().numpy()
    if kind == "cnn":
        x = pooled(np.maximum(convolved(x, state["features.layers.0.weight"], state["features.layers.0.bias"]), 0))
        x = pooled(np.maximum(convolved(x, state["features.layers.3.weight"], state["features.layers.3.bias"]), 0))
        last = "features.layers.7"
    else:
        last = "features.1"
    v = np.maximum(x.reshape(6, -1) @ state[f"{last}.weight"].T + state[f"{last}.bias"], 0)
    np.testing.assert_allclose(logits, v @ state["output.weight"].T + state["output.bias"], atol=1e-5)


# Training -----------------------------------------------------------------------------------------


def test_a_short_run_names_most_digits(trained):
    (result,) = (r for r in journal.read(trained / runs.LOG) if r["event"] == "result")
    assert result["accuracy"] > 0.95
    model, about = PROGRAM.load(trained)
    assert about["updates"] == 400 and about["settings"]["model"] == "cnn"
    held_out = data.load()[1]
    guesses = model(mg.tensor(held_out.images)).argmax(1).tolist()
    assert np.mean(guesses == held_out.labels) == pytest.approx(result["accuracy"])


SMALL = {"updates": 12, "channels": 3, "hidden": 6, "batch": 8}


def fitted(task, folder, **settings):
    """A few updates, without pictures; the losses that were looked at."""
    losses = []
    task.draw = lambda folder: []
    given = Settings(**{**SMALL, "eval_every": 12, **settings})
    fit(task, given, folder, "digits", Stop(), lambda update, **news: losses.append(news["loss"]))
    return losses


def small(device, **settings):
    """The same weights on every device."""
    with mg.use_device("cpu"):
        mg.manual_seed(settings.get("seed", 0))
        return Digits(Settings(**(SMALL | settings)), device)


def test_the_same_seed_gives_the_same_bits(tmp_path):
    found = []
    for seed in (5, 5, 6):
        fitted(small("cpu", seed=seed), tmp_path, seed=seed)
        found.append({name: array.tobytes() for name, array in load_file(tmp_path / saved.MODEL).items()})
        (tmp_path / saved.MODEL).unlink()
    assert found[0] == found[1] != found[2]


def test_training_reaches_the_same_on_every_device(device, tmp_path):
    with mg.use_device("cpu"):
        losses = fitted(small("cpu"), tmp_path)
    assert fitted(small(device), tmp_path) == pytest.approx(losses, rel=1e-3)


def test_the_nearest_neighbour():
    task = small("cpu")
    differences = task.held_out.images[:, None] - task.learned.images
    nearest = task.learned.labels[(differences**2).sum((2, 3, 4)).argmin(1)]
    expected = pytest.approx(np.mean(nearest == task.held_out.labels))
    assert task.references() == {"nearest neighbour": {"accuracy": expected}}


def test_an_update_reads_nothing_and_copies_the_batch():
    task = small("strict")
    with mg.use_device("strict"):
        before = strict.counts()
        task.loss().backward()
        counts = strict.counts() - before
    assert (counts.reads, counts.synchronizations, counts.uploads) == (0, 0, 2)  # images, labels


# Pictures of what was learned ---------------------------------------------------------------------


def test_pictures(trained, tmp_path, monkeypatch):
    figures = {}
    monkeypatch.setattr(pictures.curves, "save", lambda figure, path: figures.__setitem__(path.name, figure))
    assert {path.name for path in trained.glob("*.png")} == {"guesses.png", "filters.png", "loss.png"}
    model, _ = PROGRAM.load(trained)
    held_out = data.load()[1]
    probabilities = np.full((360, 10), 0.05)
    probabilities[np.arange(360), held_out.labels] = 0.55
    probabilities[7] = 0.01
    probabilities[7, (held_out.labels[7] + 1) % 10] = 0.91
    pictures.guesses(held_out, probabilities, tmp_path / pictures.GUESSES)
    axes = figures[pictures.GUESSES].axes
    assert len(axes) == pictures.ACROSS * pictures.DOWN
    assert axes[0].get_xlabel() == f"{(held_out.labels[7] + 1) % 10}, 91%\nis a {held_out.labels[7]}"
    assert axes[1].get_xlabel() == f"{held_out.labels[0]}, 55%"
    with mg.no_grad():
        pictures.filters(model.features, held_out, "cpu", tmp_path / pictures.FILTERS)
    filters = figures[pictures.FILTERS].axes
    assert len(filters) == 17 * (1 + len(pictures.EXAMPLES))
    third = model.state_dict()["features.layers.0.weight"].numpy()[2, 0]
    np.testing.assert_array_equal(filters[3].images[0].get_array(), third)


# predict ------------------------------------------------------------------------------------------


def test_predict_shows_held_out_images(trained):
    held_out = data.load()[1]
    result = run("predict", "--example", 0, "--example", 12, "--run", trained)
    assert result.exit_code == 0, result.output
    for number in (0, 12):
        told = rf"^held-out image {number}, a {held_out.labels[number]}: \d \([\d.]+%\), \d"
        assert re.search(told, result.output, re.M)
        assert "\n".join(pictures.in_characters(held_out.images[number])) in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a picture of a digit, or a held-out image by --example"),
        (["--example", 360], "there are held-out images 0 to 359, got 360"),
        (["--example", -1], "there are held-out images 0 to 359, got -1"),
        (["nowhere.png"], "nowhere.png: No such file or directory"),
        (["text.png"], "text.png is not a picture that can be read"),
        (["white.png"], "white.png is a picture of one colour; expected one of a digit"),
        (["grey.png"], "grey.png is a picture of one colour; expected one of a digit"),
        (["."], "Is a directory"),
        (["--run", "nowhere", "--example", 0], "there is no file nowhere. Train one first"),
        (["--run", ".", "--example", 0], "holds no trained model"),
        (["--run", "text.png", "--example", 0], "is not a whole safetensors file"),
        (["--run", "other.safetensors", "--example", 0], "of the program words, not a checkpoint of digits"),
    ],
)
def test_mistakes_in_predict(trained, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.png").write_text("no picture")
    Image.new("RGB", (30, 30), "white").save(tmp_path / "white.png")
    Image.new("L", (30, 30), 100).save(tmp_path / "grey.png")
    model = Classifier(Options("mlp", hidden=2))
    saved.save(tmp_path / "other.safetensors", "words", model, model.options, {})
    given = arguments if "--run" in map(str, arguments) else [*arguments, "--run", trained]
    result = run("predict", *given)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "rnn"], "there is no model 'rnn'; choose one of cnn, mlp"),
        (["--channels", 0], "Invalid value for '--channels'"),
        (["--lr", 0], "--lr must be positive, got 0"),
    ],
)
def test_mistakes_in_train(tmp_path, options, message):
    result = run("train", "--out", tmp_path / "run", *options)
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.output.replace("│", " ").split())
    assert not list(tmp_path.glob("run/*.safetensors"))
