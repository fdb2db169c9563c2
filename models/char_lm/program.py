"""A character-level language model: train it on a text, let it write, and see how well it expects another text."""

from __future__ import annotations

import typer

from .commands.cache import cache
from .commands.copied import copied
from .commands.eval import eval as evaluate
from .commands.inspect import inspect
from .commands.neurons import neurons
from .commands.ngram import ngram
from .commands.sample import sample
from .commands.train import command as train

app = typer.Typer(help=__doc__, add_completion=False, no_args_is_help=True)
for command in (train, sample, evaluate, inspect, neurons, ngram, copied, cache):
    app.command()(command)
