"""A run from its start, or from where it was stopped, to its end: training, judging, saving, stopping.

The folder of a run holds last.safetensors (all that is needed to go on), the one before it, best.safetensors (the
weights with the least loss on the held-out text), log.jsonl (what happened), options.toml and loss.png.
"""

from __future__ import annotations

import contextlib
import math
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import minigrad as mg

from ..common.errors import UserError
from ..common.stop import Stop
from . import checkpoint, evaluation
from .training import Trainer

READ_EVERY = 10  # updates between two looks at the loss; each look makes the host wait for the device
BEST_OF = {"update": int, "nats": float, "seconds": float}  # what is known of the best look at the held-out text


def _unheard(*_: Any, **__: Any) -> None:
    """Nobody is told."""


@dataclass
class Fit:
    """A run: its trainer, the text it is judged by, its folder, and what is known about it so far.

    Args:
        about: what is written into checkpoints besides: the model's settings, its text.
        record: gets each event's name and facts.
        report: gets the number of updates, and news of it.
    """

    trainer: Trainer
    held_out: Sequence[Any]
    folder: Path
    about: dict[str, Any]
    record: Callable[..., None] = _unheard
    report: Callable[..., None] = _unheard
    seconds: float = 0.0  # of training alone, over all sessions
    best: dict[str, Any] | None = None  # update and nats of the best look at the held-out text
    since_best: int = 0  # looks
    stop: Stop = field(default_factory=Stop)

    def go(self, pause_at: int | None = None) -> str:
        """Train until there is a reason to end, which is returned. The last checkpoint is of that moment.

        Raises:
            UserError: the loss is no number any more, or exploded; the checkpoints are those of before.
        """
        trainer, settings = self.trainer, self.trainer.settings
        until = min(settings.updates, pause_at or settings.updates)
        logged_every = max(READ_EVERY, settings.updates // 10_000 * READ_EVERY)  # not more than some thousand lines
        saved = time.monotonic()
        ended = self._ended(until)  # of a run that is gone on with
        while ended is None:
            with self._timed():
                loss, norm = trainer.step()
                at = trainer.updates
                judge = at % settings.eval_every == 0 or at == settings.updates
                look = at % READ_EVERY == 0 or judge or self._ended(until) is not None
                if look:
                    value, size = mg.stack([loss, norm]).tolist()  # one wait for the two
            if look:
                self._guard(value, size)
                speed = settings.batch * settings.seq * at / self.seconds
                if at % logged_every == 0:
                    lr = trainer.optimizer.param_groups[0]["lr"]
                    self.record("train", update=at, loss=value, gradient_norm=size, lr=lr,
                                symbols_per_second=round(speed), seconds=round(self.seconds, 3))  # fmt: skip
            if judge:
                self._judge()
            if not look:
                continue
            ended = self._ended(until)
            try:
                self.report(at, loss=value, gradient_norm=size, symbols_per_second=speed)
            except (OSError, SystemExit):  # the terminal was closed, or nobody reads the pipe, at which rich exits
                self.save()
                raise
            if judge or ended is not None or time.monotonic() - saved >= settings.save_every:
                self.save()
                saved = time.monotonic()
        return ended

    def _ended(self, until: int) -> str | None:
        settings = self.trainer.settings
        if self.trainer.updates >= settings.updates:
            return "done"
        if settings.patience and self.since_best >= settings.patience:
            return f"no better after {self.since_best} looks at the held-out text"
        if self.trainer.updates >= until:
            return "paused"
        return "stopped" if self.stop.asked else None

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - started

    def _guard(self, loss: float, norm: float) -> None:
        """Stop a run that has gone wrong before it is saved."""
        settings = self.trainer.settings
        guessing = math.log(self.trainer.model.options.symbols)
        wrong = None
        if not (math.isfinite(loss) and math.isfinite(norm)):
            wrong = f"the loss is {loss} and the gradient's norm {norm}"
        elif settings.guard and loss > settings.guard * max(guessing, 1.0):
            wrong = f"the loss exploded to {loss:.3g}, over {settings.guard:g} times that of guessing (--guard)"
        if wrong is None:
            return
        self.record("end", why=wrong, update=self.trainer.updates, best=self.best)
        last = self.folder / checkpoint.LAST
        kept = f"{last} is as it was; go on from it with --resume {shlex.quote(str(self.folder))} and"
        cure = kept if last.exists() else "Try again with"
        raise UserError(
            f"{wrong} at update {self.trainer.updates}. {cure} a smaller --lr, such as {settings.lr / 3:.2g}, "
            f"or a smaller --clip, such as {settings.clip / 3:.2g}"
        )

    def _judge(self) -> None:
        """Look at the held-out text; keep the weights if they are the best so far."""
        trainer = self.trainer
        with trainer.average.instead():
            nats = evaluation.estimate(trainer.model, self.held_out, trainer.device)
            better = math.isfinite(nats) and (self.best is None or nats < self.best["nats"])
            if better:
                self.best = {"update": trainer.updates, "nats": nats, "seconds": round(self.seconds, 3)}
                checkpoint.save(self.folder / checkpoint.BEST, checkpoint.Checkpoint(trainer.model, self._facts()))
        self.since_best = 0 if better else self.since_best + 1
        self.record("validation", update=trainer.updates, nats=nats, seconds=round(self.seconds, 3))

    def save(self) -> None:
        """Write all that is needed to go on."""
        checkpoint.save(self.folder / checkpoint.LAST, self.trainer.checkpoint(self._facts()), keep_previous=True)
        self.record("saved", update=self.trainer.updates)

    def _facts(self) -> dict[str, Any]:
        return self.about | {"update": self.trainer.updates, "seconds": self.seconds, "best": self.best,
                             "since_best": self.since_best}  # fmt: skip

    def restore(self, found: checkpoint.Checkpoint) -> None:
        """Go on from a checkpoint of `last.safetensors`."""
        self.trainer.restore(found)
        try:
            self.seconds, best = float(found.about["seconds"]), found.about["best"]
            if best is not None:
                self.best = {name: kind(best[name]) for name, kind in BEST_OF.items()}
            self.since_best = int(found.about["since_best"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"this checkpoint cannot be gone on with: {type(error).__name__}: {error}") from error
