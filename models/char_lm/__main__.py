"""The command line: `python -m models.char_lm train` and `python -m models.char_lm sample`."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Optional

try:
    import rich.progress
    import typer
    from rich.console import Console
    from typer import Option
except ImportError as error:
    raise SystemExit(f"{error}. This program needs minigrad's extra: pip install -e '.[models]'") from error

import numpy as np

import minigrad as mg

from . import checkpoint, data, sampling, training
from .model import CharLM, Options

app = typer.Typer(help=__doc__, add_completion=False, no_args_is_help=True)
console = Console(highlight=False)
RUN = Path("runs/char_lm")


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """What the user can put right is told in a line, without a traceback."""
    try:
        yield
    except BrokenPipeError:  # whoever read the output has had enough; typer ends quietly
        raise
    except (data.UserError, mg.DeviceError, OSError, ImportError) as error:
        Console(stderr=True, highlight=False).print(f"error: {error}", soft_wrap=True, markup=False)
        raise typer.Exit(1) from error


@app.command()
def train(
    text_file: Annotated[
        Optional[Path], Option("--data", help="UTF-8 text to learn; without it, the language reference inside Python.")
    ] = None,
    out: Annotated[Path, Option(help="Folder for the trained model.")] = RUN,
    cell: Annotated[str, Option(help="rnn, lstm or gru.")] = "lstm",
    hidden: Annotated[int, Option(help="Units in each recurrent layer.", min=1)] = 256,
    layers: Annotated[int, Option(help="Recurrent layers.", min=1)] = 1,
    embedding: Annotated[
        Optional[int], Option(help="Width of a character's learned vector; as many as --hidden if not given.", min=1)
    ] = None,
    one_hot: Annotated[bool, Option("--one-hot", help="Feed characters as one-hot vectors, not learned ones.")] = False,
    dropout: Annotated[
        float, Option(help="Probability of dropping a value between layers and before the output.", min=0, max=1)
    ] = 0.0,
    updates: Annotated[int, Option(help="Steps of the optimizer.", min=1)] = 1200,
    batch: Annotated[int, Option(help="Streams of text read side by side.", min=1)] = 32,
    seq: Annotated[int, Option(help="Characters per chunk: how far back gradients flow.", min=1)] = 64,
    lr: Annotated[float, Option(help="Learning rate of Adam at the start; half a cosine brings it to 0.")] = 4e-3,
    clip: Annotated[float, Option(help="Largest norm of the gradient of all parameters together.")] = 1.0,
    seed: Annotated[int, Option(help="The same seed gives the same model.", min=0)] = 0,
    device: Annotated[str, Option(help='"cpu", or "cuda" for a GPU.')] = "cpu",
) -> None:
    """Train on a text, print a sample, and save the model."""
    # NumPy need not warn of what is no number: the loss is looked at.
    with clear_errors(), mg.use_device(device), np.errstate(all="ignore"):
        mg.manual_seed(seed)
        recipe = training.Recipe(updates, batch, seq, lr, clip)
        text = data.builtin_text() if text_file is None else data.read_text(text_file)
        source = "the language reference inside Python" if text_file is None else str(text_file)
        vocabulary = data.Vocabulary(text)
        ids, held_out = data.split(vocabulary.encode(text))
        width = 0 if one_hot else embedding or hidden
        model = CharLM(Options(vocabulary.characters, cell, hidden, layers, width, dropout))
        fingerprint = data.fingerprint(text)
        say(f"text:  {source}: {len(text):,} characters, {len(vocabulary)} distinct, sha256 {fingerprint}")
        parameters = sum(p.size for p in model.parameters())
        say(f"model: {cell} {layers} x {hidden}, {parameters:,} parameters, on {mg.default_device()}")

        checkpoint.prepare(out)
        started = time.perf_counter()
        with progress_of(updates) as report:
            training.train(model, ids, recipe, device, report)
        seconds = time.perf_counter() - started
        loss = training.evaluate(model, held_out, device)
        if not math.isfinite(loss):
            raise data.UserError(f"the validation loss is {loss}, so nothing was saved; try a smaller --lr or --clip")
        say(f"validation: {in_units(loss)}, the last {len(held_out):,} characters, after {seconds:.0f} s of training")

        results = {"text": source, "sha256": fingerprint, "validation_nats": loss,
                   "seconds": round(seconds, 1), "seed": seed, **dataclasses.asdict(recipe)}  # fmt: skip
        checkpoint.save(out, model, results)
        say(f"saved: {out}\n")
        opening = text.lstrip("\n").partition("\n")[0][:80] or text[0]
        drawn = sampling.sample(model, 500, prime=opening, temperature=0.7, seed=seed, device=device)
        write_out(itertools.chain(opening, drawn))


@app.command()
def sample(
    run: Annotated[Path, Option(help="Folder with a trained model.")] = RUN,
    prime: Annotated[Optional[str], Option(help="Text to go on from; without it, a new line or any character.")] = None,
    length: Annotated[int, Option(help="Characters to write.", min=0)] = 1000,
    temperature: Annotated[
        float, Option(help="0 takes the likeliest character; 1 draws as learned; above is wilder.")
    ] = 0.7,
    seed: Annotated[int, Option(help="The same seed writes the same text.", min=0)] = 0,
    device: Annotated[str, Option(help='"cpu", or "cuda" for a GPU.')] = "cpu",
) -> None:
    """Write text with a trained model."""
    with clear_errors():
        model = checkpoint.load(run).to(device)
        known = model.options.vocabulary
        start = prime if prime is not None else "\n" if "\n" in known else known[0]
        drawn = sampling.sample(model, length, prime=start, temperature=temperature, seed=seed, device=device)
        write_out(itertools.chain(prime or "", drawn))


def write_out(characters: Iterable[str]) -> None:
    """Print characters as they come, in other words where the terminal cannot show one."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    for character in characters:
        print(character, end="", flush=True)
    print()


def say(line: str) -> None:
    console.print(line, soft_wrap=True, markup=False)


def in_units(nats: float) -> str:
    return f"{nats:.3f} nats ({nats / math.log(2):.3f} bits) per character"


@contextlib.contextmanager
def progress_of(updates: int) -> Iterator[Callable[[training.Progress], None]]:
    """A bar with the news of the last look; where there is no terminal, a line for each tenth of the way."""
    columns = (
        rich.progress.BarColumn(bar_width=8),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeRemainingColumn(),
        rich.progress.TextColumn("{task.fields[news]}"),
    )
    lines = 0
    with rich.progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("training", total=updates, news="")

        def report(p: training.Progress) -> None:
            nonlocal lines
            loss = f"{p.loss:.3f} nats, {p.loss / math.log(2):.3f} bits"
            news = f"loss {loss}  grad {p.gradient_norm:.2f}  {p.characters_per_second:,.0f} char/s"
            bar.update(task, completed=p.update, news=news)
            if not console.is_terminal and p.update * 10 // updates > lines:
                lines = p.update * 10 // updates
                say(f"update {p.update}/{updates}  {news}")

        yield report


if __name__ == "__main__":
    app()
