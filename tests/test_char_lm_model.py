"""The character model itself."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import optim
from minigrad.nn import functional as F
from models.char_lm import sampling
from models.char_lm.model import CharLM, Options
from models.char_lm.vocabulary import Vocabulary
from tests.characters import CELLS


@pytest.mark.parametrize("embedding", [0, 8], ids=["one-hot", "embedded"])
@pytest.mark.parametrize("cell", CELLS)
def test_hello(device, cell, embedding):
    """From "h" alone, having read "hello", the model says "ello"."""
    vocabulary = Vocabulary("helo")
    model = CharLM(Options(vocabulary.characters, cell, hidden=16, embedding=embedding))
    ids = mg.tensor(vocabulary.encode("hello").reshape(-1, 1))
    optimizer = optim.Adam(model.parameters(), lr=0.03)
    for _ in range(80):
        logits, _ = model(ids[:-1])
        loss = F.cross_entropy(logits.squeeze(1), ids[1:].squeeze(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert "".join(sampling.sample(model, 4, prime="h", temperature=0, device=device)) == "ello"


@pytest.mark.parametrize("cell", CELLS)
def test_one_hot_and_embedded_models_with_the_same_weights_give_the_same_numbers(device, cell):
    """W_ih (E[id]) = (W_ih Eᵀ) one_hot(id): an embedding is a product with a one-hot vector, cut short."""
    embedded = CharLM(Options("abcd", cell, hidden=5, embedding=3)).to(mg.float64)
    one_hot = CharLM(Options("abcd", cell, hidden=5, embedding=0)).to(mg.float64)
    weights = embedded.state_dict()
    table = weights.pop("embedding.weight")
    weights["rnn.weight_ih_l0"] = weights["rnn.weight_ih_l0"] @ table.T
    one_hot.load_state_dict(weights)

    ids = mg.tensor([[0, 3], [1, 1], [2, 0]])
    for given_state in (None, embedded(ids)[1]):
        a, b = (model(ids, given_state)[0].detach().to("cpu").numpy() for model in (embedded, one_hot))
        np.testing.assert_allclose(a, b, rtol=1e-12)
