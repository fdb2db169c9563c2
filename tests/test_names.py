"""The program `names`: its lists, packed names and their last letters, what a short training reaches, its answers."""

import re
from collections import Counter

import numpy as np
import pytest
from matplotlib.figure import Figure

import minigrad as mg
from minigrad import optim
from minigrad.nn import functional as F
from models.common.errors import UserError
from models.names import baselines, data, pictures
from models.names.model import Classifier, Options
from models.names.program import PROGRAM
from tests.programs import good, run

LETTERS = "abcdeoüł"
LANGUAGES = ("A", "B", "C")


@pytest.fixture(scope="module")
def found():
    return data.load()


def small(**options):
    mg.manual_seed(0)
    return Classifier(Options(LETTERS, LANGUAGES, **({"hidden": 5, "embedding": 3} | options)))


# The names ------------------------------------------------------------------------------------------


def test_what_is_held_out_is_not_learned(found):
    learned, held_out = found.learned, found.held_out
    assert not set(map(str.casefold, learned.names)) & set(map(str.casefold, held_out.names))
    bare = [{data.without_accents(name.casefold()) for name in side.names} for side in (learned, held_out)]
    assert not bare[0] & bare[1]
    assert len(set(learned.names)) == len(learned) and len(set(held_out.names)) == len(held_out)
    assert 0.15 < len(held_out) / (len(learned) + len(held_out)) < 0.25
    assert data.load() == found


def test_each_language_has_names_to_learn_and_to_judge_by(found):
    learned, held_out = Counter(found.learned.labels), Counter(found.held_out.labels)
    assert set(learned) == set(held_out) == set(range(len(data.LANGUAGES)))
    assert min(learned.values()) > 100 and min(held_out.values()) > 20
    assert max((learned + held_out).values()) <= data.MOST


def test_names_are_words_of_small_letters_and_of_one_language(found):
    names = found.learned.names + found.held_out.names
    assert all(name.isalpha() and name == data.spelled(name) for name in names)
    assert "".join(sorted(set("".join(found.learned.names)))) == found.letters
    assert found.shared > 0 and not {"martin", "klein"} & set(names)  # of English and French, Dutch and German
    assert {"virtanen": "Finnish", "meunier": "French"}.items() <= {
        name: data.LANGUAGES[label]
        for side in (found.learned, found.held_out)
        for name, label in zip(side.names, side.labels, strict=True)
    }.items()


# The model ------------------------------------------------------------------------------------------


def gru(x, h, w_ih, w_hh, b_ih, b_hh):
    """A step in plain NumPy, as in the textbook."""
    from_x, from_h = np.split(x @ w_ih.T + b_ih, 3), np.split(h @ w_hh.T + b_hh, 3)
    r, z = (1 / (1 + np.exp(-a - b)) for a, b in zip(from_x[:2], from_h[:2], strict=True))
    return (1 - z) * np.tanh(from_x[2] + r * from_h[2]) + z * h


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_state_after_the_last_letter_is_classified(bidirectional):
    model = small(cell="gru", bidirectional=bidirectional).eval()
    names = ["abc", "ü", "dolbe", "ab"]
    names = [name.replace("l", "ł") for name in names]
    weights = {name: x.numpy().astype(np.float64) for name, x in model.state_dict().items()}
    got = model(model.pack(names)).detach().numpy()
    for name, logits in zip(names, got, strict=True):
        finals = []
        for end, letters in [("", name), ("_reverse", name[::-1])][: 1 + bidirectional]:
            of = [weights[f"rnn.{part}_l0{end}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            h = np.zeros(5)
            for letter in letters:
                h = gru(weights["embedding.weight"][LETTERS.index(letter)], h, *of)
            finals.append(h)
        expected = weights["output.weight"] @ np.concatenate(finals) + weights["output.bias"]
        np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_company_changes_nothing(cell, bidirectional):
    model = small(cell=cell, bidirectional=bidirectional).eval()
    names = ["ab", "abcde", "e", "dodo"]
    together = model(model.pack(names)).detach().numpy()
    for name, logits in zip(names, together, strict=True):
        np.testing.assert_allclose(model(model.pack([name])).detach().numpy()[0], logits, atol=1e-6)


def test_letters_as_people_write_them():
    model = small()
    ids = [model.pack([name]).data.tolist() for name in ("Abü", " abu\u0308", "ABÜ", "àbü")]
    assert ids == [[0, 1, 6]] * 4
    assert model.pack(["ołé"]).data.tolist() == [5, 7, 4]


def test_an_update_on_every_device(device):
    model = small(cell="lstm", bidirectional=True)
    optimizer = optim.AdamW(model.parameters(), lr=3e-2)
    labels = mg.tensor([0, 1, 2])
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(model.pack(["abc", "dodo", "e"])), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert all(p.grad.device == p.device for p in model.parameters())


MISTAKES = {
    "a cell": (lambda: small(cell="elman"), "there is no cell 'elman'; choose one of rnn, lstm, gru"),
    "no units": (lambda: small(hidden=0), "hidden must be from 1 to 4,096, got 0"),
    "dropout": (lambda: small(dropout=1.0), r"dropout must be from 0 to below 1, got 1\.0"),
    "letters": (lambda: Options("ba", LANGUAGES), "letters must be distinct characters in order, got 'ba'"),
    "one language": (lambda: Options("ab", ("A",)), "languages must be two or more, each once, got 'A'"),
    "an empty name": (lambda: small().pack(["ab", " "]), "a name must have a letter at least, got an empty one"),
    "a digit": (
        lambda: small().pack(["ab4"]),
        "the name 'ab4' has what no name had in training: '4'. Leave out what is no letter; letters are",
    ),
    "another script": (lambda: small().pack(["абв"]), "the name 'абв' has what no name had in training: 'а' 'б' 'в'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake):
    wrong, message = MISTAKES[mistake]
    with pytest.raises(UserError, match=message):
        wrong()


# Learning -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    options = ["--cell", "gru", "--hidden", 64, "--dropout", 0.2, "--lr", 1e-2, "--eval-every", 250]
    good("names", "train", *options, "--updates", 250, "--out", folder)
    return folder


def test_a_short_training_beats_the_bag_of_letters(trained):
    figures = PROGRAM.load(trained)[1]["figures"]
    bag = baselines.references()["bag of letters"]
    assert 0.5 < bag["accuracy"] < 0.6  # among twelve languages
    assert figures["accuracy"] > 0.66 and figures["balanced"] > 0.6 and figures["nats"] < bag["nats"]


def test_figures():
    p = np.array([[0.5, 0.5, 0], [0.1, 0.8, 0.1], [0, 0.9, 0.1], [0.2, 0.3, 0.5]])
    figures = baselines.judged(p, np.array([0, 1, 2, 2]))
    assert figures["accuracy"] == 0.75 and figures["balanced"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert figures["nats"] == pytest.approx(-np.log([0.5, 0.8, 0.1, 0.5]).mean())


# The command line -------------------------------------------------------------------------------------


def test_predict_tells_the_three_likeliest_languages(trained):
    lines = good("names", "predict", "--run", trained, "Virtanen", "müller", "Çelik").splitlines()
    assert [line.partition(":")[0] for line in lines] == ["Virtanen", "müller", "Çelik"]
    for line in lines:
        told = re.findall(r"(\w+) \((\d+\.\d)%\)", line)
        shares = [float(share) for _, share in told]
        assert len({name for name, _ in told} & set(data.LANGUAGES)) == 3
        assert shares == sorted(shares, reverse=True) and 25 < sum(shares) <= 100.1
    assert lines[0].startswith("Virtanen: Finnish")


PREDICTIONS = {
    "nothing": ([], "name a family name or several, such as Kowalski"),
    "an empty name": (["Kowalski", ""], "a name must have a letter at least, got an empty one"),
    "an apostrophe": (["O'Neill"], r"the name \"O'Neill\" has what no name had in training: \"'\""),
    "two words": (["van Dijk"], "the name 'van Dijk' has what no name had in training: ' '"),
}


@pytest.mark.parametrize("wrong", PREDICTIONS)
def test_what_predict_refuses(wrong, trained):
    names, message = PREDICTIONS[wrong]
    result = run("names", "predict", "--run", trained, *names)
    assert result.exit_code == 1 and re.search(message, " ".join(result.output.split()))


def test_the_picture_of_confusions(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures.curves, "save", lambda figure, path: drawn.append(figure))
    pictures.confusions(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), LANGUAGES, tmp_path / "x.png")
    (figure,) = drawn
    assert isinstance(figure, Figure)
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("guess", "language (its held-out names)")
    assert [t.get_text() for t in axes.get_yticklabels()] == ["A (3)", "B (1)", "C (0)"]
    assert {t.get_position(): t.get_text() for t in axes.texts} == {(0, 0): "67", (1, 0): "33", (1, 1): "100"}
