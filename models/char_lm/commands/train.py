"""`train`: learn a text, or go on with a run that was stopped."""

from __future__ import annotations

import contextlib
import itertools
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import typer

import minigrad as mg

from ...common import curves, files, journal, options, runs, streams
from ...common.console import in_units, progress, say, table, write_out
from ...common.errors import UserError
from ...common.runs import CURVE, LOG, OPTIONS
from .. import checkpoint, evaluation, sampling
from ..fitting import Fit
from ..model import CharLM, Options
from ..settings import CHANGEABLE, Session, Settings, recorded
from ..text import Text, open_text
from ..training import Trainer
from ..vocabulary import UNITS

TRIAL = 5  # updates of a dry run
EXACT = 250_000  # symbols held out that are read one after another at the end; more would take minutes
WRITTEN = (checkpoint.LAST, checkpoint.PREVIOUS, checkpoint.BEST, LOG, OPTIONS, CURVE)  # into the folder of a run
BOARD = "tensorboard"  # and a folder in it


def train(ctx: typer.Context, settings: Settings, session: Session) -> None:
    """Train on a text, print a sample, and save the model.

    Ctrl-C stops after the chunk at hand, saves, and prints the command that goes on.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(mg.use_device(session.device))
        found, folder = None, session.resume or session.out
        if not session.dry_run:
            if session.resume is None:
                runs.make(folder)
            elif folder.is_file():
                raise UserError(f"{folder} is a file; to go on with a run, name its folder: {folder.parent}")
            stack.enter_context(files.held(folder))
        if session.resume is not None:
            found = checkpoint.load_last(folder)
            settings = _recorded(ctx, settings, found)
        elif not session.dry_run:
            resumable = any((folder / name).exists() for name in (checkpoint.LAST, checkpoint.PREVIOUS))
            resume = f"go on with it by --resume {shlex.quote(str(folder))}, " if resumable else ""
            runs.refuse_another(folder, (*WRITTEN, BOARD), overwrite=session.overwrite, instead=resume)
        if settings.tensorboard:
            journal.summary_writer()  # before a run is replaced
        if session.preset or session.config:
            table("options", {options.flag(name): value for name, value in settings.plain().items()})
        learned = open_text(settings.data, corpus=settings.corpus, unit=settings.unit, min_count=settings.min_count,
                            newline=settings.newline)  # fmt: skip
        if found is not None:
            _check_text(learned, found)
        trainer, held_out = _begin(learned, settings, session.device, fresh=found is None)
        say(f"text:  {learned.summary()}")
        parameters = sum(p.size for p in trainer.model.parameters())
        say(f"model: {settings.cell} {settings.layers} x {settings.hidden}, {parameters:,} parameters, "
            f"on {mg.default_device()}")  # fmt: skip
        if session.dry_run:
            _estimate(trainer, held_out, parameters)
            return

        about = {"settings": settings.plain(), "text": {"source": learned.source, "fingerprint": learned.fingerprint}}
        fit = Fit(trainer, held_out, folder, about)
        if found is not None:
            fit.restore(found)
        with _recording(fit, fresh=found is None), progress(settings.updates, start=trainer.updates) as fit.report:
            if found is None:
                _write_options(folder, settings)
                fit.record("start", **about, parameters=parameters, minigrad=mg.__version__, machine=_machine())
            else:
                fit.record("resumed", update=trainer.updates, machine=_machine())
            with fit.stop.listening(say), _telling_how_to_go_on(folder):
                ended = fit.go(session.pause_at)
            fit.record("end", why=ended, update=trainer.updates, best=fit.best, seconds=round(fit.seconds, 3))
        _conclude(fit, ended, learned)


def _begin(learned: Text, settings: Settings, device: str, *, fresh: bool) -> tuple[Trainer, Any]:
    """A trainer at update 0, or, if not `fresh`, one to be restored; and the text to judge it by."""
    mg.manual_seed(settings.seed)
    vocabulary = learned.vocabulary
    width = 0 if settings.one_hot else settings.embedding or settings.hidden
    model = CharLM(
        Options(vocabulary.characters, settings.cell, settings.hidden, settings.layers, width, settings.dropout,
                settings.dropout_input, vocabulary.unit)
    )  # fmt: skip
    if fresh and settings.weights is not None:
        checkpoint.load_weights(model, settings.weights)
    parts = streams.split(learned.ids, settings.split)
    return Trainer(model.to(device), parts.train, settings, device), parts.held_out


def _recorded(ctx: typer.Context, settings: Settings, found: checkpoint.Checkpoint) -> Settings:
    """The settings of a run that is resumed, with what may be changed."""
    if "settings" not in found.about:
        raise UserError("the checkpoint to resume does not say its settings")
    settled, model = recorded(found.about), found.model.options
    same = all(getattr(settled, name) == getattr(model, name) for name in ("cell", "hidden", "layers", "unit"))
    if not same or settled.embedding not in (0, model.embedding):  # memory is not taken for what is claimed
        raise UserError("the checkpoint to resume holds another model than its settings describe")
    before = settled.plain()
    typed = options.given(ctx)
    for name in typed & {"preset", "config", "out", "overwrite", "dry_run"}:
        raise UserError(f"a resumed run has its options and its folder; leave {options.flag(name)} out")
    for name in typed & (before.keys() - CHANGEABLE - {"data", "corpus"}):
        was, now = before[name], settings.plain()[name]
        if was != now:
            raise UserError(
                f"a resumed run keeps its {options.flag(name)} {was}, got {now}. To change it, start another run; "
                f"what may change is {', '.join(map(options.flag, sorted(CHANGEABLE)))}"
            )
    named = {"data", "corpus"} if typed & {"data", "corpus"} else set()  # the same text, at another place
    if not named and before["data"] == ["-"]:
        raise UserError("the run's text came from the standard input; name it with --data FILE, or --data - again")
    changed = {name: settings.plain()[name] for name in typed & CHANGEABLE | named}
    return Settings(**before | changed)


def _check_text(learned: Text, found: checkpoint.Checkpoint) -> None:
    text = found.about.get("text")
    was = text.get("fingerprint") if isinstance(text, dict) else None
    if was != learned.fingerprint:
        raise UserError(
            f"{learned.source} is not the text that this run was trained on: its SHA-256 begins with "
            f"{learned.fingerprint[:12]}, that of the run's with {str(was)[:12]}. If it lies elsewhere now, name it "
            "with --data"
        )


def _write_options(folder: Path, settings: Settings) -> None:
    again = "python -m models.char_lm train --config FILE --out FOLDER starts a run with the same options"
    files.write_text(folder / OPTIONS, options.to_toml(settings.plain(), again))


@contextlib.contextmanager
def _recording(fit: Fit, *, fresh: bool) -> Iterator[None]:
    """Have a run's events noted in its journal, and in TensorBoard's if wanted; after those of earlier sessions."""
    folder, at = fit.folder, fit.trainer.updates
    if fresh:
        for name in WRITTEN:
            (folder / name).unlink(missing_ok=True)
        for path in (folder / BOARD).glob("events.out.tfevents.*"):
            path.unlink()
    with contextlib.ExitStack() as stack:
        writers: list[Any] = [stack.enter_context(journal.Journal(folder / LOG))]
        if not fresh:
            writers[0].keep(at)
        if fit.trainer.settings.tensorboard:
            writers.append(journal.TensorBoard(folder / BOARD, None if fresh else at))
            stack.callback(writers[1].close)

        def record(event: str, **facts: Any) -> None:
            for writer in writers:
                writer.write(event, **facts)

        fit.record = record
        yield


@contextlib.contextmanager
def _telling_how_to_go_on(folder: Path) -> Iterator[None]:
    """Add it to the error of a disk that is full."""
    try:
        yield
    except OSError as error:
        if not (folder / checkpoint.LAST).exists():
            raise
        raise UserError(f"{error}. With that mended, go on with: {_resume(folder)}") from error


def _resume(folder: Path) -> str:
    return shlex.join([sys.orig_argv[0], "-m", "models.char_lm", "train", "--resume", str(folder)])  # the same Python


def _conclude(fit: Fit, ended: str, learned: Text) -> None:
    """Tell how it went; once the run is done, judge the best weights by the held-out text, and let them write."""
    folder, settings, at = fit.folder, fit.trainer.settings, fit.trainer.updates
    records = journal.read(folder / LOG)
    print(curves.in_terminal(records))
    try:
        curves.draw(records, folder / CURVE, f"{learned.source}: {settings.cell} {settings.layers} x {settings.hidden}")
    except OSError as error:
        say(f"{folder / CURVE} could not be drawn: {error}")
    say(f"{ended} after {at:,} updates and {fit.seconds:.0f} s of training; saved in {folder}")
    if ended in ("paused", "stopped"):
        say(f"go on with: {_resume(folder)}")
    elif fit.best is not None:
        model = checkpoint.load(folder / checkpoint.BEST).model.to(fit.trainer.device)
        nats, judged_by = _judge(model, fit)
        with contextlib.closing(journal.Journal(folder / LOG)) as log:
            log.write("result", update=fit.best["update"], nats=nats)
        say(f"validation: {in_units(nats)} per {UNITS[settings.unit]}, the {settings.split} split's {judged_by} "
            f"held-out symbols, weights of update {fit.best['update']:,}\n")  # fmt: skip
        prime = _opening(learned)
        drawn = sampling.sample(model, 500, prime=prime, temperature=0.7, seed=settings.seed, device=fit.trainer.device)
        write_out(itertools.chain(prime, drawn))


def _judge(model: CharLM, fit: Fit) -> tuple[float, str]:
    """Nats per symbol of the held-out text, of a very long one as while training; and of how much of it."""
    count = sum(len(piece) for piece in fit.held_out)
    if count <= EXACT:
        return evaluation.evaluate(model, fit.held_out, fit.trainer.device), f"{count:,}"
    nats = evaluation.estimate(model, fit.held_out, fit.trainer.device)
    return nats, f"{count:,}" if count <= evaluation.LIMIT else f"first {evaluation.LIMIT:,} of {count:,}"


def _opening(learned: Text) -> str:
    """The text's first line, as far as 80 symbols."""
    beginning = learned.vocabulary.decode(np.asarray(learned.ids[:80]))
    return beginning.lstrip("\n").partition("\n")[0] or beginning


def _estimate(trainer: Trainer, held_out: Any, parameters: int) -> None:
    """What a whole run takes, by a few updates that are thrown away."""
    seconds = []
    for _ in range(TRIAL):
        started = time.perf_counter()
        loss, _ = trainer.step()
        loss.item()
        seconds.append(time.perf_counter() - started)
    settings = trainer.settings
    each = statistics.median(seconds[1:])
    started = time.perf_counter()
    with trainer.average.instead():
        evaluation.estimate(trainer.model, held_out, trainer.device)
    looks = -(-settings.updates // settings.eval_every)
    whole = each * settings.updates + looks * (time.perf_counter() - started)
    chunk = settings.batch * settings.seq
    kept = 5 if settings.average else 4
    table("dry run", {
        "weights": ", ".join(f"{name} {tuple(p.shape)}" for name, p in trainer.model.named_parameters()),
        "parameters": f"{parameters:,}",
        "memory": f"{_peak()}; of it {4 * kept * parameters / 1e6:,.1f} MB are weights, gradients"
                  + (", Adam's moments and the average" if settings.average else " and Adam's moments"),
        "text": f"{chunk:,} symbols an update, {trainer.streams.chunks:,} updates an epoch, "
                f"{settings.updates / trainer.streams.chunks:.1f} epochs",
        "time": f"{whole:,.0f} s: {settings.updates:,} updates of {1e3 * each:.1f} ms, "
                f"and {looks} looks at the held-out text",
    })  # fmt: skip


def _peak() -> str:
    try:
        import resource
    except ImportError:
        return "not known on this system"
    unit = 1 if platform.system() == "Darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    return f"{peak:,.0f} MB (this process's peak on the host)"


def _machine() -> dict[str, Any]:
    return {"system": platform.platform(), "python": platform.python_version(), "numpy": np.__version__,
            "kernels": mg.fuse_backend()}  # fmt: skip


command = options.command(train, Settings, Session)
