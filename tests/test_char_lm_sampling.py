"""Sampling from the character model."""

import math

import pytest

from models.char_lm import sampling
from models.common.errors import UserError
from tests.characters import small


def test_sampling_repeats_with_the_seed(device):
    model, vocabulary = small()

    def text(**options):
        return "".join(sampling.sample(model, 30, prime="the", device=device, **options))

    assert text(seed=1) == text(seed=1) != text(seed=2)
    assert set(text(seed=1)) <= set(vocabulary.characters)
    assert text(temperature=0, seed=1) == text(temperature=0, seed=2) == text(temperature=1e-6, seed=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prime": "THE"}, "'T' at position 0 is not in the vocabulary"),
        ({"prime": ""}, "the prime text is empty"),
        ({"temperature": -1.0}, "the temperature must be 0 or more, got -1.0"),
        ({"temperature": math.nan}, "the temperature must be 0 or more, got nan"),
    ],
)
def test_sampling_with_wrong_options(options, message):
    with pytest.raises(UserError, match=message):
        sampling.sample(small()[0], 5, **({"prime": "a"} | options))
