"""N-grams of characters: against dictionaries, as distributions, and on the command line."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.char_lm import checkpoint
from models.char_lm.model import CharLM, Options
from models.char_lm.text import open_text
from models.char_lm.vocabulary import Vocabulary
from models.common import ngrams, streams
from models.common.errors import UserError

from .characters import run

V = 3
pieces = st.lists(st.lists(st.integers(0, V - 1), max_size=40), min_size=1, max_size=4)


class Naive:
    """The formulas at the head of `ngrams`, in dictionaries, a probability at a time."""

    def __init__(self, train: list[list[int]], symbols: int, orders: int) -> None:
        self.symbols = symbols
        seen = {
            n: Counter(tuple(piece[i : i + n]) for piece in train for i in range(len(piece) - n + 1))
            for n in range(1, orders + 2)
        }
        self.counts = {(n, True): dict(seen[n]) for n in range(1, orders + 1)}
        for n in range(1, orders + 1):
            before = defaultdict(set)
            for gram in seen[n + 1]:
                before[gram[1:]].add(gram[0])
            self.counts[n, False] = {gram: len(symbols) for gram, symbols in before.items()}
        self.discounts = {key: self.discount(list(counts.values())) for key, counts in self.counts.items()}

    def discount(self, counts: list[int]) -> list[float]:
        n = [counts.count(k) for k in range(5)]
        found = [0.0]
        for k in (1, 2, 3):
            d = math.nan
            if n[1] and n[k]:
                d = k - (k + 1) * n[1] / (n[1] + 2 * n[2]) * n[k + 1] / n[k]
            found.append(d if 0 < d < k else 0.5)
        return found

    def p(self, context: tuple[int, ...], symbol: int, n: int, longest: bool = True) -> float:
        if n == 0:
            return 1 / self.symbols
        h = context[len(context) - (n - 1) :]
        lower = self.p(context, symbol, n - 1, longest=False)
        if len(context) < n - 1:
            return lower
        counts, d = self.counts[n, longest], self.discounts[n, longest]
        of = [counts.get((*h, w), 0) for w in range(self.symbols)]
        if not sum(of):
            return lower
        spare = sum(d[min(c, 3)] for c in of)
        return (of[symbol] - d[min(of[symbol], 3)] + spare * lower) / sum(of)


@given(pieces, pieces)
@example([[0, 1, 0, 1, 1]], [[0]])
@example([[0]], [[0, 0, 0], [1, 2]])
@example([[], [0, 0, 0, 0, 0, 0, 1]], [[], [0, 0, 1, 1]])
def test_probabilities_are_those_of_dictionaries(train: list[list[int]], held_out: list[list[int]]) -> None:
    train = [*train, [1]]  # something to learn
    naive = Naive(train, V, 4)
    for n, (p, distinct) in enumerate(ngrams.probabilities(train, held_out, V, 4), 1):
        expected = [naive.p(tuple(piece[:i]), piece[i], n) for piece in held_out for i in range(len(piece))]
        np.testing.assert_allclose(p, expected, rtol=1e-12)
        assert distinct == len(naive.counts[n, True])


@given(pieces, st.lists(st.integers(0, V), max_size=9))
def test_every_distribution_sums_to_one(train: list[list[int]], context: list[int]) -> None:
    """After contexts that were seen and that were not: symbol V is in no training text."""
    asked = [[*context, symbol] for symbol in range(V + 1)]
    for p, _ in ngrams.probabilities([*train, [0]], asked, V + 1, 8):
        found = p[len(context) :: len(context) + 1]
        assert found.sum() == pytest.approx(1, abs=1e-12)
        assert (found > 0).all()


def test_long_contexts_find_a_repetition() -> None:
    """Worked by hand: 'ab' over and over is certain from two symbols on; by one alone, even."""
    text = np.array([0, 1] * 500)
    nats = [found.nats for found in ngrams.judge([text], [text], 2, 3)]
    assert nats[0] == pytest.approx(math.log(2), abs=1e-3)
    assert nats[1] < 0.01 > nats[2]
    random = np.random.default_rng(0).integers(0, 2, 4000)
    assert [f.nats for f in ngrams.judge([random[:3000]], [random[3000:]], 2, 2)] == pytest.approx(
        [math.log(2)] * 2, abs=0.01
    )


def test_what_is_judged_is_what_a_model_is_judged_by() -> None:
    """All but the first of each piece, of any dtype; and each order adds to the seconds."""
    train, held_out = [np.array([0, 1, 2, 1], np.uint8)], [np.array([2, 1], np.uint8), np.array([0], np.uint8)]
    found = list(ngrams.judge(train, held_out, 3, 2))
    naive = Naive([[0, 1, 2, 1]], 3, 2)
    assert [f.nats for f in found] == pytest.approx([-math.log(naive.p((2,), 1, n)) for n in (1, 2)])
    assert [(f.order, f.ngrams) for f in found] == [(1, 3), (2, 3)]
    assert 0 < found[0].seconds <= found[1].seconds


MISTAKES = [
    (([[0, 1]], [[0]], 2, 1), "nothing to judge: the held-out text needs two symbols at least"),
    (([], [[0, 1]], 2, 1), "the text for counting n-grams is empty"),
    (([[0, 1]], [[0, 1]], 2, 0), "must be at least 1, got 0"),
    (([[0] * 11], [[0, 1]], 2, 1), "11 symbols are too many to count n-grams in memory; the most is 10"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes(arguments: tuple, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngrams, "LIMIT", 10)
    with pytest.raises(UserError, match=message):
        list(ngrams.judge(*arguments))


# The command line ----------------------------------------------------------------------------------------

TEXT = "how much wood would a woodchuck chuck? " * 60


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize("split", streams.SPLITS)
def test_the_command_judges_by_what_a_model_is_judged_by(text: Path, split: str) -> None:
    told = json.loads(run("ngram", "--data", text, "--split", split, "--orders", 4, "--json").stdout)
    ids = Vocabulary(TEXT).encode(TEXT)
    parts = streams.split(ids, split)
    expected = list(ngrams.judge(parts.train, parts.held_out, len(set(TEXT)), 4))
    for found, order in zip(told["orders"], expected, strict=True):
        assert (found["order"], found["nats"], found["ngrams"]) == (order.order, order.nats, order.ngrams)
        assert found["bits"] == pytest.approx(order.nats / math.log(2))
        assert found["perplexity"] == pytest.approx(math.exp(order.nats))
    assert told["learned"] + told["judged"] == len(TEXT)
    rows = run("ngram", "--data", text, "--split", split, "--orders", 4).stdout.splitlines()
    assert f"{split}: {streams.SPLITS[split]}" in rows[0]
    assert [row.split()[:2] for row in rows[2:]] == [[str(o.order), f"{o.nats:.4f}"] for o in expected]


def test_the_text_and_split_of_a_run(text: Path) -> None:
    """Trained with characters replaced, so that its symbols are others than the text's."""
    learned = open_text([text], min_count=70)
    assert len(learned.vocabulary) < len(set(TEXT))
    about = {"settings": {"data": [str(text)], "split": "streams", "min_count": 70},
             "text": {"fingerprint": learned.fingerprint}}  # fmt: skip
    model = CharLM(Options(learned.vocabulary.characters, hidden=4, embedding=4))
    checkpoint.save(text.parent / "m.safetensors", checkpoint.Checkpoint(model, about))
    told = json.loads(run("ngram", "--run", text.parent / "m.safetensors", "--orders", 1, "--json").stdout)
    parts = streams.split(learned.ids, "streams")
    (expected,) = ngrams.judge(parts.train, parts.held_out, len(learned.vocabulary), 1)
    assert (told["split"], told["orders"][0]["nats"]) == ("streams", expected.nats)


def test_bytes_may_be_counted_too(text: Path) -> None:
    told = json.loads(run("ngram", "--data", text, "--unit", "byte", "--orders", 1, "--json").stdout)
    assert told["orders"][0]["ngrams"] == len(set(TEXT))
    assert told["unit"] == "byte"


def test_a_limit_takes_the_first_symbols(text: Path) -> None:
    result = run("ngram", "--data", text, "--split", "streams", "--limit", 500, "--orders", 2, "--json")
    told = json.loads(result.stdout)
    assert (told["learned"], told["judged"]) == (500, len(TEXT) // 20 - 17)
    assert "of 2,340 symbols, 500 are learned" in result.stderr
    parts = streams.split(Vocabulary(TEXT).encode(TEXT), "streams")
    expected = ngrams.judge([piece[:10] for piece in parts.train], parts.held_out, len(set(TEXT)), 2)
    assert [found["nats"] for found in told["orders"]] == [order.nats for order in expected]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "whole"], "there is no split 'whole'; choose one of contiguous, streams"),
        (["--unit", "word"], "there is no unit 'word'"),
        (["--corpus", "none"], "none"),
        (["--split", "streams", "--limit", "3"], "nothing to judge"),
    ],
)
def test_mistakes_on_the_command_line(text: Path, options: list[str], message: str) -> None:
    result = run("ngram", *([] if "--corpus" in options else ["--data", text]), *options)
    assert result.exit_code == 1
    assert message in result.output.replace("\n", " ")
    assert "Traceback" not in result.output
