"""The program `frames`: videos and their labels, no look ahead, what a short training reaches, its answers."""

import re

import numpy as np
import pytest
from PIL import Image

import minigrad as mg
from minigrad import nn, optim
from models.common import curves
from models.common.errors import UserError
from models.digits import data as digits
from models.frames import data, pictures
from models.frames.model import Answerer, Options
from models.frames.program import PROGRAM, Answers, Settings, figures, judged
from tests.programs import good, run, train

SMALL = {"hidden": 6, "features": 5, "channels": 2, "frames": 4}


@pytest.fixture(scope="module")
def images():
    return digits.load()


def small(**options):
    mg.manual_seed(0)
    return Answerer(Options(**(SMALL | options)))


def frames(steps=4, count=3):
    return np.random.default_rng(0).random((steps, count, 1, 8, 8), np.float32)


# Videos ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", data.QUESTIONS)
def test_labels_one_by_one(question):
    drawn = np.random.default_rng(0).integers(0, 10, (7, 5))
    labels = data.answers(drawn, question)
    assert labels.dtype == np.float32 and labels.shape == (7, 5)
    for n, video in enumerate(drawn.T.tolist()):
        for t, digit in enumerate(video):
            yes = digit in video[:t] if question == "seen" else t > 0 and digit > video[t - 1]
            assert labels[t, n] == yes


def test_videos_are_made_of_images_of_their_digits(images):
    _, held_out = images
    made = data.videos(held_out, "seen", 6, 20, np.random.default_rng(3))
    again = data.videos(held_out, "seen", 6, 20, np.random.default_rng(3))
    assert made.frames.shape == (6, 20, 1, 8, 8) and (made.frames == again.frames).all()
    digit_of = {image.tobytes(): digit for image, digit in zip(held_out.images, held_out.labels, strict=True)}
    found = [digit_of[frame.tobytes()] for frame in made.frames.reshape(-1, 1, 8, 8)]
    assert found == made.digits.ravel().tolist()
    assert set(found) == set(range(10))


def test_what_is_judged_is_of_held_out_images_and_always_the_same(images):
    first, second = (Answers(Settings(frames=3, seed=seed), "cpu") for seed in (0, 1))
    assert (first.held_out.frames == second.held_out.frames).all()
    judged = {frame.tobytes() for frame in first.held_out.frames.reshape(-1, 1, 8, 8)}
    learned, held_out = ({image.tobytes() for image in side.images} for side in images)
    assert judged <= held_out and not judged & learned
    assert first.held_out.labels.shape == (3, data.HELD_OUT)


def test_how_often_the_answer_is_yes(images):
    many = data.videos(images[0], "seen", 10, 20_000, np.random.default_rng(0)).labels.mean(1)
    np.testing.assert_allclose(many, 1 - 0.9 ** np.arange(10), atol=0.015)
    many = data.videos(images[0], "larger", 10, 20_000, np.random.default_rng(0)).labels.mean(1)
    np.testing.assert_allclose(many, [0] + [0.45] * 9, atol=0.015)


# The model ------------------------------------------------------------------------------------------


def test_the_cell_reads_what_the_encoder_finds_in_each_frame():
    """An RNN in plain NumPy behind the encoder, which reads one frame alone."""
    model, video = small(cell="rnn"), frames()
    weights = {name: x.numpy() for name, x in model.state_dict().items()}
    logits, hints = (x.detach().numpy() for x in model(mg.tensor(video)))
    h = np.zeros((3, 6), np.float32)
    for t, frame in enumerate(video):
        v = model.features(mg.tensor(frame)).detach().numpy()
        from_v = v @ weights["rnn.weight_ih_l0"].T + weights["rnn.bias_ih_l0"]
        h = np.tanh(from_v + h @ weights["rnn.weight_hh_l0"].T + weights["rnn.bias_hh_l0"])
        np.testing.assert_allclose(logits[t], h @ weights["output.weight"][0] + weights["output.bias"], atol=1e-5)
        np.testing.assert_allclose(hints[t], v @ weights["digits.weight"].T + weights["digits.bias"], atol=1e-5)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_an_answer_knows_the_frames_before_it_and_none_after(cell):
    model, video = small(cell=cell), frames()
    before = model(mg.tensor(video))[0].detach().numpy()
    video[2] = 1 - video[2]
    after = model(mg.tensor(video))[0].detach().numpy()
    np.testing.assert_allclose(after[:2], before[:2], atol=1e-6)
    assert (np.abs(after[2:] - before[2:]) > 1e-5).all()


def test_an_update_on_every_device(device):
    task = Answers(Settings(**SMALL, batch=4), mg.default_device())
    optimizer = optim.AdamW(task.model.parameters(), lr=1e-2)
    before = [p.detach().to("cpu").numpy().copy() for p in task.model.parameters()]
    loss = task.loss()
    loss.backward()
    nn.utils.clip_grad_norm_(task.model.parameters(), 1.0)
    optimizer.step()
    assert loss.device == mg.default_device() and np.isfinite(loss.item())
    for p, old in zip(task.model.parameters(), before, strict=True):
        assert (p.detach().to("cpu").numpy() != old).any()


def test_the_hint_is_a_part_of_the_loss():
    def loss(hint):
        mg.manual_seed(0)
        return Answers(Settings(**SMALL, auxiliary=hint), "cpu").loss().item()

    without, once, twice = loss(0.0), loss(1.0), loss(2.0)
    assert without < 1 and once - without > 2  # of ten digits it knows none yet
    assert twice - once == pytest.approx(once - without, rel=1e-4)


MISTAKES = {
    "a cell": (lambda: small(cell="elman"), "there is no cell 'elman'; choose one of rnn, lstm, gru"),
    "a question": (lambda: small(question="even"), "there is no question 'even'; choose one of larger, seen"),
    "no units": (lambda: small(hidden=0), "hidden must be from 1 to 4,096, got 0"),
    "one frame": (lambda: small(frames=1), "frames must be from 2 to 256, got 1"),
    "a negative hint": (lambda: Settings(auxiliary=-1.0), r"--auxiliary must be 0 or more, got -1\.0"),
    "no hint that is a number": (lambda: Settings(auxiliary=float("nan")), "--auxiliary must be 0 or more, got nan"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake):
    wrong, message = MISTAKES[mistake]
    with pytest.raises(UserError, match=message):
        wrong()


# Learning and answering -------------------------------------------------------------------------------


def test_figures():
    labels = np.array([[0, 0], [1, 0], [0, 1], [1, 1], [1, 0]], np.float32)
    guesses = labels > 0.5
    guesses[0, 1] = True  # at the first frame of the second video
    assert figures(guesses, labels) == {"accuracy": 0.9, "last": 1.0, "videos": 0.5}
    guesses[4, 1] = True
    assert figures(guesses, labels) == {"accuracy": 0.8, "last": pytest.approx(5 / 6), "videos": 0.5}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run, and how it looks in the terminal."""
    folder = tmp_path_factory.mktemp("frames")
    options = ["--question", "larger", "--frames", 4, "--hidden", 64, "--features", 32, "--channels", 8]
    return folder, train("frames", folder, *options, "--batch", 64, "--lr", 1e-2, "--eval-every", 400, updates=400)


def test_a_short_training_knows_which_digit_is_larger(trained):
    model, about = PROGRAM.load(trained[0])
    task = Answers(Settings(question="larger", frames=4), "cpu")
    ((name, blind),) = task.references().items()
    assert name == "larger, without looking" and 0.6 < blind["accuracy"] < 0.7 and blind["videos"] < 0.3
    assert about["figures"]["accuracy"] > 0.92 and about["figures"]["videos"] > 0.7
    assert model.options.frames == 4


def test_predict_shows_a_held_out_video(trained):
    folder, _ = trained
    told = good("frames", "predict", "--run", folder, "--example", 7)
    answers = re.findall(r"^frame (\d): larger\? (yes|no) \((\d+\.\d)%\)(?:; right is (yes|no))?$", told, re.M)
    assert [int(t) for t, *_ in answers] == [0, 1, 2, 3]
    assert all(float(share) >= 50 for _, _, share, _ in answers)
    model, _ = PROGRAM.load(folder)
    labels = judged(model.options, digits.load()[1]).labels[:, 7]
    assert [right or guess for _, guess, _, right in answers] == ["yes" if label else "no" for label in labels]
    assert "@@" in told


def test_predict_reads_pictures_in_their_order(trained, tmp_path, images):
    learned, _ = images
    paths = []
    for place, digit in enumerate([3, 8, 3, 0, 8, 1]):  # longer than the videos it learned of
        image = learned.images[np.flatnonzero(learned.labels == digit)[place], 0]
        paths.append(tmp_path / f"{place}.png")
        Image.fromarray((255 * (1 - image)).astype(np.uint8)).resize((80, 80), 0).save(paths[-1])
    told = good("frames", "predict", "--run", trained[0], *paths)
    answers = re.findall(r"^frame \d: larger\? (\w+) \(.*%\)$", told, re.M)
    model, _ = PROGRAM.load(trained[0])
    logits, _ = model(mg.tensor(np.stack([digits.read(path) for path in paths])[:, None]))
    assert answers == ["yes" if logit > 0 else "no" for (logit,) in logits.tolist()]
    right = ["no", "yes", "no", "no", "yes", "no"]
    assert sum(a == b for a, b in zip(answers, right, strict=True)) >= 5


PREDICTIONS = {
    "nothing": ([], "name either pictures of digits, one for each frame, or a held-out video by --example"),
    "both": (["x.png", "--example", 1], "name either pictures of digits, one for each frame, or"),
    "no such video": (["--example", 1000], "there are held-out videos 0 to 999, got 1000"),
    "before the first": (["--example", -1], "there are held-out videos 0 to 999, got -1"),
    "no such file": (["nothing.png"], "nothing.png: No such file or directory"),
    "no picture": ([__file__], "test_frames.py is not a picture that can be read"),
}


@pytest.mark.parametrize("wrong", PREDICTIONS)
def test_what_predict_refuses(wrong, trained):
    arguments, message = PREDICTIONS[wrong]
    result = run("frames", "predict", "--run", trained[0], *arguments)
    assert result.exit_code == 1 and message in " ".join(result.output.split())


def test_the_pictures_say_what_they_show(tmp_path, monkeypatch, images):
    drawn = []
    monkeypatch.setattr(curves, "save", lambda figure, path: drawn.append(figure))
    made = data.videos(images[1], "seen", 4, 50, np.random.default_rng(0))
    p = np.where(made.labels > 0.5, 0.9, 0.2)
    p[3] = 1 - p[3]
    pictures.strip(made, p, 2, "seen", tmp_path / "x.png")
    pictures.by_frame(made, p, "seen", tmp_path / "x.png")
    video, by_frame = drawn
    *shown, below = video.axes
    assert [axes.get_xlabel() for axes in shown] == ["yes" if label else "no" for label in made.labels[:, 2]]
    assert [(axes.images[0].get_array() == made.frames[t, 2, 0]).all() for t, axes in enumerate(shown)] == [True] * 4
    assert [bar.get_height() for bar in below.patches] == p[:, 2].tolist()
    assert below.get_ylabel() == 'probability of "yes"' and below.get_xlabel().startswith("frame")
    (axes,) = by_frame.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("frame", "right answers, %")
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [100, 100, 100, 0])
