"""The character model on a device: what makes the host wait, what is copied, what is launched, what is held.

T: time steps   N: streams
"""

from __future__ import annotations

from typing import Any

import pytest

import minigrad as mg
from models.char_lm import data, training
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
