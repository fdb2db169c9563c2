"""The small programs in models/, for their tests."""

import importlib
from pathlib import Path

from typer.testing import CliRunner

import models.digits

FOLDER = Path(models.digits.__file__).parents[1]
NAMES = sorted(path.parent.name for path in FOLDER.glob("*/program.py") if "PROGRAM = " in path.read_text())

# What makes a model and its training as small as they can be.
SMALL = {
    "captions": ["--cnn-updates", "1", "--hidden", "4", "--embedding", "2", "--batch", "8"],
    "digits": ["--model", "mlp", "--hidden", "4", "--batch", "8"],
    "frames": ["--hidden", "4", "--features", "4", "--channels", "2", "--frames", "3", "--batch", "4"],
    "names": ["--hidden", "4", "--embedding", "2", "--batch", "8"],
    "number_words": ["--hidden", "4", "--embedding", "2", "--batch", "8"],
    "words": ["--hidden", "4", "--embedding", "2", "--batch", "2", "--seq", "4", "--min-count", "20"],
}


def module(name):
    return importlib.import_module(f"models.{name}.program")


def run(name, *arguments, given=None):
    """A program's command line: what came of some arguments."""
    return CliRunner().invoke(module(name).app, [str(a) for a in arguments], input=given, env={"COLUMNS": "200"})


def good(name, *arguments):
    """What is told where all goes well."""
    result = run(name, *arguments)
    assert result.exit_code == 0, result.output
    return result.output


def train(name, folder, *arguments, updates=2):
    """A run that learns next to nothing."""
    return good(name, "train", *SMALL[name], "--updates", updates, "--out", folder, *arguments)
