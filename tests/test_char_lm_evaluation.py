"""How well the character model expects a text: exact, estimated, symbol by symbol, and on the command line."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F
from models.char_lm import evaluation, streams
from models.common.errors import UserError
from tests.characters import CELLS, SENTENCE, small

V = 5  # symbols of the made-up models


class Bigrams(nn.Module):
    """A model that expects a symbol by the one before alone, so it needs no state and no warming up."""

    vocabulary = range(V)

    def __init__(self) -> None:
        self.table = nn.Parameter(np.random.default_rng(0).normal(size=(V, V)))

    def forward(self, ids: mg.Tensor, state: Any = None) -> tuple[mg.Tensor, Any]:
        return mg.take(self.table, ids, axis=0), state

    def naive(self, pieces: list[np.ndarray]) -> float:
        expected = F.log_softmax(self.table.detach(), dim=-1).numpy()
        found = [-expected[a, b] for piece in pieces for a, b in zip(piece[:-1], piece[1:], strict=True)]
        return float(np.mean(found))


class Slices:
    """Numbers that lie somewhere else: asked for slices, and for what is in one; nothing more."""

    def __init__(self, ids: np.ndarray, log: list[int]) -> None:
        self._ids, self._log = ids, log

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, places: slice) -> Slices:
        assert 0 <= places.start <= places.stop <= len(self)
        return Slices(self._ids[places], self._log)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        self._log.append(len(self))
        return self._ids.astype(np.uint8)


def pieces_of(*lengths: int) -> list[np.ndarray]:
    return [np.random.default_rng(n).integers(0, V, n).astype(np.uint8) for n in lengths]


# Exact ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_a_text_is_read_whole_with_its_state_carried(device: str, cell: str) -> None:
    model, vocabulary = small(cell, layers=2)
    ids = vocabulary.encode(SENTENCE)
    logits, _ = model(mg.tensor(ids[:-1].reshape(-1, 1).astype(np.int64)))
    whole = F.cross_entropy(logits.squeeze(1), mg.tensor(ids[1:].astype(np.int64))).item()
    for steps in (None, 1, 7, 44, 1000):
        assert evaluation.evaluate(model, [ids], device, steps) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_pieces_side_by_side_are_each_read_from_zeros(device: str, cell: str) -> None:
    model, vocabulary = small(cell)
    ids = vocabulary.encode(SENTENCE * 3)
    pieces = [ids[:30], ids[30:61], ids[61:62], ids[62:93], ids[93:]]
    alone = [evaluation.evaluate(model, [piece], device) * (len(piece) - 1) for piece in pieces if len(piece) > 1]
    expected = sum(alone) / sum(len(piece) - 1 for piece in pieces)
    assert evaluation.evaluate(model, pieces, device, steps=8) == pytest.approx(expected, rel=1e-5)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(1, 9), st.integers(1, 4), st.integers(1, 30))
def test_every_target_of_every_piece_counts_once(lengths: list[int], steps: int, together: int, upload: int) -> None:
    """However the pieces are read: rows at once, chunks, copies to the device."""
    model, pieces = Bigrams(), pieces_of(*lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "TOGETHER", together)
        patch.setattr(evaluation, "UPLOAD", upload)
        if max(lengths) < 2:
            with pytest.raises(UserError, match="nothing to judge: the text needs at least two symbols"):
                evaluation.evaluate(model, pieces, steps=steps)
        else:
            assert evaluation.evaluate(model, pieces, steps=steps) == pytest.approx(model.naive(pieces))


def test_numbers_that_lie_in_a_file_are_read_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "UPLOAD", 100)
    model, (ids,), log = Bigrams(), pieces_of(950), []
    assert evaluation.evaluate(model, [Slices(ids, log)], steps=10) == pytest.approx(model.naive([ids]))
    assert max(log) == 101
    assert sum(log) == 950 + 9


def test_the_size_of_a_chunk_is_bounded() -> None:
    rows = [(ids, 0) for ids in pieces_of(*[2000] * 50)]
    inputs, _ = next(evaluation.chunks(rows, 100_000, "cpu"))
    assert inputs.shape == (1, 50)  # never less than a step
    inputs, _ = next(evaluation.chunks(rows, 256, "cpu"))
    assert inputs.size * 256 <= evaluation.LOGITS
    inputs, _ = next(evaluation.chunks(rows[:1], 65, "cpu"))
    assert inputs.shape == (1000, 1)


@pytest.mark.parametrize("training", [True, False])
def test_a_model_is_left_as_it_was(training: bool) -> None:
    model, vocabulary = small(dropout=0.9)
    model.train(training)
    ids = vocabulary.encode(SENTENCE)
    assert evaluation.evaluate(model, [ids]) == evaluation.evaluate(model, [ids])  # without dropout
    assert model.training is training
    assert model.dropout.training is training


def test_an_untrained_model_is_near_uniform() -> None:
    model, vocabulary = small()
    loss = evaluation.evaluate(model, [vocabulary.encode(SENTENCE)])
    assert loss == pytest.approx(math.log(len(vocabulary)), rel=0.1)


# Estimates -----------------------------------------------------------------------------------------------


@given(st.integers(2, 9000), st.integers(1, 40))
def test_rows_count_each_target_once_and_are_warmed_up(length: int, most: int) -> None:
    rows = evaluation._cut(np.arange(length), most)
    counted = [place for ids, warm in rows for place in ids[1:][warm:].tolist()]
    assert counted == list(range(1, length))
    assert 1 <= len(rows) <= most
    assert rows[0][1] == 0
    assert all(warm == evaluation.WARM_UP for _, warm in rows[1:])
    assert all(len(ids) - 1 >= 2 * warm for ids, warm in rows)


@given(st.lists(st.integers(2, 2000), min_size=1, max_size=5), st.integers(10, 3000))
def test_an_estimate_without_memory_is_exact(lengths: list[int], limit: int) -> None:
    """Of all pieces, up to the limit."""
    model, pieces = Bigrams(), pieces_of(*lengths)
    read = [piece[: limit // len(pieces)] for piece in pieces]
    assert evaluation.estimate(model, pieces, limit=limit) == pytest.approx(model.naive(read))


@pytest.mark.parametrize("cell", CELLS)
def test_an_estimate_is_near(device: str, cell: str) -> None:
    model, vocabulary = small(cell)
    nn.init.normal_(model.output.weight, std=2.0)  # so that the state matters
    ids = vocabulary.encode(SENTENCE * 30)
    exact = evaluation.evaluate(model, [ids], device)
    assert evaluation.estimate(model, [ids], device) == pytest.approx(exact, abs=0.002)
    pieces = streams.split(ids, "streams").held_out
    assert evaluation.estimate(model, pieces, device) == pytest.approx(evaluation.evaluate(model, pieces, device))
