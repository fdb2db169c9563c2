"""A laboratory: experiments, each a command that measures, shows tables and draws pictures of what it found.

What is found is rows, a dictionary each, as they are kept in results.json; tables and pictures are made of them alone.

app = laboratory("gradients", scalar.EXPERIMENT, flow.EXPERIMENT, about=__doc__)
"""

import contextlib
import dataclasses
import itertools
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from typer import Option

import minigrad as mg

from . import files, results, runs
from .console import say, show
from .errors import UserError
from .options import command, default_of, flag
from .program import RUNS, Place

Row = dict[str, Any]


@dataclass(frozen=True)
class Where(Place):
    """Where the results go."""

    out: Annotated[Path | None, Option(help="Folder for the results. Without it, a new one in runs/.")] = None


@dataclass(frozen=True)
class Experiment:
    """What is tried out.

    Args:
        name: of its command.
        about: what it does; the first paragraph of a docstring.
        settings: its options: a dataclass, whose `__post_init__` refuses what makes no sense.
        measure: settings -> rows, on minigrad's default device; the same settings give
            the same rows, but for times and bytes.
        tables: rows -> tables, made by `bench.tables.make`.
        draw: (rows, folder): make the pictures.
        pictures: their names.
    """

    name: str
    about: str
    settings: type
    measure: Callable[[Any], list[Row]]
    tables: Callable[[Sequence[Row]], list[Table]]
    draw: Callable[[Sequence[Row], Path], None]
    pictures: Sequence[str]


def laboratory(program: str, *experiments: Experiment, about: str) -> typer.Typer:
    """The command line of a folder in models/: a command for each experiment; without one, all of them by turns.

    An experiment that has the program's name is the only one, and needs no command.
    """
    app = typer.Typer(help=_unwrapped(about), add_completion=False)
    if [each.name for each in experiments] != [program]:
        app.callback(invoke_without_command=True, help=_unwrapped(about))(_all(program, experiments))
    for each in experiments:
        app.command(each.name, help=_unwrapped(each.about))(_one(program, each))
    return app


def path(program: str, experiment: Experiment) -> tuple[str, ...]:
    """How an experiment is called: what follows `models.` on the command line, and the folders of its results."""
    return (program,) if experiment.name == program else (program, experiment.name)


def _unwrapped(text: str) -> str:
    """Paragraphs, each in one line: the terminal breaks them."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _one(program: str, experiment: Experiment) -> Callable[..., None]:
    usual = RUNS.joinpath(*path(program, experiment))

    def run(ctx: typer.Context, settings: Any, where: Where) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(mg.use_device(where.device))
            folder = _prepared(stack, _new(usual, where) if where.out is None else where.out, where)
            _carry_out(program, experiment, _once(settings), folder)

    return command(run, experiment.settings, Where)


def _all(program: str, experiments: Sequence[Experiment]) -> Callable[..., None]:
    def run(ctx: typer.Context, where: Where) -> None:
        if ctx.invoked_subcommand is not None:
            return
        with contextlib.ExitStack() as stack:
            stack.enter_context(mg.use_device(where.device))
            folders = [
                _new(RUNS / program / each.name, where) if where.out is None else where.out / each.name
                for each in experiments
            ]
            for folder in folders:
                _prepared(stack, folder, where)
            for each, folder in zip(experiments, folders, strict=True):
                _carry_out(program, each, each.settings(), folder)

    return command(run, Where)


def _once(settings: Any) -> Any:
    """What was named twice counts once."""
    lists = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}
    once = {name: list(dict.fromkeys(each)) for name, each in lists.items() if isinstance(each, list)}
    return dataclasses.replace(settings, **once)


def _new(usual: Path, where: Where) -> Path:
    """The folder where what is found usually goes, or the first with a number behind it that holds nothing yet."""
    if where.overwrite:
        return usual
    numbered = (usual.with_name(f"{usual.name}-{number}") for number in itertools.count(2))
    return next(each for each in itertools.chain([usual], numbered) if not (each / results.FILE).exists())


def _prepared(stack: contextlib.ExitStack, folder: Path, where: Where) -> Path:
    """A folder that is this run's alone."""
    runs.make(folder)
    stack.enter_context(files.held(folder))
    runs.refuse_another(folder, (results.FILE,), overwrite=where.overwrite)
    return folder


def _carry_out(program: str, experiment: Experiment, settings: Any, folder: Path) -> None:
    say(f"{experiment.name}: {_unwrapped(experiment.about).splitlines()[0]}")
    started = time.perf_counter()
    rows = experiment.measure(settings)
    document = {
        "program": program,
        "experiment": experiment.name,
        "command": _command(program, experiment, settings),
        "seconds": round(time.perf_counter() - started, 1),
        "machine": results.machine(),
        "rows": rows,
    }
    try:
        results.write(folder, document)
    except ValueError as error:  # NaN and infinity are not in JSON
        raise UserError(
            "what was measured is not all finite numbers, and nothing is saved: take less extreme options, such as a "
            "smaller --lr"
        ) from error
    experiment.draw(rows, folder)
    for each in experiment.tables(rows):
        show(each)
    for name in experiment.pictures:
        say(f"picture: {folder / name}")


def _command(program: str, experiment: Experiment, settings: Any) -> str:
    """How somebody else types it: what differs from the defaults."""
    first, *rest = path(program, experiment)
    words = ["python", "-m", f"models.{first}", *rest]
    options = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)
               if getattr(settings, f.name) != default_of(f)}  # fmt: skip
    if mg.default_device() != "cpu":
        options["device"] = mg.default_device()
    for name, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            words += [flag(name)] if each is True else [flag(name), str(each)]
    return shlex.join(words).encode("utf-8", "backslashreplace").decode()  # a file's name may be no Unicode


# What was found, in a README ----------------------------------------------------------------------


def section(documents: Sequence[dict[str, Any]], experiment: Experiment) -> str:
    """The tables of one or more runs of an experiment, in Markdown, with the commands and the machine."""
    from bench import report, tables

    made = experiment.tables([row for document in documents for row in document["rows"]])
    commands = "\n".join(f"{document['command']}  # {document['seconds']:.0f} s" for document in documents)
    machines = dict.fromkeys(report.machine_in_words(document["machine"]) for document in documents)
    return "\n\n".join([*map(tables.markdown, made), f"```sh\n{commands}\n```", *machines])
