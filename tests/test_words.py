"""The language model of words: the text cut apart, what is held out, the models, their judging, what is written."""

import functools
import math
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

import minigrad as mg
from minigrad.nn import functional as F
from models.common import ngrams, runs, saved
from models.common.choice import Choice
from models.common.errors import UserError
from models.words import data, judging, pictures, writing
from models.words.model import KINDS, MATRICES, Options, WordLM
from models.words.program import Settings, Words

from . import programs
from .counters import Counts
from .strict import strict

run, good = (functools.partial(call, "words") for call in (programs.run, programs.good))

SENTENCES = ["the cat (a tabby) sleeps.", "the dog barks, and barks, and barks.", 'then "the" bird sings!']
VOCABULARY = (data.UNKNOWN, "the", "cat", "dog", ". ", "\n\n")
SMALL = ["--updates", 8, "--batch", 4, "--seq", 8, "--embedding", 8, "--hidden", 16, "--eval-every", 4]


def text() -> str:
    """Sentences in an order that looks like chance."""
    order = np.random.default_rng(0).integers(0, len(SENTENCES), 300)
    return "\n\n".join(SENTENCES[number] for number in order)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("words") / "text.txt"
    found.write_text(text(), encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def trained(path: Path) -> Path:
    """A run that has learned the sentences."""
    out = path.parent / "run"
    good("train", "--data", path, "--out", out, "--updates", 150, "--batch", 8, "--seq", 12, "--embedding", 16,
         "--hidden", 32, "--dropout", 0.1, "--lr", 0.01, "--weight-decay", 0.01)  # fmt: skip
    return out


def small(kind: str = "rnn", **options: Any) -> WordLM:
    return WordLM(Options(VOCABULARY, kind, **({"embedding": 3, "hidden": 5, "window": 3} | options)))


# Words ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("Ünïcode  λ\t漢字", ["Ünïcode", "λ", "漢字"]),
        ("x1_y 3.14", ["x1_y", "3", ".", "14"]),
        ("don't 'quote' r'abc'", ["don't", " '", "quote", "' ", "r", "'", "abc", "' "]),
        ("a, b (c).", ["a", ", ", "b", " (", "c", ")", ". "]),
        (">>> f(**k) == ...", [" >>> ", "f", "(", "**", "k", ") ", " == ", " ... "]),
        ("a\n  b\n\n\n\nc\n", ["a", "\n", "b", "\n\n", "c", "\n"]),
        ("a.\r\n\r\n(b)", ["a", ". ", "\n\n", " (", "b", ") "]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert data.words(text) == words


@given(st.text(st.sampled_from("ab1_'’.,(\"* \n\t≠é"), max_size=30) | st.text(max_size=30))
def test_a_text_is_put_together_as_it_was_but_for_indentation(text: str) -> None:
    lines = "\n".join(" ".join(line.split()) for line in text.split("\n"))
    while "\n\n\n" in lines:
        lines = lines.replace("\n\n\n", "\n\n")
    again = data.text_of(data.words(text))
    assert again == lines
    assert data.words(again) == data.words(text)


def test_the_vocabulary_is_of_what_is_learned_alone(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a b a b c a b d a\na" + " z" * 2 + "\n", encoding="utf-8-sig")
    found = data.load(tmp_path / "text.txt", min_count=2)
    assert found.vocabulary == (data.UNKNOWN, "a", "b")
    assert " ".join(found.vocabulary[n] for n in found.learned) == "a b a b <unk> a b <unk> a <unk> a <unk>"
    assert found.held_out.tolist() == [0, 0]
    assert found.unknown == 1.0


def test_the_built_in_text_is_always_split_alike() -> None:
    first, second = data.load(None, 2), data.load(None, 2)
    assert first.vocabulary == second.vocabulary
    assert (first.learned == second.learned).all() and (first.held_out == second.held_out).all()
    total = len(first.learned) + len(first.held_out)
    assert 80_000 < total < 200_000
    assert len(first.learned) == total * 9 // 10
    assert 0 < first.unknown < 0.1
    counts = np.bincount(first.learned, minlength=len(first.vocabulary))[1:]
    assert counts.min() == 2 and (np.diff(counts) <= 0).all()


# The models -----------------------------------------------------------------------------------------------


def arrays(model: WordLM) -> dict[str, np.ndarray]:
    return {name: p.to("cpu").numpy().astype(np.float64) for name, p in model.state_dict().items()}


def test_the_recurrent_model_is_its_equations(device: str) -> None:
    model = small()
    of = arrays(model)
    E, W_x, W_h, W_y = (of[MATRICES[name]] for name in ("E", "W_x", "W_h", "W_y"))
    b, c = of["hidden.bias_ih_l0"] + of["hidden.bias_hh_l0"], of["output.bias"]
    words = np.array([[1, 2], [5, 0], [3, 3], [4, 1]])
    h, expected = np.zeros((2, 5)), []
    for x in words:
        h = np.tanh(E[x] @ W_x.T + h @ W_h.T + b)
        expected.append(h @ W_y.T + c)
    logits, state = model(mg.tensor(words))
    np.testing.assert_allclose(logits.detach().to("cpu").numpy(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state.detach().to("cpu").numpy()[0], h, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", [1, 2, 3, 6])
def test_the_window_is_its_equation(device: str, window: int) -> None:
    model, of = small("window", window=window), {}
    of = arrays(model)
    words = np.array([[1, 2], [5, 0], [3, 3], [4, 1]])
    e = np.concatenate([np.zeros((window - 1, 2, 3)), of["embedding.weight"][words]])
    W, expected = of["hidden.linear.weight"], []
    for t in range(len(words)):
        seen = np.concatenate([e[t + window - 1 - k] for k in range(window)], axis=1)  # the last word first
        h = np.tanh(seen @ W.T + of["hidden.linear.bias"])
        expected.append(h @ of["output.weight"].T + of["output.bias"])
    logits, state = model(mg.tensor(words))
    np.testing.assert_allclose(logits.detach().to("cpu").numpy(), expected, rtol=1e-4, atol=1e-5)
    assert state.shape == (window - 1, 2, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_in_chunks_is_the_text(device: str, kind: str) -> None:
    model, words = small(kind), mg.tensor(np.random.default_rng(0).integers(0, 6, (11, 2)))
    whole, _ = model(words)
    parts, state = [], None
    for chunk in (words[:1], words[1:4], words[4:9], words[9:]):
        logits, state = model(chunk, state)
        parts.append(logits)
    np.testing.assert_allclose(
        mg.concatenate(parts).detach().to("cpu").numpy(), whole.detach().to("cpu").numpy(), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(("kind", "reach"), [("rnn", 8), ("lstm", 8), ("gru", 8), ("window", 3)])
def test_how_far_back_a_model_sees(kind: str, reach: int) -> None:
    """The gradient of the last guess with respect to each word's vector."""
    model = small(kind)
    e = mg.randn((8, 1, 3), requires_grad=True)
    h, _ = model.hidden(e)
    (gradient,) = mg.grad(h[-1].sum(), e)
    seen = (gradient.numpy() != 0).any(axis=(1, 2))
    assert seen.tolist() == [False] * (8 - reach) + [True] * reach


def task(path: Path, device: str = "cpu", **settings: Any) -> Words:
    usual = {"data": str(path), "batch": 4, "seq": 10, "embedding": 8, "hidden": 16, "dropout": 0.0, "min_count": 1}
    mg.manual_seed(0)
    return Words(Settings(**(usual | settings)), device)


def test_training_carries_the_state_and_resets_it_at_the_wrap(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, read = [], WordLM.read
    monkeypatch.setattr(WordLM, "read", lambda self, words, state=None: seen.append(state) or read(self, words, state))
    words = task(path, batch=16, seq=60)
    assert words.streams.chunks == 2
    for _ in range(5):
        words.loss().backward()
    assert [state is None for state in seen] == [True, False, True, False, True]
    assert not any(state.requires_grad for state in seen if state is not None)


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_waits_for_no_device(path: Path, device: str, kind: str) -> None:
    words = task(path, device, model=kind, dropout=0.5)
    words.loss().backward()
    if device == "strict":
        before = strict.counts()
        words.loss().backward()
        assert strict.counts() - before == Counts(launches=(strict.counts() - before).launches)
    assert all(math.isfinite(p.grad.sum().item()) for p in words.model.parameters())


# Judging --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rnn", "window"])
def test_every_word_but_the_first_is_judged_once(device: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "CHUNK", 4)
    model, words = small(kind), np.random.default_rng(0).integers(0, 6, 18)
    ids = mg.tensor(words)
    logits, _ = model(ids[:-1, None])
    expected = F.cross_entropy(logits[:, 0], ids[1:], reduction="none").detach().to("cpu").numpy()
    with mg.no_grad():
        np.testing.assert_allclose(judging.nats(model, words, device), expected, rtol=1e-5)
        found = judging.nats_after(model, words, 5, first=7, device=device)
        for place, nats in enumerate(found, 7):
            logits, _ = model(ids[place - 5 : place, None])
            assert nats == pytest.approx(F.cross_entropy(logits[-1], ids[place : place + 1]).item(), rel=1e-4)
    assert len(found) == 18 - 7
    if kind == "window":  # which sees no more than 3 words anyway
        np.testing.assert_allclose(found, expected[6:], rtol=1e-4)


def test_ngrams_are_judged_by_the_same_words(path: Path) -> None:
    words = task(path)
    text = words.text
    orders = ngrams.judge([text.learned], [text.held_out], len(text.vocabulary), 5)
    assert {f"{order.order}-grams": pytest.approx(order.nats) for order in orders} == {
        name: figures["nats"] for name, figures in words.references().items()
    }
    words.model.eval()
    with mg.no_grad():
        assert len(judging.nats(words.model, text.held_out, "cpu")) == len(words._counted[0]) - 1


# Training -------------------------------------------------------------------------------------------------


def test_it_learns_the_sentences(trained: Path, path: Path) -> None:
    """All but which sentence is next: one word of 28 / 3 is chance, 3 equally likely ones."""
    figures = saved.load(trained, "words", Options, WordLM)[1]["figures"]
    assert figures["perplexity"] == pytest.approx(3 ** (3 / 28), rel=0.03)
    assert figures["perplexity"] == pytest.approx(math.exp(figures["nats"]))
    references = task(path).references()
    assert figures["perplexity"] < references["2-grams"]["perplexity"] < 2
    assert references["1-grams"]["perplexity"] > 8


def test_the_same_seed_gives_the_same_bits(tmp_path: Path, path: Path) -> None:
    for name in "ab":
        good("train", "--data", path, "--out", tmp_path / name, *SMALL)
    first, second = (load_file(tmp_path / name / saved.MODEL) for name in "ab")
    assert {name: x.tobytes() for name, x in first.items()} == {name: x.tobytes() for name, x in second.items()}
    for name in (pictures.PERPLEXITY, runs.CURVE):
        assert (tmp_path / "a" / name).is_file()
    assert (tmp_path / "a" / pictures.PERPLEXITY).read_bytes() == (tmp_path / "b" / pictures.PERPLEXITY).read_bytes()


def test_the_picture(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[matplotlib.figure.Figure] = []
    monkeypatch.setattr("models.common.curves.save", lambda figure, path: drawn.append(figure))
    words = task(path, model="window", window=2)
    words.model.eval()
    with mg.no_grad():
        assert words.draw(tmp_path) == [tmp_path / pictures.PERPLEXITY]
    (axes,) = drawn[0].axes
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("perplexity", "words before that are seen; nothing older is")
    assert [label.get_text() for label in axes.get_xticklabels()] == [*"01234", "8", "16", "32", "64", "all"]
    mine, counted = axes.lines
    assert [line.get_label() for line in axes.lines] == ["window of 2", "n-grams"]
    assert mine.get_xdata().tolist() == list(range(1, 10)) and counted.get_xdata().tolist() == list(range(5))
    y = mine.get_ydata()
    assert y[0] != pytest.approx(y[1], rel=1e-3)
    np.testing.assert_allclose(y[1:], y[1], rtol=1e-4)  # more than two words it does not see
    nats = words._counted[2][64:]
    assert counted.get_ydata()[2] == pytest.approx(math.exp(nats.mean()))


# Writing --------------------------------------------------------------------------------------------------


def test_it_writes_what_it_learned(trained: Path) -> None:
    told = good("predict", "the dog", "--run", trained, "--top", 1, "--length", 8)
    assert told == "the dog barks, and barks, and barks.\n"
    usual = ["predict", "--run", trained, "--length", 60, "--temperature", 0.5]
    told = good(*usual, "--seed", 3)
    for sentence in told.strip().split("\n\n")[:-1]:
        assert sentence in SENTENCES
    assert told == good(*usual, "--seed", 3) != good(*usual, "--seed", 4)


def test_the_likeliest_next_words(trained: Path) -> None:
    lines = good("predict", "the dog barks, and", "--run", trained, "--next").splitlines()
    assert lines[0] == "the likeliest next words"
    assert lines[1].split()[0] == "'barks'" and float(lines[1].split()[1].rstrip("%")) > 90
    assert len(lines) == 1 + 10 + 1 and lines[-1].split()[:4] == ["not", "in", "the", "vocabulary"]


def test_unknown_words_may_be_replaced(trained: Path) -> None:
    told = good("predict", "the zebra", "--run", trained, "--unknown", "replace", "--length", 5)
    assert told.startswith("the zebra") and data.UNKNOWN not in told


def test_unk_is_never_written() -> None:
    model = small().eval()
    model.output.bias.data[0] = 100.0  # it expects nothing else
    ids = np.array([1])
    assert writing.expected(model, ids).numpy()[0] > 0.99
    for choice in (Choice(), Choice(0.0), Choice(1.0, 2)):
        written = writing.write(model, ids, 50, choice)
        assert len(written) == 50 and 0 < min(written) <= max(written) < 6


def test_words_are_drawn_as_often_as_they_are_expected() -> None:
    model = small().eval()
    p = writing.expected(model, np.array([1, 2])).numpy()[1:]
    for choice, share in ((Choice(), p / p.sum()), (Choice(1.0, 2), np.where(p >= np.sort(p)[-2], p, 0))):
        drawn = [writing.write(model, np.array([1, 2]), 1, choice, seed)[0] for seed in range(500)]
        found = np.bincount(drawn, minlength=6)[1:] / 500
        np.testing.assert_allclose(found, share / share.sum(), atol=0.08)
    state, ids = None, mg.tensor([[1], [2]])
    for number in writing.write(model, np.array([1, 2]), 6, Choice(0.0)):  # greedy, step by step
        with mg.no_grad():
            logits, state = model(ids, state)
        assert number == int(logits[-1, 0, 1:].numpy().argmax()) + 1
        ids = mg.tensor([[number]])


# Mistakes -------------------------------------------------------------------------------------------------

MISTAKES: dict[str, tuple[list[str], str]] = {
    "words it does not know": (
        ["predict", "the zebra and a gnu"],
        "not in the model's vocabulary of 19 words: 'zebra', 'gnu'. Use other words, or have <unk> stand for them",
    ),
    "no such policy": (["predict", "the", "--unknown", "skip"], "--unknown must be one of error, replace, got 'skip'"),
    "a temperature below 0": (["predict", "the", "--temperature", "-1"], "Invalid value for '--temperature'"),
    "a top below 0": (["predict", "the", "--top", "-2"], "Invalid value for '--top'"),
    "no length": (["predict", "the", "--length", "0"], "Invalid value for '--length'"),
    "no such run": (["predict", "the", "--run", "nowhere"], "there is no file nowhere. Train one first: python -m"),
    "no such text": (["train", "--data", "nowhere.txt"], "nowhere.txt: No such file or directory"),
    "no such model": (["train", "--model", "transformer"], "there is no model 'transformer'; choose one of rnn, lstm"),
    "no dropout like that": (["train", "--dropout", "1"], "dropout must be from 0 to below 1, got 1"),
    "no window": (["train", "--model", "window", "--window", "0"], "Invalid value for '--window'"),
    "streams too long": (["train", "--seq", "5000"], "16 streams of 5000 steps need at least 80001"),
    "a min count of 0": (["train", "--min-count", "0"], "Invalid value for '--min-count'"),
    "words that are all rare": (["train", "--min-count", "9999"], "occurs 9999 times in what is learned; take a small"),
    "no such variant": (["compare", "elman"], "there is no variant 'elman'; choose from rnn, "),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str, trained: Path, path: Path, tmp_path: Path) -> None:
    arguments, message = MISTAKES[name]
    given = {"predict": ["--run", trained], "train": ["--data", path, "--out", tmp_path], "compare": []}[arguments[0]]
    given = [] if "--run" in arguments else given[2:] if "--data" in arguments else given
    result = run(arguments[0], *given, *arguments[1:])
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.output.replace("│", " ").split())
    assert not (tmp_path / saved.MODEL).exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "has 0 words, too few"), (b"one two", "has 2 words, too few"), (b"caf\xe9 " * 99, "is not UTF-8")],
)
def test_texts_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "text.txt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        data.load(tmp_path / "text.txt", 1)


def test_a_text_without_empty_lines_needs_a_prompt() -> None:
    with pytest.raises(UserError, match="name words to go on from"):
        writing.prompted([], (data.UNKNOWN, "the"))


def test_a_model_of_another_program_is_refused(tmp_path: Path) -> None:
    model = small()
    saved.save(tmp_path / saved.MODEL, "names", model, model.options, {})
    result = run("predict", "the", "--run", tmp_path)
    assert result.exit_code == 1
    assert "not a checkpoint of words" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary": ()}, "the vocabulary must be <unk> and then distinct words"),
        ({"vocabulary": ("a", "b")}, "the vocabulary must be <unk>"),
        ({"vocabulary": (data.UNKNOWN, "a", "a")}, "distinct words"),
        ({"hidden": 0}, "hidden must be from 1 to 4,096, got 0"),
        ({"dropout": math.nan}, "dropout must be from 0 to below 1, got nan"),
    ],
)
def test_options_of_a_model(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Options(**({"vocabulary": VOCABULARY} | options))
