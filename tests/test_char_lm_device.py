"""The character model on a device: what makes the host wait, what is copied, what is launched, what is held.

T: time steps   N: streams
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from models.char_lm import data, sampling, training
from models.char_lm.model import CharLM, Options

from .counters import Counts
from .strict import strict

CELLS = ["rnn", "lstm", "gru"]
SENTENCE = "the quick brown fox jumps over the lazy dog. "
TEXT = data.Vocabulary(SENTENCE).encode(SENTENCE * 6)  # 270 characters


def small(cell: str = "lstm", **options: Any) -> CharLM:
    """A model on the default device, with all there is to it unless told otherwise."""
    mg.manual_seed(0)
    usual = {"hidden": 8, "embedding": 4, "layers": 2, "dropout": 0.2}
    return CharLM(Options(data.Vocabulary(SENTENCE).characters, cell, **(usual | options)))


def waits(before: Counts) -> Counts:
    """What the host waited for or copied since; launches aside."""
    return (strict.counts() - before)._replace(launches=0)


# Nothing is read, waited for or copied but what is meant to be ----------------------------------------


@pytest.mark.parametrize("embedding", [0, 4], ids=["one-hot", "embedded"])
@pytest.mark.parametrize("cell", CELLS)
def test_training_reads_the_loss_every_few_updates_and_nothing_else(cell: str, embedding: int) -> None:
    """Three epochs with carried state, dropout, clipping and a schedule; the text goes to the device once."""
    with mg.use_device("strict"):
        model, looks, before = small(cell, embedding=embedding), [], strict.counts()

        def look(progress: training.Progress) -> None:
            looks.append((progress.update, waits(before)))

        training.train(model, TEXT, training.Recipe(25, batch=2, seq=10, clip=0.1), "strict", look)
    assert looks == [(10, Counts(reads=1, uploads=1)), (20, Counts(reads=2, uploads=1)), (25, Counts(3, uploads=1))]
    assert waits(before) == Counts(reads=3, uploads=1)


@pytest.mark.parametrize("cell", CELLS)
def test_evaluation_copies_the_text_once_and_reads_once(cell: str) -> None:
    with mg.use_device("strict"):
        model, before = small(cell), strict.counts()
        training.evaluate(model, TEXT, "strict", steps=20)
        assert waits(before) == Counts(reads=1, uploads=1)


@pytest.mark.parametrize("temperature", [0, 0.7])
@pytest.mark.parametrize("cell", CELLS)
def test_sampling_reads_some_characters_at_a_time(cell: str, temperature: float) -> None:
    model = small(cell)
    length = 2 * sampling.READ_EVERY + 5
    options: Any = {"prime": "the ", "temperature": temperature, "seed": 5}
    text = "".join(sampling.sample(model, length, **options))
    model.to("strict")
    before, seen = strict.counts(), []
    for k, character in enumerate(sampling.sample(model, length, device="strict", **options)):
        seen.append(character)
        assert waits(before) == Counts(reads=k // sampling.READ_EVERY + 1, uploads=1)  # the prime
    assert "".join(seen) == text  # as on the CPU
    assert waits(before).reads == 3


def test_sampling_on_the_cpu_gives_each_character_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, steps, step = small(), [], CharLM.step
    monkeypatch.setattr(CharLM, "step", lambda self, *given: steps.append(1) or step(self, *given))
    for k, _ in enumerate(sampling.sample(model, 6, prime="t")):
        assert len(steps) == k


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0, 1.0])
def test_a_model_without_numbers_says_so_on_every_device(device: str, temperature: float, number: float) -> None:
    model = small()
    nn.init.constant_(model.output.bias, number)
    with pytest.raises(data.UserError, match="its training must have diverged"):
        list(sampling.sample(model, 3, prime="a", temperature=temperature, device=device))


def test_characters_are_drawn_as_often_as_they_are_expected(device: str) -> None:
    """The first i with p_0 + ... + p_i > u, at the edges too; and 0 of what is impossible."""
    p = np.array([[0.25, 0.0, 0.5, 0.25]])
    with np.errstate(divide="ignore"):
        logits = mg.tensor(np.log(p) + 3.0)
    for u, expected in [(0.0, 0), (0.2499, 0), (0.2501, 2), (0.7499, 2), (0.7501, 3), (1 - 2**-53, 3)]:
        assert sampling._choose(logits, 1.0, u).tolist() == [expected]
    assert sampling._choose(mg.tensor([[1.0, 2.0, 2.0]]), 0, 0.9).tolist() == [1]  # the first of the likeliest
    draws = [sampling._choose(logits, 0.5, u).item() for u in np.random.default_rng(0).random(300)]
    squared = p[0] ** 2 / (p[0] ** 2).sum()
    np.testing.assert_allclose(np.bincount(draws, minlength=4) / len(draws), squared, atol=0.07)
    with np.errstate(over="ignore"):  # as in `sample`
        assert sampling._choose(mg.tensor([[0.0, 1.0]]), 1e-320, 0.5).tolist() == [1]
