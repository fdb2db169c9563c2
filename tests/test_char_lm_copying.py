"""How much of a text is copied: against brute force, and on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.char_lm import checkpoint, copying, sampling
from models.char_lm.model import CharLM, Options
from models.char_lm.text import open_text
from models.common import streams
from models.common.errors import UserError

from .characters import run

symbols = st.integers(0, 2)
texts = st.lists(st.integers(-1, 2), min_size=1, max_size=40)
sources = st.lists(st.lists(symbols, max_size=40), max_size=4)


def occurs(window: list[int], source: list[int]) -> int:
    """Where, or -1."""
    starts = range(len(source) - len(window) + 1)
    return next((i for i in starts if source[i : i + len(window)] == window), -1)


def naive(text: list[int], sources: list[list[int]], k: int) -> list[bool]:
    """Whether the window of k at each place is in a source."""
    windows = [text[i : i + k] for i in range(len(text) - k + 1)]
    return [any(occurs(window, source) >= 0 for source in sources) for window in windows]


@given(texts, sources, st.lists(st.integers(1, 12), min_size=1, max_size=3))
@example([0, 1, 2] * 5, [[0, 1, 2] * 9], [1, 4, 15, 16])
@example([-1, -1], [[0]], [1])
@example([0], [], [1])
def test_against_brute_force(text: list[int], sources: list[list[int]], lengths: list[int]) -> None:
    found = copying.copied(text, sources, lengths)
    for k in lengths:
        shared = naive(text, sources, k)
        covered = [any(shared[max(i - k + 1, 0) : i + 1]) for i in range(len(text))]
        assert found.shares[k] == pytest.approx(sum(covered) / len(text))
    longest = max((k for k in range(1, len(text) + 1) if any(naive(text, sources, k))), default=0)
    assert found.longest == longest
    assert found.symbols == len(text)
    if longest:
        assert found.place == naive(text, sources, longest).index(True)
        window = text[found.place : found.place + longest]
        places = [occurs(window, source) for source in sources]
        first = next(n for n, place in enumerate(places) if place >= 0)
        assert found.source == (first, places[first])


@given(st.integers(0, 2**32), st.integers(1, 2000), st.integers(0, 2000))
def test_a_planted_passage_is_found(seed: int, length: int, at: int) -> None:
    """Among random symbols of which 9 in a row are hardly twice there."""
    random = np.random.default_rng(seed)
    source, text = random.integers(0, 200, 5000), random.integers(200, 400, 4000)
    start = int(random.integers(0, 5000 - length + 1))
    text[at : at + length] = source[start : start + length]
    found = copying.copied(text.astype(np.uint16), [source[:2500].astype(np.uint16), source[2500:]], [min(length, 10)])
    if not start < 2500 < start + length:  # whole in one of the two
        assert (found.longest, found.place) == (length, at)
        assert found.source == (start // 2500, start % 2500) or length < 4  # fewer may be twice there
        assert found.shares[min(length, 10)] == pytest.approx(length / 4000)
    else:
        assert found.longest == max(2500 - start, start + length - 2500)


def test_a_text_copied_whole() -> None:
    text = np.random.default_rng(0).integers(0, 4, 3000)
    found = copying.copied(text[100:], [text])
    assert (found.longest, found.place, found.source) == (2900, 0, (0, 100))
    assert found.shares == {10: 1.0, 20: 1.0, 50: 1.0}


MISTAKES = [
    (([], [[0]]), "nothing to compare: the text is empty"),
    (([0], [[0]], [10, 0]), "a copied run has at least 1 symbol, got 0"),
    (([0], [[0] * 6, [0] * 4]), "11 symbols are too many to compare in memory; the most is 10"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes(arguments: tuple, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "LIMIT", 10)
    with pytest.raises(UserError, match=message):
        copying.copied(*arguments)


# The command line ----------------------------------------------------------------------------------------

TEXT = "".join(np.random.default_rng(3).choice(list("abc ☃\n"), 3000).tolist())  # nothing long is twice there


def told(*arguments: object, given: str | None = None) -> Any:
    result = run("copied", *arguments, "--json", given=given)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def trained(text: Path, tmp_path: Path) -> Path:
    model = CharLM(Options("".join(sorted(set(TEXT))), hidden=4, embedding=4))
    about = {"settings": {"data": [str(text)], "corpus": None, "split": "streams"},
             "text": {"fingerprint": open_text([text]).fingerprint}}  # fmt: skip
    checkpoint.save(tmp_path / "model.safetensors", checkpoint.Checkpoint(model, about))
    return tmp_path / "model.safetensors"


def test_a_passage_of_the_training_text(text: Path, tmp_path: Path) -> None:
    """Among characters that the training text does not have."""
    (tmp_path / "written.txt").write_text("zy" * 30 + TEXT[700:760] + "é" * 80, encoding="utf-8")
    found = told(tmp_path / "written.txt", "--data", text)
    assert (found["text"]["longest"], found["text"]["place"], found["text"]["source"]) == (60, 60, 700)
    assert found["text"]["passage"] == TEXT[700:760]
    assert found["text"]["shares"] == {"10": 0.3, "20": 0.3, "50": 0.3}
    assert found["held-out text"]["symbols"] == found["text"]["symbols"] == 200
    assert found["held-out text"]["shares"]["20"] == 0
    shown = run("copied", tmp_path / "written.txt", "--data", text).stdout
    assert "longest in the text, at 60, from 700 of the training text:" in shown
    assert repr(TEXT[700:760]) in shown
    assert shown.splitlines()[2].split() == ["text", "200", "30.0%", "30.0%", "30.0%", "60"]


def test_what_was_held_out_was_not_copied_from(text: Path) -> None:
    """By either split; and a place is one of the whole text, though a split cuts it into pieces."""
    passage = TEXT[2900:2960]  # of streams of 60, of each of which the last 3 are held out
    assert told("-", "--data", text, given=passage)["text"]["longest"] < 20
    assert told("-", "--data", text, "--split", "streams", given=passage)["text"]["longest"] == 2937 - 2900
    found = told("-", "--data", text, "--split", "streams", given=TEXT[1801:1850])
    assert (found["text"]["longest"], found["text"]["source"]) == (49, 1801)


def test_a_run_writes_what_is_looked_at(trained: Path) -> None:
    found = told("--run", trained, "--length", 150, "--seed", 4)
    model = checkpoint.load(trained).model
    sample = "".join(sampling.sample(model, 150, prime="\n", temperature=1.0, seed=4))
    train = streams.split(model.vocabulary.encode(TEXT), "streams").train
    expected = copying.copied(model.vocabulary.encode(sample), train)
    assert (found["text"]["symbols"], found["text"]["longest"]) == (150, expected.longest)
    assert "of 50 equal pieces" in run("copied", "--run", trained, "--length", 10).stdout  # by the run's own split


def test_bytes_are_compared_as_bytes(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(bytes(range(256)) * 4 + b"x" * 500)
    checkpoint.save(
        tmp_path / "model.safetensors",
        checkpoint.Checkpoint(
            CharLM(Options("", hidden=4, embedding=4, unit="byte")),
            {"settings": {"data": [str(tmp_path / "text.txt")], "unit": "byte", "split": "contiguous"},
             "text": {"fingerprint": open_text([tmp_path / "text.txt"], unit="byte").fingerprint}},
        ),
    )  # fmt: skip
    (tmp_path / "written").write_bytes(bytes(range(200, 256)) + b"\0\2")
    found = told(tmp_path / "written", "--run", tmp_path / "model.safetensors")
    assert (found["text"]["longest"], found["text"]["source"]) == (57, 200)
    # What the model writes, too, though most of it is no UTF-8.
    found = told("--run", tmp_path / "model.safetensors", "--length", 300)
    assert found["text"]["symbols"] == 300


def test_a_long_passage_is_shown_in_part(tmp_path: Path) -> None:
    written = np.random.default_rng(4).choice(list("abc \n"), 3000).tolist()
    (tmp_path / "text.txt").write_text("".join(written))
    shown = run("copied", "-", "--data", tmp_path / "text.txt", given="".join(written[100:1400])).stdout
    assert f"{''.join(written[100:300])!r} and 1,100 more" in shown
    assert max(map(len, shown.splitlines())) < 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.txt"], "there is no text file none.txt"),
        (["-", "--split", "whole"], "there is no split 'whole'"),
        (["-"], "- is empty"),
    ],
)
def test_mistakes_on_the_command_line(text: Path, arguments: list[str], message: str) -> None:
    result = run("copied", *arguments, "--data", text, given="a" if "--split" in arguments else "")
    assert result.exit_code == 1
    assert message in result.output.replace("\n", " ")


def test_no_model_and_no_text(tmp_path: Path) -> None:
    result = run("copied", "--run", tmp_path)
    assert result.exit_code == 1
    assert "holds no trained model" in result.output.replace("\n", " ")
