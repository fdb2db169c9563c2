"""A small model of characters, for the tests of the programs."""

import minigrad as mg
from models.char_lm.model import CharLM, Options
from models.char_lm.vocabulary import Vocabulary

CELLS = ["rnn", "lstm", "gru"]
SENTENCE = "the quick brown fox jumps over the lazy dog. "


def small(cell="lstm", **options):
    vocabulary = Vocabulary(SENTENCE)
    mg.manual_seed(0)
    return CharLM(Options(vocabulary.characters, cell, **({"hidden": 16, "embedding": 8} | options))), vocabulary
