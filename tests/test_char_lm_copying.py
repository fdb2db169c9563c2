"""How much of a text is copied: against brute force, and on the command line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.char_lm import copying
from models.common.errors import UserError

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
