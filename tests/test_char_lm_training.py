"""Training the character model."""

import math

import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F
from models.char_lm import training
from models.char_lm.model import CharLM, Options
from models.char_lm.vocabulary import Vocabulary
from models.common.errors import UserError
from tests.characters import CELLS, SENTENCE, small


def small(cell="lstm", **options):
    vocabulary = Vocabulary(SENTENCE)
    mg.manual_seed(0)
    return CharLM(Options(vocabulary.characters, cell, **({"hidden": 16, "embedding": 8} | options))), vocabulary


@pytest.mark.parametrize("cell", CELLS)
def test_training_learns_a_sentence_by_heart(device, cell):
    model, vocabulary = small(cell)
    ids, news = vocabulary.encode(SENTENCE * 30), []
    training.train(model, ids, training.Recipe(100, batch=4, seq=20, lr=0.02), device, news.append)
    assert [p.update for p in news] == list(range(10, 101, 10))
    assert news[-1].loss < 0.5 < 2.0 < news[0].loss
    assert training.evaluate(model, ids, device) < 0.7


def test_training_is_deterministic():
    def run():
        model, vocabulary = small(dropout=0.3)
        recipe = training.Recipe(20, batch=4, seq=20)
        training.train(model, vocabulary.encode(SENTENCE * 30), recipe, "cpu", lambda p: None)
        return {name: p.tolist() for name, p in model.state_dict().items()}

    assert run() == run()


def test_training_carries_the_state_and_resets_it_at_the_wrap(monkeypatch):
    model, vocabulary = small()
    seen, forward = [], CharLM.forward
    monkeypatch.setattr(
        CharLM, "forward", lambda self, ids, state=None: seen.append(state) or forward(self, ids, state)
    )
    ids = vocabulary.encode(SENTENCE * 3)[:121]  # 2 streams of 60: three chunks an epoch
    training.train(model, ids, training.Recipe(7, batch=2, seq=20), "cpu", lambda p: None)
    assert [state is None for state in seen] == [True, False, False, True, False, False, True]
    assert not any(part.requires_grad for state in seen if state for part in state)


def test_evaluation_reads_the_whole_text_with_its_state_carried(device):
    model, vocabulary = small()
    ids = vocabulary.encode(SENTENCE)
    whole = training.evaluate(model, ids, device, steps=1000)
    assert training.evaluate(model, ids, device, steps=7) == pytest.approx(whole, rel=1e-5)
    logits, _ = model(mg.tensor(ids[:-1].reshape(-1, 1)))
    assert F.cross_entropy(logits.squeeze(1), mg.tensor(ids[1:])).item() == pytest.approx(whole, rel=1e-5)


def test_an_untrained_model_is_near_uniform():
    model, vocabulary = small()
    assert training.evaluate(model, vocabulary.encode(SENTENCE), "cpu") == pytest.approx(
        math.log(len(vocabulary)), rel=0.1
    )


def test_a_loss_that_is_not_a_number_stops_training():
    model, vocabulary = small()
    nn.init.constant_(model.output.bias, math.nan)
    with pytest.raises(UserError, match="the loss became nan at update 10; try a smaller --lr"):
        training.train(model, vocabulary.encode(SENTENCE * 30), training.Recipe(20, 4, 20), "cpu", lambda p: None)


@pytest.mark.parametrize("name", ["updates", "batch", "seq", "lr", "clip"])
def test_recipes_are_positive(name):
    with pytest.raises(UserError, match=f"--{name} must be positive, got 0"):
        training.Recipe(**{name: 0})
