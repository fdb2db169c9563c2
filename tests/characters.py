"""A small model of characters, for the tests of the programs."""

import os
import signal

from typer.testing import CliRunner

import minigrad as mg
from models.char_lm.model import CharLM, Options
from models.char_lm.program import app
from models.char_lm.sampling import gather, pieces
from models.char_lm.vocabulary import Vocabulary

CELLS = ["rnn", "lstm", "gru"]
SENTENCE = "the quick brown fox jumps over the lazy dog. "


def small(cell="lstm", **options):
    vocabulary = Vocabulary(SENTENCE)
    mg.manual_seed(0)
    return CharLM(Options(vocabulary.characters, cell, **({"hidden": 16, "embedding": 8} | options))), vocabulary


def sample_batch(model, length, samples, **options):
    """Texts drawn side by side; the options are those of `pieces`."""
    return gather(pieces(model, length, samples, **options), samples)


def _heed_signals():
    """Before a process starts: in the background of a shell Ctrl-C is ignored, and by nohup a closed terminal."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


heed_signals = None if os.name == "nt" else _heed_signals


def run(*arguments, given=None):
    """The program's command line: what came of some arguments, and of an input."""
    return CliRunner().invoke(app, [str(a) for a in arguments], input=given)


def good(*arguments):
    """What is told where all goes well."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output
