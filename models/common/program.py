"""The command line of a small program: `train` and `compare`, the same for all; `predict` is its own.

app = commands(Program("digits", ...), predict)
"""

import contextlib
import itertools
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

import minigrad as mg
from minigrad import nn

from . import curves, files, journal, results, runs, saved
from .console import clear_errors, progress, say, table
from .errors import UserError
from .options import Device, command, flag
from .results import Figure
from .stop import Stop
from .training import Outcome, Task, Training, fit

RUNS = Path("runs")
COMPARED = "compared.png"


@dataclass(frozen=True)
class Program:
    """What the commands need to know.

    Args:
        name: of its folder in models/.
        settings: the options of `train`: a dataclass of Training's family.
        task: makes what is learned, of settings and a device.
        options: a dataclass: what a model is made of.
        build: makes a model of it, with weights to be replaced.
        figures: what `judge` of its tasks tells, the most important first.
        per: of what its losses are: "image", "word".
        pictures: the names of what its tasks draw.
        variants: what `compare` puts side by side: a name for each, and how its settings differ from the defaults.
        curves: the figures whose curves `compare` draws.
    """

    name: str
    settings: type[Training]
    task: Callable[[Any, str], Task]
    options: type
    build: Callable[[Any], nn.Module]
    figures: Mapping[str, Figure]
    per: str
    pictures: Sequence[str]
    variants: Mapping[str, Mapping[str, Any]]
    curves: Sequence[str]

    def load(self, path: Path | None) -> tuple[Any, dict[str, Any]]:
        """The model in a run's folder, or in a file; without a path, where runs go by default. See `saved.load`."""
        return saved.load(self.folder if path is None else path, self.name, self.options, self.build)

    @property
    def folder(self) -> Path:
        """Where a run goes that names no other folder."""
        return RUNS / self.name


# What every `predict` has.
Run = Annotated[
    Path | None,
    Option(help="A trained model: the folder of a run, or its file. Without it, runs/ and the program's name."),
]


@dataclass(frozen=True)
class Place:
    """Where a run goes."""

    out: Annotated[Path | None, Option(help="Folder for the run. Without it, runs/ and the program's name.")] = None
    overwrite: Annotated[bool, Option("--overwrite", help="Replace a run that is in the folder already.")] = False
    device: Device = "cpu"


def commands(program: Program, *own: Callable[..., None], about: str | None) -> typer.Typer:
    """The program's command line.

    Args:
        own: its own commands, such as `predict`.
        about: what the program does.
    """
    app = typer.Typer(help=about, add_completion=False, no_args_is_help=True)
    for each in (_train(program), *own, _compare(program)):
        app.command()(each)
    return app


# train --------------------------------------------------------------------------------------------


def _train(program: Program) -> Callable[..., None]:
    def train(ctx: typer.Context, settings: Any, place: Place) -> None:
        """Train a model, judge it by what is held out, draw its pictures, and save it.

        Ctrl-C stops after the update at hand, and then judges and saves what was learned so far.
        """
        folder = program.folder if place.out is None else place.out
        with contextlib.ExitStack() as stack:
            stack.enter_context(mg.use_device(place.device))
            runs.make(folder)
            stack.enter_context(files.held(folder))
            runs.refuse_another(folder, (saved.MODEL, runs.LOG), overwrite=place.overwrite)
            task = _task(program, settings, place.device)
            _clear(program, folder)
            say(f"data:  {task.data}")
            say(f"model: {_described(task.model)}, on {mg.default_device()}")
            outcome, records = _run(program, task, settings, folder)
            print(curves.in_terminal(records, program.per))
            curves.draw(records, folder / runs.CURVE, f"models.{program.name}", program.per)
            at, seconds = f"{outcome.updates:,} updates", f"{outcome.seconds:.0f} s"
            say(f"{outcome.ended} after {at} and {seconds} of training; the model is {folder / saved.MODEL}")
            for name, figures in {"held out": outcome.figures, **task.references()}.items():
                table(name, {f.title: f.tell(figures[key]) for key, f in program.figures.items() if key in figures})
            for path in (*outcome.pictures, folder / runs.CURVE):
                say(f"picture: {path}")

    return command(train, program.settings, Place)


def _clear(program: Program, folder: Path) -> None:
    """What an earlier run left is not taken for this one's; its model stays until there is another."""
    for name in (runs.LOG, runs.CURVE, *program.pictures):
        (folder / name).unlink(missing_ok=True)


def _task(program: Program, settings: Any, device: str) -> Task:
    """What is learned, with a model that the seed alone decides."""
    mg.manual_seed(settings.seed)
    return program.task(settings, device)


def _run(program: Program, task: Task, settings: Any, folder: Path) -> tuple[Outcome, list[dict[str, Any]]]:
    with progress(settings.updates) as report:
        outcome = fit(task, settings, folder, program.name, Stop(), report)
    return outcome, journal.read(folder / runs.LOG)


def _described(model: nn.Module) -> str:
    """The names of its parts, and how many parameters it has."""
    parts = ", ".join(name for name, _ in model.named_children())
    return f"{parts}: {sum(p.size for p in model.parameters()):,} parameters"


# compare ------------------------------------------------------------------------------------------


def _compare(program: Program) -> Callable[..., None]:
    every = ", ".join(program.variants)

    def compare(
        variants: Annotated[list[str] | None, Argument(help=f"What to compare, of {every}. Without any, all.")] = None,
        seeds: Annotated[int, Option(help="Runs of each, with seeds 0, 1, ...", min=1)] = 3,
        updates: Annotated[int | None, Option(help="Steps of the optimizer, in place of the usual.", min=1)] = None,
        out: Annotated[Path | None, Option(help="Folder for what comes out. Without it, one in runs/.")] = None,
        overwrite: Annotated[bool, Option("--overwrite", help="Replace what is in the folder already.")] = False,
        device: Device = "cpu",
    ) -> None:
        """Train each variant with several seeds, and put them side by side: a table, and the curves as a picture."""
        with clear_errors(), contextlib.ExitStack() as stack:
            chosen = list(dict.fromkeys(variants or program.variants))
            for name in chosen:
                if name not in program.variants:
                    raise UserError(f"there is no variant {name!r}; choose from {every}")
            folder = RUNS / f"{program.name}-compared" if out is None else out
            stack.enter_context(mg.use_device(device))
            runs.make(folder)
            stack.enter_context(files.held(folder))
            runs.refuse_another(folder, (results.FILE,), overwrite=overwrite)
            each_run = itertools.product(chosen, range(seeds))
            places = {(name, seed): folder / f"{name.replace(' ', '-')}-{seed}" for name, seed in each_run}
            for where in places.values():
                where.mkdir(exist_ok=True)
                stack.enter_context(files.held(where))
                runs.refuse_another(where, (saved.MODEL, runs.LOG), overwrite=overwrite)
            document = results.fresh(program.name, device)
            records: dict[str, list[Any]] = {}
            references: dict[str, dict[str, float]] = {}
            for name in chosen:
                options = {**program.variants[name], **({} if updates is None else {"updates": updates})}
                for seed in range(seeds):
                    where = places[name, seed]
                    settings = program.settings(**{**options, "seed": seed})
                    task = _task(program, settings, device)
                    _clear(program, where)
                    outcome, found = _run(program, task, settings, where)
                    if outcome.ended != "done":
                        raise UserError(f"stopped in {where}; nothing is compared")
                    records.setdefault(name, []).append(found)
                    references |= task.references()
                    results.add(document, name, _command(program, options, device), seed, outcome)
                    told = (f"{f.title} {f.tell(outcome.figures[n])}" for n, f in program.figures.items())
                    say(f"{name}, seed {seed}: {', '.join(told)}, {outcome.seconds:.0f} s")
            document["references"] = references
            results.write(folder, document)
            shown = {n: (f.title, f.percent) for n, f in program.figures.items() if n in program.curves}
            curves.side_by_side(records, shown, folder / COMPARED, f"models.{program.name}", references)
            results.show(document, program.figures)
            say(f"picture: {folder / COMPARED}")

    return compare


def _command(program: Program, options: Mapping[str, Any], device: str) -> str:
    """How somebody else types it."""
    words = ["python", "-m", f"models.{program.name}", "train"]
    for name, value in {**options, **({} if device == "cpu" else {"device": device})}.items():
        words += [flag(name)] if value is True else [flag(name), str(value)]
    return shlex.join(words)
